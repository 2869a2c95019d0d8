/* node.c - the node's life: start, the turn of the loop, drain, end.
 *
 * One turn, in this order: what workers said, what may be taken up, who may send; then the event log is written, and only
 * then the ledger told; then workers are woken. So a line always stands in the log before the ledger knows.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "errand.h"
#include "front.h"
#include "hikyaku/rules.h"
#include "identity.h"
#include "journal_file.h"
#include "meant.h"
#include "unsubscribe.h"

#define TICK_S            0.2
#define REDIS_CHECK_S     1.0
#define REDIS_AGAIN_MS    10000u /* between two starts of an embedded server that does not stay */
#define LEDGER_UP_WAIT_MS 10000u
#define SWEEP_EVERY       50u /* ticks */
#define SECOND_EVERY      5u  /* ticks */
#define SUPPRESS_EVERY    2u /* ticks; with one more for an answer to wait for: news of other nodes within 1 s */
#define BEAT_MS           1000u /* between two beats of the lease; node.lease is longer than some */
#define START_OVER_MAX \
    5u /* times in a row, with START_OVER_MS between them, that a node starts over by itself */
#define START_OVER_MS 60000u
#define THAW_MS       3000u /* a worker's trouble may be over by then */
#define THAWS_MAX     3u    /* in a row; then it needs a person */
#define STUCK_MS      1000u /* a disk that is full so long when a node ends is not waited for */
#define LAST_WORDS_MS 2000u /* for the ledger to take what is left, once the time to drain is over */

/* ---- the lease ---- */

/* A Redis that is told to make room throws away what it likes: of the ledger nothing is certain then. */
static void watch_evicted(struct node *node, uint64_t evicted)
{
    bool more = node->evicted_known && evicted > 0 && evicted != node->evicted;

    node->evicted_known = true;
    node->evicted = evicted;
    if (more)
        node_start_over_lost(
            node, "Redis has thrown away keys to make room (maxmemory-policy has to be noeviction there)");
}

static void on_beat(void *context, long long left_ms, uint64_t evicted)
{
    struct node *node = context;

    node->beating = false;
    store_heard(node->store);
    if (left_ms == -1) {
        watch_evicted(node, evicted);
        campaigns_ask_state(node);
        return;
    }
    if (left_ms >= 0) {
        log_error("another node has the name \"%s\" now: this one was silent for too long, and ends",
                  node->config->node.name);
        node_give_up(node, EXIT_NEEDED);
        return;
    }
    node_start_over(node, "another node has the epoch of this one");
}

/* A place in the event log is told when all that was pushed before it has its verdict: it goes with the next beat. */
static void move_mark(struct node *node)
{
    if (!node->past_told || !ledger_mark_reached(node->ledger) || node->log.failing || node->log.used > 0 ||
        unsubscribes_wait(node) || owed_waits(&node->owed))
        return;
    memcpy(node->told, node->mark, sizeof node->told);
    eventlog_place(&node->log, node->mark);
    ledger_mark(node->ledger);
}

/* A short lease wants more than one beat in its life. */
static uint64_t beat_every_ms(const struct node *node)
{
    uint32_t third = node->config->node.lease_ms / 3;

    return third < BEAT_MS ? third : BEAT_MS;
}

static void beat(struct node *node)
{
    uint64_t now = clock_now_ms();

    if (!node->ledger_up || (node->beating && now < node->beat_ms + node->config->node.lease_ms))
        return;
    move_mark(node);
    node->beat_ms = now;
    node->beating = true;
    if (ledger_beat(node->ledger, &node->lease, node->told, on_beat, node) != 0)
        node->beating = false;
}

static void on_ledger_up(void *context)
{
    struct node *node = context;

    if (!node->ledger_up && node->worker != NULL) {
        log_info("Redis answers again");
        store_renew(node->store); /* else the next command would be the first to find its connection lost */
    }
    node->ledger_up = true;
    store_heard(node->store);
    node->beating = false; /* what was asked over the old connection has no answer */
    beat(node);            /* at once: the lease may have run out meanwhile */
}

static void on_ledger_down(void *context, const char *why)
{
    struct node *node = context;

    if (node->ledger_up)
        log_warning("Redis is gone (%s): nothing new is sent until it is back", why);
    node->ledger_up = false;
}

static void on_ledger_broken(void *context, const char *why)
{
    struct node *node = context;

    /* on_ledger_up comes when it is mended: until then nothing new is sent. */
    node->ledger_up = false;
    log_error("Redis refuses what the ledger needs: %s; sending waits, and it is tried again each second",
              why);
}

static void on_ledger_behind(void *context, const char *campaign)
{
    struct node *node = context;

    (void)campaign;
    /* Nothing is under way yet: settle_wait() sees it, and this life ends there. */
    if (!node->past_told)
        node->again = node->redis_lost = true;
    else
        node_start_over_lost(node, REDIS_IS_BEHIND);
}

/* An embedded server that died is ours to start again. The ledger's own connection finds it: nothing waits here. */
static void on_redis_check(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct node *node = timer->data;
    uint64_t now = clock_now_ms();
    struct hk_why why;
    int rc;

    (void)loop;
    (void)events;
    if (node->ledger_up || node->config->redis.mode != REDIS_EMBEDDED || node->starved)
        return; /* on a full disk it would only end again */
    if (node->redis_revived_ms != 0 && now < node->redis_revived_ms + REDIS_AGAIN_MS)
        return;
    rc = redis_server_revive(node->config, &node->place->redis_pid, &why);
    if (rc != 0)
        node->redis_revived_ms = now;
    if (rc < 0)
        log_error("%s", why.text);
    else if (rc > 0)
        log_info("started the embedded Redis again (pid %d); %s/redis.log tells how it goes",
                 (int)node->place->redis_pid, node->config->state_dir);
}

/* ---- ending ---- */

static void node_drain(struct node *node)
{
    const struct desc drain = {.kind = DESC_DRAIN};

    if (node->draining) {
        node->drain_until_ms = clock_now_ms();
        return;
    }
    node->draining = true;
    node->drain_until_ms = clock_now_ms() + node->config->node.drain_ms;
    for (uint32_t i = 0; i < node->workers; i++)
        if (node->worker[i].pid != 0)
            worker_tell(&node->worker[i], &drain);
}

void node_give_up(struct node *node, int exit_status)
{
    if (node->draining)
        return;
    node->exit_status = exit_status;
    node_drain(node);
}

/* What this node knows and what Redis knows are no longer the same: nothing is granted any more, dots under way finish,
 * and then it begins anew, as after a death: event log and region are told to the ledger that is there. */
void node_start_over(struct node *node, const char *why)
{
    if (node->again || node->options->request != NULL || node->worker == NULL)
        return;
    log_error("%s: nothing is sent until the ledger has been told what the event log knows", why);
    node->again = true;
}

void node_start_over_lost(struct node *node, const char *why)
{
    node_start_over(node, why);
    node->redis_lost = true;
}

/* Commits without an answer get none. */
static void deny_asked(struct node *node)
{
    for (uint32_t w = 0; w < node->workers; w++)
        for (uint32_t slot = 0; slot < node->region.header->sizes.flight_slots; slot++) {
            struct hold *hold = &node->worker[w].hold[slot];
            if (!hold->used || hold->done || hold->commit != COMMIT_ASKED)
                continue;
            hold->commit = COMMIT_REFUSED;
            hold->stopped = true;
            worker_tell(&node->worker[w], &(struct desc){.kind = DESC_DENY, .slot = slot});
        }
}

/* In the turn, not from inside an answer of the ledger. */
static void begin_start_over(struct node *node)
{
    node->abandoned = true;
    ledger_abandon(node->ledger);
    node->ledger_up = false;
    deny_asked(node);
    if (!node->draining)
        node_drain(node);
}

static bool all_landed(const struct node *node)
{
    for (uint32_t w = 0; w < node->workers; w++)
        for (uint32_t slot = 0; slot < node->region.header->sizes.flight_slots; slot++)
            if (node->worker[w].hold[slot].used && !node->worker[w].hold[slot].done)
                return false;
    return true;
}

void node_freeze(struct campaign *campaign, const char *why)
{
    char words[REGION_REPLY_TEXT];

    if (campaign->frozen)
        return;
    campaign->frozen = true;
    hk_clean_text(words, sizeof words, why, strnlen(why, sizeof words - 1));
    log_error("campaign %s stands still: %s", campaign->manifest.campaign, words);
}

void node_freeze_a_while(struct campaign *campaign, const char *why)
{
    char words[REGION_REPLY_TEXT];

    if (campaign->frozen)
        return;
    if (campaign->thaws++ == THAWS_MAX) {
        node_freeze(campaign, why);
        return;
    }
    campaign->frozen = true;
    campaign->thaw_ms = clock_now_ms() + THAW_MS;
    hk_clean_text(words, sizeof words, why, strnlen(why, sizeof words - 1));
    log_warning("campaign %s stands still for %u s: %s", campaign->manifest.campaign, THAW_MS / 1000, words);
}

static void thaw(struct campaign *campaign)
{
    if (campaign->thaw_ms == 0 || clock_now_ms() < campaign->thaw_ms)
        return;
    campaign->thaw_ms = 0;
    campaign->frozen = false;
    log_info("campaign %s is tried again", campaign->manifest.campaign);
}

static bool is_drained(const struct node *node)
{
    if (node->again)
        return all_landed(node) && node->log.used == 0;
    return node->holds == 0 && ledger_pending(node->ledger) == 0 && node->log.used == 0;
}

/* Whoever may send his last byte has to be seen to his end; nobody else gets there without the ledger. */
static bool granted_have_landed(const struct node *node)
{
    for (uint32_t w = 0; w < node->workers; w++)
        for (uint32_t slot = 0; slot < node->region.header->sizes.flight_slots; slot++) {
            const struct hold *hold = &node->worker[w].hold[slot];
            if (hold->used && !hold->done && hold->commit == COMMIT_GRANTED)
                return false;
        }
    return true;
}

/* On a full disk nothing more can be written down, however long one waits: the region keeps the outcomes for the next start. */
static bool drains_in_vain(struct node *node, uint64_t now)
{
    bool stuck = !node->again && (node->starved || node->log.failing) && granted_have_landed(node) &&
                 (node->log.failing || !node->ledger_up);

    if (!stuck)
        node->stuck_ms = 0;
    else if (node->stuck_ms == 0)
        node->stuck_ms = now;
    if (!stuck || now < node->stuck_ms + STUCK_MS)
        return false;
    log_warning(
        "nothing can be written down: the outcomes of what was under way stay in %s/region, and the next "
        "start tells them",
        node->config->state_dir);
    return true;
}

static void check_drain(struct node *node)
{
    uint64_t now = clock_now_ms();

    if (!node->draining)
        return;
    if (is_drained(node)) {
        ev_break(node->loop, EVBREAK_ALL);
        return;
    }
    if (drains_in_vain(node, now)) {
        children_kill_workers(node); /* they would wait for leave that nobody gives */
        ev_break(node->loop, EVBREAK_ALL);
        return;
    }
    if (now < node->drain_until_ms)
        return;
    /* Time is up: what has no dot yet is sent again next time, a dot without a reply is unknown. The region tells the
     * next node what Redis does not take now. */
    children_kill_workers(node);
    if (now > node->drain_until_ms + LAST_WORDS_MS)
        ev_break(node->loop, EVBREAK_ALL);
}

/* ---- what people see ---- */

uint32_t node_next_due_s(const struct node *node, uint64_t *wait_ms)
{
    uint32_t soonest = 0;

    *wait_ms = 0;
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++) {
        const struct campaign *campaign = node->campaign[i];
        uint32_t now;
        if (campaign == NULL || campaign->settled || !campaign_runs(campaign))
            continue;
        if (campaign->active > 0 || campaign->taking > 0 || campaign->passed < campaign->spans)
            return 0;
        now = campaign_now_s(campaign);
        for (uint32_t k = 0; k < campaign->spans; k++) {
            uint32_t due = campaign->span[k].due_s;
            if (due != 0 && (soonest == 0 || due < soonest)) {
                soonest = due;
                *wait_ms = due > now ? (uint64_t)(due - now) * 1000u : 1;
            }
        }
    }
    return soonest;
}

static void node_tell_progress(struct node *node)
{
    struct campaign *campaign =
        node->options->campaign != NULL ? campaign_find(node, node->options->campaign) : NULL;
    struct node_progress progress = {.rate = 0.0};

    if (node->options->progress == NULL || campaign == NULL)
        return;
    progress.campaign = campaign->manifest.campaign;
    progress.recipients = campaign->manifest.recipients;
    memcpy(progress.counts, campaign->counts, sizeof progress.counts);
    progress.attempts = campaign->attempts;
    progress.rate = campaign_rate(campaign);
    progress.paused = strcmp(campaign->manifest.state, "paused") == 0;
    progress.draining = node->draining;
    progress.redis_down = !node->ledger_up;
    progress.elapsed_ms = clock_now_ms() - node->started_ms;
    node_next_due_s(node, &progress.next_due_ms);
    node->options->progress(node->options->context, &progress);
}

/* Nothing left that this node could do: every campaign is settled, or stands still. */
static bool is_finished(const struct node *node, int *exit_status)
{
    *exit_status = EXIT_SETTLED;
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++) {
        const struct campaign *campaign = node->campaign[i];
        if (campaign == NULL || campaign->settled || campaign->parked)
            continue;
        if ((!campaign->frozen || campaign->thaw_ms != 0) && !campaign->halted)
            return false;
        if (strcmp(campaign->manifest.campaign, node->options->campaign) == 0)
            *exit_status = EXIT_STOPPED;
    }
    return true;
}

/* The one request of a short-lived node: a campaign that was cancelled is settled as well. */
static bool is_answered(const struct node *node)
{
    if (node->answer == NULL)
        return false;
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (node->campaign[i] != NULL && !node->campaign[i]->settled && !node->campaign[i]->frozen &&
            strcmp(node->campaign[i]->manifest.state, "cancelled") == 0)
            return false;
    return true;
}

static bool place_is_there(struct node *node)
{
    if (!node_place_is_gone(node->config, node->place))
        return true;
    if (!node->draining)
        log_error(
            "%s was removed or moved under this node: it stops, before another one begins in its place. "
            "What was sent is written down there alone: put it back before you start again",
            node->config->state_dir);
    node_give_up(node, EXIT_NEEDED);
    return false;
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct node *node = timer->data;

    (void)loop;
    (void)events;
    node->ticks++;
    machine_watch_room(node);
    dispatch_tick(node);
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (node->campaign[i] != NULL)
            thaw(node->campaign[i]);
    campaigns_tick(node);
    if (node->ticks % SECOND_EVERY == 0) {
        sites_tick(node);
        gates_tick(node);
        node->suspensions_due = true;
        domains_tell(node);
        tlsrpt_turn(&node->tlsrpt, clock_wall_us());
        eventlog_sync(&node->log);
        if (place_is_there(node))
            eventlog_watch(&node->log);
        process_memory_settle();
    }
    if (clock_now_ms() >= node->beat_ms + beat_every_ms(node))
        beat(node);
    suppression_tick(node, node->ticks % SUPPRESS_EVERY == 0);
    if (node->ticks % SWEEP_EVERY == 0) {
        domains_sweep(node);
        sites_sweep(node);
    }
    if (node->ticks % 2 == 0)
        node_tell_progress(node);
    if (!node->draining && node->options->campaign != NULL && TAILQ_EMPTY(&node->errands) &&
        is_finished(node, &node->exit_status))
        node_drain(node);
    if (!node->draining && node->options->request != NULL && is_answered(node))
        node_drain(node);
    check_drain(node);
}

/* ---- the turn ---- */

/* Nothing left that was not read. While the ledger is asked, workers are not to wake us: nobody can be granted anything before
 * its answer, which wakes us in any case, and then all that came meanwhile is one turn, one write of the log and one call. Should
 * the answer be long in coming, the tick reads the rings. */
static bool rings_are_quiet(struct node *node)
{
    bool quiet = true;

    if (ledger_is_asked(node->ledger))
        return true;
    for (uint32_t i = 0; i < node->workers; i++)
        quiet = ring_sleep(region_up(&node->region, i)) && quiet;
    return quiet;
}

static void on_idle(struct ev_loop *loop, ev_idle *idle, int events)
{
    (void)events;
    ev_idle_stop(loop, idle); /* the next turn starts it again if there is more */
}

static void workers_read(void *context)
{
    struct node *node = context;

    for (uint32_t i = 0; i < node->workers; i++) {
        ring_awake(region_up(&node->region, i));
        worker_read(&node->worker[i]);
    }
}

/* See due.h. Workers are told first what they wait for, and do not wake us while we look again and again. */
static void await_due(struct node *node)
{
    if (node->due.count == 0 || !ledger_would_ask(node->ledger))
        return;
    workers_wake(node);
    due_await(&node->due, workers_read, node);
}

static void on_turn(struct ev_loop *loop, ev_prepare *prepare, int events)
{
    struct node *node = prepare->data;

    (void)events;
    workers_read(node);
    await_due(node);
    if (node->again && !node->abandoned)
        begin_start_over(node);
    errands_check(node);
    if (node->ledger_up && !node->abandoned)
        owed_turn(&node->owed, clock_now_ms());
    unsubscribes_turn(node);
    campaigns_refill(node);
    domains_ask(node);
    dispatch(node);
    if (eventlog_flush(&node->log) == 0)
        ledger_flush(node->ledger);
    suspensions_turn(node);
    workers_wake(node);
    if (node->draining && is_drained(node))
        ev_break(loop, EVBREAK_ALL);
    if (!rings_are_quiet(node) || (!TAILQ_EMPTY(&node->ready) && node->ledger_up && !node->draining &&
                                   !node->log.failing && !node->starved))
        ev_idle_start(loop, &node->busy);
}

/* Told to stop: for `serve` that is how it ends, whoever else ends so has not done what he was to do. */
static int exit_status_told(const struct node *node)
{
    bool serves = node->options->campaign == NULL && node->options->request == NULL;

    return serves ? EXIT_SETTLED : EXIT_STOPPED;
}

static void on_signal(struct ev_loop *loop, ev_io *io, int events)
{
    struct node *node = io->data;
    struct signalfd_siginfo info;

    (void)loop;
    (void)events;
    while (read(node->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            children_reaped(node);
            continue;
        }
        if (info.ssi_signo == SIGHUP)
            continue;
        if (!node->draining || node->again)
            node->exit_status = exit_status_told(node);
        node->told_to_stop = true;
        log_info("%s: %s", strsignal((int)info.ssi_signo),
                 node->draining ? "stopping at once"
                                : "finishing what is under way; once more stops at once");
        node_drain(node);
    }
}

/* ---- starting ---- */

void node_wait(struct node *node)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    ev_run(node->loop, EVRUN_NOWAIT);
    nanosleep(&pause, NULL);
}

static int open_signals(struct node *node, struct hk_why *why)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    signal(SIGPIPE, SIG_IGN);
    /* signalfd, not the loop's own signal watchers: those share state with the children's loops after a fork. */
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return why_set(why, HK_EIO, "cannot block signals: %s", strerror(errno));
    node->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (node->signal_fd < 0)
        return why_set(why, HK_EIO, "cannot make a signalfd: %s", strerror(errno));
    ev_io_init(&node->signal_io, on_signal, node->signal_fd, EV_READ);
    node->signal_io.data = node;
    ev_io_start(node->loop, &node->signal_io);
    return 0;
}

static void open_timers(struct node *node)
{
    ev_timer_init(&node->tick, on_tick, TICK_S, TICK_S);
    node->tick.data = node;
    ev_timer_start(node->loop, &node->tick);
    ev_prepare_init(&node->turn, on_turn);
    node->turn.data = node;
    ev_prepare_start(node->loop, &node->turn);
    ev_idle_init(&node->busy, on_idle);
}

static int check_redis(struct node *node, struct hk_why *why)
{
    return redis_check(node->config, true, why);
}

/* Draw an epoch, write it down here, and tell Redis that this node lives. */
static int take_lease(struct node *node, struct hk_why *why)
{
    struct node_place *place = node->place;
    int rc;

    node->lease = (struct lease){
        .name = node->config->node.name, .id = place->id, .life_ms = node->config->node.lease_ms};
    do {
        rc = store_epoch_next(node->store, place->epoch, &place->epoch, why);
        if (rc == 0)
            rc = identity_keep(node->config, place, why);
        node->lease.epoch = node->epoch = place->epoch;
        if (rc == 0)
            rc = store_lease_take(node->store, &node->lease, why);
    } while (rc == HK_EEXIST);
    return rc;
}

static int open_ledger(struct node *node, struct hk_why *why)
{
    const struct ledger_callbacks callbacks = {.context = node,
                                               .up = on_ledger_up,
                                               .down = on_ledger_down,
                                               .verdict = outcome_verdict,
                                               .fed_back = refusal_counted,
                                               .broken = on_ledger_broken,
                                               .behind = on_ledger_behind};
    uint64_t until = clock_now_ms() + LEDGER_UP_WAIT_MS;
    int rc = store_open(node->config, &node->store, why);

    if (rc == 0)
        rc = take_lease(node, why);
    if (rc == 0)
        rc = eventlog_open(&node->log, node->config, node->epoch, why);
    if (rc == 0)
        rc = ledger_open(node->config, node->loop, node->epoch, &callbacks, &node->ledger, why);
    /* From here on: what a start settles waits for it too. */
    ev_timer_init(&node->redis_check, on_redis_check, REDIS_CHECK_S, REDIS_CHECK_S);
    node->redis_check.data = node;
    ev_timer_start(node->loop, &node->redis_check);
    while (rc == 0 && !node->ledger_up && !node_is_told_to_stop(node)) {
        node_wait(node);
        if (!node->ledger_up && clock_now_ms() > until)
            rc = why_set(why, HK_EDOWN, "Redis does not answer");
    }
    return rc;
}

/* What this process knew of its campaigns when Redis lost its last writes. */
struct last_life {
    struct {
        char id[CAMPAIGN_ID_MAX + 1], state[sizeof((struct manifest *)NULL)->state];
    } campaign[REGION_CAMPAIGNS_MAX];
    uint32_t campaigns;
};

static void remember(const struct node *node, struct last_life *last)
{
    if (!node->past_told)
        return; /* it was no more than a beginning */
    last->campaigns = 0;
    for (uint32_t i = 0; node->redis_lost && i < REGION_CAMPAIGNS_MAX; i++) {
        const struct campaign *campaign = node->campaign[i];
        if (campaign == NULL || campaign->parked)
            continue;
        memcpy(last->campaign[last->campaigns].id, campaign->manifest.campaign, sizeof last->campaign[0].id);
        memcpy(last->campaign[last->campaigns].state, campaign->manifest.state,
               sizeof last->campaign[0].state);
        last->campaigns++;
    }
}

static void take_up(struct node *node)
{
    for (uint32_t i = 0; i < node->last_life->campaigns; i++) {
        struct campaign *campaign = campaign_find(node, node->last_life->campaign[i].id);
        if (campaign != NULL)
            campaign_as_before(campaign, node->last_life->campaign[i].state);
    }
}

static int open_those_to_run(struct node *node, struct hk_why *why)
{
    char **id = NULL;
    size_t count = 0;
    int rc;

    if (node->options->campaign != NULL)
        return campaign_run(node, node->options->campaign, why);
    rc = store_campaign_list(node->store, &id, &count, why);
    for (size_t i = 0; i < count; i++) {
        struct manifest manifest;
        struct hk_why skipped;
        if (!node_is_told_to_stop(node) && store_campaign_get(node->store, id[i], &manifest, &skipped) == 0 &&
            manifest.settled_us == 0 && campaign_run(node, id[i], &skipped) != 0)
            log_error("campaign %s is not run: %s", id[i], skipped.text);
        free(id[i]);
    }
    free(id);
    return rc;
}

static int open_campaigns(struct node *node, struct hk_why *why)
{
    int rc;

    if (node->options->request != NULL)
        return 0; /* it opens the one that it is about */
    rc = open_those_to_run(node, why);
    if (rc == 0)
        take_up(node);
    return rc;
}

static int open_region(struct node *node, struct hk_why *why)
{
    char path[4096];
    int rc;

    if (config_path(node->config, path, sizeof path, "region") != 0)
        return why_set(why, HK_ETOOBIG, "%s: state_dir is too long a path", node->config->state_dir);
    rc = region_create(path, region_sizes_for(node->config->workers, node->connections_max), node->epoch,
                       &node->region, why);
    if (rc != 0)
        return rc;
    node->free_dest = hk_xcalloc(node->region.header->sizes.dest_slots, sizeof *node->free_dest);
    for (uint32_t i = node->region.header->sizes.dest_slots; i-- > 0;)
        node->free_dest[node->free_dests++] = i;
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (node->campaign[i] != NULL)
            campaign_publish(node->campaign[i]);
    return 0;
}

/* A short-lived node: no worker, so no region; the old one has told all it had. */
static int begin_request(struct node *node, const char *text, struct hk_why *why)
{
    json_t *request = json_loads(text, 0, NULL);
    const char *command = json_string_value(json_object_get(request, "command"));
    bool known = false;
    char path[4096];

    if (config_path(node->config, path, sizeof path, "region") == 0)
        unlink(path);
    if (command != NULL)
        node->answer = errand_begin(node, command, request, NULL, &known);
    json_decref(request);
    if (!known)
        return why_set(why, HK_EINVAL, "a node that sends nothing cannot do that");
    return 0;
}

/* Nothing of the loop's own runs meanwhile but its watchers, so the lease is kept here. */
static char *next_request(struct node *node)
{
    char *answer, *next;

    if (node->answer == NULL || node->options->next == NULL || node_is_told_to_stop(node))
        return NULL;
    answer = json_dumps(node->answer, JSON_COMPACT);
    next = answer != NULL ? node->options->next(node->options->context, answer) : NULL;
    free(answer);
    if (next == NULL)
        return NULL;
    json_decref(node->answer);
    node->answer = NULL;
    if (clock_now_ms() >= node->beat_ms + beat_every_ms(node)) {
        beat(node);
        eventlog_sync(&node->log);
    }
    ev_run(node->loop, EVRUN_NOWAIT);
    return next;
}

static int do_requests(struct node *node, struct hk_why *why)
{
    int rc = begin_request(node, node->options->request, why);
    char *text;

    while (rc == 0 && (text = next_request(node)) != NULL) {
        rc = begin_request(node, text, why);
        free(text);
    }
    if (rc == 0)
        open_timers(node);
    return rc;
}

bool node_is_told_to_stop(const struct node *node)
{
    return node->draining || process_stop_asked();
}

/* Everything that may take long before the first worker is there: between its parts a node can still be stopped. */
static int prepare(struct node *node, struct hk_why *why)
{
    static int (*const part[])(struct node *, struct hk_why *) = {
        open_signals,     check_redis,    open_ledger,   suppression_open,
        suspensions_open, open_campaigns, settle_region,
    };
    int rc =
        process_connections("smtp.connections", node->config->smtp.connections, &node->connections_max, why);

    if (node->options->request == NULL)
        node_place_sweep(node->config);
    if (rc == 0 && node->options->request == NULL)
        rc = machine_sources(node->config, why);
    for (size_t i = 0; rc == 0 && i < sizeof part / sizeof part[0]; i++) {
        rc = part[i](node, why);
        node->past_told = rc == 0 && part[i] == settle_region;
        if (node->past_told && node->options->request == NULL)
            journal_pack(node->config->events.file);
        if (rc == 0 && node_is_told_to_stop(node))
            rc = why_set(why, HK_EBUSY, "told to stop before anything was sent");
    }
    return rc;
}

/* `serve` has nothing else to show while nobody gives it a campaign. */
static void say_ready(const struct node *node)
{
    unsigned campaigns = 0;

    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        campaigns += node->campaign[i] != NULL && !node->campaign[i]->settled;
    log_info("node %s is ready: %u workers, %u campaign%s under way", node->config->node.name, node->workers,
             campaigns, campaigns == 1 ? "" : "s");
}

static int node_start(struct node *node, struct hk_why *why)
{
    int rc = prepare(node, why);

    if (rc == 0 && node->options->request != NULL)
        return do_requests(node, why);
    if (rc == 0)
        rc = open_region(node, why);
    if (rc == 0)
        rc = fronts_open(node, why);
    if (rc == 0)
        rc = control_open(node, why);
    if (rc == 0) {
        tlsrpt_open(&node->tlsrpt, node->config, node->epoch, clock_wall_us());
        rc = children_start(node, why);
    }
    if (rc == 0)
        rc = fronts_start(node, why);
    if (rc == 0)
        open_timers(node);
    if (rc == 0 && node->options->campaign == NULL)
        say_ready(node);
    return rc;
}

/* ---- stopping ---- */

/* For who is shown them; where Redis has not even taken the outcomes, nobody waits for it once more. */
static void read_last_counts(struct node *node)
{
    bool answers = node->options->progress != NULL && ledger_pending(node->ledger) == 0;

    for (uint32_t i = 0; answers && i < REGION_CAMPAIGNS_MAX; i++)
        if (node->campaign[i] != NULL)
            answers = campaign_read_counts(node->campaign[i]);
}

/* A region with nothing under way has nothing to tell the next node (see node_left_untold). */
static void remove_region(struct node *node, bool clean)
{
    char path[4096], *old;

    region_close(&node->region);
    free(node->free_dest);
    if (config_path(node->config, path, sizeof path, "region") != 0)
        return;
    if (clean)
        unlink(path);
    old = hk_xasprintf("%s.old", path);
    unlink(old);
    free(old);
}

/* An end with nothing left to tell: then the next start has nothing to tell again. "" where there is something. */
static void last_place(struct node *node, bool clean, char *told)
{
    told[0] = '\0';
    if (!clean || !node->past_told || node->log.failing || node->log.used > 0 || unsubscribes_wait(node) ||
        owed_waits(&node->owed))
        return;
    eventlog_sync(&node->log);
    eventlog_place(&node->log, told);
}

static void node_stop(struct node *node)
{
    bool clean =
        !node->again && node->holds == 0 && node->ledger != NULL && ledger_pending(node->ledger) == 0;
    char told[LEASE_TOLD_SIZE];
    struct campaign *closed;
    struct hk_why why;

    last_place(node, clean, told);
    control_close(node);
    errands_close(node);
    if (node->answer != NULL) {
        *node->options->reply = json_dumps(node->answer, JSON_COMPACT);
        json_decref(node->answer);
    }
    if (node->worker != NULL) {
        children_stop(node);
        tlsrpt_close(&node->tlsrpt, clock_wall_us());
    }
    fronts_close(node);
    wishes_close(&node->wishes);
    owed_close(&node->owed);
    meant_close(node);
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (node->campaign[i] != NULL)
            campaign_close(node->campaign[i]);
    domains_close(node);
    sites_close(node);
    if (node->ledger != NULL)
        ledger_close(node->ledger);
    suppress_close(node->suppress);
    suspensions_close(node);
    gates_close(node);
    /* Not its own again when it starts over: it has the locks, and its next epoch ends this one. */
    if (node->ledger_up && node->lease.epoch != 0 &&
        store_lease_end(node->store, &node->lease, told, &why) != 0)
        log_debug("%s", why.text);
    if (node->store != NULL)
        store_close(node->store);
    while ((closed = SLIST_FIRST(&node->closed)) != NULL) {
        SLIST_REMOVE_HEAD(&node->closed, closed_link);
        free(closed);
    }
    eventlog_close(&node->log);
    if (node->region.base != NULL)
        remove_region(node, clean);
    ev_loop_destroy(node->loop);
    if (node->signal_fd >= 0)
        close(node->signal_fd);
}

bool node_left_untold(const struct config *config)
{
    char path[4096];

    return config_path(config, path, sizeof path, "region") == 0 && access(path, F_OK) == 0;
}

/* One life. *again: it was no more than the beginning of the next one. */
static int live(const struct config *config, struct node_place *place, const struct node_options *options,
                struct last_life *last, bool *again)
{
    struct node *node = hk_xcalloc(1, sizeof *node);
    struct hk_why why;
    int rc, exit_status;

    node->config = config;
    node->place = place;
    node->options = options;
    node->last_life = last;
    node->control_fd = -1;
    node->signal_fd = -1;
    node->started_ms = clock_now_ms();
    TAILQ_INIT(&node->errands);
    owed_init(&node->owed);
    due_init(&node->due);
    wishes_init(&node->wishes);
    TAILQ_INIT(&node->ready);
    TAILQ_INIT(&node->waiting);
    TAILQ_INIT(&node->lively);
    domains_open(node);
    gates_open(node);
    node->loop = ev_loop_new(EVFLAG_AUTO);
    HK_BUG_ON(node->loop == NULL);
    process_title_set("hikyaku: master");
    rc = node_start(node, &why);
    if (rc == 0) {
        ev_run(node->loop, 0);
        read_last_counts(node);
        node_tell_progress(node);
    } else if (node_is_told_to_stop(node)) {
        log_info("%s", why.text);
        node->exit_status = exit_status_told(node);
    } else {
        log_error("%s", why.text);
        node->exit_status =
            rc == HK_EINVAL || rc == HK_ECHANGED || rc == HK_ENOENT ? EXIT_USAGE : EXIT_NEEDED;
    }
    exit_status = node->exit_status;
    *again = node->again && !node->told_to_stop;
    remember(node, last);
    node_stop(node);
    free(node);
    return exit_status;
}

int node_run(const struct config *config, struct node_place *place, const struct node_options *options)
{
    struct last_life last = {.campaigns = 0};
    struct rules *rules;
    struct hk_why why;
    unsigned lives = 0;
    bool again;
    int exit_status;

    if (rules_load(config->rules_file, &rules, &why) < 0) {
        log_error("%s", why.text);
        return EXIT_USAGE;
    }
    rules_use(rules);
    process_batch();
    do {
        uint64_t began_ms = clock_now_ms();
        exit_status = live(config, place, options, &last, &again);
        lives = clock_now_ms() - began_ms > START_OVER_MS ? 0 : lives + 1;
        if (again && lives == START_OVER_MAX) {
            log_error("it had to start over %u times in a row: Redis does not keep what it acknowledges",
                      lives);
            return EXIT_NEEDED;
        }
    } while (again);
    return exit_status;
}
