/* sink_table.c - open addressing over an array of entries; the texts lie in blocks that never move. */
#include <string.h>

#include "sink_table.h"

#define TEXT_BLOCK_BYTES 1048576u
#define SLOTS_FIRST      4096u

struct text_block {
    struct text_block *next;
    size_t used;
    char bytes[TEXT_BLOCK_BYTES];
};

struct sink_table {
    uint32_t *slot; /* number + 1 of an entry; 0: empty */
    size_t slots;   /* a power of two, at least twice the entries */
    struct sink_entry *entry;
    size_t count, size;
    struct text_block *text;
};

uint64_t sink_hash(const char *text, size_t length)
{
    uint64_t hash = 14695981039346656037u;

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    return hash ^ (hash >> 32);
}

double sink_hash_share(uint64_t hash, uint64_t salt)
{
    uint64_t x = hash + salt * 0x9e3779b97f4a7c15u;

    /* The finisher of splitmix64: neighbouring addresses must not fall together. */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return (double)(x >> 11) * 0x1.0p-53;
}

struct sink_table *sink_table_new(void)
{
    struct sink_table *table = calloc(1, sizeof *table);

    if (table == NULL)
        return NULL;
    table->slots = SLOTS_FIRST;
    table->slot = calloc(table->slots, sizeof *table->slot);
    if (table->slot == NULL) {
        free(table);
        return NULL;
    }
    return table;
}

void sink_table_free(struct sink_table *table)
{
    if (table == NULL)
        return;
    while (table->text != NULL) {
        struct text_block *next = table->text->next;

        free(table->text);
        table->text = next;
    }
    free(table->slot);
    free(table->entry);
    free(table);
}

size_t sink_table_count(const struct sink_table *table)
{
    return table->count;
}

struct sink_entry *sink_table_at(struct sink_table *table, uint32_t number)
{
    HK_BUG_ON(number >= table->count);
    return &table->entry[number];
}

/* The slot that holds the address, or the empty one where it belongs. */
static size_t slot_of(const struct sink_table *table, uint64_t hash, const char *text, size_t length)
{
    size_t i = (size_t)hash & (table->slots - 1);

    while (table->slot[i] != 0) {
        const struct sink_entry *e = &table->entry[table->slot[i] - 1];

        if (e->hash == hash && e->length == length && memcmp(e->text, text, length) == 0)
            break;
        i = (i + 1) & (table->slots - 1);
    }
    return i;
}

bool sink_table_has(const struct sink_table *table, const char *text, size_t length)
{
    return table->slot[slot_of(table, sink_hash(text, length), text, length)] != 0;
}

/* Room for one entry more: twice the entries, twice the slots. */
static bool table_grow(struct sink_table *table)
{
    if (table->count == table->size) {
        size_t size = table->size == 0 ? SLOTS_FIRST / 2 : table->size * 2;
        struct sink_entry *entry = realloc(table->entry, size * sizeof *entry);

        if (entry == NULL)
            return false;
        table->entry = entry;
        table->size = size;
    }
    if (table->count * 2 >= table->slots) {
        size_t slots = table->slots < SLOTS_FIRST ? SLOTS_FIRST : table->slots * 2;
        uint32_t *slot = calloc(slots, sizeof *slot);

        if (slot == NULL)
            return false;
        for (size_t n = 0; n < table->count; n++) {
            size_t i = (size_t)table->entry[n].hash & (slots - 1);

            while (slot[i] != 0)
                i = (i + 1) & (slots - 1);
            slot[i] = (uint32_t)n + 1;
        }
        free(table->slot);
        table->slot = slot;
        table->slots = slots;
    }
    return table->count < UINT32_MAX - 1;
}

static const char *text_keep(struct sink_table *table, const char *text, size_t length)
{
    char *to;

    if (table->text == NULL || TEXT_BLOCK_BYTES - table->text->used < length) {
        struct text_block *block = malloc(sizeof *block);

        if (block == NULL)
            return NULL;
        block->next = table->text;
        block->used = 0;
        table->text = block;
    }
    to = table->text->bytes + table->text->used;
    memcpy(to, text, length);
    table->text->used += length;
    return to;
}

struct sink_entry *sink_table_find(struct sink_table *table, const char *text, size_t length,
                                   uint32_t *number)
{
    uint64_t hash = sink_hash(text, length);
    size_t i = slot_of(table, hash, text, length);
    const char *kept;

    HK_BUG_ON(length > UINT16_MAX);
    if (table->slot[i] == 0) {
        if (!table_grow(table) || (kept = text_keep(table, text, length)) == NULL)
            return NULL;
        i = slot_of(table, hash, text, length);
        table->entry[table->count] =
            (struct sink_entry){.text = kept, .hash = hash, .length = (uint16_t)length};
        table->slot[i] = (uint32_t)++table->count;
    }
    *number = table->slot[i] - 1;
    return &table->entry[*number];
}
