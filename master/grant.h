/* grant.h - a block of messages that Redis lets this node send, on the node's own clock (limits.h, state/limit.lua).
 *
 * Message j of the block may go slot(j) after Redis made it, and at most late_us behind that. When that was is only known to
 * lie between the question and its answer: so none goes before slot(j) behind the answer, nor after slot(j) + late_us behind
 * the question, and what has not gone by then is lost. Pure; microseconds of one clock.
 */
#ifndef MASTER_GRANT_H
#define MASTER_GRANT_H

#include "hikyaku/limits.h"

#define GRANT_NONE UINT64_MAX

struct grant {
    uint32_t count, used;
    uint64_t asked_us, here_us; /* the question, the answer */
    int64_t first_us;
    uint64_t interval_us, late_us;
    bool spaced;      /* they keep the distance of the interval, those of the block before too */
    uint64_t next_us; /* and so none goes before */
};

void grant_begin(struct grant *grant, const struct limit_answer *answer, uint64_t asked_us, uint64_t now_us);
/* 0: one may go now (grant_take counts it), else microseconds until one may; GRANT_NONE: none is left. */
uint64_t grant_wait_us(struct grant *grant, uint64_t now_us);
void grant_take(struct grant *grant, uint64_t now_us);

#endif
