/* choice.h - which MX hosts and which of their addresses are tried, and in what order (RFC 5321 5.1).
 *
 * Pure: chance comes in as a function or a number, so tests can hold it still. Bounds: the RESOLVE_HOSTS_MAX most
 * preferred hosts, the first CHOICE_ADDRESSES_MAX addresses of each family of a host, RESOLVE_ADDRESSES_MAX
 * addresses in all; what is beyond is left out.
 */
#ifndef HIKYAKU_CHOICE_H
#define HIKYAKU_CHOICE_H

#include "hikyaku/config.h"
#include "hikyaku/resolve.h"
#include "own.h"

#define CHOICE_ADDRESSES_MAX 16u

enum choice_family { CHOICE_IPV4, CHOICE_IPV6, CHOICE_FAMILIES };

/* A number below `bound`, each as likely as the other: arc4random_uniform(). */
typedef uint32_t (*choice_draw_fn)(uint32_t bound);

struct choice_mx {
    uint16_t preference;
    uint32_t lot; /* drawn once for each: the order among equals */
    char name[DOMAIN_MAX + 1];
};

/* A list is begun with `own` set, or NULL, and everything else zero. */
struct choice_list {
    const struct own *own; /* this host: an MX that bears one of its names would send to itself */
    bool has_own;          /* one did, at own_preference: nothing from there on is in the list */
    uint16_t own_preference;
    uint32_t count;
    struct choice_mx mx[RESOLVE_HOSTS_MAX]; /* in the order to be tried */
};

struct choice_addresses {
    uint32_t count;
    uint8_t ip[CHOICE_ADDRESSES_MAX][16];
};

struct choice_host {
    uint16_t preference;
    char name[DOMAIN_MAX + 1];
    struct choice_addresses of[CHOICE_FAMILIES];
};

/* Put an MX host in its place. A host that is there already keeps its better preference; when the list is full
 * the last of all goes. A host of our own closes the list at its preference: neither it nor any that is no better
 * is tried, or mail could go in a circle (RFC 5321 5.1). */
void choice_add(struct choice_list *list, uint16_t preference, uint32_t lot, const char *name);

/* How many of the hosts, which are in the order to be tried and have their addresses, may be tried: those of a better
 * preference than the first that has an address of our own. It is this host under another name (RFC 5321 5.1). */
uint32_t choice_before_own(const struct choice_host *hosts, uint32_t count, const struct own *own);

/* Write hosts and addresses into the answer. hosts[] is in the order to be tried; those without an address are
 * left out. Every host gets a share, dealt in turn. Preference decides the order; hosts of equal preference take
 * turns; within a host IPv4 comes before IPv6, shuffled. */
void choice_fill(struct choice_host *hosts, uint32_t count, choice_draw_fn draw,
                 struct resolve_answer *answer);

#endif
