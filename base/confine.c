/* confine.c - what a process that faces the network gives up before it reads a stranger's first byte (process.h).
 *
 * Capabilities, new privileges, core files and other processes go away; then a list of system calls (seccomp) remains: talk
 * on sockets that are open already, wait, get memory that cannot be executed, end. No file can be opened, no connection
 * made, no program run. A call that is not in the list fails with EPERM, so that a library which tries something harmless goes on.
 * Who makes connections by libcurl has a longer list, and is kept to a few files by Landlock.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hikyaku/process.h"

static const int calls_allowed[] = {
    /* sockets that are open */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg),
    SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendfile), SCMP_SYS(accept), SCMP_SYS(accept4),
    SCMP_SYS(close), SCMP_SYS(shutdown), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getsockname),
    SCMP_SYS(getpeername), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(lseek),
    /* waiting, and the time */
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_create1),
    SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime), SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(restart_syscall),
    /* memory; mmap and mprotect are below */
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(getrandom),
    SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
    /* itself, and its end */
    SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(sigaltstack),
    SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(gettid), SCMP_SYS(exit), SCMP_SYS(exit_group)};

/* What a process needs beside those to make connections by libcurl: names are looked up in a thread of its own. */
static const int calls_of_client[] = {SCMP_SYS(socketpair),     SCMP_SYS(connect),
                                      SCMP_SYS(bind),           SCMP_SYS(sendmmsg),
                                      SCMP_SYS(recvmmsg),       SCMP_SYS(ioctl),
                                      SCMP_SYS(pipe2),          SCMP_SYS(access),
                                      SCMP_SYS(faccessat2),     SCMP_SYS(stat),
                                      SCMP_SYS(lstat),          SCMP_SYS(statx),
                                      SCMP_SYS(readlink),       SCMP_SYS(set_robust_list),
                                      SCMP_SYS(rseq),           SCMP_SYS(uname),
                                      SCMP_SYS(getuid),         SCMP_SYS(geteuid),
                                      SCMP_SYS(getgid),         SCMP_SYS(getegid),
                                      SCMP_SYS(sysinfo),        SCMP_SYS(sched_getscheduler),
                                      SCMP_SYS(sched_getparam), SCMP_SYS(sched_setscheduler),
                                      SCMP_SYS(pread64)};

/* Of the machine's addresses (getaddrinfo asks which kinds it has), and of IP. */
static const int families_of_client[] = {AF_INET, AF_INET6, AF_NETLINK};

static int add_rules_of_client(scmp_filter_ctx filter, bool may_open)
{
    const int threads_only = CLONE_VM | CLONE_THREAD;
    int rc = 0;

    for (size_t i = 0; i < sizeof calls_of_client / sizeof calls_of_client[0] && rc == 0; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls_of_client[i], 0);
    for (size_t i = 0; i < sizeof families_of_client / sizeof families_of_client[0] && rc == 0; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families_of_client[i], 0));
    if (rc == 0 && may_open) /* to read alone */
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
    if (rc == 0) /* its own limits, and nobody else's */
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_EQ, 0, 0));
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, threads_only, threads_only));
    if (rc == 0) /* its flags cannot be seen: the C library then takes the other one */
        rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return rc;
}

static int add_rules(scmp_filter_ctx filter)
{
    const int memory[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
    /* Not F_SETOWN and F_SETSIG: they have the kernel send any signal to any process of the same user. */
    const int fcntl_commands[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD, F_DUPFD_CLOEXEC};
    int rc = 0;

    for (size_t i = 0; i < sizeof calls_allowed / sizeof calls_allowed[0] && rc == 0; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls_allowed[i], 0);
    for (size_t i = 0; i < sizeof memory / sizeof memory[0] && rc == 0; i++)
        rc =
            seccomp_rule_add(filter, SCMP_ACT_ALLOW, memory[i], 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    for (size_t i = 0; i < sizeof fcntl_commands / sizeof fcntl_commands[0] && rc == 0; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                              SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)fcntl_commands[i], 0));
    if (rc == 0) /* abort() */
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
    return rc;
}

static int filter_calls(bool is_client, bool may_open, struct hk_why *why)
{
    scmp_filter_ctx filter;
    int rc;

    filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL)
        return why_set(why, HK_ENOMEM, "not enough memory for a list of system calls");
    rc = add_rules(filter);
    if (rc == 0 && is_client)
        rc = add_rules_of_client(filter, may_open);
    if (rc == 0)
        rc = seccomp_load(filter);
    seccomp_release(filter);
    return rc == 0 ? 0
                   : why_set(why, HK_EDOWN, "this kernel takes no list of system calls (seccomp): %s",
                             strerror(-rc));
}

/* ---- files: Landlock, which the C library has no functions for ---- */

#define FILE_ACCESS_ALL ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1) /* what its first version can forbid */

/* One that is not there is none. */
static int allow_reading(int rules, const char *path)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE};
    int error = 0;

    rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0)
        return 0;
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        error = errno;
    (void)close(rule.parent_fd);
    return error;
}

/* *done: false where the kernel knows no Landlock, was started without it, or somebody's filter forbids it. */
static int restrict_files(const char *const *readable, size_t count, bool *done, struct hk_why *why)
{
    const struct landlock_ruleset_attr all = {.handled_access_fs = FILE_ACCESS_ALL};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0), error = 0;

    *done = rules >= 0;
    if (rules < 0)
        return 0;
    for (size_t i = 0; i < count && error == 0; i++)
        error = allow_reading(rules, readable[i]);
    if (error == 0 && syscall(SYS_landlock_restrict_self, rules, 0) != 0)
        error = errno;
    (void)close(rules);
    return error == 0 ? 0
                      : why_set(why, HK_EDOWN, "files cannot be given up (Landlock): %s", strerror(error));
}

/* ---- the rest ---- */

/* Where a unit of systemd lets nobody change them, having none is as good. */
static int drop_capabilities(struct hk_why *why)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    struct __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3] = {{0}};
    uint32_t any = 0;
    int error;

    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, none) == 0)
        return 0;
    error = errno;
    if (syscall(SYS_capget, &header, held) == 0)
        for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
            any |= held[i].permitted | held[i].effective;
    else
        any = 1;
    return any == 0 ? 0 : why_set(why, HK_EDOWN, "capabilities cannot be given up: %s", strerror(error));
}

static int give_up_rights(struct hk_why *why)
{
    const struct rlimit none = {0};
    int rc = drop_capabilities(why);

    if (rc != 0)
        return rc;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return why_set(why, HK_EDOWN, "new privileges cannot be ruled out: %s", strerror(errno));
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)setrlimit(RLIMIT_CORE, &none);
    return 0;
}

/* A sanitizer's own thread and report need more than we do. */
#ifdef HK_POOL_MALLOC
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

int process_confine(struct hk_why *why)
{
    const struct rlimit none = {0};
    int rc = give_up_rights(why);

    if (rc != 0)
        return rc;
    (void)setrlimit(RLIMIT_NPROC, &none);
    return IS_SANITIZED ? 0 : filter_calls(false, false, why);
}

int process_confine_client(const char *const *readable, size_t count, struct hk_why *why)
{
    bool files_are_restricted = false;
    int rc = give_up_rights(why);

    if (rc != 0 || IS_SANITIZED)
        return rc;
    rc = restrict_files(readable, count, &files_are_restricted, why);
    return rc == 0 ? filter_calls(true, files_are_restricted, why) : rc;
}
