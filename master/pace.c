/* pace.c - see pace.h. */
#include "pace.h"

#define SECOND_US 1000000u
#define CUT       0.9 /* of the rate, at each refusal */
#define STEP \
    0.01 /* of the rate at the last refusal; less where it is below STEP_WHOLE_AT: a refusal costs a turn */
#define STEP_WHOLE_AT 10.0
#define IN_USE        0.5 /* a rate that is not asked for is not raised: nothing shows that it would be allowed */

/* Close the second when it is over; after a pause it counts for the time that it took. */
static void pace_count(struct pace *pace, uint64_t now_us)
{
    uint64_t passed_us = now_us - pace->second_us;

    if (passed_us < SECOND_US)
        return;
    pace->before = (double)pace->accepted * SECOND_US / (double)passed_us;
    pace->accepted = 0;
    pace->second_us = now_us;
}

void pace_accepted(struct pace *pace, uint64_t now_us)
{
    pace_count(pace, now_us);
    pace->accepted++;
}

static double at_least_floor(double rate)
{
    return rate > PACE_FLOOR ? rate : PACE_FLOOR;
}

bool pace_refused(struct pace *pace, uint64_t now_us, double others)
{
    double seen;

    if (pace->rate > 0.0 && now_us - pace->cut_us < SECOND_US)
        return false;
    pace_count(pace, now_us);
    if (pace->rate > 0.0) {
        pace->rate = at_least_floor(pace->rate * CUT);
    } else {
        /* What a second took so far is what the account allows in one: the rest was refused. */
        seen = pace->accepted > pace->before ? pace->accepted : pace->before;
        pace->rate = at_least_floor((seen + others) * CUT);
    }
    pace->step = pace->rate * STEP * (pace->rate < STEP_WHOLE_AT ? pace->rate / STEP_WHOLE_AT : 1.0);
    pace->quiet = 0;
    pace->cut_us = now_us;
    return true;
}

bool pace_tick(struct pace *pace, uint64_t now_us, double most, double others)
{
    double rate = pace->rate;

    pace_count(pace, now_us);
    if (rate <= 0.0 || now_us - pace->cut_us < SECOND_US)
        return false;
    if (pace->before + others < rate * IN_USE && pace->accepted + others < rate * IN_USE)
        return false;
    pace->quiet++;
    rate += pace->step * pace->quiet;
    if (most > 0.0 && rate > most)
        rate = most;
    if (rate <= pace->rate && rate >= pace->rate)
        return false;
    pace->rate = rate;
    return true;
}
