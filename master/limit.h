/* limit.h - a rate with a burst, exactly: at most rate x w + burst pass in any window of w (design 8).
 *
 * The generic cell rate algorithm: one number says when the next one would be due if all came evenly. Microseconds.
 */
#ifndef MASTER_LIMIT_H
#define MASTER_LIMIT_H

#include "hikyaku/config.h"

struct limit {
    uint64_t interval_us; /* between two at the even pace; 0: no limit */
    uint64_t ahead_us;    /* how far the burst may run ahead of it */
    uint64_t due_us;
};

void limit_init(struct limit *limit, struct cfg_rate rate, uint32_t burst);
/* 0: one may pass now (limit_take counts it), else microseconds until one may. */
uint64_t limit_wait_us(const struct limit *limit, uint64_t now_us);
void limit_take(struct limit *limit, uint64_t now_us);

#endif
