/* load.c - load-tests an SMTP server: sends it made-up messages at a rate or as fast as it takes them, and measures.
 *
 * For whoever wants to know how much a mail server can take. One process, one thread, one loop; see load --help. This
 * file has the run: when messages are due, which connection takes them up, and when it is over.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "load.h"
#include "net.h"

#define DESCRIPTORS_OURS 32u /* what the program needs beside its connections */
#define GAP_LEAST_US     50u /* between two looks at what is due */
#define REACH_TRIES      3u  /* connections that fail before the first was ever ready */

double load_cpu_seconds(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static bool is_open_loop(const struct load *load)
{
    return load->options.rate > 0 || load->options.ramp;
}

/* Is there a message to be taken up now? */
static bool has_next(const struct load *load)
{
    if (is_open_loop(load))
        return !load->abandon && load_waiting(load) > 0;
    return !load->stopping && (load->options.messages == 0 || load->counts.begun < load->options.messages);
}

/* May there be one later? */
static bool has_later(const struct load *load)
{
    return is_open_loop(load) && !load->stopping;
}

static void begin(struct load_conn *c, uint64_t now_us)
{
    struct load *load = c->load;
    uint64_t due_us = now_us;

    if (is_open_loop(load)) {
        due_us = load->started_us + load_cursor_next(&load->arrivals, &load->begun);
        load_histogram_add(&load->times.wait, now_us > due_us ? now_us - due_us : 0);
    } else {
        load->counts.due++;
    }
    load_dialogue_begin(c, due_us, now_us);
}

void load_ready(struct load_conn *c, uint64_t now_us)
{
    struct load *load = c->load;
    bool used_up = load->options.per_connection > 0 && c->messages == load->options.per_connection;

    load->reached_us = now_us;
    if (!used_up && has_next(load))
        begin(c, now_us);
    else if (used_up || !has_later(load))
        load_dialogue_quit(c, now_us);
    else
        load_conn_phase(c, LOAD_IDLE, now_us);
}

void load_settled(struct load_conn *c, bool accepted, uint64_t now_us)
{
    struct load *load = c->load;
    uint64_t took_us = now_us > c->due_us ? now_us - c->due_us : 0;

    load->last_reply_us = now_us;
    if (accepted) {
        load->counts.accepted++;
        load_histogram_add(&load->times.latency, took_us);
    } else {
        load->counts.failed++;
        load_histogram_add(&load->times.failed, took_us);
    }
    if (load->steps.state != STEP_NONE && c->due_us >= load->steps.begun_us)
        load_histogram_add(&load->steps.latency, took_us);
    if (load->view.on)
        load_histogram_add(&load->view.latency, took_us);
}

/* A server that never took a connection, or takes none any more for as long as a reply would be waited for. */
void load_lost(struct load *load, const char *why, uint64_t now_us)
{
    bool never = load->counts.ready == 0;

    snprintf(load->lost_why, sizeof load->lost_why, "%s", why);
    /* Others that are being set up may still come through: some servers refuse those above a number. */
    if ((never && load->counts.lost >= REACH_TRIES && load->opening <= 1) ||
        (!never && load->busy + load->idle_count == 0 &&
         now_us > load->reached_us + (uint64_t)load->options.timeout_ms * 1000)) {
        load->abandon = true;
        load_finish(load, LOAD_SERVER_LOST, now_us);
    }
}

static void drain_end(struct load *load)
{
    ev_break(load->loop, EVBREAK_ALL);
}

void load_finish(struct load *load, enum load_end why, uint64_t now_us)
{
    if (load->stopping)
        return;
    load->stopping = true;
    load->end = why;
    load->ended_us = now_us;
    load->drain_until_us = now_us + (uint64_t)load->options.drain_ms * 1000;
    load_steps_cut(load, now_us);
}

/* Messages that have become due since the last look; up to the end of the run, whenever its end is noticed. */
static void due_count(struct load *load, uint64_t now_us)
{
    uint64_t at, until_us = load->options.time_ms > 0 ? (uint64_t)load->options.time_ms * 1000 : UINT64_MAX;

    while (!load->stopping) {
        at = load_cursor_peek(&load->arrivals, &load->due);
        if (at == ARRIVALS_NEVER || at > until_us || load->started_us + at > now_us)
            return;
        (void)load_cursor_next(&load->arrivals, &load->due);
        load->counts.due++;
        load_histogram_add(&load->times.late, now_us - load->started_us - at);
        if (load->counts.due == load->options.messages)
            load_finish(load, LOAD_ALL_SENT, now_us);
    }
}

/* Wake when the next message is due; the loop's own timers are a millisecond coarse. */
static void due_arm(struct load *load, uint64_t now_us)
{
    uint64_t at = load_cursor_peek(&load->arrivals, &load->due);
    struct itimerspec when = {{0, 0}, {0, 0}};

    if (at != ARRIVALS_NEVER && !load->stopping) {
        at += load->started_us;
        at = at > now_us + GAP_LEAST_US ? at : now_us + GAP_LEAST_US;
        when.it_value.tv_sec = (time_t)(at / 1000000);
        when.it_value.tv_nsec = (long)(at % 1000000) * 1000;
    }
    HK_BUG_ON(timerfd_settime(load->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) != 0);
}

static void on_due(struct ev_loop *loop, ev_io *io, int events)
{
    struct load *load = io->data;
    uint64_t expirations, now_us = clock_now_us();
    (void)loop;
    (void)events;

    if (read(load->timer_fd, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        return;
    due_count(load, now_us);
    due_arm(load, now_us);
}

/* How many connections to open now, beyond those that are being opened. */
static uint64_t wanted(const struct load *load)
{
    uint64_t want;

    if (is_open_loop(load)) {
        want = has_next(load) ? load_waiting(load) : 0;
        return want > load->opening ? want - load->opening : 0;
    }
    return has_next(load) ? UINT64_MAX : 0;
}

static void meet(struct load *load, uint64_t now_us)
{
    while (load->idle != NULL && has_next(load))
        begin(load->idle, now_us);
    for (uint64_t n = wanted(load); n > 0 && load->free != NULL && load->opening < LOAD_OPENING_MAX; n--)
        load_conn_open(load->free, now_us);
}

/* When nothing more is to come: say goodbye, and end when the last connection is gone. */
static void wind_up(struct load *load, uint64_t now_us)
{
    if (has_next(load) || has_later(load))
        return;
    while (load->idle != NULL)
        load_dialogue_quit(load->idle, now_us);
    /* Those that are being set up are let through to their QUIT, unless somebody waits for the end. */
    if (load->busy == 0 && load->opening > 0 && load->abandon)
        for (uint32_t i = 0; i < load->connections; i++)
            if (load->conn[i].phase > LOAD_COOLING && load->conn[i].phase < LOAD_IDLE)
                load_conn_close(&load->conn[i], now_us);
    if (load->busy == 0 && !load->stopping)
        load_finish(load, LOAD_ALL_SENT, now_us);
    if (load->open == 0)
        drain_end(load);
}

static void on_prepare(struct ev_loop *loop, ev_prepare *prepare, int events)
{
    struct load *load = prepare->data;
    uint64_t now_us = clock_now_us();
    (void)loop;
    (void)events;

    meet(load, now_us);
    wind_up(load, now_us);
}

static void date_make(struct load *load)
{
    time_t now = time(NULL);
    struct tm parts;

    gmtime_r(&now, &parts);
    strftime(load->date, sizeof load->date, "%a, %d %b %Y %H:%M:%S +0000", &parts);
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct load *load = timer->data;
    uint64_t now_us = clock_now_us();
    (void)loop;
    (void)events;

    date_make(load);
    load_conn_sweep(load, now_us);
    load_steps_tick(load, now_us);
    if (is_open_loop(load)) {
        due_count(load, now_us);
        due_arm(load, now_us);
    }
    if (load->view.on && now_us >= load->view.next_us)
        load_report_second(load, now_us);
    if (load->stopping && now_us >= load->drain_until_us)
        drain_end(load);
}

static void on_end(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct load *load = timer->data;
    uint64_t now_us = clock_now_us(), end_us = load->started_us + (uint64_t)load->options.time_ms * 1000;
    (void)events;

    if (now_us < end_us) { /* the loop's clock is a little behind */
        ev_timer_set(timer, (double)(end_us - now_us) / 1e6, 0);
        ev_timer_start(loop, timer);
        return;
    }
    due_count(load, now_us);
    load_finish(load, LOAD_TIME_UP, now_us);
}

/* The first one ends what is under way and no more; the second one ends at once. */
static void on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    struct load *load = watcher->data;
    (void)loop;
    (void)events;

    if (load->abandon)
        drain_end(load);
    load->abandon = true;
    load_finish(load, LOAD_SIGNAL, clock_now_us());
}

static void watchers_start(struct load *load)
{
    static const int numbers[] = {SIGTERM, SIGINT};

    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        ev_signal_init(&load->signals[i], on_signal, numbers[i]);
        load->signals[i].data = load;
        ev_signal_start(load->loop, &load->signals[i]);
    }
    ev_prepare_init(&load->prepare, on_prepare);
    load->prepare.data = load;
    ev_prepare_start(load->loop, &load->prepare);
    ev_timer_init(&load->tick, on_tick, LOAD_TICK_S, LOAD_TICK_S);
    load->tick.data = load;
    ev_timer_start(load->loop, &load->tick);
    if (load->options.time_ms > 0) {
        ev_timer_init(&load->end_timer, on_end, load->options.time_ms / 1e3, 0);
        load->end_timer.data = load;
        ev_timer_start(load->loop, &load->end_timer);
    }
}

static int schedule_start(struct load *load, struct hk_why *why)
{
    const struct load_options *o = &load->options;

    load_arrivals_init(&load->arrivals, o->poisson, o->seed + 2);
    if (o->rate > 0)
        HK_BUG_ON(load_arrivals_rate(&load->arrivals, 0, o->rate) != HK_OK);
    if (o->ramp)
        load_steps_begin(load, load->started_us);
    if (!is_open_loop(load))
        return HK_OK;
    load->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (load->timer_fd < 0)
        return why_set(why, HK_EIO, "timer: %s", strerror(errno));
    ev_io_init(&load->timer_io, on_due, load->timer_fd, EV_READ);
    load->timer_io.data = load;
    ev_io_start(load->loop, &load->timer_io);
    due_arm(load, load->started_us);
    return HK_OK;
}

/* Recipients and texts, and whether they fit each other. */
static int mail_prepare(struct load *load, struct hk_why *why)
{
    const struct load_options *o = &load->options;
    int rc = o->rcpt_file != NULL ? load_addresses_file(o->rcpt_file, &load->rcpt, why)
                                  : load_addresses_pattern(o->rcpt, o->rcpt_modulo, &load->rcpt, why);

    if (rc < 0)
        return rc;
    if (o->message_file != NULL)
        return load_text_file(o->message_file, &load->text, why);
    if (load_sizes_min(&o->sizes) < LOAD_HEADER_MAX + strlen(o->from) + load->rcpt.longest + strlen(o->helo))
        return why_set(why, HK_EINVAL, "--size: the header alone may take %zu octets: write at least that",
                       LOAD_HEADER_MAX + strlen(o->from) + load->rcpt.longest + strlen(o->helo));
    return load_text_make(load_sizes_max(&o->sizes), &load->text, why);
}

static int connections_prepare(struct load *load, struct hk_why *why)
{
    uint64_t descriptors = net_raise_descriptors();

    load->connections = load->options.connections;
    if (descriptors < (uint64_t)load->connections + DESCRIPTORS_OURS)
        return why_set(
            why, HK_EINVAL,
            "--connections %u: needs %u file descriptors, and this process may have %llu (ulimit -Hn): write "
            "--connections %llu, or have the limit raised",
            load->connections, load->connections + DESCRIPTORS_OURS, (unsigned long long)descriptors,
            (unsigned long long)(descriptors > 2 * DESCRIPTORS_OURS ? descriptors - DESCRIPTORS_OURS : 1));
    load->head_size = load_dialogue_head_size(load);
    load->conn = calloc(load->connections, sizeof *load->conn);
    if (load->conn == NULL)
        return why_set(why, HK_ENOMEM, "--connections %u: out of memory", load->connections);
    /* From the last one on: the first is taken first. */
    for (uint32_t i = load->connections; i-- > 0;) {
        load->conn[i] = (struct load_conn){.load = load, .index = i, .fd = -1, .phase = LOAD_COOLING};
        load_conn_phase(&load->conn[i], LOAD_FREE, 0);
    }
    return HK_OK;
}

static int load_start(struct load *load, struct hk_why *why)
{
    int rc;

    if ((rc = load_target_find(load, why)) < 0 || (rc = mail_prepare(load, why)) < 0 ||
        (rc = connections_prepare(load, why)) < 0 || (rc = load_tls_setup(load, why)) < 0 ||
        (rc = load_auth_setup(load, why)) < 0)
        return rc;
    load->loop = ev_loop_new(EVFLAG_AUTO);
    if (load->loop == NULL)
        return why_set(why, HK_ENOMEM, "out of memory");
    reply_reader_init(&load->reader);
    date_make(load);
    load->view.on = isatty(STDERR_FILENO) == 1;
    load->cpu_begun = load_cpu_seconds();
    load->started_us = load->reached_us = load->last_reply_us = clock_now_us();
    load->view.next_us = load->started_us + 1000000;
    watchers_start(load);
    return schedule_start(load, why);
}

/* What is unanswered when the run is over: its age belongs to the latencies, or a server that stops answering would look
 * fast. */
static void unfinished_count(struct load *load)
{
    uint64_t now_us = clock_now_us();

    load->cpu_used = load_cpu_seconds() - load->cpu_begun;
    for (uint32_t i = 0; i < load->connections; i++) {
        struct load_conn *c = &load->conn[i];

        if (c->phase > LOAD_IDLE && c->phase < LOAD_QUIT) {
            load->counts.unfinished++;
            load_histogram_add(&load->times.latency, now_us - c->due_us);
        }
    }
    while (is_open_loop(load) && load->begun.number < load->due.number) {
        load->counts.unfinished++;
        load_histogram_add(&load->times.latency,
                           now_us - load->started_us - load_cursor_next(&load->arrivals, &load->begun));
    }
}

static void load_stop(struct load *load)
{
    for (uint32_t i = 0; i < load->connections; i++)
        if (load->conn[i].fd >= 0)
            load_conn_close(&load->conn[i], load->ended_us);
    if (load->timer_fd > 0)
        close(load->timer_fd);
    free(load->conn);
    free(load->source);
    free(load->options.source);
    load_addresses_free(&load->rcpt);
    load_text_free(&load->text);
    SSL_SESSION_free(load->session);
    SSL_CTX_free(load->tls);
    ev_loop_destroy(load->loop);
}

static int status_of(const struct load *load)
{
    if (load->end == LOAD_SERVER_LOST)
        return 3;
    /* Above the knee messages stay unanswered: that is what a ramp is for. */
    return load->counts.failed > 0 || (load->counts.unfinished > 0 && !load->options.ramp) ? 1 : 0;
}

int main(int argc, char **argv)
{
    static struct load load;
    struct hk_why why = {{0}};
    bool written;
    int rc, status;

    load_options_parse(argc, argv, &load.options);
    rc = load_start(&load, &why);
    if (rc < 0) {
        fprintf(stderr, "load: %s\n", why.text);
        return rc == HK_EDOWN || rc == HK_EIO || rc == HK_ENOMEM ? 3 : 2;
    }
    ev_run(load.loop, 0);
    unfinished_count(&load);
    if (load.counts.ready == 0 && load.end != LOAD_SERVER_LOST) {
        load.end = LOAD_SERVER_LOST;
        snprintf(load.lost_why, sizeof load.lost_why, "no connection was ready for mail when the run ended");
    }
    status = status_of(&load);
    if (load.end == LOAD_SERVER_LOST)
        fprintf(stderr, "load: %s cannot be reached: %s\n", load.to_text, load.lost_why);
    if (load.counts.ready > 0) {
        written = load.options.json ? load_report_json(&load) : load_report_text(&load);
        if (!written) {
            fprintf(stderr, "load: standard output: %s\n", strerror(errno));
            status = 3;
        }
    }
    load_stop(&load);
    return status;
}
