/* spill.c - runs and keys: written, and the keys read again to find duplicates (spill.h). */
#include "spill.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "format.h"

#define SPILL_BUFFER_SIZE (1u << 20)
#define SPILL_KNOWN_MAX   (1u << 18) /* keys of earlier segments that are kept until they are written */
#define SPILL_AHEAD       16u        /* records that are on their way from memory while one is written */
#define SPILL_KNOWN       UINT32_MAX /* in place of a domain: the key is an earlier segment's */

struct spill_key {
    uint64_t hash[2];
    uint32_t place;
    uint32_t domain;
    uint32_t length; /* of the record */
    uint32_t found;  /* of a known one: the list has it */
};
_Static_assert(sizeof(struct spill_key) == 32, "keys lie in a file without padding");

/* ---- the file ---- */

static int failed(const struct spill *s, int error, struct hk_why *why)
{
    if (error == ENOSPC || error == EDQUOT)
        return why_set(why, HK_EFULL, "%s: no room left on the disk for sorting the list", s->path);
    return why_set(why, HK_EIO, "%s: cannot sort the list on disk: %s", s->path, strerror(error));
}

static int no_memory(const struct spill *s, struct hk_why *why)
{
    return why_set(why, HK_ENOMEM, "%s: out of memory", s->path);
}

int spill_open(struct spill *s, const char *segment_path, struct hk_why *why)
{
    memset(s, 0, sizeof *s);
    s->fd = -1;
    s->buffer = malloc(SPILL_BUFFER_SIZE);
    if (asprintf(&s->path, "%s.spill", segment_path) < 0)
        s->path = NULL;
    if (s->buffer == NULL || s->path == NULL)
        return why_set(why, HK_ENOMEM, "%s: out of memory", segment_path);
    if (getrandom(s->seed, sizeof s->seed, 0) != (ssize_t)sizeof s->seed)
        return failed(s, errno, why);
    /* The segment's own temporary file is locked by now: whoever left this one is dead. */
    s->fd = open(s->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->fd < 0 || unlink(s->path) != 0)
        return failed(s, errno, why);
    return 0;
}

void spill_close(struct spill *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    free(s->run);
    free(s->buffer);
    free(s->known);
    free(s->dropped);
    memset(s, 0, sizeof *s);
    s->fd = -1;
}

static void flush(struct spill *s)
{
    if (s->error == 0 && hk_write_all(s->fd, s->buffer, s->used) != 0)
        s->error = errno != 0 ? errno : EIO;
    s->end += s->used;
    s->used = 0;
}

static inline void add(struct spill *s, const void *bytes, size_t length)
{
    const char *from = bytes;

    if (length < SPILL_BUFFER_SIZE - s->used) {
        memcpy(s->buffer + s->used, from, length);
        s->used += length;
        return;
    }
    while (length > 0) {
        size_t room = SPILL_BUFFER_SIZE - s->used, n = length < room ? length : room;
        memcpy(s->buffer + s->used, from, n);
        s->used += n;
        from += n;
        length -= n;
        if (s->used == SPILL_BUFFER_SIZE)
            flush(s);
    }
}

int spill_read(const struct spill *s, uint64_t at, void *bytes, size_t length)
{
    return hk_pread_all(s->fd, bytes, length, (off_t)at) == (ssize_t)length ? 0 : HK_EIO;
}

/* ---- runs ---- */

static struct spill_run *begin_run(struct spill *s)
{
    struct spill_run *run;

    if (s->runs == s->runs_capacity) {
        uint32_t capacity = s->runs_capacity == 0 ? 16 : s->runs_capacity * 2;
        run = realloc(s->run, capacity * sizeof *run);
        if (run == NULL)
            return NULL;
        s->run = run;
        s->runs_capacity = capacity;
    }
    run = &s->run[s->runs++];
    memset(run, 0, sizeof *run);
    run->records_at = run->blocks_at = run->keys_at = s->end + s->used;
    run->place = s->places;
    return run;
}

static unsigned partition_of(const struct spill_key *key)
{
    return (unsigned)(key->hash[0] >> 56);
}

/* Write keys grouped by partition; in a partition they keep their order. */
static int add_keys(struct spill *s, struct spill_run *run, const struct spill_key *key, uint32_t count)
{
    uint32_t *order = malloc(((size_t)count + 1) * sizeof *order), next[SPILL_PARTITIONS], first = 0;

    if (order == NULL)
        return HK_ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        run->keys[partition_of(&key[i])]++;
    for (unsigned p = 0; p < SPILL_PARTITIONS; p++) {
        next[p] = first;
        first += run->keys[p];
    }
    for (uint32_t i = 0; i < count; i++)
        order[next[partition_of(&key[i])]++] = i;
    run->keys_at = s->end + s->used;
    for (uint32_t i = 0; i < count; i++) {
        if (i + SPILL_AHEAD < count)
            __builtin_prefetch(&key[order[i + SPILL_AHEAD]]);
        add(s, &key[order[i]], sizeof *key);
    }
    free(order);
    return 0;
}

static int flush_known(struct spill *s, struct hk_why *why)
{
    struct spill_run *run = begin_run(s);
    int rc = run == NULL ? HK_ENOMEM : add_keys(s, run, s->known, s->known_used);

    s->known_used = 0;
    if (rc != 0)
        return no_memory(s, why);
    return s->error == 0 ? 0 : failed(s, s->error, why);
}

int spill_add_known(struct spill *s, const char *wire, size_t length, struct hk_why *why)
{
    struct spill_key *key;

    if (s->known == NULL)
        s->known = malloc(SPILL_KNOWN_MAX * sizeof *s->known);
    if (s->known == NULL)
        return no_memory(s, why);
    key = &s->known[s->known_used++];
    *key = (struct spill_key){.domain = SPILL_KNOWN};
    roster_hash_twice(s->seed, wire, length, key->hash);
    s->known_total++;
    return s->known_used < SPILL_KNOWN_MAX ? 0 : flush_known(s, why);
}

/* What a run is made of before it is written. */
struct draft {
    uint32_t *end;   /* for each domain of the roster: how many records it and those before it have */
    uint32_t *order; /* which record comes when: by domain, inside a domain as they are */
    struct spill_key *key;
    char *blocks;
    size_t blocks_used;
};

static int draft_init(struct draft *d, const struct roster *r)
{
    size_t domains = r->domain_count < r->count ? r->domain_count : r->count;

    memset(d, 0, sizeof *d);
    d->end = calloc((size_t)r->domain_count + 1, sizeof *d->end);
    d->order = malloc(((size_t)r->count + 1) * sizeof *d->order);
    d->key = malloc(((size_t)r->count + 1) * sizeof *d->key);
    d->blocks = malloc(domains * sizeof(struct spill_block) + ((size_t)r->count + 1) * sizeof(uint32_t));
    return d->end != NULL && d->order != NULL && d->key != NULL && d->blocks != NULL ? 0 : HK_ENOMEM;
}

static void draft_free(struct draft *d)
{
    free(d->end);
    free(d->order);
    free(d->key);
    free(d->blocks);
}

static struct spill_key make_key(const struct spill *s, const struct roster *r, uint32_t i)
{
    struct spill_key key = {.domain = roster_owner(r, i)};
    const unsigned char *bytes, *wire;
    size_t wire_length;

    key.length = (uint32_t)roster_record(r, i, &bytes);
    wire = roster_wire(r, bytes, &wire_length);
    roster_hash_twice(s->seed, wire, wire_length, key.hash);
    return key;
}

/* Give each record its place and its key, in the order in which they lie in memory: that is what makes it fast. */
static void deal(const struct spill *s, const struct roster *r, struct draft *d)
{
    for (uint32_t i = 0; i < r->count; i++)
        d->end[roster_owner(r, i) + 1]++;
    for (uint32_t k = 0; k < r->domain_count; k++)
        d->end[k + 1] += d->end[k];
    for (uint32_t i = 0; i < r->count; i++) {
        uint32_t at = d->end[roster_owner(r, i)]++;
        d->order[at] = i;
        d->key[i] = make_key(s, r, i);
        d->key[i].place = s->places + at;
    }
}

static void draft_add(struct draft *d, const void *bytes, size_t length)
{
    memcpy(d->blocks + d->blocks_used, bytes, length);
    d->blocks_used += length;
}

/* The records of a domain, which are those from `first` to below `end` in their order. They lie anywhere, so they are
 * sent for some records ahead. */
static void add_block(struct spill *s, const struct roster *r, struct draft *d, uint32_t domain,
                      uint32_t first, uint32_t end)
{
    struct spill_block block = {.domain = domain, .count = end - first};
    size_t head = d->blocks_used;

    draft_add(d, &block, sizeof block);
    for (uint32_t i = first; i < end; i++) {
        const unsigned char *bytes;
        uint32_t length = (uint32_t)roster_record(r, d->order[i], &bytes);
        if (i + SPILL_AHEAD < r->count)
            roster_prefetch(r, d->order[i + SPILL_AHEAD]);
        draft_add(d, &length, sizeof length);
        add(s, bytes, length);
        block.bytes += length;
    }
    memcpy(d->blocks + head, &block, sizeof block);
}

static int write_run(struct spill *s, const struct roster *r, struct spill_run *run, struct draft *d)
{
    uint32_t first = 0;

    deal(s, r, d);
    for (uint32_t k = 0; k < r->domain_count; k++) {
        if (d->end[k] > first)
            add_block(s, r, d, k, first, d->end[k]);
        first = d->end[k];
    }
    s->places += r->count;
    s->record_bytes += r->records.used;
    run->blocks_at = s->end + s->used;
    add(s, d->blocks, d->blocks_used);
    return add_keys(s, run, d->key, r->count);
}

int spill_add_run(struct spill *s, struct roster *r, struct hk_why *why)
{
    struct spill_run *run = NULL;
    struct draft draft;
    int rc = s->known_used > 0 ? flush_known(s, why) : 0;

    if (rc != 0)
        return rc;
    if (draft_init(&draft, r) == 0)
        run = begin_run(s);
    rc = run == NULL ? HK_ENOMEM : write_run(s, r, run, &draft);
    if (rc == 0)
        roster_empty(r);
    draft_free(&draft);
    if (s->error != 0)
        return failed(s, s->error, why);
    return rc == 0 ? 0 : no_memory(s, why);
}

/* ---- duplicates ---- */

struct settling {
    struct spill_key *key; /* of one partition, in the order of runs */
    uint32_t *slot;        /* open addressing: index in key + 1 */
    uint32_t mask;
    uint64_t *next; /* for each run: where the keys of the next partition begin */
};

static uint64_t keys_in(const struct spill *s, unsigned partition)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < s->runs; i++)
        sum += s->run[i].keys[partition];
    return sum;
}

static int settling_init(const struct spill *s, struct settling *t)
{
    uint64_t most = 1, slots = 16;

    for (unsigned p = 0; p < SPILL_PARTITIONS; p++)
        most = keys_in(s, p) > most ? keys_in(s, p) : most;
    while (slots < most * 2)
        slots *= 2;
    t->mask = (uint32_t)(slots - 1);
    t->key = malloc(most * sizeof *t->key);
    t->slot = malloc(slots * sizeof *t->slot);
    t->next = malloc(((size_t)s->runs + 1) * sizeof *t->next);
    if (t->key == NULL || t->slot == NULL || t->next == NULL)
        return HK_ENOMEM;
    for (uint32_t i = 0; i < s->runs; i++)
        t->next[i] = s->run[i].keys_at;
    return 0;
}

static void drop(struct spill *s, struct roster *r, const struct spill_key *key)
{
    s->dropped[key->place / 64] |= (uint64_t)1 << key->place % 64;
    s->records--;
    s->record_bytes -= key->length;
    roster_domain_less(r, key->domain);
}

/* `key` is of the same mailbox as `first`, which came before it. */
static void settle_pair(struct spill *s, struct roster *r, struct spill_key *first,
                        const struct spill_key *key)
{
    if (key->domain == SPILL_KNOWN)
        return;
    if (first->domain == SPILL_KNOWN && first->found == 0) {
        first->found = 1;
        s->known_again++;
    } else {
        s->duplicates++;
    }
    drop(s, r, key);
}

/* Where the first key of this mailbox is, or will be. */
static uint32_t *find_key(const struct settling *t, const struct spill_key *key)
{
    uint32_t at = (uint32_t)key->hash[1] & t->mask;

    for (; t->slot[at] != 0; at = (at + 1) & t->mask) {
        const struct spill_key *there = &t->key[t->slot[at] - 1];
        if (there->hash[0] == key->hash[0] && there->hash[1] == key->hash[1])
            break;
    }
    return &t->slot[at];
}

static int settle_partition(struct spill *s, struct roster *r, struct settling *t, unsigned partition)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < s->runs; i++) {
        uint32_t n = s->run[i].keys[partition];
        if (spill_read(s, t->next[i], t->key + count, n * sizeof *t->key) != 0)
            return HK_EIO;
        t->next[i] += n * sizeof *t->key;
        count += n;
    }
    memset(t->slot, 0, ((size_t)t->mask + 1) * sizeof *t->slot);
    for (uint32_t i = 0; i < count; i++) {
        struct spill_key *key = &t->key[i];
        uint32_t *slot = find_key(t, key);
        if (*slot != 0)
            settle_pair(s, r, &t->key[*slot - 1], key);
        else
            *slot = i + 1;
    }
    return 0;
}

int spill_settle(struct spill *s, struct roster *r, struct hk_why *why)
{
    struct settling t = {0};
    int rc;

    flush(s);
    if (s->error != 0)
        return failed(s, s->error, why);
    s->records = s->places;
    s->dropped = calloc((size_t)s->places / 64 + 1, sizeof *s->dropped);
    rc = s->dropped == NULL ? HK_ENOMEM : settling_init(s, &t);
    for (unsigned p = 0; rc == 0 && p < SPILL_PARTITIONS; p++)
        rc = settle_partition(s, r, &t, p);
    free(t.key);
    free(t.slot);
    free(t.next);
    if (rc == HK_ENOMEM)
        return no_memory(s, why);
    return rc == 0 ? 0 : failed(s, EIO, why);
}
