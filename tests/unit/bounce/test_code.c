/* test_code.c - which digits of a text are a code, and where a reply begins (bounce/code.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "code.h"

static struct slice text_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static void an_enhanced_code_has_three_numbers_and_a_known_class(void **state)
{
    static const struct {
        const char *text;
        size_t length;
        uint16_t status[3];
    } codes[] = {
        {"5.1.1", 5, {5, 1, 1}},  {"4.7.650 slower", 7, {4, 7, 650}},
        {"2.0.0)", 5, {2, 0, 0}}, {"5.1.1. Gone", 5, {5, 1, 1}},
        {"5.1.1.2", 0, {0}},      {"5.1.1a", 0, {0}},
        {"5.1", 0, {0}},          {"5.1.", 0, {0}},
        {"5..1", 0, {0}},         {"3.1.1", 0, {0}},
        {"15.1.1", 0, {0}},       {"5.1.1000", 0, {0}},
        {"5.1.x", 0, {0}},        {"", 0, {0}},
    };
    uint16_t status[3];

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct slice text = text_of(codes[i].text);
        size_t length = code_status_at(text.at, text.length, status);
        if (length != codes[i].length)
            fail_msg("%s: %zu", codes[i].text, length);
        if (length > 0)
            assert_memory_equal(status, codes[i].status, sizeof status);
        /* Cut anywhere, nothing behind the end is read: what stands there would be taken for more. */
        for (size_t left = 0; left < length; left++)
            assert_int_equal(code_status_at(text.at, left, status) <= left, 1);
    }
}

static void an_enhanced_code_is_found_where_it_is_no_part_of_a_word(void **state)
{
    static const unsigned refusals = 1u << 4 | 1u << 5;
    uint16_t status[3];

    (void)state;
    assert_true(code_find_status(text_of("no such user (#5.1.1)"), refusals, status));
    assert_int_equal(status[1], 1);
    assert_true(code_find_status(text_of("250 2.0.0 then 550-5.7.26 x"), refusals, status));
    assert_int_equal(status[2], 26);
    assert_true(code_find_status(text_of("4.2.2 and 5.2.2"), 1u << 5, status));
    assert_int_equal(status[0], 5);
    assert_false(code_find_status(text_of("host 5.1.1.7, id-5.1.1, v5.1.1, a@5.1.1"), refusals, status));
    assert_false(code_find_status(text_of("2.0.0"), refusals, status));
    assert_false(code_find_status(text_of("5.1."), refusals, status));
}

static void a_reply_begins_where_something_leads_to_it(void **state)
{
    static const struct {
        const char *text;
        size_t at;
        uint16_t code;
    } replies[] = {
        {"550 No such user", 0, 550},
        {"550", 0, 550},
        {"host mx.test said: 450-later", 19, 450},
        {"host mx.test said 450 later", 18, 450},
        {"error '554 refused'", 7, 554},
        {"smtp;571 refused", 5, 571},
        {"greeting of mx 421 4.2.1 not now", 15, 421},
        {"first\n552 full", 6, 552},
        {"<a@x.test>: 550: gone", 12, 550},
        /* None of these is one. */
        {"more than 550 recipients", 10, 0},
        {"a line of it 550-5.7.1 goes on", 13, 0},
        {"id: 5501", 4, 0},
        {"id: 550.1", 4, 0},
        {"a550 x", 1, 0},
        {"mx-550 x", 3, 0},
        {"250 ok", 0, 0},
        {"580 x", 0, 0},
        {"55", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        uint16_t code = code_reply_at(text_of(replies[i].text), replies[i].at);
        if (code != replies[i].code)
            fail_msg("%s: %u", replies[i].text, code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_enhanced_code_has_three_numbers_and_a_known_class),
        cmocka_unit_test(an_enhanced_code_is_found_where_it_is_no_part_of_a_word),
        cmocka_unit_test(a_reply_begins_where_something_leads_to_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
