/* hashes.c - the file of hashes and the changes to it (hashes.h). */
#include "hashes.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HASH_LAYOUT       2u
#define HASH_ROUNDS       6u /* of interpolation; then the rest is halved, whatever stands in it */
#define HASH_BUCKETS      65536u
#define HASH_BUCKET_SHIFT 48
#define HASH_BUCKET_LAST  (((uint64_t)1 << HASH_BUCKET_SHIFT) - 1)
#define HASH_NARROW       16u
#define SET_FIRST         1024u
#define ENDS_FIRST        1024u
#define END_PLACE_SHIFT   32

static const char hash_magic[8] = "HKSUPPR";

struct hash_header {
    char magic[8];
    uint32_t layout, ends;
    uint8_t id[HASH_ID_BYTES];
    uint64_t position, mark, count, sum;
};
_Static_assert(sizeof(struct hash_header) == 64, "layout changed: raise HASH_LAYOUT");

/* ---- hashing ---- */

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static uint64_t load64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

uint64_t hash_of(const uint8_t id[HASH_ID_BYTES], const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    uint64_t k0 = load64(id), k1 = load64(id + 8), last = (uint64_t)length << 56;
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u,
                     k1 ^ 0x7465646279746573u};

    for (size_t left = length / 8; left > 0; left--, at += 8)
        sip_word(v, load64(at));
    for (unsigned i = 0; i < length % 8; i++)
        last |= (uint64_t)at[i] << (8 * i);
    sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    last = v[0] ^ v[1] ^ v[2] ^ v[3];
    return last != 0 ? last : 1;
}

/* One pass of a radix sort: stable, by the byte at `shift`. False: all have the same one, nothing was moved. */
static bool sort_by_byte(const struct hash_ending *from, struct hash_ending *to, size_t count, unsigned shift)
{
    size_t at[256] = {0}, sum = 0;

    for (size_t i = 0; i < count; i++)
        at[from[i].hash >> shift & 0xff]++;
    if (count == 0 || at[from[0].hash >> shift & 0xff] == count)
        return false;
    for (unsigned b = 0; b < 256; b++) {
        size_t n = at[b];
        at[b] = sum;
        sum += n;
    }
    for (size_t i = 0; i < count; i++)
        to[at[from[i].hash >> shift & 0xff]++] = from[i];
    return true;
}

int hashes_sort(struct hash_ending *entry, size_t *count)
{
    struct hash_ending *other = malloc((*count + 1) * sizeof *other), *from = entry, *to = other;
    size_t kept = 0;

    if (!other)
        return HK_ENOMEM;
    for (unsigned shift = 0; shift < 64; shift += 8)
        if (sort_by_byte(from, to, *count, shift)) {
            struct hash_ending *swap = from;
            from = to;
            to = swap;
        }
    if (from != entry)
        memcpy(entry, from, *count * sizeof *entry);
    free(other);
    for (size_t i = 0; i < *count; i++)
        if (kept == 0 || entry[i].hash != entry[kept - 1].hash)
            entry[kept++] = entry[i];
    *count = kept;
    return 0;
}

/* ---- the file ---- */

/* Against damage, not against malice: who can write the file can write its sum. */
static uint64_t sum_add(uint64_t sum, uint64_t word)
{
    return rotate((sum ^ word) * 0x9e3779b97f4a7c15u, 29);
}

static uint64_t sum_header(uint64_t sum, const struct hash_header *header)
{
    const uint8_t *at = (const uint8_t *)header;

    for (size_t i = 0; i < offsetof(struct hash_header, sum); i += 8)
        sum = sum_add(sum, load64(at + i));
    return sum;
}

static int header_check(const struct hash_header *header, uint64_t bytes)
{
    if (memcmp(header->magic, hash_magic, sizeof hash_magic) != 0 || le32toh(header->layout) != HASH_LAYOUT)
        return HK_ECHANGED;
    return (bytes - sizeof *header) % 8 == 0 && le64toh(header->count) <= UINT32_MAX &&
                   le64toh(header->count) + le32toh(header->ends) == (bytes - sizeof *header) / 8
               ? 0
               : HK_ECHANGED;
}

/* Ascending words go into the sum; false: they are not. */
static bool words_check(const uint64_t *word, size_t count, uint64_t *sum)
{
    uint64_t before = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t value = le64toh(word[i]);
        if (value <= before)
            return false;
        *sum = sum_add(*sum, value);
        before = value;
    }
    return true;
}

static int content_check(const struct hash_header *header, const struct hash_file *file)
{
    uint64_t sum = 0;

    if (!words_check(file->hash, file->count, &sum) || !words_check(file->end, file->ends, &sum) ||
        (file->ends > 0 && le64toh(file->end[file->ends - 1]) >> END_PLACE_SHIFT >= file->count))
        return HK_ECHANGED;
    return sum_header(sum, header) == le64toh(header->sum) ? 0 : HK_ECHANGED;
}

/* So small that it stays in a cache, and it leaves a hundred hashes of ten million to look at. */
static int file_index(struct hash_file *file)
{
    size_t at = 0;

    file->first = malloc((HASH_BUCKETS + 1) * sizeof *file->first);
    if (!file->first)
        return HK_ENOMEM;
    for (uint32_t bucket = 0; bucket < HASH_BUCKETS; bucket++) {
        file->first[bucket] = (uint32_t)at;
        while (at < file->count && le64toh(file->hash[at]) >> HASH_BUCKET_SHIFT == bucket)
            at++;
    }
    file->first[HASH_BUCKETS] = (uint32_t)at;
    return 0;
}

static uint64_t end_word(size_t place, uint32_t until_s)
{
    return (uint64_t)place << END_PLACE_SHIFT | until_s;
}

int hash_file_of(uint64_t *hash, size_t count, const struct hash_ending *ending, size_t endings,
                 struct hash_file *out)
{
    uint64_t *end = malloc((endings + 1) * sizeof *end);

    memset(out, 0, sizeof *out);
    out->hash = hash;
    out->count = count;
    out->end = end;
    for (size_t i = 0; end && i < count && out->ends < endings; i++)
        if (le64toh(hash[i]) == ending[out->ends].hash) {
            end[out->ends] = htole64(end_word(i, ending[out->ends].until_s));
            out->ends++;
        }
    if (end && file_index(out) == 0)
        return 0;
    hash_file_close(out);
    return HK_ENOMEM;
}

static int file_map(int fd, const char *path, struct hash_file *out, struct hk_why *why)
{
    const struct hash_header *header;
    struct stat st;

    if (fstat(fd, &st) != 0)
        return why_set(why, HK_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof *header)
        return why_set(why, HK_ECHANGED, "%s: too short for its header", path);
    out->map_bytes = (size_t)st.st_size;
    out->map = mmap(NULL, out->map_bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (out->map == MAP_FAILED) {
        out->map = NULL;
        return why_set(why, HK_ENOMEM, "%s: cannot be mapped: %s", path, strerror(errno));
    }
    (void)madvise(out->map, out->map_bytes, MADV_DONTFORK); /* no child of the node asks it */
    header = out->map;
    out->hash = (const uint64_t *)(header + 1);
    if (header_check(header, out->map_bytes) != 0)
        return why_set(why, HK_ECHANGED, "%s: its header is damaged, or of another version", path);
    out->count = (size_t)le64toh(header->count);
    out->end = out->hash + out->count;
    out->ends = le32toh(header->ends);
    if (content_check(header, out) != 0)
        return why_set(why, HK_ECHANGED, "%s: its content is damaged", path);
    if (file_index(out) != 0)
        return why_set(why, HK_ENOMEM, "%s: no memory for its index", path);
    memcpy(out->id, header->id, sizeof out->id);
    out->position = le64toh(header->position);
    out->mark = le64toh(header->mark);
    return 0;
}

int hash_file_open(const char *path, struct hash_file *out, struct hk_why *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), error;

    memset(out, 0, sizeof *out);
    if (fd < 0)
        return why_set(why, errno == ENOENT ? HK_ENOENT : HK_EIO, "%s: %s", path, strerror(errno));
    error = file_map(fd, path, out, why);
    (void)close(fd);
    if (error)
        hash_file_close(out);
    return error;
}

void hash_file_close(struct hash_file *file)
{
    if (file->map) {
        (void)munmap(file->map, file->map_bytes);
    } else {
        free((void *)(uintptr_t)file->hash);
        free((void *)(uintptr_t)file->end);
    }
    free(file->first);
    memset(file, 0, sizeof *file);
}

/* Where `wanted` lies in [low, high) if values are spread evenly over [below, above]. */
static size_t likely_place(size_t low, size_t high, uint64_t below, uint64_t above, uint64_t wanted)
{
    double share = (double)(wanted - below) / (double)(above - below);
    size_t at = low + (size_t)(share * (double)(high - low));

    return at < high ? at : high - 1;
}

/* The place of the first word that is not below `wanted`, among ascending ones in [low, high) whose values lie in
 * [below, above]. They are spread evenly, so where one lies can be reckoned from its value: two looks or three. */
static size_t lower_bound(const uint64_t *word, size_t low, size_t high, uint64_t below, uint64_t above,
                          uint64_t wanted)
{
    for (unsigned round = 0; low < high; round++) {
        size_t at = low + (high - low) / 2;
        uint64_t value;
        if (round < HASH_ROUNDS && high - low > HASH_NARROW)
            at = likely_place(low, high, below, above, wanted);
        value = le64toh(word[at]);
        if (value == wanted)
            return at;
        if (value < wanted) {
            low = at + 1;
            below = value;
        } else {
            high = at;
            above = value;
        }
    }
    return low;
}

static uint32_t until_of(const struct hash_file *file, size_t place)
{
    uint64_t first = end_word(place, 0);
    size_t at = lower_bound(file->end, 0, file->ends, 0, end_word(file->count, 0), first);
    uint64_t value = at < file->ends ? le64toh(file->end[at]) : 0;

    return value >> END_PLACE_SHIFT == place ? (uint32_t)value : 0;
}

void hash_file_expect(const struct hash_file *file, uint64_t hash)
{
    size_t bucket = hash >> HASH_BUCKET_SHIFT;
    uint64_t below = (uint64_t)bucket << HASH_BUCKET_SHIFT;

    if (file->count > 0 && file->first[bucket] < file->first[bucket + 1])
        __builtin_prefetch(&file->hash[likely_place(file->first[bucket], file->first[bucket + 1], below,
                                                    below + HASH_BUCKET_LAST, hash)]);
}

bool hash_file_has(const struct hash_file *file, uint64_t hash, uint32_t *until_s)
{
    size_t bucket = hash >> HASH_BUCKET_SHIFT, high = file->count > 0 ? file->first[bucket + 1] : 0;
    uint64_t below = (uint64_t)bucket << HASH_BUCKET_SHIFT;
    size_t at = lower_bound(file->hash, file->count > 0 ? file->first[bucket] : 0, high, below,
                            below + HASH_BUCKET_LAST, hash);
    bool found = at < high && le64toh(file->hash[at]) == hash;

    *until_s = found && file->ends > 0 ? until_of(file, at) : 0;
    return found;
}

uint32_t hash_ends_next(struct hash_ends *ends, size_t place)
{
    const struct hash_file *file = ends->file;

    while (ends->at < file->ends && le64toh(file->end[ends->at]) >> END_PLACE_SHIFT < place)
        ends->at++;
    return ends->at < file->ends && le64toh(file->end[ends->at]) >> END_PLACE_SHIFT == place
               ? (uint32_t)le64toh(file->end[ends->at])
               : 0;
}

/* ---- writing ---- */

int hash_writer_open(struct hash_writer *writer, const char *path, struct hk_why *why)
{
    const struct hash_header blank = {.count = 0};

    writer->used = 0;
    writer->end = NULL;
    writer->ends = writer->room = 0;
    writer->count = writer->sum = 0;
    writer->error = 0;
    if ((size_t)snprintf(writer->path, sizeof writer->path, "%s", path) >= sizeof writer->path ||
        (size_t)snprintf(writer->temporary, sizeof writer->temporary, "%s.new", path) >=
            sizeof writer->temporary)
        return why_set(why, HK_ETOOBIG, "%s: too long a path", path);
    writer->fd = open(writer->temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (writer->fd < 0)
        return why_set(why, HK_EIO, "%s: %s", writer->temporary, strerror(errno));
    if (hk_write_all(writer->fd, &blank, sizeof blank) != 0)
        writer->error = errno;
    return 0;
}

static void writer_flush(struct hash_writer *writer)
{
    if (writer->error == 0 &&
        hk_write_all(writer->fd, writer->buffer, writer->used * sizeof writer->buffer[0]) != 0)
        writer->error = errno;
    writer->used = 0;
}

static void writer_word(struct hash_writer *writer, uint64_t word)
{
    if (writer->used == sizeof writer->buffer / sizeof writer->buffer[0])
        writer_flush(writer);
    writer->buffer[writer->used++] = htole64(word);
    writer->sum = sum_add(writer->sum, word);
}

static void writer_end(struct hash_writer *writer, uint64_t word)
{
    if (writer->ends == writer->room) {
        size_t room = writer->room > 0 ? writer->room * 2 : ENDS_FIRST;
        uint64_t *larger = realloc(writer->end, room * sizeof *larger);
        if (!larger) {
            writer->error = ENOMEM;
            return;
        }
        writer->end = larger;
        writer->room = room;
    }
    writer->end[writer->ends++] = word;
}

void hash_writer_put(struct hash_writer *writer, uint64_t hash, uint32_t until_s)
{
    writer_word(writer, hash);
    if (until_s != 0)
        writer_end(writer, end_word(writer->count, until_s));
    writer->count++;
}

static int sync_directory(const char *path)
{
    char directory[4096];
    char *slash;
    int fd, rc;

    (void)snprintf(directory, sizeof directory, "%s", path);
    slash = strrchr(directory, '/');
    if (slash)
        slash[slash == directory] = '\0';
    fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    rc = fsync(fd);
    (void)close(fd);
    return rc;
}

void hash_writer_abandon(struct hash_writer *writer)
{
    free(writer->end);
    (void)close(writer->fd);
    (void)unlink(writer->temporary);
}

int hash_writer_commit(struct hash_writer *writer, const uint8_t id[HASH_ID_BYTES], uint64_t position,
                       uint64_t mark, struct hk_why *why)
{
    struct hash_header header = {.layout = htole32(HASH_LAYOUT),
                                 .ends = htole32((uint32_t)writer->ends),
                                 .position = htole64(position),
                                 .mark = htole64(mark),
                                 .count = htole64(writer->count)};

    for (size_t i = 0; i < writer->ends; i++)
        writer_word(writer, writer->end[i]);
    free(writer->end);
    memcpy(header.magic, hash_magic, sizeof header.magic);
    memcpy(header.id, id, sizeof header.id);
    header.sum = htole64(sum_header(writer->sum, &header));
    writer_flush(writer);
    if (writer->error == 0 &&
        (lseek(writer->fd, 0, SEEK_SET) != 0 || hk_write_all(writer->fd, &header, sizeof header) != 0 ||
         fsync(writer->fd) != 0 || rename(writer->temporary, writer->path) != 0 ||
         sync_directory(writer->path) != 0))
        writer->error = errno;
    (void)close(writer->fd);
    if (writer->error == 0)
        return 0;
    (void)unlink(writer->temporary);
    return why_set(why, HK_EIO, "%s: cannot be written: %s", writer->path, strerror(writer->error));
}

/* ---- changes in memory ---- */

static size_t set_slot(const struct hash_set *set, uint64_t hash)
{
    size_t at = hash & (set->room - 1);

    while (set->hash[at] != 0 && set->hash[at] != hash)
        at = (at + 1) & (set->room - 1);
    return at;
}

enum hash_change hash_set_get(const struct hash_set *set, uint64_t hash, uint32_t *until_s)
{
    size_t at = set->room == 0 ? 0 : set_slot(set, hash);

    *until_s = set->room == 0 ? 0 : set->until_s[at];
    return set->room == 0 ? HASH_SAME : (enum hash_change)set->change[at];
}

int hash_set_fit(struct hash_set *set)
{
    struct hash_set fit = {.room = SET_FIRST};

    for (size_t i = 0; i < set->room; i++)
        fit.count += set->change[i] != HASH_SAME;
    while (fit.count * 2 >= fit.room)
        fit.room *= 2;
    fit.hash = calloc(fit.room, sizeof *fit.hash);
    fit.change = calloc(fit.room, sizeof *fit.change);
    fit.until_s = calloc(fit.room, sizeof *fit.until_s);
    if (!fit.hash || !fit.change || !fit.until_s) {
        hash_set_free(&fit);
        return HK_ENOMEM;
    }
    for (size_t i = 0; i < set->room; i++)
        if (set->change[i] != HASH_SAME) {
            size_t at = set_slot(&fit, set->hash[i]);
            fit.hash[at] = set->hash[i];
            fit.change[at] = set->change[i];
            fit.until_s[at] = set->until_s[i];
        }
    hash_set_free(set);
    *set = fit;
    return 0;
}

int hash_set_put(struct hash_set *set, uint64_t hash, enum hash_change change, uint32_t until_s)
{
    size_t at;

    if (set->count * 2 >= set->room) {
        int error = hash_set_fit(set);
        if (error)
            return error;
    }
    at = set_slot(set, hash);
    set->count += set->hash[at] == 0;
    set->hash[at] = hash;
    set->change[at] = (uint8_t)change;
    set->until_s[at] = until_s;
    return 0;
}

void hash_set_free(struct hash_set *set)
{
    free(set->hash);
    free(set->change);
    free(set->until_s);
    memset(set, 0, sizeof *set);
}
