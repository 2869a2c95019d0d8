/* suppress.c - the suppression lists in Redis, blocking: change, find, walk (suppress.h). */
#include <string.h>

#include "store.h"
#include "suppress_entry.h"

#define CHANGE_PIECE (SUPPRESS_CALL_MAX * 32) /* entries whose calls are under way together */
#define WALK_COUNT   1000                     /* what HSCAN is asked for at once */

/* ---- changing ---- */

/* What is told of a piece of entries, and the calls that carry it. */
struct piece {
    const struct suppress_entry *entry;
    struct suppress_texts *texts;
    size_t *call_count; /* entries of each call */
    size_t count, calls;
};

static void piece_free(const struct piece *piece)
{
    for (size_t i = 0; piece->texts && i < piece->count; i++)
        suppress_texts_free(&piece->texts[i]);
    free(piece->texts);
    free(piece->call_count);
}

static int piece_make(struct piece *piece, enum suppress_change change, const struct suppress_entry *entry,
                      size_t count, struct hk_why *why)
{
    int error = 0;

    *piece = (struct piece){.entry = entry,
                            .texts = calloc(count, sizeof *piece->texts),
                            .call_count = calloc(count, sizeof *piece->call_count),
                            .count = count};
    if (!piece->texts || !piece->call_count)
        return why_set(why, HK_ENOMEM, "no memory for %zu suppressions", count);
    for (size_t i = 0; i < count && !error; i++)
        error = suppress_texts_make(&piece->texts[i], change, &entry[i], SUPPRESS_ANY_TIME, why);
    return error;
}

/* From `at` on, as many of one scope as go into a call. */
static size_t same_scope(const struct suppress_entry *entry, size_t at, size_t count)
{
    size_t end = at + SUPPRESS_CALL_MAX < count ? at + SUPPRESS_CALL_MAX : count, i = at + 1;

    while (i < end && strcmp(entry[i].scope, entry[at].scope) == 0)
        i++;
    return i - at;
}

static int append_argv(struct store *store, int argc, const char **argv, const size_t *length,
                       struct hk_why *why)
{
    if (redisAppendCommandArgv(store->redis, argc, argv, length) == REDIS_OK)
        return 0;
    store->redis->err = REDIS_ERR_OOM; /* answers would be out of step from here on */
    return why_set(why, HK_ENOMEM, "no memory to tell Redis of suppressions");
}

static int piece_append(struct piece *piece, struct store *store, struct hk_why *why)
{
    struct suppress_call call;
    int error = 0;

    for (size_t i = 0; i < piece->count && !error; piece->calls++) {
        size_t some = same_scope(piece->entry, i, piece->count);
        suppress_call_begin(&call, "EVAL", state_suppress_lua, piece->texts[i].op, piece->entry[i].scope);
        for (size_t k = i; k < i + some; k++)
            suppress_call_add_texts(&call, &piece->texts[k]);
        piece->call_count[piece->calls] = some;
        error = append_argv(store, call.argc, call.argv, call.length, why);
        i += some;
    }
    return error;
}

static int read_changed(const struct store *store, const redisReply *reply, size_t count, bool *changed,
                        struct hk_why *why)
{
    if (reply->type != REDIS_REPLY_STRING || reply->len != count)
        return store_strange(store, why);
    for (size_t i = 0; changed && i < count; i++)
        changed[i] = reply->str[i] == '1';
    return 0;
}

/* Every answer is read, whatever came before: the connection stays in step. */
static int piece_answers(const struct piece *piece, struct store *store, bool *changed, struct hk_why *why)
{
    int first_error = 0;

    for (size_t i = 0, at = 0; i < piece->calls && !store->redis->err; at += piece->call_count[i++]) {
        redisReply *reply;
        int error = store_next(store, &reply, first_error ? NULL : why);
        if (!error) {
            error = read_changed(store, reply, piece->call_count[i], changed ? changed + at : NULL,
                                 first_error ? NULL : why);
            freeReplyObject(reply);
        }
        first_error = first_error ? first_error : error;
    }
    return first_error;
}

int suppress_change_all(struct store *store, enum suppress_change change, const struct suppress_entry *entry,
                        size_t count, bool *changed, struct hk_why *why)
{
    int error = 0;

    for (size_t done = 0; done < count && !error;) {
        size_t some = count - done < CHANGE_PIECE ? count - done : CHANGE_PIECE;
        struct piece piece;
        error = piece_make(&piece, change, entry + done, some, why);
        if (!error)
            error = store_connected(store, why);
        if (!error)
            error = piece_append(&piece, store, why);
        if (!error)
            error = piece_answers(&piece, store, changed ? changed + done : NULL, why);
        piece_free(&piece);
        done += some;
    }
    return error;
}

int suppress_add(struct store *store, const struct suppress_entry *entry, struct hk_why *why)
{
    bool added = false;
    int error = suppress_change_all(store, SUPPRESS_ADDED, entry, 1, &added, why);

    return error ? error : added;
}

/* ---- looking up ---- */

static int scope_and_key(const char *scope, const char *address, char key[ADDRESS_MAX + 1],
                         struct hk_why *why)
{
    int error = suppress_scope_check(scope, why);

    if (!error && strlen(scope) >= SUPPRESS_SCOPE_MAX)
        error = why_set(why, HK_EINVAL, "the scope is longer than %u bytes", SUPPRESS_SCOPE_MAX - 1);
    return error ? error : suppress_key(address, key, why);
}

/* An entry that cannot be read. */
static int entry_error(const struct store *store, int error, struct hk_why *why)
{
    return error == HK_ENOMEM ? why_set(why, error, "no memory to read a suppression")
                              : store_strange(store, why);
}

static int read_one(const struct store *store, const redisReply *value, const char *scope, const char *key,
                    struct suppress_entry *out, bool *found, struct hk_why *why)
{
    int error;

    *found = value->type == REDIS_REPLY_STRING;
    error = *found ? suppress_value_parse(scope, key, value->str, out) : 0;
    return error ? entry_error(store, error, why) : 0;
}

/* Those of one scope, at most SUPPRESS_CALL_MAX. */
static int find_some(struct store *store, const char *hash, const struct suppress_entry *entry, size_t count,
                     struct suppress_entry *there, bool *found, struct hk_why *why)
{
    char key[SUPPRESS_CALL_MAX][ADDRESS_MAX + 1];
    const char *argv[SUPPRESS_CALL_MAX + 2] = {"HMGET", hash};
    redisReply *reply;
    int error = store_connected(store, why);

    for (size_t i = 0; i < count && !error; i++) {
        error = scope_and_key(entry[i].scope, entry[i].address, key[i], why);
        argv[i + 2] = key[i];
    }
    if (error)
        return error;
    error = append_argv(store, (int)count + 2, argv, NULL, why);
    if (!error)
        error = store_next(store, &reply, why);
    if (error)
        return error;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != count)
        error = store_strange(store, why);
    for (size_t i = 0; i < count && !error; i++)
        error = read_one(store, reply->element[i], entry[i].scope, key[i], &there[i], &found[i], why);
    freeReplyObject(reply);
    return error;
}

int suppress_find_in(struct store *store, const char *hash, const struct suppress_entry *entry, size_t count,
                     struct suppress_entry *there, bool *found, struct hk_why *why)
{
    char of_scope[sizeof SUPPRESS_KEY("") + SUPPRESS_SCOPE_MAX];
    int error = 0;

    for (size_t i = 0; i < count && !error;) {
        size_t some = same_scope(entry, i, count);
        (void)snprintf(of_scope, sizeof of_scope, SUPPRESS_KEY("%s"), entry[i].scope);
        error = find_some(store, hash ? hash : of_scope, entry + i, some, there + i, found + i, why);
        i += some;
    }
    return error;
}

int suppress_find_all(struct store *store, const struct suppress_entry *entry, size_t count,
                      struct suppress_entry *there, bool *found, struct hk_why *why)
{
    return suppress_find_in(store, NULL, entry, count, there, found, why);
}

int suppress_find(struct store *store, const char *scope, const char *address, struct suppress_entry *out,
                  struct hk_why *why)
{
    char key[ADDRESS_MAX + 1];
    struct suppress_entry wanted;
    bool found = false;
    int error = scope_and_key(scope, address, key, why);

    if (error)
        return error;
    (void)snprintf(wanted.scope, sizeof wanted.scope, "%s", scope);
    (void)snprintf(wanted.address, sizeof wanted.address, "%s", key);
    error = suppress_find_all(store, &wanted, 1, out, &found, why);
    return error ? error : found;
}

/* ---- all of them ---- */

static int walk_page(const struct store *store, const char *scope, const redisReply *page,
                     int (*fn)(void *, const struct suppress_entry *), void *context, struct hk_why *why)
{
    struct suppress_entry entry;

    for (size_t i = 0; i + 1 < page->elements; i += 2) {
        int result = suppress_value_parse(scope, page->element[i]->str, page->element[i + 1]->str, &entry);
        if (result != 0)
            return entry_error(store, result, why);
        result = fn(context, &entry);
        if (result != 0)
            return result;
    }
    return 0;
}

int suppress_walk_hash(struct store *store, const char *hash, const char *scope,
                       int (*fn)(void *, const struct suppress_entry *), void *context, struct hk_why *why)
{
    char cursor[24] = "0";
    redisReply *reply;
    int result;

    do {
        result = store_ask(store, REDIS_REPLY_ARRAY, &reply, why, "HSCAN %s %s COUNT %d", hash, cursor,
                           WALK_COUNT);
        if (result != 0)
            return result;
        if (!store_scan_page(reply, 2, cursor, sizeof cursor))
            result = store_strange(store, why);
        else
            result = walk_page(store, scope, reply->element[1], fn, context, why);
        freeReplyObject(reply);
    } while (result == 0 && strcmp(cursor, "0") != 0);
    return result;
}

static int walk_scope(struct store *store, const char *scope,
                      int (*fn)(void *, const struct suppress_entry *), void *context, struct hk_why *why)
{
    char hash[sizeof SUPPRESS_KEY("") + SUPPRESS_SCOPE_MAX];

    if (snprintf(hash, sizeof hash, SUPPRESS_KEY("%s"), scope) >= (int)sizeof hash)
        return store_strange(store, why);
    return suppress_walk_hash(store, hash, scope, fn, context, why);
}

int suppress_walk(struct store *store, const char *scope,
                  int (*fn)(void *context, const struct suppress_entry *entry), void *context,
                  struct hk_why *why)
{
    redisReply *reply;
    int result;

    if (scope)
        return walk_scope(store, scope, fn, context, why);
    result = store_ask(store, REDIS_REPLY_ARRAY, &reply, why, "SMEMBERS " SUPPRESS_KEY("scopes"));
    if (result != 0)
        return result;
    for (size_t i = 0; i < reply->elements && result == 0; i++)
        result = walk_scope(store, reply->element[i]->str, fn, context, why);
    freeReplyObject(reply);
    return result;
}
