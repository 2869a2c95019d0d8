/* The pace against played accounts: what it settles at, and that it stays within its bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "pace.h"

#define START_US 1000000000u

/* An account that lets `limit` pass in any second, a sender as fast as its pace (or 2,000/s while there is none), for so
 * many seconds. Returns what was accepted in the last forty; *refused: the share of what was tried in them. */
static double play(struct pace *pace, double limit, unsigned seconds, double most, double *refused)
{
    static uint64_t passed[1u << 16]; /* when the last ones passed, a ring */
    uint64_t now_us = START_US, next_us = now_us, tick_us = now_us + 1000000, count = 0, last = 0, no = 0,
             tried = 0;

    for (; now_us < START_US + seconds * 1000000ull; now_us += 500) {
        bool late = now_us >= START_US + (seconds - 40) * 1000000ull;
        if (now_us >= tick_us) {
            pace_tick(pace, now_us, most, 0.0);
            tick_us += 1000000;
        }
        if (now_us < next_us)
            continue;
        next_us += (uint64_t)(1e6 / (pace->rate > 0 ? pace->rate : 2000));
        tried += late;
        if (count >= (uint64_t)limit && passed[(count - (uint64_t)limit) % 65536] + 1000000 > now_us) {
            pace_refused(pace, now_us, 0.0);
            no += late;
        } else {
            pace_accepted(pace, now_us);
            passed[count++ % 65536] = now_us;
            last += late;
        }
    }
    *refused = (double)no / (double)tried;
    return (double)last / 40;
}

static void it_settles_near_what_the_account_allows(void **state)
{
    static const double limits[] = {1, 5, 14, 200, 1000};
    double refused;

    (void)state;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct pace pace = {0};
        double rate = play(&pace, limits[i], 100, 0.0, &refused);
        assert_true(rate > 0.8 * limits[i]);
        assert_true(rate <= 1.01 * limits[i] + 0.2);
        if (limits[i] > 1.5)
            assert_true(refused < 0.05);
    }
}

static void a_limit_that_was_raised_or_lowered_is_found(void **state)
{
    struct pace pace = {0};
    double refused;

    (void)state;
    play(&pace, 50, 50, 0.0, &refused);
    assert_true(play(&pace, 400, 90, 0.0, &refused) > 320);
    pace.cut_us = pace.second_us = 0; /* the clock of the next play begins anew */
    play(&pace, 50, 60, 0.0, &refused);
    assert_true(pace.rate < 60);
}

static void refusals_of_one_second_cut_it_once(void **state)
{
    struct pace pace = {.rate = 100};

    (void)state;
    assert_true(pace_refused(&pace, START_US, 0.0));
    assert_false(pace_refused(&pace, START_US + 999999, 0.0));
    assert_true(pace.rate > 89.9 && pace.rate < 90.1);
    assert_true(pace_refused(&pace, START_US + 1000000, 0.0));
    assert_true(pace.rate < 81.1);
}

static void it_never_falls_below_the_floor_nor_climbs_above_what_is_configured(void **state)
{
    struct pace pace = {0};
    uint64_t now_us = START_US;

    (void)state;
    for (int i = 0; i < 100; i++)
        pace_refused(&pace, now_us += 1000000, 0.0);
    assert_true(pace.rate >= PACE_FLOOR && pace.rate <= PACE_FLOOR);
    for (int i = 0; i < 2000; i++) {
        for (int n = 0; n < 100; n++)
            pace_accepted(&pace, now_us);
        pace_tick(&pace, now_us += 1000000, 30.0, 0.0);
    }
    assert_true(pace.rate >= 30.0 && pace.rate <= 30.0);
}

static void what_is_not_used_is_not_raised(void **state)
{
    struct pace pace = {.rate = 100, .step = 1};
    uint64_t now_us = START_US;

    (void)state;
    for (int i = 0; i < 20; i++)
        assert_false(pace_tick(&pace, now_us += 1000000, 0.0, 0.0));
    assert_true(pace.rate <= 100.0);
}

/* Each of two nodes sees half of what the account takes. */
static void what_other_nodes_send_counts(void **state)
{
    struct pace pace = {0};
    uint64_t now_us = START_US;

    (void)state;
    pace.second_us = now_us;
    for (int i = 0; i < 100; i++)
        pace_accepted(&pace, now_us + 1000);
    assert_true(pace_refused(&pace, now_us + 2000, 100.0));
    assert_true(pace.rate > 179.9 && pace.rate < 180.1);
    for (int i = 0; i < 2; i++) {
        now_us += 1000000;
        for (int n = 0; n < 60; n++)
            pace_accepted(&pace, now_us);
    }
    assert_false(pace_tick(&pace, now_us + 10000, 0.0, 0.0));
    assert_true(pace_tick(&pace, now_us + 10000, 0.0, 60.0));
}

static void without_a_refusal_there_is_no_rate(void **state)
{
    struct pace pace = {0};
    uint64_t now_us = START_US;

    (void)state;
    for (int i = 0; i < 1000; i++)
        pace_accepted(&pace, now_us += 1000);
    assert_false(pace_tick(&pace, now_us, 0.0, 0.0));
    assert_true(pace.rate <= 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_settles_near_what_the_account_allows),
        cmocka_unit_test(a_limit_that_was_raised_or_lowered_is_found),
        cmocka_unit_test(refusals_of_one_second_cut_it_once),
        cmocka_unit_test(it_never_falls_below_the_floor_nor_climbs_above_what_is_configured),
        cmocka_unit_test(what_is_not_used_is_not_raised),
        cmocka_unit_test(what_other_nodes_send_counts),
        cmocka_unit_test(without_a_refusal_there_is_no_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
