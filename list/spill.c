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

static void add(struct spill *s, const void *bytes, size_t length)
{
    const char *from = bytes;

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
    run->at = run->end = run->keys_at = s->end + s->used;
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
    for (uint32_t i = 0; i < count; i++)
        add(s, &key[order[i]], sizeof *key);
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

/* Which record comes when: by domain, inside a domain as they are. */
static int order_by_domain(const struct roster *r, uint32_t *order)
{
    uint32_t *next = calloc((size_t)r->domain_count + 1, sizeof *next);

    if (next == NULL)
        return HK_ENOMEM;
    for (uint32_t i = 0; i < r->count; i++)
        next[roster_owner(r, i) + 1]++;
    for (uint32_t d = 0; d < r->domain_count; d++)
        next[d + 1] += next[d];
    for (uint32_t i = 0; i < r->count; i++)
        order[next[roster_owner(r, i)]++] = i;
    free(next);
    return 0;
}

/* A key for each record, in the order in which the records lie in memory: that is what makes it fast. */
static void make_keys(const struct spill *s, const struct roster *r, struct spill_key *key)
{
    for (uint32_t i = 0; i < r->count; i++) {
        const unsigned char *bytes, *wire;
        size_t wire_length;
        key[i] =
            (struct spill_key){.domain = roster_owner(r, i), .length = (uint32_t)roster_record(r, i, &bytes)};
        wire = roster_wire(r, bytes, &wire_length);
        roster_hash_twice(s->seed, wire, wire_length, key[i].hash);
    }
}

/* The block of the domain that order[0] belongs to: how many records it took. */
static uint32_t add_block(struct spill *s, const struct roster *r, const uint32_t *order, uint32_t left,
                          struct spill_key *key)
{
    struct spill_block block = {.domain = key[order[0]].domain};
    const unsigned char *bytes;

    for (; block.count < left && key[order[block.count]].domain == block.domain; block.count++) {
        struct spill_key *k = &key[order[block.count]];
        k->place = s->places++;
        block.bytes += sizeof k->length + k->length;
    }
    add(s, &block, sizeof block);
    for (uint32_t i = 0; i < block.count; i++) {
        const struct spill_key *k = &key[order[i]];
        roster_record(r, order[i], &bytes);
        add(s, &k->length, sizeof k->length);
        add(s, bytes, k->length);
    }
    return block.count;
}

int spill_add_run(struct spill *s, struct roster *r, struct hk_why *why)
{
    uint32_t *order = malloc(((size_t)r->count + 1) * sizeof *order);
    struct spill_key *key = malloc(((size_t)r->count + 1) * sizeof *key);
    struct spill_run *run = NULL;
    int rc = HK_ENOMEM;

    if (s->known_used > 0 && flush_known(s, why) != 0)
        goto done;
    run = begin_run(s);
    if (order == NULL || key == NULL || run == NULL || order_by_domain(r, order) != 0)
        goto done;
    make_keys(s, r, key);
    for (uint32_t i = 0; i < r->count;)
        i += add_block(s, r, order + i, r->count - i, key);
    s->record_bytes += r->records.used;
    run->end = s->end + s->used;
    rc = add_keys(s, run, key, r->count);
    roster_empty(r);
done:
    free(order);
    free(key);
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
