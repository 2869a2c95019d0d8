/* connect.c - find Redis and authenticate (connect.h). Blocks; nothing here runs on an event loop. */
#include "connect.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static int target_socket(const struct config *config, struct redis_target *out, struct hk_why *why)
{
    const char *path = config->redis.socket;
    int n;

    if (config->redis.mode == REDIS_EMBEDDED)
        n = snprintf(out->socket, sizeof out->socket, "%s/%s", config->state_dir, REDIS_SOCKET_FILE);
    else
        n = snprintf(out->socket, sizeof out->socket, "%s", path);
    if (n >= 0 && (size_t)n < sizeof out->socket)
        return 0;
    if (config->redis.mode == REDIS_EMBEDDED)
        return why_set(
            why, HK_EINVAL,
            "state_dir \"%s\" is too long: the path of the socket in it (%d bytes) may have at most %u; "
            "choose a shorter state_dir",
            config->state_dir, n, REDIS_SOCKET_MAX);
    return why_set(why, HK_EINVAL,
                   "redis.socket \"%s\" is too long: the path of a socket may have at most %u bytes", path,
                   REDIS_SOCKET_MAX);
}

static int target_password(const struct config *config, struct redis_target *out, struct hk_why *why)
{
    size_t length;
    int error;

    if (!config->redis.password_file)
        return 0;
    error = hk_read_file(config->redis.password_file, REDIS_PASSWORD_MAX, &out->password, &length, why);
    if (error)
        return error;
    length = strcspn(out->password, "\r\n");
    out->password[length] = '\0';
    if (length == 0)
        return why_set(why, HK_EINVAL, "%s: the password file of redis has no password in its first line",
                       config->redis.password_file);
    if (config->redis.user)
        out->user = hk_xstrdup(config->redis.user);
    return 0;
}

/* hiredis writes without MSG_NOSIGNAL: a server that went away must be an error, not our death. A handler that the
 * program has installed stays. */
static void ignore_broken_pipes(void)
{
    struct sigaction action;

    if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL) {
        action = (struct sigaction){.sa_handler = SIG_IGN};
        (void)sigaction(SIGPIPE, &action, NULL);
    }
}

int redis_target_from(const struct config *config, struct redis_target *out, struct hk_why *why)
{
    int error;

    ignore_broken_pipes();
    memset(out, 0, sizeof *out);
    if (config->redis.mode == REDIS_EMBEDDED)
        return target_socket(config, out, why);
    if (config->redis.socket) {
        error = target_socket(config, out, why);
    } else if (config->redis.host) {
        out->host = hk_xstrdup(config->redis.host);
        out->port = config->redis.port;
        error = 0;
    } else {
        error = why_set(why, HK_EINVAL, "redis { mode = external } needs host or socket");
    }
    if (!error)
        error = target_password(config, out, why);
    if (error)
        redis_target_free(out);
    return error;
}

void redis_target_free(struct redis_target *target)
{
    free(target->host);
    free(target->user);
    if (target->password)
        explicit_bzero(target->password, strlen(target->password));
    free(target->password);
    memset(target, 0, sizeof *target);
}

const char *redis_target_name(const struct redis_target *target)
{
    static char name[320];

    if (target->host)
        (void)snprintf(name, sizeof name, "the Redis on %s:%u", target->host, target->port);
    else
        (void)snprintf(name, sizeof name, "the Redis on %s", target->socket);
    return name;
}

int redis_auth_command(const struct redis_target *target, const char *argv[3])
{
    int argc = 0;

    if (!target->password)
        return 0;
    argv[argc++] = "AUTH";
    if (target->user)
        argv[argc++] = target->user;
    argv[argc++] = target->password;
    return argc;
}

static int authenticate(const struct redis_target *target, redisContext *redis, struct hk_why *why)
{
    const char *argv[3];
    int argc = redis_auth_command(target, argv), error = 0;
    redisReply *reply;

    if (argc == 0)
        return 0;
    reply = redisCommandArgv(redis, argc, argv, NULL);
    if (!reply)
        return why_set(why, HK_EDOWN, "%s does not answer: %s", redis_target_name(target), redis->errstr);
    if (reply->type == REDIS_REPLY_ERROR)
        error = why_set(why, HK_EDOWN, "%s refuses our password: %s", redis_target_name(target), reply->str);
    freeReplyObject(reply);
    return error;
}

int redis_connect(const struct redis_target *target, redisContext **out, struct hk_why *why)
{
    const struct timeval limit = {.tv_sec = REDIS_ANSWER_MS / 1000};
    redisContext *redis;
    int error;

    redis = target->host ? redisConnectWithTimeout(target->host, target->port, limit)
                         : redisConnectUnixWithTimeout(target->socket, limit);
    if (!redis)
        return why_set(why, HK_ENOMEM, "no memory for a connection to Redis");
    if (redis->err || redisSetTimeout(redis, limit) != REDIS_OK)
        error =
            why_set(why, HK_EDOWN, "%s is not to be reached: %s", redis_target_name(target), redis->errstr);
    else
        error = authenticate(target, redis, why);
    if (error)
        redisFree(redis);
    else
        *out = redis;
    return error;
}
