/* test_jsonl.c - JSON Lines: the same for every cut, and the same rules as CSV. */
#include "tools.h"

#include "jsonl.h"

/* All lines of `text`, read in pieces, one behind another with their number. */
static void read_lines(const char *text, size_t length, size_t piece, char *out, size_t size)
{
    struct jsonl_reader r;
    struct jsonl_line line;
    size_t used = 0;

    jsonl_init(&r);
    for (size_t i = 0; i < length; i += piece) {
        const char *at = text + i, *end = at + (length - i < piece ? length - i : piece);
        while (jsonl_next(&r, &at, end, &line) == 1)
            used += (size_t)snprintf(out + used, size - used, "%d:%.*s%s|", (int)line.line, (int)line.length,
                                     line.text, line.too_long ? "!" : "");
    }
    if (jsonl_finish(&r, &line) == 1)
        snprintf(out + used, size - used, "%d:%.*s|", (int)line.line, (int)line.length, line.text);
    jsonl_free(&r);
}

static void lines_are_the_same_for_every_cut(void **state)
{
    static const char text[] = "{\"a\":1}\r\n\n{}\n  \r\nlast";
    char out[200];

    (void)state;
    for (size_t piece = 1; piece <= sizeof text; piece++) {
        memset(out, 0, sizeof out);
        read_lines(text, sizeof text - 1, piece, out, sizeof out);
        assert_string_equal(out, "1:{\"a\":1}|2:|3:{}|4:  |5:last|");
    }
}

static void a_line_that_is_too_long_is_cut_marked_and_passed(void **state)
{
    size_t length = JSONL_LINE_MAX + 100;
    char *text = malloc(length + 5), *from = text;
    struct jsonl_reader r;
    struct jsonl_line line;
    const char *at;

    (void)state;
    memset(text, 'x', length);
    memcpy(text + length, "\n{}\n", 5);
    for (size_t first = 1000; first <= length; first += length - 1000) {
        jsonl_init(&r);
        at = from;
        if (first < length)
            assert_int_equal(jsonl_next(&r, &at, from + first, &line), 0);
        assert_int_equal(jsonl_next(&r, &at, from + length + 4, &line), 1);
        assert_true(line.too_long);
        assert_int_equal(line.length, JSONL_LINE_MAX);
        assert_int_equal(jsonl_next(&r, &at, from + length + 4, &line), 1);
        assert_false(line.too_long);
        assert_text(line.text, line.length, "{}");
        jsonl_free(&r);
    }
    free(text);
}

static void the_first_line_names_the_columns_and_values_become_texts(void **state)
{
    struct segment_record *r = hk_xcalloc(1, sizeof *r);
    static const char *const expected[] = {"a@x.test", "Zo\xc3\xab \xe5\xb1\xb1", "42", "-1.5", "true", "",
                                           ""};
    struct place *p = *state;
    struct segment *s;

    place_take(
        p,
        "\xef\xbb\xbf \n"
        "{\"email\": \" a@x.test\", \"name\": \"Zo\\u00eb \\u5c71\", \"n\": 42, \"x\": -1.50, \"yes\": true, "
        "\"no\": false, \"nil\": null}\r\n"
        "\n"
        "{\"x\": 1e3, \"email\": \"b@x.test\"}\n"
        "{\"email\": \"A@X.test\"}\n"
        "{\"email\": \"c@x.test\", \"x\": 0.1}");
    assert_int_equal(p->result.rows, 4);
    assert_int_equal(p->result.duplicates, 1);
    place_assert_file(p->rejected, "row,reason,text\n");
    s = place_open(p);
    assert_int_equal(segment_column_count(s), 7);
    assert_string_equal(segment_column(s, 4), "yes");
    assert_int_equal(segment_record(s, 0, r), 0);
    for (unsigned i = 0; i < 7; i++)
        assert_text(r->field[i].text, r->field[i].length, expected[i]);
    assert_int_equal(segment_record(s, 1, r), 0);
    assert_int_equal(r->row, 2);
    assert_text(r->field[3].text, r->field[3].length, "1000");
    assert_text(r->field[1].text, r->field[1].length, "");
    assert_int_equal(segment_record(s, 2, r), 0);
    assert_text(r->field[3].text, r->field[3].length, "0.1");
    segment_close(s);
    free(r);
}

static void lines_are_rejected_with_their_number_reason_and_text(void **state)
{
    static const char list[] = "{\"email\": \"a@x.test\", \"name\": \"A\"}\n"
                               "{\"email\": \"b@x.test\", \"nam\": \"B\"}\n"          /* 2 */
                               "{\"email\": \"c@x.test\", \"name\": [\"C\"]}\n"       /* 3 */
                               "{\"email\": \"d@x.test\", \"email\": \"e@x.test\"}\n" /* 4 */
                               "\"f@x.test\"\n"                                       /* 5 */
                               "{\"email\": \"g@x.test\"\n"                           /* 6 */
                               "{\"email\": null}\n"                                  /* 7 */
                               "{\"email\": 7}\n"                                     /* 8 */
                               "{\"email\": \"h\\u0000@x.test\"}\n"                   /* 9 */
                               "{\"email\": \"i@x.test\", \"name\": \"\x93\xfa\"}\n"  /* 10 */
                               "{\"email\": \"j@x.test\", \"name\": \"\\ud800\"}\n"   /* 11 */
                               "{\"email\": \"k@x.test\"} {}\n"                       /* 12 */
                               "{\"email\": \"l@x.test\", \"name\": \"\0\"}\n";       /* 13 */
    static const char *const words[] = {
        "2,\"key \"\"nam\"\" is not among those of the first line\",\"{\"\"email\"\": \"\"b@x.test",
        "3,\"the value of \"\"name\"\" is an object or a list; write a text or a number\"",
        "4,\"no JSON object on the line: duplicate object key",
        "5,\"no JSON object on the line but another value\",\"\"\"f@x.test\"\"\"",
        "6,\"no JSON object on the line: ",
        "7,\"the email field is empty\"",
        "8,\"no @\"",
        "9,\"no JSON object on the line: ",
        "10,\"not UTF-8; give the list's encoding with --encoding\"",
        "11,\"no JSON object on the line: ",
        "12,\"no JSON object on the line: end of file expected",
        "13,\"NUL byte in the row\"",
    };
    struct place *p = *state;
    char *bytes;
    size_t length;

    assert_int_equal(place_import_bytes(p, list, sizeof list - 1), 0);
    assert_int_equal(p->result.rejected, 12);
    assert_int_equal(p->result.recipients, 1);
    assert_int_equal(hk_read_file(p->rejected, 1u << 20, &bytes, &length, NULL), 0);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strstr(bytes, words[i]) == NULL)
            fail_msg("no \"%s\" in\n%s", words[i], bytes);
    free(bytes);
}

static void json_that_is_no_list_is_refused_with_a_way_out(void **state)
{
    static const char *const cases[][2] = {
        {"{\n  \"email\": \"a@x.test\"\n}\n", "list.csv:1: no JSON object on the line"},
        {"[{\"email\": \"a@x.test\"}]",
         "list.csv:1: a JSON array is not taken; write one JSON object a line"},
        {"{\"mail\": \"a@x.test\"}\n",
         "list.csv:1: no column is named email (1 column, the first is \"mail\")"},
        {"{\"email\": \"a@x.test\", \"EMAIL\": \"b\"}\n", "list.csv:1: columns 1 and 2 have the same name"},
        {"{}\n", "list.csv:1: no columns; one named email is needed"},
        {"\n\n{\"email\": }\n", "list.csv:3: no JSON object on the line"},
    };
    struct place *p = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(place_import(p, cases[i][0]), HK_EINVAL);
        if (strncmp(p->why.text + strlen(p->folder) + 1, cases[i][1], strlen(cases[i][1])) != 0)
            fail_msg("\"%s\" does not say \"%s\"", p->why.text, cases[i][1]);
        assert_int_not_equal(access(p->segment, F_OK), 0);
    }
}

/* A first line with `columns` keys, the last of them with a value of `length` bytes. */
static int import_wide(struct place *p, unsigned columns, size_t length)
{
    FILE *f = fopen(p->list, "w");

    assert_non_null(f);
    fputs("{\"email\": \"a@x.test\"", f);
    for (unsigned i = 1; i < columns; i++)
        fprintf(f, ", \"c%u\": \"\"", i);
    fputs("}\n{\"email\": \"b@x.test\", \"c1\": \"", f);
    for (size_t i = 0; i < length; i++)
        fputc('x', f);
    fputs("\"}\n", f);
    assert_int_equal(fclose(f), 0);
    return list_import(&p->options, &p->result, &p->why);
}

static void limits_of_columns_and_fields_are_those_of_csv(void **state)
{
    struct place *p = *state;

    assert_int_equal(import_wide(p, SEGMENT_COLUMNS_MAX, IMPORT_FIELD_MAX), 0);
    assert_int_equal(p->result.rejected, 0);
    assert_int_equal(import_wide(p, SEGMENT_COLUMNS_MAX, IMPORT_FIELD_MAX + 1), 0);
    assert_int_equal(p->result.rejected, 1);
    assert_int_equal(import_wide(p, 2, JSONL_LINE_MAX), 0);
    assert_int_equal(p->result.rejected, 1);
    assert_int_equal(import_wide(p, SEGMENT_COLUMNS_MAX + 1, 1), HK_EINVAL);
    assert_non_null(strstr(p->why.text, "more than 256 columns"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_the_same_for_every_cut),
        cmocka_unit_test(a_line_that_is_too_long_is_cut_marked_and_passed),
        place_test(the_first_line_names_the_columns_and_values_become_texts),
        place_test(lines_are_rejected_with_their_number_reason_and_text),
        place_test(json_that_is_no_list_is_refused_with_a_way_out),
        place_test(limits_of_columns_and_fields_are_those_of_csv),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
