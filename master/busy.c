/* busy.c - see busy.h. */
#include "busy.h"

void busy_begin(struct busy *busy, uint64_t rested_us, uint64_t now_us)
{
    *busy = (struct busy){.rested_us = rested_us, .looked_us = now_us};
}

void busy_look(struct busy *busy, uint64_t rested_us, uint64_t now_us)
{
    uint64_t rested = rested_us > busy->rested_us ? rested_us - busy->rested_us : 0;
    uint64_t passed = now_us - busy->looked_us;

    if (passed < BUSY_LOOK_US)
        return;
    busy->percent = rested < passed ? (uint32_t)((passed - rested) * 100 / passed) : 0;
    busy->rested_us = rested_us;
    busy->looked_us = now_us;
    busy->opened = 0;
}

bool busy_has_time(const struct busy *busy)
{
    return busy->percent < BUSY_ENOUGH && busy->opened < BUSY_OPENED_MAX;
}

bool busy_should_share(const struct busy *busy, const struct busy *other)
{
    return busy->percent >= BUSY_SHARES && other->percent * 2 <= busy->percent;
}

uint32_t busy_gives(const struct busy *busy, uint32_t working, uint32_t others, uint32_t others_percent)
{
    uint64_t all = busy->percent + others_percent, parts = (uint64_t)busy->percent * (others + 1);
    uint64_t keeps = parts > 0 ? (working * all + parts - 1) / parts : working;

    if (keeps >= working)
        return 0;
    return working - keeps < BUSY_OPENED_MAX ? working - (uint32_t)keeps : BUSY_OPENED_MAX;
}
