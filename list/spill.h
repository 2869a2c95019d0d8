/* spill.h - the part of an import that does not fit into memory, in one temporary file beside the segment.
 *
 * Whenever the roster has used up its memory it becomes a run: its records, grouped by domain in the order in
 * which domains were first seen, and a key for each of them. At the end the keys of all runs tell duplicates
 * (spill_settle), and the runs are merged by domain: records come out in the order that the roster alone would
 * have given. The file's name is taken away as soon as it is open, so that nothing is left behind, not even by a
 * kill; its room is freed with the descriptor.
 *
 *   run     records, grouped by domain, none between;
 *           blocks, one for each domain: u32 domain, u32 records, u64 bytes of them; then a u32 length for each;
 *           keys, grouped by partition: struct spill_key
 *
 * Lengths stand apart from the records so that the index of the segment is made without reading these, and so that
 * the records of a domain none of which is a duplicate are copied as they lie.
 *
 * A key is 128 bits of hash under random seeds: two mailboxes with the same one are held to be the same. Among 250
 * million the chance that this is ever wrong is below 10^-21.
 */
#ifndef LIST_SPILL_H
#define LIST_SPILL_H

#include "output.h"
#include "roster.h"

#define SPILL_PARTITIONS 256u

struct spill_run {
    uint64_t records_at, blocks_at,
        keys_at;    /* where they begin in the file; each ends where the next one begins */
    uint32_t place; /* of its first record among those of all runs */
    uint32_t keys[SPILL_PARTITIONS];
};

struct spill {
    int fd; /* -1: not open */
    char *path;
    struct spill_run *run;
    uint32_t runs, runs_capacity;
    uint64_t seed[2];
    char *buffer; /* what is still to be written at `end` */
    size_t used;
    uint64_t end;
    int error; /* errno of the first failed write */
    struct spill_key *known;
    uint32_t known_used;
    uint32_t places;   /* records in all runs */
    uint64_t *dropped; /* a bit for each place */
    /* After spill_settle(): */
    uint32_t records;      /* without those dropped */
    uint64_t record_bytes; /* of them */
    uint64_t duplicates;
    uint64_t known_total, known_again; /* mailboxes left out, and how many of them the list has */
};

/* 0, HK_EIO, HK_EFULL, HK_ENOMEM. spill_close() in either case. */
int spill_open(struct spill *spill, const char *segment_path, struct hk_why *why) HK_MUST_USE;
void spill_close(struct spill *spill);

/* A mailbox that no record of the list may have: those of earlier segments. All of them before the first run. */
int spill_add_known(struct spill *spill, const char *wire, size_t length, struct hk_why *why) HK_MUST_USE;
/* Write the records of the roster as a run and take them out of it; its domains stay. */
int spill_add_run(struct spill *spill, struct roster *roster, struct hk_why *why) HK_MUST_USE;
/* No more will come: find the duplicates, and take them off the counts of the roster's domains. */
int spill_settle(struct spill *spill, struct roster *roster, struct hk_why *why) HK_MUST_USE;

/* The record index and the records of a segment, in its order. 0, HK_EIO or HK_ENOMEM; what fails in `out` sticks
 * there. */
int spill_write_index(const struct spill *spill, const struct roster *roster, struct output *out) HK_MUST_USE;
int spill_write_records(const struct spill *spill, const struct roster *roster,
                        struct output *out) HK_MUST_USE;

/* Shared by spill.c and spill_merge.c. */
struct spill_block {
    uint32_t domain, count;
    uint64_t bytes;
};
int spill_read(const struct spill *spill, uint64_t at, void *bytes, size_t length) HK_MUST_USE;
static inline bool spill_is_dropped(const struct spill *spill, uint32_t place)
{
    return (spill->dropped[place / 64] >> place % 64 & 1) != 0;
}

#endif
