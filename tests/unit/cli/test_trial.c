/* test_trial.c - which addresses a test goes to, under which campaign ID, with whose row; and a preview's rows. */
#include "trial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "preview.h"

static char folder[] = "/tmp/hikyaku-test-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"list.csv", "list.seg", "test.csv"};
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
    snprintf(out, sizeof out, "%s/list.seg", folder);
    if (csv != NULL)
        assert_int_equal(hk_write_file(list, 0600, csv, strlen(csv), &why), 0);
    assert_int_equal(list_import(&options, &result, &why), 0);
    assert_int_equal(segment_open(out, true, &segment, &why), 0);
    return segment;
}

static void addresses_free(char **address, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(address[i]);
    free(address);
}

static void addresses_stand_between_commas_and_blanks(void **state)
{
    struct hk_why why;
    char **address;
    size_t count;

    (void)state;
    assert_int_equal(trial_addresses(" a@x.test,b@y.test , c@z.test,", &address, &count, &why), 0);
    assert_int_equal(count, 3);
    assert_string_equal(address[0], "a@x.test");
    assert_string_equal(address[1], "b@y.test");
    assert_string_equal(address[2], "c@z.test");
    addresses_free(address, count);
}

static void what_is_no_address_is_refused_in_words(void **state)
{
    static const char *const wrong[] = {"", " , ", "a", "a@x.test,b@", "Me <me@x.test>"};
    char many[(TRIAL_ADDRESSES_MAX + 1) * 9 + 1];
    struct hk_why why;
    char **address;
    size_t count;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(trial_addresses(wrong[i], &address, &count, &why), HK_EINVAL);
        assert_non_null(strstr(why.text, "hikyaku send: --test: "));
        addresses_free(address, count);
    }
    for (size_t i = 0; i <= TRIAL_ADDRESSES_MAX; i++)
        memcpy(many + i * 9, "a@x.test,", 10);
    assert_int_equal(trial_addresses(many, &address, &count, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "more than 50 addresses"));
    addresses_free(address, count);
}

static void a_tests_campaign_is_an_id_whatever_the_campaigns_length(void **state)
{
    char id[CAMPAIGN_ID_MAX + 1], longest[CAMPAIGN_ID_MAX + 1];

    (void)state;
    trial_campaign("november", 1795510922123456, id);
    assert_string_equal(id, "november.test-1795510922");
    memset(longest, 'x', CAMPAIGN_ID_MAX);
    longest[CAMPAIGN_ID_MAX] = 0;
    trial_campaign(longest, 1795510922123456, id);
    assert_true(campaign_id_is_valid(id));
    assert_int_equal(strlen(id), CAMPAIGN_ID_MAX);
    assert_non_null(strstr(id, ".test-1795510922"));
}

static void a_tests_list_has_the_fields_of_the_row_and_the_test_address(void **state)
{
    static char me[] = "me@a.test", you[] = "you@b.test";
    char *const address[] = {me, you};
    struct segment *segment =
        compile("list", "\"na\"\"me\",Email,note\n\"O\"\"Neil, \nBob\",bob@x.test,\nx,y@x.test,z\n");
    struct segment_record record;
    struct hk_why why;
    char path[64];
    uint32_t first;

    (void)state;
    snprintf(path, sizeof path, "%s/test.csv", folder);
    assert_int_equal(preview_first_rows(segment, &first, 1), 1);
    assert_int_equal(segment_record(segment, first, &record), 0);
    assert_int_equal(trial_list_write(path, segment, &record, address, 2, &why), 0);
    segment_close(segment);
    segment = compile("test", NULL);
    assert_int_equal(segment_count(segment), 2);
    assert_string_equal(segment_column(segment, 0), "na\"me");
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(segment_record(segment, i, &record), 0);
        assert_int_equal(record.email_length, strlen(address[i]));
        assert_memory_equal(record.email, address[i], record.email_length);
        assert_int_equal(record.field[0].length, 12);
        assert_memory_equal(record.field[0].text, "O\"Neil, \nBob", 12);
        assert_int_equal(record.field[2].length, 0);
    }
    segment_close(segment);
}

static void the_first_rows_are_those_of_the_list_not_of_the_segment(void **state)
{
    struct segment *segment =
        compile("list", "email\na@x.test\nbad\nb@y.test\nc@x.test\nd@z.test\ne@x.test\n");
    struct segment_record record;
    uint32_t index[PREVIEW_COPIES_MAX];
    static const uint32_t rows[] = {1, 3, 4, 5, 6};

    (void)state;
    assert_int_equal(preview_first_rows(segment, index, 3), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(segment_record(segment, index[i], &record), 0);
        assert_int_equal(record.row, rows[i]);
    }
    assert_int_equal(preview_first_rows(segment, index, PREVIEW_COPIES_MAX), 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(segment_record(segment, index[i], &record), 0);
        assert_int_equal(record.row, rows[i]);
    }
    segment_close(segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_stand_between_commas_and_blanks),
        cmocka_unit_test(what_is_no_address_is_refused_in_words),
        cmocka_unit_test(a_tests_campaign_is_an_id_whatever_the_campaigns_length),
        cmocka_unit_test(a_tests_list_has_the_fields_of_the_row_and_the_test_address),
        cmocka_unit_test(the_first_rows_are_those_of_the_list_not_of_the_segment),
    };

    log_setup(LOG_LEVEL_ERROR, "test");
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
