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

static int bytes_grow(struct roster_bytes *b, size_t length)
{
    size_t capacity = b->capacity == 0 ? ROSTER_FIRST_BYTES : b->capacity;
    void *base;

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

static inline int bytes_reserve(struct roster_bytes *b, size_t length)
{
    return b->used + length <= b->capacity ? 0 : bytes_grow(b, length);
}

static inline int bytes_add(struct roster_bytes *b, const void *bytes, size_t length)
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

static uint64_t load_word(const unsigned char *bytes)
{
    uint64_t word;

    memcpy(&word, bytes, sizeof word);
    return lower_word(word);
}

/* The last bytes of a text, eight or fewer: those of a longer one are loaded together with some before them, so that
 * no copy of a length that changes is needed. Texts of equal length and equal words are equal. */
static uint64_t load_end(const unsigned char *text, size_t length)
{
    const unsigned char *end = text + length;
    uint32_t low, high;

    if (length >= sizeof(uint64_t))
        return load_word(end - sizeof(uint64_t));
    if (length >= sizeof low) {
        memcpy(&low, text, sizeof low);
        memcpy(&high, end - sizeof high, sizeof high);
        return lower_word(low | (uint64_t)high << 32);
    }
    if (length == 0)
        return 0;
    return lower_word(text[0] | (uint64_t)text[length / 2] << 8 | (uint64_t)end[-1] << 16);
}

static uint64_t hash_word(uint64_t h, uint64_t word)
{
    return mix(h ^ word) * 0x9e3779b97f4a7c15u;
}

static uint64_t hash_text(uint64_t seed, const char *text, size_t length)
{
    const unsigned char *t = (const unsigned char *)text;
    uint64_t h = seed ^ length;
    size_t i = 0;

    for (; i + 8 < length; i += 8)
        h = hash_word(h, load_word(t + i));
    return mix(hash_word(h, load_end(t, length)));
}

void roster_hash_twice(const uint64_t seed[2], const void *text, size_t length, uint64_t out[2])
{
    const unsigned char *t = text;
    uint64_t a = seed[0] ^ length, b = seed[1] ^ length, word;
    size_t i = 0;

    for (; i + 8 < length; i += 8) {
        word = load_word(t + i);
        a = hash_word(a, word);
        b = hash_word(b, word);
    }
    word = load_end(t, length);
    out[0] = mix(hash_word(a, word));
    out[1] = mix(hash_word(b, word));
}

static bool equal_caseless(const unsigned char *a, const unsigned char *b, size_t length)
{
    for (size_t i = 0; i + 8 < length; i += 8)
        if (load_word(a + i) != load_word(b + i))
            return false;
    return load_end(a, length) == load_end(b, length);
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

void roster_prefetch(const struct roster *r, uint32_t i)
{
    __builtin_prefetch(r->records.base + ((const uint64_t *)(const void *)r->offsets.base)[i]);
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
    HK_BUG_ON(r->pending > 0);
    r->records.used = r->offsets.used = r->owners.used = 0;
    r->count = 0;
    memset(r->seen, 0, sizeof *r->seen << r->seen_bits);
}

/* ---- domains ---- */

static uint32_t *find_domain(const struct roster *r, uint64_t hash, const char *name, size_t length)
{
    uint64_t at = hash >> (64 - r->domain_bits);
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
        const char *name = (const char *)r->names.base + d->name;
        *find_domain(r, hash_text(r->seed, name, d->length), name, d->length) = i + 1;
    }
    return 0;
}

/* The index of a domain, which is made if it is new. */
static int domain_index(struct roster *r, uint64_t hash, const char *name, size_t length, uint32_t *out)
{
    struct roster_domain fresh = {.name = r->names.used, .length = (uint32_t)length};
    uint32_t *slot = find_domain(r, hash, name, length);

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

/* Of both parts, so that neither has to wait for what is looked up for the other. Under a multiplier of its own an
 * equal local part does not cancel its domain. */
static uint64_t hash_mailbox(uint64_t local_hash, uint64_t domain_hash)
{
    return mix(domain_hash * 0x9e3779b97f4a7c15u ^ local_hash);
}

/* The slot of a record's mailbox: where an earlier record of the same one is, or a free slot. */
static uint64_t *find_mailbox(const struct roster *r, uint64_t hash, const unsigned char *record,
                              uint32_t domain)
{
    uint64_t at = hash >> (64 - r->seen_bits), mask = ((uint64_t)1 << r->seen_bits) - 1;
    size_t local_length = record[SEGMENT_RECORD_LOCAL], ignored;

    for (; r->seen[at] != 0; at = (at + 1) & mask) {
        uint32_t there = (uint32_t)(r->seen[at] & ROSTER_INDEX_MASK) - 1;
        const unsigned char *other;
        if ((r->seen[at] ^ hash) >> ROSTER_INDEX_BITS != 0 || roster_owner(r, there) != domain)
            continue;
        roster_record(r, there, &other);
        if (other[SEGMENT_RECORD_LOCAL] == local_length &&
            equal_caseless(roster_wire(r, other, &ignored), roster_wire(r, record, &ignored), local_length))
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

/* An address as the record holds it. */
struct mailbox {
    const char *wire; /* NULL: it is the email field */
    uint16_t length;
    uint8_t local_length;
    bool smtputf8;
    uint32_t domain;
    uint64_t hash;
};

/* Lay the record down behind the last one. */
static int encode(struct roster *r, uint32_t row, const struct mailbox *m, const struct segment_field *field)
{
    size_t most = SEGMENT_RECORD_HEAD + (size_t)r->columns * SEGMENT_VARINT_MAX + m->length;
    uint32_t row_le = htole32(row);
    uint16_t wire_le = htole16(m->length);
    unsigned char *at;

    for (uint32_t i = 0; i < r->columns; i++)
        most += field[i].length;
    if (bytes_reserve(&r->records, most) != 0)
        return HK_ENOMEM;
    at = r->records.base + r->records.used;
    memcpy(at, &row_le, 4);
    memcpy(at + 4, &wire_le, 2);
    at[SEGMENT_RECORD_LOCAL] = m->local_length;
    at[SEGMENT_RECORD_FLAGS] = (unsigned char)((m->smtputf8 ? SEGMENT_RECORD_SMTPUTF8 : 0) |
                                               (m->wire != NULL ? SEGMENT_RECORD_OWN_WIRE : 0));
    at += SEGMENT_RECORD_HEAD;
    for (uint32_t i = 0; i < r->columns; i++)
        at = write_varint(at, field[i].length);
    if (m->wire != NULL)
        at = (unsigned char *)memcpy(at, m->wire, m->length) + m->length;
    for (uint32_t i = 0; i < r->columns; i++)
        at = (unsigned char *)memcpy(at, field[i].text, field[i].length) + field[i].length;
    r->records.used = (size_t)(at - r->records.base);
    return 0;
}

/* Add a record that is pending, and send for its slot in the table of what was seen. */
static int append(struct roster *r, uint32_t row, const struct mailbox *m, const struct segment_field *field)
{
    uint64_t begin = r->records.used;

    HK_BUG_ON(r->count >= ROSTER_RECORDS_MAX || r->pending == ROSTER_PENDING);
    __builtin_prefetch(&r->seen[m->hash >> (64 - r->seen_bits)], 1);
    if (bytes_add(&r->offsets, &begin, sizeof begin) != 0 ||
        bytes_add(&r->owners, &m->domain, sizeof m->domain) != 0 || encode(r, row, m, field) != 0)
        return HK_ENOMEM;
    ((struct roster_domain *)(void *)r->domains.base)[m->domain].count++;
    r->count++;
    r->pending_hash[r->pending++] = m->hash;
    return 0;
}

/* The last of the records is that at `from`, which lies behind it or is it already. */
static void move_down(struct roster *r, uint32_t from, size_t begin, size_t length)
{
    uint64_t *offset = (uint64_t *)(void *)r->offsets.base;
    uint32_t *owner = (uint32_t *)(void *)r->owners.base;

    memmove(r->records.base + r->records.used, r->records.base + begin, length);
    offset[r->count] = r->records.used;
    owner[r->count] = owner[from];
}

int roster_settle(struct roster *r)
{
    uint32_t end = r->count, first = end - r->pending;
    size_t records_end = r->records.used;
    const uint64_t *offset = (const uint64_t *)(const void *)r->offsets.base;

    if (r->pending == 0)
        return 0;
    r->count = first;
    r->records.used = offset[first];
    r->pending = 0;
    for (uint32_t i = first; i < end; i++) {
        uint64_t hash = r->pending_hash[i - first], *slot;
        size_t begin = offset[i], length = (i + 1 < end ? offset[i + 1] : records_end) - begin;
        slot = find_mailbox(r, hash, r->records.base + begin, roster_owner(r, i));
        if (*slot != 0) {
            roster_domain_less(r, roster_owner(r, i));
            r->duplicates++;
            continue;
        }
        if (r->count != i)
            move_down(r, i, begin, length);
        r->records.used += length;
        r->count++;
        *slot = (hash & ~(uint64_t)ROSTER_INDEX_MASK) | r->count;
        if (r->count > ((size_t)1 << r->seen_bits) / 4 * 3 && grow_seen(r) != 0)
            return HK_ENOMEM;
    }
    r->offsets.used = r->count * sizeof(uint64_t);
    r->owners.used = r->count * sizeof(uint32_t);
    return 0;
}

int roster_add_plain(struct roster *r, uint32_t row, size_t local_length, const struct segment_field *field)
{
    const struct segment_field *email = &field[r->email_column];
    const char *name = email->text + local_length + 1;
    size_t name_length = email->length - local_length - 1;
    uint64_t domain_hash = hash_text(r->seed, name, name_length);
    uint32_t domain = *find_domain(r, domain_hash, name, name_length);
    struct mailbox m = {.length = (uint16_t)email->length,
                        .local_length = (uint8_t)local_length,
                        .domain = domain - 1,
                        .hash = hash_mailbox(hash_text(r->seed, email->text, local_length), domain_hash)};

    if (domain == 0)
        return 0;
    if (append(r, row, &m, field) != 0 || (r->pending == ROSTER_PENDING && roster_settle(r) != 0))
        return HK_ENOMEM;
    return 1;
}

int roster_add(struct roster *r, uint32_t row, const struct address *a, const struct segment_field *field)
{
    const struct segment_field *email = &field[r->email_column];
    bool own_wire = email->length != a->length || memcmp(email->text, a->text, a->length) != 0;
    struct mailbox m = {.wire = own_wire ? a->text : NULL,
                        .length = a->length,
                        .local_length = (uint8_t)a->local_length,
                        .smtputf8 = a->smtputf8};
    const char *name = a->text + a->local_length + 1;
    size_t name_length = a->length - a->local_length - 1u;
    uint64_t domain_hash = hash_text(r->seed, name, name_length), duplicates;

    m.hash = hash_mailbox(hash_text(r->seed, a->text, a->local_length), domain_hash);
    if (roster_settle(r) != 0 || domain_index(r, domain_hash, name, name_length, &m.domain) != 0)
        return HK_ENOMEM;
    duplicates = r->duplicates;
    if (append(r, row, &m, field) != 0 || roster_settle(r) != 0)
        return HK_ENOMEM;
    return r->duplicates == duplicates ? 1 : 0;
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
