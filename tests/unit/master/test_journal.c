/* test_journal.c - which lines of the event log move whom, and its parts read from a place on. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

#include "by_hand.h"
#include "journal.h"
#include "journal_file.h"

static char directory[] = "/tmp/hikyaku-journal-XXXXXX";
static char path[64];

static int set_up(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/events.jsonl", directory);
    return 0;
}

static int clear(void **state)
{
    DIR *folder = opendir(directory);
    struct dirent *entry;
    char name[400];

    (void)state;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        snprintf(name, sizeof name, "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(name);
    }
    if (folder != NULL)
        closedir(folder);
    return 0;
}

static int tear_down(void **state)
{
    clear(state);
    return rmdir(directory);
}

/* ---- lines ---- */

#define HEAD \
    "{\"v\":1,\"id\":\"7-12\",\"time\":\"2026-11-24T09:00:01.500000Z\",\"campaign\":\"c\",\"index\":5,"

static bool read_line(const char *text, struct journal_entry *out)
{
    return journal_line(text, strlen(text), out);
}

static void an_attempt_is_an_outcome_with_what_was_answered(void **state)
{
    struct journal_entry e;

    (void)state;
    assert_true(read_line(
        HEAD "\"type\":\"attempt\",\"attempt\":2,\"outcome\":\"bounced\",\"reply\":{\"code\":550,"
             "\"text\":\"no such "
             "user\"},\"class\":\"mailbox-unknown\",\"disposition\":\"suppress\",\"site\":\"mx.a.test\"}",
        &e));
    assert_string_equal(e.site, "mx.a.test");
    assert_string_equal(e.campaign, "c");
    assert_int_equal(e.epoch, 7);
    assert_int_equal(e.number, 12);
    assert_int_equal(e.time_us, 1795510801500000u);
    assert_int_equal(e.index, 5);
    assert_int_equal(e.count, 1);
    assert_int_equal(e.kind, OP_OUTCOME);
    assert_int_equal(e.word.state, LEDGER_BOUNCED);
    assert_int_equal(e.word.attempts, 2);
    assert_int_equal(e.word.code, 550);
    assert_int_equal(e.word.reply_class, CLASS_MAILBOX_UNKNOWN);
    assert_true(e.suppress);
    assert_int_equal(e.text_length, 12);
}

static void each_outcome_is_its_state(void **state)
{
    static const uint8_t states[] = {LEDGER_SENT, LEDGER_DEFERRED, LEDGER_BOUNCED, LEDGER_UNKNOWN};
    struct journal_entry e;
    char line[300];

    (void)state;
    for (size_t i = 0; i < sizeof states; i++) {
        snprintf(line, sizeof line, HEAD "\"type\":\"attempt\",\"attempt\":1,\"outcome\":\"%s\"}",
                 ledger_state_name((enum ledger_state)states[i]));
        assert_true(read_line(line, &e));
        assert_int_equal(e.kind, OP_OUTCOME);
        assert_int_equal(e.word.state, states[i]);
        assert_false(e.suppress);
    }
}

static void who_was_sent_to_has_the_id_that_the_relay_gave(void **state)
{
    char line[600], id[SES_MESSAGE_ID_MAX + 2];
    struct journal_entry e;

    (void)state;
    assert_true(read_line(
        HEAD "\"type\":\"attempt\",\"attempt\":1,\"outcome\":\"sent\",\"reply\":{\"code\":250,\"text\":"
             "\"Ok 0102-a\"},\"remote_id\":\"0102-a\"}",
        &e));
    assert_true(e.has_id);
    assert_int_equal(e.text_length, 6);
    assert_memory_equal(e.text, "0102-a", 6);
    assert_true(
        read_line(HEAD "\"type\":\"attempt\",\"attempt\":1,\"outcome\":\"bounced\",\"reply\":{\"code\":550,"
                       "\"text\":\"no\"},\"remote_id\":\"0102-a\"}",
                  &e));
    assert_false(e.has_id);
    for (size_t length = SES_MESSAGE_ID_MAX; length <= SES_MESSAGE_ID_MAX + 1; length++) {
        memset(id, 'x', sizeof id);
        id[length] = '\0';
        snprintf(line, sizeof line,
                 HEAD "\"type\":\"attempt\",\"attempt\":1,\"outcome\":\"sent\",\"remote_id\":\"%s\"}", id);
        assert_true(read_line(line, &e));
        assert_int_equal(e.has_id, length == SES_MESSAGE_ID_MAX);
    }
}

static void what_ends_without_an_attempt_settles_who_waits(void **state)
{
    struct journal_entry e;

    (void)state;
    assert_true(
        read_line(HEAD "\"type\":\"expired\",\"class\":\"greylisted\",\"reply\":{\"code\":451}}", &e));
    assert_int_equal(e.kind, OP_SETTLE);
    assert_int_equal(e.word.state, LEDGER_EXPIRED);
    assert_int_equal(e.word.code, 451);
    assert_int_equal(e.disposition, DISPOSITION_NONE);
    assert_true(read_line(HEAD "\"type\":\"suppressed\"}", &e));
    assert_int_equal(e.word.state, LEDGER_SUPPRESSED);
    assert_true(read_line(HEAD "\"type\":\"cancelled\",\"recipients\":77}", &e));
    assert_int_equal(e.word.state, LEDGER_CANCELLED);
    assert_int_equal(e.index, 5);
    assert_int_equal(e.count, 77);
}

static void who_was_given_up_counts_by_what_the_last_deferral_said(void **state)
{
    struct journal_entry e;

    (void)state;
    assert_true(read_line(HEAD "\"type\":\"expired\",\"class\":\"mailbox-full\",\"disposition\":\"count\","
                               "\"phase\":\"rcpt\",\"reply\":{\"code\":452,\"text\":\"full\"}}",
                          &e));
    assert_int_equal(e.kind, OP_SETTLE);
    assert_int_equal(e.word.state, LEDGER_EXPIRED);
    assert_int_equal(e.word.reply_class, CLASS_MAILBOX_FULL);
    assert_int_equal(e.disposition, DISPOSITION_COUNT);
    assert_false(e.suppress);
    assert_int_equal(e.text_length, 4);
    assert_memory_equal(e.text, "full", 4);
    /* No reply, or one that is our own fault: he is not to blame. */
    assert_true(read_line(HEAD "\"type\":\"expired\",\"class\":\"network\",\"disposition\":\"count\","
                               "\"reply\":{\"text\":\"no route\"}}",
                          &e));
    assert_int_equal(e.disposition, DISPOSITION_NONE);
    assert_true(read_line(HEAD "\"type\":\"expired\",\"class\":\"rate-limited\",\"disposition\":\"block\","
                               "\"reply\":{\"code\":451,\"text\":\"slower\"}}",
                          &e));
    assert_int_equal(e.disposition, DISPOSITION_NONE);
    assert_false(e.suppress);
}

static void a_cancelled_campaign_is_a_line_without_an_index(void **state)
{
    struct journal_entry e;

    (void)state;
    assert_true(read_line(
        "{\"v\":1,\"id\":\"7-12\",\"type\":\"cancelled\",\"campaign\":\"c\",\"recipients\":9}", &e));
    assert_int_equal(e.index, UINT32_MAX);
    assert_false(read_line("{\"v\":1,\"id\":\"7-12\",\"type\":\"suppressed\",\"campaign\":\"c\"}", &e));
}

static void what_came_back_is_told_as_a_mark(void **state)
{
    struct journal_entry e;

    (void)state;
    assert_true(
        read_line(HEAD "\"type\":\"bounce\",\"kind\":\"bounce\",\"class\":\"mailbox-full\",\"disposition\":"
                       "\"count\",\"reply\":{\"code\":552,\"text\":\"full\"}}",
                  &e));
    assert_int_equal(e.kind, OP_MARK);
    assert_int_equal(e.word.marks, LEDGER_MARK_BOUNCED);
    assert_int_equal(e.word.reply_class, CLASS_MAILBOX_FULL);
    assert_int_equal(e.word.code, 552);
    assert_int_equal(e.disposition, DISPOSITION_COUNT);
    assert_false(e.suppress);
    assert_true(
        read_line(HEAD "\"type\":\"complaint\",\"kind\":\"feedback\",\"class\":\"complaint\",\"disposition\":"
                       "\"suppress\",\"reply\":{\"text\":\"\"}}",
                  &e));
    assert_int_equal(e.word.marks, LEDGER_MARK_COMPLAINED);
    assert_false(e.suppress);
    /* What counts for nothing moves nobody. */
    assert_false(read_line(HEAD "\"type\":\"bounce\",\"kind\":\"delay\",\"disposition\":\"count\"}", &e));
    assert_false(read_line(HEAD "\"type\":\"bounce\",\"kind\":\"bounce\",\"disposition\":\"none\"}", &e));
    assert_false(read_line(
        HEAD "\"type\":\"bounce\",\"kind\":\"bounce\",\"ignored\":\"x\",\"disposition\":\"count\"}", &e));
}

static void what_is_told_again_says_where_it_came_from_and_all_its_words(void **state)
{
    static char line[2 * REGION_REPLY_TEXT];
    struct journal_entry e;

    (void)state;
    snprintf(line, sizeof line,
             HEAD "\"type\":\"bounce\",\"kind\":\"bounce\",\"class\":\"mailbox-unknown\",\"disposition\":"
                  "\"suppress\",\"reply\":{\"text\":\"%0*d\"},\"source\":\"ses\"}",
             (int)REGION_REPLY_TEXT, 0);
    assert_true(read_line(line, &e));
    assert_string_equal(e.source, "ses");
    assert_int_equal(e.text_length, REGION_REPLY_TEXT);
    assert_true(read_line(HEAD "\"type\":\"bounce\",\"kind\":\"bounce\",\"class\":\"mailbox-unknown\","
                               "\"disposition\":\"suppress\"}",
                          &e));
    assert_string_equal(e.source, "");
    assert_true(read_line(
        HEAD "\"type\":\"unsubscribe\",\"source\":\"a source that is longer than any\",\"token\":\"abc234\"}",
        &e));
    assert_int_equal(strlen(e.source), sizeof e.source - 1);
}

static void mail_that_was_delivered_is_told_without_a_mark(void **state)
{
    struct journal_entry e;

    (void)state;
    assert_true(read_line(
        HEAD "\"type\":\"bounce\",\"kind\":\"delivered\",\"class\":\"delivered\",\"disposition\":\"none\"}",
        &e));
    assert_int_equal(e.kind, OP_MARK);
    assert_true(e.delivered);
    assert_int_equal(e.word.marks, 0);
    assert_false(
        read_line(HEAD "\"type\":\"bounce\",\"kind\":\"delivered\",\"ignored\":\"no token of ours\"}", &e));
}

static void who_was_given_up_is_told_what_his_last_reply_counts(void **state)
{
    struct journal_entry e;

    (void)state;
    assert_true(read_line(HEAD "\"type\":\"expired\",\"class\":\"mailbox-full\",\"disposition\":\"count\","
                               "\"reply\":{\"code\":452,\"text\":\"full\"}}",
                          &e));
    assert_int_equal(e.kind, OP_SETTLE);
    assert_int_equal(e.disposition, DISPOSITION_COUNT);
    assert_int_equal(e.text_length, 4);
    assert_true(
        read_line(HEAD "\"type\":\"expired\",\"class\":\"mailbox-full\",\"reply\":{\"code\":452}}", &e));
    assert_int_equal(e.disposition, DISPOSITION_NONE);
}

static void who_unsubscribed_is_told_by_his_token(void **state)
{
    struct journal_entry e;

    (void)state;
    assert_true(read_line(HEAD "\"type\":\"unsubscribe\",\"recipient\":\"u@a.test\",\"source\":\"one-click\","
                               "\"token\":\"abc234\"}",
                          &e));
    assert_int_equal(e.kind, OP_MARK);
    assert_int_equal(e.word.marks, LEDGER_MARK_UNSUBSCRIBED);
    assert_int_equal(e.text_length, 6);
    assert_memory_equal(e.text, "abc234", 6);
    assert_string_equal(e.source, "one-click");
    assert_false(read_line(HEAD "\"type\":\"unsubscribe\"}", &e));
    assert_false(read_line(HEAD "\"type\":\"unsubscribe\",\"token\":\"\"}", &e));
    assert_false(read_line(HEAD "\"type\":\"unsubscribe\",\"token\":7}", &e));
}

static void an_unknown_is_found_or_decided(void **state)
{
    struct journal_entry e;

    (void)state;
    assert_true(read_line(HEAD "\"type\":\"unknown\",\"attempt\":3}", &e));
    assert_int_equal(e.kind, OP_OUTCOME);
    assert_int_equal(e.word.state, LEDGER_UNKNOWN);
    assert_int_equal(e.word.attempts, 3);
    assert_true(read_line(HEAD "\"type\":\"unknown\",\"attempt\":3,\"settled_as\":\"sent\"}", &e));
    assert_int_equal(e.word.state, LEDGER_SENT);
    assert_true(read_line(HEAD "\"type\":\"unknown\",\"attempt\":3,\"settled_as\":\"pending\"}", &e));
    assert_int_equal(e.kind, OP_RESEND);
    /* About which attempt has to stand there: a later one may be unknown as well. */
    assert_false(read_line(HEAD "\"type\":\"unknown\",\"settled_as\":\"pending\"}", &e));
}

#define BY_HAND \
    "{\"v\":1,\"id\":\"7-12\",\"time\":\"2026-11-24T09:00:01.500000Z\",\"type\":\"suppression\",\"change\":"

#define OF_A_CAMPAIGN \
    "{\"v\":1,\"id\":\"7-12\",\"time\":\"2026-11-24T09:00:01.500000Z\",\"type\":\"suppressed\",\"change\":"

static bool read_by_hand(const char *text, struct by_hand_line *out)
{
    return by_hand_line(text, strlen(text), out);
}

static void what_a_person_changed_is_told_with_all_that_the_entry_has(void **state)
{
    struct by_hand_line line;
    struct journal_entry e;

    (void)state;
    assert_true(read_by_hand(
        BY_HAND
        "\"added\",\"recipient\":\"A@x.test\",\"scope\":\"list:news.test\",\"reason\":\"complaint\","
        "\"source\":\"in.csv\",\"evidence\":\"he said \\\"no\\\"\",\"since\":\"1970-01-01T00:00:00.000000Z\","
        "\"until\":\"2099-01-01T00:00:00.000000Z\"}",
        &line));
    assert_int_equal(line.change, SUPPRESS_ADDED);
    assert_int_equal(line.time_us, 1795510801500000u);
    assert_string_equal(line.entry.address, "A@x.test");
    assert_string_equal(line.entry.scope, "list:news.test");
    assert_string_equal(line.entry.reason, "complaint");
    assert_string_equal(line.entry.source, "in.csv");
    assert_string_equal(line.entry.evidence, "he said \"no\"");
    assert_int_equal(line.entry.time_us, 0);
    assert_int_equal(line.entry.until_s, 4070908800u);
    assert_true(read_by_hand(BY_HAND
                             "\"dropped\",\"recipient\":\"a@x.test\",\"scope\":\"all\",\"reason\":\"bounce\","
                             "\"source\":\"c\",\"since\":\"2026-11-24T09:00:00.000001Z\"}",
                             &line));
    assert_int_equal(line.change, SUPPRESS_DROPPED);
    assert_int_equal(line.entry.time_us, 1795510800000001u);
    assert_int_equal(line.entry.until_s, 0);
    assert_string_equal(line.entry.evidence, "");
    assert_false(read_line(
        BY_HAND
        "\"removed\",\"recipient\":\"a@x.test\",\"scope\":\"all\",\"reason\":\"bounce\",\"source\":\"c\","
        "\"since\":\"2026-11-24T09:00:00.000001Z\"}",
        &e));
}

static void a_change_of_which_something_is_missing_is_none(void **state)
{
    static const char *const lines[] = {
        BY_HAND "\"gone\",\"recipient\":\"a@x.test\",\"scope\":\"all\",\"reason\":\"r\",\"source\":\"c\","
                "\"since\":\"2026-11-24T09:00:00.000001Z\"}",
        BY_HAND "\"added\",\"recipient\":\"a@x.test\",\"scope\":\"all\",\"reason\":\"r\",\"source\":\"c\"}",
        BY_HAND "\"added\",\"scope\":\"all\",\"reason\":\"r\",\"source\":\"c\",\"since\":\"2026-11-24T09:00:"
                "00.000001Z\"}",
        BY_HAND "\"added\",\"recipient\":\"a@x.test\",\"scope\":\"all\",\"reason\":"
                "\"more than thirty-one bytes of a "
                "word\",\"source\":\"c\",\"since\":\"2026-11-24T09:00:00.000001Z\"}",
        BY_HAND "\"added\",\"recipient\":\"a@x.test\",\"scope\":\"all\",\"reason\":\"r\",\"source\":\"c\","
                "\"since\":\"2026-11-24T09:00:00.000001Z\",\"until\":\"soon\"}",
        BY_HAND "\"added\",\"recipient\":\"a@x.te",
        OF_A_CAMPAIGN "\"added\"}",
    };
    struct by_hand_line line;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_false(read_by_hand(lines[i], &line));
}

static void what_moves_nobody_is_passed_over(void **state)
{
    static const char *const lines[] = {
        "",
        "{",
        "null",
        "{\"v\":1,\"id\":\"7-1\",\"type\":\"node\",\"state\":\"the log begins\"}",
        "{\"v\":1,\"id\":\"x\",\"type\":\"suppressed\",\"campaign\":\"c\",\"index\":1}",
        "{\"v\":1,\"id\":\"7-1\",\"type\":\"suppressed\",\"campaign\":\"../c\",\"index\":1}",
        "{\"v\":1,\"id\":\"7-1\",\"type\":\"suppressed\",\"campaign\":\"c\",\"index\":-1}",
        "{\"v\":1,\"id\":\"7-1\",\"type\":\"suppressed\",\"campaign\":\"c\",\"index\":4294967295}",
        "{\"v\":1,\"id\":\"7-1\",\"type\":\"cancelled\",\"campaign\":\"c\",\"index\":\"1\"}",
        HEAD "\"type\":\"attempt\",\"outcome\":\"sent\"}",
        HEAD "\"type\":\"attempt\",\"attempt\":0,\"outcome\":\"sent\"}",
        HEAD "\"type\":\"attempt\",\"attempt\":256,\"outcome\":\"sent\"}",
        HEAD "\"type\":\"attempt\",\"attempt\":1,\"outcome\":\"pending\"}",
        HEAD "\"type\":\"attempt\",\"attempt\":1,\"outcome\":\"sent\",\"outcome\":\"bounced\"}",
        HEAD "\"type\":\"complaint\"}",
    };
    struct journal_entry e;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (read_line(lines[i], &e))
            fail_msg("%s", lines[i]);
}

/* ---- parts ---- */

static void write_part(const char *suffix, unsigned from, unsigned to, bool packed, size_t cut)
{
    char *text = hk_xcalloc(to - from + 2, 64), *out = text, name[128];
    size_t used = 0;
    struct hk_why why;

    for (unsigned i = from; i < to; i++)
        used += (size_t)snprintf(text + used, 64, "{\"v\":1,\"id\":\"9-%u\",\"n\":%u}\n", i, i);
    if (packed) {
        size_t bound = ZSTD_compressBound(used);
        out = hk_xcalloc(bound, 1);
        used = ZSTD_compress(out, bound, text, used, 3);
        assert_int_equal(ZSTD_isError(used), 0);
    }
    snprintf(name, sizeof name, "%s%s", path, suffix);
    assert_int_equal(hk_write_file(name, 0600, out, used - cut, &why), 0);
    if (packed)
        free(out);
    free(text);
}

struct seen {
    unsigned next, lines;
};

static int see(void *context, const char *line, size_t length)
{
    struct seen *seen = context;
    char want[64];

    snprintf(want, sizeof want, "{\"v\":1,\"id\":\"9-%u\",\"n\":%u}", seen->next, seen->next);
    assert_int_equal(length, strlen(want));
    assert_memory_equal(line, want, length);
    seen->next++;
    seen->lines++;
    return 0;
}

static void is_read(const char *place, bool found, unsigned first, unsigned lines)
{
    struct seen seen = {.next = first};
    struct hk_why why = {""};
    bool was_found;

    if (journal_read(path, place, &was_found, see, &seen, &why) != 0)
        fail_msg("%s", why.text);
    assert_int_equal(was_found, found);
    assert_int_equal(seen.lines, lines);
}

static void parts_are_read_in_order_packed_or_not(void **state)
{
    (void)state;
    write_part(".2026-11-24T10:00:00.000000Z.zst", 0, 30000, true, 0);
    write_part(".2026-11-24T11:00:00.000000Z", 30000, 40000, false, 0);
    write_part("", 40000, 40100, false, 0);
    is_read("", false, 0, 40100);
    is_read("3-4:0", false, 0, 40100);
    is_read("nonsense", false, 0, 40100);
}

static void a_place_is_found_in_whatever_part_it_is(void **state)
{
    (void)state;
    write_part(".2026-11-24T10:00:00.000000Z.zst", 0, 10, true, 0);
    write_part(".2026-11-24T11:00:00.000000Z", 10, 20, false, 0);
    write_part("", 20, 30, false, 0);
    is_read("9-0:0", true, 0, 30);
    is_read("9-0:75", true, 3, 27); /* three lines of 25 bytes */
    is_read("9-10:54", true, 12, 18);
    is_read("9-20:270", true, 30, 0);
    is_read("9-20:99999", true, 30, 0); /* more than there is: a power cut took it */
}

/* Killed while it packed: both are there, and only one of them is whole. */
static void of_a_part_that_is_there_twice_the_plain_one_counts(void **state)
{
    (void)state;
    write_part(".2026-11-24T10:00:00.000000Z.zst", 0, 1000, true, 20);
    write_part(".2026-11-24T10:00:00.000000Z", 0, 1000, false, 0);
    write_part("", 1000, 1010, false, 0);
    is_read("", false, 0, 1010);
}

static void a_packed_part_that_is_cut_is_an_error(void **state)
{
    struct seen seen = {0};
    struct hk_why why = {""};
    bool found;

    (void)state;
    write_part(".2026-11-24T10:00:00.000000Z.zst", 0, 1000, true, 20);
    assert_int_equal(journal_read(path, "", &found, see, &seen, &why), HK_EIO);
    assert_non_null(strstr(why.text, ".zst"));
}

static void a_torn_line_and_one_that_is_too_long_are_no_lines(void **state)
{
    size_t length = 200000;
    char *text = hk_xcalloc(length + 200, 1);
    struct hk_why why;

    (void)state;
    memset(text, 'x', length);
    snprintf(text + length, 200, "\n{\"v\":1,\"id\":\"9-0\",\"n\":0}\n{\"v\":1,\"id\":");
    assert_int_equal(hk_write_file(path, 0600, text, strlen(text), &why), 0);
    is_read("", false, 0, 1);
    free(text);
}

/* Killed while it packed: the torn one is written over, and the plain one goes. */
static void what_was_not_packed_is_packed_now(void **state)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    char plain[128];
    int status;

    (void)state;
    write_part(".2026-11-24T10:00:00.000000Z.zst", 0, 1000, true, 20);
    write_part(".2026-11-24T10:00:00.000000Z", 0, 1000, false, 0);
    write_part("", 1000, 1010, false, 0);
    journal_pack(path);
    while (wait(&status) > 0)
        assert_int_equal(status, 0);
    snprintf(plain, sizeof plain, "%s.2026-11-24T10:00:00.000000Z", path);
    for (int i = 0; i < 3000 && access(plain, F_OK) == 0; i++)
        nanosleep(&pause, NULL);
    assert_int_not_equal(access(plain, F_OK), 0);
    assert_int_equal(access(path, F_OK), 0);
    is_read("", false, 0, 1010);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_attempt_is_an_outcome_with_what_was_answered),
        cmocka_unit_test(each_outcome_is_its_state),
        cmocka_unit_test(who_was_sent_to_has_the_id_that_the_relay_gave),
        cmocka_unit_test(what_ends_without_an_attempt_settles_who_waits),
        cmocka_unit_test(who_was_given_up_counts_by_what_the_last_deferral_said),
        cmocka_unit_test(a_cancelled_campaign_is_a_line_without_an_index),
        cmocka_unit_test(what_is_told_again_says_where_it_came_from_and_all_its_words),
        cmocka_unit_test(mail_that_was_delivered_is_told_without_a_mark),
        cmocka_unit_test(who_was_given_up_is_told_what_his_last_reply_counts),
        cmocka_unit_test(who_unsubscribed_is_told_by_his_token),
        cmocka_unit_test(an_unknown_is_found_or_decided),
        cmocka_unit_test(what_came_back_is_told_as_a_mark),
        cmocka_unit_test(what_a_person_changed_is_told_with_all_that_the_entry_has),
        cmocka_unit_test(a_change_of_which_something_is_missing_is_none),
        cmocka_unit_test(what_moves_nobody_is_passed_over),
        cmocka_unit_test_setup(parts_are_read_in_order_packed_or_not, clear),
        cmocka_unit_test_setup(a_place_is_found_in_whatever_part_it_is, clear),
        cmocka_unit_test_setup(of_a_part_that_is_there_twice_the_plain_one_counts, clear),
        cmocka_unit_test_setup(what_was_not_packed_is_packed_now, clear),
        cmocka_unit_test_setup(a_packed_part_that_is_cut_is_an_error, clear),
        cmocka_unit_test_setup(a_torn_line_and_one_that_is_too_long_are_no_lines, clear),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
