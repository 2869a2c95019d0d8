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

static struct segment_header make_header(const struct columns *columns, const struct roster_order *order,
                                         uint64_t column_bytes)
{
    struct segment_header h = {
        .version = htole32(SEGMENT_VERSION),
        .columns = htole32(columns->count),
        .email_column = htole32(columns->email),
        .records = htole32(order->records),
        .domains = htole32(order->domains),
        .spans = htole32(order->spans),
        .names_bytes = htole64(column_bytes + order->name_bytes),
        .records_bytes = htole64(order->record_bytes),
    };

    memcpy(h.magic, SEGMENT_MAGIC, sizeof h.magic);
    h.file_bytes = htole64(segment_layout(&h).end);
    return h;
}

static void add_domains(struct output *out, const struct roster *r, const struct roster_order *order,
                        uint64_t name)
{
    uint32_t first = 0;

    for (uint32_t i = 0; i < order->domains; i++) {
        const struct roster_domain *d = roster_domain(r, order->domain[i]);
        struct segment_domain_entry entry = {htole64(name), htole32(first), htole32(d->count)};
        output_add(out, &entry, sizeof entry);
        name += d->length + 1u;
        first += d->count;
    }
}

static void add_spans(struct output *out, const struct roster_order *order)
{
    for (uint32_t i = 0; i < order->spans; i++) {
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

    for (uint32_t i = 0; i < order->records; i++) {
        add_u64(out, at);
        at += roster_record(r, order->record[i], &bytes);
    }
    add_u64(out, at);
}

static void add_names(struct output *out, const struct roster *r, const struct roster_order *order,
                      const struct columns *columns)
{
    for (uint32_t i = 0; i < columns->count; i++)
        output_add(out, columns->name[i], strlen(columns->name[i]) + 1);
    for (uint32_t i = 0; i < order->domains; i++) {
        const struct roster_domain *d = roster_domain(r, order->domain[i]);
        output_add(out, (const char *)r->names.base + d->name, d->length + 1u);
    }
}

static void add_records(struct output *out, const struct roster *r, const struct roster_order *order)
{
    const unsigned char *bytes;

    for (uint32_t i = 0; i < order->records && out->error == 0; i++) {
        uint64_t length = roster_record(r, order->record[i], &bytes);
        output_add(out, bytes, (size_t)length);
    }
}

static uint64_t add_head(struct output *out, const struct roster_order *order, const struct columns *columns)
{
    uint64_t bytes = 0, name = 0;
    struct segment_header header;

    for (uint32_t i = 0; i < columns->count; i++)
        bytes += strlen(columns->name[i]) + 1;
    header = make_header(columns, order, bytes);
    output_add(out, &header, sizeof header);
    for (uint32_t i = 0; i < columns->count; i++) {
        add_u64(out, name);
        name += strlen(columns->name[i]) + 1;
    }
    return bytes;
}

int segment_write(struct output *out, const struct roster *r, const struct spill *spill,
                  const struct roster_order *order, const struct columns *columns, char sha256[HK_SHA256_HEX])
{
    struct segment_trailer trailer;
    uint64_t column_bytes = add_head(out, order, columns);
    int rc = 0;

    add_domains(out, r, order, column_bytes);
    add_spans(out, order);
    if (spill == NULL)
        add_index(out, r, order);
    else
        rc = spill_write_index(spill, r, out);
    add_names(out, r, order, columns);
    add_padding(out, column_bytes + order->name_bytes);
    if (spill == NULL)
        add_records(out, r, order);
    else if (rc == 0)
        rc = spill_write_records(spill, r, out);
    add_padding(out, order->record_bytes);
    output_sha256(out, trailer.sha256);
    memcpy(trailer.magic, SEGMENT_END_MAGIC, sizeof trailer.magic);
    output_add(out, &trailer, sizeof trailer);
    hk_hex(trailer.sha256, sizeof trailer.sha256, sha256);
    return rc;
}
