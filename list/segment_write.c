/* segment_write.c - write a segment front to back: all sizes are known before the first byte. */
#include "segment_write.h"

#include "format.h"

static void add_u64(struct output *out, uint64_t value)
{
    uint64_t le = htole64(value);

    output_add(out, &le, sizeof le);
}

static void add_padding(struct output *out, uint64_t bytes)
{
    static const char zero[8];

    output_add(out, zero, (size_t)(segment_align(bytes) - bytes));
}

static struct segment_header make_header(const struct roster *r, const struct roster_order *order,
                                         uint64_t column_bytes)
{
    struct segment_header h = {
        .version = htole32(SEGMENT_VERSION),
        .columns = htole32(r->columns),
        .email_column = htole32(r->email_column),
        .records = htole32(r->count),
        .domains = htole32(r->domain_count),
        .spans = htole32(order->span_count),
        .names_bytes = htole64(column_bytes + r->names.used),
        .records_bytes = htole64(r->records.used),
    };

    memcpy(h.magic, SEGMENT_MAGIC, sizeof h.magic);
    h.file_bytes = htole64(segment_layout(&h).end);
    return h;
}

static void add_domains(struct output *out, const struct roster *r, const struct roster_order *order,
                        uint64_t name)
{
    uint32_t first = 0;

    for (uint32_t i = 0; i < r->domain_count; i++) {
        const struct roster_domain *d = roster_domain(r, order->domain[i]);
        struct segment_domain_entry entry = {htole64(name), htole32(first), htole32(d->count)};
        output_add(out, &entry, sizeof entry);
        name += d->length + 1u;
        first += d->count;
    }
}

static void add_spans(struct output *out, const struct roster_order *order)
{
    for (uint32_t i = 0; i < order->span_count; i++) {
        const struct segment_span *s = &order->span[i];
        struct segment_span_entry entry = {htole32(s->first), htole32(s->count), htole32(s->domain_first),
                                           htole32(s->domain_count)};
        output_add(out, &entry, sizeof entry);
    }
}

static void add_index(struct output *out, const struct roster *r, const struct roster_order *order)
{
    const unsigned char *bytes;
    uint64_t at = 0;

    for (uint32_t i = 0; i < r->count; i++) {
        add_u64(out, at);
        at += roster_record(r, order->record[i], &bytes);
    }
    add_u64(out, at);
}

static void add_names(struct output *out, const struct roster *r, const struct roster_order *order,
                      char *const *column)
{
    for (uint32_t i = 0; i < r->columns; i++)
        output_add(out, column[i], strlen(column[i]) + 1);
    for (uint32_t i = 0; i < r->domain_count; i++) {
        const struct roster_domain *d = roster_domain(r, order->domain[i]);
        output_add(out, r->names.base + d->name, d->length + 1u);
    }
}

static void add_records(struct output *out, const struct roster *r, const struct roster_order *order)
{
    const unsigned char *bytes;

    for (uint32_t i = 0; i < r->count && out->error == 0; i++) {
        uint64_t length = roster_record(r, order->record[i], &bytes);
        output_add(out, bytes, (size_t)length);
    }
}

void segment_write(struct output *out, const struct roster *r, const struct roster_order *order,
                   char *const *column, char sha256[HK_SHA256_HEX])
{
    struct segment_trailer trailer;
    struct segment_header header;
    uint64_t column_bytes = 0;

    for (uint32_t i = 0; i < r->columns; i++)
        column_bytes += strlen(column[i]) + 1;
    header = make_header(r, order, column_bytes);
    output_add(out, &header, sizeof header);
    for (uint32_t i = 0, name = 0; i < r->columns; name += (uint32_t)strlen(column[i]) + 1, i++)
        add_u64(out, name);
    add_domains(out, r, order, column_bytes);
    add_spans(out, order);
    add_index(out, r, order);
    add_names(out, r, order, column);
    add_padding(out, column_bytes + r->names.used);
    add_records(out, r, order);
    add_padding(out, r->records.used);
    output_sha256(out, trailer.sha256);
    memcpy(trailer.magic, SEGMENT_END_MAGIC, sizeof trailer.magic);
    output_add(out, &trailer, sizeof trailer);
    for (size_t i = 0; i < sizeof trailer.sha256; i++)
        snprintf(sha256 + 2 * i, 3, "%02x", trailer.sha256[i]);
}
