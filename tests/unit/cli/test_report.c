/* test_report.c - a report as a person and as a program read it. */
#include "report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static struct report_site sites[14];

static struct report example(void)
{
    struct report report = {
        .manifest = {.campaign = "nov",
                     .state = "running",
                     .recipients = 10000,
                     .rejected = 3,
                     .duplicates = 1200,
                     .created_us = 1000000000000000,
                     .started_us = 1000000001000000,
                     .first_pass_us = 1000000021000000,
                     .settled_us = 1000000041000000},
        .counts = {[LEDGER_SENT] = 9700, [LEDGER_BOUNCED] = 250, [LEDGER_UNKNOWN] = 1, [LEDGER_EXPIRED] = 49},
        .later = {[REPORT_COMPLAINED] = 2},
        .attempts = 10512,
        .by_class = {[CLASS_NONE] = 1, [CLASS_MAILBOX_UNKNOWN] = 200, [CLASS_NETWORK] = 49},
        .site = sites,
        .site_count = 14,
    };
    for (int i = 0; i < 14; i++)
        sites[i] = (struct report_site){
            .name = "mx.a.test", .recipients = 700, .counts = {[LEDGER_SENT] = 690, [LEDGER_BOUNCED] = 10}};
    return report;
}

static const char *text_of(const struct report *report)
{
    static char text[16384];
    FILE *out = tmpfile();
    assert_non_null(out);
    report_text_print(report, "h.conf", "dir/rejected.csv", out);
    rewind(out);
    text[fread(text, 1, sizeof text - 1, out)] = '\0';
    fclose(out);
    return text;
}

static json_t *document_of(const struct report *report)
{
    FILE *out = tmpfile();
    assert_non_null(out);
    assert_int_equal(report_json_print(report, out), 0);
    rewind(out);
    json_t *document = json_loadf(out, 0, NULL);
    fclose(out);
    assert_non_null(document);
    return document;
}

static void a_person_reads_figures_durations_and_what_to_do_next(void **state)
{
    struct report report = example();
    const char *text = text_of(&report);
    (void)state;
    assert_non_null(strstr(text, "Campaign nov: everyone is settled"));
    assert_non_null(strstr(text, "10,000   (3 rows rejected, 1,200 duplicates left out)"));
    assert_non_null(strstr(text, "after 40 s, 250 recipients a second"));
    assert_non_null(strstr(text, "mailbox-unknown"));
    assert_non_null(strstr(text, "addresses that do not exist: 200."));
    assert_non_null(strstr(text, "dir/rejected.csv"));
    assert_non_null(strstr(text, "hikyaku report --config h.conf --campaign nov --recipients"));
    assert_null(strstr(text, "cancelled"));
}

static void who_was_called_off_counts_for_no_speed(void **state)
{
    struct report report = example();
    (void)state;
    snprintf(report.manifest.state, sizeof report.manifest.state, "cancelled");
    report.counts[LEDGER_SENT] = 1700;
    report.counts[LEDGER_CANCELLED] = 8000;
    assert_non_null(strstr(text_of(&report), "after 40 s, 50.0 recipients a second"));
}

static void where_most_cannot_be_reached_the_way_out_is_named(void **state)
{
    struct report report = example();
    (void)state;
    report.by_class[CLASS_NETWORK] = 5000;
    assert_null(strstr(text_of(&report), "port 25"));
    report.by_class[CLASS_NETWORK] = 5001;
    assert_non_null(strstr(text_of(&report), "let port 25 out?"));
}

static void ten_sites_are_shown_and_the_others_added_up(void **state)
{
    struct report report = example();
    const char *text = text_of(&report);
    int rows = 0;
    (void)state;
    for (const char *at = text; (at = strstr(at, "mx.a.test")) != NULL; at++)
        rows++;
    assert_int_equal(rows, 10);
    assert_non_null(strstr(text, "4 more sites                                2,800        2,760"));
}

static void one_site_more_than_ten_is_shown_rather_than_called_the_rest(void **state)
{
    struct report report = example();
    (void)state;
    report.site_count = 11;
    assert_null(strstr(text_of(&report), "more sites"));
}

static void what_came_back_is_told_by_site_and_class(void **state)
{
    struct report report = example();
    (void)state;
    for (int i = 0; i < 12; i++)
        sites[i].later[REPORT_BOUNCED] = 3;
    sites[0].later_by_class[CLASS_MAILBOX_FULL] = 3;
    sites[0].by_class[CLASS_NETWORK] = 5;
    report.later[REPORT_BOUNCED] = 36;
    report.later_by_class[CLASS_MAILBOX_FULL] = 36;
    const char *text = text_of(&report);
    assert_non_null(
        strstr(text, "more sites                                      6            0              0\n"));
    assert_non_null(
        strstr(text, "all                                            36            2              0\n"));
    assert_non_null(strstr(text, "bounced later, by class\n  mailbox-full                        36\n"));
    json_t *document = document_of(&report), *site = json_array_get(json_object_get(document, "by_site"), 0);
    json_t *later = json_object_get(site, "later");
    assert_int_equal(json_integer_value(json_object_get(later, "bounced")), 3);
    later = json_object_get(site, "later_by_class");
    assert_int_equal(json_object_size(later), 1);
    assert_int_equal(json_integer_value(json_object_get(later, "mailbox-full")), 3);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(site, "by_class"), "network")), 5);
    later = json_object_get(document, "later_by_class");
    assert_int_equal(json_integer_value(json_object_get(later, "mailbox-full")), 36);
    json_decref(document);
}

static void the_document_has_the_contract_s_keys(void **state)
{
    static const char *const keys[] = {"schema",         "campaign",      "recipients", "rejected_rows",
                                       "duplicate_rows", "counts",        "later",      "attempts",
                                       "started",        "by_class",      "by_site",    "first_pass_done",
                                       "settled",        "later_by_class"};
    struct report report = example();
    json_t *document = document_of(&report);
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_non_null(json_object_get(document, keys[i]));
    assert_int_equal(json_integer_value(json_object_get(document, "schema")), 1);
    assert_string_equal(json_string_value(json_object_get(document, "started")),
                        "2001-09-09T01:46:41.000000Z");
    json_t *classes = json_object_get(document, "by_class");
    assert_int_equal(json_object_size(classes), 2);
    assert_int_equal(json_integer_value(json_object_get(classes, "mailbox-unknown")), 200);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(document, "later"), "complained")),
                     2);
    json_decref(document);
}

static void what_has_not_happened_yet_is_null_and_counts_have_every_state(void **state)
{
    struct report report = example();
    (void)state;
    report.manifest.settled_us = 0;
    json_t *document = document_of(&report);
    assert_true(json_is_null(json_object_get(document, "settled")));
    assert_int_equal(json_object_size(json_object_get(document, "counts")), LEDGER_STATES_COUNT);
    json_decref(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_person_reads_figures_durations_and_what_to_do_next),
        cmocka_unit_test(who_was_called_off_counts_for_no_speed),
        cmocka_unit_test(where_most_cannot_be_reached_the_way_out_is_named),
        cmocka_unit_test(ten_sites_are_shown_and_the_others_added_up),
        cmocka_unit_test(one_site_more_than_ten_is_shown_rather_than_called_the_rest),
        cmocka_unit_test(what_came_back_is_told_by_site_and_class),
        cmocka_unit_test(the_document_has_the_contract_s_keys),
        cmocka_unit_test(what_has_not_happened_yet_is_null_and_counts_have_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
