/* reply.h - cut the bytes a server sends into SMTP replies (RFC 5321 4.2, RFC 2034 for the enhanced code).
 *
 * Takes pieces of any size, gives whole replies in order. No socket, clock, log or allocation in here, so
 * that tests and the fuzzer drive it directly. reply_next() returns 1 and a reply, 0 for "need more", or
 *   HK_EPROTO   not a reply (also: a multi-line reply whose codes differ in their first digit), said as soon
 *               as the first wrong byte is there: out of step, end the session
 *   HK_ETOOBIG  longer than REPLY_MAX, line ends included
 * An error stays: the bytes are not taken. code is checked; text is as the server sent it, enhanced code
 * included, lines joined by '\n', without the three digits; a NUL became '?'. Clean it before it reaches a
 * log. The reply points into the reader and is good until the next call of reply_next(). A bare LF ends a
 * line as CRLF does.
 */
#ifndef HIKYAKU_REPLY_H
#define HIKYAKU_REPLY_H

#include "hikyaku/base.h"

#define REPLY_MAX 8192u

struct reply {
    uint16_t code;       /* 200..599; of differing codes in one reply, the last line's */
    uint8_t enhanced[3]; /* class, subject, detail, of the first line that has one; all 0 where none has, or
                            its class is not the code's first digit */
    const char *text;    /* NUL-terminated */
    size_t length;
};

struct reply_reader {
    char buffer[REPLY_MAX + 1]; /* unread bytes */
    size_t start, end;
    char text[REPLY_MAX + 1];
};

void reply_reader_init(struct reply_reader *reader);
/* Where to read into: at least one byte unless the reader holds REPLY_MAX unread ones (then 0: call
 * reply_next). */
size_t reply_room(struct reply_reader *reader, char **where);
void reply_filled(struct reply_reader *reader, size_t count);
int reply_next(struct reply_reader *reader, struct reply *out) HK_MUST_USE;
/* Unread bytes: there must be none when TLS starts (RFC 3207). */
size_t reply_pending(const struct reply_reader *reader);

/* What an EHLO reply offers (RFC 5321 4.1.1.1): keywords without case. */
struct ehlo_offer {
    bool pipelining, starttls, eightbitmime, smtputf8, enhanced_codes, chunking;
    bool size_offered;
    uint64_t size_max; /* 0: no fixed limit */
    bool auth_plain, auth_login;
    uint32_t mail_max, rcpt_max, rcpt_domain_max; /* LIMITS (RFC 9422); 0: none named */
};
void ehlo_offer_parse(const struct reply *reply, struct ehlo_offer *out);

/* The server's side of the grammar (RFC 5321 4.1.1), for the sink and the bounce receiver: one command line
 * without its CRLF. Everything in the result points into the line; a source route in a path is left out. Milder
 * than the RFC in two places: blanks behind "FROM:" and "TO:", and dots anywhere in a local part (some carriers
 * have such mailboxes). Knows nothing of the order of commands. */
enum smtp_verb {
    VERB_UNKNOWN,
    VERB_HELO,
    VERB_EHLO,
    VERB_STARTTLS,
    VERB_AUTH,
    VERB_MAIL,
    VERB_RCPT,
    VERB_DATA,
    VERB_RSET,
    VERB_NOOP,
    VERB_QUIT,
    VERB_VRFY,
    VERB_HELP,
    VERB_LHLO, /* RFC 2033 */
};
struct smtp_command {
    enum smtp_verb verb;
    const char *argument; /* behind the verb; for MAIL and RCPT the path without brackets */
    size_t argument_length;
    const char *parameters; /* behind the path: "SIZE=100 BODY=8BITMIME" */
    size_t parameters_length;
    bool bad_syntax; /* the verb is known, what stands behind it is not what the RFC says */
};
void smtp_command_parse(const char *line, size_t length, struct smtp_command *out);

#endif
