/* test_feedback.c - what comes back later, as it counts in Redis (state/feedback.c, state/feedback.lua). */
#include "client.h"
#include "hikyaku/feedback.h"

#define NOON_S 1763975000u

static struct fixture f;
static struct store *store;
static struct cfg_soft soft[2];

static int start(void **state)
{
    static char full[] = "mailbox-full", network[] = "network";

    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    soft[0] = (struct cfg_soft){.reply_class = full, .count = 3, .within_s = 86400, .apart_s = 3600};
    soft[1] = (struct cfg_soft){.reply_class = network, .count = 0, .within_s = 86400};
    f.config.soft = soft;
    f.config.soft_count = 2;
    store = fixture_store(&f);
    return 0;
}

static int end(void **state)
{
    (void)state;
    store_close(store);
    fixture_end(&f);
    return 0;
}

static int anew(void **state)
{
    (void)state;
    fixture_do(&f, "FLUSHALL");
    f.config.bounce.token_age_s = 90 * 86400;
    f.config.bounce.breaker_count = 4;
    f.config.bounce.breaker_share = 50;
    f.config.bounce.breaker_period_s = 3600;
    soft[0].expires_s = 0;
    return 0;
}

static struct feedback about(const char *address, const char *message, const char *reply_class,
                             enum disposition disposition, uint32_t at_s)
{
    struct feedback feedback = {.entry = {.scope = "all",
                                          .reason = "bounce",
                                          .source = "bounce-mail",
                                          .evidence = "550 5.1.1 said \"last\":1}",
                                          .time_us = (uint64_t)at_s * 1000000u + 123456u},
                                .disposition = disposition,
                                .reply_class = reply_class,
                                .may_be_held = strcmp(reply_class, "complaint") != 0,
                                .domain_recipients = 0};

    (void)snprintf(feedback.entry.address, sizeof feedback.entry.address, "%s", address);
    (void)snprintf(feedback.message, sizeof feedback.message, "%s", message);
    return feedback;
}

static struct feedback_result apply(const struct feedback *feedback)
{
    struct feedback_result result;
    struct hk_why why = {""};

    if (feedback_apply(store, &f.config, feedback, 1, &result, &why) != 0)
        fail_msg("apply: %s", why.text);
    return result;
}

static enum feedback_done unknown(const char *address, const char *message, uint32_t at_s)
{
    struct feedback feedback = about(address, message, "mailbox-unknown", DISPOSITION_SUPPRESS, at_s);

    return apply(&feedback).done;
}

static struct feedback_result full(const char *message, uint32_t at_s)
{
    struct feedback feedback = about("ann@a.test", message, "mailbox-full", DISPOSITION_COUNT, at_s);

    return apply(&feedback);
}

static int find(const char *address, struct suppress_entry *out)
{
    struct hk_why why = {""};

    return suppress_find(store, "all", address, out, &why);
}

static void a_bounce_suppresses_with_its_evidence_and_the_last_time(void **state)
{
    struct suppress_entry entry;

    (void)state;
    assert_int_equal(unknown("Ann@A.test", "c1.7", NOON_S), FEEDBACK_SUPPRESSED);
    assert_int_equal(find("ann@a.test", &entry), 1);
    assert_string_equal(entry.source, "bounce-mail");
    assert_string_equal(entry.evidence, "550 5.1.1 said \"last\":1}");
    assert_int_equal(entry.time_us, NOON_S * 1000000ull + 123456);
    assert_int_equal(entry.last_us, 0);
    for (unsigned day = 1; day < 3; day++) {
        assert_int_equal(unknown("ann@a.test", "c2.7", NOON_S + day * 86400), FEEDBACK_KNOWN);
        assert_int_equal(find("ann@a.test", &entry), 1);
        assert_string_equal(entry.evidence, "550 5.1.1 said \"last\":1}");
        assert_int_equal(entry.time_us, NOON_S * 1000000ull + 123456);
        assert_int_equal(entry.last_us, (NOON_S + day * 86400) * 1000000ull + 123456);
    }
}

static void soft_bounces_suppress_at_their_number_and_not_before(void **state)
{
    struct suppress_entry entry;

    (void)state;
    assert_int_equal(full("c1.7", NOON_S).done, FEEDBACK_COUNTED);
    assert_int_equal(full("c1.7", NOON_S + 7200).done, FEEDBACK_AGAIN); /* the same message */
    assert_int_equal(full("c2.7", NOON_S + 3599).done, FEEDBACK_NEAR);  /* the same trouble */
    assert_int_equal(full("c3.7", NOON_S + 7200).count, 2);
    assert_int_equal(find("ann@a.test", &entry), 0);
    assert_int_equal(full("c4.7", NOON_S + 14400).done, FEEDBACK_SUPPRESSED);
    assert_int_equal(find("ann@a.test", &entry), 1);
    assert_int_equal(strncmp(entry.evidence, "3 times mailbox-full within 1 days: 550", 39), 0);
}

static uint32_t ends_at(const char *address)
{
    struct suppress_entry entry;

    assert_int_equal(find(address, &entry), 1);
    return entry.until_s;
}

/* Three of them, from this second on. */
static void full_until_suppressed(uint32_t from_s)
{
    static unsigned nth;
    char message[16];

    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(message, sizeof message, "n%u", nth++);
        assert_int_equal(full(message, from_s + i * 7200).done,
                         i < 2 ? FEEDBACK_COUNTED : FEEDBACK_SUPPRESSED);
    }
}

static void what_soft_bounces_suppressed_ends_where_the_class_recovers(void **state)
{
    static const uint32_t days_180 = 180u * 86400u;

    (void)state;
    soft[0].expires_s = days_180;
    full_until_suppressed(NOON_S);
    assert_int_equal(ends_at("ann@a.test"), NOON_S + 14400 + days_180);
    /* The same once more, half a year later: from then on. */
    full_until_suppressed(NOON_S + 2 * days_180);
    assert_int_equal(ends_at("ann@a.test"), NOON_S + 2 * days_180 + 14400 + days_180);
    /* What is for good takes its place, with its own evidence. */
    assert_int_equal(unknown("ann@a.test", "d.1", NOON_S + 3 * days_180), FEEDBACK_SUPPRESSED);
    assert_int_equal(ends_at("ann@a.test"), 0);
    /* And is not made shorter. */
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(full(i == 0   ? "e.1"
                              : i == 1 ? "e.2"
                                       : "e.3",
                              NOON_S + 4 * days_180 + i * 7200)
                             .done,
                         i < 2 ? FEEDBACK_COUNTED : FEEDBACK_KNOWN);
    assert_int_equal(ends_at("ann@a.test"), 0);
}

static void soft_bounces_of_a_class_that_never_expires_suppress_for_good(void **state)
{
    (void)state;
    soft[0].expires_s = UINT32_MAX;
    full_until_suppressed(NOON_S);
    assert_int_equal(ends_at("ann@a.test"), 0);
}

/* Told again, all of them, as after a restore: the end stays where it was. */
static void an_end_that_is_told_again_is_the_same(void **state)
{
    (void)state;
    soft[0].expires_s = 1000;
    for (unsigned twice = 0; twice < 2; twice++) {
        assert_int_equal(full("c1.7", NOON_S).done, FEEDBACK_COUNTED);
        assert_int_equal(full("c2.7", NOON_S + 7200).done, FEEDBACK_COUNTED);
        assert_int_equal(full("c3.7", NOON_S + 14400).done, twice ? FEEDBACK_KNOWN : FEEDBACK_SUPPRESSED);
        assert_int_equal(ends_at("ann@a.test"), NOON_S + 14400 + 1000);
    }
}

/* The breaker watches over a hard bounce of somebody whose entry ends, as over any other. */
static void who_is_suppressed_for_a_time_may_be_held(void **state)
{
    static const char *const others[] = {"b@a.test", "c@a.test", "d@a.test"};
    struct suppress_entry entry;

    (void)state;
    soft[0].expires_s = 1000;
    full_until_suppressed(NOON_S);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(unknown(others[i], others[i], NOON_S + 20000), FEEDBACK_SUPPRESSED);
    assert_int_equal(unknown("ann@a.test", "c9.1", NOON_S + 20000), FEEDBACK_TRIPPED);
    assert_int_equal(find("b@a.test", &entry), 0);
    assert_int_equal(ends_at("ann@a.test"), NOON_S + 14400 + 1000); /* as before */
}

static void soft_bounces_that_are_old_count_no_more(void **state)
{
    (void)state;
    assert_int_equal(full("c1.7", NOON_S).count, 1);
    assert_int_equal(full("c2.7", NOON_S + 7200).count, 2);
    assert_int_equal(full("c3.7", NOON_S + 86401).count, 2); /* the first is more than a day ago */
    assert_int_equal(full("c4.7", NOON_S + 4 * 86400).count, 1);
}

static void a_class_without_a_number_never_suppresses(void **state)
{
    struct feedback feedback;
    struct suppress_entry entry;
    char message[16];

    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        (void)snprintf(message, sizeof message, "c%u.7", i);
        feedback = about("ann@a.test", message, "network", DISPOSITION_COUNT, NOON_S + i);
        assert_int_equal(apply(&feedback).done, FEEDBACK_COUNTED);
    }
    assert_int_equal(find("ann@a.test", &entry), 0);
}

static void note_soft(void *context, const struct cfg_soft *rule, uint32_t count, uint64_t last_s)
{
    uint64_t *seen = context;

    seen[0] = (uint64_t)(rule - soft);
    seen[1] = count;
    seen[2] = rule->count;
    seen[3] = last_s;
}

static void soft_bounces_are_shown_and_a_delivery_forgets_them(void **state)
{
    const uint32_t now_s = (uint32_t)(clock_wall_us() / 1000000u);
    const char *const others[] = {"bob@a.test", "ann@A.test"};
    uint64_t seen[4] = {0};
    struct hk_why why = {""};

    (void)state;
    (void)full("c1.7", now_s - 7200);
    (void)full("c2.7", now_s - 60);
    assert_int_equal(feedback_soft(store, &f.config, "ANN@a.test", note_soft, seen, &why), 0);
    assert_int_equal(seen[0], 0);
    assert_int_equal(seen[1], 2);
    assert_int_equal(seen[2], 3);
    assert_int_equal(seen[3], now_s - 60);
    assert_int_equal(feedback_delivered(store, &f.config, others, 2, &why), 0);
    memset(seen, 0, sizeof seen);
    assert_int_equal(feedback_soft(store, &f.config, "ann@a.test", note_soft, seen, &why), 0);
    assert_int_equal(seen[1], 0);
}

static void a_block_is_counted_by_the_hour_and_never_against_anybody(void **state)
{
    struct feedback feedback = about("ann@a.test", "c1.7", "content-policy", DISPOSITION_BLOCK, NOON_S);
    struct suppress_entry entry;
    struct feedback_result result;

    (void)state;
    assert_int_equal(apply(&feedback).done, FEEDBACK_BLOCKED);
    assert_int_equal(apply(&feedback).done, FEEDBACK_AGAIN);
    feedback = about("bob@b.test", "c1.8", "content-policy", DISPOSITION_BLOCK, NOON_S + 10);
    result = apply(&feedback);
    assert_int_equal(result.done, FEEDBACK_BLOCKED);
    assert_int_equal(result.count, 2);
    feedback = about("bob@b.test", "c2.8", "content-policy", DISPOSITION_BLOCK, NOON_S + 7200);
    assert_int_equal(apply(&feedback).count, 1);
    assert_int_equal(find("ann@a.test", &entry), 0);
    assert_int_equal(find("bob@b.test", &entry), 0);
}

/* ---- the breaker ---- */

static int count_held(void *context, const struct suppress_entry *entry)
{
    (void)entry;
    ++*(unsigned *)context;
    return 0;
}

static unsigned held(void)
{
    struct hk_why why = {""};
    unsigned count = 0;

    assert_int_equal(feedback_held_walk(store, count_held, &count, &why), 0);
    return count;
}

static void where_a_whole_domain_is_unknown_nobody_is_suppressed(void **state)
{
    static const char *const people[] = {"a@a.test", "b@a.test", "c@a.test", "d@a.test", "e@a.test"};
    struct suppress_entry entry;

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(unknown(people[i], people[i], NOON_S + i), FEEDBACK_SUPPRESSED);
    assert_int_equal(unknown("x@other.test", "x", NOON_S + 3), FEEDBACK_SUPPRESSED);
    assert_int_equal(unknown(people[3], people[3], NOON_S + 4), FEEDBACK_TRIPPED);
    assert_int_equal(unknown(people[4], people[4], NOON_S + 5), FEEDBACK_HELD);
    assert_int_equal(unknown(people[0], people[0], NOON_S + 6), FEEDBACK_HELD); /* the same mail again */
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(find(people[i], &entry), 0);
    assert_int_equal(find("x@other.test", &entry), 1);
    assert_int_equal(held(), 5);
}

static void a_node_hears_that_the_breaker_let_go(void **state)
{
    static char from_domain[] = "news.test";
    struct suppress *view = NULL;
    struct hk_why why = {""};

    (void)state;
    f.config.sender.from_domain = from_domain;
    assert_int_equal(suppress_open(&f.config, store, &view, &why), 0);
    (void)unknown("a@a.test", "1", NOON_S);
    (void)unknown("b@a.test", "2", NOON_S);
    while (suppress_poll(view, &why) > 0)
        continue;
    assert_true(suppress_has(view, "a@a.test", 8));
    (void)unknown("c@a.test", "3", NOON_S);
    (void)unknown("d@a.test", "4", NOON_S);
    while (suppress_poll(view, &why) > 0)
        continue;
    assert_false(suppress_has(view, "a@a.test", 8));
    assert_false(suppress_has(view, "d@a.test", 8));
    suppress_close(view);
}

static void a_few_of_many_do_not_trip_it(void **state)
{
    struct feedback feedback;
    char address[32];

    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        (void)snprintf(address, sizeof address, "u%u@a.test", i);
        feedback = about(address, address, "mailbox-unknown", DISPOSITION_SUPPRESS, NOON_S + i);
        feedback.domain_recipients = 22; /* half of them are 11 */
        assert_int_equal(apply(&feedback).done, FEEDBACK_SUPPRESSED);
    }
    feedback = about("last@a.test", "last", "mailbox-unknown", DISPOSITION_SUPPRESS, NOON_S + 11);
    feedback.domain_recipients = 22;
    assert_int_equal(apply(&feedback).done, FEEDBACK_TRIPPED);
    assert_int_equal(held(), 11);
}

static void those_of_other_days_do_not_trip_it(void **state)
{
    char address[32];

    (void)state;
    for (unsigned i = 0; i < 12; i++) {
        (void)snprintf(address, sizeof address, "u%u@a.test", i);
        assert_int_equal(unknown(address, address, NOON_S + i * 1800), FEEDBACK_SUPPRESSED);
    }
}

static void complaints_and_a_breaker_that_is_off_are_not_held(void **state)
{
    struct feedback feedback;
    char address[32];

    (void)state;
    for (unsigned i = 0; i < 12; i++) {
        (void)snprintf(address, sizeof address, "u%u@a.test", i);
        feedback = about(address, address, "complaint", DISPOSITION_SUPPRESS, NOON_S);
        assert_int_equal(apply(&feedback).done, FEEDBACK_SUPPRESSED);
    }
    f.config.bounce.breaker_count = 0;
    for (unsigned i = 0; i < 12; i++) {
        (void)snprintf(address, sizeof address, "u%u@b.test", i);
        assert_int_equal(unknown(address, address, NOON_S), FEEDBACK_SUPPRESSED);
    }
}

static void a_complaint_stands_whatever_becomes_of_its_domain(void **state)
{
    static const char *const people[] = {"a@a.test", "b@a.test", "c@a.test", "d@a.test", "e@a.test"};
    struct feedback complaint = about("a@a.test", "a", "complaint", DISPOSITION_SUPPRESS, NOON_S + 2);
    struct suppress_entry entry;

    (void)state;
    /* Unknown first, then he complains; complained first, then unknown; complains while he is held. */
    assert_int_equal(unknown("a@a.test", "a", NOON_S), FEEDBACK_SUPPRESSED);
    assert_int_equal(apply(&complaint).done, FEEDBACK_KNOWN);
    complaint = about("b@a.test", "b", "complaint", DISPOSITION_SUPPRESS, NOON_S + 2);
    assert_int_equal(apply(&complaint).done, FEEDBACK_SUPPRESSED);
    assert_int_equal(unknown("b@a.test", "b", NOON_S + 3), FEEDBACK_KNOWN);
    for (unsigned i = 2; i < 5; i++)
        assert_int_equal(unknown(people[i], people[i], NOON_S + 4), FEEDBACK_SUPPRESSED);
    assert_int_equal(unknown("f@a.test", "f", NOON_S + 5), FEEDBACK_TRIPPED);
    assert_int_equal(held(), 4);
    complaint = about("c@a.test", "c", "complaint", DISPOSITION_SUPPRESS, NOON_S + 6);
    assert_int_equal(apply(&complaint).done, FEEDBACK_SUPPRESSED);
    assert_int_equal(held(), 3);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(find(people[i], &entry), i < 3);
    assert_int_equal(find("c@a.test", &entry), 1);
    assert_int_equal(unknown("c@a.test", "c", NOON_S + 7), FEEDBACK_KNOWN); /* not held again */
    assert_int_equal(held(), 3);
}

/* An event log is told again in one go: what it says of later hours is not held for what tripped earlier. */
static void a_domain_is_believed_again_by_the_time_of_what_is_told(void **state)
{
    static const char *const people[] = {"a@a.test", "b@a.test", "c@a.test", "d@a.test"};
    struct suppress_entry entry;

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        (void)unknown(people[i], people[i], NOON_S + i);
    assert_int_equal(held(), 4);
    assert_int_equal(unknown("e@a.test", "e", NOON_S + 3603), FEEDBACK_HELD);
    assert_int_equal(unknown("f@a.test", "f", NOON_S + 7204), FEEDBACK_SUPPRESSED);
    assert_int_equal(find("f@a.test", &entry), 1);
    assert_int_equal(held(), 5);
}

static int decide(enum suppress_change change, const char *address)
{
    struct suppress_entry entry = {.scope = "all", .reason = "manual", .time_us = NOON_S * 1000000ull};
    struct hk_why why = {""};
    bool was_held;

    (void)snprintf(entry.address, sizeof entry.address, "%s", address);
    if (suppress_change_all(store, change, &entry, 1, &was_held, &why) != 0)
        fail_msg("decide: %s", why.text);
    return was_held;
}

static void who_is_held_is_let_go_by_a_person(void **state)
{
    struct suppress_entry entry;

    (void)state;
    f.config.bounce.breaker_count = 1;
    assert_int_equal(unknown("a@a.test", "1", NOON_S), FEEDBACK_TRIPPED);
    assert_int_equal(unknown("b@a.test", "2", NOON_S), FEEDBACK_HELD);
    assert_int_equal(decide(SUPPRESS_DROPPED, "A@a.test"), 1);
    assert_int_equal(decide(SUPPRESS_DROPPED, "A@a.test"), 0);
    assert_int_equal(decide(SUPPRESS_APPLIED, "B@a.test"), 1);
    assert_int_equal(held(), 0);
    assert_int_equal(find("a@a.test", &entry), 0);
    assert_int_equal(find("b@a.test", &entry), 1);
    assert_string_equal(entry.reason, "manual");
}

static void many_are_applied_in_one_go(void **state)
{
    struct feedback *many = calloc(600, sizeof *many);
    struct feedback_result *result = calloc(600, sizeof *result);
    char address[32];
    struct hk_why why = {""};

    (void)state;
    for (unsigned i = 0; i < 600; i++) {
        (void)snprintf(address, sizeof address, "u@d%u.test", i);
        many[i] = about(address, address, "mailbox-unknown", DISPOSITION_SUPPRESS, NOON_S);
    }
    assert_int_equal(feedback_apply(store, &f.config, many, 600, result, &why), 0);
    for (unsigned i = 0; i < 600; i++)
        assert_int_equal(result[i].done, FEEDBACK_SUPPRESSED);
    many[5].entry.address[0] = '\0';
    assert_int_equal(feedback_apply(store, &f.config, many, 600, result, &why), HK_EINVAL);
    many[5] = many[6];
    many[5].disposition = DISPOSITION_NONE;
    assert_int_equal(feedback_apply(store, &f.config, many, 600, result, &why), HK_EINVAL);
    assert_int_equal(feedback_apply(store, &f.config, many + 6, 1, result, &why), 0); /* still in step */
    assert_int_equal(result[0].done, FEEDBACK_KNOWN);
    free(many);
    free(result);
}

static void what_was_heard_is_known_for_a_while(void **state)
{
    static const char *const first[] = {"sns:1", "ses:a b\r\nx"}, *const second[] = {"sns:2", "ses:a b\r\nx"},
                             *const other[] = {"sns:3"};
    long long left_s;
    bool known[2] = {true, true};

    (void)state;
    assert_int_equal(feedback_was_heard(store, first, 2, known, NULL), 0);
    assert_false(known[0] || known[1]);
    assert_int_equal(feedback_hear(store, first, 2, NULL), 0);
    assert_int_equal(feedback_was_heard(store, second, 2, known, NULL), 0);
    assert_true(!known[0] && known[1]);
    assert_int_equal(feedback_was_heard(store, other, 1, known, NULL), 0);
    assert_false(known[0]);
    assert_int_equal(feedback_was_heard(store, NULL, 0, known, NULL), 0);
    assert_int_equal(feedback_hear(store, NULL, 0, NULL), 0);
    left_s = fixture_number(&f, "TTL hikyaku:bounce:heard:sns:1");
    assert_true(left_s > FEEDBACK_HEARD_S - 60 && left_s <= FEEDBACK_HEARD_S);
}

/* ---- what a relay calls our messages ---- */

#define DAY_US 86400000000ull

static void remember(struct client *c, const char *id, const char *token, uint64_t time_us)
{
    assert_int_equal(ledger_remember(c->ledger, &f.config, id, strlen(id), token, time_us), 0);
}

static int token_of(const char *id, char token[FEEDBACK_TOKEN_MAX + 1])
{
    struct hk_why why = {""};
    int rc = feedback_token_of(store, &f.config, id, token, &why);

    if (rc < 0)
        fail_msg("%s", why.text);
    return rc;
}

/* The number that a script gives. */
static long long asked(const char *script)
{
    redisContext *redis = fixture_redis(&f);
    redisReply *reply = redisCommand(redis, "EVAL %s 0", script);
    long long value = reply->integer;

    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    freeReplyObject(reply);
    redisFree(redis);
    return value;
}

static void an_id_leads_back_to_its_token_as_long_as_it_is_wanted(void **state)
{
    static const char long_token[] = "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff234";
    const uint64_t now = clock_wall_us();
    char token[FEEDBACK_TOKEN_MAX + 1];
    struct client c;

    (void)state;
    f.config.sns.remember_s = 2 * 86400;
    f.config.sns.remember_most = 1000;
    client_open(&c, &f);
    remember(&c, "0102018f-a", "token-a", now);
    remember(&c, "0102018f-b", "token-b", now - 2 * DAY_US);
    remember(&c, "0102018f-c", "token-c", now - 4 * DAY_US);
    remember(&c, "0102018f-a", "another", now); /* told again: what is there stays */
    assert_int_equal(ledger_remember(c.ledger, &f.config, "", 0, "token", now), HK_EINVAL);
    assert_int_equal(ledger_remember(c.ledger, &f.config, "x", 1, "", now), HK_EINVAL);
    assert_int_equal(ledger_remember(c.ledger, &f.config, "x", 1, long_token, now), HK_EINVAL);
    assert_int_equal(ledger_pending(c.ledger), 4);
    client_settle(&c);
    assert_int_equal(ledger_pending(c.ledger), 0);
    assert_int_equal(token_of("0102018f-a", token), 1);
    assert_string_equal(token, "token-a");
    assert_int_equal(token_of("0102018f-b", token), 1);
    assert_string_equal(token, "token-b");
    assert_int_equal(token_of("0102018f-c", token), 0);
    assert_int_equal(token_of("0102018f-d", token), 0);
    assert_int_equal(token_of("", token), 0);
    f.config.sns.remember_s = 0;
    assert_int_equal(token_of("0102018f-a", token), 0);
    client_close(&c);
}

static void of_a_day_no_more_ids_are_kept_than_are_wanted(void **state)
{
    const uint64_t now = clock_wall_us();
    const unsigned long long day = now / DAY_US;
    char token[FEEDBACK_TOKEN_MAX + 1], id[32], count[96];
    struct client c;

    (void)state;
    f.config.sns.remember_s = 86400;
    f.config.sns.remember_most = 200;
    client_open(&c, &f);
    for (unsigned twice = 0; twice < 2; twice++) /* a call whose answer was lost */
        for (unsigned i = 0; i < 300; i++) {
            struct suppress_entry between = {.scope = "all", .reason = "bounce"};
            struct suppress *view = NULL;
            struct hk_why why;
            (void)snprintf(id, sizeof id, "id-%u", i);
            remember(&c, id, id, now);
            if (i % 50 != 0)
                continue;
            /* Suppressions go the same way. */
            assert_int_equal(suppress_open(&f.config, store, &view, &why), 0);
            (void)snprintf(between.address, sizeof between.address, "u%u@a.test", i);
            assert_int_equal(ledger_suppress(c.ledger, view, &between), 0);
            suppress_close(view);
        }
    client_settle(&c);
    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(id, sizeof id, "id-%u", i);
        assert_int_equal(token_of(id, token), i < 200);
        if (i < 200)
            assert_string_equal(token, id);
    }
    assert_int_equal(asked("return redis.call('HLEN', 'hikyaku:suppress:all')"), 6);
    (void)snprintf(count, sizeof count, "return tonumber(redis.call('GET', 'hikyaku:ses:%llu:count'))", day);
    assert_int_equal(asked(count), 200);
    /* Every key of them goes by itself, a day after the last may be asked for. */
    assert_true(asked("return #redis.call('KEYS', 'hikyaku:ses:*')") > 100);
    assert_int_equal(
        asked("local n = 0 for _, k in ipairs(redis.call('KEYS', 'hikyaku:ses:*')) do "
              "local ttl = redis.call('TTL', k) if ttl < 86400 or ttl > 2 * 86400 then n = n + 1 end end "
              "return n"),
        0);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_bounce_suppresses_with_its_evidence_and_the_last_time, anew),
        cmocka_unit_test_setup(soft_bounces_suppress_at_their_number_and_not_before, anew),
        cmocka_unit_test_setup(what_soft_bounces_suppressed_ends_where_the_class_recovers, anew),
        cmocka_unit_test_setup(soft_bounces_of_a_class_that_never_expires_suppress_for_good, anew),
        cmocka_unit_test_setup(an_end_that_is_told_again_is_the_same, anew),
        cmocka_unit_test_setup(who_is_suppressed_for_a_time_may_be_held, anew),
        cmocka_unit_test_setup(soft_bounces_that_are_old_count_no_more, anew),
        cmocka_unit_test_setup(a_class_without_a_number_never_suppresses, anew),
        cmocka_unit_test_setup(soft_bounces_are_shown_and_a_delivery_forgets_them, anew),
        cmocka_unit_test_setup(a_block_is_counted_by_the_hour_and_never_against_anybody, anew),
        cmocka_unit_test_setup(where_a_whole_domain_is_unknown_nobody_is_suppressed, anew),
        cmocka_unit_test_setup(a_node_hears_that_the_breaker_let_go, anew),
        cmocka_unit_test_setup(a_few_of_many_do_not_trip_it, anew),
        cmocka_unit_test_setup(those_of_other_days_do_not_trip_it, anew),
        cmocka_unit_test_setup(complaints_and_a_breaker_that_is_off_are_not_held, anew),
        cmocka_unit_test_setup(a_complaint_stands_whatever_becomes_of_its_domain, anew),
        cmocka_unit_test_setup(a_domain_is_believed_again_by_the_time_of_what_is_told, anew),
        cmocka_unit_test_setup(who_is_held_is_let_go_by_a_person, anew),
        cmocka_unit_test_setup(many_are_applied_in_one_go, anew),
        cmocka_unit_test_setup(what_was_heard_is_known_for_a_while, anew),
        cmocka_unit_test_setup(an_id_leads_back_to_its_token_as_long_as_it_is_wanted, anew),
        cmocka_unit_test_setup(of_a_day_no_more_ids_are_kept_than_are_wanted, anew),
    };

    return cmocka_run_group_tests(tests, start, end);
}
