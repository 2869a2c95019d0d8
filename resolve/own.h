/* own.h - what this host is called and where it is reached: an MX that is one of these is this host, and mail for it would go
 * in a circle (RFC 5321 5.1).
 *
 * Names: `hostname` and those of the sources. Addresses: those of the sources, the public ones where NAT stands between, and
 * those of the machine's interfaces. Loopback is left out, address and interface: what listens there is a receiver as any
 * other, put there by whoever wrote the zone. Asks the kernel; opens nothing that stays open.
 */
#ifndef HIKYAKU_OWN_H
#define HIKYAKU_OWN_H

#include "hikyaku/config.h"

#define OWN_KEPT_MS 60000u /* interfaces come and go: then they are read again */

struct own_address {
    uint8_t family; /* AF_INET or AF_INET6 */
    uint8_t ip[16]; /* network order; of IPv4 the first four, the others 0 */
};

/* All zero: nothing is ours. The names are the configuration's, only the lists are owned. */
struct own {
    struct cfg_list name;
    struct own_address *address;
    size_t address_count;
    uint64_t read_ms;
};

/* Fill, or fill anew when OWN_KEPT_MS have passed. Memory is taken as at a start (hk_xcalloc). */
void own_read(struct own *own, const struct config *config, uint64_t now_ms);
void own_free(struct own *own);

/* `own` may be NULL: nothing is ours. */
bool own_is_name(const struct own *own, const char *name);
bool own_is_address(const struct own *own, uint8_t family, const uint8_t ip[16]);

#endif
