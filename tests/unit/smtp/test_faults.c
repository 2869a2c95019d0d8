/* test_faults.c - the grammar of SMTP asks for no memory and makes no call, and long runs of replies are the same in
 * pieces of every size.
 *
 * That is the contract of reply.h; here every call that could fail does, from the first one on, and none is made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "faults.h"
#include "hikyaku/reply.h"

#define EVERY_KIND (~0u)
#define REPLIES    200u
#define LINE_BYTES 80u

static struct reply_reader reader;
static char wire[REPLIES * 3 * LINE_BYTES];
static size_t wire_length;

static unsigned code_of(unsigned n)
{
    static const unsigned with_enhanced[] = {200, 400, 500};

    return with_enhanced[n % 7 % 3] + n % 60;
}

/* REPLIES replies of one to three lines, several times what the reader's buffer holds. */
static void make_wire(void)
{
    wire_length = 0;
    for (unsigned n = 0; n < REPLIES; n++)
        for (unsigned line = 0; line <= n % 3; line++)
            wire_length += (size_t)snprintf(wire + wire_length, LINE_BYTES, "%u%c%u.7.%u reply %u %.*s\r\n",
                                            code_of(n), line == n % 3 ? ' ' : '-', code_of(n) / 100, n, n,
                                            (int)(n % 40), "........................................");
    assert_true(wire_length > 2 * REPLY_MAX);
}

/* The replies that are there; `got` is how many there were before. */
static unsigned take(unsigned got)
{
    struct reply reply;
    int rc;

    while ((rc = reply_next(&reader, &reply)) == 1) {
        char last[LINE_BYTES];
        snprintf(last, sizeof last, "%u.7.%u reply %u %.*s", code_of(got) / 100, got, got, (int)(got % 40),
                 "........................................");
        assert_int_equal(reply.code, code_of(got));
        assert_int_equal(reply.enhanced[2], got);
        assert_string_equal(reply.text + reply.length - strlen(last), last);
        got++;
    }
    assert_int_equal(rc, 0);
    return got;
}

static void replies_in_pieces_of_every_size_are_the_same_and_take_no_memory(void **state)
{
    (void)state;
    make_wire();
    for (size_t piece = 1; piece < REPLY_MAX; piece += 1 + piece / 16) {
        unsigned got = 0;
        reply_reader_init(&reader);
        fault_arm_from(EVERY_KIND, 1);
        for (size_t at = 0; at < wire_length;) {
            char *where;
            size_t room = reply_room(&reader, &where),
                   n = wire_length - at < piece ? wire_length - at : piece;
            n = n < room ? n : room;
            assert_true(n > 0);
            memcpy(where, wire + at, n);
            reply_filled(&reader, n);
            at += n;
            got = take(got);
        }
        assert_false(fault_disarm());
        assert_int_equal(got, REPLIES);
        assert_int_equal(reply_pending(&reader), 0);
    }
}

static void offers_and_commands_take_no_memory(void **state)
{
    static const char ehlo[] = "mx.test\nPIPELINING\nSIZE 1000\nAUTH PLAIN LOGIN\nSTARTTLS\nLIMITS MAILMAX=5";
    static const char command[] = "MAIL FROM:<@r.test:\"a b\"@x.test> SIZE=5 BODY=8BITMIME";
    struct reply reply = {.code = 250, .text = ehlo, .length = sizeof ehlo - 1};
    struct ehlo_offer offer;
    struct smtp_command parsed;

    (void)state;
    fault_arm_from(EVERY_KIND, 1);
    ehlo_offer_parse(&reply, &offer);
    smtp_command_parse(command, sizeof command - 1, &parsed);
    assert_false(fault_disarm());
    assert_true(offer.pipelining && offer.starttls && offer.auth_plain && offer.size_max == 1000);
    assert_int_equal(parsed.verb, VERB_MAIL);
    assert_false(parsed.bad_syntax);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_in_pieces_of_every_size_are_the_same_and_take_no_memory),
        cmocka_unit_test(offers_and_commands_take_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
