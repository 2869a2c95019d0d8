/* discover.h - which MTA-STS policy a domain has (RFC 8461 3.3, 5.1): what its TXT record announces is fetched, kept for its
 * max_age, and used as long as it is kept, whatever becomes of the record or of the web server meanwhile.
 *
 * A policy is fetched when the record has another id than the kept one; again, while it is in use, when it is older
 * than a day or half its max_age; and after a failure not before DISCOVER_RETRY_S. Kept are DISCOVER_KEPT_MAX domains and
 * DISCOVER_BYTES_MAX of mx patterns; beyond, the one that was asked for longest ago goes, as if it had expired.
 * DISCOVER_JOBS_MAX are found out at a time; beyond, a domain has what is kept of it. It is all memory of this process.
 */
#ifndef HIKYAKU_DISCOVER_H
#define HIKYAKU_DISCOVER_H

#include <sys/queue.h>

#include "hikyaku/resolve.h"

#include "dns.h"

#define DISCOVER_RETRY_S   300u /* RFC 8461 3.3 */
#define DISCOVER_AGE_S     86400u
#define DISCOVER_KEPT_MAX  20000u
#define DISCOVER_BYTES_MAX (32u << 20)
#define DISCOVER_JOBS_MAX  4096u

struct discovery;
struct ev_loop;

/* Somebody who waits: part of whatever the caller keeps about it, in place until the call or discovery_cancel(). */
struct discovery_wait {
    LIST_ENTRY(discovery_wait) link;
    void (*on_known)(struct discovery_wait *wait);
};

/* As fetcher_open(); `fetch_ms` is its limit. The dns is the caller's, and is closed before discovery_close(). */
int discovery_open(const struct config *config, struct ev_loop *loop, struct dns *dns, uint32_t fetch_ms,
                   struct discovery **out, struct hk_why *why) HK_MUST_USE;
void discovery_close(struct discovery *discovery);

/* The domain's record has this id ("": it has no usable record). True: what can be known is known. False: wait for the call,
 * which never comes from inside this function. */
bool discovery_ask(struct discovery *discovery, const char *domain, const char *id,
                   struct discovery_wait *wait) HK_MUST_USE;
void discovery_cancel(struct discovery_wait *wait);

/* Take the next steps of whatever can go on: from the loop, before it waits. */
void discovery_turn(struct discovery *discovery);

/* What is in force for the domain now, into the answer: mode, which of its hosts are listed, time to live. */
void discovery_tell(struct discovery *discovery, const char *domain, struct resolve_answer *answer);

#endif
