/* sink_session.c - the sink's side of the dialogue (RFC 5321), and the ways in which it misbehaves on demand.
 *
 * No socket in here: bytes come in pieces of any size, replies are queued, `closing` ends the connection.
 */
#include <string.h>

#include "sink.h"

enum { SALT_UNKNOWN = 1, SALT_DEFER = 2 };

static void say(struct sink_conn *conn, const char *wire)
{
    sink_conn_reply(conn, wire, strlen(wire), conn->sink->options.latency_ms, 0);
    if (conn->sink->options.no_pipelining)
        conn->hold = conn->queued;
}

/* A reply that the client must read before it goes on, with PIPELINING too (RFC 2920 3.1). */
static void say_and_hold(struct sink_conn *conn, const char *wire)
{
    say(conn, wire);
    conn->hold = conn->queued;
}

static void say_bad(struct sink_conn *conn, const char *wire)
{
    sink_count(conn, bad_commands, 1);
    say(conn, wire);
}

/* A fixed reply of the command line; 421 ends the connection too (RFC 5321 4.2.3). */
static void say_fixed(struct sink_conn *conn, const struct sink_reply *reply)
{
    say(conn, reply->wire);
    if (reply->code == 421)
        conn->closing = true;
}

static void transaction_reset(struct sink_conn *conn)
{
    conn->in_mail = false;
    conn->in_body = false;
    conn->drop_message = DROP_NONE;
    conn->recipients_count = conn->recipients_pending;
    free(conn->sender);
    conn->sender = NULL;
}

/* Is this where the connection or the transaction is to be dropped? Then it is. */
static bool drop_here(struct sink_conn *conn, enum sink_drop phase)
{
    struct sink_counters *c = &conn->listener->counters;
    uint64_t *const counter[] = {
        [DROP_BANNER] = &c->dropped_banner, [DROP_EHLO] = &c->dropped_ehlo, [DROP_MAIL] = &c->dropped_mail,
        [DROP_RCPT] = &c->dropped_rcpt,     [DROP_DATA] = &c->dropped_data, [DROP_BODY] = &c->dropped_body,
        [DROP_DOT] = &c->dropped_dot,
    };

    if (conn->drop != phase && conn->drop_message != phase)
        return false;
    ++*counter[phase];
    conn->closing = true;
    conn->dropped = true;
    transaction_reset(conn);
    return true;
}

static void drop_draw(struct sink_conn *conn)
{
    struct sink *sink = conn->sink;

    conn->drop_message = DROP_NONE;
    if (sink->options.drop > 0 && sink_random_share(sink) < sink->options.drop)
        conn->drop_message =
            DROP_MAIL + (enum sink_drop)(sink_random_share(sink) * (DROP_DOT - DROP_MAIL + 1));
    else if (sink->options.drop_dot > 0 && sink_random_share(sink) < sink->options.drop_dot)
        conn->drop_message = DROP_DOT;
}

void sink_session_begin(struct sink_conn *conn)
{
    struct sink *sink = conn->sink;

    if (sink->options.drop > 0 && sink_random_share(sink) < sink->options.drop)
        conn->drop = sink_random_share(sink) < 0.5 ? DROP_BANNER : DROP_EHLO;
    if (!drop_here(conn, DROP_BANNER))
        say_and_hold(conn, "220 sink.test ESMTP\r\n");
}

void sink_session_free(struct sink_conn *conn)
{
    if (conn->in_mail)
        sink_count(conn, abandoned, 1);
    transaction_reset(conn);
    if (conn->sink->options.log_mail)
        sink_log_event(conn, "disconnect", "", 0);
    free(conn->line);
    free(conn->kept);
    free(conn->recipient);
}

void sink_session_delivered(struct sink_conn *conn, size_t n, bool ambiguous)
{
    sink_count(conn, accepted, !ambiguous);
    sink_count(conn, ambiguous, ambiguous);
    for (size_t i = 0; i < n; i++) {
        uint32_t number = conn->recipient[conn->recipients_settled++];
        struct sink_entry *entry = sink_table_at(conn->sink->table, number);

        if (entry->delivered++ == 0)
            sink_count(conn, recipients, 1);
        else
            sink_count(conn, duplicates, 1);
        sink_log_event(conn, ambiguous ? "ambiguous" : "accepted", entry->text, entry->length);
    }
    if (conn->recipients_settled == conn->recipients_count)
        conn->recipients_settled = conn->recipients_pending = conn->recipients_count = 0;
}

/* ---- commands ---- */

static void on_helo(struct sink_conn *conn, const struct smtp_command *c)
{
    (void)c;
    if (drop_here(conn, DROP_EHLO))
        return;
    transaction_reset(conn);
    conn->greeted = true;
    say_and_hold(conn, "250 sink.test\r\n");
}

static void on_ehlo(struct sink_conn *conn, const struct smtp_command *c)
{
    const struct sink_options *o = &conn->sink->options;
    char wire[512];
    (void)c;

    if (drop_here(conn, DROP_EHLO))
        return;
    transaction_reset(conn);
    conn->greeted = true;
    snprintf(
        wire, sizeof wire,
        "250-sink.test\r\n%s%s250-SIZE %u\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n",
        o->no_pipelining ? "" : "250-PIPELINING\r\n", o->tls && conn->ssl == NULL ? "250-STARTTLS\r\n" : "",
        SINK_MESSAGE_MAX);
    say_and_hold(conn, wire);
}

static void starttls_begin(struct sink_conn *conn, const char *wrong)
{
    if (wrong != NULL && strcmp(wrong, "refuse") == 0) {
        say(conn, "454 4.7.0 TLS is not to be had\r\n");
        return;
    }
    transaction_reset(conn);
    conn->greeted = false;
    if (wrong != NULL && strcmp(wrong, "hang") == 0) {
        conn->silent = true;
        say(conn, "220 2.0.0 go ahead\r\n");
        return;
    }
    conn->upgrading = true;
    say_and_hold(conn, wrong != NULL ? "220 2.0.0 go ahead\r\n250 injected\r\n" : "220 2.0.0 go ahead\r\n");
}

static void on_starttls(struct sink_conn *conn, const struct smtp_command *c)
{
    (void)c;
    if (!conn->sink->options.tls) {
        say_bad(conn, "502 5.5.1 STARTTLS is not offered\r\n");
    } else if (conn->ssl != NULL) {
        say_bad(conn, "503 5.5.1 TLS is there already\r\n");
    } else {
        starttls_begin(conn, conn->sink->options.starttls);
    }
}

/* The number behind SIZE=, 0 where there is none. */
static uint64_t size_declared(const struct smtp_command *c)
{
    char text[SINK_LINE_MAX];
    const char *at;

    if (c->parameters_length == 0 || c->parameters_length >= sizeof text)
        return 0;
    memcpy(text, c->parameters, c->parameters_length);
    text[c->parameters_length] = '\0';
    at = strcasestr(text, "SIZE=");
    return at != NULL && (at == text || at[-1] == ' ') ? strtoull(at + 5, NULL, 10) : 0;
}

static void on_mail(struct sink_conn *conn, const struct smtp_command *c)
{
    struct sink *sink = conn->sink;
    const struct sink_options *o = &sink->options;

    if (!conn->greeted || conn->in_mail) {
        say_bad(conn, conn->in_mail ? "503 5.5.1 one sender at a time\r\n" : "503 5.5.1 EHLO first\r\n");
        return;
    }
    if (o->log_mail)
        sink_log_event(conn, "mail", c->argument, c->argument_length);
    if (o->cap_messages != 0 && conn->messages >= o->cap_messages) {
        conn->closing = true;
        say(conn, "421 4.7.0 enough messages on this connection\r\n");
        return;
    }
    drop_draw(conn);
    if (drop_here(conn, DROP_MAIL))
        return;
    if (size_declared(c) > SINK_MESSAGE_MAX) {
        say(conn, "552 5.3.4 too large\r\n");
        return;
    }
    if (o->reply_mail.code != 0)
        say_fixed(conn, &o->reply_mail);
    if (o->reply_mail.code >= 400)
        return;
    conn->in_mail = true;
    conn->messages++;
    conn->keep = o->store_dir != NULL && sink->messages++ % o->store_every == 0;
    if (conn->keep)
        conn->sender = strndup(c->argument, c->argument_length);
    if (o->reply_mail.code == 0)
        say(conn, "250 2.1.0 ok\r\n");
}

/* While replies are always on their way the list never runs empty: what is settled goes before it grows. */
static void recipients_compact(struct sink_conn *conn)
{
    size_t settled = conn->recipients_settled;

    if (settled == 0)
        return;
    memmove(conn->recipient, conn->recipient + settled,
            (conn->recipients_count - settled) * sizeof *conn->recipient);
    conn->recipients_settled = 0;
    conn->recipients_pending -= settled;
    conn->recipients_count -= settled;
}

static bool recipient_push(struct sink_conn *conn, uint32_t number)
{
    if (conn->recipients_count == conn->recipients_size)
        recipients_compact(conn);
    if (conn->recipients_count == conn->recipients_size) {
        size_t size = conn->recipients_size == 0 ? 8 : conn->recipients_size * 2;
        uint32_t *recipient = realloc(conn->recipient, size * sizeof *recipient);

        if (recipient == NULL)
            return false;
        conn->recipient = recipient;
        conn->recipients_size = size;
    }
    conn->recipient[conn->recipients_count++] = number;
    return true;
}

static bool recipient_is_unknown(const struct sink *sink, const struct smtp_command *c)
{
    uint64_t hash = sink_hash(c->argument, c->argument_length);

    if (sink->options.unknown > 0 &&
        sink_hash_share(hash, sink->options.seed + SALT_UNKNOWN) < sink->options.unknown)
        return true;
    return sink->unknown != NULL && sink_table_has(sink->unknown, c->argument, c->argument_length);
}

/* Refuse a recipient: the counter, the log, the reply. */
static void recipient_turn_away(struct sink_conn *conn, const struct smtp_command *c, bool for_good,
                                const char *wire)
{
    sink_count(conn, recipients_refused, for_good);
    sink_count(conn, deferred, !for_good);
    sink_log_event(conn, for_good ? "refused" : "deferred", c->argument, c->argument_length);
    if (wire != NULL)
        say(conn, wire);
}

/* An address whose mailbox is there: take it, or tell it to come again. */
static void recipient_take(struct sink_conn *conn, const struct smtp_command *c)
{
    const struct sink_options *o = &conn->sink->options;
    uint32_t number;
    struct sink_entry *entry = sink_table_find(conn->sink->table, c->argument, c->argument_length, &number);

    if (entry != NULL && o->defer > 0 && !entry->deferred &&
        sink_hash_share(entry->hash, o->seed + SALT_DEFER) < o->defer) {
        entry->deferred = true;
        recipient_turn_away(conn, c, false, "451 4.7.1 greylisted, come again\r\n");
    } else if (conn->recipients_count - conn->recipients_pending >= SINK_RECIPIENTS_MAX) {
        recipient_turn_away(conn, c, false, "452 4.5.3 too many recipients\r\n");
    } else if (entry == NULL || !recipient_push(conn, number)) {
        sink_count(conn, out_of_memory, 1);
        recipient_turn_away(conn, c, false, "452 4.3.1 the sink is out of memory\r\n");
    } else if (o->reply_rcpt.code != 0) {
        say_fixed(conn, &o->reply_rcpt);
    } else {
        say(conn, "250 2.1.5 ok\r\n");
    }
}

static void on_rcpt(struct sink_conn *conn, const struct smtp_command *c)
{
    const struct sink_options *o = &conn->sink->options;

    if (!conn->in_mail) {
        say_bad(conn, "503 5.5.1 MAIL first\r\n");
    } else if (drop_here(conn, DROP_RCPT)) {
        return;
    } else if (recipient_is_unknown(conn->sink, c)) {
        recipient_turn_away(conn, c, true, "550 5.1.1 no such mailbox\r\n");
    } else if (o->reply_rcpt.code >= 400) {
        say_fixed(conn, &o->reply_rcpt);
        recipient_turn_away(conn, c, o->reply_rcpt.code >= 500, NULL);
    } else {
        recipient_take(conn, c);
    }
}

static void on_data(struct sink_conn *conn, const struct smtp_command *c)
{
    const struct sink_options *o = &conn->sink->options;
    (void)c;

    if (!conn->in_mail) {
        say_bad(conn, "503 5.5.1 MAIL first\r\n");
        return;
    }
    if (drop_here(conn, DROP_DATA))
        return;
    if (conn->recipients_count == conn->recipients_pending) {
        transaction_reset(conn);
        say_and_hold(conn, "554 5.5.1 no recipients\r\n");
        return;
    }
    if (o->reply_data.code == 0)
        say(conn, "354 go ahead\r\n");
    else
        say_fixed(conn, &o->reply_data);
    conn->hold = conn->queued;
    if (o->reply_data.code != 0 && o->reply_data.code != 354) {
        transaction_reset(conn);
        return;
    }
    conn->in_body = true;
    conn->kept_length = 0;
    conn->keep_failed = false;
    body_reader_init(&conn->body);
}

static void on_rset(struct sink_conn *conn, const struct smtp_command *c)
{
    (void)c;
    transaction_reset(conn);
    say(conn, "250 2.0.0 ok\r\n");
}

static void on_quit(struct sink_conn *conn, const struct smtp_command *c)
{
    (void)c;
    conn->closing = true;
    transaction_reset(conn);
    say(conn, "221 2.0.0 bye\r\n");
}

static void on_noop(struct sink_conn *conn, const struct smtp_command *c)
{
    say(conn, c->verb == VERB_VRFY ? "252 2.5.2 send some mail, then we shall see\r\n" : "250 2.0.0 ok\r\n");
}

static void on_unknown(struct sink_conn *conn, const struct smtp_command *c)
{
    (void)c;
    say_bad(conn,
            c->verb == VERB_AUTH ? "502 5.5.1 AUTH is not offered\r\n" : "500 5.5.2 that is no command\r\n");
}

static void command_do(struct sink_conn *conn, const char *line, size_t length)
{
    static void (*const handler[])(struct sink_conn *, const struct smtp_command *) = {
        [VERB_UNKNOWN] = on_unknown,   [VERB_HELO] = on_helo,    [VERB_EHLO] = on_ehlo,
        [VERB_STARTTLS] = on_starttls, [VERB_AUTH] = on_unknown, [VERB_MAIL] = on_mail,
        [VERB_RCPT] = on_rcpt,         [VERB_DATA] = on_data,    [VERB_RSET] = on_rset,
        [VERB_NOOP] = on_noop,         [VERB_QUIT] = on_quit,    [VERB_VRFY] = on_noop,
        [VERB_HELP] = on_noop,         [VERB_LHLO] = on_unknown,
    };
    struct smtp_command c;

    if (conn->written < conn->hold)
        sink_count(conn, out_of_turn, 1);
    smtp_command_parse(line, length, &c);
    if (c.bad_syntax)
        say_bad(conn, "501 5.5.4 bad argument\r\n");
    else
        handler[c.verb](conn, &c);
}

/* ---- input ---- */

static void message_refuse(struct sink_conn *conn, const char *wire)
{
    sink_count(conn, messages_refused, 1);
    for (size_t i = conn->recipients_pending; i < conn->recipients_count; i++) {
        const struct sink_entry *e = sink_table_at(conn->sink->table, conn->recipient[i]);

        sink_log_event(conn, "message-refused", e->text, e->length);
    }
    transaction_reset(conn);
    sink_conn_reply(conn, wire, strlen(wire), conn->sink->options.latency_dot_ms, 0);
    if (conn->sink->options.no_pipelining)
        conn->hold = conn->queued;
}

/* The message is ours. Its recipients wait for the reply to be written, or for the connection to end. */
static void message_take(struct sink_conn *conn)
{
    const struct sink_options *o = &conn->sink->options;
    size_t recipients = conn->recipients_count - conn->recipients_pending;
    const char *wire = o->reply_dot.code != 0 ? o->reply_dot.wire : "250 2.0.0 taken\r\n";

    sink_count(conn, bytes, conn->body.bytes);
    conn->recipients_pending = conn->recipients_count;
    if (drop_here(conn, DROP_DOT)) {
        sink_conn_unanswered(conn, recipients);
        return;
    }
    transaction_reset(conn);
    sink_conn_reply(conn, wire, strlen(wire), o->latency_dot_ms, recipients);
    if (o->no_pipelining)
        conn->hold = conn->queued;
}

/* When the message was whole; `more` had come behind it, and the kernel only tells when the last of all came. */
static void message_log_dot(struct sink_conn *conn, bool more)
{
    for (size_t i = conn->recipients_pending; i < conn->recipients_count; i++) {
        const struct sink_entry *e = sink_table_at(conn->sink->table, conn->recipient[i]);

        sink_log_event_at(conn, conn->arrived_us, more ? "dot-by" : "dot", e->text, e->length);
    }
}

static void message_end(struct sink_conn *conn, bool more)
{
    const struct sink_options *o = &conn->sink->options;

    if (o->log_dot)
        message_log_dot(conn, more);
    sink_count(conn, bare_lf, conn->body.bare_lf);
    sink_count(conn, long_lines, conn->body.long_lines);
    if (conn->body.bytes > SINK_MESSAGE_MAX) {
        message_refuse(conn, "552 5.3.4 too large\r\n");
    } else if (o->reply_dot.code >= 300) {
        conn->closing = o->reply_dot.code == 421;
        message_refuse(conn, o->reply_dot.wire);
    } else if (conn->keep && (conn->keep_failed || conn->sender == NULL || !sink_store_message(conn))) {
        message_refuse(conn, "452 4.3.1 the message could not be stored\r\n");
    } else {
        message_take(conn);
    }
}

/* Keep the body for --store. Beyond the largest message nothing is kept: it will be refused. */
static void body_keep(struct sink_conn *conn, const char *bytes, size_t length)
{
    size_t size = conn->kept_size == 0 ? 16384 : conn->kept_size;
    char *kept;

    if (!conn->keep || conn->keep_failed || conn->body.bytes > SINK_MESSAGE_MAX)
        return;
    while (size < conn->kept_length + length)
        size *= 2;
    if (size != conn->kept_size) {
        kept = realloc(conn->kept, size);
        if (kept == NULL) {
            sink_count(conn, out_of_memory, 1);
            conn->keep_failed = true;
            return;
        }
        conn->kept = kept;
        conn->kept_size = size;
    }
    memcpy(conn->kept + conn->kept_length, bytes, length);
    conn->kept_length += length;
}

static size_t body_input(struct sink_conn *conn, const char *bytes, size_t length)
{
    bool ended;
    size_t taken;

    if (conn->body.bytes == 0 && conn->written < conn->hold)
        sink_count(conn, out_of_turn, 1);
    if (drop_here(conn, DROP_BODY)) {
        conn->reset = true;
        return length;
    }
    taken = body_reader_take(&conn->body, bytes, length, &ended);
    body_keep(conn, bytes, taken);
    if (ended)
        message_end(conn, taken < length);
    return taken;
}

/* A piece of a command line that is not complete, or completes an earlier one. */
static void line_keep(struct sink_conn *conn, const char *bytes, size_t length)
{
    if (conn->line == NULL)
        conn->line = malloc(SINK_LINE_MAX);
    if (conn->line == NULL || conn->line_length + length > SINK_LINE_MAX) {
        conn->line_too_long = true;
        return;
    }
    memcpy(conn->line + conn->line_length, bytes, length);
    conn->line_length += length;
}

static void line_end(struct sink_conn *conn, const char *line, size_t length)
{
    bool too_long = conn->line_too_long || length > SINK_LINE_MAX;

    conn->line_length = 0;
    conn->line_too_long = false;
    if (length > 0 && line[length - 1] == '\r')
        length--;
    else
        sink_count(conn, bare_lf, !too_long);
    if (too_long)
        say_bad(conn, "500 5.5.2 line too long\r\n");
    else
        command_do(conn, line, length);
}

static size_t command_input(struct sink_conn *conn, const char *bytes, size_t length)
{
    const char *lf = memchr(bytes, '\n', length);
    size_t taken = lf != NULL ? (size_t)(lf - bytes) : length;

    if (lf != NULL && conn->line_length == 0 && !conn->line_too_long) {
        line_end(conn, bytes, taken);
        return taken + 1;
    }
    line_keep(conn, bytes, taken);
    if (lf == NULL)
        return taken;
    line_end(conn, conn->line, conn->line_length);
    return taken + 1;
}

void sink_session_input(struct sink_conn *conn, const char *bytes, size_t length)
{
    size_t at = 0;

    /* What came behind STARTTLS in the clear is not believed (RFC 3207 4.2): it is dropped. */
    while (at < length && !conn->silent && !conn->closing && !conn->upgrading && !conn->dead)
        at += conn->in_body ? body_input(conn, bytes + at, length - at)
                            : command_input(conn, bytes + at, length - at);
}
