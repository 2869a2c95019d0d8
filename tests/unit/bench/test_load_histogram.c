/* test_load_histogram.c - percentiles of durations are right within the error that is promised. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "load_histogram.h"

#define VALUES 50007u /* no rank comes out even */

static const unsigned asked[] = {1, 100, 2500, 5000, 9000, 9900, 9990, 9999, 10000};

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Durations of many sizes: a number of random length. */
static uint64_t value_draw(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (*random >> 30) >> (*random >> 20) % 34;
}

static void a_percentile_is_never_below_the_value_and_at_most_one_part_in_128_above(void **state)
{
    static struct load_histogram h;
    static uint64_t value[VALUES];
    uint64_t random = 7;
    (void)state;

    load_histogram_clear(&h);
    for (size_t i = 0; i < VALUES; i++) {
        value[i] = value_draw(&random);
        load_histogram_add(&h, value[i]);
    }
    qsort(value, VALUES, sizeof value[0], ascending);
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        uint64_t rank = ((uint64_t)VALUES * asked[i] + 9999) / 10000;
        uint64_t exact = value[rank - 1], got = load_histogram_percentile(&h, asked[i]);

        assert_true(got >= exact);
        assert_true((double)(got - exact) <= HISTOGRAM_ERROR * (double)exact);
    }
    assert_int_equal(h.min_us, value[0]);
    assert_int_equal(h.max_us, value[VALUES - 1]);
    assert_int_equal(load_histogram_percentile(&h, 10000), h.max_us);
}

static void each_bucket_ends_where_the_next_one_begins(void **state)
{
    static struct load_histogram h;
    (void)state;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        uint64_t end = load_histogram_bucket_end(i);

        assert_true(load_histogram_bucket_end(i + 1) > end);
        load_histogram_clear(&h);
        load_histogram_add(&h, end);
        load_histogram_add(&h, end + 1);
        assert_int_equal(h.bucket[i], 1);
        assert_int_equal(h.bucket[i + 1], 1);
    }
    assert_int_equal(load_histogram_bucket_end(HISTOGRAM_BUCKETS - 1),
                     (UINT64_C(1) << HISTOGRAM_MAX_BITS) - 1);
}

static void small_values_are_exact(void **state)
{
    static struct load_histogram h;
    (void)state;

    load_histogram_clear(&h);
    for (uint64_t us = 1; us <= 100; us++)
        load_histogram_add(&h, us);
    for (unsigned percent = 1; percent <= 100; percent++)
        assert_int_equal(load_histogram_percentile(&h, percent * 100), percent);
    assert_int_equal(h.sum_us, 5050);
    load_histogram_clear(&h);
    for (uint64_t us = 10; us <= 30; us += 10)
        load_histogram_add(&h, us);
    assert_int_equal(load_histogram_percentile(&h, 5000), 20); /* half of three is two */
    assert_int_equal(load_histogram_percentile(&h, 3333), 10);
    assert_int_equal(load_histogram_percentile(&h, 3334), 20);
}

static void what_is_too_large_is_counted_and_keeps_its_maximum(void **state)
{
    static struct load_histogram h;
    (void)state;

    load_histogram_clear(&h);
    assert_int_equal(load_histogram_percentile(&h, 5000), 0);
    load_histogram_add(&h, UINT64_C(1) << 50);
    load_histogram_add(&h, UINT64_C(1) << HISTOGRAM_MAX_BITS);
    load_histogram_add(&h, 5);
    assert_int_equal(h.over, 2);
    assert_int_equal(h.count, 3);
    assert_int_equal(load_histogram_percentile(&h, 9999), UINT64_C(1) << 50);
    assert_int_equal(load_histogram_percentile(&h, 3333), 5);
}

static void a_percentile_needs_values_above_it(void **state)
{
    static struct load_histogram h;
    (void)state;

    load_histogram_clear(&h);
    for (unsigned i = 0; i < 9999; i++)
        load_histogram_add(&h, i);
    assert_false(load_histogram_can_tell(&h, 9999));
    assert_true(load_histogram_can_tell(&h, 9990));
    load_histogram_add(&h, 1);
    assert_true(load_histogram_can_tell(&h, 9999));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_percentile_is_never_below_the_value_and_at_most_one_part_in_128_above),
        cmocka_unit_test(each_bucket_ends_where_the_next_one_begins),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(what_is_too_large_is_counted_and_keeps_its_maximum),
        cmocka_unit_test(a_percentile_needs_values_above_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
