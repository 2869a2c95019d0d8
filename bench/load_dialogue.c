/* load_dialogue.c - what load says to a server and makes of the replies (RFC 5321, 2920, 3207, 4954). No socket in it.
 *
 * With PIPELINING the envelope goes out in one write, and its replies are read one by one; without, each command waits
 * for the reply before it. `phase` names the reply that is awaited. Every path through a message ends in exactly one
 * load_settled().
 */
#include <string.h>

#include "load.h"

#define SEND_TEXT(c, text, now_us)                      \
    do {                                                \
        load_conn_queue((c), (text), sizeof(text) - 1); \
        load_conn_send((c), (now_us));                  \
    } while (0)

static bool is_ok(const struct reply *r)
{
    return r->code >= 200 && r->code < 300;
}

size_t load_dialogue_head_size(const struct load *load)
{
    const struct load_options *o = &load->options;
    size_t envelope = strlen(o->from) + 80 + o->rcpts * (load->rcpt.longest + 16);
    size_t header = LOAD_HEADER_MAX + 8 + strlen(o->from) + load->rcpt.longest + strlen(o->helo);

    return envelope > header ? envelope : header;
}

static char *put(char *at, const char *text)
{
    while (*text != '\0')
        *at++ = *text++;
    return at;
}

static char *rcpt_put(const struct load_conn *c, uint32_t which, char *at)
{
    return load_address_put(&c->load->rcpt, c->number * c->load->options.rcpts + which, at);
}

/* The command whose reply `phase` waits for. */
static char *command_put(const struct load_conn *c, enum load_phase phase, uint32_t rcpt, char *at)
{
    const struct load *load = c->load;

    switch (phase) {
    case LOAD_RSET:
        return put(at, "RSET\r\n");
    case LOAD_MAIL:
        at = put(put(put(at, "MAIL FROM:<"), load->options.from), ">");
        if (c->size_offered)
            at = load_number_put(c->size, put(at, " SIZE="));
        if (load->text.eight_bit)
            at = put(at, " BODY=8BITMIME");
        return put(at, "\r\n");
    case LOAD_RCPT:
        return put(rcpt_put(c, rcpt, put(at, "RCPT TO:<")), ">\r\n");
    default:
        return put(at, "DATA\r\n");
    }
}

static void command_send(struct load_conn *c, enum load_phase phase, uint64_t now_us)
{
    char *end = command_put(c, phase, c->rcpt_answered, c->head);

    load_conn_phase(c, phase, now_us);
    load_conn_queue(c, c->head, (size_t)(end - c->head));
    load_conn_send(c, now_us);
}

/* On to the next reply of the envelope; its command is out already where the server pipelines. */
static void envelope_next(struct load_conn *c, enum load_phase phase, uint64_t now_us)
{
    if (c->pipelining)
        load_conn_phase(c, phase, now_us);
    else
        command_send(c, phase, now_us);
}

void load_dialogue_begin(struct load_conn *c, uint64_t due_us, uint64_t now_us)
{
    struct load *load = c->load;
    const struct load_options *o = &load->options;
    char *at = c->head;

    c->number = load->counts.begun++;
    c->messages++;
    c->due_us = due_us;
    c->begun_us = now_us;
    c->size = load->text.file ? load->text.length : load_sizes_draw(&o->sizes, c->number, o->seed);
    c->rcpt_answered = c->rcpt_accepted = 0;
    c->refused = false;
    if (!c->pipelining) {
        command_send(c, c->in_transaction ? LOAD_RSET : LOAD_MAIL, now_us);
        return;
    }
    if (c->in_transaction)
        at = command_put(c, LOAD_RSET, 0, at);
    at = command_put(c, LOAD_MAIL, 0, at);
    for (uint32_t i = 0; i < o->rcpts; i++)
        at = command_put(c, LOAD_RCPT, i, at);
    at = command_put(c, LOAD_DATA, 0, at);
    load_conn_phase(c, c->in_transaction ? LOAD_RSET : LOAD_MAIL, now_us);
    load_conn_queue(c, c->head, (size_t)(at - c->head));
    load_conn_send(c, now_us);
}

/* Header, body and dot of a made-up message, exactly c->size octets before the dot. */
static void made_up_queue(struct load_conn *c)
{
    const struct load *load = c->load;
    char *at = put(put(c->head, "From: <"), load->options.from);
    const char *end;
    size_t header, taken;

    at = put(rcpt_put(c, 0, put(at, ">\r\nTo: <")), ">\r\nSubject: load test, message ");
    at = put(put(load_number_put(c->number, at), "\r\nDate: "), load->date);
    at =
        load_number_put(c->number, put(load_number_put(load->started_us, put(at, "\r\nMessage-ID: <")), "."));
    at = put(put(put(at, "@"), load->options.helo), ">\r\n\r\n");
    header = (size_t)(at - c->head);
    end = load_text_end(&load->text, c->size - header, &taken);
    load_conn_queue(c, c->head, header);
    load_conn_queue(c, load->text.bytes, taken);
    load_conn_queue(c, end, strlen(end));
}

static void message_send(struct load_conn *c, uint64_t now_us)
{
    load_conn_phase(c, LOAD_DOT, now_us);
    if (c->refused) {
        /* DATA was granted to nobody: RFC 2920 3.1 wants a lone dot. */
        load_conn_queue(c, ".\r\n", 3);
    } else if (c->load->text.file) {
        load_conn_queue(c, c->load->text.bytes, c->load->text.length);
        load_conn_queue(c, ".\r\n", 3);
    } else {
        made_up_queue(c);
    }
    load_conn_send(c, now_us);
}

static void message_end(struct load_conn *c, bool accepted, uint64_t now_us)
{
    load_settled(c, accepted, now_us);
    load_ready(c, now_us);
}

/* The message cannot succeed any more; counted once, for its first refusal. */
static void refuse(struct load_conn *c, const struct reply *r)
{
    if (!c->refused)
        load_errors_reply(&c->load->errors, load_phase_word(c->phase), r);
    c->refused = true;
}

static void on_mail(struct load_conn *c, const struct reply *r, uint64_t now_us)
{
    load_histogram_add(&c->load->times.mail, now_us - c->begun_us);
    c->in_transaction = is_ok(r);
    if (!is_ok(r))
        refuse(c, r);
    if (c->refused && !c->pipelining)
        message_end(c, false, now_us);
    else
        envelope_next(c, LOAD_RCPT, now_us);
}

static void on_rcpt(struct load_conn *c, const struct reply *r, uint64_t now_us)
{
    struct load *load = c->load;

    c->rcpt_answered++;
    c->rcpt_accepted += is_ok(r);
    /* Without MAIL its refusal says nothing new. */
    if (!is_ok(r) && c->in_transaction) {
        load->counts.recipients_refused++;
        load_errors_reply(&load->errors, "rcpt", r);
    }
    if (c->rcpt_answered < load->options.rcpts) {
        envelope_next(c, LOAD_RCPT, now_us);
        return;
    }
    c->refused = c->refused || c->rcpt_accepted == 0;
    if (c->refused && !c->pipelining)
        message_end(c, false, now_us);
    else
        envelope_next(c, LOAD_DATA, now_us);
}

static void on_data(struct load_conn *c, const struct reply *r, uint64_t now_us)
{
    if (r->code == 354) {
        message_send(c, now_us);
    } else if (is_ok(r) || r->code < 400) {
        load_conn_fail(c, "not a reply to DATA", r, now_us);
    } else {
        refuse(c, r);
        message_end(c, false, now_us);
    }
}

static void on_dot(struct load_conn *c, const struct reply *r, uint64_t now_us)
{
    struct load *load = c->load;
    bool accepted = is_ok(r) && !c->refused;

    load_histogram_add(&load->times.dot, now_us - c->phase_us);
    c->in_transaction = false;
    if (!is_ok(r))
        refuse(c, r);
    if (accepted) {
        load->counts.bytes += c->size;
        load->counts.recipients_accepted += c->rcpt_accepted;
        load_histogram_add(&load->times.service, now_us - c->begun_us);
    }
    message_end(c, accepted, now_us);
}

static void auth_begin(struct load_conn *c, const struct ehlo_offer *offer, uint64_t now_us)
{
    const struct load *load = c->load;
    enum load_auth auth = load->options.auth;

    if (auth == LOAD_AUTH_ANY)
        auth = offer->auth_plain ? LOAD_AUTH_PLAIN : LOAD_AUTH_LOGIN;
    if (auth == LOAD_AUTH_PLAIN ? !offer->auth_plain : !offer->auth_login) {
        load_conn_fail(c, "the server does not offer this AUTH", NULL, now_us);
    } else if (auth == LOAD_AUTH_PLAIN) {
        load_conn_phase(c, LOAD_AUTH, now_us);
        load_conn_queue(c, "AUTH PLAIN ", 11);
        load_conn_queue(c, load->auth_plain, strlen(load->auth_plain));
        SEND_TEXT(c, "\r\n", now_us);
    } else {
        load_conn_phase(c, LOAD_AUTH_USER, now_us);
        SEND_TEXT(c, "AUTH LOGIN\r\n", now_us);
    }
}

static void logged_in(struct load_conn *c, uint64_t now_us)
{
    c->load->counts.ready++;
    c->failures = 0;
    load_ready(c, now_us);
}

static void on_ehlo(struct load_conn *c, const struct reply *r, uint64_t now_us)
{
    const struct load *load = c->load;
    struct ehlo_offer offer;

    ehlo_offer_parse(r, &offer);
    c->pipelining = offer.pipelining && !load->options.no_pipelining;
    c->size_offered = offer.size_offered;
    if (load->options.tls == LOAD_TLS_STARTTLS && c->ssl == NULL) {
        if (!offer.starttls) {
            load_conn_fail(c, "the server does not offer STARTTLS", NULL, now_us);
            return;
        }
        load_conn_phase(c, LOAD_STARTTLS, now_us);
        SEND_TEXT(c, "STARTTLS\r\n", now_us);
    } else if (load->text.eight_bit && !offer.eightbitmime) {
        load_conn_fail(c, "the message has 8-bit octets and the server does not offer 8BITMIME", NULL,
                       now_us);
    } else if (load->options.auth != LOAD_AUTH_NONE) {
        auth_begin(c, &offer, now_us);
    } else {
        logged_in(c, now_us);
    }
}

static void on_auth(struct load_conn *c, const struct reply *r, uint64_t now_us)
{
    const struct load *load = c->load;

    if (c->phase == LOAD_AUTH && r->code == 235) {
        logged_in(c, now_us);
        return;
    }
    if (c->phase == LOAD_AUTH || r->code != 334) {
        struct reply shown = *r;

        if (load_auth_is_told(load, r->text, r->length)) {
            shown.text = "(a text with the password in it)";
            shown.length = strlen(shown.text);
        }
        load_conn_fail(c, "AUTH was refused", &shown, now_us);
        return;
    }
    if (c->phase == LOAD_AUTH_USER)
        load_conn_queue(c, load->auth_user, strlen(load->auth_user));
    else
        load_conn_queue(c, load->auth_password, strlen(load->auth_password));
    load_conn_phase(c, c->phase == LOAD_AUTH_USER ? LOAD_AUTH_PASSWORD : LOAD_AUTH, now_us);
    SEND_TEXT(c, "\r\n", now_us);
}

static void greet(struct load_conn *c, uint64_t now_us)
{
    char *end = put(put(put(c->head, "EHLO "), c->load->options.helo), "\r\n");

    load_conn_phase(c, LOAD_EHLO, now_us);
    load_conn_queue(c, c->head, (size_t)(end - c->head));
    load_conn_send(c, now_us);
}

void load_dialogue_connected(struct load_conn *c, uint64_t now_us)
{
    load_conn_phase(c, c->load->options.tls == LOAD_TLS_IMPLICIT ? LOAD_HANDSHAKE : LOAD_BANNER, now_us);
}

void load_dialogue_secured(struct load_conn *c, uint64_t now_us)
{
    if (c->load->options.tls == LOAD_TLS_STARTTLS)
        greet(c, now_us);
    else
        load_conn_phase(c, LOAD_BANNER, now_us);
}

void load_dialogue_quit(struct load_conn *c, uint64_t now_us)
{
    load_conn_phase(c, LOAD_QUIT, now_us);
    SEND_TEXT(c, "QUIT\r\n", now_us);
}

/* Replies before there is mail: each has one code that goes on. */
static void on_opening_reply(struct load_conn *c, const struct reply *r, uint64_t now_us)
{
    if (c->phase >= LOAD_AUTH) {
        on_auth(c, r, now_us);
    } else if (!is_ok(r)) {
        load_conn_fail(c, "the server refused", r, now_us);
    } else if (c->phase == LOAD_BANNER) {
        load_histogram_add(&c->load->times.banner, now_us - c->phase_us);
        greet(c, now_us);
    } else if (c->phase == LOAD_EHLO) {
        on_ehlo(c, r, now_us);
    } else {
        load_conn_phase(c, LOAD_HANDSHAKE, now_us);
    }
}

void load_dialogue_reply(struct load_conn *c, const struct reply *r, uint64_t now_us)
{
    /* RFC 5321 3.8: 421 to anything means that the server closes. */
    if (r->code == 421 && c->phase >= LOAD_IDLE && c->phase != LOAD_QUIT) {
        load_conn_fail(c, "the server closes", r, now_us);
        return;
    }
    switch (c->phase) {
    case LOAD_RSET:
        c->in_transaction = false;
        envelope_next(c, LOAD_MAIL, now_us);
        break;
    case LOAD_MAIL:
        on_mail(c, r, now_us);
        break;
    case LOAD_RCPT:
        on_rcpt(c, r, now_us);
        break;
    case LOAD_DATA:
        on_data(c, r, now_us);
        break;
    case LOAD_DOT:
        on_dot(c, r, now_us);
        break;
    case LOAD_QUIT:
        load_conn_close(c, now_us);
        break;
    case LOAD_IDLE:
        load_conn_fail(c, "a reply that nobody asked for", r, now_us);
        break;
    default:
        on_opening_reply(c, r, now_us);
        break;
    }
}
