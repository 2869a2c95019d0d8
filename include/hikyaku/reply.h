/* reply.h - cut the bytes a server sends into SMTP replies (RFC 5321 4.2, RFC 2034 for the enhanced code).
 *
 * Takes pieces of any size, gives whole replies in order. No socket, clock, log or allocation in here, so
 * that tests and the fuzzer drive it directly. reply_next() returns 1 and a reply, 0 for "need more", or
 *   HK_EPROTO   not a reply (also: a multi-line reply whose codes differ in their first digit): out of step,
 * end the session HK_ETOOBIG  longer than REPLY_MAX code is checked; text is as the server sent it, lines
 * joined by '\n', without codes: clean it before it reaches a log. The reply points into the reader and is
 * good until the next call. A bare LF ends a line as CRLF does.
 */
#ifndef HIKYAKU_REPLY_H
#define HIKYAKU_REPLY_H

#include "hikyaku/base.h"

#define REPLY_MAX 8192u

struct reply {
    uint16_t code; /* 200..599; of differing codes in one reply, the last line's */
    uint8_t
        enhanced[3];  /* class, subject, detail; all 0 where the reply has none or it does not fit the code */
    const char *text; /* NUL-terminated */
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

/* The server's side of the grammar, for the sink and the bounce receiver: one command line without its CRLF.
 */
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
};
struct smtp_command {
    enum smtp_verb verb;
    const char *argument; /* behind the verb; for MAIL and RCPT the path without brackets */
    size_t argument_length;
    const char *parameters; /* behind the path: "SIZE=100 BODY=8BITMIME" */
    size_t parameters_length;
    bool bad_syntax; /* the verb is known, its argument is not what the RFC says */
};
void smtp_command_parse(const char *line, size_t length, struct smtp_command *out);

#endif
