/* store_ledger.c - read the ledger for reports and starts (state.h): counts, every word, sites, spans.
 *
 * Reads only, in pipelined pieces, so a node may write meanwhile; each word is one that stood there. A span that was
 * taken and has no string, or one of another length, is HK_ECHANGED: the ledger has lost something.
 */
#include <inttypes.h>
#include <string.h>

#include "hikyaku/segment.h"
#include "store.h"

#define WALK_SPANS  64u   /* spans asked for at once: 1 MB of answers */
#define SITES_CHUNK 1000u /* fields for each HSCAN */

int counts_read(const redisReply *reply, const struct manifest *manifest,
                uint64_t counts[LEDGER_STATES_COUNT], uint64_t *attempts, struct hk_why *why)
{
    uint64_t settled = 0;

    memset(counts, 0, LEDGER_STATES_COUNT * sizeof *counts);
    *attempts = 0;
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        const char *name = reply->element[i]->str, *text = reply->element[i + 1]->str;
        uint64_t *into = strcmp(name, "attempts") == 0 ? attempts : NULL;
        for (int state = 0; state < LEDGER_STATES_COUNT; state++)
            if (strcmp(name, ledger_state_name((enum ledger_state)state)) == 0)
                into = &counts[state];
        if (into && !store_parse_u64(text, UINT64_MAX, into))
            return why_set(
                why, HK_ECHANGED,
                "the counts of campaign \"%s\" in Redis are damaged: %s is %s; 'hikyaku campaigns restore' "
                "makes them anew",
                manifest->campaign, name, text);
    }
    for (int state = 0; state < LEDGER_STATES_COUNT; state++)
        settled += state != LEDGER_PENDING ? counts[state] : 0;
    if (settled > manifest->recipients)
        return why_set(why, HK_ECHANGED,
                       "the counts of campaign \"%s\" in Redis are damaged: %" PRIu64 " states of %" PRIu64
                       " recipients; 'hikyaku campaigns restore' makes them anew",
                       manifest->campaign, settled, manifest->recipients);
    counts[LEDGER_PENDING] = manifest->recipients - settled;
    return 0;
}

int store_counts(struct store *store, const struct manifest *manifest, uint64_t counts[LEDGER_STATES_COUNT],
                 uint64_t *attempts, struct hk_why *why)
{
    redisReply *reply;
    int error = store_ask(store, REDIS_REPLY_ARRAY, &reply, why, "HGETALL {%s}:n", manifest->campaign);

    if (error)
        return error;
    error = counts_read(reply, manifest, counts, attempts, why);
    freeReplyObject(reply);
    return error;
}

/* ---- the walk ---- */

struct walk {
    struct store *store;
    const struct manifest *manifest;
    int (*fn)(void *context, uint32_t segment, uint32_t index, uint32_t word);
    void *context;
    uint32_t segment, spans;
    uint32_t *first; /* of each span, and the end behind the last */
};

/* A table of numbers that every campaign has. */
static int ask_table(struct store *store, const char *campaign, const char *table, uint32_t segment,
                     redisReply **out, struct hk_why *why)
{
    int error = store_connected(store, why);

    if (!error &&
        redisAppendCommand(store->redis, "GET {%s}:%s:%" PRIu32, campaign, table, segment) != REDIS_OK)
        error = why_set(why, HK_ENOMEM, "no memory for a question to Redis");
    if (!error)
        error = store_next(store, out, why);
    if (error || (*out)->type == REDIS_REPLY_STRING)
        return error;
    freeReplyObject(*out);
    return why_set(why, HK_ECHANGED,
                   "Redis has lost {%s}:%s:%" PRIu32 "; 'hikyaku campaigns restore' writes it anew", campaign,
                   table, segment);
}

static int walk_table(struct walk *walk, struct hk_why *why)
{
    const struct manifest *manifest = walk->manifest;
    redisReply *reply;
    bool valid;
    int error = ask_table(walk->store, manifest->campaign, "span", walk->segment, &reply, why);

    if (error)
        return error;
    walk->spans = manifest->spans;
    valid = reply->len == (size_t)walk->spans * 4 && manifest->recipients <= UINT32_MAX;
    if (valid) {
        walk->first = store_numbers_in(reply->str, walk->spans);
        if (!walk->first)
            error = why_set(why, HK_ENOMEM, "no memory for the spans of campaign \"%s\"", manifest->campaign);
        else
            walk->first[walk->spans] = (uint32_t)manifest->recipients;
    }
    freeReplyObject(reply);
    for (uint32_t i = 0; walk->first && i < walk->spans; i++)
        valid =
            valid && walk->first[i] < walk->first[i + 1] && walk->first[i + 1] - walk->first[i] <= SPAN_MAX;
    if (error || valid)
        return error;
    return why_set(why, HK_ECHANGED, "the table of spans of campaign \"%s\" in Redis is damaged",
                   manifest->campaign);
}

/* One span's string. Taken and absent is lost; never taken and absent is all pending. */
static int walk_span(const struct walk *walk, uint32_t span, bool taken, const redisReply *reply,
                     struct hk_why *why)
{
    uint32_t first = walk->first[span], count = walk->first[span + 1] - first;
    bool present = reply->type == REDIS_REPLY_STRING;
    const uint8_t *at = (const uint8_t *)reply->str;
    int result = 0;

    if (present ? reply->len != count * (size_t)4 : taken)
        return why_set(why, HK_ECHANGED,
                       "the ledger of campaign \"%s\" has lost a span: {%s}:s:%" PRIu32 ".%" PRIu32
                       " %s; 'hikyaku campaigns restore' tells it again what the event log knows",
                       walk->manifest->campaign, walk->manifest->campaign, walk->segment, span,
                       present ? "is cut" : "is gone");
    for (uint32_t i = 0; i < count && result == 0; i++) {
        uint32_t word = 0;
        if (present) {
            word = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
            at += 4;
        }
        result = walk->fn(walk->context, walk->segment, first + i, word);
    }
    return result;
}

/* Who owns each of the next spans: asked before their strings, so that a span taken in between is never "lost". */
static int walk_append(const struct walk *walk, uint32_t from, uint32_t count)
{
    char key[CAMPAIGN_ID_MAX + 8], field[WALK_SPANS][24];
    const char *argv[2 + WALK_SPANS] = {"HMGET", key};
    redisContext *redis = walk->store->redis;
    int result;

    (void)snprintf(key, sizeof key, "{%s}:own", walk->manifest->campaign);
    for (uint32_t i = 0; i < count; i++) {
        (void)snprintf(field[i], sizeof field[i], "%" PRIu32 ".%" PRIu32, walk->segment, from + i);
        argv[2 + i] = field[i];
    }
    result = redisAppendCommandArgv(redis, (int)(2 + count), argv, NULL);
    for (uint32_t i = 0; i < count && result == REDIS_OK; i++)
        result = redisAppendCommand(redis, "GET {%s}:s:%s", walk->manifest->campaign, field[i]);
    return result == REDIS_OK ? 0 : HK_ENOMEM;
}

/* All answers are read even after the walk has ended, for the connection goes on in step. */
static int walk_read(const struct walk *walk, uint32_t from, uint32_t count, struct hk_why *why)
{
    redisReply *owner, *reply;
    int result = store_next(walk->store, &owner, why), error;
    bool usable = result == 0 && owner->type == REDIS_REPLY_ARRAY && owner->elements == count;

    if (result == 0 && !usable)
        result = store_strange(walk->store, why);
    for (uint32_t i = 0; i < count; i++) {
        error = store_next(walk->store, &reply, result ? NULL : why);
        if (error && result == 0)
            result = error;
        if (!error && result == 0)
            result = walk_span(walk, from + i, owner->element[i]->type == REDIS_REPLY_STRING, reply, why);
        if (!error)
            freeReplyObject(reply);
        if (walk->store->redis->err)
            break;
    }
    freeReplyObject(owner); /* NULL where there is none */
    return result;
}

int store_ledger_walk(struct store *store, const struct manifest *manifest,
                      int (*fn)(void *context, uint32_t segment, uint32_t index, uint32_t word),
                      void *context, struct hk_why *why)
{
    struct walk walk = {.store = store, .manifest = manifest, .fn = fn, .context = context};
    int result = walk_table(&walk, why);

    for (uint32_t from = 0; walk.first && from < walk.spans && result == 0; from += WALK_SPANS) {
        uint32_t count = walk.spans - from < WALK_SPANS ? walk.spans - from : WALK_SPANS;
        result = store_connected(store, why);
        if (result)
            break;
        result = walk_append(&walk, from, count);
        if (result) {
            store->redis->err = REDIS_ERR_OOM; /* half a pipeline: connect anew for the next question */
            (void)why_set(why, result, "no memory to read the ledger of campaign \"%s\"", manifest->campaign);
            break;
        }
        result = walk_read(&walk, from, count, why);
    }
    free(walk.first);
    return result;
}

/* One number out of a string of them; 0 behind its end. */
static uint32_t number_of(const redisReply *reply)
{
    const uint8_t *at = (const uint8_t *)reply->str;

    return reply->len == 4 ? at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24 : 0;
}

static int number_at(struct store *store, const char *campaign, const char *part, uint32_t segment,
                     uint32_t span, uint32_t offset, uint32_t *out, struct hk_why *why)
{
    redisReply *reply;
    int error = store_ask(store, REDIS_REPLY_STRING, &reply, why,
                          "GETRANGE {%s}:%s:%" PRIu32 ".%" PRIu32 " %" PRIu32 " %" PRIu32, campaign, part,
                          segment, span, offset * 4, offset * 4 + 3);

    if (error)
        return error;
    *out = number_of(reply);
    freeReplyObject(reply);
    return 0;
}

int store_recipient(struct store *store, const char *campaign, uint32_t segment, uint32_t span,
                    uint32_t offset, uint32_t *word, uint32_t *due_s, uint32_t *first_s, struct hk_why *why)
{
    int error = number_at(store, campaign, "s", segment, span, offset, word, why);

    if (!error)
        error = number_at(store, campaign, "d", segment, span, offset, due_s, why);
    if (!error)
        error = number_at(store, campaign, "f", segment, span, offset, first_s, why);
    return error;
}

/* Every answer is read, whatever came before: the connection stays in step. */
static int read_words(struct store *store, size_t count, uint32_t *word, struct hk_why *why)
{
    int first_error = 0;

    for (size_t i = 0; i < count && !store->redis->err; i++) {
        redisReply *reply;
        int error = store_next(store, &reply, first_error ? NULL : why);
        if (!error) {
            if (reply->type == REDIS_REPLY_STRING)
                word[i] = number_of(reply);
            else
                error = store_strange(store, first_error ? NULL : why);
            freeReplyObject(reply);
        }
        first_error = first_error ? first_error : error;
    }
    return first_error;
}

int store_words(struct store *store, const struct store_place *place, size_t count, uint32_t *word,
                struct hk_why *why)
{
    int error = count > 0 ? store_connected(store, why) : 0;

    for (size_t i = 0; i < count && !error; i++) {
        const struct store_place *p = &place[i];
        if (redisAppendCommand(store->redis, "GETRANGE {%s}:s:%" PRIu32 ".%" PRIu32 " %" PRIu32 " %" PRIu32,
                               p->campaign, p->segment, p->span, p->offset * 4,
                               p->offset * 4 + 3) == REDIS_OK)
            continue;
        store->redis->err = REDIS_ERR_OOM; /* answers would be out of step from here on */
        error = why_set(why, HK_ENOMEM, "no memory to ask Redis for recipients");
    }
    return error || count == 0 ? error : read_words(store, count, word, why);
}

/* ---- sites, domains, spans ---- */

/* "12.345" */
static bool pair_parse(const char *text, uint32_t *segment, uint32_t *number)
{
    char left[16];
    const char *dot = strchr(text, '.');
    uint64_t a, b;

    if (!dot || (size_t)(dot - text) >= sizeof left)
        return false;
    memcpy(left, text, (size_t)(dot - text));
    left[dot - text] = '\0';
    if (!store_parse_u64(left, UINT32_MAX, &a) || !store_parse_u64(dot + 1, UINT32_MAX, &b))
        return false;
    *segment = (uint32_t)a;
    *number = (uint32_t)b;
    return true;
}

int store_sites(struct store *store, const struct manifest *manifest,
                void (*fn)(void *context, uint32_t segment, uint32_t domain, const char *site), void *context,
                struct hk_why *why)
{
    char cursor[24] = "0";
    redisReply *reply;
    int error = 0;

    do {
        error = store_ask(store, REDIS_REPLY_ARRAY, &reply, why, "HSCAN {%s}:site %s COUNT %u",
                          manifest->campaign, cursor, SITES_CHUNK);
        if (error)
            return error;
        if (!store_scan_page(reply, 2, cursor, sizeof cursor))
            error = store_strange(store, why);
        for (size_t i = 0; !error && i < reply->element[1]->elements; i += 2) {
            uint32_t segment, domain;
            if (pair_parse(reply->element[1]->element[i]->str, &segment, &domain))
                fn(context, segment, domain, reply->element[1]->element[i + 1]->str);
            else
                error = store_strange(store, why);
        }
        freeReplyObject(reply);
    } while (!error && strcmp(cursor, "0") != 0);
    return error;
}

int store_domain_first(struct store *store, const struct manifest *manifest, uint32_t segment, uint32_t **out,
                       uint32_t *count, struct hk_why *why)
{
    redisReply *reply;
    int error = ask_table(store, manifest->campaign, "dom", segment, &reply, why);

    if (error)
        return error;
    *count = (uint32_t)(reply->len / 4);
    *out = NULL;
    if (reply->len % 4 != 0)
        error = store_strange(store, why);
    else if (!(*out = store_numbers_in(reply->str, *count)))
        error = why_set(why, HK_ENOMEM, "no memory for the domains of campaign \"%s\"", manifest->campaign);
    freeReplyObject(reply);
    return error;
}

typedef void (*spans_fn)(void *context, uint32_t segment, uint32_t span, bool taken, uint32_t earliest_due_s);

static int spans_due(struct store *store, const redisReply *reply, spans_fn fn, void *context,
                     struct hk_why *why)
{
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        uint32_t segment, span;
        uint64_t due;
        if (!pair_parse(reply->element[i]->str, &segment, &span) ||
            !store_parse_u64(reply->element[i + 1]->str, UINT32_MAX, &due))
            return store_strange(store, why);
        fn(context, segment, span, false, (uint32_t)due);
    }
    return 0;
}

static int spans_taken(struct store *store, const redisReply *reply, spans_fn fn, void *context,
                       struct hk_why *why)
{
    for (size_t i = 0; i < reply->elements; i++) {
        uint32_t segment, span;
        if (!pair_parse(reply->element[i]->str, &segment, &span))
            return store_strange(store, why);
        fn(context, segment, span, true, UINT32_MAX);
    }
    return 0;
}

int store_spans(struct store *store, const char *campaign, spans_fn fn, void *context, struct hk_why *why)
{
    redisReply *reply;
    int error = store_ask(store, REDIS_REPLY_ARRAY, &reply, why, "ZRANGE {%s}:due 0 -1 WITHSCORES", campaign);

    if (error)
        return error;
    error = spans_due(store, reply, fn, context, why);
    freeReplyObject(reply);
    if (error)
        return error;
    error = store_ask(store, REDIS_REPLY_ARRAY, &reply, why, "HKEYS {%s}:own", campaign);
    if (error)
        return error;
    error = spans_taken(store, reply, fn, context, why);
    freeReplyObject(reply);
    return error;
}
