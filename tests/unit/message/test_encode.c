/* test_encode.c - the encodings of mail and the relaxed canonical form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "canon.h"
#include "encode.h"

static void buf_is(const struct buf *buf, const char *want)
{
    assert_false(buf->failed);
    assert_int_equal(buf->length, strlen(want));
    if (buf->length > 0)
        assert_memory_equal(buf->at, want, buf->length);
}

static void qp_is(const char *text, const char *want)
{
    struct buf out = {0};
    size_t col = 0;

    qp_encode(text, strlen(text), &col, &out);
    buf_is(&out, want);
    buf_free(&out);
}

static void quoted_printable_hides_what_a_line_may_not_begin_or_end_with(void **state)
{
    (void)state;
    qp_is("", "");
    qp_is(".\r\n.x", "=2E\r\n=2Ex");
    qp_is("--b\r\na-b", "=2D-b\r\na-b");
    qp_is("From x\r\nFromx", "=46rom x\r\nFromx");
    qp_is("a \r\nb\t", "a=20\r\nb=09");
    qp_is("a = b\x01", "a =3D b=01");
    qp_is("\xE6\x97\xA5", "=E6=97=A5");
}

/* RFC 5321 4.5.3.1.6 */
static void a_quoted_printable_line_has_at_most_76_octets_and_decodes_to_the_same(void **state)
{
    char text[400];

    (void)state;
    for (size_t length = 0; length < sizeof text; length++) {
        struct buf out = {0}, back = {0};
        size_t col = 0, line = 0;

        for (size_t i = 0; i < length; i++)
            text[i] = (char)(i % 7 == 0 ? '.' : i % 5 == 0 ? 0xE6 : i % 3 == 0 ? ' ' : 'a');
        qp_encode(text, length, &col, &out);
        for (size_t i = 0; i < out.length; i++) {
            line = out.at[i] == '\n' ? 0 : line + 1;
            assert_true(line <= 77); /* 76 and the CR */
            assert_false(out.at[i] == '.' && line == 1);
        }
        qp_decode(out.at, out.length, &back);
        assert_int_equal(back.length, length);
        if (length > 0)
            assert_memory_equal(back.at, text, length);
        buf_free(&out);
        buf_free(&back);
    }
}

static void quoted_printable_of_others_is_read_as_they_meant_it(void **state)
{
    struct buf out = {0};
    static const char text[] = "a=\r\nb=\nc= \t\r\nd=e9=E9 \t\r\n=xx=";

    (void)state;
    qp_decode(text, sizeof text - 1, &out);
    buf_is(&out, "abcd\xE9\xE9\r\n=xx");
    buf_free(&out);
}

static void base64_in_any_pieces_is_the_same_octets(void **state)
{
    static const char text[] = "飛脚は手紙を運んだ。0123456789 0123456789 0123456789 0123456789 0123456789";
    struct buf whole = {0};

    (void)state;
    for (size_t cut = 0; cut < sizeof text; cut++) {
        struct base64 b64 = {0};
        struct buf out = {0}, back = {0};
        size_t col = 0;

        base64_put(&b64, text, cut, &col, &out);
        base64_put(&b64, text + cut, sizeof text - 1 - cut, &col, &out);
        base64_end(&b64, &col, &out);
        base64_decode(out.at, out.length, &back);
        buf_is(&back, text);
        if (cut == 0)
            buf_put(&whole, out.at, out.length);
        assert_int_equal(whole.length, out.length);
        assert_memory_equal(whole.at, out.at, out.length);
        assert_memory_equal(memmem(out.at, out.length, "\r\n", 2), out.at + 76, 2);
        buf_free(&out);
        buf_free(&back);
    }
    buf_free(&whole);
}

/* Decoders skip what is no base64, so a fault is told by where it stands. */
static void what_is_no_base64_is_told_by_its_place(void **state)
{
    static const struct {
        const char *text;
        size_t fault;
    } cases[] = {
        {"", 0},
        {"aGVsbG8=\r\n", 0},
        {"aGVs\r\n\tbG8\n", 0}, /* no padding: read all the same */
        {"aGVsbG8", 0},
        {"aGV*bG8=", 4},
        {"Dear {{name}},", 6},
        {"aGVsbG8=\r\n-- \r\nfooter", 11},
        {"aGVsbG8=aGVsbG8=", 9},
        {"aGVsbA===", 9},
        {"aGVsb", 5}, /* its end is missing */
        {"aGVs\xE9", 5},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(base64_fault(cases[i].text, strlen(cases[i].text)), cases[i].fault);
}

static void base32_survives_case_and_refuses_what_it_did_not_make(void **state)
{
    uint8_t octets[7] = {0xFF, 0, 1, 2, 3, 4, 5}, back[7];
    char text[16] = {0};

    (void)state;
    base32_encode(octets, 7, text);
    assert_int_equal(strlen(text), base32_size(7));
    for (char *p = text; *p != 0; p++)
        *p = (char)(*p >= 'a' ? *p - 32 : *p);
    assert_int_equal(base32_decode(text, strlen(text), back, sizeof back), 7);
    assert_memory_equal(back, octets, 7);
    assert_int_equal(base32_decode(text, strlen(text), back, 6), -1);
    assert_int_equal(base32_decode("a1", 2, back, sizeof back), -1);
    assert_int_equal(base32_decode("ab", 2, back, sizeof back), -1);  /* bits behind the last octet */
    assert_int_equal(base32_decode("aaa", 3, back, sizeof back), -1); /* no octets fill three digits */
}

static void text_is_escaped_for_html_and_its_line_ends_are_crlf(void **state)
{
    struct buf out = {0};

    (void)state;
    text_escape("<a href=\"x\">&'\r\n\n\r", 18, true, &out);
    buf_is(&out, "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\r\n\r\n\r\n");
    out.length = 0;
    text_escape("<&>\n", 4, false, &out);
    buf_is(&out, "<&>\r\n");
    buf_free(&out);
}

static void utf8_that_is_wrong_is_found(void **state)
{
    (void)state;
    assert_int_equal(utf8_fault("a\xE6\x97\xA5", 4), 0);
    assert_int_equal(utf8_fault("a\xE6\x97", 3), 2);
    assert_int_equal(utf8_fault("\xC0\x80", 2), 1);
    assert_int_equal(utf8_fault("\xED\xA0\x80", 3), 1);
    assert_int_equal(utf8_fault("\xF4\x90\x80\x80", 4), 1);
    assert_int_equal(utf8_length("\xE6\x97\xA5", 3), 3);
    assert_int_equal(utf8_length("\xE6\x97", 2), 1);
}

static void canon_is(const char *text, const char *want)
{
    struct canon canon = {0};
    struct buf out = {0};

    canon_feed(&canon, text, strlen(text), &out);
    canon_end(&canon, &out);
    buf_is(&out, want);
    buf_free(&out);
}

/* RFC 6376 */
static void a_body_is_canonical_as_rfc_6376_shows_it(void **state)
{
    (void)state;
    canon_is("", "");
    canon_is("\r\n\r\n \r\n", "");
    canon_is(" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n");
    canon_is("no end", "no end\r\n");
    canon_is("\r\na\t\r\n \r\nb", "\r\na\r\n\r\nb\r\n");
}

static void a_body_is_canonical_the_same_from_runs_and_pieces(void **state)
{
    static const char text[] = "  a \r\n\r\n \t b  c\r\nd \r\n  \r\n\r\n";
    size_t length = sizeof text - 1;
    struct canon canon = {0};
    struct buf whole = {0};

    (void)state;
    canon_feed(&canon, text, length, &whole);
    canon_end(&canon, &whole);
    for (size_t one = 0; one <= length; one++) {
        for (size_t two = one; two <= length; two++) {
            struct buf made = {0}, out = {0};
            struct canon_run run;

            if ((one > 0 && text[one - 1] == '\r') || (two > 0 && text[two - 1] == '\r'))
                continue; /* a CRLF is never cut */
            canon = (struct canon){0};
            canon_feed(&canon, text, one, &out);
            canon_run_make(text + one, two - one, &run, &made);
            canon_run_join(&canon, &run, &out);
            buf_put(&out, made.at + run.at, run.length);
            canon_feed(&canon, text + two, length - two, &out);
            canon_end(&canon, &out);
            assert_int_equal(out.length, whole.length);
            assert_memory_equal(out.at, whole.at, out.length);
            buf_free(&made);
            buf_free(&out);
        }
    }
    buf_free(&whole);
}

/* RFC 6376 */
static void a_header_field_is_canonical_in_one_line(void **state)
{
    static const char field[] = "SubJect : \t a\r\n\tb  c \r\n";
    struct buf out = {0};

    (void)state;
    canon_field(field, sizeof field - 1, &out);
    buf_is(&out, "subject:a b c\r\n");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quoted_printable_hides_what_a_line_may_not_begin_or_end_with),
        cmocka_unit_test(a_quoted_printable_line_has_at_most_76_octets_and_decodes_to_the_same),
        cmocka_unit_test(quoted_printable_of_others_is_read_as_they_meant_it),
        cmocka_unit_test(base64_in_any_pieces_is_the_same_octets),
        cmocka_unit_test(what_is_no_base64_is_told_by_its_place),
        cmocka_unit_test(base32_survives_case_and_refuses_what_it_did_not_make),
        cmocka_unit_test(text_is_escaped_for_html_and_its_line_ends_are_crlf),
        cmocka_unit_test(utf8_that_is_wrong_is_found),
        cmocka_unit_test(a_body_is_canonical_as_rfc_6376_shows_it),
        cmocka_unit_test(a_body_is_canonical_the_same_from_runs_and_pieces),
        cmocka_unit_test(a_header_field_is_canonical_in_one_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
