/* limits.h - what limits the nodes of one Redis have in common (design 8): suspensions, and what cluster limits grant.
 *
 * Two faces, as everywhere in state/: a call that waits, for a start or a command, and one of the master's loop whose answer
 * comes later. Times are those of Redis' clock; what crosses the border is always how long it is from now.
 *
 *   hikyaku:suspended   hash: "SOURCE SITE" -> until when, which in a row, and why (state/suspend.lua)
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

#endif
