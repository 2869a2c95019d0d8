/* The queue of runs: first in, first out, by run or by recipient, and what is given back goes to the front. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "queue.h"

static void recipients_come_out_one_by_one_in_order(void **state)
{
    struct queue queue = {0};
    struct run run;
    uint32_t want = 0;

    (void)state;
    for (uint32_t i = 0; i < 100; i++)
        queue_put(&queue, (struct run){.index = i * 10, .count = 10});
    assert_int_equal(queue.recipients, 1000);
    while (queue_get_one(&queue, &run)) {
        assert_int_equal(run.count, 1);
        assert_int_equal(run.index, want++);
        assert_int_equal(queue.recipients, 1000 - want);
    }
    assert_int_equal(want, 1000);
    assert_null(queue.run);
}

static void what_is_given_back_is_next(void **state)
{
    struct queue queue = {0};
    struct run run;

    (void)state;
    queue_put(&queue, (struct run){.index = 5, .count = 3});
    assert_true(queue_get_one(&queue, &run));
    queue_put_first(&queue, run);
    assert_int_equal(queue.recipients, 3);
    assert_true(queue_get(&queue, &run));
    assert_int_equal(run.index, 5);
    assert_int_equal(run.count, 1);
    assert_true(queue_get(&queue, &run));
    assert_int_equal(run.index, 6);
    assert_int_equal(run.count, 2);
    assert_false(queue_get(&queue, &run));
    assert_int_equal(queue.recipients, 0);
}

static void campaigns_are_served_in_turn_however_much_one_of_them_waits(void **state)
{
    struct turns turns = {0};
    uint32_t got[4] = {0};
    struct run run;

    (void)state;
    turns_put(&turns, (struct run){.campaign = 1, .index = 0, .count = 1000}, false);
    assert_true(turns_get_one(&turns, &run));
    turns_put(&turns, (struct run){.campaign = 2, .index = 0, .count = 10}, false);
    turns_put(&turns, (struct run){.campaign = 3, .index = 0, .count = 10}, false);
    assert_int_equal(turns.recipients, 1019);
    for (int i = 0; i < 30; i++) {
        assert_true(turns_get_one(&turns, &run));
        got[run.campaign]++;
    }
    assert_int_equal(got[1], 10);
    assert_int_equal(got[2], 10);
    assert_int_equal(got[3], 10);
    assert_int_equal(turns.count, 1);
    while (turns_get_one(&turns, &run))
        got[run.campaign]++;
    assert_int_equal(got[1], 999);
    assert_int_equal(turns.recipients, 0);
    assert_null(turns.turn);
}

static void one_campaigns_recipients_can_be_taken_out(void **state)
{
    struct turns turns = {0};
    uint64_t taken = 0;
    struct run run;

    (void)state;
    for (uint32_t i = 0; i < 100; i++)
        turns_put(&turns, (struct run){.campaign = (uint16_t)(i % 3), .index = i, .count = 2}, i % 2 == 0);
    while (turns_get_of(&turns, 1, &run)) {
        assert_int_equal(run.campaign, 1);
        taken += run.count;
    }
    assert_int_equal(taken, 66);
    assert_int_equal(turns.recipients, 134);
    for (int i = 0; i < 134; i++) {
        assert_true(turns_get_one(&turns, &run));
        assert_int_not_equal(run.campaign, 1);
    }
    assert_false(turns_get(&turns, &run));
}

static void it_grows_around_its_seam(void **state)
{
    struct queue queue = {0};
    struct run run;
    uint32_t put = 0, got = 0;

    (void)state;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 7; i++)
            queue_put(&queue, (struct run){.index = put++, .count = 1});
        for (int i = 0; i < 5; i++) {
            assert_true(queue_get(&queue, &run));
            assert_int_equal(run.index, got++);
        }
    }
    while (queue_get(&queue, &run))
        assert_int_equal(run.index, got++);
    assert_int_equal(put, got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recipients_come_out_one_by_one_in_order),
        cmocka_unit_test(what_is_given_back_is_next),
        cmocka_unit_test(campaigns_are_served_in_turn_however_much_one_of_them_waits),
        cmocka_unit_test(one_campaigns_recipients_can_be_taken_out),
        cmocka_unit_test(it_grows_around_its_seam),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
