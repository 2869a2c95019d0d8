/* lease.c - a node's life as others see it (design 4): its name is held by one state_dir at a time, and its spans are its
 * own as long as its lease lives. The rules are in lease.lua; the beats of a running node go through ledger.c.
 */
#include "lease.h"

#include <inttypes.h>
#include <string.h>

#include "store.h"

extern const char state_lease_lua[];

int lease_command(struct lease_command *out, const char *how, const char *script, const struct lease *lease,
                  const char *told)
{
    const char *argv[LEASE_ARGC] = {how,        script,    "3",         out->key[0], out->key[1], out->key[2],
                                    out->epoch, lease->id, lease->name, out->life,   told};

    if (strlen(lease->name) > sizeof out->key[0] - 32)
        return HK_ETOOBIG;
    (void)snprintf(out->key[0], sizeof out->key[0], "hikyaku:node:%s", lease->name);
    (void)snprintf(out->key[1], sizeof out->key[1], "hikyaku:lease:%" PRIu64, lease->epoch);
    (void)snprintf(out->key[2], sizeof out->key[2], "hikyaku:journal:%s", lease->id);
    (void)snprintf(out->epoch, sizeof out->epoch, "%" PRIu64, lease->epoch);
    (void)snprintf(out->life, sizeof out->life, "%" PRIu32, lease->life_ms);
    for (int i = 0; i < LEASE_ARGC; i++) {
        out->argv[i] = argv[i];
        out->length[i] = strlen(argv[i]);
    }
    return 0;
}

bool lease_answer(const redisReply *reply, long long *left_ms, uint64_t *evicted)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_INTEGER || reply->element[1]->type != REDIS_REPLY_INTEGER ||
        reply->element[1]->integer < 0)
        return false;
    *left_ms = reply->element[0]->integer;
    *evicted = (uint64_t)reply->element[1]->integer;
    return true;
}

int store_lease_take(struct store *store, const struct lease *lease, struct hk_why *why)
{
    struct lease_command command;
    redisReply *reply;
    bool understood;
    long long left_ms;
    uint64_t evicted; /* before our time: what is gone is found when it is read */
    int error = lease_command(&command, "EVAL", state_lease_lua, lease, "");

    if (error)
        return why_set(why, error, "node.name is too long: write one of at most 255 bytes");
    error = store_connected(store, why);
    if (!error && redisAppendCommandArgv(store->redis, LEASE_ARGC, command.argv, command.length) != REDIS_OK)
        error = why_set(why, HK_ENOMEM, "no memory for the lease of this node");
    if (!error)
        error = store_next(store, &reply, why);
    if (error)
        return error;
    understood = lease_answer(reply, &left_ms, &evicted);
    freeReplyObject(reply);
    if (!understood)
        return store_strange(store, why);
    if (left_ms == -1)
        return 0;
    if (left_ms < 0)
        return why_set(why, HK_EEXIST, "Redis has given another node the same epoch");
    return why_set(
        why, HK_EBUSY,
        "a node of the name \"%s\" runs already, with another state_dir on the same Redis: stop it, or "
        "write another node.name here; if it is dead, its lease ends in %lld s",
        lease->name, (left_ms + 999) / 1000);
}

/* The name is somebody else's by now where the lease had run out before. */
static const char end_lua[] = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end "
                              "return redis.call('DEL', KEYS[2])";

int store_lease_end(struct store *store, const struct lease *lease, const char *told, struct hk_why *why)
{
    char holder[24 + LEASE_ID_SIZE];
    redisReply *reply;
    int error = 0;

    if (told[0] != '\0') {
        error =
            store_ask(store, REDIS_REPLY_STATUS, &reply, why, "SET hikyaku:journal:%s %s", lease->id, told);
        if (error)
            return error;
        freeReplyObject(reply);
    }
    (void)snprintf(holder, sizeof holder, "%" PRIu64 " %s", lease->epoch, lease->id);
    error = store_ask(store, REDIS_REPLY_INTEGER, &reply, why,
                      "EVAL %s 2 hikyaku:node:%s hikyaku:lease:%" PRIu64 " %s", end_lua, lease->name,
                      lease->epoch, holder);
    if (!error)
        freeReplyObject(reply);
    return error;
}

int store_told(struct store *store, const struct lease *lease, char out[LEASE_TOLD_SIZE], struct hk_why *why)
{
    redisReply *reply;
    int error = store_connected(store, why);

    out[0] = '\0';
    if (!error && redisAppendCommand(store->redis, "GET hikyaku:journal:%s", lease->id) != REDIS_OK)
        error = why_set(why, HK_ENOMEM, "no memory for a question to Redis");
    if (!error)
        error = store_next(store, &reply, why);
    if (error)
        return error;
    if (reply->type == REDIS_REPLY_STRING)
        (void)snprintf(out, LEASE_TOLD_SIZE, "%s", reply->str);
    freeReplyObject(reply);
    return 0;
}
