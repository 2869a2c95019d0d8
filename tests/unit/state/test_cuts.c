/* test_cuts.c - the n-th call of Redis fails, is cut off, or comes in pieces: the ledger is exact and the words are said.
 *
 * One story of the blocking store and one of the ledger are told again and again, each time with another call harmed
 * (proxy.h). At its end Redis holds, key by key, what it holds after a story that nobody disturbed.
 */
#include "proxy.h"
#include "story.h"

static struct fixture f;
static struct proxy proxy;
static struct story story = {.f = &f, .config = &proxy.config, .error = HK_EDOWN, .suppressions = 600};

static int start(void **state)
{
    (void)state;
    log_threshold = LOG_LEVEL_ERROR;
    fixture_dir(&f);
    fixture_start(&f);
    proxy_start(&proxy, &f);
    return 0;
}

static int end(void **state)
{
    (void)state;
    proxy_end(&proxy);
    fixture_end(&f);
    return 0;
}

/* ---- the store ---- */

static void harm_store(enum proxy_harm harm)
{
    unsigned nth = 0, failures = 0;
    char *undisturbed;
    bool struck;

    (void)proxy_disarm(&proxy);
    story_tell_store(&story);
    assert_int_equal(story.failures, 0);
    undisturbed = story_dump(&f);
    do {
        proxy_arm(&proxy, harm, ++nth);
        story_tell_store(&story);
        struck = proxy_disarm(&proxy);
        failures += story.failures;
        if (harm != PROXY_FULL)
            assert_int_equal(story.failures, struck && harm != PROXY_DRIP ? 1 : 0);
        story_compare(&story, undisturbed, "store", nth);
    } while (struck && harm != PROXY_DRIP);
    assert_true(failures > (harm == PROXY_FULL ? 5 : 30) || harm == PROXY_DRIP);
    free(undisturbed);
}

static void a_store_call_that_does_not_reach_redis_is_told_and_can_be_tried_again(void **state)
{
    (void)state;
    harm_store(PROXY_CUT_BEFORE);
}

static void a_store_answer_that_is_lost_is_told_and_the_call_can_be_tried_again(void **state)
{
    (void)state;
    harm_store(PROXY_CUT_AFTER);
    harm_store(PROXY_CUT_INSIDE);
}

static void a_store_call_that_is_refused_is_told_and_can_be_tried_again(void **state)
{
    (void)state;
    harm_store(PROXY_FULL);
}

static void answers_in_small_pieces_are_answers_to_the_store(void **state)
{
    (void)state;
    harm_store(PROXY_DRIP);
}

/* ---- the ledger ---- */

static struct {
    enum proxy_harm harm;
    unsigned nth;
} plan;

static void harm_from_here(void *context)
{
    (void)context;
    proxy_arm(&proxy, plan.harm, plan.nth);
}

static void harm_ledger(enum proxy_harm harm)
{
    static char told[sizeof story.verdicts];
    char *undisturbed;
    bool struck, cut = harm == PROXY_CUT_BEFORE || harm == PROXY_CUT_AFTER || harm == PROXY_CUT_INSIDE;

    plan.harm = PROXY_NONE;
    plan.nth = 0;
    story_tell_ledger(&story, harm_from_here, NULL);
    memcpy(told, story.verdicts, sizeof told);
    undisturbed = story_dump(&f);
    plan.harm = harm;
    do {
        plan.nth++;
        story_tell_ledger(&story, harm_from_here, NULL);
        struck = proxy_disarm(&proxy);
        assert_string_equal(story.verdicts, told);
        story_compare(&story, undisturbed, "ledger", plan.nth);
        assert_int_equal(story.c.downs, struck && cut ? 1 : 0);
        assert_int_equal(story.c.brokens, 0);
    } while (struck && harm != PROXY_DRIP);
    assert_true(plan.nth > 10 || harm == PROXY_DRIP);
    free(undisturbed);
}

static void a_ledger_call_that_does_not_reach_redis_is_sent_again(void **state)
{
    (void)state;
    harm_ledger(PROXY_CUT_BEFORE);
}

static void a_ledger_answer_that_is_lost_changes_nothing(void **state)
{
    (void)state;
    harm_ledger(PROXY_CUT_AFTER);
    harm_ledger(PROXY_CUT_INSIDE);
}

static void a_ledger_call_that_is_refused_for_a_while_is_sent_again(void **state)
{
    (void)state;
    harm_ledger(PROXY_LOADING);
    harm_ledger(PROXY_NOSCRIPT);
}

static void answers_in_small_pieces_are_answers_to_the_ledger(void **state)
{
    (void)state;
    harm_ledger(PROXY_DRIP);
}

/* ---- the view ---- */

/* An error, or all of it; and after an error the next poll brings it. */
static void a_view_whose_poll_is_cut_off_is_whole_after_the_next(void **state)
{
    unsigned nth = 0;
    bool struck;

    (void)state;
    do {
        struct store *store = fixture_store(&f), *cut;
        struct suppress *view = NULL;
        struct hk_why why = {""};
        char path[64];
        int rc;

        (void)snprintf(path, sizeof path, "%s/%s", f.dir, SUPPRESS_FILE);
        (void)unlink(path);
        fixture_do(&f, "FLUSHALL");
        for (unsigned i = 0; i < 5; i++) {
            struct suppress_entry entry = story_entry(i);
            assert_int_equal(suppress_add(store, &entry, &why), 1);
        }
        assert_int_equal(store_open(&proxy.config, &cut, &why), 0);
        proxy_arm(&proxy, PROXY_CUT_AFTER, ++nth);
        rc = suppress_open(&proxy.config, cut, &view, &why);
        if (rc < 0) {
            assert_int_equal(rc, HK_EDOWN);
            assert_true(strlen(why.text) > 20);
            assert_int_equal(suppress_open(&proxy.config, cut, &view, &why), 0);
        }
        for (unsigned i = 5; i < 9; i++) {
            struct suppress_entry entry = story_entry(i);
            assert_int_equal(suppress_add(store, &entry, &why), 1);
        }
        while ((rc = suppress_poll(view, &why)) != 0)
            assert_true(rc == 1 || rc == HK_EDOWN);
        struck = proxy_disarm(&proxy);
        assert_int_equal(suppress_count(view), 9);
        for (unsigned i = 0; i < 9; i++) {
            struct suppress_entry entry = story_entry(i);
            assert_true(suppress_has(view, entry.address, strlen(entry.address)));
        }
        suppress_close(view);
        store_close(cut);
        store_close(store);
    } while (struck);
    assert_true(nth > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_call_that_does_not_reach_redis_is_told_and_can_be_tried_again),
        cmocka_unit_test(a_store_answer_that_is_lost_is_told_and_the_call_can_be_tried_again),
        cmocka_unit_test(a_store_call_that_is_refused_is_told_and_can_be_tried_again),
        cmocka_unit_test(answers_in_small_pieces_are_answers_to_the_store),
        cmocka_unit_test(a_ledger_call_that_does_not_reach_redis_is_sent_again),
        cmocka_unit_test(a_ledger_answer_that_is_lost_changes_nothing),
        cmocka_unit_test(a_ledger_call_that_is_refused_for_a_while_is_sent_again),
        cmocka_unit_test(answers_in_small_pieces_are_answers_to_the_ledger),
        cmocka_unit_test(a_view_whose_poll_is_cut_off_is_whole_after_the_next),
    };

    return cmocka_run_group_tests(tests, start, end);
}
