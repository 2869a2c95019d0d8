/* test_sts.c - MTA-STS policy files (RFC 8461 3.2, 4.1): what is taken, what is refused and with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "sts.h"

static struct sts_policy policy;
static struct hk_why why;

static int clear(void **state)
{
    (void)state;
    sts_policy_clear(&policy);
    return 0;
}

static int parse(const char *text)
{
    return sts_policy_parse(text, strlen(text), &policy, &why);
}

static void refused(const char *text, const char *words)
{
    why.text[0] = '\0';
    assert_int_equal(parse(text), HK_EINVAL);
    assert_non_null(strstr(why.text, words));
    assert_null(policy.mx);
}

static void a_policy_is_read_with_crlf_and_with_lf(void **state)
{
    char text[256];

    (void)state;
    assert_int_equal(
        parse("version: STSv1\r\nmode: enforce\r\nmx: Mail.X.test\r\nmx:*.x.net.\r\nmax_age: 604800\r\n"), 0);
    assert_int_equal(policy.mode, STS_ENFORCE);
    assert_int_equal(policy.max_age_s, 604800);
    assert_int_equal(policy.mx_count, 2);
    sts_policy_text(&policy, text, sizeof text);
    assert_string_equal(text,
                        "version: STSv1\nmode: enforce\nmax_age: 604800\nmx: mail.x.test\nmx: *.x.net\n");
    sts_policy_clear(&policy);
    assert_int_equal(parse("version: STSv1\n\nmode: testing \nmax_age:1\nmx: a.b"), 0);
    assert_int_equal(policy.mode, STS_TESTING);
    assert_int_equal(policy.max_age_s, 1);
}

static void a_wildcard_stands_for_exactly_one_label(void **state)
{
    (void)state;
    assert_int_equal(parse("version: STSv1\nmode: enforce\nmx: *.x.test\nmx: mail.y.test\nmax_age: 9\n"), 0);
    assert_true(sts_policy_lists(&policy, "mx1.x.test"));
    assert_false(sts_policy_lists(&policy, "x.test"));
    assert_false(sts_policy_lists(&policy, "a.mx1.x.test"));
    assert_false(sts_policy_lists(&policy, "mx1.xx.test"));
    assert_true(sts_policy_lists(&policy, "mail.y.test"));
    assert_false(sts_policy_lists(&policy, "mail.y.test.x"));
    assert_false(sts_policy_lists(&policy, "ail.y.test"));
    assert_false(sts_policy_lists(&policy, ""));
}

static void of_a_field_given_twice_the_first_counts(void **state)
{
    (void)state;
    assert_int_equal(
        parse("version: STSv1\nmode: none\nmode: enforce\nmax_age: 7\nmax_age: x\nversion: STSv2\n"), 0);
    assert_int_equal(policy.mode, STS_NONE);
    assert_int_equal(policy.max_age_s, 7);
}

static void an_unknown_field_is_passed_over_and_mode_none_needs_no_mx(void **state)
{
    (void)state;
    assert_int_equal(parse("version: STSv1\nx-more: a b c\nmode: none\nmax_age: 86400\n"), 0);
    assert_int_equal(policy.mx_count, 0);
    assert_false(sts_policy_lists(&policy, "a.test"));
}

static void max_age_is_bounded_by_a_year(void **state)
{
    (void)state;
    assert_int_equal(parse("version: STSv1\nmode: none\nmax_age: 9999999999\n"), 0);
    assert_int_equal(policy.max_age_s, STS_AGE_MAX_S);
    refused("version: STSv1\nmode: none\nmax_age: 10000000000\n", "max_age");
    refused("version: STSv1\nmode: none\nmax_age: -1\n", "max_age");
    refused("version: STSv1\nmode: none\nmax_age:\n", "max_age");
}

static void what_is_no_policy_is_refused_with_the_reason(void **state)
{
    (void)state;
    refused("", "no version");
    refused("mode: enforce\nmx: a.b\nmax_age: 1\n", "no version");
    refused("version: STSv2\nmode: enforce\nmx: a.b\nmax_age: 1\n", "STSv1");
    refused("version: STSv1\nmx: a.b\nmax_age: 1\n", "no mode");
    refused("version: STSv1\nmode: strict\nmx: a.b\nmax_age: 1\n", "\"strict\"");
    refused("version: STSv1\nmode: enforce\nmx: a.b\n", "no max_age");
    refused("version: STSv1\nmode: testing\nmax_age: 1\n", "no mx");
    refused("version: STSv1\nmode: enforce\nmx: a.b\nmx: *.*.b\nmax_age: 1\n", "*.*.b");
    refused("version: STSv1\nmode: enforce\nmx: a b\nmax_age: 1\n", "host name");
    refused("version: STSv1\nmode: enforce\nmx:\nmax_age: 1\n", "host name");
    refused("<html>no such page</html>", "<html>");
}

static void a_nul_in_a_host_name_is_no_way_to_shorten_it(void **state)
{
    static const char text[] = "version: STSv1\nmode: enforce\nmx: a.test\0.evil\nmax_age: 1\n";

    (void)state;
    assert_int_equal(sts_policy_parse(text, sizeof text - 1, &policy, &why), HK_EINVAL);
}

static void a_file_beyond_the_bound_is_not_read(void **state)
{
    static char text[STS_FILE_MAX + 1];
    size_t used = (size_t)snprintf(text, sizeof text, "version: STSv1\nmode: none\nmax_age: 1\nx: ");

    (void)state;
    memset(text + used, 'x', sizeof text - used);
    assert_int_equal(sts_policy_parse(text, STS_FILE_MAX, &policy, &why), 0);
    assert_int_equal(sts_policy_parse(text, STS_FILE_MAX + 1, &policy, &why), HK_ETOOBIG);
}

static void a_report_holds_whole_lines_only(void **state)
{
    char text[64];

    (void)state;
    assert_int_equal(
        parse("version: STSv1\nmode: enforce\nmx: a.test\nmx: long-name-of-a-host.test\nmax_age: 1\n"), 0);
    sts_policy_text(&policy, text, sizeof text);
    assert_string_equal(text, "version: STSv1\nmode: enforce\nmax_age: 1\nmx: a.test\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_policy_is_read_with_crlf_and_with_lf, clear),
        cmocka_unit_test_teardown(a_wildcard_stands_for_exactly_one_label, clear),
        cmocka_unit_test_teardown(of_a_field_given_twice_the_first_counts, clear),
        cmocka_unit_test_teardown(an_unknown_field_is_passed_over_and_mode_none_needs_no_mx, clear),
        cmocka_unit_test_teardown(max_age_is_bounded_by_a_year, clear),
        cmocka_unit_test_teardown(what_is_no_policy_is_refused_with_the_reason, clear),
        cmocka_unit_test_teardown(a_nul_in_a_host_name_is_no_way_to_shorten_it, clear),
        cmocka_unit_test_teardown(a_file_beyond_the_bound_is_not_read, clear),
        cmocka_unit_test_teardown(a_report_holds_whole_lines_only, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
