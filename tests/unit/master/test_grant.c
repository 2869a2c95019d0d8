/* A block on the node's own clock; and blocks of several nodes together: no more than rate x w + burst in any window. */
#include "grant.h"

#include "../state/client.h"

#define NODES  3u
#define EVENTS 20000u

static struct fixture f;
static struct client c;
static uint64_t event[EVENTS], events, dice = 88172645463325252u;

static int start(void **state)
{
    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    client_open(&c, &f);
    client_until(&c, &c.ups, 1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    client_close(&c);
    fixture_end(&f);
    return 0;
}

static uint64_t draw(uint64_t below)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return below > 0 ? dice % below : 0;
}

/* ---- one block ---- */

static void messages_go_at_their_time_and_not_later_than_they_may(void **state)
{
    const struct limit_answer answer = {.granted = 4, .first_us = -1000, .interval_us = 1000, .late_us = 300};
    struct grant grant = {0};

    (void)state;
    assert_true(grant_wait_us(&grant, 5) == GRANT_NONE);
    grant_begin(&grant, &answer, 5000, 5200);
    assert_int_equal(grant_wait_us(&grant, 5200), 0); /* two at once, */
    grant_take(&grant, 5200);
    assert_int_equal(grant_wait_us(&grant, 5200), 0);
    grant_take(&grant, 5200);
    /* The others: counted from the answer, and from the question; a little less for clocks of another pace. */
    assert_int_equal(grant_wait_us(&grant, 5200), 1000);
    assert_int_equal(grant_wait_us(&grant, 6300), 0);
    assert_int_equal(grant_wait_us(&grant, 6301), 900); /* lost; the last one's turn */
    assert_int_equal(grant_wait_us(&grant, 7299), 0);
    assert_true(grant_wait_us(&grant, 7300) == GRANT_NONE);
}

static void spaced_ones_keep_their_distance_to_the_block_before_too(void **state)
{
    const struct limit_answer answer = {
        .granted = 2, .first_us = 0, .interval_us = 1000, .late_us = 500, .spaced = true};
    struct grant grant = {0};

    (void)state;
    grant_begin(&grant, &answer, 5000, 5000);
    grant_take(&grant, 5400);
    assert_int_equal(grant_wait_us(&grant, 6000), 400);
    grant_take(&grant, 6400);
    grant_begin(&grant, &answer, 7000, 7000);
    assert_int_equal(grant_wait_us(&grant, 7000), 400);
    assert_int_equal(grant_wait_us(&grant, 7400), 0);
}

/* ---- many ---- */

static struct limit_answer heard;
static uint64_t answers;

static void hear(void *context, const struct limit_answer *answer)
{
    (void)context;
    assert_non_null(answer);
    heard = *answer;
    answers++;
}

/* How late a message may go follows from how long the way takes, as in gate.c. */
static void ask(struct grant *grant, struct limit_question *question)
{
    static uint64_t trip_us;
    uint64_t asked_us = clock_now_us(), took_us, before = answers,
             end_ms = clock_now_ms() + CLIENT_PATIENCE_MS;

    question->late_us += 2 * trip_us;
    assert_int_equal(ledger_limit(c.ledger, question, hear, NULL), 0);
    while (answers == before && clock_now_ms() < end_ms)
        (void)ev_run(c.loop, EVRUN_ONCE);
    assert_int_equal(answers, before + 1);
    took_us = clock_now_us() - asked_us;
    trip_us = took_us > trip_us ? took_us : trip_us - (trip_us - took_us) / 8;
    if (heard.granted > 0)
        grant_begin(grant, &heard, asked_us, clock_now_us());
}

/* All of a block is sent, on a clock that runs ahead: some on time, some as late as they may, some never. */
static void use(struct grant *grant, bool late)
{
    uint64_t now_us = clock_now_us(), wait_us;

    while ((wait_us = grant_wait_us(grant, now_us)) != GRANT_NONE) {
        bool dawdle = late && draw(3) == 0;
        now_us += wait_us + (dawdle ? draw(grant->late_us + 100) : 0);
        if (wait_us > 0 || dawdle)
            continue;
        grant_take(grant, now_us);
        assert_true(events < EVENTS);
        event[events++] = now_us;
    }
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static double check_windows(double per_second, uint32_t burst)
{
    qsort(event, events, sizeof *event, by_time);
    for (uint64_t i = 0; i < events; i++)
        for (uint64_t k = i; k < events && k < i + 1000; k++) {
            double seconds = (double)(event[k] - event[i]) / 1e6;
            if ((double)(k - i + 1) > seconds * per_second + burst + 1e-3)
                fail_msg("%d messages in %.6f s at %.0f/s, burst %u", (int)(k - i + 1), seconds, per_second,
                         burst);
        }
    return (double)(events - burst) / ((double)(event[events - 1] - event[0]) / 1e6);
}

/* Nodes that all want more than they get, for a second or two. Returns how many went, a second. */
static double play(uint32_t per_second, uint32_t burst, bool late, uint64_t late_us)
{
    struct limit_question question = {.name = "route:*",
                                      .interval_us = 1000000 / per_second,
                                      .ahead_us = (burst - 1) * (1000000 / per_second)};
    uint64_t end_ms = clock_now_ms() + 1500, again_us[NODES] = {0};
    struct grant grant[NODES] = {{0}};

    events = 0;
    fixture_do(&f, "FLUSHALL");
    while (clock_now_ms() < end_ms) {
        uint64_t node = draw(NODES);
        if (clock_now_us() < again_us[node]) {
            client_turns(&c, 1);
            continue;
        }
        question.epoch = 100 + node;
        question.want = 1 + (uint32_t)draw(node == 0 ? 40 : 10);
        question.late_us = late_us + node * late_us / 2;
        if (late && draw(8) == 0) /* the way took longer for a while */
            question.late_us += draw(50 * late_us);
        ask(&grant[node], &question);
        again_us[node] = clock_now_us() + (heard.granted > 0 ? 0 : heard.wait_us);
        use(&grant[node], late);
    }
    return check_windows(per_second, burst);
}

static void all_nodes_together_keep_the_limit_in_every_window(void **state)
{
    bool used = false;

    (void)state;
    /* Of a limit little is lost on the way; a machine that stands still for a while loses more, but not each time. */
    for (int i = 0; i < 10 && !used; i++) {
        double even = play(50, 1, false, 4000), rate = play(500, 100, false, 4000);
        print_message("on time: %.1f of 50/s, %.1f of 500/s with a burst of 100\n", even, rate);
        used = even > 25 && rate > 300;
    }
    assert_true(used);
    for (int late = 0; late < 2; late++) {
        if (late) {
            (void)play(50, 1, late, 4000);
            (void)play(500, 100, late, 4000);
        }
        (void)play(500, 1, late, 2000);
        (void)play(20, 3, late, 20000);
    }
}

/* What one node gets of a limit of 100/s within a second or so. */
static double play_alone(void)
{
    struct limit_question question = {.name = "dkim:x.test", .epoch = 7, .interval_us = 10000, .want = 20};
    uint64_t end_ms = clock_now_ms() + 1000;
    struct grant grant = {0};

    events = 0;
    fixture_do(&f, "FLUSHALL");
    while (clock_now_ms() < end_ms) {
        question.late_us = 4000;
        ask(&grant, &question);
        if (heard.granted == 0)
            client_turns(&c, 1 + heard.wait_us / 1000);
        use(&grant, false);
    }
    return check_windows(100, 1);
}

static void one_node_alone_has_all_of_it(void **state)
{
    double rate = 0;

    (void)state;
    for (int i = 0; i < 10 && rate < 90; i++) { /* as above */
        rate = play_alone();
        print_message("%.1f of 100/s\n", rate);
    }
    assert_true(rate > 90);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_go_at_their_time_and_not_later_than_they_may),
        cmocka_unit_test(spaced_ones_keep_their_distance_to_the_block_before_too),
        cmocka_unit_test(all_nodes_together_keep_the_limit_in_every_window),
        cmocka_unit_test(one_node_alone_has_all_of_it),
    };

    return cmocka_run_group_tests(tests, start, end);
}
