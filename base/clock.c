/* clock.c - the clocks: one for intervals, one for what people read. */
#include <string.h>
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

char *clock_rfc3339(uint64_t wall_us, char *out)
{
    static char text[CLOCK_RFC3339_SIZE]; /* of the second before: thousands of events have the same */
    static uint64_t text_s = UINT64_MAX;
    static size_t length;
    uint64_t wall_s = wall_us / 1000000u;
    uint32_t us = (uint32_t)(wall_us % 1000000u);

    if (wall_s != text_s) {
        time_t seconds = (time_t)wall_s;
        struct tm tm;

        gmtime_r(&seconds, &tm);
        length = strftime(text, sizeof text - sizeof ".123456Z", "%Y-%m-%dT%H:%M:%S", &tm);
        text_s = wall_s;
    }
    memcpy(out, text, length);
    out += length;
    *out = '.';
    for (int digit = 6; digit > 0; digit--, us /= 10)
        out[digit] = (char)('0' + us % 10);
    out[7] = 'Z';
    out[8] = '\0';
    return out + 8;
}

bool clock_rfc3339_parse(const char *text, uint64_t *wall_us)
{
    struct tm tm = {0};
    int end = 0;
    unsigned us;
    time_t seconds;

    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%6uZ%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &us, &end) != 7 ||
        end == 0)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    seconds = timegm(&tm);
    if (seconds < 0)
        return false;
    *wall_us = (uint64_t)seconds * 1000000u + us;
    return true;
}
