/* Whom a call waits for: who was near, is under way, and not longer than for one call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "due.h"

/* One message of a connection: its dot may leave, and is answered so much later. */
static void answer(struct due *due, struct due_mark *mark, uint64_t at_us, uint64_t after_us)
{
    due_granted(due, mark, at_us);
    due_answered(due, mark, at_us + after_us);
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
    due_call(&due);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_who_answered_at_once_is_waited_for),
        cmocka_unit_test(who_comes_too_late_for_a_call_is_not_waited_for_with_the_next),
        cmocka_unit_test(who_is_gone_is_not_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
