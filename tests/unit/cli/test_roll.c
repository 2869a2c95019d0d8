/* test_roll.c - an address that a person typed finds its recipient, however it was written. */
#include "roll.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/hikyaku-test-XXXXXX";
static struct segment *segment;

static int compile(void **state)
{
    static const char csv[] = "email\nOne@a.test\ntwo@a.test\none@b.test\nh\xc3\xa4ns@b.test\nx@b\xc3\xbc"
                              "cher.test\n";
    char list[64], out[64];
    struct import_options options = {.list_path = list, .segment_path = out};
    struct import_result result;
    struct hk_why why;

    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(list, sizeof list, "%s/list.csv", folder);
    snprintf(out, sizeof out, "%s/list.seg", folder);
    if (hk_write_file(list, 0600, csv, strlen(csv), &why) != 0 || list_import(&options, &result, &why) != 0)
        return -1;
    unlink(list);
    if (segment_open(out, true, &segment, &why) != 0)
        return -1;
    unlink(out);
    return rmdir(folder);
}

static int let_go(void **state)
{
    (void)state;
    segment_close(segment);
    return 0;
}

/* The recipient as the list has it; "" where there is none. */
static const char *found(const char *typed)
{
    static char text[ADDRESS_MAX + 1];
    struct segment_record record;
    struct address address;
    struct hk_why why;
    uint32_t index;

    assert_int_equal(roll_address(typed, &address, &why), 0);
    if (!roll_find(segment, &address, &index))
        return "";
    assert_int_equal(segment_record(segment, index, &record), 0);
    snprintf(text, sizeof text, "%.*s", (int)record.email_length, record.email);
    return text;
}

static void case_does_not_count(void **state)
{
    (void)state;
    assert_string_equal(found("one@a.test"), "One@a.test");
    assert_string_equal(found("ONE@B.TEST"), "one@b.test");
    assert_string_equal(found("two@a.test"), "two@a.test");
}

static void who_is_not_in_the_list_is_not_found(void **state)
{
    (void)state;
    assert_string_equal(found("two@b.test"), "");
    assert_string_equal(found("tw@a.test"), "");
    assert_string_equal(found("one@c.test"), "");
}

static void names_in_other_scripts_are_found_in_both_forms(void **state)
{
    (void)state;
    assert_string_equal(found("x@B\xc3\xbc"
                              "cher.test"),
                        "x@b\xc3\xbc"
                        "cher.test");
    assert_string_equal(found("x@xn--bcher-kva.test"), "x@b\xc3\xbc"
                                                       "cher.test");
    assert_string_equal(found("h\xc3\xa4ns@b.test"), "h\xc3\xa4ns@b.test");
}

static void what_is_no_address_is_said_to_be_none_and_shown_clean(void **state)
{
    struct address address;
    struct hk_why why;

    (void)state;
    assert_int_equal(roll_address("a\033[31m@", &address, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "is no address"));
    assert_null(strchr(why.text, '\033'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_does_not_count),
        cmocka_unit_test(who_is_not_in_the_list_is_not_found),
        cmocka_unit_test(names_in_other_scripts_are_found_in_both_forms),
        cmocka_unit_test(what_is_no_address_is_said_to_be_none_and_shown_clean),
    };
    return cmocka_run_group_tests(tests, compile, let_go);
}
