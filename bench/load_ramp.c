/* load_ramp.c - see load_ramp.h. */
#include "load_ramp.h"

#include <string.h>

#define RATE_MAX       1e6
#define SLACK_MESSAGES 2

static bool rate_read(const char **at, double *out)
{
    char *end;

    if (**at < '0' || **at > '9')
        return false;
    *out = strtod(*at, &end);
    *at = end;
    return *out > 0 && *out <= RATE_MAX;
}

static bool plan_read(const char *at, struct load_ramp_plan *out)
{
    *out = (struct load_ramp_plan){0};
    /* strtod() would take the first dot of "100..5000" for a decimal one: the rates are whole. */
    out->from = (double)strtoul(at, NULL, 10);
    at += strspn(at, "0123456789");
    if (out->from < 1 || out->from > RATE_MAX || strncmp(at, "..", 2) != 0)
        return false;
    at += 2;
    if (!rate_read(&at, &out->to) || out->to < out->from || *at++ != ':')
        return false;
    if (*at == 'x') {
        at++;
        return rate_read(&at, &out->factor) && out->factor > 1 && *at == '\0';
    }
    return rate_read(&at, &out->add) && *at == '\0';
}

int load_ramp_parse(const char *text, struct load_ramp_plan *out, struct hk_why *why)
{
    unsigned steps = 0;

    if (!plan_read(text, out))
        return why_set(
            why, HK_EINVAL,
            "--ramp %s: write FROM..TO:STEP in messages a second, as 500..20000:500 or 500..20000:x1.2",
            text);
    for (double rate = out->from; rate > 0 && steps <= LOAD_STEPS_MAX / 2; rate = load_ramp_next(out, rate))
        steps++;
    if (steps > LOAD_STEPS_MAX / 2)
        return why_set(why, HK_EINVAL, "--ramp %s: more than %u steps: write a larger one", text,
                       LOAD_STEPS_MAX / 2);
    return HK_OK;
}

double load_ramp_next(const struct load_ramp_plan *plan, double rate)
{
    double next = plan->add > 0 ? rate + plan->add : rate * plan->factor;

    return next > plan->to * 1.000001 ? 0 : next;
}

enum load_verdict load_step_judge(const struct load_step *step, const struct load_bounds *bounds)
{
    enum load_verdict verdict = STEP_HOLDS;
    double slack = 2 * SLACK_MESSAGES / step->seconds; /* a second, of half the step */

    if ((double)step->failed > bounds->error_share * (double)step->answered)
        return STEP_ERRORS;
    if (step->achieved + slack < bounds->rate_share * step->rate)
        verdict = STEP_BEHIND;
    else if (step->p99_us > (uint64_t)bounds->p99_ms * 1000)
        verdict = STEP_SLOW;
    return verdict != STEP_HOLDS && step->cpu_share >= LOAD_CPU_FULL ? STEP_OURS : verdict;
}

const char *load_verdict_word(enum load_verdict verdict)
{
    static const char *const words[] = {
        [STEP_HOLDS] = "holds",   [STEP_BEHIND] = "behind", [STEP_SLOW] = "slow",
        [STEP_ERRORS] = "errors", [STEP_OURS] = "ours",     [STEP_CUT] = "cut",
    };

    return words[verdict];
}

void load_step_words(const struct load_step *step, const struct load_bounds *bounds, char *out, size_t size)
{
    switch (step->verdict) {
    case STEP_HOLDS:
        snprintf(out, size, "%.0f/s answered (at least %.0f wanted), p99 %.1f ms (at most %u)",
                 step->achieved, bounds->rate_share * step->rate, (double)step->p99_us / 1e3, bounds->p99_ms);
        break;
    case STEP_BEHIND:
        snprintf(out, size, "%.0f/s answered, less than %.0f %% of %.0f/s", step->achieved,
                 100 * bounds->rate_share, step->rate);
        break;
    case STEP_SLOW:
        snprintf(out, size, "p99 %.1f ms, above %u ms", (double)step->p99_us / 1e3, bounds->p99_ms);
        break;
    case STEP_ERRORS:
        snprintf(out, size, "%llu of %llu refused, above %.1f %%", (unsigned long long)step->failed,
                 (unsigned long long)step->answered, 100 * bounds->error_share);
        break;
    case STEP_OURS:
        snprintf(out, size, "load itself used %.0f %% of a core: this rate is more than it can make",
                 100 * step->cpu_share);
        break;
    case STEP_CUT:
        snprintf(out, size, "ended before its time");
        break;
    }
}
