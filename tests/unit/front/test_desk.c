/* test_desk.c - what is handed over to the master: in few requests, each answered, whatever the master says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <ev.h>
#include <jansson.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hikyaku/desk.h"

#define MAILS   1000
#define WAIT_MS 60000u /* of those who are not to wait too long: however slow the machine is */

struct world {
    struct ev_loop *loop;
    struct desk *desk;
    int master;
    bool gone;
    unsigned answers[3], of[MAILS];
    json_int_t told[MAILS]; /* "n" of what was told; -1 nothing */
};

static void on_answer(void *whose, unsigned nth, enum desk_answer answer, const json_t *told)
{
    struct world *w = whose;

    w->answers[answer]++;
    if (nth >= MAILS)
        return;
    w->of[nth]++;
    w->told[nth] = told != NULL ? json_integer_value(json_object_get(told, "n")) : -1;
}

static void on_gone(void *context)
{
    ((struct world *)context)->gone = true;
}

static void begin_waiting(struct world *w, uint32_t wait_ms)
{
    int pair[2];

    memset(w, 0, sizeof *w);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    w->master = pair[0];
    w->loop = ev_loop_new(EVFLAG_AUTO);
    w->desk = desk_new(w->loop, pair[1], wait_ms, on_answer, on_gone, w);
    assert_non_null(w->desk);
}

static void begin(struct world *w)
{
    begin_waiting(w, WAIT_MS);
}

static void end(struct world *w)
{
    desk_free(w->desk);
    ev_loop_destroy(w->loop);
    close(w->master);
}

/* The next request, parsed; NULL: there is none. */
static json_t *request(struct world *w)
{
    static char text[1 << 17];
    size_t length = 0;

    for (int i = 0; i < 20; i++) {
        ssize_t n = recv(w->master, text + length, sizeof text - length - 1, 0);
        length += n > 0 ? (size_t)n : 0;
        ev_run(w->loop, EVRUN_NOWAIT);
    }
    text[length] = '\0';
    assert_true(length < 32768);
    return length == 0 ? NULL : json_loads(text, 0, NULL);
}

static void reply(struct world *w, const char *text)
{
    assert_int_equal(send(w->master, text, strlen(text), 0), (ssize_t)strlen(text));
    for (int i = 0; i < 5; i++)
        ev_run(w->loop, EVRUN_NOWAIT);
}

static size_t bounces(json_t *r)
{
    size_t count = json_array_size(json_object_get(r, "bounces"));

    json_decref(r);
    return count;
}

static void what_comes_while_one_is_under_way_goes_together(void **state)
{
    static struct world w;
    unsigned requests = 0;
    json_t *r;

    (void)state;
    begin(&w);
    for (unsigned i = 0; i < MAILS; i++)
        desk_bounce(
            w.desk,
            json_pack("{s:s}", "token", "b-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@bounce.news.test"), &w,
            i);
    while ((r = request(&w)) != NULL) {
        size_t count = bounces(r);
        assert_in_range(count, 1, 256);
        requests++;
        reply(&w, "{\"ok\":true}\n");
    }
    assert_in_range(requests, 4, 12);
    assert_int_equal(w.answers[DESK_TAKEN], MAILS);
    for (unsigned i = 0; i < MAILS; i++)
        assert_int_equal(w.of[i], 1);
    end(&w);
}

static void a_refused_request_is_taken_apart_and_one_not_now_is_put_off(void **state)
{
    static struct world w;

    (void)state;
    begin(&w);
    desk_bounce(w.desk, json_pack("{s:i}", "n", 0), &w, 0);
    for (unsigned i = 1; i < 4; i++)
        desk_bounce(w.desk, json_pack("{s:i}", "n", i), &w, i);
    assert_int_equal(bounces(request(&w)), 1);
    reply(&w, "{\"ok\":false,\"error\":\"Redis does not answer\",\"exit\":3}\n");
    assert_int_equal(w.answers[DESK_LATER], 1);
    assert_int_equal(bounces(request(&w)), 3);
    reply(&w, "{\"ok\":false,\"error\":\"one is none\",\"exit\":2}\n");
    assert_int_equal(w.answers[DESK_REFUSED], 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bounces(request(&w)), 1);
        reply(&w, i == 1 ? "{\"ok\":false,\"error\":\"it is none\",\"exit\":2}\n" : "{\"ok\":true}\n");
    }
    assert_null(request(&w));
    assert_int_equal(w.answers[DESK_TAKEN], 2);
    assert_int_equal(w.answers[DESK_REFUSED], 1);
    assert_int_equal(w.of[2], 1);
    end(&w);
}

static void unsubscribes_go_alone_and_who_left_is_told_nothing(void **state)
{
    static struct world w, other;
    json_t *r;

    (void)state;
    begin(&w);
    desk_unsubscribe(w.desk, "mailto", "abc", 3, &w, 0);
    desk_bounce(w.desk, json_pack("{s:i}", "n", 1), &other, 1);
    desk_bounce(w.desk, json_pack("{s:i}", "n", 2), &w, 2);
    desk_forget(w.desk, &other);
    r = request(&w);
    assert_string_equal(json_string_value(json_object_get(r, "command")), "unsubscribe");
    assert_string_equal(json_string_value(json_object_get(r, "token")), "abc");
    assert_string_equal(json_string_value(json_object_get(r, "source")), "mailto");
    json_decref(r);
    reply(&w, "{\"ok\":tr");
    assert_int_equal(w.answers[DESK_TAKEN], 0);
    reply(&w, "ue,\"n\":7}\n");
    assert_int_equal(w.answers[DESK_TAKEN], 1);
    assert_int_equal(w.told[0], 7);            /* all that was answered is about this one */
    assert_int_equal(bounces(request(&w)), 2); /* it is done all the same */
    reply(&w, "this is no answer\n");
    assert_int_equal(w.answers[DESK_LATER], 1);
    assert_int_equal(other.of[1], 0);
    close(w.master);
    w.master = -1;
    for (int i = 0; i < 5 && !w.gone; i++)
        ev_run(w.loop, EVRUN_NOWAIT);
    assert_true(w.gone);
    end(&w);
}

static void each_is_told_what_the_master_says_of_it(void **state)
{
    static struct world w;

    (void)state;
    begin(&w);
    for (unsigned i = 0; i < 4; i++)
        desk_bounce(w.desk, json_pack("{s:i}", "n", i), &w, i);
    json_decref(request(&w));
    reply(&w, "{\"ok\":true,\"bounces\":[{\"n\":100}]}\n");
    json_decref(request(&w));
    reply(&w, "{\"ok\":true,\"bounces\":[{\"n\":101},{\"n\":102}]}\n"); /* one too few */
    assert_int_equal(w.answers[DESK_TAKEN], 4);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(w.told[i], 100 + i);
    assert_int_equal(w.told[3], -1);
    end(&w);
}

static void too_many_and_those_that_cannot_be_asked_are_put_off_at_once(void **state)
{
    static struct world w;

    (void)state;
    begin(&w);
    desk_bounce(w.desk, NULL, &w, 0);
    desk_bounce(w.desk, json_pack("{s:o}", "n", json_stringn("\xff", 1)), &w, 1);
    assert_int_equal(w.answers[DESK_LATER], 2);
    for (unsigned i = 0; i < DESK_MAX + 3; i++)
        desk_bounce(w.desk, json_pack("{s:i}", "n", i), &w, MAILS);
    assert_int_equal(w.answers[DESK_LATER], 5);
    while (w.answers[DESK_TAKEN] < DESK_MAX) { /* and there is room again behind them */
        json_decref(request(&w));
        reply(&w, "{\"ok\":true}\n");
    }
    desk_bounce(w.desk, json_pack("{s:i}", "n", 2), &w, 2);
    assert_int_equal(w.of[2], 0);
    assert_int_equal(bounces(request(&w)), 1);
    reply(&w, "{\"ok\":true}\n");
    assert_int_equal(w.of[2], 1);
    end(&w);
}

/* Until so many were put off. */
static void pass(struct world *w, unsigned count)
{
    for (const uint64_t end = clock_now_ms() + WAIT_MS;
         w->answers[DESK_LATER] < count && clock_now_ms() < end;)
        ev_run(w->loop, EVRUN_ONCE); /* its timer wakes it */
}

static void who_waits_too_long_is_put_off_and_no_queue_of_them_grows(void **state)
{
    static struct world w;
    json_t *r;

    (void)state;
    begin_waiting(&w, 2000);
    /* The first is asked; the others stay here while the master says nothing. */
    for (unsigned i = 0; i < 500; i++)
        desk_bounce(w.desk, json_pack("{s:i}", "n", i), &w, i);
    assert_int_equal(bounces(request(&w)), 1);
    pass(&w, 500);
    assert_int_equal(w.answers[DESK_LATER], 500);
    /* They come again, and that is all the master hears of them. */
    for (unsigned i = 500; i < 510; i++)
        desk_bounce(w.desk, json_pack("{s:i}", "n", i), &w, i);
    reply(&w, "{\"ok\":true}\n");
    assert_int_equal(w.answers[DESK_TAKEN], 0);
    r = request(&w);
    assert_int_equal(json_array_size(json_object_get(r, "bounces")), 10);
    json_decref(r);
    reply(&w, "{\"ok\":true}\n");
    assert_int_equal(w.answers[DESK_TAKEN], 10);
    assert_null(request(&w));
    for (unsigned i = 0; i < 510; i++)
        assert_int_equal(w.of[i], 1);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_while_one_is_under_way_goes_together),
        cmocka_unit_test(a_refused_request_is_taken_apart_and_one_not_now_is_put_off),
        cmocka_unit_test(unsubscribes_go_alone_and_who_left_is_told_nothing),
        cmocka_unit_test(each_is_told_what_the_master_says_of_it),
        cmocka_unit_test(too_many_and_those_that_cannot_be_asked_are_put_off_at_once),
        cmocka_unit_test(who_waits_too_long_is_put_off_and_no_queue_of_them_grows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
