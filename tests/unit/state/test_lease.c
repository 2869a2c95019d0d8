/* test_lease.c - who lives, whose spans they are, and a Redis that has forgotten what it answered. */
#include "client.h"

static struct fixture f;
static struct client a, b;
static const uint32_t spans[] = {100, 4096};

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

static struct lease lease_of(const char *name, const char *id, uint64_t epoch)
{
    return (struct lease){.name = name, .id = id, .epoch = epoch, .life_ms = 30000};
}

static void a_name_belongs_to_one_state_dir(void **state)
{
    struct lease one = lease_of("mta1", "1111", 10), other = lease_of("mta1", "2222", 11);
    struct lease mta2 = lease_of("mta2", "2222", 12);
    struct store *store = fixture_store(&f);
    struct hk_why why = {""};

    (void)state;
    assert_int_equal(store_lease_take(store, &one, &why), 0);
    assert_int_equal(store_lease_take(store, &other, &why), HK_EBUSY);
    assert_non_null(strstr(why.text, "\"mta1\" runs already"));
    assert_non_null(strstr(why.text, "in 30 s"));
    assert_int_equal(store_lease_take(store, &mta2, &why), 0);
    assert_int_equal(store_lease_end(store, &one, "", &why), 0);
    assert_int_equal(store_lease_take(store, &other, &why), 0);
    store_close(store);
}

static void the_same_state_dir_takes_over_at_once(void **state)
{
    struct lease dead = lease_of("mta3", "3333", 20), next = lease_of("mta3", "3333", 21);
    struct store *store = fixture_store(&f);
    struct hk_why why = {""};

    (void)state;
    assert_int_equal(store_lease_take(store, &dead, &why), 0);
    assert_int_equal(store_lease_take(store, &next, &why), 0);
    assert_int_equal(fixture_number(&f, "EXISTS hikyaku:lease:20"), 0);
    assert_int_equal(fixture_number(&f, "EXISTS hikyaku:lease:21"), 1);
    store_close(store);
}

/* A beat that the network still carried when its node was dead and the next one had begun. */
static void a_beat_of_an_earlier_epoch_takes_nothing_from_the_later(void **state)
{
    struct lease dead = lease_of("mta9", "aaaa", 40), next = lease_of("mta9", "aaaa", 41);
    struct store *store = fixture_store(&f);
    struct hk_why why = {""};

    (void)state;
    assert_int_equal(store_lease_take(store, &dead, &why), 0);
    assert_int_equal(store_lease_take(store, &next, &why), 0);
    assert_int_equal(store_lease_take(store, &dead, &why), HK_EEXIST);
    assert_int_equal(fixture_number(&f, "EXISTS hikyaku:lease:40"), 0);
    assert_int_equal(fixture_number(&f, "EXISTS hikyaku:lease:41"), 1);
    store_close(store);
}

/* Its own lease ran out, and another state_dir took the name: that one's name stays when it ends at last. */
static void who_ends_takes_nobody_elses_name(void **state)
{
    struct lease silent = lease_of("mta10", "bbbb", 50), other = lease_of("mta10", "cccc", 51);
    struct lease third = lease_of("mta10", "dddd", 52);
    struct store *store = fixture_store(&f);
    struct hk_why why = {""};

    (void)state;
    assert_int_equal(store_lease_take(store, &silent, &why), 0);
    fixture_do(&f, "DEL hikyaku:node:mta10 hikyaku:lease:50");
    assert_int_equal(store_lease_take(store, &other, &why), 0);
    assert_int_equal(store_lease_end(store, &silent, "", &why), 0);
    assert_int_equal(store_lease_take(store, &third, &why), HK_EBUSY);
    assert_int_equal(store_lease_end(store, &other, "", &why), 0);
    assert_int_equal(store_lease_take(store, &third, &why), 0);
    store_close(store);
}

static void an_epoch_that_another_node_has_is_refused(void **state)
{
    struct lease one = lease_of("mta6", "7777", 30), twice = lease_of("mta7", "8888", 30);
    struct store *store = fixture_store(&f);
    struct hk_why why = {""};

    (void)state;
    assert_int_equal(store_lease_take(store, &one, &why), 0);
    assert_int_equal(store_lease_take(store, &twice, &why), HK_EEXIST);
    store_close(store);
}

/* A dead node's flight, told after another has taken the span and sends: it is not that one's dot that never left. */
static void what_a_dead_node_granted_is_nobody_elses(void **state)
{
    struct ledger_op commit = op_on(OP_COMMIT, 3, 1, 0), back = op_on(OP_RELEASE, 3, 1, 0);
    struct ledger_op deferred = op_on(OP_OUTCOME, 3, 1, word_of(LEDGER_DEFERRED, 1, 0, 450));
    struct client c;

    (void)state;
    (void)fixture_campaign(&f, "granted", spans, 2, 0);
    client_open(&a, &f);
    client_open(&b, &f);
    client_open(&c, &f);
    assert_int_equal(client_take(&a, "granted", 0, 100), VERDICT_DONE);
    assert_int_equal(client_take(&b, "granted", 0, 100), VERDICT_DONE);
    assert_int_equal(client_do(&b, "granted", &commit), VERDICT_DONE);
    back.granted = deferred.granted = a.epoch;
    assert_int_equal(client_do(&c, "granted", &back), VERDICT_NOT_OURS);
    assert_int_equal(client_do(&c, "granted", &deferred), VERDICT_NOT_OURS);
    back.granted = b.epoch;
    assert_int_equal(client_do(&c, "granted", &back), VERDICT_DONE);
    client_close(&a);
    client_close(&b);
    client_close(&c);
}

/* What the network still carried of a connection that was given up: the call has gone out anew meanwhile. */
static void a_call_that_comes_too_late_changes_nothing(void **state)
{
    struct ledger_op commit = op_on(OP_COMMIT, 3, 1, 0);

    (void)state;
    (void)fixture_campaign(&f, "late", spans, 2, 0);
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "late", 0, 100), VERDICT_DONE);
    fixture_do(&f, "HSET {late}:q %d 7", (int)a.epoch);
    client_push(&a, "late", &commit);
    ledger_flush(a.ledger);
    client_until(&a, &a.brokens, 1);
    assert_int_equal(a.told, 0);
    assert_int_equal(fixture_number(&f, "BITCOUNT {late}:s:0.0"), 0);
    client_close(&a);
}

static void a_span_is_its_owners_as_long_as_his_lease_lives(void **state)
{
    struct lease lease;
    struct store *store = fixture_store(&f);
    struct hk_why why = {""};
    char told[LEASE_TOLD_SIZE];

    (void)state;
    (void)fixture_campaign(&f, "held", spans, 2, 0);
    client_open(&a, &f);
    client_open(&b, &f);
    lease = lease_of("mta4", "4444", a.epoch);
    assert_int_equal(store_lease_take(store, &lease, &why), 0);
    assert_int_equal(client_take(&a, "held", 0, 100), VERDICT_DONE);
    assert_int_equal(client_take(&b, "held", 0, 100), VERDICT_HELD);
    assert_false(b.take.has_words || b.take.has_due || b.take.has_first);
    assert_int_equal(client_take(&a, "held", 0, 100), VERDICT_DONE);
    assert_int_equal(store_lease_end(store, &lease, "7-1:99", &why), 0);
    assert_int_equal(store_told(store, &lease, told, &why), 0);
    assert_string_equal(told, "7-1:99");
    assert_int_equal(store_lease_end(store, &lease, "", &why), 0);
    assert_int_equal(store_told(store, &lease, told, &why), 0);
    assert_string_equal(told, "7-1:99");
    assert_int_equal(client_take(&b, "held", 0, 100), VERDICT_DONE);
    client_close(&a);
    client_close(&b);
    store_close(store);
}

/* Nothing of it was ever applied: the number of such a call has to be known all the same when it is connected again. */
static void who_was_told_that_a_span_is_held_has_lost_nothing(void **state)
{
    struct lease lease;
    struct store *store = fixture_store(&f);
    struct hk_why why = {""};

    (void)state;
    (void)fixture_campaign(&f, "held-on", spans, 2, 0);
    client_open(&a, &f);
    client_open(&b, &f);
    lease = lease_of("mta8", "9999", a.epoch);
    assert_int_equal(store_lease_take(store, &lease, &why), 0);
    assert_int_equal(client_take(&a, "held-on", 0, 100), VERDICT_DONE);
    assert_int_equal(client_take(&b, "held-on", 0, 100), VERDICT_HELD);
    fixture_do(&f, "CLIENT KILL TYPE normal SKIPME yes");
    client_until(&b, &b.downs, 1);
    client_until(&b, &b.ups, 2);
    assert_int_equal(b.behinds, 0);
    assert_int_equal(client_take(&b, "held-on", 1, 4096), VERDICT_DONE);
    client_close(&a);
    client_close(&b);
    store_close(store);
}

static long long beat_left;

static void on_beat(void *context, long long left_ms, uint64_t evicted)
{
    (*(uint64_t *)context)++;
    beat_left = left_ms;
    assert_int_equal(evicted, 0);
}

static void a_beat_keeps_the_lease_and_says_how_far_the_log_was_told(void **state)
{
    struct store *store = fixture_store(&f);
    struct lease lease, stranger;
    char told[LEASE_TOLD_SIZE];
    struct hk_why why = {""};
    uint64_t beats = 0;

    (void)state;
    client_open(&a, &f);
    lease = lease_of("mta5", "5555", a.epoch);
    stranger = lease_of("mta5", "6666", a.epoch + 1);
    client_until(&a, &a.ups, 1);
    assert_int_equal(store_told(store, &lease, told, &why), 0);
    assert_string_equal(told, "");
    assert_int_equal(ledger_beat(a.ledger, &lease, "7-1:100", on_beat, &beats), 0);
    client_until(&a, &beats, 1);
    assert_true(beat_left < 0);
    assert_int_equal(ledger_beat(a.ledger, &lease, "", on_beat, &beats), 0);
    client_until(&a, &beats, 2);
    assert_int_equal(store_told(store, &lease, told, &why), 0);
    assert_string_equal(told, "7-1:100");
    assert_int_equal(ledger_beat(a.ledger, &stranger, "", on_beat, &beats), 0);
    client_until(&a, &beats, 3);
    assert_in_range(beat_left, 1, 30000);
    client_close(&a);
    store_close(store);
}

static void an_epoch_is_above_what_the_state_dir_remembers(void **state)
{
    struct store *store = fixture_store(&f);
    struct hk_why why = {""};
    uint64_t epoch, next;

    (void)state;
    assert_int_equal(store_epoch_next(store, 5000, &epoch, &why), 0);
    assert_int_equal(epoch, 5001);
    assert_int_equal(store_epoch_next(store, 17, &next, &why), 0);
    assert_int_equal(next, 5002);
    store_close(store);
}

/* Connected again, it asks for the number of its last call before anything goes out. */
static void a_redis_that_forgot_what_it_answered_gets_nothing_more(void **state)
{
    struct ledger_op one = op_on(OP_COMMIT, 3, 1, 0);

    (void)state;
    (void)fixture_campaign(&f, "forgot", spans, 2, 0);
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "forgot", 0, 100), VERDICT_DONE);
    assert_int_equal(client_do(&a, "forgot", &one), VERDICT_DONE);
    fixture_do(&f, "HSET {forgot}:q %d 1", (int)a.epoch);
    one.index++;
    client_push(&a, "forgot", &one);
    fixture_do(&f, "CLIENT KILL TYPE normal SKIPME yes");
    ledger_flush(a.ledger);
    client_until(&a, &a.behinds, 1);
    ledger_flush(a.ledger);
    client_turns(&a, 100);
    assert_int_equal(a.told, 1);
    assert_int_equal(a.behinds, 1);
    assert_int_equal(ledger_pending(a.ledger), 1);
    client_close(&a);
}

static void one_that_knows_all_goes_on(void **state)
{
    struct ledger_op one = op_on(OP_COMMIT, 3, 1, 0);

    (void)state;
    (void)fixture_campaign(&f, "knows", spans, 2, 0);
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "knows", 0, 100), VERDICT_DONE);
    assert_int_equal(client_do(&a, "knows", &one), VERDICT_DONE);
    fixture_do(&f, "CLIENT KILL TYPE normal SKIPME yes");
    one.index++;
    assert_int_equal(client_do(&a, "knows", &one), VERDICT_DONE);
    assert_int_equal(a.behinds, 0);
    client_close(&a);
}

/* A purge through the running node. */
static void one_that_a_purged_campaign_is_gone_from_goes_on(void **state)
{
    struct ledger_op one = op_on(OP_COMMIT, 3, 1, 0);

    (void)state;
    (void)fixture_campaign(&f, "purged", spans, 2, 0);
    (void)fixture_campaign(&f, "stays", spans, 2, 0);
    client_open(&a, &f);
    assert_int_equal(client_take(&a, "purged", 0, 100), VERDICT_DONE);
    assert_int_equal(client_take(&a, "stays", 0, 100), VERDICT_DONE);
    assert_int_equal(client_do(&a, "purged", &one), VERDICT_DONE);
    ledger_forget(a.ledger, "purged");
    fixture_do(&f, "DEL {purged}:m {purged}:n {purged}:q {purged}:own {purged}:s:0.0");
    fixture_do(&f, "CLIENT KILL TYPE normal SKIPME yes");
    assert_int_equal(client_do(&a, "stays", &one), VERDICT_DONE);
    assert_int_equal(a.behinds, 0);
    client_close(&a);
}

static void a_mark_is_reached_when_all_before_it_is_told(void **state)
{
    struct ledger_op one = op_on(OP_COMMIT, 3, 1, 0);

    (void)state;
    (void)fixture_campaign(&f, "mark", spans, 2, 0);
    client_open(&a, &f);
    assert_true(ledger_mark_reached(a.ledger));
    assert_int_equal(client_take(&a, "mark", 0, 100), VERDICT_DONE);
    client_push(&a, "mark", &one);
    ledger_mark(a.ledger);
    one.index++;
    assert_false(ledger_mark_reached(a.ledger));
    client_settle(&a);
    client_push(&a, "mark", &one);
    assert_true(ledger_mark_reached(a.ledger));
    client_settle(&a);
    client_close(&a);
}

/* What a take finds gone of a span that was taken before. */
static void a_key_that_is_gone_is_lost(void **state)
{
    static const char *const part[] = {"s:0.0", "d:0.0", "f:0.0", "n", "m"};
    struct ledger_op deferred = op_on(OP_OUTCOME, 3, 1, word_of(LEDGER_DEFERRED, 1, 0, 450));
    char id[16];

    (void)state;
    client_open(&a, &f);
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
        (void)snprintf(id, sizeof id, "gone-%zu", i);
        (void)fixture_campaign(&f, id, spans, 2, 0);
        assert_int_equal(client_take(&a, id, 0, 100), VERDICT_DONE);
        deferred.due_s = 100;
        deferred.first_s = 1;
        assert_int_equal(client_do(&a, id, &deferred), VERDICT_DONE);
        assert_int_equal(client_take(&a, id, 0, 100), VERDICT_DONE);
        fixture_do(&f, "DEL {%s}:%s", id, part[i]);
        assert_int_equal(client_take(&a, id, 0, 100), VERDICT_LOST);
    }
    client_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_belongs_to_one_state_dir),
        cmocka_unit_test(the_same_state_dir_takes_over_at_once),
        cmocka_unit_test(a_beat_of_an_earlier_epoch_takes_nothing_from_the_later),
        cmocka_unit_test(who_ends_takes_nobody_elses_name),
        cmocka_unit_test(an_epoch_that_another_node_has_is_refused),
        cmocka_unit_test(what_a_dead_node_granted_is_nobody_elses),
        cmocka_unit_test(a_call_that_comes_too_late_changes_nothing),
        cmocka_unit_test(a_span_is_its_owners_as_long_as_his_lease_lives),
        cmocka_unit_test(who_was_told_that_a_span_is_held_has_lost_nothing),
        cmocka_unit_test(a_beat_keeps_the_lease_and_says_how_far_the_log_was_told),
        cmocka_unit_test(an_epoch_is_above_what_the_state_dir_remembers),
        cmocka_unit_test(a_redis_that_forgot_what_it_answered_gets_nothing_more),
        cmocka_unit_test(one_that_knows_all_goes_on),
        cmocka_unit_test(one_that_a_purged_campaign_is_gone_from_goes_on),
        cmocka_unit_test(a_mark_is_reached_when_all_before_it_is_told),
        cmocka_unit_test(a_key_that_is_gone_is_lost),
    };

    return cmocka_run_group_tests(tests, start, end);
}
