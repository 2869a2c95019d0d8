/* suppression.c - who must not be written to: asked when a recipient is taken up, before he is sent to, and at his commit.
 *
 * The view of state/ answers from memory. It is followed here: about twice a second, and at once when a command that
 * changed something says so. A refusal for good that is about the recipient, and a domain that does not exist, go in by themselves; a
 * refusal that only counts is one more soft bounce, and the breaker of a domain watches both (feedback.h).
 */
#include <inttypes.h>
#include <string.h>

#include "returned.h"

#define POLLS_MAX 16 /* pieces of the stream read at once; the rest comes with the next tick */

int suppression_open(struct node *node, struct hk_why *why)
{
    return suppress_open(node->config, node->store, &node->suppress, why);
}

int suppression_poll(struct node *node, struct hk_why *why)
{
    int rc = suppress_poll(node->suppress, why);

    /* A connection that Redis lost while it was started again is made anew by the next question. */
    return rc == HK_EDOWN ? suppress_poll(node->suppress, why) : rc;
}

void suppression_follow(struct node *node)
{
    struct hk_why why;

    for (int i = 0; i < POLLS_MAX && suppression_poll(node, &why) > 0; i++)
        continue;
}

static bool asks_for_counts(const struct node *node)
{
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (node->campaign[i] != NULL)
            return true;
    return false;
}

/* The stream is read by a call that waits. A Redis that hangs must not make the loop hang with it, so the call is made when
 * Redis has just answered another one (suppression_redis_answers), which campaigns ask five times a second. */
void suppression_tick(struct node *node, bool due)
{
    node->suppress_due = node->suppress_due || due || node->suppress_more;
    if (!asks_for_counts(node))
        suppression_redis_answers(node);
}

void suppression_redis_answers(struct node *node)
{
    struct hk_why why;
    int rc;

    if (!node->ledger_up || !node->suppress_due)
        return;
    node->suppress_due = false;
    rc = suppression_poll(node, &why);
    node->suppress_more = rc > 0;
    if (rc < 0 && !node->suppress_failing)
        log_error("suppression: %s; what was known is still skipped", why.text);
    node->suppress_failing = rc < 0;
}

bool recipient_is_suppressed(const struct campaign *campaign, uint32_t index)
{
    struct segment_record record;

    return suppress_count(campaign->node->suppress) > 0 &&
           segment_record(campaign->segment, index, &record) == 0 &&
           suppress_has(campaign->node->suppress, record.wire, record.wire_length);
}

void run_admit(struct campaign *campaign, struct run run, uint32_t domain)
{
    struct run piece = run;
    uint32_t end = run.index + run.count;

    while (piece.index < end) {
        bool suppressed = recipient_is_suppressed(campaign, piece.index);
        piece.count = 1;
        while (piece.index + piece.count < end &&
               recipient_is_suppressed(campaign, piece.index + piece.count) == suppressed)
            piece.count++;
        if (suppressed)
            run_suppress(campaign, piece, NULL);
        else
            domain_enqueue(campaign->node, campaign, domain, piece);
        piece.index += piece.count;
    }
}

/* As an entry of the list: its evidence is the reply. False: nobody could be suppressed for it. */
static bool entry_of(const struct campaign *campaign, uint32_t index, const struct outcome_reply *reply,
                     uint64_t time_us, struct suppress_entry *out, uint32_t *domain_recipients)
{
    struct segment_record record;
    int length;

    *out = (struct suppress_entry){.scope = "all", .reason = "bounce", .time_us = time_us};
    if (segment_record(campaign->segment, index, &record) != 0 || record.wire_length > ADDRESS_MAX)
        return false;
    memcpy(out->address, record.wire, record.wire_length);
    *domain_recipients = segment_domain(campaign->segment, record.domain).count;
    snprintf(out->source, sizeof out->source, "%s", campaign->manifest.campaign);
    length = reply->code != 0 ? snprintf(out->evidence, sizeof out->evidence, "%u ", reply->code) : 0;
    snprintf(out->evidence + length, sizeof out->evidence - (size_t)length, "%.*s", (int)reply->text_length,
             reply->text);
    for (char *c = out->evidence; *c != '\0'; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    return true;
}

/* What a server says of one mailbox it may say of all by mistake; that a domain is not there nobody says. */
static bool may_be_held(const struct config *config, const struct outcome_reply *reply,
                        struct verdict verdict)
{
    return config->bounce.breaker_count > 0 && reply->code != 0 &&
           verdict.reply_class != CLASS_DOMAIN_INVALID;
}

void refusal_count(struct campaign *campaign, uint32_t index, const struct outcome_reply *reply,
                   struct verdict verdict, uint64_t time_us)
{
    struct node *node = campaign->node;
    struct feedback feedback = {.disposition = verdict.disposition,
                                .reply_class = reply_class_name(verdict.reply_class)};
    int rc;

    if (verdict.disposition != DISPOSITION_SUPPRESS && verdict.disposition != DISPOSITION_COUNT)
        return;
    if (!entry_of(campaign, index, reply, time_us, &feedback.entry, &feedback.domain_recipients))
        return;
    snprintf(feedback.message, sizeof feedback.message, "%s.%" PRIu32, campaign->manifest.campaign, index);
    feedback.may_be_held =
        verdict.disposition == DISPOSITION_SUPPRESS && may_be_held(node->config, reply, verdict);
    if (feedback.may_be_held || verdict.disposition == DISPOSITION_COUNT)
        rc = ledger_feedback(node->ledger, node->config, &feedback);
    else
        rc = ledger_suppress(node->ledger, node->suppress, &feedback.entry);
    if (rc == HK_EINVAL)
        log_warning("campaign %s: recipient %u bounced, and his address cannot be suppressed",
                    campaign->manifest.campaign, index);
    else if (rc != 0)
        node_freeze(campaign, "out of memory");
}

void refusal_counted(void *context, const struct feedback *feedback, const struct feedback_result *result)
{
    struct node *node = context;

    if (result->done == FEEDBACK_SUPPRESSED || result->done == FEEDBACK_TRIPPED)
        node->suppress_due = true; /* the stream has it, or takes it back */
    if (result->done == FEEDBACK_TRIPPED || result->done == FEEDBACK_FULL)
        returned_alarm(node, feedback->entry.source, feedback->entry.address, result);
}
