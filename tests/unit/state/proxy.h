/* proxy.h - stands between a client and Redis, and does something to the n-th call that comes through.
 *
 * A process of its own listens on a socket beside Redis' and forks one for each connection; each takes one command after
 * the other to Redis and its whole answer back, so what has reached Redis is known exactly. All calls of all connections
 * are counted together, those with which a link greets too. It ends with the test (PR_SET_PDEATHSIG).
 */
#ifndef HIKYAKU_TESTS_STATE_PROXY_H
#define HIKYAKU_TESTS_STATE_PROXY_H

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "fixture.h"

enum proxy_harm {
    PROXY_NONE,
    PROXY_CUT_BEFORE, /* the connection ends, Redis has not heard of the call */
    PROXY_CUT_AFTER,  /* Redis has done it, and its answer is lost */
    PROXY_CUT_INSIDE, /* in the middle of the answer */
    PROXY_FULL,       /* Redis has no memory for it: what only reads is answered all the same */
    PROXY_LOADING,  /* refused for a while; not for transactions, of which Redis would refuse the rest too */
    PROXY_NOSCRIPT, /* the scripts are gone */
    PROXY_DRIP,     /* from the n-th on: nothing is lost, but all comes in small pieces both ways */
};

struct proxy_plan {
    _Atomic int harm;
    _Atomic unsigned left; /* calls until the one that is harmed; 0: none is */
    _Atomic bool struck;
};

struct proxy {
    struct config config; /* of a client that comes through here */
    char path[64];
    struct proxy_plan *plan;
    pid_t pid;
};

/* How long the RESP value at `at` is, 0: more bytes are needed. Commands are arrays of strings, answers any of them. */
static inline size_t proxy_value(const char *at, size_t length)
{
    const char *end = memmem(at, length, "\r\n", 2);
    size_t line = end ? (size_t)(end - at) + 2 : 0, size;
    long count;

    if (!end || (*at != '$' && *at != '*'))
        return line;
    count = strtol(at + 1, NULL, 10);
    if (count < 0)
        return line;
    if (*at == '$')
        return line + (size_t)count + 2 <= length ? line + (size_t)count + 2 : 0;
    for (; count > 0; count--, line += size)
        if ((size = proxy_value(at + line, length - line)) == 0)
            return 0;
    return line;
}

struct proxy_stream {
    int fd;
    char *bytes;
    size_t used, room;
};

/* The length of the value that the stream begins with; 0: the other side has gone. */
static inline size_t proxy_read(struct proxy_stream *stream, size_t piece)
{
    size_t size = 0;

    while (stream->used == 0 || (size = proxy_value(stream->bytes, stream->used)) == 0) {
        ssize_t n;
        if (stream->room - stream->used < 65536)
            stream->bytes = hk_xrealloc(stream->bytes, stream->room += 1 << 20, 1);
        n = read(stream->fd, stream->bytes + stream->used, piece);
        if (n <= 0)
            return 0;
        stream->used += (size_t)n;
    }
    return size;
}

static inline void proxy_drop(struct proxy_stream *stream, size_t length)
{
    stream->used -= length;
    memmove(stream->bytes, stream->bytes + length, stream->used);
}

static inline bool proxy_write(int fd, const char *bytes, size_t length, size_t piece)
{
    const struct timespec pause = {.tv_nsec = 200000};

    for (size_t some; length > 0; bytes += some, length -= some) {
        some = length < piece ? length : piece;
        if (hk_write_all(fd, bytes, some) != 0)
            return false;
        if (some < length)
            (void)nanosleep(&pause, NULL);
    }
    return true;
}

static inline int proxy_connect(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        _exit(1);
    return fd;
}

/* Is the call that came now the one that is harmed? */
static inline enum proxy_harm proxy_harm_of(struct proxy_plan *plan)
{
    unsigned left = atomic_load(&plan->left);
    enum proxy_harm harm = (enum proxy_harm)atomic_load(&plan->harm);

    if (left == 0 || (left > 1 && atomic_fetch_sub(&plan->left, 1) > 1))
        return PROXY_NONE;
    if (harm != PROXY_DRIP)
        atomic_store(&plan->left, 0);
    atomic_store(&plan->struck, true);
    return harm;
}

static inline const char *proxy_refusal(enum proxy_harm harm)
{
    return harm == PROXY_LOADING    ? "-LOADING Redis is loading the dataset in memory\r\n"
           : harm == PROXY_NOSCRIPT ? "-NOSCRIPT No matching script. Please use EVAL.\r\n"
                                    : NULL;
}

/* From now on Redis refuses what needs memory, or no longer. */
static inline void proxy_fill(const char *redis_path, bool full)
{
    redisContext *redis = redisConnectUnix(redis_path);
    redisReply *reply = redisCommand(redis, "CONFIG SET maxmemory %d", full ? 1 : 0);

    if (!reply || reply->type != REDIS_REPLY_STATUS)
        _exit(1);
    freeReplyObject(reply);
    redisFree(redis);
}

/* One call to Redis and its answer back. False: the connection has ended. */
static inline bool proxy_call(struct proxy_plan *plan, const char *redis_path, struct proxy_stream *client,
                              struct proxy_stream *redis)
{
    size_t piece = atomic_load(&plan->harm) == PROXY_DRIP ? 1000 : 65536, size = proxy_read(client, piece);
    enum proxy_harm harm;
    const char *refusal;

    if (size == 0)
        return false;
    harm = proxy_harm_of(plan);
    refusal = proxy_refusal(harm);
    if (harm == PROXY_CUT_BEFORE)
        return false;
    if (refusal) {
        proxy_drop(client, size);
        return proxy_write(client->fd, refusal, strlen(refusal), SIZE_MAX);
    }
    if (harm == PROXY_FULL)
        proxy_fill(redis_path, true);
    if (!proxy_write(redis->fd, client->bytes, size, SIZE_MAX))
        return false;
    proxy_drop(client, size);
    size = proxy_read(redis, 65536);
    if (harm == PROXY_FULL)
        proxy_fill(redis_path, false);
    if (size == 0 || harm == PROXY_CUT_AFTER)
        return false;
    if (harm == PROXY_CUT_INSIDE) {
        (void)proxy_write(client->fd, redis->bytes, size / 2, SIZE_MAX);
        return false;
    }
    if (!proxy_write(client->fd, redis->bytes, size, harm == PROXY_DRIP ? size / 3 + 1 : SIZE_MAX))
        return false;
    proxy_drop(redis, size);
    return true;
}

static inline _Noreturn void proxy_run(const struct proxy *proxy, int listener, const char *redis_path)
{
    (void)signal(SIGCHLD, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && fork() == 0) {
            struct proxy_stream client = {.fd = fd}, redis = {.fd = -1};
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            (void)close(listener);
            redis.fd = proxy_connect(redis_path);
            while (proxy_call(proxy->plan, redis_path, &client, &redis))
                continue;
            _exit(0);
        }
        if (fd >= 0)
            (void)close(fd);
    }
}

static inline void proxy_start(struct proxy *proxy, const struct fixture *f)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char redis_path[64];
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(redis_path, sizeof redis_path, "%s/redis.sock", f->dir);
    (void)snprintf(proxy->path, sizeof proxy->path, "%s/proxy.sock", f->dir);
    proxy->config = f->config;
    proxy->config.redis.mode = REDIS_EXTERNAL;
    proxy->config.redis.socket = proxy->path;
    proxy->plan = mmap(NULL, sizeof *proxy->plan, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(proxy->plan != MAP_FAILED);
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", proxy->path);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 64), 0);
    proxy->pid = fork();
    if (proxy->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(f->guard_pipe); /* the guard waits for the test alone */
        proxy_run(proxy, listener, redis_path);
    }
    (void)close(listener);
}

static inline void proxy_end(struct proxy *proxy)
{
    (void)kill(proxy->pid, SIGKILL);
    (void)waitpid(proxy->pid, NULL, 0);
    (void)munmap(proxy->plan, sizeof *proxy->plan);
}

static inline void proxy_arm(struct proxy *proxy, enum proxy_harm harm, unsigned nth)
{
    atomic_store(&proxy->plan->struck, false);
    atomic_store(&proxy->plan->harm, (int)harm);
    atomic_store(&proxy->plan->left, nth);
}

/* No harm any more. Did it strike? */
static inline bool proxy_disarm(struct proxy *proxy)
{
    atomic_store(&proxy->plan->left, 0);
    atomic_store(&proxy->plan->harm, (int)PROXY_NONE);
    return atomic_load(&proxy->plan->struck);
}

#endif
