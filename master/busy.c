/* busy.c - see busy.h. */
#include "busy.h"

void busy_look(struct busy *busy, uint64_t cpu_us, uint64_t now_us)
{
    if (now_us == busy->looked_us)
        return;
    busy->percent = (uint32_t)((cpu_us - busy->cpu_us) * 100 / (now_us - busy->looked_us));
    busy->cpu_us = cpu_us;
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

uint32_t busy_gives(uint32_t conns, uint32_t closing, uint32_t others, uint32_t others_conns)
{
    uint32_t each = (conns + others_conns + others) / (others + 1), staying = conns - closing;

    return staying > each ? staying - each : 0;
}
