/* load_ramp.h - steps of a rising rate, and where the knee is: the last rate that the server kept up with.
 *
 * Pure: load.c runs the steps and counts. A step holds when in its second half at least `rate_share` of the messages that
 * should have come were answered (the first half is for what its latency keeps under way), (two may be missing, or one late message
 * would decide at low rates), the p99 of those due in it is
 * within its bound, and no more than `error_share` of those answered were refused. p99 takes messages still unanswered at
 * the step's end by their age. A step that does not hold is tried once more, when all has been answered; one that fails
 * twice ends the ramp.
 */
#ifndef BENCH_LOAD_RAMP_H
#define BENCH_LOAD_RAMP_H

#include "hikyaku/base.h"

#define LOAD_STEPS_MAX 400u

struct load_ramp_plan {
    double from, to; /* messages a second */
    double add;      /* from step to step; 0: `factor` */
    double factor;
};
/* "100..5000:100" or "100..5000:x1.5". HK_EINVAL and what to write. */
int load_ramp_parse(const char *text, struct load_ramp_plan *out, struct hk_why *why) HK_MUST_USE;
/* The rate behind this one; 0: there is none. */
double load_ramp_next(const struct load_ramp_plan *plan, double rate);

struct load_bounds {
    double rate_share, error_share;
    uint32_t p99_ms;
};

enum load_verdict {
    STEP_HOLDS,
    STEP_BEHIND, /* the achieved rate fell behind */
    STEP_SLOW,   /* p99 left its bound */
    STEP_ERRORS, /* too many refusals */
    STEP_OURS,   /* behind or slow, but this program had no CPU left: says nothing about the server */
    STEP_CUT,    /* not run to its end */
};

struct load_step {
    double rate;               /* messages a second that were due */
    double seconds;            /* of the step */
    double achieved;           /* answered a second, in its second half */
    uint64_t answered, failed; /* in the whole step */
    uint64_t p50_us, p99_us;
    double cpu_share; /* of one core, by this program */
    enum load_verdict verdict;
};

#define LOAD_CPU_FULL 0.9
enum load_verdict load_step_judge(const struct load_step *step, const struct load_bounds *bounds);
/* One sentence, with the figures that decided. */
void load_step_words(const struct load_step *step, const struct load_bounds *bounds, char *out, size_t size);
const char *load_verdict_word(enum load_verdict verdict);

#endif
