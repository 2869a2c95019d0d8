/* ledger_none.c - a ledger that is none, to measure what the ledger costs (CMake: HK_NO_LEDGER, preset noledger; bench/cost.py).
 *
 * In the place of ledger.c: every op is done, every span is pending when it is first taken and sent to when it is taken
 * again, all in the turn after the flush and without Redis. Nothing is kept, so nothing is exact: a program that has this
 * in it refuses nobody a second copy after a death, and is good for a receiver that takes everything at once. What the
 * store does (store.c) stays as it is.
 */
#include <string.h>

#include "hikyaku/feedback.h"
#include "hikyaku/segment.h"
#include "hikyaku/suppress.h"
#include "ledger_link.h"
#include "queue.h"
#include "sent_ids.h"
#include "suppress_entry.h"
#include "suppress_view.h"

struct none_campaign {
    char id[CAMPAIGN_ID_MAX + 1];
    uint64_t settled[LEDGER_STATES_COUNT], attempts, pending;
    uint8_t *taken; /* a byte for each span */
    uint32_t spans;
    struct none_campaign *next;
};

struct item {
    struct none_campaign *campaign;
    struct ledger_op op;
    ledger_take_fn take; /* NULL: it is an op */
    void *context;
};

struct ledger {
    struct ev_loop *loop;
    struct ledger_callbacks callbacks;
    struct ev_timer turn;
    struct none_campaign *campaigns;
    struct queue items;
    uint64_t mark; /* where items ended at ledger_mark() */
    bool up, abandoned;
    uint32_t words[SPAN_MAX];
};

static struct none_campaign *find(const struct ledger *ledger, const char *id)
{
    struct none_campaign *campaign = ledger->campaigns;

    while (campaign && strcmp(campaign->id, id) != 0)
        campaign = campaign->next;
    return campaign;
}

static int find_or_add(struct ledger *ledger, const char *id, struct none_campaign **out)
{
    struct none_campaign *campaign = find(ledger, id);

    if (!campaign && !campaign_id_is_valid(id))
        return HK_EINVAL;
    if (!campaign) {
        campaign = calloc(1, sizeof *campaign);
        if (!campaign)
            return HK_ENOMEM;
        (void)snprintf(campaign->id, sizeof campaign->id, "%s", id);
        campaign->next = ledger->campaigns;
        ledger->campaigns = campaign;
    }
    *out = campaign;
    return 0;
}

static int queue_item(struct ledger *ledger, const char *id, struct item item)
{
    int error = find_or_add(ledger, id, &item.campaign);

    if (!error)
        error = queue_push(&ledger->items, &item);
    if (!error)
        item.campaign->pending++;
    return error;
}

/* ---- answers ---- */

static void answer_op(struct ledger *ledger, struct item *item)
{
    struct none_campaign *campaign = item->campaign;
    uint8_t state = ledger_unpack(item->op.word).state;

    if (item->op.kind == OP_OUTCOME || item->op.kind == OP_SETTLE)
        campaign->settled[state] += item->op.kind == OP_SETTLE ? item->op.count : 1;
    campaign->attempts += item->op.kind == OP_OUTCOME;
    ledger->callbacks.verdict(ledger->callbacks.context, campaign->id, &item->op, VERDICT_DONE);
}

static void answer_take(struct ledger *ledger, struct item *item)
{
    struct none_campaign *campaign = item->campaign;
    uint32_t span = item->op.span, count = item->op.count;
    const struct ledger_word word = {.state = campaign->taken[span] ? LEDGER_SENT : LEDGER_PENDING};

    campaign->taken[span] = 1;
    for (uint32_t i = 0; i < count; i++)
        ledger->words[i] = ledger_pack(word);
    item->take(item->context, item->op.cookie, VERDICT_DONE, ledger->words, NULL, NULL, count);
}

static void on_turn(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct ledger *ledger = timer->data;
    uint64_t end = ledger->items.released;

    (void)loop;
    (void)events;
    if (!ledger->up) {
        ledger->up = true;
        ledger->callbacks.up(ledger->callbacks.context);
    }
    while (ledger->items.head < end) {
        struct item item = *(struct item *)queue_at(&ledger->items, ledger->items.head);
        ledger->items.head++;
        item.campaign->pending--;
        if (item.take)
            answer_take(ledger, &item);
        else
            answer_op(ledger, &item);
    }
}

static void next_turn(struct ledger *ledger)
{
    ev_timer_set(&ledger->turn, 0., 0.);
    ev_timer_start(ledger->loop, &ledger->turn);
}

/* ---- the face ---- */

int ledger_open(const struct config *config, struct ev_loop *loop, uint64_t epoch,
                const struct ledger_callbacks *callbacks, struct ledger **out, struct hk_why *why)
{
    struct ledger *ledger = calloc(1, sizeof *ledger);

    (void)config;
    (void)epoch;
    if (!ledger)
        return why_set(why, HK_ENOMEM, "no memory for the ledger");
    log_warning("this build has no ledger: it is for measuring, and sends again what it has sent");
    ledger->loop = loop;
    ledger->callbacks = *callbacks;
    queue_init(&ledger->items, sizeof(struct item));
    ev_init(&ledger->turn, on_turn);
    ledger->turn.data = ledger;
    next_turn(ledger);
    *out = ledger;
    return 0;
}

void ledger_close(struct ledger *ledger)
{
    struct none_campaign *campaign, *next;

    if (!ledger)
        return;
    ev_timer_stop(ledger->loop, &ledger->turn);
    for (campaign = ledger->campaigns; campaign; campaign = next) {
        next = campaign->next;
        free(campaign->taken);
        free(campaign);
    }
    queue_free(&ledger->items);
    free(ledger);
}

int ledger_push(struct ledger *ledger, const char *campaign, const struct ledger_op *op)
{
    return queue_item(ledger, campaign, (struct item){.op = *op});
}

void ledger_flush(struct ledger *ledger)
{
    ledger->items.released = ledger->items.tail;
    if (!ledger->abandoned && ledger->items.head < ledger->items.released && !ev_is_active(&ledger->turn))
        next_turn(ledger);
}

size_t ledger_pending(const struct ledger *ledger)
{
    return (size_t)(ledger->items.tail - ledger->items.head);
}

bool ledger_is_asked(const struct ledger *ledger)
{
    (void)ledger;
    return false; /* it answers in the turn after */
}

bool ledger_would_ask(const struct ledger *ledger)
{
    (void)ledger;
    return false;
}

size_t ledger_pending_of(const struct ledger *ledger, const char *id)
{
    const struct none_campaign *campaign = find(ledger, id);

    return campaign ? campaign->pending : 0;
}

int ledger_take(struct ledger *ledger, const char *campaign, uint16_t segment, uint32_t span, uint32_t count,
                ledger_take_fn fn, void *context, uint64_t cookie)
{
    struct item item = {.op = {.segment = segment, .span = span, .count = count, .cookie = cookie},
                        .take = fn,
                        .context = context};
    struct none_campaign *found;
    int error = count > 0 && count <= SPAN_MAX ? find_or_add(ledger, campaign, &found) : HK_EINVAL;

    if (error)
        return error;
    if (span >= found->spans) {
        uint32_t room = span + span / 2 + 64;
        uint8_t *taken = realloc(found->taken, room);
        if (!taken)
            return HK_ENOMEM;
        memset(taken + found->spans, 0, room - found->spans);
        found->taken = taken;
        found->spans = room;
    }
    return queue_item(ledger, campaign, item);
}

int ledger_counts(struct ledger *ledger, const struct manifest *manifest, ledger_counts_fn fn, void *context)
{
    const struct none_campaign *campaign = find(ledger, manifest->campaign);
    uint64_t counts[LEDGER_STATES_COUNT] = {[LEDGER_PENDING] = manifest->recipients};

    for (int state = 0; campaign && state < LEDGER_STATES_COUNT; state++) {
        counts[state] += campaign->settled[state];
        counts[LEDGER_PENDING] -= campaign->settled[state];
    }
    fn(context, counts, campaign ? campaign->attempts : 0);
    return 0;
}

int ledger_site(struct ledger *ledger, const char *campaign, uint16_t segment, uint32_t domain,
                const char *site)
{
    (void)ledger;
    (void)campaign;
    (void)segment;
    (void)domain;
    (void)site;
    return 0;
}

int ledger_manifest_set(struct ledger *ledger, const char *campaign, const char *field, const char *value)
{
    (void)ledger;
    (void)campaign;
    (void)field;
    (void)value;
    return 0;
}

int ledger_suppress(struct ledger *ledger, struct suppress *suppress, const struct suppress_entry *entry)
{
    char key[ADDRESS_MAX + 1];
    int error = suppress_entry_key(entry, key, NULL);

    (void)ledger;
    return error ? error : suppress_ours(suppress, entry->scope, key, entry->until_s);
}

int ledger_suppress_again(struct ledger *ledger, enum suppress_change change,
                          const struct suppress_entry *entry, uint64_t time_us)
{
    (void)ledger;
    (void)change;
    (void)time_us;
    return suppress_entry_check(entry, NULL);
}

int ledger_remember(struct ledger *ledger, const struct config *config, const char *id, size_t length,
                    const char *token, uint64_t time_us)
{
    struct sent_id one;

    (void)ledger;
    (void)config;
    return sent_id_make(&one, id, length, token, time_us);
}

/* Nothing is counted where nothing is kept. */
int ledger_feedback(struct ledger *ledger, const struct config *config, const struct feedback *feedback)
{
    (void)ledger;
    (void)config;
    return feedback->disposition == DISPOSITION_NONE ? HK_EINVAL : 0;
}

/* No node dies here, so no lease ends. */
int ledger_beat(struct ledger *ledger, const struct lease *lease, const char *told, ledger_beat_fn fn,
                void *context)
{
    (void)ledger;
    (void)lease;
    (void)told;
    fn(context, -1, 0);
    return 0;
}

/* What goes beside the ops needs a Redis. */
struct redis_link *ledger_link(struct ledger *ledger)
{
    (void)ledger;
    return NULL;
}

void ledger_mark(struct ledger *ledger)
{
    ledger->mark = ledger->items.tail;
}

bool ledger_mark_reached(const struct ledger *ledger)
{
    return ledger->items.head >= ledger->mark;
}

void ledger_abandon(struct ledger *ledger)
{
    ev_timer_stop(ledger->loop, &ledger->turn);
    ledger->abandoned = true;
}

void ledger_forget(struct ledger *ledger, const char *id)
{
    (void)ledger;
    (void)id;
}
