/* link.h - the asynchronous connection to Redis: made, authenticated, scripts loaded, and made again when it breaks.
 *
 * It knows calls and answers, no ledger. The owner keeps what it has sent until it is answered: whenever answers are
 * lost (connection gone, script cache flushed, Redis loading, out of memory ...) the link calls rewind(), after
 * which no earlier call will be answered any more, and ready() as soon as the owner may send all of it again.
 */
#ifndef HIKYAKU_STATE_LINK_H
#define HIKYAKU_STATE_LINK_H

#include <ev.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include "connect.h"

#define LINK_PAUSE_MIN_MS 50u
#define LINK_PAUSE_MAX_MS 1000u
#define LINK_SHA1_HEX     41

enum link_script {
    LINK_APPLY,
    LINK_TAKE,
    LINK_SUPPRESS,
    LINK_LEASE,
    LINK_SUSPEND,
    LINK_NOTE,
    LINK_LIMIT,
    LINK_FEEDBACK,
    LINK_SENT_IDS,
    LINK_SCRIPTS
};
enum link_state {
    LINK_PAUSED,     /* the timer runs; then connect or greet again */
    LINK_CONNECTING, /* the socket is on its way */
    LINK_GREETING,   /* AUTH and SCRIPT LOAD are out */
    LINK_READY,
};

struct link_owner {
    void *context;
    void (*rewind)(void *context); /* what was sent and not answered will not be answered */
    void (*ready)(void *context);
    void (*lost)(void *context, const char *why);
    void (*broken)(void *context,
                   const char *why); /* an answer that no retry mends; tried again all the same */
};

/* One command under way; the owner's struct begins with it. */
struct link_call {
    struct redis_link *link;
    uint64_t generation;
    /* The answer, never an error; NULL: rewound or closed. Frees the call in any case. */
    void (*answer)(struct link_call *call, const redisReply *reply);
};

struct redis_link {
    struct ev_loop *loop;
    struct redis_target target;
    struct link_owner owner;
    redisAsyncContext *redis; /* NULL: not connected */
    enum link_state state;
    uint64_t generation;        /* answers to calls of an earlier one are dropped */
    uint32_t pause_ms, waiting; /* calls not answered on this connection */
    bool unwritten;             /* something was sent since redis_link_write() */
    ev_timer pause, guard;
    char sha1[LINK_SCRIPTS][LINK_SHA1_HEX];
};

int redis_link_open(struct redis_link *link, const struct config *config, struct ev_loop *loop,
                    const struct link_owner *owner, struct hk_why *why) HK_MUST_USE;
void redis_link_close(struct redis_link *link);

bool link_is_ready(const struct redis_link *link);
/* Send a command. On success the call belongs to the link until its answer; else HK_EDOWN and it stays the caller's. */
int redis_link_send(struct redis_link *link, struct link_call *call, int argc, const char **argv,
                    const size_t *length) HK_MUST_USE;
/* Write what was sent to the socket now. Without it the loop does so, in its next turn. Not from inside an answer; a connection
 * that turns out to be lost is told of from in here. */
void redis_link_write(struct redis_link *link);
/* The owner got an answer of a shape that it cannot use. */
void redis_link_reject(struct redis_link *link, const char *what);

#endif
