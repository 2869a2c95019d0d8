/* spill_merge.c - the runs of a spill, merged by domain into the order of the segment (spill.h).
 *
 * Every run is read front to back, once for the big domains and once for the small ones, because the segment
 * holds the big ones first; blocks of the others are skipped. A heap tells which run has the next domain.
 */
#include <endian.h>
#include <string.h>

#include "spill.h"

#define MERGE_MEMORY     (32u << 20) /* buffers of all runs together */
#define MERGE_BUFFER_MAX (1u << 20)
#define MERGE_BUFFER_MIN 4096u

/* A part of a run, read front to back. */
struct merge_part {
    uint64_t at, end; /* in the file: what is not in the buffer yet */
    char *buffer;
    size_t pos, filled;
};

struct merge_cursor {
    struct merge_part blocks, records;
    struct spill_block block; /* whose records come next */
    uint32_t run, place;
};

struct merge {
    const struct spill *spill;
    const struct roster *roster;
    struct output *out;
    bool index_wanted; /* else the records themselves */
    bool big;
    uint64_t record_at;
    size_t buffer_size;
    struct merge_cursor *cursor;
    char *buffers;
    uint32_t *heap; /* cursors by (domain, run) */
    uint32_t heap_count;
};

/* ---- reading a run ---- */

static int refill(const struct merge *m, struct merge_part *p)
{
    uint64_t left = p->end - p->at;
    size_t n = left < m->buffer_size ? (size_t)left : m->buffer_size;

    if (n == 0 || spill_read(m->spill, p->at, p->buffer, n) != 0)
        return HK_EIO;
    p->at += n;
    p->pos = 0;
    p->filled = n;
    return 0;
}

/* The next `length` bytes, one piece at a time: to `to`, or where that is NULL, to `out`. */
static int take(const struct merge *m, struct merge_part *p, void *to, struct output *out, uint64_t length)
{
    char *into = to;

    while (length > 0) {
        size_t n = p->filled - p->pos;
        if (n == 0 && refill(m, p) != 0)
            return HK_EIO;
        n = p->filled - p->pos;
        n = n < length ? n : (size_t)length;
        if (into != NULL)
            into = (char *)memcpy(into, p->buffer + p->pos, n) + n;
        else
            output_add(out, p->buffer + p->pos, n);
        p->pos += n;
        length -= n;
    }
    return 0;
}

/* Go over bytes; what is not in the buffer yet is not read. */
static int skip(struct merge_part *p, uint64_t length)
{
    size_t n = p->filled - p->pos;

    n = n < length ? n : (size_t)length;
    p->pos += n;
    if (length - n > p->end - p->at)
        return HK_EIO;
    p->at += length - n;
    return 0;
}

static int skip_block(struct merge_cursor *c)
{
    int rc = skip(&c->blocks, (uint64_t)c->block.count * sizeof(uint32_t));

    c->place += c->block.count;
    return rc == 0 ? skip(&c->records, c->block.bytes) : rc;
}

/* The next block of the kind that is wanted: 1; 0 at the end of the run. */
static int next_block(struct merge *m, struct merge_cursor *c)
{
    while (c->blocks.pos < c->blocks.filled || c->blocks.at < c->blocks.end) {
        int rc = take(m, &c->blocks, &c->block, NULL, sizeof c->block);
        if (rc != 0)
            return rc;
        HK_BUG_ON(c->block.domain >= m->roster->domain_count);
        if (roster_domain_is_big(roster_domain(m->roster, c->block.domain)) == m->big)
            return 1;
        rc = skip_block(c);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- the heap ---- */

static bool comes_before(const struct merge *m, uint32_t a, uint32_t b)
{
    const struct merge_cursor *x = &m->cursor[a], *y = &m->cursor[b];

    return x->block.domain != y->block.domain ? x->block.domain < y->block.domain : x->run < y->run;
}

static void sink_down(struct merge *m, uint32_t i)
{
    for (;;) {
        uint32_t least = i, child = 2 * i + 1, moved = m->heap[i];
        for (uint32_t k = child; k < child + 2 && k < m->heap_count; k++)
            least = comes_before(m, m->heap[k], m->heap[least]) ? k : least;
        if (least == i)
            return;
        m->heap[i] = m->heap[least];
        m->heap[least] = moved;
        i = least;
    }
}

static int fill_heap(struct merge *m)
{
    m->heap_count = 0;
    for (uint32_t i = 0; i < m->spill->runs; i++) {
        struct merge_cursor *c = &m->cursor[i];
        int rc;
        const struct spill_run *run = &m->spill->run[i];
        char *buffer = m->buffers + 2 * i * m->buffer_size;
        *c =
            (struct merge_cursor){.blocks = {run->blocks_at, run->keys_at, buffer, 0, 0},
                                  .records = {run->records_at, run->blocks_at, buffer + m->buffer_size, 0, 0},
                                  .run = i,
                                  .place = run->place};
        rc = next_block(m, c);
        if (rc < 0)
            return rc;
        if (rc == 1)
            m->heap[m->heap_count++] = i;
    }
    for (uint32_t i = m->heap_count / 2; i-- > 0;)
        sink_down(m, i);
    return 0;
}

/* ---- merging ---- */

/* How many of so many records from a place on are kept. */
static uint32_t count_kept(const struct spill *s, uint32_t place, uint32_t count)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < count; i++)
        kept += spill_is_dropped(s, place + i) ? 0 : 1;
    return kept;
}

static int take_record(struct merge *m, struct merge_cursor *c)
{
    bool dropped = spill_is_dropped(m->spill, c->place++);
    uint32_t length;
    uint64_t at = htole64(m->record_at);
    int rc = take(m, &c->blocks, &length, NULL, sizeof length);

    if (rc != 0)
        return rc;
    if (m->index_wanted && !dropped)
        output_add(m->out, &at, sizeof at);
    m->record_at += dropped ? 0 : length;
    if (m->index_wanted)
        return 0;
    return dropped ? skip(&c->records, length) : take(m, &c->records, NULL, m->out, length);
}

static int take_block(struct merge *m, struct merge_cursor *c)
{
    int rc = 0;

    if (m->index_wanted || count_kept(m->spill, c->place, c->block.count) < c->block.count) {
        for (uint32_t i = 0; i < c->block.count && rc == 0; i++)
            rc = take_record(m, c);
        return rc;
    }
    c->place += c->block.count;
    rc = skip(&c->blocks, (uint64_t)c->block.count * sizeof(uint32_t));
    return rc == 0 ? take(m, &c->records, NULL, m->out, c->block.bytes) : rc;
}

static int merge_kind(struct merge *m, bool big)
{
    int rc;

    m->big = big;
    rc = fill_heap(m);
    while (rc == 0 && m->heap_count > 0 && m->out->error == 0) {
        struct merge_cursor *c = &m->cursor[m->heap[0]];
        rc = take_block(m, c);
        if (rc == 0)
            rc = next_block(m, c);
        if (rc == 0)
            m->heap[0] = m->heap[--m->heap_count];
        rc = rc == 1 ? 0 : rc;
        if (m->heap_count > 0)
            sink_down(m, 0);
    }
    return rc;
}

static int merge_all(const struct spill *s, const struct roster *r, struct output *out, bool index_wanted)
{
    struct merge m = {.spill = s, .roster = r, .out = out, .index_wanted = index_wanted};
    int rc = HK_ENOMEM;

    m.buffer_size = MERGE_MEMORY / 2 / s->runs;
    m.buffer_size = m.buffer_size > MERGE_BUFFER_MAX   ? MERGE_BUFFER_MAX
                    : m.buffer_size < MERGE_BUFFER_MIN ? MERGE_BUFFER_MIN
                                                       : m.buffer_size;
    m.cursor = calloc(s->runs, sizeof *m.cursor);
    m.heap = calloc(s->runs, sizeof *m.heap);
    m.buffers = malloc(2 * s->runs * m.buffer_size);
    if (m.cursor != NULL && m.heap != NULL && m.buffers != NULL)
        rc = merge_kind(&m, true);
    if (rc == 0)
        rc = merge_kind(&m, false);
    if (rc == 0 && index_wanted) {
        uint64_t end = htole64(m.record_at);
        output_add(out, &end, sizeof end);
    }
    free(m.cursor);
    free(m.heap);
    free(m.buffers);
    return rc;
}

int spill_write_index(const struct spill *s, const struct roster *r, struct output *out)
{
    return merge_all(s, r, out, true);
}

int spill_write_records(const struct spill *s, const struct roster *r, struct output *out)
{
    return merge_all(s, r, out, false);
}
