/* test_ledger.c - the asynchronous ledger on a real Redis: grants, takes, group commit, and what goes wrong. */
#include "client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/wait.h>

static struct fixture f;
static struct client a, b;
static const uint32_t spans[] = {100, 4096, 3000};

static int start(void **state)
{
    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&f);
    return 0;
}

/* What the store counts; fails where the walk finds something else. */
static int tally(void *context, uint32_t segment, uint32_t index, uint32_t word)
{
    (void)segment;
    (void)index;
    ((uint64_t *)context)[ledger_unpack(word).state]++;
    return 0;
}

static uint64_t count_of(const struct manifest *m, enum ledger_state which, uint64_t *attempts)
{
    uint64_t counts[LEDGER_STATES_COUNT], walked[LEDGER_STATES_COUNT] = {0};
    struct store *store = fixture_store(&f);
    struct hk_why why;

    assert_int_equal(store_counts(store, m, counts, attempts, &why), 0);
    assert_int_equal(store_ledger_walk(store, m, tally, walked, &why), 0);
    assert_memory_equal(counts, walked, sizeof counts);
    store_close(store);
    return counts[which];
}

static void a_recipient_is_granted_once(void **state)
{
    struct ledger_op one = op_on(OP_COMMIT, 3, 1, 0), two = op_on(OP_COMMIT, 3, 2, 0);
    struct ledger_op sent = op_on(OP_OUTCOME, 3, 1, word_of(LEDGER_SENT, 1, 0, 250));

    (void)state;
    (void)fixture_campaign(&f, "once", spans, 3, 0);
    client_open(&a, &f);
    assert_int_equal(client_do(&a, "once", &one), VERDICT_LOST);
    assert_int_equal(client_take(&a, "once", 0, 100), VERDICT_DONE);
    assert_false(a.take.has_due || a.take.has_first);
    assert_int_equal(client_do(&a, "once", &one), VERDICT_DONE);
    assert_int_equal(client_do(&a, "once", &one), VERDICT_DONE);
    assert_int_equal(client_do(&a, "once", &two), VERDICT_SETTLED);
    assert_int_equal(client_do(&a, "once", &sent), VERDICT_DONE);
    assert_int_equal(client_do(&a, "once", &one), VERDICT_SETTLED);
    assert_int_equal(client_do(&a, "once", &two), VERDICT_SETTLED);
    client_close(&a);
}

static void a_span_that_another_node_took_is_refused(void **state)
{
    struct ledger_op one = op_on(OP_COMMIT, 3, 1, 0);

    (void)state;
    (void)fixture_campaign(&f, "owner", spans, 3, 0);
    client_open(&a, &f);
    client_open(&b, &f);
    assert_int_equal(client_take(&a, "owner", 0, 100), VERDICT_DONE);
    assert_int_equal(client_do(&b, "owner", &one), VERDICT_NOT_OURS);
    assert_int_equal(client_take(&b, "owner", 0, 100), VERDICT_DONE);
    assert_int_equal(client_do(&a, "owner", &one), VERDICT_NOT_OURS);
    assert_int_equal(client_do(&b, "owner", &one), VERDICT_DONE);
    client_close(&a);
    client_close(&b);
}

static void what_a_dead_node_was_sending_becomes_unknown_and_evidence_mends_it(void **state)
{
    struct manifest m = fixture_campaign(&f, "dead", spans, 3, 0);
    struct ledger_op commit = op_on(OP_COMMIT, 3, 1, 0), other = op_on(OP_COMMIT, 4, 1, 0);
    struct ledger_op late = op_on(OP_OUTCOME, 3, 1, word_of(LEDGER_SENT, 1, 0, 250));
    struct ledger_op back = op_on(OP_RELEASE, 4, 1, 0);
    uint64_t attempts;

    (void)state;
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "dead", 0, 100), VERDICT_DONE);
    assert_int_equal(client_do(&a, "dead", &commit), VERDICT_DONE);
    assert_int_equal(client_do(&a, "dead", &other), VERDICT_DONE);
    client_close(&a);
    client_open(&b, &f);
    /* The flight table says that one dot never left: before the span is taken, in the dead one's name. */
    assert_int_equal(client_do(&b, "dead", &back), VERDICT_NOT_OURS);
    back.granted = a.epoch;
    assert_int_equal(client_do(&b, "dead", &back), VERDICT_DONE);
    assert_int_equal(client_take(&b, "dead", 0, 100), VERDICT_DONE);
    assert_int_equal(ledger_unpack(b.take.words[3]).state, LEDGER_UNKNOWN);
    assert_int_equal(ledger_unpack(b.take.words[4]).state, LEDGER_PENDING);
    assert_int_equal(count_of(&m, LEDGER_UNKNOWN, &attempts), 1);
    assert_int_equal(attempts, 0);
    assert_int_equal(client_do(&b, "dead", &late), VERDICT_DONE);
    assert_int_equal(client_do(&b, "dead", &late), VERDICT_DONE);
    assert_int_equal(count_of(&m, LEDGER_SENT, &attempts), 1);
    assert_int_equal(attempts, 1);
    client_close(&b);
}

static void pause_and_cancel_stop_grants_and_leave_nothing_sending(void **state)
{
    struct manifest m = fixture_campaign(&f, "stop", spans, 3, 0);
    struct ledger_op one = op_on(OP_COMMIT, 3, 1, 0),
                     all = op_on(OP_SETTLE, 0, 0, word_of(LEDGER_CANCELLED, 0, 0, 0));
    uint64_t attempts;

    (void)state;
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "stop", 0, 100), VERDICT_DONE);
    assert_int_equal(client_do(&a, "stop", &one), VERDICT_DONE);
    assert_int_equal(ledger_manifest_set(a.ledger, "stop", "state", "paused"), 0);
    client_settle(&a);
    assert_int_equal(client_take(&a, "stop", 0, 100), VERDICT_DONE);
    /* As after a lost answer: it is asked again, is told no, and so it is not sending. */
    assert_int_equal(client_do(&a, "stop", &one), VERDICT_PAUSED);
    assert_int_equal(count_of(&m, LEDGER_SENDING, &attempts), 0);
    assert_int_equal(ledger_manifest_set(a.ledger, "stop", "state", "cancelled"), 0);
    client_settle(&a);
    assert_int_equal(client_do(&a, "stop", &one), VERDICT_CANCELLED);
    for (uint32_t span = 0, first = 0; span < 3; first += spans[span++]) {
        assert_int_equal(client_take(&a, "stop", span, spans[span]), VERDICT_CANCELLED);
        assert_true(a.take.has_words);
        all.span = span;
        all.index = all.span_first = first;
        all.count = spans[span];
        assert_int_equal(client_do(&a, "stop", &all), VERDICT_DONE);
    }
    assert_int_equal(count_of(&m, LEDGER_CANCELLED, &attempts), m.recipients);
    client_close(&a);
}

static struct ledger_word word_at(const struct manifest *m, uint32_t index)
{
    struct store *store = fixture_store(&f);
    uint32_t word = 0, due_s, first_s;
    struct hk_why why;

    assert_int_equal(store_recipient(store, m->campaign, 0, 0, index, &word, &due_s, &first_s, &why), 0);
    store_close(store);
    return ledger_unpack(word);
}

static uint32_t marks_of(unsigned marks)
{
    return ledger_pack(
        (struct ledger_word){.marks = (uint8_t)marks, .reply_class = CLASS_MAILBOX_UNKNOWN, .code = 550});
}

static void a_mark_stands_beside_the_state_and_tells_of_whom_was_unknown(void **state)
{
    struct manifest m = fixture_campaign(&f, "mark", spans, 3, 0);
    struct ledger_op sent = op_on(OP_OUTCOME, 7, 1, word_of(LEDGER_SENT, 1, 0, 250)),
                     lost = op_on(OP_OUTCOME, 8, 1, word_of(LEDGER_UNKNOWN, 1, 0, 0)),
                     mark = op_on(OP_MARK, 7, 0, marks_of(LEDGER_MARK_BOUNCED)), other = mark, none = mark;
    uint64_t attempts;

    (void)state;
    client_open(&a, &f);
    assert_int_equal(client_do(&a, "mark", &mark), VERDICT_SETTLED); /* nobody was ever taken */
    assert_int_equal(client_take(&a, "mark", 0, 100), VERDICT_DONE);
    assert_int_equal(client_do(&a, "mark", &mark), VERDICT_SETTLED); /* he was never sent to */
    assert_int_equal(client_do(&a, "mark", &sent), VERDICT_DONE);
    assert_int_equal(client_do(&a, "mark", &lost), VERDICT_DONE);
    client_close(&a);
    client_open(&b, &f); /* whoever brings it */
    for (unsigned twice = 0; twice < 2; twice++) {
        assert_int_equal(client_do(&b, "mark", &mark), VERDICT_DONE);
        assert_int_equal(word_at(&m, 7).state, LEDGER_SENT);
        assert_int_equal(word_at(&m, 7).marks, LEDGER_MARK_BOUNCED);
        assert_int_equal(word_at(&m, 7).reply_class, CLASS_MAILBOX_UNKNOWN); /* why */
    }
    mark.word = ledger_pack((struct ledger_word){.marks = LEDGER_MARK_BOUNCED, .reply_class = CLASS_NETWORK});
    assert_int_equal(client_do(&b, "mark", &mark), VERDICT_DONE);
    assert_int_equal(word_at(&m, 7).reply_class, CLASS_MAILBOX_UNKNOWN); /* the first reason stays */
    mark.word = marks_of(LEDGER_MARK_BOUNCED);
    other.word = marks_of(LEDGER_MARK_COMPLAINED | LEDGER_MARK_UNSUBSCRIBED);
    assert_int_equal(client_do(&b, "mark", &other), VERDICT_DONE);
    assert_int_equal(word_at(&m, 7).marks, 7);
    assert_int_equal(word_at(&m, 7).code, 250);
    other.index = 8; /* a complaint is no bounce, but tells of him too */
    assert_int_equal(client_do(&b, "mark", &other), VERDICT_DONE);
    assert_int_equal(word_at(&m, 8).state, LEDGER_UNKNOWN);
    mark.index = 8;
    assert_int_equal(client_do(&b, "mark", &mark), VERDICT_DONE);
    assert_int_equal(word_at(&m, 8).state, LEDGER_BOUNCED);
    assert_int_equal(word_at(&m, 8).marks, LEDGER_MARK_COMPLAINED | LEDGER_MARK_UNSUBSCRIBED);
    assert_int_equal(word_at(&m, 8).reply_class, CLASS_MAILBOX_UNKNOWN);
    assert_int_equal(word_at(&m, 8).code, 550);
    assert_int_equal(count_of(&m, LEDGER_BOUNCED, &attempts), 1);
    assert_int_equal(attempts, 2);
    none.word = 0;
    assert_int_equal(ledger_push(b.ledger, "mark", &none), HK_EINVAL);
    client_close(&b);
}

static void an_unknown_one_is_sent_to_again_when_somebody_decides_so(void **state)
{
    struct manifest m = fixture_campaign(&f, "resend", spans, 3, 0);
    struct ledger_op commit = op_on(OP_COMMIT, 7, 1, 0), again = op_on(OP_RESEND, 7, 0, 0),
                     lost = op_on(OP_OUTCOME, 7, 1, word_of(LEDGER_UNKNOWN, 1, 0, 0)), next = commit,
                     sent = op_on(OP_OUTCOME, 8, 1, word_of(LEDGER_SENT, 1, 0, 250)), wrong = again;
    uint64_t attempts;

    (void)state;
    again.due_s = wrong.due_s = 0;
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "resend", 0, 100), VERDICT_DONE);
    assert_int_equal(client_do(&a, "resend", &commit), VERDICT_DONE);
    assert_int_equal(client_do(&a, "resend", &lost), VERDICT_DONE);
    assert_int_equal(client_do(&a, "resend", &sent), VERDICT_DONE);
    assert_int_equal(count_of(&m, LEDGER_UNKNOWN, &attempts), 1);
    assert_int_equal(client_do(&a, "resend", &again), VERDICT_DONE);
    assert_int_equal(client_do(&a, "resend", &again), VERDICT_DONE);
    assert_int_equal(count_of(&m, LEDGER_UNKNOWN, &attempts), 0);
    assert_int_equal(count_of(&m, LEDGER_PENDING, &attempts), m.recipients - 1);
    wrong.index = 8; /* it is sent: no decision changes that */
    assert_int_equal(client_do(&a, "resend", &wrong), VERDICT_SETTLED);
    assert_int_equal(client_do(&a, "resend", &commit), VERDICT_SETTLED); /* the attempt of before is spent */
    next.attempt = 2;
    assert_int_equal(client_do(&a, "resend", &next), VERDICT_DONE);
    lost.word = word_of(LEDGER_UNKNOWN, 2, 0, 0);
    assert_int_equal(client_do(&a, "resend", &lost), VERDICT_DONE);
    again.due_s = 50; /* not at once */
    assert_int_equal(client_do(&a, "resend", &again), VERDICT_DONE);
    assert_int_equal(count_of(&m, LEDGER_DEFERRED, &attempts), 1);
    client_close(&a);
}

static void a_span_whose_string_is_gone_is_lost(void **state)
{
    struct ledger_op one = op_on(OP_COMMIT, 3, 1, 0);

    (void)state;
    (void)fixture_campaign(&f, "gone", spans, 3, 0);
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "gone", 0, 100), VERDICT_DONE);
    fixture_do(&f, "DEL {gone}:s:0.0");
    assert_int_equal(client_do(&a, "gone", &one), VERDICT_LOST);
    assert_int_equal(client_take(&a, "gone", 0, 100), VERDICT_LOST);
    assert_false(a.take.has_words);
    assert_int_equal(client_take(&a, "gone", 1, 4096), VERDICT_DONE);
    fixture_do(&f, "DEL {gone}:m");
    one.span = 1;
    one.span_first = 100;
    one.index = 150;
    assert_int_equal(client_do(&a, "gone", &one), VERDICT_LOST);
    assert_int_equal(client_take(&a, "gone", 2, 3000), VERDICT_LOST);
    client_close(&a);
}

static void ops_that_cannot_be_are_refused_at_once(void **state)
{
    struct ledger_op op = op_on(OP_COMMIT, 3, 0, 0);

    (void)state;
    client_open(&a, &f);
    assert_int_equal(ledger_push(a.ledger, "once", &op), HK_EINVAL);
    op.attempt = 1;
    assert_int_equal(ledger_push(a.ledger, "no}such", &op), HK_EINVAL);
    assert_int_equal(ledger_take(a.ledger, "once", 0, 0, SPAN_MAX + 1, client_on_take, &a, 0), HK_EINVAL);
    assert_int_equal(ledger_site(a.ledger, "", 0, 0, "x"), HK_EINVAL);
    assert_int_equal(ledger_pending(a.ledger), 0);
    client_close(&a);
}

static void push_commits(struct client *c, const char *campaign, uint32_t from, uint32_t count)
{
    for (uint32_t i = from; i < from + count; i++) {
        struct ledger_op op = op_on(OP_COMMIT, 100 + i, 1, 0);
        op.span = 1;
        op.span_first = 100;
        op.cookie = i;
        client_push(c, campaign, &op);
    }
}

static void nothing_is_sent_before_a_flush_and_a_thousand_ops_with_one(void **state)
{
    (void)state;
    (void)fixture_campaign(&f, "group", spans, 3, 0);
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "group", 1, 4096), VERDICT_DONE);
    push_commits(&a, "group", 0, 2500);
    client_turns(&a, 50);
    assert_int_equal(a.told, 0);
    assert_false(ledger_is_asked(a.ledger));
    assert_true(ledger_would_ask(a.ledger));
    ledger_flush(a.ledger);
    ledger_flush(a.ledger);
    assert_true(ledger_is_asked(a.ledger));
    assert_false(ledger_would_ask(a.ledger)); /* what is left goes behind the answer */
    client_until(&a, &a.told, 1000);
    assert_int_equal(ledger_pending(a.ledger), 1500);
    assert_true(ledger_would_ask(a.ledger));
    assert_false(ledger_is_asked(a.ledger)); /* the next flush asks, not the answer */
    client_settle(&a);
    assert_int_equal(a.told, 2500);
    assert_false(ledger_is_asked(a.ledger));
    assert_false(ledger_would_ask(a.ledger));
    for (uint32_t i = 0; i < 2500; i++) {
        assert_int_equal(a.verdict[i].cookie, i);
        assert_int_equal(a.verdict[i].verdict, VERDICT_DONE);
    }
    client_close(&a);
}

static void campaigns_do_not_wait_for_each_other(void **state)
{
    (void)state;
    (void)fixture_campaign(&f, "long", spans, 3, 0);
    (void)fixture_campaign(&f, "short", spans, 3, 0);
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "long", 1, 4096), VERDICT_DONE);
    assert_int_equal(client_take(&a, "short", 1, 4096), VERDICT_DONE);
    push_commits(&a, "long", 0, 1500);
    push_commits(&a, "short", 0, 10);
    ledger_flush(a.ledger);
    client_until(&a, &a.told, 1010);
    assert_int_equal(ledger_pending(a.ledger), 500);
    client_settle(&a);
    client_close(&a);
}

static void a_take_sees_what_was_pushed_before_it_and_nothing_later(void **state)
{
    (void)state;
    (void)fixture_campaign(&f, "order", spans, 3, 0);
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "order", 1, 4096), VERDICT_DONE);
    push_commits(&a, "order", 0, 1500);
    assert_int_equal(ledger_take(a.ledger, "order", 0, 1, 4096, client_on_take, &a, 9), 0);
    push_commits(&a, "order", 1500, 10);
    client_settle(&a);
    assert_int_equal(a.take.cookie, 9);
    for (uint32_t i = 0; i < 1520; i++)
        assert_int_equal(ledger_unpack(a.take.words[i]).state, i < 1500 ? LEDGER_SENDING : LEDGER_PENDING);
    assert_int_equal(client_take(&a, "order", 1, 4096), VERDICT_DONE);
    assert_int_equal(ledger_unpack(a.take.words[1509]).state, LEDGER_SENDING);
    client_close(&a);
}

static void sites_and_fields_of_the_manifest_are_kept(void **state)
{
    struct manifest m = fixture_campaign(&f, "notes", spans, 3, 0), out;
    struct store *store = fixture_store(&f);
    char site[32];
    struct hk_why why;
    redisContext *redis = fixture_redis(&f);
    redisReply *reply;

    (void)state;
    client_open(&a, &f);
    for (uint32_t i = 0; i < 1000; i++) {
        (void)snprintf(site, sizeof site, "mx%u.test", i);
        assert_int_equal(ledger_site(a.ledger, "notes", 0, i, site), 0);
        if (i == 500)
            assert_int_equal(ledger_manifest_set(a.ledger, "notes", "started_us", "17"), 0);
    }
    assert_int_equal(ledger_site(a.ledger, "notes", 0, 3, "moved.test"), 0);
    assert_int_equal(ledger_pending(a.ledger), 1002);
    client_settle(&a);
    assert_int_equal(store_campaign_get(store, m.campaign, &out, &why), 0);
    assert_int_equal(out.started_us, 17);
    reply = redisCommand(redis, "HLEN {notes}:site");
    assert_int_equal(reply->integer, 1000);
    freeReplyObject(reply);
    reply = redisCommand(redis, "HGET {notes}:site 0.3");
    assert_string_equal(reply->str, "moved.test");
    freeReplyObject(reply);
    redisFree(redis);
    store_close(store);
    client_close(&a);
}

static void a_forgotten_campaign_does_not_come_back_in_part(void **state)
{
    struct manifest m = fixture_campaign(&f, "gone", spans, 3, 0), out;
    struct store *store = fixture_store(&f);
    struct hk_why why;

    (void)state;
    client_open(&a, &f);
    client_settle(&a);
    fixture_do(&f, "DEL {gone}:m {gone}:n");
    assert_int_equal(ledger_site(a.ledger, "gone", 0, 1, "mx.test"), 0);
    client_settle(&a);
    assert_int_equal(a.behinds, 0); /* what is sent there will tell */
    assert_int_equal(ledger_manifest_set(a.ledger, "gone", "settled_us", "17"), 0);
    ledger_flush(a.ledger);
    client_until(&a, &a.behinds, 1);
    assert_int_equal(store_campaign_get(store, m.campaign, &out, &why), HK_ENOENT);
    store_close(store);
    client_close(&a);
}

static void a_flushed_script_cache_is_filled_again(void **state)
{
    (void)state;
    (void)fixture_campaign(&f, "flush", spans, 3, 0);
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "flush", 1, 4096), VERDICT_DONE);
    fixture_do(&f, "SCRIPT FLUSH");
    push_commits(&a, "flush", 0, 1500);
    assert_int_equal(ledger_take(a.ledger, "flush", 0, 1, 4096, client_on_take, &a, 1), 0);
    client_settle(&a);
    assert_int_equal(ledger_unpack(a.take.words[1499]).state, LEDGER_SENDING);
    assert_int_equal(a.told, 1500);
    for (uint32_t i = 0; i < 1500; i++)
        assert_int_equal(a.verdict[i].verdict, VERDICT_DONE);
    assert_int_equal(a.ups, 1);
    assert_int_equal(a.downs + a.brokens, 0);
    client_close(&a);
}

static void a_redis_without_room_is_told_once_and_goes_on_when_mended(void **state)
{
    struct manifest m = fixture_campaign(&f, "oom", spans, 3, 0);
    uint64_t attempts;

    (void)state;
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "oom", 1, 4096), VERDICT_DONE);
    fixture_do(&f, "CONFIG SET maxmemory 1");
    push_commits(&a, "oom", 0, 10);
    ledger_flush(a.ledger);
    client_turns(&a, 2300);
    assert_int_equal(a.brokens, 1);
    assert_non_null(strstr(a.words_why, "OOM"));
    assert_int_equal(ledger_pending(a.ledger), 10);
    assert_int_equal(a.ups, 1);
    fixture_do(&f, "CONFIG SET maxmemory 0");
    client_settle(&a);
    assert_int_equal(a.ups, 2);
    assert_int_equal(a.downs, 0);
    assert_int_equal(a.told, 10);
    assert_int_equal(count_of(&m, LEDGER_SENDING, &attempts), 10);
    client_close(&a);
}

static void a_busy_redis_is_waited_for(void **state)
{
    static const char spin[] = "local t = redis.call('TIME') local stop = t[1] * 1000000 + t[2] + 600000 "
                               "repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] > stop";
    struct ledger_op one = op_on(OP_COMMIT, 3, 1, 0);
    pid_t child;

    (void)state;
    (void)fixture_campaign(&f, "busy", spans, 3, 0);
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "busy", 0, 100), VERDICT_DONE);
    fixture_do(&f, "CONFIG SET busy-reply-threshold 20");
    child = fork();
    if (child == 0) {
        redisReply *reply = redisCommand(fixture_redis(&f), "EVAL %s 0", spin);
        _exit(reply && reply->type != REDIS_REPLY_ERROR ? 0 : 1);
    }
    (void)usleep(200000);
    assert_int_equal(client_do(&a, "busy", &one), VERDICT_DONE);
    assert_int_equal(a.brokens, 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    client_close(&a);
}

static void it_waits_for_a_redis_that_is_not_there_yet(void **state)
{
    struct ledger_op one = op_on(OP_COMMIT, 3, 1, 0);
    struct fixture late;

    (void)state;
    fixture_dir(&late);
    client_open_config(&a, &late.config, 1);
    client_push(&a, "late", &one);
    ledger_flush(a.ledger);
    client_until(&a, &a.downs, 1);
    assert_int_equal(a.ups, 0);
    fixture_start(&late);
    (void)fixture_campaign(&late, "late", spans, 3, 0);
    client_settle(&a);
    assert_int_equal(a.ups, 1);
    assert_int_equal(a.verdict[0].verdict, VERDICT_LOST);
    client_close(&a);
    fixture_end(&late);
}

static void a_wrong_password_is_broken_in_words(void **state)
{
    char socket[128], file[128];
    struct config config = {.state_dir = f.dir, .redis.mode = REDIS_EXTERNAL, .redis.socket = socket};
    struct ledger_op one = op_on(OP_COMMIT, 3, 1, 0);
    struct hk_why why;

    (void)state;
    (void)snprintf(socket, sizeof socket, "%s/redis.sock", f.dir);
    (void)snprintf(file, sizeof file, "%s/password", f.dir);
    config.redis.user = "courier";
    config.redis.password_file = file;
    assert_int_equal(hk_write_file(file, 0600, "secret\n", 7, &why), 0);
    client_open_config(&a, &config, 1);
    client_push(&a, "password", &one);
    client_until(&a, &a.brokens, 1);
    assert_non_null(strstr(a.words_why, "WRONGPASS"));
    fixture_do(&f, "ACL SETUSER courier on >secret ~* +@all");
    client_settle(&a);
    assert_int_equal(a.verdict[0].verdict, VERDICT_LOST);
    assert_int_equal(a.ups, 1);
    client_close(&a);
}

static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static void over_tcp_it_is_the_same(void **state)
{
    struct config config = {.state_dir = f.dir,
                            .redis = {.mode = REDIS_EXTERNAL, .host = "127.0.0.1", .port = free_port()}};
    struct manifest m = fixture_campaign(&f, "tcp", spans, 3, 0), out;
    struct store *store;
    struct hk_why why;

    (void)state;
    fixture_do(&f, "CONFIG SET bind 127.0.0.1 port %d", (int)config.redis.port);
    assert_int_equal(store_open(&config, &store, &why), 0);
    assert_int_equal(store_campaign_get(store, "tcp", &out, &why), 0);
    assert_memory_equal(&m, &out, sizeof m);
    store_close(store);
    client_open_config(&a, &config, 77);
    assert_int_equal(client_take(&a, "tcp", 1, 4096), VERDICT_DONE);
    push_commits(&a, "tcp", 0, 1500);
    client_settle(&a);
    assert_int_equal(a.verdict[1499].verdict, VERDICT_DONE);
    client_close(&a);
    fixture_do(&f, "CONFIG SET port 0");
    assert_int_equal(store_open(&config, &store, &why), HK_EDOWN);
    assert_non_null(strstr(why.text, "127.0.0.1"));
}

#define STREAM 3000u

/* Kill Redis without mercy and start it again, each time a share of the verdicts has come. */
static void killed_in_the_middle_redis_comes_back_and_nothing_is_lost_or_counted_twice(void **state)
{
    struct manifest m = fixture_campaign(&f, "kill", spans, 3, 0);
    uint64_t attempts, next = 0, killed_at = 400, kills = 0, end_ms = clock_now_ms() + CLIENT_PATIENCE_MS;

    (void)state;
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "kill", 1, 4096), VERDICT_DONE);
    while (a.told < 2 * STREAM) {
        assert_true(clock_now_ms() < end_ms);
        for (uint32_t i = 0; i < 7 && next < STREAM; i++, next++) {
            struct ledger_op op = op_on(OP_COMMIT, 100 + (uint32_t)next, 1, 0);
            op.span = 1;
            op.span_first = 100;
            op.cookie = 2 * next;
            client_push(&a, "kill", &op);
            op.kind = OP_OUTCOME;
            op.word = word_of(next % 10 ? LEDGER_SENT : LEDGER_DEFERRED, 1, 0, 250);
            op.cookie++;
            client_push(&a, "kill", &op);
        }
        ledger_flush(a.ledger);
        (void)ev_run(a.loop, kills % 2 ? EVRUN_ONCE : EVRUN_NOWAIT);
        if (a.told >= killed_at && kills < 5) {
            killed_at += 1000;
            kills++;
            assert_int_equal(kill(f.pid, SIGKILL), 0);
            assert_int_equal(waitpid(f.pid, NULL, 0), f.pid);
            fixture_start(&f);
        }
    }
    for (uint64_t i = 0; i < a.told; i++) {
        assert_int_equal(a.verdict[i].cookie, i);
        /* A repeated batch finds its own outcomes: the commit is then too late, and says so. */
        assert_true(a.verdict[i].verdict == VERDICT_DONE ||
                    (i % 2 == 0 && a.verdict[i].verdict == VERDICT_SETTLED));
    }
    assert_int_equal(kills, 5);
    assert_int_equal(a.downs, 5);
    assert_int_equal(a.ups, 6);
    assert_int_equal(count_of(&m, LEDGER_SENT, &attempts), STREAM * 9 / 10);
    assert_int_equal(count_of(&m, LEDGER_DEFERRED, &attempts), STREAM / 10);
    assert_int_equal(attempts, STREAM);
    client_close(&a);
}

static void closing_with_calls_in_flight_frees_them(void **state)
{
    (void)state;
    (void)fixture_campaign(&f, "close", spans, 3, 0);
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "close", 1, 4096), VERDICT_DONE);
    push_commits(&a, "close", 0, 1200);
    assert_int_equal(ledger_take(a.ledger, "close", 0, 2, 3000, client_on_take, &a, 1), 0);
    assert_int_equal(ledger_site(a.ledger, "close", 0, 1, "x.test"), 0);
    ledger_flush(a.ledger);
    assert_int_equal(ledger_site(a.ledger, "close", 0, 2, "y.test"), 0);
    client_close(&a);
}

/* The event log is told again from some place on: what came after a line must not be undone by it. */
static void a_line_that_is_told_again_undoes_nothing(void **state)
{
    struct manifest m = fixture_campaign(&f, "again", spans, 3, 0);
    struct ledger_op commit = op_on(OP_COMMIT, 3, 1, 0), resend = op_on(OP_RESEND, 3, 1, 0);
    struct ledger_op unknown = op_on(OP_OUTCOME, 3, 1, word_of(LEDGER_UNKNOWN, 1, 0, 0));
    uint64_t attempts;

    (void)state;
    resend.due_s = 0;
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "again", 0, 100), VERDICT_DONE);
    assert_int_equal(client_do(&a, "again", &commit), VERDICT_DONE);
    assert_int_equal(client_do(&a, "again", &unknown), VERDICT_DONE);
    assert_int_equal(client_do(&a, "again", &resend), VERDICT_DONE);
    assert_int_equal(client_do(&a, "again", &unknown), VERDICT_SETTLED);
    assert_int_equal(count_of(&m, LEDGER_PENDING, &attempts), m.recipients);
    commit.attempt = 2;
    assert_int_equal(client_do(&a, "again", &commit), VERDICT_DONE);
    assert_int_equal(client_do(&a, "again", &unknown), VERDICT_SETTLED); /* of the attempt before */
    unknown.word = word_of(LEDGER_UNKNOWN, 2, 0, 0);
    assert_int_equal(client_do(&a, "again", &unknown), VERDICT_DONE);
    assert_int_equal(client_do(&a, "again", &resend), VERDICT_SETTLED);
    assert_int_equal(count_of(&m, LEDGER_UNKNOWN, &attempts), 1);
    assert_int_equal(attempts, 2);
    client_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_that_is_told_again_undoes_nothing),
        cmocka_unit_test(a_recipient_is_granted_once),
        cmocka_unit_test(a_span_that_another_node_took_is_refused),
        cmocka_unit_test(what_a_dead_node_was_sending_becomes_unknown_and_evidence_mends_it),
        cmocka_unit_test(pause_and_cancel_stop_grants_and_leave_nothing_sending),
        cmocka_unit_test(a_mark_stands_beside_the_state_and_tells_of_whom_was_unknown),
        cmocka_unit_test(an_unknown_one_is_sent_to_again_when_somebody_decides_so),
        cmocka_unit_test(a_span_whose_string_is_gone_is_lost),
        cmocka_unit_test(ops_that_cannot_be_are_refused_at_once),
        cmocka_unit_test(nothing_is_sent_before_a_flush_and_a_thousand_ops_with_one),
        cmocka_unit_test(campaigns_do_not_wait_for_each_other),
        cmocka_unit_test(a_take_sees_what_was_pushed_before_it_and_nothing_later),
        cmocka_unit_test(sites_and_fields_of_the_manifest_are_kept),
        cmocka_unit_test(a_forgotten_campaign_does_not_come_back_in_part),
        cmocka_unit_test(a_flushed_script_cache_is_filled_again),
        cmocka_unit_test(a_redis_without_room_is_told_once_and_goes_on_when_mended),
        cmocka_unit_test(a_busy_redis_is_waited_for),
        cmocka_unit_test(it_waits_for_a_redis_that_is_not_there_yet),
        cmocka_unit_test(over_tcp_it_is_the_same),
        cmocka_unit_test(a_wrong_password_is_broken_in_words),
        cmocka_unit_test(killed_in_the_middle_redis_comes_back_and_nothing_is_lost_or_counted_twice),
        cmocka_unit_test(closing_with_calls_in_flight_frees_them),
    };
    return cmocka_run_group_tests(tests, start, end);
}
