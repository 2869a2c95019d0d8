/* test_input.c - encodings, separators and what a list turns out to be by its first bytes. */
#include "tools.h"

#include <iconv.h>
#include <sys/stat.h>

#include "input.h"

/* Write UTF-8 text as `encoding`, and import it as `named` (NULL: nothing is said). */
static int import_as(struct place *p, const char *encoding, const char *named, const char *text)
{
    char bytes[4096], *from = (char *)(uintptr_t)text, *to = bytes;
    size_t left = strlen(text), room = sizeof bytes;
    iconv_t converter = iconv_open(encoding, "UTF-8");

    assert_true(converter != (iconv_t)-1);
    assert_true(iconv(converter, &from, &left, &to, &room) != (size_t)-1);
    assert_true(iconv(converter, NULL, NULL, &to, &room) != (size_t)-1);
    iconv_close(converter);
    p->options.encoding = named;
    return place_import_bytes(p, bytes, sizeof bytes - room);
}

static void assert_name(struct place *p, uint32_t index, const char *name)
{
    struct segment_record *r = hk_xcalloc(1, sizeof *r);
    struct segment *s = place_open(p);

    assert_int_equal(segment_record(s, index, r), 0);
    assert_text(r->field[1].text, r->field[1].length, name);
    segment_close(s);
    free(r);
}

static void a_list_in_a_named_encoding_reads_as_if_it_were_utf8(void **state)
{
    static const char japanese[] = "email,\xe6\xb0\x8f\xe5\x90\x8d\r\na@x.test,\"\xe5\xb1\xb1\xe7\x94\xb0 "
                                   "\xe8\xa1\xa8\xe8\xa3\xbd\"\r\n";
    static const char western[] = "email,name\na@x.test,Zo\xc3\xab\n";
    static const struct {
        const char *encoding, *named, *text, *name;
    } cases[] = {
        {"CP932", "Shift_JIS", japanese, "\xe5\xb1\xb1\xe7\x94\xb0 \xe8\xa1\xa8\xe8\xa3\xbd"},
        {"CP932", "cp932", japanese, "\xe5\xb1\xb1\xe7\x94\xb0 \xe8\xa1\xa8\xe8\xa3\xbd"},
        {"EUC-JP", "EUC-JP", japanese, "\xe5\xb1\xb1\xe7\x94\xb0 \xe8\xa1\xa8\xe8\xa3\xbd"},
        {"ISO-2022-JP", "iso-2022-jp", japanese, "\xe5\xb1\xb1\xe7\x94\xb0 \xe8\xa1\xa8\xe8\xa3\xbd"},
        {"UTF-16", "UTF-16", japanese, "\xe5\xb1\xb1\xe7\x94\xb0 \xe8\xa1\xa8\xe8\xa3\xbd"},
        {"UTF-16BE", "UTF-16BE", japanese, "\xe5\xb1\xb1\xe7\x94\xb0 \xe8\xa1\xa8\xe8\xa3\xbd"},
        {"UTF-32", "UTF-32", japanese, "\xe5\xb1\xb1\xe7\x94\xb0 \xe8\xa1\xa8\xe8\xa3\xbd"},
        {"CP1252", "windows-1252", western, "Zo\xc3\xab"},
        {"UTF-8", "utf8", western, "Zo\xc3\xab"},
        /* A circled digit: in Microsoft's Shift_JIS only, which is what everybody means. */
        {"CP932", "Shift_JIS", "email,name\na@x.test,\xe2\x91\xa0\n", "\xe2\x91\xa0"},
        {"EUC-JP-MS", "EUC-JP", "email,name\na@x.test,\xe2\x91\xa0\n", "\xe2\x91\xa0"},
    };
    struct place *p = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (import_as(p, cases[i].encoding, cases[i].named, cases[i].text) != 0)
            fail_msg("%s: %s", cases[i].named, p->why.text);
        assert_int_equal(p->result.rejected, 0);
        assert_string_equal(p->result.hint, "");
        assert_name(p, 0, cases[i].name);
    }
}

static void bytes_that_mean_nothing_reject_their_row_and_no_other(void **state)
{
    static const char list[] =
        "email,name\na@x.test,\x93\xfa\nb@x.test,\x93\nc@x.test,\xff\x96\x7b\nd@x.test,\x96\x7b\n";
    static const char wide[] = "e\0m\0a\0i\0l\0\n\0a\0@\0x\0.\0y\0\n\0b\0@\0x\0.\0y\0z";
    struct place *p = *state;

    p->options.encoding = "Shift_JIS";
    assert_int_equal(place_import_bytes(p, list, sizeof list - 1), 0);
    assert_int_equal(p->result.recipients, 2);
    place_assert_file(p->rejected,
                      "row,reason,text\n2,\"bytes that mean nothing in Shift_JIS\",\"b@x.test,?\"\n"
                      "3,\"bytes that mean nothing in Shift_JIS\",\"c@x.test,?\xe6\x9c\xac\"\n");
    /* UTF-16 cut in the middle of its last character. */
    p->options.encoding = "UTF-16LE";
    assert_int_equal(place_import_bytes(p, wide, sizeof wide - 1), 0);
    assert_int_equal(p->result.recipients, 1);
    assert_int_equal(p->result.rejected, 1);
}

static void characters_are_whole_however_blocks_are_cut(void **state)
{
    struct place *p = *state;
    FILE *f = fopen(p->list, "w");

    /* Rows of an odd length, so that the blocks of a megabyte end everywhere in them. */
    fputs("email,name\n", f);
    for (unsigned i = 0; i < 150000; i++)
        fprintf(f, "u%u@x.test,\x93\xfa\x96\x7b%s\n", i, i % 3 == 0 ? "\xb1" : i % 3 == 1 ? "x" : "");
    assert_int_equal(fclose(f), 0);
    p->options.encoding = "Shift_JIS";
    assert_int_equal(list_import(&p->options, &p->result, &p->why), 0);
    assert_int_equal(p->result.rejected, 0);
    assert_int_equal(p->result.recipients, 150000);
    assert_name(p, 149999, "\xe6\x97\xa5\xe6\x9c\xac");
}

static void an_encoding_that_nobody_knows_is_refused(void **state)
{
    static const char *const names[] = {"", "klingon", "UTF-8//IGNORE", "Shift_JIS//TRANSLIT", "../../x"};
    struct place *p = *state;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(import_as(p, "UTF-8", names[i], "email\na@x.test\n"), HK_EINVAL);
        assert_non_null(strstr(p->why.text, "no such encoding is known; write Shift_JIS"));
        assert_non_null(strstr(p->why.text, names[i]));
    }
}

static void a_list_that_is_no_utf8_gets_the_hint_that_helps(void **state)
{
    static const struct {
        const char *encoding, *text, *hint;
    } cases[] = {
        {"CP932", "email,name\na@x.test,\xe5\xb1\xb1\xe7\x94\xb0 \xe8\x8a\xb1\xe5\xad\x90\n",
         "--encoding Shift_JIS"},
        /* Half-width katakana, and kanji whose second byte is ASCII. */
        {"CP932", "email,name\na@x.test,\xef\xbe\x94\xef\xbe\x8f\xef\xbe\x80\xef\xbe\x9e\n",
         "--encoding Shift_JIS"},
        {"CP932", "email,name\na@x.test,\xe8\xa1\xa8\n", "--encoding Shift_JIS"},
        {"EUC-JP", "email,name\na@x.test,\xe3\x82\x84\xe3\x81\xbe\xe3\x81\xa0\n", "--encoding EUC-JP"},
        {"CP1252", "email,name\na@x.test,Zo\xc3\xab\nb@x.test,M\xc3\xbcller\n", "--encoding windows-1252"},
        {"CP1252", "email,name\na@x.test,Ren\xc3\xa9\nb@x.test,M\xc3\xbcller\n", "--encoding windows-1252"},
        {"CP1252", "email,name\na@x.test,M\xc3\xbcller\nb@x.test,Andr\xc3\xa9s\n", "--encoding windows-1252"},
    };
    struct place *p = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char list[256];
        snprintf(list, sizeof list, "%sgood@x.test,ASCII\n", cases[i].text);
        assert_int_equal(import_as(p, cases[i].encoding, NULL, list), 0);
        assert_int_equal(p->result.recipients, 1);
        if (strstr(p->result.hint, cases[i].hint) == NULL)
            fail_msg("%zu: \"%s\" is no hint of %s", i, p->result.hint, cases[i].hint);
    }
    /* One bad row after good ones is no matter of encoding. */
    assert_int_equal(place_import(p, "email,name\na@x.test,\xe5\xb1\xb1\nb@x.test,\x8e\x52\n"), 0);
    assert_string_equal(p->result.hint, "");
    /* The same hint where nobody is left. */
    assert_int_equal(import_as(p, "CP932", NULL, cases[0].text), HK_EINVAL);
    assert_non_null(
        strstr(p->why.text, "looks like Shift_JIS, as Excel in Japan saves it: add --encoding Shift_JIS"));
}

static void a_header_that_is_no_utf8_is_refused_with_the_hint(void **state)
{
    static const struct {
        const char *encoding, *text, *hint;
    } cases[] = {
        {"CP932", "email,\xe6\xb0\x8f\xe5\x90\x8d\na@x.test,\xe5\xb1\xb1\n",
         ":1: the header row is not UTF-8; looks like Shift_JIS, as Excel in Japan saves it: add --encoding "
         "Shift_JIS"},
        {"CP1252", "email,pr\xc3\xa9nom\na@x.test,Zo\xc3\xab\n", "add --encoding windows-1252"},
        {"UTF-16", "email,name\na@x.test,A\n",
         ":1: the list is UTF-16, as Excel saves \"Unicode text\": add --encoding UTF-16"},
        {"UTF-16LE", "email,name\na@x.test,A\n", "looks like UTF-16: add --encoding UTF-16LE"},
        {"UTF-16BE", "email,name\na@x.test,A\n", "looks like UTF-16: add --encoding UTF-16BE"},
        {"ISO-2022-JP", "email,name\na@x.test,\xe5\xb1\xb1\n",
         "looks like ISO-2022-JP: add --encoding ISO-2022-JP"},
    };
    struct place *p = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(import_as(p, cases[i].encoding, NULL, cases[i].text), HK_EINVAL);
        if (strstr(p->why.text, cases[i].hint) == NULL)
            fail_msg("%zu: \"%s\" does not say \"%s\"", i, p->why.text, cases[i].hint);
        assert_int_equal(import_as(p, cases[i].encoding, cases[i].encoding, cases[i].text), 0);
    }
    assert_int_equal(import_as(p, "CP932", "EUC-JP", "email,\xe6\xb0\x8f\xe5\x90\x8d\na@x.test,A\n"),
                     HK_EINVAL);
    assert_non_null(strstr(p->why.text, "the header row is not valid EUC-JP"));
}

static void the_header_tells_what_separates_fields(void **state)
{
    static const struct {
        const char *list;
        unsigned columns, rejected;
    } cases[] = {
        {"email,name\na@x.test,A;B\n", 2, 0},
        {"email;name\r\na@x.test;\"A;B, C\"\r\n", 2, 0},
        {"email\tname\na@x.test\tA,B\n", 2, 0},
        {"\xef\xbb\xbfsep=;\r\nemail;name\r\na@x.test;A\r\n", 2, 0},
        {"sep=|\nemail|name\na@x.test|A\n", 2, 0},
        {"sep=,\nemail,name\na@x.test,A\n", 2, 0},
        {"email,\"a;b;c\"\na@x.test,A\n", 2, 0},
        {"\"email\";\"a,b\"\na@x.test;A\n", 2, 0},
        {"email;a,b\nb@x.test,1\n", 0, 0}, /* commas come first: no column email */
        {"email;name;x\na@x.test;A;\nb@x.test,B,\n", 3, 1},
        {"email\na@x.test\n", 1, 0},
    };
    struct place *p = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct segment *s;
        assert_int_equal(place_import(p, cases[i].list), cases[i].columns > 0 ? 0 : HK_EINVAL);
        if (cases[i].columns == 0)
            continue;
        s = place_open(p);
        assert_int_equal(segment_column_count(s), cases[i].columns);
        assert_int_equal(p->result.rejected, cases[i].rejected);
        segment_close(s);
    }
    /* Lines are counted with the sep= line; a rejected row is shown as it was. */
    assert_int_equal(place_import(p, "sep=;\nmail;name\n"), HK_EINVAL);
    assert_non_null(strstr(p->why.text, "list.csv:2: no column is named email (2 columns"));
    place_take(p, "email;name\na@x.test;A\nb;\"x;y,z\"\n");
    place_assert_file(p->rejected, "row,reason,text\n2,\"no @\",\"b;\"\"x;y,z\"\"\"\n");
}

static void the_hash_of_the_list_is_that_of_its_bytes_as_they_are(void **state)
{
    static const char list[] = "email,name\na@x.test,\x93\xfa\n";
    char sha256[HK_SHA256_HEX];
    struct place *p = *state;

    p->options.encoding = "Shift_JIS";
    place_take(p, list);
    hk_sha256_hex(list, sizeof list - 1, sha256);
    assert_string_equal(p->result.input_sha256, sha256);
}

static void replace_list(void *context, uint64_t rows)
{
    struct place *p = context;

    (void)rows;
    assert_int_equal(unlink(p->list), 0);
    assert_int_equal(hk_write_file(p->list, 0600, "email\nother@x.test\n", 19, NULL), 0);
    p->options.progress = NULL;
}

static void a_list_that_is_replaced_or_removed_meanwhile_is_read_as_it_was(void **state)
{
    char before[HK_SHA256_HEX];
    struct place *p = *state;
    FILE *f = fopen(p->list, "w");

    fputs("email\n", f);
    for (unsigned i = 0; i < 100000; i++)
        fprintf(f, "u%u@x.test\n", i);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(hk_sha256_file(p->list, before, NULL), 0);
    p->options.progress = replace_list;
    p->options.context = p;
    assert_int_equal(list_import(&p->options, &p->result, &p->why), 0);
    assert_int_equal(p->result.recipients, 100000);
    assert_string_equal(p->result.input_sha256, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        place_test(a_list_in_a_named_encoding_reads_as_if_it_were_utf8),
        place_test(bytes_that_mean_nothing_reject_their_row_and_no_other),
        place_test(characters_are_whole_however_blocks_are_cut),
        place_test(an_encoding_that_nobody_knows_is_refused),
        place_test(a_list_that_is_no_utf8_gets_the_hint_that_helps),
        place_test(a_header_that_is_no_utf8_is_refused_with_the_hint),
        place_test(the_header_tells_what_separates_fields),
        place_test(the_hash_of_the_list_is_that_of_its_bytes_as_they_are),
        place_test(a_list_that_is_replaced_or_removed_meanwhile_is_read_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
