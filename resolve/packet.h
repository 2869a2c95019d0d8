/* packet.h - read a DNS message that libunbound hands over (RFC 1035 4, RFC 7505).
 *
 * What is in it was written by strangers, so every offset is checked here and nowhere else. Pure: no socket, no
 * log, no allocation; the fuzzer drives it directly. The message must outlive the reader.
 *
 * Names come out as lower-case text without a trailing dot, the root as "". Three ways to fail:
 *   HK_EPROTO  bytes missing, a length that lies, a pointer that does not point back
 *   HK_EINVAL  a well-formed name that no mail host may have (other than letters, digits, '-', '_')
 *   0          from packet_next(): the records are at an end
 */
#ifndef HIKYAKU_PACKET_H
#define HIKYAKU_PACKET_H

#include "hikyaku/address.h"
#include "hikyaku/base.h"

enum packet_type {
    PACKET_A = 1,
    PACKET_CNAME = 5,
    PACKET_SOA = 6,
    PACKET_MX = 15,
    PACKET_TXT = 16,
    PACKET_AAAA = 28,
    PACKET_TLSA = 52,
};
enum packet_rcode { PACKET_NOERROR = 0, PACKET_SERVFAIL = 2, PACKET_NXDOMAIN = 3 };
enum packet_section { PACKET_ANSWER, PACKET_AUTHORITY, PACKET_ADDITIONAL, PACKET_END };

struct packet {
    const uint8_t *bytes;
    size_t length;
    size_t at;        /* next record */
    uint16_t left[3]; /* records not yet read, by section */
    uint8_t rcode;
    bool truncated; /* TC: the answer is not whole */
    bool beside;    /* set it to have the additional section read as well */
};

struct packet_record {
    enum packet_section section;
    uint16_t type; /* may be any; class is IN */
    uint32_t ttl_s;
    size_t owner; /* offset of its name */
    size_t rdata; /* offset of rdata_length octets */
    uint16_t rdata_length;
};

/* Check the header and step over the question. 0 or HK_EPROTO. */
int packet_open(struct packet *packet, const void *bytes, size_t length) HK_MUST_USE;

/* The next record of class IN (others are stepped over): 1, 0 at the end, HK_EPROTO. The additional section is
 * only read where `beside` is set: nothing in it is an answer. A TTL with the top bit set is 0 (RFC 2181 8). */
int packet_next(struct packet *packet, struct packet_record *record) HK_MUST_USE;

/* Read a name at `offset`; *end, if not NULL, is the offset behind it. `name` holds DOMAIN_MAX + 1. On HK_EINVAL
 * the name is usable for a log line only: unfit bytes are '?'. */
int packet_name(const struct packet *packet, size_t offset, char *name, size_t *end) HK_MUST_USE;

/* MX: preference and host. 0, HK_EINVAL (host unfit, `name` for the log), HK_EPROTO. */
int packet_mx(const struct packet *packet, const struct packet_record *record, uint16_t *preference,
              char *name) HK_MUST_USE;

/* A or AAAA: its 4 or 16 octets into ip[16], the rest zero. 0 or HK_EPROTO. */
int packet_address(const struct packet *packet, const struct packet_record *record,
                   uint8_t ip[16]) HK_MUST_USE;

/* TLSA (RFC 6698 2.1): three numbers and what follows them, perhaps nothing. 0 or HK_EPROTO. */
struct packet_tlsa {
    uint8_t usage, selector, matching;
    uint16_t length;
    const uint8_t *data;
};
int packet_tlsa(const struct packet *packet, const struct packet_record *record,
                struct packet_tlsa *tlsa) HK_MUST_USE;

/* TXT: its strings one after another (RFC 7208 3.3 for how, RFC 8461 3.1 and 8460 3 for us), any octets. 0, HK_ETOOBIG:
 * more than `size`, HK_EPROTO. */
int packet_txt(const struct packet *packet, const struct packet_record *record, char *out, size_t size,
               size_t *length) HK_MUST_USE;

/* SOA: for how long "there is none" holds (RFC 2308 5): the smaller of its TTL and its last field. */
int packet_soa_negative_ttl(const struct packet *packet, const struct packet_record *record,
                            uint32_t *ttl_s) HK_MUST_USE;

/* May this text be asked for and be connected to: labels of 1 to 63 letters, digits, '-' and '_', 253 octets at
 * most, no dot at either end. */
bool packet_name_is_host(const char *name);

#endif
