/* ledger.c - the asynchronous ledger: ops collected while a call is under way go into the next one (group commit).
 *
 * For each campaign two queues: ops and takes, whose order is kept, and notes (fields of the manifest, sites), which
 * go beside them. At most one apply is in flight for a campaign; takes are pipelined behind it. Nothing is sent that
 * ledger_flush() has not released, since the event log's line comes first, and an answer sends nothing by itself.
 * What is in flight stays in its queue until it is answered; a rewind of the link puts it back to "may go out", in
 * the same order, and the script's compare-and-set makes a repeated call harmless.
 */
#include <inttypes.h>
#include <string.h>

#include "batch.h"
#include "hikyaku/fault.h"
#include "hikyaku/segment.h"
#include "lease.h"
#include "ledger_link.h"
#include "queue.h"
#include "store.h"
#include "suppress_queue.h"
#include "suppress_view.h"

#define LEDGER_TAKES_MAX 16u  /* in flight for a campaign: their answers are up to 48 KB each */
#define LEDGER_NOTES_MAX 256u /* fields in one HSET */

struct take {
    ledger_take_fn fn;
    void *context;
    uint64_t cookie;
    uint32_t span, count;
    uint16_t segment;
};

struct item {
    bool is_take;
    union {
        struct ledger_op op;
        struct take take;
    };
};

struct note {
    bool is_site;        /* {c}:site, else {c}:m */
    char *field, *value; /* one allocation: value lies behind field */
};

struct ledger_campaign {
    char id[CAMPAIGN_ID_MAX + 1];
    struct queue items, notes;
    bool applying, noting;
    uint32_t takes;             /* in flight */
    uint64_t numbered, applied; /* the number of the last call that went out, and of the last one answered */
    uint64_t mark;              /* where items ended at ledger_mark() */
    struct ledger_campaign *next;
};

struct ledger {
    struct redis_link link;
    struct ledger_callbacks callbacks;
    uint64_t epoch;
    struct ledger_campaign *campaigns, *last; /* last: the one looked up before */
    struct suppress_queue suppressions;
    size_t pending; /* items, notes and suppressions not answered */
    size_t calls;   /* in flight, but for suppressions */
    size_t proofs;  /* campaigns whose last applied call is being asked for, before anything goes out */
    bool told_up, told_down, broken, behind, abandoned;
    char broken_why[256];
    struct batch batch;
    uint32_t words[SPAN_MAX], due[SPAN_MAX], first[SPAN_MAX];
};

struct ledger_call {
    struct link_call link_call;
    struct ledger *ledger;
    struct ledger_campaign *campaign;
    uint32_t count;   /* elements of its queue */
    uint64_t number;  /* of an apply or a take */
    uint16_t digit[]; /* of an apply, for each: struct batch */
};

/* ---- campaigns ---- */

static struct ledger_campaign *campaign_add(struct ledger *ledger, const char *id)
{
    struct ledger_campaign *campaign = calloc(1, sizeof *campaign);

    if (!campaign)
        return NULL;
    (void)snprintf(campaign->id, sizeof campaign->id, "%s", id);
    queue_init(&campaign->items, sizeof(struct item));
    queue_init(&campaign->notes, sizeof(struct note));
    campaign->next = ledger->campaigns;
    ledger->campaigns = campaign;
    return campaign;
}

/* Find it, or make it with the first thing that is pushed for it. */
static int ledger_campaign(struct ledger *ledger, const char *id, struct ledger_campaign **out)
{
    struct ledger_campaign *campaign = ledger->last;

    if (!campaign || strcmp(campaign->id, id) != 0) {
        for (campaign = ledger->campaigns; campaign && strcmp(campaign->id, id) != 0;)
            campaign = campaign->next;
        if (!campaign && !campaign_id_is_valid(id))
            return HK_EINVAL;
        if (!campaign && !(campaign = campaign_add(ledger, id)))
            return HK_ENOMEM;
        ledger->last = campaign;
    }
    *out = campaign;
    return 0;
}

/* ---- answers ---- */

static void ledger_tell_up(struct ledger *ledger)
{
    ledger->broken = ledger->told_down = false;
    if (ledger->told_up)
        return;
    ledger->told_up = true;
    ledger->callbacks.up(ledger->callbacks.context);
}

/* Redis has forgotten what it had answered. */
static void ledger_fell_behind(struct ledger *ledger, const struct ledger_campaign *campaign)
{
    if (ledger->behind)
        return;
    ledger->behind = true;
    ledger->callbacks.behind(ledger->callbacks.context, campaign->id);
}

/* A call was answered as it should be. */
static void ledger_answered(struct ledger *ledger)
{
    ledger->calls--;
    if (ledger->broken)
        ledger_tell_up(ledger);
}

static bool verdicts_are_valid(const redisReply *reply, uint32_t count)
{
    if (reply->type != REDIS_REPLY_STRING || reply->len != count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (reply->str[i] < '0' + VERDICT_DONE || reply->str[i] > '0' + VERDICT_LOST)
            return false;
    return true;
}

static void on_apply(struct link_call *link_call, const redisReply *reply)
{
    struct ledger_call *call = (struct ledger_call *)link_call;
    struct ledger *ledger = call->ledger;
    struct ledger_campaign *campaign = call->campaign;

    if (!reply || !verdicts_are_valid(reply, call->count)) {
        free(call);
        if (reply)
            redis_link_reject(&ledger->link, "the ledger's script gives something else than verdicts");
        return;
    }
    campaign->applying = false;
    campaign->applied = call->number;
    ledger_answered(ledger);
    for (uint32_t i = 0; i < call->count; i++) {
        /* A copy: the callback may push, and pushing moves the queue. */
        struct ledger_op op = ((struct item *)queue_at(&campaign->items, campaign->items.head))->op;
        campaign->items.head++;
        ledger->pending--;
        ledger->callbacks.verdict(ledger->callbacks.context, campaign->id, &op,
                                  (enum ledger_verdict)(reply->str[call->digit[i]] - '0'));
    }
    free(call);
}

/* Little-endian bytes to numbers, zeros behind their end. NULL for an empty string. */
static const uint32_t *take_numbers(uint32_t *out, uint32_t count, const redisReply *reply)
{
    const uint8_t *at = (const uint8_t *)reply->str;
    size_t given = reply->len / 4;

    if (given == 0)
        return NULL;
    for (uint32_t i = 0; i < count; i++, at += 4)
        out[i] = i < given ? at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24 : 0;
    return out;
}

static bool take_is_valid(const redisReply *reply, uint32_t count)
{
    size_t words;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 4)
        return false;
    for (size_t i = 0; i < 4; i++)
        if (reply->element[i]->type != REDIS_REPLY_STRING)
            return false;
    words = reply->element[1]->len;
    if (reply->element[0]->len != 1 || reply->element[2]->len > count * 4u ||
        reply->element[3]->len > count * 4u)
        return false;
    return reply->element[0]->str[0] >= '0' + VERDICT_LOST ? words == 0 : words == count * 4u;
}

static void on_take(struct link_call *link_call, const redisReply *reply)
{
    struct ledger_call *call = (struct ledger_call *)link_call;
    struct ledger *ledger = call->ledger;
    struct ledger_campaign *campaign = call->campaign;
    uint64_t number = call->number;
    struct take take;

    free(call);
    if (!reply)
        return;
    fault_at(TAKE_ANSWER);
    take = ((struct item *)queue_at(&campaign->items, campaign->items.head))->take;
    if (!take_is_valid(reply, take.count)) {
        redis_link_reject(&ledger->link, "the ledger's script gives something else than a span");
        return;
    }
    campaign->takes--;
    campaign->applied = number;
    campaign->items.head++;
    ledger->pending--;
    ledger_answered(ledger);
    take.fn(take.context, take.cookie, (enum ledger_verdict)(reply->element[0]->str[0] - '0'),
            take_numbers(ledger->words, take.count, reply->element[1]),
            take_numbers(ledger->due, take.count, reply->element[2]),
            take_numbers(ledger->first, take.count, reply->element[3]), take.count);
}

static void on_notes(struct link_call *link_call, const redisReply *reply)
{
    struct ledger_call *call = (struct ledger_call *)link_call;
    struct ledger *ledger = call->ledger;
    struct ledger_campaign *campaign = call->campaign;
    uint32_t count = call->count;
    const struct note *first;

    free(call);
    if (!reply)
        return;
    campaign->noting = false;
    first = queue_at(&campaign->notes, campaign->notes.head);
    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 0 && !first->is_site) {
        ledger_fell_behind(ledger, campaign);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        free(((struct note *)queue_at(&campaign->notes, campaign->notes.head))->field);
        campaign->notes.head++;
        ledger->pending--;
    }
    ledger_answered(ledger);
}

/* ---- sending ---- */

/* digit: of an apply, else NULL. */
static bool ledger_send(struct ledger *ledger, struct ledger_campaign *campaign, struct queue *queue,
                        uint32_t count, const uint16_t *digit,
                        void (*answer)(struct link_call *, const redisReply *), int argc, const char **argv,
                        const size_t *length)
{
    size_t digit_bytes = digit ? count * sizeof *digit : 0;
    struct ledger_call *call = malloc(sizeof *call + digit_bytes);

    /* Without memory or connection it stays where it is and goes out with a later flush. */
    if (!call)
        return false;
    *call = (struct ledger_call){.link_call.answer = answer,
                                 .ledger = ledger,
                                 .campaign = campaign,
                                 .count = count,
                                 .number = campaign->numbered};
    if (digit)
        memcpy(call->digit, digit, digit_bytes);
    if (redis_link_send(&ledger->link, &call->link_call, argc, argv, length) != 0) {
        free(call);
        return false;
    }
    queue->sent += count;
    ledger->calls++;
    return true;
}

static bool send_apply(struct ledger *ledger, struct ledger_campaign *campaign)
{
    struct queue *items = &campaign->items;
    struct batch *batch = &ledger->batch;
    int argc;

    batch_begin(batch, campaign->id);
    for (uint64_t at = items->sent; at < items->released; at++) {
        const struct item *item = queue_at(items, at);
        if (item->is_take || !batch_add(batch, &item->op))
            break;
    }
    argc = batch_command(batch, ledger->link.sha1[LINK_APPLY], ledger->epoch, ++campaign->numbered);
    campaign->applying = ledger_send(ledger, campaign, items, batch->ops, batch->digit, on_apply, argc,
                                     batch->argv, batch->length);
    return campaign->applying;
}

static bool send_take(struct ledger *ledger, struct ledger_campaign *campaign, const struct take *take)
{
    static const char *const fixed[] = {"m", "own", "due", "n", "q"};
    char keys[8][BATCH_KEY_BYTES], epoch[24], count[12], number[24];
    const char *argv[] = {"EVALSHA", ledger->link.sha1[LINK_TAKE],
                          "8",       keys[0],
                          keys[1],   keys[2],
                          keys[3],   keys[4],
                          keys[5],   keys[6],
                          keys[7],   epoch,
                          count,     number};
    enum { ARGC = sizeof argv / sizeof argv[0] };
    size_t length[ARGC];

    for (int i = 0; i < 5; i++)
        key_of(keys[i], campaign->id, fixed[i]);
    for (int i = 0; i < 3; i++)
        key_of_span(keys[5 + i], campaign->id, "sdf"[i], take -> segment, take -> span);
    (void)snprintf(epoch, sizeof epoch, "%" PRIu64, ledger->epoch);
    (void)snprintf(count, sizeof count, "%" PRIu32, take->count);
    (void)snprintf(number, sizeof number, "%" PRIu64, ++campaign->numbered);
    for (int i = 0; i < ARGC; i++)
        length[i] = strlen(argv[i]);
    if (!ledger_send(ledger, campaign, &campaign->items, 1, NULL, on_take, ARGC, argv, length))
        return false;
    campaign->takes++;
    return true;
}

static void send_notes(struct ledger *ledger, struct ledger_campaign *campaign)
{
    char manifest[BATCH_KEY_BYTES], key[BATCH_KEY_BYTES];
    const char *argv[5 + 2 * LEDGER_NOTES_MAX] = {"EVALSHA", ledger->link.sha1[LINK_NOTE], "2", manifest,
                                                  key};
    size_t length[5 + 2 * LEDGER_NOTES_MAX];
    struct queue *notes = &campaign->notes;
    uint32_t count = 0;
    int argc = 5;
    bool sites;

    if (campaign->noting || notes->sent == notes->released)
        return;
    sites = ((const struct note *)queue_at(notes, notes->sent))->is_site;
    key_of(manifest, campaign->id, "m");
    key_of(key, campaign->id, sites ? "site" : "m");
    for (uint64_t at = notes->sent; at < notes->released && count < LEDGER_NOTES_MAX; at++, count++) {
        const struct note *note = queue_at(notes, at);
        if (note->is_site != sites)
            break;
        argv[argc++] = note->field;
        argv[argc++] = note->value;
    }
    for (int i = 0; i < argc; i++)
        length[i] = strlen(argv[i]);
    campaign->noting = ledger_send(ledger, campaign, notes, count, NULL, on_notes, argc, argv, length);
}

static void send_released(struct ledger *ledger, struct ledger_campaign *campaign)
{
    struct queue *items = &campaign->items;
    bool sent = true;

    while (sent && items->sent < items->released) {
        const struct item *item = queue_at(items, items->sent);
        if (item->is_take)
            sent = campaign->takes < LEDGER_TAKES_MAX && send_take(ledger, campaign, &item->take);
        else
            sent = !campaign->applying && send_apply(ledger, campaign);
    }
    send_notes(ledger, campaign);
}

/* Redis is there, and it is the one that it was. */
static bool may_send(const struct ledger *ledger)
{
    return link_is_ready(&ledger->link) && ledger->proofs == 0 && !ledger->behind;
}

/* Suppressions first: what is in the ledger has its suppression in Redis. */
static void send_all(struct ledger *ledger)
{
    if (!may_send(ledger) || !suppress_queue_send(&ledger->suppressions))
        return;
    for (struct ledger_campaign *campaign = ledger->campaigns; campaign; campaign = campaign->next)
        send_released(ledger, campaign);
}

void ledger_flush(struct ledger *ledger)
{
    suppress_queue_release(&ledger->suppressions);
    for (struct ledger_campaign *campaign = ledger->campaigns; campaign; campaign = campaign->next) {
        campaign->items.released = campaign->items.tail;
        campaign->notes.released = campaign->notes.tail;
    }
    send_all(ledger);
    redis_link_write(&ledger->link);
}

bool ledger_is_asked(const struct ledger *ledger)
{
    if (ledger->abandoned)
        return false;
    for (const struct ledger_campaign *campaign = ledger->campaigns; campaign; campaign = campaign->next)
        if (campaign->applying)
            return true;
    return false;
}

bool ledger_would_ask(const struct ledger *ledger)
{
    if (ledger->abandoned || !may_send(ledger) || ledger_is_asked(ledger))
        return false;
    for (const struct ledger_campaign *campaign = ledger->campaigns; campaign; campaign = campaign->next)
        if (campaign->items.sent < campaign->items.tail)
            return true;
    return false;
}

size_t ledger_pending_of(const struct ledger *ledger, const char *id)
{
    for (const struct ledger_campaign *campaign = ledger->campaigns; campaign; campaign = campaign->next)
        if (strcmp(campaign->id, id) == 0)
            return (size_t)(campaign->items.tail - campaign->items.head + campaign->notes.tail -
                            campaign->notes.head);
    return 0;
}

/* ---- counts ---- */

struct counts_call {
    struct link_call link_call;
    const struct manifest *manifest;
    ledger_counts_fn fn;
    void *context;
};

/* Damaged counts, or none, are no reason to stop: they are what people look at, the words are what counts. */
static void on_counts(struct link_call *link_call, const redisReply *reply)
{
    struct counts_call call = *(struct counts_call *)link_call;
    uint64_t counts[LEDGER_STATES_COUNT], attempts;

    free(link_call);
    if (!reply)
        return;
    if (reply->type == REDIS_REPLY_ARRAY && counts_read(reply, call.manifest, counts, &attempts, NULL) == 0)
        call.fn(call.context, counts, attempts);
    else
        call.fn(call.context, NULL, 0);
}

int ledger_counts(struct ledger *ledger, const struct manifest *manifest, ledger_counts_fn fn, void *context)
{
    char key[BATCH_KEY_BYTES];
    const char *argv[] = {"HGETALL", key};
    struct counts_call *call;
    size_t length[2];

    if (!link_is_ready(&ledger->link))
        return HK_EDOWN;
    call = malloc(sizeof *call);
    if (!call)
        return HK_ENOMEM;
    *call = (struct counts_call){
        .link_call.answer = on_counts, .manifest = manifest, .fn = fn, .context = context};
    key_of(key, manifest->campaign, "n");
    length[0] = strlen(argv[0]);
    length[1] = strlen(key);
    if (redis_link_send(&ledger->link, &call->link_call, 2, argv, length) != 0) {
        free(call);
        return HK_EDOWN;
    }
    return 0;
}

/* ---- what the link tells ---- */

static void ledger_rewind(void *context)
{
    struct ledger *ledger = context;

    for (struct ledger_campaign *campaign = ledger->campaigns; campaign; campaign = campaign->next) {
        campaign->items.sent = campaign->items.head;
        campaign->notes.sent = campaign->notes.head;
        campaign->applying = campaign->noting = false;
        campaign->takes = 0;
    }
    suppress_queue_rewind(&ledger->suppressions);
    ledger->calls = 0;
    ledger->proofs = 0;
}

static void ledger_go_on(struct ledger *ledger)
{
    if (ledger->proofs > 0 || ledger->behind)
        return;
    send_all(ledger);
    /* What was broken is mended when a call is answered, unless none is left to try it with. */
    if (!ledger->broken || ledger->calls + ledger->suppressions.calls == 0)
        ledger_tell_up(ledger);
}

/* ---- is it the Redis that it was? ---- */

/* HGET gives the number of our last applied call, or nothing where the campaign is gone. */
static void on_proof(struct link_call *link_call, const redisReply *reply)
{
    struct ledger_call *call = (struct ledger_call *)link_call;
    struct ledger *ledger = call->ledger;
    const struct ledger_campaign *campaign = call->campaign;
    uint64_t number = 0;

    free(call);
    if (!reply)
        return;
    ledger->proofs--;
    if (reply->type == REDIS_REPLY_STRING && !store_parse_u64(reply->str, UINT64_MAX, &number))
        number = 0;
    if (number < campaign->applied)
        ledger_fell_behind(ledger, campaign);
    ledger_go_on(ledger);
}

static int ask_proof(struct ledger *ledger, struct ledger_campaign *campaign)
{
    struct ledger_call *call = malloc(sizeof *call);
    char key[BATCH_KEY_BYTES], epoch[24];
    const char *argv[] = {"HGET", key, epoch};
    size_t length[3];
    int error;

    if (!call)
        return HK_ENOMEM;
    *call = (struct ledger_call){.link_call.answer = on_proof, .ledger = ledger, .campaign = campaign};
    key_of(key, campaign->id, "q");
    (void)snprintf(epoch, sizeof epoch, "%" PRIu64, ledger->epoch);
    for (int i = 0; i < 3; i++)
        length[i] = strlen(argv[i]);
    error = redis_link_send(&ledger->link, &call->link_call, 3, argv, length);
    if (error)
        free(call);
    else
        ledger->proofs++;
    return error;
}

/* Before anything goes out again: does it still know what it has answered? */
static void ledger_ready(void *context)
{
    struct ledger *ledger = context;

    for (struct ledger_campaign *campaign = ledger->campaigns; campaign; campaign = campaign->next)
        if (campaign->applied > 0 && ask_proof(ledger, campaign) != 0) {
            redis_link_reject(&ledger->link, "no memory to ask what it still knows");
            return;
        }
    ledger_go_on(ledger);
}

static void ledger_lost(void *context, const char *why)
{
    struct ledger *ledger = context;

    ledger->told_up = false;
    if (ledger->told_down)
        return;
    ledger->told_down = true;
    ledger->callbacks.down(ledger->callbacks.context, why);
}

/* Told once for each reason, though it is tried again each second. */
static void ledger_broken(void *context, const char *why)
{
    struct ledger *ledger = context;

    if (ledger->broken && strncmp(ledger->broken_why, why, sizeof ledger->broken_why - 1) == 0)
        return;
    ledger->broken = true;
    ledger->told_up = false;
    (void)snprintf(ledger->broken_why, sizeof ledger->broken_why, "%s", why);
    ledger->callbacks.broken(ledger->callbacks.context, why);
}

static void on_suppressed(void *context, uint32_t count)
{
    struct ledger *ledger = context;

    ledger->pending -= count;
    if (ledger->broken)
        ledger_tell_up(ledger);
}

static void on_fed_back(void *context, const struct feedback *feedback, const struct feedback_result *result)
{
    const struct ledger *ledger = context;

    if (ledger->callbacks.fed_back)
        ledger->callbacks.fed_back(ledger->callbacks.context, feedback, result);
}

/* ---- the face ---- */

int ledger_open(const struct config *config, struct ev_loop *loop, uint64_t epoch,
                const struct ledger_callbacks *callbacks, struct ledger **out, struct hk_why *why)
{
    struct ledger *ledger = calloc(1, sizeof *ledger);
    struct link_owner owner = {ledger, ledger_rewind, ledger_ready, ledger_lost, ledger_broken};
    int error;

    if (!ledger)
        return why_set(why, HK_ENOMEM, "no memory for the ledger");
    ledger->callbacks = *callbacks;
    ledger->epoch = epoch;
    suppress_queue_init(&ledger->suppressions, &ledger->link, ledger, on_suppressed, on_fed_back);
    error = redis_link_open(&ledger->link, config, loop, &owner, why);
    if (error)
        free(ledger);
    else
        *out = ledger;
    return error;
}

void ledger_close(struct ledger *ledger)
{
    struct ledger_campaign *campaign, *next;

    if (!ledger)
        return;
    if (!ledger->abandoned)
        redis_link_close(&ledger->link);
    for (campaign = ledger->campaigns; campaign; campaign = next) {
        next = campaign->next;
        for (uint64_t at = campaign->notes.head; at < campaign->notes.tail; at++)
            free(((struct note *)queue_at(&campaign->notes, at))->field);
        queue_free(&campaign->items);
        queue_free(&campaign->notes);
        free(campaign);
    }
    suppress_queue_free(&ledger->suppressions);
    free(ledger);
}

void ledger_abandon(struct ledger *ledger)
{
    redis_link_close(&ledger->link);
    ledger->behind = ledger->abandoned = true;
}

void ledger_forget(struct ledger *ledger, const char *id)
{
    for (struct ledger_campaign *campaign = ledger->campaigns; campaign; campaign = campaign->next)
        if (strcmp(campaign->id, id) == 0)
            campaign->applied = 0; /* no proof is asked for it until something is answered again */
}

static int ledger_queue(struct ledger *ledger, const char *id, const struct item *item)
{
    struct ledger_campaign *campaign;
    int error;

    if (ledger->abandoned)
        return 0;
    error = ledger_campaign(ledger, id, &campaign);

    if (!error)
        error = queue_push(&campaign->items, item);
    if (!error)
        ledger->pending++;
    return error;
}

int ledger_push(struct ledger *ledger, const char *campaign, const struct ledger_op *op)
{
    struct item item = {.is_take = false, .op = *op};

    return batch_op_is_valid(op) ? ledger_queue(ledger, campaign, &item) : HK_EINVAL;
}

int ledger_take(struct ledger *ledger, const char *campaign, uint16_t segment, uint32_t span, uint32_t count,
                ledger_take_fn fn, void *context, uint64_t cookie)
{
    struct item item = {.is_take = true, .take = {fn, context, cookie, span, count, segment}};

    return count > 0 && count <= SPAN_MAX ? ledger_queue(ledger, campaign, &item) : HK_EINVAL;
}

void ledger_mark(struct ledger *ledger)
{
    for (struct ledger_campaign *campaign = ledger->campaigns; campaign; campaign = campaign->next)
        campaign->mark = campaign->items.tail;
}

bool ledger_mark_reached(const struct ledger *ledger)
{
    for (const struct ledger_campaign *campaign = ledger->campaigns; campaign; campaign = campaign->next)
        if (campaign->items.head < campaign->mark)
            return false;
    return true;
}

/* ---- what goes beside the ops ---- */

struct redis_link *ledger_link(struct ledger *ledger)
{
    return link_is_ready(&ledger->link) && !ledger->behind ? &ledger->link : NULL;
}

/* ---- the lease ---- */

struct beat_call {
    struct link_call link_call;
    ledger_beat_fn fn;
    void *context;
};

static void on_beat(struct link_call *link_call, const redisReply *reply)
{
    struct beat_call call = *(struct beat_call *)link_call;
    long long left_ms;
    uint64_t evicted;

    free(link_call);
    if (reply && lease_answer(reply, &left_ms, &evicted))
        call.fn(call.context, left_ms, evicted);
}

int ledger_beat(struct ledger *ledger, const struct lease *lease, const char *told, ledger_beat_fn fn,
                void *context)
{
    struct lease_command command;
    struct beat_call *call;
    int error;

    if (!ledger_link(ledger))
        return HK_EDOWN;
    error = lease_command(&command, "EVALSHA", ledger->link.sha1[LINK_LEASE], lease, told);
    if (error)
        return error;
    call = malloc(sizeof *call);
    if (!call)
        return HK_ENOMEM;
    *call = (struct beat_call){.link_call.answer = on_beat, .fn = fn, .context = context};
    error = redis_link_send(&ledger->link, &call->link_call, LEASE_ARGC, command.argv, command.length);
    if (error)
        free(call);
    return error;
}

size_t ledger_pending(const struct ledger *ledger)
{
    return ledger->abandoned ? 0 : ledger->pending;
}

static int ledger_note(struct ledger *ledger, const char *id, bool is_site, const char *field,
                       const char *value)
{
    size_t field_size = strlen(field) + 1, value_size = strlen(value) + 1;
    struct note note = {.is_site = is_site};
    struct ledger_campaign *campaign;
    int error;

    if (ledger->abandoned)
        return 0;
    error = ledger_campaign(ledger, id, &campaign);
    if (error)
        return error;
    note.field = malloc(field_size + value_size);
    if (!note.field)
        return HK_ENOMEM;
    note.value = note.field + field_size;
    memcpy(note.field, field, field_size);
    memcpy(note.value, value, value_size);
    error = queue_push(&campaign->notes, &note);
    if (error)
        free(note.field);
    else
        ledger->pending++;
    return error;
}

int ledger_site(struct ledger *ledger, const char *campaign, uint16_t segment, uint32_t domain,
                const char *site)
{
    char field[32];

    (void)snprintf(field, sizeof field, "%u.%" PRIu32, segment, domain);
    return ledger_note(ledger, campaign, true, field, site);
}

int ledger_manifest_set(struct ledger *ledger, const char *campaign, const char *field, const char *value)
{
    return ledger_note(ledger, campaign, false, field, value);
}

int ledger_suppress(struct ledger *ledger, struct suppress *suppress, const struct suppress_entry *entry)
{
    char key[ADDRESS_MAX + 1];
    int error = suppress_queue_push(&ledger->suppressions, SUPPRESS_ADDED, entry, SUPPRESS_ANY_TIME, key);

    if (error)
        return error; /* one too many in an abandoned ledger is told again from the event log, as the others */
    ledger->pending++;
    return suppress_ours(suppress, entry->scope, key, entry->until_s);
}

int ledger_suppress_again(struct ledger *ledger, enum suppress_change change,
                          const struct suppress_entry *entry, uint64_t time_us)
{
    char key[ADDRESS_MAX + 1];
    int error = suppress_queue_push(&ledger->suppressions, change, entry, time_us, key);

    if (!error)
        ledger->pending++;
    return error;
}

int ledger_remember(struct ledger *ledger, const struct config *config, const char *id, size_t length,
                    const char *token, uint64_t time_us)
{
    struct sent_id one;
    int error = sent_id_make(&one, id, length, token, time_us);

    if (!error)
        error = suppress_queue_sent_id(&ledger->suppressions, config, &one);
    if (!error)
        ledger->pending++;
    return error;
}

int ledger_feedback(struct ledger *ledger, const struct config *config, const struct feedback *feedback)
{
    int error = suppress_queue_feedback(&ledger->suppressions, config, feedback);

    if (!error)
        ledger->pending++;
    return error;
}
