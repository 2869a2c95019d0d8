/* fuzz_jsonl.c - JSON Lines: no input may lead the reader astray, and no cut may change what it reads.
 *
 * The first byte gives the size of the pieces; the rest is read once whole and once in pieces, and both have to give
 * the same lines. The first object names the columns; the values of the others are fetched for them.
 */
#include <string.h>

#include "hikyaku/address.h"
#include "jsonl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
    struct columns columns;
    bool columns_known;
    struct jsonl_values values;
    uint64_t sum;
};

static void add(struct reading *r, const void *bytes, size_t length)
{
    const unsigned char *b = bytes;

    for (size_t i = 0; i < length; i++)
        r->sum = (r->sum ^ b[i]) * 0x100000001b3u;
}

static void add_values(struct reading *r, const json_t *object)
{
    int rc = jsonl_values(object, &r->columns, &r->values, NULL);

    add(r, &rc, sizeof rc);
    if (rc != 0)
        return;
    for (uint32_t i = 0; i < r->columns.count; i++) {
        struct segment_field field = r->values.field[i];
        HK_BUG_ON(field.length > IMPORT_FIELD_MAX || !utf8_is_valid(field.text, field.length));
        HK_BUG_ON(memchr(field.text, '\0', field.length) != NULL);
        add(r, field.text, field.length);
    }
}

static void add_line(struct reading *r, const struct jsonl_line *line)
{
    json_t *object;

    HK_BUG_ON(line->length > JSONL_LINE_MAX);
    add(r, &line->line, sizeof line->line);
    add(r, line->text, line->length);
    if (jsonl_parse(line, &object, NULL) != 0)
        return;
    if (!r->columns_known) {
        columns_free(&r->columns);
        r->columns_known = jsonl_columns(object, "list", line->line, &r->columns, NULL) == 0;
    }
    if (r->columns_known)
        add_values(r, object);
    json_decref(object);
}

static uint64_t read_all(const char *bytes, size_t size, size_t piece)
{
    struct reading *r = hk_xcalloc(1, sizeof *r);
    struct jsonl_reader reader;
    struct jsonl_line line;
    uint64_t sum;

    r->sum = 0xcbf29ce484222325u;
    jsonl_init(&reader);
    for (size_t i = 0; i < size; i += piece) {
        size_t n = size - i < piece ? size - i : piece;
        const char *at = bytes + i;
        while (jsonl_next(&reader, &at, bytes + i + n, &line) == 1)
            add_line(r, &line);
        HK_BUG_ON(at != bytes + i + n);
    }
    if (jsonl_finish(&reader, &line) == 1)
        add_line(r, &line);
    sum = r->sum;
    jsonl_free(&reader);
    columns_free(&r->columns);
    free(r);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data + 1;

    if (size < 2)
        return 0;
    HK_BUG_ON(read_all(bytes, size - 1, size - 1) != read_all(bytes, size - 1, data[0] % 64u + 1));
    return 0;
}
