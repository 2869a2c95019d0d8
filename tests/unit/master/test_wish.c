/* test_wish.c - who unsubscribed waits for Redis, and for nobody before him who cannot be helped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "wish.h"

#define MANY 600u /* more than a turn does */

static struct wishes wishes;
static enum wish_result result[MANY]; /* of the wish with that token */
static unsigned tried[MANY], order[4 * MANY], tries;

static enum wish_result on_wish(void *context, const struct wish *wish, struct hk_why *why)
{
    unsigned n = (unsigned)strtoul(wish->token, NULL, 10);

    assert_ptr_equal(context, &wishes);
    assert_true(tries < 4 * MANY);
    order[tries++] = n;
    tried[n]++;
    (void)why_set(why, HK_EFULL, "no room");
    return result[n];
}

static int anew(void **state)
{
    (void)state;
    log_threshold = LOG_LEVEL_ERROR;
    wishes_init(&wishes);
    memset(result, 0, sizeof result);
    memset(tried, 0, sizeof tried);
    tries = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    wishes_close(&wishes);
    return 0;
}

static struct wish *add(unsigned n)
{
    char token[12];

    (void)snprintf(token, sizeof token, "%u", n);
    return wishes_add(&wishes, token, "one-click");
}

static void add_all(unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        assert_non_null(add(n));
}

static void turn(uint64_t now_ms)
{
    wishes_turn(&wishes, now_ms, on_wish, &wishes);
}

static void they_are_done_in_order_some_in_each_turn(void **state)
{
    unsigned turns = 0;

    (void)state;
    add_all(MANY);
    while (wishes_count(&wishes) > 0) {
        size_t before = wishes_count(&wishes);
        turn(1);
        assert_in_range(before - wishes_count(&wishes), 1, MANY / 2);
        turns++;
    }
    assert_true(turns > 1);
    for (unsigned n = 0; n < MANY; n++)
        assert_int_equal(order[n], n);
    assert_int_equal(tries, MANY);
}

static void where_redis_is_away_the_first_one_waits_and_all_behind_him(void **state)
{
    (void)state;
    add_all(3);
    result[0] = WISH_HELD_UP;
    turn(1000);
    turn(1999);
    assert_int_equal(tries, 1);
    result[0] = WISH_DONE;
    turn(2000);
    assert_int_equal(wishes_count(&wishes), 0);
    assert_int_equal(tries, 4);
}

static void one_that_can_never_be_done_holds_up_nobody(void **state)
{
    (void)state;
    add_all(5);
    result[0] = result[2] = WISH_ASIDE;
    turn(1000);
    assert_int_equal(wishes_count(&wishes), 2);
    assert_true(wishes_has(&wishes, "0") && wishes_has(&wishes, "2"));
    assert_false(wishes_has(&wishes, "1") || wishes_has(&wishes, "3") || wishes_has(&wishes, "4"));
    /* Whoever comes later is done in the next turn, and they are tried once a second at most. */
    memset(tried, 0, sizeof tried);
    (void)add(7);
    turn(1500);
    assert_int_equal(tried[7], 1);
    assert_int_equal(tried[0] + tried[2], 0);
    for (uint64_t now = 2000; now < 5000; now += 100)
        turn(now);
    assert_int_equal(tried[0], 3);
    assert_int_equal(tried[2], 3);
    /* What stood in the way may pass. */
    result[2] = WISH_DONE;
    turn(5000);
    assert_false(wishes_has(&wishes, "2"));
    assert_true(wishes_has(&wishes, "0"));
}

static void more_of_them_than_a_turn_tries_all_get_their_turn(void **state)
{
    uint64_t now = 1000;

    (void)state;
    add_all(MANY);
    for (unsigned n = 0; n < MANY; n++)
        result[n] = WISH_ASIDE;
    for (; now < 1900; now += 100)
        turn(now); /* none is left in the way of who comes now */
    memset(tried, 0, sizeof tried);
    tries = 0;
    for (unsigned seconds = 0; seconds < MANY / 10; seconds++)
        turn(3000 + 1000 * seconds);
    for (unsigned n = 0; n < MANY; n++)
        assert_in_range(tried[n], 1, 2);
    assert_true(tries < 2 * MANY); /* a few a second: they may be in vain */
    assert_int_equal(wishes_count(&wishes), MANY);
}

static void one_that_is_done_ends_with_its_answer(void **state)
{
    struct wish *wish = add(1);
    uint32_t number = wish->number;

    (void)state;
    result[1] = WISH_AWAITED;
    turn(1);
    turn(5000);
    assert_int_equal(tried[1], 1);
    assert_true(wishes_has(&wishes, "1"));
    wishes_answered(&wishes, number + 1);
    assert_true(wishes_has(&wishes, "1"));
    wishes_answered(&wishes, number);
    assert_false(wishes_has(&wishes, "1"));
    assert_int_equal(wishes_count(&wishes), 0);
}

static void what_is_no_token_is_not_kept(void **state)
{
    char token[WISH_TOKEN_SIZE + 1];

    (void)state;
    memset(token, 'x', sizeof token);
    token[WISH_TOKEN_SIZE] = '\0';
    assert_null(wishes_add(&wishes, token, "mailto"));
    token[WISH_TOKEN_SIZE - 1] = '\0';
    assert_non_null(wishes_add(&wishes, token, "mailto"));
    assert_int_equal(wishes_count(&wishes), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(they_are_done_in_order_some_in_each_turn, anew, end),
        cmocka_unit_test_setup_teardown(where_redis_is_away_the_first_one_waits_and_all_behind_him, anew,
                                        end),
        cmocka_unit_test_setup_teardown(one_that_can_never_be_done_holds_up_nobody, anew, end),
        cmocka_unit_test_setup_teardown(more_of_them_than_a_turn_tries_all_get_their_turn, anew, end),
        cmocka_unit_test_setup_teardown(one_that_is_done_ends_with_its_answer, anew, end),
        cmocka_unit_test_setup_teardown(what_is_no_token_is_not_kept, anew, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
