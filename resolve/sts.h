/* sts.h - an MTA-STS policy file (RFC 8461 3.2): read it, ask whether it lists a host, print it for a report.
 *
 * Its bytes come from whoever runs a web server. Pure: no socket, no clock, no log; the fuzzer drives it directly.
 * Lines end with LF or CRLF, blank ones are passed over; of `version`, `mode` and `max_age` the first counts
 * (3.2: later ones are ignored), unknown fields are passed over. Refused as a whole, with words:
 *   HK_EINVAL   no version STSv1, no known mode, no max_age, no mx where the mode wants one, an mx that is no host
 *               name, a line without a colon
 *   HK_ETOOBIG  more than STS_FILE_MAX bytes; nothing is read of it
 */
#ifndef HIKYAKU_STS_H
#define HIKYAKU_STS_H

#include "hikyaku/base.h"
#include "hikyaku/config.h"

#define STS_FILE_MAX  65536u    /* RFC 8461 3.3 suggests this bound */
#define STS_AGE_MAX_S 31557600u /* RFC 8461 3.2: about a year */

struct sts_policy {
    uint8_t mode;       /* enum sts_mode */
    uint32_t max_age_s; /* at most STS_AGE_MAX_S: more counts as that */
    uint32_t mx_count;
    size_t mx_bytes; /* of `mx` */
    char *mx;        /* the patterns in lower case, NUL after each; owned */
};

/* On success the caller ends it with sts_policy_clear(); on failure nothing is held. HK_ENOMEM as well. */
int sts_policy_parse(const char *bytes, size_t length, struct sts_policy *out,
                     struct hk_why *why) HK_MUST_USE;
void sts_policy_clear(struct sts_policy *policy);

/* Is this host one of its mx? A pattern "*.x.test" stands for exactly one label (RFC 8461 4.1). `host` in lower case. */
bool sts_policy_lists(const struct sts_policy *policy, const char *host);

/* The policy as lines for a report, '\n' after each; what does not fit is left out, a line at a time. */
void sts_policy_text(const struct sts_policy *policy, char *out, size_t size);

const char *sts_mode_name(enum sts_mode mode);

#endif
