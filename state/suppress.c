/* suppress.c - the suppression lists in Redis, blocking: add, remove, find, walk (suppress.h). For commands. */
#include <string.h>

#include "store.h"
#include "suppress_entry.h"

#define ADD_PIECE  (SUPPRESS_CALL_MAX * 32) /* entries whose calls are under way together */
#define WALK_COUNT 1000                     /* what HSCAN is asked for at once */

/* ---- adding ---- */

/* Keys and values of a piece of entries, and the calls that carry them. */
struct piece {
    char (*key)[ADDRESS_MAX + 1];
    char **value;
    size_t count, calls;
};

static void piece_free(struct piece *piece)
{
    for (size_t i = 0; piece->value && i < piece->count; i++)
        free(piece->value[i]);
    free(piece->value);
    free(piece->key);
}

static int piece_make(struct piece *piece, const struct suppress_entry *entry, size_t count,
                      struct hk_why *why)
{
    int error;

    *piece = (struct piece){.key = malloc(count * sizeof *piece->key),
                            .value = calloc(count, sizeof *piece->value),
                            .count = count};
    if (!piece->key || !piece->value)
        return why_set(why, HK_ENOMEM, "no memory for %zu suppressions", count);
    for (size_t i = 0; i < count; i++) {
        error = suppress_entry_key(&entry[i], piece->key[i], why);
        if (error)
            return error;
        piece->value[i] = suppress_value(&entry[i]);
        if (!piece->value[i])
            return why_set(why, HK_ENOMEM, "no memory for %zu suppressions", count);
    }
    return 0;
}

/* One call for each run of entries of one scope. */
static int piece_append(struct piece *piece, struct store *store, const struct suppress_entry *entry,
                        struct hk_why *why)
{
    struct suppress_call call;

    for (size_t i = 0; i < piece->count; piece->calls++) {
        size_t end = i + SUPPRESS_CALL_MAX < piece->count ? i + SUPPRESS_CALL_MAX : piece->count;
        const char *scope = entry[i].scope;
        suppress_call_begin(&call, "EVAL", state_suppress_lua, "add", scope);
        for (; i < end && strcmp(entry[i].scope, scope) == 0; i++) {
            suppress_call_add(&call, piece->key[i]);
            suppress_call_add(&call, piece->value[i]);
        }
        if (redisAppendCommandArgv(store->redis, call.argc, call.argv, call.length) != REDIS_OK) {
            store->redis->err = REDIS_ERR_OOM; /* answers would be out of step from here on */
            return why_set(why, HK_ENOMEM, "no memory to tell Redis of suppressions");
        }
    }
    return 0;
}

static int count_changed(const struct store *store, const redisReply *reply, size_t *changed,
                         struct hk_why *why)
{
    if (reply->type != REDIS_REPLY_STRING)
        return store_strange(store, why);
    for (size_t i = 0; i < reply->len; i++)
        *changed += reply->str[i] == '1';
    return 0;
}

/* Every answer is read, whatever came before: the connection stays in step. */
static int piece_answers(const struct piece *piece, struct store *store, size_t *added, struct hk_why *why)
{
    int first_error = 0;

    for (size_t i = 0; i < piece->calls; i++) {
        redisReply *reply;
        int error = store_next(store, &reply, first_error ? NULL : why);
        if (!error) {
            error = count_changed(store, reply, added, first_error ? NULL : why);
            freeReplyObject(reply);
        }
        first_error = first_error ? first_error : error;
        if (store->redis->err)
            break;
    }
    return first_error;
}

int suppress_add_all(struct store *store, const struct suppress_entry *entry, size_t count, size_t *added,
                     struct hk_why *why)
{
    int error = 0;

    *added = 0;
    while (count > 0 && !error) {
        size_t some = count < ADD_PIECE ? count : ADD_PIECE;
        struct piece piece;
        error = piece_make(&piece, entry, some, why);
        if (!error)
            error = store_connected(store, why);
        if (!error)
            error = piece_append(&piece, store, entry, why);
        if (!error)
            error = piece_answers(&piece, store, added, why);
        piece_free(&piece);
        entry += some;
        count -= some;
    }
    return error;
}

int suppress_add(struct store *store, const struct suppress_entry *entry, struct hk_why *why)
{
    size_t added;
    int error = suppress_add_all(store, entry, 1, &added, why);

    return error ? error : (int)added;
}

/* ---- one address ---- */

static int scope_and_key(const char *scope, const char *address, char key[ADDRESS_MAX + 1],
                         struct hk_why *why)
{
    int error = suppress_scope_check(scope, why);

    if (!error && strlen(scope) >= SUPPRESS_SCOPE_MAX)
        error = why_set(why, HK_EINVAL, "the scope is longer than %u bytes", SUPPRESS_SCOPE_MAX - 1);
    return error ? error : suppress_key(address, key, why);
}

int suppress_remove(struct store *store, const char *scope, const char *address, struct hk_why *why)
{
    char key[ADDRESS_MAX + 1];
    struct suppress_call call;
    redisReply *reply;
    size_t removed = 0;
    int error = scope_and_key(scope, address, key, why);

    if (!error)
        error = store_connected(store, why);
    if (error)
        return error;
    suppress_call_begin(&call, "EVAL", state_suppress_lua, "remove", scope);
    suppress_call_add(&call, key);
    if (redisAppendCommandArgv(store->redis, call.argc, call.argv, call.length) != REDIS_OK) {
        store->redis->err = REDIS_ERR_OOM;
        return why_set(why, HK_ENOMEM, "no memory to tell Redis of a suppression");
    }
    error = store_next(store, &reply, why);
    if (error)
        return error;
    error = count_changed(store, reply, &removed, why);
    freeReplyObject(reply);
    return error ? error : (int)removed;
}

/* An entry that cannot be read. */
static int entry_error(const struct store *store, int error, struct hk_why *why)
{
    return error == HK_ENOMEM ? why_set(why, error, "no memory to read a suppression")
                              : store_strange(store, why);
}

int suppress_find(struct store *store, const char *scope, const char *address, struct suppress_entry *out,
                  struct hk_why *why)
{
    char key[ADDRESS_MAX + 1];
    redisReply *reply;
    int error = scope_and_key(scope, address, key, why);

    if (!error)
        error =
            store_ask(store, REDIS_REPLY_ARRAY, &reply, why, "HMGET " SUPPRESS_KEY("%s") " %s", scope, key);
    if (error)
        return error;
    if (reply->elements != 1) {
        error = store_strange(store, why);
    } else if (reply->element[0]->type == REDIS_REPLY_STRING) {
        error = suppress_value_parse(scope, key, reply->element[0]->str, out);
        error = error ? entry_error(store, error, why) : 1;
    }
    freeReplyObject(reply);
    return error;
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
        if (!suppress_scan_page(reply, cursor, sizeof cursor))
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
