/* test_reply.c - the reply reader: the same replies for every way in which the bytes can arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/reply.h"

static struct reply_reader reader;

/* Put bytes in, as a socket would: never more than there is room for. Returns how many went in. */
static size_t feed(struct reply_reader *rr, const char *bytes, size_t length)
{
    size_t done = 0;

    while (done < length) {
        char *where;
        size_t room = reply_room(rr, &where);
        size_t piece = length - done < room ? length - done : room;

        if (room == 0)
            break;
        memcpy(where, bytes + done, piece);
        reply_filled(rr, piece);
        done += piece;
    }
    return done;
}

static int read_one(const char *wire, size_t length, struct reply *r)
{
    reply_reader_init(&reader);
    assert_int_equal(feed(&reader, wire, length), length);
    return reply_next(&reader, r);
}

static int read_text(const char *wire, struct reply *r)
{
    return read_one(wire, strlen(wire), r);
}

static void assert_enhanced(const struct reply *r, int a, int b, int c)
{
    assert_int_equal(r->enhanced[0], a);
    assert_int_equal(r->enhanced[1], b);
    assert_int_equal(r->enhanced[2], c);
}

static void a_reply_is_the_same_for_every_two_cuts(void **state)
{
    static const char wire[] =
        "550-5.1.1 no such user\r\n550-\n550 5.1.1 see https://x.test/\r\n250 2.0.0 ok\r\n";
    const size_t length = sizeof wire - 1;
    (void)state;

    for (size_t a = 0; a <= length; a++) {
        for (size_t b = a; b <= length; b++) {
            const size_t cut[4] = {0, a, b, length};
            int seen = 0;
            struct reply r;

            reply_reader_init(&reader);
            for (int piece = 0; piece < 3; piece++) {
                int got;

                feed(&reader, wire + cut[piece], cut[piece + 1] - cut[piece]);
                while ((got = reply_next(&reader, &r)) == 1) {
                    assert_string_equal(r.text, seen == 0 ? "5.1.1 no such user\n\n5.1.1 see https://x.test/"
                                                          : "2.0.0 ok");
                    assert_int_equal(r.length, strlen(r.text));
                    assert_int_equal(r.code, seen == 0 ? 550 : 250);
                    assert_enhanced(&r, seen == 0 ? 5 : 2, seen == 0 ? 1 : 0, seen == 0 ? 1 : 0);
                    seen++;
                }
                assert_int_equal(got, 0);
            }
            assert_int_equal(seen, 2);
            assert_int_equal(reply_pending(&reader), 0);
        }
    }
}

static void a_reply_byte_by_byte_comes_with_its_last_byte_and_not_before(void **state)
{
    static const char wire[] = "250-mx.test\r\n250-SIZE 100\r\n250 PIPELINING\r\n";
    struct reply r;
    (void)state;

    reply_reader_init(&reader);
    for (size_t i = 0; i + 1 < sizeof wire; i++) {
        feed(&reader, wire + i, 1);
        assert_int_equal(reply_next(&reader, &r), i + 2 == sizeof wire);
    }
    assert_string_equal(r.text, "mx.test\nSIZE 100\nPIPELINING");
}

/* RFC 5321 4.2.1 */
static void of_differing_codes_the_last_line_counts(void **state)
{
    struct reply r;
    (void)state;

    assert_int_equal(read_text("451-later\r\n450 busy\r\n", &r), 1);
    assert_int_equal(r.code, 450);
    assert_string_equal(r.text, "later\nbusy");
}

/* RFC 5321 4.2.1 */
static void codes_that_differ_in_their_first_digit_are_no_reply(void **state)
{
    struct reply r;
    (void)state;

    assert_int_equal(read_text("250-fine\r\n550 no\r\n", &r), HK_EPROTO);
    assert_int_equal(reply_next(&reader, &r), HK_EPROTO);
}

static void a_bare_lf_ends_a_line(void **state)
{
    struct reply r;
    (void)state;

    assert_int_equal(read_text("250-one\n250 two\n", &r), 1);
    assert_string_equal(r.text, "one\ntwo");
}

static void extra_cr_before_lf_is_no_text(void **state)
{
    struct reply r;
    (void)state;

    assert_int_equal(read_text("250 ok\r\r\n", &r), 1);
    assert_string_equal(r.text, "ok");
    assert_int_equal(read_text("354\r\n", &r), 1);
    assert_int_equal(r.code, 354);
    assert_string_equal(r.text, "");
}

static void a_bare_cr_inside_a_line_stays_text(void **state)
{
    struct reply r;
    (void)state;

    assert_int_equal(read_text("250 a\rb\r\n", &r), 1);
    assert_string_equal(r.text, "a\rb");
    assert_int_equal(read_text("250\rb\r\n", &r), HK_EPROTO);
}

static void replies_come_one_by_one_in_order(void **state)
{
    struct reply r;
    (void)state;

    assert_int_equal(read_text("250 a\r\n550 5.1.1 b\r\n354 c\r\n2", &r), 1);
    assert_string_equal(r.text, "a");
    assert_enhanced(&r, 0, 0, 0);
    assert_int_equal(reply_next(&reader, &r), 1);
    assert_int_equal(r.code, 550);
    assert_enhanced(&r, 5, 1, 1);
    assert_int_equal(reply_next(&reader, &r), 1);
    assert_string_equal(r.text, "c");
    assert_int_equal(reply_next(&reader, &r), 0);
    assert_int_equal(reply_pending(&reader), 1);
}

static void garbage_is_refused_with_its_first_wrong_byte(void **state)
{
    static const char *const bad[] = {
        "H",          "HTTP/1.1 400 Bad Request\r\n",
        "1",          "100 go on\r\n",
        "600 no\r\n", "25x",
        "250_ok",     "250\tok\r\n",
        "\r\n",       "25\r\n",
        "25\n",       " 250 ok\r\n",
        "+OK\r\n",    "\x16\x03\x01",
        "2500 ok",    "250-a\r\nb",
        "250-a\r\n3", "250-a\r\n\r\n",
    };
    struct reply r;
    (void)state;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (read_text(bad[i], &r) != HK_EPROTO)
            fail_msg("taken for a reply: %s", bad[i]);
    assert_int_equal(read_one("\0", 1, &r), HK_EPROTO);
}

static void garbage_behind_a_good_reply_waits_its_turn(void **state)
{
    struct reply r;
    (void)state;

    assert_int_equal(read_text("250 ok\r\nwhat\r\n", &r), 1);
    assert_int_equal(reply_next(&reader, &r), HK_EPROTO);
}

/* The octets of a text, without its NUL. */
static void put(char *at, const char *text)
{
    for (size_t i = 0; text[i] != '\0'; i++)
        at[i] = text[i];
}

static void a_reply_of_exactly_the_limit_is_read_and_one_octet_more_is_not(void **state)
{
    static char wire[REPLY_MAX + 1];
    struct reply r;
    (void)state;

    memset(wire, 'x', sizeof wire);
    put(wire, "250 ");
    put(wire + REPLY_MAX - 2, "\r\n");
    assert_int_equal(read_one(wire, REPLY_MAX, &r), 1);
    assert_int_equal(r.length, REPLY_MAX - 6);

    wire[REPLY_MAX - 2] = 'x';
    put(wire + REPLY_MAX - 1, "\r\n");
    reply_reader_init(&reader);
    assert_int_equal(feed(&reader, wire, sizeof wire), REPLY_MAX);
    assert_int_equal(reply_next(&reader, &r), HK_ETOOBIG);
    assert_int_equal(reply_next(&reader, &r), HK_ETOOBIG);
}

static void lines_without_end_are_too_big_and_many_small_lines_too(void **state)
{
    struct reply r;
    (void)state;

    reply_reader_init(&reader);
    for (int i = 0; feed(&reader, "250-line\r\n", 10) == 10; i++)
        assert_int_equal(reply_next(&reader, &r), 0);
    assert_int_equal(reply_next(&reader, &r), HK_ETOOBIG);
}

static void room_comes_back_as_replies_are_taken(void **state)
{
    struct reply r;
    (void)state;

    reply_reader_init(&reader);
    for (int i = 0; i < 10000; i++) {
        char *where;

        assert_int_equal(feed(&reader, "250 2.1.0 fine\r\n25", 18), 18);
        assert_int_equal(reply_next(&reader, &r), 1);
        assert_int_equal(feed(&reader, "1 two\r\n", 7), 7);
        assert_int_equal(reply_next(&reader, &r), 1);
        assert_int_equal(r.code, 251);
        assert_true(reply_room(&reader, &where) == REPLY_MAX);
    }
}

/* RFC 2034 */
static void an_enhanced_code_counts_only_in_its_own_class(void **state)
{
    static const struct {
        const char *wire;
        int a, b, c;
    } row[] = {
        {"550 5.1.1 x\r\n", 5, 1, 1},
        {"550 5.7.26\r\n", 5, 7, 26},
        {"450 5.1.1 x\r\n", 0, 0, 0},
        {"550 4.2.2 x\r\n", 0, 0, 0},
        {"250 2.0.0 x\r\n", 2, 0, 0},
        {"354 3.0.0 x\r\n", 0, 0, 0},
        {"550 5.1.1: x\r\n", 0, 0, 0},
        {"550 5.1 x\r\n", 0, 0, 0},
        {"550 5.1.1000 x\r\n", 0, 0, 0},
        {"550 5.1.999 x\r\n", 0, 0, 0},
        {"550 5.1.255 x\r\n", 5, 1, 255},
        {"220 2.0.0.1 x\r\n", 0, 0, 0},
        {"550 55.1.1 x\r\n", 0, 0, 0},
        {"550 5..1 x\r\n", 0, 0, 0},
        {"550  5.1.1 x\r\n", 0, 0, 0},
        {"550-x\r\n550 5.1.1 y\r\n", 5, 1, 1},
        {"550-5.1.1 x\r\n550 5.7.1 y\r\n", 5, 1, 1},
        {"550-4.1.1 x\r\n550 5.7.1 y\r\n", 5, 7, 1},
        {"250 mx.test\r\n", 0, 0, 0},
    };
    struct reply r;
    (void)state;

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        assert_int_equal(read_text(row[i].wire, &r), 1);
        assert_enhanced(&r, row[i].a, row[i].b, row[i].c);
    }
}

static void the_enhanced_code_stays_in_the_text(void **state)
{
    struct reply r;
    (void)state;

    assert_int_equal(read_text("550 5.1.1 no\r\n", &r), 1);
    assert_string_equal(r.text, "5.1.1 no");
}

static void a_nul_cannot_hide_the_rest_of_the_text(void **state)
{
    struct reply r;
    (void)state;

    assert_int_equal(read_one("550 a\0b\r\n", 9, &r), 1);
    assert_int_equal(r.length, 3);
    assert_string_equal(r.text, "a?b");
    assert_int_equal(read_one("25\0 a\r\n", 7, &r), HK_EPROTO);
    assert_int_equal(read_one("250\0ok\r\n", 8, &r),
                     HK_EPROTO); /* and is no '-' that more lines would follow */
}

static void eight_bit_text_comes_as_it_was_sent(void **state)
{
    struct reply r;
    (void)state;

    assert_int_equal(read_text("550 5.1.1 \xe5\xae\x9b\xff\r\n", &r), 1);
    assert_string_equal(r.text, "5.1.1 \xe5\xae\x9b\xff");
}

static void a_reply_stays_while_more_is_read(void **state)
{
    struct reply r;
    (void)state;

    assert_int_equal(read_text("250 first\r\n", &r), 1);
    feed(&reader, "550 second\r\n", 12);
    assert_string_equal(r.text, "first");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_is_the_same_for_every_two_cuts),
        cmocka_unit_test(a_reply_byte_by_byte_comes_with_its_last_byte_and_not_before),
        cmocka_unit_test(of_differing_codes_the_last_line_counts),
        cmocka_unit_test(codes_that_differ_in_their_first_digit_are_no_reply),
        cmocka_unit_test(a_bare_lf_ends_a_line),
        cmocka_unit_test(extra_cr_before_lf_is_no_text),
        cmocka_unit_test(a_bare_cr_inside_a_line_stays_text),
        cmocka_unit_test(replies_come_one_by_one_in_order),
        cmocka_unit_test(garbage_is_refused_with_its_first_wrong_byte),
        cmocka_unit_test(garbage_behind_a_good_reply_waits_its_turn),
        cmocka_unit_test(a_reply_of_exactly_the_limit_is_read_and_one_octet_more_is_not),
        cmocka_unit_test(lines_without_end_are_too_big_and_many_small_lines_too),
        cmocka_unit_test(room_comes_back_as_replies_are_taken),
        cmocka_unit_test(an_enhanced_code_counts_only_in_its_own_class),
        cmocka_unit_test(the_enhanced_code_stays_in_the_text),
        cmocka_unit_test(a_nul_cannot_hide_the_rest_of_the_text),
        cmocka_unit_test(eight_bit_text_comes_as_it_was_sent),
        cmocka_unit_test(a_reply_stays_while_more_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
