/* test_confine.c - what a confined process can no longer do, and what it still can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hikyaku/process.h"

enum {
    CAN_CONFINE = 1,
    CAN_TALK = 2,
    CAN_ALLOCATE = 4,
    CAN_OPEN = 8,
    CAN_CONNECT = 16,
    CAN_RUN = 32,
    CAN_FORK = 64,
    CAN_SIGNAL = 128
};

static int what_it_can(int fd)
{
    struct hk_why why;
    int can = 0, socket_fd;
    char *memory;

    if (process_confine(&why) == 0)
        can |= CAN_CONFINE;
    if (send(fd, "x", 1, 0) == 1)
        can |= CAN_TALK;
    memory = malloc(8u << 20);
    if (memory != NULL) {
        memory[0] = memory[(8u << 20) - 1] = 1;
        can |= CAN_ALLOCATE;
        free(memory);
    }
    if (open("/etc/passwd", O_RDONLY) >= 0)
        can |= CAN_OPEN;
    socket_fd = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_fd >= 0)
        can |= CAN_CONNECT;
    if (mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
        MAP_FAILED)
        can |= CAN_RUN;
    if (fork() >= 0)
        can |= CAN_FORK;
    /* By way of a socket, which then has the kernel send a signal to whomever. */
    if (kill(getppid(), 0) == 0 || fcntl(fd, F_SETOWN, getppid()) == 0 || fcntl(fd, F_SETSIG, SIGKILL) == 0)
        can |= CAN_SIGNAL;
    if (fcntl(fd, F_GETFL) < 0)
        can &= ~CAN_TALK;
    return can;
}

static void a_confined_process_talks_and_does_nothing_else(void **state)
{
    int pair[2], status;
    pid_t pid;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    pid = fork();
    if (pid == 0)
        _exit(what_it_can(pair[1]));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
#ifdef HK_POOL_MALLOC
    assert_true((WEXITSTATUS(status) & (CAN_CONFINE | CAN_TALK)) == (CAN_CONFINE | CAN_TALK));
#else
    assert_int_equal(WEXITSTATUS(status), CAN_CONFINE | CAN_TALK | CAN_ALLOCATE);
#endif
}

static void its_death_by_abort_is_seen_as_one(void **state)
{
    struct hk_why why;
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        (void)close(STDERR_FILENO);
        if (process_confine(&why) != 0)
            _exit(1);
        abort();
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* ---- a client ---- */

enum {
    CLIENT_CONFINED = 1,
    CLIENT_CONNECTS = 2,
    CLIENT_HAS_THREADS = 4,
    CLIENT_READS_NAMED = 8,
    CLIENT_READS_OTHERS = 16, /* beside it, of the system, or put in its place */
    CLIENT_READS_FOLDERS = 32,
    CLIENT_WRITES = 64,
    CLIENT_REACHES_LOCAL = 128, /* a socket in a file, as that of Redis */
    CLIENT_RUNS = 256,          /* programs, processes, code */
    CLIENT_SIGNALS = 512,
    CLIENT_CHANGES_FILES = 1024, /* renames, removes */
};
#define CLIENT_MAY (CLIENT_CONFINED | CLIENT_CONNECTS | CLIENT_HAS_THREADS)

/* A folder with the files `named`, `beside` and `other`, the socket `local`; and a port of this machine that listens. */
struct place {
    char folder[64], named[96], beside[96], other[96], local[96];
    struct sockaddr_in port;
    int listens[2];
};

static void make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(close(fd), 0);
}

static void place_make(struct place *place)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    socklen_t length = sizeof place->port;

    memset(place, 0, sizeof *place);
    (void)snprintf(place->folder, sizeof place->folder, "/tmp/hikyaku-confine-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    (void)snprintf(place->named, sizeof place->named, "%s/named", place->folder);
    (void)snprintf(place->beside, sizeof place->beside, "%s/beside", place->folder);
    (void)snprintf(place->other, sizeof place->other, "%s/other", place->folder);
    (void)snprintf(place->local, sizeof place->local, "%s/local", place->folder);
    make_file(place->named);
    make_file(place->beside);
    make_file(place->other);
    (void)snprintf(local.sun_path, sizeof local.sun_path, "%s", place->local);
    place->listens[0] = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(place->listens[0], (const struct sockaddr *)&local, sizeof local), 0);
    assert_int_equal(listen(place->listens[0], 5), 0);
    place->port = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    place->listens[1] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(place->listens[1], (const struct sockaddr *)&place->port, sizeof place->port), 0);
    assert_int_equal(listen(place->listens[1], 5), 0);
    assert_int_equal(getsockname(place->listens[1], (struct sockaddr *)&place->port, &length), 0);
}

static void place_free(struct place *place)
{
    (void)close(place->listens[0]);
    (void)close(place->listens[1]);
    (void)unlink(place->named);
    (void)unlink(place->beside);
    (void)unlink(place->other);
    (void)unlink(place->local);
    (void)rmdir(place->folder);
}

static bool reads(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY);
    bool can = fd >= 0 && read(fd, &byte, 1) == 1;

    if (fd >= 0)
        (void)close(fd);
    return can;
}

static bool connects(int family, const void *address, size_t length)
{
    int fd = socket(family, SOCK_STREAM, 0);
    bool can = fd >= 0 && connect(fd, address, (socklen_t)length) == 0;

    if (fd >= 0)
        (void)close(fd);
    return can;
}

static void *thread_life(void *ran)
{
    *(bool *)ran = true;
    return NULL;
}

static bool has_threads(void)
{
    bool ran = false;
    pthread_t thread;

    return pthread_create(&thread, NULL, thread_life, &ran) == 0 && pthread_join(thread, NULL) == 0 && ran;
}

static bool runs(void)
{
    char *const argv[] = {"true", NULL};
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    if (pid > 0 || mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
        return true;
    (void)execv("/bin/true", argv);
    return errno != EPERM && errno != EACCES;
}

/* The files as they are, and once more with another one in the place of the first. */
static int files_it_can(const struct place *place, int replaced)
{
    char made[128];
    int can = 0, rest;

    (void)snprintf(made, sizeof made, "%s/made", place->folder);
    if (reads(place->named))
        can |= replaced ? CLIENT_READS_OTHERS : CLIENT_READS_NAMED;
    if (reads(place->beside) || reads("/etc/passwd") || reads("/proc/self/environ"))
        can |= CLIENT_READS_OTHERS;
    rest = open(place->folder, O_RDONLY | O_DIRECTORY);
    if (rest >= 0)
        can |= CLIENT_READS_FOLDERS;
    if (open(place->named, O_WRONLY) >= 0 || open(place->named, O_RDWR) >= 0 ||
        open(place->named, O_RDONLY | O_TRUNC) >= 0 || open(made, O_RDONLY | O_CREAT, 0600) >= 0)
        can |= CLIENT_WRITES;
    if (rename(place->named, made) == 0 || unlink(place->beside) == 0 || mkdir(made, 0700) == 0 ||
        link(place->beside, made) == 0 || chmod(place->beside, 0644) == 0 || truncate(place->named, 0) == 0)
        can |= CLIENT_CHANGES_FILES;
    return can;
}

static int what_a_client_can(const struct place *place, int fd)
{
    const char *const readable[] = {place->named, "/nowhere/at/all"};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct hk_why why;
    char go;
    int can = 0;

    (void)snprintf(local.sun_path, sizeof local.sun_path, "%s", place->local);
    if (process_confine_client(readable, 2, &why) == 0)
        can |= CLIENT_CONFINED;
    if (connects(AF_INET, &place->port, sizeof place->port))
        can |= CLIENT_CONNECTS;
    if (has_threads())
        can |= CLIENT_HAS_THREADS;
    can |= files_it_can(place, 0);
    if (connects(AF_UNIX, &local, sizeof local) || socket(AF_PACKET, SOCK_RAW, 0) >= 0)
        can |= CLIENT_REACHES_LOCAL;
    if (kill(getppid(), 0) == 0 || fcntl(fd, F_SETOWN, getppid()) == 0)
        can |= CLIENT_SIGNALS;
    /* The parent puts another file in its place. */
    if (send(fd, "x", 1, 0) == 1 && recv(fd, &go, 1, 0) == 1)
        can |= files_it_can(place, 1);
    if (runs())
        can |= CLIENT_RUNS;
    return can;
}

/* What a child can, after `before`. */
static int client(struct place *place, void (*before)(void))
{
    int pair[2], status, can;
    int *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char ready;
    pid_t pid;

    assert_true(shared != MAP_FAILED);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    pid = fork();
    if (pid == 0) {
        if (before != NULL)
            before();
        *shared = what_a_client_can(place, pair[1]);
        _exit(0);
    }
    (void)close(pair[1]);
    assert_int_equal(recv(pair[0], &ready, 1, 0), 1);
    assert_int_equal(rename(place->other, place->named), 0);
    assert_int_equal(send(pair[0], "x", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    (void)close(pair[0]);
    can = *shared;
    (void)munmap(shared, sizeof *shared);
    return can;
}

static void assert_client_can(int can, int expect)
{
#ifdef HK_POOL_MALLOC
    assert_int_equal(can & CLIENT_MAY, CLIENT_MAY);
    (void)expect;
#else
    assert_int_equal(can, expect);
#endif
}

static void a_client_connects_and_reads_the_files_that_are_named(void **state)
{
    bool has_landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
    struct place place;

    (void)state;
    place_make(&place);
    assert_client_can(client(&place, NULL), CLIENT_MAY | (has_landlock ? CLIENT_READS_NAMED : 0));
    place_free(&place);
}

static void forbid_landlock(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

    if (filter == NULL ||
        seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(landlock_create_ruleset), 0) != 0 ||
        seccomp_load(filter) != 0)
        _exit(1);
    seccomp_release(filter);
}

static void without_landlock_a_client_opens_no_file_at_all(void **state)
{
    struct place place;

    (void)state;
    place_make(&place);
    assert_client_can(client(&place, forbid_landlock), CLIENT_MAY);
    place_free(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_confined_process_talks_and_does_nothing_else),
        cmocka_unit_test(its_death_by_abort_is_seen_as_one),
        cmocka_unit_test(a_client_connects_and_reads_the_files_that_are_named),
        cmocka_unit_test(without_landlock_a_client_opens_no_file_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
