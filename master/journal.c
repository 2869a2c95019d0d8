/* journal.c - lines of the event log as ops of the ledger (journal.h); journal_file.c finds and reads them. */
#include "journal.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "by_hand.h"
#include "journal_file.h"
#include "meant.h"
#include "returned.h"
#include "unsubscribe.h"

#define LINES_AT_ONCE 20000u /* told before their answers are waited for */

/* ---- a line ---- */

static bool number_within(const json_t *number, json_int_t least, json_int_t most, json_int_t *out)
{
    *out = json_integer_value(number);
    return json_is_integer(number) && *out >= least && *out <= most;
}

static const char *word_at(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));

    return text != NULL ? text : "";
}

/* What the line says of the reply, as far as there is room. */
static void read_text(const json_t *text, struct journal_entry *out)
{
    size_t length = json_string_length(text);

    out->text_length = (uint16_t)(length < sizeof out->text ? length : sizeof out->text);
    if (out->text_length > 0)
        memcpy(out->text, json_string_value(text), out->text_length);
}

static bool read_reply(const json_t *line, struct journal_entry *out)
{
    const json_t *reply = json_object_get(line, "reply");
    json_int_t code;

    if (!number_within(json_object_get(reply, "code"), 0, 999, &code))
        code = 0; /* bounced without a reply: no such domain */
    out->word.code = (uint16_t)code;
    out->word.reply_class = (uint8_t)reply_class_of_word(word_at(line, "class"));
    read_text(json_object_get(reply, "text"), out);
    out->suppress = strcmp(word_at(line, "disposition"), disposition_name(DISPOSITION_SUPPRESS)) == 0 &&
                    (code >= 500 || out->word.reply_class == CLASS_DOMAIN_INVALID);
    return true;
}

/* A reply that only counts, from this code on. */
static void read_count(const json_t *line, uint16_t least, struct journal_entry *out)
{
    if (out->word.code >= least &&
        strcmp(word_at(line, "disposition"), disposition_name(DISPOSITION_COUNT)) == 0)
        out->disposition = DISPOSITION_COUNT;
}

static void read_remote_id(const json_t *line, struct journal_entry *out)
{
    const json_t *id = json_object_get(line, "remote_id");
    size_t length = json_string_length(id);

    if (length == 0 || length > SES_MESSAGE_ID_MAX)
        return;
    out->has_id = true;
    out->text_length = (uint16_t)length;
    memcpy(out->text, json_string_value(id), length);
}

/* An attempt on one recipient. */
static bool read_attempt(const json_t *line, struct journal_entry *out)
{
    static const uint8_t states[] = {LEDGER_SENT, LEDGER_BOUNCED, LEDGER_UNKNOWN, LEDGER_DEFERRED};
    json_int_t attempt;

    out->kind = OP_OUTCOME;
    if (!number_within(json_object_get(line, "attempt"), 1, UINT8_MAX, &attempt))
        return false;
    out->word.attempts = (uint8_t)attempt;
    for (size_t i = 0; i < sizeof states; i++)
        if (strcmp(word_at(line, "outcome"), ledger_state_name((enum ledger_state)states[i])) == 0) {
            out->word.state = states[i];
            (void)read_reply(line, out);
            if (states[i] == LEDGER_BOUNCED)
                read_count(line, 500, out);
            if (states[i] == LEDGER_SENT)
                read_remote_id(line, out);
            return true;
        }
    return false;
}

/* Found unknown, or decided: as sent, as bounced, or to be sent to again. */
static bool read_unknown(const json_t *line, struct journal_entry *out)
{
    const char *as = word_at(line, "settled_as");
    json_int_t attempt = 0;

    (void)number_within(json_object_get(line, "attempt"), 0, UINT8_MAX, &attempt);
    out->word.attempts = (uint8_t)attempt;
    out->kind = strcmp(as, ledger_state_name(LEDGER_PENDING)) == 0 ? OP_RESEND : OP_OUTCOME;
    out->word.state = strcmp(as, ledger_state_name(LEDGER_SENT)) == 0      ? LEDGER_SENT
                      : strcmp(as, ledger_state_name(LEDGER_BOUNCED)) == 0 ? LEDGER_BOUNCED
                                                                           : LEDGER_UNKNOWN;
    return out->kind == OP_OUTCOME || attempt > 0;
}

static void read_source(const json_t *line, struct journal_entry *out)
{
    (void)snprintf(out->source, sizeof out->source, "%s", word_at(line, "source"));
}

/* What came back later. One that counted for nothing has no class that says so, and a delay is none. */
static bool read_returned(const json_t *line, uint8_t mark, struct journal_entry *out)
{
    const char *kind = word_at(line, "kind");
    const char *wanted =
        mark == LEDGER_MARK_BOUNCED ? bounce_kind_name(KIND_BOUNCE) : bounce_kind_name(KIND_FEEDBACK);
    enum disposition disposition;

    out->kind = OP_MARK;
    out->delivered = strcmp(kind, bounce_kind_name(KIND_DELIVERED)) == 0;
    if (json_object_get(line, "ignored") != NULL || out->delivered || strcmp(kind, wanted) != 0)
        return out->delivered && json_object_get(line, "ignored") == NULL;
    (void)read_reply(line, out);
    read_source(line, out);
    out->suppress = false;
    out->word.marks = mark;
    if (!disposition_of_word(word_at(line, "disposition"), &disposition))
        return false;
    out->disposition = (uint8_t)disposition;
    return disposition != DISPOSITION_NONE;
}

/* Somebody unsubscribed: his token says who. */
static bool read_unsubscribe(const json_t *line, struct journal_entry *out)
{
    const json_t *token = json_object_get(line, "token");

    out->kind = OP_MARK;
    out->word.marks = LEDGER_MARK_UNSUBSCRIBED;
    if (json_string_length(token) == 0 || json_string_length(token) >= sizeof out->text)
        return false;
    out->text_length = (uint16_t)json_string_length(token);
    memcpy(out->text, json_string_value(token), out->text_length);
    read_source(line, out);
    return true;
}

/* Who was given up at an attempt is told what its reply counts for his address; who waited, and all others, are not. */
static bool read_settled(const json_t *line, uint8_t state, struct journal_entry *out)
{
    json_int_t count;

    out->kind = OP_SETTLE;
    if (state == LEDGER_EXPIRED) { /* with what the last deferral said, where one did */
        (void)read_reply(line, out);
        out->suppress = out->suppress && out->word.code >= 400;
        read_count(line, 400, out);
    }
    out->word.state = state;
    if (number_within(json_object_get(line, "recipients"), 1, SPAN_MAX, &count))
        out->count = (uint32_t)count;
    return true;
}

static bool read_entry(const json_t *line, struct journal_entry *out)
{
    const char *type = word_at(line, "type"), *campaign = word_at(line, "campaign");
    const json_t *index = json_object_get(line, "index");
    json_int_t at = UINT32_MAX;

    memset(out, 0, offsetof(struct journal_entry, text));
    out->count = 1;
    if (!campaign_id_is_valid(campaign) ||
        sscanf(word_at(line, "id"), "%" SCNu64 "-%" SCNu64, &out->epoch, &out->number) != 2)
        return false;
    snprintf(out->campaign, sizeof out->campaign, "%s", campaign);
    snprintf(out->site, sizeof out->site, "%s", word_at(line, "site"));
    if (!clock_rfc3339_parse(word_at(line, "time"), &out->time_us))
        out->time_us = 0;
    if (!number_within(index, 0, UINT32_MAX - 1, &at) && (index != NULL || strcmp(type, "cancelled") != 0))
        return false;
    out->index = index != NULL ? (uint32_t)at : UINT32_MAX;
    if (strcmp(type, "attempt") == 0)
        return read_attempt(line, out);
    if (strcmp(type, "unknown") == 0)
        return read_unknown(line, out);
    if (strcmp(type, "bounce") == 0)
        return read_returned(line, LEDGER_MARK_BOUNCED, out);
    if (strcmp(type, "complaint") == 0)
        return read_returned(line, LEDGER_MARK_COMPLAINED, out);
    if (strcmp(type, "unsubscribe") == 0)
        return read_unsubscribe(line, out);
    if (strcmp(type, "expired") == 0)
        return read_settled(line, LEDGER_EXPIRED, out);
    if (strcmp(type, "suppressed") == 0)
        return read_settled(line, LEDGER_SUPPRESSED, out);
    return strcmp(type, "cancelled") == 0 && read_settled(line, LEDGER_CANCELLED, out);
}

bool journal_line(const char *text, size_t length, struct journal_entry *out)
{
    json_t *line = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    bool moves = read_entry(line, out);

    json_decref(line);
    return moves;
}

/* ---- where it begins ---- */

#define BEGUN_BYTES_MAX 256u

static int file_path(const struct config *config, const char *id, const char *name, char *out, size_t size,
                     struct hk_why *why)
{
    int rc = config_path(config, out, size, "campaigns/%s/%s", id, name);

    return rc == 0 ? 0 : why_set(why, rc, "%s: state_dir is too long a path", config->state_dir);
}

bool journal_begin(struct campaign *campaign)
{
    const struct eventlog *log = &campaign->node->log;
    char path[4096], place[LEASE_TOLD_SIZE], text[BEGUN_BYTES_MAX];
    struct hk_why why;
    int length, rc = file_path(campaign->node->config, campaign->manifest.campaign, CAMPAIGN_JOURNAL_FILE,
                               path, sizeof path, &why);

    eventlog_place(log, place);
    length = snprintf(text, sizeof text, "%s %" PRIu64 "-%" PRIu64 "\n", place, log->epoch, log->number);
    if (rc == 0)
        rc = hk_write_file(path, 0600, text, (size_t)length, &why);
    if (rc != 0) {
        node_freeze(campaign, why.text);
        return false;
    }
    campaign->begun_epoch = log->epoch;
    campaign->begun_number = log->number;
    return true;
}

struct begun {
    char place[LEASE_TOLD_SIZE];
    uint64_t epoch, number;
};

static int read_begun(const struct config *config, const char *id, struct begun *out, struct hk_why *why)
{
    char path[4096], *text = NULL;
    size_t length;
    int rc = file_path(config, id, CAMPAIGN_JOURNAL_FILE, path, sizeof path, why);

    *out = (struct begun){0};
    if (rc == 0)
        rc = hk_read_file(path, BEGUN_BYTES_MAX, &text, &length, why);
    if (rc == HK_ENOENT)
        return 0;
    if (rc == 0 && sscanf(text, "%127s %" SCNu64 "-%" SCNu64, out->place, &out->epoch, &out->number) != 3)
        rc = why_set(why, HK_ECHANGED,
                     "%s is damaged: it says from where on the event log tells of the campaign", path);
    free(text);
    return rc;
}

int journal_begun(struct campaign *campaign, char place[LEASE_TOLD_SIZE], struct hk_why *why)
{
    struct begun begun;
    int rc = read_begun(campaign->node->config, campaign->manifest.campaign, &begun, why);

    campaign->begun_epoch = begun.epoch;
    campaign->begun_number = begun.number;
    if (place != NULL)
        memcpy(place, begun.place, sizeof begun.place);
    return rc;
}

struct follow {
    uint64_t epoch, number; /* of the last line of its own that the latest node wrote */
    bool hole;
};

/* A part that a running node began goes on where the one before it ended. Lines that are told again have the ids of a dead
 * one, so only the newest epoch counts. */
static int follow_line(void *context, const char *line, size_t length)
{
    static const char begins[] = "\"state\":\"the log begins\"";
    struct follow *f = context;
    char id[EVENT_ID_SIZE];
    uint64_t epoch, number;

    if (!event_id(line, length, id) || sscanf(id, "%" SCNu64 "-%" SCNu64, &epoch, &number) != 2)
        return 0;
    if (epoch < f->epoch || number >= EVENT_SETTLED)
        return 0;
    if (memmem(line, length, begins, sizeof begins - 1) != NULL && f->epoch != 0 && number > 1 &&
        (epoch > f->epoch || number > f->number + 1)) {
        f->hole = true;
        return 1;
    }
    f->number = epoch > f->epoch || number > f->number ? number : f->number;
    f->epoch = epoch;
    return 0;
}

int node_journal_reaches(const struct config *config, const char *campaign, struct hk_why *why)
{
    struct follow follow = {0};
    struct begun begun;
    bool found = true;
    int rc = read_begun(config, campaign, &begun, why);

    if (rc == 0 && begun.epoch != 0)
        rc = journal_read(config->events.file, begun.place, &found, follow_line, &follow, why);
    if (rc < 0)
        return rc;
    if (found && follow.hole)
        return why_set(why, HK_ENOENT,
                       "%s: a part of the event log is gone, the one behind line %" PRIu64 "-%" PRIu64
                       ", so nobody knows who was sent to then; put that part back beside it",
                       config->events.file, follow.epoch, follow.number);
    if (found)
        return 0;
    return why_set(
        why, HK_ENOENT,
        "%s: the part of the event log in which campaign %s was begun is gone, so nobody knows who was sent "
        "to then; put that part back beside it",
        config->events.file, campaign);
}

int node_campaign_is_missing(const struct config *config, const char *campaign, int error, struct hk_why *why)
{
    char path[4096];

    if (error != HK_ENOENT ||
        file_path(config, campaign, CAMPAIGN_MANIFEST_FILE, path, sizeof path, NULL) != 0 ||
        access(path, F_OK) != 0)
        return error;
    return why_set(why, HK_EDOWN,
                   "Redis knows nothing of campaign %s any more, which was begun here: 'hikyaku campaigns "
                   "restore' tells "
                   "it again what the event log knows (or 'hikyaku campaigns purge --force' forgets it)",
                   campaign);
}

/* ---- telling ---- */

/* What was told of the sites of one campaign's domains: a hash of each name, so that not every line tells it again. */
struct told_sites {
    char campaign[CAMPAIGN_ID_MAX + 1];
    uint32_t domains;
    uint64_t *hash;
};

struct telling {
    struct node *node;
    const char *only; /* this campaign; NULL: all */
    struct journal_story *story;
    struct settle_open opened;
    struct told_sites sites[REGION_CAMPAIGNS_MAX]; /* by the campaign's slot */
    bool counts_wait;                              /* soft bounces are on their way to Redis */
    struct hk_why *why;
};

static uint32_t campaign_second(const struct campaign *campaign, uint64_t wall_us)
{
    uint64_t created = campaign->manifest.created_us;

    return wall_us <= created ? 1 : (uint32_t)((wall_us - created) / 1000000u) + 1;
}

static struct ledger_op op_of(const struct campaign *campaign, const struct journal_entry *entry)
{
    struct ledger_op op = {.kind = entry->kind,
                           .attempt = entry->word.attempts,
                           .index = entry->index,
                           .count = entry->count,
                           .word = ledger_pack(entry->word),
                           .cookie = COOKIE_OLD_REGION,
                           .granted = entry->epoch};

    op.span = segment_span_of(campaign->segment, op.index);
    op.span_first = campaign->span[op.span].first;
    if (entry->kind == OP_OUTCOME && entry->word.state == LEDGER_DEFERRED) {
        op.first_s = campaign_second(campaign, entry->time_us);
        op.due_s = op.first_s + retry_step_s(campaign->node->config, entry->word.attempts);
    }
    return op;
}

/* Of this campaign, and not of one that had its name before and was purged. */
static bool is_about(const struct campaign *campaign, const struct journal_entry *entry)
{
    if (campaign->begun_epoch == 0 || entry->epoch < campaign->begun_epoch)
        return false;
    return entry->epoch > campaign->begun_epoch || entry->number >= campaign->begun_number;
}

static enum bounce_kind kind_of(const struct journal_entry *entry)
{
    if (entry->delivered)
        return KIND_DELIVERED;
    return entry->word.marks == LEDGER_MARK_BOUNCED ? KIND_BOUNCE : KIND_FEEDBACK;
}

static int retell_returned(struct campaign *campaign, const struct journal_entry *entry, struct hk_why *why)
{
    char text[REGION_REPLY_TEXT + 1];
    const struct returned returned = {.kind = kind_of(entry),
                                      .reply_class = (enum reply_class)entry->word.reply_class,
                                      .disposition = (enum disposition)entry->disposition,
                                      .ignored = "",
                                      .source = entry->source,
                                      .remote_id = "",
                                      .text = text};

    memcpy(text, entry->text, entry->text_length);
    text[entry->text_length] = '\0';
    return returned_retell(campaign, entry->index, &returned, entry->time_us, why);
}

/* His token proves whose list it is about. */
static bool is_unsubscribe(const struct journal_entry *entry)
{
    return entry->kind == OP_MARK && entry->word.marks == LEDGER_MARK_UNSUBSCRIBED;
}

static int retell_unsubscribe(struct campaign *campaign, const struct journal_entry *entry, bool *is_ours,
                              struct hk_why *why)
{
    char token[REGION_REPLY_TEXT + 1];

    memcpy(token, entry->text, entry->text_length);
    token[entry->text_length] = '\0';
    return unsubscribe_retell(campaign->node, token, entry->source, entry->time_us, is_ours, why);
}

static struct told_sites *sites_of(struct telling *t, const struct campaign *campaign)
{
    struct told_sites *sites = &t->sites[campaign->slot];
    uint32_t domains = segment_domain_count(campaign->segment);

    if (strcmp(sites->campaign, campaign->manifest.campaign) == 0 && sites->domains == domains)
        return sites;
    free(sites->hash);
    *sites = (struct told_sites){.domains = domains, .hash = hk_xcalloc(domains, sizeof *sites->hash)};
    snprintf(sites->campaign, sizeof sites->campaign, "%s", campaign->manifest.campaign);
    return sites;
}

/* The report goes by sites, which Redis alone has. */
static void tell_site(struct telling *t, const struct campaign *campaign, const struct journal_entry *entry)
{
    struct told_sites *sites;
    uint32_t domain;
    uint64_t hash;

    if (entry->site[0] == '\0')
        return;
    sites = sites_of(t, campaign);
    domain = segment_domain_of(campaign->segment, entry->index);
    hash = table_hash(entry->site);
    if (domain >= sites->domains || sites->hash[domain] == hash)
        return;
    if (ledger_site(t->node->ledger, campaign->manifest.campaign, 0, domain, entry->site) == 0)
        sites->hash[domain] = hash;
}

/* What follows from a mark's line, and the mark itself. */
static int tell_mark(struct telling *t, struct campaign *campaign, const struct journal_entry *entry,
                     struct ledger_op op)
{
    bool is_ours = true;
    int rc = 0;

    /* What is counted goes to Redis in order; what takes counts back goes there at once. */
    if (entry->delivered && t->counts_wait) {
        rc = settle_wait(t->node, t->why);
        t->counts_wait = false;
    }
    if (rc == 0)
        rc = is_unsubscribe(entry) ? retell_unsubscribe(campaign, entry, &is_ours, t->why)
                                   : retell_returned(campaign, entry, t->why);
    if (!is_ours || entry->delivered)
        return rc;
    /* Of a span that nobody took there is nobody to mark, and for a mark alone it is not taken. */
    return rc != 0 || !campaign->span[op.span].known ? rc : settle_push(campaign, op);
}

static bool is_remembered(const struct config *config, const struct journal_entry *entry)
{
    return entry->time_us + (uint64_t)config->sns.remember_s * 1000000u > clock_wall_us();
}

/* That it was cancelled, should Redis have lost it: nobody makes such a campaign go on. */
static int tell_cancelled(struct campaign *campaign, struct hk_why *why)
{
    if (campaign->settled || strcmp(campaign->manifest.state, "cancelled") == 0)
        return 0;
    log_warning("campaign %s: Redis has lost that it was cancelled; it is", campaign->manifest.campaign);
    return manifest_put_state(campaign->node, &campaign->manifest, "cancelled", why);
}

static int tell(struct telling *t, const struct journal_entry *entry)
{
    struct campaign *campaign = settle_campaign(t->node, entry->campaign, &t->opened);
    struct outcome_reply reply = {.code = entry->word.code, .text_length = entry->text_length};
    struct ledger_op op;

    if (campaign == NULL || (!is_unsubscribe(entry) && !is_about(campaign, entry)))
        return 0;
    if (entry->index == UINT32_MAX)
        return tell_cancelled(campaign, t->why);
    if (entry->index >= segment_count(campaign->segment) ||
        entry->count > segment_count(campaign->segment) - entry->index)
        return 0;
    op = op_of(campaign, entry);
    if (op.index - op.span_first + op.count > campaign->span[op.span].count)
        return 0;
    t->story->lines++;
    tell_site(t, campaign, entry);
    t->counts_wait = t->counts_wait || entry->disposition == DISPOSITION_COUNT;
    if (entry->kind == OP_MARK)
        return tell_mark(t, campaign, entry, op);
    if (entry->has_id && is_remembered(t->node->config, entry))
        meant_remember(campaign, entry->index, entry->text, entry->text_length, entry->time_us);
    if (entry->suppress || entry->disposition == DISPOSITION_COUNT) {
        memcpy(reply.text, entry->text, entry->text_length);
        refusal_count(
            campaign, entry->index, &reply,
            (struct verdict){.reply_class = (enum reply_class)entry->word.reply_class,
                             .disposition = entry->suppress ? DISPOSITION_SUPPRESS : DISPOSITION_COUNT},
            entry->time_us);
    }
    return settle_push(campaign, op);
}

/* What a person changed of the suppression lists is told with every campaign: it stands between what came back to it. */
static int tell_by_hand(struct telling *t, const struct by_hand_line *line)
{
    t->story->lines++;
    return by_hand_retell(t->node, line);
}

/* 1: it moves nobody. */
static int tell_text(struct telling *t, const char *text, size_t length)
{
    struct journal_entry entry;
    struct by_hand_line line;

    if (by_hand_line(text, length, &line))
        return tell_by_hand(t, &line);
    if (!journal_line(text, length, &entry))
        return 1;
    return t->only == NULL || strcmp(t->only, entry.campaign) == 0 ? tell(t, &entry) : 0;
}

static int on_line(void *context, const char *text, size_t length)
{
    struct telling *t = context;
    int rc;

    errno = 0;
    rc = tell_text(t, text, length);
    if (rc == 1)
        return errno == ENOMEM ? why_set(t->why, HK_ENOMEM, "no memory to read the event log again") : 0;
    if (rc != 0)
        return why_set(t->why, rc, "the event log cannot be told to the ledger again: %s", hk_strerror(rc));
    return t->story->lines % LINES_AT_ONCE == LINES_AT_ONCE - 1 ? settle_wait(t->node, t->why) : 0;
}

int journal_replay(struct node *node, const char *place, const char *campaign, struct journal_story *story,
                   struct hk_why *why)
{
    struct telling t = {.node = node, .only = campaign, .story = story, .why = why};
    int rc;

    *story = (struct journal_story){0};
    rc = journal_read(node->config->events.file, place, &story->whole, on_line, &t, why);
    if (rc == 0)
        rc = settle_wait(node, why);
    settle_close(node, &t.opened);
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        free(t.sites[i].hash);
    return rc;
}
