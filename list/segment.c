/* segment.c - read a segment through a mapping (format.h).
 *
 * The file may be damaged in any byte: segment_open() checks everything that later reads rely on, and
 * segment_record() checks its record, so nothing outside the mapping is ever read. What the checks do not see
 * (changed text) the SHA-256 does. The file must not be cut while it is open: it is ours, and only ever
 * replaced whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hikyaku/address.h"

#include "format.h"
#include "segment_bytes.h"

struct segment {
    const unsigned char *map;
    size_t size;
    void *unmap; /* what segment_close() has to unmap; NULL: the bytes are the caller's */
    uint32_t columns, email_column, records, domains, spans;
    uint64_t names_bytes, records_bytes;
    const uint64_t *column;
    const struct segment_domain_entry *domain;
    const struct segment_span_entry *span;
    const uint64_t *index;
    const char *names;
    const unsigned char *record;
    char sha256[HK_SHA256_HEX];
    /* Where it stands among others (segment_open_all): what comes before it. */
    uint32_t records_before, domains_before, spans_before;
    /* Only of several as one, which have no bytes of their own: */
    struct segment **part;
    uint32_t parts;
};

/* ---- opening ---- */

static int damaged(const char *path, struct hk_why *why, const char *words)
{
    return why_set(why, HK_EPROTO, "%s: the segment is damaged (%s); import the list again", path, words);
}

/* Map an open file. 0, or an error in words. */
static int map_open_file(const char *path, int fd, void **map, size_t *size, struct hk_why *why)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return why_set(why, HK_EPROTO, "%s: not a segment: not even a regular file", path);
    *size = (size_t)st.st_size;
    if (*size == 0)
        return damaged(path, why, "empty");
    *map = mmap(NULL, *size, PROT_READ, MAP_SHARED, fd, 0);
    if (*map == MAP_FAILED)
        return why_set(why, HK_EIO, "%s: cannot map: %s", path, strerror(errno));
    return 0;
}

static int map_file(const char *path, void **map, size_t *size, struct hk_why *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc;

    if (fd < 0)
        return why_set(why, errno == ENOENT || errno == ENOTDIR ? HK_ENOENT : HK_EIO, "%s: %s", path,
                       strerror(errno));
    rc = map_open_file(path, fd, map, size, why);
    close(fd);
    return rc;
}

/* Sizes and counts agree with the file's size, so every part lies inside the mapping. */
static const char *check_header(struct segment *s)
{
    const struct segment_header *h = (const void *)s->map;
    struct segment_layout at;

    if (le32toh(h->version) != SEGMENT_VERSION)
        return "of another version";
    s->columns = le32toh(h->columns);
    s->email_column = le32toh(h->email_column);
    s->records = le32toh(h->records);
    s->domains = le32toh(h->domains);
    s->spans = le32toh(h->spans);
    s->names_bytes = le64toh(h->names_bytes);
    s->records_bytes = le64toh(h->records_bytes);
    if (s->columns == 0 || s->columns > SEGMENT_COLUMNS_MAX || s->email_column >= s->columns ||
        s->records == 0 || s->domains == 0 || s->domains > s->records || s->spans == 0 ||
        s->spans > s->records)
        return "impossible counts";
    if (s->names_bytes == 0 || s->names_bytes > s->size || s->records_bytes > s->size ||
        le64toh(h->file_bytes) != s->size)
        return "impossible sizes";
    at = segment_layout(h);
    if (at.end != s->size)
        return "sizes do not add up";
    s->column = (const void *)(s->map + at.columns);
    s->domain = (const void *)(s->map + at.domains);
    s->span = (const void *)(s->map + at.spans);
    s->index = (const void *)(s->map + at.index);
    s->names = (const char *)s->map + at.names;
    s->record = s->map + at.records;
    return NULL;
}

/* Names stand one behind another, each with its NUL: `begin` has to be where the last one ended. */
static bool name_is_whole(const struct segment *s, uint64_t begin, uint64_t *next, uint64_t most)
{
    const char *nul;

    if (begin != *next || begin >= s->names_bytes)
        return false;
    nul = memchr(s->names + begin, '\0', s->names_bytes - begin);
    if (nul == NULL || (uint64_t)(nul - s->names) - begin > most)
        return false;
    *next = (uint64_t)(nul - s->names) + 1;
    return true;
}

static const char *check_names(const struct segment *s)
{
    uint64_t next = 0;
    uint32_t first = 0;

    for (uint32_t i = 0; i < s->columns; i++)
        if (!name_is_whole(s, le64toh(s->column[i]), &next, IMPORT_FIELD_MAX))
            return "column names";
    for (uint32_t i = 0; i < s->domains; i++) {
        uint32_t count = le32toh(s->domain[i].count);
        if (!name_is_whole(s, le64toh(s->domain[i].name), &next, DOMAIN_MAX))
            return "domain names";
        if (le32toh(s->domain[i].first) != first || count == 0 || count > s->records - first)
            return "domain table";
        first += count;
    }
    return first == s->records && next == s->names_bytes ? NULL : "domain table";
}

/* Spans cover all records in order, and the domains they name cover the span. */
static const char *check_spans(const struct segment *s)
{
    uint32_t first = 0;

    for (uint32_t i = 0; i < s->spans; i++) {
        struct segment_span span = segment_span(s, i);
        struct segment_domain head, tail;
        if (span.first != first || span.count == 0 || span.count > SPAN_MAX ||
            span.count > s->records - first)
            return "span table";
        if (span.domain_count == 0 || span.domain_first >= s->domains ||
            span.domain_count > s->domains - span.domain_first)
            return "span table";
        first += span.count;
        head = segment_domain(s, span.domain_first);
        tail = segment_domain(s, span.domain_first + span.domain_count - 1);
        if (head.first > span.first || span.first - head.first >= head.count || tail.first >= first ||
            tail.first + tail.count < first)
            return "span table";
    }
    return first == s->records ? NULL : "span table";
}

static const char *check_trailer(struct segment *s, bool verify)
{
    const struct segment_trailer *t = (const void *)(s->map + s->size - SEGMENT_TRAILER_SIZE);
    unsigned char sha256[EVP_MAX_MD_SIZE];

    if (memcmp(t->magic, SEGMENT_END_MAGIC, sizeof t->magic) != 0)
        return "no end";
    hk_hex(t->sha256, sizeof t->sha256, s->sha256);
    if (!verify)
        return NULL;
    HK_BUG_ON(EVP_Digest(s->map, s->size - SEGMENT_TRAILER_SIZE, sha256, NULL, EVP_sha256(), NULL) != 1);
    return memcmp(sha256, t->sha256, sizeof t->sha256) == 0 ? NULL : "its SHA-256 is another";
}

int segment_from_bytes(const char *name, const void *bytes, size_t size, bool verify, struct segment **out,
                       struct hk_why *why)
{
    const char *wrong = "too short";
    struct segment *s;

    *out = NULL;
    if (size < sizeof SEGMENT_MAGIC - 1 || memcmp(bytes, SEGMENT_MAGIC, sizeof SEGMENT_MAGIC - 1) != 0)
        return why_set(why, HK_EPROTO, "%s: no segment at all; 'hikyaku list import' makes one of a list",
                       name);
    if (size < SEGMENT_HEADER_SIZE + SEGMENT_TRAILER_SIZE)
        return damaged(name, why, wrong);
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return why_set(why, HK_ENOMEM, "%s: out of memory", name);
    s->map = bytes;
    s->size = size;
    wrong = check_header(s);
    if (wrong == NULL)
        wrong = check_trailer(s, verify);
    if (wrong == NULL)
        wrong = check_names(s);
    if (wrong == NULL)
        wrong = check_spans(s);
    if (wrong != NULL) {
        segment_close(s);
        return damaged(name, why, wrong);
    }
    *out = s;
    return 0;
}

int segment_open(const char *path, bool verify, struct segment **out, struct hk_why *why)
{
    void *map = NULL;
    size_t size = 0;
    int rc;

    *out = NULL;
    rc = map_file(path, &map, &size, why);
    if (rc != 0)
        return rc;
    rc = segment_from_bytes(path, map, size, verify, out, why);
    if (*out == NULL)
        munmap(map, size);
    else
        (*out)->unmap = map;
    return rc;
}

static bool columns_are_equal(const struct segment *a, const struct segment *b)
{
    bool equal = a->columns == b->columns;

    for (uint32_t i = 0; i < a->columns && equal; i++)
        equal = strcmp(segment_column(a, i), segment_column(b, i)) == 0;
    return equal;
}

/* Put a part behind the others. */
static int add_part(struct segment *all, struct segment *part, const char *path, struct hk_why *why)
{
    part->records_before = all->records;
    part->domains_before = all->domains;
    part->spans_before = all->spans;
    all->part[all->parts++] = part;
    if (!columns_are_equal(all->part[0], part))
        return why_set(why, HK_ECHANGED, "%s: has other columns than the first segment of its campaign",
                       path);
    if (part->records > UINT32_MAX - all->records)
        return why_set(why, HK_ETOOBIG, "%s: more recipients than a campaign may have", path);
    all->columns = part->columns;
    all->records += part->records;
    all->domains += part->domains;
    all->spans += part->spans;
    return 0;
}

static int open_parts(struct segment *all, const char *const *path, uint32_t count, bool verify,
                      struct hk_why *why)
{
    for (uint32_t i = 0; i < count; i++) {
        struct segment *part;
        int rc = segment_open(path[i], verify, &part, why);
        if (part != NULL)
            rc = add_part(all, part, path[i], why);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* One hash for all: that of their hashes. */
static int hash_parts(struct segment *all, struct hk_why *why)
{
    size_t each = HK_SHA256_HEX - 1;
    char *text = malloc(all->parts * each + 1);

    if (text == NULL)
        return why_set(why, HK_ENOMEM, "out of memory for %u segments", all->parts);
    for (uint32_t i = 0; i < all->parts; i++)
        memcpy(text + i * each, all->part[i]->sha256, each);
    hk_sha256_hex(text, all->parts * each, all->sha256);
    free(text);
    return 0;
}

int segment_open_all(const char *const *path, uint32_t count, bool verify, struct segment **out,
                     struct hk_why *why)
{
    struct segment *all;
    int rc = HK_ENOMEM;

    HK_BUG_ON(count == 0);
    if (count == 1)
        return segment_open(path[0], verify, out, why);
    *out = NULL;
    all = calloc(1, sizeof *all);
    if (all != NULL)
        all->part = calloc(count, sizeof(struct segment *));
    if (all == NULL || all->part == NULL) {
        free(all);
        return why_set(why, rc, "out of memory for %u segments", count);
    }
    rc = open_parts(all, path, count, verify, why);
    if (rc == 0)
        rc = hash_parts(all, why);
    if (rc == 0)
        *out = all;
    else
        segment_close(all);
    return rc;
}

void segment_close(struct segment *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->parts; i++)
        segment_close(s->part[i]);
    free(s->part);
    if (s->unmap != NULL)
        munmap(s->unmap, s->size);
    free(s);
}

void segment_keep_from_children(const struct segment *s)
{
    for (uint32_t i = 0; i < s->parts; i++)
        segment_keep_from_children(s->part[i]);
    if (s->unmap != NULL)
        (void)madvise(s->unmap, s->size, MADV_DONTFORK);
}

/* ---- parts ---- */

/* The part that a number of `kind` belongs to. There are few: they are looked through from the end. */
#define PART_OF(name, kind)                                                     \
    static const struct segment *name(const struct segment *s, uint32_t number) \
    {                                                                           \
        uint32_t i = s->parts - 1;                                              \
        while (s->part[i]->kind > number)                                       \
            i--;                                                                \
        return s->part[i];                                                      \
    }
PART_OF(part_of_record, records_before)
PART_OF(part_of_domain, domains_before)
PART_OF(part_of_span, spans_before)
#undef PART_OF

/* ---- tables ---- */

uint32_t segment_count(const struct segment *s)
{
    return s->records;
}

uint32_t segment_domain_count(const struct segment *s)
{
    return s->domains;
}

uint32_t segment_span_count(const struct segment *s)
{
    return s->spans;
}

uint32_t segment_column_count(const struct segment *s)
{
    return s->columns;
}

const char *segment_column(const struct segment *s, uint32_t column)
{
    HK_BUG_ON(column >= s->columns);
    if (s->parts > 0)
        return segment_column(s->part[0], column);
    return s->names + le64toh(s->column[column]);
}

const char *segment_sha256(const struct segment *s)
{
    return s->sha256;
}

struct segment_domain segment_domain(const struct segment *s, uint32_t domain)
{
    HK_BUG_ON(domain >= s->domains);
    if (s->parts > 0) {
        const struct segment *part = part_of_domain(s, domain);
        struct segment_domain found = segment_domain(part, domain - part->domains_before);
        found.first += part->records_before;
        return found;
    }
    return (struct segment_domain){s->names + le64toh(s->domain[domain].name),
                                   le32toh(s->domain[domain].first), le32toh(s->domain[domain].count)};
}

struct segment_span segment_span(const struct segment *s, uint32_t span)
{
    const struct segment_span_entry *e;

    HK_BUG_ON(span >= s->spans);
    if (s->parts > 0) {
        const struct segment *part = part_of_span(s, span);
        struct segment_span found = segment_span(part, span - part->spans_before);
        found.first += part->records_before;
        found.domain_first += part->domains_before;
        return found;
    }
    e = &s->span[span];
    return (struct segment_span){le32toh(e->first), le32toh(e->count), le32toh(e->domain_first),
                                 le32toh(e->domain_count)};
}

uint32_t segment_span_of(const struct segment *s, uint32_t index)
{
    uint32_t low = 0, high = s->spans - 1;

    HK_BUG_ON(index >= s->records);
    if (s->parts > 0) {
        const struct segment *part = part_of_record(s, index);
        return segment_span_of(part, index - part->records_before) + part->spans_before;
    }
    while (low < high) {
        uint32_t middle = high - (high - low) / 2;
        if (le32toh(s->span[middle].first) <= index)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

uint32_t segment_domain_of(const struct segment *s, uint32_t index)
{
    uint32_t low = 0, high = s->domains - 1;

    HK_BUG_ON(index >= s->records);
    if (s->parts > 0) {
        const struct segment *part = part_of_record(s, index);
        return segment_domain_of(part, index - part->records_before) + part->domains_before;
    }
    while (low < high) {
        uint32_t middle = high - (high - low) / 2;
        if (le32toh(s->domain[middle].first) <= index)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* ---- records ---- */

/* A varint below 2^32 within [*at, end). */
static bool read_length(const unsigned char **at, const unsigned char *end, uint32_t *out)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 7 * SEGMENT_VARINT_MAX && *at < end; shift += 7) {
        unsigned char c = *(*at)++;
        value |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *out = (uint32_t)value;
            return value <= UINT32_MAX;
        }
    }
    return false;
}

/* Cut [at, end) into the wire address, where the record has its own, and the fields; nothing may be left. */
static bool cut_fields(const struct segment *s, bool own_wire, const unsigned char *at,
                       const unsigned char *end, struct segment_record *out)
{
    if (own_wire) {
        if (out->wire_length > (size_t)(end - at))
            return false;
        out->wire = (const char *)at;
        at += out->wire_length;
    }
    for (uint32_t i = 0; i < s->columns; i++) {
        if (out->field[i].length > (size_t)(end - at))
            return false;
        out->field[i].text = (const char *)at;
        at += out->field[i].length;
    }
    out->email = out->field[s->email_column].text;
    out->email_length = out->field[s->email_column].length;
    if (!own_wire) {
        out->wire = out->email;
        if (out->wire_length != out->email_length)
            return false;
    }
    return at == end;
}

/* A record of several segments as one. */
static int part_record(const struct segment *s, uint32_t index, struct segment_record *out)
{
    const struct segment *part = part_of_record(s, index);
    int rc = segment_record(part, index - part->records_before, out);

    if (rc == 0)
        out->domain += part->domains_before;
    return rc;
}

int segment_record(const struct segment *s, uint32_t index, struct segment_record *out)
{
    uint64_t begin, finish;
    const unsigned char *at, *end;
    uint32_t row;
    uint16_t wire;

    HK_BUG_ON(index >= s->records);
    if (s->parts > 0)
        return part_record(s, index, out);
    begin = le64toh(s->index[index]);
    finish = le64toh(s->index[index + 1]);
    if (finish > s->records_bytes || begin > finish || finish - begin < SEGMENT_RECORD_HEAD)
        return HK_EPROTO;
    at = s->record + begin;
    end = s->record + finish;
    memcpy(&row, at, sizeof row);
    memcpy(&wire, at + 4, sizeof wire);
    out->row = le32toh(row);
    out->wire_length = le16toh(wire);
    out->wire_local_length = at[6];
    out->smtputf8 = (at[7] & SEGMENT_RECORD_SMTPUTF8) != 0;
    if (out->wire_length > ADDRESS_MAX || out->wire_local_length > ADDRESS_LOCAL_MAX ||
        out->wire_local_length + 1u >= out->wire_length)
        return HK_EPROTO;
    at += SEGMENT_RECORD_HEAD;
    for (uint32_t i = 0; i < s->columns; i++)
        if (!read_length(&at, end, &out->field[i].length))
            return HK_EPROTO;
    if (!cut_fields(s, (s->record[begin + 7] & SEGMENT_RECORD_OWN_WIRE) != 0, at, end, out) ||
        out->wire[out->wire_local_length] != '@')
        return HK_EPROTO;
    out->domain = segment_domain_of(s, index);
    return 0;
}
