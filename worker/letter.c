/* letter.c - a message's way through the worker: descriptor, flight slot, rendered copy, outcome.
 *
 * The flight slot is what the master reads when we are dead: each phase is stored with release after everything it
 * promises. It holds the descriptor before the ring's tail moves, and the outcome before DESC_DONE is pushed.
 */
#include <string.h>

#include "hikyaku/classify.h"
#include "hikyaku/fault.h"
#include "worker.h"

static struct flight *letter_flight(const struct worker *w, const struct letter *letter)
{
    return region_flight(w->region, w->number, letter->slot);
}

_Static_assert(FLIGHT_DONE - FLIGHT_TAKEN == 4, "fault.h has a pair of points for each phase");

static void flight_store(struct flight *flight, enum flight_phase phase)
{
    fault_at_nth(SLOT_TAKEN_BEFORE, 2 * (phase - FLIGHT_TAKEN));
    atomic_store_explicit(&flight->phase, (uint32_t)phase, memory_order_release);
    fault_at_nth(SLOT_TAKEN_AFTER, 2 * (phase - FLIGHT_TAKEN));
}

/* Copies: memory goes round, a very large one is given back. */

static struct spare_copy *copy_lend(struct worker *w)
{
    struct spare_copy *spare = w->copies;
    if (spare == NULL)
        return calloc(1, sizeof *spare);
    w->copies = spare->next;
    w->copies_kept--;
    return spare;
}

static void copy_back(struct worker *w, struct spare_copy *spare)
{
    if (spare == NULL)
        return;
    if (w->copies_kept + 1 > WORKER_POOL_MAX || spare->copy.bytes > WORKER_COPY_KEPT_MAX) {
        copy_free(&spare->copy);
        free(spare);
        return;
    }
    spare->next = w->copies;
    w->copies = spare;
    w->copies_kept++;
}

void letter_copies_free(struct worker *w)
{
    while (w->copies != NULL) {
        struct spare_copy *spare = copy_lend(w);
        copy_free(&spare->copy);
        free(spare);
    }
}

/* Outcome. */

static void flight_reply(struct outcome_reply *to, const struct outcome *outcome, const struct login *login)
{
    const struct reply *reply = outcome->reply;
    const char *text = outcome->words != NULL ? outcome->words : "";
    size_t length = strlen(text);
    to->code = 0;
    memset(to->enhanced, 0, sizeof to->enhanced);
    to->log_phase = (uint8_t)outcome->log_phase;
    if (reply != NULL) {
        to->code = reply->code;
        memcpy(to->enhanced, reply->enhanced, sizeof to->enhanced);
        text = reply->text;
        length = reply->length;
    }
    to->text_length = (uint16_t)(length < sizeof to->text ? length : sizeof to->text);
    memcpy(to->text, text, to->text_length);
    login_mask(login, to->text, to->text_length);
    if (to->text_length < sizeof to->text)
        to->text[to->text_length] = '\0'; /* for whoever prints it; the length is what counts */
}

static void letter_log(const struct session *s, uint32_t slot, const struct flight *flight)
{
    const struct outcome_reply *reply = &flight->reply;
    char clean[256];
    if (log_threshold < LOG_LEVEL_DEBUG)
        return;
    (void)hk_clean_text(clean, sizeof clean, reply->text, reply->text_length);
    log_debug("connection %llu to %s, %s, slot %u: result %d, %u %s", s != NULL ? conn_serial(s) : 0ull,
              s != NULL ? s->host : "", log_phase_name((enum log_phase)reply->log_phase), slot,
              (int)flight->result, reply->code, clean);
}

void letter_drop(struct worker *w, struct letter *letter)
{
    copy_back(w, letter->copy);
    edition_unref(letter->edition);
    memset(letter, 0, sizeof *letter);
}

/* A relay may refuse us and not him: what a code says of a recipient does not count then. */
static void flight_result(struct flight *flight, const struct outcome *outcome, const struct session *s)
{
    const struct outcome_reply *reply = &flight->reply;
    flight->result = (uint8_t)outcome->result;
    if (s == NULL || s->route == NULL || outcome->reply == NULL ||
        (outcome->result != RESULT_DEFERRED && outcome->result != RESULT_BOUNCED))
        return;
    if (account_fault_of(s->route->profile == RELAY_SES, reply->code, reply->text, reply->text_length) !=
        ACCOUNT_FINE)
        flight->result = RESULT_REFUSED;
}

/* s: the session that tried, NULL where none did. */
static void letter_settle(struct worker *w, struct session *s, struct letter *letter,
                          const struct outcome *outcome)
{
    struct flight *flight = letter_flight(w, letter);
    struct desc done = flight->send;
    uint64_t now_ms = clock_now_ms();
    uint64_t sent_ms = letter->mail_ms != 0 ? letter->mail_ms : now_ms;
    flight_reply(&flight->reply, outcome, s != NULL ? s->login : NULL);
    flight_result(flight, outcome, s);
    letter_log(s, letter->slot, flight);
    flight->nth = letter->nth;
    flight->bytes = (uint32_t)letter->bytes;
    flight->queue_ms = (uint32_t)(sent_ms - letter->arrived_ms);
    flight->smtp_ms = (uint32_t)(now_ms > sent_ms ? now_ms - sent_ms : 0);
    flight_store(flight, FLIGHT_DONE);
    letter_drop(w, letter);
    if (outcome->result == RESULT_SENT)
        counter_add(w->counters, messages, 1);
    done.kind = DESC_DONE;
    worker_push(w, &done);
}

void letter_dot_out(struct worker *w, const struct letter *letter)
{
    atomic_store_explicit(&letter_flight(w, letter)->dot_out, 1, memory_order_release);
}

/* What the dialogue asks for. */

/* Its turn comes in conn_make_copies(). */
static void op_want_copy(void *context, struct letter *letter)
{
    struct session *s = context;
    (void)letter;
    worker_want_copy(s->worker, s);
}

static void op_commit(void *context, struct letter *letter)
{
    struct session *s = context;
    struct desc commit = letter_flight(s->worker, letter)->send;
    commit.kind = DESC_COMMIT;
    worker_push(s->worker, &commit);
}

static void op_flight(void *context, struct letter *letter, enum flight_phase phase)
{
    struct session *s = context;
    flight_store(letter_flight(s->worker, letter), phase);
}

static void op_settle(void *context, struct letter *letter, const struct outcome *outcome)
{
    struct session *s = context;
    letter_settle(s->worker, s, letter, outcome);
}

static void op_fail(void *context, enum log_phase log_phase, const struct reply *reply, const char *words)
{
    conn_note_failure(context, log_phase, reply, words);
}

static void op_bug(void *context, const char *words)
{
    struct session *s = context;
    log_error("connection %llu to %s: a fault of ours, contained: %s", conn_serial(s), s->host, words);
    counter_add(s->worker->counters, bugs_contained, 1);
}

const struct dialogue_ops worker_ops = {
    .prepare = op_want_copy,
    .sign = op_want_copy,
    .commit = op_commit,
    .flight = op_flight,
    .settle = op_settle,
    .fail = op_fail,
    .bug = op_bug,
};

/* Arrival. */

static void letter_return(struct worker *w, struct letter *letter, const char *words)
{
    letter_settle(w, NULL, letter, &(struct outcome){RESULT_RETURNED, LOG_PHASE_MAIL, NULL, words});
}

static struct letter *letter_new(struct worker *w, const struct desc *desc)
{
    const struct region_sizes *sizes = &w->region->header->sizes;
    HK_BUG_ON(desc->slot >= sizes->flight_slots || desc->conn >= sizes->conn_slots);
    struct letter *letter = &w->letter[desc->slot];
    HK_BUG_ON(letter->used);
    *letter = (struct letter){.slot = desc->slot, .conn = desc->conn, .used = true, .arrived_ms = w->now_ms};
    struct flight *flight = letter_flight(w, letter);
    flight->send = *desc;
    flight->conn = desc->conn;
    flight->result = RESULT_NONE;
    atomic_store_explicit(&flight->dot_out, 0, memory_order_relaxed); /* the phase below publishes it */
    flight->nth = 0;
    flight->bytes = flight->queue_ms = flight->smtp_ms = 0;
    flight->reply.code = 0;
    flight->reply.text_length = 0;
    flight_store(flight, FLIGHT_TAKEN);
    return letter;
}

void letter_take(struct worker *w, const struct desc *on_ring)
{
    const struct desc desc = *on_ring;
    struct letter *letter = letter_new(w, &desc);
    struct session *s = &w->session[desc.conn];
    const char *fault = NULL;
    ring_next(w->down);
    if (w->draining || !conn_takes_letters(s)) {
        letter_return(w, letter, NULL);
        return;
    }
    struct edition *edition = edition_get(w->shelf, desc.campaign, w->now_ms, &fault);
    if (edition == NULL) {
        letter_return(w, letter, fault);
        return;
    }
    letter->edition = edition;
    conn_send(s, letter);
}

/* Copies made. */

const char *letter_render(const struct session *s, struct letter *letter)
{
    struct worker *w = s->worker;
    struct edition *edition = letter->edition;
    const struct desc *send = &letter_flight(w, letter)->send;
    struct segment_record record;
    if (send->index >= segment_count(edition->segment) ||
        segment_record(edition->segment, send->index, &record) != 0)
        return "the segment is damaged";
    struct spare_copy *spare = copy_lend(w);
    if (spare == NULL)
        return hk_strerror(HK_ENOMEM);
    letter->copy = spare;
    int error =
        message_render(edition->message, &record, send->segment, send->index, clock_wall_us(), &spare->copy);
    if (error == 0 && s->route != NULL && s->route->profile == RELAY_SES)
        error = copy_mark_ses(&spare->copy, s->route->configuration_set);
    if (error != 0)
        return hk_strerror(error);
    letter->rcpt = record.wire;
    letter->rcpt_length = record.wire_length;
    letter->smtputf8 = record.smtputf8;
    letter->legacy = address_is_legacy(record.wire, record.wire_length);
    letter->mail_from = spare->copy.mail_from;
    letter->iov = spare->copy.iov;
    letter->iov_count = spare->copy.iov_count;
    letter->bytes = spare->copy.bytes;
    letter->complete = !spare->copy.to_sign;
    return NULL;
}

const char *letter_sign(struct letter *letter)
{
    const struct edition *edition = letter->edition;
    struct spare_copy *spare = letter->copy;
    int error = message_sign(edition->message, &spare->copy);
    return error != 0 ? hk_strerror(error) : NULL;
}
