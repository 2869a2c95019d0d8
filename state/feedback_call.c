/* feedback_call.c - make one call of feedback.lua, and read its answer (feedback_call.h). No socket, no clock. */
#include "feedback_call.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "store.h"
#include "suppress_entry.h"

#define BOUNCE_KEY "hikyaku:bounce:"

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

struct cfg_soft feedback_soft_rule(const struct config *config, const char *reply_class)
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

/* ---- the call ---- */

enum { NOW_S, NOW_US, LIMIT, WITHIN, APART, NEED, PERIOD, HELD_MOST, BLOCK_MOST, NUMBERS };
_Static_assert(NUMBERS == FEEDBACK_NUMBERS, "the script takes them in this order");

void feedback_call_free(struct feedback_call *call)
{
    free(call->value);
    for (size_t i = 0; i < FEEDBACK_KEYS; i++)
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

static int make_keys(struct feedback_call *call, const struct feedback *feedback)
{
    const char *scope = feedback->entry.scope, *domain = strrchr(call->key, '@') + 1;

    call->redis_key[0] = print_key(SUPPRESS_KEY("%s"), scope);
    call->redis_key[1] = print_key(SUPPRESS_KEY("log"));
    call->redis_key[2] = print_key(SUPPRESS_KEY("seq"));
    call->redis_key[3] = print_key(SUPPRESS_KEY("scopes"));
    call->redis_key[4] = print_key(SOFT_KEY, feedback->reply_class, call->key);
    call->redis_key[5] = print_key(BOUNCE_KEY "unknown:%s", domain);
    call->redis_key[6] = print_key(BOUNCE_KEY "trip:%s", domain);
    call->redis_key[7] = print_key(SUPPRESS_HELD_KEY);
    call->redis_key[8] = print_key(BOUNCE_KEY "block:%s", feedback->reply_class);
    for (size_t i = 0; i < FEEDBACK_KEYS; i++)
        if (!call->redis_key[i])
            return HK_ENOMEM;
    return 0;
}

static void make_numbers(struct feedback_call *call, const struct config *config,
                         const struct feedback *feedback)
{
    const struct cfg_soft soft = feedback_soft_rule(config, feedback->reply_class);
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
        (void)snprintf(call->number[i], sizeof call->number[i], "%" PRIu64, number[i]);
}

/* What stands in the list when a soft bounce was one too many: that, too. */
static char *value_of(const struct config *config, const struct feedback *feedback)
{
    const struct cfg_soft soft = feedback_soft_rule(config, feedback->reply_class);
    struct suppress_entry entry = feedback->entry;
    int length;

    if (feedback->disposition != DISPOSITION_COUNT)
        return suppress_value(&entry);
    if (soft.expires_s != 0 && soft.expires_s != UINT32_MAX)
        entry.until_s = (uint32_t)(entry.time_us / 1000000u) + soft.expires_s;
    length = snprintf(entry.evidence, sizeof entry.evidence, "%u times %s within %u days: ", soft.count,
                      feedback->reply_class, (soft.within_s + 86399u) / 86400u);
    (void)snprintf(entry.evidence + length, sizeof entry.evidence - (size_t)length, "%.*s",
                   (int)(sizeof entry.evidence - (size_t)length - 1), feedback->entry.evidence);
    return suppress_value(&entry);
}

int feedback_call_make(struct feedback_call *call, const struct config *config,
                       const struct feedback *feedback, struct hk_why *why)
{
    static const char *const ops[] = {[DISPOSITION_NONE] = "",
                                      [DISPOSITION_COUNT] = "count",
                                      [DISPOSITION_BLOCK] = "block",
                                      [DISPOSITION_SUPPRESS] = "suppress"};
    int error = suppress_entry_key(&feedback->entry, call->key, why);

    if (!error && feedback->disposition == DISPOSITION_NONE)
        error = why_set(why, HK_EINVAL, "nothing is to be done about it");
    if (error)
        return error;
    call->op = ops[feedback->disposition];
    memcpy(call->scope, feedback->entry.scope, sizeof call->scope);
    memcpy(call->message, feedback->message, sizeof call->message);
    call->value = value_of(config, feedback);
    make_numbers(call, config, feedback);
    error = call->value ? make_keys(call, feedback) : HK_ENOMEM;
    return error ? why_set(why, error, "no memory to tell Redis of a bounce") : 0;
}

void feedback_call_command(const struct feedback_call *call, const char *verb, const char *script,
                           const char *argv[FEEDBACK_ARGC])
{
    int argc = 0;

    argv[argc++] = verb;
    argv[argc++] = script;
    argv[argc++] = "9";
    for (size_t i = 0; i < FEEDBACK_KEYS; i++)
        argv[argc++] = call->redis_key[i];
    argv[argc++] = call->op;
    argv[argc++] = call->scope;
    argv[argc++] = SUPPRESS_LOG_KEPT;
    argv[argc++] = call->key;
    argv[argc++] = call->value;
    argv[argc++] = call->message;
    for (size_t i = 0; i < FEEDBACK_NUMBERS; i++)
        argv[argc++] = call->number[i];
    HK_BUG_ON(argc != FEEDBACK_ARGC);
}

bool feedback_call_read(const redisReply *reply, struct feedback_result *result)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING || reply->element[1]->type != REDIS_REPLY_INTEGER)
        return false;
    for (size_t i = 0; i < sizeof done_words / sizeof done_words[0]; i++)
        if (strcmp(reply->element[0]->str, done_words[i]) == 0) {
            result->done = (enum feedback_done)i;
            result->count = (uint32_t)reply->element[1]->integer;
            return true;
        }
    return false;
}
