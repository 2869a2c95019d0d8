/* roster.h - the recipients of one import while they are in memory: each once, with its domain.
 *
 * Records are kept as the bytes that the segment will hold (format.h), in input order, in one growing mapping;
 * beside them 12 bytes a record and, until roster_group(), a hash table of 8-byte slots for finding
 * duplicates. Never freed singly. Owned by the import.
 */
#ifndef LIST_ROSTER_H
#define LIST_ROSTER_H

#include "hikyaku/address.h"
#include "hikyaku/segment.h"

#define ROSTER_RECORDS_MAX 16000000u
#define ROSTER_PENDING     32u

struct roster_domain {
    uint64_t name; /* in names.base; NUL-terminated */
    uint32_t count;
    uint32_t length;
};

/* Bytes that grow without being copied and without ever taking twice their size (mremap). */
struct roster_bytes {
    unsigned char *base;
    size_t used, capacity;
};

struct roster {
    uint32_t columns, email_column;
    struct roster_bytes records;
    struct roster_bytes offsets; /* uint64_t for each record: where it begins in records */
    struct roster_bytes owners;  /* uint32_t for each record: its domain */
    struct roster_bytes domains; /* struct roster_domain, in order of first appearance */
    struct roster_bytes names;
    uint32_t count, domain_count;
    uint32_t pending; /* of the last records: it is not known yet whether they are duplicates */
    uint64_t pending_hash[ROSTER_PENDING];
    uint64_t duplicates;   /* left out so far */
    uint64_t *seen;        /* open addressing: 40 bits of hash over 24 bits of index + 1; 0 is free */
    uint32_t *domain_seen; /* index + 1 */
    unsigned seen_bits, domain_bits;
    uint64_t seed; /* so that nobody can write a list that makes the tables slow */
};

int roster_init(struct roster *roster, uint32_t columns, uint32_t email_column) HK_MUST_USE;
void roster_free(struct roster *roster);

/* Add a recipient: its parsed address and the fields of its row (the email field trimmed). 1: added; 0: its
 * mailbox is there already (local part compared without ASCII case); HK_ENOMEM. The roster takes at most
 * ROSTER_RECORDS_MAX recipients: the caller asks roster_is_full(). */
int roster_add(struct roster *roster, uint32_t row, const struct address *address,
               const struct segment_field *field) HK_MUST_USE;

/* Add a recipient whose email field is its address as it stands: address_plain_local() gave `local_length`, and the
 * roster has the domain behind it, spelled like that. Whether it is a duplicate is found some records later, when its
 * place in the table of what was seen has come to the processor's cache: roster_settle(). 1: added; 0: the roster does
 * not have the domain, roster_add() is to be called; HK_ENOMEM. */
int roster_add_plain(struct roster *roster, uint32_t row, size_t local_length,
                     const struct segment_field *field) HK_MUST_USE;
/* Take out what is a duplicate among the records that were added last. Before they are counted, grouped or written. 0
 * or HK_ENOMEM. */
int roster_settle(struct roster *roster) HK_MUST_USE;

/* Has it as many recipients as it takes, or more than `memory` bytes of them (its domains not counted)? */
bool roster_is_full(const struct roster *roster, size_t memory);
/* Take all records out; the domains stay, with their counts. */
void roster_empty(struct roster *roster);
/* Give back the memory of records, for good: nothing can be added any more. */
void roster_free_records(struct roster *roster);

/* What the segment will hold: its domains and spans in their order, and how much of everything. */
struct roster_order {
    uint32_t
        *domain; /* domain[i]: which of the roster's domains is the segment's i-th; those without records are
                         left out */
    struct segment_span *span;
    uint32_t
        *record; /* record[i]: which of the roster's records is the segment's i-th; NULL: they are not here */
    uint32_t records, domains, spans;
    uint64_t record_bytes, name_bytes;
};

/* Group by domain and cut into spans (segment.h). Drops the table that finds duplicates: nothing can be added
 * any more. 0 or HK_ENOMEM. */
int roster_group(struct roster *roster, struct roster_order *out) HK_MUST_USE;
/* The same where the records, so many with so many bytes, lie elsewhere. */
int roster_group_domains(struct roster *roster, uint32_t records, uint64_t record_bytes,
                         struct roster_order *out) HK_MUST_USE;
void roster_order_free(struct roster_order *order);

/* Bytes of record i, and where it begins (which roster_prefetch() has brought to the cache); its domain; and the wire
 * address in it. */
uint64_t roster_record(const struct roster *roster, uint32_t i, const unsigned char **bytes);
void roster_prefetch(const struct roster *roster, uint32_t i);
uint32_t roster_owner(const struct roster *roster, uint32_t i);
const unsigned char *roster_wire(const struct roster *roster, const unsigned char *record, size_t *length);

const struct roster_domain *roster_domain(const struct roster *roster, uint32_t domain);
/* Does a domain have spans of its own? */
bool roster_domain_is_big(const struct roster_domain *domain);
/* A record of this domain was a duplicate of one that is no longer here. */
void roster_domain_less(struct roster *roster, uint32_t domain);

/* 64 bits of a mailbox, ASCII letters without case; under two seeds at once. */
void roster_hash_twice(const uint64_t seed[2], const void *text, size_t length, uint64_t out[2]);

#endif
