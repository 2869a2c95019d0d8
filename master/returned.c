/* returned.c - what came back after a message was sent (returned.h).
 *
 * Everything here may be done twice and counts once: the mark and the lists are sets, soft bounces are counted by message. A
 * mail that is taken again after it was marked gets no second line. A request whose lines are written and that Redis did not
 * take is owed (owed.h).
 */
#include "returned.h"

#include <inttypes.h>
#include <string.h>

#include "errand.h"
#include "hikyaku/fault.h"
#include "meant.h"

/* ---- a request ---- */

static const char *word_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

static uint32_t number_of(const json_t *object, const char *key)
{
    json_int_t number = json_integer_value(json_object_get(object, key));

    return number < 0 || number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
}

static bool kind_of(const char *name, enum bounce_kind *out)
{
    static const enum bounce_kind kinds[] = {KIND_BOUNCE, KIND_DELAY, KIND_FEEDBACK, KIND_AUTOREPLY,
                                             KIND_DELIVERED};

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(name, bounce_kind_name(kinds[i])) == 0) {
            *out = kinds[i];
            return true;
        }
    return false;
}

static enum disposition disposition_of(const char *name)
{
    enum disposition found;

    return disposition_of_word(name, &found) ? found : DISPOSITION_NONE;
}

static bool read_returned(const json_t *object, struct returned *out)
{
    uint32_t code = number_of(object, "code");

    *out = (struct returned){.campaign = word_of(object, "campaign"),
                             .recipient = word_of(object, "recipient"),
                             .reported = word_of(object, "reported"),
                             .ignored = word_of(object, "ignored"),
                             .status = word_of(object, "status"),
                             .text = word_of(object, "text"),
                             .source = word_of(object, "source"),
                             .remote_id = word_of(object, "remote_id"),
                             .heard = json_object_get(object, "heard"),
                             .reply_class = reply_class_of_word(word_of(object, "class")),
                             .disposition = disposition_of(word_of(object, "disposition")),
                             .index = number_of(object, "index"),
                             .domain_recipients = number_of(object, "domain_recipients"),
                             .code = code <= 999 ? (uint16_t)code : 0,
                             .is_ours = json_is_true(json_object_get(object, "is_ours"))};
    return kind_of(word_of(object, "kind"), &out->kind) && strlen(out->recipient) <= ADDRESS_MAX;
}

/* ---- what follows from one ---- */

uint8_t returned_marks(const struct returned *returned)
{
    if (returned->ignored[0] != '\0' || returned->disposition == DISPOSITION_NONE)
        return 0;
    if (returned->kind == KIND_BOUNCE)
        return LEDGER_MARK_BOUNCED;
    return returned->kind == KIND_FEEDBACK ? LEDGER_MARK_COMPLAINED : 0;
}

static bool has_effect(const struct returned *returned)
{
    return returned_marks(returned) != 0 && returned->recipient[0] != '\0';
}

/* What may be a whole domain's fault. A complaint is a person's own word. */
static bool may_be_held(const struct returned *returned)
{
    return returned->kind == KIND_BOUNCE && returned->disposition == DISPOSITION_SUPPRESS;
}

static void feedback_of(const struct returned *returned, uint64_t time_us, struct feedback *out)
{
    *out = (struct feedback){.disposition = returned->disposition,
                             .reply_class = reply_class_name(returned->reply_class),
                             .may_be_held = may_be_held(returned),
                             .domain_recipients = returned->domain_recipients,
                             .entry = {.scope = "all", .time_us = time_us}};
    snprintf(out->entry.source, sizeof out->entry.source, "%s",
             returned->source != NULL && returned->source[0] != '\0' ? returned->source : "bounce-mail");
    snprintf(out->entry.address, sizeof out->entry.address, "%s", returned->recipient);
    snprintf(out->entry.reason, sizeof out->entry.reason, "%s",
             returned->kind == KIND_FEEDBACK ? "complaint" : "bounce");
    snprintf(out->entry.evidence, sizeof out->entry.evidence, "campaign %s, %s: %.400s", returned->campaign,
             out->reply_class, returned->text);
    snprintf(out->message, sizeof out->message, "%s.%" PRIu32, returned->campaign, returned->index);
}

/* ---- lines ---- */

static void event_returned(struct eventlog *log, const struct returned *returned)
{
    event_begin(log,
                returned->kind == KIND_FEEDBACK && returned_marks(returned) != 0 ? "complaint" : "bounce");
    if (returned->campaign[0] != '\0')
        event_word(log, "campaign", returned->campaign);
    if (returned->recipient[0] != '\0')
        event_word(log, "recipient", returned->recipient);
    if (returned->is_ours) /* else it may be one of another list by now, which must not be told of it again */
        event_number(log, "index", returned->index);
    event_word(log, "kind", bounce_kind_name(returned->kind));
    if (returned->ignored[0] != '\0')
        event_word(log, "ignored", returned->ignored);
    if (returned->reply_class != CLASS_NONE) {
        event_word(log, "class", reply_class_name(returned->reply_class));
        event_word(log, "disposition", disposition_name(returned->disposition));
    }
    event_object(log, "reply");
    if (returned->code != 0)
        event_number(log, "code", returned->code);
    if (returned->status[0] != '\0')
        event_word(log, "enhanced", returned->status);
    event_word(log, "text", returned->text);
    event_object_end(log);
    if (returned->reported[0] != '\0')
        event_word(log, "reported", returned->reported);
    if (returned->source[0] != '\0')
        event_word(log, "source", returned->source);
    if (returned->remote_id[0] != '\0')
        event_word(log, "remote_id", returned->remote_id);
    event_end(log);
}

static void alarm_domain(struct node *node, const char *campaign, const char *recipient, uint32_t count)
{
    const char *domain = strrchr(recipient, '@') + 1;

    event_begin(&node->log, "alarm");
    event_word(&node->log, "cause", "domain-unknown");
    event_word(&node->log, "domain", domain);
    event_word(&node->log, "campaign", campaign);
    event_number(&node->log, "recipients", count);
    event_end(&node->log);
    log_warning("%s: %" PRIu32 " recipients are suddenly unknown there: none of them is suppressed; 'hikyaku "
                "bounce held' lists them",
                domain, count);
}

void returned_alarm(struct node *node, const char *campaign, const char *recipient,
                    const struct feedback_result *result)
{
    if (result->done == FEEDBACK_TRIPPED)
        alarm_domain(node, campaign, recipient, result->count);
    else if (result->done == FEEDBACK_FULL)
        log_warning("%s is held back no more: %u addresses are, decide about them with 'hikyaku bounce held'",
                    recipient, FEEDBACK_HELD_MAX);
}

static void alarm_blocked(struct node *node, const struct returned *returned, uint32_t count)
{
    event_begin(&node->log, "alarm");
    event_word(&node->log, "cause", "blocked");
    event_word(&node->log, "class", reply_class_name(returned->reply_class));
    event_word(&node->log, "campaign", returned->campaign);
    event_number(&node->log, "recipients", count);
    event_word(&node->log, "text", returned->text);
    event_end(&node->log);
    log_warning("%" PRIu32 " messages came back within an hour for a fault of ours (%s): %s", count,
                reply_class_name(returned->reply_class), returned->text);
}

/* When they pile up, and again at ten times as many. */
static bool is_pile(uint32_t count)
{
    for (uint32_t pile = 10; pile <= FEEDBACK_BLOCKS_MAX; pile *= 10)
        if (count == pile)
            return true;
    return false;
}

static void tell_alarm(struct node *node, const struct returned *returned,
                       const struct feedback_result *result)
{
    if (result->done == FEEDBACK_BLOCKED && is_pile(result->count))
        alarm_blocked(node, returned, result->count);
    else
        returned_alarm(node, returned->campaign, returned->recipient, result);
}

/* ---- taking a request ---- */

#define HEARD_EACH_MAX   4u /* texts that one may be known by */
#define RETURNED_IDS_MAX (RETURNED_MAX * HEARD_EACH_MAX)

struct taking {
    struct owed owed;
    struct node *node;
    json_t *request; /* whose strings are used */
    struct returned returned[RETURNED_MAX];
    struct meant meant[RETURNED_MAX]; /* of those that came with a token */
    bool again[RETURNED_MAX];
    bool known[RETURNED_MAX]; /* it was heard before: nothing is done */
    struct feedback feedback[RETURNED_MAX];
    struct feedback_result result[RETURNED_MAX];
    size_t about[RETURNED_MAX]; /* feedback[i] is about returned[about[i]] */
    size_t count, feedbacks, marks;
    struct returned_mark *mark;
    struct store_place place[RETURNED_MAX]; /* in the ledger, of each mark */
    size_t marked[RETURNED_MAX];            /* whose it is */
    const char *id[RETURNED_IDS_MAX];       /* what all of them may be known by again; id_of: whose each is */
    uint16_t id_of[RETURNED_IDS_MAX];
    size_t ids;
    uint64_t time_us[RETURNED_MAX]; /* of its line; of one that has no new one: now */
    bool told;                      /* the lines are there */
    bool pushed;                    /* of one that is owed: its marks are on their way, */
    uint32_t number, waiting;       /* under this number, and so many have no verdict */
    struct hk_why why;
};

/* Is there a line about it already? A second bounce of the same message that says something else has its own: it may suppress
 * where the first one only counted. */
static bool is_told(struct ledger_word there, uint8_t marks, const struct returned *returned)
{
    if (marks == LEDGER_MARK_BOUNCED && there.state == LEDGER_BOUNCED)
        return true;
    if ((there.marks & marks) != marks)
        return false;
    return marks != LEDGER_MARK_BOUNCED || there.state != LEDGER_SENT ||
           there.reply_class == returned->reply_class || returned->disposition != DISPOSITION_SUPPRESS;
}

/* The same in this request: a mail that was brought twice at a time. */
static bool is_told_here(const struct taking *t, size_t i)
{
    const struct returned *a = &t->returned[i];

    for (size_t j = 0; j < i; j++) {
        const struct returned *b = &t->returned[j];
        if (a->index == b->index && b->is_ours && a->reply_class == b->reply_class &&
            returned_marks(a) == returned_marks(b) && strcmp(a->campaign, b->campaign) == 0)
            return true;
    }
    return false;
}

/* The mark of one, where it gets one: its place in the ledger is asked for with those of the others. */
static int prepare_mark(struct taking *t, size_t i)
{
    const struct returned *returned = &t->returned[i];
    const uint8_t marks = returned_marks(returned);
    struct ledger_op op = {.kind = OP_MARK, .index = returned->index, .count = 1};
    struct returned_mark *mark = &t->mark[t->marks];
    struct campaign *campaign;
    int rc;

    if (t->known[i] || marks == 0 || !returned->is_ours)
        return 0;
    rc = campaign_for_marks(t->node, returned->campaign, &campaign, &t->why);
    if (rc != 0 || campaign == NULL || returned->index >= segment_count(campaign->segment))
        return rc;
    op.span = segment_span_of(campaign->segment, op.index);
    op.span_first = campaign->span[op.span].first;
    op.word = ledger_pack((struct ledger_word){
        .marks = marks, .reply_class = (uint8_t)returned->reply_class, .code = returned->code});
    snprintf(mark->campaign, sizeof mark->campaign, "%s", returned->campaign);
    mark->op = op;
    t->place[t->marks] =
        (struct store_place){.campaign = mark->campaign, .span = op.span, .offset = op.index - op.span_first};
    t->marked[t->marks++] = i;
    return 0;
}

/* What the ledger says of those who get one: has it been told before? */
static int mark_all(struct taking *t)
{
    uint32_t word[RETURNED_MAX];
    int rc = 0;

    for (size_t i = 0; i < t->count && rc == 0; i++)
        rc = prepare_mark(t, i);
    if (rc == 0)
        rc = store_words(t->node->store, t->place, t->marks, word, &t->why);
    for (size_t k = 0; k < t->marks && rc == 0; k++) {
        size_t i = t->marked[k];
        t->again[i] = is_told(ledger_unpack(word[k]), returned_marks(&t->returned[i]), &t->returned[i]) ||
                      is_told_here(t, i);
    }
    return rc;
}

static int read_all(struct taking *t, const json_t *request)
{
    const json_t *array = json_object_get(request, "bounces"), *element;
    size_t i;

    t->count = json_array_size(array);
    if (t->count == 0 || t->count > RETURNED_MAX)
        return why_set(&t->why, HK_EINVAL, "\"bounces\" is missing, empty or too long");
    json_array_foreach(array, i, element) if (!read_returned(element, &t->returned[i])) return why_set(
        &t->why, HK_EINVAL, "\"bounces\" has something that is none");
    return 0;
}

/* Who is meant by one that came with a token of ours, or with the id of a message that we remember, and nothing else that
 * says so. */
static int mean_one(struct taking *t, size_t i, const json_t *object)
{
    const char *token = word_of(object, "token");
    struct returned *returned = &t->returned[i];
    struct meant *meant = &t->meant[i];
    int rc;

    if (token[0] != '\0') {
        rc = meant_find(t->node, token, returned->reported, meant, &t->why);
    } else {
        if (returned->remote_id[0] == '\0')
            return 0;
        rc = meant_find_by_id(t->node, returned->remote_id, returned->reported, meant, &t->why);
        if (rc == 0)
            return 0; /* why it counts for nothing was said by who found no token */
    }
    if (rc < 0)
        return rc == HK_EINVAL ? HK_EDOWN : rc; /* a secret that cannot be read is no fault of the request */
    returned->campaign = meant->campaign;
    returned->recipient = meant->address;
    returned->ignored = meant->ignored;
    returned->index = meant->index;
    returned->domain_recipients = meant->domain_recipients;
    returned->is_ours = meant->is_ours;
    return 0;
}

static int mean_all(struct taking *t, const json_t *request)
{
    const json_t *array = json_object_get(request, "bounces");
    int rc = 0;

    for (size_t i = 0; i < t->count && rc == 0; i++)
        rc = t->known[i] ? 0 : mean_one(t, i, json_array_get(array, i));
    return rc;
}

static int tell_lines(struct taking *t)
{
    for (size_t i = 0; i < t->count; i++) {
        if (!t->again[i] && !t->known[i])
            event_returned(&t->node->log, &t->returned[i]);
        t->time_us[i] = t->again[i] || t->known[i] ? clock_wall_us() : t->node->log.line_us;
    }
    t->told = true;
    return eventlog_flush(&t->node->log) == 0 ? 0
                                              : why_set(&t->why, HK_EDOWN, "the event log cannot be written");
}

/* Into what is applied, unless Redis could not hold it. */
static void add_feedback(struct taking *t, size_t i)
{
    struct feedback *feedback = &t->feedback[t->feedbacks];
    struct hk_why why;

    feedback_of(&t->returned[i], t->time_us[i], feedback);
    if (suppress_entry_check(&feedback->entry, &why) != 0) {
        log_warning("%s came back, and cannot be suppressed: %s", feedback->entry.address, why.text);
        return;
    }
    t->about[t->feedbacks++] = i;
}

static bool was_delivered(const struct returned *returned)
{
    return returned->kind == KIND_DELIVERED && returned->recipient[0] != '\0' && returned->ignored[0] == '\0';
}

static int apply_all(struct taking *t)
{
    const char *delivered[RETURNED_MAX];
    size_t count = 0;
    int rc;

    t->feedbacks = 0;
    for (size_t i = 0; i < t->count; i++) {
        const struct returned *returned = &t->returned[i];
        if (t->known[i])
            continue;
        if (has_effect(returned))
            add_feedback(t, i);
        else if (was_delivered(returned))
            delivered[count++] = returned->recipient;
    }
    rc = feedback_delivered(t->node->store, t->node->config, delivered, count, &t->why);
    if (rc != 0)
        return rc;
    rc = feedback_apply(t->node->store, t->node->config, t->feedback, t->feedbacks, t->result, &t->why);
    for (size_t i = 0; rc == 0 && i < t->feedbacks; i++)
        tell_alarm(t->node, &t->returned[t->about[i]], &t->result[i]);
    return rc;
}

static json_t *reply_of(const struct taking *t)
{
    json_t *array = json_array();
    size_t next = 0;

    for (size_t i = 0; i < t->count; i++) {
        const struct returned *returned = &t->returned[i];
        json_t *one =
            json_pack("{s:b,s:b,s:s,s:s,s:s}", "again", t->again[i], "heard", t->known[i], "campaign",
                      returned->campaign, "recipient", returned->recipient, "ignored", returned->ignored);
        if (next < t->feedbacks && t->about[next] == i) {
            const struct feedback_result *result = &t->result[next++];
            json_object_set_new(one, "done", json_string(feedback_done_word(result->done)));
            json_object_set_new(one, "count", json_integer(result->count));
            json_object_set_new(one, "limit", json_integer(result->limit));
        }
        json_array_append_new(array, one);
    }
    return json_pack("{s:b,s:o}", "ok", 1, "bounces", array);
}

/* ---- what was told before ---- */

static bool is_named_before(const struct taking *t, size_t id)
{
    for (size_t i = 0; i < id && t->id_of[i] < t->id_of[id]; i++)
        if (strcmp(t->id[i], t->id[id]) == 0)
            return true;
    return false;
}

static void collect_ids(struct taking *t)
{
    for (size_t i = 0; i < t->count; i++)
        for (size_t k = 0; k < json_array_size(t->returned[i].heard) && k < HEARD_EACH_MAX; k++) {
            const char *id = json_string_value(json_array_get(t->returned[i].heard, k));
            if (id == NULL || id[0] == '\0')
                continue;
            t->id_of[t->ids] = (uint16_t)i;
            t->id[t->ids++] = id;
        }
}

/* Told before, in another request or earlier in this one. */
static int find_known(struct taking *t)
{
    bool known[RETURNED_IDS_MAX] = {false};
    int rc;

    collect_ids(t);
    rc = feedback_was_heard(t->node->store, t->id, t->ids, known, &t->why);
    for (size_t i = 0; rc == 0 && i < t->ids; i++)
        if (known[i] || is_named_before(t, i))
            t->known[t->id_of[i]] = true;
    return rc;
}

/* What follows from the lines. */
static int put_in_effect(struct taking *t)
{
    int rc = apply_all(t);

    /* Behind it: a node that dies between the two is told again, and that changes nothing. */
    return rc == 0 ? feedback_hear(t->node->store, t->id, t->ids, &t->why) : rc;
}

static int take_all(struct taking *t, const json_t *request)
{
    int rc = owed_settle(&t->node->owed, &t->why);

    if (rc == 0)
        rc = find_known(t);
    if (rc == 0)
        rc = mean_all(t, request);
    if (rc == 0)
        rc = mark_all(t);
    if (rc == 0)
        rc = tell_lines(t);
    if (rc == 0) {
        fault_at(EFFECT_BEFORE);
        rc = put_in_effect(t);
    }
    return rc;
}

/* ---- what Redis did not take ---- */

static void taking_free(struct taking *t)
{
    json_decref(t->request);
    free(t->mark);
    free(t);
}

static void owed_end(struct owed *owed)
{
    taking_free((struct taking *)owed);
}

static int push_marks(struct taking *t)
{
    t->number = ++t->node->mark_number;
    t->waiting = 0;
    for (size_t i = 0; i < t->marks; i++) {
        t->mark[i].op.cookie = COOKIE_MARK | t->number;
        if (ledger_push(t->node->ledger, t->mark[i].campaign, &t->mark[i].op) != 0)
            return why_set(&t->why, HK_ENOMEM, "out of memory");
        t->waiting++;
    }
    t->pushed = true;
    return 0;
}

/* Until the ledger has its marks it is not known again. */
static int owed_apply(struct owed *owed, struct hk_why *why)
{
    struct taking *t = (struct taking *)owed;
    int rc = 0;

    if (!t->pushed) {
        rc = eventlog_flush(&t->node->log) == 0
                 ? put_in_effect(t)
                 : why_set(&t->why, HK_EDOWN, "the event log cannot be written");
        if (rc == 0)
            rc = push_marks(t);
        if (rc == 0)
            suppression_follow(t->node);
    }
    if (rc == 0 && t->waiting > 0)
        rc = why_set(&t->why, HK_EDOWN, "Redis has not taken what was told before: nothing was changed");
    if (rc != 0)
        *why = t->why;
    return rc;
}

void returned_marked(struct node *node, uint32_t number)
{
    struct owed *owed;

    TAILQ_FOREACH(owed, &node->owed.waiting, link)
    if (owed->apply == owed_apply && ((struct taking *)owed)->number == number) {
        ((struct taking *)owed)->waiting--;
        return;
    }
}

/* It stays, and is put in effect when Redis is back. */
static void taking_owe(struct taking *t)
{
    t->owed.apply = owed_apply;
    t->owed.end = owed_end;
    owed_add(&t->node->owed, &t->owed);
}

json_t *returned_take(struct node *node, json_t *request, struct returned_mark **mark, size_t *count,
                      json_t **reply)
{
    struct taking *t = hk_xcalloc(1, sizeof *t);
    json_t *error = NULL;
    int rc;

    t->node = node;
    t->request = json_incref(request);
    t->mark = hk_xcalloc(RETURNED_MAX, sizeof *t->mark);
    rc = read_all(t, request);
    if (rc == 0)
        rc = take_all(t, request);
    if (rc == 0) {
        suppression_follow(node);
        *reply = reply_of(t);
        *mark = t->mark;
        *count = t->marks;
        t->mark = NULL;
    } else {
        error = errand_error(t->why.text, rc == HK_EINVAL ? EXIT_USAGE : EXIT_NEEDED);
    }
    if (rc != 0 && t->told)
        taking_owe(t);
    else
        taking_free(t);
    return error;
}

/* ---- told again ---- */

int returned_retell(struct campaign *campaign, uint32_t index, const struct returned *returned,
                    uint64_t time_us, struct hk_why *why)
{
    struct returned again = *returned;
    struct segment_record record;
    struct segment_domain domain;
    struct feedback feedback;
    char address[ADDRESS_MAX + 1];

    if (segment_record(campaign->segment, index, &record) != 0 || record.wire_length > ADDRESS_MAX)
        return 0;
    memcpy(address, record.wire, record.wire_length);
    address[record.wire_length] = '\0';
    domain = segment_domain(campaign->segment, record.domain);
    again.recipient = address;
    again.campaign = campaign->manifest.campaign;
    again.index = index;
    again.domain_recipients = domain.count;
    if (again.kind == KIND_DELIVERED)
        return feedback_delivered(campaign->node->store, campaign->node->config,
                                  (const char *const[]){address}, 1, why);
    if (!has_effect(&again))
        return 0;
    feedback_of(&again, time_us, &feedback);
    if (suppress_entry_check(&feedback.entry, why) != 0)
        return 0; /* said when it came */
    /* On the connection of the refusals in sessions that are told again beside it, so that all of them come in order. */
    return ledger_feedback(campaign->node->ledger, campaign->node->config, &feedback);
}
