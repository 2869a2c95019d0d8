/* store_repair.c - a ledger that lost keys (state.h): what is left of it made usable, and its counts made anew.
 *
 * One span after another, for a command that waits; the ledger's node must not run.
 */
#include <inttypes.h>
#include <string.h>

#include "batch.h"
#include "store.h"

#define SCAN_COUNT 1000u /* keys that SCAN is asked to look at */

extern const char state_repair_lua[];

static int repair_span(struct store *store, const char *id, uint32_t span, uint32_t count, uint32_t now_s,
                       struct hk_why *why)
{
    char words[BATCH_KEY_BYTES], due[BATCH_KEY_BYTES], first[BATCH_KEY_BYTES];
    redisReply *reply;
    int error;

    key_of_span(words, id, 's', 0, span);
    key_of_span(due, id, 'd', 0, span);
    key_of_span(first, id, 'f', 0, span);
    error =
        store_ask(store, REDIS_REPLY_INTEGER, &reply, why, "EVAL %s 4 {%s}:own %s %s %s %" PRIu32 " %" PRIu32,
                  state_repair_lua, id, words, due, first, count, now_s);
    if (error)
        return error;
    if (reply->integer > 0)
        log_info("campaign %s: Redis had lost something of span %" PRIu32, id, span);
    freeReplyObject(reply);
    return 0;
}

static int write_table(struct store *store, const char *id, const char *name, const uint32_t *first,
                       uint32_t count, struct hk_why *why)
{
    uint8_t *bytes = store_numbers_out(first, count);
    redisReply *reply = NULL;
    int error = bytes ? store_ask(store, REDIS_REPLY_STATUS, &reply, why, "SET {%s}:%s:0 %b", id, name, bytes,
                                  (size_t)count * 4)
                      : why_set(why, HK_ENOMEM, "no memory to write campaign \"%s\"", id);

    free(bytes);
    if (!error)
        freeReplyObject(reply);
    return error;
}

/* A command about one name, which answers with a number that does not matter. */
static int do_with(struct store *store, struct hk_why *why, const char *command, const char *name)
{
    redisReply *reply;
    int error = store_ask(store, REDIS_REPLY_INTEGER, &reply, why, command, name);

    if (!error)
        freeReplyObject(reply);
    return error;
}

/* All event logs are told from their beginning again: what is told behind a place may be lost together with it, but what is
 * mended here stood before the places that Redis knows. Not by KEYS, which the user that the manual asks for may not say. */
static int forget_places(struct store *store, struct hk_why *why)
{
    char cursor[24] = "0";
    redisReply *reply;
    int error;

    do {
        error = store_ask(store, REDIS_REPLY_ARRAY, &reply, why, "SCAN %s MATCH hikyaku:journal:* COUNT %u",
                          cursor, SCAN_COUNT);
        if (error)
            return error;
        if (!store_scan_page(reply, 1, cursor, sizeof cursor))
            error = store_strange(store, why);
        for (size_t i = 0; !error && i < reply->element[1]->elements; i++)
            error = do_with(store, why, "DEL %s", reply->element[1]->element[i]->str);
        freeReplyObject(reply);
    } while (!error && strcmp(cursor, "0") != 0);
    return error;
}

/* Now, as due times count it; 0 stands for none. */
static uint32_t second_of(const struct manifest *manifest)
{
    uint64_t wall_us = clock_wall_us();
    uint64_t second = wall_us > manifest->created_us ? (wall_us - manifest->created_us) / 1000000u : 0;

    return second < 1 ? 1 : second < UINT32_MAX ? (uint32_t)second : UINT32_MAX;
}

int store_campaign_repair(struct store *store, const struct manifest *manifest, const uint32_t *domain_first,
                          const uint32_t *span_first, struct hk_why *why)
{
    const char *id = manifest->campaign;
    const uint32_t now_s = second_of(manifest);
    int error = forget_places(store, why);

    if (!error)
        error = write_table(store, id, "dom", domain_first, manifest->domains, why);
    if (!error)
        error = write_table(store, id, "span", span_first, manifest->spans, why);
    if (!error)
        error = do_with(store, why, "SADD hikyaku:campaigns %s", id);
    if (!error)
        error = do_with(store, why, "HSET {%s}:n made 1", id);
    if (!error)
        error = do_with(store, why, "HSET {%s}:q 0 0", id); /* there, for the spans that are taken */
    for (uint32_t i = 0; i < manifest->spans && !error; i++) {
        uint32_t end = i + 1 < manifest->spans ? span_first[i + 1] : (uint32_t)manifest->recipients;
        error = repair_span(store, id, i, end - span_first[i], now_s, why);
    }
    /* What is told from here on is counted as it is told. */
    return error ? error : store_campaign_recount(store, manifest, why);
}

struct recount {
    uint64_t counts[LEDGER_STATES_COUNT], attempts;
};

static int recount_word(void *context, uint32_t segment, uint32_t index, uint32_t packed)
{
    struct recount *r = context;
    struct ledger_word word = ledger_unpack(packed);
    bool untold = word.state == LEDGER_SENDING || (packed & LEDGER_UNCOUNTED) != 0;

    (void)segment;
    (void)index;
    r->counts[word.state < LEDGER_STATES_COUNT ? word.state : LEDGER_PENDING]++;
    r->attempts += word.attempts - (untold && word.attempts > 0 ? 1u : 0u);
    return 0;
}

int store_campaign_recount(struct store *store, const struct manifest *manifest, struct hk_why *why)
{
    char fields[LEDGER_STATES_COUNT * 32 + 64];
    struct recount r = {{0}, 0};
    redisReply *reply;
    size_t used = 0;
    int error = store_ledger_walk(store, manifest, recount_word, &r, why);

    if (error)
        return error;
    for (int state = 1; state < LEDGER_STATES_COUNT; state++)
        used += (size_t)snprintf(fields + used, sizeof fields - used, "%s %" PRIu64 " ",
                                 ledger_state_name((enum ledger_state)state), r.counts[state]);
    (void)snprintf(fields + used, sizeof fields - used, "made 1 attempts %" PRIu64, r.attempts);
    /* In one piece: a Redis that loses the end of this has the counts that it had. */
    error = store_ask(store, REDIS_REPLY_INTEGER, &reply, why, "EVAL %s 2 {%s}:n {%s}:own %s",
                      "local fields = { 'taken', redis.call('HLEN', KEYS[2]) } for word in "
                      "string.gmatch(ARGV[1], '%S+') do fields[#fields + 1] = word end "
                      "redis.call('DEL', KEYS[1]) return redis.call('HSET', KEYS[1], unpack(fields))",
                      manifest->campaign, manifest->campaign, fields);
    if (!error)
        freeReplyObject(reply);
    return error;
}
