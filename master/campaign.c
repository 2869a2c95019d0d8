/* campaign.c - which recipients of a campaign are in memory: spans are taken as the window has room for them.
 *
 * Fairness lives here: a domain with spans of its own has one or two of them taken at a time, so however long its list
 * is, it never keeps another domain's span out. A span that was tried gives its memory back; what is deferred waits in
 * Redis, and the span is read again when the earliest of it is due.
 */
#include <string.h>

#include "journal.h"

#define WINDOW_RECIPIENTS 65536u /* movable recipients beyond which no span is taken */
#define TAKES_IN_FLIGHT   16u
#define RATE_EVERY_MS     500u  /* how often the rate that is shown is measured */
#define RATE_WEIGHT       0.3   /* of the newest piece in it */
#define RATE_STALE_MS     5000u /* Redis is away: nobody counts */
#define FIRST_ROWS_WAIT_S \
    60u /* a retry of the first rows within this is waited for before the campaign stops */
#define BIG_DOMAIN_IN_FLIGHT (SPAN_MAX / 2) /* a big domain's next span is taken below this many active */

static void on_taken(void *context, uint64_t cookie, enum ledger_verdict verdict, const uint32_t *words,
                     const uint32_t *due, const uint32_t *first, uint32_t count);

uint32_t campaign_now_s(const struct campaign *campaign)
{
    uint64_t now = clock_now_us();

    return now < campaign->start_us ? 1 : (uint32_t)((now - campaign->start_us) / 1000000u) + 1;
}

struct campaign *campaign_find(const struct node *node, const char *id)
{
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (node->campaign[i] != NULL && strcmp(node->campaign[i]->manifest.campaign, id) == 0)
            return node->campaign[i];
    return NULL;
}

bool campaign_runs(const struct campaign *campaign)
{
    return !campaign->parked && strcmp(campaign->manifest.state, "running") == 0;
}

static bool is_cancelled(const struct campaign *campaign)
{
    return strcmp(campaign->manifest.state, "cancelled") == 0;
}

bool campaign_is_idle(const struct campaign *campaign)
{
    return campaign->active == 0 && campaign->taking == 0 &&
           ledger_pending_of(campaign->node->ledger, campaign->manifest.campaign) == 0;
}

/* Open what the manifest names: the segments, and the message that was pinned with them. */
static int open_files(const struct config *config, const struct manifest *m, bool list_is_whole,
                      struct segment **segment, struct hk_why *why)
{
    char path[4096], sha256[HK_SHA256_HEX];
    int rc = segment_open_campaign(config, m->campaign, m->segments, !list_is_whole, segment, why);

    if (rc != 0)
        return rc;
    segment_keep_from_children(*segment); /* workers open what they need themselves */
    if (strcmp(segment_sha256(*segment), m->list_sha256) != 0 || segment_count(*segment) != m->recipients ||
        segment_span_count(*segment) != m->spans)
        return why_set(why, HK_ECHANGED, "%s/campaigns/%s: not the list that the campaign was begun with",
                       config->state_dir, m->campaign);
    rc = config_path(config, path, sizeof path, "campaigns/%s/" CAMPAIGN_MESSAGE_FILE, m->campaign);
    if (rc == 0)
        rc = hk_sha256_file(path, sha256, why);
    if (rc == 0 && strcmp(sha256, m->message_sha256) != 0)
        rc = why_set(why, HK_ECHANGED, "%s: not the message that campaign %s was begun with", path,
                     m->campaign);
    return rc;
}

static bool is_big(const struct segment *segment, const struct segment_span *span)
{
    return span->domain_count == 1 && segment_domain(segment, span->domain_first).count >= SPAN_MAX / 4;
}

/* Make room for the spans of the segment from `from` on, and tell those of big domains from packed ones. A domain that an
 * extension brings again is a big domain of its own there. */
static void lay_out_spans(struct campaign *campaign, uint32_t from)
{
    const struct segment *segment = campaign->segment;
    uint32_t spans = segment_span_count(segment), last_domain = UINT32_MAX;

    campaign->span = hk_xrealloc(campaign->span, spans, sizeof *campaign->span);
    campaign->big_domain = hk_xrealloc(campaign->big_domain, spans, sizeof *campaign->big_domain);
    memset(campaign->span + from, 0, (spans - from) * sizeof *campaign->span);
    campaign->spans = spans;
    for (uint32_t i = from; i < spans; i++) {
        struct segment_span all = segment_span(segment, i);
        struct span *span = &campaign->span[i];
        span->first = all.first;
        span->count = all.count;
        span->big = NOT_BIG;
        if (!is_big(segment, &all))
            continue;
        if (all.domain_first != last_domain)
            campaign->big_domain[campaign->big_domains++] = (struct big_domain){.next = i};
        last_domain = all.domain_first;
        span->big = campaign->big_domains - 1;
        campaign->big_domain[span->big].end = i + 1;
    }
}

static int take_slot(struct campaign *campaign, struct hk_why *why)
{
    struct node *node = campaign->node;

    for (uint16_t i = 0; i < REGION_CAMPAIGNS_MAX; i++) {
        if (node->campaign[i] != NULL)
            continue;
        campaign->slot = i;
        node->campaign[i] = campaign;
        return 0;
    }
    /* A settled one stays only as long as its slot is not wanted. */
    for (uint16_t i = 0; i < REGION_CAMPAIGNS_MAX; i++) {
        if (!node->campaign[i]->settled || !campaign_is_idle(node->campaign[i]))
            continue;
        campaign_close(node->campaign[i]);
        campaign->slot = i;
        node->campaign[i] = campaign;
        return 0;
    }
    return why_set(why, HK_EFULL, "this node runs %u campaigns already", REGION_CAMPAIGNS_MAX);
}

/* Workers know a campaign by its slot in the region's table. Before a node has its region there are no workers. */
void campaign_publish(struct campaign *campaign)
{
    struct region_campaign *entry;

    if (campaign->node->region.base == NULL)
        return;
    entry = &campaign->node->region.campaign[campaign->slot];
    snprintf(entry->id, sizeof entry->id, "%s", campaign->manifest.campaign);
    entry->segments = campaign->manifest.segments;
    memcpy(entry->list_sha256, campaign->manifest.list_sha256, sizeof entry->list_sha256);
    memcpy(entry->message_sha256, campaign->manifest.message_sha256, sizeof entry->message_sha256);
    atomic_fetch_add_explicit(&entry->generation, 1, memory_order_release);
}

/* A list that was extended meanwhile: old indexes and spans keep their meaning, the new ones stand behind them. */
static int campaign_grow(struct campaign *campaign, struct hk_why *why)
{
    struct node *node = campaign->node;
    struct segment *segment = NULL;
    struct manifest manifest;
    uint32_t from = campaign->spans;
    int rc = store_campaign_get(node->store, campaign->manifest.campaign, &manifest, why);

    if (rc != 0 || manifest.segments == campaign->manifest.segments)
        return rc;
    rc = open_files(node->config, &manifest, false, &segment, why);
    if (rc != 0) {
        segment_close(segment);
        return rc;
    }
    segment_close(campaign->segment);
    campaign->segment = segment;
    campaign->manifest = manifest;
    campaign->settled = campaign->said_settled = false;
    lay_out_spans(campaign, from);
    campaign_publish(campaign);
    campaign_read_counts(campaign);
    log_info("campaign %s: its list has %llu recipients now", manifest.campaign,
             (unsigned long long)manifest.recipients);
    return 0;
}

static void note_known(void *context, uint32_t segment, uint32_t span, bool taken, uint32_t earliest_due_s)
{
    struct campaign *campaign = context;

    (void)segment;
    (void)earliest_due_s;
    if (taken && span < campaign->spans)
        campaign->span[span].known = true;
}

/* The list of ten million is half a gigabyte, and a start after a crash has no time to hash it twice. A later life of this
 * process believes it as well: it had the file mapped all the while. */
static bool list_is_whole(const struct node *node, const char *id)
{
    return node->options->list_is_whole && strcmp(node->options->campaign, id) == 0;
}

int campaign_open(struct node *node, const char *id, struct hk_why *why)
{
    struct campaign *campaign;
    uint64_t wall = clock_wall_us();
    int rc;

    campaign = campaign_find(node, id);
    if (campaign != NULL)
        return campaign_grow(campaign, why);
    campaign = hk_xcalloc(1, sizeof *campaign);
    campaign->node = node;
    campaign->slot = UINT16_MAX;
    rc = store_campaign_get(node->store, id, &campaign->manifest, why);
    rc = node_campaign_is_missing(node->config, id, rc, why);
    if (rc == 0)
        rc = open_files(node->config, &campaign->manifest, list_is_whole(node, id), &campaign->segment, why);
    if (rc == 0)
        rc = take_slot(campaign, why);
    if (rc == 0) {
        lay_out_spans(campaign, 0);
        rc = store_spans(node->store, id, note_known, campaign, why);
    }
    if (rc == 0)
        rc = journal_begun(campaign, NULL, why);
    if (rc != 0) {
        campaign_close(campaign);
        return rc;
    }
    campaign_publish(campaign);
    campaign->settled = campaign->said_settled = campaign->manifest.settled_us != 0;
    campaign->start_us = clock_now_us();
    if (wall > campaign->manifest.created_us && wall - campaign->manifest.created_us < campaign->start_us)
        campaign->start_us -= wall - campaign->manifest.created_us;
    campaign_read_counts(campaign);
    log_info("campaign %s: %llu recipients, %llu settled before", id,
             (unsigned long long)campaign->manifest.recipients,
             (unsigned long long)(campaign->manifest.recipients - campaign->counts[LEDGER_PENDING] -
                                  campaign->counts[LEDGER_SENDING] - campaign->counts[LEDGER_DEFERRED]));
    return 0;
}

int campaign_check_sender(const struct node *node, const struct manifest *manifest, struct hk_why *why)
{
    char sha256[HK_SHA256_HEX];

    config_sender_sha256(node->config, sha256);
    if (strcmp(sha256, manifest->sender_sha256) == 0)
        return 0;
    return why_set(
        why, HK_ECHANGED,
        "%s: the sender section or the DKIM domains are not those that campaign %s was begun with; put "
        "them back and start the node again, or cancel it",
        node->config->file, manifest->campaign);
}

int campaign_run(struct node *node, const char *id, struct hk_why *why)
{
    struct manifest manifest;
    int rc = store_campaign_get(node->store, id, &manifest, why);

    rc = node_campaign_is_missing(node->config, id, rc, why);
    if (rc == 0)
        rc = campaign_check_sender(node, &manifest, why);
    return rc == 0 ? campaign_open(node, id, why) : rc;
}

void campaign_close(struct campaign *campaign)
{
    if (campaign->slot != UINT16_MAX)
        campaign->node->campaign[campaign->slot] = NULL;
    for (uint32_t i = 0; i < campaign->spans; i++)
        free(campaign->span[i].bits);
    free(campaign->span);
    free(campaign->big_domain);
    segment_close(campaign->segment);
    campaign->span = NULL;
    campaign->spans = 0;
    /* Counts that were asked for may still come: what they are written to stays as long as the node. */
    SLIST_INSERT_HEAD(&campaign->node->closed, campaign, closed_link);
}

/* Waits for the answer: at start and at the end, when nothing else has to go on. */
bool campaign_read_counts(struct campaign *campaign)
{
    struct hk_why why;

    if (!campaign->node->ledger_up)
        return false;
    return store_counts(campaign->node->store, &campaign->manifest, campaign->counts, &campaign->attempts,
                        &why) == 0;
}

/* Of what the ledger counts, so what other nodes settle is in it. */
static void measure_rate(struct campaign *campaign)
{
    uint64_t now = clock_now_ms(), past_ms = now - campaign->rate_at_ms;
    uint64_t open = campaign->counts[LEDGER_PENDING] + campaign->counts[LEDGER_SENDING] +
                    campaign->counts[LEDGER_DEFERRED];
    uint64_t done = campaign->manifest.recipients > open ? campaign->manifest.recipients - open : 0;
    double newest;

    if (campaign->rate_at_ms != 0 && past_ms < RATE_EVERY_MS)
        return;
    if (campaign->rate_at_ms != 0) {
        newest = done > campaign->rate_from ? (double)(done - campaign->rate_from) * 1000.0 / (double)past_ms
                                            : 0.0;
        campaign->rate =
            campaign->rate <= 0.0 ? newest : campaign->rate + (newest - campaign->rate) * RATE_WEIGHT;
    }
    campaign->rate_at_ms = now;
    campaign->rate_from = done;
}

double campaign_rate(const struct campaign *campaign)
{
    if (campaign->settled || !campaign_runs(campaign) ||
        clock_now_ms() - campaign->rate_at_ms > RATE_STALE_MS)
        return 0.0;
    return campaign->rate;
}

static void on_counts(void *context, const uint64_t counts[LEDGER_STATES_COUNT], uint64_t attempts)
{
    struct campaign *campaign = context;

    if (counts != NULL) {
        memcpy(campaign->counts, counts, sizeof campaign->counts);
        campaign->attempts = attempts;
        measure_rate(campaign);
    }
    suppression_redis_answers(campaign->node);
}

static void milestone(struct campaign *campaign, const char *field, uint64_t *at)
{
    char value[24];

    *at = clock_wall_us();
    snprintf(value, sizeof value, "%llu", (unsigned long long)*at);
    if (ledger_manifest_set(campaign->node->ledger, campaign->manifest.campaign, field, value) != 0)
        *at = 0; /* tried again at the next tick */
}

/* ---- taking spans ---- */

static bool take_span(struct campaign *campaign, uint32_t number)
{
    struct span *span = &campaign->span[number];

    if (campaign->begun_epoch == 0 && !journal_begin(campaign))
        return false;
    if (ledger_take(campaign->node->ledger, campaign->manifest.campaign, 0, number, span->count, on_taken,
                    campaign, number) != 0)
        return false;
    if (campaign->manifest.started_us == 0)
        milestone(campaign, "started_us", &campaign->manifest.started_us);
    span->state = SPAN_TAKING;
    span->due_s = 0;
    span->again = false;
    campaign->taking++;
    return true;
}

/* Does everyone in this span stand in a row behind first_rows? Inside a domain rows rise, so its first one tells. */
static bool pass_over(struct campaign *campaign, uint32_t number)
{
    struct span *span = &campaign->span[number];
    struct segment_span all = segment_span(campaign->segment, number);
    struct segment_record record;

    if (campaign->manifest.first_rows == 0)
        return false;
    for (uint32_t i = 0; i < all.domain_count; i++) {
        uint32_t first = segment_domain(campaign->segment, all.domain_first + i).first;
        if (segment_record(campaign->segment, first < all.first ? all.first : first, &record) != 0 ||
            record.row <= campaign->manifest.first_rows)
            return false;
    }
    span->state = SPAN_OPEN;
    span->beyond = true;
    return true;
}

static bool take_big(struct campaign *campaign)
{
    for (uint32_t tried = 0; tried < campaign->big_domains; tried++) {
        struct big_domain *big = &campaign->big_domain[campaign->big_cursor];
        campaign->big_cursor = (campaign->big_cursor + 1) % campaign->big_domains;
        if (big->next == big->end || big->active >= BIG_DOMAIN_IN_FLIGHT)
            continue;
        if (pass_over(campaign, big->next)) {
            big->next++;
            return true;
        }
        if (!take_span(campaign, big->next))
            return false;
        big->active += campaign->span[big->next].count; /* corrected when it is known what stands in it */
        campaign->span[big->next].reserved = true;
        big->next++;
        return true;
    }
    return false;
}

static bool take_packed(struct campaign *campaign)
{
    while (campaign->packed_next < campaign->spans && (campaign->span[campaign->packed_next].big != NOT_BIG ||
                                                       pass_over(campaign, campaign->packed_next)))
        campaign->packed_next++;
    if (campaign->packed_next == campaign->spans || !take_span(campaign, campaign->packed_next))
        return false;
    campaign->packed_next++;
    return true;
}

static void take_due(struct campaign *campaign)
{
    uint32_t now = campaign_now_s(campaign), earliest = UINT32_MAX;

    if (campaign->next_due_s > now)
        return;
    for (uint32_t i = 0; i < campaign->spans; i++) {
        const struct span *span = &campaign->span[i];
        uint32_t due = span->again ? 1 : span->due_s;
        if (span->state != SPAN_OPEN || due == 0)
            continue;
        if ((due > now || campaign->taking == TAKES_IN_FLIGHT || !take_span(campaign, i)) && due < earliest)
            earliest = due;
    }
    campaign->next_due_s = earliest;
}

/* Every span of a cancelled campaign is taken once more, for only its owner may settle who waits in it. */
static void take_to_call_off(struct campaign *campaign)
{
    while (campaign->call_off_next < campaign->spans && campaign->taking < TAKES_IN_FLIGHT) {
        const struct span *span = &campaign->span[campaign->call_off_next];
        if (span->state == SPAN_TAKING)
            return; /* its answer calls it off */
        if (!span->called_off && !take_span(campaign, campaign->call_off_next))
            return;
        campaign->call_off_next++;
    }
}

/* One step: a span of a big domain and a packed one. False: there is none, or it may not be taken now. */
static bool campaign_take_next(struct campaign *campaign)
{
    bool took = false;

    if (campaign->settled || campaign->frozen || !campaign_runs(campaign))
        return false;
    if (campaign->taking < TAKES_IN_FLIGHT)
        took = take_big(campaign);
    if (campaign->taking < TAKES_IN_FLIGHT)
        took = take_packed(campaign) || took;
    return took;
}

/* Campaigns take their next spans in turn, so that none fills the window before another has begun. */
void campaigns_refill(struct node *node)
{
    bool more = true;

    if (node->draining || !node->ledger_up || node->starved)
        return;
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++) {
        struct campaign *campaign = node->campaign[i];
        if (campaign == NULL || campaign->settled || campaign->frozen)
            continue;
        if (campaign_runs(campaign))
            take_due(campaign);
        else if (is_cancelled(campaign))
            take_to_call_off(campaign);
    }
    while (more && node->movable < WINDOW_RECIPIENTS) {
        more = false;
        for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX && node->movable < WINDOW_RECIPIENTS; i++) {
            struct campaign *campaign = node->campaign[(node->refill_from + i) % REGION_CAMPAIGNS_MAX];
            if (campaign != NULL)
                more = campaign_take_next(campaign) || more;
        }
    }
    node->refill_from = (node->refill_from + 1) % REGION_CAMPAIGNS_MAX;
}

/* ---- what a taken span holds ---- */

static bool bit_get(const struct span *span, uint32_t at)
{
    return span->bits != NULL && (span->bits[at / 64] >> (at % 64) & 1) != 0;
}

static void bit_set(struct span *span, uint32_t at)
{
    if (span->bits == NULL)
        span->bits = hk_xcalloc((span->count + 63) / 64, sizeof *span->bits);
    span->bits[at / 64] |= (uint64_t)1 << (at % 64);
}

static void run_flush(struct campaign *campaign, struct run *run, uint32_t domain)
{
    if (run->count > 0)
        run_admit(campaign, *run, domain);
    run->count = 0;
}

static bool is_beyond(const struct campaign *campaign, uint32_t index)
{
    struct segment_record record;

    return campaign->manifest.first_rows != 0 && segment_record(campaign->segment, index, &record) == 0 &&
           record.row > campaign->manifest.first_rows;
}

/* The longest that anybody waits for his next attempt. Who has to wait longer was deferred by another clock. */
static uint32_t longest_wait_s(const struct config *config)
{
    uint32_t longest = 0;

    for (size_t i = 0; i < config->retry.schedule_count; i++)
        if (config->retry.schedule_s[i] > longest)
            longest = config->retry.schedule_s[i];
    return longest;
}

/* Is this recipient to be sent to now? Notes when it will be, or that first_rows are in the way. */
static bool is_wanted(const struct campaign *campaign, struct span *span, uint32_t index,
                      struct ledger_word word, uint32_t due_s, uint32_t now_s)
{
    if (word.state != LEDGER_PENDING && word.state != LEDGER_DEFERRED)
        return false;
    if (is_beyond(campaign, index)) {
        span->beyond = true;
        return false;
    }
    if (word.state == LEDGER_PENDING)
        return true;
    if (due_s <= now_s || due_s - now_s > longest_wait_s(campaign->node->config))
        return true;
    if (span->due_s == 0 || due_s < span->due_s)
        span->due_s = due_s;
    return false;
}

static void note_due(struct campaign *campaign, struct span *span, uint32_t due_s)
{
    if (due_s != 0 && (span->due_s == 0 || due_s < span->due_s))
        span->due_s = due_s;
    if (span->due_s != 0 && (campaign->next_due_s == 0 || span->due_s < campaign->next_due_s))
        campaign->next_due_s = span->due_s;
}

static void queue_span(struct campaign *campaign, uint32_t number, const uint32_t *words, const uint32_t *due,
                       const uint32_t *first)
{
    struct span *span = &campaign->span[number];
    uint32_t now = campaign_now_s(campaign), domain = 0, domain_end = 0;
    struct run run = {.campaign = campaign->slot};

    for (uint32_t i = 0; i < span->count; i++) {
        uint32_t index = span->first + i, first_s = first != NULL ? first[i] : 0;
        struct ledger_word word = ledger_unpack(words[i]);
        if (word.state == LEDGER_UNKNOWN && (words[i] & LEDGER_UNCOUNTED) != 0 && !span->read)
            event_unknown(campaign, index, word.attempts, NULL);
        if (word.state == LEDGER_UNKNOWN && !bit_get(span, i))
            note_due(campaign, span, recipient_resend(campaign, number, index, word.attempts, first_s));
        if (bit_get(span, i) || !is_wanted(campaign, span, index, word, due != NULL ? due[i] : 0, now)) {
            run_flush(campaign, &run, domain);
            continue;
        }
        if (index >= domain_end) {
            struct segment_domain d;
            run_flush(campaign, &run, domain);
            domain =
                index == domain_end && index > 0 ? domain + 1 : segment_domain_of(campaign->segment, index);
            d = segment_domain(campaign->segment, domain);
            domain_end = d.first + d.count;
        }
        if (run.count > 0 && (run.attempts != word.attempts || run.first_s != first_s))
            run_flush(campaign, &run, domain);
        if (run.count == 0) {
            run.index = index;
            run.first_s = first_s;
            run.attempts = word.attempts;
        }
        run.count++;
        bit_set(span, i);
        span->active++;
        campaign->active++;
        if (span->big != NOT_BIG)
            campaign->big_domain[span->big].active++;
    }
    run_flush(campaign, &run, domain);
    span->read = true;
}

static void span_rest(struct campaign *campaign, struct span *span)
{
    if (span->active > 0)
        return;
    free(span->bits);
    span->bits = NULL;
    if (!span->passed && !span->again && !span->beyond && !span->held) {
        span->passed = true;
        campaign->passed++;
    }
}

/* ---- pause, resume, cancel ---- */

void span_read_again(struct campaign *campaign, uint32_t number)
{
    struct span *span = &campaign->span[number];

    span->again = true;
    campaign->next_due_s = 1; /* before any due time, so that none noted later hides it */
    if (span->passed)
        campaign->passed--;
    span->passed = false;
}

void campaign_stop(struct campaign *campaign)
{
    dests_let_go(campaign);
    log_info("campaign %s is %s", campaign->manifest.campaign, campaign->manifest.state);
}

void campaign_go_on(struct campaign *campaign)
{
    for (uint32_t i = 0; i < campaign->spans; i++)
        if (campaign->span[i].beyond) {
            campaign->span[i].beyond = false;
            span_read_again(campaign, i);
        }
    campaign->halted = campaign->overruled = false;
    campaign->thaw_ms = 0;
    campaign->thaws = 0;
    campaign->frozen = false; /* somebody has looked at it; what is still wrong stops it again */
    log_info("campaign %s goes on", campaign->manifest.campaign);
}

static void give_way(struct campaign *campaign)
{
    campaign->halted = true;
    log_warning(
        "campaign %s: Redis says that it is paused, so another node did that, or Redis has lost that it "
        "goes on; 'hikyaku resume' makes it go on",
        campaign->manifest.campaign);
    campaign_stop(campaign);
}

int manifest_put_state(struct node *node, struct manifest *manifest, const char *state, struct hk_why *why)
{
    struct manifest changed = *manifest;
    int rc;

    snprintf(changed.state, sizeof changed.state, "%s", state);
    rc = store_campaign_put(node->store, &changed, why);
    if (rc == 0)
        *manifest = changed;
    return rc;
}

void campaign_as_before(struct campaign *campaign, const char *state)
{
    struct hk_why why;

    if (strcmp(campaign->manifest.state, state) == 0)
        return;
    if (strcmp(campaign->manifest.state, "paused") == 0) {
        give_way(campaign);
    } else if (strcmp(state, "paused") == 0 && campaign_runs(campaign)) {
        if (manifest_put_state(campaign->node, &campaign->manifest, state, &why) != 0)
            snprintf(campaign->manifest.state, sizeof campaign->manifest.state, "%s", state);
        campaign->halted = true;
        log_warning("campaign %s: Redis has lost that it was paused; it stays paused, 'hikyaku resume' makes "
                    "it go on",
                    campaign->manifest.campaign);
    }
}

/* With a beat, for Redis has just answered. What another node changed, or what a Redis that lost its last writes knows, counts. */
static void ask_state(struct campaign *campaign)
{
    struct manifest now;
    struct hk_why why;

    if (store_campaign_get(campaign->node->store, campaign->manifest.campaign, &now, &why) != 0)
        return;
    campaign->overruled = strcmp(now.state, "running") != 0;
    if (strcmp(now.state, campaign->manifest.state) == 0)
        return;
    if (strcmp(now.state, "cancelled") == 0) {
        node_start_over(campaign->node, "a campaign was cancelled by another node");
        return;
    }
    memcpy(campaign->manifest.state, now.state, sizeof now.state);
    campaign->manifest.first_rows = now.first_rows;
    if (!campaign->overruled) {
        campaign_go_on(campaign);
        return;
    }
    give_way(campaign);
}

void campaigns_ask_state(struct node *node)
{
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (node->campaign[i] != NULL && node->campaign[i]->overruled)
            ask_state(node->campaign[i]);
}

void span_called_off(struct campaign *campaign, uint32_t number)
{
    if (!campaign->span[number].called_off)
        campaign->called_off++;
    campaign->span[number].called_off = true;
}

static void call_off(struct campaign *campaign, uint32_t number, const uint32_t *words)
{
    const struct span *span = &campaign->span[number];
    const struct ledger_word cancelled = {.state = LEDGER_CANCELLED};
    struct ledger_op op = {.kind = OP_SETTLE,
                           .span = number,
                           .index = span->first,
                           .span_first = span->first,
                           .count = span->count,
                           .word = ledger_pack(cancelled),
                           .cookie = COOKIE_CALL_OFF};
    bool waiting = false;

    for (uint32_t i = 0; i < span->count && !waiting; i++) {
        struct ledger_word word = ledger_unpack(words[i]);
        waiting = word.state == LEDGER_PENDING || word.state == LEDGER_DEFERRED;
    }
    if (waiting)
        event_cancelled(campaign, span->first, span->count);
    if (!waiting)
        span_called_off(campaign, number);
    else if (ledger_push(campaign->node->ledger, campaign->manifest.campaign, &op) != 0)
        node_freeze(campaign, "out of memory");
}

/* Another node has it, and lives: it is asked for again when that one's lease may have run out. */
static void note_held(struct campaign *campaign, struct span *span, bool held)
{
    if (held && !span->held)
        campaign->held++;
    if (!held && span->held)
        campaign->held--;
    span->held = held;
    if (held)
        note_due(campaign, span,
                 campaign_now_s(campaign) + campaign->node->config->node.lease_ms / 2000u + 1);
}

static void on_taken(void *context, uint64_t cookie, enum ledger_verdict verdict, const uint32_t *words,
                     const uint32_t *due, const uint32_t *first, uint32_t count)
{
    struct campaign *campaign = context;
    struct span *span = &campaign->span[cookie];
    uint32_t number = (uint32_t)cookie;

    campaign->taking--;
    if (span->reserved)
        campaign->big_domain[span->big].active -= span->count;
    span->reserved = false;
    span->state = SPAN_OPEN;
    note_held(campaign, span, verdict == VERDICT_HELD);
    if (verdict == VERDICT_HELD)
        return;
    if (verdict == VERDICT_LOST) {
        node_freeze(campaign,
                    "Redis has lost what it held of recipients that were taken; stop this node and run "
                    "'hikyaku campaigns restore', which tells it all that the event log knows");
        return;
    }
    span->known = span->ours = true;
    if (count != span->count)
        return;
    if (is_cancelled(campaign)) {
        call_off(campaign, number, words);
        return;
    }
    if (!campaign_runs(campaign)) {
        span_read_again(campaign, number);
        return;
    }
    queue_span(campaign, number, words, due, first);
    note_due(campaign, span, 0);
    span_rest(campaign, span);
}

void campaign_release(struct campaign *campaign, uint32_t number, uint32_t index, uint32_t count,
                      uint32_t due_s)
{
    struct span *span = &campaign->span[number];

    for (uint32_t i = index - span->first; count > 0; i++, count--) {
        HK_BUG_ON(!bit_get(span, i));
        span->bits[i / 64] &= ~((uint64_t)1 << (i % 64));
        span->active--;
        campaign->active--;
        if (span->big != NOT_BIG)
            campaign->big_domain[span->big].active--;
    }
    note_due(campaign, span, due_s);
    span_rest(campaign, span);
}

/* ---- the campaign's own milestones ---- */

static bool has_due(const struct campaign *campaign)
{
    for (uint32_t i = 0; i < campaign->spans; i++)
        if (!campaign->span[i].held && (campaign->span[i].due_s != 0 || campaign->span[i].again))
            return true;
    return false;
}

/* Of spans that other nodes hold, only the counts tell. */
static bool others_are_done(const struct campaign *campaign)
{
    return campaign->held == 0 || campaign->counts[LEDGER_PENDING] + campaign->counts[LEDGER_SENDING] +
                                          campaign->counts[LEDGER_DEFERRED] ==
                                      0;
}

static void tick_cancelled(struct campaign *campaign)
{
    if (campaign->called_off < campaign->spans || !campaign_is_idle(campaign))
        return;
    if (campaign->manifest.settled_us == 0)
        milestone(campaign, "settled_us", &campaign->manifest.settled_us);
    campaign->settled = campaign->manifest.settled_us != 0;
}

/* Everyone in the first rows was tried, and none of them is tried again soon: stop here, as paused. */
static bool first_rows_are_done(const struct campaign *campaign)
{
    uint32_t soon = campaign_now_s(campaign) + FIRST_ROWS_WAIT_S;
    bool beyond = false;

    if (campaign->manifest.first_rows == 0 || campaign->active > 0 || campaign->taking > 0)
        return false;
    for (uint32_t i = 0; i < campaign->spans; i++) {
        const struct span *span = &campaign->span[i];
        if (span->state == SPAN_FRESH || span->again || (span->due_s != 0 && span->due_s <= soon))
            return false;
        beyond = beyond || span->beyond;
    }
    return beyond;
}

static void halt(struct campaign *campaign)
{
    struct hk_why why;

    if (manifest_put_state(campaign->node, &campaign->manifest, "paused", &why) != 0) {
        log_warning("campaign %s: %s", campaign->manifest.campaign,
                    why.text); /* tried again at the next tick */
        return;
    }
    campaign->halted = true;
    campaign_stop(campaign);
}

/* A node that serves shows nobody a report: its log says how it went, once the counts have it all. */
static void say_settled(struct campaign *campaign)
{
    uint64_t recipients = campaign->manifest.recipients, settled = 0;
    char words[256] = "";
    int length = 0;

    for (int state = 0; state < LEDGER_STATES_COUNT; state++) {
        bool is_open = state == LEDGER_PENDING || state == LEDGER_SENDING || state == LEDGER_DEFERRED;
        if (is_open || campaign->counts[state] == 0)
            continue;
        settled += campaign->counts[state];
        length += snprintf(words + length, sizeof words - (size_t)length, "%s%llu %s", length > 0 ? ", " : "",
                           (unsigned long long)campaign->counts[state],
                           ledger_state_name((enum ledger_state)state));
    }
    if (settled < recipients)
        return;
    campaign->said_settled = true;
    log_info("campaign %s is settled: %llu recipients, %s", campaign->manifest.campaign,
             (unsigned long long)recipients, words);
}

static void campaign_tick(struct campaign *campaign)
{
    bool all_taken = campaign->passed + campaign->held == campaign->spans && campaign->taking == 0;

    if (ledger_counts(campaign->node->ledger, &campaign->manifest, on_counts, campaign) != 0)
        log_debug("campaign %s: no counts while Redis is away", campaign->manifest.campaign);
    if (campaign->settled && !campaign->said_settled && campaign->node->options->campaign == NULL)
        say_settled(campaign);
    if (campaign->settled || campaign->frozen)
        return;
    if (is_cancelled(campaign)) {
        tick_cancelled(campaign);
        return;
    }
    if (!campaign_runs(campaign))
        return;
    if (first_rows_are_done(campaign)) {
        halt(campaign);
        return;
    }
    if (campaign->manifest.first_pass_us == 0 && all_taken)
        milestone(campaign, "first_pass_us", &campaign->manifest.first_pass_us);
    if (!all_taken || campaign->active > 0 || has_due(campaign) || !others_are_done(campaign))
        return;
    if (campaign->manifest.settled_us == 0)
        milestone(campaign, "settled_us", &campaign->manifest.settled_us);
    campaign->settled = campaign->manifest.settled_us != 0;
}

void campaigns_tick(struct node *node)
{
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (node->campaign[i] != NULL && node->ledger_up)
            campaign_tick(node->campaign[i]);
}
