/* connect.h - where Redis is and how one says who one is: the private socket, or what `redis { ... }` names.
 *
 * The password lies in the target alone, in memory that no child of this process has (hk_secret_new), and goes to the socket
 * from there: neither our heap nor that of hiredis keeps a copy.
 *
 * redis_target_from() reads the configuration once (and the password file) and looks the host up; the same target serves
 * blocking and asynchronous connections, as often as they have to be made again. So no event loop ever waits for DNS:
 * where a name has come to mean another server, the process has to be started again. Every failure of a connection says
 * what to write instead, as far as one can know.
 */
#ifndef HIKYAKU_STATE_CONNECT_H
#define HIKYAKU_STATE_CONNECT_H

#include <hiredis/hiredis.h>
#include <netinet/in.h>

#include "hikyaku/base.h"
#include "hikyaku/config.h"

#define REDIS_SOCKET_FILE  "redis.sock"
#define REDIS_ANSWER_MS    10000u /* a server that says nothing for so long is taken for gone */
#define REDIS_PASSWORD_MAX 4096u
#define REDIS_SOCKET_MAX   107u /* what sockaddr_un holds beside its NUL (unix(7)) */

struct redis_target {
    char socket[REDIS_SOCKET_MAX + 1]; /* "" for TCP */
    char *host;                        /* as configured, for people */
    char address[INET6_ADDRSTRLEN];    /* what it means: where we connect to */
    uint16_t port;
    bool external;
    char *auth; /* the AUTH command with user and password, as it goes over the wire; NULL: none */
    size_t auth_length, auth_size; /* used of it, and what hk_secret_new() gave */
};

int redis_target_from(const struct config *config, struct redis_target *out, struct hk_why *why) HK_MUST_USE;
void redis_target_free(struct redis_target *target);
/* "the Redis on host:port" for messages; the text is static. */
const char *redis_target_name(const struct redis_target *target);

/* Connect and authenticate, blocking, with REDIS_ANSWER_MS for each step; an external server is asked for a PING, so that
 * what is wrong shows here. 0, or HK_EDOWN in words. */
int redis_connect(const struct redis_target *target, redisContext **out, struct hk_why *why) HK_MUST_USE;
/* Write to the socket, now, whatever was appended to the connection, and wipe it from there: for what appended the target's AUTH.
 * HK_EDOWN: the socket does not take all of it; then the connection is of no use any more. */
int redis_auth_write(redisContext *redis) HK_MUST_USE;

/* What hiredis says of a connection, for a person: a time that ran out is "Resource temporarily unavailable" to it. */
const char *redis_words(const char *errstr);
/* What to do about words of Redis or of hiredis, "; see ..." or "" where they say it all. */
const char *redis_hint(const struct redis_target *target, const char *words);

#endif
