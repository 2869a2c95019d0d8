/* client.h - a ledger on a loop of its own, as the master would drive it, that remembers what it was told. */
#ifndef HIKYAKU_TESTS_STATE_CLIENT_H
#define HIKYAKU_TESTS_STATE_CLIENT_H

#include "fixture.h"
#include "hikyaku/feedback.h"
#include "hikyaku/segment.h"

#define CLIENT_VERDICTS    8192u
#define CLIENT_PATIENCE_MS 60000u /* what takes longer hangs, even on a busy machine */

struct client {
    struct {
        unsigned answers;
        struct feedback_result last;
        char address[ADDRESS_MAX + 1];
    } fed; /* what ledger_feedback() told */
    struct ev_loop *loop;
    ev_timer tick;
    struct ledger *ledger;
    uint64_t epoch;
    uint64_t ups, downs, brokens, behinds;
    char words_why[512];
    uint64_t told; /* verdicts so far; the last CLIENT_VERDICTS of them are kept */
    struct {
        uint64_t cookie;
        enum ledger_verdict verdict;
    } verdict[CLIENT_VERDICTS];
    struct { /* the last take */
        int calls;
        uint64_t cookie;
        enum ledger_verdict verdict;
        bool has_words, has_due, has_first;
        uint32_t count, words[SPAN_MAX], due[SPAN_MAX], first[SPAN_MAX];
    } take;
};

static inline void client_on_up(void *context)
{
    ((struct client *)context)->ups++;
}

static inline void client_on_down(void *context, const char *why)
{
    struct client *c = context;

    c->downs++;
    assert_true(strlen(why) > 0);
}

static inline void client_on_broken(void *context, const char *why)
{
    struct client *c = context;

    c->brokens++;
    (void)snprintf(c->words_why, sizeof c->words_why, "%s", why);
}

static inline void client_on_behind(void *context, const char *campaign)
{
    assert_true(strlen(campaign) > 0);
    ((struct client *)context)->behinds++;
}

static inline void client_on_verdict(void *context, const char *campaign, const struct ledger_op *op,
                                     enum ledger_verdict verdict)
{
    struct client *c = context;

    assert_true(strlen(campaign) > 0);
    c->verdict[c->told % CLIENT_VERDICTS].cookie = op->cookie;
    c->verdict[c->told % CLIENT_VERDICTS].verdict = verdict;
    c->told++;
}

static inline void client_on_take(void *context, uint64_t cookie, enum ledger_verdict verdict,
                                  const uint32_t *words, const uint32_t *due, const uint32_t *first,
                                  uint32_t count)
{
    struct client *c = context;

    c->take.calls++;
    c->take.cookie = cookie;
    c->take.verdict = verdict;
    c->take.count = count;
    c->take.has_words = words != NULL;
    c->take.has_due = due != NULL;
    c->take.has_first = first != NULL;
    if (words)
        memcpy(c->take.words, words, count * sizeof *words);
    if (due)
        memcpy(c->take.due, due, count * sizeof *due);
    if (first)
        memcpy(c->take.first, first, count * sizeof *first);
}

static inline void client_on_fed_back(void *context, const struct feedback *feedback,
                                      const struct feedback_result *result)
{
    struct client *c = context;

    c->fed.answers++;
    c->fed.last = *result;
    memcpy(c->fed.address, feedback->entry.address, sizeof c->fed.address);
}

static inline void client_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)timer;
    (void)events;
}

static inline void client_open_config(struct client *c, const struct config *config, uint64_t epoch)
{
    struct ledger_callbacks callbacks = {c,
                                         client_on_up,
                                         client_on_down,
                                         client_on_verdict,
                                         client_on_fed_back,
                                         client_on_broken,
                                         client_on_behind};
    struct hk_why why = {""};

    memset(c, 0, sizeof *c);
    c->epoch = epoch;
    c->loop = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(c->loop);
    /* Wakes a turn that would sleep past a deadline of a test. */
    ev_timer_init(&c->tick, client_tick, 0.01, 0.01);
    ev_timer_start(c->loop, &c->tick);
    if (ledger_open(config, c->loop, epoch, &callbacks, &c->ledger, &why) != 0)
        fail_msg("ledger: %s", why.text);
}

/* With an epoch drawn from Redis. */
static inline void client_open(struct client *c, struct fixture *f)
{
    struct store *store = fixture_store(f);
    uint64_t epoch = 0;
    struct hk_why why;

    assert_int_equal(store_epoch_next(store, 0, &epoch, &why), 0);
    store_close(store);
    client_open_config(c, &f->config, epoch);
}

static inline void client_close(struct client *c)
{
    ledger_close(c->ledger);
    ev_timer_stop(c->loop, &c->tick);
    ev_loop_destroy(c->loop);
}

/* Turns of the loop, each with its flush, until all is answered. */
static inline void client_settle(struct client *c)
{
    uint64_t end = clock_now_ms() + CLIENT_PATIENCE_MS;

    while (ledger_pending(c->ledger) > 0) {
        ledger_flush(c->ledger);
        (void)ev_run(c->loop, EVRUN_ONCE);
        if (clock_now_ms() > end)
            fail_msg("%zu ops have no answer after %u ms", ledger_pending(c->ledger), CLIENT_PATIENCE_MS);
    }
}

static inline void client_turns(struct client *c, uint64_t ms)
{
    uint64_t end = clock_now_ms() + ms;

    while (clock_now_ms() < end)
        (void)ev_run(c->loop, EVRUN_ONCE);
}

/* Turns without a flush until a figure is reached; and a little more, in which it must not rise. */
static inline void client_until(struct client *c, const uint64_t *told, uint64_t figure)
{
    uint64_t end = clock_now_ms() + CLIENT_PATIENCE_MS;

    while (*told < figure && clock_now_ms() < end)
        (void)ev_run(c->loop, EVRUN_ONCE);
    client_turns(c, 50);
    assert_int_equal(*told, figure);
}

static inline void client_push(struct client *c, const char *campaign, const struct ledger_op *op)
{
    assert_int_equal(ledger_push(c->ledger, campaign, op), 0);
}

/* Push one op and say what became of it. */
static inline enum ledger_verdict client_do(struct client *c, const char *campaign,
                                            const struct ledger_op *op)
{
    client_push(c, campaign, op);
    client_settle(c);
    return c->verdict[(c->told - 1) % CLIENT_VERDICTS].verdict;
}

static inline enum ledger_verdict client_take(struct client *c, const char *campaign, uint32_t span,
                                              uint32_t count)
{
    assert_int_equal(ledger_take(c->ledger, campaign, 0, span, count, client_on_take, c, span), 0);
    client_settle(c);
    assert_int_equal(c->take.cookie, span);
    return c->take.verdict;
}

static inline uint32_t word_of(enum ledger_state state, uint8_t attempts, uint8_t reply_class, uint16_t code)
{
    return ledger_pack((struct ledger_word){
        .state = (uint8_t)state, .attempts = attempts, .reply_class = reply_class, .code = code});
}

/* An op on one recipient of the campaign's first span. */
static inline struct ledger_op op_on(uint8_t kind, uint32_t index, uint8_t attempt, uint32_t word)
{
    return (struct ledger_op){.kind = kind,
                              .index = index,
                              .attempt = attempt,
                              .word = word,
                              .count = 1,
                              .due_s = 500,
                              .first_s = 7};
}

#endif
