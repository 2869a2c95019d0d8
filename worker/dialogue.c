/* dialogue.c - see dialogue.h. The order of phases:
 *
 *   BANNER EHLO [HELO] [STARTTLS TLS EHLO] [AUTH [AUTH_USER AUTH_PASSWORD]] IDLE { MAIL RCPT DATA DOT } QUIT
 *
 * MAIL refused with RCPT and DATA already written goes by SKIP and VOID, RCPT refused by VOID; a DATA that is
 * granted after that gets a lone dot (LONE, RFC 2920 3.1), one that is refused leaves a transaction open at many
 * servers, so RSET goes in front of the next MAIL, in the same write. An address that may have to be written twice
 * (quoted, then as it is) has DATA wait for its RCPT, so that both go into one transaction. 421 may come at any time and ends the
 * session. A reply nobody asked for, and one that no server in step could give, end it too: what was taken for
 * an answer to one command could be the answer to another, and mail would be lost.
 */
#include "dialogue.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

static void dialogue_settle(struct dialogue *d, struct letter *letter, const struct outcome *outcome)
{
    if (d->in == letter)
        d->in = NULL;
    if (d->out == letter) {
        d->out = NULL;
        d->step = STEP_NONE;
    }
    d->ops->settle(d->context, letter, outcome);
}

static void settle_words(struct dialogue *d, struct letter *letter, enum flight_result result,
                         enum log_phase phase, const char *words)
{
    dialogue_settle(d, letter, &(struct outcome){result, phase, NULL, words});
}

/* No attempt was made that counts. Without words: those mark a message that cannot be made (dialogue_unprepared). */
static void settle_return(struct dialogue *d, struct letter *letter)
{
    settle_words(d, letter, RESULT_RETURNED, dialogue_log_phase(d), NULL);
}

static void settle_reply(struct dialogue *d, struct letter *letter, enum flight_result result,
                         const struct reply *reply)
{
    dialogue_settle(d, letter, &(struct outcome){result, dialogue_log_phase(d), reply, NULL});
}

static struct letter *queue_pop(struct dialogue *d)
{
    struct letter *letter = d->head;
    d->head = letter->next;
    if (d->head == NULL)
        d->tail = NULL;
    letter->next = NULL;
    return letter;
}

void dialogue_drain(struct dialogue *d)
{
    while (d->head != NULL)
        settle_return(d, queue_pop(d));
}

/* The end of a session that was ready: what is left behind `in` was never answered, so it was never tried. */
static void return_rest(struct dialogue *d)
{
    if (d->in != NULL)
        settle_return(d, d->in);
    if (d->out != NULL)
        settle_return(d, d->out);
    dialogue_drain(d);
}

static enum dialogue_verdict dialogue_enter(struct dialogue *d, enum dialogue_phase phase)
{
    bool first = phase == DIALOGUE_IDLE && !d->opened;
    d->phase = phase;
    if (phase == DIALOGUE_OVER) {
        if (!d->opened)
            return DIALOGUE_FAILED;
        return_rest(d);
        return DIALOGUE_ENDED;
    }
    if (phase == DIALOGUE_TLS)
        return DIALOGUE_START_TLS;
    if (first)
        d->opened = true;
    return first ? DIALOGUE_OPENED : DIALOGUE_GO_ON;
}

static enum dialogue_phase contain_bug(struct dialogue *d, const char *words)
{
    d->ops->bug(d->context, words);
    if (!d->opened)
        d->ops->fail(d->context, dialogue_log_phase(d), NULL, words);
    return DIALOGUE_OVER;
}

static enum dialogue_phase put_next(struct dialogue *d, bool put, enum dialogue_phase next)
{
    if (!put)
        return contain_bug(d, "no room for a command");
    d->unanswered++;
    return next;
}

/* A command is on its way, and with it one more reply to wait for. */
#define dialogue_put(d, next, ...) put_next((d), outbox_put((d)->box, __VA_ARGS__), (next))

static bool reply_is(const struct reply *reply, int first_digit)
{
    return reply->code / 100 == first_digit;
}

static bool reply_refuses(const struct reply *reply)
{
    return reply_is(reply, 4) || reply_is(reply, 5);
}

static enum dialogue_phase fail(struct dialogue *d, const struct reply *reply, const char *words)
{
    d->ops->fail(d->context, dialogue_log_phase(d), reply, words);
    return DIALOGUE_OVER;
}

static enum dialogue_phase fail_reply(struct dialogue *d, const struct reply *reply)
{
    if (reply_refuses(reply))
        return fail(d, reply, NULL);
    return fail(d, NULL, "the server's reply makes no sense here");
}

/* Before the dot nothing can have been delivered, after it nobody knows. */
static enum dialogue_phase out_of_step(struct dialogue *d, const struct reply *reply)
{
    if (!d->opened)
        return fail_reply(d, reply);
    d->broken_sync = d->broken_sync || d->pipelining;
    if (d->in == NULL)
        return fail_reply(d, reply);
    if (d->in->dot_out)
        settle_words(d, d->in, RESULT_UNKNOWN, LOG_PHASE_DOT, "senseless reply after the message");
    else if (reply_refuses(reply))
        settle_reply(d, d->in, RESULT_DEFERRED, reply);
    else
        settle_words(d, d->in, RESULT_DEFERRED, dialogue_log_phase(d), "senseless reply: out of step");
    return DIALOGUE_OVER;
}

/* Opening. */

static enum dialogue_phase begin_auth(struct dialogue *d)
{
    if (d->terms->auth_plain == NULL)
        return DIALOGUE_IDLE;
    d->phase = DIALOGUE_AUTH; /* what a failure from here on is about */
    if (!d->secured)
        return fail(d, NULL, "no TLS, so no password is sent");
    if (d->offer.auth_plain)
        return dialogue_put(d, DIALOGUE_AUTH, "AUTH PLAIN %s\r\n", d->terms->auth_plain);
    if (d->offer.auth_login)
        return dialogue_put(d, DIALOGUE_AUTH_USER, "AUTH LOGIN\r\n");
    return fail(d, NULL, "the relay offers neither AUTH PLAIN nor AUTH LOGIN");
}

static enum dialogue_phase greeted(struct dialogue *d)
{
    d->pipelining = d->offer.pipelining && !d->terms->no_pipelining;
    if (d->secured || d->terms->tls == TLS_NONE)
        return begin_auth(d);
    if (d->offer.starttls)
        return dialogue_put(d, DIALOGUE_STARTTLS, "STARTTLS\r\n");
    if (d->terms->tls == TLS_OPPORTUNISTIC)
        return begin_auth(d);
    d->phase = DIALOGUE_STARTTLS;
    return fail(d, NULL, "TLS is required and STARTTLS is not offered");
}

static enum dialogue_phase on_banner(struct dialogue *d, const struct reply *reply)
{
    if (!reply_is(reply, 2))
        return fail_reply(d, reply);
    return dialogue_put(d, DIALOGUE_EHLO, "EHLO %s\r\n", d->terms->hostname);
}

static enum dialogue_phase on_ehlo(struct dialogue *d, const struct reply *reply)
{
    if (reply_is(reply, 5) && reply->code != 521) /* RFC 7504: no mail here, however it is asked */
        return dialogue_put(d, DIALOGUE_HELO, "HELO %s\r\n", d->terms->hostname);
    if (!reply_is(reply, 2))
        return fail_reply(d, reply);
    ehlo_offer_parse(reply, &d->offer);
    return greeted(d);
}

static enum dialogue_phase on_helo(struct dialogue *d, const struct reply *reply)
{
    if (!reply_is(reply, 2))
        return fail_reply(d, reply);
    memset(&d->offer, 0, sizeof d->offer);
    return greeted(d);
}

static enum dialogue_phase on_starttls(struct dialogue *d, const struct reply *reply)
{
    return reply_is(reply, 2) ? DIALOGUE_TLS : fail_reply(d, reply);
}

static enum dialogue_phase on_auth(struct dialogue *d, const struct reply *reply)
{
    return reply_is(reply, 2) ? DIALOGUE_IDLE : fail_reply(d, reply);
}

static enum dialogue_phase on_auth_user(struct dialogue *d, const struct reply *reply)
{
    if (!reply_is(reply, 3))
        return fail_reply(d, reply);
    return dialogue_put(d, DIALOGUE_AUTH_PASSWORD, "%s\r\n", d->terms->auth_user);
}

static enum dialogue_phase on_auth_password(struct dialogue *d, const struct reply *reply)
{
    if (!reply_is(reply, 3))
        return fail_reply(d, reply);
    return dialogue_put(d, DIALOGUE_AUTH, "%s\r\n", d->terms->auth_password);
}

/* Transactions. */

/* The transaction of `in` is over: go on with the one that is already on its way, if any. */
static enum dialogue_phase next_transaction(struct dialogue *d)
{
    if (d->stopping)
        return DIALOGUE_OVER;
    d->in = d->out;
    if (d->quit_put)
        return DIALOGUE_QUIT;
    return d->in != NULL ? DIALOGUE_MAIL : DIALOGUE_IDLE;
}

/* "Bad sequence of commands" for a command that was in sequence: the receiver lost count of our pipeline. */
static bool is_out_of_sequence(const struct dialogue *d, const struct reply *reply)
{
    return d->pipelining && reply->code == 503;
}

static bool text_is(const struct reply *reply, const char *words)
{
    size_t length = reply->length;
    while (length > 0 && strchr(" .\r\n", reply->text[length - 1]) != NULL)
        length--;
    return length == strlen(words) && strncasecmp(reply->text, words, length) == 0;
}

/* A 5xx to RCPT that is about how many there were. RFC 5321 4.5.3.1.10: 552 is an old "too many recipients", to be
 * read as 452. A bare 554 behind messages that were taken is how docomo counts the recipients of a session. */
static bool means_too_many(const struct dialogue *d, const struct reply *reply)
{
    if (d->phase != DIALOGUE_RCPT)
        return false;
    return reply->code == 552 ||
           (reply->code == 554 && d->in->nth > 1 && text_is(reply, "Transaction failed"));
}

static void settle_refused(struct dialogue *d, const struct reply *reply)
{
    bool soft = reply_is(reply, 4) || means_too_many(d, reply);
    settle_reply(d, d->in, soft ? RESULT_DEFERRED : RESULT_BOUNCED, reply);
}

static enum dialogue_phase on_mail(struct dialogue *d, const struct reply *reply)
{
    if (reply_is(reply, 2))
        return DIALOGUE_RCPT;
    if (!reply_refuses(reply) || is_out_of_sequence(d, reply))
        return out_of_step(d, reply);
    settle_refused(d, reply);
    return d->pipelining ? DIALOGUE_SKIP : next_transaction(d);
}

static enum dialogue_phase on_skip(struct dialogue *d, const struct reply *reply)
{
    if (!reply_refuses(reply))
        return out_of_step(d, reply);
    return d->data_put ? DIALOGUE_VOID : next_transaction(d);
}

static bool is_quoted(const struct dialogue *d, const struct letter *letter)
{
    return letter->legacy && d->terms->local_part == LOCAL_PART_QUOTE && !letter->raw;
}

#define TEXT(literal)                  \
    {                                  \
        (literal), sizeof(literal) - 1 \
    }

static bool put_rcpt(struct dialogue *d, const struct letter *letter)
{
    const char *at = memrchr(letter->rcpt, '@', letter->rcpt_length);
    int local = at != NULL ? (int)(at - letter->rcpt) : 0;
    if (is_quoted(d, letter))
        return outbox_put(d->box, "RCPT TO:<\"%.*s\"%.*s>\r\n", local, letter->rcpt,
                          (int)letter->rcpt_length - local, letter->rcpt + local);
    const struct outbox_text line[] = {TEXT("RCPT TO:<"), {letter->rcpt, letter->rcpt_length}, TEXT(">\r\n")};
    return outbox_put_texts(d->box, line, 3);
}

/* Does the server say that it cannot read the address, rather than that nobody has it? */
static bool refuses_syntax(const struct reply *reply)
{
    if (reply->code == 501 || reply->code == 553)
        return true;
    return reply->code == 550 && ((reply->enhanced[1] == 1 && reply->enhanced[2] == 3) ||
                                  strcasestr(reply->text, "syntax") != NULL);
}

/* Only when nothing else is missing: what was committed and did not leave is unknown where a machine dies. */
static void ask_commit(struct dialogue *d, struct letter *letter)
{
    if (!letter->taken || !letter->complete)
        return;
    letter->asked = true;
    letter->asked_ms = d->now_ms;
    d->ops->commit(d->context, letter);
}

static enum dialogue_phase on_rcpt(struct dialogue *d, const struct reply *reply)
{
    if (reply_is(reply, 2)) {
        d->in->taken = true;
        ask_commit(d, d->in);
        return DIALOGUE_DATA;
    }
    if (!reply_refuses(reply) || is_out_of_sequence(d, reply))
        return out_of_step(d, reply);
    if (is_quoted(d, d->in) && refuses_syntax(reply)) {
        d->in->raw = true;
        return put_next(d, put_rcpt(d, d->in), DIALOGUE_RCPT);
    }
    settle_refused(d, reply);
    if (d->data_put)
        return DIALOGUE_VOID;
    d->reset_due = true;
    return next_transaction(d);
}

static enum dialogue_phase on_data(struct dialogue *d, const struct reply *reply)
{
    if (reply_is(reply, 3))
        return DIALOGUE_DOT;
    if (!reply_refuses(reply) || is_out_of_sequence(d, reply))
        return out_of_step(d, reply);
    settle_refused(d, reply);
    d->reset_due = true;
    return next_transaction(d);
}

static enum dialogue_phase on_void(struct dialogue *d, const struct reply *reply)
{
    if (reply_is(reply, 3))
        return dialogue_put(d, DIALOGUE_LONE, ".\r\n");
    if (!reply_refuses(reply))
        return out_of_step(d, reply);
    d->reset_due = true;
    return next_transaction(d);
}

static enum dialogue_phase on_lone(struct dialogue *d, const struct reply *reply)
{
    return reply_is(reply, 3) ? out_of_step(d, reply) : next_transaction(d);
}

static enum dialogue_phase on_dot(struct dialogue *d, const struct reply *reply)
{
    if (reply_is(reply, 2))
        settle_reply(d, d->in, RESULT_SENT, reply);
    else if (reply_refuses(reply))
        settle_refused(d, reply);
    else
        return out_of_step(d, reply);
    return next_transaction(d);
}

static enum dialogue_phase on_rset(struct dialogue *d, const struct reply *reply)
{
    return reply_is(reply, 2) ? next_transaction(d) : out_of_step(d, reply);
}

static enum dialogue_phase on_quit(struct dialogue *d, const struct reply *reply)
{
    (void)d;
    (void)reply;
    return DIALOGUE_OVER;
}

static enum dialogue_phase on_nothing(struct dialogue *d, const struct reply *reply)
{
    return out_of_step(d, reply);
}

static const struct dialogue_row {
    size_t timeout_at; /* of the limit in struct config */
    enum log_phase log_phase;
    const char *words;
    enum dialogue_phase (*on_reply)(struct dialogue *d, const struct reply *reply);
} dialogue_rows[] = {
#define DIALOGUE_ROW(name, timeout, log, words, handler) \
    [DIALOGUE_##name] = {offsetof(struct config, smtp.timeout), LOG_PHASE_##log, words, handler},
    DIALOGUE_PHASES(DIALOGUE_ROW)
#undef DIALOGUE_ROW
};
_Static_assert(sizeof dialogue_rows / sizeof *dialogue_rows == DIALOGUE_PHASE_COUNT, "a phase has no row");

const char *dialogue_words(const struct dialogue *d)
{
    return dialogue_rows[d->phase].words;
}

/* The last byte of the message is still with us: whatever happens now happens to DATA. */
static bool is_in_content(const struct dialogue *d)
{
    return d->phase == DIALOGUE_DOT && d->in != NULL && !d->in->dot_out;
}

enum log_phase dialogue_log_phase(const struct dialogue *d)
{
    return is_in_content(d) ? LOG_PHASE_DATA : dialogue_rows[d->phase].log_phase;
}

bool dialogue_is_closing(const struct dialogue *d)
{
    return d->quit_wanted || d->stopping || d->phase == DIALOGUE_QUIT || d->phase == DIALOGUE_OVER;
}

void dialogue_begin(struct dialogue *d, const struct dialogue_terms *terms, struct outbox *box)
{
    struct dialogue fresh = {.terms = terms,
                             .ops = d->ops,
                             .context = d->context,
                             .box = box,
                             .now_ms = d->now_ms,
                             .since_ms = d->now_ms,
                             .phase = terms->implicit_tls ? DIALOGUE_TLS : DIALOGUE_BANNER,
                             .unanswered = 1,
                             .quit_wanted = d->quit_wanted,
                             .head = d->head,
                             .tail = d->tail};
    *d = fresh;
}

enum dialogue_verdict dialogue_secured(struct dialogue *d)
{
    d->secured = true;
    d->since_ms = d->now_ms;
    if (d->terms->implicit_tls)
        return dialogue_enter(d, DIALOGUE_BANNER);
    return dialogue_enter(d, dialogue_put(d, DIALOGUE_EHLO, "EHLO %s\r\n", d->terms->hostname));
}

/* "Service not available, closing": about us, not about the recipient, whose turn comes again. */
static enum dialogue_phase on_421(struct dialogue *d, const struct reply *reply)
{
    if (d->in == NULL)
        return fail_reply(d, reply);
    settle_reply(d, d->in, RESULT_DEFERRED, reply);
    return DIALOGUE_OVER;
}

/* A refusal before the message was complete: it stands, but there is no way to end this DATA without sending. */
static enum dialogue_phase on_early(struct dialogue *d, const struct reply *reply)
{
    if (!is_in_content(d) || !reply_refuses(reply))
        return out_of_step(d, reply);
    settle_refused(d, reply);
    return DIALOGUE_OVER;
}

enum dialogue_verdict dialogue_reply(struct dialogue *d, const struct reply *reply)
{
    bool early = d->unanswered == 0 || is_in_content(d);
    if (d->phase == DIALOGUE_OVER)
        return d->opened ? DIALOGUE_ENDED : DIALOGUE_FAILED;
    d->since_ms = d->now_ms;
    if (d->unanswered > 0)
        d->unanswered--;
    if (reply->code == 421 && d->phase != DIALOGUE_QUIT)
        return dialogue_enter(d, on_421(d, reply));
    if (early)
        return dialogue_enter(d, on_early(d, reply));
    return dialogue_enter(d, dialogue_rows[d->phase].on_reply(d, reply));
}

static enum dialogue_verdict dialogue_break(struct dialogue *d, const char *words, bool closed)
{
    struct letter *in = d->in;
    if (d->phase == DIALOGUE_OVER)
        return d->opened ? DIALOGUE_ENDED : DIALOGUE_FAILED;
    if (!d->opened)
        return dialogue_enter(d, fail(d, NULL, words));
    if (in == NULL) /* between messages that is idleness; before the first it is a receiver that takes none */
        return dialogue_enter(d, d->nth == 0 && d->phase != DIALOGUE_QUIT ? fail(d, NULL, words)
                                                                          : DIALOGUE_OVER);
    if (in->dot_out)
        settle_words(d, in, RESULT_UNKNOWN, LOG_PHASE_DOT, words);
    else if (closed && d->phase == DIALOGUE_MAIL && in->nth > 1)
        settle_return(d, in); /* closed for idleness: no attempt */
    else
        settle_words(d, in, RESULT_DEFERRED, dialogue_log_phase(d), words);
    return dialogue_enter(d, DIALOGUE_OVER);
}

enum dialogue_verdict dialogue_lost(struct dialogue *d, const char *words)
{
    return dialogue_break(d, words, true);
}

enum dialogue_verdict dialogue_garbled(struct dialogue *d, const char *words)
{
    d->broken_sync = d->broken_sync || d->pipelining;
    return dialogue_break(d, words, false);
}

void dialogue_queue(struct dialogue *d, struct letter *letter)
{
    letter->next = NULL;
    if (d->tail != NULL)
        d->tail->next = letter;
    else
        d->head = letter;
    d->tail = letter;
}

void dialogue_prepared(struct dialogue *d, struct letter *letter)
{
    HK_BUG_ON(letter != d->head);
    letter->ready = true;
}

void dialogue_unprepared(struct dialogue *d, struct letter *letter, const char *words)
{
    HK_BUG_ON(letter != d->head);
    settle_words(d, queue_pop(d), RESULT_RETURNED, LOG_PHASE_MAIL, words);
}

enum dialogue_verdict dialogue_signed(struct dialogue *d, struct letter *letter, const char *fault)
{
    HK_BUG_ON(letter != d->out || letter->complete);
    if (fault != NULL) {
        settle_words(d, letter, RESULT_RETURNED, LOG_PHASE_MAIL, fault);
        return dialogue_stop(d);
    }
    letter->complete = true;
    ask_commit(d, letter);
    return DIALOGUE_GO_ON;
}

void dialogue_grant(struct dialogue *d, struct letter *letter)
{
    if (letter == d->in && letter->asked)
        letter->granted = true;
}

/* With RCPT accepted, a dot after DATA would deliver: only a hard close keeps the message back. */
enum dialogue_verdict dialogue_deny(struct dialogue *d, struct letter *letter)
{
    if (letter != d->in || !letter->asked || letter->granted)
        return DIALOGUE_GO_ON;
    settle_words(d, letter, RESULT_DENIED, dialogue_log_phase(d), "the commit was denied");
    return dialogue_enter(d, DIALOGUE_OVER);
}

/* Sending. */

static bool text_is_clean(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

/* What no attempt could change is told before MAIL. NULL: it can go. */
static const char *letter_obstacle(struct dialogue *d, const struct letter *letter)
{
    if (!text_is_clean(letter->rcpt, letter->rcpt_length) ||
        !text_is_clean(letter->mail_from, strlen(letter->mail_from))) {
        d->ops->bug(d->context, "an address holds a control character");
        return "the address holds a control character";
    }
    if (letter->smtputf8 && !d->offer.smtputf8)
        return "receiver does not offer SMTPUTF8";
    if (letter->legacy && d->terms->local_part == LOCAL_PART_REJECT)
        return "the local part breaks RFC 5321 (a dot too many), and the provider's local_part is reject";
    if (d->offer.size_offered && d->offer.size_max > 0 && letter->bytes > d->offer.size_max)
        return "the message is larger than the receiver's SIZE";
    return NULL;
}

static bool put_mail(struct dialogue *d, struct letter *letter)
{
    char size[32] = "", *size_end = size;
    if (d->offer.size_offered) {
        size_end = hk_put(size, size + sizeof size, " SIZE=");
        size_end = hk_put_number(size_end, size + sizeof size, letter->bytes);
    }
    d->ops->flight(d->context, letter, FLIGHT_ENVELOPE);
    letter->nth = ++d->nth;
    letter->mail_ms = d->now_ms;
    /* Every copy is 7-bit (RFC 6152 needs no BODY then), except for the header of one that needs SMTPUTF8. */
    const char *utf8 = !letter->smtputf8       ? ""
                       : d->offer.eightbitmime ? " BODY=8BITMIME SMTPUTF8"
                                               : " SMTPUTF8";
    const struct outbox_text line[] = {TEXT("MAIL FROM:<"),
                                       {letter->mail_from, strlen(letter->mail_from)},
                                       TEXT(">"),
                                       {size, (size_t)(size_end - size)},
                                       {utf8, strlen(utf8)},
                                       TEXT("\r\n")};
    if (!outbox_put_texts(d->box, line, 6))
        return false;
    d->data_put = false;
    d->unanswered++;
    d->out = letter;
    d->step = STEP_RCPT;
    if (!letter->complete)
        d->ops->sign(d->context, letter);
    if (d->phase == DIALOGUE_IDLE) {
        d->in = letter;
        d->phase = DIALOGUE_MAIL;
        d->since_ms = d->now_ms;
    }
    return true;
}

static bool put_reset(struct dialogue *d)
{
    if (!outbox_put(d->box, "RSET\r\n"))
        return false;
    d->unanswered++;
    d->reset_due = false;
    d->phase = DIALOGUE_RSET; /* RSET is only ever due when nothing is unanswered */
    d->since_ms = d->now_ms;
    return true;
}

/* May the next MAIL go behind what is unanswered? */
static bool has_room_for_mail(const struct dialogue *d)
{
    if (d->out != NULL || d->stopping || d->quit_put)
        return false;
    if (d->phase == DIALOGUE_IDLE)
        return true;
    if (!d->pipelining)
        return false;
    return d->phase == DIALOGUE_RSET || d->phase == DIALOGUE_LONE ||
           (d->phase == DIALOGUE_DOT && d->in->dot_put);
}

enum pump { PUMP_DONE, PUMP_AGAIN, PUMP_BUG };

static enum pump pump_next_letter(struct dialogue *d)
{
    if (d->head == NULL || !has_room_for_mail(d))
        return PUMP_DONE;
    if (!d->head->ready)
        return PUMP_DONE;
    if (d->reset_due)
        return put_reset(d) ? PUMP_AGAIN : PUMP_BUG;
    struct letter *letter = queue_pop(d);
    const char *obstacle = letter_obstacle(d, letter);
    if (obstacle != NULL) {
        settle_words(d, letter, RESULT_BOUNCED, LOG_PHASE_MAIL, obstacle);
        return PUMP_AGAIN;
    }
    if (!put_mail(d, letter)) {
        settle_return(d, letter);
        return PUMP_BUG;
    }
    return PUMP_AGAIN;
}

static bool put_step(struct dialogue *d, bool put, enum dialogue_step next)
{
    d->unanswered = (uint8_t)(d->unanswered + (put ? 1 : 0));
    d->step = put ? next : d->step;
    return put;
}

/* A small body waits for the grant, so that it, its dot and the next envelope leave in one write: the dot has to wait anyway,
 * and a write costs more than such a body does. A large one goes ahead: it is under way meanwhile. */
static bool is_held(const struct letter *letter)
{
    return !letter->granted && letter->bytes <= DIALOGUE_HELD_BYTES;
}

static enum pump pump_step(struct dialogue *d)
{
    static const struct outbox_text data = TEXT("DATA\r\n");
    struct letter *letter = d->out;
    bool turn = d->pipelining || d->unanswered == 0;
    switch (d->step) {
    case STEP_RCPT:
        if (!turn)
            return PUMP_DONE;
        return put_step(d, put_rcpt(d, letter), STEP_DATA) ? PUMP_AGAIN : PUMP_BUG;
    case STEP_DATA:
        if (!turn || (d->unanswered > 0 && is_quoted(d, letter)))
            return PUMP_DONE;
        d->data_put = true;
        return put_step(d, outbox_put_texts(d->box, &data, 1), STEP_BODY) ? PUMP_AGAIN : PUMP_BUG;
    case STEP_BODY:
        if (d->phase != DIALOGUE_DOT || d->in != letter || !letter->complete || is_held(letter) ||
            !outbox_put_body(d->box, letter->iov, letter->iov_count, letter->bytes))
            return PUMP_DONE;
        d->ops->flight(d->context, letter, FLIGHT_CONTENT);
        d->step = STEP_DOT;
        return PUMP_AGAIN;
    case STEP_DOT:
        if (!letter->granted || d->stopping)
            return PUMP_DONE;
        if (!outbox_put_dot(d->box))
            return PUMP_BUG;
        d->unanswered++;
        letter->dot_put = true;
        d->out = NULL;
        d->step = STEP_NONE;
        return PUMP_AGAIN;
    case STEP_NONE:
        break;
    }
    return PUMP_BUG;
}

static void pump_prepare(struct dialogue *d)
{
    if (d->head == NULL || d->head->ready || d->head->preparing || d->stopping)
        return;
    d->head->preparing = true;
    d->ops->prepare(d->context, d->head);
}

/* Nothing is left to say but QUIT. RFC 2920 3.1: it may stand in one group with the dot. */
static enum dialogue_verdict pump_quit(struct dialogue *d)
{
    bool behind_dot = d->pipelining && d->phase == DIALOGUE_DOT && d->in->dot_put && !d->stopping;
    if (!d->quit_wanted || d->quit_put || d->head != NULL || d->out != NULL)
        return DIALOGUE_GO_ON;
    if (d->phase == DIALOGUE_IDLE) {
        d->since_ms = d->now_ms;
        return dialogue_enter(d, dialogue_put(d, DIALOGUE_QUIT, "QUIT\r\n"));
    }
    if (!behind_dot)
        return DIALOGUE_GO_ON;
    d->quit_put = true;
    return dialogue_enter(d, dialogue_put(d, DIALOGUE_DOT, "QUIT\r\n"));
}

enum dialogue_verdict dialogue_pump(struct dialogue *d)
{
    enum pump result = PUMP_AGAIN;
    if (!d->opened || d->phase == DIALOGUE_QUIT || d->phase == DIALOGUE_OVER)
        return DIALOGUE_GO_ON;
    while (result == PUMP_AGAIN)
        result = d->out != NULL ? pump_step(d) : pump_next_letter(d);
    if (result == PUMP_BUG)
        return dialogue_enter(d, contain_bug(d, "no room for a command"));
    pump_prepare(d);
    return pump_quit(d);
}

void dialogue_dot_leaves(struct dialogue *d)
{
    HK_BUG_ON(d->in == NULL || !d->in->dot_put);
    d->ops->flight(d->context, d->in, FLIGHT_DOT);
}

void dialogue_wrote(struct dialogue *d, size_t bytes, bool with_dot)
{
    if (bytes > 0)
        d->since_ms = d->now_ms;
    bool gone = outbox_consume(d->box, bytes);
    if (gone)
        d->in->dot_out = true;
    else if (with_dot)
        d->ops->flight(d->context, d->in, FLIGHT_CONTENT); /* the write came short: the dot is still here */
}

void dialogue_quit(struct dialogue *d)
{
    d->quit_wanted = true;
}

enum dialogue_verdict dialogue_stop(struct dialogue *d)
{
    d->stopping = true;
    dialogue_drain(d);
    if (d->out != NULL && d->out != d->in)
        settle_return(d, d->out);
    if (d->phase == DIALOGUE_DOT && d->in != NULL && d->in->dot_out)
        return DIALOGUE_GO_ON;
    if (d->phase == DIALOGUE_OVER)
        return d->opened ? DIALOGUE_ENDED : DIALOGUE_FAILED;
    if (!d->opened)
        d->ops->fail(d->context, dialogue_log_phase(d), NULL, "the master is gone");
    return dialogue_enter(d, DIALOGUE_OVER);
}

/* A grant that does not come has a limit of its own, and while nothing is left to write it is the only one: our own signature
 * comes. */
static uint64_t grant_deadline_ms(const struct dialogue *d)
{
    if (d->in == NULL || !d->in->asked || d->in->granted)
        return UINT64_MAX;
    return d->in->asked_ms + DIALOGUE_GRANT_MS;
}

uint64_t dialogue_deadline_ms(const struct dialogue *d)
{
    uint32_t timeout_ms;
    uint64_t grant_ms = grant_deadline_ms(d);
    if (is_in_content(d) && outbox_is_empty(d->box))
        return grant_ms;
    if (is_in_content(d))
        timeout_ms = d->terms->config->smtp.block_ms;
    else
        memcpy(&timeout_ms, (const char *)d->terms->config + dialogue_rows[d->phase].timeout_at,
               sizeof timeout_ms);
    if (d->phase == DIALOGUE_IDLE && d->head != NULL)
        return UINT64_MAX; /* waiting for our own rendering */
    uint64_t deadline_ms = d->since_ms + timeout_ms;
    return grant_ms < deadline_ms ? grant_ms : deadline_ms;
}

enum dialogue_verdict dialogue_expired(struct dialogue *d)
{
    char words[128];
    if (d->phase == DIALOGUE_IDLE) {
        d->quit_wanted = true;
        return dialogue_pump(d);
    }
    if (d->now_ms >= grant_deadline_ms(d)) {
        settle_return(d, d->in);
        return dialogue_enter(d, DIALOGUE_OVER);
    }
    (void)snprintf(words, sizeof words, "timed out %s",
                   is_in_content(d) ? "sending the message" : dialogue_words(d));
    return dialogue_break(d, words, false);
}
