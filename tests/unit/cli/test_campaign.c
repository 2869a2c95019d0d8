/* test_campaign.c - is it the same list, is it the same sender. */
#include "campaign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/hikyaku-test-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"old.csv", "old.seg", "new.csv", "new.seg"};
    char path[128];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static struct segment *compile(const char *name, const char *csv)
{
    char list[64], out[64];
    struct import_options options = {.list_path = list, .segment_path = out};
    struct import_result result;
    struct segment *segment = NULL;
    struct hk_why why;

    snprintf(list, sizeof list, "%s/%s.csv", folder, name);
    snprintf(out, sizeof out, "%s/%s.seg", folder, name);
    assert_int_equal(hk_write_file(list, 0600, csv, strlen(csv), &why), 0);
    assert_int_equal(list_import(&options, &result, &why), 0);
    assert_int_equal(segment_open(out, true, &segment, &why), 0);
    return segment;
}

static struct campaign_difference difference(const char *old_csv, const char *new_csv)
{
    struct segment *before = compile("old", old_csv), *after = compile("new", new_csv);
    struct campaign_difference out;
    assert_int_equal(campaign_segments_compare(before, after, &out), 0);
    segment_close(before);
    segment_close(after);
    return out;
}

static void addresses_that_came_and_went_are_counted(void **state)
{
    struct campaign_difference d = difference("email\na@x.test\nb@x.test\nc@y.test\n",
                                              "email\nb@x.test\nd@z.test\ne@x.test\nf@a.test\n");
    (void)state;
    assert_int_equal(d.added, 3);
    assert_int_equal(d.gone, 2);
}

static void order_and_case_are_no_difference_in_addresses(void **state)
{
    struct campaign_difference d =
        difference("email,n\na@x.test,1\nb@y.test,2\n", "email,n\nB@Y.test,2\nA@x.test,1\n");
    (void)state;
    assert_int_equal(d.added, 0);
    assert_int_equal(d.gone, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_that_came_and_went_are_counted),
        cmocka_unit_test(order_and_case_are_no_difference_in_addresses),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
