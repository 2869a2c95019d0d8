/* test_model.c - random sequences of every op by two nodes, against a model of the ledger's rules written anew in C.
 *
 * After each batch the words, due times, first attempts, quick counts and the set of due spans in Redis are those of
 * the model. Each batch is sent a second time, as after a lost answer: the model goes along, and where the batch is one
 * that a master can have (one op for a recipient, or a COMMIT and its RELEASE) the second time changes nothing.
 */
#include "client.h"

#define SPANS     4u
#define NOW_S     1000u /* age of the campaign: due times are far below or far above it */
#define CAMPAIGNS 60u
#define ROUNDS    12u /* for each campaign: most is settled by then */
#define BATCH     60u

struct model_span {
    uint32_t first, count;
    uint64_t owner; /* 0: never taken */
    uint32_t word[SPAN_MAX], due[SPAN_MAX], tried[SPAN_MAX];
    bool uncounted[SPAN_MAX];
    uint32_t earliest; /* in {c}:due; UINT32_MAX: not there */
};

struct model {
    struct model_span span[SPANS];
    uint64_t attempts;
    enum { RUNNING, PAUSED, CANCELLED } state;
};

static const uint32_t span_count[SPANS] = {5, 700, 4096, 1};
static const char *const state_words[] = {"running", "paused", "cancelled"};
static struct model model;
static struct fixture f;
static struct manifest manifest;
static char campaign[16];
static uint32_t seed = 20261124;

static uint32_t dice(uint32_t sides)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)seed * sides >> 32);
}

/* ---- the rules ---- */

static void defer(struct model_span *s, uint32_t i, uint32_t due)
{
    if (due > s->due[i])
        s->due[i] = due;
    if (s->due[i] < s->earliest)
        s->earliest = s->due[i];
}

static void undo(struct model_span *s, uint32_t i, uint32_t due)
{
    struct ledger_word w = ledger_unpack(s->word[i]);

    w.attempts--;
    w.state = w.attempts && s->tried[i] ? LEDGER_DEFERRED : LEDGER_PENDING;
    s->word[i] = ledger_pack(w);
    if (w.state == LEDGER_DEFERRED)
        defer(s, i, due);
}

static enum ledger_verdict model_commit(struct model_span *s, const struct ledger_op *op, uint32_t i)
{
    struct ledger_word w = ledger_unpack(s->word[i]);
    bool again = w.state == LEDGER_SENDING && w.attempts == op->attempt;

    if (model.state != RUNNING) {
        if (again)
            undo(s, i, op->due_s);
        return model.state == PAUSED ? VERDICT_PAUSED : VERDICT_CANCELLED;
    }
    if (again)
        return VERDICT_DONE;
    if ((w.state != LEDGER_PENDING && w.state != LEDGER_DEFERRED) || op->attempt <= w.attempts)
        return VERDICT_SETTLED;
    w.state = LEDGER_SENDING;
    w.attempts = op->attempt;
    s->word[i] = ledger_pack(w);
    return VERDICT_DONE;
}

static bool model_outcome_applies(const struct ledger_word *old, const struct ledger_word *new)
{
    switch (new->state) {
    case LEDGER_SENT:
        return old->state != LEDGER_SENT;
    case LEDGER_BOUNCED:
        return old->state != LEDGER_SENT && old->state != LEDGER_BOUNCED;
    case LEDGER_UNKNOWN:
        if (old->state == LEDGER_SENDING)
            return new->attempts >= old->attempts;
        return (old->state == LEDGER_PENDING || old->state == LEDGER_DEFERRED) &&
               new->attempts > old->attempts;
    case LEDGER_DEFERRED:
        if (old->state == LEDGER_DEFERRED)
            return new->attempts > old->attempts;
        return (old->state == LEDGER_PENDING || old->state == LEDGER_SENDING) &&
               new->attempts >= old->attempts;
    default:
        return (old->state == LEDGER_PENDING || old->state == LEDGER_DEFERRED ||
                old->state == LEDGER_SENDING) &&
               new->attempts >= old->attempts;
    }
}

static enum ledger_verdict model_outcome(struct model_span *s, const struct ledger_op *op, uint32_t i)
{
    struct ledger_word old = ledger_unpack(s->word[i]), new = ledger_unpack(op->word);

    if (!model_outcome_applies(&old, &new))
        return old.state == new.state &&old.attempts == new.attempts ? VERDICT_DONE : VERDICT_SETTLED;
    if (new.attempts > old.attempts)
        model.attempts += new.attempts - old.attempts;
    else if (new.attempts == old.attempts && (old.state == LEDGER_SENDING || s->uncounted[i]))
        model.attempts++;
    if (old.attempts > new.attempts)
        new.attempts = old.attempts;
    s->uncounted[i] = false;
    s->word[i] = ledger_pack(new);
    if (new.state == LEDGER_DEFERRED) {
        defer(s, i, op->due_s);
        if (s->tried[i] == 0)
            s->tried[i] = op->first_s ? op->first_s : 1;
    }
    return VERDICT_DONE;
}

static enum ledger_verdict model_release(struct model_span *s, const struct ledger_op *op, uint32_t i)
{
    struct ledger_word w = ledger_unpack(s->word[i]);

    if (w.state == LEDGER_SENDING && w.attempts == op->attempt) {
        undo(s, i, op->due_s);
        return VERDICT_DONE;
    }
    return (w.state == LEDGER_PENDING || w.state == LEDGER_DEFERRED) && w.attempts < op->attempt
               ? VERDICT_DONE
               : VERDICT_SETTLED;
}

static void model_put_back(struct model_span *s, const struct ledger_op *op, uint32_t i)
{
    struct ledger_word w = ledger_unpack(s->word[i]), given = ledger_unpack(op->word);

    if (w.state != LEDGER_PENDING && (w.state != LEDGER_DEFERRED || s->due[i] >= op->due_s))
        return;
    w.state = LEDGER_DEFERRED;
    w.attempts++;
    model.attempts++;
    w.reply_class = given.reply_class;
    w.code = given.code;
    s->word[i] = ledger_pack(w);
    if (op->due_s > s->due[i])
        s->due[i] = op->due_s;
    if (op->due_s < s->earliest)
        s->earliest = op->due_s;
    if (s->tried[i] == 0)
        s->tried[i] = op->first_s ? op->first_s : 1;
}

static void model_settle(struct model_span *s, const struct ledger_op *op, uint32_t i)
{
    struct ledger_word w = ledger_unpack(s->word[i]), given = ledger_unpack(op->word);

    if (w.state != LEDGER_PENDING && w.state != LEDGER_DEFERRED)
        return;
    model.attempts += given.attempts ? 1 : 0;
    given.attempts = (uint8_t)(w.attempts + (given.attempts ? 1 : 0));
    s->word[i] = ledger_pack(given);
}

static bool is_evidence(const struct ledger_op *op)
{
    uint8_t state = ledger_unpack(op->word).state;

    return op->kind == OP_OUTCOME &&
           (state == LEDGER_SENT || state == LEDGER_BOUNCED || state == LEDGER_UNKNOWN);
}

static enum ledger_verdict model_apply(const struct ledger_op *op, uint64_t epoch)
{
    struct model_span *s = &model.span[op->span];
    uint32_t i = op->index - op->span_first;

    if (!s->owner)
        return VERDICT_LOST;
    if (s->owner != (op->granted ? op->granted : epoch) && !is_evidence(op))
        return VERDICT_NOT_OURS;
    switch (op->kind) {
    case OP_COMMIT:
        return model_commit(s, op, i);
    case OP_OUTCOME:
        return model_outcome(s, op, i);
    case OP_RELEASE:
        return model_release(s, op, i);
    default:
        for (uint32_t end = i + op->count; i < end; i++)
            op->kind == OP_SETTLE ? model_settle(s, op, i) : model_put_back(s, op, i);
        return VERDICT_DONE;
    }
}

static void model_take(struct model_span *s, uint64_t epoch)
{
    for (uint32_t i = 0; i < s->count && s->owner != epoch; i++) {
        struct ledger_word w = ledger_unpack(s->word[i]);
        if (w.state != LEDGER_SENDING)
            continue;
        s->word[i] = ledger_pack((struct ledger_word){.state = LEDGER_UNKNOWN, .attempts = w.attempts});
        s->uncounted[i] = true;
    }
    s->owner = epoch;
    s->earliest = UINT32_MAX;
    for (uint32_t i = 0; i < s->count; i++)
        if (ledger_unpack(s->word[i]).state == LEDGER_DEFERRED && s->due[i] > NOW_S * 2 &&
            s->due[i] < s->earliest)
            s->earliest = s->due[i];
}

/* ---- what Redis holds ---- */

static void string_is(redisContext *redis, char part, uint32_t span, const uint32_t *expected, bool words)
{
    const struct model_span *s = &model.span[span];
    redisReply *reply = redisCommand(redis, "GET {%s}:%s:0.%u", campaign, (char[]){part, '\0'}, span);

    assert_non_null(reply);
    if (words)
        assert_int_equal(reply->len, s->owner ? s->count * 4 : 0);
    assert_true(reply->len <= s->count * 4);
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t value = 0;
        if (reply->len >= (i + 1) * (size_t)4)
            memcpy(&value, reply->str + (size_t)i * 4, 4);
        if (words)
            value &= ~(1u << 30);
        if (value != expected[i])
            fail_msg("%c of span %u, recipient %u: %08x in Redis, %08x in the model", part, span, i, value,
                     expected[i]);
    }
    freeReplyObject(reply);
}

static int tally(void *context, uint32_t segment, uint32_t index, uint32_t word)
{
    (void)segment;
    (void)index;
    ((uint64_t *)context)[ledger_unpack(word).state]++;
    return 0;
}

static void counts_are_right(struct store *store)
{
    uint64_t quick[LEDGER_STATES_COUNT], walked[LEDGER_STATES_COUNT] = {0}, attempts;
    struct hk_why why = {""};

    if (store_counts(store, &manifest, quick, &attempts, &why) != 0 ||
        store_ledger_walk(store, &manifest, tally, walked, &why) != 0)
        fail_msg("%s", why.text);
    for (int i = 0; i < LEDGER_STATES_COUNT; i++)
        if (quick[i] != walked[i])
            fail_msg("%s: %llu counted, %llu found", ledger_state_name((enum ledger_state)i),
                     (unsigned long long)quick[i], (unsigned long long)walked[i]);
    assert_int_equal(attempts, model.attempts);
}

static uint32_t due_seen[SPANS];

static void see_span(void *context, uint32_t segment, uint32_t span, bool taken, uint32_t earliest)
{
    (void)context;
    assert_int_equal(segment, 0);
    assert_true(span < SPANS);
    if (taken)
        assert_true(model.span[span].owner != 0);
    else
        due_seen[span] = earliest;
}

static void redis_is_as_the_model(struct store *store, redisContext *redis)
{
    struct hk_why why;

    for (uint32_t span = 0; span < SPANS; span++) {
        string_is(redis, 's', span, model.span[span].word, true);
        string_is(redis, 'd', span, model.span[span].due, false);
        string_is(redis, 'f', span, model.span[span].tried, false);
        due_seen[span] = UINT32_MAX;
    }
    assert_int_equal(store_spans(store, campaign, see_span, NULL, &why), 0);
    for (uint32_t span = 0; span < SPANS; span++)
        assert_int_equal(due_seen[span], model.span[span].earliest);
    counts_are_right(store);
}

/* ---- the dice ---- */

static uint32_t some_due(void)
{
    return dice(2) ? 1 + dice(NOW_S / 2) : NOW_S * 100 + dice(1000);
}

static struct ledger_op some_op(void)
{
    static const uint8_t outcomes[] = {LEDGER_SENT,    LEDGER_DEFERRED, LEDGER_DEFERRED, LEDGER_DEFERRED,
                                       LEDGER_BOUNCED, LEDGER_UNKNOWN,  LEDGER_EXPIRED};
    static const uint8_t settled[] = {LEDGER_EXPIRED, LEDGER_BOUNCED, LEDGER_SUPPRESSED, LEDGER_CANCELLED};
    struct ledger_op op = {.span = dice(SPANS), .due_s = some_due(), .first_s = dice(NOW_S)};
    const struct model_span *s = &model.span[op.span];
    /* Few enough recipients that ops meet. */
    uint32_t i = dice(s->count < 12 ? s->count : 12) * (s->count > 100 ? 50 : 1);
    struct ledger_word now = ledger_unpack(s->word[i]),
                       word = {.reply_class = (uint8_t)dice(CLASSES), .code = (uint16_t)dice(600)};
    static const uint8_t kinds[] = {OP_COMMIT,  OP_COMMIT,  OP_COMMIT,  OP_COMMIT,   OP_OUTCOME, OP_OUTCOME,
                                    OP_OUTCOME, OP_RELEASE, OP_RELEASE, OP_PUT_BACK, OP_SETTLE};

    op.kind = kinds[dice(sizeof kinds)];
    op.span_first = s->first;
    op.index = s->first + i;
    op.attempt = (uint8_t)(now.attempts + dice(3));
    op.attempt = op.attempt ? op.attempt : 1;
    op.count = 1 + (dice(8) == 0 ? dice(s->count - i) : 0);
    word.state = outcomes[dice(sizeof outcomes)];
    word.attempts = (uint8_t)(now.attempts + dice(3));
    word.attempts = word.attempts ? word.attempts : 1;
    if (op.kind == OP_SETTLE) {
        word.state = settled[dice(sizeof settled)];
        word.attempts = (uint8_t)dice(2);
        op.count = dice(20) ? 1 : op.count;
    }
    op.word = ledger_pack(word);
    return op;
}

static bool touched[SPANS][SPAN_MAX];

/* Does the batch stay one that a master can have? */
static bool is_apart(const struct ledger_op *op)
{
    bool apart = true;

    for (uint32_t i = op->index - op->span_first, end = i + op->count; i < end; i++) {
        apart = apart && !touched[op->span][i];
        touched[op->span][i] = true;
    }
    return apart;
}

/* The same of those beside him, in any order: what goes to the script as one. Of kinds that have a count of their own it is 1. */
static uint32_t add_neighbours(struct ledger_op *op, uint32_t count, bool as_a_master)
{
    const struct model_span *s = &model.span[op[count - 1].span];
    uint32_t i = op[count - 1].index - s->first, many = dice(12), from = count - 1;

    while (count < BATCH && many-- > 0 && ++i < s->count) {
        op[count] = op[from];
        op[count].index = s->first + i;
        if (!as_a_master || is_apart(&op[count]))
            count++;
    }
    for (uint32_t at = from; at + 1 < count; at++) {
        uint32_t other = at + dice(count - at);
        struct ledger_op kept = op[at];
        op[at] = op[other];
        op[other] = kept;
    }
    return count;
}

static uint32_t some_batch(struct ledger_op *op, bool as_a_master)
{
    uint32_t count = 0;

    memset(touched, 0, sizeof touched);
    while (count < BATCH) {
        op[count] = some_op();
        if (op[count].kind != OP_PUT_BACK && op[count].kind != OP_SETTLE)
            op[count].count = 1;
        if (as_a_master && !is_apart(&op[count])) {
            if (dice(10) == 0)
                break;
            continue;
        }
        count++;
        if (as_a_master && op[count - 1].kind == OP_COMMIT && count < BATCH && dice(4) == 0) {
            op[count] = op[count - 1];
            op[count++].kind = OP_RELEASE;
        } else if (op[count - 1].count == 1 && dice(3) == 0) {
            count = add_neighbours(op, count, as_a_master);
        }
    }
    return count;
}

/* Send a batch, and see each op judged as the model judges it. */
static void send_batch(struct client *c, struct ledger_op *op, uint32_t count)
{
    enum ledger_verdict expected[BATCH];
    uint64_t told = c->told;

    for (uint32_t i = 0; i < count; i++) {
        op[i].cookie = i;
        expected[i] = model_apply(&op[i], c->epoch);
        client_push(c, campaign, &op[i]);
    }
    client_settle(c);
    assert_int_equal(c->told, told + count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(c->verdict[(told + i) % CLIENT_VERDICTS].cookie, i);
        if (c->verdict[(told + i) % CLIENT_VERDICTS].verdict != expected[i])
            fail_msg("op %u of kind %u: verdict %d, the model says %d", i, op[i].kind,
                     (int)c->verdict[(told + i) % CLIENT_VERDICTS].verdict, (int)expected[i]);
    }
}

static void one_batch(struct client *c)
{
    static struct model before;
    bool as_a_master = dice(2) == 0;
    struct ledger_op op[BATCH];
    uint32_t count = some_batch(op, as_a_master);

    send_batch(c, op, count);
    before = model;
    send_batch(c, op, count);
    if (as_a_master)
        assert_memory_equal(&before, &model, sizeof model);
}

static void one_take(struct client *c)
{
    uint32_t span = dice(SPANS);
    struct model_span *s = &model.span[span];

    model_take(s, c->epoch);
    assert_int_equal(client_take(c, campaign, span, s->count),
                     model.state == CANCELLED ? VERDICT_CANCELLED : VERDICT_DONE);
    assert_true(c->take.has_words);
    for (uint32_t i = 0; i < s->count; i++) {
        assert_int_equal(c->take.words[i] & ~(1u << 30), s->word[i]);
        assert_int_equal(c->take.has_due ? c->take.due[i] : 0, s->due[i]);
        assert_int_equal(c->take.has_first ? c->take.first[i] : 0, s->tried[i]);
    }
}

static void one_change_of_state(struct client *c)
{
    model.state = dice(3) ? RUNNING : dice(2) ? PAUSED : CANCELLED;
    assert_int_equal(ledger_manifest_set(c->ledger, campaign, "state", state_words[model.state]), 0);
    client_settle(c);
}

static void one_campaign(struct client *client, struct store *store, redisContext *redis)
{
    manifest = fixture_campaign(&f, campaign, span_count, SPANS, NOW_S);
    memset(&model, 0, sizeof model);
    for (uint32_t i = 0, first = 0; i < SPANS; first += span_count[i++]) {
        model.span[i].first = first;
        model.span[i].count = span_count[i];
        model.span[i].earliest = UINT32_MAX;
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct client *c = &client[dice(2)];
        for (uint32_t takes = dice(4); takes > 0; takes--)
            one_take(c);
        if (dice(10) == 0)
            one_change_of_state(c);
        one_batch(c);
        redis_is_as_the_model(store, redis);
    }
}

static void redis_and_the_model_agree_and_repeats_change_nothing(void **state)
{
    static struct client client[2];
    struct store *store;
    redisContext *redis;

    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    client_open(&client[0], &f);
    client_open(&client[1], &f);
    store = fixture_store(&f);
    redis = fixture_redis(&f);
    for (uint32_t i = 0; i < CAMPAIGNS; i++) {
        (void)snprintf(campaign, sizeof campaign, "model-%u", i);
        one_campaign(client, store, redis);
    }
    redisFree(redis);
    store_close(store);
    client_close(&client[0]);
    client_close(&client[1]);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(redis_and_the_model_agree_and_repeats_change_nothing)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
