/* test_limit.c - what Redis grants of a limit of all nodes: shares, turns, the rate of an account, and answers that are lost
 * (state/limit.c, limit.lua). The windows of it all are in tests/unit/master/test_grant.c. */
#include "client.h"
#include "hikyaku/limits.h"
#include "proxy.h"

#define KEY "hikyaku:limit:route:*"

static struct fixture f;
static struct proxy proxy;
static struct client a;
static struct limit_answer heard;
static uint64_t answers, lost;

static int start(void **state)
{
    (void)state;
    log_threshold = LOG_LEVEL_ERROR;
    fixture_dir(&f);
    fixture_start(&f);
    proxy_start(&proxy, &f);
    client_open(&a, &f);
    client_until(&a, &a.ups, 1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    client_close(&a);
    proxy_end(&proxy);
    fixture_end(&f);
    return 0;
}

static int anew(void **state)
{
    (void)state;
    fixture_do(&f, "FLUSHDB"); /* the scripts stay */
    return 0;
}

static void hear(void *context, const struct limit_answer *answer)
{
    (void)context;
    lost += answer == NULL;
    answers += answer != NULL;
    if (answer)
        heard = *answer;
}

static struct limit_question question_of(uint64_t epoch, uint32_t per_second, uint32_t want)
{
    return (struct limit_question){.name = "route:*",
                                   .epoch = epoch,
                                   .interval_us = per_second > 0 ? 1000000 / per_second : 0,
                                   .late_us = 4000,
                                   .want = want};
}

/* What was granted; asked again until an answer comes. */
static uint32_t ask(struct client *c, struct limit_question question)
{
    uint64_t before = answers, ended = answers + lost, end_ms = clock_now_ms() + CLIENT_PATIENCE_MS;
    bool under_way = false;

    while (answers == before && clock_now_ms() < end_ms) {
        under_way = under_way && answers + lost == ended;
        ended = answers + lost;
        if (!under_way)
            under_way = ledger_limit(c->ledger, &question, hear, NULL) == 0;
        (void)ev_run(c->loop, EVRUN_ONCE);
    }
    assert_int_equal(answers, before + 1);
    return heard.granted;
}

static void a_block_reaches_no_further_than_a_second(void **state)
{
    uint64_t begun_us = clock_now_us();
    uint32_t rest;

    (void)state;
    assert_int_equal(ask(&a, question_of(1, 100, 30)), 30);
    assert_true(heard.spaced && heard.interval_us == 10000 && heard.late_us == 100000);
    rest = ask(&a, question_of(1, 100, 1000));
    assert_in_range(rest, 71, 72 + (clock_now_us() - begun_us) / 10000);
    for (int i = 0; i < 100 && ask(&a, question_of(1, 100, 1000)) > 0; i++)
        assert_in_range(heard.granted, 1, 30);
    assert_int_equal(heard.granted, 0);
    assert_in_range(heard.wait_us, 1, 10000);
}

static void shares_follow_what_each_wants_and_what_one_does_not_want_is_the_others(void **state)
{
    uint32_t one, other, least, most;
    uint64_t least_us, most_us, begun_us = clock_now_us();

    (void)state;
    (void)ask(&a, question_of(1, 200, 1000)); /* all of the second */
    least_us = clock_now_us();
    assert_int_equal(ask(&a, question_of(2, 200, 30)), 0);
    client_turns(&a, 500);
    least_us = clock_now_us() - least_us;
    one = ask(&a, question_of(1, 200, 90));
    most_us = clock_now_us() - begun_us;
    other = ask(&a, question_of(2, 200, 30));
    /* Three quarters of what has become free: of some hundred, of more if the machine was slow; and no more than it wants. */
    least = (uint32_t)(150 * least_us / 1000000 - 5);
    most = (uint32_t)(150 * most_us / 1000000 + 5);
    assert_in_range(one, least < 90 ? least : 90, most < 90 ? most : 90);
    assert_in_range(other, 8, 30);
    assert_int_equal(heard.nodes, 2);
    client_turns(&a, 700);
    assert_int_equal(ask(&a, question_of(2, 200, 0)), 0); /* wants nothing more */
    assert_true(ask(&a, question_of(1, 200, 1000)) > 120);
    client_turns(&a, 2600);
    (void)ask(&a, question_of(1, 200, 0));
    assert_int_equal(heard.nodes, 1); /* the other one is silent */
}

/* Fewer messages a second than nodes: each has its turn. */
static void a_limit_smaller_than_the_nodes_goes_round(void **state)
{
    uint32_t served[10] = {0}, least = 1000, most = 0;
    uint64_t again_us[10] = {0}, end_ms = clock_now_ms() + CLIENT_PATIENCE_MS;

    (void)state;
    /* Until forty have gone, which takes four seconds, or longer where the machine stands still on the way. */
    for (uint32_t node = 0, all = 0; all < 40 && clock_now_ms() < end_ms; node = (node + 1) % 10) {
        uint64_t now_us = clock_now_us();
        if (node == 0)
            client_turns(&a, 1);
        if (now_us < again_us[node])
            continue;
        served[node] += ask(&a, question_of(1 + node, 8, 5));
        all += heard.granted;
        again_us[node] = now_us + (heard.wait_us < 1000000 ? heard.wait_us : 1000000);
    }
    for (uint32_t node = 0; node < 10; node++) {
        least = served[node] < least ? served[node] : least;
        most = served[node] > most ? served[node] : most;
    }
    assert_true(least >= 2);
    assert_true(most <= 12); /* whoever came first had all of the first second */
}

/* A node that is alone may be late by much, and its next block, when another one has come, by little: the other one keeps its
 * distance to both. */
static void who_follows_keeps_the_distance_to_earlier_blocks_too(void **state)
{
    uint64_t begun_us = clock_now_us();

    (void)state;
    assert_int_equal(ask(&a, question_of(1, 50, 1)), 1);
    assert_int_equal(heard.late_us, 100000);
    assert_int_equal(ask(&a, question_of(2, 50, 0)), 0);
    assert_int_equal(ask(&a, question_of(1, 50, 1)), 1);
    assert_int_equal(heard.late_us, 4000);
    assert_int_equal(ask(&a, question_of(2, 50, 1)), 1);
    assert_true(heard.first_us + (int64_t)(clock_now_us() - begun_us) >= 120000);
}

/* What was granted counts, however much of the burst is kept for being late when it is asked again. */
static void a_way_that_takes_longer_for_a_while_gives_nothing_back(void **state)
{
    struct limit_question question = question_of(1, 50, 1000);
    uint64_t begun_us = clock_now_us();
    uint32_t granted = 0;

    (void)state;
    question.ahead_us = 100000;
    for (int i = 0; i < 10; i++) {
        question.late_us = i % 3 == 1 ? 96000 : 4000;
        granted += ask(&a, question);
    }
    assert_in_range(granted, 55, 56 + (clock_now_us() - begun_us) / 20000);
}

static void a_clock_that_goes_back_stops_nobody_for_long(void **state)
{
    (void)state;
    (void)ask(&a, question_of(1, 100, 1));
    fixture_do(&f, "HSET " KEY " tat 9000000000000000");
    assert_int_equal(ask(&a, question_of(1, 100, 5)), 0);
    assert_true(heard.wait_us <= 20000);
    client_turns(&a, 60);
    assert_true(ask(&a, question_of(1, 100, 5)) > 0);
}

static struct limit_question change_of(uint64_t epoch, uint64_t version, double rate)
{
    struct limit_question question = question_of(epoch, 0, 0);

    question.change = question.cut = true;
    question.version = version;
    question.rate = rate;
    question.step = rate / 100;
    question.quiet = 0;
    question.ahead_us = 10000;
    return question;
}

static void the_rate_of_an_account_is_changed_by_who_knows_the_latest(void **state)
{
    struct limit_question want = question_of(2, 0, 70);
    uint64_t begun_us;
    uint32_t granted;

    (void)state;
    want.ahead_us = 10000;
    assert_int_equal(ask(&a, want), 70); /* none was found yet */
    assert_true(heard.rate <= 0.0 && heard.version == 0);
    begun_us = clock_now_us();
    (void)ask(&a, change_of(1, 0, 90.0));
    assert_int_equal(heard.version, 1);
    assert_true(heard.rate > 89.9 && heard.cut_us < 5000000);
    (void)ask(&a, change_of(2, 0, 45.0)); /* has not heard of it */
    assert_true(heard.rate > 89.9 && heard.version == 1);
    (void)ask(&a, change_of(2, 1, 81.0));
    assert_true(heard.rate > 80.9 && heard.rate < 81.1 && heard.version == 2);
    want.taken = 33.0;
    granted = ask(&a, want);
    assert_int_equal(heard.interval_us, 12346);
    /* The second in which everything was sent has to end. */
    assert_true(granted <= 2 + (clock_now_us() - begun_us) / heard.interval_us);
    (void)ask(&a, question_of(1, 0, 0));
    assert_true(heard.others > 32.9 && heard.others < 33.1);
}

static void an_answer_that_is_lost_is_told_and_the_limit_holds(void **state)
{
    static const enum proxy_harm harms[] = {PROXY_CUT_BEFORE, PROXY_CUT_AFTER, PROXY_CUT_INSIDE,
                                            PROXY_LOADING,    PROXY_NOSCRIPT,  PROXY_DRIP};
    static struct client b;

    (void)state;
    for (size_t i = 0; i < sizeof harms / sizeof harms[0]; i++) {
        bool granted_in_vain = harms[i] == PROXY_CUT_AFTER || harms[i] == PROXY_CUT_INSIDE;
        struct limit_question question = question_of(1, 1, 5);
        question.interval_us = 60000000; /* nothing more becomes free while it connects again */
        fixture_do(&f, "FLUSHALL");
        lost = 0;
        client_open_config(&b, &proxy.config, 7);
        client_until(&b, &b.ups, 1);
        proxy_arm(&proxy, harms[i], 1);
        assert_int_equal(ask(&b, question), granted_in_vain ? 0 : 1);
        assert_true(proxy_disarm(&proxy));
        assert_int_equal(lost, harms[i] == PROXY_DRIP ? 0 : 1);
        assert_int_equal(b.brokens, 0);
        client_close(&b);
    }
    fixture_do(&f, "FLUSHALL");
}

static void something_else_under_its_name_is_said(void **state)
{
    struct limit_question question = question_of(1, 100, 5);
    uint64_t before = lost;

    (void)state;
    fixture_do(&f, "SET " KEY " x");
    client_until(&a, &a.brokens, a.brokens);
    assert_int_equal(ledger_limit(a.ledger, &question, hear, NULL), 0);
    client_until(&a, &lost, before + 1);
    assert_true(a.brokens > 0);
    question.name =
        "a name that is far too long: "
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    assert_int_equal(ledger_limit(a.ledger, &question, hear, NULL), HK_ETOOBIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_block_reaches_no_further_than_a_second, anew),
        cmocka_unit_test_setup(shares_follow_what_each_wants_and_what_one_does_not_want_is_the_others, anew),
        cmocka_unit_test_setup(a_limit_smaller_than_the_nodes_goes_round, anew),
        cmocka_unit_test_setup(who_follows_keeps_the_distance_to_earlier_blocks_too, anew),
        cmocka_unit_test_setup(a_way_that_takes_longer_for_a_while_gives_nothing_back, anew),
        cmocka_unit_test_setup(a_clock_that_goes_back_stops_nobody_for_long, anew),
        cmocka_unit_test_setup(the_rate_of_an_account_is_changed_by_who_knows_the_latest, anew),
        cmocka_unit_test_setup(an_answer_that_is_lost_is_told_and_the_limit_holds, anew),
        cmocka_unit_test_setup(something_else_under_its_name_is_said, anew),
    };

    return cmocka_run_group_tests(tests, start, end);
}
