/* table.h - a hash table by name whose entries carry their own link: no allocation for each entry, any number of them.
 *
 * The entry embeds a struct table_link as its first member and owns the name; the table owns the buckets alone. Without
 * memory for these the process ends (hk_xcalloc).
 */
#ifndef MASTER_TABLE_H
#define MASTER_TABLE_H

#include "hikyaku/base.h"

struct table_link {
    struct table_link *next;
    const char *name;
    uint64_t hash;
};

struct table {
    struct table_link **bucket;
    size_t buckets; /* a power of two, 0 before the first entry */
    size_t count;
};

uint64_t table_hash(const char *name);
void *table_find(const struct table *table, const char *name); /* the entry, or NULL */
void table_add(struct table *table, struct table_link *entry, const char *name);
/* The same of a name whose hash is known. */
void *table_find_hashed(const struct table *table, const char *name, uint64_t hash);
void table_add_hashed(struct table *table, struct table_link *entry, const char *name, uint64_t hash);
void table_remove(struct table *table, struct table_link *entry);
void table_clear(struct table *table); /* forgets the entries, frees the buckets */
/* Entries one by one, in no order, from *cursor = 0 on; NULL at the end. The entry given last may be removed. */
void *table_next(const struct table *table, size_t *cursor, struct table_link *last);

#endif
