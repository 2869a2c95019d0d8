/* feedback.c - what comes back after a message was sent, applied to Redis (feedback.h, feedback.lua). Blocks. */
#include "hikyaku/feedback.h"

#include <inttypes.h>
#include <string.h>

#include "feedback_call.h"
#include "store.h"
#include "suppress_entry.h"

#define HEARD_KEY "hikyaku:bounce:heard:"
#define PIECE     256u /* calls that are under way together */

extern const char state_feedback_lua[]; /* the script's file, built into the library */

static int call_append(const struct feedback_call *call, struct store *store, struct hk_why *why)
{
    const char *argv[FEEDBACK_ARGC];

    feedback_call_command(call, "EVAL", state_feedback_lua, argv);
    if (redisAppendCommandArgv(store->redis, FEEDBACK_ARGC, argv, NULL) == REDIS_OK)
        return 0;
    store->redis->err = REDIS_ERR_OOM; /* answers would be out of step from here on */
    return why_set(why, HK_ENOMEM, "no memory to tell Redis of a bounce");
}

/* Every answer is read, whatever came before: the connection stays in step. */
static int read_answers(struct store *store, size_t count, struct feedback_result *result, struct hk_why *why)
{
    int first_error = 0;

    for (size_t i = 0; i < count; i++) {
        redisReply *reply;
        int error = store_next(store, &reply, first_error ? NULL : why);
        if (!error) {
            error =
                feedback_call_read(reply, &result[i]) ? 0 : store_strange(store, first_error ? NULL : why);
            freeReplyObject(reply);
        }
        first_error = first_error ? first_error : error;
        if (store->redis->err)
            break;
    }
    return first_error;
}

static int apply_piece(struct store *store, const struct config *config, const struct feedback *feedback,
                       size_t count, struct feedback_call *call, struct feedback_result *result,
                       struct hk_why *why)
{
    int error = 0;

    for (size_t i = 0; i < count && !error; i++)
        error = feedback_call_make(&call[i], config, &feedback[i], why);
    if (!error)
        error = store_connected(store, why);
    for (size_t i = 0; i < count && !error; i++) {
        result[i].limit = feedback_soft_rule(config, feedback[i].reply_class).count;
        error = call_append(&call[i], store, why);
    }
    return error ? error : read_answers(store, count, result, why);
}

int feedback_apply(struct store *store, const struct config *config, const struct feedback *feedback,
                   size_t count, struct feedback_result *result, struct hk_why *why)
{
    struct feedback_call *call = calloc(PIECE, sizeof *call);
    int error = 0;

    if (!call)
        return why_set(why, HK_ENOMEM, "no memory to tell Redis of bounces");
    while (count > 0 && !error) {
        size_t some = count < PIECE ? count : PIECE;
        error = apply_piece(store, config, feedback, some, call, result, why);
        for (size_t i = 0; i < some; i++)
            feedback_call_free(&call[i]);
        feedback += some;
        result += some;
        count -= some;
    }
    free(call);
    return error;
}

/* ---- said twice ---- */

/* An answer of `type` for each of `count` commands that were appended; all are read, so that the connection stays in step.
 * yes[i], where it is not NULL: is the nth one a number above 0? */
static int read_each(struct store *store, size_t count, int type, bool *yes, struct hk_why *why)
{
    int first_error = 0;

    for (size_t i = 0; i < count && !store->redis->err; i++) {
        redisReply *reply;
        int error = store_next(store, &reply, first_error ? NULL : why);
        if (!error) {
            if (reply->type != type)
                error = store_strange(store, first_error ? NULL : why);
            else if (yes)
                yes[i] = reply->integer > 0;
            freeReplyObject(reply);
        }
        first_error = first_error ? first_error : error;
    }
    return first_error;
}

/* What became of appending a command. */
static int appended(struct store *store, int rc, struct hk_why *why)
{
    if (rc == REDIS_OK)
        return 0;
    store->redis->err = REDIS_ERR_OOM; /* answers would be out of step from here on */
    return why_set(why, HK_ENOMEM, "no memory to ask Redis about what came back");
}

int feedback_was_heard(struct store *store, const char *const *id, size_t count, bool *known,
                       struct hk_why *why)
{
    int error = count > 0 ? store_connected(store, why) : 0;

    for (size_t i = 0; i < count && !error; i++)
        error = appended(store, redisAppendCommand(store->redis, "EXISTS " HEARD_KEY "%s", id[i]), why);
    return error || count == 0 ? error : read_each(store, count, REDIS_REPLY_INTEGER, known, why);
}

int feedback_hear(struct store *store, const char *const *id, size_t count, struct hk_why *why)
{
    int error = count > 0 ? store_connected(store, why) : 0;

    for (size_t i = 0; i < count && !error; i++)
        error = appended(
            store, redisAppendCommand(store->redis, "SET " HEARD_KEY "%s 1 EX %u", id[i], FEEDBACK_HEARD_S),
            why);
    return error || count == 0 ? error : read_each(store, count, REDIS_REPLY_STATUS, NULL, why);
}

/* ---- soft bounces of one address ---- */

static int append_forget(struct store *store, const struct config *config, const char *address,
                         struct hk_why *why)
{
    char key[ADDRESS_MAX + 1];
    int error = suppress_key(address, key, why);

    for (size_t i = 0; i < config->soft_count && !error; i++)
        error = appended(
            store, redisAppendCommand(store->redis, "DEL " SOFT_KEY, config->soft[i].reply_class, key), why);
    return error;
}

int feedback_delivered(struct store *store, const struct config *config, const char *const *address,
                       size_t count, struct hk_why *why)
{
    size_t asked = 0;
    int error = count > 0 ? store_connected(store, why) : 0, read;

    if (error || count == 0)
        return error;
    for (size_t i = 0; i < count && !error; i++) {
        error = append_forget(store, config, address[i], why);
        asked += error ? 0 : config->soft_count;
    }
    read = read_each(store, asked, REDIS_REPLY_INTEGER, NULL, error ? NULL : why);
    return error ? error : read;
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
    return suppress_walk_hash(store, SUPPRESS_HELD_KEY, "all", fn, context, why);
}

int feedback_held_find(struct store *store, const struct suppress_entry *entry, size_t count,
                       struct suppress_entry *there, bool *found, struct hk_why *why)
{
    return suppress_find_in(store, SUPPRESS_HELD_KEY, entry, count, there, found, why);
}
