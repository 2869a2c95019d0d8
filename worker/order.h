/* order.h - in which order one connection tries the addresses of its destination (RFC 5321 5.1).
 *
 * The destination's addresses stand by preference. Those of one rank are as good as each other, and each connection
 * draws their order anew: many connections to one destination spread over its hosts, each host alike, however many
 * addresses it has. Pure: chance comes in as a function, so tests can hold it still.
 */
#ifndef WORKER_ORDER_H
#define WORKER_ORDER_H

#include "hikyaku/region.h"

/* A number below `bound`, each as likely as the other: arc4random_uniform(). */
typedef uint32_t (*order_draw_fn)(uint32_t bound);

/* Keep what a source of this family can connect to, in its order: AF_INET, AF_INET6; AF_UNSPEC is IPv4, and IPv6 where
 * there is nothing else. How many are left. */
size_t order_of_family(struct dest_address *address, size_t count, int family);

/* At most DEST_ADDRESSES_MAX addresses. */
void order_draw(struct dest_address *address, size_t count, order_draw_fn draw);

#endif
