/* fixture.h - a private redis-server in a temporary state_dir, for the tests of state/.
 *
 * Started, as everywhere, by redis_server_ensure(); ended by its pid; the folder goes with it. A guard process sees to
 * both where a test fails or dies: it waits for the end of a pipe that only the test holds.
 */
#ifndef HIKYAKU_TESTS_STATE_FIXTURE_H
#define HIKYAKU_TESTS_STATE_FIXTURE_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "hikyaku/state.h"

struct fixture {
    struct config config;
    char dir[32];
    pid_t pid, guard;
    int guard_pipe;
    bool started;
};

static inline void fixture_remove(const struct fixture *f)
{
    char command[64];

    (void)snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    if (system(command) != 0)
        print_error("%s is left\n", f->dir);
}

static inline _Noreturn void fixture_guard(const struct fixture *f, int fd)
{
    const struct timeval limit = {.tv_sec = 5};
    char path[64], byte;
    redisContext *redis;

    (void)setsid();
    (void)!read(fd, &byte, 1);
    (void)snprintf(path, sizeof path, "%s/redis.sock", f->dir);
    redis = redisConnectUnixWithTimeout(path, limit);
    if (redis && redis->err == 0 && redisSetTimeout(redis, limit) == REDIS_OK)
        (void)redisCommand(redis, "SHUTDOWN NOSAVE NOW FORCE");
    fixture_remove(f);
    _exit(0);
}

static inline void fixture_dir(struct fixture *f)
{
    int guard[2];

    memset(f, 0, sizeof *f);
    (void)snprintf(f->dir, sizeof f->dir, "/tmp/hk-state-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->config.state_dir = f->dir;
    f->config.redis.mode = REDIS_EMBEDDED;
    assert_int_equal(pipe2(guard, O_CLOEXEC), 0);
    f->guard = fork();
    if (f->guard == 0) {
        (void)close(guard[1]);
        fixture_guard(f, guard[0]);
    }
    (void)close(guard[0]);
    f->guard_pipe = guard[1];
}

static inline void fixture_start(struct fixture *f)
{
    struct hk_why why = {""};

    if (redis_server_ensure(&f->config, &f->pid, &f->started, &why) != 0)
        fail_msg("redis-server: %s", why.text);
}

static inline void fixture_end(struct fixture *f)
{
    redis_server_stop(&f->config, f->pid);
    (void)close(f->guard_pipe);
    (void)waitpid(f->guard, NULL, 0);
}

/* A connection beside the library's, to look and to disturb. */
static inline redisContext *fixture_redis(const struct fixture *f)
{
    char path[128];
    redisContext *redis;

    (void)snprintf(path, sizeof path, "%s/redis.sock", f->dir);
    redis = redisConnectUnix(path);
    assert_non_null(redis);
    assert_int_equal(redis->err, 0);
    return redis;
}

/* Run a command for its effect; an error is a failed test. */
static inline void fixture_do(const struct fixture *f, const char *format, ...)
{
    redisContext *redis = fixture_redis(f);
    redisReply *reply;
    va_list arguments;

    va_start(arguments, format);
    reply = redisvCommand(redis, format, arguments);
    va_end(arguments);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", format, reply->str);
    freeReplyObject(reply);
    redisFree(redis);
}

/* The number that a command answers. */
static inline long long fixture_number(const struct fixture *f, const char *command)
{
    redisContext *redis = fixture_redis(f);
    redisReply *reply = redisCommand(redis, command);
    long long number;

    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    number = reply->integer;
    freeReplyObject(reply);
    redisFree(redis);
    return number;
}

static inline struct store *fixture_store(struct fixture *f)
{
    struct hk_why why = {""};
    struct store *store;

    if (store_open(&f->config, &store, &why) != 0)
        fail_msg("store: %s", why.text);
    return store;
}

/* A campaign of given spans with one domain for each; it began `age_s` seconds ago. */
static inline struct manifest fixture_campaign(struct fixture *f, const char *id, const uint32_t *span_count,
                                               uint32_t spans, uint32_t age_s)
{
    struct manifest m = {.state = "running", .segments = 1, .spans = spans, .domains = spans};
    struct store *store = fixture_store(f);
    uint32_t first[64];
    struct hk_why why;

    assert_true(spans <= 64);
    for (uint32_t i = 0; i < spans; i++) {
        first[i] = (uint32_t)m.recipients;
        m.recipients += span_count[i];
    }
    (void)snprintf(m.campaign, sizeof m.campaign, "%s", id);
    m.created_us = clock_wall_us() - age_s * 1000000ull;
    if (store_campaign_create(store, &m, first, first, &why) != 0)
        fail_msg("create: %s", why.text);
    store_close(store);
    return m;
}

#endif
