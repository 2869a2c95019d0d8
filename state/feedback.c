/* feedback.c - what comes back after a message was sent, applied to Redis (feedback.h, feedback.lua). Blocks. */
#include "hikyaku/feedback.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "store.h"
#include "suppress_entry.h"

#define SOFT_KEY    "hikyaku:soft:%s:%s"
#define BOUNCE_KEY  "hikyaku:bounce:"
#define HELD_KEY    BOUNCE_KEY "held"
#define PIECE       256u /* calls that are under way together */
#define KEYS        9
#define NUMBER_SIZE 24

extern const char state_feedback_lua[]; /* the script's file, built into the library */

static const char *const done_words[] = {
    [FEEDBACK_SUPPRESSED] = "suppressed",
    [FEEDBACK_KNOWN] = "known",
    [FEEDBACK_COUNTED] = "counted",
    [FEEDBACK_NEAR] = "near",
    [FEEDBACK_AGAIN] = "again",
    [FEEDBACK_BLOCKED] = "blocked",
    [FEEDBACK_HELD] = "held",
    [FEEDBACK_TRIPPED] = "tripped",
    [FEEDBACK_FULL] = "full",
};

const char *feedback_done_word(enum feedback_done done)
{
    return done_words[done];
}

/* ---- rules ---- */

static struct cfg_soft soft_rule(const struct config *config, const char *reply_class)
{
    for (size_t i = 0; i < config->soft_count; i++)
        if (strcmp(config->soft[i].reply_class, reply_class) == 0)
            return config->soft[i];
    return (struct cfg_soft){.within_s = 86400};
}

uint32_t feedback_breaker_need(const struct config *config, uint32_t domain_recipients)
{
    uint64_t share = (uint64_t)domain_recipients * config->bounce.breaker_share / 100;

    return share > config->bounce.breaker_count ? (uint32_t)share : config->bounce.breaker_count;
}

/* ---- one call ---- */

enum { NOW_S, NOW_US, LIMIT, WITHIN, APART, NEED, PERIOD, HELD_MOST, BLOCK_MOST, NUMBERS };

struct call {
    char key[ADDRESS_MAX + 1]; /* of the address */
    char *value;
    char *redis_key[KEYS];
    char number[NUMBERS][NUMBER_SIZE];
};

static void call_free(struct call *call)
{
    free(call->value);
    for (size_t i = 0; i < KEYS; i++)
        free(call->redis_key[i]);
    memset(call, 0, sizeof *call);
}

static char *print_key(const char *format, ...) HK_PRINTF(1, 2);
static char *print_key(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vasprintf(&text, format, arguments);
    va_end(arguments);
    return length < 0 ? NULL : text;
}

static int make_keys(struct call *call, const struct feedback *feedback)
{
    const char *scope = feedback->entry.scope, *domain = strrchr(call->key, '@') + 1;

    call->redis_key[0] = print_key(SUPPRESS_KEY("%s"), scope);
    call->redis_key[1] = print_key(SUPPRESS_KEY("log"));
    call->redis_key[2] = print_key(SUPPRESS_KEY("seq"));
    call->redis_key[3] = print_key(SUPPRESS_KEY("scopes"));
    call->redis_key[4] = print_key(SOFT_KEY, feedback->reply_class, call->key);
    call->redis_key[5] = print_key(BOUNCE_KEY "unknown:%s", domain);
    call->redis_key[6] = print_key(BOUNCE_KEY "trip:%s", domain);
    call->redis_key[7] = print_key(HELD_KEY);
    call->redis_key[8] = print_key(BOUNCE_KEY "block:%s", feedback->reply_class);
    for (size_t i = 0; i < KEYS; i++)
        if (!call->redis_key[i])
            return HK_ENOMEM;
    return 0;
}

static void make_numbers(struct call *call, const struct config *config, const struct feedback *feedback)
{
    const struct cfg_soft soft = soft_rule(config, feedback->reply_class);
    const bool watched = feedback->may_be_held && config->bounce.breaker_count > 0;
    const uint64_t number[NUMBERS] = {
        [NOW_S] = feedback->entry.time_us / 1000000u,
        [NOW_US] = feedback->entry.time_us,
        [LIMIT] = soft.count,
        [WITHIN] = soft.within_s,
        [APART] = soft.apart_s,
        [NEED] = watched ? feedback_breaker_need(config, feedback->domain_recipients) : 0,
        [PERIOD] = config->bounce.breaker_period_s > 0 ? config->bounce.breaker_period_s : 1,
        [HELD_MOST] = FEEDBACK_HELD_MAX,
        [BLOCK_MOST] = FEEDBACK_BLOCKS_MAX,
    };

    for (size_t i = 0; i < NUMBERS; i++)
        (void)snprintf(call->number[i], NUMBER_SIZE, "%" PRIu64, number[i]);
}

/* What stands in the list when a soft bounce was one too many: that, too. */
static char *value_of(const struct config *config, const struct feedback *feedback)
{
    const struct cfg_soft soft = soft_rule(config, feedback->reply_class);
    struct suppress_entry entry = feedback->entry;
    int length;

    if (feedback->disposition != DISPOSITION_COUNT)
        return suppress_value(&entry);
    length = snprintf(entry.evidence, sizeof entry.evidence, "%u times %s within %u days: ", soft.count,
                      feedback->reply_class, (soft.within_s + 86399u) / 86400u);
    (void)snprintf(entry.evidence + length, sizeof entry.evidence - (size_t)length, "%.*s",
                   (int)(sizeof entry.evidence - (size_t)length - 1), feedback->entry.evidence);
    return suppress_value(&entry);
}

static int call_make(struct call *call, const struct config *config, const struct feedback *feedback,
                     struct hk_why *why)
{
    int error = suppress_entry_key(&feedback->entry, call->key, why);

    if (!error && feedback->disposition == DISPOSITION_NONE)
        error = why_set(why, HK_EINVAL, "nothing is to be done about it");
    if (error)
        return error;
    call->value = value_of(config, feedback);
    make_numbers(call, config, feedback);
    error = call->value ? make_keys(call, feedback) : HK_ENOMEM;
    return error ? why_set(why, error, "no memory to tell Redis of a bounce") : 0;
}

static int call_append(const struct call *call, struct store *store, const struct feedback *feedback,
                       struct hk_why *why)
{
    static const char *const ops[] = {[DISPOSITION_NONE] = "",
                                      [DISPOSITION_COUNT] = "count",
                                      [DISPOSITION_BLOCK] = "block",
                                      [DISPOSITION_SUPPRESS] = "suppress"};
    const char *argv[3 + KEYS + 6 + NUMBERS] = {"EVAL", state_feedback_lua, "9"};
    int argc = 3;

    for (size_t i = 0; i < KEYS; i++)
        argv[argc++] = call->redis_key[i];
    argv[argc++] = ops[feedback->disposition];
    argv[argc++] = feedback->entry.scope;
    argv[argc++] = SUPPRESS_LOG_KEPT;
    argv[argc++] = call->key;
    argv[argc++] = call->value;
    argv[argc++] = feedback->message;
    for (size_t i = 0; i < NUMBERS; i++)
        argv[argc++] = call->number[i];
    if (redisAppendCommandArgv(store->redis, argc, argv, NULL) == REDIS_OK)
        return 0;
    store->redis->err = REDIS_ERR_OOM; /* answers would be out of step from here on */
    return why_set(why, HK_ENOMEM, "no memory to tell Redis of a bounce");
}

/* ---- answers ---- */

static int read_done(const struct store *store, const redisReply *reply, struct feedback_result *result,
                     struct hk_why *why)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING || reply->element[1]->type != REDIS_REPLY_INTEGER)
        return store_strange(store, why);
    for (size_t i = 0; i < sizeof done_words / sizeof done_words[0]; i++)
        if (strcmp(reply->element[0]->str, done_words[i]) == 0) {
            result->done = (enum feedback_done)i;
            result->count = (uint32_t)reply->element[1]->integer;
            return 0;
        }
    return store_strange(store, why);
}

/* Every answer is read, whatever came before: the connection stays in step. */
static int read_answers(struct store *store, size_t count, struct feedback_result *result, struct hk_why *why)
{
    int first_error = 0;

    for (size_t i = 0; i < count; i++) {
        redisReply *reply;
        int error = store_next(store, &reply, first_error ? NULL : why);
        if (!error) {
            error = read_done(store, reply, &result[i], first_error ? NULL : why);
            freeReplyObject(reply);
        }
        first_error = first_error ? first_error : error;
        if (store->redis->err)
            break;
    }
    return first_error;
}

static int apply_piece(struct store *store, const struct config *config, const struct feedback *feedback,
                       size_t count, struct call *call, struct feedback_result *result, struct hk_why *why)
{
    int error = 0;

    for (size_t i = 0; i < count && !error; i++)
        error = call_make(&call[i], config, &feedback[i], why);
    if (!error)
        error = store_connected(store, why);
    for (size_t i = 0; i < count && !error; i++) {
        result[i].limit = soft_rule(config, feedback[i].reply_class).count;
        error = call_append(&call[i], store, &feedback[i], why);
    }
    return error ? error : read_answers(store, count, result, why);
}

int feedback_apply(struct store *store, const struct config *config, const struct feedback *feedback,
                   size_t count, struct feedback_result *result, struct hk_why *why)
{
    struct call *call = calloc(PIECE, sizeof *call);
    int error = 0;

    if (!call)
        return why_set(why, HK_ENOMEM, "no memory to tell Redis of bounces");
    while (count > 0 && !error) {
        size_t some = count < PIECE ? count : PIECE;
        error = apply_piece(store, config, feedback, some, call, result, why);
        for (size_t i = 0; i < some; i++)
            call_free(&call[i]);
        feedback += some;
        result += some;
        count -= some;
    }
    free(call);
    return error;
}

/* ---- soft bounces of one address ---- */

int feedback_delivered(struct store *store, const struct config *config, const char *address,
                       struct hk_why *why)
{
    char key[ADDRESS_MAX + 1];
    redisReply *reply;
    int error = suppress_key(address, key, why);

    for (size_t i = 0; i < config->soft_count && !error; i++) {
        error = store_ask(store, REDIS_REPLY_INTEGER, &reply, why, "DEL " SOFT_KEY,
                          config->soft[i].reply_class, key);
        if (!error)
            freeReplyObject(reply);
    }
    return error;
}

/* What counts now: those within the class's period. */
static int soft_of(struct store *store, const struct cfg_soft *soft, const char *key, uint64_t *newest_s,
                   uint32_t *count, struct hk_why *why)
{
    uint64_t now_s = clock_wall_us() / 1000000u;
    redisReply *reply;
    int error = store_ask(store, REDIS_REPLY_ARRAY, &reply, why,
                          "ZREVRANGEBYSCORE " SOFT_KEY " +inf %" PRIu64 " WITHSCORES", soft->reply_class, key,
                          now_s > soft->within_s ? now_s - soft->within_s : 0);

    if (error)
        return error;
    *count = (uint32_t)(reply->elements / 2);
    if (reply->elements >= 2 && (reply->element[1]->type != REDIS_REPLY_STRING ||
                                 !store_parse_u64(reply->element[1]->str, UINT64_MAX, newest_s)))
        error = store_strange(store, why);
    freeReplyObject(reply);
    return error;
}

int feedback_soft(struct store *store, const struct config *config, const char *address,
                  void (*fn)(void *context, const struct cfg_soft *soft, uint32_t count, uint64_t last_s),
                  void *context, struct hk_why *why)
{
    char key[ADDRESS_MAX + 1];
    int error = suppress_key(address, key, why);

    for (size_t i = 0; i < config->soft_count && !error; i++) {
        uint64_t newest_s = 0;
        uint32_t count = 0;
        error = soft_of(store, &config->soft[i], key, &newest_s, &count, why);
        if (!error && count > 0)
            fn(context, &config->soft[i], count, newest_s);
    }
    return error;
}

/* ---- who is held ---- */

int feedback_held_walk(struct store *store, int (*fn)(void *context, const struct suppress_entry *entry),
                       void *context, struct hk_why *why)
{
    return suppress_walk_hash(store, HELD_KEY, "all", fn, context, why);
}

int feedback_held_drop(struct store *store, const char *address, struct hk_why *why)
{
    char key[ADDRESS_MAX + 1];
    redisReply *reply;
    int error = suppress_key(address, key, why), dropped;

    if (!error)
        error = store_ask(store, REDIS_REPLY_INTEGER, &reply, why, "HDEL " HELD_KEY " %s", key);
    if (error)
        return error;
    dropped = (int)reply->integer;
    freeReplyObject(reply);
    return dropped;
}
