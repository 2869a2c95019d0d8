/* The event log: whole lines of JSON, whatever the text; a torn line is cut; a full file begins anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <glob.h>
#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "event_parts.h"
#include "eventlog.h"
#include "hikyaku/node.h"

static char directory[] = "/tmp/hikyaku-eventlog-XXXXXX";
static char path[64];
static struct config config;

static int set_up(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/events.jsonl", directory);
    config.events.file = path;
    config.events.rotate_bytes = 1000000;
    return 0;
}

static int tear_down(void **state)
{
    char pattern[80];
    glob_t found;

    (void)state;
    snprintf(pattern, sizeof pattern, "%s/*", directory);
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            unlink(found.gl_pathv[i]);
    globfree(&found);
    return rmdir(directory);
}

static char *content(void)
{
    char *text;
    size_t length;
    struct hk_why why;

    assert_int_equal(hk_read_file(path, 1000000, &text, &length, &why), 0);
    return text;
}

/* The first is the file's own. */
static json_t *second_line(const char *text)
{
    return json_loads(text + strcspn(text, "\n"), 0, NULL);
}

static void any_text_makes_a_line_of_json(void **state)
{
    static const char hostile[] = "a\"b\\c\n\r\t\x01\x7f\xff\xc3\xa9</script>\0z";
    struct eventlog log;
    struct hk_why why;
    json_t *line;
    char *text;

    (void)state;
    unlink(path);
    assert_int_equal(eventlog_open(&log, &config, 7, &why), 0);
    assert_int_equal(event_begin(&log, "attempt"), 2); /* the first is the file's own */
    event_text(&log, "text", hostile, sizeof hostile - 1);
    event_object(&log, "tls");
    event_word(&log, "version", "TLSv1.3");
    event_word(&log, "absent", NULL);
    event_object_end(&log);
    event_number(&log, "bytes", UINT64_MAX / 2);
    event_end(&log);
    assert_int_equal(eventlog_flush(&log), 0);
    eventlog_close(&log);

    text = content();
    line = second_line(text);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "id")), "7-2");
    assert_string_equal(json_string_value(json_object_get(line, "text")),
                        "a\"b\\c\?\?\?\?\?\?\xc3\xa9</script>?z");
    assert_string_equal(json_string_value(json_object_get(json_object_get(line, "tls"), "version")),
                        "TLSv1.3");
    assert_null(json_object_get(json_object_get(line, "tls"), "absent"));
    json_decref(line);
    free(text);
}

/* Texts are looked at eight octets at a time: what has to be cleaned or escaped is found at each place, in texts of any length. */
static void each_octet_at_each_place_is_cleaned_or_escaped(void **state)
{
    struct eventlog log;
    struct hk_why why;

    (void)state;
    unlink(path);
    assert_int_equal(eventlog_open(&log, &config, 7, &why), 0);
    for (size_t length = 1; length <= 20; length++)
        for (size_t at = 0; at < length; at++)
            for (unsigned octet = 0; octet < 256; octet++) {
                char text[20], cleaned[21], *line;
                size_t clean;
                json_t *read;
                memset(text, 'a' + (int)at, sizeof text);
                text[at] = (char)octet;
                clean = hk_clean_text(cleaned, sizeof cleaned, text, length);
                log.used = 0;
                event_begin(&log, "x");
                event_text(&log, "text", text, length);
                event_end(&log);
                line = log.buffer;
                line[log.used - 1] = '\0';
                read = json_loads(line, 0, NULL);
                assert_non_null(read);
                assert_int_equal(json_string_length(json_object_get(read, "text")), clean);
                assert_memory_equal(json_string_value(json_object_get(read, "text")), cleaned, clean);
                json_decref(read);
            }
    eventlog_close(&log);
}

static void numbers_with_dots_are_a_text(void **state)
{
    static const uint8_t address[] = {127, 0, 9, 255};
    struct eventlog log;
    struct hk_why why;

    (void)state;
    unlink(path);
    assert_int_equal(eventlog_open(&log, &config, 7, &why), 0);
    log.used = 0;
    event_begin(&log, "x");
    event_dotted(&log, "mx_ip", address, sizeof address);
    event_dotted(&log, "enhanced", address, 1);
    event_number(&log, "bytes", UINT64_MAX);
    event_end(&log);
    log.buffer[log.used - 1] = '\0';
    assert_non_null(strstr(log.buffer, ",\"type\":\"x\",\"mx_ip\":\"127.0.9.255\",\"enhanced\":\"127\","
                                       "\"bytes\":18446744073709551615}"));
    eventlog_close(&log);
}

#define WHOLE "{\"v\":1,\"id\":\"7-1\"}\n{\"v\":1,\"id\":\"7-2\"}\n"
#define TORN  "{\"v\":1,\""

static void a_torn_last_line_is_cut_off(void **state)
{
    struct eventlog log;
    struct hk_why why;
    char *text;

    (void)state;
    assert_int_equal(hk_write_file(path, 0600, WHOLE TORN, sizeof WHOLE + sizeof TORN - 2, &why), 0);
    assert_int_equal(eventlog_open(&log, &config, 8, &why), 0);
    eventlog_close(&log);
    text = content();
    assert_string_equal(text, WHOLE);
    free(text);

    assert_int_equal(hk_write_file(path, 0600, TORN, sizeof TORN - 1, &why), 0);
    assert_int_equal(eventlog_open(&log, &config, 8, &why), 0);
    eventlog_close(&log);
    text = content();
    assert_string_equal(text, "");
    free(text);
}

static void a_full_file_is_put_aside_and_begun_anew(void **state)
{
    struct eventlog log;
    struct hk_why why;
    char pattern[80];
    glob_t found;
    char *text;

    (void)state;
    unlink(path);
    config.events.rotate_bytes = 100;
    assert_int_equal(eventlog_open(&log, &config, 9, &why), 0);
    for (int i = 0; i < 4; i++) {
        event_begin(&log, "node");
        event_end(&log);
        assert_int_equal(eventlog_flush(&log), 0);
    }
    eventlog_close(&log);
    while (wait(NULL) > 0)
        ; /* for zstd */
    snprintf(pattern, sizeof pattern, "%s/events.jsonl.*.zst", directory);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= 1);
    globfree(&found);
    snprintf(pattern, sizeof pattern, "%s/events.jsonl.*Z", directory);
    assert_int_equal(glob(pattern, 0, NULL, &found), GLOB_NOMATCH);
    text = content();
    assert_true(strlen(text) < 200);
    free(text);
    config.events.rotate_bytes = 1000000;
}

/* Which lines came first is told by the names alone, and the log is told again in that order. */
static void a_part_is_named_behind_the_newest_although_the_clock_was_set_back(void **state)
{
    const uint64_t now_us = 1795800000123456u; /* 2026-11-27T... */
    struct event_parts parts;
    struct hk_why why;
    char newest[160], *next;
    FILE *file;

    (void)state;
    snprintf(newest, sizeof newest, "%s.2037-01-31T23:59:59.999999Z.zst", path);
    file = fopen(newest, "w");
    assert_non_null(file);
    fclose(file);
    next = event_parts_next(path, now_us, &why);
    assert_non_null(next);
    assert_string_equal(next + strlen(path), ".2037-02-01T00:00:00.000000Z");
    file = fopen(next, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(event_parts_list(path, &parts, &why), 0);
    assert_true(parts.count >= 2);
    assert_string_equal(parts.path[parts.count - 1 - (access(path, F_OK) == 0)], next);
    event_parts_free(&parts);
    unlink(newest);
    unlink(next);
    free(next);
    next = event_parts_next(path, now_us, &why);
    assert_true(strcmp(next + strlen(path), ".2037") < 0); /* the clock's again */
    free(next);
}

/* The limit of a file's size plays the full disk: the write comes short, the next one fails, and then there is room. */
static void what_comes_short_is_kept_and_written_whole_later(void **state)
{
    struct rlimit limit, small;
    struct eventlog log;
    struct hk_why why;
    unsigned lines = 0;
    char *text;

    (void)state;
    unlink(path);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 250; /* in the middle of a line */
    assert_int_equal(eventlog_open(&log, &config, 10, &why), 0);
    for (int i = 0; i < 5; i++) {
        event_begin(&log, "node");
        event_end(&log);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(eventlog_flush(&log), HK_EIO);
    assert_true(log.failing);
    assert_true(log.file_bytes > 100 &&
                log.file_bytes < 250); /* the line that did not fit is not there in part */
    text = content();
    assert_int_equal(strlen(text), log.file_bytes);
    assert_int_equal(text[log.file_bytes - 1], '\n');
    free(text);
    assert_int_equal(eventlog_flush(&log), HK_EIO); /* nothing more fits: nothing is lost by asking */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(eventlog_flush(&log), 0);
    assert_false(log.failing);
    eventlog_close(&log);

    text = content();
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, lines++) {
        json_t *json = json_loadb(line, (size_t)(end - line), 0, NULL);
        char want[16];
        snprintf(want, sizeof want, "10-%u", lines + 1);
        assert_string_equal(json_string_value(json_object_get(json, "id")), want);
        json_decref(json);
    }
    assert_int_equal(lines, 6); /* the first is the file's own */
    free(text);
}

/* The list, named by mistake: its last line has no newline, and is still there afterwards. */
static void what_is_no_event_log_is_left_alone(void **state)
{
    static const char list[] = "email\nhanako@example.net\nzoe@example.org";
    struct config device = config;
    struct eventlog log;
    struct hk_why why;
    char *text;

    (void)state;
    assert_int_equal(hk_write_file(path, 0600, list, sizeof list - 1, &why), 0);
    assert_int_equal(node_event_log_check(&config, &why), HK_EINVAL);
    assert_int_equal(eventlog_open(&log, &config, 8, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "is no event log"));
    eventlog_close(&log);
    text = content();
    assert_string_equal(text, list);
    free(text);

    device.events.file = (char *)(uintptr_t) "/dev/null";
    assert_int_equal(node_event_log_check(&device, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "no ordinary file"));
    /* What a power cut leaves is a log all the same. */
    assert_int_equal(hk_write_file(path, 0600, "\0\0\0\0", 4, &why), 0);
    assert_int_equal(node_event_log_check(&config, &why), 0);
    unlink(path);
    assert_int_equal(node_event_log_check(&config, &why), 0);
}

/* How many lines, each of them whole, and the id of the first. */
static unsigned lines_of(const char *file, char first[EVENT_ID_SIZE])
{
    struct hk_why why;
    unsigned lines = 0;
    size_t length;
    char *text;

    assert_int_equal(hk_read_file(file, 1000000, &text, &length, &why), 0);
    first[0] = '\0';
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, lines++) {
        json_t *json = json_loadb(line, (size_t)(end - line), 0, NULL);
        assert_non_null(json);
        json_decref(json);
        if (lines == 0)
            assert_true(event_id(line, (size_t)(end - line), first));
    }
    free(text);
    return lines;
}

static void say(struct eventlog *log)
{
    event_begin(log, "node");
    event_end(log);
}

/* logrotate without copytruncate: what waits belongs to the old file, and the new one begins with a line of its own. */
static void a_log_that_is_moved_away_is_begun_anew(void **state)
{
    char moved[80], first[EVENT_ID_SIZE], place[LEASE_TOLD_SIZE];
    struct eventlog log;
    struct hk_why why;

    (void)state;
    unlink(path);
    snprintf(moved, sizeof moved, "%s.old", path);
    assert_int_equal(eventlog_open(&log, &config, 11, &why), 0);
    say(&log);
    assert_int_equal(eventlog_flush(&log), 0);
    eventlog_watch(&log); /* it is where it was: nothing happens */
    assert_int_equal(log.number, 3);
    assert_int_equal(rename(path, moved), 0);
    say(&log);
    eventlog_watch(&log);
    say(&log);
    assert_int_equal(eventlog_flush(&log), 0);
    eventlog_place(&log, place);
    assert_memory_equal(place, "11-4:", 5);
    eventlog_close(&log);
    assert_int_equal(lines_of(moved, first), 3);
    assert_string_equal(first, "11-1");
    assert_int_equal(lines_of(path, first), 2);
    assert_string_equal(first, "11-4");
}

/* What waits is in neither file: it comes behind the line that begins the new one. */
static void a_log_that_is_removed_is_begun_anew(void **state)
{
    char first[EVENT_ID_SIZE];
    struct eventlog log;
    struct hk_why why;

    (void)state;
    unlink(path);
    assert_int_equal(eventlog_open(&log, &config, 12, &why), 0);
    assert_int_equal(eventlog_flush(&log), 0);
    say(&log);
    unlink(path);
    eventlog_watch(&log);
    assert_int_equal(eventlog_flush(&log), 0);
    eventlog_close(&log);
    assert_int_equal(lines_of(path, first), 2);
    assert_string_equal(first, "12-3");
}

/* logrotate with copytruncate. Lines that came before it was seen make no name: the number that is passed over is a hole. */
static void a_log_that_is_cut_goes_on(void **state)
{
    char first[EVENT_ID_SIZE];
    struct eventlog log;
    struct hk_why why;

    (void)state;
    unlink(path);
    assert_int_equal(eventlog_open(&log, &config, 13, &why), 0);
    for (int i = 0; i < 5; i++)
        say(&log);
    assert_int_equal(eventlog_flush(&log), 0);
    assert_int_equal(truncate(path, 0), 0);
    eventlog_watch(&log);
    assert_int_equal(eventlog_flush(&log), 0);
    assert_int_equal(lines_of(path, first), 1);
    assert_string_equal(first, "13-7");
    assert_int_equal(truncate(path, 0), 0);
    say(&log);
    eventlog_watch(&log);
    assert_int_equal(eventlog_flush(&log), 0);
    assert_int_equal(lines_of(path, first), 2);
    assert_string_equal(log.first_id, "13-8");
    assert_int_equal(log.number, 11);
    eventlog_close(&log);
}

/* Never a line into a file that nobody finds: what depends on the lines waits. */
static void nothing_is_written_while_no_log_can_be_begun(void **state)
{
    char first[EVENT_ID_SIZE];
    struct eventlog log;
    struct hk_why why;

    (void)state;
    unlink(path);
    assert_int_equal(eventlog_open(&log, &config, 14, &why), 0);
    assert_int_equal(eventlog_flush(&log), 0);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    eventlog_watch(&log);
    say(&log);
    assert_int_equal(eventlog_flush(&log), HK_EIO);
    assert_true(log.failing);
    eventlog_watch(&log);
    assert_int_equal(rmdir(path), 0);
    eventlog_watch(&log);
    assert_int_equal(eventlog_flush(&log), 0);
    assert_false(log.failing);
    eventlog_close(&log);
    assert_int_equal(lines_of(path, first), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_text_makes_a_line_of_json),
        cmocka_unit_test(each_octet_at_each_place_is_cleaned_or_escaped),
        cmocka_unit_test(numbers_with_dots_are_a_text),
        cmocka_unit_test(a_torn_last_line_is_cut_off),
        cmocka_unit_test(a_full_file_is_put_aside_and_begun_anew),
        cmocka_unit_test(a_part_is_named_behind_the_newest_although_the_clock_was_set_back),
        cmocka_unit_test(what_comes_short_is_kept_and_written_whole_later),
        cmocka_unit_test(what_is_no_event_log_is_left_alone),
        cmocka_unit_test(a_log_that_is_moved_away_is_begun_anew),
        cmocka_unit_test(a_log_that_is_removed_is_begun_anew),
        cmocka_unit_test(a_log_that_is_cut_goes_on),
        cmocka_unit_test(nothing_is_written_while_no_log_can_be_begun),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
