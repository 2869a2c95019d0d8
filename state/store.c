/* store.c - the synchronous face of the state: epochs and manifests (state.h).
 *
 * Blocks, each answer for REDIS_ANSWER_MS at most; for start-up, reports and short commands, never on an event loop.
 * HK_EDOWN: Redis is not to be reached or refuses, in its words. HK_ECHANGED: it holds what we never write.
 */
#include "store.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "hikyaku/fault.h"
#include "hikyaku/segment.h"

/* ---- the connection ---- */

int store_open(const struct config *config, struct store **out, struct hk_why *why)
{
    struct store *store = calloc(1, sizeof *store);
    int error;

    if (!store)
        return why_set(why, HK_ENOMEM, "no memory for a connection to Redis");
    error = redis_target_from(config, &store->target, why);
    if (!error)
        error = redis_connect(&store->target, &store->redis, why);
    if (error)
        store_close(store);
    else
        *out = store;
    return error;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    if (store->redis)
        redisFree(store->redis);
    redis_target_free(&store->target);
    free(store);
}

void store_heard(struct store *store)
{
    store->silent_ms = 0;
}

static bool is_silent(const struct store *store)
{
    return store->silent_ms != 0 && clock_now_ms() < store->silent_ms + REDIS_ANSWER_MS;
}

static void note_silence(struct store *store)
{
    if (store->redis != NULL && store->redis->err != 0 && strcmp(store->redis->errstr, strerror(EAGAIN)) == 0)
        store->silent_ms = clock_now_ms();
}

/* A greeting may be waited for in vain as well. */
static int connect_again(struct store *store, struct hk_why *why)
{
    const uint64_t began_ms = clock_now_ms();
    int error = redis_connect(&store->target, &store->redis, why);

    if (error == HK_EDOWN && clock_now_ms() - began_ms >= REDIS_ANSWER_MS)
        store->silent_ms = clock_now_ms();
    return error;
}

void store_renew(struct store *store)
{
    if (store->redis)
        redisFree(store->redis);
    store->redis = NULL;
    store->silent_ms = 0;
}

int store_connected(struct store *store, struct hk_why *why)
{
    if (store->redis && store->redis->err == 0)
        return 0;
    if (is_silent(store))
        return why_set(why, HK_EDOWN, "%s does not answer: %s", redis_target_name(&store->target),
                       redis_words(strerror(EAGAIN)));
    if (store->redis)
        redisFree(store->redis);
    store->redis = NULL;
    return connect_again(store, why);
}

int store_redis_error(const struct store *store, struct hk_why *why)
{
    return why_set(why, HK_EDOWN, "%s does not answer: %s%s", redis_target_name(&store->target),
                   redis_words(store->redis->errstr), redis_hint(&store->target, store->redis->errstr));
}

int store_strange(const struct store *store, struct hk_why *why)
{
    return why_set(why, HK_ECHANGED, "%s holds something else under a key of hikyaku",
                   redis_target_name(&store->target));
}

static int store_check(struct store *store, redisReply *reply, struct hk_why *why)
{
    int error;

    if (!reply) {
        note_silence(store);
        return store_redis_error(store, why);
    }
    store->silent_ms = 0;
    if (reply->type != REDIS_REPLY_ERROR)
        return 0;
    error = strncmp(reply->str, "WRONGTYPE", 9) == 0
                ? store_strange(store, why)
                : why_set(why, HK_EDOWN, "%s refuses: %s%s", redis_target_name(&store->target), reply->str,
                          redis_hint(&store->target, reply->str));
    freeReplyObject(reply);
    return error;
}

/* The way to Redis is broken by a test: as after a lost connection. */
static bool store_breaks(struct store *store)
{
    if (!fault_fails(REDIS_STORE_BEFORE))
        return false;
    store->redis->err = REDIS_ERR_IO;
    (void)snprintf(store->redis->errstr, sizeof store->redis->errstr, "%s", strerror(errno));
    return true;
}

int store_next(struct store *store, redisReply **out, struct hk_why *why)
{
    void *reply = NULL;
    int error;

    *out = NULL;
    if (store_breaks(store) || redisGetReply(store->redis, &reply) != REDIS_OK) {
        note_silence(store);
        return store_redis_error(store, why);
    }
    fault_at(REDIS_STORE_AFTER);
    error = store_check(store, reply, why);
    if (!error)
        *out = reply;
    return error;
}

int store_ask(struct store *store, int type, redisReply **out, struct hk_why *why, const char *format, ...)
{
    redisReply *reply;
    va_list arguments;
    int error = store_connected(store, why);

    if (error)
        return error;
    va_start(arguments, format);
    reply = store_breaks(store) ? NULL : redisvCommand(store->redis, format, arguments);
    va_end(arguments);
    fault_at(REDIS_STORE_AFTER);
    error = store_check(store, reply, why);
    if (error)
        return error;
    if (reply->type != type) {
        freeReplyObject(reply);
        return store_strange(store, why);
    }
    *out = reply;
    return 0;
}

/* ---- numbers ---- */

bool store_parse_u64(const char *text, uint64_t max, uint64_t *out)
{
    unsigned long long value;
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value > max)
        return false;
    *out = value;
    return true;
}

bool store_scan_page(const redisReply *reply, size_t each, char *cursor, size_t size)
{
    const redisReply *page;

    if (reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_ARRAY || reply->element[0]->len >= size)
        return false;
    page = reply->element[1];
    for (size_t i = 0; i < page->elements; i++)
        if (page->element[i]->type != REDIS_REPLY_STRING)
            return false;
    memcpy(cursor, reply->element[0]->str, reply->element[0]->len + 1);
    return page->elements % each == 0;
}

uint8_t *store_numbers_out(const uint32_t *number, uint32_t count)
{
    uint8_t *bytes = malloc((size_t)count * 4 + 1);

    for (uint32_t i = 0; bytes && i < count; i++) {
        uint32_t little = htole32(number[i]);
        memcpy(bytes + (size_t)i * 4, &little, 4);
    }
    return bytes;
}

uint32_t *store_numbers_in(const char *bytes, uint32_t count)
{
    uint32_t *number = malloc(((size_t)count + 1) * sizeof *number);

    for (uint32_t i = 0; number && i < count; i++) {
        memcpy(&number[i], bytes + (size_t)i * 4, 4);
        number[i] = le32toh(number[i]);
    }
    return number;
}

int store_epoch_next(struct store *store, uint64_t seen, uint64_t *epoch, struct hk_why *why)
{
    redisReply *reply;
    uint64_t drawn = 0;

    while (drawn <= seen) {
        /* A step of more than one is taken where Redis has forgotten: two nodes that do so at once draw two numbers. */
        uint64_t step = drawn == 0 ? 1 : seen + 1 - drawn;
        int error = store_ask(store, REDIS_REPLY_INTEGER, &reply, why, "INCRBY hikyaku:epoch %" PRIu64, step);
        if (error)
            return error;
        drawn = (uint64_t)reply->integer;
        freeReplyObject(reply);
    }
    *epoch = drawn;
    return 0;
}

/* ---- manifests: one row for each field of {c}:m ---- */

enum field_kind { FIELD_TEXT, FIELD_U32, FIELD_U64 };

struct manifest_field {
    const char *name;
    enum field_kind kind;
    size_t offset, size;
};

#define FIELD(kind, member)                                                                       \
    {                                                                                             \
#member, kind, offsetof(struct manifest, member), sizeof((struct manifest *)NULL)->member \
    }
static const struct manifest_field manifest_field[] = {
    FIELD(FIELD_TEXT, state),          FIELD(FIELD_TEXT, list_sha256),   FIELD(FIELD_TEXT, input_sha256),
    FIELD(FIELD_TEXT, message_sha256), FIELD(FIELD_TEXT, sender_sha256), FIELD(FIELD_U64, recipients),
    FIELD(FIELD_U64, rejected),        FIELD(FIELD_U64, duplicates),     FIELD(FIELD_U32, segments),
    FIELD(FIELD_U32, spans),           FIELD(FIELD_U32, domains),        FIELD(FIELD_U64, first_rows),
    FIELD(FIELD_U64, created_us),      FIELD(FIELD_U64, started_us),     FIELD(FIELD_U64, first_pass_us),
    FIELD(FIELD_U64, settled_us),
};
#undef FIELD
#define MANIFEST_FIELDS (sizeof manifest_field / sizeof manifest_field[0])

static void field_print(const struct manifest *manifest, const struct manifest_field *field, char *out,
                        size_t size)
{
    const char *at = (const char *)manifest + field->offset;
    uint32_t u32;
    uint64_t u64;

    switch (field->kind) {
    case FIELD_TEXT:
        (void)snprintf(out, size, "%s", at);
        break;
    case FIELD_U32:
        memcpy(&u32, at, sizeof u32);
        (void)snprintf(out, size, "%" PRIu32, u32);
        break;
    case FIELD_U64:
        memcpy(&u64, at, sizeof u64);
        (void)snprintf(out, size, "%" PRIu64, u64);
        break;
    }
}

static bool field_parse(struct manifest *manifest, const struct manifest_field *field, const char *text)
{
    char *at = (char *)manifest + field->offset;
    uint64_t value;
    uint32_t u32;

    if (field->kind == FIELD_TEXT)
        return (size_t)snprintf(at, field->size, "%s", text) < field->size;
    if (!store_parse_u64(text, field->kind == FIELD_U32 ? UINT32_MAX : UINT64_MAX, &value))
        return false;
    u32 = (uint32_t)value;
    memcpy(at, field->kind == FIELD_U32 ? (const void *)&u32 : (const void *)&value, field->size);
    return true;
}

char *manifest_text(const struct manifest *manifest)
{
    size_t size = MANIFEST_FIELDS * (HK_SHA256_HEX + 40), used = 0;
    char *text = malloc(size), value[HK_SHA256_HEX + 16];

    for (size_t i = 0; text && i < MANIFEST_FIELDS; i++) {
        field_print(manifest, &manifest_field[i], value, sizeof value);
        used += (size_t)snprintf(text + used, size - used, "%s %s\n", manifest_field[i].name, value);
    }
    return text;
}

/* The value behind `name ` at the beginning of a line, up to its end. */
static bool text_field(const char *text, const char *name, char *out, size_t size)
{
    size_t length = strlen(name);

    for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        if (strncmp(line, name, length) != 0 || line[length] != ' ')
            continue;
        return (size_t)snprintf(out, size, "%.*s", (int)strcspn(line + length + 1, "\n"), line + length + 1) <
               size;
    }
    return false;
}

int manifest_from_text(const char *campaign, const char *text, struct manifest *out, struct hk_why *why)
{
    char value[HK_SHA256_HEX + 16];

    memset(out, 0, sizeof *out);
    (void)snprintf(out->campaign, sizeof out->campaign, "%s", campaign);
    for (size_t i = 0; i < MANIFEST_FIELDS; i++)
        if (!text_field(text, manifest_field[i].name, value, sizeof value) ||
            !field_parse(out, &manifest_field[i], value))
            return why_set(why, HK_ECHANGED,
                           "the kept manifest of campaign \"%s\" is damaged: %s is missing or wrong",
                           campaign, manifest_field[i].name);
    return 0;
}

static const char *reply_field(const redisReply *reply, const char *name)
{
    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        if (strcmp(reply->element[i]->str, name) == 0)
            return reply->element[i + 1]->str;
    return NULL;
}

int store_campaign_get(struct store *store, const char *campaign, struct manifest *out, struct hk_why *why)
{
    redisReply *reply;
    int error = store_ask(store, REDIS_REPLY_ARRAY, &reply, why, "HGETALL {%s}:m", campaign);

    if (error)
        return error;
    memset(out, 0, sizeof *out);
    (void)snprintf(out->campaign, sizeof out->campaign, "%s", campaign);
    if (reply->elements == 0)
        error = why_set(why, HK_ENOENT, "there is no campaign \"%s\"", campaign);
    for (size_t i = 0; i < MANIFEST_FIELDS && !error; i++) {
        const char *text = reply_field(reply, manifest_field[i].name);
        if (!text || !field_parse(out, &manifest_field[i], text))
            error = why_set(why, HK_ECHANGED, "the manifest of campaign \"%s\" in Redis is damaged: %s is %s",
                            campaign, manifest_field[i].name, text ? text : "missing");
    }
    freeReplyObject(reply);
    return error;
}

/* Does each table begin at 0 and rise to an end below the number of recipients, in steps of at most `step`? */
static bool table_is_valid(const uint32_t *first, uint32_t count, uint64_t recipients, uint64_t step)
{
    if (count == 0 || first[0] != 0)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t end = i + 1 < count ? first[i + 1] : recipients;
        if (end <= first[i] || end - first[i] > step)
            return false;
    }
    return true;
}

static int append_manifest(struct store *store, const struct manifest *manifest)
{
    char key[CAMPAIGN_ID_MAX + 8], text[MANIFEST_FIELDS][HK_SHA256_HEX + 16];
    const char *argv[2 + 2 * MANIFEST_FIELDS] = {"HSET", key};
    int argc = 2;

    (void)snprintf(key, sizeof key, "{%s}:m", manifest->campaign);
    for (size_t i = 0; i < MANIFEST_FIELDS; i++) {
        field_print(manifest, &manifest_field[i], text[i], sizeof text[i]);
        argv[argc++] = manifest_field[i].name;
        argv[argc++] = text[i];
    }
    return redisAppendCommandArgv(store->redis, argc, argv, NULL);
}

#define CREATE_COMMANDS 7 /* MULTI, five of ours, EXEC */

static int create_append(struct store *store, const struct manifest *manifest, const uint8_t *domains,
                         const uint8_t *spans)
{
    const char *id = manifest->campaign;
    redisContext *redis = store->redis;

    if (redisAppendCommand(redis, "MULTI") != REDIS_OK || append_manifest(store, manifest) != REDIS_OK ||
        redisAppendCommand(redis, "SET {%s}:dom:0 %b", id, domains, (size_t)manifest->domains * 4) !=
            REDIS_OK ||
        redisAppendCommand(redis, "SET {%s}:span:0 %b", id, spans, (size_t)manifest->spans * 4) != REDIS_OK ||
        redisAppendCommand(redis, "SADD hikyaku:campaigns %s", id) != REDIS_OK ||
        /* So that counts which are gone are told from counts of nothing. */
        redisAppendCommand(redis, "HSET {%s}:n made 1", id) != REDIS_OK ||
        redisAppendCommand(redis, "EXEC") != REDIS_OK)
        return HK_ENOMEM;
    return 0;
}

/* One transaction: a campaign is there whole or not at all. */
static int create_run(struct store *store, const struct manifest *manifest, const uint8_t *domains,
                      const uint8_t *spans, struct hk_why *why)
{
    redisReply *reply;
    int error, first_error = 0;

    error = create_append(store, manifest, domains, spans);
    if (error) {
        store->redis->err = REDIS_ERR_OOM; /* half a transaction must not be sent */
        return why_set(why, error, "no memory to create campaign \"%s\"", manifest->campaign);
    }
    for (int i = 0; i < CREATE_COMMANDS; i++) {
        error = store_next(store, &reply, first_error ? NULL : why);
        if (error && !first_error)
            first_error = error;
        if (store->redis->err)
            return first_error;
        if (error)
            continue;
        if (i == CREATE_COMMANDS - 1 && reply->type != REDIS_REPLY_ARRAY && !first_error)
            first_error =
                why_set(why, manifest->segments == 1 ? HK_EEXIST : HK_ECHANGED,
                        "campaign \"%s\" was written by another process meanwhile", manifest->campaign);
        freeReplyObject(reply);
    }
    return first_error;
}

/* How many segments the campaign has now, 0 for one that is not there; watched: a change by somebody else from now on
 * makes EXEC answer nil. */
static int watch_segments(struct store *store, const char *id, uint64_t *segments, struct hk_why *why)
{
    redisReply *reply;
    int error = store_ask(store, REDIS_REPLY_STATUS, &reply, why, "WATCH {%s}:m", id);

    if (error)
        return error;
    freeReplyObject(reply);
    error = store_ask(store, REDIS_REPLY_ARRAY, &reply, why, "HMGET {%s}:m segments", id);
    if (error)
        return error;
    *segments = 0;
    if (reply->elements != 1 || (reply->element[0]->type == REDIS_REPLY_STRING &&
                                 !store_parse_u64(reply->element[0]->str, UINT32_MAX, segments)))
        error = why_set(why, HK_ECHANGED, "the manifest of campaign \"%s\" in Redis is damaged", id);
    freeReplyObject(reply);
    return error;
}

/* What was watched for a transaction that does not come would fail the next one, which may be about another campaign. A new
 * connection watches nothing. */
static void unwatch(struct store *store)
{
    redisReply *reply;

    if (!store->redis || store->redis->err != 0)
        return;
    if (store_ask(store, REDIS_REPLY_STATUS, &reply, NULL, "UNWATCH") == 0)
        freeReplyObject(reply);
    else if (store->redis)
        store->redis->err = REDIS_ERR_OTHER; /* the next question connects anew */
}

/* Write manifest and tables over those of a campaign that has `before` segments now. */
static int campaign_write(struct store *store, const struct manifest *manifest, uint64_t before,
                          const uint32_t *domain_first, const uint32_t *span_first, struct hk_why *why)
{
    const char *id = manifest->campaign;
    uint8_t *domains = NULL, *spans = NULL;
    uint64_t segments;
    int error;

    if (!campaign_id_is_valid(id) || (before > 0 && manifest->segments != before + 1) ||
        !table_is_valid(domain_first, manifest->domains, manifest->recipients, UINT32_MAX) ||
        !table_is_valid(span_first, manifest->spans, manifest->recipients, SPAN_MAX))
        return why_set(why, HK_EINVAL,
                       "campaign \"%s\": its tables of domains and spans do not fit its recipients", id);
    error = watch_segments(store, id, &segments, why);
    if (!error && before == 0 && segments != 0)
        error = why_set(why, HK_EEXIST, "campaign \"%s\" exists already", id);
    else if (!error && segments != before)
        error = why_set(why, segments == 0 ? HK_ENOENT : HK_ECHANGED,
                        "campaign \"%s\" has %" PRIu64 " segments, not %" PRIu64, id, segments, before);
    if (!error) {
        domains = store_numbers_out(domain_first, manifest->domains);
        spans = store_numbers_out(span_first, manifest->spans);
        error = domains && spans ? create_run(store, manifest, domains, spans, why)
                                 : why_set(why, HK_ENOMEM, "no memory to write campaign \"%s\"", id);
    }
    if (error)
        unwatch(store);
    free(domains);
    free(spans);
    return error;
}

int store_campaign_create(struct store *store, const struct manifest *manifest, const uint32_t *domain_first,
                          const uint32_t *span_first, struct hk_why *why)
{
    return campaign_write(store, manifest, 0, domain_first, span_first, why);
}

int store_campaign_extend(struct store *store, const struct manifest *manifest, const uint32_t *domain_first,
                          const uint32_t *span_first, struct hk_why *why)
{
    if (manifest->segments < 2)
        return why_set(why, HK_EINVAL, "campaign \"%s\": an extension adds a segment", manifest->campaign);
    return campaign_write(store, manifest, manifest->segments - 1, domain_first, span_first, why);
}

int store_campaign_put(struct store *store, const struct manifest *manifest, struct hk_why *why)
{
    redisReply *reply;
    int error = store_ask(store, REDIS_REPLY_INTEGER, &reply, why,
                          "HSET {%s}:m state %s first_rows %" PRIu64 " settled_us %" PRIu64,
                          manifest->campaign, manifest->state, manifest->first_rows, manifest->settled_us);

    if (!error)
        freeReplyObject(reply);
    return error;
}

static int unlink_key(struct store *store, struct hk_why *why, const char *campaign, const char *name)
{
    redisReply *reply;
    int error = store_ask(store, REDIS_REPLY_INTEGER, &reply, why, "UNLINK {%s}:%s", campaign, name);

    if (!error)
        freeReplyObject(reply);
    return error;
}

/* The strings of each span that was taken, by the names in {c}:own: there are no others. */
static int purge_spans(struct store *store, const char *campaign, struct hk_why *why)
{
    redisReply *own, *reply;
    int error = store_ask(store, REDIS_REPLY_ARRAY, &own, why, "HKEYS {%s}:own", campaign);

    if (error)
        return error;
    for (size_t i = 0; i < own->elements && !error; i++) {
        const char *name = own->element[i]->str;
        error = store_ask(store, REDIS_REPLY_INTEGER, &reply, why, "UNLINK {%s}:s:%s {%s}:d:%s {%s}:f:%s",
                          campaign, name, campaign, name, campaign, name);
        if (!error)
            freeReplyObject(reply);
    }
    freeReplyObject(own);
    return error;
}

/* The manifest goes last: as long as it is there the campaign is, and can be purged again. */
int store_campaign_purge(struct store *store, const struct manifest *manifest, struct hk_why *why)
{
    static const char *const part[] = {"own", "due", "n", "q", "site"};
    const char *id = manifest->campaign;
    char table[32];
    redisReply *reply;
    int error = purge_spans(store, id, why);

    for (size_t i = 0; i < sizeof part / sizeof part[0] && !error; i++)
        error = unlink_key(store, why, id, part[i]);
    for (uint32_t i = 0; i < manifest->segments && !error; i++) {
        (void)snprintf(table, sizeof table, "dom:%" PRIu32, i);
        error = unlink_key(store, why, id, table);
        (void)snprintf(table, sizeof table, "span:%" PRIu32, i);
        if (!error)
            error = unlink_key(store, why, id, table);
    }
    if (!error)
        error = store_ask(store, REDIS_REPLY_INTEGER, &reply, why, "SREM hikyaku:campaigns %s", id);
    if (error)
        return error;
    freeReplyObject(reply);
    return unlink_key(store, why, id, "m");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int store_campaign_list(struct store *store, char ***out, size_t *count, struct hk_why *why)
{
    redisReply *reply;
    char **name;
    int error = store_ask(store, REDIS_REPLY_ARRAY, &reply, why, "SMEMBERS hikyaku:campaigns");

    if (error)
        return error;
    name = hk_xcalloc(reply->elements + 1, sizeof *name);
    for (size_t i = 0; i < reply->elements; i++)
        name[i] = hk_xstrdup(reply->element[i]->str);
    qsort(name, reply->elements, sizeof *name, by_name);
    *out = name;
    *count = reply->elements;
    freeReplyObject(reply);
    return 0;
}
