/* sent_ids.c - what a relay called messages of ours: keys, the call that adds some, and the look-up (sent_ids.h). */
#include "sent_ids.h"

#include <inttypes.h>
#include <string.h>

#include "hashes.h"
#include "store.h"

#define DAY_S  86400u
#define DAY_US ((uint64_t)DAY_S * 1000000u)

static void place(struct sent_id *out, const char *id, size_t length, uint64_t day)
{
    static const uint8_t anybody[HASH_ID_BYTES] = "ids of messages";
    const uint64_t hash = hash_of(anybody, id, length);

    out->day = day;
    (void)snprintf(out->bucket, sizeof out->bucket, "hikyaku:ses:%" PRIu64 ":%" PRIu64, day,
                   hash % SENT_IDS_BUCKETS);
    (void)snprintf(out->field, sizeof out->field, "%016" PRIx64, hash);
}

int sent_id_make(struct sent_id *out, const char *id, size_t length, const char *token, uint64_t time_us)
{
    const size_t token_length = strlen(token);

    if (length == 0 || token_length == 0 || token_length > FEEDBACK_TOKEN_MAX)
        return HK_EINVAL;
    place(out, id, length, time_us / DAY_US);
    memcpy(out->token, token, token_length + 1);
    return 0;
}

void sent_id_look(struct sent_id *out, const char *id, size_t length, uint64_t now_us, unsigned days)
{
    place(out, id, length, now_us / DAY_US - days);
    out->token[0] = '\0';
}

/* ---- the call ---- */

static void add(struct sent_ids_call *call, const char *text)
{
    call->argv[call->argc] = text;
    call->length[call->argc++] = strlen(text);
}

void sent_ids_call_make(struct sent_ids_call *call, const char *sha1, const struct config *config,
                        const struct sent_id *const *one, uint32_t count)
{
    HK_BUG_ON(count == 0 || count > SENT_IDS_CALL_MAX);
    call->argc = 0;
    (void)snprintf(call->count, sizeof call->count, "hikyaku:ses:%" PRIu64 ":count", one[0]->day);
    (void)snprintf(call->keys, sizeof call->keys, "%" PRIu32, count + 1);
    /* From the end of its day on. */
    (void)snprintf(call->ttl, sizeof call->ttl, "%" PRIu32, config->sns.remember_s + DAY_S);
    (void)snprintf(call->most, sizeof call->most, "%" PRIu32, config->sns.remember_most);
    add(call, "EVALSHA");
    add(call, sha1);
    add(call, call->keys);
    add(call, call->count);
    for (uint32_t i = 0; i < count; i++)
        add(call, one[i]->bucket);
    add(call, call->ttl);
    add(call, call->most);
    for (uint32_t i = 0; i < count; i++) {
        add(call, one[i]->field);
        add(call, one[i]->token);
    }
}

/* ---- the look-up ---- */

static int look(struct store *store, const struct sent_id *at, char token[FEEDBACK_TOKEN_MAX + 1],
                struct hk_why *why)
{
    redisReply *reply;
    int found = store_ask(store, REDIS_REPLY_ARRAY, &reply, why, "HMGET %s %s", at->bucket, at->field);

    if (found != 0)
        return found;
    if (reply->elements != 1 ||
        (reply->element[0]->type == REDIS_REPLY_STRING && reply->element[0]->len > FEEDBACK_TOKEN_MAX)) {
        found = store_strange(store, why);
    } else if (reply->element[0]->type == REDIS_REPLY_STRING) {
        memcpy(token, reply->element[0]->str, reply->element[0]->len + 1);
        found = 1;
    }
    freeReplyObject(reply);
    return found;
}

int feedback_token_of(struct store *store, const struct config *config, const char *id,
                      char token[FEEDBACK_TOKEN_MAX + 1], struct hk_why *why)
{
    const uint64_t now_us = clock_wall_us();
    const unsigned days = (config->sns.remember_s + DAY_S - 1) / DAY_S;
    struct sent_id at;
    int found = 0;

    /* What comes back comes back soon: the newest day first. */
    for (unsigned day = 0; config->sns.remember_s > 0 && day <= days && found == 0; day++) {
        sent_id_look(&at, id, strlen(id), now_us, day);
        found = look(store, &at, token, why);
    }
    return found;
}
