/* table.c - the hash table of table.h: FNV-1a, chains, grown fourfold when there are as many entries as buckets. */
#include <string.h>

#include "table.h"

uint64_t table_hash(const char *name)
{
    uint64_t h = 14695981039346656037u;

    for (; *name != '\0'; name++)
        h = (h ^ (unsigned char)*name) * 1099511628211u;
    return h ^ h >> 32;
}

void *table_find_hashed(const struct table *table, const char *name, uint64_t hash)
{
    if (table->count == 0)
        return NULL;
    for (struct table_link *e = table->bucket[hash & (table->buckets - 1)]; e != NULL; e = e->next)
        if (e->hash == hash && strcmp(e->name, name) == 0)
            return e;
    return NULL;
}

void *table_find(const struct table *table, const char *name)
{
    return table_find_hashed(table, name, table_hash(name));
}

/* Each entry is fetched from memory for it: fourfold, that is a third of once for each. */
static void table_grow(struct table *table)
{
    size_t buckets = table->buckets > 0 ? table->buckets * 4 : 64;
    struct table_link **bucket = hk_xcalloc(buckets, sizeof(struct table_link *));

    for (size_t i = 0; i < table->buckets; i++)
        for (struct table_link *e = table->bucket[i], *next; e != NULL; e = next) {
            struct table_link **to = &bucket[e->hash & (buckets - 1)];
            next = e->next;
            e->next = *to;
            *to = e;
        }
    free(table->bucket);
    table->bucket = bucket;
    table->buckets = buckets;
}

void table_add_hashed(struct table *table, struct table_link *entry, const char *name, uint64_t hash)
{
    struct table_link **to;

    if (table->count >= table->buckets)
        table_grow(table);
    entry->name = name;
    entry->hash = hash;
    to = &table->bucket[entry->hash & (table->buckets - 1)];
    entry->next = *to;
    *to = entry;
    table->count++;
}

void table_add(struct table *table, struct table_link *entry, const char *name)
{
    table_add_hashed(table, entry, name, table_hash(name));
}

void table_remove(struct table *table, struct table_link *entry)
{
    struct table_link **at = &table->bucket[entry->hash & (table->buckets - 1)];

    while (*at != entry) {
        HK_BUG_ON(*at == NULL);
        at = &(*at)->next;
    }
    *at = entry->next;
    table->count--;
}

void table_clear(struct table *table)
{
    free(table->bucket);
    memset(table, 0, sizeof *table);
}

/* The cursor is the bucket after the one that `last` stands in, so removing `last` cannot lose the place; its link is
 * read before it is given away. */
void *table_next(const struct table *table, size_t *cursor, struct table_link *last)
{
    if (last != NULL && last->next != NULL)
        return last->next;
    while (*cursor < table->buckets) {
        struct table_link *e = table->bucket[(*cursor)++];
        if (e != NULL)
            return e;
    }
    return NULL;
}
