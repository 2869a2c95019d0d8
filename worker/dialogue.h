/* dialogue.h - one SMTP session as a client (RFC 5321, 2920, 3207, 4954): what to send, what a reply means.
 *
 * No socket, no clock, no log, no allocation, no shared memory: replies and the time come in, command lines and
 * bodies go to an outbox, and outcomes go out through dialogue_ops, so that tests drive it directly. What may go
 * out next and what is still unanswered are two cursors (out, in): with PIPELINING the final dot of one message
 * and the envelope of the next travel together, so `out` is at most one message ahead of `in`.
 *
 * A letter belongs to the caller. The dialogue holds it from dialogue_queue() until ops->settle(), which it calls
 * exactly once for each, and never looks at it again. Nothing in here ends the session: a verdict asks the caller
 * to. A fault of ours (an impossible step) ends this session only and is reported through ops->bug.
 */
#ifndef WORKER_DIALOGUE_H
#define WORKER_DIALOGUE_H

#include "hikyaku/config.h"
#include "hikyaku/region.h"
#include "hikyaku/reply.h"
#include "outbox.h"

#define DIALOGUE_GRANT_MS 20000u /* no answer to a commit by then: close before the dot (design 4) */
#define DIALOGUE_TEXT_BYTES \
    4096u /* the outbox text a dialogue needs: a whole pipelined batch with its AUTH */
#define DIALOGUE_SECRET_MAX  255u   /* octets of a user name or a password (RFC 4616) */
#define DIALOGUE_HELD_BYTES  15360u /* with its dot and the next envelope still one record of TLS */
#define DIALOGUE_BASE64_SIZE 700u   /* holds base64 of NUL user NUL password, and a NUL */

/* A message for one recipient, under way over one connection. */
struct letter {
    struct letter *next; /* the dialogue's queue */
    /* set by the caller: before dialogue_queue(), or (copy) before `ready`; its octets may change until `complete` */
    uint32_t slot;
    const char *rcpt; /* not NUL-terminated */
    uint32_t rcpt_length;
    bool smtputf8;
    bool legacy; /* its local part breaks RFC 5321: terms->local_part says how it is written */
    const char *mail_from;
    const struct iovec *iov;
    size_t iov_count;
    size_t bytes;
    bool ready;    /* the fields above are there: MAIL may go */
    bool complete; /* signed, where that has to be: the message may go. With `ready`, or later */
    /* the dialogue's */
    bool preparing; /* ops->prepare was called */
    bool taken;     /* RCPT was accepted */
    bool raw;       /* the quoted form was not understood: written as it is */
    bool asked;     /* ops->commit was called */
    bool granted;
    bool dot_put; /* the final dot is in the outbox */
    bool dot_out; /* it was written */
    uint32_t nth;
    uint64_t mail_ms;  /* when MAIL was put */
    uint64_t asked_ms; /* when the commit was asked for */
    /* the caller's */
    uint64_t arrived_ms;
    void *copy, *edition;
    uint32_t conn;
    bool used;
};

/* How an outcome came about: a reply, or (reply NULL) words of ours with code 0, which may be NULL as well. */
struct outcome {
    enum flight_result result;
    enum log_phase log_phase;
    const struct reply *reply;
    const char *words;
};

struct dialogue_ops {
    void (*prepare)(void *context, struct letter *letter); /* render it; dialogue_prepared() when done */
    void (*sign)(void *context, struct letter *letter); /* MAIL goes: sign it; dialogue_signed() when done */
    void (*commit)(void *context, struct letter *letter); /* RCPT accepted, complete: may the dot leave? */
    void (*flight)(void *context, struct letter *letter, enum flight_phase phase);
    void (*settle)(void *context, struct letter *letter, const struct outcome *outcome);
    /* The session ended before it was ready for MAIL. */
    void (*fail)(void *context, enum log_phase log_phase, const struct reply *reply, const char *words);
    void (*bug)(void *context, const char *words);
};

/* What the connection is to be; has to outlive the dialogue's opening. */
struct dialogue_terms {
    const struct config *config; /* time limits */
    const char *hostname;        /* what EHLO says */
    enum tls_policy tls;
    bool implicit_tls;
    bool no_pipelining;
    enum local_part local_part;
    /* base64, for a relay that wants AUTH; NULL: none */
    const char *auth_plain, *auth_user, *auth_password;
};

/* One row a phase: what we wait for. Time limit, name in the event log, and words for a person. */
#define DIALOGUE_PHASES(X)                                                                    \
    X(BANNER, banner_ms, BANNER, "waiting for the greeting", on_banner)                       \
    X(EHLO, ehlo_ms, EHLO, "waiting for the reply to EHLO", on_ehlo)                          \
    X(HELO, ehlo_ms, EHLO, "waiting for the reply to HELO", on_helo)                          \
    X(STARTTLS, starttls_ms, STARTTLS, "waiting for the reply to STARTTLS", on_starttls)      \
    X(TLS, starttls_ms, STARTTLS, "shaking hands for TLS", on_nothing)                        \
    X(AUTH, auth_ms, AUTH, "waiting for the reply to AUTH", on_auth)                          \
    X(AUTH_USER, auth_ms, AUTH, "waiting to be asked for the user", on_auth_user)             \
    X(AUTH_PASSWORD, auth_ms, AUTH, "waiting to be asked for the password", on_auth_password) \
    X(IDLE, idle_ms, MAIL, "idle", on_nothing)                                                \
    X(MAIL, mail_ms, MAIL, "waiting for the reply to MAIL", on_mail)                          \
    X(RCPT, rcpt_ms, RCPT, "waiting for the reply to RCPT", on_rcpt)                          \
    X(SKIP, rcpt_ms, RCPT, "waiting to see RCPT refused after MAIL was", on_skip)             \
    X(DATA, data_ms, DATA, "waiting for leave to send the message", on_data)                  \
    X(VOID, data_ms, DATA, "waiting to see DATA refused as well", on_void)                    \
    X(DOT, dot_ms, DOT, "waiting for the reply to the message", on_dot)                       \
    X(LONE, dot_ms, DOT, "waiting for the reply to an empty message", on_lone)                \
    X(RSET, mail_ms, MAIL, "waiting for the reply to RSET", on_rset)                          \
    X(QUIT, quit_ms, DOT, "waiting for the reply to QUIT", on_quit)                           \
    X(OVER, quit_ms, DOT, "closed", on_nothing)

enum dialogue_phase {
#define DIALOGUE_PHASE_ENUM(name, timeout, log, words, handler) DIALOGUE_##name,
    DIALOGUE_PHASES(DIALOGUE_PHASE_ENUM)
#undef DIALOGUE_PHASE_ENUM
        DIALOGUE_PHASE_COUNT
};

/* What the caller has to do now. */
enum dialogue_verdict {
    DIALOGUE_GO_ON,
    DIALOGUE_START_TLS, /* shake hands, then dialogue_secured() */
    DIALOGUE_OPENED,    /* ready for MAIL, for the first time */
    DIALOGUE_FAILED,    /* never became ready; ops->fail was called, the queue is kept for another address */
    DIALOGUE_ENDED,     /* close the socket, without more ado; every letter is settled */
};

enum dialogue_step { STEP_NONE, STEP_RCPT, STEP_DATA, STEP_BODY, STEP_DOT };

struct dialogue {
    const struct dialogue_terms *terms;
    const struct dialogue_ops *ops;
    void *context;
    struct outbox *box; /* lent by the caller: has to be there whenever a function below is called */
    uint64_t now_ms;    /* set by the caller before each call */
    uint64_t since_ms;  /* last progress: what time limits count from */
    enum dialogue_phase phase;
    enum dialogue_step step; /* what of `out` goes next */
    struct ehlo_offer offer;
    struct letter *in;  /* whose reply comes next; NULL while only leftovers are awaited */
    struct letter *out; /* whose parts go next */
    struct letter *head, *tail;
    uint32_t nth;       /* transactions begun */
    uint8_t unanswered; /* replies that are still to come for what was put */
    bool secured, opened, pipelining;
    bool data_put;    /* DATA of the letter whose MAIL was put last is on its way */
    bool reset_due;   /* the receiver still holds a transaction of which nothing came */
    bool quit_wanted; /* once the queue is empty */
    bool quit_put;    /* QUIT is on its way behind a dot */
    bool stopping;    /* no new dot, no new MAIL: end when the dots under way are answered */
    bool broken_sync;
};

/* Begin with a fresh connection; the queue of an earlier one to another address stays. */
void dialogue_begin(struct dialogue *d, const struct dialogue_terms *terms, struct outbox *box);
/* The TLS handshake is done (implicit TLS: before the greeting). */
enum dialogue_verdict dialogue_secured(struct dialogue *d);
enum dialogue_verdict dialogue_reply(struct dialogue *d, const struct reply *reply) HK_MUST_USE;
/* The connection is gone, or what came is not a reply. */
enum dialogue_verdict dialogue_lost(struct dialogue *d, const char *words);
enum dialogue_verdict dialogue_garbled(struct dialogue *d, const char *words);

void dialogue_queue(struct dialogue *d, struct letter *letter);
void dialogue_prepared(struct dialogue *d, struct letter *letter);
/* It cannot be rendered: out of the queue, returned with these words, which tell the master to freeze its campaign
 * (every other return has none). */
void dialogue_unprepared(struct dialogue *d, struct letter *letter, const char *words);
/* What ops->sign asked for: done, or (fault not NULL) impossible. Then it is returned with these words, and the session ends when
 * the message before it is answered: there is no way back from a MAIL that is on its way. */
enum dialogue_verdict dialogue_signed(struct dialogue *d, struct letter *letter,
                                      const char *fault) HK_MUST_USE;
void dialogue_grant(struct dialogue *d, struct letter *letter);
enum dialogue_verdict dialogue_deny(struct dialogue *d, struct letter *letter) HK_MUST_USE;

/* Put whatever may go now into the outbox. */
enum dialogue_verdict dialogue_pump(struct dialogue *d) HK_MUST_USE;
/* Before a write that holds the final dot; after a write: how much, and whether the dot was in it. */
void dialogue_dot_leaves(struct dialogue *d);
void dialogue_wrote(struct dialogue *d, size_t bytes, bool with_dot);

/* QUIT once everything queued is done; with PIPELINING in the same write as the last dot, where this is called before it. */
void dialogue_quit(struct dialogue *d);
/* Settle as returned whatever has no MAIL written. */
void dialogue_drain(struct dialogue *d);
/* No new dot: return all but a message whose dot was written, and end once that is answered. */
enum dialogue_verdict dialogue_stop(struct dialogue *d) HK_MUST_USE;
bool dialogue_is_closing(const struct dialogue *d);

/* When the time limit of the present phase runs out; UINT64_MAX: never. dialogue_expired() once it has. */
uint64_t dialogue_deadline_ms(const struct dialogue *d);
enum dialogue_verdict dialogue_expired(struct dialogue *d);
const char *dialogue_words(const struct dialogue *d);
enum log_phase dialogue_log_phase(const struct dialogue *d);

#endif
