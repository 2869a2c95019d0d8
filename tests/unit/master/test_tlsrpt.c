/* test_tlsrpt.c - TLS reports (RFC 8460 4.4): what is counted is what is written, by day and within the bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "tlsrpt.h"

#define DAY_US 86400000000ull
#define NOON   (20000 * DAY_US + DAY_US / 2)

static char dir[64];
static struct config config;
static struct tlsrpt tlsrpt;

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s/tlsrpt-XXXXXX", "/tmp");
    assert_non_null(mkdtemp(dir));
    config.state_dir = dir;
    config.sender.from_domain = (char *)(uintptr_t) "news.test";
    tlsrpt_open(&tlsrpt, &config, 7, NOON);
    return 0;
}

/* Every file of state_dir/tlsrpt, and the folder: gone. */
static int teardown(void **state)
{
    char path[600], folder[128];
    struct dirent *entry;
    DIR *list;

    (void)state;
    tlsrpt_close(&tlsrpt, NOON + 3 * DAY_US);
    snprintf(folder, sizeof folder, "%s/tlsrpt", dir);
    list = opendir(folder);
    while (list != NULL && (entry = readdir(list)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    if (list != NULL)
        closedir(list);
    rmdir(folder);
    return rmdir(dir);
}

static void count(const char *domain, enum tlsrpt_policy policy, enum tls_seen_result result,
                  const char *mx_ip, uint64_t now_us)
{
    const struct tlsrpt_session session = {
        .domain = domain,
        .rua = "mailto:a@x.test,https://x.test/r",
        .policy = policy,
        .policy_text = policy == TLSRPT_STS
                           ? "version: STSv1\nmode: enforce\nmax_age: 9\nmx: *.x.test\nmx: b.test\n"
                           : NULL,
        .result = result,
        .mx = "mx.x.test",
        .mx_ip = mx_ip,
        .source_ip = "192.0.2.1",
        .reason = ""};

    tlsrpt_count(&tlsrpt, &session, now_us);
}

static uint32_t files(void)
{
    char folder[128];
    struct dirent *entry;
    uint32_t found = 0;
    DIR *list;

    snprintf(folder, sizeof folder, "%s/tlsrpt", dir);
    list = opendir(folder);
    while (list != NULL && (entry = readdir(list)) != NULL)
        found += strstr(entry->d_name, ".json") != NULL;
    if (list != NULL)
        closedir(list);
    return found;
}

static json_t *report(const char *domain, unsigned long long begin_s, unsigned long long end_s)
{
    char path[512];
    json_t *document;

    snprintf(path, sizeof path, "%s/tlsrpt/news.test!%s!%llu!%llu!7.json", dir, domain, begin_s, end_s);
    document = json_load_file(path, 0, NULL);
    assert_non_null(document);
    return document;
}

static json_int_t number(const json_t *policy, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(policy, "summary"), key));
}

static void a_day_that_is_over_becomes_a_report(void **state)
{
    unsigned long long begin_s = NOON / 1000000, midnight_s = 20001 * 86400ull;
    json_t *document, *policy;

    (void)state;
    count("x.test", TLSRPT_STS, TLS_SEEN_OK, "", NOON);
    count("x.test", TLSRPT_STS, TLS_SEEN_OK, "", NOON + 1);
    count("x.test", TLSRPT_STS, TLS_SEEN_EXPIRED, "127.0.0.1", NOON + 2);
    tlsrpt_turn(&tlsrpt, midnight_s * 1000000 - 1);
    assert_int_equal(files(), 0);
    tlsrpt_turn(&tlsrpt, midnight_s * 1000000);
    assert_int_equal(files(), 1);
    document = report("x.test", begin_s, midnight_s - 1);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(document, "date-range"), "end-datetime")),
        "2024-10-04T23:59:59Z");
    policy = json_array_get(json_object_get(document, "policies"), 0);
    assert_int_equal(number(policy, "total-successful-session-count"), 2);
    assert_int_equal(number(policy, "total-failure-session-count"), 1);
    policy = json_object_get(policy, "policy");
    assert_string_equal(json_string_value(json_object_get(policy, "policy-type")), "sts");
    assert_int_equal(json_array_size(json_object_get(policy, "policy-string")), 5);
    assert_string_equal(json_string_value(json_array_get(json_object_get(policy, "mx-host"), 1)), "b.test");
    json_decref(document);
    assert_int_equal(tlsrpt.begin_s, midnight_s);
}

static void what_is_counted_after_midnight_is_of_the_next_day(void **state)
{
    unsigned long long midnight_s = 20001 * 86400ull;

    (void)state;
    count("x.test", TLSRPT_NO_POLICY, TLS_SEEN_OK, "", NOON);
    count("x.test", TLSRPT_NO_POLICY, TLS_SEEN_STARTTLS, "", midnight_s * 1000000);
    tlsrpt_turn(&tlsrpt, midnight_s * 1000000);
    assert_int_equal(files(), 1);
    tlsrpt_close(&tlsrpt, midnight_s * 1000000 + 5000000);
    assert_int_equal(files(), 2);
    json_decref(report("x.test", NOON / 1000000, midnight_s - 1));
    json_decref(report("x.test", midnight_s, midnight_s + 5));
    tlsrpt_open(&tlsrpt, &config, 7, NOON);
}

/* The master waits for two fsync a report: a few in each turn, and a connection waits for none. */
static void a_day_of_many_domains_is_written_in_pieces(void **state)
{
    unsigned long long midnight_us = 20001 * 86400ull * 1000000;
    char domain[32];

    (void)state;
    for (unsigned n = 0; n < 2 * TLSRPT_AT_ONCE + 3; n++) {
        snprintf(domain, sizeof domain, "d%u.test", n);
        count(domain, TLSRPT_NO_POLICY, TLS_SEEN_OK, "", NOON);
    }
    count("new.test", TLSRPT_NO_POLICY, TLS_SEEN_OK, "", midnight_us);
    assert_int_equal(files(), 0);
    tlsrpt_turn(&tlsrpt, midnight_us + 1);
    assert_int_equal(files(), TLSRPT_AT_ONCE);
    tlsrpt_turn(&tlsrpt, midnight_us + 2);
    assert_int_equal(files(), 2 * TLSRPT_AT_ONCE);
    tlsrpt_turn(&tlsrpt, midnight_us + 3);
    assert_int_equal(files(), 2 * TLSRPT_AT_ONCE + 3);
    json_decref(report("d0.test", NOON / 1000000, midnight_us / 1000000 - 1));
    tlsrpt_close(&tlsrpt, midnight_us + 5000000);
    assert_int_equal(files(), 2 * TLSRPT_AT_ONCE + 4);
    tlsrpt_open(&tlsrpt, &config, 7, NOON);
}

static void the_same_failure_is_one_detail_and_too_many_are_merged_by_type(void **state)
{
    json_int_t sessions = 0;
    json_t *document, *policy, *details, *one;
    size_t i;
    char ip[32];

    (void)state;
    for (unsigned n = 0; n < 3 * TLSRPT_DETAILS_MAX; n++) {
        snprintf(ip, sizeof ip, "127.0.0.%u", n % (TLSRPT_DETAILS_MAX + 4));
        count("x.test", TLSRPT_TLSA, TLS_SEEN_TLSA_INVALID, ip, NOON);
    }
    tlsrpt_close(&tlsrpt, NOON);
    document = report("x.test", NOON / 1000000, NOON / 1000000);
    policy = json_array_get(json_object_get(document, "policies"), 0);
    details = json_object_get(policy, "failure-details");
    assert_int_equal(json_array_size(details), TLSRPT_DETAILS_MAX + 1);
    json_array_foreach(details, i, one)
    {
        assert_string_equal(json_string_value(json_object_get(one, "result-type")), "tlsa-invalid");
        sessions += json_integer_value(json_object_get(one, "failed-session-count"));
    }
    assert_int_equal(sessions, 3 * TLSRPT_DETAILS_MAX);
    assert_int_equal(number(policy, "total-failure-session-count"), 3 * TLSRPT_DETAILS_MAX);
    json_decref(document);
    tlsrpt_open(&tlsrpt, &config, 7, NOON);
}

static void the_addresses_for_the_report_lie_beside_it(void **state)
{
    char path[512], text[128] = "";
    FILE *f;

    (void)state;
    count("x.test", TLSRPT_NO_POLICY, TLS_SEEN_OK, "", NOON);
    tlsrpt_close(&tlsrpt, NOON);
    snprintf(path, sizeof path, "%s/tlsrpt/news.test!x.test!%llu!%llu!7.rua", dir, NOON / 1000000,
             NOON / 1000000);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    assert_string_equal(text, "mailto:a@x.test\nhttps://x.test/r\n");
    tlsrpt_open(&tlsrpt, &config, 7, NOON);
}

static void domains_beyond_the_bound_are_not_counted(void **state)
{
    char domain[32];

    (void)state;
    for (unsigned n = 0; n < TLSRPT_DOMAINS_MAX + 5; n++) {
        snprintf(domain, sizeof domain, "d%u.test", n);
        count(domain, TLSRPT_NO_POLICY, TLS_SEEN_OK, "", NOON);
    }
    assert_int_equal(tlsrpt.domains.count, TLSRPT_DOMAINS_MAX);
    assert_int_equal(tlsrpt.uncounted, 5);
    count("d1.test", TLSRPT_NO_POLICY, TLS_SEEN_OK, "", NOON);
    assert_int_equal(tlsrpt.uncounted, 5);
    config.state_dir = (char *)(uintptr_t) "/proc/none"; /* nothing of it is written: said, and forgotten */
    tlsrpt_close(&tlsrpt, NOON);
    config.state_dir = dir;
    assert_int_equal(tlsrpt.domains.count, 0);
    tlsrpt_open(&tlsrpt, &config, 7, NOON);
}

static void a_long_name_gives_a_file_name_that_fits(void **state)
{
    char domain[254];

    (void)state;
    memset(domain, 'a', sizeof domain);
    for (int i = 60; i < 250; i += 60)
        domain[i] = '.';
    domain[253] = '\0';
    count(domain, TLSRPT_NO_POLICY, TLS_SEEN_OK, "", NOON);
    tlsrpt_close(&tlsrpt, NOON);
    assert_int_equal(files(), 1);
    tlsrpt_open(&tlsrpt, &config, 7, NOON);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_day_that_is_over_becomes_a_report),
        TEST(what_is_counted_after_midnight_is_of_the_next_day),
        TEST(a_day_of_many_domains_is_written_in_pieces),
        TEST(the_same_failure_is_one_detail_and_too_many_are_merged_by_type),
        TEST(the_addresses_for_the_report_lie_beside_it),
        TEST(domains_beyond_the_bound_are_not_counted),
        TEST(a_long_name_gives_a_file_name_that_fits),
    };
    log_threshold = LOG_LEVEL_ERROR;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
