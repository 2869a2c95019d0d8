/* hashes.h - a set of 64-bit hashes as one sorted file, mapped; and a small set of changes to it in memory.
 *
 *   0  magic, layout, ends     8 + 4 + 4 bytes; how many of the hashes end
 *  16  id                      of the Redis that it was made from; also the key of the hashes (hash_of)
 *  32  position, mark          how far the stream of changes is in it, and what stood there
 *  48  count                   of hashes
 *  56  sum                     over the header and the hashes
 *  64  hash[count]             ascending, none twice, none 0
 *      ending[ends]            place of a hash << 32 | second at which it ends, ascending
 * All numbers little-endian. Written beside its place, fsynced and renamed: a reader sees the old one or the new one.
 * Most hashes never end and cost 8 bytes; one that does has 8 more behind all of them, which are looked at only when it was
 * found. Nothing here knows Redis, an address, or what time it is. HK_ECHANGED: the file is damaged, in words.
 */
#ifndef HIKYAKU_STATE_HASHES_H
#define HIKYAKU_STATE_HASHES_H

#include "hikyaku/base.h"

#define HASH_ID_BYTES 16u

/* SipHash-2-4 of bytes under a key: nobody who does not know the key can make two that collide. Never 0. */
uint64_t hash_of(const uint8_t id[HASH_ID_BYTES], const void *bytes, size_t length);

/* A hash, and the second of the wall clock at which it ends; 0: never. */
struct hash_ending {
    uint64_t hash;
    uint32_t until_s;
};
/* By hash, ascending, equal ones once; *count is how many are left. HK_ENOMEM leaves them as they were. */
int hashes_sort(struct hash_ending *entry, size_t *count) HK_MUST_USE;

struct hash_file {
    uint8_t id[HASH_ID_BYTES];
    uint64_t position, mark;
    const uint64_t *hash;
    size_t count;
    const uint64_t *end; /* behind the hashes */
    size_t ends;
    uint32_t *first; /* where the hashes with each value of their upper 16 bits begin */
    void *map;       /* NULL: hash is memory of our own, or there is none */
    size_t map_bytes;
};

/* 0, HK_ENOENT, HK_ECHANGED, HK_EIO or HK_ENOMEM. The whole file is read once, and its sum and order are checked. */
int hash_file_open(const char *path, struct hash_file *out, struct hk_why *why) HK_MUST_USE;
/* The same from ascending hashes in memory (little-endian), which are its own from then on, or freed: HK_ENOMEM. Those that
 * end are copied. */
int hash_file_of(uint64_t *hash, size_t count, const struct hash_ending *ending, size_t endings,
                 struct hash_file *out) HK_MUST_USE;
void hash_file_close(struct hash_file *file);
/* It will be asked for: what that takes from memory is fetched meanwhile, for several at once. */
void hash_file_expect(const struct hash_file *file, uint64_t hash);
/* *until_s: the second at which it ends, 0: never, or it is not there. */
bool hash_file_has(const struct hash_file *file, uint64_t hash, uint32_t *until_s);

/* The endings of a file's hashes, asked for ascending places. */
struct hash_ends {
    const struct hash_file *file;
    size_t at;
};
uint32_t hash_ends_next(struct hash_ends *ends, size_t place);

/* Hashes in ascending order, then commit, which tells what failed on the way: then the old file stands as it was. */
struct hash_writer {
    char path[4096], temporary[4096];
    int fd;
    int error;
    size_t used;
    uint64_t count, sum;
    uint64_t *end; /* written behind the last hash */
    size_t ends, room;
    uint64_t buffer[8192];
};
int hash_writer_open(struct hash_writer *writer, const char *path, struct hk_why *why) HK_MUST_USE;
void hash_writer_put(struct hash_writer *writer, uint64_t hash, uint32_t until_s); /* 0: it never ends */
void hash_writer_abandon(struct hash_writer *writer);                              /* instead of the commit */
int hash_writer_commit(struct hash_writer *writer, const uint8_t id[HASH_ID_BYTES], uint64_t position,
                       uint64_t mark, struct hk_why *why) HK_MUST_USE;

enum hash_change {
    HASH_SAME,  /* nothing is known but the file */
    HASH_ADDED, /* the stream has told */
    HASH_REMOVED,
    HASH_OURS, /* added by us, the stream has not told yet: never written to the file */
};
struct hash_set {
    uint64_t *hash;
    uint8_t *change;   /* enum hash_change */
    uint32_t *until_s; /* of what was added; 0: it never ends */
    size_t count;      /* slots in use, those that say HASH_SAME by now too */
    size_t room;
};
enum hash_change hash_set_get(const struct hash_set *set, uint64_t hash, uint32_t *until_s);
int hash_set_put(struct hash_set *set, uint64_t hash, enum hash_change change, uint32_t until_s) HK_MUST_USE;
/* As small as it can be, without what says HASH_SAME. HK_ENOMEM: it stays as it is. */
int hash_set_fit(struct hash_set *set) HK_MUST_USE;
void hash_set_free(struct hash_set *set);

#endif
