/* fuzz_csv.c - the CSV reader: no input may lead it astray, and no cut may change what it reads.
 *
 * The first byte gives the size of the pieces; the rest is read once whole and once in pieces, and both have to
 * give the same rows. What comes out as a first field is read as an address as well.
 */
#include <string.h>

#include "csv.h"
#include "hikyaku/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A running sum over all that a reader says. */
static uint64_t add(uint64_t sum, const void *bytes, size_t length)
{
    const unsigned char *b = bytes;

    for (size_t i = 0; i < length; i++)
        sum = (sum ^ b[i]) * 0x100000001b3u;
    return sum;
}

static uint64_t add_row(uint64_t sum, const struct csv_row *row)
{
    uint32_t kept = row->fields < CSV_FIELDS_MAX ? row->fields : CSV_FIELDS_MAX;

    sum = add(sum, &row->fields, sizeof row->fields);
    sum = add(sum, &row->faults, sizeof row->faults);
    sum = add(sum, &row->line, sizeof row->line);
    sum = add(sum, &row->blank, sizeof row->blank);
    for (uint32_t i = 0; i < kept; i++) {
        struct segment_field field = csv_field(row, i);
        HK_BUG_ON(field.length > CSV_FIELD_MAX);
        sum = add(add(sum, &field.length, sizeof field.length), field.text, field.length);
    }
    return sum;
}

static void read_address(const struct csv_row *row)
{
    struct segment_field field = csv_field(row, 0);
    struct address address;

    if (address_parse(field.text, field.length, &address, NULL) != 0)
        return;
    HK_BUG_ON(strlen(address.text) != address.length || address.length > ADDRESS_MAX);
    HK_BUG_ON(address.text[address.local_length] != '@' || strpbrk(address.text, "\r\n") != NULL);
}

static uint64_t read_all(const char *bytes, size_t size, size_t piece)
{
    uint64_t sum = 0xcbf29ce484222325u;
    struct csv_reader reader;
    struct csv_row row;
    int rc;

    csv_init(&reader, ',');
    for (size_t i = 0; i < size; i += piece) {
        size_t n = size - i < piece ? size - i : piece;
        const char *at = bytes + i;
        while ((rc = csv_next(&reader, &at, bytes + i + n, &row)) == 1) {
            sum = add_row(sum, &row);
            read_address(&row);
        }
        HK_BUG_ON(rc != 0 || at != bytes + i + n);
    }
    rc = csv_finish(&reader, &row);
    if (rc == 1)
        sum = add_row(sum, &row);
    sum = add(sum, &rc, sizeof rc);
    csv_free(&reader);
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
