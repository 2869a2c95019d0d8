/* dns.h - libunbound as the resolver uses it: set up from the configuration, asked without waiting.
 *
 * Recursion, caching, retries, CNAMEs and DNSSEC are libunbound's. Memory is bounded by its caches (set in
 * dns.c) and by DNS_LOOKUPS_MAX questions that the caller may have open at once.
 */
#ifndef HIKYAKU_DNS_H
#define HIKYAKU_DNS_H

#include "hikyaku/base.h"
#include "hikyaku/config.h"

#include "packet.h"

#define DNS_LOOKUPS_MAX 8192u

struct dns;
struct ev_loop;

/* An open question: part of whatever the caller keeps about it, in place until the callback or dns_close().
 * bytes is NULL when there is no message; then `rcode` says why. With `bogus`, DNSSEC refused the answer, and
 * that is why. All pointers are good during the call only. */
struct dns_query {
    void (*on_answer)(struct dns_query *query, int rcode, const void *bytes, size_t length, bool secure,
                      const char *bogus);
};

/* HK_EINVAL: a forwarder or the trust anchor is not usable; HK_ENOMEM. */
int dns_open(const struct config *config, struct ev_loop *loop, struct dns **out,
             struct hk_why *why) HK_MUST_USE;
/* Open questions are dropped without a call. */
void dns_close(struct dns *dns);

/* Ask. The callback comes exactly once, perhaps before dns_ask() returns. Anything but 0 means that it will not
 * come: HK_EINVAL for a name that DNS cannot carry, HK_ENOMEM, HK_EDOWN. */
int dns_ask(struct dns *dns, const char *name, enum packet_type type, struct dns_query *query) HK_MUST_USE;

#endif
