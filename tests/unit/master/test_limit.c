/* A rate with a burst: at most rate x w + burst in any window of w, and no slower than it has to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "limit.h"

static void no_more_than_rate_and_burst_pass_in_any_window(void **state)
{
    static const struct {
        struct cfg_rate rate;
        uint32_t burst;
    } cases[] = {{{2, 1000}, 1}, {{2, 1000}, 5},  {{100, 1000}, 1},
                 {{7, 1000}, 3}, {{3, 60000}, 1}, {{3000, 1000}, 10}};

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        static uint64_t passed[4000];
        uint64_t now = 1000000, count = 0;
        struct limit limit;

        limit_init(&limit, cases[c].rate, cases[c].burst);
        for (uint64_t step = 0; step < 200000 && count < 4000; step++) {
            now += 1 + (step * 2654435761u) % 20011;
            while (count < 4000 && limit_wait_us(&limit, now) == 0) {
                limit_take(&limit, now);
                passed[count++] = now;
            }
        }
        assert_true(count > 10);
        for (uint64_t i = 0; i < count; i++)
            for (uint64_t k = i; k < count && k < i + 200; k++) {
                uint64_t window = passed[k] - passed[i];
                double most =
                    (double)window * cases[c].rate.count / (cases[c].rate.per_ms * 1000.0) + cases[c].burst;
                assert_true((double)(k - i + 1) <= most + 1e-6);
            }
    }
}

static void the_even_pace_is_reached(void **state)
{
    struct limit limit;
    uint64_t now = 5000000, count = 0;

    (void)state;
    limit_init(&limit, (struct cfg_rate){100, 1000}, 1);
    for (uint64_t until = now + 10000000; now < until; now += limit_wait_us(&limit, now)) {
        assert_int_equal(limit_wait_us(&limit, now), 0);
        limit_take(&limit, now);
        count++;
    }
    assert_int_equal(count, 1000);
}

static void no_rate_is_no_limit(void **state)
{
    struct limit limit;

    (void)state;
    limit_init(&limit, (struct cfg_rate){0, 0}, 1);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(limit_wait_us(&limit, 1), 0);
        limit_take(&limit, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_than_rate_and_burst_pass_in_any_window),
        cmocka_unit_test(the_even_pace_is_reached),
        cmocka_unit_test(no_rate_is_no_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
