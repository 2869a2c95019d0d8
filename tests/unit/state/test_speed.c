/* test_speed.c - a hundred thousand commits and outcomes through the ledger, with the figures it took.
 *
 * What must be true is that each was applied once; the rate depends on the machine and is printed, not judged. The
 * way is the master's: what one turn of the loop brings is one flush.
 */
#include "client.h"

#define RECIPIENTS 100000u
#define SPANS      25u
#define FLIGHTS    1000u /* under way at once, as with so many connections */

static struct fixture f;
static struct client c;

static double redis_cpu_s(void)
{
    redisContext *redis = fixture_redis(&f);
    redisReply *reply = redisCommand(redis, "INFO cpu");
    const char *user, *system;
    double sum;

    assert_non_null(reply);
    user = strstr(reply->str, "used_cpu_user:");
    system = strstr(reply->str, "used_cpu_sys:");
    assert_true(user && system);
    sum = strtod(user + strlen("used_cpu_user:"), NULL) + strtod(system + strlen("used_cpu_sys:"), NULL);
    freeReplyObject(reply);
    redisFree(redis);
    return sum;
}

static long long redis_calls(void)
{
    redisContext *redis = fixture_redis(&f);
    redisReply *reply = redisCommand(redis, "INFO commandstats");
    const char *at = reply ? strstr(reply->str, "cmdstat_evalsha:calls=") : NULL;
    long long calls = at ? strtoll(at + strlen("cmdstat_evalsha:calls="), NULL, 10) : 0;

    freeReplyObject(reply);
    redisFree(redis);
    return calls;
}

static void push(uint8_t kind, uint32_t i)
{
    /* Neighbours in time lie in different spans, as with many sites at once. */
    uint32_t span = i % SPANS, count = RECIPIENTS / SPANS;
    struct ledger_op op = {.kind = kind, .attempt = 1, .span = span, .span_first = span * count, .cookie = i};

    op.index = op.span_first + i / SPANS;
    op.word = word_of(i % 20 ? LEDGER_SENT : LEDGER_DEFERRED, 1, 0, 250);
    op.due_s = 300;
    client_push(&c, "speed", &op);
}

/* The grant's answer lets the outcome go, and the outcome's the next recipient's commit. */
static void run_all(void)
{
    uint32_t next = 0, done = 0;
    uint64_t seen = 0, end_ms = clock_now_ms() + 60000;
    static uint8_t granted[RECIPIENTS];

    for (; next < FLIGHTS; next++)
        push(OP_COMMIT, next);
    while (done < RECIPIENTS) {
        ledger_flush(c.ledger);
        (void)ev_run(c.loop, EVRUN_ONCE);
        assert_true(clock_now_ms() < end_ms);
        for (; seen < c.told; seen++) {
            uint32_t i = (uint32_t)c.verdict[seen % CLIENT_VERDICTS].cookie;
            assert_int_equal(c.verdict[seen % CLIENT_VERDICTS].verdict, VERDICT_DONE);
            if (!granted[i]) {
                granted[i] = 1;
                push(OP_OUTCOME, i);
            } else {
                done++;
                if (next < RECIPIENTS)
                    push(OP_COMMIT, next++);
            }
        }
    }
}

static void a_hundred_thousand_are_committed_and_settled(void **state)
{
    uint32_t spans[SPANS];
    uint64_t counts[LEDGER_STATES_COUNT], attempts, began_us;
    struct manifest m;
    struct store *store;
    struct hk_why why;
    double cpu_s, wall_s;
    long long calls;

    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    for (uint32_t i = 0; i < SPANS; i++)
        spans[i] = RECIPIENTS / SPANS;
    m = fixture_campaign(&f, "speed", spans, SPANS, 0);
    client_open(&c, &f);
    for (uint32_t i = 0; i < SPANS; i++)
        assert_int_equal(client_take(&c, "speed", i, spans[i]), VERDICT_DONE);
    cpu_s = redis_cpu_s();
    calls = redis_calls();
    began_us = clock_now_us();
    run_all();
    wall_s = (double)(clock_now_us() - began_us) / 1e6;
    cpu_s = redis_cpu_s() - cpu_s;
    calls = redis_calls() - calls;
    print_message("%u ops in %.2f s: %.0f ops/s; %lld calls, %.1f ops each; Redis CPU %.2f us an op\n",
                  2 * RECIPIENTS, wall_s, 2 * RECIPIENTS / wall_s, calls, 2.0 * RECIPIENTS / (double)calls,
                  cpu_s * 1e6 / (2 * RECIPIENTS));
    store = fixture_store(&f);
    assert_int_equal(store_counts(store, &m, counts, &attempts, &why), 0);
    assert_int_equal(attempts, RECIPIENTS);
    assert_int_equal(counts[LEDGER_SENT], RECIPIENTS / 20 * 19);
    assert_int_equal(counts[LEDGER_DEFERRED], RECIPIENTS / 20);
    store_close(store);
    client_close(&c);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_hundred_thousand_are_committed_and_settled)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
