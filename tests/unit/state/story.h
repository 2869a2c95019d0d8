/* story.h - one story of the blocking store and one of the ledger, for tests that disturb them on the way.
 *
 * Every step may fail once, in words, and is then done again. What Redis holds at the end does not depend on that.
 */
#ifndef HIKYAKU_TESTS_STATE_STORY_H
#define HIKYAKU_TESTS_STATE_STORY_H

#include "client.h"
#include "hikyaku/feedback.h"
#include "hikyaku/suppress.h"
#include "suppress_view.h"

#define STORY_AGE_S    40u /* of the campaign: due times in what follows lie ahead */
#define SAID_BY_NOBODY UINT64_MAX

struct story {
    struct fixture *f;
    const struct config *config; /* the way to Redis */
    int error;                   /* with which a step may fail once */
    unsigned suppressions;       /* to add at once */
    unsigned failures;
    struct store *store;
    struct manifest m;
    uint64_t walked;
    struct client c;
    char verdicts[4096]; /* of the ledger, a digit each */
};

/* ---- the store: steps that give 0 or more, or an error in words ---- */

static inline int story_open_store(struct story *s, struct hk_why *why)
{
    return store_open(s->config, &s->store, why);
}

static inline int story_draw_epoch(struct story *s, struct hk_why *why)
{
    uint64_t epoch;

    return store_epoch_next(s->store, 0, &epoch, why);
}

static const uint32_t story_first[] = {0, 5, 705};

static inline int story_create(struct story *s, struct hk_why *why)
{
    s->m = (struct manifest){
        .campaign = "c", .state = "running", .segments = 1, .spans = 2, .domains = 2, .recipients = 705};
    return store_campaign_create(s->store, &s->m, story_first, story_first, why);
}

static inline int story_look(struct story *s, struct hk_why *why)
{
    struct manifest m;
    int rc = store_campaign_get(s->store, "c", &m, why);

    if (rc == 0) {
        assert_string_equal(m.campaign, "c");
        assert_string_equal(m.state, "running");
    }
    return rc;
}

static inline int story_extend(struct story *s, struct hk_why *why)
{
    s->m.segments = 2;
    s->m.spans = s->m.domains = 3;
    s->m.recipients = 1005;
    return store_campaign_extend(s->store, &s->m, story_first, story_first, why);
}

static inline int story_put(struct story *s, struct hk_why *why)
{
    s->m.first_rows = 17;
    return store_campaign_put(s->store, &s->m, why);
}

static inline int story_counts(struct story *s, struct hk_why *why)
{
    uint64_t count[LEDGER_STATES_COUNT], attempts;
    int rc = store_counts(s->store, &s->m, count, &attempts, why);

    if (rc == 0)
        assert_int_equal(count[LEDGER_PENDING], 1005);
    return rc;
}

static inline int story_count_word(void *context, uint32_t segment, uint32_t index, uint32_t word)
{
    struct story *s = context;

    assert_int_equal(segment, 0);
    assert_int_equal(index, s->walked++);
    assert_int_equal(word, 0);
    return 0;
}

static inline int story_walk(struct story *s, struct hk_why *why)
{
    int rc;

    s->walked = 0;
    rc = store_ledger_walk(s->store, &s->m, story_count_word, s, why);
    if (rc == 0)
        assert_int_equal(s->walked, 1005);
    return rc;
}

static inline int story_recipient(struct story *s, struct hk_why *why)
{
    uint32_t word = 1, due = 1, first = 1;
    int rc = store_recipient(s->store, "c", 0, 1, 7, &word, &due, &first, why);

    if (rc == 0)
        assert_true(word == 0 && due == 0 && first == 0);
    return rc;
}

/* Answers of a pipeline: whatever becomes of one of them, the connection stays in step. */
static inline int story_words(struct story *s, struct hk_why *why)
{
    const struct store_place place[] = {{"c", 0, 1, 7}, {"c", 0, 0, 700}, {"c", 0, 1, 8}};
    uint32_t word[] = {1, 1, 1};
    int rc = store_words(s->store, place, 3, word, why);

    if (rc == 0)
        assert_true(word[0] == 0 && word[1] == 0 && word[2] == 0);
    return rc;
}

static inline void story_no_site(void *context, uint32_t segment, uint32_t domain, const char *site)
{
    (void)context;
    fail_msg("%u.%u is at %s", segment, domain, site);
}

static inline void story_no_span(void *context, uint32_t segment, uint32_t span, bool taken, uint32_t due)
{
    (void)context;
    fail_msg("span %u.%u: taken %d, due %u", segment, span, taken, due);
}

static inline int story_tables(struct story *s, struct hk_why *why)
{
    uint32_t *first = NULL, count = 0;
    int rc = store_sites(s->store, &s->m, story_no_site, NULL, why);

    if (rc == 0)
        rc = store_spans(s->store, "c", story_no_span, NULL, why);
    if (rc == 0)
        rc = store_domain_first(s->store, &s->m, 0, &first, &count, why);
    if (rc == 0)
        assert_true(count == 2 && first[1] == 5);
    free(first);
    return rc;
}

static inline int story_names(struct story *s, struct hk_why *why)
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

static inline struct suppress_entry story_entry(unsigned n)
{
    struct suppress_entry entry = {
        .scope = "all", .reason = "manual", .source = "command", .time_us = 1763975000123456ull};

    (void)snprintf(entry.address, sizeof entry.address, "u%u@x.test", n);
    return entry;
}

static inline int story_many(struct story *s, struct hk_why *why)
{
    static struct suppress_entry entry[600];

    assert_in_range(s->suppressions, 2, 600);
    for (unsigned i = 0; i < s->suppressions; i++)
        entry[i] = story_entry(i);
    return suppress_change_all(s->store, SUPPRESS_ADDED, entry, s->suppressions, NULL, why);
}

static inline int story_find(struct story *s, struct hk_why *why)
{
    struct suppress_entry out, last = story_entry(s->suppressions - 1);
    int rc = suppress_find(s->store, "all", last.address, &out, why);

    if (rc >= 0)
        assert_string_equal(out.reason, "manual");
    return rc;
}

static inline int story_take_off(struct story *s, struct hk_why *why)
{
    const struct suppress_entry entry = story_entry(1);
    bool removed = false;
    int rc = suppress_change_all(s->store, SUPPRESS_REMOVED, &entry, 1, &removed, why);

    return rc == 0 ? removed : rc;
}

static inline int story_count_entry(void *context, const struct suppress_entry *entry)
{
    struct story *s = context;

    assert_string_equal(entry->source, "command");
    s->walked++;
    return 0;
}

static inline int story_all(struct story *s, struct hk_why *why)
{
    int rc;

    s->walked = 0;
    rc = suppress_walk(s->store, NULL, story_count_entry, s, why);
    if (rc == 0)
        assert_true(s->walked >= s->suppressions - 1);
    return rc;
}

/* All that one can do; said twice it changes nothing more. */
static inline int story_feedback(struct story *s, struct hk_why *why)
{
    static const enum disposition all[] = {DISPOSITION_SUPPRESS, DISPOSITION_COUNT, DISPOSITION_BLOCK};
    struct feedback feedback[3] = {0};
    struct feedback_result result[3];

    for (unsigned i = 0; i < 3; i++) {
        feedback[i].entry = story_entry(1000 + i);
        feedback[i].disposition = all[i];
        feedback[i].reply_class = "mailbox-full";
        (void)snprintf(feedback[i].message, sizeof feedback[i].message, "c.%u", i);
    }
    return feedback_apply(s->store, s->config, feedback, 3, result, why);
}

static inline int story_heard(struct story *s, struct hk_why *why)
{
    static const char *const id[] = {"sns:1", "ses:2", "sns:3"};
    static const char *const address[] = {"u1@x.test", "u2@x.test", "u3@x.test"};
    bool known[3];
    int rc = feedback_delivered(s->store, s->config, address, 3, why);

    if (rc == 0)
        rc = feedback_hear(s->store, id, 2, why);
    if (rc == 0)
        rc = feedback_was_heard(s->store, id, 3, known, why);
    if (rc == 0)
        assert_true(known[0] && known[1] && !known[2]);
    return rc;
}

static inline int story_held(struct story *s, struct hk_why *why)
{
    const struct suppress_entry entry[] = {story_entry(1), story_entry(2)};
    int rc = feedback_held_walk(s->store, story_count_entry, s, why);

    if (rc == 0)
        rc = suppress_change_all(s->store, SUPPRESS_DROPPED, entry, 1, NULL, why);
    return rc == 0 ? suppress_change_all(s->store, SUPPRESS_APPLIED, entry + 1, 1, NULL, why) : rc;
}

static inline int story_purge_another(struct story *s, struct hk_why *why)
{
    struct manifest m = {
        .campaign = "p", .state = "running", .segments = 1, .spans = 2, .domains = 2, .recipients = 705};
    int rc = store_campaign_create(s->store, &m, story_first, story_first, why);

    return rc == 0 || rc == HK_EEXIST ? store_campaign_purge(s->store, &m, why) : rc;
}

static const struct story_step {
    const char *name;
    int (*run)(struct story *s, struct hk_why *why);
    int done_before; /* what it says where an answer was lost and it is tried again */
} story_steps[] = {
    {"open", story_open_store, 0},
    {"epoch", story_draw_epoch, 0},
    {"create", story_create, HK_EEXIST},
    {"get", story_look, 0},
    {"names", story_names, 0},
    {"tables", story_tables, 0},
    {"extend", story_extend, HK_ECHANGED},
    {"put", story_put, 0},
    {"counts", story_counts, 0},
    {"walk", story_walk, 0},
    {"recipient", story_recipient, 0},
    {"words", story_words, 0},
    {"suppress", story_many, 0},
    {"find", story_find, 0},
    {"remove", story_take_off, 0},
    {"entries", story_all, 0},
    {"feedback", story_feedback, 0},
    {"heard", story_heard, 0},
    {"held", story_held, 0},
    {"purge", story_purge_another, 0},
};

/* Every step once, and once more where it failed. */
static inline void story_tell_store(struct story *s)
{
    s->failures = 0;
    s->store = NULL;
    fixture_do(s->f, "FLUSHALL");
    for (size_t i = 0; i < sizeof story_steps / sizeof story_steps[0]; i++) {
        struct hk_why why = {""};
        int rc = story_steps[i].run(s, &why);
        if (rc < 0) {
            s->failures++;
            if (rc != s->error || strlen(why.text) < 15)
                fail_msg("%s: %d: %s", story_steps[i].name, rc, why.text);
            rc = story_steps[i].run(s, &why);
        }
        if (rc < 0 && rc != story_steps[i].done_before)
            fail_msg("%s, tried again: %d: %s", story_steps[i].name, rc, why.text);
    }
    store_close(s->store);
}

/* ---- the ledger ---- */

/* Is it to be done again? */
static inline bool story_failed(struct story *s, int rc)
{
    if (rc == 0)
        return false;
    assert_int_equal(rc, s->error);
    return ++s->failures == 1;
}

static inline void story_push(struct story *s, struct ledger_op op)
{
    op.span = op.index < 5 ? 0 : 1;
    op.span_first = op.span == 0 ? 0 : 5;
    while (story_failed(s, ledger_push(s->c.ledger, "c", &op)))
        continue;
}

static inline void story_op(struct story *s, uint8_t kind, uint32_t index, uint8_t attempt, uint32_t word)
{
    story_push(s, op_on(kind, index, attempt, word));
}

/* Who is unknown is sent to again, at once or when it is due. The second time the script says that nothing changed. */
static inline void story_resend(struct story *s, uint32_t index, uint32_t due_s)
{
    struct ledger_op op = op_on(OP_RESEND, index, 0, 0);

    op.due_s = due_s;
    op.cookie = due_s > 0 ? SAID_BY_NOBODY : 0;
    story_push(s, op);
}

static inline void story_range(struct story *s, uint8_t kind, uint32_t index, uint32_t count, uint32_t word)
{
    struct ledger_op op = op_on(kind, index, 0, word);

    op.count = count;
    story_push(s, op);
}

static inline void story_take(struct story *s, uint32_t span, uint32_t count)
{
    while (story_failed(s, ledger_take(s->c.ledger, "c", 0, span, count, client_on_take, &s->c, span)))
        continue;
    client_settle(&s->c);
    assert_int_equal(s->c.take.cookie, span);
    assert_int_equal(s->c.take.verdict, VERDICT_DONE);
}

/* Of one what counts, of the next what suppresses. */
static inline void story_refusal(struct story *s, uint32_t index)
{
    struct feedback feedback = {.entry = story_entry(index),
                                .disposition = index % 8 < 4 ? DISPOSITION_COUNT : DISPOSITION_SUPPRESS,
                                .reply_class = "mailbox-full"};

    (void)snprintf(feedback.message, sizeof feedback.message, "c.%u", index);
    while (story_failed(s, ledger_feedback(s->c.ledger, s->config, &feedback)))
        continue;
}

static inline void story_outcome(struct story *s, struct suppress *view, uint32_t index)
{
    static const enum ledger_state states[] = {LEDGER_SENT, LEDGER_DEFERRED, LEDGER_BOUNCED, LEDGER_UNKNOWN};
    enum ledger_state to = states[index % 4];
    struct suppress_entry entry = story_entry(index);

    story_op(s, OP_OUTCOME, index, 1, word_of(to, 1, to == LEDGER_SENT ? 0 : CLASS_MAILBOX_UNKNOWN, 550));
    while (to == LEDGER_BOUNCED && story_failed(s, ledger_suppress(s->c.ledger, view, &entry)))
        continue;
    if (to == LEDGER_UNKNOWN)
        story_refusal(s, index);
}

static inline void story_notes(struct story *s)
{
    while (story_failed(s, ledger_site(s->c.ledger, "c", 0, 0, "site-a")))
        continue;
    while (story_failed(s, ledger_site(s->c.ledger, "c", 0, 1, "site-b")))
        continue;
    while (story_failed(s, ledger_manifest_set(s->c.ledger, "c", "started_us", "4711")))
        continue;
}

/* Takes, commits, every kind of outcome with its suppressions, ranges, notes; settled five times on the way. */
static inline void story_middle(struct story *s, struct suppress *view)
{
    story_take(s, 0, 5);
    story_take(s, 1, 700);
    for (uint32_t i = 0; i < 40; i++)
        story_op(s, OP_COMMIT, i, 1, 0);
    client_settle(&s->c);
    for (uint32_t i = 0; i < 40; i++)
        if (i % 10 == 9)
            story_op(s, OP_RELEASE, i, 1, 0);
        else
            story_outcome(s, view, i);
    story_notes(s);
    client_settle(&s->c);
    story_range(s, OP_PUT_BACK, 100, 50, word_of(LEDGER_DEFERRED, 0, CLASS_NETWORK, 0));
    story_range(s, OP_SETTLE, 200, 70, word_of(LEDGER_EXPIRED, 1, CLASS_NETWORK, 0));
    story_resend(s, 3, 0);
    story_resend(s, 7, 900);
    story_op(s, OP_COMMIT, 5, 2, 0);
    client_settle(&s->c);
    story_op(s, OP_OUTCOME, 5, 2, word_of(LEDGER_SENT, 2, 0, 250));
    story_take(s, 1, 700);
    assert_int_equal(s->c.take.words[0], word_of(LEDGER_SENT, 2, 0, 250));
}

/* begin: what is disturbed, is disturbed from there on, when all is open. */
static inline void story_tell_ledger(struct story *s, void (*begin)(void *context), void *context)
{
    static const uint32_t spans[] = {5, 700};
    struct store *store;
    struct suppress *view;
    struct hk_why why = {""};

    s->failures = 0;
    fixture_do(s->f, "FLUSHALL");
    (void)fixture_campaign(s->f, "c", spans, 2, STORY_AGE_S);
    fixture_do(s->f, "HSET {c}:m created_us 1763975000000000");
    store = fixture_store(s->f);
    assert_int_equal(suppress_open(&s->f->config, store, &view, &why), 0);
    client_open_config(&s->c, s->config, 7);
    begin(context);
    story_middle(s, view);
    memset(s->verdicts, 0, sizeof s->verdicts);
    for (uint64_t i = 0, k = 0; i < s->c.told; i++)
        if (s->c.verdict[i].cookie != SAID_BY_NOBODY)
            s->verdicts[k++] = (char)('0' + s->c.verdict[i].verdict);
    client_close(&s->c);
    suppress_close(view);
    store_close(store);
}

/* ---- what Redis holds ---- */

/* All keys but those of a random or a drawn number, as text in one order (of a stream too, whose entries come as they were
 * tried again). The caller frees it. */
static inline char *story_dump(const struct fixture *f)
{
    static const char script[] =
        "local out, keys = {}, redis.call('KEYS', '*') table.sort(keys) "
        "for _, k in ipairs(keys) do "
        "  local t, v = redis.call('TYPE', k).ok, {} "
        "  if k == 'hikyaku:epoch' or k == 'hikyaku:suppress:id' or k:find(':q', -2, true) then t = 'none' "
        "end "
        "  if t == 'string' then v = {(redis.call('GET', k):gsub('.', function(c) "
        "    return string.format('%02x', c:byte()) end))} end "
        "  if t == 'set' then v = redis.call('SMEMBERS', k) table.sort(v) end "
        "  if t == 'zset' then v = redis.call('ZRANGE', k, 0, -1, 'WITHSCORES') end "
        "  if t == 'hash' then local h = redis.call('HGETALL', k) "
        "    for i = 1, #h, 2 do v[#v + 1] = h[i] .. '=' .. h[i + 1] end table.sort(v) end "
        "  if t == 'stream' then for _, e in ipairs(redis.call('XRANGE', k, '-', '+')) do "
        "    v[#v + 1] = table.concat(e[2], ' ') end table.sort(v) end "
        "  out[#out + 1] = k .. ': ' .. table.concat(v, ', ') "
        "end return table.concat(out, '\\n')";
    redisContext *redis = fixture_redis(f);
    redisReply *reply = redisCommand(redis, "EVAL %s 0", script);
    char *text;

    assert_non_null(reply);
    if (reply->type != REDIS_REPLY_STRING)
        fail_msg("dump: %s", reply->str);
    text = hk_xstrdup(reply->str);
    freeReplyObject(reply);
    redisFree(redis);
    return text;
}

static inline void story_compare(const struct story *s, const char *undisturbed, const char *what,
                                 unsigned nth)
{
    char *now = story_dump(s->f);

    if (strcmp(now, undisturbed) != 0)
        fail_msg("%s, call %u: Redis holds\n%s\nand not\n%s", what, nth, now, undisturbed);
    free(now);
}

#endif
