/* fuzz_segment.c - a segment of any bytes: opened or refused, and nothing outside it is ever read.
 *
 * Runs without the check of the SHA-256, which would refuse everything.
 */
#include <string.h>

#include "segment_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned char sum(const char *bytes, size_t length)
{
    unsigned char all = 0;

    for (size_t i = 0; i < length; i++)
        all = (unsigned char)(all ^ bytes[i]);
    return all;
}

static void walk(const struct segment *s)
{
    static struct segment_record record;
    volatile unsigned char sink = 0;
    uint32_t covered = 0;

    for (uint32_t i = 0; i < segment_column_count(s); i++)
        sink ^= sum(segment_column(s, i), strlen(segment_column(s, i)));
    for (uint32_t i = 0; i < segment_span_count(s); i++) {
        struct segment_span span = segment_span(s, i);
        HK_BUG_ON(span.first != covered || span.count > SPAN_MAX);
        HK_BUG_ON(span.domain_first + span.domain_count > segment_domain_count(s));
        covered += span.count;
    }
    HK_BUG_ON(covered != segment_count(s));
    for (uint32_t i = 0; i < segment_count(s); i++) {
        struct segment_domain domain = segment_domain(s, segment_domain_of(s, i));
        HK_BUG_ON(i < domain.first || i - domain.first >= domain.count);
        HK_BUG_ON(segment_span(s, segment_span_of(s, i)).first > i);
        if (segment_record(s, i, &record) != 0)
            continue;
        sink ^= sum(record.wire, record.wire_length);
        for (uint32_t k = 0; k < segment_column_count(s); k++)
            sink ^= sum(record.field[k].text, record.field[k].length);
    }
    (void)sink;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct segment *segment;
    void *bytes = malloc(size > 0 ? size : 1); /* aligned, and with an end that a sanitizer sees */

    HK_BUG_ON(bytes == NULL);
    memcpy(bytes, data, size);
    if (segment_from_bytes("fuzz", bytes, size, false, &segment, NULL) == 0) {
        walk(segment);
        segment_close(segment);
    }
    free(bytes);
    return 0;
}
