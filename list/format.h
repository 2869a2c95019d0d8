/* format.h - the segment file, byte by byte. All numbers are little-endian; tables begin at multiples of 8.
 *
 *   part           bytes                          what
 *   header         SEGMENT_HEADER_SIZE (64)       struct segment_header
 *   column table   8 x columns                    where the column's name begins in `names`
 *   domain table   16 x domains                   struct segment_domain_entry, by the index of the first record
 *   span table     16 x spans                     struct segment_span_entry, in order of their records
 *   record index   8 x (records + 1)              where record i begins in `records`; the last is their end
 *   names          names_bytes, padded to 8       columns, then domains: each NUL-terminated, none between
 *   records        records_bytes, padded to 8     one behind another, see below
 *   trailer        SEGMENT_TRAILER_SIZE (40)      SHA-256 of all before it, then SEGMENT_END_MAGIC
 *
 * The counts and the two sizes in the header fix where every part lies (segment_layout), so no offset between
 * parts can be wrong. Padding is zero. A record:
 *
 *   u32     row in the input, the first data row being 1
 *   u16     octets of the wire address
 *   u8      octets of its local part
 *   u8      flags: SEGMENT_RECORD_*
 *   varint  octets of field i, for each column (7 bits a byte, low bits first, high bit: more follow)
 *   bytes   the wire address, only with SEGMENT_RECORD_OWN_WIRE: else it is the email field itself
 *   bytes   the fields in column order, none between
 *
 * The email field is the address as in the list without the blanks around it.
 */
#ifndef LIST_FORMAT_H
#define LIST_FORMAT_H

#include <endian.h>
#include <string.h>

#include "hikyaku/segment.h"

#define SEGMENT_MAGIC     "HKSEGMNT"
#define SEGMENT_END_MAGIC "HKSEGEND"
#define SEGMENT_VERSION   1u

#define SEGMENT_RECORD_SMTPUTF8 1u
#define SEGMENT_RECORD_OWN_WIRE 2u
#define SEGMENT_RECORD_HEAD     8u
#define SEGMENT_RECORD_LOCAL    6u /* where in the head the length of the local part stands, and the flags */
#define SEGMENT_RECORD_FLAGS    7u
#define SEGMENT_VARINT_MAX      5u

struct segment_header {
    char magic[8];
    uint32_t version;
    uint32_t columns;
    uint32_t email_column;
    uint32_t records;
    uint32_t domains;
    uint32_t spans;
    uint64_t names_bytes;
    uint64_t records_bytes;
    uint64_t file_bytes;
    uint64_t reserved; /* zero */
};

struct segment_domain_entry {
    uint64_t name; /* where it begins in `names` */
    uint32_t first;
    uint32_t count;
};

struct segment_span_entry {
    uint32_t first;
    uint32_t count;
    uint32_t domain_first;
    uint32_t domain_count;
};

struct segment_trailer {
    unsigned char sha256[32];
    char magic[8];
};

#define SEGMENT_HEADER_SIZE  sizeof(struct segment_header)
#define SEGMENT_TRAILER_SIZE sizeof(struct segment_trailer)
_Static_assert(SEGMENT_HEADER_SIZE == 64 && SEGMENT_TRAILER_SIZE == 40, "raise SEGMENT_VERSION");
_Static_assert(sizeof(struct segment_domain_entry) == 16 && sizeof(struct segment_span_entry) == 16,
               "raise SEGMENT_VERSION");

/* Where the parts begin, in bytes from the start of the file. */
struct segment_layout {
    uint64_t columns, domains, spans, index, names, records, trailer, end;
};

static inline uint64_t segment_align(uint64_t bytes)
{
    return (bytes + 7) & ~(uint64_t)7;
}

/* The sizes must be below 2^62, as those of a real file are; then no sum in here wraps. */
static inline struct segment_layout segment_layout(const struct segment_header *header)
{
    struct segment_layout at;

    at.columns = SEGMENT_HEADER_SIZE;
    at.domains = at.columns + 8 * (uint64_t)le32toh(header->columns);
    at.spans = at.domains + sizeof(struct segment_domain_entry) * (uint64_t)le32toh(header->domains);
    at.index = at.spans + sizeof(struct segment_span_entry) * (uint64_t)le32toh(header->spans);
    at.names = at.index + 8 * ((uint64_t)le32toh(header->records) + 1);
    at.records = at.names + segment_align(le64toh(header->names_bytes));
    at.trailer = at.records + segment_align(le64toh(header->records_bytes));
    at.end = at.trailer + SEGMENT_TRAILER_SIZE;
    return at;
}

#endif
