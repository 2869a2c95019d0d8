/* redis_server.c - the embedded redis-server: start, adopt, stop (design 3, 7).
 *
 * It is a private child on a unix socket in state_dir, in a session of its own, and it outlives its master: the next
 * one finds it by its socket. Two servers on one directory ruin it without a word, so a lock in state_dir is handed to
 * the server and is held for as long as it (or a rewrite of its file) lives. Blocks, with a limit for each wait that is
 * not loading; errors are HK_EDOWN (HK_EINVAL for a state_dir that cannot work) in words.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aof_tail.h"
#include "connect.h"
#include "hikyaku/state.h"

#define SERVER_START_MS  30000u /* from the start until the socket answers at all */
#define SERVER_STOP_MS   10000u
#define SERVER_END_MS    1000u /* for one that hung up to end */
#define SERVER_POLL_MS   20u
#define SERVER_QUIET_MS  1000u         /* so long it may load its data without a word */
#define SERVER_LOG_MAX   (1024 * 1024) /* a longer redis.log is put aside at the next start */
#define SERVER_LOG_TAIL  1500u         /* of what it said, so much is looked at to explain its end */
#define SERVER_LOG_LINES 3
#define SERVER_LOCK_FD   3 /* where the server finds the lock, and all that it inherits beside 0 to 2 */
#define SERVER_PATH_MAX  512u

struct server {
    struct redis_target target;
    char dir[SERVER_PATH_MAX], log[SERVER_PATH_MAX], lock[SERVER_PATH_MAX];
    off_t log_from;      /* what this start has to say begins here */
    uint64_t tail_bytes; /* of its newest append-only file, as it was started on it */
    pid_t child;         /* 0: adopted */
};

static void pause_ms(unsigned ms)
{
    (void)poll(NULL, 0, (int)ms);
}

static int server_init(const struct config *config, struct server *server, struct hk_why *why)
{
    const char *base = config->state_dir;
    int error;

    memset(server, 0, sizeof *server);
    error = redis_target_from(config, &server->target, why);
    if (error)
        return error;
    /* The socket's path fits, so these do. */
    (void)snprintf(server->dir, sizeof server->dir, "%s/redis", base);
    (void)snprintf(server->log, sizeof server->log, "%s/redis.log", base);
    (void)snprintf(server->lock, sizeof server->lock, "%s/redis.lock", base);
    return 0;
}

/* 1 somebody listens, 0 nobody does, or HK_EDOWN. */
static int server_listens(const struct server *server, struct hk_why *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, result;

    /* One that hangs has a full queue some day: EAGAIN, and not our waiting. */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return why_set(why, HK_EDOWN, "socket: %s", strerror(errno));
    memcpy(address.sun_path, server->target.socket, strlen(server->target.socket) + 1);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN)
        result = 1;
    else if (errno == ECONNREFUSED || errno == ENOENT)
        result = 0;
    else
        result = why_set(why, HK_EDOWN, "%s: %s", server->target.socket, strerror(errno));
    (void)close(fd);
    return result;
}

/* The last lines that the server wrote since it was started, on one line, for a message. */
static void server_last_words(const struct server *server, char *out, size_t size)
{
    char text[SERVER_LOG_TAIL];
    ssize_t length;
    off_t end, from;
    char *at;
    int fd = open(server->log, O_RDONLY | O_CLOEXEC), lines = 0;

    (void)snprintf(out, size, "it said nothing");
    if (fd < 0)
        return;
    end = lseek(fd, 0, SEEK_END);
    from = end - (off_t)sizeof text > server->log_from ? end - (off_t)sizeof text : server->log_from;
    length = pread(fd, text, sizeof text, from);
    (void)close(fd);
    while (length > 0 && text[length - 1] == '\n')
        length--;
    if (length <= 0)
        return;
    for (at = text + length; at > text; at--)
        if (at[-1] == '\n' && ++lines == SERVER_LOG_LINES)
            break;
    length -= at - text;
    for (char *c = at; c < at + length; c++)
        if (*c == '\n')
            *c = ' ';
    (void)hk_clean_text(out, size, at, (size_t)length);
}

/* Everything the child needs is made before the fork; after it only async-signal-safe calls. */
static _Noreturn void server_exec(char *const argv[], int lock_fd, int log_fd, int report_fd)
{
    struct sigaction fallback = {.sa_handler = SIG_DFL};
    sigset_t none;
    int null_fd, lock_copy, log_copy, report_copy, error;

    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &fallback, NULL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    (void)umask(077);
    process_batch();
    /* Copies above every place that is written to below. */
    lock_copy = fcntl(lock_fd, F_DUPFD_CLOEXEC, 10);
    log_copy = fcntl(log_fd, F_DUPFD_CLOEXEC, 10);
    report_copy = fcntl(report_fd, F_DUPFD_CLOEXEC, 10);
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd >= 0 && dup2(null_fd, 0) == 0 && dup2(log_copy, 1) == 1 && dup2(log_copy, 2) == 2 &&
        dup2(lock_copy, SERVER_LOCK_FD) == SERVER_LOCK_FD && dup2(report_copy, SERVER_LOCK_FD + 1) >= 0 &&
        fcntl(SERVER_LOCK_FD + 1, F_SETFD, FD_CLOEXEC) == 0 && close_range(SERVER_LOCK_FD + 2, ~0u, 0) == 0 &&
        chdir("/") == 0)
        (void)execvp(argv[0], argv);
    error = errno;
    (void)!write(SERVER_LOCK_FD + 1, &error, sizeof error);
    _exit(127);
}

static int server_fork(struct server *server, int lock_fd, int log_fd, struct hk_why *why)
{
    char *argv[] = {"redis-server", "--port", "0", "--unixsocket", server->target.socket, "--unixsocketperm",
                    "700", "--dir", server->dir, "--logfile", server->log, "--daemonize", "no", "--databases",
                    "1",
                    /* One fsync for each turn of its loop, before it answers; no snapshot beside the log. */
                    "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory", "0",
                    "--maxmemory-policy", "noeviction", NULL};
    int report[2], failure = 0;
    ssize_t got;

    if (pipe2(report, O_CLOEXEC) != 0)
        return why_set(why, HK_EDOWN, "pipe: %s", strerror(errno));
    server->child = fork();
    if (server->child == 0)
        server_exec(argv, lock_fd, log_fd, report[1]);
    (void)close(report[1]);
    if (server->child < 0) {
        (void)close(report[0]);
        return why_set(why, HK_EDOWN, "redis-server cannot be started: fork: %s", strerror(errno));
    }
    do {
        got = read(report[0], &failure, sizeof failure);
    } while (got < 0 && errno == EINTR);
    (void)close(report[0]);
    if (got == 0)
        return 0;
    (void)waitpid(server->child, NULL, 0);
    if (failure == ENOENT)
        return why_set(why, HK_EDOWN, "redis-server is not installed: scripts/deps installs it");
    return why_set(why, HK_EDOWN, "redis-server cannot be started: %s", strerror(failure));
}

/* Open the log for appending; a long one is put aside first. */
static int server_log_open(struct server *server)
{
    char old[SERVER_PATH_MAX + 4];
    struct stat about;

    if (stat(server->log, &about) == 0 && about.st_size > SERVER_LOG_MAX) {
        (void)snprintf(old, sizeof old, "%s.1", server->log);
        (void)rename(server->log, old);
    }
    int fd = open(server->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0)
        server->log_from = lseek(fd, 0, SEEK_END);
    return fd;
}

/* Start one, unless another holds the directory though it does not listen (yet): then that one is waited for. */
static int server_start(struct server *server, struct hk_why *why)
{
    int lock_fd = -1, log_fd = -1, error = 0;

    if (mkdir(server->dir, 0700) != 0 && errno != EEXIST)
        return why_set(why, HK_EDOWN, "%s: %s", server->dir, strerror(errno));
    lock_fd = open(server->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock_fd < 0)
        return why_set(why, HK_EDOWN, "%s: %s", server->lock, strerror(errno));
    if (flock(lock_fd, LOCK_EX | LOCK_NB) == 0) {
        error = aof_tail_mend(server->dir, why);
        server->tail_bytes = aof_tail_bytes(server->dir);
        log_fd = error != 0 ? -1 : server_log_open(server);
        if (error != 0)
            error = HK_EDOWN;
        else if (log_fd < 0)
            error = why_set(why, HK_EDOWN, "%s: %s", server->log, strerror(errno));
        else
            error = server_fork(server, lock_fd, log_fd, why);
    } else if (errno != EWOULDBLOCK) {
        error = why_set(why, HK_EDOWN, "%s: %s", server->lock, strerror(errno));
    }
    if (log_fd >= 0)
        (void)close(log_fd);
    (void)close(lock_fd);
    return error;
}

/* Did it end because it cannot read its own data? Then what it says of itself is no help to who does not know Redis. */
static bool server_data_is_damaged(const char *words, const char **said)
{
    static const char *const about[] = {"reading the append only file", "reading RDB file", "AOF manifest",
                                        "Wrong signature", "CRC error"};
    const char *mark = strstr(words, " # "), *next;

    while (mark != NULL && (next = strstr(mark + 1, " # ")) != NULL)
        mark = next;
    *said = mark != NULL ? mark + strlen(" # ") : words;
    for (size_t i = 0; mark != NULL && i < sizeof about / sizeof about[0]; i++)
        if (strstr(mark, about[i]) != NULL)
            return true;
    return false;
}

/* 0: it lives, or is not ours; HK_EDOWN: why it ended. */
static int server_child_check(struct server *server, struct hk_why *why)
{
    char words[SERVER_LOG_TAIL];
    const char *said;
    int status;

    if (server->child == 0 || waitpid(server->child, &status, WNOHANG) != server->child)
        return 0;
    server->child = 0;
    server_last_words(server, words, sizeof words);
    if (WIFEXITED(status) && server_data_is_damaged(words, &said))
        return why_set(
            why, HK_EDOWN,
            "%s/appendonlydir is damaged, redis-server ends: \"%.*s\" (redis.log). Copy that folder; then "
            "'redis-check-aof --fix appendonly.aof.manifest' in it cuts off what follows the damage, and "
            "the next start tells Redis that from the event log. If it cannot: move %s away, and "
            "'hikyaku campaigns restore' each campaign",
            server->dir, (int)strcspn(said, ":"), said, server->dir);
    return why_set(why, HK_EDOWN, "redis-server ended at once (%s %d), see %s: %s",
                   WIFSIGNALED(status) ? "signal" : "status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), server->log, words);
}

/* Ask once for its pid. 1 answered, 0 still loading or busy, or HK_EDOWN. */
static int server_ask_pid(const struct server *server, pid_t *pid, struct hk_why *why)
{
    redisContext *redis;
    redisReply *reply;
    const char *at;
    int result = redis_connect(&server->target, &redis, why);

    if (result)
        return result;
    reply = redisCommand(redis, "PING");
    if (reply && reply->type != REDIS_REPLY_ERROR) {
        freeReplyObject(reply);
        reply = redisCommand(redis, "INFO server");
    }
    if (!reply)
        result = why_set(why, HK_EDOWN, "%s does not answer: %s", redis_target_name(&server->target),
                         redis_words(redis->errstr));
    else if (reply->type == REDIS_REPLY_ERROR &&
             (strncmp(reply->str, "LOADING", 7) == 0 || strncmp(reply->str, "BUSY", 4) == 0))
        result = 0;
    else if (reply->type == REDIS_REPLY_STRING && (at = strstr(reply->str, "process_id:")) != NULL &&
             (*pid = (pid_t)strtol(at + strlen("process_id:"), NULL, 10)) > 0)
        result = 1;
    else
        result = why_set(why, HK_EDOWN, "%s answers, but not as ours should: %s",
                         redis_target_name(&server->target), reply->str ? reply->str : "no text");
    if (reply)
        freeReplyObject(reply);
    redisFree(redis);
    return result;
}

/* A server that hangs up is mostly one that is about to end, and its end explains more than the connection's. */
static int server_explain(struct server *server, int error, struct hk_why *why)
{
    uint64_t until_ms = clock_now_ms() + SERVER_END_MS;

    while (server->child != 0 && clock_now_ms() < until_ms) {
        if (server_child_check(server, why))
            return HK_EDOWN;
        pause_ms(SERVER_POLL_MS);
    }
    return error;
}

/* Told to stop meanwhile: one that we started ends, also while it loads its data. */
static int server_not_wanted(struct server *server, struct hk_why *why)
{
    if (server->child != 0 && kill(server->child, SIGTERM) == 0) {
        (void)waitpid(server->child, NULL, 0);
        server->child = 0;
    }
    return why_set(why, HK_EBUSY, "told to stop while redis-server was starting");
}

static int server_wait(struct server *server, pid_t *pid, struct hk_why *why)
{
    uint64_t say_ms = clock_now_ms() + SERVER_QUIET_MS, give_up_ms = clock_now_ms() + SERVER_START_MS;
    bool said = false;

    for (;;) {
        int state = server_child_check(server, why);
        if (state)
            return state;
        if (process_stop_asked())
            return server_not_wanted(server, why);
        state = server_listens(server, why);
        if (state > 0) {
            state = server_ask_pid(server, pid, why);
            if (state > 0)
                return 0;
            if (state < 0)
                return server_explain(server, state, why);
            /* It loads its data: that takes as long as it takes, and it says so as long as it lives. */
            if (!said && clock_now_ms() >= say_ms) {
                log_info("redis-server is loading its data, or busy: waiting for it");
                said = true;
            }
            give_up_ms = clock_now_ms() + SERVER_START_MS;
        } else if (state < 0) {
            return state;
        }
        if (clock_now_ms() > give_up_ms)
            return why_set(
                why, HK_EDOWN,
                "a redis-server holds %s, but its socket %s has not answered for %u s: end that process "
                "(`fuser %s` names it)",
                server->dir, server->target.socket, SERVER_START_MS / 1000, server->lock);
        pause_ms(SERVER_POLL_MS);
    }
}

/* It cuts off a last command that is not whole, and says so in its own log alone. */
static void server_tell_cut(const struct server *server)
{
    uint64_t bytes = aof_tail_bytes(server->dir);

    if (bytes < server->tail_bytes)
        log_warning("%s/appendonlydir: redis-server cut off an unfinished command of %llu bytes", server->dir,
                    (unsigned long long)(server->tail_bytes - bytes));
}

static bool server_is_gone(const struct server *server)
{
    uint64_t until_ms = clock_now_ms() + SERVER_END_MS;

    while (server_listens(server, NULL) != 0) {
        if (clock_now_ms() > until_ms)
            return false;
        pause_ms(SERVER_POLL_MS);
    }
    return true;
}

int redis_server_ensure(const struct config *config, pid_t *pid, bool *started, struct hk_why *why)
{
    struct server server;
    int result;

    *pid = 0;
    *started = false;
    if (config->redis.mode == REDIS_EXTERNAL)
        return 0;
    result = server_init(config, &server, why);
    if (result)
        return result;
    result = server_listens(&server, why);
    if (result == 0) {
        result = server_start(&server, why);
        *started = result == 0 && server.child > 0;
    }
    if (result >= 0)
        result = server_wait(&server, pid, why);
    /* One that was dying when it was found: it hung up, and soon nobody listens. */
    if (result < 0 && !*started && !process_stop_asked() && server_is_gone(&server)) {
        result = server_start(&server, why);
        *started = result == 0 && server.child > 0;
        if (result == 0)
            result = server_wait(&server, pid, why);
    }
    if (result < 0)
        *started = false;
    if (*started)
        server_tell_cut(&server);
    redis_target_free(&server.target);
    return result;
}

int redis_server_revive(const struct config *config, pid_t *pid, struct hk_why *why)
{
    struct server server;
    int result;

    if (config->redis.mode == REDIS_EXTERNAL)
        return 0;
    result = server_init(config, &server, why);
    if (result)
        return result;
    result = server_listens(&server, why);
    if (result == 0) {
        result = server_start(&server, why);
        if (result == 0 && server.child > 0) {
            *pid = server.child;
            result = 1;
        }
    } else if (result > 0) {
        result = 0;
    }
    redis_target_free(&server.target);
    return result;
}

/* Signals come meanwhile, of workers that end and of people who are impatient. */
static bool server_gone(int pid_fd, uint32_t wait_ms)
{
    struct pollfd end = {.fd = pid_fd, .events = POLLIN};
    uint64_t until_ms = clock_now_ms() + wait_ms;

    for (uint64_t now_ms; (now_ms = clock_now_ms()) < until_ms;)
        if (poll(&end, 1, (int)(until_ms - now_ms)) == 1)
            return true;
    return false;
}

/* Its connection is closed by the server's end, so no answer is the good one. */
static bool server_shutdown(const struct server *server)
{
    redisContext *redis;
    redisReply *reply;

    if (redis_connect(&server->target, &redis, NULL) != 0)
        return false;
    reply = redisCommand(redis, "SHUTDOWN NOSAVE NOW FORCE");
    if (reply) {
        log_warning("redis-server does not want to end: %s", reply->str ? reply->str : "no reason given");
        freeReplyObject(reply);
    }
    redisFree(redis);
    return reply == NULL;
}

uint64_t redis_server_bytes(const struct config *config)
{
    char path[SERVER_PATH_MAX];
    const struct dirent *entry;
    struct stat about;
    uint64_t bytes = 0;
    DIR *folder;

    if (config->redis.mode == REDIS_EXTERNAL ||
        config_path(config, path, sizeof path, "redis/appendonlydir") != 0 ||
        (folder = opendir(path)) == NULL)
        return 0;
    while ((entry = readdir(folder)) != NULL)
        if (fstatat(dirfd(folder), entry->d_name, &about, 0) == 0 && S_ISREG(about.st_mode))
            bytes += (uint64_t)about.st_size;
    (void)closedir(folder);
    return bytes;
}

void redis_server_stop(const struct config *config, pid_t pid)
{
    struct server server;
    int pid_fd;

    if (config->redis.mode == REDIS_EXTERNAL || pid <= 0 || server_init(config, &server, NULL) != 0)
        return;
    pid_fd = pidfd_open(pid, 0);
    if (pid_fd >= 0) {
        if (!server_shutdown(&server))
            (void)pidfd_send_signal(pid_fd, SIGTERM, NULL, 0);
        if (!server_gone(pid_fd, SERVER_STOP_MS)) {
            log_warning("redis-server (pid %d) has not ended within %u s and is killed", (int)pid,
                        SERVER_STOP_MS / 1000);
            (void)pidfd_send_signal(pid_fd, SIGKILL, NULL, 0);
            (void)server_gone(pid_fd, SERVER_STOP_MS);
        }
        (void)close(pid_fd);
    }
    /* Ours to reap where it is a child of this process; another's, or reaped by the event loop, otherwise. */
    (void)waitpid(pid, NULL, WNOHANG);
    redis_target_free(&server.target);
}
