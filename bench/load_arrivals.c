/* load_arrivals.c - see load_arrivals.h. */
#include "load_arrivals.h"

#include <math.h>

#include "sink_table.h"

void load_arrivals_init(struct load_arrivals *arrivals, bool poisson, uint64_t seed)
{
    arrivals->poisson = poisson;
    arrivals->seed = seed;
    arrivals->count = 0;
}

int load_arrivals_rate(struct load_arrivals *arrivals, uint64_t begin_us, double rate)
{
    if (arrivals->count == ARRIVALS_SEGMENTS_MAX)
        return HK_EFULL;
    arrivals->segment[arrivals->count++] = (struct load_segment){begin_us, rate};
    return HK_OK;
}

/* Between this message and the one before it. A draw belongs to the message's number and its segment, so that every
 * cursor finds the same. */
static double gap_us(const struct load_arrivals *arrivals, uint64_t number, size_t segment)
{
    double rate = arrivals->segment[segment].rate;

    if (rate <= 0)
        return INFINITY;
    if (!arrivals->poisson)
        return 1e6 / rate;
    return -log1p(-sink_hash_share(number * ARRIVALS_SEGMENTS_MAX + segment, arrivals->seed)) * 1e6 / rate;
}

/* Move to the segment in which the next message is due; where it lies in it. */
static double step(const struct load_arrivals *arrivals, struct load_cursor *cursor)
{
    double at = cursor->at_us + gap_us(arrivals, cursor->number, cursor->segment);

    while (cursor->segment + 1 < arrivals->count) {
        const struct load_segment *now = &arrivals->segment[cursor->segment], *next = now + 1;

        /* Whole microseconds are compared, since whole ones were held against the clock. */
        if (!isinf(at) && (uint64_t)at <= next->begin_us - now->begin_us)
            break;
        cursor->segment++;
        at = gap_us(arrivals, cursor->number, cursor->segment);
    }
    return at;
}

static uint64_t time_of(const struct load_arrivals *arrivals, const struct load_cursor *cursor, double at)
{
    return isinf(at) ? ARRIVALS_NEVER : arrivals->segment[cursor->segment].begin_us + (uint64_t)at;
}

uint64_t load_cursor_peek(const struct load_arrivals *arrivals, const struct load_cursor *cursor)
{
    struct load_cursor ahead = *cursor;

    return arrivals->count == 0 ? ARRIVALS_NEVER : time_of(arrivals, &ahead, step(arrivals, &ahead));
}

uint64_t load_cursor_next(const struct load_arrivals *arrivals, struct load_cursor *cursor)
{
    double at = arrivals->count == 0 ? INFINITY : step(arrivals, cursor);
    uint64_t due = arrivals->count == 0 ? ARRIVALS_NEVER : time_of(arrivals, cursor, at);

    if (due != ARRIVALS_NEVER) {
        cursor->at_us = at;
        cursor->number++;
    }
    return due;
}
