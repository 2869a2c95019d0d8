/* test_faults.c - the event log and its replay when calls fail or come short: every line once and whole, nothing skipped.
 *
 * Memory for which master/ asks by hk_xcalloc() and its like (lines, queues, tables) is no case: without it the master ends
 * by design, and the next one settles what it left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eventlog.h"
#include "faults.h"
#include "journal.h"

#define LINES 40u

static char directory[] = "/tmp/hikyaku-faults-XXXXXX";
static char path[64];
static struct config config;

/* Every path of the folder, in the order of their names. */
static unsigned files(char name[16][128])
{
    struct dirent **entry;
    int found = scandir(directory, &entry, NULL, alphasort);
    unsigned count = 0;

    for (int i = 0; i < found; i++) {
        if (entry[i]->d_name[0] != '.') {
            assert_true(count < 16);
            snprintf(name[count++], 128, "%s/%.60s", directory, entry[i]->d_name);
        }
        free(entry[i]);
    }
    free(entry);
    return count;
}

static void clear(void)
{
    char name[16][128];

    for (unsigned i = files(name); i > 0; i--)
        unlink(name[i - 1]);
}

static int set_up(void **state)
{
    (void)state;
    json_set_alloc_funcs(malloc, free); /* as they are wrapped */
    log_threshold = LOG_LEVEL_ERROR;
    setenv("PATH", "/nonexistent", 1); /* no zstd: what is put aside stays to be read */
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/events.jsonl", directory);
    config.events.file = path;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    clear();
    return rmdir(directory);
}

static int anew(void **state)
{
    (void)state;
    clear();
    config.events.rotate_bytes = 1000000;
    return 0;
}

/* ---- writing ---- */

static unsigned headers; /* lines that a file begins with by itself, as read */

/* The numbers of the ids of a file's lines, each whole, go on behind `number`; gives the last. */
static unsigned read_file(const char *name, unsigned number)
{
    size_t length;
    char *text;
    struct hk_why why;

    assert_int_equal(hk_read_file(name, 1000000, &text, &length, &why), 0);
    for (char *at = text, *end; at < text + length; at = end + 1) {
        char want[16];
        json_t *line;
        end = strchr(at, '\n');
        assert_non_null(end);
        line = json_loadb(at, (size_t)(end - at), 0, NULL);
        snprintf(want, sizeof want, "7-%u", ++number);
        assert_string_equal(json_string_value(json_object_get(line, "id")), want);
        headers += json_object_get(line, "state") != NULL;
        json_decref(line);
    }
    free(text);
    return number;
}

/* All parts in the order of their making: those put aside, then the one in use, whose name is the shortest. */
static void read_all(unsigned lines)
{
    char name[16][128];
    unsigned count = files(name), number = 0;

    headers = 0;
    for (unsigned i = 1; i < count; i++)
        number = read_file(name[i], number);
    number = read_file(name[0], number);
    assert_int_equal(number - headers, lines);
}

/* A flush for each line, again where it was refused. How many were refused. */
static unsigned write_lines(struct eventlog *log)
{
    unsigned refused = 0;

    for (unsigned i = 0; i < LINES; i++) {
        event_begin(log, "node");
        event_word(log, "text", "of about a hundred bytes, so that a few of them fill a part");
        event_end(log);
        while (eventlog_flush(log) != 0) {
            assert_true(log->failing);
            assert_true(++refused < 10);
        }
        assert_false(log->failing);
        eventlog_sync(log);
    }
    return refused;
}

static unsigned harm_writing(unsigned kinds)
{
    unsigned nth = 0;
    bool struck;

    do {
        struct eventlog log;
        struct hk_why why = {""};
        clear();
        assert_int_equal(eventlog_open(&log, &config, 7, &why), 0);
        fault_arm(kinds, ++nth);
        unsigned refused = write_lines(&log);
        struck = fault_disarm();
        assert_int_equal(refused, struck && (kinds & FAULT_WRITE) ? 1 : 0);
        assert_int_equal(access(path, F_OK), 0);
        eventlog_close(&log);
        read_all(LINES);
    } while (struck);
    return nth;
}

static void a_write_that_fails_is_made_up_for(void **state)
{
    (void)state;
    assert_int_equal(harm_writing(FAULT_WRITE), LINES + 1);
}

static void a_rotation_that_fails_anywhere_loses_no_line_and_its_file_keeps_its_name(void **state)
{
    (void)state;
    config.events.rotate_bytes = 1000;
    assert_true(harm_writing(FAULT_WRITE) > LINES);
    assert_true(harm_writing(FAULT_OPEN) > 3);
    assert_true(harm_writing(FAULT_FILE) > 10);
}

/* Said once in a while, not with each line: the disk that refuses may be the one the diagnostic log goes to. */
static void a_rotation_that_never_works_is_not_tried_with_every_line(void **state)
{
    struct eventlog log;
    struct hk_why why;
    unsigned tries = 0;
    uint64_t at = 0;

    (void)state;
    config.events.rotate_bytes = 1000;
    assert_int_equal(eventlog_open(&log, &config, 7, &why), 0);
    fault_arm_from(FAULT_OPEN, 1);
    for (unsigned i = 0; i < LINES; i++) {
        event_begin(&log, "node");
        event_end(&log);
        assert_int_equal(eventlog_flush(&log), 0);
        tries += log.rotate_at != at;
        at = log.rotate_at;
    }
    assert_true(fault_disarm());
    assert_in_range(tries, 3, LINES / 2);
    eventlog_close(&log);
    read_all(LINES);
}

static void lines_written_in_pieces_are_whole(void **state)
{
    struct eventlog log;
    struct hk_why why;

    (void)state;
    config.events.rotate_bytes = 1000;
    assert_int_equal(eventlog_open(&log, &config, 7, &why), 0);
    fault_shorten(13);
    assert_int_equal(write_lines(&log), 0);
    assert_true(fault_disarm());
    eventlog_close(&log);
    read_all(LINES);
}

/* ---- opening ---- */

#define WHOLE_LINE "{\"v\":1,\"id\":\"7-1\"}\n"

static void write_torn(void)
{
    char text[9000] = WHOLE_LINE; /* the torn line is longer than what is looked at together */
    struct hk_why why;

    memset(text + sizeof WHOLE_LINE - 1, 'x', sizeof text - (sizeof WHOLE_LINE - 1));
    assert_int_equal(hk_write_file(path, 0600, text, sizeof text, &why), 0);
}

static void an_event_log_that_cannot_be_opened_says_why_and_keeps_no_descriptor(void **state)
{
    static const unsigned kinds[] = {FAULT_OPEN, FAULT_READ, FAULT_FILE, FAULT_WRITE};

    (void)state;
    for (unsigned k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        bool struck = true;
        for (unsigned nth = 1; struck; nth++) {
            struct eventlog log;
            struct hk_why why = {""};
            int before = dup(0), after;
            write_torn();
            close(before);
            fault_arm(kinds[k], nth);
            int rc = eventlog_open(&log, &config, 7, &why);
            struck = fault_disarm();
            assert_int_equal(rc, struck ? HK_EIO : 0);
            assert_true(!struck || strlen(why.text) > strlen(path) + 10);
            eventlog_close(&log);
            after = dup(0);
            close(after);
            assert_int_equal(after, before);
        }
        read_all(1);
    }
}

static void a_torn_line_is_cut_off_in_pieces_too(void **state)
{
    struct eventlog log;
    struct hk_why why;

    (void)state;
    write_torn();
    fault_shorten(1001);
    assert_int_equal(eventlog_open(&log, &config, 7, &why), 0);
    assert_true(fault_disarm());
    assert_int_equal(log.file_bytes, sizeof WHOLE_LINE - 1);
    eventlog_close(&log);
    read_all(1);
}

/* ---- reading again ----
 * The campaigns are not open here: which of them the log speaks of tells which lines were read. */

static unsigned told, settled;

struct campaign *__wrap_settle_campaign(struct node *node, const char *id, struct settle_open *open);
void __wrap_settle_close(struct node *node, struct settle_open *open);
int __wrap_settle_wait(struct node *node, struct hk_why *why);

struct campaign *__wrap_settle_campaign(struct node *node, const char *id, struct settle_open *open)
{
    char want[16];

    (void)node;
    (void)open;
    snprintf(want, sizeof want, "c%u", ++told);
    assert_string_equal(id, want);
    return NULL;
}

void __wrap_settle_close(struct node *node, struct settle_open *open)
{
    (void)node;
    (void)open;
}

int __wrap_settle_wait(struct node *node, struct hk_why *why)
{
    (void)node;
    (void)why;
    settled++;
    return 0;
}

static void write_outcomes(void)
{
    struct eventlog log;
    struct hk_why why;

    assert_int_equal(eventlog_open(&log, &config, 7, &why), 0);
    for (unsigned i = 1; i <= LINES; i++) {
        char campaign[16];
        snprintf(campaign, sizeof campaign, "c%u", i);
        event_begin(&log, "attempt");
        event_word(&log, "campaign", campaign);
        event_number(&log, "index", i);
        event_number(&log, "attempt", 1);
        event_word(&log, "outcome", "sent");
        event_end(&log);
    }
    assert_int_equal(eventlog_flush(&log), 0);
    eventlog_close(&log);
}

static int replay(struct hk_why *why)
{
    static struct node node;
    struct journal_story story;

    node.config = &config;
    told = settled = 0;
    return journal_replay(&node, "", NULL, &story, why);
}

/* What the log knows and nobody reads would be unknown for ever: so it is all, or an error. */
static void a_log_that_cannot_be_read_again_is_an_error(void **state)
{
    static const unsigned kinds[] = {FAULT_OPEN, FAULT_READ, FAULT_MEMORY};

    (void)state;
    write_outcomes();
    for (unsigned k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        unsigned failed = 0;
        bool struck = true;
        for (unsigned nth = 1; struck; nth++) {
            struct hk_why why = {""};
            fault_arm(kinds[k], nth);
            int rc = replay(&why);
            struck = fault_disarm();
            assert_int_equal(rc == 0, settled);
            if (rc == 0) {
                assert_int_equal(told, LINES);
                continue;
            }
            assert_true(struck && (rc == HK_EIO || rc == HK_ENOMEM));
            assert_true(strlen(why.text) > 20);
            failed++;
        }
        assert_true(failed > (kinds[k] == FAULT_MEMORY ? LINES : 0));
    }
}

static void a_log_that_comes_in_pieces_is_told_whole(void **state)
{
    struct hk_why why = {""};

    (void)state;
    write_outcomes();
    fault_shorten(101);
    assert_int_equal(replay(&why), 0);
    assert_true(fault_disarm());
    assert_int_equal(told, LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_write_that_fails_is_made_up_for, anew),
        cmocka_unit_test_setup(a_rotation_that_fails_anywhere_loses_no_line_and_its_file_keeps_its_name,
                               anew),
        cmocka_unit_test_setup(a_rotation_that_never_works_is_not_tried_with_every_line, anew),
        cmocka_unit_test_setup(lines_written_in_pieces_are_whole, anew),
        cmocka_unit_test_setup(an_event_log_that_cannot_be_opened_says_why_and_keeps_no_descriptor, anew),
        cmocka_unit_test_setup(a_torn_line_is_cut_off_in_pieces_too, anew),
        cmocka_unit_test_setup(a_log_that_cannot_be_read_again_is_an_error, anew),
        cmocka_unit_test_setup(a_log_that_comes_in_pieces_is_told_whole, anew),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
