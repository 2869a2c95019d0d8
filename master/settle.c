/* settle.c - what a dead master's region tells: each flight it left is settled before anything new is sent.
 *
 * The region is read once no worker of it lives (their lock is free). A region of another boot is not believed: what the
 * ledger calls sending becomes unknown when its span is taken, but for what the event log knows (journal.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "hikyaku/fault.h"
#include "journal.h"

#define LOCK_GRACE_MS  5000u  /* beyond node.orphan, within which workers without a master end */
#define LEDGER_WAIT_MS 60000u /* for the ledger to take what was found */

struct tally {
    uint64_t told, unknown, again, strange;
};

static int wait_for_workers(const struct node *node, struct hk_why *why)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    uint64_t until = clock_now_ms() + node->config->node.orphan_ms + LOCK_GRACE_MS;
    char path[4096];
    bool said = false;
    int fd;

    if (config_path(node->config, path, sizeof path, "workers.lock") != 0)
        return why_set(why, HK_ETOOBIG, "state_dir is too long a path");
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return why_set(why, HK_EIO, "%s: %s", path, strerror(errno));
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (clock_now_ms() > until || node_is_told_to_stop(node)) {
            close(fd);
            return why_set(why, HK_EBUSY, "%s: workers of an earlier node still hold it; end them first",
                           path);
        }
        if (!said)
            log_info("waiting for the workers of a dead master to end");
        said = true;
        nanosleep(&pause, NULL);
    }
    close(fd);
    return 0;
}

static bool was_refused(const struct settle_open *open, const char *id)
{
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (strcmp(open->refused[i], id) == 0)
            return true;
    return false;
}

struct campaign *settle_campaign(struct node *node, const char *id, struct settle_open *open)
{
    struct campaign *campaign = campaign_find(node, id);
    struct hk_why why;
    int rc;

    if (campaign != NULL || was_refused(open, id))
        return campaign;
    rc = campaign_open(node, id, &why);
    if (rc != 0) {
        /* One that was purged is nothing to speak of. */
        if (rc != HK_ENOENT)
            log_error("campaign %s: %s", id, why.text);
        snprintf(open->refused[open->refusals++ % REGION_CAMPAIGNS_MAX], sizeof open->refused[0], "%s", id);
        return NULL;
    }
    campaign = campaign_find(node, id);
    open->campaign[campaign->slot] = campaign;
    return campaign;
}

void settle_close(struct node *node, struct settle_open *open)
{
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (open->campaign[i] != NULL && open->campaign[i] == node->campaign[i])
            campaign_close(node->campaign[i]);
}

/* The campaign a slot of the old table means. */
static struct campaign *old_campaign(struct node *node, const struct region *old, uint16_t slot,
                                     struct settle_open *open)
{
    const char *id;

    if (slot >= REGION_CAMPAIGNS_MAX)
        return NULL;
    id = old->campaign[slot].id;
    if (memchr(id, '\0', sizeof old->campaign[slot].id) == NULL || !campaign_id_is_valid(id))
        return NULL;
    return settle_campaign(node, id, open);
}

static void on_settle_take(void *context, uint64_t cookie, enum ledger_verdict verdict, const uint32_t *words,
                           const uint32_t *due, const uint32_t *first, uint32_t count)
{
    (void)context;
    (void)cookie;
    (void)verdict;
    (void)words;
    (void)due;
    (void)first;
    (void)count;
}

/* Where Redis has forgotten that the span was ever taken, it is taken anew, and what the op tells is told as our own. */
int settle_push(struct campaign *campaign, struct ledger_op op)
{
    struct ledger *ledger = campaign->node->ledger;
    struct span *span = &campaign->span[op.span];
    int rc = 0;

    if (!span->known) {
        rc = ledger_take(ledger, campaign->manifest.campaign, 0, op.span, span->count, on_settle_take, NULL,
                         0);
        span->known = span->ours = rc == 0;
    }
    if (span->ours)
        op.granted = 0;
    return rc == 0 ? ledger_push(ledger, campaign->manifest.campaign, &op) : rc;
}

static void settle_flight(struct node *node, const struct region *old, uint32_t worker, struct flight *flight,
                          struct settle_open *open, struct tally *tally)
{
    uint32_t phase = atomic_load_explicit(&flight->phase, memory_order_acquire);
    struct campaign *campaign;
    struct ledger_op op = {.cookie = COOKIE_OLD_REGION, .count = 1, .granted = old->header->epoch};

    if (phase == FLIGHT_FREE)
        return;
    campaign = old_campaign(node, old, flight->send.campaign, open);
    if (campaign == NULL || flight->send.index >= segment_count(campaign->segment) || phase > FLIGHT_DONE) {
        tally->strange++;
        return;
    }
    op.attempt = flight->send.attempt;
    op.segment = flight->send.segment;
    op.index = flight->send.index;
    op.span = segment_span_of(campaign->segment, op.index);
    op.span_first = campaign->span[op.span].first;
    if (phase == FLIGHT_DOT)
        flight_lost_reply(flight, "our node died before the reply");
    if (phase == FLIGHT_DOT || (phase == FLIGHT_DONE && flight->result >= RESULT_SENT)) {
        op.kind = OP_OUTCOME;
        flight_outcome(node, old, worker, flight, campaign, op);
        tally->unknown += flight->result == RESULT_UNKNOWN;
        tally->told += flight->result != RESULT_UNKNOWN;
        return;
    }
    op.kind = OP_RELEASE;
    if (settle_push(campaign, op) != 0)
        node_freeze(campaign, "out of memory");
    tally->again++;
}

int settle_wait(struct node *node, struct hk_why *why)
{
    uint64_t until = clock_now_ms() + LEDGER_WAIT_MS;

    node->forgotten[0] = '\0';
    while (ledger_pending(node->ledger) > 0) {
        if (eventlog_flush(&node->log) == 0)
            ledger_flush(node->ledger);
        node_wait(node);
        if (node->again)
            return why_set(why, HK_EDOWN, "%s: it is told once more what the event log knows",
                           REDIS_IS_BEHIND);
        if (clock_now_ms() > until)
            return why_set(why, HK_EDOWN,
                           "Redis does not take what the last run left; try again when it does");
    }
    if (node->forgotten[0] != '\0')
        return why_set(
            why, HK_EDOWN,
            "campaign %s: Redis has lost recipients of whom the event log was told; if the same command says "
            "this again, 'hikyaku campaigns restore' tells it all that the log knows",
            node->forgotten);
    return 0;
}

static int settle_flights(struct node *node, const struct region *old, struct hk_why *why)
{
    struct settle_open open = {0};
    struct tally tally = {0};
    int rc;

    for (uint32_t w = 0; w < old->header->sizes.workers; w++)
        for (uint32_t i = 0; i < old->header->sizes.flight_slots; i++)
            settle_flight(node, old, w, region_flight(old, w, i), &open, &tally);
    rc = settle_wait(node, why);
    if (tally.told + tally.unknown + tally.again + tally.strange > 0)
        log_info("the last run left %llu messages under way: %llu had their outcome, %llu are unknown, %llu "
                 "are sent "
                 "again",
                 (unsigned long long)(tally.told + tally.unknown + tally.again),
                 (unsigned long long)tally.told, (unsigned long long)tally.unknown,
                 (unsigned long long)tally.again);
    if (tally.strange > 0)
        log_warning("%llu flights of the last run belong to no campaign that is here",
                    (unsigned long long)tally.strange);
    settle_close(node, &open);
    return rc;
}

/* What was written to the event log and not told to this Redis, or told and lost by it. */
static int settle_journal(struct node *node, struct hk_why *why)
{
    struct journal_story story;
    char place[LEASE_TOLD_SIZE];
    uint64_t began_ms = clock_now_ms();
    int rc = store_told(node->store, &node->lease, place, why);

    if (rc == 0)
        rc = journal_replay(node, place, NULL, &story, why);
    if (rc == 0 && story.lines > 0)
        suppression_follow(node); /* it was opened before what the log tells was suppressed */
    if (rc == 0 && place[0] != '\0' && !story.whole)
        log_warning(
            "the part of the event log up to which Redis was told is gone: where Redis has lost its last "
            "writes (the machine went down, its file was mended), nobody knows who was sent to then");
    if (rc == 0 && story.lines > 0)
        log_info("told the ledger %llu line%s of the event log again%s, in %.1f s",
                 (unsigned long long)story.lines, story.lines == 1 ? "" : "s",
                 story.whole ? "" : " (from its beginning)", (double)(clock_now_ms() - began_ms) / 1000.0);
    return rc;
}

int settle_region(struct node *node, struct hk_why *why)
{
    struct region old;
    char path[4096];
    bool same_boot;
    int rc = wait_for_workers(node, why);

    if (rc == 0 && config_path(node->config, path, sizeof path, "region") != 0)
        rc = why_set(why, HK_ETOOBIG, "state_dir is too long a path");
    if (rc != 0)
        return rc;
    fault_at(SETTLE_BEFORE);
    rc = settle_journal(node, why);
    if (rc != 0)
        return rc;
    fault_at(SETTLE_MIDDLE);
    rc = region_attach(path, &old, &same_boot, why);
    if (rc == HK_ENOENT)
        return 0;
    if (rc != 0 && rc != HK_ECHANGED)
        return rc; /* it may be whole: whoever starts again when it can be read finds what was under way */
    if (rc != 0) {
        log_warning("%s; what was under way counts as unknown", why->text);
        return 0;
    }
    if (same_boot)
        rc = settle_flights(node, &old, why);
    else
        log_warning("the machine was started anew: what was under way counts as unknown");
    region_close(&old);
    fault_at(SETTLE_AFTER);
    return rc;
}
