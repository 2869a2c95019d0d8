/* dispatch.c - a descriptor is a permission: who may send now, over which connection, on which worker.
 *
 * Sites that have something to decide stand in node->ready; each turn every one of them is looked at once. A site that
 * waits for its own limits sets its timer; one that waits for a connection of the node stands in node->waiting.
 */
#include <arpa/inet.h>
#include <string.h>

#include "master.h"

#define SENDS_A_VISIT    256u   /* then the next site has its turn */
#define QUEUE_PER_CONN   4u     /* recipients waiting for each connection before one more is opened */
#define CAP_MS           60000u /* how long a receiver's "no more connections" is believed */
#define NO_PIPELINING_MS 3600000u
#define WAKES_A_TICK     64u
#define SHARE_EVERY_MS   2000u
#define FIRST_HOLD_MS    1000u /* one failed connection may be chance: tried once more after this */

void site_wake(struct site *site)
{
    if (site->is_ready)
        return;
    site->is_ready = true;
    TAILQ_INSERT_TAIL(&site->node->ready, site, ready_link);
}

/* ---- connections ---- */

static uint32_t lane_cap(struct lane *lane)
{
    uint32_t most = lane->site->provider->max_connections;

    if (lane->cap != UINT32_MAX && clock_now_ms() >= lane->cap_until_ms)
        lane->cap = UINT32_MAX;
    return lane->cap < most ? lane->cap : most;
}

static uint32_t site_conns(const struct site *site)
{
    uint32_t conns = 0;

    for (uint32_t i = 0; i < site->lanes; i++)
        conns += site->lane[i].conns;
    return conns;
}

static bool has_room(const struct worker *worker)
{
    return worker->pid != 0 && worker->free_conns > 0 && worker->free_slots > 0;
}

/* One connection more: a site's first one where there are fewest; then on the same worker while that is enough; then on one that has
 * time, if any does, and has fewest of those. */
static struct worker *pick_worker(const struct site *site)
{
    struct node *node = site->node;
    struct worker *home = &node->worker[site->home], *best = NULL;
    bool is_served = site_conns(site) > 0, best_has_time = false;

    if (is_served && !site->spread && has_room(home) && busy_has_time(&home->busy))
        return home;
    for (uint32_t i = 0; i < node->workers; i++) {
        struct worker *worker = &node->worker[i];
        bool has_time = is_served && busy_has_time(&worker->busy);
        if (!has_room(worker) || (best_has_time && !has_time))
            continue;
        if (best == NULL || has_time != best_has_time || worker->conns < best->conns ||
            (worker->conns == best->conns && worker == home)) {
            best = worker;
            best_has_time = has_time;
        }
    }
    return best;
}

/* Home is where its first connection opens. Once it has one elsewhere it stays spread, or those that end there would go to and fro. */
static void note_home(struct site *site, uint32_t number)
{
    if (site_conns(site) == 0) {
        site->home = (uint16_t)number;
        site->spread = false;
    } else if (number != site->home) {
        site->spread = true;
    }
}

static bool open_conn(struct lane *lane, struct dest *dest, uint64_t now_us)
{
    struct site *site = lane->site;
    struct node *node = site->node;
    struct worker *worker = pick_worker(site);
    struct conn *conn;

    if (worker == NULL || node->conns >= node->connections_max || !dest_share(dest)) {
        if (!site->is_waiting) {
            site->is_waiting = true;
            TAILQ_INSERT_TAIL(&node->waiting, site, wait_link);
        }
        return false;
    }
    note_home(site, worker->number);
    conn = &worker->conn[worker->free_conn[--worker->free_conns]];
    conn->lane = lane;
    conn->dest = dest;
    conn->shared = dest->shared;
    conn->state = CONN_OPENING;
    conn->hungry = false;
    conn->worked = conn->parting = false;
    conn->due = (struct due_mark){0};
    conn->under_way = 0;
    conn->sent = 0;
    conn->send_max = lane->site->provider->messages_per_connection;
    conn->domain_max = conn->domains = 0;
    node->region.destination[dest->shared].refs++;
    conn->opened_ms = now_us / 1000;
    conn->serial = ++node->serial;
    dest->refs++;
    dest->live++;
    lane->conns++;
    worker->conns++;
    node->conns++;
    worker->busy.opened++;
    limit_take(&lane->conn_rate, now_us);
    worker_tell(worker, &(struct desc){.kind = DESC_OPEN,
                                       .conn = conn->id,
                                       .dest = conn->shared,
                                       .source = lane->source,
                                       .serial = conn->serial});
    return true;
}

static void conn_set_hungry(struct conn *conn, bool hungry)
{
    if (conn->hungry == hungry)
        return;
    conn->hungry = hungry;
    if (hungry)
        TAILQ_INSERT_TAIL(&conn->dest->hungry, conn, hungry_link);
    else
        TAILQ_REMOVE(&conn->dest->hungry, conn, hungry_link);
}

static void close_conn(struct conn *conn)
{
    struct worker *worker = &conn->lane->site->node->worker[conn->worker];

    if (conn->state != CONN_READY)
        return;
    conn_set_hungry(conn, false);
    conn->state = CONN_CLOSING;
    conn->lane->ready--;
    conn->dest->live--;
    worker_tell(worker, &(struct desc){.kind = DESC_CLOSE, .conn = conn->id});
}

/* Another site wants a connection, or another MX set of this one, whose lane has no room for it. */
static bool is_wanted_elsewhere(const struct conn *conn)
{
    struct lane *lane = conn->lane;

    return !TAILQ_EMPTY(&lane->site->node->waiting) ||
           (lane->site->queued > 0 && lane->conns >= lane_cap(lane));
}

void conn_feed(struct conn *conn)
{
    if (conn->state != CONN_READY)
        return;
    conn_set_hungry(conn, conn->under_way < CONN_DEPTH);
    if (conn->dest->queue.recipients > 0)
        site_wake(conn->lane->site);
    if (conn->under_way == 0 && ((conn->lane->site->suspended_until_ms != 0 &&
                                  conn->lane->site->suspended_until_ms > clock_now_ms()) ||
                                 (conn->dest->queue.recipients == 0 && is_wanted_elsewhere(conn))))
        close_conn(conn); /* this one has nothing to do */
}

/* The last one, as it seems now: told before the grant, the worker writes QUIT behind the dot. */
void conn_granted(struct conn *conn)
{
    if (conn->state != CONN_READY || conn->under_way > 1 || conn->dest->queue.recipients > 0 ||
        !is_wanted_elsewhere(conn))
        return;
    conn->parting = true;
    close_conn(conn);
}

/* What the server itself says that it takes in one session (RFC 9422), under what the provider table says. One recipient a
 * transaction keeps any RCPTMAX. */
static void take_limits(struct conn *conn, const struct conn_info *info)
{
    if (info->mail_max > 0 && (conn->send_max == 0 || info->mail_max < conn->send_max))
        conn->send_max = info->mail_max;
    conn->domain_max = info->rcpt_domain_max;
}

/* Changes from one domain to another are counted, which are never fewer than there are domains. */
static bool takes_domain(struct conn *conn, const struct run *run)
{
    const struct segment *segment = conn->lane->site->node->campaign[run->campaign]->segment;
    uint64_t domain;

    if (conn->domain_max == 0)
        return true;
    domain = table_hash(segment_domain(segment, segment_domain_of(segment, run->index)).name);
    if (conn->domains > 0 && conn->domain == domain)
        return true;
    if (conn->domains >= conn->domain_max)
        return false;
    conn->domain = domain;
    conn->domains++;
    return true;
}

void conn_opened(struct worker *worker, uint32_t id)
{
    struct conn *conn = &worker->conn[id];

    HK_BUG_ON(conn->state != CONN_OPENING);
    take_limits(conn, region_conn(&worker->node->region, worker->number, id));
    conn->state = CONN_READY;
    conn->lane->ready++;
    conn_feed(conn);
}

void dest_rest(struct dest *dest)
{
    struct conn *conn, *next;

    dest->proven = false;
    for (conn = TAILQ_FIRST(&dest->hungry); conn != NULL; conn = next) {
        next = TAILQ_NEXT(conn, hungry_link);
        if (conn->under_way == 0)
            close_conn(conn);
    }
}

/* A connection has become free: whoever has waited longest for one is looked at. */
static void wake_waiting(struct node *node)
{
    struct site *site = TAILQ_FIRST(&node->waiting);

    if (site == NULL)
        return;
    TAILQ_REMOVE(&node->waiting, site, wait_link);
    site->is_waiting = false;
    site_wake(site);
}

/* Room that no drop has told of (a worker came back, a grant was not used): so many sites are looked at as there are
 * connections to be had, and some more in case these want none. Not all: hundreds of thousands may wait. */
static void find_room(struct node *node)
{
    uint32_t left = node->connections_max > node->conns ? node->connections_max - node->conns : 0;
    uint32_t free = 0;

    for (uint32_t i = 0; i < node->workers; i++)
        free += node->worker[i].pid != 0 ? node->worker[i].free_conns : 0;
    for (uint32_t wakes = (free < left ? free : left) + WAKES_A_TICK;
         wakes > 0 && !TAILQ_EMPTY(&node->waiting); wakes--)
        wake_waiting(node);
}

/* Between its two figures a rest may end, and count twice or not at all: the next look makes good for it. */
static uint64_t rested_us(const struct worker *worker, uint64_t now_us)
{
    const struct counters *counters = region_counters(&worker->node->region, worker->number);
    uint64_t rested = atomic_load_explicit(&counters->rested_us, memory_order_relaxed);
    uint64_t since_us = atomic_load_explicit(&counters->resting_since_us, memory_order_relaxed);

    return since_us != 0 && since_us < now_us ? rested + (now_us - since_us) : rested;
}

void worker_begins(struct worker *worker)
{
    struct counters *counters = region_counters(&worker->node->region, worker->number);
    uint64_t now_us = clock_now_us();

    atomic_store_explicit(&counters->resting_since_us, 0, memory_order_relaxed); /* who died, perhaps */
    busy_begin(&worker->busy, rested_us(worker, now_us), now_us);
}

static void look_how_busy(struct worker *worker)
{
    uint64_t now_us = clock_now_us();

    if (worker->pid != 0)
        busy_look(&worker->busy, rested_us(worker, now_us), now_us);
}

/* It has work, there will be more, and another may open at once. Where new connections have a rate they open one by one, and each
 * where there is time when it does. */
static bool may_move(const struct conn *conn)
{
    return conn->state == CONN_READY && conn->under_way > 0 && conn->dest->queue.recipients > 0 &&
           conn->lane->conn_rate.interval_us == 0;
}

/* Some of its connections end, once they have finished what they have, and open where pick_worker() says. Returns how many. */
static uint32_t give_up_conns(struct worker *worker, uint32_t others, uint32_t others_percent)
{
    const uint32_t slots = worker->node->region.header->sizes.conn_slots;
    uint32_t working = 0, given = 0, count;

    for (uint32_t i = 0; i < slots; i++)
        working += may_move(&worker->conn[i]);
    count = busy_gives(&worker->busy, working, others, others_percent);
    for (uint32_t i = 0; given < count; i++) {
        struct conn *conn = &worker->conn[i];
        if (!may_move(conn))
            continue;
        log_debug("worker %u is busy: connection %llu is to live elsewhere", worker->number,
                  (unsigned long long)conn->serial);
        close_conn(conn);
        given++;
    }
    return given;
}

static bool may_send(const struct node *node)
{
    return !node->draining && node->ledger_up && !node->log.failing && !node->starved;
}

/* Workers that have little to do get connections of the one that is busiest. What came of it is waited for before the next time. */
static void share_work(struct node *node)
{
    struct worker *busiest = &node->worker[0];
    uint32_t others = 0, others_percent = 0;
    uint64_t now_ms = clock_now_ms();

    for (uint32_t i = 0; i < node->workers; i++) {
        look_how_busy(&node->worker[i]);
        if (node->worker[i].busy.percent > busiest->busy.percent)
            busiest = &node->worker[i];
    }
    if (!may_send(node) || now_ms < node->shared_ms + SHARE_EVERY_MS)
        return;
    for (uint32_t i = 0; i < node->workers; i++) {
        const struct worker *other = &node->worker[i];
        if (!has_room(other) || !busy_should_share(&busiest->busy, &other->busy))
            continue;
        others++;
        others_percent += other->busy.percent;
    }
    if (others > 0 && give_up_conns(busiest, others, others_percent) > 0)
        node->shared_ms = now_ms;
}

void dispatch_tick(struct node *node)
{
    find_room(node);
    if (node->workers > 1)
        share_work(node);
}

void conn_drop(struct conn *conn)
{
    struct lane *lane = conn->lane;
    struct dest *dest = conn->dest;
    struct node *node = lane->site->node;
    struct worker *worker = &node->worker[conn->worker];

    conn_set_hungry(conn, false);
    due_gone(&node->due, &conn->due);
    if (conn->state == CONN_READY)
        lane->ready--;
    if (conn->state != CONN_CLOSING)
        dest->live--;
    conn->state = CONN_FREE;
    conn->serial = 0;
    lane->conns--;
    dest->refs--;
    worker->conns--;
    node->conns--;
    worker->free_conn[worker->free_conns++] = conn->id;
    dest_unshare(dest, conn->shared);
    if (lane->site->queued > 0)
        site_wake(lane->site);
    wake_waiting(node);
    dest_forget(dest);
}

static void note_failure(struct dest *dest, const struct outcome_reply *failure, const struct conn_info *info)
{
    if (dest->failure == NULL)
        dest->failure = hk_xcalloc(1, sizeof *dest->failure);
    dest->failure->reply = *failure;
    dest->failure->ip[0] = '\0';
    if (info->family == AF_INET || info->family == AF_INET6)
        inet_ntop(info->family, info->peer, dest->failure->ip, sizeof dest->failure->ip);
}

/* A greeting is not yet a receiver: only an answer to a message shows that it takes any. Before that, a connection that
 * was cut or told 421 counts as one that could not be had. */
void conn_outcome(struct conn *conn, const struct flight *flight, bool accepted)
{
    struct node *node = conn->lane->site->node;

    if (flight->result <= RESULT_DENIED && !accepted)
        return;
    if (!accepted && flight->result == RESULT_DEFERRED &&
        (flight->reply.code == 0 || flight->reply.code == 421)) {
        note_failure(conn->dest, &flight->reply, region_conn(&node->region, conn->worker, conn->id));
        return;
    }
    conn->worked = true;
    /* What was under way when the account was refused says nothing about what it takes now. */
    if (flight->result != RESULT_REFUSED && conn->lane->site->suspended_until_ms == 0)
        conn->dest->proven = true;
    conn->dest->failures = 0;
    conn->dest->never = false;
    conn->dest->dead_until_ms = 0;
}

static void say_dead(const struct dest *dest, uint32_t seconds)
{
    const struct outcome_reply *failure = dest_failure(dest);
    char words[200], code[8] = "";

    hk_clean_text(words, sizeof words, failure->text, failure->text_length);
    if (failure->code != 0)
        snprintf(code, sizeof code, "%u ", failure->code);
    else if (failure->text_length == 0)
        snprintf(words, sizeof words, "it ended before a message was answered");
    log_info("%s: cannot be reached (%s: %s%s); next try in %u s", dest->site->name,
             log_phase_name((enum log_phase)failure->log_phase), code, words, seconds);
}

/* The receiver could not be had. One that answers so while it serves others of ours wants no more of them; a first failure
 * may be chance; after that all who wait are put back until the schedule's next step. One that takes no mail at all said
 * so for good. */
static void conn_failed(struct conn *conn, bool never)
{
    struct lane *lane = conn->lane;
    struct dest *dest = conn->dest;
    const struct config *config = lane->site->node->config;
    uint32_t others = lane->ready - (conn->state == CONN_READY);
    uint32_t step;

    if (others > 0 && dest->proven) {
        dest->hold_until_ms = clock_now_ms() + FIRST_HOLD_MS;
        if (dest_failure(dest)->code == 0)
            return; /* the line broke: it says nothing about the next one */
        lane->cap = lane->conns - 1;
        lane->cap_until_ms = clock_now_ms() + CAP_MS;
        return;
    }
    dest->proven = false;
    if (conn->opened_ms < dest->failed_ms)
        return; /* tried before the last failure was known: the same one */
    dest->failed_ms = clock_now_ms();
    dest->failures++;
    dest->never = never && dest->route < 0; /* what a relay says of itself is about no recipient */
    if (dest->failures == 1 && !never && !relay_has_stand_in(lane->site->node, dest)) {
        dest->hold_until_ms = clock_now_ms() + FIRST_HOLD_MS;
        return;
    }
    step = dest->failures > 2 ? dest->failures - 2 : 0;
    if (step >= config->retry.schedule_count)
        step = (uint32_t)config->retry.schedule_count - 1;
    dest->dead_until_ms = clock_now_ms() + (uint64_t)config->retry.schedule_s[step] * 1000u;
    say_dead(dest, config->retry.schedule_s[step]);
}

void conn_closed(struct worker *worker, uint32_t id)
{
    struct conn *conn = &worker->conn[id];
    const struct conn_info *info = region_conn(&worker->node->region, worker->number, id);

    HK_BUG_ON(conn->state == CONN_FREE);
    if (info->broken_sync && conn->lane->site->no_pipelining_until_ms < clock_now_ms()) {
        struct site *site = conn->lane->site;
        struct dest *dest;
        log_info("%s: lost step while pipelining; one command at a time for an hour", site->name);
        site->no_pipelining_until_ms = clock_now_ms() + NO_PIPELINING_MS;
        TAILQ_FOREACH(dest, &site->dests, of_site)
        dest->shared = UINT32_MAX;
    }
    if (info->failure.text_length > 0)
        note_failure(conn->dest, &info->failure, info);
    conn_report_tls(conn, info);
    if ((conn->state == CONN_OPENING && info->failed) ||
        ((conn->state == CONN_READY || conn->parting) && !conn->worked &&
         (conn->sent > 0 || info->failure.text_length > 0)))
        conn_failed(conn, info->failed && info->never);
    conn_drop(conn);
}

/* ---- sending ---- */

void slot_release(struct worker *worker, uint32_t slot)
{
    struct flight *flight = region_flight(&worker->node->region, worker->number, slot);
    bool was_empty = worker->free_slots == 0;

    memset(&worker->hold[slot], 0, sizeof worker->hold[slot]);
    flight->event = 0;
    atomic_store_explicit(&flight->phase, FLIGHT_FREE, memory_order_release);
    worker->free_slot[worker->free_slots++] = slot;
    worker->node->holds--;
    if (was_empty)
        for (uint32_t i = 0; i < worker->node->region.header->sizes.conn_slots; i++)
            if (worker->conn[i].state == CONN_READY && worker->conn[i].hungry)
                conn_feed(&worker->conn[i]);
}

static void send_one(struct conn *conn, struct run run)
{
    struct node *node = conn->lane->site->node;
    struct worker *worker = &node->worker[conn->worker];
    const struct campaign *campaign = node->campaign[run.campaign];
    uint32_t slot = worker->free_slot[--worker->free_slots];
    struct hold *hold = &worker->hold[slot];

    *hold = (struct hold){.used = true,
                          .run = run,
                          .dest = conn->dest,
                          .conn = conn,
                          .serial = conn->serial,
                          .span = segment_span_of(campaign->segment, run.index)};
    node->holds++;
    conn->dest->refs++; /* the hold needs the destination as the connection does */
    conn->under_way++;
    conn->sent++;
    worker_tell(worker,
                &(struct desc){.kind = DESC_SEND,
                               .attempt = (uint8_t)(run.attempts < UINT8_MAX ? run.attempts + 1 : UINT8_MAX),
                               .campaign = run.campaign,
                               .segment = run.segment,
                               .index = run.index,
                               .slot = slot,
                               .conn = conn->id});
}

/* A campaign that stands still keeps its recipients in the ledger, not in our queues. */
static bool drop_frozen(struct dest *dest, const struct run *run)
{
    struct campaign *campaign = dest->site->node->campaign[run->campaign];
    uint32_t span = segment_span_of(campaign->segment, run->index);

    if (!campaign->frozen)
        return false;
    span_read_again(campaign, span);
    campaign_release(campaign, span, run->index, run->count, 0);
    return true;
}

/* The next recipient of a queue who may be sent to. False: there is none, or enough was looked at for this visit. */
static bool next_to_send(struct dest *dest, struct run *run, uint32_t *budget)
{
    struct node *node = dest->site->node;

    for (; *budget > 0 && dest_next(dest, run); (*budget)--) {
        if (drop_frozen(dest, run))
            continue;
        if (!recipient_is_suppressed(node->campaign[run->campaign], run->index))
            return true;
        run_suppress(node->campaign[run->campaign], *run, dest->site->name);
    }
    return false;
}

/* Give waiting recipients to connections that have room. Microseconds until its limits let the next one pass, 0: the
 * limits are not what it waits for. */
static uint64_t feed_dest(struct dest *dest, uint64_t now_us, uint32_t *budget)
{
    struct conn *conn, *next;
    uint64_t soonest = 0;
    struct run run;

    for (conn = TAILQ_FIRST(&dest->hungry); conn != NULL && *budget > 0 && dest->queue.recipients > 0;
         conn = next) {
        uint64_t wait_us = limit_wait_us(&conn->lane->rate, now_us);
        next = TAILQ_NEXT(conn, hungry_link);
        if (wait_us > 0) {
            soonest = soonest == 0 || wait_us < soonest ? wait_us : soonest;
            continue;
        }
        if (dest->site->node->worker[conn->worker].free_slots == 0)
            continue;
        wait_us = gates_wait_us(dest, conn->lane, now_us);
        if (wait_us == GATE_LINE)
            break;
        if (wait_us > 0) {
            soonest = soonest == 0 || wait_us < soonest ? wait_us : soonest;
            continue;
        }
        if (!next_to_send(dest, &run, budget))
            break;
        if (!takes_domain(conn, &run)) {
            dest_enqueue(dest, run, true);
            close_conn(conn);
            continue;
        }
        limit_take(&conn->lane->rate, now_us);
        gates_take(conn->lane, now_us);
        send_one(conn, run);
        (*budget)--;
        conn_set_hungry(conn, false);
        if (conn->send_max > 0 && conn->sent >= conn->send_max)
            close_conn(conn);
        else if (conn->under_way < CONN_DEPTH)
            conn_set_hungry(conn, true); /* behind the others: each gets one before any gets two */
        if (next == NULL)
            next = TAILQ_FIRST(&dest->hungry);
    }
    return soonest;
}

static bool lane_reaches(const struct lane *lane, const struct dest *dest)
{
    return lane->family == AF_UNSPEC || (lane->family == AF_INET ? dest->has_ipv4 : dest->has_ipv6);
}

static double lane_start(const struct lane *lane)
{
    return lane->turn > lane->site->turn ? lane->turn : lane->site->turn;
}

/* The lane that is behind the others by its weight, of those that may open a connection now. NULL: none; *soonest is when
 * one may, as far as its rate of new connections is what it waits for. */
static struct lane *lane_next(const struct dest *dest, uint64_t now_us, uint64_t *soonest)
{
    struct site *site = dest->site;
    struct lane *next = NULL;

    for (uint32_t i = 0; i < site->lanes; i++) {
        struct lane *lane = &site->lane[i];
        if (lane->conns >= lane_cap(lane) || !lane_reaches(lane, dest))
            continue;
        uint64_t wait_us = limit_wait_us(&lane->conn_rate, now_us);
        if (wait_us > 0)
            *soonest = *soonest == 0 || wait_us < *soonest ? wait_us : *soonest;
        else if (next == NULL || lane_start(lane) < lane_start(next))
            next = lane;
    }
    return next;
}

static uint64_t open_more(struct dest *dest, uint64_t now_us)
{
    uint64_t now_ms = now_us / 1000, soonest = 0;
    struct lane *lane;

    if (dest->hold_until_ms > now_ms)
        return (dest->hold_until_ms - now_ms) * 1000u;
    while (dest->queue.recipients > (uint64_t)dest->live * QUEUE_PER_CONN &&
           (lane = lane_next(dest, now_us, &soonest)) != NULL) {
        /* One connection tries before the others follow. */
        if ((!dest->proven && dest->live > 0) || !open_conn(lane, dest, now_us))
            break;
        lane->site->turn = lane_start(lane);
        lane->turn = lane->site->turn + 1.0 / lane->weight;
    }
    return soonest;
}

static void site_timer(struct site *site, uint64_t wait_us)
{
    ev_timer_stop(site->node->loop, &site->timer);
    ev_timer_set(&site->timer, (double)wait_us / 1e6, 0.0);
    ev_timer_start(site->node->loop, &site->timer);
}

static void visit_site(struct site *site)
{
    uint32_t budget = SENDS_A_VISIT;
    uint64_t now_us = clock_now_us(), now_ms = now_us / 1000, soonest = 0;
    struct dest *dest, *next;

    if (site_is_suspended(site, now_ms)) {
        site_timer(site, (site->suspended_until_ms - now_ms) * 1000u);
        return;
    }
    for (dest = TAILQ_FIRST(&site->dests); dest != NULL; dest = next) {
        next = TAILQ_NEXT(dest, of_site);
        if (dest->queue.recipients == 0)
            continue;
        if (dest->dead_until_ms > now_ms && dest->live == 0) {
            dest_put_back(dest);
            dest_forget(dest);
            site_wake(site); /* another relay's destination may have come or gone by that */
            return;
        }
        for (int step = 0; step < 2; step++) {
            uint64_t wait_us = step == 0 ? feed_dest(dest, now_us, &budget) : open_more(dest, now_us);
            if (wait_us > 0 && (soonest == 0 || wait_us < soonest))
                soonest = wait_us;
        }
    }
    if (budget == 0) {
        site_wake(site);
    } else if (soonest > 0) {
        site_timer(site, soonest);
    }
}

void dispatch(struct node *node)
{
    struct site_list now;
    struct site *site;

    if (!may_send(node))
        return;
    TAILQ_INIT(&now);
    TAILQ_CONCAT(&now, &node->ready, ready_link);
    while ((site = TAILQ_FIRST(&now)) != NULL) {
        TAILQ_REMOVE(&now, site, ready_link);
        site->is_ready = false;
        visit_site(site);
        site->called = false;
    }
    gates_turn(node);
}
