/* test_ledger_none.c - the ledger that is none, which is measured against (state/ledger_none.c): it answers everything, in
 * order, in the turn after the flush, and without Redis. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants the four above before it. */
#include <cmocka.h>
#include <string.h>

#include "hikyaku/segment.h"
#include "hikyaku/state.h"

struct seen {
    uint32_t ups, verdicts, takes;
    uint64_t last_cookie;
    uint32_t first_word, last_word;
    uint64_t counts[LEDGER_STATES_COUNT], attempts;
};

static struct seen seen;
static struct ev_loop *loop;
static struct ledger *ledger;

static void on_up(void *context)
{
    ((struct seen *)context)->ups++;
}

static void on_verdict(void *context, const char *campaign, const struct ledger_op *op,
                       enum ledger_verdict verdict)
{
    struct seen *s = context;

    assert_string_equal(campaign, "c");
    assert_int_equal(verdict, VERDICT_DONE);
    assert_int_equal(op->cookie, s->last_cookie + 1);
    s->last_cookie = op->cookie;
    s->verdicts++;
}

static void on_take(void *context, uint64_t cookie, enum ledger_verdict verdict, const uint32_t *words,
                    const uint32_t *due, const uint32_t *first, uint32_t count)
{
    struct seen *s = context;

    assert_int_equal(verdict, VERDICT_DONE);
    assert_int_equal(cookie, 7);
    assert_null(due);
    assert_null(first);
    s->first_word = words[0];
    s->last_word = words[count - 1];
    s->takes++;
}

static void on_counts(void *context, const uint64_t counts[LEDGER_STATES_COUNT], uint64_t attempts)
{
    struct seen *s = context;

    memcpy(s->counts, counts, sizeof s->counts);
    s->attempts = attempts;
}

static int begin(void **state)
{
    const struct ledger_callbacks callbacks = {.context = &seen, .up = on_up, .verdict = on_verdict};
    struct hk_why why;

    (void)state;
    memset(&seen, 0, sizeof seen);
    loop = ev_loop_new(EVFLAG_AUTO);
    return loop == NULL || ledger_open(NULL, loop, 1, &callbacks, &ledger, &why) != 0;
}

static int end(void **state)
{
    (void)state;
    ledger_close(ledger);
    ev_loop_destroy(loop);
    return 0;
}

static void turn(void)
{
    ledger_flush(ledger);
    ev_run(loop, EVRUN_ONCE);
}

static void push(enum ledger_op_kind kind, enum ledger_state to, uint32_t count, uint64_t cookie)
{
    const struct ledger_word word = {.state = (uint8_t)to};

    assert_int_equal(ledger_push(ledger, "c",
                                 &(struct ledger_op){.kind = (uint8_t)kind,
                                                     .attempt = 1,
                                                     .count = count,
                                                     .word = ledger_pack(word),
                                                     .cookie = cookie}),
                     0);
}

static void it_is_up_without_a_server(void **state)
{
    (void)state;
    ev_run(loop, EVRUN_ONCE);
    assert_int_equal(seen.ups, 1);
}

static void every_op_is_done_in_order_after_the_flush(void **state)
{
    (void)state;
    push(OP_COMMIT, LEDGER_PENDING, 1, 1);
    push(OP_OUTCOME, LEDGER_SENT, 1, 2);
    push(OP_SETTLE, LEDGER_EXPIRED, 3, 3);
    assert_int_equal(ledger_pending(ledger), 3);
    assert_int_equal(ledger_pending_of(ledger, "c"), 3);
    ev_run(loop, EVRUN_ONCE); /* not flushed */
    assert_int_equal(seen.verdicts, 0);
    turn();
    assert_int_equal(seen.verdicts, 3);
    assert_int_equal(ledger_pending(ledger), 0);
    assert_int_equal(ledger_pending_of(ledger, "c"), 0);
}

static void a_span_is_pending_once(void **state)
{
    (void)state;
    for (uint32_t times = 1; times <= 2; times++) {
        assert_int_equal(ledger_take(ledger, "c", 0, 3, SPAN_MAX, on_take, &seen, 7), 0);
        turn();
        assert_int_equal(seen.takes, times);
        assert_int_equal(ledger_unpack(seen.first_word).state, times == 1 ? LEDGER_PENDING : LEDGER_SENT);
        assert_int_equal(seen.last_word, seen.first_word);
    }
    assert_int_equal(ledger_take(ledger, "c", 0, 100000, 1, on_take, &seen, 7), 0);
    turn();
    assert_int_equal(ledger_unpack(seen.first_word).state, LEDGER_PENDING);
    assert_int_equal(ledger_take(ledger, "c", 0, 0, SPAN_MAX + 1, on_take, &seen, 7), HK_EINVAL);
}

static void counts_are_what_it_was_told(void **state)
{
    struct manifest manifest = {.campaign = "c", .recipients = 10};

    (void)state;
    push(OP_OUTCOME, LEDGER_SENT, 1, 1);
    push(OP_OUTCOME, LEDGER_BOUNCED, 1, 2);
    push(OP_SETTLE, LEDGER_EXPIRED, 3, 3);
    turn();
    assert_int_equal(ledger_counts(ledger, &manifest, on_counts, &seen), 0);
    assert_int_equal(seen.counts[LEDGER_SENT], 1);
    assert_int_equal(seen.counts[LEDGER_BOUNCED], 1);
    assert_int_equal(seen.counts[LEDGER_EXPIRED], 3);
    assert_int_equal(seen.counts[LEDGER_PENDING], 5);
    assert_int_equal(seen.attempts, 2);
}

static void a_name_that_is_none_is_refused(void **state)
{
    (void)state;
    assert_int_equal(ledger_push(ledger, "-", &(struct ledger_op){.kind = OP_COMMIT, .count = 1}), HK_EINVAL);
    assert_int_equal(ledger_take(ledger, "-", 0, 0, 1, on_take, &seen, 7), HK_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_up_without_a_server, begin, end),
        cmocka_unit_test_setup_teardown(every_op_is_done_in_order_after_the_flush, begin, end),
        cmocka_unit_test_setup_teardown(a_span_is_pending_once, begin, end),
        cmocka_unit_test_setup_teardown(counts_are_what_it_was_told, begin, end),
        cmocka_unit_test_setup_teardown(a_name_that_is_none_is_refused, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
