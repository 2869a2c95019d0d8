/* limits.h - what limits the nodes of one Redis have in common (design 8): suspensions, and what cluster limits grant.
 *
 * Two faces, as everywhere in state/: a call that waits, for a start or a command, and one of the master's loop whose answer
 * comes later. Times are those of Redis' clock; what crosses the border is always how long it is from now.
 *
 *   hikyaku:suspended    hash: "SOURCE SITE" -> until when, which in a row, and why (state/suspend.lua)
 *   hikyaku:limit:NAME   hash: how far its messages are given away, who asked, and the rate of an account (state/limit.lua)
 */
#ifndef HIKYAKU_LIMITS_H
#define HIKYAKU_LIMITS_H

#include "hikyaku/base.h"
#include "hikyaku/state.h"

/* ---- suspensions ---- */

#define SUSPENSION_CAUSE_SIZE 200u
#define SUSPENSIONS_TOLD_MAX  16u /* in one call */

/* A source is not to send to a site for a time. */
struct suspension {
    const char *source; /* name; "": every source */
    const char *site, *cause;
    uint64_t left_ms; /* from now; 0, of one that is told: it is released */
    uint32_t nth;     /* in a row, without a message taken between */
};

/* What Redis answers; good until the callback returns. */
struct suspensions {
    uint64_t version; /* rises with each change; 0: Redis knows of none, or has forgotten them */
    bool listed;      /* false: the version is the one that was known, and nothing is in here */
    const struct suspension *all;
    size_t count;
};
/* NULL: the answer was lost, and whatever was told may have been heard or not. */
typedef void (*suspensions_fn)(void *context, const struct suspensions *answer);

/* Tell up to SUSPENSIONS_TOLD_MAX of them, and ask for all that hold. Blocks; fn is called once, before it returns 0.
 * HK_EDOWN, HK_ENOMEM, HK_ECHANGED. */
int store_suspensions(struct store *store, const struct suspension *told, size_t count, suspensions_fn fn,
                      void *context, struct hk_why *why) HK_MUST_USE;
/* Tell up to SUSPENSIONS_TOLD_MAX of them, and ask what there is beyond `known`; at once and beside the ops of the ledger. fn
 * is called once. HK_EDOWN when not connected: it is not called then. HK_ENOMEM. */
int ledger_suspensions(struct ledger *ledger, uint64_t known, const struct suspension *told, size_t count,
                       suspensions_fn fn, void *context) HK_MUST_USE;

/* ---- cluster limits ---- */

#define LIMIT_NAME_MAX 300u

/* What a node asks of a limit of all nodes. One without a rate of its own is an account's: the rate that was found by its
 * refusals is kept in Redis, with a version, and changed by whoever knows the latest. */
struct limit_question {
    const char *name;
    uint64_t epoch;       /* of the node */
    uint64_t interval_us; /* between two at the even pace; 0: that of the rate which is kept */
    uint64_t ahead_us;    /* how far the burst may run ahead of it */
    uint64_t late_us;     /* how much later than its time a message may go, on this node */
    uint32_t want;        /* messages that could go now; 0: it only reports, and hears */
    double taken;         /* of this node, by the account, a second */
    bool change, cut;     /* the rate is to be this one; it was cut just now */
    uint64_t version;     /* that is known */
    double rate, step;    /* messages a second; see pace.h */
    uint32_t quiet;
};

/* `granted` messages, of which the j-th (from 0) may go first_us + j * interval_us from when Redis made it, at once where that
 * is negative, and no later than late_us behind that. */
struct limit_answer {
    uint32_t granted;
    int64_t first_us;
    uint64_t interval_us, late_us;
    bool spaced;      /* messages keep the distance of the interval, also to the block before */
    uint64_t wait_us; /* nothing granted: until it is worth asking again */
    uint32_t nodes;   /* that asked in the last seconds */
    double others;    /* taken a second by the other nodes */
    uint64_t version;
    double rate, step;
    uint32_t quiet;
    uint64_t cut_us; /* ago */
};
/* NULL: the answer was lost. What it granted is lost with it. */
typedef void (*limit_fn)(void *context, const struct limit_answer *answer);

/* Ask, at once and beside the ops of the ledger; fn is called once, before ledger_close() returns at the latest. HK_EDOWN
 * when not connected, HK_ENOMEM, HK_ETOOBIG a name of more than LIMIT_NAME_MAX bytes: it is not called then. */
int ledger_limit(struct ledger *ledger, const struct limit_question *question, limit_fn fn,
                 void *context) HK_MUST_USE;

#endif
