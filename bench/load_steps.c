/* load_steps.c - the ramp: one step after the other until a rate is too much for the server (load_ramp.h). */
#include "load.h"

#include <string.h>

/* From now on, this rate. */
static void rate_set(struct load *load, double rate, uint64_t now_us)
{
    struct load_steps *s = &load->steps;

    if (load_arrivals_rate(&load->arrivals, now_us - load->started_us, rate) < 0) {
        load_finish(load, LOAD_RAMP_DONE, now_us);
        return;
    }
    s->rate = rate;
}

static void step_begin(struct load *load, double rate, uint64_t now_us)
{
    struct load_steps *s = &load->steps;

    s->state = STEP_FIRST_HALF;
    s->begun_us = now_us;
    s->answered = load->counts.accepted + load->counts.failed;
    s->failed = load->counts.failed;
    s->cpu = load_cpu_seconds();
    load_histogram_clear(&s->latency);
    rate_set(load, rate, now_us);
}

void load_steps_begin(struct load *load, uint64_t now_us)
{
    step_begin(load, load->options.plan.from, now_us);
}

static void age_add(struct load *load, uint64_t due_us, uint64_t now_us)
{
    if (due_us >= load->steps.begun_us)
        load_histogram_add(&load->steps.latency, now_us - due_us);
}

/* What is unanswered counts by its age: it will take at least that long. */
static void ages_add(struct load *load, uint64_t now_us)
{
    struct load_cursor at = load->begun;

    for (uint32_t i = 0; i < load->connections; i++)
        if (load->conn[i].phase > LOAD_IDLE && load->conn[i].phase < LOAD_QUIT)
            age_add(load, load->conn[i].due_us, now_us);
    while (at.number < load->due.number)
        age_add(load, load->started_us + load_cursor_next(&load->arrivals, &at), now_us);
}

/* The step that ends now, in figures. */
static struct load_step *step_measure(struct load *load, uint64_t now_us)
{
    struct load_steps *s = &load->steps;
    struct load_step *step = &s->step[s->count++];
    uint64_t answered = load->counts.accepted + load->counts.failed;

    ages_add(load, now_us);
    *step = (struct load_step){.rate = s->rate,
                               .seconds = (double)(now_us - s->begun_us) / 1e6,
                               .answered = answered - s->answered,
                               .failed = load->counts.failed - s->failed,
                               .p50_us = load_histogram_percentile(&s->latency, 5000),
                               .p99_us = load_histogram_percentile(&s->latency, 9900)};
    step->cpu_share = (load_cpu_seconds() - s->cpu) / step->seconds;
    if (s->state == STEP_SECOND_HALF && now_us > s->half_us)
        step->achieved = (double)(answered - s->half_answered) * 1e6 / (double)(now_us - s->half_us);
    return step;
}

void load_steps_cut(struct load *load, uint64_t now_us)
{
    struct load_steps *s = &load->steps;

    if (s->state == STEP_FIRST_HALF || s->state == STEP_SECOND_HALF)
        step_measure(load, now_us)->verdict = STEP_CUT;
    s->state = STEP_NONE;
}

static void ramp_end(struct load *load, enum load_end why, uint64_t now_us)
{
    load->steps.state = STEP_NONE;
    load->abandon = true;
    load_finish(load, why, now_us);
}

static void step_end(struct load *load, uint64_t now_us)
{
    struct load_steps *s = &load->steps;
    struct load_step *step = step_measure(load, now_us);
    double next = load_ramp_next(&load->options.plan, s->rate);

    step->verdict = load_step_judge(step, &load->options.bounds);
    if (step->verdict == STEP_HOLDS) {
        s->again = false;
        s->knee = s->rate;
        if (next > 0)
            step_begin(load, next, now_us);
        else
            ramp_end(load, LOAD_RAMP_DONE, now_us);
    } else if (s->again || step->verdict == STEP_OURS) {
        ramp_end(load, LOAD_KNEE, now_us);
    } else {
        /* Once may be chance: the backlog is worked off, then the same rate again. */
        s->again = true;
        s->state = STEP_RECOVERS;
        s->begun_us = now_us;
        if (load_arrivals_rate(&load->arrivals, now_us - load->started_us, 0) < 0)
            ramp_end(load, LOAD_KNEE, now_us);
    }
}

void load_steps_tick(struct load *load, uint64_t now_us)
{
    struct load_steps *s = &load->steps;
    uint64_t step_us = (uint64_t)load->options.step_ms * 1000;

    if (s->state == STEP_FIRST_HALF && now_us >= s->begun_us + step_us / 2) {
        s->state = STEP_SECOND_HALF;
        s->half_us = now_us;
        s->half_answered = load->counts.accepted + load->counts.failed;
    } else if (s->state == STEP_SECOND_HALF && now_us >= s->begun_us + step_us) {
        step_end(load, now_us);
    } else if (s->state == STEP_RECOVERS) {
        if (load->busy == 0 && load_waiting(load) == 0)
            step_begin(load, s->rate, now_us);
        else if (now_us >= s->begun_us + (uint64_t)load->options.drain_ms * 1000)
            ramp_end(load, LOAD_KNEE, now_us);
    }
}
