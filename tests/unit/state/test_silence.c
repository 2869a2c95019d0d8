/* test_silence.c - a Redis that neither answers nor closes: taken for gone, and met again (state/link.c,
 * state/store.c).
 *
 * Waits for the ten seconds that the ledger waits, so it stands alone and can run beside the others.
 */
#include "client.h"

#include <signal.h>

#include "store.h"

static struct fixture f;
static struct client c;

static void a_redis_that_says_nothing_is_taken_for_gone_and_met_again(void **state)
{
    static const uint32_t spans[] = {10};
    struct manifest m;
    struct ledger_op commit = op_on(OP_COMMIT, 3, 1, 0);
    uint64_t counts[LEDGER_STATES_COUNT], attempts, end_ms;
    struct store *store;
    struct hk_why why;

    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    m = fixture_campaign(&f, "silent", spans, 1, 0);
    client_open(&c, &f);
    assert_int_equal(client_take(&c, "silent", 0, 10), VERDICT_DONE);
    assert_int_equal(kill(f.pid, SIGSTOP), 0);
    client_push(&c, "silent", &commit);
    ledger_flush(c.ledger);
    assert_true(ledger_is_asked(c.ledger));
    end_ms = clock_now_ms() + CLIENT_PATIENCE_MS;
    while (c.downs == 0 && clock_now_ms() < end_ms)
        (void)ev_run(c.loop, EVRUN_ONCE);
    assert_int_equal(c.downs, 1);
    assert_int_equal(c.told, 0);
    assert_false(ledger_is_asked(c.ledger)); /* nobody may wait for that answer any longer */
    assert_int_equal(kill(f.pid, SIGCONT), 0);
    /* The old connection's call is executed too: the same grant, twice. */
    client_settle(&c);
    assert_int_equal(c.told, 1);
    assert_int_equal(c.verdict[0].verdict, VERDICT_DONE);
    assert_int_equal(c.ups, 2);
    store = fixture_store(&f);
    assert_int_equal(store_counts(store, &m, counts, &attempts, &why), 0);
    assert_int_equal(counts[LEDGER_SENDING], 1);
    store_close(store);
    client_close(&c);
    fixture_end(&f);
}

static void a_store_waits_for_a_silent_redis_once_until_it_is_heard_of(void **state)
{
    static const uint32_t spans[] = {10};
    struct timeval soon = {.tv_sec = 1};
    uint64_t counts[LEDGER_STATES_COUNT], attempts, began_ms;
    struct manifest m;
    struct store *store;
    struct hk_why why;

    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    m = fixture_campaign(&f, "silent", spans, 1, 0);
    store = fixture_store(&f);
    assert_int_equal(redisSetTimeout(store->redis, soon), REDIS_OK);
    assert_int_equal(kill(f.pid, SIGSTOP), 0);
    assert_int_equal(store_counts(store, &m, counts, &attempts, &why), HK_EDOWN);
    assert_non_null(strstr(why.text, "it hangs"));
    began_ms = clock_now_ms();
    for (int i = 0; i < 5; i++)
        assert_int_equal(store_counts(store, &m, counts, &attempts, &why), HK_EDOWN);
    assert_non_null(strstr(why.text, "it hangs"));
    assert_true(clock_now_ms() < began_ms + REDIS_ANSWER_MS); /* each that asks waits for so long */
    assert_int_equal(kill(f.pid, SIGCONT), 0);
    store_heard(store);
    assert_int_equal(store_counts(store, &m, counts, &attempts, &why), 0);
    store_close(store);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_waits_for_a_silent_redis_once_until_it_is_heard_of),
        cmocka_unit_test(a_redis_that_says_nothing_is_taken_for_gone_and_met_again)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
