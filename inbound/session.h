/* session.h - the server's side of one SMTP or LMTP session that takes bounces (RFC 5321, RFC 2033), without a socket.
 *
 * Bytes in pieces of any size, replies as bytes out; what needs the world outside is asked of a host. Nothing is ever
 * relayed, and no mail is ever sent: a recipient is one of our own addresses or is refused at RCPT.
 *
 * A command ends with CRLF; a bare LF ends the session, so that nothing hides behind one. A message ends with CRLF "." CRLF
 * and nothing else: bare LFs and CRs in it are text. Memory is what is in the struct, and the message.
 */
#ifndef INBOUND_SESSION_H
#define INBOUND_SESSION_H

#include "hikyaku/address.h"
#include "hikyaku/body.h"

#define SESSION_LINE_MAX       2048u /* of a command; RFC 5321 4.5.3.1.4 has 512 and more for each extension */
#define SESSION_OUT_MAX        4096u
#define SESSION_RECIPIENTS_MAX 10u
#define SESSION_ERRORS_MAX     20u
#define SESSION_MESSAGES_MAX   1000u
#define SESSION_COMMANDS_MAX   200u /* without a message */

/* What an address is to us. */
enum rcpt_kind {
    RCPT_TOKEN,       /* a return path that counts */
    RCPT_UNSUBSCRIBE, /* of List-Unsubscribe */
    RCPT_DESK,        /* postmaster, abuse, fbl: takes complaints that bear a token, and nobody reads it */
    RCPT_UNKNOWN,     /* in our domain, and none of these */
    RCPT_OLD,         /* a return path that is too old */
    RCPT_FOREIGN,     /* in no domain of ours */
    RCPT_LATER,       /* nobody can tell just now */
};

struct session;
struct session_host {
    enum rcpt_kind (*rcpt)(void *context, const char *address, size_t length);
    /* May one more message come now? NULL, or the reply that says why not. */
    const char *(*mail)(void *context);
    /* Memory for messages: `more` bytes that are wanted, negative: given back. False: there are none, ask again later. */
    bool (*memory)(void *context, ssize_t more);
    /* A message is whole: session->body, for session->recipient[]. Each recipient is answered with session_answer(), now or
     * later; until then nothing of the session is read. */
    void (*message)(void *context, struct session *session);
};

enum session_verdict { SESSION_TAKEN, SESSION_LATER, SESSION_NOT_OURS };

struct session_settings {
    const char *hostname;
    size_t message_max;
    bool lmtp, tls; /* tls: STARTTLS is to be had */
};

struct session_recipient {
    enum rcpt_kind kind;
    enum session_verdict verdict;
    bool answered;
    char address[ADDRESS_MAX + 1]; /* as it was given, without brackets */
};

struct session {
    const struct session_settings *settings;
    const struct session_host *host;
    void *context;
    /* What whoever has the socket looks at: */
    bool closing;   /* nothing more is read; close when `out` is written */
    bool upgrading; /* TLS begins when `out` is written: session_upgraded() */
    bool waiting;   /* for answers */
    bool in_body;
    size_t out_length;
    char out[SESSION_OUT_MAX]; /* taken from its front by session_written() */
    /* The message: */
    char *body;
    size_t body_length;
    struct session_recipient recipient[SESSION_RECIPIENTS_MAX];
    unsigned recipients;
    uint64_t steps; /* commands and messages that were dealt with: a session in which it grows is alive */
    /* Its own: */
    bool greeted, in_mail, encrypted, no_room, line_too_long;
    unsigned errors, commands, messages, unanswered;
    size_t body_size, line_length;
    struct body_reader reader;
    char line[SESSION_LINE_MAX];
};

void session_begin(struct session *session, const struct session_settings *settings,
                   const struct session_host *host, void *context);
void session_end(struct session *session); /* frees the message */
/* How many bytes were taken: less than all while it waits, closes, or has no room for replies. */
size_t session_input(struct session *session, const char *bytes, size_t length);
void session_written(struct session *session, size_t length);
void session_answer(struct session *session, unsigned nth, enum session_verdict verdict);
void session_upgraded(struct session *session);
/* Say why it ends (a whole reply line with its CRLF), and end it. */
void session_close(struct session *session, const char *wire);

#endif
