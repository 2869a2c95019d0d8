/* Whom a call waits for: who was near, is under way, and not longer than for one call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "due.h"
#include "hikyaku/base.h"

/* One message of a connection: its dot may leave, and is answered so much later. */
static void answer(struct due *due, struct due_mark *mark, uint64_t at_us, uint64_t after_us)
{
    due_granted(due, mark, at_us);
    due_answered(due, mark, at_us + after_us);
}

static void nobody_is_here(void *context)
{
    (void)context;
}

static void only_who_answered_at_once_is_waited_for(void **state)
{
    struct due_mark near = {0}, far = {0};
    struct due due;

    (void)state;
    due_init(&due);
    due_granted(&due, &near, 500);
    assert_int_equal(due.count, 0); /* nothing is known of it yet */
    due_answered(&due, &near, 500 + DUE_US);
    answer(&due, &far, 600, DUE_US + 1);
    due_granted(&due, &near, 3000);
    due_granted(&due, &far, 3000);
    assert_int_equal(due.count, 1);
    due_answered(&due, &near, 3100);
    due_answered(&due, &far, 53000);
    assert_int_equal(due.count, 0);
    answer(&due, &near, 60000, 50000); /* it was near, and is no longer */
    due_granted(&due, &near, 120000);
    assert_int_equal(due.count, 0);
}

static void who_comes_too_late_for_a_call_is_not_waited_for_with_the_next(void **state)
{
    struct due_mark late = {0}, other = {0};
    struct due due;

    (void)state;
    due_init(&due);
    answer(&due, &late, 0, 10);
    answer(&due, &other, 0, 10);
    due_granted(&due, &late, 1000);
    assert_int_equal(due.count, 1);
    due_await(&due, nobody_is_here, NULL);
    assert_int_equal(due.count, 0);
    due_granted(&due, &other, 2000);
    due_answered(&due, &late, 2100); /* counts for nothing now */
    assert_int_equal(due.count, 1);
    due_answered(&due, &other, 2100);
    assert_int_equal(due.count, 0);
}

static void who_is_gone_is_not_waited_for(void **state)
{
    struct due_mark mark = {0}, idle = {0};
    struct due due;

    (void)state;
    due_init(&due);
    due_gone(&due, &idle);
    assert_int_equal(due.count, 0);
    answer(&due, &mark, 0, 10);
    due_granted(&due, &mark, 1000);
    due_granted(&due, &mark, 1000); /* counts once */
    assert_int_equal(due.count, 1);
    due_gone(&due, &mark);
    due_gone(&due, &mark);
    assert_int_equal(due.count, 0);
}

/* Two who are due, of whom one more answers each time that it is looked. */
struct two {
    struct due due;
    struct due_mark mark[2];
    int looks;
};

static void one_more_is_here(void *context)
{
    struct two *two = context;

    due_answered(&two->due, &two->mark[two->looks], 1050);
    two->looks++;
}

static void a_call_goes_when_all_are_there(void **state)
{
    struct two two = {.looks = 0};

    (void)state;
    due_init(&two.due);
    for (int i = 0; i < 2; i++) {
        answer(&two.due, &two.mark[i], 0, 10);
        due_granted(&two.due, &two.mark[i], 1000);
    }
    due_await(&two.due, one_more_is_here, &two);
    assert_int_equal(two.looks, 2);
    due_await(&two.due, one_more_is_here, &two); /* nobody is due: it does not look at all */
    assert_int_equal(two.looks, 2);
}

static void a_call_does_not_wait_for_ever(void **state)
{
    struct due_mark mark = {0};
    struct due due;
    uint64_t began_us;

    (void)state;
    due_init(&due);
    answer(&due, &mark, 0, 10);
    due_granted(&due, &mark, 1000);
    began_us = clock_now_us();
    due_await(&due, nobody_is_here, NULL);
    assert_true(clock_now_us() >= began_us + DUE_US);
    assert_int_equal(due.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_who_answered_at_once_is_waited_for),
        cmocka_unit_test(who_comes_too_late_for_a_call_is_not_waited_for_with_the_next),
        cmocka_unit_test(who_is_gone_is_not_waited_for),
        cmocka_unit_test(a_call_goes_when_all_are_there),
        cmocka_unit_test(a_call_does_not_wait_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
