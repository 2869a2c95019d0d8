/* test_server.c - the embedded redis-server: started once, adopted, ended (state/redis_server.c). */
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

static void it_is_started_once_and_then_adopted(void **state)
{
    struct fixture f;
    struct hk_why why;
    pid_t again = 0;
    bool started = true;

    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    assert_true(f.started);
    assert_true(f.pid > 0);
    assert_int_equal(redis_server_ensure(&f.config, &again, &started, &why), 0);
    assert_int_equal(again, f.pid);
    assert_false(started);
    fixture_end(&f);
    assert_int_equal(kill(f.pid, 0), -1);
}

static void it_has_a_session_of_its_own_and_outlives_its_starter(void **state)
{
    struct fixture f;
    int status;
    pid_t child;

    (void)state;
    fixture_dir(&f);
    child = fork();
    if (child == 0) {
        struct hk_why why;
        _exit(redis_server_ensure(&f.config, &f.pid, &f.started, &why) == 0 && f.started ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    fixture_start(&f);
    assert_false(f.started);
    assert_int_equal(getsid(f.pid), f.pid);
    fixture_end(&f);
}

static void no_descriptor_of_ours_leaks_into_it(void **state)
{
    char path[64], target[256];
    struct dirent *entry;
    struct fixture f;
    int leak, seen = 0;
    DIR *dir;

    (void)state;
    fixture_dir(&f);
    /* Without O_CLOEXEC, as a careless library would. */
    leak = open("/etc/hostname", O_RDONLY);
    assert_true(leak >= 0);
    fixture_start(&f);
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)f.pid);
    dir = opendir(path);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        seen++;
        assert_null(strstr(target, "hostname"));
    }
    assert_true(seen > 3);
    (void)closedir(dir);
    (void)close(leak);
    fixture_end(&f);
}

static void only_the_owner_can_reach_it_and_all_is_kept_in_state_dir(void **state)
{
    char path[128];
    struct stat about;
    struct fixture f;

    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    (void)snprintf(path, sizeof path, "%s/redis.sock", f.dir);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0700);
    (void)snprintf(path, sizeof path, "%s/redis/appendonlydir", f.dir);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 077, 0);
    fixture_end(&f);
}

static void what_it_acknowledged_is_there_after_kill_9(void **state)
{
    struct fixture f;
    redisContext *redis;
    redisReply *reply;

    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    fixture_do(&f, "SET kept %s", "yes");
    assert_int_equal(kill(f.pid, SIGKILL), 0);
    assert_int_equal(waitpid(f.pid, NULL, 0), f.pid);
    /* The socket's file is still there, and refuses. */
    fixture_start(&f);
    assert_true(f.started);
    redis = fixture_redis(&f);
    reply = redisCommand(redis, "GET kept");
    assert_non_null(reply);
    assert_string_equal(reply->str, "yes");
    freeReplyObject(reply);
    redisFree(redis);
    fixture_end(&f);
}

static void its_data_is_loaded_before_it_counts_as_there(void **state)
{
    static const char fill[] = "for i = 1, 400000 do redis.call('SET', 'key:' .. i, i) end";
    struct fixture f;
    redisContext *redis;
    redisReply *reply;

    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    fixture_do(&f, "EVAL %s 0", fill);
    assert_int_equal(kill(f.pid, SIGKILL), 0);
    assert_int_equal(waitpid(f.pid, NULL, 0), f.pid);
    fixture_start(&f);
    redis = fixture_redis(&f);
    reply = redisCommand(redis, "DBSIZE");
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    assert_int_equal(reply->integer, 400000);
    freeReplyObject(reply);
    redisFree(redis);
    fixture_end(&f);
}

static void one_that_does_not_listen_is_never_doubled(void **state)
{
    char from[96], to[96];
    struct fixture f;
    struct hk_why why;
    pid_t pid = 0, child;
    bool started = true;

    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    /* As if it were just starting: it holds the directory, and its socket is not there (yet). */
    (void)snprintf(from, sizeof from, "%s/redis.sock", f.dir);
    (void)snprintf(to, sizeof to, "%s/aside", f.dir);
    assert_int_equal(rename(from, to), 0);
    child = fork();
    if (child == 0) {
        (void)usleep(300000);
        _exit(rename(to, from) == 0 ? 0 : 1);
    }
    assert_int_equal(redis_server_ensure(&f.config, &pid, &started, &why), 0);
    assert_false(started);
    assert_int_equal(pid, f.pid);
    assert_int_equal(waitpid(child, NULL, 0), child);
    fixture_end(&f);
}

static void a_state_dir_too_long_for_a_socket_is_refused_in_words(void **state)
{
    struct config config = {.redis.mode = REDIS_EMBEDDED};
    struct hk_why why = {""};
    char dir[200];
    pid_t pid;
    bool started;

    (void)state;
    memset(dir, 'x', sizeof dir);
    dir[0] = '/';
    dir[107 - 11 + 1] = '\0'; /* one byte more than fits with "/redis.sock" */
    config.state_dir = dir;
    assert_int_equal(redis_server_ensure(&config, &pid, &started, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "state_dir"));
    assert_non_null(strstr(why.text, "107"));
}

static void without_redis_server_it_says_what_installs_it(void **state)
{
    char *path = hk_xstrdup(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
    struct hk_why why = {""};
    struct fixture f;

    (void)state;
    fixture_dir(&f);
    assert_int_equal(setenv("PATH", "/nonexistent", 1), 0);
    assert_int_equal(redis_server_ensure(&f.config, &f.pid, &f.started, &why), HK_EDOWN);
    assert_int_equal(setenv("PATH", path, 1), 0);
    assert_string_equal(why.text, "redis-server is not installed: scripts/deps installs it");
    assert_false(f.started);
    free(path);
    fixture_end(&f);
}

static void one_that_ends_at_once_is_explained_by_its_last_words(void **state)
{
    char path[128];
    struct hk_why why = {""};
    struct fixture f;
    FILE *file;

    (void)state;
    fixture_dir(&f);
    (void)snprintf(path, sizeof path, "%s/redis", f.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/redis/appendonlydir", f.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/redis/appendonlydir/appendonly.aof.manifest", f.dir);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("this is no manifest\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(redis_server_ensure(&f.config, &f.pid, &f.started, &why), HK_EDOWN);
    assert_non_null(strstr(why.text, "AOF"));
    assert_non_null(strstr(why.text, "redis.log"));
    fixture_end(&f);
}

static void a_running_node_starts_it_again_and_does_not_wait(void **state)
{
    struct fixture f;
    struct hk_why why;
    pid_t pid = 0;
    bool started;

    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    assert_int_equal(redis_server_revive(&f.config, &pid, &why), 0); /* it is there */
    assert_int_equal(pid, 0);
    redis_server_stop(&f.config, f.pid);
    assert_int_equal(redis_server_revive(&f.config, &f.pid, &why), 1);
    assert_true(f.pid > 0);
    assert_int_equal(redis_server_ensure(&f.config, &pid, &started, &why), 0);
    assert_int_equal(pid, f.pid); /* and not a second one */
    assert_false(started);
    fixture_end(&f);
}

static void on_alarm(int number)
{
    (void)number;
}

/* It needs half a second to end, and every wait of ours is broken off by a signal meanwhile. */
static _Noreturn void end_slowly(int fd)
{
    sigset_t term;
    int number;

    (void)sigemptyset(&term);
    (void)sigaddset(&term, SIGTERM);
    (void)sigwait(&term, &number);
    (void)usleep(500000);
    (void)!write(fd, "x", 1);
    _exit(0);
}

static void signals_do_not_shorten_the_time_it_has_to_end(void **state)
{
    const struct itimerval often = {{0, 20000}, {0, 20000}}, never = {{0, 0}, {0, 0}};
    struct sigaction alarm = {.sa_handler = on_alarm}, before;
    struct fixture f;
    sigset_t term, mask;
    int said[2];
    pid_t pid;
    char byte;

    (void)state;
    fixture_dir(&f);
    assert_int_equal(pipe2(said, O_CLOEXEC), 0);
    (void)sigemptyset(&term);
    (void)sigaddset(&term, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &term, &mask), 0);
    pid = fork();
    if (pid == 0)
        end_slowly(said[1]);
    (void)close(said[1]);
    assert_int_equal(sigprocmask(SIG_SETMASK, &mask, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &alarm, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    redis_server_stop(&f.config, pid);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
    assert_int_equal(read(said[0], &byte, 1), 1); /* and was not killed */
    (void)close(said[0]);
    fixture_end(&f);
}

static void an_external_redis_is_not_ours_to_start(void **state)
{
    struct config config = {.redis.mode = REDIS_EXTERNAL, .redis.host = "127.0.0.1", .redis.port = 1};
    struct hk_why why;
    pid_t pid = 7;
    bool started = true;

    (void)state;
    assert_int_equal(redis_server_ensure(&config, &pid, &started, &why), 0);
    assert_int_equal(pid, 0);
    assert_false(started);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_started_once_and_then_adopted),
        cmocka_unit_test(it_has_a_session_of_its_own_and_outlives_its_starter),
        cmocka_unit_test(no_descriptor_of_ours_leaks_into_it),
        cmocka_unit_test(only_the_owner_can_reach_it_and_all_is_kept_in_state_dir),
        cmocka_unit_test(what_it_acknowledged_is_there_after_kill_9),
        cmocka_unit_test(its_data_is_loaded_before_it_counts_as_there),
        cmocka_unit_test(one_that_does_not_listen_is_never_doubled),
        cmocka_unit_test(a_state_dir_too_long_for_a_socket_is_refused_in_words),
        cmocka_unit_test(without_redis_server_it_says_what_installs_it),
        cmocka_unit_test(one_that_ends_at_once_is_explained_by_its_last_words),
        cmocka_unit_test(a_running_node_starts_it_again_and_does_not_wait),
        cmocka_unit_test(signals_do_not_shorten_the_time_it_has_to_end),
        cmocka_unit_test(an_external_redis_is_not_ours_to_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
