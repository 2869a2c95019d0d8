/* account.c - what a relay says about our account with it: slower, later, or no further. Nobody's attempt is counted.
 *
 * A rate is that of the account, which all nodes of one Redis share (gate.c). A daily quota suspends the whole site for the next step of retry.schedule, on all nodes
 * (suspension.c). The rest needs a person, and stops the campaign.
 */
#include <string.h>

#include "master.h"

void account_accepted(struct site *site)
{
    if (!site->ses)
        return;
    if (site->suspended_until_ms == 0)
        site->quota_refusals = 0;
    pace_accepted(&site->account->pace, clock_now_us());
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

void account_refused(struct site *site, struct campaign *campaign, const struct flight *flight)
{
    const struct outcome_reply *reply = &flight->reply;
    enum account_fault fault = account_fault_of(site->ses, reply->code, reply->text, reply->text_length);

    if (account_fault_stops(fault))
        account_stop(campaign, fault, reply);
    else if (fault == ACCOUNT_QUOTA)
        suspend(site, reply);
    else if (fault == ACCOUNT_RATE)
        gate_refused(site->account);
}
