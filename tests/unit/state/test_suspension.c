/* test_suspension.c - what is suspended is known to every node, as long as it lasts (state/suspension.c, suspend.lua). */
#include "client.h"
#include "hikyaku/limits.h"
#include "proxy.h"

#define KEY "hikyaku:suspended"

/* The last answer, copied. */
static struct heard {
    unsigned calls, lost;
    bool listed;
    uint64_t version;
    size_t count;
    struct {
        char source[40], site[40], cause[80];
        uint64_t left_ms;
        uint32_t nth;
    } one[8];
} heard;

static struct fixture f;
static struct proxy proxy;
static struct store *store;
static struct client a;

static int start(void **state)
{
    (void)state;
    log_threshold = LOG_LEVEL_ERROR;
    fixture_dir(&f);
    fixture_start(&f);
    proxy_start(&proxy, &f);
    store = fixture_store(&f);
    return 0;
}

static int end(void **state)
{
    (void)state;
    store_close(store);
    proxy_end(&proxy);
    fixture_end(&f);
    return 0;
}

static int anew(void **state)
{
    (void)state;
    fixture_do(&f, "FLUSHALL");
    heard = (struct heard){0};
    return 0;
}

static void hear(void *context, const struct suspensions *answer)
{
    (void)context;
    heard.calls++;
    if (answer == NULL) {
        heard.lost++;
        return;
    }
    heard.listed = answer->listed;
    heard.version = answer->version;
    heard.count = answer->count;
    for (size_t i = 0; i < answer->count && i < 8; i++) {
        (void)snprintf(heard.one[i].source, sizeof heard.one[i].source, "%s", answer->all[i].source);
        (void)snprintf(heard.one[i].site, sizeof heard.one[i].site, "%s", answer->all[i].site);
        (void)snprintf(heard.one[i].cause, sizeof heard.one[i].cause, "%s", answer->all[i].cause);
        heard.one[i].left_ms = answer->all[i].left_ms;
        heard.one[i].nth = answer->all[i].nth;
    }
}

static struct suspension suspension_of(const char *source, const char *site, uint64_t left_ms)
{
    return (struct suspension){
        .source = source, .site = site, .cause = "daily quota, they say", .left_ms = left_ms, .nth = 3};
}

/* Until an answer has come, whatever happens on the way. */
static void tell(struct client *c, uint64_t known, const struct suspension *told, size_t count)
{
    unsigned answers = heard.calls - heard.lost;
    uint64_t end_ms = clock_now_ms() + CLIENT_PATIENCE_MS;
    unsigned calls = heard.calls;
    bool under_way = false;

    while (heard.calls - heard.lost == answers && clock_now_ms() < end_ms) {
        if (heard.calls != calls)
            under_way = false;
        calls = heard.calls;
        if (!under_way)
            under_way = ledger_suspensions(c->ledger, known, told, count, hear, NULL) == 0;
        (void)ev_run(c->loop, EVRUN_ONCE);
    }
    assert_int_equal(heard.calls - heard.lost, answers + 1);
}

static void read_all(void)
{
    struct hk_why why = {""};

    if (store_suspensions(store, NULL, 0, hear, NULL, &why) != 0)
        fail_msg("%s", why.text);
}

static void what_one_node_tells_another_finds_with_the_time_that_is_left(void **state)
{
    struct suspension told[] = {suspension_of("", "*", 60000), suspension_of("mta1", "docomo", 90000)};
    uint64_t version;

    (void)state;
    client_open(&a, &f);
    read_all();
    assert_true(heard.count == 0 && heard.version == 0);
    tell(&a, 0, told, 2);
    version = heard.version;
    assert_true(version > 0);
    assert_int_equal(heard.count, 2);
    heard = (struct heard){0};
    read_all();
    assert_int_equal(heard.count, 2);
    for (size_t i = 0; i < 2; i++) {
        bool first = heard.one[i].source[0] == '\0';
        assert_string_equal(heard.one[i].site, first ? "*" : "docomo");
        assert_string_equal(heard.one[i].source, first ? "" : "mta1");
        assert_string_equal(heard.one[i].cause, "daily quota, they say");
        assert_int_equal(heard.one[i].nth, 3);
        assert_in_range(heard.one[i].left_ms, first ? 50000 : 80000, first ? 60000 : 90000);
    }
    tell(&a, version, NULL, 0); /* what is known is not said again */
    assert_false(heard.listed);
    assert_true(heard.count == 0 && heard.version == version);
    client_close(&a);
}

static void of_two_ends_the_later_one_stands(void **state)
{
    struct suspension longer = suspension_of("", "*", 60000), shorter = suspension_of("", "*", 5000);
    uint64_t version;

    (void)state;
    client_open(&a, &f);
    tell(&a, 0, &longer, 1);
    version = heard.version;
    tell(&a, version, &shorter, 1);
    assert_false(heard.listed);
    longer.left_ms = 120000;
    tell(&a, version, &longer, 1);
    assert_true(heard.version > version);
    assert_in_range(heard.one[0].left_ms, 110000, 120000);
    client_close(&a);
}

static void one_that_is_released_is_gone_and_everybody_can_see_it(void **state)
{
    struct suspension one = suspension_of("", "*", 60000);
    uint64_t version;

    (void)state;
    client_open(&a, &f);
    tell(&a, 0, &one, 1);
    version = heard.version;
    one.left_ms = 0;
    tell(&a, version, &one, 1);
    assert_true(heard.listed && heard.version > version);
    assert_int_equal(heard.count, 0);
    version = heard.version;
    tell(&a, version, &one, 1);
    assert_int_equal(heard.version, version);
    client_close(&a);
}

static void what_is_over_is_not_told_and_all_of_it_expires(void **state)
{
    struct suspension one = suspension_of("", "*", 100), other = suspension_of("", "b.test", 3600000);

    (void)state;
    client_open(&a, &f);
    tell(&a, 0, &one, 1);
    client_turns(&a, 150);
    read_all();
    assert_int_equal(heard.count, 0);
    assert_int_equal(fixture_number(&f, "HLEN " KEY), 1); /* it went; the version stands */
    tell(&a, 0, &other, 1);
    assert_int_equal(heard.count, 1);
    assert_in_range(fixture_number(&f, "PTTL " KEY), 86400000 + 3500000, 86400000 + 3600000);
    client_close(&a);
}

static void the_version_rises_where_the_clock_goes_back(void **state)
{
    struct suspension one = suspension_of("", "*", 60000);

    (void)state;
    client_open(&a, &f);
    fixture_do(&f, "HSET " KEY " %s 7000000000000000", "");
    tell(&a, 0, &one, 1);
    assert_int_equal(heard.version, 7000000000000001);
    client_close(&a);
}

/* Told again until it is heard: cut before, behind and inside the answer, refused, or without the script. */
static void a_call_that_is_lost_can_be_told_again(void **state)
{
    static const enum proxy_harm harms[] = {PROXY_CUT_BEFORE, PROXY_CUT_AFTER, PROXY_CUT_INSIDE,
                                            PROXY_LOADING,    PROXY_NOSCRIPT,  PROXY_DRIP};
    struct suspension one = suspension_of("", "*", 60000);

    (void)state;
    for (size_t i = 0; i < sizeof harms / sizeof harms[0]; i++) {
        anew(NULL);
        client_open_config(&a, &proxy.config, 7);
        client_until(&a, &a.ups, 1);
        proxy_arm(&proxy, harms[i], 1);
        tell(&a, 0, &one, 1);
        assert_true(proxy_disarm(&proxy));
        assert_int_equal(heard.lost, harms[i] == PROXY_DRIP ? 0 : 1);
        assert_int_equal(heard.count, 1);
        assert_int_equal(a.brokens, 0);
        client_close(&a);
        read_all();
        assert_int_equal(heard.count, 1);
    }
}

static void a_start_that_cannot_ask_says_so(void **state)
{
    struct hk_why why = {""};
    struct store *cut;

    (void)state;
    assert_int_equal(store_open(&proxy.config, &cut, &why), 0);
    proxy_arm(&proxy, PROXY_CUT_AFTER, 1);
    assert_int_equal(store_suspensions(cut, NULL, 0, hear, NULL, &why), HK_EDOWN);
    assert_true(proxy_disarm(&proxy));
    assert_true(strlen(why.text) > 20);
    assert_int_equal(heard.calls, 0);
    assert_int_equal(store_suspensions(cut, NULL, 0, hear, NULL, &why), 0);
    assert_int_equal(heard.calls, 1);
    fixture_do(&f, "SET " KEY " %s", "something else");
    assert_true(store_suspensions(cut, NULL, 0, hear, NULL, &why) < 0);
    assert_int_equal(heard.calls, 1);
    store_close(cut);
}

static void whoever_closes_the_ledger_is_told_that_no_answer_comes(void **state)
{
    (void)state;
    client_open(&a, &f);
    client_until(&a, &a.ups, 1);
    assert_int_equal(ledger_suspensions(a.ledger, 0, NULL, 0, hear, NULL), 0);
    client_close(&a);
    assert_true(heard.calls == 1 && heard.lost == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_one_node_tells_another_finds_with_the_time_that_is_left, anew),
        cmocka_unit_test_setup(of_two_ends_the_later_one_stands, anew),
        cmocka_unit_test_setup(one_that_is_released_is_gone_and_everybody_can_see_it, anew),
        cmocka_unit_test_setup(what_is_over_is_not_told_and_all_of_it_expires, anew),
        cmocka_unit_test_setup(the_version_rises_where_the_clock_goes_back, anew),
        cmocka_unit_test_setup(a_call_that_is_lost_can_be_told_again, anew),
        cmocka_unit_test_setup(a_start_that_cannot_ask_says_so, anew),
        cmocka_unit_test_setup(whoever_closes_the_ledger_is_told_that_no_answer_comes, anew),
    };

    return cmocka_run_group_tests(tests, start, end);
}
