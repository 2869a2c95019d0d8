/* guard.h - how much strangers may have: connections and messages, of one address and of all together.
 *
 * An address is an IPv4 address, or the /64 that one subscriber has of IPv6. Memory is fixed: where no place is free for
 * another address, it is refused like one that has too much.
 */
#ifndef INBOUND_GUARD_H
#define INBOUND_GUARD_H

#include <sys/socket.h>

#include "hikyaku/config.h"

struct guard;
/* NULL: no memory, or no random octets. */
struct guard *guard_new(uint32_t connections, uint32_t connections_each, struct cfg_rate rate,
                        struct cfg_rate rate_each);
void guard_free(struct guard *guard);

/* A connection begins: NULL, and *place is what it has to give back; or the reply that refuses it. */
const char *guard_enter(struct guard *guard, const struct sockaddr *from, uint64_t now_us, uint32_t *place);
void guard_leave(struct guard *guard, uint32_t place);
/* More than three quarters of all connections are in use. */
bool guard_is_crowded(const struct guard *guard);
/* A message wants to begin: NULL, or the reply that puts it off. */
const char *guard_mail(struct guard *guard, uint32_t place, uint64_t now_us);

#endif
