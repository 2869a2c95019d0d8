/* test_csv.c - rows come out the same however the bytes are cut, and what is wrong stays inside its row. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "csv.h"

/* Rows as text: fields in [], a row's faults and blank mark in front of its line end. */
struct shown {
    char text[2048];
    size_t used;
    int end; /* what csv_finish gave last */
    uint64_t quote_line;
};

static void show(struct shown *out, const struct csv_row *row)
{
    out->used += (size_t)snprintf(out->text + out->used, sizeof out->text - out->used,
                                  "%llu:", (unsigned long long)row->line);
    for (uint32_t i = 0; i < row->fields && i < CSV_FIELDS_MAX; i++) {
        struct segment_field f = csv_field(row, i);
        out->used += (size_t)snprintf(out->text + out->used, sizeof out->text - out->used, "[%.*s]",
                                      (int)f.length, f.text);
    }
    out->used += (size_t)snprintf(out->text + out->used, sizeof out->text - out->used, "%s%s%s\n",
                                  (row->faults & CSV_LONG_FIELD) != 0 ? "L" : "",
                                  (row->faults & CSV_BEHIND_QUOTE) != 0 ? "Q" : "", row->blank ? "B" : "");
}

static void feed(struct csv_reader *reader, struct shown *out, const char *bytes, size_t length)
{
    const char *at = bytes;
    struct csv_row row;
    int rc;

    while ((rc = csv_next(reader, &at, bytes + length, &row)) == 1)
        show(out, &row);
    assert_int_equal(rc, 0);
    assert_ptr_equal(at, bytes + length);
}

static void read_in_pieces(struct shown *out, const char *bytes, size_t length, size_t piece)
{
    struct csv_reader reader;
    struct csv_row row;

    csv_init(&reader, ',');
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < length; i += piece) {
        /* A copy of its own, so that a sanitizer sees a read behind the piece. */
        size_t n = length - i < piece ? length - i : piece;
        char *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, bytes + i, n);
        feed(&reader, out, copy, n);
        free(copy);
    }
    out->end = csv_finish(&reader, &row);
    if (out->end == 1)
        show(out, &row);
    out->quote_line = reader.quote_line;
    csv_free(&reader);
}

static void assert_rows(const char *bytes, const char *rows)
{
    struct shown out;

    for (size_t piece = 1; piece <= strlen(bytes) + 1; piece++) {
        read_in_pieces(&out, bytes, strlen(bytes), piece);
        assert_true(out.end >= 0);
        if (strcmp(out.text, rows) != 0)
            fail_msg("in pieces of %zu:\n%s\nand not\n%s", piece, out.text, rows);
    }
}

static void rows_end_in_crlf_lf_or_cr_mixed(void **state)
{
    (void)state;
    assert_rows("a,b\r\nc,d\ne,f\rg,h", "1:[a][b]\n2:[c][d]\n3:[e][f]\n4:[g][h]\n");
    assert_rows("a\r\n", "1:[a]\n");
    assert_rows("a\r\r\nb\n", "1:[a]\n2:[]B\n3:[b]\n");
    assert_rows("", "");
}

static void empty_fields_are_fields(void **state)
{
    (void)state;
    assert_rows(",\n,,\n\"\",\n", "1:[][]\n2:[][][]\n3:[][]\n");
    assert_rows("a,", "1:[a][]\n");
}

static void quotes_hold_commas_line_ends_and_doubled_quotes(void **state)
{
    (void)state;
    assert_rows("\"a,b\",\"c\r\nd\ne\",\"f\"\"g\"\nh\n", "1:[a,b][c\r\nd\ne][f\"g]\n4:[h]\n");
    assert_rows("\"\"\"\"\n\"\"\n", "1:[\"]\n2:[]\n");
    assert_rows("\"last\"", "1:[last]\n");
}

static void a_quote_inside_plain_text_is_text(void **state)
{
    (void)state;
    assert_rows("a\"b\",c\n \"d\"\n", "1:[a\"b\"][c]\n2:[ \"d\"]\n");
}

static void text_behind_a_closing_quote_is_a_fault_of_its_row_only(void **state)
{
    (void)state;
    assert_rows("\"a\"b,c\n\"d\" ,e\nf,g\n", "1:[ab][c]Q\n2:[d ][e]Q\n3:[f][g]\n");
}

static void only_lines_of_blanks_are_blank(void **state)
{
    (void)state;
    assert_rows("\n \t\n\"\"\n \"\n,\n", "1:[]B\n2:[ \t]B\n3:[]\n4:[ \"]\n5:[][]\n");
}

static void a_quote_that_never_closes_is_told_with_its_line(void **state)
{
    static const char bytes[] = "a,b\nc,\"d\ne,f\ng\n";
    struct shown out;

    (void)state;
    for (size_t piece = 1; piece < sizeof bytes; piece++) {
        read_in_pieces(&out, bytes, sizeof bytes - 1, piece);
        assert_int_equal(out.end, HK_EINVAL);
        assert_int_equal(out.quote_line, 2);
        assert_string_equal(out.text, "1:[a][b]\n");
    }
}

/* Reads `length` times `c` between `before` and `after`; gives the row's faults and the length of its field 0. */
static unsigned read_long(const char *before, char c, size_t length, const char *after, uint32_t *field)
{
    struct csv_reader reader;
    struct csv_row row;
    char *bytes = malloc(length);
    const char *at = bytes;
    int rc;

    assert_non_null(bytes);
    memset(bytes, c, length);
    csv_init(&reader, ',');
    assert_int_equal(csv_next(&reader, &before, before + strlen(before), &row), 0);
    assert_int_equal(csv_next(&reader, &at, bytes + length, &row), 0);
    rc = csv_next(&reader, &after, after + strlen(after), &row);
    assert_int_equal(rc, 1);
    *field = csv_field(&row, 0).length;
    assert_true(reader.capacity <= (size_t)4 * CSV_FIELD_MAX);
    csv_free(&reader);
    free(bytes);
    return row.faults;
}

static void a_field_is_kept_up_to_its_limit_and_no_further(void **state)
{
    uint32_t field;

    (void)state;
    assert_int_equal(read_long("a", 'b', CSV_FIELD_MAX - 1, ",c\n", &field), 0);
    assert_int_equal(field, CSV_FIELD_MAX);
    assert_int_equal(read_long("a", 'b', CSV_FIELD_MAX, ",c\n", &field), CSV_LONG_FIELD);
    assert_int_equal(field, CSV_FIELD_MAX);
    assert_int_equal(read_long("\"", 'b', (size_t)50 * CSV_FIELD_MAX, "\"\n", &field), CSV_LONG_FIELD);
    assert_int_equal(field, CSV_FIELD_MAX);
}

static void more_fields_than_are_kept_are_counted(void **state)
{
    char bytes[3 * CSV_FIELDS_MAX + 64];
    const char *at = bytes;
    struct csv_reader reader;
    struct csv_row row;

    (void)state;
    memset(bytes, ',', sizeof bytes);
    bytes[sizeof bytes - 1] = '\n';
    csv_init(&reader, ',');
    assert_int_equal(csv_next(&reader, &at, bytes + sizeof bytes, &row), 1);
    assert_int_equal(row.fields, sizeof bytes);
    csv_free(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_end_in_crlf_lf_or_cr_mixed),
        cmocka_unit_test(empty_fields_are_fields),
        cmocka_unit_test(quotes_hold_commas_line_ends_and_doubled_quotes),
        cmocka_unit_test(a_quote_inside_plain_text_is_text),
        cmocka_unit_test(text_behind_a_closing_quote_is_a_fault_of_its_row_only),
        cmocka_unit_test(only_lines_of_blanks_are_blank),
        cmocka_unit_test(a_quote_that_never_closes_is_told_with_its_line),
        cmocka_unit_test(a_field_is_kept_up_to_its_limit_and_no_further),
        cmocka_unit_test(more_fields_than_are_kept_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
