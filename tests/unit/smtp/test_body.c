/* test_body.c - the end of a message is found at the same octet for every way of cutting the input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/body.h"

struct found {
    bool ended;
    size_t at;
    size_t bare_lf, long_lines;
};

static struct found take_cut(const char *wire, size_t length, size_t a, size_t b)
{
    const size_t cut[4] = {0, a, b, length};
    struct body_reader body;
    struct found out = {false, 0, 0, 0};

    body_reader_init(&body);
    for (int i = 0; i < 3 && !out.ended; i++) {
        if (cut[i] < cut[i + 1])
            out.at += body_reader_take(&body, wire + cut[i], cut[i + 1] - cut[i], &out.ended);
    }
    assert_int_equal(out.at, body.bytes);
    out.bare_lf = body.bare_lf;
    out.long_lines = body.long_lines;
    return out;
}

/* All two cuts agree; returns what they found. */
static struct found take(const char *wire)
{
    size_t length = strlen(wire);
    struct found whole = take_cut(wire, length, length, length);

    for (size_t a = 0; a <= length; a++) {
        for (size_t b = a; b <= length; b++) {
            struct found f = take_cut(wire, length, a, b);

            assert_int_equal(f.ended, whole.ended);
            assert_int_equal(f.at, whole.at);
            assert_int_equal(f.bare_lf, whole.bare_lf);
        }
    }
    return whole;
}

static void a_message_ends_with_its_dot_and_not_an_octet_later(void **state)
{
    static const char wire[] = "Subject: x\r\n\r\nbody\r\n.\r\nMAIL FROM:<>\r\n";
    struct found f = take(wire);
    (void)state;

    assert_true(f.ended);
    assert_int_equal(f.at, strstr(wire, "MAIL") - wire);
    assert_int_equal(f.bare_lf, 0);
}

static void a_message_may_be_empty(void **state)
{
    struct found f = take(".\r\nQUIT\r\n");
    (void)state;

    assert_true(f.ended);
    assert_int_equal(f.at, 3);
}

static void only_crlf_dot_crlf_ends_a_message(void **state)
{
    static const char *const wire[] = {
        "a\n.\r\n",    "a\r\n.\n",      "a\n.\n",       "a\r.\r\n", "a\r\n..\r\n", "a.\r\n", "a\r\n.\r\r\n",
        "a\r\n. \r\n", "a\r\n.\rx\r\n", "a\r\n\n.\r\n", "\r.\r\n",  "\n.\r\n",     "",
    };
    (void)state;

    for (size_t i = 0; i < sizeof wire / sizeof wire[0]; i++)
        if (take(wire[i]).ended)
            fail_msg("ended: number %zu", i);
}

static void a_dot_after_anything_odd_is_still_found(void **state)
{
    static const char *const wire[] = {
        "a\n\r\n.\r\n", "..\r\n.\r\n", ".\r\r\n.\r\n", ".\n\r\n.\r\n",
        "\r\r\n.\r\n",  ".x\r\n.\r\n", "a\r\r\n.\r\n",
    };
    (void)state;

    for (size_t i = 0; i < sizeof wire / sizeof wire[0]; i++) {
        struct found f = take(wire[i]);

        if (!f.ended || f.at != strlen(wire[i]))
            fail_msg("not ended: number %zu", i);
    }
}

static void lines_without_cr_are_counted(void **state)
{
    (void)state;

    assert_int_equal(take("a\nb\n\nc\r\n.\r\n").bare_lf, 3);
    assert_int_equal(take("\n.\n.\r\n").bare_lf, 2);
}

static void long_lines_are_counted_from_1001_octets(void **state)
{
    char wire[1100];
    (void)state;

    for (size_t text = 997; text <= 1000; text++) {
        int n = snprintf(wire, sizeof wire, "a\r\n%0*d\r\n.\r\n", (int)text, 0);

        for (size_t cut = 0; cut <= (size_t)n; cut++)
            assert_int_equal(take_cut(wire, (size_t)n, cut, cut).long_lines, text + 2 > 1000);
    }
}

static void unstuffing_gives_the_message_back(void **state)
{
    static const struct {
        const char *wire, *message;
    } row[] = {
        {"a\r\n..b\r\n...\r\n.\r\n", "a\r\n.b\r\n..\r\n"},
        {".\r\n", ""},
        {"..\r\n.\r\n", ".\r\n"},
        {"a\n..b\r\n.\r\n", "a\n..b\r\n"},
        {"a\r\n.\r\n", "a\r\n"},
        {"", ""},
        {"\r\n\r\n.\r\n", "\r\n\r\n"},
    };
    (void)state;

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        char text[64];
        size_t length = strlen(row[i].wire);

        snprintf(text, sizeof text, "%s", row[i].wire);
        length = body_unstuff(text, length);
        assert_int_equal(length, strlen(row[i].message));
        assert_memory_equal(text, row[i].message, length);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_ends_with_its_dot_and_not_an_octet_later),
        cmocka_unit_test(a_message_may_be_empty),
        cmocka_unit_test(only_crlf_dot_crlf_ends_a_message),
        cmocka_unit_test(a_dot_after_anything_odd_is_still_found),
        cmocka_unit_test(lines_without_cr_are_counted),
        cmocka_unit_test(long_lines_are_counted_from_1001_octets),
        cmocka_unit_test(unstuffing_gives_the_message_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
