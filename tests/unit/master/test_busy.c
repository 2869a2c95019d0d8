/* When one worker is enough, and how connections are shared when it is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "busy.h"

static void one_is_enough_while_it_has_time(void **state)
{
    struct busy busy;

    (void)state;
    busy_begin(&busy, 7000, 1000); /* who was in its place has rested */
    assert_true(busy_has_time(&busy));
    busy_look(&busy, 48000, 101000);
    assert_int_equal(busy.percent, 59);
    assert_true(busy_has_time(&busy));
    busy_look(&busy, 88000, 201000); /* since the last look, not in its life */
    assert_int_equal(busy.percent, 60);
    assert_false(busy_has_time(&busy));
    busy_look(&busy, 137000, 201000 + BUSY_LOOK_US - 1); /* too soon: nothing new */
    assert_int_equal(busy.percent, 60);
    busy_look(&busy, 188000, 301000);
    assert_int_equal(busy.percent, 0);
    assert_true(busy_has_time(&busy));
}

static void a_rest_that_was_counted_twice_is_no_more_than_that(void **state)
{
    struct busy busy;

    (void)state;
    busy_begin(&busy, 0, 1000);
    busy_look(&busy, 150000, 101000);
    assert_int_equal(busy.percent, 0);
    busy_look(&busy, 120000, 201000);
    assert_int_equal(busy.percent, 100);
}

static void nobody_is_given_more_than_a_look_can_tell(void **state)
{
    struct busy busy;

    (void)state;
    busy_begin(&busy, 0, 1000);
    for (uint32_t i = 0; i < BUSY_OPENED_MAX; i++) {
        assert_true(busy_has_time(&busy));
        busy.opened++;
    }
    assert_false(busy_has_time(&busy));
    busy_look(&busy, 199000, 201000);
    assert_true(busy_has_time(&busy));
}

static void who_is_busy_shares_with_who_is_not(void **state)
{
    const struct busy idle = {.percent = 0}, half = {.percent = 45}, nearly = {.percent = 69},
                      full = {.percent = 100};

    (void)state;
    assert_true(busy_should_share(&full, &idle));
    assert_true(busy_should_share(&full, &half));
    assert_false(busy_should_share(&full, &nearly));
    assert_false(busy_should_share(&nearly, &idle));
    assert_false(busy_should_share(&full, &full)); /* itself, too */
}

static uint32_t gives(uint32_t percent, uint32_t working, uint32_t others, uint32_t others_percent)
{
    const struct busy busy = {.percent = percent};

    return busy_gives(&busy, working, others, others_percent);
}

static void all_have_as_much_to_do_then(void **state)
{
    (void)state;
    assert_int_equal(gives(100, 64, 1, 0), 32);
    assert_int_equal(gives(70, 64, 1, 0), 32);
    assert_int_equal(gives(100, 64, 3, 0), 48);
    assert_int_equal(gives(100, 64, 3, 60), 38); /* 40 % each: 25.6 of them stay, so 26 */
    assert_int_equal(gives(90, 5, 1, 10), 2);    /* however many the other has */
    assert_int_equal(gives(100, 3, 1, 0), 1);    /* it keeps what cannot be shared evenly */
    assert_int_equal(gives(100, 1, 7, 0), 0);
    assert_int_equal(gives(100, 0, 1, 0), 0); /* it is busy with something else */
    assert_int_equal(gives(0, 10, 1, 0), 0);
    assert_int_equal(gives(100, 5000, 1, 0), BUSY_OPENED_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_is_enough_while_it_has_time),
        cmocka_unit_test(a_rest_that_was_counted_twice_is_no_more_than_that),
        cmocka_unit_test(nobody_is_given_more_than_a_look_can_tell),
        cmocka_unit_test(who_is_busy_shares_with_who_is_not),
        cmocka_unit_test(all_have_as_much_to_do_then),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
