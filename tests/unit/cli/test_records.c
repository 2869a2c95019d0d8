/* test_records.c - rows of a CSV file, and fields on their way out (cli/records.c). */
#include "records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct records records;

/* All rows of a text, as "LINE:field|field;", or what ended them. */
static const char *read_all(const char *text, size_t length)
{
    static char out[4096];
    FILE *in = fmemopen((void *)(uintptr_t)text, length, "r");
    size_t used = 0;
    int rc;

    assert_non_null(in);
    records_begin(&records, in);
    out[0] = '\0';
    while ((rc = records_next(&records)) == 1) {
        const struct record *record = &records.record;
        used += (size_t)snprintf(out + used, sizeof out - used, "%llu:", (unsigned long long)record->line);
        for (uint32_t i = 0; i < record->fields && i < RECORD_FIELDS_MAX; i++)
            used += (size_t)snprintf(out + used, sizeof out - used, "%s%s", i > 0 ? "|" : "",
                                     record_field(record, i));
        if (record->fault != NULL)
            used += (size_t)snprintf(out + used, sizeof out - used, "(%s)", record->fault);
        used += (size_t)snprintf(out + used, sizeof out - used, "%s;", record->blank ? "blank" : "");
    }
    if (rc < 0)
        (void)snprintf(out + used, sizeof out - used, "error %d at %llu", rc,
                       (unsigned long long)records.record.line);
    fclose(in);
    return out;
}
#define READ(text) read_all(text, sizeof(text) - 1)

static void rows_end_in_any_line_end_and_the_last_needs_none(void **state)
{
    (void)state;
    assert_string_equal(READ("a,b\nc,d\r\ne,f\rg,h"), "1:a|b;2:c|d;3:e|f;4:g|h;");
    assert_string_equal(READ("a\n\n,\n"), "1:a;2:blank;3:|;");
    assert_string_equal(READ("a\r"), "1:a;");
    assert_string_equal(READ("\r\n"), "1:blank;");
}

static void quotes_hold_commas_line_ends_and_quotes(void **state)
{
    (void)state;
    assert_string_equal(READ("\"a,b\",\"c\n\"\"d\"\"\r\n\",e\nnext\n"), "1:a,b|c\n\"d\"\r\n|e;4:next;");
    assert_string_equal(READ("\"\",x\n"), "1:|x;");
    assert_string_equal(READ("it is 5\",x\n"), "1:it is 5\"|x;");
}

static void what_is_wrong_with_a_row_is_told_and_the_next_one_is_read(void **state)
{
    (void)state;
    assert_string_equal(READ("\"a\"b,c\nd\n"), "1:ab|c(text behind a closing quote);2:d;");
    assert_string_equal(READ("a\0b\nd\n"), "1:a(a NUL byte);2:d;");
}

static void a_quote_that_never_closes_names_its_row(void **state)
{
    (void)state;
    assert_string_equal(READ("a\n\"b\nc\n"), "1:a;error -1 at 2");
}

static void a_row_has_bounds_in_bytes_and_fields(void **state)
{
    static char text[2 * RECORD_BYTES_MAX + 3];

    (void)state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 3] = '\n';
    text[sizeof text - 2] = 'y';
    text[sizeof text - 1] = '\n';
    FILE *in = fmemopen(text, sizeof text, "r");
    records_begin(&records, in);
    assert_int_equal(records_next(&records), 1);
    assert_string_equal(records.record.fault, "the row is too long");
    assert_int_equal(records_next(&records), 1);
    assert_string_equal(record_field(&records.record, 0), "y");
    fclose(in);
    memset(text, ',', sizeof text - 3);
    in = fmemopen(text, sizeof text, "r");
    records_begin(&records, in);
    assert_int_equal(records_next(&records), 1);
    assert_string_equal(records.record.fault, "too many fields");
    assert_string_equal(record_field(&records.record, RECORD_FIELDS_MAX), "");
    assert_int_equal(records_next(&records), 1);
    assert_null(records.record.fault);
    fclose(in);
    /* Every field full to the last byte: nothing is written behind the text. */
    memset(text, 'x', sizeof text - 3);
    for (size_t i = 0; i < sizeof text - 3; i += 256)
        text[i] = ',';
    in = fmemopen(text, sizeof text, "r");
    records_begin(&records, in);
    assert_int_equal(records_next(&records), 1);
    assert_non_null(records.record.fault);
    fclose(in);
}

static void what_is_written_is_read_again(void **state)
{
    static const char *const field[] = {"plain", "", "a,b", "say \"no\"", " blank ", "two\nlines", "CR\rLF"};
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    (void)state;
    for (size_t i = 0; i < sizeof field / sizeof field[0]; i++) {
        if (i > 0)
            putc(',', out);
        record_write_field(out, field[i]);
    }
    putc('\n', out);
    fclose(out);
    FILE *in = fmemopen(text, length, "r");
    records_begin(&records, in);
    assert_int_equal(records_next(&records), 1);
    assert_int_equal(records.record.fields, sizeof field / sizeof field[0]);
    for (uint32_t i = 0; i < records.record.fields; i++)
        assert_string_equal(record_field(&records.record, i), field[i]);
    fclose(in);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_end_in_any_line_end_and_the_last_needs_none),
        cmocka_unit_test(quotes_hold_commas_line_ends_and_quotes),
        cmocka_unit_test(what_is_wrong_with_a_row_is_told_and_the_next_one_is_read),
        cmocka_unit_test(a_quote_that_never_closes_names_its_row),
        cmocka_unit_test(a_row_has_bounds_in_bytes_and_fields),
        cmocka_unit_test(what_is_written_is_read_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
