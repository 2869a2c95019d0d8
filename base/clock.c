/* clock.c - the clocks: one for intervals, one for what people read. */
#include <time.h>

#include "hikyaku/base.h"
#include "hikyaku/fault.h"

static uint64_t clock_read_us(clockid_t id)
{
    struct timespec ts;

    HK_BUG_ON(clock_gettime(id, &ts) != 0);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t clock_now_us(void)
{
    return clock_read_us(CLOCK_BOOTTIME);
}

uint64_t clock_now_ms(void)
{
    return clock_now_us() / 1000u;
}

uint64_t clock_wall_us(void)
{
    return clock_read_us(CLOCK_REALTIME) + (uint64_t)fault_clock_us();
}

void clock_rfc3339(uint64_t wall_us, char *out)
{
    time_t seconds = (time_t)(wall_us / 1000000u);
    struct tm tm;
    size_t n;

    gmtime_r(&seconds, &tm);
    n = strftime(out, CLOCK_RFC3339_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, CLOCK_RFC3339_SIZE - n, ".%06uZ", (unsigned)(wall_us % 1000000u));
}
