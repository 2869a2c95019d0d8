/* process.c - what every child of the master does first, the names that ps shows, how many connections there may be, and how it is
 * scheduled. */
#include <errno.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hikyaku/base.h"
#include "hikyaku/fault.h"

#define ARENAS_ALL "4096" /* MALLCTL_ARENAS_ALL */
/* Descriptors that are no connections: rings, region, lock, loops, sockets that listen, lists and messages being opened. */
#define DESCRIPTORS_SPARE 64u

extern char **environ;
/* jemalloc's; a sanitizer's allocator has none. */
extern int mallctl(const char *name, void *old, size_t *old_length, void *new, size_t new_length)
    __attribute__((weak));

static char *title_at;
static size_t title_size;

/* The kernel shows /proc/PID/cmdline from the memory where the arguments were laid; arguments and environment lie there
 * one behind another, so the environment is copied away to make room. */
void process_title_init(int argc, char **argv)
{
    char *end = argv[0] + strlen(argv[0]) + 1;
    size_t count = 0;
    char **copy;

    for (int i = 1; i < argc && argv[i] == end; i++)
        end = argv[i] + strlen(argv[i]) + 1;
    while (environ[count] != NULL)
        count++;
    copy = hk_xcalloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++) {
        if (environ[i] == end)
            end = environ[i] + strlen(environ[i]) + 1;
        copy[i] = hk_xstrdup(environ[i]);
    }
    environ = copy;
    title_at = argv[0];
    title_size = (size_t)(end - argv[0]);
}

void process_title_set(const char *title)
{
    fault_role_set(title);
    if (title_at == NULL || title_size < 2)
        return;
    memset(title_at, 0, title_size);
    snprintf(title_at, title_size, "%s", title);
    prctl(PR_SET_NAME, title, 0, 0, 0);
}

/* Whatever is not written yet is lost, as in any death; Redis and the region know what was under way. */
static void on_bus(int number, siginfo_t *info, void *context)
{
    static const char words[] =
        "hikyaku: a file in state_dir was cut while it was in use: a list (campaigns/ID/segment-N.seg), "
        "suppress.hashes or the region; put it back as it was and start again\n";

    (void)number;
    (void)context;
    if (info->si_code != BUS_ADRERR)
        abort();
    (void)!write(STDERR_FILENO, words, sizeof words - 1);
    _exit(2);
}

void process_bus_tell(void)
{
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};

    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}

static volatile sig_atomic_t stop_caught;

static void on_stop(int number)
{
    (void)number;
    stop_caught = 1;
}

void process_stop_catch(void)
{
    struct sigaction action = {.sa_handler = on_stop};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool process_stop_asked(void)
{
    sigset_t waiting;

    if (stop_caught != 0)
        return true;
    return sigpending(&waiting) == 0 &&
           (sigismember(&waiting, SIGINT) == 1 || sigismember(&waiting, SIGTERM) == 1);
}

int process_connections(const char *key, uint32_t wanted, uint32_t *out, struct hk_why *why)
{
    const rlim_t need = (rlim_t)wanted + DESCRIPTORS_SPARE;
    struct rlimit limit;

    *out = wanted;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return why_set(why, HK_EDOWN, "the limit of open files is not to be had: %s", strerror(errno));
    if (limit.rlim_cur >= need)
        return 0;
    limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return why_set(why, HK_EDOWN, "the limit of open files cannot be raised to %llu: %s",
                       (unsigned long long)limit.rlim_cur, strerror(errno));
    if (limit.rlim_cur >= need)
        return 0;
    if (limit.rlim_cur <= DESCRIPTORS_SPARE)
        return why_set(why, HK_EDOWN,
                       "the limit of open files is %llu, and %s = %u needs %llu; raise it: ulimit -Hn %llu, "
                       "or LimitNOFILE=%llu in the unit of systemd",
                       (unsigned long long)limit.rlim_cur, key, wanted, (unsigned long long)need,
                       (unsigned long long)need, (unsigned long long)need);
    *out = (uint32_t)(limit.rlim_cur - DESCRIPTORS_SPARE);
    log_warning("the limit of open files is %llu: %u connections instead of %s = %u; raise it: ulimit -Hn "
                "%llu, or LimitNOFILE=%llu in the unit of systemd",
                (unsigned long long)limit.rlim_cur, *out, key, wanted, (unsigned long long)need,
                (unsigned long long)need);
    return 0;
}

static int compare_fd(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;

    return (x > y) - (x < y);
}

static void close_all_but(const int *keep, size_t keep_count)
{
    int sorted[16];
    unsigned from = 3;

    HK_BUG_ON(keep_count > sizeof sorted / sizeof sorted[0]);
    memcpy(sorted, keep, keep_count * sizeof *keep);
    qsort(sorted, keep_count, sizeof *sorted, compare_fd);
    for (size_t i = 0; i < keep_count; i++) {
        if (sorted[i] < (int)from)
            continue;
        if ((unsigned)sorted[i] > from)
            close_range(from, (unsigned)sorted[i] - 1, 0);
        from = (unsigned)sorted[i] + 1;
    }
    close_range(from, ~0u, 0);
}

void process_child_setup(const char *title, int parent_pid, int signal_number, const int *keep,
                         size_t keep_count)
{
    static const int defaulted[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2};
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    setsid();
    for (size_t i = 0; i < sizeof defaulted / sizeof defaulted[0]; i++)
        sigaction(defaulted[i], &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, signal_number);
    if (getppid() != parent_pid)
        _exit(0); /* the parent died before it could be watched */
    close_all_but(keep, keep_count);
    process_title_set(title);
}

void process_batch(void)
{
    const struct sched_param none = {0};

    if (sched_getscheduler(0) == SCHED_OTHER)
        (void)sched_setscheduler(0, SCHED_BATCH, &none);
}

void process_memory_settle(void)
{
    if (mallctl != NULL)
        (void)mallctl("arena." ARENAS_ALL ".decay", NULL, NULL, NULL, 0);
}
