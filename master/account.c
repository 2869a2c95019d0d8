/* account.c - what a relay says about our account with it: slower, later, or no further. Nobody's attempt is counted.
 *
 * A rate is a lane's (pace.h). A daily quota suspends the whole site for the next step of retry.schedule, on all nodes
 * (suspension.c). The rest needs a person, and stops the campaign.
 */
#include <math.h>
#include <string.h>

#include "master.h"

#define AHEAD_US     10000u /* so that a timer that comes late does not slow it down */
#define SAY_AGAIN_AT 0.2    /* a rate that differs by so much from what was said last is said */

static void lane_apply_pace(struct lane *lane)
{
    limit_pace(&lane->rate, (uint64_t)(1e6 / lane->pace.rate), AHEAD_US);
}

static void lane_say_pace(struct lane *lane, const char *what)
{
    double rate = lane->pace.rate;

    if (lane->pace_said > 0.0 && fabs(rate - lane->pace_said) < SAY_AGAIN_AT * lane->pace_said)
        return;
    lane->pace_said = rate;
    log_info("%s: the relay %s: %.1f messages a second from here on", lane->site->name, what, rate);
}

void account_accepted(struct lane *lane)
{
    if (!lane->site->ses)
        return;
    if (lane->site->suspended_until_ms == 0)
        lane->site->quota_refusals = 0;
    pace_accepted(&lane->pace, clock_now_us());
}

void account_tick(struct site *site, uint64_t now_us)
{
    for (uint32_t i = 0; site->ses && i < site->lanes; i++) {
        struct lane *lane = &site->lane[i];
        if (!pace_tick(&lane->pace, now_us, lane->most))
            continue;
        lane_apply_pace(lane);
        lane_say_pace(lane, "takes more");
    }
}

static void too_fast(struct lane *lane)
{
    uint64_t now_us = clock_now_us();
    bool first = lane->pace.rate <= 0.0;

    if (!pace_refused(&lane->pace, now_us))
        return;
    lane_apply_pace(lane);
    if (first) /* the second in which everything was sent is over before the next one is */
        lane->rate.due_us = now_us + 1000000u;
    lane_say_pace(lane, "says that the account sends too fast");
}

static void suspend(struct site *site, const struct outcome_reply *reply)
{
    struct eventlog *log = &site->node->log;
    uint64_t now_ms = clock_now_ms();
    char words[200];
    uint32_t wait_s;

    if (site->suspended_until_ms > now_ms)
        return; /* it was under way when the first one was refused */
    wait_s = retry_step_s(site->node->config, ++site->quota_refusals);
    site_suspend(site, "daily quota", (uint64_t)wait_s * 1000u);
    hk_clean_text(words, sizeof words, reply->text, reply->text_length);
    log_warning("%s: the relay takes no more today (%u %s); asked again in %u s", site->name, reply->code,
                words, wait_s);
    event_begin(log, "suspended");
    event_word(log, "site", site->name);
    event_word(log, "cause", "daily quota");
    event_number(log, "for_s", wait_s);
    event_reply(log, reply);
    event_end(log);
}

void account_stop(struct campaign *campaign, enum account_fault fault, const struct outcome_reply *reply)
{
    char words[REGION_REPLY_TEXT], *sentence;

    if (campaign->frozen)
        return;
    hk_clean_text(words, sizeof words, reply->text, reply->text_length);
    sentence = hk_xasprintf("the relay says %u %.400s: %s", reply->code, words, account_advice(fault));
    node_freeze(campaign, sentence);
    free(sentence);
}

void account_refused(struct site *site, struct lane *lane, struct campaign *campaign,
                     const struct flight *flight)
{
    const struct outcome_reply *reply = &flight->reply;
    enum account_fault fault = account_fault_of(site->ses, reply->code, reply->text, reply->text_length);

    if (account_fault_stops(fault))
        account_stop(campaign, fault, reply);
    else if (fault == ACCOUNT_QUOTA)
        suspend(site, reply);
    else if (fault == ACCOUNT_RATE && lane != NULL)
        too_fast(lane);
}
