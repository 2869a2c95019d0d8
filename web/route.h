/* route.h - what a request line asks for, and in which language. Pure: read from strangers, so bounded and fuzzed. */
#ifndef WEB_ROUTE_H
#define WEB_ROUTE_H

#include "hikyaku/config.h"

#define ROUTE_TOKEN_MAX  63u /* octets of an unsubscribe token: base32, one octet less than a local part */
#define ROUTE_PREFIX_MAX 1024u
#define ROUTE_SECRET_MIN 16u
#define ROUTE_SECRET_MAX 128u

enum route_what { ROUTE_NONE, ROUTE_UNSUBSCRIBE, ROUTE_SNS, ROUTE_RAW };

/* Where things lie below the web server in front of us. "" where it does not exist here. */
struct route_table {
    char unsubscribe
        [ROUTE_PREFIX_MAX]; /* path and query of sender.unsubscribe_url, as a token is put behind it */
    char sns[ROUTE_PREFIX_MAX];
    char secret[ROUTE_SECRET_MAX + 1]; /* raw delivery comes to sns/SECRET */
};
/* HK_EINVAL: the URL or the path cannot be served. `secret` may be NULL. */
int route_table_make(const struct config *config, const char *secret, struct route_table *out,
                     struct hk_why *why) HK_MUST_USE;

struct route {
    enum route_what what;
    char token[ROUTE_TOKEN_MAX +
               1]; /* of UNSUBSCRIBE: letters and digits, not checked; "" none that could be one */
};
/* `target`: the request target as it came (RFC 9112 3.2.1), path and query. */
void route_read(const struct route_table *table, const char *target, struct route *out);

enum route_language { LANGUAGE_EN, LANGUAGE_JA };
/* The one that Accept-Language (RFC 9110 12.5.4) likes best; English where it says nothing, or NULL. */
enum route_language route_language(const char *accept);

#endif
