/* suppression.c - who must not be written to: asked when a recipient is taken up, before he is sent to, and at his commit.
 *
 * The view of state/ answers from memory. It is followed here: about once a second, and at once when a command that changed
 * something says so. A refusal for good that is about the recipient, and a domain that does not exist, go in by themselves.
 */
#include <string.h>

#include "master.h"

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

static bool asks_for_counts(const struct node *node)
{
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (node->campaign[i] != NULL)
            return true;
    return false;
}

/* The stream is read by a call that waits. A Redis that hangs must not make the loop hang with it, so the call is made when
 * Redis has just answered another one (suppression_redis_answers), which campaigns ask five times a second. */
void suppression_tick(struct node *node, bool second)
{
    node->suppress_due = node->suppress_due || second || node->suppress_more;
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

void bounced_suppress(struct campaign *campaign, uint32_t index, const struct outcome_reply *reply)
{
    struct suppress_entry entry = {.scope = "all", .reason = "bounce", .time_us = clock_wall_us()};
    struct segment_record record;
    int length, rc;

    if (segment_record(campaign->segment, index, &record) != 0 || record.wire_length > ADDRESS_MAX)
        return;
    memcpy(entry.address, record.wire, record.wire_length);
    snprintf(entry.source, sizeof entry.source, "%s", campaign->manifest.campaign);
    length = reply->code != 0 ? snprintf(entry.evidence, sizeof entry.evidence, "%u ", reply->code) : 0;
    snprintf(entry.evidence + length, sizeof entry.evidence - (size_t)length, "%.*s", (int)reply->text_length,
             reply->text);
    for (char *c = entry.evidence; *c != '\0'; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    rc = ledger_suppress(campaign->node->ledger, campaign->node->suppress, &entry);
    if (rc == HK_EINVAL)
        log_warning("campaign %s: recipient %u bounced, and his address cannot be suppressed",
                    campaign->manifest.campaign, index);
    else if (rc != 0)
        node_freeze(campaign, "out of memory");
}
