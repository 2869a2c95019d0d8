/* roster.c - recipients in memory: encoding, duplicates, domains and the order of the segment. */
#include "roster.h"

#include <sys/mman.h>
#include <sys/random.h>

#include "format.h"

#ifdef HK_POOL_MALLOC
#define ROSTER_FIRST_BYTES 64u
#else
#define ROSTER_FIRST_BYTES (1u << 20)
#endif
#define ROSTER_INDEX_BITS 24u
#define ROSTER_INDEX_MASK ((1u << ROSTER_INDEX_BITS) - 1)
#define ROSTER_BIG        (SPAN_MAX / 4) /* a domain of so many has spans of its own */
_Static_assert(ROSTER_RECORDS_MAX < ROSTER_INDEX_MASK, "an index has to fit into a slot");

/* ---- bytes that grow ---- */

#ifdef HK_POOL_MALLOC
/* A heap block of its own each time, so that a sanitizer sees who still points into the old one. */
static void *bytes_resize(struct roster_bytes *b, size_t capacity)
{
    return realloc(b->base, capacity);
}

static void bytes_free(struct roster_bytes *b)
{
    free(b->base);
    memset(b, 0, sizeof *b);
}
#else
static void *bytes_resize(struct roster_bytes *b, size_t capacity)
{
    void *base = b->base == NULL
                     ? mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                     : mremap(b->base, b->capacity, capacity, MREMAP_MAYMOVE);

    return base == MAP_FAILED ? NULL : base;
}

static void bytes_free(struct roster_bytes *b)
{
    if (b->base != NULL)
        munmap(b->base, b->capacity);
    memset(b, 0, sizeof *b);
}
#endif

static int bytes_reserve(struct roster_bytes *b, size_t length)
{
    size_t capacity = b->capacity == 0 ? ROSTER_FIRST_BYTES : b->capacity;
    void *base;

    if (b->used + length <= b->capacity)
        return 0;
    while (capacity < b->used + length)
        capacity += capacity / 2;
    capacity = (capacity + ROSTER_FIRST_BYTES - 1) & ~(size_t)(ROSTER_FIRST_BYTES - 1);
    base = bytes_resize(b, capacity);
    if (base == NULL)
        return HK_ENOMEM;
    b->base = base;
    b->capacity = capacity;
    return 0;
}

static int bytes_add(struct roster_bytes *b, const void *bytes, size_t length)
{
    if (bytes_reserve(b, length) != 0)
        return HK_ENOMEM;
    memcpy(b->base + b->used, bytes, length);
    b->used += length;
    return 0;
}

/* ---- hashing ---- */

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    return h;
}

/* Letters in lower case, all eight bytes of a word at once; bytes above 0x7f stay. */
static uint64_t lower_word(uint64_t w)
{
    uint64_t low7 = w & 0x7f7f7f7f7f7f7f7fu;
    uint64_t from_a = low7 + 0x3f3f3f3f3f3f3f3fu;  /* high bit: >= 'A' */
    uint64_t above_z = low7 + 0x2525252525252525u; /* high bit: > 'Z' */
    uint64_t upper = from_a & ~above_z & ~w & 0x8080808080808080u;

    return w | (upper >> 2);
}

static uint64_t load_word(const unsigned char *bytes, size_t length)
{
    uint64_t word = 0;

    memcpy(&word, bytes, length < sizeof word ? length : sizeof word);
    return lower_word(word);
}

uint64_t roster_hash(uint64_t seed, const void *text, size_t length)
{
    const unsigned char *t = text;
    uint64_t h = seed ^ length;

    for (size_t i = 0; i < length; i += 8)
        h = mix(h ^ load_word(t + i, length - i)) * 0x9e3779b97f4a7c15u;
    return mix(h);
}

static bool equal_caseless(const unsigned char *a, const unsigned char *b, size_t length)
{
    for (size_t i = 0; i < length; i += 8)
        if (load_word(a + i, length - i) != load_word(b + i, length - i))
            return false;
    return true;
}

/* ---- the roster ---- */

int roster_init(struct roster *r, uint32_t columns, uint32_t email_column)
{
    memset(r, 0, sizeof *r);
    r->columns = columns;
    r->email_column = email_column;
    r->seen_bits = r->domain_bits = 12;
    r->seen = calloc((size_t)1 << r->seen_bits, sizeof *r->seen);
    r->domain_seen = calloc((size_t)1 << r->domain_bits, sizeof *r->domain_seen);
    if (getrandom(&r->seed, sizeof r->seed, 0) != (ssize_t)sizeof r->seed)
        r->seed = clock_now_us();
    return r->seen != NULL && r->domain_seen != NULL ? 0 : HK_ENOMEM;
}

void roster_free_records(struct roster *r)
{
    bytes_free(&r->records);
    bytes_free(&r->offsets);
    bytes_free(&r->owners);
    free(r->seen);
    r->seen = NULL;
    r->count = 0;
}

void roster_free(struct roster *r)
{
    roster_free_records(r);
    bytes_free(&r->domains);
    bytes_free(&r->names);
    free(r->domain_seen);
    r->domain_seen = NULL;
}

uint64_t roster_record(const struct roster *r, uint32_t i, const unsigned char **bytes)
{
    const uint64_t *offset = (const uint64_t *)(const void *)r->offsets.base;
    uint64_t end = i + 1 < r->count ? offset[i + 1] : r->records.used;

    *bytes = r->records.base + offset[i];
    return end - offset[i];
}

uint32_t roster_owner(const struct roster *r, uint32_t i)
{
    return ((const uint32_t *)(const void *)r->owners.base)[i];
}

const struct roster_domain *roster_domain(const struct roster *r, uint32_t domain)
{
    return (const struct roster_domain *)(const void *)r->domains.base + domain;
}

bool roster_domain_is_big(const struct roster_domain *domain)
{
    return domain->count >= ROSTER_BIG;
}

void roster_domain_less(struct roster *r, uint32_t domain)
{
    struct roster_domain *d = (struct roster_domain *)(void *)r->domains.base + domain;

    HK_BUG_ON(d->count == 0);
    d->count--;
}

bool roster_is_full(const struct roster *r, size_t memory)
{
    size_t each = sizeof(uint64_t) + sizeof(uint32_t);

    return r->count >= ROSTER_RECORDS_MAX ||
           r->records.used + r->count * each + (sizeof *r->seen << r->seen_bits) > memory;
}

void roster_empty(struct roster *r)
{
    r->records.used = r->offsets.used = r->owners.used = 0;
    r->count = 0;
    memset(r->seen, 0, sizeof *r->seen << r->seen_bits);
}

/* ---- domains ---- */

static uint32_t *find_domain(const struct roster *r, const char *name, size_t length)
{
    uint64_t at = roster_hash(r->seed, name, length) >> (64 - r->domain_bits);
    uint64_t mask = ((uint64_t)1 << r->domain_bits) - 1;

    for (;; at = (at + 1) & mask) {
        uint32_t slot = r->domain_seen[at];
        const struct roster_domain *d;
        if (slot == 0)
            return &r->domain_seen[at];
        d = roster_domain(r, slot - 1);
        if (d->length == length && memcmp(r->names.base + d->name, name, length) == 0)
            return &r->domain_seen[at];
    }
}

static int grow_domains(struct roster *r)
{
    uint32_t *larger = calloc((size_t)2 << r->domain_bits, sizeof *larger);

    if (larger == NULL)
        return HK_ENOMEM;
    free(r->domain_seen);
    r->domain_seen = larger;
    r->domain_bits++;
    for (uint32_t i = 0; i < r->domain_count; i++) {
        const struct roster_domain *d = roster_domain(r, i);
        *find_domain(r, (const char *)r->names.base + d->name, d->length) = i + 1;
    }
    return 0;
}

/* The index of a domain, which is made if it is new. */
static int domain_index(struct roster *r, const char *name, size_t length, uint32_t *out)
{
    struct roster_domain fresh = {.name = r->names.used, .length = (uint32_t)length};
    uint32_t *slot = find_domain(r, name, length);

    if (*slot != 0) {
        *out = *slot - 1;
        return 0;
    }
    if (bytes_add(&r->domains, &fresh, sizeof fresh) != 0 || bytes_add(&r->names, name, length + 1) != 0)
        return HK_ENOMEM;
    *out = r->domain_count++;
    *slot = r->domain_count;
    if (r->domain_count > ((size_t)1 << r->domain_bits) / 4 * 3)
        return grow_domains(r);
    return 0;
}

/* ---- duplicates ---- */

static uint64_t read_varint(const unsigned char **at)
{
    uint64_t value = 0;

    for (unsigned shift = 0;; shift += 7) {
        unsigned char c = *(*at)++;
        value |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80)
            return value;
    }
}

/* The wire address within a record of ours. */
const unsigned char *roster_wire(const struct roster *r, const unsigned char *record, size_t *length)
{
    const unsigned char *at = record + SEGMENT_RECORD_HEAD;
    uint64_t before = 0;
    uint16_t wire;

    memcpy(&wire, record + 4, sizeof wire);
    *length = le16toh(wire);
    for (uint32_t i = 0; i < r->columns; i++) {
        uint64_t n = read_varint(&at);
        before += i < r->email_column ? n : 0;
    }
    return (record[7] & SEGMENT_RECORD_OWN_WIRE) != 0 ? at : at + before;
}

static uint64_t *find_mailbox(const struct roster *r, uint64_t hash, const char *wire, size_t length)
{
    uint64_t at = hash >> (64 - r->seen_bits), mask = ((uint64_t)1 << r->seen_bits) - 1;

    for (; r->seen[at] != 0; at = (at + 1) & mask) {
        const unsigned char *record, *there;
        size_t there_length;
        if ((r->seen[at] ^ hash) >> ROSTER_INDEX_BITS != 0)
            continue;
        roster_record(r, (uint32_t)(r->seen[at] & ROSTER_INDEX_MASK) - 1, &record);
        there = roster_wire(r, record, &there_length);
        if (there_length == length && equal_caseless(there, (const unsigned char *)wire, length))
            break;
    }
    return &r->seen[at];
}

/* Slots hold the high bits of the hash, more of them than any table has bits, so they move without a look at
 * the records. */
static int grow_seen(struct roster *r)
{
    size_t old_size = (size_t)1 << r->seen_bits, mask = 2 * old_size - 1;
    uint64_t *larger = calloc(2 * old_size, sizeof *larger);

    if (larger == NULL)
        return HK_ENOMEM;
    r->seen_bits++;
    for (size_t i = 0; i < old_size; i++) {
        uint64_t at = r->seen[i] >> (64 - r->seen_bits);
        if (r->seen[i] == 0)
            continue;
        while (larger[at] != 0)
            at = (at + 1) & mask;
        larger[at] = r->seen[i];
    }
    free(r->seen);
    r->seen = larger;
    return 0;
}

/* ---- adding ---- */

static unsigned char *write_varint(unsigned char *at, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *at++ = (unsigned char)(value | 0x80);
    *at++ = (unsigned char)value;
    return at;
}

/* Lay the record down behind the last one; it stays only if the caller counts it. */
static int encode(struct roster *r, uint32_t row, const struct address *a, const struct segment_field *field)
{
    const struct segment_field *email = &field[r->email_column];
    bool own_wire = email->length != a->length || memcmp(email->text, a->text, a->length) != 0;
    size_t most = SEGMENT_RECORD_HEAD + (size_t)r->columns * SEGMENT_VARINT_MAX + a->length;
    uint32_t row_le = htole32(row);
    uint16_t wire_le = htole16(a->length);
    unsigned char *at;

    for (uint32_t i = 0; i < r->columns; i++)
        most += field[i].length;
    if (bytes_reserve(&r->records, most) != 0)
        return HK_ENOMEM;
    at = r->records.base + r->records.used;
    memcpy(at, &row_le, 4);
    memcpy(at + 4, &wire_le, 2);
    at[6] = (unsigned char)a->local_length;
    at[7] = (unsigned char)((a->smtputf8 ? SEGMENT_RECORD_SMTPUTF8 : 0) |
                            (own_wire ? SEGMENT_RECORD_OWN_WIRE : 0));
    at += SEGMENT_RECORD_HEAD;
    for (uint32_t i = 0; i < r->columns; i++)
        at = write_varint(at, field[i].length);
    if (own_wire)
        at = (unsigned char *)memcpy(at, a->text, a->length) + a->length;
    for (uint32_t i = 0; i < r->columns; i++)
        at = (unsigned char *)memcpy(at, field[i].text, field[i].length) + field[i].length;
    r->records.used = (size_t)(at - r->records.base);
    return 0;
}

int roster_add(struct roster *r, uint32_t row, const struct address *address,
               const struct segment_field *field)
{
    uint64_t hash = roster_hash(r->seed, address->text, address->length);
    uint64_t *slot = find_mailbox(r, hash, address->text, address->length);
    const char *name = address->text + address->local_length + 1;
    uint64_t begin = r->records.used;
    uint32_t domain;

    if (*slot != 0)
        return 0;
    HK_BUG_ON(r->count >= ROSTER_RECORDS_MAX);
    if (domain_index(r, name, address->length - address->local_length - 1u, &domain) != 0 ||
        bytes_add(&r->offsets, &begin, sizeof begin) != 0 ||
        bytes_add(&r->owners, &domain, sizeof domain) != 0 || encode(r, row, address, field) != 0)
        return HK_ENOMEM;
    ((struct roster_domain *)(void *)r->domains.base)[domain].count++;
    r->count++;
    *slot = (hash & ~(uint64_t)ROSTER_INDEX_MASK) | r->count;
    if (r->count > ((size_t)1 << r->seen_bits) / 4 * 3 && grow_seen(r) != 0)
        return HK_ENOMEM;
    return 1;
}

/* ---- the order of the segment ---- */

void roster_order_free(struct roster_order *order)
{
    free(order->record);
    free(order->domain);
    free(order->span);
    memset(order, 0, sizeof *order);
}

/* Big domains first, then the small ones, each in order of first appearance. Returns how many are big. */
static uint32_t order_domains(const struct roster *r, struct roster_order *out)
{
    uint32_t big = 0;

    for (unsigned small = 0; small < 2; small++) {
        for (uint32_t i = 0; i < r->domain_count; i++) {
            const struct roster_domain *d = roster_domain(r, i);
            if (d->count == 0 || roster_domain_is_big(d) == (small == 1))
                continue;
            out->domain[out->domains++] = i;
            out->name_bytes += d->length + 1u;
        }
        big = small == 0 ? out->domains : big;
    }
    return big;
}

/* Records in the order of their domains; inside a domain input order stays, because records are dealt in it. */
static int order_records(const struct roster *r, struct roster_order *out)
{
    uint32_t *next = malloc(((size_t)r->domain_count + 1) * sizeof *next), first = 0;

    out->record = malloc(((size_t)r->count + 1) * sizeof *out->record);
    if (next == NULL || out->record == NULL) {
        free(next);
        return HK_ENOMEM;
    }
    for (uint32_t i = 0; i < out->domains; i++) {
        next[out->domain[i]] = first;
        first += roster_domain(r, out->domain[i])->count;
    }
    for (uint32_t i = 0; i < r->count; i++)
        out->record[next[roster_owner(r, i)]++] = i;
    free(next);
    return 0;
}

/* A big domain in pieces of SPAN_MAX; small ones packed, the next one beginning a new span if it does not fit
 * whole. */
static void cut_spans(const struct roster *r, uint32_t big, struct roster_order *out)
{
    struct segment_span *open = NULL;
    uint32_t first = 0;

    for (uint32_t i = 0; i < out->domains; i++) {
        uint32_t count = roster_domain(r, out->domain[i])->count;
        if (i >= big && open != NULL && open->count + count <= SPAN_MAX) {
            open->count += count;
            open->domain_count++;
            first += count;
            continue;
        }
        for (uint32_t left = count; left > 0;) {
            uint32_t piece = left < SPAN_MAX ? left : SPAN_MAX;
            out->span[out->spans] = (struct segment_span){first, piece, i, 1};
            open = i >= big ? &out->span[out->spans] : NULL;
            out->spans++;
            first += piece;
            left -= piece;
        }
    }
}

int roster_group_domains(struct roster *r, uint32_t records, uint64_t record_bytes, struct roster_order *out)
{
    /* Full pieces, a rest for each big domain, and packed spans, two neighbours of which hold more than
     * SPAN_MAX together. */
    size_t most = (size_t)records / SPAN_MAX + records / ROSTER_BIG + 2 * ((size_t)records / SPAN_MAX) + 2;

    free(r->seen);
    r->seen = NULL;
    memset(out, 0, sizeof *out);
    out->records = records;
    out->record_bytes = record_bytes;
    out->domain = calloc((size_t)r->domain_count + 1, sizeof *out->domain);
    out->span = malloc(most * sizeof *out->span);
    if (out->domain == NULL || out->span == NULL) {
        roster_order_free(out);
        return HK_ENOMEM;
    }
    cut_spans(r, order_domains(r, out), out);
    HK_BUG_ON(out->spans > most);
    return 0;
}

int roster_group(struct roster *r, struct roster_order *out)
{
    int rc = roster_group_domains(r, r->count, r->records.used, out);

    if (rc == 0)
        rc = order_records(r, out);
    if (rc != 0)
        roster_order_free(out);
    return rc;
}
