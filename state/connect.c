/* connect.c - find Redis and authenticate (connect.h). Blocks; nothing here runs on an event loop. */
#include "connect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/sds.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REDIS_TRY_MS 3000 /* for each address of a host that has several */

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

/* AUTH [user] password, as RESP arrays are written (redis.io/docs/reference/protocol-spec). */
static int target_auth(struct redis_target *out, const char *user, const char *password, size_t length,
                       struct hk_why *why)
{
    char *at;
    int error;

    out->auth_size = length + (user ? strlen(user) : 0) + 96; /* 96: the words and numbers around them */
    error = hk_secret_new(out->auth_size, &out->auth, why);
    if (error)
        return error;
    at = out->auth;
    if (user)
        at += snprintf(at, out->auth_size, "*3\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(user), user,
                       length);
    else
        at += snprintf(at, out->auth_size, "*2\r\n$4\r\nAUTH\r\n$%zu\r\n", length);
    at = mempcpy(at, password, length);
    at = mempcpy(at, "\r\n", 2);
    out->auth_length = (size_t)(at - out->auth);
    return 0;
}

static int target_password(const struct config *config, struct redis_target *out, struct hk_why *why)
{
    char *text;
    size_t length, password;
    int error;

    if (!config->redis.password_file)
        return 0;
    error = hk_read_file(config->redis.password_file, REDIS_PASSWORD_MAX, &text, &length, why);
    if (error)
        return error;
    password = strcspn(text, "\r\n");
    if (password == 0)
        error = why_set(why, HK_EINVAL, "%s: the password file of redis has no password in its first line",
                        config->redis.password_file);
    else
        error = target_auth(out, config->redis.user, text, password, why);
    explicit_bzero(text, length);
    free(text);
    return error;
}

/* Does somebody take connections there? */
static bool address_listens(const struct addrinfo *at)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
    socklen_t length = sizeof error;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    bool listens = false;

    if (fd < 0)
        return false;
    if (connect(fd, at->ai_addr, at->ai_addrlen) == 0)
        listens = true;
    else if (errno == EINPROGRESS && poll(&wait, 1, REDIS_TRY_MS) == 1)
        listens = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
    (void)close(fd);
    return listens;
}

/* Of several addresses the first that answers; where none does, the first. */
static int target_address(struct redis_target *out, struct hk_why *why)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found, *at, *choice;
    char port[8];
    int rc;

    (void)snprintf(port, sizeof port, "%u", out->port);
    rc = getaddrinfo(out->host, port, &hints, &found);
    if (rc != 0 || !found)
        return why_set(
            why, HK_EDOWN,
            "redis.host \"%s\" is not to be found: %s; see that the name is right, or write an address",
            out->host, gai_strerror(rc));
    choice = found;
    for (at = found; at && found->ai_next; at = at->ai_next)
        if (address_listens(at)) {
            choice = at;
            break;
        }
    rc = getnameinfo(choice->ai_addr, choice->ai_addrlen, out->address, sizeof out->address, NULL, 0,
                     NI_NUMERICHOST);
    freeaddrinfo(found);
    if (rc != 0)
        return why_set(why, HK_EDOWN, "redis.host \"%s\": %s", out->host, gai_strerror(rc));
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
    out->external = true;
    if (config->redis.socket) {
        error = target_socket(config, out, why);
    } else if (config->redis.host) {
        out->host = hk_xstrdup(config->redis.host);
        out->port = config->redis.port;
        error = target_address(out, why);
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
    hk_secret_free(target->auth, target->auth_size);
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

/* hiredis frees what it has written as it is, so a copy of the password would stay in our heap. */
int redis_auth_write(redisContext *redis)
{
    size_t length = sdslen(redis->obuf), written = 0;

    while (written < length) {
        ssize_t n = send(redis->fd, redis->obuf + written, length - written, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        written += (size_t)n;
    }
    explicit_bzero(redis->obuf, length);
    sdsclear(redis->obuf);
    return written == length ? 0 : HK_EDOWN;
}

/* ---- what is wrong, and what to do about it ---- */

static const struct {
    const char *words; /* what they hold */
    bool tcp;          /* only where there is a port */
    const char *hint;
} redis_hints[] = {
    {"NOAUTH", false, "; name a file with its password as redis.password_file (and redis.user)"},
    {"WRONGPASS", false, "; see redis.user and redis.password_file"},
    {"invalid password", false, "; see redis.user and redis.password_file"},
    {"without any password configured", false, "; leave redis.password_file out, or set one there"},
    {"NOPERM", false,
     "; its user needs: ACL SETUSER NAME on resetkeys ~* resetchannels &* +@all -@admin -@dangerous +info "
     "+config|get +acl|getuser"},
    {"MOVED", false, "; it is part of a Redis Cluster: use a server with cluster mode off"},
    {"READONLY", false, "; it is a replica: name the primary as redis.host"},
    {"MISCONF", false, "; it cannot write to its disk: see its log"},
    {"max number of clients", false, "; raise maxclients there"},
    {"protected mode", false, "; set a password there, and name its file as redis.password_file"},
    {"Connection refused", true, "; see that it runs there, and redis.host and redis.port"},
    {"Connection refused", false, "; see that it runs, and redis.socket"},
    {"No such file", false, "; see that it runs, and redis.socket"},
    {"Permission denied", false, "; see unixsocketperm there: this user may not write to the socket"},
    {"Protocol error", true, "; is that the port of a Redis? One that speaks TLS needs stunnel between"},
    {"closed the connection", true,
     "; is that a TLS port? Name the plain one as redis.port, or put stunnel between"},
    {"reset by peer", true, "; is that a TLS port? Name the plain one as redis.port, or put stunnel between"},
    {"Broken pipe", true, "; is that a TLS port? Name the plain one as redis.port, or put stunnel between"},
    {"timed out", true, "; see redis.host and redis.port, and a firewall between"},
    {"temporarily unavailable", true, "; is that the port of a Redis? See redis.host and redis.port"},
    {"No route", true, "; see redis.host"},
    {"unreachable", true, "; see redis.host"},
};

const char *redis_hint(const struct redis_target *target, const char *words)
{
    if (!target->external)
        return "";
    for (size_t i = 0; i < sizeof redis_hints / sizeof redis_hints[0]; i++)
        if (strstr(words, redis_hints[i].words) && (target->host || !redis_hints[i].tcp))
            return redis_hints[i].hint;
    return "";
}

const char *redis_words(const char *errstr)
{
    static char silence[80];

    if (strcmp(errstr, strerror(EAGAIN)) != 0)
        return errstr;
    (void)snprintf(silence, sizeof silence, "nothing for %u s: it hangs, or somebody stopped it",
                   REDIS_ANSWER_MS / 1000);
    return silence;
}

/* Words of a server that may be anything: one line, and fit to be shown. */
static int why_words(const struct redis_target *target, struct hk_why *why, const char *what,
                     const char *words)
{
    char clean[200];

    (void)hk_clean_text(clean, sizeof clean, words, strlen(words));
    return why_set(why, HK_EDOWN, "%s %s: %s%s", redis_target_name(target), what, clean,
                   redis_hint(target, words));
}

/* What Redis answers to the command that was appended last. */
static int greeting(const struct redis_target *target, redisContext *redis, const char *refusal,
                    struct hk_why *why)
{
    void *answer = NULL;
    redisReply *reply;
    int error = 0;

    if (redisGetReply(redis, &answer) != REDIS_OK)
        return why_words(target, why, "does not answer", redis_words(redis->errstr));
    reply = answer;
    if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "LOADING", 7) != 0)
        error = why_words(target, why, refusal, reply->str);
    freeReplyObject(reply);
    return error;
}

static int authenticate(const struct redis_target *target, redisContext *redis, struct hk_why *why)
{
    int error = 0;

    if (target->auth) {
        if (redisAppendFormattedCommand(redis, target->auth, target->auth_length) != REDIS_OK)
            return why_set(why, HK_ENOMEM, "no memory for a connection to Redis");
        if (redis_auth_write(redis) != 0)
            return why_words(target, why, "does not answer", redis_words(strerror(errno)));
        error = greeting(target, redis, "refuses our password", why);
    }
    if (!error && target->external) {
        if (redisAppendCommand(redis, "PING") != REDIS_OK)
            return why_set(why, HK_ENOMEM, "no memory for a connection to Redis");
        error = greeting(target, redis, "refuses us", why);
    }
    return error;
}

int redis_connect(const struct redis_target *target, redisContext **out, struct hk_why *why)
{
    const struct timeval limit = {.tv_sec = REDIS_ANSWER_MS / 1000};
    redisContext *redis;
    int error;

    redis = target->host ? redisConnectWithTimeout(target->address, target->port, limit)
                         : redisConnectUnixWithTimeout(target->socket, limit);
    if (!redis)
        return why_set(why, HK_ENOMEM, "no memory for a connection to Redis");
    if (redis->err || redisSetTimeout(redis, limit) != REDIS_OK)
        error = why_words(target, why, "is not to be reached", redis->errstr);
    else
        error = authenticate(target, redis, why);
    if (error)
        redisFree(redis);
    else
        *out = redis;
    return error;
}
