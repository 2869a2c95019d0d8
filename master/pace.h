/* pace.h - the rate that a relay's account allows, found from what it refuses (additive increase, multiplicative
 * decrease).
 *
 * Pure: the caller says what was accepted and what was refused as too fast, and asks for the rate. Until the first refusal
 * there is none. A refusal cuts it, at most once a second, since what is under way then says nothing new; each second
 * without one adds a little, and more the longer none came, so that a rate that was raised is found as well. Never below
 * PACE_FLOOR, never above what the caller allows.
 */
#ifndef MASTER_PACE_H
#define MASTER_PACE_H

#include "hikyaku/base.h"

#define PACE_FLOOR 0.5 /* messages a second: half of the least that SES gives an account */

struct pace {
    double rate; /* messages a second; 0: none found yet */
    double step; /* what one quiet second adds, times the quiet seconds */
    uint32_t quiet;
    uint64_t cut_us; /* when it was last cut */
    /* what was accepted, by the second: in the present one, and a second in the last whole one */
    uint64_t second_us;
    uint32_t accepted;
    double before;
};

void pace_accepted(struct pace *pace, uint64_t now_us);
/* Refused as too fast; others: what other nodes have accepted a second by the same account. True: the rate is another one
 * now. */
bool pace_refused(struct pace *pace, uint64_t now_us, double others);
/* Once a second; most: the rate that is configured, 0 none. True: the rate is another one now. */
bool pace_tick(struct pace *pace, uint64_t now_us, double most, double others);

#endif
