/* tlsrpt.h - what TLS was like with domains that want to hear of it (RFC 8460): counted by day, a report for each written.
 *
 * A session is a connection that came as far as saying whether there would be TLS, or was refused for what a policy says of its
 * host. Days are UTC; a report covers one, or the part of it that this node ran. Reports lie in state_dir/tlsrpt/ as
 * SENDER!DOMAIN!BEGIN!END!EPOCH.json, each with a .rua beside it that says where the domain wants it; sending and
 * deleting them is the operator's. A node that is killed loses what it had not written.
 *
 * Bounds: TLSRPT_DOMAINS_MAX domains a day; sessions of more are not counted, and how many is said in the log.
 * TLSRPT_DETAILS_MAX distinct failures (host, address, reason) for a policy of a domain, TLSRPT_DETAILS_ALL together; more of
 * them are counted by result type alone. All figures are exact in any case.
 */
#ifndef MASTER_TLSRPT_H
#define MASTER_TLSRPT_H

#include "hikyaku/config.h"
#include "hikyaku/region.h"

#include "table.h"

#define TLSRPT_DOMAINS_MAX 65536u
#define TLSRPT_DETAILS_MAX 16u
#define TLSRPT_DETAILS_ALL 100000u
#define TLSRPT_AT_ONCE     8u

enum tlsrpt_policy { TLSRPT_NO_POLICY, TLSRPT_STS, TLSRPT_TLSA, TLSRPT_POLICIES };

struct tlsrpt {
    const struct config *config;
    uint64_t epoch;
    uint64_t begin_s, end_s; /* of what is counted: seconds since 1970; end_s is the next midnight */
    struct table domains;
    uint32_t details;
    uint64_t uncounted; /* sessions of domains beyond the bound */
    /* The day before, as long as not all of its reports are written. */
    uint64_t over_begin_s, over_end_s;
    struct table over;
};

struct tlsrpt_session {
    const char *domain, *rua;
    enum tlsrpt_policy policy;
    const char *policy_text; /* its lines, '\n' after each; of the first session of a day that has one */
    enum tls_seen_result result;
    /* of a failure; "" where there is none */
    const char *mx, *mx_ip, *source_ip, *reason;
};

void tlsrpt_open(struct tlsrpt *tlsrpt, const struct config *config, uint64_t epoch, uint64_t now_us);
void tlsrpt_count(struct tlsrpt *tlsrpt, const struct tlsrpt_session *session, uint64_t now_us);
/* About once a second: after midnight, write reports of the day that is over, TLSRPT_AT_ONCE of them, for each costs two
 * fsync and the master does not wait. */
void tlsrpt_turn(struct tlsrpt *tlsrpt, uint64_t now_us);
/* Write all that was counted up to now, and wait for it. */
void tlsrpt_close(struct tlsrpt *tlsrpt, uint64_t now_us);

#endif
