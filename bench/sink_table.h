/* sink_table.h - the addresses a sink has seen, and how often each got a message: an exact hash table.
 *
 * Grows as addresses come; when there is no memory left sink_table_find() returns NULL and the table stays as
 * it was. Entries are named by their number, which never changes.
 */
#ifndef BENCH_SINK_TABLE_H
#define BENCH_SINK_TABLE_H

#include "hikyaku/base.h"

struct sink_entry {
    const char *text;
    uint64_t hash;
    uint16_t length;
    bool deferred;      /* was told to come again */
    uint32_t delivered; /* messages */
};

struct sink_table;

struct sink_table *sink_table_new(void); /* NULL: no memory */
void sink_table_free(struct sink_table *table);
/* The entry of an address, made if there is none; *number names it from then on. The pointer is good until
 * the next call. */
struct sink_entry *sink_table_find(struct sink_table *table, const char *text, size_t length,
                                   uint32_t *number);
/* Is the address in the table? */
bool sink_table_has(const struct sink_table *table, const char *text, size_t length);
struct sink_entry *sink_table_at(struct sink_table *table, uint32_t number);
size_t sink_table_count(const struct sink_table *table);

/* A hash of an address, and the share in [0, 1) that it falls on for one of several questions (salt). */
uint64_t sink_hash(const char *text, size_t length);
double sink_hash_share(uint64_t hash, uint64_t salt);

#endif
