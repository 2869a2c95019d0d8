/* test_cuts.c - the n-th call of Redis fails, is cut off, or comes in pieces: the ledger is exact and the words are said.
 *
 * One story of the blocking store and one of the ledger are told again and again, each time with another call harmed
 * (proxy.h). At its end Redis holds, key by key, what it holds after a story that nobody disturbed.
 */
#include "client.h"
#include "hikyaku/suppress.h"
#include "proxy.h"
#include "suppress_view.h"

#define CREATED_S      40u /* before now: due times in what follows lie ahead */
#define SAID_BY_NOBODY UINT64_MAX

static struct fixture f;
static struct proxy proxy;
static char *undisturbed; /* what Redis holds at the end of the story */

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

struct story {
    struct store *store;
    struct manifest m;
    uint64_t walked;
};

/* Steps give 0 or more, or an error in words. */
static int open_store(struct story *s, struct hk_why *why)
{
    return store_open(&proxy.config, &s->store, why);
}

static int draw_epoch(struct story *s, struct hk_why *why)
{
    uint64_t epoch;

    return store_epoch_next(s->store, &epoch, why);
}

static const uint32_t first_of[] = {0, 5, 705};

static int create(struct story *s, struct hk_why *why)
{
    s->m = (struct manifest){
        .campaign = "c", .state = "running", .segments = 1, .spans = 2, .domains = 2, .recipients = 705};
    return store_campaign_create(s->store, &s->m, first_of, first_of, why);
}

static int look(struct story *s, struct hk_why *why)
{
    struct manifest m;
    int rc = store_campaign_get(s->store, "c", &m, why);

    if (rc == 0) {
        assert_string_equal(m.campaign, "c");
        assert_string_equal(m.state, "running");
    }
    return rc;
}

static int extend(struct story *s, struct hk_why *why)
{
    s->m.segments = 2;
    s->m.spans = s->m.domains = 3;
    s->m.recipients = 1005;
    return store_campaign_extend(s->store, &s->m, first_of, first_of, why);
}

static int put(struct story *s, struct hk_why *why)
{
    s->m.first_rows = 17;
    return store_campaign_put(s->store, &s->m, why);
}

static int counts(struct story *s, struct hk_why *why)
{
    uint64_t count[LEDGER_STATES_COUNT], attempts;
    int rc = store_counts(s->store, &s->m, count, &attempts, why);

    if (rc == 0)
        assert_int_equal(count[LEDGER_PENDING], 1005);
    return rc;
}

static int count_word(void *context, uint32_t segment, uint32_t index, uint32_t word)
{
    struct story *s = context;

    assert_int_equal(segment, 0);
    assert_int_equal(index, s->walked++);
    assert_int_equal(word, 0);
    return 0;
}

static int walk(struct story *s, struct hk_why *why)
{
    int rc;

    s->walked = 0;
    rc = store_ledger_walk(s->store, &s->m, count_word, s, why);
    if (rc == 0)
        assert_int_equal(s->walked, 1005);
    return rc;
}

static int recipient(struct story *s, struct hk_why *why)
{
    uint32_t word = 1, due = 1, first = 1;
    int rc = store_recipient(s->store, "c", 0, 1, 7, &word, &due, &first, why);

    if (rc == 0)
        assert_true(word == 0 && due == 0 && first == 0);
    return rc;
}

static void no_site(void *context, uint32_t segment, uint32_t domain, const char *site)
{
    (void)context;
    fail_msg("%u.%u is at %s", segment, domain, site);
}

static void no_span(void *context, uint32_t segment, uint32_t span, bool taken, uint32_t due)
{
    (void)context;
    fail_msg("span %u.%u: taken %d, due %u", segment, span, taken, due);
}

static int tables(struct story *s, struct hk_why *why)
{
    uint32_t *first = NULL, count = 0;
    int rc = store_sites(s->store, &s->m, no_site, NULL, why);

    if (rc == 0)
        rc = store_spans(s->store, "c", no_span, NULL, why);
    if (rc == 0)
        rc = store_domain_first(s->store, &s->m, 0, &first, &count, why);
    if (rc == 0)
        assert_true(count == 2 && first[1] == 5);
    free(first);
    return rc;
}

static int names(struct story *s, struct hk_why *why)
{
    char **name;
    size_t count;
    int rc = store_campaign_list(s->store, &name, &count, why);

    if (rc != 0)
        return rc;
    assert_int_equal(count, 1);
    assert_string_equal(name[0], "c");
    free(name[0]);
    free(name);
    return 0;
}

static struct suppress_entry entry_of(unsigned n)
{
    struct suppress_entry entry = {
        .scope = "all", .reason = "manual", .source = "command", .time_us = 1763975000123456ull};

    (void)snprintf(entry.address, sizeof entry.address, "u%u@x.test", n);
    return entry;
}

static int suppress_many(struct story *s, struct hk_why *why)
{
    static struct suppress_entry entry[600]; /* two calls */
    size_t added;

    for (unsigned i = 0; i < 600; i++)
        entry[i] = entry_of(i);
    return suppress_add_all(s->store, entry, 600, &added, why);
}

static int suppress_look(struct story *s, struct hk_why *why)
{
    struct suppress_entry out;
    int rc = suppress_find(s->store, "all", "U599@x.test", &out, why);

    if (rc >= 0)
        assert_string_equal(out.reason, "manual");
    return rc;
}

static int suppress_take_off(struct story *s, struct hk_why *why)
{
    return suppress_remove(s->store, "all", "u17@x.test", why);
}

static int count_entry(void *context, const struct suppress_entry *entry)
{
    struct story *s = context;

    assert_string_equal(entry->source, "command");
    s->walked++;
    return 0;
}

static int suppress_all(struct story *s, struct hk_why *why)
{
    int rc;

    s->walked = 0;
    rc = suppress_walk(s->store, NULL, count_entry, s, why);
    if (rc == 0)
        assert_true(s->walked >= 599);
    return rc;
}

static int purge_another(struct story *s, struct hk_why *why)
{
    struct manifest m = {
        .campaign = "p", .state = "running", .segments = 1, .spans = 2, .domains = 2, .recipients = 705};
    int rc = store_campaign_create(s->store, &m, first_of, first_of, why);

    return rc == 0 || rc == HK_EEXIST ? store_campaign_purge(s->store, &m, why) : rc;
}

static const struct step {
    const char *name;
    int (*run)(struct story *s, struct hk_why *why);
    int done_before; /* what it says where an answer was lost and it is tried again */
} steps[] = {
    {"open", open_store, 0},
    {"epoch", draw_epoch, 0},
    {"create", create, HK_EEXIST},
    {"get", look, 0},
    {"names", names, 0},
    {"tables", tables, 0},
    {"extend", extend, HK_ECHANGED},
    {"put", put, 0},
    {"counts", counts, 0},
    {"walk", walk, 0},
    {"recipient", recipient, 0},
    {"suppress", suppress_many, 0},
    {"find", suppress_look, 0},
    {"remove", suppress_take_off, 0},
    {"entries", suppress_all, 0},
    {"purge", purge_another, 0},
};

/* Every step once, and once more where it failed. How many failed. */
static unsigned tell_store(void)
{
    struct story s = {.store = NULL};
    unsigned failed = 0;

    fixture_do(&f, "FLUSHALL");
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct hk_why why = {""};
        int rc = steps[i].run(&s, &why);
        if (rc < 0) {
            failed++;
            if (rc != HK_EDOWN || strlen(why.text) < 20)
                fail_msg("%s: %d: %s", steps[i].name, rc, why.text);
            rc = steps[i].run(&s, &why);
        }
        if (rc < 0 && rc != steps[i].done_before)
            fail_msg("%s, tried again: %d: %s", steps[i].name, rc, why.text);
    }
    store_close(s.store);
    return failed;
}

static void compare(const char *what, enum proxy_harm harm, unsigned nth)
{
    char *now = proxy_dump(&f);

    if (strcmp(now, undisturbed) != 0)
        fail_msg("%s, harm %d to call %u: Redis holds\n%s\nand not\n%s", what, (int)harm, nth, now,
                 undisturbed);
    free(now);
}

static void harm_store(enum proxy_harm harm)
{
    unsigned nth = 0, failures = 0;
    bool struck;

    (void)proxy_disarm(&proxy);
    assert_int_equal(tell_store(), 0);
    undisturbed = proxy_dump(&f);
    do {
        proxy_arm(&proxy, harm, ++nth);
        unsigned failed = tell_store();
        struck = proxy_disarm(&proxy);
        failures += failed;
        if (harm != PROXY_FULL)
            assert_int_equal(failed, struck && harm != PROXY_DRIP ? 1 : 0);
        compare("store", harm, nth);
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

static struct client c;
static char verdicts[4096];

static void op(uint8_t kind, uint32_t index, uint8_t attempt, uint32_t word)
{
    struct ledger_op it = op_on(kind, index, attempt, word);

    it.span = index < 5 ? 0 : 1;
    it.span_first = it.span == 0 ? 0 : 5;
    it.cookie = index;
    client_push(&c, "c", &it);
}

/* Who is unknown is sent to again, at once or when it is due. The second time the script says that nothing changed. */
static void resend(uint32_t index, uint32_t due_s)
{
    struct ledger_op it = op_on(OP_RESEND, index, 0, 0);

    it.span = index < 5 ? 0 : 1;
    it.span_first = it.span == 0 ? 0 : 5;
    it.due_s = due_s;
    it.cookie = due_s > 0 ? SAID_BY_NOBODY : index;
    client_push(&c, "c", &it);
}

static void range(uint8_t kind, uint32_t index, uint32_t count, uint32_t word)
{
    struct ledger_op it = op_on(kind, index, 0, word);

    it.span = 1;
    it.span_first = 5;
    it.count = count;
    client_push(&c, "c", &it);
}

static void outcomes(struct suppress *view)
{
    for (uint32_t i = 0; i < 40; i++) {
        enum ledger_state to = i % 4 == 0   ? LEDGER_SENT
                               : i % 4 == 1 ? LEDGER_DEFERRED
                               : i % 4 == 2 ? LEDGER_BOUNCED
                                            : LEDGER_UNKNOWN;
        if (i % 10 == 9) {
            op(OP_RELEASE, i, 1, 0);
            continue;
        }
        op(OP_OUTCOME, i, 1, word_of(to, 1, to == LEDGER_SENT ? 0 : CLASS_MAILBOX_UNKNOWN, 550));
        if (to == LEDGER_BOUNCED) {
            struct suppress_entry entry = entry_of(i);
            assert_int_equal(ledger_suppress(c.ledger, view, &entry), 0);
        }
    }
}

/* Takes, commits, every kind of outcome with its suppressions, ranges, notes; settled five times on the way. */
static void tell_ledger(uint64_t epoch)
{
    static const uint32_t spans[] = {5, 700};
    struct store *store;
    struct suppress *view;
    struct hk_why why = {""};

    fixture_do(&f, "FLUSHALL");
    (void)fixture_campaign(&f, "c", spans, 2, CREATED_S);
    fixture_do(&f, "HSET {c}:m created_us 1763975000000000");
    store = fixture_store(&f);
    assert_int_equal(suppress_open(&f.config, store, &view, &why), 0);
    client_open_config(&c, &proxy.config, epoch);
    assert_int_equal(client_take(&c, "c", 0, 5), VERDICT_DONE);
    assert_int_equal(client_take(&c, "c", 1, 700), VERDICT_DONE);
    for (uint32_t i = 0; i < 40; i++)
        op(OP_COMMIT, i, 1, 0);
    client_settle(&c);
    outcomes(view);
    assert_int_equal(ledger_site(c.ledger, "c", 0, 0, "site-a"), 0);
    assert_int_equal(ledger_site(c.ledger, "c", 0, 1, "site-b"), 0);
    assert_int_equal(ledger_manifest_set(c.ledger, "c", "started_us", "4711"), 0);
    client_settle(&c);
    range(OP_PUT_BACK, 100, 50, word_of(LEDGER_DEFERRED, 0, CLASS_NETWORK, 0));
    range(OP_SETTLE, 200, 70, word_of(LEDGER_EXPIRED, 1, CLASS_NETWORK, 0));
    resend(3, 0);
    resend(7, 900);
    op(OP_COMMIT, 5, 2, 0);
    client_settle(&c);
    op(OP_OUTCOME, 5, 2, word_of(LEDGER_SENT, 2, 0, 250));
    assert_int_equal(client_take(&c, "c", 1, 700), VERDICT_DONE);
    assert_int_equal(c.take.words[0], word_of(LEDGER_SENT, 2, 0, 250));
    memset(verdicts, 0, sizeof verdicts);
    for (uint64_t i = 0, k = 0; i < c.told; i++)
        if (c.verdict[i].cookie != SAID_BY_NOBODY)
            verdicts[k++] = (char)('0' + c.verdict[i].verdict);
    client_close(&c);
    suppress_close(view);
    store_close(store);
}

static void harm_ledger(enum proxy_harm harm)
{
    static char told[sizeof verdicts];
    unsigned nth = 0;
    bool struck;

    (void)proxy_disarm(&proxy);
    tell_ledger(7);
    memcpy(told, verdicts, sizeof told);
    undisturbed = proxy_dump(&f);
    do {
        proxy_arm(&proxy, harm, ++nth);
        tell_ledger(7);
        struck = proxy_disarm(&proxy);
        assert_string_equal(verdicts, told);
        compare("ledger", harm, nth);
        if (struck && (harm == PROXY_CUT_BEFORE || harm == PROXY_CUT_AFTER || harm == PROXY_CUT_INSIDE))
            assert_int_equal(c.downs, 1);
        assert_int_equal(c.brokens, 0);
    } while (struck && harm != PROXY_DRIP);
    assert_true(nth > 10 || harm == PROXY_DRIP);
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
            struct suppress_entry entry = entry_of(i);
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
            struct suppress_entry entry = entry_of(i);
            assert_int_equal(suppress_add(store, &entry, &why), 1);
        }
        while ((rc = suppress_poll(view, &why)) != 0)
            assert_true(rc == 1 || rc == HK_EDOWN);
        struck = proxy_disarm(&proxy);
        assert_int_equal(suppress_count(view), 9);
        for (unsigned i = 0; i < 9; i++) {
            struct suppress_entry entry = entry_of(i);
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
