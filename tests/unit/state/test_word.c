/* test_word.c - the four bytes of a recipient (state/word.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/state.h"

static void every_part_of_a_word_comes_back(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 100000; i++) {
        uint32_t r = i * 2654435761u;
        struct ledger_word in = {.state = (uint8_t)(r % LEDGER_STATES_COUNT),
                                 .marks = r >> 4 & 7,
                                 .reply_class = r >> 7 & 31,
                                 .attempts = r >> 12 & 255,
                                 .code = r >> 20 & 1023};
        uint32_t packed = ledger_pack(in);
        struct ledger_word out = ledger_unpack(packed);

        assert_true(packed < 1u << 30);
        assert_int_equal(out.state, in.state);
        assert_int_equal(out.marks, in.marks);
        assert_int_equal(out.reply_class, in.reply_class);
        assert_int_equal(out.attempts, in.attempts);
        assert_int_equal(out.code, in.code);
    }
}

static void a_word_has_the_layout_that_is_written_down(void **state)
{
    (void)state;
    assert_int_equal(ledger_pack((struct ledger_word){.state = 8}), 8);
    assert_int_equal(ledger_pack((struct ledger_word){.marks = 1}), 1 << 4);
    assert_int_equal(ledger_pack((struct ledger_word){.reply_class = 1}), 1 << 7);
    assert_int_equal(ledger_pack((struct ledger_word){.attempts = 1}), 1 << 12);
    assert_int_equal(ledger_pack((struct ledger_word){.code = 1}), 1 << 20);
    assert_int_equal(ledger_pack((struct ledger_word){0}), 0);
}

static void every_state_has_a_name_of_its_own(void **state)
{
    (void)state;
    assert_string_equal(ledger_state_name(LEDGER_PENDING), "pending");
    assert_string_equal(ledger_state_name(LEDGER_CANCELLED), "cancelled");
    for (int a = 0; a < LEDGER_STATES_COUNT; a++)
        for (int b = 0; b < a; b++)
            assert_string_not_equal(ledger_state_name((enum ledger_state)a),
                                    ledger_state_name((enum ledger_state)b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_of_a_word_comes_back),
        cmocka_unit_test(a_word_has_the_layout_that_is_written_down),
        cmocka_unit_test(every_state_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
