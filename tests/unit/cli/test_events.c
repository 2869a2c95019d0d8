/* test_events.c - the newest lines of the event log, in order, and only those that were asked for. */
#include "events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/hikyaku-test-XXXXXX";
static char seen[256];

static void note(void *context, const json_t *line)
{
    const char *name = json_string_value(json_object_get(line, "n"));

    (void)context;
    strncat(seen, name != NULL ? name : "?", sizeof seen - strlen(seen) - 1);
}

static const char *scan(const char *log, uint64_t bytes, const char *campaign, const char *text)
{
    struct config config = {.events.file = path};
    struct hk_why why;

    assert_int_equal(hk_write_file(path, 0600, log, strlen(log), &why), 0);
    seen[0] = '\0';
    events_scan(&config, bytes, campaign, text, note, NULL);
    return seen;
}

#define A "{\"n\":\"a\",\"campaign\":\"c\",\"recipient\":\"x@x.test\"}\n"
#define B "{\"n\":\"b\",\"campaign\":\"c\",\"recipient\":\"X@X.test\"}\n"
#define C "{\"n\":\"c\",\"campaign\":\"d\",\"recipient\":\"x@x.test\"}\n"
#define D "{\"n\":\"d\",\"campaign\":\"c\",\"recipient\":\"y@x.test\"}\n"

static void lines_of_one_campaign_that_hold_the_text_come_in_order(void **state)
{
    (void)state;
    assert_string_equal(scan(A B C D A, UINT64_MAX, "c", "x@x.test"), "aba");
    assert_string_equal(scan(A B C D A, UINT64_MAX, "d", "x@x.test"), "c");
    assert_string_equal(scan(A B C D A, UINT64_MAX, "e", "x@x.test"), "");
    assert_string_equal(scan(A C "no JSON with x@x.test\n" D, UINT64_MAX, NULL, "x@x.test"), "ac");
}

static void only_whole_lines_of_the_newest_bytes_are_read(void **state)
{
    (void)state;
    assert_string_equal(scan(A D B A, strlen(B A) + 3, "c", "x@x.test"), "ba");
    assert_string_equal(scan(A D B A, strlen(A) - 1, "c", "x@x.test"), "");
}

static void what_is_no_json_is_passed_over(void **state)
{
    (void)state;
    assert_string_equal(
        scan("x@x.test\n" A "{\"n\":\"b\",\"campaign\":\"c\",\"recip x@x.test", UINT64_MAX, "c", "x@x.test"),
        "a");
}

static void a_log_that_is_not_there_has_no_lines(void **state)
{
    struct config config = {.events.file = "/tmp/hikyaku-test-none/events.jsonl"};

    (void)state;
    seen[0] = '\0';
    events_scan(&config, UINT64_MAX, "c", "x", note, NULL);
    assert_string_equal(seen, "");
}

static int make_file(void **state)
{
    int fd = mkstemp(path);

    (void)state;
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? 0 : -1;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_one_campaign_that_hold_the_text_come_in_order),
        cmocka_unit_test(only_whole_lines_of_the_newest_bytes_are_read),
        cmocka_unit_test(what_is_no_json_is_passed_over),
        cmocka_unit_test(a_log_that_is_not_there_has_no_lines),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
