/* test_load_arrivals.c - messages are due when the rate says, and every cursor finds the same times. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "load_arrivals.h"

static struct load_arrivals arrivals;

static void even_arrivals_do_not_drift(void **state)
{
    struct load_cursor cursor = {0};
    uint64_t at = 0;
    (void)state;

    load_arrivals_init(&arrivals, false, 1);
    assert_int_equal(load_arrivals_rate(&arrivals, 0, 3000), HK_OK);
    for (int i = 0; i < 3000 * 3600; i++)
        at = load_cursor_next(&arrivals, &cursor);
    assert_in_range(at, 3600u * 1000000u - 1, 3600u * 1000000u + 1);
}

static void nothing_is_due_without_a_rate(void **state)
{
    struct load_cursor cursor = {0};
    (void)state;

    load_arrivals_init(&arrivals, false, 1);
    assert_true(load_cursor_peek(&arrivals, &cursor) == ARRIVALS_NEVER);
    assert_true(load_cursor_next(&arrivals, &cursor) == ARRIVALS_NEVER);
    assert_int_equal(load_arrivals_rate(&arrivals, 50, 0), HK_OK);
    assert_true(load_cursor_next(&arrivals, &cursor) == ARRIVALS_NEVER);
    assert_int_equal(cursor.number, 0);
    assert_int_equal(load_arrivals_rate(&arrivals, 100, 1000), HK_OK);
    assert_int_equal(load_cursor_next(&arrivals, &cursor), 1100);
    assert_int_equal(cursor.number, 1);
}

static void looking_ahead_changes_nothing(void **state)
{
    struct load_cursor cursor = {0};
    (void)state;

    load_arrivals_init(&arrivals, true, 5);
    assert_int_equal(load_arrivals_rate(&arrivals, 0, 70), HK_OK);
    for (int i = 0; i < 1000; i++) {
        uint64_t at = load_cursor_peek(&arrivals, &cursor);

        assert_int_equal(load_cursor_peek(&arrivals, &cursor), at);
        assert_int_equal(load_cursor_next(&arrivals, &cursor), at);
    }
}

/* The front cursor runs while segments are added, the other one long afterwards. */
static void a_cursor_that_follows_later_finds_the_same_times(void **state)
{
    static uint64_t found[400000];
    static const double rates[] = {1000, 2500.5, 0, 2500.5, 33333, 7};
    struct load_cursor front = {0}, back = {0};
    size_t count = 0;
    uint64_t now = 0;
    (void)state;

    for (int poisson = 0; poisson < 2; poisson++) {
        load_arrivals_init(&arrivals, poisson == 1, 9);
        front = back = (struct load_cursor){0};
        count = 0;
        now = 0;
        for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
            assert_int_equal(load_arrivals_rate(&arrivals, now, rates[i]), HK_OK);
            /* Ticks of odd lengths; a segment begins at one of them, with messages found due up to it. */
            for (uint64_t end = now + 2000003; now < end; now += 777) {
                while (load_cursor_peek(&arrivals, &front) <= now)
                    found[count++] = load_cursor_next(&arrivals, &front);
            }
        }
        assert_true(count > 70000);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(load_cursor_next(&arrivals, &back), found[i]);
            assert_true(i == 0 || found[i] >= found[i - 1]);
        }
    }
}

static void what_was_due_in_the_microsecond_in_which_a_segment_begins_stays_due(void **state)
{
    struct load_cursor front = {0}, back = {0};
    (void)state;

    load_arrivals_init(&arrivals, false, 1);
    assert_int_equal(load_arrivals_rate(&arrivals, 0, 1e6 / 1000.5), HK_OK);
    assert_int_equal(load_cursor_next(&arrivals, &front), 1000);
    assert_int_equal(load_arrivals_rate(&arrivals, 1000, 1e6 / 10), HK_OK);
    assert_int_equal(load_cursor_next(&arrivals, &front), 1010);
    assert_int_equal(load_cursor_next(&arrivals, &back), 1000);
    assert_int_equal(load_cursor_next(&arrivals, &back), 1010);
}

static void poisson_arrivals_have_the_rate_and_the_spread_of_poisson(void **state)
{
    enum { SECONDS = 2000, RATE = 50 };
    struct load_cursor cursor = {0};
    unsigned in_second[SECONDS] = {0};
    double mean = 0, variance = 0;
    uint64_t at;
    (void)state;

    load_arrivals_init(&arrivals, true, 3);
    assert_int_equal(load_arrivals_rate(&arrivals, 0, RATE), HK_OK);
    while ((at = load_cursor_next(&arrivals, &cursor)) < SECONDS * 1000000ull)
        in_second[at / 1000000]++;
    for (int i = 0; i < SECONDS; i++)
        mean += in_second[i] / (double)SECONDS;
    for (int i = 0; i < SECONDS; i++)
        variance += (in_second[i] - mean) * (in_second[i] - mean) / SECONDS;
    assert_true(fabs(mean - RATE) < 1);
    assert_true(fabs(variance - RATE) < 8); /* of even arrivals: 0 */
}

static void segments_are_bounded(void **state)
{
    (void)state;
    load_arrivals_init(&arrivals, false, 1);
    for (unsigned i = 0; i < ARRIVALS_SEGMENTS_MAX; i++)
        assert_int_equal(load_arrivals_rate(&arrivals, i, 1), HK_OK);
    assert_int_equal(load_arrivals_rate(&arrivals, 9999, 1), HK_EFULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(even_arrivals_do_not_drift),
        cmocka_unit_test(nothing_is_due_without_a_rate),
        cmocka_unit_test(looking_ahead_changes_nothing),
        cmocka_unit_test(a_cursor_that_follows_later_finds_the_same_times),
        cmocka_unit_test(what_was_due_in_the_microsecond_in_which_a_segment_begins_stays_due),
        cmocka_unit_test(poisson_arrivals_have_the_rate_and_the_spread_of_poisson),
        cmocka_unit_test(segments_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
