/* limit.c - the rate of limit.h. */
#include "limit.h"

void limit_init(struct limit *limit, struct cfg_rate rate, uint32_t burst)
{
    uint64_t period_us = (uint64_t)rate.per_ms * 1000u;

    /* Rounded up: a limit that is not a whole number of microseconds may be a little slower, never faster. */
    limit->interval_us = rate.count == 0 ? 0 : (period_us + rate.count - 1) / rate.count;
    limit->ahead_us = burst > 1 ? (burst - 1) * limit->interval_us : 0;
    limit->due_us = 0;
}

uint64_t limit_wait_us(const struct limit *limit, uint64_t now_us)
{
    if (limit->interval_us == 0 || limit->due_us <= now_us + limit->ahead_us)
        return 0;
    return limit->due_us - limit->ahead_us - now_us;
}

void limit_take(struct limit *limit, uint64_t now_us)
{
    if (limit->interval_us != 0)
        limit->due_us = (limit->due_us > now_us ? limit->due_us : now_us) + limit->interval_us;
}
