/* test_confine.c - what a confined process can no longer do, and what it still can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_confined_process_talks_and_does_nothing_else),
        cmocka_unit_test(its_death_by_abort_is_seen_as_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
