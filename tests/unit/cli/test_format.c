/* test_format.c - figures as people read them. */
#include "format.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char out[FORMAT_SIZE];

static void a_count_has_a_comma_before_every_third_digit(void **state)
{
    (void)state;
    assert_string_equal(format_count(0, out), "0");
    assert_string_equal(format_count(999, out), "999");
    assert_string_equal(format_count(1000, out), "1,000");
    assert_string_equal(format_count(100000, out), "100,000");
    assert_string_equal(format_count(1234567, out), "1,234,567");
    assert_string_equal(format_count(UINT64_MAX, out), "18,446,744,073,709,551,615");
}

static void a_duration_has_two_units_at_most(void **state)
{
    (void)state;
    assert_string_equal(format_duration(412, out), "412 ms");
    assert_string_equal(format_duration(4210, out), "4.2 s");
    assert_string_equal(format_duration(9960, out), "10 s");
    assert_string_equal(format_duration(59499, out), "59 s");
    assert_string_equal(format_duration(59500, out), "1 min 0 s");
    assert_string_equal(format_duration(72000, out), "1 min 12 s");
    assert_string_equal(format_duration(3600000ull * 3 + 300000, out), "3 h 5 min");
    assert_string_equal(format_duration(86400000ull * 2 + 3600000ull * 3, out), "2 d 3 h");
}

static void a_rate_has_a_decimal_only_while_that_says_something(void **state)
{
    (void)state;
    assert_string_equal(format_rate(0.42, out), "0.4");
    assert_string_equal(format_rate(12.5, out), "12.5");
    assert_string_equal(format_rate(12345.4, out), "12,345");
}

static void a_share_reads_as_none_or_all_only_when_it_is(void **state)
{
    (void)state;
    assert_string_equal(format_share(0, 10, out), "0.0 %");
    assert_string_equal(format_share(1, 1000000, out), "0.1 %");
    assert_string_equal(format_share(999999, 1000000, out), "99.9 %");
    assert_string_equal(format_share(10, 10, out), "100.0 %");
    assert_string_equal(format_share(0, 0, out), "0.0 %");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_count_has_a_comma_before_every_third_digit),
        cmocka_unit_test(a_duration_has_two_units_at_most),
        cmocka_unit_test(a_rate_has_a_decimal_only_while_that_says_something),
        cmocka_unit_test(a_share_reads_as_none_or_all_only_when_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
