/* test_command.c - the server's side of the grammar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/reply.h"

static struct smtp_command parse(const char *line)
{
    struct smtp_command c;

    memset(&c, 0xff, sizeof c);
    smtp_command_parse(line, strlen(line), &c);
    return c;
}

static void assert_piece(const char *at, size_t length, const char *want)
{
    assert_int_equal(length, strlen(want));
    assert_memory_equal(at, want, length);
}

static void verbs_are_known_in_any_case_and_alone(void **state)
{
    static const struct {
        const char *line;
        enum smtp_verb verb;
    } row[] = {
        {"helo a.test", VERB_HELO},
        {"EHLO [127.0.0.1]", VERB_EHLO},
        {"StartTLS", VERB_STARTTLS},
        {"AUTH PLAIN AGE=", VERB_AUTH},
        {"mail from:<a@b.test>", VERB_MAIL},
        {"RCPT TO:<a@b.test>", VERB_RCPT},
        {"DATA", VERB_DATA},
        {"rset", VERB_RSET},
        {"NOOP", VERB_NOOP},
        {"NOOP anything goes", VERB_NOOP},
        {"QUIT", VERB_QUIT},
        {"QUIT  ", VERB_QUIT},
        {"VRFY someone", VERB_VRFY},
        {"HELP", VERB_HELP},
    };
    (void)state;

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct smtp_command c = parse(row[i].line);

        assert_int_equal(c.verb, row[i].verb);
        assert_false(c.bad_syntax);
    }
}

static void what_is_no_verb_is_unknown(void **state)
{
    static const char *const line[] = {
        "", " ", "DATAX", "DAT", "GET / HTTP/1.1", " DATA", "MAILFROM:<a@b>", "\xff"};
    (void)state;

    for (size_t i = 0; i < sizeof line / sizeof line[0]; i++)
        assert_int_equal(parse(line[i]).verb, VERB_UNKNOWN);
}

static void an_argument_too_many_or_too_few_is_bad_syntax(void **state)
{
    static const char *const line[] = {"EHLO",   "HELO ",  "EHLO two words", "DATA now",
                                       "RSET 1", "QUIT x", "STARTTLS x",     "AUTH",
                                       "VRFY",   "MAIL",   "RCPT "};
    (void)state;

    for (size_t i = 0; i < sizeof line / sizeof line[0]; i++) {
        assert_int_not_equal(parse(line[i]).verb, VERB_UNKNOWN);
        assert_true(parse(line[i]).bad_syntax);
    }
}

static void a_path_comes_without_brackets_and_its_parameters_apart(void **state)
{
    struct smtp_command c = parse("MAIL FROM:<a@b.test> SIZE=100 BODY=8BITMIME SMTPUTF8");
    (void)state;

    assert_false(c.bad_syntax);
    assert_piece(c.argument, c.argument_length, "a@b.test");
    assert_piece(c.parameters, c.parameters_length, "SIZE=100 BODY=8BITMIME SMTPUTF8");
    c = parse("rcpt to: <a@b.test>");
    assert_false(c.bad_syntax);
    assert_piece(c.argument, c.argument_length, "a@b.test");
    assert_int_equal(c.parameters_length, 0);
}

static void the_null_path_is_for_mail_alone(void **state)
{
    (void)state;

    assert_false(parse("MAIL FROM:<>").bad_syntax);
    assert_int_equal(parse("MAIL FROM:<>").argument_length, 0);
    assert_true(parse("RCPT TO:<>").bad_syntax);
}

static void postmaster_needs_no_domain(void **state)
{
    (void)state;

    assert_false(parse("RCPT TO:<Postmaster>").bad_syntax);
    assert_true(parse("RCPT TO:<someone>").bad_syntax);
    assert_true(parse("MAIL FROM:<postmaster>").bad_syntax);
}

static void a_source_route_is_left_out(void **state)
{
    struct smtp_command c = parse("RCPT TO:<@one.test,@two.test:a@b.test>");
    (void)state;

    assert_false(c.bad_syntax);
    assert_piece(c.argument, c.argument_length, "a@b.test");
    assert_true(parse("RCPT TO:<@one.test>").bad_syntax);
    assert_true(parse("RCPT TO:<@one.test:>").bad_syntax);
}

static void a_bracket_inside_quotes_ends_no_path(void **state)
{
    struct smtp_command c = parse("RCPT TO:<\"a> \\\"b\"@b.test> NOTIFY=NEVER");
    (void)state;

    assert_false(c.bad_syntax);
    assert_piece(c.argument, c.argument_length, "\"a> \\\"b\"@b.test");
    assert_piece(c.parameters, c.parameters_length, "NOTIFY=NEVER");
}

static void unusual_mailboxes_are_taken(void **state)
{
    static const char *const line[] = {
        "RCPT TO:<a..b.@docomo.test>", "RCPT TO:<.a@ezweb.test>",       "RCPT TO:<a@[127.0.0.1]>",
        "RCPT TO:<a@[IPv6:::1]>",      "RCPT TO:<\xe5\xae\x9b@b.test>", "RCPT TO:<o'x+y=z/{}@b.test>",
        "RCPT TO:<a@xn--wgv71a.test>", "RCPT TO:<a@localhost>",
    };
    (void)state;

    for (size_t i = 0; i < sizeof line / sizeof line[0]; i++)
        if (parse(line[i]).bad_syntax)
            fail_msg("refused: %s", line[i]);
}

static void bad_paths_are_bad_syntax(void **state)
{
    static const char *const line[] = {
        "MAIL FROM:a@b.test",      "MAIL FROM:<a@b.test",     "MAIL FROM <a@b.test>",
        "MAIL TO:<a@b.test>",      "MAIL FROM:<a@b.test>x",   "MAIL FROM:<a b@c.test>",
        "MAIL FROM:<@b.test>",     "MAIL FROM:<a@>",          "MAIL FROM:<a@b..test>",
        "MAIL FROM:<a@.test>",     "MAIL FROM:<a@@b>",        "MAIL FROM:<\"a@b.test>",
        "MAIL FROM:<a@b.test> =1", "MAIL FROM:<a@b.test> A=", "MAIL FROM:<a@b> A=1=2",
        "MAIL FROM:<a@[]>",        "RCPT TO:<a<b@c.test>",    "RCPT TO:<a@b.test>>",
        "RCPT TO:<\"a\"b@c.test>", "RCPT TO:<a@[1>",          "RCPT TO:<a@b.test> -A",
        "RCPT TO:< a@b.test>",     "RCPT TO:<\"a\\\">",
    };
    (void)state;

    for (size_t i = 0; i < sizeof line / sizeof line[0]; i++)
        if (!parse(line[i]).bad_syntax)
            fail_msg("taken: %s", line[i]);
}

static void long_parts_are_bad_syntax(void **state)
{
    char line[512];
    (void)state;

    snprintf(line, sizeof line, "RCPT TO:<%064d@b.test>", 0);
    assert_false(parse(line).bad_syntax);
    snprintf(line, sizeof line, "RCPT TO:<%065d@b.test>", 0);
    assert_true(parse(line).bad_syntax);
    snprintf(line, sizeof line, "RCPT TO:<a@%0255d>", 0);
    assert_false(parse(line).bad_syntax);
    snprintf(line, sizeof line, "RCPT TO:<a@%0256d>", 0);
    assert_true(parse(line).bad_syntax);
}

static void controls_are_bad_syntax_everywhere(void **state)
{
    static const char nul[] = "NOOP a\0b";
    struct smtp_command c;
    (void)state;

    assert_true(parse("EHLO a\rb").bad_syntax);
    assert_true(parse("RCPT TO:<\"a\nb\"@c.test>").bad_syntax);
    assert_true(parse("MAIL FROM:<a@b.test> X=\x01").bad_syntax);
    smtp_command_parse(nul, sizeof nul - 1, &c);
    assert_int_equal(c.verb, VERB_NOOP);
    assert_true(c.bad_syntax);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verbs_are_known_in_any_case_and_alone),
        cmocka_unit_test(what_is_no_verb_is_unknown),
        cmocka_unit_test(an_argument_too_many_or_too_few_is_bad_syntax),
        cmocka_unit_test(a_path_comes_without_brackets_and_its_parameters_apart),
        cmocka_unit_test(the_null_path_is_for_mail_alone),
        cmocka_unit_test(postmaster_needs_no_domain),
        cmocka_unit_test(a_source_route_is_left_out),
        cmocka_unit_test(a_bracket_inside_quotes_ends_no_path),
        cmocka_unit_test(unusual_mailboxes_are_taken),
        cmocka_unit_test(bad_paths_are_bad_syntax),
        cmocka_unit_test(long_parts_are_bad_syntax),
        cmocka_unit_test(controls_are_bad_syntax_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
