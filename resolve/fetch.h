/* fetch.h - get MTA-STS policy files over HTTPS (RFC 8461 3.3): libcurl's multi interface on the resolver's loop.
 *
 * Nothing in here waits. The addresses come from the caller, so libcurl asks no DNS and starts no thread. HTTPS only, the
 * certificate checked against tls.ca_file or the system's and against the name mta-sts.DOMAIN; redirects are refused, as is any
 * status but 200 and any media type but text/plain; FETCH_MS for all of it, STS_FILE_MAX bytes.
 * FETCHES_MAX are under way at a time; more wait in line, and their time begins when their turn comes.
 */
#ifndef HIKYAKU_FETCH_H
#define HIKYAKU_FETCH_H

#include "hikyaku/base.h"
#include "hikyaku/config.h"

#include "choice.h"

#define FETCHES_MAX 64u
#define FETCH_MS    60000u /* RFC 8461 3.3 suggests a minute */

struct ev_loop;
struct fetcher;
struct fetch;

enum fetch_result {
    FETCH_DONE,
    FETCH_FAILED, /* the server is not to be had, or did not give the file */
    FETCH_WEBPKI, /* its certificate does not hold */
};

/* Once for each fetch. The bytes (not NUL-terminated) are good during the call; with another result `words` say why. */
typedef void (*fetch_done_fn)(void *context, enum fetch_result result, const char *bytes, size_t length,
                              const char *words);

/* HK_EINVAL: tls.ca_file cannot be read; HK_ENOMEM. */
int fetcher_open(const struct config *config, struct ev_loop *loop, uint32_t limit_ms, struct fetcher **out,
                 struct hk_why *why) HK_MUST_USE;
/* Fetches under way are dropped without a call. */
void fetcher_close(struct fetcher *fetcher);

/* Get the policy of `domain` from the addresses of mta-sts.DOMAIN, one struct for each family, at least one address in all.
 * 0: done() will be called, perhaps before fetch_begin() returns; HK_ENOMEM: it will not. */
int fetch_begin(struct fetcher *fetcher, const char *domain, const struct choice_addresses *of,
                fetch_done_fn done, void *context) HK_MUST_USE;

#endif
