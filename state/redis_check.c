/* redis_check.c - is an external Redis fit to hold the ledger (state.h)?
 *
 * Asks INFO and CONFIG GET once, at start. What would lose or evict what was acknowledged is refused, with the words
 * what to set; persistence that is weaker than the embedded server's is the owner's choice and told. Services that do
 * not let CONFIG be asked (ElastiCache) are believed after a word about it. Changes nothing on the server.
 */
#include <string.h>

#include "connect.h"
#include "hikyaku/state.h"

#define CHECK_VALUE_BYTES 128u
#define CHECK_VERSION_MIN 602u /* 6.2: the scripts use ZADD with LT */

struct check {
    const struct redis_target *target;
    redisContext *redis;
    bool tell;
};

/* "name:value" of INFO, up to the end of its line. "" where there is none. */
static void info_value(const char *info, const char *name, char out[CHECK_VALUE_BYTES])
{
    size_t length = strlen(name);

    out[0] = '\0';
    for (const char *at = info; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, name, length) == 0 && at[length] == ':') {
            const char *value = at + length + 1;
            (void)hk_clean_text(out, CHECK_VALUE_BYTES, value, strcspn(value, "\r\n"));
            return;
        }
    }
}

static int check_version(const struct check *check, const char *version, struct hk_why *why)
{
    char *rest;
    unsigned long major = strtoul(version, &rest, 10), minor = 0;

    if (*rest == '.')
        minor = strtoul(rest + 1, NULL, 10);
    if (major * 100 + minor >= CHECK_VERSION_MIN)
        return 0;
    return why_set(why, HK_EDOWN, "%s is version %s, and hikyaku needs 6.2 or later; update it",
                   redis_target_name(check->target), *version ? version : "unknown");
}

static int check_info(const struct check *check, const char *info, struct hk_why *why)
{
    char version[CHECK_VALUE_BYTES], role[CHECK_VALUE_BYTES], cluster[CHECK_VALUE_BYTES];
    const char *name = redis_target_name(check->target);
    int error;

    info_value(info, "redis_version", version);
    error = check_version(check, version, why);
    if (error)
        return error;
    info_value(info, "role", role);
    if (strcmp(role, "slave") == 0)
        return why_set(why, HK_EDOWN,
                       "%s is a replica, and cannot be written to; name the primary as redis.host", name);
    info_value(info, "cluster_enabled", cluster);
    if (strcmp(cluster, "1") == 0)
        return why_set(why, HK_EDOWN, "%s is part of a Redis Cluster; use a server with cluster-enabled no",
                       name);
    return 0;
}

/* One setting. 1 and its value, 0 where CONFIG may not be asked or knows no such key, or HK_EDOWN. */
static int config_get(const struct check *check, const char *key, char out[CHECK_VALUE_BYTES],
                      struct hk_why *why)
{
    redisReply *reply = redisCommand(check->redis, "CONFIG GET %s", key);
    int result = 0;

    out[0] = '\0';
    if (!reply)
        return why_set(why, HK_EDOWN, "%s does not answer: %s", redis_target_name(check->target),
                       redis_words(check->redis->errstr));
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && reply->element[1]->str) {
        (void)hk_clean_text(out, CHECK_VALUE_BYTES, reply->element[1]->str, reply->element[1]->len);
        result = 1;
    }
    freeReplyObject(reply);
    return result;
}

static int why_evicts(const struct check *check, const char *policy, struct hk_why *why)
{
    return why_set(why, HK_EDOWN,
                   "%s may throw away what hikyaku has written (maxmemory-policy is %s); set it there: "
                   "maxmemory-policy noeviction",
                   redis_target_name(check->target), policy);
}

/* Redis 7.0 reads its append-only file as the user `default`: where that one is off, what stands there as a transaction
 * (every change of the ledger) is not taken back at a restart. Unknown where ACL may not be asked. */
static int check_default_user(const struct check *check, struct hk_why *why)
{
    redisReply *reply = redisCommand(check->redis, "ACL GETUSER default");
    bool is_off = false;

    if (!reply)
        return why_set(why, HK_EDOWN, "%s does not answer: %s", redis_target_name(check->target),
                       redis_words(check->redis->errstr));
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements >= 2)
        for (size_t i = 0; i < reply->element[1]->elements; i++) {
            const redisReply *flag = reply->element[1]->element[i];
            is_off = is_off || (flag->str && strcmp(flag->str, "off") == 0);
        }
    freeReplyObject(reply);
    if (!is_off)
        return 0;
    return why_set(why, HK_EDOWN,
                   "%s has its user default off, and then it does not read back what it wrote when it starts "
                   "again; give "
                   "that user a password instead: ACL SETUSER default on >PASSWORD ~* &* +@all",
                   redis_target_name(check->target));
}

/* What may be lost when that server or its machine fails. */
static void tell_persistence(const struct check *check, const char *appendonly, const char *fsync,
                             const char *save)
{
    const char *name = redis_target_name(check->target);

    if (strcmp(appendonly, "yes") != 0 && *save == '\0')
        log_warning("%s keeps nothing on disk: if it ends, every campaign is lost; set there: appendonly yes",
                    name);
    else if (strcmp(appendonly, "yes") != 0)
        log_warning(
            "%s writes snapshots only (save %s): if it fails, what was sent since the last one may be sent "
            "again; set there: appendonly yes",
            name, save);
    else if (strcmp(fsync, "always") != 0)
        log_warning("%s has appendfsync %s: if its machine fails, what was sent in the last seconds may be "
                    "sent again; "
                    "set there: appendfsync always",
                    name, fsync);
}

static int check_config(const struct check *check, const char *info, struct hk_why *why)
{
    char policy[CHECK_VALUE_BYTES], appendonly[CHECK_VALUE_BYTES], fsync[CHECK_VALUE_BYTES],
        save[CHECK_VALUE_BYTES];
    int asked = config_get(check, "maxmemory-policy", policy, why);

    if (asked < 0)
        return asked;
    if (asked == 0) {
        info_value(info, "maxmemory_policy", policy); /* INFO tells it too */
        if (check->tell)
            log_warning("%s does not let CONFIG be asked: see yourself that appendonly is yes and "
                        "maxmemory-policy is "
                        "noeviction",
                        redis_target_name(check->target));
    }
    if (*policy && strcmp(policy, "noeviction") != 0)
        return why_evicts(check, policy, why);
    if (asked == 0 || !check->tell)
        return 0;
    asked = config_get(check, "appendonly", appendonly, why);
    if (asked >= 0)
        asked = config_get(check, "appendfsync", fsync, why);
    if (asked >= 0)
        asked = config_get(check, "save", save, why);
    if (asked < 0)
        return asked;
    tell_persistence(check, appendonly, fsync, save);
    return 0;
}

static int check_run(const struct check *check, struct hk_why *why)
{
    redisReply *info = redisCommand(check->redis, "INFO");
    char clean[CHECK_VALUE_BYTES];
    int error;

    if (!info)
        return why_set(why, HK_EDOWN, "%s does not answer: %s", redis_target_name(check->target),
                       redis_words(check->redis->errstr));
    if (info->type == REDIS_REPLY_STRING) {
        error = check_info(check, info->str, why);
        if (!error)
            error = check_config(check, info->str, why);
        if (!error)
            error = check_default_user(check, why);
    } else {
        (void)hk_clean_text(clean, sizeof clean, info->str ? info->str : "", info->len);
        error = why_set(why, HK_EDOWN, "%s refuses INFO: %s%s", redis_target_name(check->target), clean,
                        redis_hint(check->target, clean));
    }
    freeReplyObject(info);
    return error;
}

int redis_check(const struct config *config, bool tell, struct hk_why *why)
{
    struct redis_target target;
    struct check check = {.target = &target, .tell = tell};
    int error;

    if (config->redis.mode == REDIS_EMBEDDED)
        return 0;
    error = redis_target_from(config, &target, why);
    if (error)
        return error;
    error = redis_connect(&target, &check.redis, why);
    if (!error) {
        error = check_run(&check, why);
        redisFree(check.redis);
    }
    redis_target_free(&target);
    return error;
}
