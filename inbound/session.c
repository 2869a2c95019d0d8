/* session.c - the server's side of one SMTP or LMTP session that takes bounces (session.h). */
#include "session.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "hikyaku/reply.h"

#define OUT_ROOM   1024u /* for what one command, or one message, can be answered with */
#define BODY_FIRST 4096u

static void say(struct session *s, const char *wire)
{
    size_t length = strlen(wire);

    HK_BUG_ON(length > sizeof s->out - s->out_length); /* session_input() sees to it */
    memcpy(s->out + s->out_length, wire, length);
    s->out_length += length;
}

/* A client that is wrong again and again is none. */
static void say_bad(struct session *s, const char *wire)
{
    if (++s->errors < SESSION_ERRORS_MAX) {
        say(s, wire);
        return;
    }
    say(s, "421 4.7.0 too many errors\r\n");
    s->closing = true;
}

static void body_free(struct session *s)
{
    if (s->body_size > 0)
        (void)s->host->memory(s->context, -(ssize_t)s->body_size);
    free(s->body);
    s->body = NULL;
    s->body_size = 0;
}

static void reset(struct session *s)
{
    s->in_mail = s->in_body = s->no_room = false;
    s->recipients = s->unanswered = 0;
    s->body_length = 0;
    body_free(s); /* a session that rests has none of the memory that all of them share */
}

void session_begin(struct session *s, const struct session_settings *settings,
                   const struct session_host *host, void *context)
{
    char wire[DOMAIN_MAX + 32];

    memset(s, 0, sizeof *s);
    s->settings = settings;
    s->host = host;
    s->context = context;
    snprintf(wire, sizeof wire, "220 %.255s %s\r\n", settings->hostname, settings->lmtp ? "LMTP" : "ESMTP");
    say(s, wire);
}

void session_end(struct session *s)
{
    body_free(s);
}

void session_close(struct session *s, const char *wire)
{
    if (s->closing)
        return;
    if (strlen(wire) <= sizeof s->out - s->out_length)
        say(s, wire);
    s->closing = true;
}

void session_written(struct session *s, size_t length)
{
    s->out_length -= length;
    memmove(s->out, s->out + length, s->out_length);
}

/* ---- commands ---- */

static void on_helo(struct session *s, const struct smtp_command *c)
{
    char wire[DOMAIN_MAX + 32];

    (void)c;
    if (s->settings->lmtp) {
        say_bad(s, "500 5.5.1 this is LMTP: LHLO\r\n");
        return;
    }
    reset(s);
    s->greeted = true;
    snprintf(wire, sizeof wire, "250 %.255s\r\n", s->settings->hostname);
    say(s, wire);
}

static void greet(struct session *s)
{
    char wire[DOMAIN_MAX + 192];

    reset(s);
    s->greeted = true;
    snprintf(wire, sizeof wire,
             "250-%.255s\r\n250-PIPELINING\r\n250-SIZE %zu\r\n%s250-8BITMIME\r\n250-SMTPUTF8\r\n"
             "250 ENHANCEDSTATUSCODES\r\n",
             s->settings->hostname, s->settings->message_max,
             s->settings->tls && !s->encrypted ? "250-STARTTLS\r\n" : "");
    say(s, wire);
}

static void on_ehlo(struct session *s, const struct smtp_command *c)
{
    (void)c;
    if (s->settings->lmtp)
        say_bad(s, "500 5.5.1 this is LMTP: LHLO\r\n");
    else
        greet(s);
}

static void on_lhlo(struct session *s, const struct smtp_command *c)
{
    (void)c;
    if (s->settings->lmtp)
        greet(s);
    else
        say_bad(s, "500 5.5.1 this is SMTP: EHLO\r\n");
}

static void on_starttls(struct session *s, const struct smtp_command *c)
{
    (void)c;
    if (!s->settings->tls || s->encrypted) {
        say_bad(s, s->encrypted ? "503 5.5.1 TLS is there already\r\n"
                                : "502 5.5.1 STARTTLS is not offered\r\n");
        return;
    }
    reset(s);
    s->greeted = false;
    s->upgrading = true;
    say(s, "220 2.0.0 go ahead\r\n");
}

void session_upgraded(struct session *s)
{
    s->upgrading = false;
    s->encrypted = true;
}

static bool word_is(const char *at, size_t length, const char *word)
{
    return length == strlen(word) && strncasecmp(at, word, length) == 0;
}

/* One parameter of MAIL. NULL: it is understood, else what is wrong. */
static const char *parameter_wrong(const struct session *s, const char *at, size_t length)
{
    uint64_t size = 0;

    if (word_is(at, length, "SMTPUTF8") || word_is(at, length, "BODY=7BIT") ||
        word_is(at, length, "BODY=8BITMIME"))
        return NULL;
    if (length <= 5 || strncasecmp(at, "SIZE=", 5) != 0)
        return "555 5.5.4 that parameter is not known here\r\n";
    for (size_t i = 5; i < length; i++) {
        if (at[i] < '0' || at[i] > '9')
            return "501 5.5.4 SIZE wants a number\r\n";
        size = size > s->settings->message_max ? size : size * 10 + (uint64_t)(at[i] - '0');
    }
    return size > s->settings->message_max ? "552 5.3.4 too large\r\n" : NULL;
}

static const char *parameters_wrong(const struct session *s, const struct smtp_command *c)
{
    const char *at = c->parameters, *end = c->parameters + c->parameters_length, *wrong = NULL;

    while (at < end && wrong == NULL) {
        size_t length = 0;
        while (at + length < end && at[length] != ' ' && at[length] != '\t')
            length++;
        if (length > 0)
            wrong = parameter_wrong(s, at, length);
        at += length + 1;
    }
    return wrong;
}

static void on_mail(struct session *s, const struct smtp_command *c)
{
    const char *wrong = parameters_wrong(s, c);

    if (!s->greeted || s->in_mail) {
        say_bad(s, s->in_mail          ? "503 5.5.1 one sender at a time\r\n"
                   : s->settings->lmtp ? "503 5.5.1 LHLO first\r\n"
                                       : "503 5.5.1 EHLO first\r\n");
        return;
    }
    if (wrong == NULL && s->messages >= SESSION_MESSAGES_MAX) {
        session_close(s, "421 4.7.0 enough messages on this connection\r\n");
        return;
    }
    if (wrong == NULL)
        wrong = s->host->mail(s->context);
    if (wrong != NULL) {
        say(s, wrong);
        return;
    }
    s->messages++;
    s->in_mail = true;
    say(s, "250 2.1.0 ok\r\n");
}

/* One mail for one address, however often it is named: each costs a reading. LMTP answers each by itself (RFC 2033 4.2). */
static bool is_named_already(const struct session *s, const char *address, size_t length)
{
    for (unsigned i = 0; i < s->recipients && !s->settings->lmtp; i++)
        if (strlen(s->recipient[i].address) == length &&
            memcmp(s->recipient[i].address, address, length) == 0)
            return true;
    return false;
}

static void on_rcpt(struct session *s, const struct smtp_command *c)
{
    static const char *const refusal[] = {
        [RCPT_UNKNOWN] = "550 5.1.1 no such address: only what comes back is taken here\r\n",
        [RCPT_OLD] = "550 5.1.1 this address is too old\r\n",
        [RCPT_FOREIGN] = "550 5.7.1 not an address of this host, and nothing is relayed\r\n",
        [RCPT_LATER] = "451 4.3.0 no memory to look at this address: come again\r\n",
    };
    struct session_recipient *r;
    enum rcpt_kind kind;

    if (!s->in_mail) {
        say_bad(s, "503 5.5.1 MAIL first\r\n");
        return;
    }
    if (c->parameters_length > 0) {
        say_bad(s, "555 5.5.4 that parameter is not known here\r\n");
        return;
    }
    kind = s->host->rcpt(s->context, c->argument, c->argument_length);
    if (kind >= RCPT_UNKNOWN || c->argument_length > ADDRESS_MAX) {
        say_bad(s, refusal[kind >= RCPT_UNKNOWN ? kind : RCPT_UNKNOWN]);
        return;
    }
    if (is_named_already(s, c->argument, c->argument_length)) {
        say(s, "250 2.1.5 ok\r\n");
        return;
    }
    if (s->recipients == SESSION_RECIPIENTS_MAX) {
        say(s, "452 4.5.3 too many recipients\r\n");
        return;
    }
    r = &s->recipient[s->recipients++];
    r->kind = kind;
    r->answered = false;
    memcpy(r->address, c->argument, c->argument_length);
    r->address[c->argument_length] = '\0';
    say(s, "250 2.1.5 ok\r\n");
}

static void on_data(struct session *s, const struct smtp_command *c)
{
    (void)c;
    if (!s->in_mail || s->recipients == 0) {
        say_bad(s, s->in_mail ? "554 5.5.1 no recipients\r\n" : "503 5.5.1 MAIL first\r\n");
        return;
    }
    s->in_body = true;
    s->body_length = 0;
    s->no_room = false;
    body_reader_init(&s->reader);
    say(s, "354 go ahead\r\n");
}

static void on_rset(struct session *s, const struct smtp_command *c)
{
    (void)c;
    reset(s);
    say(s, "250 2.0.0 ok\r\n");
}

static void on_quit(struct session *s, const struct smtp_command *c)
{
    (void)c;
    reset(s);
    session_close(s, "221 2.0.0 bye\r\n");
}

/* A client has no use for more than a few. */
static void on_noop(struct session *s, const struct smtp_command *c)
{
    if (c->verb == VERB_VRFY)
        say_bad(s, "252 2.5.2 send what came back, then we shall see\r\n");
    else
        say_bad(s, "250 2.0.0 ok\r\n");
}

static void on_unknown(struct session *s, const struct smtp_command *c)
{
    say_bad(s,
            c->verb == VERB_AUTH ? "502 5.5.1 AUTH is not offered\r\n" : "500 5.5.2 that is no command\r\n");
}

static void command_do(struct session *s, const char *line, size_t length)
{
    static void (*const handler[])(struct session *, const struct smtp_command *) = {
        [VERB_UNKNOWN] = on_unknown,   [VERB_HELO] = on_helo,    [VERB_EHLO] = on_ehlo, [VERB_LHLO] = on_lhlo,
        [VERB_STARTTLS] = on_starttls, [VERB_AUTH] = on_unknown, [VERB_MAIL] = on_mail, [VERB_RCPT] = on_rcpt,
        [VERB_DATA] = on_data,         [VERB_RSET] = on_rset,    [VERB_NOOP] = on_noop, [VERB_QUIT] = on_quit,
        [VERB_VRFY] = on_noop,         [VERB_HELP] = on_noop,
    };
    struct smtp_command c;

    s->steps++;
    /* Each is a step, so that time alone would not end it. */
    if (++s->commands > SESSION_COMMANDS_MAX) {
        session_close(s, "421 4.7.0 too many commands and no message\r\n");
        return;
    }
    smtp_command_parse(line, length, &c);
    if (c.bad_syntax)
        say_bad(s, "501 5.5.4 bad argument\r\n");
    else
        handler[c.verb](s, &c);
}

/* ---- lines ---- */

static void line_end(struct session *s, const char *line, size_t length)
{
    bool too_long = s->line_too_long || length > SESSION_LINE_MAX;

    s->line_length = 0;
    s->line_too_long = false;
    if (too_long)
        say_bad(s, "500 5.5.2 line too long\r\n");
    else if (length == 0 || line[length - 1] != '\r')
        session_close(s, "500 5.5.2 lines end with CRLF\r\n");
    else
        command_do(s, line, length - 1);
}

/* A piece of a line that is not whole, or completes one. */
static void line_keep(struct session *s, const char *bytes, size_t length)
{
    if (s->line_too_long || length > sizeof s->line - s->line_length) {
        s->line_too_long = true;
        return;
    }
    memcpy(s->line + s->line_length, bytes, length);
    s->line_length += length;
}

static size_t command_input(struct session *s, const char *bytes, size_t length)
{
    const char *lf = memchr(bytes, '\n', length);
    size_t taken = lf != NULL ? (size_t)(lf - bytes) : length;

    if (lf != NULL && s->line_length == 0 && !s->line_too_long) {
        line_end(s, bytes, taken);
        return taken + 1;
    }
    line_keep(s, bytes, taken);
    if (lf == NULL)
        return taken;
    line_end(s, s->line, s->line_length);
    return taken + 1;
}

/* ---- the message ---- */

static bool body_reserve(struct session *s, size_t length)
{
    size_t size = s->body_size == 0 ? BODY_FIRST : s->body_size;
    char *body;

    while (size < s->body_length + length)
        size *= 2;
    if (size == s->body_size)
        return true;
    if (!s->host->memory(s->context, (ssize_t)(size - s->body_size)))
        return false;
    body = realloc(s->body, size);
    if (body == NULL) {
        (void)s->host->memory(s->context, -(ssize_t)(size - s->body_size));
        return false;
    }
    s->body = body;
    s->body_size = size;
    return true;
}

static bool is_too_large(const struct session *s)
{
    return s->reader.bytes > s->settings->message_max;
}

/* What will be refused is not kept: the rest of it is read to its end and forgotten. */
static void body_keep(struct session *s, const char *bytes, size_t length)
{
    if (!s->no_room && !is_too_large(s) && body_reserve(s, length)) {
        memcpy(s->body + s->body_length, bytes, length);
        s->body_length += length;
        return;
    }
    if (!is_too_large(s))
        s->no_room = true;
    body_free(s);
    s->body_length = 0;
}

/* One reply; LMTP has one for each recipient (RFC 2033 4.2). */
static void say_to_all(struct session *s, const char *wire)
{
    for (unsigned i = 0; i < (s->settings->lmtp ? s->recipients : 1); i++)
        say(s, wire);
}

static void body_end(struct session *s)
{
    s->in_body = false;
    s->steps++;
    if (is_too_large(s) || s->no_room) {
        say_to_all(s, is_too_large(s) ? "552 5.3.4 too large\r\n" : "452 4.3.1 no memory for it now\r\n");
        reset(s);
        return;
    }
    s->body_length = body_unstuff(s->body, s->body_length);
    s->waiting = true;
    s->unanswered = s->recipients;
    s->host->message(s->context, s);
}

static size_t body_input(struct session *s, const char *bytes, size_t length)
{
    bool ended;
    size_t taken = body_reader_take(&s->reader, bytes, length, &ended);

    body_keep(s, bytes, taken);
    if (ended)
        body_end(s);
    return taken;
}

static const char *verdict_wire(enum session_verdict verdict)
{
    static const char *const wire[] = {
        [SESSION_TAKEN] = "250 2.0.0 taken\r\n",
        [SESSION_LATER] = "451 4.3.0 it cannot be kept now: come again\r\n",
        [SESSION_NOT_OURS] = "550 5.7.1 nobody reads this mailbox\r\n",
    };

    return wire[verdict];
}

/* One reply for several: what has to come again comes again for all, which changes nothing for those that were taken. */
static enum session_verdict worst(const struct session *s)
{
    enum session_verdict verdict = SESSION_NOT_OURS;

    for (unsigned i = 0; i < s->recipients; i++) {
        if (s->recipient[i].verdict == SESSION_LATER)
            return SESSION_LATER;
        if (s->recipient[i].verdict == SESSION_TAKEN)
            verdict = SESSION_TAKEN;
    }
    return verdict;
}

void session_answer(struct session *s, unsigned nth, enum session_verdict verdict)
{
    HK_BUG_ON(!s->waiting || nth >= s->recipients || s->recipient[nth].answered);
    s->recipient[nth].verdict = verdict;
    s->recipient[nth].answered = true;
    if (--s->unanswered > 0)
        return;
    s->waiting = false;
    s->steps++;
    if (!s->settings->lmtp)
        say(s, verdict_wire(worst(s)));
    for (unsigned i = 0; s->settings->lmtp && i < s->recipients; i++)
        say(s, verdict_wire(s->recipient[i].verdict));
    s->errors = s->commands = 0;
    reset(s);
}

size_t session_input(struct session *s, const char *bytes, size_t length)
{
    size_t at = 0;

    while (at < length && !s->closing && !s->waiting && sizeof s->out - s->out_length >= OUT_ROOM) {
        /* What came behind STARTTLS in the clear is not believed (RFC 3207 4.2). */
        if (s->upgrading)
            return length;
        at += s->in_body ? body_input(s, bytes + at, length - at) : command_input(s, bytes + at, length - at);
    }
    return s->closing || s->upgrading ? length : at;
}
