/* load_arrivals.h - when messages are due: a schedule of rates, and cursors that walk along it.
 *
 * An open loop needs to know when each message that waits was due, and there may be any number of them. They are not
 * kept: two cursors walk the same schedule, one at the front (what is due by now), one at what was taken up last, and
 * both find the same times. Rates follow each other in segments; a segment is added at a time that no cursor has
 * passed, and a message that was found due before it stays due then. Times are microseconds since any moment.
 */
#ifndef BENCH_LOAD_ARRIVALS_H
#define BENCH_LOAD_ARRIVALS_H

#include "hikyaku/base.h"

#define ARRIVALS_SEGMENTS_MAX 1024u
#define ARRIVALS_NEVER        UINT64_MAX

struct load_arrivals {
    bool poisson; /* gaps are drawn from an exponential distribution; otherwise all are the same */
    uint64_t seed;
    size_t count;
    struct load_segment {
        uint64_t begin_us;
        double rate; /* a second; 0: nothing is due */
    } segment[ARRIVALS_SEGMENTS_MAX];
};

struct load_cursor {
    uint64_t number; /* of arrivals passed */
    size_t segment;
    double at_us; /* where the last one lay, counted from the beginning of its segment */
};

void load_arrivals_init(struct load_arrivals *arrivals, bool poisson, uint64_t seed);
/* From begin_us on, this rate. HK_EFULL when there is no room for another segment. */
int load_arrivals_rate(struct load_arrivals *arrivals, uint64_t begin_us, double rate) HK_MUST_USE;
/* When the cursor's next message is due; ARRIVALS_NEVER while the last rate is 0 (or there is none). */
uint64_t load_cursor_peek(const struct load_arrivals *arrivals, const struct load_cursor *cursor);
/* Pass it; the same time. */
uint64_t load_cursor_next(const struct load_arrivals *arrivals, struct load_cursor *cursor);

#endif
