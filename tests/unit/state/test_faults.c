/* test_faults.c - state/ without memory, or with a file of hashes that cannot be written, read or mapped.
 *
 * Redis is a real one. An allocation that fails is told, or made up for later; what Redis holds is exact in the end, and
 * whoever is suppressed stays so, whatever becomes of the file.
 */
#include <jansson.h>
#include <sys/stat.h>

#include "faults.h"
#include "hikyaku/limits.h"
#include "story.h"

static struct fixture f;
static struct story story = {.f = &f, .config = &f.config, .error = HK_ENOMEM, .suppressions = 3};
static char path[64], path_new[72];

static int start(void **state)
{
    (void)state;
    log_threshold = LOG_LEVEL_ERROR;
    json_set_alloc_funcs(malloc, free); /* as they are wrapped */
    fixture_dir(&f);
    fixture_start(&f);
    (void)snprintf(path, sizeof path, "%s/%s", f.dir, SUPPRESS_FILE);
    (void)snprintf(path_new, sizeof path_new, "%s.new", path);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&f);
    return 0;
}

/* ---- memory ---- */

static void a_store_without_memory_says_so_and_can_be_asked_again(void **state)
{
    unsigned nth = 0, told = 0;
    char *undisturbed;
    bool struck;

    (void)state;
    story_tell_store(&story);
    assert_int_equal(story.failures, 0);
    undisturbed = story_dump(&f);
    do {
        fault_arm(FAULT_MEMORY, ++nth);
        story_tell_store(&story);
        struck = fault_disarm();
        /* None: jansson goes on where its buffer cannot grow. */
        assert_in_range(story.failures, 0, struck ? 1 : 0);
        told += story.failures;
        story_compare(&story, undisturbed, "allocation", nth);
    } while (struck);
    assert_true(told > 90 && told + 10 > nth);
    free(undisturbed);
}

static void arm_from_here(void *context)
{
    fault_arm(FAULT_MEMORY, *(unsigned *)context);
}

/* Pushing tells it; what wants memory to be sent goes out with a later flush. */
static void a_ledger_without_memory_says_so_or_sends_later(void **state)
{
    static char told[sizeof story.verdicts];
    unsigned nth = 0, pushes_failed = 0;
    char *undisturbed;
    bool struck;

    (void)state;
    story_tell_ledger(&story, arm_from_here, &nth);
    memcpy(told, story.verdicts, sizeof told);
    undisturbed = story_dump(&f);
    do {
        nth++;
        story_tell_ledger(&story, arm_from_here, &nth);
        struck = fault_disarm();
        assert_in_range(story.failures, 0, struck ? 1 : 0);
        pushes_failed += story.failures;
        assert_string_equal(story.verdicts, told);
        story_compare(&story, undisturbed, "allocation", nth);
    } while (struck);
    assert_true(pushes_failed > 10 && nth > pushes_failed + 10);
    free(undisturbed);
}

/* What cannot be read is told, and is not taken for a recipient who has nothing yet. */
static void a_recipient_is_not_pending_for_want_of_memory(void **state)
{
    uint32_t word, due, first;
    struct hk_why why = {""};
    struct store *store;
    unsigned never = 0;
    bool struck;

    (void)state;
    story_tell_ledger(&story, arm_from_here, &never);
    store = fixture_store(&f);
    for (unsigned nth = 1; nth < 10; nth++) {
        fault_arm(FAULT_MEMORY, nth);
        int rc = store_recipient(store, "c", 0, 1, 16, &word, &due, &first, &why);
        struck = fault_disarm();
        assert_true(rc == 0 || (struck && rc == HK_ENOMEM));
        if (rc == 0) {
            assert_int_equal(word, word_of(LEDGER_DEFERRED, 1, CLASS_MAILBOX_UNKNOWN, 550));
            assert_int_equal(due, 500);
            assert_int_equal(first, 7);
        }
    }
    store_close(store);
}

static void a_ledger_that_cannot_be_opened_for_want_of_memory_says_so(void **state)
{
    struct ledger_callbacks callbacks = {NULL, client_on_up,     client_on_down,  client_on_verdict,
                                         NULL, client_on_broken, client_on_behind};
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct ledger *ledger;
    bool struck = true;

    (void)state;
    for (unsigned nth = 1; struck; nth++) {
        struct hk_why why = {""};
        fault_arm(FAULT_MEMORY, nth);
        int rc = ledger_open(&f.config, loop, 7, &callbacks, &ledger, &why);
        struck = fault_disarm();
        assert_int_equal(rc, struck ? HK_ENOMEM : 0);
        assert_true(!struck || strlen(why.text) > 15);
        if (rc == 0)
            ledger_close(ledger);
    }
    ev_loop_destroy(loop);
}

/* ---- suspensions and cluster limits ---- */

struct heard {
    struct client c;
    unsigned answers, lost;
    size_t count;
};

static void hear_suspensions(void *context, const struct suspensions *answer)
{
    struct heard *heard = context;

    heard->answers += answer != NULL;
    heard->lost += answer == NULL;
    heard->count = answer != NULL ? answer->count : 0;
}

/* Either the call is not made and says so, or its answer is lost; and then the next one brings it. */
static void a_suspension_is_told_or_it_is_said_that_it_was_not(void **state)
{
    const struct suspension one = {
        .source = "", .site = "*", .cause = "daily quota", .left_ms = 60000, .nth = 1};
    struct store *store = fixture_store(&f);
    static struct heard heard;
    struct hk_why why = {""};
    bool struck = true;
    int rc;

    (void)state;
    client_open_config(&heard.c, &f.config, 7);
    client_until(&heard.c, &heard.c.ups, 1);
    for (unsigned nth = 1; struck; nth++) {
        heard.answers = heard.lost = 0;
        fault_arm(FAULT_MEMORY, nth);
        rc = ledger_suspensions(heard.c.ledger, 0, &one, 1, hear_suspensions, &heard);
        for (uint64_t end_ms = clock_now_ms() + CLIENT_PATIENCE_MS;
             rc == 0 && heard.answers + heard.lost == 0 && clock_now_ms() < end_ms;)
            (void)ev_run(heard.c.loop, EVRUN_ONCE);
        struck = fault_disarm();
        assert_true(struck || (rc == 0 && heard.answers == 1 && heard.count == 1));
        assert_int_equal(heard.answers + heard.lost, rc == 0 ? 1 : 0);
        for (unsigned turn = 0; struck && turn < 1000 && !heard.answers; turn++) {
            if (ledger_suspensions(heard.c.ledger, 0, &one, 1, hear_suspensions, &heard) == 0)
                client_turns(&heard.c, 5);
            (void)ev_run(heard.c.loop, EVRUN_ONCE);
        }
        assert_true(heard.answers >= 1);
    }
    client_close(&heard.c);
    struck = true;
    for (unsigned nth = 1; struck; nth++) {
        heard.answers = 0;
        fault_arm(FAULT_MEMORY, nth);
        rc = store_suspensions(store, &one, 1, hear_suspensions, &heard, &why);
        struck = fault_disarm();
        assert_int_equal(rc, struck ? HK_ENOMEM : 0);
        assert_int_equal(heard.answers, struck ? 0 : 1);
    }
    store_close(store);
}

static void hear_limit(void *context, const struct limit_answer *answer)
{
    struct heard *heard = context;

    heard->answers += answer != NULL;
    heard->lost += answer == NULL;
    heard->count = answer != NULL ? answer->granted : 0;
}

static void a_limit_without_memory_grants_nothing_and_can_be_asked_again(void **state)
{
    const struct limit_question question = {
        .name = "route:*", .epoch = 7, .interval_us = 10, .late_us = 4000, .want = 5};
    static struct heard heard;
    bool struck = true;
    unsigned told = 0;

    (void)state;
    client_open_config(&heard.c, &f.config, 7);
    client_until(&heard.c, &heard.c.ups, 1);
    for (unsigned nth = 1; struck; nth++) {
        uint64_t end_ms = clock_now_ms() + CLIENT_PATIENCE_MS;
        heard.answers = heard.lost = 0;
        fault_arm(FAULT_MEMORY, nth);
        int rc = ledger_limit(heard.c.ledger, &question, hear_limit, &heard);
        while (rc == 0 && heard.answers + heard.lost == 0 && clock_now_ms() < end_ms)
            (void)ev_run(heard.c.loop, EVRUN_ONCE);
        struck = fault_disarm();
        told += rc != 0 || heard.lost > 0;
        assert_int_equal(heard.answers + heard.lost, rc == 0 ? 1 : 0);
        assert_true(struck || (rc == 0 && heard.count == 5));
        while (heard.answers == 0 && clock_now_ms() < end_ms) {
            if (ledger_limit(heard.c.ledger, &question, hear_limit, &heard) == 0)
                client_turns(&heard.c, 5);
            (void)ev_run(heard.c.loop, EVRUN_ONCE);
        }
        assert_true(heard.answers > 0 && heard.count == 5);
    }
    assert_true(told > 0);
    client_close(&heard.c);
}

/* ---- the file of hashes ---- */

#define OLD_HASHES 100u
#define NEW_HASHES 20000u /* more than two buffers of the writer */

/* The hashes 1, 2, 3 ... */
static int write_hashes(unsigned count, struct hk_why *why)
{
    static const uint8_t id[HASH_ID_BYTES] = "anybody";
    struct hash_writer *writer = hk_xcalloc(1, sizeof *writer);
    int rc = hash_writer_open(writer, path, why);

    for (unsigned i = 1; i <= count && rc == 0; i++)
        hash_writer_put(writer, i, i % 3 == 0 ? 7 : 0);
    if (rc == 0)
        rc = hash_writer_commit(writer, id, 1, 2, why);
    free(writer);
    return rc;
}

static size_t count_hashes(void)
{
    struct hash_file file;
    struct hk_why why = {""};
    size_t count;

    if (hash_file_open(path, &file, &why) != 0)
        fail_msg("%s", why.text);
    count = file.count;
    hash_file_close(&file);
    return count;
}

static void an_old_file_of_hashes_stands_until_the_new_one_is_whole(void **state)
{
    static const unsigned kinds[] = {FAULT_OPEN, FAULT_WRITE, FAULT_FILE};
    struct hk_why why = {""};

    (void)state;
    for (unsigned k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        unsigned kept = 0;
        bool struck = true;
        for (unsigned nth = 1; struck; nth++) {
            assert_int_equal(write_hashes(OLD_HASHES, &why), 0);
            why.text[0] = '\0';
            fault_arm(kinds[k], nth);
            int rc = write_hashes(NEW_HASHES, &why);
            struck = fault_disarm();
            assert_int_equal(rc, struck ? HK_EIO : 0);
            assert_true(!struck || strlen(why.text) > 20);
            assert_int_not_equal(access(path_new, F_OK), 0);
            /* It is told too when the name is in place and may not outlive a power cut. */
            kept += count_hashes() == OLD_HASHES;
            assert_true(count_hashes() == OLD_HASHES || count_hashes() == NEW_HASHES);
            assert_true(struck || count_hashes() == NEW_HASHES);
        }
        assert_true(kept > (kinds[k] == FAULT_OPEN ? 0 : 2));
    }
}

static void a_file_of_hashes_that_cannot_be_read_says_why(void **state)
{
    static const unsigned kinds[] = {FAULT_OPEN, FAULT_MEMORY, FAULT_FILE};
    struct hash_file file;
    struct hk_why why = {""};

    (void)state;
    assert_int_equal(write_hashes(OLD_HASHES, &why), 0);
    for (unsigned k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        bool struck = true;
        for (unsigned nth = 1; struck; nth++) {
            why.text[0] = '\0';
            fault_arm(kinds[k], nth);
            int rc = hash_file_open(path, &file, &why);
            struck = fault_disarm();
            assert_true(struck ? rc == HK_EIO || rc == HK_ENOMEM : rc == 0);
            assert_true(!struck || strlen(why.text) > 20);
            if (rc == 0)
                hash_file_close(&file);
        }
    }
}

/* ---- the view ---- */

#define PEOPLE 400u /* suppressed */
#define LATER  50u  /* of them, since the file was written */

static bool has(const struct suppress *view, unsigned n)
{
    struct suppress_entry entry = story_entry(n);

    return suppress_has(view, entry.address, strlen(entry.address));
}

static void add_people(struct store *store, unsigned from, unsigned to)
{
    static struct suppress_entry entry[PEOPLE];
    struct hk_why why = {""};

    for (unsigned i = from; i < to; i++)
        entry[i - from] = story_entry(i);
    if (suppress_change_all(store, SUPPRESS_ADDED, entry, to - from, NULL, &why) != 0)
        fail_msg("add: %s", why.text);
}

/* All in Redis, most in a file too. */
static void prepare(struct store *store)
{
    struct suppress *view;
    struct hk_why why = {""};

    (void)unlink(path);
    fixture_do(&f, "FLUSHALL");
    add_people(store, 0, PEOPLE - LATER);
    assert_int_equal(suppress_open(&f.config, store, &view, &why), 0);
    suppress_close(view);
    add_people(store, PEOPLE - LATER, PEOPLE);
}

static void poll_to_the_end(struct suppress *view)
{
    struct hk_why why = {""};
    int rc;

    while ((rc = suppress_poll(view, &why)) != 0) {
        if (rc < 0 && (rc != HK_ENOMEM || strlen(why.text) < 15))
            fail_msg("poll: %d: %s", rc, why.text);
        assert_true(has(view, 0) && has(view, PEOPLE - 1));
    }
}

/* Open, follow what comes, close: where that fails it is said. */
static void use_view(struct store *store)
{
    struct suppress_entry late = story_entry(PEOPLE), gone = story_entry(3);
    struct suppress *view = NULL;
    struct hk_why why = {""};
    int rc = suppress_open(&f.config, store, &view, &why);

    if (rc < 0) {
        if (rc != HK_ENOMEM || strlen(why.text) < 15)
            fail_msg("open: %d: %s", rc, why.text);
        assert_int_equal(suppress_open(&f.config, store, &view, &why), 0);
    }
    for (unsigned i = 0; i < PEOPLE; i++)
        assert_true(has(view, i));
    while ((rc = suppress_add(store, &late, &why)) < 0)
        assert_int_equal(rc, HK_ENOMEM);
    while ((rc = suppress_change_all(store, SUPPRESS_REMOVED, &gone, 1, NULL, &why)) < 0)
        assert_int_equal(rc, HK_ENOMEM);
    poll_to_the_end(view);
    assert_true(has(view, PEOPLE));
    assert_false(has(view, 3));
    assert_int_equal(suppress_count(view), PEOPLE);
    suppress_close(view);
}

/* Whatever is on disk by now: nothing half-made, and the next one knows all. */
static void look_again(struct store *store)
{
    struct suppress *view = NULL;
    struct hk_why why = {""};

    assert_int_not_equal(access(path_new, F_OK), 0);
    assert_int_equal(suppress_open(&f.config, store, &view, &why), 0);
    assert_int_equal(suppress_count(view), PEOPLE);
    for (unsigned i = 0; i <= PEOPLE; i++)
        assert_int_equal(has(view, i), i != 3);
    suppress_close(view);
}

/* The n-th call of these kinds, or it and all behind it. */
static unsigned harm_view(unsigned kinds, bool all_behind, bool with_file)
{
    struct store *store = fixture_store(&f);
    unsigned nth = 0;
    bool struck;

    do {
        prepare(store);
        if (!with_file)
            (void)unlink(path);
        if (all_behind)
            fault_arm_from(kinds, ++nth);
        else
            fault_arm(kinds, ++nth);
        use_view(store);
        struck = fault_disarm();
        look_again(store);
    } while (struck);
    store_close(store);
    return nth;
}

static void a_view_without_memory_says_so_and_forgets_nobody(void **state)
{
    (void)state;
    assert_true(harm_view(FAULT_MEMORY, false, true) > 10);
    assert_true(harm_view(FAULT_MEMORY, false, false) > 10);
}

static void a_file_of_hashes_that_finds_no_room_costs_nothing_but_time(void **state)
{
    (void)state;
    assert_true(harm_view(FAULT_WRITE, false, true) > 3);
    assert_true(harm_view(FAULT_WRITE, false, false) > 3);
    assert_true(harm_view(FAULT_WRITE, true, false) > 3);
}

static void a_file_of_hashes_that_cannot_be_opened_mapped_or_renamed_costs_nothing_but_time(void **state)
{
    (void)state;
    assert_true(harm_view(FAULT_OPEN, false, true) > 3);
    assert_true(harm_view(FAULT_FILE, false, true) > 5);
    assert_true(harm_view(FAULT_OPEN | FAULT_FILE, true, true) > 5);
    assert_true(harm_view(FAULT_OPEN | FAULT_FILE, true, false) > 5);
}

static void a_file_of_hashes_that_is_written_in_pieces_is_whole(void **state)
{
    struct store *store = fixture_store(&f);

    (void)state;
    prepare(store);
    fault_shorten(101);
    use_view(store);
    assert_true(fault_disarm());
    assert_int_equal(count_hashes(), PEOPLE);
    look_again(store);
    store_close(store);
}

/* What the master has just added, Redis has not heard of yet: no reading anew may lose it. */
static void whom_we_suppressed_ourselves_stays_so_without_memory(void **state)
{
    struct store *store = fixture_store(&f);
    struct suppress_entry ours = story_entry(PEOPLE + 1);
    struct suppress *view;
    struct hk_why why = {""};
    unsigned nth = 0;
    bool struck;

    (void)state;
    do {
        prepare(store);
        assert_int_equal(suppress_open(&f.config, store, &view, &why), 0);
        assert_int_equal(suppress_ours(view, "all", ours.address, 0), 0);
        fixture_do(&f, "SET hikyaku:suppress:seq 0"); /* all is read anew */
        fault_arm(FAULT_MEMORY, ++nth);
        for (int rc = 1; rc != 0; assert_true(has(view, PEOPLE + 1) && has(view, 0)))
            rc = suppress_poll(view, &why);
        struck = fault_disarm();
        assert_int_equal(suppress_count(view), PEOPLE + 1);
        suppress_close(view);
    } while (struck);
    assert_true(nth > 5);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_without_memory_says_so_and_can_be_asked_again),
        cmocka_unit_test(a_ledger_without_memory_says_so_or_sends_later),
        cmocka_unit_test(a_recipient_is_not_pending_for_want_of_memory),
        cmocka_unit_test(a_ledger_that_cannot_be_opened_for_want_of_memory_says_so),
        cmocka_unit_test(a_suspension_is_told_or_it_is_said_that_it_was_not),
        cmocka_unit_test(a_limit_without_memory_grants_nothing_and_can_be_asked_again),
        cmocka_unit_test(an_old_file_of_hashes_stands_until_the_new_one_is_whole),
        cmocka_unit_test(a_file_of_hashes_that_cannot_be_read_says_why),
        cmocka_unit_test(a_view_without_memory_says_so_and_forgets_nobody),
        cmocka_unit_test(a_file_of_hashes_that_finds_no_room_costs_nothing_but_time),
        cmocka_unit_test(a_file_of_hashes_that_cannot_be_opened_mapped_or_renamed_costs_nothing_but_time),
        cmocka_unit_test(a_file_of_hashes_that_is_written_in_pieces_is_whole),
        cmocka_unit_test(whom_we_suppressed_ourselves_stays_so_without_memory),
    };

    return cmocka_run_group_tests(tests, start, end);
}
