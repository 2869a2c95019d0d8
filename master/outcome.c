/* outcome.c - what became of a permission: event line first, then the ledger, then the recipient leaves memory.
 *
 * Every recipient that leaves a queue comes through here exactly once: as a flight's outcome, or as a run that cannot be
 * tried. He stays active (campaign.c) until the ledger has answered, so nothing can queue him twice.
 */
#include <arpa/inet.h>
#include <string.h>

#include "meant.h"

#define COOKIE_RUN \
    ((uint64_t)1 << 63) /* the op is about a run, not about a flight slot: campaign slot in the low bits */

/* ---- events ---- */

/* Lines of a reply are joined by newlines, which are shown as blanks. */
static void event_reply_text(struct eventlog *log, const char *reply, size_t length)
{
    char text[REGION_REPLY_TEXT];

    if (memchr(reply, '\n', length) == NULL && memchr(reply, '\r', length) == NULL) {
        event_text(log, "text", reply, length);
        return;
    }
    memcpy(text, reply, length);
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\n' || text[i] == '\r')
            text[i] = ' ';
    event_text(log, "text", text, length);
}

void event_reply(struct eventlog *log, const struct outcome_reply *reply)
{
    event_word(log, "phase", log_phase_name((enum log_phase)reply->log_phase));
    event_object(log, "reply");
    if (reply->code != 0)
        event_number(log, "code", reply->code);
    if (reply->enhanced[0] != 0)
        event_dotted(log, "enhanced", reply->enhanced, 3);
    event_reply_text(log, reply->text,
                     reply->text_length < REGION_REPLY_TEXT ? reply->text_length : REGION_REPLY_TEXT);
    event_object_end(log);
}

static void event_verdict(struct eventlog *log, struct verdict verdict)
{
    if (verdict.reply_class == CLASS_NONE)
        return;
    event_word(log, "class", reply_class_name(verdict.reply_class));
    event_word(log, "disposition", disposition_name(verdict.disposition));
}

static void event_address(struct eventlog *log, const char *key, uint8_t family, const uint8_t *address)
{
    char text[INET6_ADDRSTRLEN];

    if (family == AF_INET) /* inet_ntop() makes it by printf, and each message has two */
        event_dotted(log, key, address, 4);
    else if (family == AF_INET6 && inet_ntop(family, address, text, sizeof text) != NULL)
        event_word(log, key, text);
}

static void event_recipient(struct eventlog *log, const struct campaign *campaign, uint32_t index)
{
    struct segment_record record;

    event_word(log, "campaign", campaign->manifest.campaign);
    if (segment_record(campaign->segment, index, &record) == 0)
        event_text(log, "recipient", record.email, record.email_length);
    event_number(log, "index", index);
}

static void event_connection(struct node *node, const struct region *region, const struct conn_info *info)
{
    struct eventlog *log = &node->log;
    const struct destination *dest;

    if (info->source < node->config->source_count && node->config->source[info->source].name[0] != '\0')
        event_word(log, "source", node->config->source[info->source].name);
    event_address(log, "source_ip", info->family, info->local);
    if (info->dest < region->header->sizes.dest_slots) {
        dest = &region->destination[info->dest];
        event_text(log, "site", dest->site, strnlen(dest->site, sizeof dest->site));
        event_word(log, "mx", destination_mx_name(dest, dest->address[info->mx % DEST_ADDRESSES_MAX].mx));
    }
    event_address(log, "mx_ip", info->family, info->peer);
    if (info->tls_version[0] == '\0')
        return;
    event_object(log, "tls");
    event_text(log, "version", info->tls_version, strnlen(info->tls_version, sizeof info->tls_version));
    event_text(log, "cipher", info->tls_cipher, strnlen(info->tls_cipher, sizeof info->tls_cipher));
    event_word(log, "policy", host_tls_name((enum host_tls)info->tls_policy));
    if (info->tls_verified[0] != '\0')
        event_text(log, "verified_by", info->tls_verified,
                   strnlen(info->tls_verified, sizeof info->tls_verified));
    event_object_end(log);
}

/* What Amazon SES calls the message in its notifications: where that stands in the reply and its length, 0 none. */
static size_t remote_id(const struct region *region, uint32_t worker, const struct flight *flight,
                        const char **id)
{
    const struct outcome_reply *reply = &flight->reply;
    uint32_t dest;

    if (flight->result != RESULT_SENT || flight->conn >= region->header->sizes.conn_slots)
        return 0;
    dest = region_conn(region, worker, flight->conn)->dest;
    if (dest >= region->header->sizes.dest_slots || !region->destination[dest].ses)
        return 0;
    return ses_message_id(reply->text, reply->text_length, id);
}

static void event_remote_id(struct eventlog *log, const struct region *region, uint32_t worker,
                            const struct flight *flight)
{
    const char *id;
    size_t length = remote_id(region, worker, flight, &id);

    if (length > 0)
        event_text(log, "remote_id", id, length);
}

static void remember_remote_id(struct campaign *campaign, uint32_t index, const struct region *region,
                               uint32_t worker, const struct flight *flight)
{
    const char *id;
    size_t length = remote_id(region, worker, flight, &id);

    if (length > 0)
        meant_remember(campaign, index, id, length, clock_wall_us());
}

static const char *outcome_name(uint8_t state)
{
    return state == LEDGER_EXPIRED ? "deferred" : ledger_state_name((enum ledger_state)state);
}

static void event_attempt_begin(struct node *node, const struct region *region, uint32_t worker,
                                struct flight *flight)
{
    uint32_t slots = region->header->sizes.flight_slots;

    if (flight->event == 0 && region == &node->region) {
        flight->event = event_begin(&node->log, "attempt");
        return;
    }
    if (flight->event == 0)
        flight->event =
            EVENT_SETTLED + (uint64_t)worker * slots + (uint64_t)(flight - region_flight(region, worker, 0));
    event_begin_again(&node->log, "attempt", region->header->epoch, flight->event);
}

/* The line of a flight that ended. One that was told before its master died keeps its id. */
static void event_attempt(struct node *node, const struct region *region, uint32_t worker,
                          struct flight *flight, const struct campaign *campaign, struct ledger_word word,
                          struct verdict verdict)
{
    struct eventlog *log = &node->log;
    const struct conn_info *info;

    event_attempt_begin(node, region, worker, flight);
    event_recipient(log, campaign, flight->send.index);
    event_number(log, "attempt", word.attempts);
    event_word(log, "outcome", outcome_name(word.state));
    event_reply(log, &flight->reply);
    event_verdict(log, verdict);
    if (flight->conn < region->header->sizes.conn_slots) {
        info = region_conn(region, worker, flight->conn);
        event_connection(node, region, info);
        event_remote_id(log, region, worker, flight);
        event_number(log, "bytes", flight->bytes);
        event_number(log, "queue_ms", flight->queue_ms);
        event_number(log, "smtp_ms", flight->smtp_ms);
        event_number(log, "connection", info->serial);
        event_number(log, "nth", flight->nth);
    }
    event_end(log);
}

static void event_expired(struct node *node, const struct campaign *campaign, uint32_t index,
                          const char *site, enum reply_class reply_class, uint16_t code)
{
    event_begin(&node->log, "expired");
    event_recipient(&node->log, campaign, index);
    event_word(&node->log, "site", site);
    if (reply_class != CLASS_NONE)
        event_word(&node->log, "class", reply_class_name(reply_class));
    if (code != 0) {
        event_object(&node->log, "reply");
        event_number(&node->log, "code", code);
        event_object_end(&node->log);
    }
    event_end(&node->log);
}

/* Given up by what the last reply said. Whether it counts for him, and its words, stand there too: a log that is told again
 * has nothing else to count him by. */
static void event_given_up(struct node *node, const struct campaign *campaign, uint32_t index,
                           const struct outcome_reply *reply, struct verdict verdict)
{
    event_begin(&node->log, "expired");
    event_recipient(&node->log, campaign, index);
    event_verdict(&node->log, verdict);
    event_reply(&node->log, reply);
    event_end(&node->log);
}

void event_unknown(struct campaign *campaign, uint32_t index, uint8_t attempts, const char *settled_as)
{
    struct eventlog *log = &campaign->node->log;

    event_begin(log, "unknown");
    event_recipient(log, campaign, index);
    event_number(log, "attempt", attempts);
    event_word(log, "settled_as", settled_as);
    event_end(log);
}

void event_cancelled(struct campaign *campaign, uint32_t index, uint32_t count)
{
    struct eventlog *log = &campaign->node->log;

    event_begin(log, "cancelled");
    event_word(log, "campaign", campaign->manifest.campaign);
    event_number(log, "index", index);
    event_number(log, "recipients", count);
    event_end(log);
}

void event_unreachable(struct node *node, const struct dest *dest, const char *site, uint64_t recipients,
                       const struct outcome_reply *failure)
{
    struct eventlog *log = &node->log;

    event_begin(log, "attempt");
    event_word(log, "outcome", "deferred");
    event_number(log, "recipients", recipients);
    event_reply(log, failure);
    event_verdict(log, reply_classify((enum log_phase)failure->log_phase, failure->code, failure->enhanced,
                                      failure->text, failure->text_length));
    event_word(log, "site", site);
    if (dest != NULL && dest->failure != NULL && dest->failure->ip[0] != '\0')
        event_word(log, "mx_ip", dest->failure->ip);
    event_end(log);
}

/* ---- runs that cannot be tried ---- */

static uint32_t deadline_s(const struct campaign *campaign, uint32_t first_s)
{
    return first_s + campaign->node->config->retry.give_up_s;
}

bool run_is_over(const struct campaign *campaign, const struct run *run)
{
    return run->first_s != 0 && campaign_now_s(campaign) >= deadline_s(campaign, run->first_s);
}

uint32_t retry_step_s(const struct config *config, uint32_t attempts)
{
    size_t step = attempts > 0 ? attempts - 1 : 0;

    if (step >= config->retry.schedule_count)
        step = config->retry.schedule_count - 1;
    return config->retry.schedule_s[step];
}

/* When the recipient is tried again after its `attempts`-th attempt: the schedule's step, but never past the deadline. */
static uint32_t next_due_s(const struct campaign *campaign, uint32_t attempts, uint32_t first_s)
{
    uint32_t due_s = campaign_now_s(campaign) + retry_step_s(campaign->node->config, attempts);
    uint32_t deadline = deadline_s(campaign, first_s);

    return due_s < deadline ? due_s : deadline;
}

static void push(struct campaign *campaign, const struct ledger_op *op)
{
    if (ledger_push(campaign->node->ledger, campaign->manifest.campaign, op) != 0)
        node_freeze(campaign, "out of memory");
}

static void push_run(struct campaign *campaign, const struct run *run, struct ledger_op op)
{
    op.segment = run->segment;
    op.index = run->index;
    op.count = run->count;
    op.span = segment_span_of(campaign->segment, run->index);
    op.span_first = campaign->span[op.span].first;
    op.cookie = COOKIE_RUN | run->campaign;
    push(campaign, &op);
}

void run_put_back(struct campaign *campaign, struct run run, enum reply_class reply_class, uint16_t code)
{
    struct ledger_word word = {.state = LEDGER_DEFERRED, .reply_class = (uint8_t)reply_class, .code = code};
    uint32_t first_s = run.first_s != 0 ? run.first_s : campaign_now_s(campaign);

    push_run(campaign, &run,
             (struct ledger_op){.kind = OP_PUT_BACK,
                                .word = ledger_pack(word),
                                .due_s = next_due_s(campaign, run.attempts + 1u, first_s),
                                .first_s = first_s});
}

void run_bounce(struct campaign *campaign, struct run run, const char *site,
                const struct outcome_reply *reply, struct verdict verdict)
{
    struct node *node = campaign->node;
    struct ledger_word word = {.state = LEDGER_BOUNCED,
                               .reply_class = (uint8_t)verdict.reply_class,
                               .attempts = 1,
                               .code = reply->code};

    for (uint32_t i = 0; i < run.count; i++) {
        event_begin(&node->log, "attempt");
        event_recipient(&node->log, campaign, run.index + i);
        event_number(&node->log, "attempt", run.attempts + 1u);
        event_word(&node->log, "outcome", "bounced");
        event_reply(&node->log, reply);
        event_verdict(&node->log, verdict);
        event_word(&node->log, "site", site);
        event_end(&node->log);
        if (verdict.disposition == DISPOSITION_SUPPRESS)
            refusal_count(campaign, run.index + i, reply, verdict, node->log.line_us);
    }
    push_run(campaign, &run, (struct ledger_op){.kind = OP_SETTLE, .word = ledger_pack(word)});
}

static bool is_cancelled(const struct campaign *campaign)
{
    return strcmp(campaign->manifest.state, "cancelled") == 0;
}

void run_let_go(struct campaign *campaign, struct run run)
{
    struct ledger_word word = {.state = LEDGER_CANCELLED};
    uint32_t span = segment_span_of(campaign->segment, run.index);

    if (is_cancelled(campaign)) {
        event_cancelled(campaign, run.index, run.count);
        push_run(campaign, &run, (struct ledger_op){.kind = OP_SETTLE, .word = ledger_pack(word)});
        return;
    }
    span_read_again(campaign, span);
    campaign_release(campaign, span, run.index, run.count, 0);
}

/* Not sent after all: in front of his queue again, or out of memory where the campaign does not run any more. */
static void run_return(struct campaign *campaign, struct dest *dest, struct run run)
{
    if (campaign_runs(campaign))
        dest_enqueue(dest, run, true);
    else
        run_let_go(campaign, run);
}

void run_expire(struct campaign *campaign, struct run run, const char *site, enum reply_class reply_class,
                uint16_t code)
{
    struct ledger_word word = {.state = LEDGER_EXPIRED, .reply_class = (uint8_t)reply_class, .code = code};

    for (uint32_t i = 0; i < run.count; i++)
        event_expired(campaign->node, campaign, run.index + i, site, reply_class, code);
    push_run(campaign, &run, (struct ledger_op){.kind = OP_SETTLE, .word = ledger_pack(word)});
}

/* Nothing was tried: his attempts, and what the last of them said, are no reason any more. */
void run_suppress(struct campaign *campaign, struct run run, const char *site)
{
    struct eventlog *log = &campaign->node->log;
    struct ledger_word word = {.state = LEDGER_SUPPRESSED};

    for (uint32_t i = 0; i < run.count; i++) {
        event_begin(log, "suppressed");
        event_recipient(log, campaign, run.index + i);
        event_word(log, "site", site);
        event_end(log);
    }
    push_run(campaign, &run, (struct ledger_op){.kind = OP_SETTLE, .word = ledger_pack(word)});
}

/* ---- flights ---- */

static struct ledger_op flight_op(const struct worker *worker, uint32_t slot, enum ledger_op_kind kind)
{
    const struct hold *hold = &worker->hold[slot];
    const struct campaign *campaign = worker->node->campaign[hold->run.campaign];

    return (struct ledger_op){
        .kind = (uint8_t)kind,
        .attempt = (uint8_t)(hold->run.attempts < UINT8_MAX ? hold->run.attempts + 1 : UINT8_MAX),
        .segment = hold->run.segment,
        .span = hold->span,
        .index = hold->run.index,
        .span_first = campaign->span[hold->span].first,
        .count = 1,
        .cookie = (uint64_t)worker->number << 32 | slot};
}

void flight_commit(struct worker *worker, uint32_t slot)
{
    struct hold *hold = &worker->hold[slot];
    struct campaign *campaign = worker->node->campaign[hold->run.campaign];
    struct ledger_op op = flight_op(worker, slot, OP_COMMIT);

    HK_BUG_ON(!hold->used || hold->done || hold->commit != COMMIT_NONE);
    hold->suppressed = recipient_is_suppressed(campaign, hold->run.index);
    hold->stopped = campaign->node->again;
    if (hold->suppressed || hold->stopped) {
        hold->commit = COMMIT_REFUSED; /* the ledger is told when the worker has let go of him */
        worker_tell(worker, &(struct desc){.kind = DESC_DENY, .slot = slot});
        return;
    }
    hold->commit = COMMIT_ASKED;
    push(campaign, &op);
}

/* The slot has nothing more to tell: it and what it held of the destination go back. */
static void hold_end(struct worker *worker, uint32_t slot)
{
    struct dest *dest = worker->hold[slot].dest;

    slot_release(worker, slot);
    dest->refs--;
    dest_forget(dest);
}

static void flight_returned(struct worker *worker, uint32_t slot)
{
    struct hold *hold = &worker->hold[slot];
    struct ledger_op op;

    if (hold->commit == COMMIT_ASKED || hold->commit == COMMIT_GRANTED) {
        op = flight_op(worker, slot, OP_RELEASE);
        push(worker->node->campaign[hold->run.campaign], &op);
        return; /* queued again when the ledger has let go */
    }
    run_return(worker->node->campaign[hold->run.campaign], hold->dest, hold->run);
    hold_end(worker, slot);
}

static struct ledger_word flight_word(const struct campaign *campaign, const struct flight *flight,
                                      uint8_t attempts, uint32_t first_s, struct verdict verdict)
{
    struct ledger_word word = {
        .attempts = attempts, .reply_class = (uint8_t)verdict.reply_class, .code = flight->reply.code};

    switch (flight->result) {
    case RESULT_SENT:
        word.state = LEDGER_SENT;
        break;
    case RESULT_BOUNCED:
        word.state = LEDGER_BOUNCED;
        break;
    case RESULT_UNKNOWN:
        word.state = LEDGER_UNKNOWN;
        break;
    default:
        word.state =
            campaign_now_s(campaign) >= deadline_s(campaign, first_s) ? LEDGER_EXPIRED : LEDGER_DEFERRED;
        break;
    }
    return word;
}

void flight_outcome(struct node *node, const struct region *region, uint32_t worker, struct flight *flight,
                    struct campaign *campaign, struct ledger_op op)
{
    const struct outcome_reply *reply = &flight->reply;
    struct verdict verdict = {.reply_class = CLASS_NONE, .disposition = DISPOSITION_NONE};
    struct ledger_word word;

    if (op.first_s == 0)
        op.first_s = campaign_now_s(campaign);
    if (flight->result == RESULT_DEFERRED || flight->result == RESULT_BOUNCED)
        verdict = reply_classify((enum log_phase)reply->log_phase, reply->code, reply->enhanced, reply->text,
                                 reply->text_length);
    word = flight_word(campaign, flight, op.attempt, op.first_s, verdict);
    op.word = ledger_pack(word);
    if (word.state == LEDGER_DEFERRED)
        op.due_s = next_due_s(campaign, word.attempts, op.first_s);
    event_attempt(node, region, worker, flight, campaign, word, verdict);
    remember_remote_id(campaign, op.index, region, worker, flight);
    if (word.state == LEDGER_EXPIRED)
        event_given_up(node, campaign, op.index, reply, verdict);
    if ((word.state == LEDGER_BOUNCED && reply->code >= 500) ||
        (word.state == LEDGER_EXPIRED && reply->code >= 400))
        refusal_count(campaign, op.index, reply, verdict, node->log.line_us);
    if (op.granted == 0)
        push(campaign, &op);
    else if (settle_push(campaign, op) != 0)
        node_freeze(campaign, "out of memory");
}

/* The connection that was to carry it, NULL where that is gone: what was on its way to a connection that ended meanwhile comes
 * back behind the word that it ended, when its slot may serve another one. That one owes us nothing for it. */
static struct conn *hold_conn(const struct hold *hold)
{
    return hold->conn->serial == hold->serial ? hold->conn : NULL;
}

void flight_done(struct worker *worker, uint32_t slot)
{
    struct node *node = worker->node;
    struct hold *hold = &worker->hold[slot];
    struct conn *conn = hold_conn(hold);
    struct flight *flight = region_flight(&node->region, worker->number, slot);
    struct campaign *campaign;

    HK_BUG_ON(!hold->used || hold->done);
    hold->done = true;
    campaign = node->campaign[hold->run.campaign];
    if (flight->result == RESULT_REFUSED)
        account_refused(hold->dest->site, campaign, flight);
    else if (flight->result == RESULT_SENT)
        account_accepted(hold->dest->site);
    if (flight->result == RESULT_SENT)
        campaign->thaws = 0;
    if (conn != NULL) {
        HK_BUG_ON(conn->under_way == 0);
        conn->under_way--;
        if (hold->commit == COMMIT_GRANTED)
            due_answered(&node->due, &conn->due, clock_now_us());
        conn_outcome(conn, flight, hold->commit != COMMIT_NONE);
        conn_feed(conn);
    }
    if (flight->result == RESULT_RETURNED && flight->reply.text_length > 0)
        node_freeze_a_while(campaign, flight->reply.text);
    if (flight->result == RESULT_RETURNED || flight->result == RESULT_REFUSED) {
        flight_returned(worker, slot);
    } else if (flight->result == RESULT_DENIED && hold->suppressed) {
        run_suppress(campaign, hold->run, hold->dest->site->name);
        hold_end(worker, slot);
    } else if (flight->result == RESULT_DENIED && hold->stopped) {
        run_return(campaign, hold->dest, hold->run);
        hold_end(worker, slot);
    } else if (flight->result == RESULT_DENIED) {
        span_read_again(campaign, hold->span); /* final, or ahead of us: what stands in the ledger counts */
        campaign_release(campaign, hold->span, hold->run.index, 1, 0);
        hold_end(worker, slot);
    } else {
        struct ledger_op op = flight_op(worker, slot, OP_OUTCOME);
        op.first_s = hold->run.first_s;
        flight_outcome(node, &node->region, worker->number, flight, campaign, op);
    }
}

void flight_lost_reply(struct flight *flight, const char *words)
{
    flight->result = RESULT_UNKNOWN;
    memset(&flight->reply, 0, sizeof flight->reply);
    flight->reply.log_phase = LOG_PHASE_DOT;
    flight->reply.text_length =
        (uint16_t)snprintf(flight->reply.text, sizeof flight->reply.text, "%s", words);
}

void flight_orphan(struct worker *worker, uint32_t slot)
{
    struct flight *flight = region_flight(&worker->node->region, worker->number, slot);
    uint32_t phase = atomic_load_explicit(&flight->phase, memory_order_acquire);

    if (phase == FLIGHT_DOT) {
        flight_lost_reply(flight, worker->ended_by_us ? "our node ended before the reply"
                                                      : "our worker died before the reply");
    } else if (phase != FLIGHT_DONE) {
        flight->result = RESULT_RETURNED;
        flight->reply.text_length = 0;
    }
    flight_done(worker, slot);
}

/* ---- what the ledger says ---- */

static void verdict_commit(struct worker *worker, uint32_t slot, enum ledger_verdict verdict)
{
    struct hold *hold = &worker->hold[slot];
    struct campaign *campaign = worker->node->campaign[hold->run.campaign];
    struct desc answer = {.kind = verdict == VERDICT_DONE ? DESC_GRANT : DESC_DENY, .slot = slot};

    if ((verdict == VERDICT_PAUSED || verdict == VERDICT_CANCELLED) && campaign_runs(campaign))
        campaign->overruled = true;
    if (hold->done)
        return; /* the worker gave it back meanwhile: a release is on its way */
    hold->commit = verdict == VERDICT_DONE ? COMMIT_GRANTED : COMMIT_REFUSED;
    hold->stopped = verdict != VERDICT_DONE && verdict != VERDICT_SETTLED;
    if (verdict == VERDICT_DONE && hold_conn(hold) != NULL) {
        due_granted(&worker->node->due, &hold->conn->due, clock_now_us());
        conn_granted(hold->conn);
    }
    worker_tell(worker, &answer);
}

/* campaign.unknown = resend: he may get it twice, and that was chosen; as a deferral, and within the same time. */
static bool may_resend(const struct campaign *campaign, uint32_t first_s)
{
    return campaign->node->config->campaign.resend_unknown && campaign_runs(campaign) &&
           campaign_now_s(campaign) < deadline_s(campaign, first_s);
}

static bool flight_resend(struct worker *worker, const struct ledger_op *outcome)
{
    uint32_t slot = (uint32_t)outcome->cookie;
    struct campaign *campaign = worker->node->campaign[worker->hold[slot].run.campaign];
    struct ledger_word word = ledger_unpack(outcome->word);
    struct ledger_op op;

    if (outcome->kind != OP_OUTCOME || word.state != LEDGER_UNKNOWN ||
        !may_resend(campaign, outcome->first_s))
        return false;
    op = flight_op(worker, slot, OP_RESEND);
    event_unknown(campaign, op.index, word.attempts, ledger_state_name(LEDGER_PENDING));
    op.first_s = outcome->first_s;
    op.due_s = next_due_s(campaign, word.attempts, op.first_s);
    push(campaign, &op);
    return true;
}

uint32_t recipient_resend(struct campaign *campaign, uint32_t number, uint32_t index, uint8_t attempts,
                          uint32_t first_s)
{
    struct ledger_op op = {.kind = OP_RESEND,
                           .attempt = attempts,
                           .index = index,
                           .span = number,
                           .span_first = campaign->span[number].first,
                           .count = 1,
                           .first_s = first_s != 0 ? first_s : campaign_now_s(campaign),
                           .cookie = COOKIE_OLD_REGION};

    if (!may_resend(campaign, op.first_s))
        return 0;
    event_unknown(campaign, index, attempts, ledger_state_name(LEDGER_PENDING));
    op.due_s = next_due_s(campaign, attempts, op.first_s);
    push(campaign, &op);
    return op.due_s;
}

static void verdict_flight(struct worker *worker, const struct ledger_op *op, enum ledger_verdict verdict)
{
    uint32_t slot = (uint32_t)op->cookie;
    struct hold *hold = &worker->hold[slot];
    struct campaign *campaign = worker->node->campaign[hold->run.campaign];

    if (op->kind == OP_COMMIT) {
        verdict_commit(worker, slot, verdict);
        return;
    }
    if (flight_resend(worker, op))
        return;
    if (op->kind == OP_RELEASE && verdict == VERDICT_DONE) {
        run_return(campaign, hold->dest, hold->run);
    } else if (op->kind == OP_OUTCOME && op->due_s != 0 && is_cancelled(campaign)) {
        site_settled(hold->dest->site, 1);
        run_let_go(campaign, hold->run); /* deferred: nobody will try again */
    } else {
        if (op->kind == OP_RELEASE)
            span_read_again(campaign, hold->span);
        site_settled(hold->dest->site, 1);
        campaign_release(campaign, hold->span, hold->run.index, 1,
                         op->kind == OP_OUTCOME || op->kind == OP_RESEND ? op->due_s : 0);
    }
    hold_end(worker, slot);
}

void outcome_verdict(void *context, const char *id, const struct ledger_op *op, enum ledger_verdict verdict)
{
    struct node *node = context;
    struct campaign *campaign;

    if (op->cookie == COOKIE_OLD_REGION) {
        if (verdict == VERDICT_LOST)
            snprintf(node->forgotten, sizeof node->forgotten, "%s", id);
        return; /* settle.c waits for the ledger as a whole */
    }
    if (verdict == VERDICT_LOST)
        node_start_over_lost(node, "Redis has forgotten recipients that were taken");
    else if (verdict == VERDICT_NOT_OURS)
        node_start_over(node,
                        "another node has taken over recipients of this one, which was silent for too long");
    if (op->cookie == COOKIE_ERRAND || op->kind == OP_MARK) {
        errands_verdict(node, id, op, verdict);
        return;
    }
    if ((op->cookie & COOKIE_RUN) == 0) {
        verdict_flight(&node->worker[op->cookie >> 32], op, verdict);
        return;
    }
    campaign = campaign_find(node, id);
    HK_BUG_ON(campaign == NULL);
    if (op->cookie == COOKIE_CALL_OFF) {
        if (verdict == VERDICT_DONE)
            span_called_off(campaign, op->span);
        else if (!node->again)
            node_freeze(campaign, "the ledger does not let it be cancelled");
        return;
    }
    campaign_release(campaign, op->span, op->index, op->count, op->kind == OP_PUT_BACK ? op->due_s : 0);
}
