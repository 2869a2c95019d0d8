/* dane.h - the TLSA records of a destination's hosts (RFC 6698, RFC 7672), from the resolver through the master to the
 * workers. Fixed size and without pointers: it crosses a socket and lies in shared memory.
 *
 * Bounds: DANE_HOST_RECORDS_MAX records a host, DANE_RECORDS_MAX records and DANE_BYTES octets in all, DANE_NAMES_BYTES for
 * base domains that are not the host's own name. Records beyond are left out, which can make a host fail but never pass;
 * a host of which none fits is DANE_FAILED.
 */
#ifndef HIKYAKU_DANE_H
#define HIKYAKU_DANE_H

#include "hikyaku/address.h"
#include "hikyaku/base.h"

#define DANE_HOSTS_MAX        16u
#define DANE_HOST_RECORDS_MAX 8u
#define DANE_RECORDS_MAX      32u
#define DANE_BYTES            2048u
#define DANE_NAMES_BYTES      512u

enum dane_usage { DANE_TA = 2, DANE_EE = 3 }; /* all others are unusable (RFC 7672 3.1.3) */
enum dane_matching { DANE_FULL = 0, DANE_SHA256 = 1, DANE_SHA512 = 2 }; /* RFC 6698 2.1.3 */

/* What DNS says of one host. */
enum dane_state {
    DANE_NONE = 0, /* no TLSA records that DNSSEC vouches for: the policy of the configuration holds */
    DANE_USABLE,   /* TLS, and the host has to match a record */
    DANE_UNUSABLE, /* there are records, but none that can be used: TLS, without verification (RFC 7672 2.2) */
    DANE_FAILED,   /* SERVFAIL, bogus, no answer: the host may not be used (RFC 7672 2.1.2) */
};

struct dane_record {
    uint8_t host;
    uint8_t usage, selector, matching;
    uint16_t at, length; /* in bytes */
};

struct dane_set {
    uint16_t record_count;
    uint16_t bytes_used;
    uint16_t names_used;
    uint16_t base[DANE_HOSTS_MAX]; /* of each host: 1 + offset into names; 0: its own name */
    struct dane_record record[DANE_RECORDS_MAX];
    uint8_t bytes[DANE_BYTES];
    char names[DANE_NAMES_BYTES];  /* NUL-terminated, one after another */
    char next_hop[DOMAIN_MAX + 1]; /* what the recipient's domain is an alias of; "": of nothing */
};

/* False: there is no room for it, and nothing has changed. */
bool dane_add(struct dane_set *set, const struct dane_record *record, const void *bytes) HK_MUST_USE;
bool dane_base_set(struct dane_set *set, uint32_t host, const char *name) HK_MUST_USE;

/* The TLSA base domain of a host; NULL: its own name. */
const char *dane_base(const struct dane_set *set, uint32_t host);
/* Has the host a record of this usage? */
bool dane_has_usage(const struct dane_set *set, uint32_t host, enum dane_usage usage);
/* Does every index point into the set? Asked of what another process says, before anything else is. */
bool dane_is_sound(const struct dane_set *set);

#endif
