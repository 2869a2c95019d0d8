/* owed.h - what stands in the event log and is not in Redis yet, because Redis went away between the two.
 *
 * A request whose lines are written and whose effect failed is kept here until Redis has it: it is tried again each second,
 * and before the next request is taken, so that whoever comes again finds it done and gets no second line. No place in the
 * log is told meanwhile: should the node die, its next life tells these lines again. One that fails for another reason than
 * that Redis is away does not hold up the others.
 */
#ifndef MASTER_OWED_H
#define MASTER_OWED_H

#include "hikyaku/base.h"

#include <sys/queue.h>

#define OWED_MAX 64u /* requests; as long as so many wait none is taken, and none is written down */

/* The first member of whatever is owed. */
struct owed {
    TAILQ_ENTRY(owed) link;
    /* 0: Redis has it. HK_EDOWN: Redis is away, for all of them. Whatever else: this one waits. */
    int (*apply)(struct owed *owed, struct hk_why *why);
    void (*end)(struct owed *owed); /* frees it: it is done, or the node ends */
};

struct owed_list {
    TAILQ_HEAD(, owed) waiting;
    uint64_t again_ms; /* not tried by itself before */
    uint32_t count;
    bool said;
};

void owed_init(struct owed_list *list);
void owed_close(struct owed_list *list);
void owed_add(struct owed_list *list, struct owed *owed);
bool owed_waits(const struct owed_list *list);
/* Try all of them now. 0: the next request may be taken; HK_EDOWN: Redis is away; HK_EFULL: OWED_MAX wait for something else. */
int owed_settle(struct owed_list *list, struct hk_why *why) HK_MUST_USE;
/* The same by itself, about once a second. */
void owed_turn(struct owed_list *list, uint64_t now_ms);

#endif
