/* gate.c - limits that several sites or lanes pass together: per source, of the node, of all nodes of one Redis (design 8).
 *
 * A site passes the gates that are about it: those of `limit` sections, and that of a relay's account whose rate is found by
 * its refusals (pace.h). Whose next message has to wait at one stands in its line, and is called in turn. Under a limit of
 * all nodes a message needs a place in a block that Redis grants (grant.h): asked for when somebody waits, for as many as
 * could go, and never waited for. While Redis is away nothing passes there.
 */
#include <math.h>
#include <string.h>

#include "master.h"

#define ACCOUNT_AHEAD_US 10000u /* so that a timer that comes late does not slow it down */
#define SAY_AGAIN_AT     0.2    /* a rate that differs by so much from what was said last is said */
#define WANT_MAX         256u
#define CALLED_AT_ONCE   16u /* sites */
#define AGAIN_MIN_US     2000u
#define AGAIN_MAX_US     1000000u
#define AGAIN_LOST_US    100000u
#define LATE_MIN_US      4000u /* the loop's own turns */
#define LATE_MAX_US      200000u

/* `counts`: how many limits of its own it has. */
static struct gate *gate_get(struct node *node, uint8_t scope, const char *name, size_t counts)
{
    struct gate *gate = table_find(&node->gates, name);

    if (gate != NULL)
        return gate;
    gate = hk_xcalloc(1, sizeof *gate);
    gate->node = node;
    gate->name = hk_xstrdup(name);
    gate->scope = scope;
    gate->own = hk_xcalloc(counts, sizeof *gate->own);
    gate->counts = counts;
    TAILQ_INIT(&gate->line);
    table_add(&node->gates, &gate->link, gate->name);
    return gate;
}

/* ---- which gates a site passes ---- */

static uint8_t scope_of(const struct cfg_limit *limit)
{
    return strcmp(limit->scope, "cluster") == 0 ? GATE_CLUSTER
           : strcmp(limit->scope, "node") == 0  ? GATE_NODE
                                                : GATE_SOURCE;
}

static struct gate *gate_of_limit(struct node *node, const struct cfg_limit *limit)
{
    uint8_t scope = scope_of(limit);
    struct gate *gate =
        gate_get(node, scope, limit->name, scope == GATE_SOURCE ? node->config->source_count : 1);

    for (size_t i = 0; i < gate->counts; i++)
        if (gate->own[i].interval_us == 0)
            limit_init(&gate->own[i], limit->rate, limit->burst);
    return gate;
}

/* A campaign is signed for each domain that has a key here, so what such a domain may send counts for every site. */
static bool limit_is_about(const struct cfg_limit *limit, const struct site *site,
                           const struct cfg_route *route)
{
    const char *what = strchr(limit->name, ':') + 1;

    if (limit->rate.count == 0)
        return false;
    switch (limit->name[0]) {
    case 'r':
        return route != NULL && strcmp(what, route->domain) == 0;
    case 'p':
        return strcmp(what, site->provider->name) == 0;
    default:
        return true; /* dkim: config_load() has seen that there is one */
    }
}

static void site_add_gate(struct site *site, struct gate *gate)
{
    site->gate = hk_xrealloc(site->gate, site->gates + 1u, sizeof(struct gate *));
    site->gate[site->gates++] = gate;
}

static void site_add_account(struct site *site)
{
    char *name = hk_xasprintf("account:%s", site->name);
    struct gate *gate = gate_get(site->node, GATE_CLUSTER, name, 1);

    free(name);
    gate->account = true;
    gate->most = 0.0;
    for (uint32_t i = 0; i < site->lanes; i++)
        gate->most += site->lane[i].most;
    site->account = gate;
    site_add_gate(site, gate);
}

void gates_of_site(struct site *site, const struct cfg_route *route)
{
    const struct config *config = site->node->config;

    for (size_t i = 0; i < config->limit_count; i++)
        if (limit_is_about(&config->limit[i], site, route))
            site_add_gate(site, gate_of_limit(site->node, &config->limit[i]));
    if (site->ses)
        site_add_account(site);
}

/* ---- the line ---- */

/* Messages that its connections could take now. */
static uint32_t dest_wants(const struct dest *dest)
{
    const struct conn *conn;
    uint32_t want = 0;

    TAILQ_FOREACH(conn, &dest->hungry, hungry_link)
    {
        want += CONN_DEPTH - conn->under_way;
        if (want >= WANT_MAX || want >= dest->queue.recipients)
            break;
    }
    return want < dest->queue.recipients ? want : (uint32_t)dest->queue.recipients;
}

static void line_join(struct gate *gate, const struct dest *dest)
{
    struct site *site = dest->site;

    site->gate_want = dest_wants(dest);
    site->waits_at = gate;
    TAILQ_INSERT_TAIL(&gate->line, site, gate_link);
}

static void line_leave(struct site *site)
{
    TAILQ_REMOVE(&site->waits_at->line, site, gate_link);
    site->waits_at = NULL;
}

void gates_forget_site(struct site *site)
{
    if (site->waits_at != NULL)
        line_leave(site);
    free(site->gate);
}

/* An account of which no rate was found yet lets everything pass, once it is known that no other node has found one. */
static bool gate_is_open(const struct gate *gate)
{
    return gate->account && gate->known && gate->pace.rate <= 0.0;
}

static uint64_t gate_wait_us(struct gate *gate, uint16_t source, uint64_t now_us)
{
    if (gate_is_open(gate))
        return 0;
    if (gate->scope == GATE_CLUSTER)
        return grant_wait_us(&gate->grant, now_us);
    return limit_wait_us(&gate->own[gate->scope == GATE_SOURCE ? source : 0], now_us);
}

uint64_t gates_wait_us(const struct dest *dest, const struct lane *lane, uint64_t now_us)
{
    struct site *site = dest->site;

    if (site->waits_at != NULL)
        return GATE_LINE;
    for (uint32_t i = 0; i < site->gates; i++) {
        struct gate *gate = site->gate[i];
        uint64_t wait_us = gate_wait_us(gate, lane->source, now_us);
        if (gate->scope == GATE_SOURCE && wait_us > 0)
            return wait_us;
        /* Whoever was called, wherever that was, passes whoever stands in a line: two lines would send him to and fro. */
        if (wait_us > 0 || (!TAILQ_EMPTY(&gate->line) && !site->called)) {
            line_join(gate, dest);
            return GATE_LINE;
        }
    }
    return 0;
}

void gates_take(const struct lane *lane, uint64_t now_us)
{
    for (uint32_t i = 0; i < lane->site->gates; i++) {
        struct gate *gate = lane->site->gate[i];
        if (gate->scope != GATE_CLUSTER)
            limit_take(&gate->own[gate->scope == GATE_SOURCE ? lane->source : 0], now_us);
        else if (!gate_is_open(gate))
            grant_take(&gate->grant, now_us);
    }
}

/* ---- what Redis grants ---- */

static void account_say(struct gate *gate, const char *what)
{
    double rate = gate->pace.rate;

    if (rate <= 0.0 || (gate->said > 0.0 && fabs(rate - gate->said) < SAY_AGAIN_AT * gate->said))
        return;
    gate->said = rate;
    log_info("%s: the relay %s: %.1f messages a second from here on", strchr(gate->name, ':') + 1, what,
             rate);
}

static void account_adopt(struct gate *gate, const struct limit_answer *answer, uint64_t now_us)
{
    struct pace *pace = &gate->pace;

    pace->rate = answer->rate;
    pace->step = answer->step;
    pace->quiet = answer->quiet;
    pace->cut_us = now_us > answer->cut_us ? now_us - answer->cut_us : 0;
    gate->version = answer->version;
    gate->change = false;
    account_say(gate, answer->nodes > 1 ? "has an account of this rate, as another node knows"
                                        : "has an account of this rate");
}

/* What Redis has forgotten it is told again; what another node has changed meanwhile stands, whatever we were about to. */
static void account_hear(struct gate *gate, const struct limit_answer *answer, bool changed, uint64_t now_us)
{
    gate->known = true;
    gate->others = answer->others;
    gate->nodes = answer->nodes;
    if (answer->rate <= 0.0 && gate->pace.rate > 0.0) {
        gate->version = answer->version;
        gate->change = true;
        return;
    }
    if (changed || !gate->change || answer->version != gate->version)
        account_adopt(gate, answer, now_us);
}

static void on_answer(void *context, const struct limit_answer *answer)
{
    struct gate *gate = context;
    uint64_t now_us = clock_now_us(), took_us = now_us - gate->asked_us;
    bool changed = gate->changing;

    gate->asking = gate->changing = false;
    if (answer == NULL) {
        gate->change = gate->change || changed;
        gate->cut = gate->cut || (changed && gate->cutting);
        gate->again_us = now_us + AGAIN_LOST_US;
        return;
    }
    gate->trip_us = took_us > gate->trip_us ? took_us : gate->trip_us - (gate->trip_us - took_us) / 8;
    if (gate->account)
        account_hear(gate, answer, changed, now_us);
    if (answer->granted > 0)
        grant_begin(&gate->grant, answer, gate->asked_us, now_us);
    else if (gate->wanted > 0)
        gate->again_us = now_us + (answer->wait_us < AGAIN_MIN_US   ? AGAIN_MIN_US
                                   : answer->wait_us > AGAIN_MAX_US ? AGAIN_MAX_US
                                                                    : answer->wait_us);
}

static uint64_t late_us(const struct gate *gate)
{
    uint64_t late = LATE_MIN_US + 2 * gate->trip_us;

    return late < LATE_MAX_US ? late : LATE_MAX_US;
}

static void gate_ask(struct gate *gate, uint32_t want)
{
    const struct pace *pace = &gate->pace;
    struct limit_question question = {.name = gate->name,
                                      .epoch = gate->node->epoch,
                                      .late_us = late_us(gate),
                                      .want = want,
                                      .taken = pace->before,
                                      .change = gate->change,
                                      .cut = gate->cut,
                                      .version = gate->version,
                                      .rate = pace->rate,
                                      .step = pace->step,
                                      .quiet = pace->quiet};

    question.interval_us = gate->account ? 0 : gate->own->interval_us;
    question.ahead_us = gate->account ? ACCOUNT_AHEAD_US : gate->own->ahead_us;
    gate->asking = true;
    gate->wanted = want;
    gate->asked_us = clock_now_us();
    gate->changing = gate->change;
    gate->cutting = gate->cut;
    gate->change = gate->cut = false;
    if (ledger_limit(gate->node->ledger, &question, on_answer, gate) != 0)
        on_answer(gate, NULL);
}

/* ---- the turn ---- */

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)timer;
    (void)events; /* the turn that follows looks */
}

static void wake_in(struct gate *gate, uint64_t wait_us)
{
    struct node *node = gate->node;

    if (ev_is_active(&node->gate_timer) &&
        ev_timer_remaining(node->loop, &node->gate_timer) * 1e6 <= (double)wait_us)
        return;
    ev_timer_stop(node->loop, &node->gate_timer);
    ev_timer_set(&node->gate_timer, (double)wait_us / 1e6, 0.0);
    ev_timer_start(node->loop, &node->gate_timer);
}

static uint32_t line_wants(const struct gate *gate)
{
    const struct site *site;
    uint32_t want = 0;

    TAILQ_FOREACH(site, &gate->line, gate_link)
    {
        want += site->queued > 0 ? site->gate_want : 0;
        if (want >= WANT_MAX)
            return WANT_MAX;
    }
    return want;
}

/* As many as have a place to go: the first of them may take them all. */
static void call_next(struct gate *gate)
{
    uint32_t places = gate->scope == GATE_CLUSTER ? gate->grant.count - gate->grant.used : 1;

    if (gate_is_open(gate) || places > CALLED_AT_ONCE)
        places = CALLED_AT_ONCE;
    for (; places > 0 && !TAILQ_EMPTY(&gate->line); places--) {
        struct site *site = TAILQ_FIRST(&gate->line);
        line_leave(site);
        site->called = true;
        site_wake(site);
    }
}

static void gate_turn(struct gate *gate, uint64_t now_us)
{
    uint64_t wait_us = gate_wait_us(gate, 0, now_us);

    while (!TAILQ_EMPTY(&gate->line) && TAILQ_FIRST(&gate->line)->queued == 0)
        line_leave(TAILQ_FIRST(&gate->line));
    if (TAILQ_EMPTY(&gate->line))
        return;
    if (wait_us == 0)
        call_next(gate);
    else if (wait_us != GRANT_NONE)
        wake_in(gate, wait_us);
    else if (!gate->asking && now_us >= gate->again_us)
        gate_ask(gate, line_wants(gate));
    else if (!gate->asking)
        wake_in(gate, gate->again_us - now_us);
}

void gates_turn(struct node *node)
{
    struct gate *gate = NULL;
    size_t cursor = 0;

    while ((gate = table_next(&node->gates, &cursor, gate != NULL ? &gate->link : NULL)) != NULL) {
        if (!TAILQ_EMPTY(&gate->line))
            gate_turn(gate, clock_now_us());
        else if (gate->cut && !gate->asking)
            gate_ask(gate, 0);
    }
}

void gates_tick(struct node *node)
{
    struct gate *gate = NULL;
    uint64_t now_us = clock_now_us();
    size_t cursor = 0;

    while ((gate = table_next(&node->gates, &cursor, gate != NULL ? &gate->link : NULL)) != NULL) {
        if (!gate->account)
            continue;
        if (pace_tick(&gate->pace, now_us, gate->most * (gate->nodes > 1 ? gate->nodes : 1), gate->others)) {
            gate->change = true;
            account_say(gate, "takes more");
        }
        if (!gate->asking)
            gate_ask(gate, 0);
    }
}

void gate_refused(struct gate *gate)
{
    if (!pace_refused(&gate->pace, clock_now_us(), gate->others))
        return;
    gate->change = gate->cut = true;
    gate->grant.count = 0; /* what was granted was too much */
    account_say(gate, "says that the account sends too fast");
}

void gates_open(struct node *node)
{
    ev_timer_init(&node->gate_timer, on_timer, 0.0, 0.0);
}

void gates_close(struct node *node)
{
    struct gate *gate, *next;
    size_t cursor = 0;

    ev_timer_stop(node->loop, &node->gate_timer);
    for (gate = table_next(&node->gates, &cursor, NULL); gate != NULL; gate = next) {
        next = table_next(&node->gates, &cursor, &gate->link);
        free(gate->own);
        free(gate->name);
        free(gate);
    }
    table_clear(&node->gates);
}
