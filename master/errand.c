/* errand.c - what a command asks of a campaign: pause, resume, cancel, settle unknown ones, forget it.
 *
 * The state is written to Redis first, by a call that waits: from then on the ledger's script grants nothing more, whatever
 * is in flight. Then the campaign leaves memory, and what remains is to wait for bodies that were granted before.
 */
#include "errand.h"

#include "by_hand.h"
#include "journal.h"
#include "returned.h"
#include "unsubscribe.h"

#include <inttypes.h>
#include <string.h>

#define CALL_OFF_WAIT_MS 60000u /* for a long list to be cancelled whole; it goes on after the answer */
#define FORGET_WAIT_MS   5000u

enum errand_kind { ERRAND_PAUSE, ERRAND_CANCEL, ERRAND_UNKNOWN, ERRAND_FORGET, ERRAND_RETURNED };

struct errand {
    TAILQ_ENTRY(errand) link;
    uint8_t kind; /* enum errand_kind */
    char campaign[CAMPAIGN_ID_MAX + 1];
    void *client;
    uint64_t since_ms;
    uint32_t waiting; /* ops of UNKNOWN and RETURNED without a verdict */
    uint32_t changed;
    uint32_t number; /* of a RETURNED: its ops' cookies have it */
    json_t *reply;   /* of a RETURNED */
};

/* What a request is about: the campaign in memory, or NULL, and its manifest. */
struct subject {
    struct node *node;
    const json_t *request;
    void *client;
    struct campaign *campaign;
    struct manifest manifest;
    struct hk_why why;
};

json_t *errand_error(const char *words, int exit_status)
{
    return json_pack("{s:b,s:s,s:i}", "ok", 0, "error", words, "exit", exit_status);
}

static json_t *done(const struct subject *s, const char *note)
{
    return json_pack("{s:b,s:s,s:s,s:s?}", "ok", 1, "campaign", s->manifest.campaign, "state",
                     s->manifest.state, "note", note);
}

static json_t *failed(struct subject *s, int error)
{
    return errand_error(s->why.text, error == HK_EDOWN || error == HK_ENOMEM ? EXIT_NEEDED : EXIT_USAGE);
}

static struct errand *errand_add(const struct subject *s, enum errand_kind kind)
{
    struct errand *errand = hk_xcalloc(1, sizeof *errand);

    errand->kind = (uint8_t)kind;
    errand->client = s->client;
    errand->since_ms = clock_now_ms();
    snprintf(errand->campaign, sizeof errand->campaign, "%s", s->manifest.campaign);
    TAILQ_INSERT_TAIL(&s->node->errands, errand, link);
    return errand;
}

/* Into memory, for a command alone: nothing of it is sent by that. */
static int open_parked(struct subject *s)
{
    int rc;

    if (s->campaign != NULL)
        return 0;
    rc = campaign_open(s->node, s->manifest.campaign, &s->why);
    if (rc != 0)
        return rc;
    s->campaign = campaign_find(s->node, s->manifest.campaign);
    s->campaign->parked = true;
    return 0;
}

static int put_state(struct subject *s, const char *state)
{
    int rc = manifest_put_state(s->node, &s->manifest, state, &s->why);

    if (rc == 0 && s->campaign != NULL)
        s->campaign->manifest = s->manifest;
    return rc;
}

static bool state_is(const struct subject *s, const char *state)
{
    return strcmp(s->manifest.state, state) == 0;
}

static json_t *pause_begin(struct subject *s)
{
    int rc;

    if (s->manifest.settled_us != 0)
        return done(s, "everyone is settled, there is nothing to pause");
    if (state_is(s, "cancelled"))
        return errand_error("the campaign was cancelled", EXIT_USAGE);
    rc = put_state(s, "paused");
    if (rc != 0)
        return failed(s, rc);
    if (s->campaign == NULL)
        return done(s, NULL);
    campaign_stop(s->campaign);
    (void)errand_add(s, ERRAND_PAUSE);
    return NULL;
}

/* With "first": as far as that row. A node takes the campaign up, a short-lived one only writes it down. */
static json_t *resume_begin(struct subject *s)
{
    json_int_t first = json_integer_value(json_object_get(s->request, "first"));
    int rc;

    if (state_is(s, "cancelled"))
        return errand_error("the campaign was cancelled: it cannot go on", EXIT_USAGE);
    if (s->manifest.settled_us != 0)
        return done(s, "everyone is settled, there is nothing to resume");
    s->manifest.first_rows = first > 0 ? (uint64_t)first : 0;
    rc = campaign_check_sender(s->node, &s->manifest, &s->why);
    if (rc == 0 && s->node->options->request == NULL)
        rc = open_parked(s); /* first: what cannot be opened stays paused */
    if (rc == 0)
        rc = put_state(s, "running");
    if (rc != 0)
        return failed(s, rc);
    if (s->campaign != NULL) {
        s->campaign->parked = false;
        campaign_go_on(s->campaign);
    }
    return done(s, NULL);
}

/* The line says how many are called off as it is decided; the ledger follows span by span. */
static int tell_cancelled(struct subject *s)
{
    struct eventlog *log = &s->node->log;
    uint64_t counts[LEDGER_STATES_COUNT] = {0}, attempts;
    int rc = store_counts(s->node->store, &s->manifest, counts, &attempts, &s->why);

    if (rc != 0)
        return rc;
    event_begin(log, "cancelled");
    event_word(log, "campaign", s->manifest.campaign);
    event_number(log, "recipients", counts[LEDGER_PENDING] + counts[LEDGER_DEFERRED]);
    event_end(log);
    return eventlog_flush(log) == 0 ? 0 : why_set(&s->why, HK_EDOWN, "the event log cannot be written");
}

static json_t *cancel_begin(struct subject *s)
{
    int rc;

    if (s->manifest.settled_us != 0)
        return done(s, state_is(s, "cancelled") ? "it was cancelled before"
                                                : "everyone is settled, there is nothing to cancel");
    rc = open_parked(s);
    if (rc == 0 && !state_is(s, "cancelled")) {
        rc = tell_cancelled(s);
        if (rc == 0)
            rc = put_state(s, "cancelled");
        if (rc == 0)
            campaign_stop(s->campaign);
    }
    if (rc == 0)
        s->campaign->frozen = false; /* what it stood still for need not stand in the way of its end */
    if (rc != 0)
        return failed(s, rc);
    (void)errand_add(s, ERRAND_CANCEL);
    return NULL;
}

/* ---- unknown ones ---- */

/* Which attempt is decided about: told again from the event log, it is not about a later one. 0: it cannot be asked. */
static uint8_t decided_attempt(struct subject *s, uint32_t span, uint32_t offset)
{
    uint32_t word = 0, due_s, first_s;
    struct hk_why why;

    if (store_recipient(s->node->store, s->manifest.campaign, 0, span, offset, &word, &due_s, &first_s,
                        &why) != 0)
        return 0;
    return ledger_unpack(word).attempts;
}

static void tell_decided(struct subject *s, uint32_t index, const char *as, uint8_t attempt)
{
    struct eventlog *log = &s->node->log;
    struct segment_record record;

    event_begin(log, "unknown");
    event_word(log, "campaign", s->manifest.campaign);
    if (segment_record(s->campaign->segment, index, &record) == 0)
        event_text(log, "recipient", record.email, record.email_length);
    event_number(log, "index", index);
    event_number(log, "attempt", attempt);
    event_word(log, "settled_as", as);
    event_end(log);
}

static void decide(struct subject *s, struct errand *errand, uint32_t index, const char *as)
{
    const struct ledger_word word = {.state = strcmp(as, "sent") == 0 ? LEDGER_SENT : LEDGER_BOUNCED};
    struct ledger_op op = {.kind = OP_OUTCOME,
                           .index = index,
                           .span = segment_span_of(s->campaign->segment, index),
                           .count = 1,
                           .word = ledger_pack(word),
                           .cookie = COOKIE_ERRAND};

    if (strcmp(as, "pending") == 0)
        op = (struct ledger_op){
            .kind = OP_RESEND, .index = index, .span = op.span, .count = 1, .cookie = COOKIE_ERRAND};
    op.span_first = s->campaign->span[op.span].first;
    op.attempt = decided_attempt(s, op.span, index - op.span_first);
    tell_decided(s, index, as, op.attempt);
    if (ledger_push(s->node->ledger, s->manifest.campaign, &op) == 0)
        errand->waiting++;
}

/* A settled campaign has work again. */
static int reopen(struct subject *s)
{
    s->manifest.settled_us = 0;
    s->campaign->settled = false;
    s->campaign->manifest.settled_us = 0;
    return store_campaign_put(s->node->store, &s->manifest, &s->why);
}

static json_t *unknown_begin(struct subject *s)
{
    const char *as = json_string_value(json_object_get(s->request, "as"));
    const json_t *array = json_object_get(s->request, "index"), *element;
    struct errand *errand;
    size_t i;
    int rc;

    if (as == NULL || (strcmp(as, "sent") != 0 && strcmp(as, "bounced") != 0 && strcmp(as, "pending") != 0) ||
        json_array_size(array) == 0 || json_array_size(array) > ERRAND_INDEXES)
        return errand_error("\"as\" or \"index\" is missing or wrong", EXIT_USAGE);
    if (strcmp(as, "pending") == 0 && state_is(s, "cancelled"))
        return errand_error("the campaign was cancelled: nobody can be sent to again", EXIT_USAGE);
    rc = open_parked(s);
    if (rc != 0)
        return failed(s, rc);
    json_array_foreach(array, i, element) if (
        !json_is_integer(element) || json_integer_value(element) < 0 ||
        json_integer_value(element) >=
            (json_int_t)segment_count(
                s->campaign->segment)) return errand_error("\"index\" has something that is no recipient",
                                                           EXIT_USAGE);
    if (strcmp(as, "pending") == 0 && s->manifest.settled_us != 0) {
        rc = reopen(s);
        if (rc != 0)
            return failed(s, rc);
    }
    errand = errand_add(s, ERRAND_UNKNOWN);
    json_array_foreach(array, i, element) decide(s, errand, (uint32_t)json_integer_value(element), as);
    return NULL;
}

/* ---- what came back ---- */

static json_t *returned_begin(struct node *node, json_t *request, void *client)
{
    const struct subject s = {.node = node, .client = client};
    struct returned_mark *mark = NULL;
    struct errand *errand;
    size_t count = 0;
    json_t *reply = NULL, *error;

    if (!node->ledger_up)
        return errand_error("Redis does not answer: nothing was changed", EXIT_NEEDED);
    error = returned_take(node, request, &mark, &count, &reply);
    if (error != NULL)
        return error;
    errand = errand_add(&s, ERRAND_RETURNED);
    errand->reply = reply;
    errand->number = ++node->mark_number;
    for (size_t i = 0; i < count; i++) {
        mark[i].op.cookie = COOKIE_MARK | errand->number;
        if (ledger_push(node->ledger, mark[i].campaign, &mark[i].op) == 0)
            errand->waiting++;
    }
    free(mark);
    return NULL;
}

static void marked(struct node *node, const struct ledger_op *op)
{
    struct errand *errand;

    TAILQ_FOREACH(errand, &node->errands, link)
    if (errand->kind == ERRAND_RETURNED && errand->number == (uint32_t)op->cookie && errand->waiting > 0) {
        errand->waiting--;
        return;
    }
    returned_marked(node, (uint32_t)op->cookie);
}

void errands_verdict(struct node *node, const char *campaign, const struct ledger_op *op,
                     enum ledger_verdict verdict)
{
    struct errand *errand;

    if (op->kind == OP_MARK && (op->cookie & COOKIE_WISH) == COOKIE_WISH) {
        wishes_answered(&node->wishes, (uint32_t)op->cookie);
        return;
    }
    if (op->kind == OP_MARK) {
        marked(node, op);
        return;
    }

    TAILQ_FOREACH(errand, &node->errands, link)
    if (errand->kind == ERRAND_UNKNOWN && errand->waiting > 0 && strcmp(errand->campaign, campaign) == 0)
        break;
    if (errand == NULL)
        return;
    errand->waiting--;
    errand->changed += verdict == VERDICT_DONE;
    if (verdict == VERDICT_DONE && op->kind == OP_RESEND)
        span_read_again(campaign_find(node, campaign), op->span);
}

/* ---- restoring ---- */

/* All that the event log of this state_dir tells of the campaign, and the counts by what the words say then. */
static json_t *restore_begin(struct subject *s)
{
    struct journal_story story = {0};
    char place[LEASE_TOLD_SIZE];
    json_t *reply;
    int rc;

    if (s->node->options->request == NULL)
        return errand_error("a running node cannot restore a campaign: stop it first", EXIT_STOPPED);
    rc = open_parked(s);
    if (rc == 0)
        rc = journal_begun(s->campaign, place, &s->why);
    if (rc == 0 && s->campaign->begun_epoch != 0)
        rc = journal_replay(s->node, place, s->manifest.campaign, &story, &s->why);
    if (rc == 0)
        rc = store_campaign_recount(s->node->store, &s->manifest, &s->why);
    if (rc != 0)
        return failed(s, rc);
    s->manifest = s->campaign->manifest; /* the log may have told that it was cancelled */
    reply = done(s, NULL);
    json_object_set_new(reply, "told", json_integer((json_int_t)story.lines));
    if (s->manifest.settled_us != 0 && state_is(s, "running"))
        json_object_set_new(reply, "state", json_string("settled"));
    return reply;
}

/* ---- forgetting ---- */

static json_t *forget_begin(struct subject *s)
{
    if (s->campaign == NULL)
        return done(s, NULL);
    if (!s->campaign->settled && !s->campaign->parked && campaign_runs(s->campaign))
        return errand_error("the node is sending it: pause or cancel it first", EXIT_USAGE);
    s->campaign->parked = true;
    (void)errand_add(s, ERRAND_FORGET);
    return NULL;
}

/* ---- waiting ---- */

/* The phase says dot before the write that holds it, so that a death is read rightly: here that would be too early. */
static bool dot_is_out(const struct flight *flight)
{
    return atomic_load_explicit(&flight->phase, memory_order_acquire) == FLIGHT_DONE ||
           atomic_load_explicit(&flight->dot_out, memory_order_acquire) != 0;
}

/* Bodies of this campaign that were granted, or may have been, and have no dot yet. */
static uint32_t without_dot(struct node *node, const struct campaign *campaign, json_t *names)
{
    uint32_t count = 0;

    for (uint32_t w = 0; w < node->workers; w++)
        for (uint32_t slot = 0; slot < node->region.header->sizes.flight_slots; slot++) {
            const struct hold *hold = &node->worker[w].hold[slot];
            struct flight *flight = region_flight(&node->region, w, slot);
            struct segment_record record;
            if (!hold->used || hold->done || hold->run.campaign != campaign->slot)
                continue;
            if (hold->commit != COMMIT_ASKED && (hold->commit != COMMIT_GRANTED || dot_is_out(flight)))
                continue;
            count++;
            if (json_array_size(names) < ERRAND_NAMED &&
                segment_record(campaign->segment, hold->run.index, &record) == 0)
                json_array_append_new(names, json_stringn(record.email, record.email_length));
        }
    return count;
}

static json_t *outstanding(const struct subject *s, uint32_t count, json_t *names)
{
    char words[96];
    json_t *reply;

    snprintf(words, sizeof words, "%" PRIu32 " messages that were under way are not handed over yet", count);
    reply = errand_error(words, EXIT_STOPPED);
    json_object_set_new(reply, "state", json_string(s->manifest.state));
    json_object_set(reply, "outstanding", names);
    return reply;
}

static json_t *stop_check(struct subject *s, const struct errand *errand)
{
    uint64_t waited_ms = clock_now_ms() - errand->since_ms;
    json_t *names = json_array(), *reply = NULL;
    uint32_t count = without_dot(s->node, s->campaign, names);

    if (errand->kind == ERRAND_PAUSE && strcmp(s->manifest.state, "running") == 0)
        reply = errand_error("the campaign was resumed meanwhile", EXIT_STOPPED);
    else if (count > 0 && waited_ms >= ERRAND_WAIT_MS)
        reply = outstanding(s, count, names);
    else if (count == 0 && (errand->kind == ERRAND_PAUSE || s->campaign->called_off == s->campaign->spans))
        reply = done(s, NULL);
    else if (count == 0 && s->campaign->frozen)
        reply = errand_error("the campaign stands still: see the node's log", EXIT_NEEDED);
    else if (count == 0 && waited_ms >= CALL_OFF_WAIT_MS && s->node->options->request == NULL)
        reply = done(s, "nothing more is sent; the ledger is still being written");
    json_decref(names);
    return reply;
}

static json_t *errand_check(struct node *node, const struct errand *errand)
{
    struct subject s = {.node = node, .campaign = campaign_find(node, errand->campaign)};
    json_t *reply;

    if (errand->kind == ERRAND_RETURNED)
        return errand->waiting == 0 ? json_incref(errand->reply) : NULL;
    if (s.campaign == NULL)
        return errand_error("the campaign is gone", EXIT_USAGE);
    s.manifest = s.campaign->manifest;
    switch ((enum errand_kind)errand->kind) {
    case ERRAND_PAUSE:
    case ERRAND_CANCEL:
        return stop_check(&s, errand);
    case ERRAND_UNKNOWN:
        if (errand->waiting > 0)
            return NULL;
        reply = done(&s, NULL);
        json_object_set_new(reply, "changed", json_integer(errand->changed));
        return reply;
    case ERRAND_FORGET:
        if (campaign_is_idle(s.campaign)) {
            campaign_close(s.campaign);
            ledger_forget(node->ledger, errand->campaign);
            return done(&s, NULL);
        }
        if (clock_now_ms() - errand->since_ms < FORGET_WAIT_MS)
            return NULL;
        return errand_error("messages of it are still under way", EXIT_STOPPED);
    case ERRAND_RETURNED:
        break; /* it is about no single campaign */
    }
    return NULL;
}

static void errand_free(struct errand *errand)
{
    json_decref(errand->reply);
    free(errand);
}

void errands_check(struct node *node)
{
    struct errand *errand, *next;

    for (errand = TAILQ_FIRST(&node->errands); errand != NULL; errand = next) {
        json_t *reply = errand_check(node, errand);
        next = TAILQ_NEXT(errand, link);
        if (reply == NULL)
            continue;
        TAILQ_REMOVE(&node->errands, errand, link);
        if (errand->client != NULL)
            control_answer(errand->client, reply);
        else if (node->options->request != NULL && node->answer == NULL)
            node->answer = reply;
        else
            json_decref(reply);
        errand_free(errand);
    }
}

void errands_forget(struct node *node, const void *client)
{
    struct errand *errand;

    TAILQ_FOREACH(errand, &node->errands, link)
    if (errand->client == client)
        errand->client = NULL;
}

void errands_close(struct node *node)
{
    struct errand *errand;

    while ((errand = TAILQ_FIRST(&node->errands)) != NULL) {
        TAILQ_REMOVE(&node->errands, errand, link);
        errand_free(errand);
    }
}

/* ---- beginning ---- */

json_t *errand_begin(struct node *node, const char *command, json_t *request, void *client, bool *known)
{
    static const struct {
        const char *command;
        json_t *(*begin)(struct subject *s);
    } table[] = {{"pause", pause_begin},     {"resume", resume_begin},   {"cancel", cancel_begin},
                 {"unknown", unknown_begin}, {"restore", restore_begin}, {"forget", forget_begin}};
    const char *id = json_string_value(json_object_get(request, "campaign"));
    struct subject s = {.node = node, .request = request, .client = client};
    size_t row = 0;
    int rc = 0;

    while (row < sizeof table / sizeof table[0] && strcmp(table[row].command, command) != 0)
        row++;
    *known = row < sizeof table / sizeof table[0];
    if (strcmp(command, "bounce") == 0) {
        *known = true;
        return returned_begin(node, request, client);
    }
    if (strcmp(command, "unsubscribe") == 0) {
        *known = true;
        return unsubscribe_take(node, request);
    }
    if (strcmp(command, "suppress") == 0) {
        *known = true;
        return by_hand_take(node, request);
    }
    if (!*known)
        return NULL;
    if (id == NULL || !campaign_id_is_valid(id))
        return errand_error("\"campaign\" is missing or no campaign ID", EXIT_USAGE);
    if (!node->ledger_up)
        return errand_error("Redis does not answer: nothing was changed", EXIT_NEEDED);
    s.campaign = campaign_find(node, id);
    if (s.campaign != NULL)
        s.manifest = s.campaign->manifest;
    else
        rc = store_campaign_get(node->store, id, &s.manifest, &s.why);
    return rc == 0 ? table[row].begin(&s) : failed(&s, rc);
}
