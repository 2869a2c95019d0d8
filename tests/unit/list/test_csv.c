/* test_csv.c - rows come out the same however the bytes are cut, and what is wrong stays inside its row. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "csv.h"

/* Rows as text: fields in [], a row's faults and blank mark in front of its line end. */
struct shown {
    char text[8192];
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
        out->used += (size_t)snprintf(out->text + out->used, sizeof out->text - out->used, "[");
        assert_true(out->used + f.length < sizeof out->text);
        memcpy(out->text + out->used, f.text, f.length);
        out->used += f.length;
        out->used += (size_t)snprintf(out->text + out->used, sizeof out->text - out->used, "]");
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

/* The same of a field that lies in one piece with the end of its row. */
static unsigned read_whole(size_t length, uint32_t *field)
{
    struct csv_reader reader;
    struct csv_row row;
    char *bytes = malloc(length + 32);
    const char *at = bytes;

    assert_non_null(bytes);
    memset(bytes, 'a', length + 32);
    bytes[length] = '\n';
    csv_init(&reader, ',');
    assert_int_equal(csv_next(&reader, &at, bytes + length + 32, &row), 1);
    assert_ptr_equal(at, bytes + length + 1);
    *field = csv_field(&row, 0).length;
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
    assert_int_equal(read_whole(CSV_FIELD_MAX, &field), 0);
    assert_int_equal(field, CSV_FIELD_MAX);
    assert_int_equal(read_whole(CSV_FIELD_MAX + 1, &field), CSV_LONG_FIELD);
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

/* What a stream of rows is made of, so that every one of them stands at every place of a window. */
static size_t make_rows(uint32_t *seed, char *out, size_t room)
{
    static const char *const pieces[] = {",",
                                         ",",
                                         "\n",
                                         "\r\n",
                                         "\r",
                                         "a",
                                         "reader@x.test",
                                         "\"",
                                         "\"b\"",
                                         " \t",
                                         "\xe6\x97\xa5",
                                         "\xe6",
                                         "a name of 17 oct",
                                         "\n",
                                         "a,b\n",
                                         "c,\"d\"\n"};
    size_t used = 0;

    for (;;) {
        const char *piece;
        *seed = *seed * 1664525u + 1013904223u;
        piece = pieces[*seed >> 28];
        if (used + strlen(piece) + 1 > room)
            return used;
        memcpy(out + used, piece, strlen(piece));
        used += strlen(piece);
        if (*seed % 1024 < 8)
            out[used++] = '\0';
    }
}

/* Rows whose window is cut short go through the states of the reader; in one piece most do not. */
static void rows_that_stay_in_place_are_the_rows_that_are_copied(void **state)
{
    struct shown whole, pieces;
    uint32_t seed = 1;
    char bytes[300];

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        size_t length = make_rows(&seed, bytes, 20 + i % (sizeof bytes - 20));
        read_in_pieces(&whole, bytes, length, length);
        read_in_pieces(&pieces, bytes, length, 1 + i % 15);
        assert_int_equal(whole.end, pieces.end);
        assert_int_equal(whole.quote_line, pieces.quote_line);
        assert_int_equal(whole.used, pieces.used);
        assert_memory_equal(whole.text, pieces.text, whole.used);
    }
}

static void assert_in_place(const char *bytes, size_t length, bool in_place, bool is_plain)
{
    struct csv_reader reader;
    struct csv_row row;
    const char *at = bytes;

    csv_init(&reader, ',');
    assert_int_equal(csv_next(&reader, &at, bytes + length, &row), 1);
    assert_int_equal(row.in_place, in_place);
    assert_int_equal(row.is_plain, is_plain);
    csv_free(&reader);
}

static void rows_without_quotes_stay_in_place_if_they_are_utf8(void **state)
{
#define IN_PLACE(text, in_place, is_plain) assert_in_place(text, sizeof(text) - 1, in_place, is_plain)
    (void)state;
    IN_PLACE("a@x.test,b\n0123456789abcdef", true, true);
    IN_PLACE("\n0123456789abcdef", true, true);
    IN_PLACE("a@x.test,b\n\xe6\x97\xa5 456789abcdef", true, true); /* the next row is not this one */
    IN_PLACE("a@x.test,\xe6\x97\xa5\r\n0123456789abcdef", true, false);
    IN_PLACE("a@x.test,\0\n0123456789abcdef", true, false);
    IN_PLACE("a@x.test,\xe6\x97\n0123456789abcdef", false, false);
    IN_PLACE("a@x.test,\xe6,\x97\xa5\n0123456789abcdef", false, false);
    IN_PLACE("a@x.test,\"b\"\n0123456789abcdef", false, false);
    IN_PLACE("a@x.test,b\n", false, false); /* no window is read beyond its end */
#undef IN_PLACE
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
        cmocka_unit_test(rows_that_stay_in_place_are_the_rows_that_are_copied),
        cmocka_unit_test(rows_without_quotes_stay_in_place_if_they_are_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
