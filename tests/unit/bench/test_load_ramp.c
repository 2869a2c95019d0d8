/* test_load_ramp.c - steps of a ramp, and which of them hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "load_ramp.h"

static const struct load_bounds bounds = {.rate_share = 0.95, .error_share = 0.01, .p99_ms = 100};

static unsigned steps_of(const char *text, double *last)
{
    struct load_ramp_plan plan;
    struct hk_why why;
    unsigned count = 0;

    assert_int_equal(load_ramp_parse(text, &plan, &why), HK_OK);
    for (double rate = plan.from; rate > 0; rate = load_ramp_next(&plan, rate)) {
        *last = rate;
        count++;
    }
    return count;
}

static void ramps_are_read(void **state)
{
    static const char *const bad[] = {
        "",        "100",         "100..",         "100..50:10",      "0..10:1",
        "1..10",   "1..10:0",     "1..10:x1",      "1..10:x0.5",      "1..1000000:1",
        "1..10:y", "1..10:1:1",   "1..2000000:x2", "-1..10:1",        "1..10:-1",
        "1..10:x", "1..1e9:x1.1", "1..10:1 ",      "1..10:x1.000001", "1...10:1"};
    struct load_ramp_plan plan;
    struct hk_why why;
    double last;
    (void)state;

    assert_int_equal(steps_of("100..1000:100", &last), 10);
    assert_true(last == 1000);
    assert_int_equal(steps_of("100..1050:100", &last), 10);
    assert_int_equal(steps_of("100..800:x2", &last), 4);
    assert_true(last == 800);
    assert_int_equal(steps_of("5..5:1", &last), 1);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (load_ramp_parse(bad[i], &plan, &why) != HK_EINVAL)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_non_null(strstr(why.text, "--ramp"));
    }
}

/* 1,000 a second for ten seconds, all well. */
static struct load_step good_step(void)
{
    return (struct load_step){.rate = 1000,
                              .seconds = 10,
                              .achieved = 999,
                              .answered = 9990,
                              .p50_us = 3000,
                              .p99_us = 20000,
                              .cpu_share = 0.2};
}

static void a_step_holds_up_to_its_bounds_and_no_further(void **state)
{
    struct load_step step = good_step();
    (void)state;

    assert_int_equal(load_step_judge(&step, &bounds), STEP_HOLDS);
    step.achieved = 949.6; /* 0.4 a second: two messages in five seconds */
    step.p99_us = 100000;
    step.failed = 99;
    assert_int_equal(load_step_judge(&step, &bounds), STEP_HOLDS);
    step.achieved = 949.5;
    assert_int_equal(load_step_judge(&step, &bounds), STEP_BEHIND);
    step = good_step();
    step.p99_us = 100001;
    assert_int_equal(load_step_judge(&step, &bounds), STEP_SLOW);
    step = good_step();
    step.failed = 100;
    assert_int_equal(load_step_judge(&step, &bounds), STEP_ERRORS);
}

static void at_low_rates_one_late_message_does_not_decide(void **state)
{
    struct load_step step = good_step();
    (void)state;

    step.rate = 10;
    step.seconds = 2;
    step.answered = 19;
    step.achieved = 8; /* 8 of 10 */
    assert_int_equal(load_step_judge(&step, &bounds), STEP_HOLDS);
    step.achieved = 7;
    assert_int_equal(load_step_judge(&step, &bounds), STEP_BEHIND);
}

static void a_step_that_was_too_much_for_us_says_nothing_of_the_server(void **state)
{
    struct load_step step = good_step();
    (void)state;

    step.cpu_share = 0.97;
    assert_int_equal(load_step_judge(&step, &bounds), STEP_HOLDS);
    step.achieved = 500;
    assert_int_equal(load_step_judge(&step, &bounds), STEP_OURS);
    step.failed = 9000; /* what it refused it did refuse */
    assert_int_equal(load_step_judge(&step, &bounds), STEP_ERRORS);
}

static void the_words_name_the_figures_that_decided(void **state)
{
    struct load_step step = good_step();
    char words[200];
    (void)state;

    step.achieved = 700;
    step.verdict = load_step_judge(&step, &bounds);
    load_step_words(&step, &bounds, words, sizeof words);
    assert_string_equal(words, "700/s answered, less than 95 % of 1000/s");
    step = good_step();
    step.p99_us = 250000;
    step.verdict = load_step_judge(&step, &bounds);
    load_step_words(&step, &bounds, words, sizeof words);
    assert_string_equal(words, "p99 250.0 ms, above 100 ms");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ramps_are_read),
        cmocka_unit_test(a_step_holds_up_to_its_bounds_and_no_further),
        cmocka_unit_test(at_low_rates_one_late_message_does_not_decide),
        cmocka_unit_test(a_step_that_was_too_much_for_us_says_nothing_of_the_server),
        cmocka_unit_test(the_words_name_the_figures_that_decided),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
