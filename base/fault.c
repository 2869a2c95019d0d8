/* fault.c - the plan of fault.h: read from the environment, counted at each point, and carried out. Test builds only.
 *
 * No allocation in here: a point may stand inside one. One plan for a process and its children; each counts for itself.
 */
#include "hikyaku/fault.h"

#ifdef HK_FAULTS

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FAULT_ENTRIES_MAX  64u
#define FAULT_ENTRY_BYTES  128u
#define FAULT_SLEEP_MAX_MS 3600000u
#define FAULT_CLOCK_MAX_S  100000000ll
#define FAULT_EXIT_USAGE   2

/* What a point takes besides the deaths. */
enum fault_more { FAULT_DEATHS = 0, FAULT_FAILS = 1, FAULT_SHORT = 2 };

enum fault_action { ACTION_KILL, ACTION_STOP, ACTION_SLEEP, ACTION_ERROR, ACTION_SHORT, ACTION_COUNT };

enum fault_role { ROLE_COMMAND, ROLE_MASTER, ROLE_WORKER, ROLE_RESOLVER, ROLE_ANY, ROLE_COUNT };

struct fault_entry {
    enum fault_role role;
    enum fault_point point;
    enum fault_action action;
    uint32_t pass;
    uint32_t argument; /* an errno, or milliseconds */
};

static const struct fault_row {
    const char *name;
    enum fault_more more;
} fault_row[] = {
#define FAULT_ROW(point, words, more) {words, more},
    FAULT_POINTS(FAULT_ROW)
#undef FAULT_ROW
};

static const char *const action_name[ACTION_COUNT] = {"kill", "stop", "sleep", "error", "short"};
static const char *const role_name[ROLE_COUNT] = {"command", "master", "worker", "resolver", "any"};

static const struct fault_errno {
    const char *name;
    int number;
} fault_errno[] = {
    {"EAGAIN", EAGAIN}, {"ECONNRESET", ECONNRESET}, {"EDQUOT", EDQUOT}, {"EINTR", EINTR},
    {"EIO", EIO},       {"EMFILE", EMFILE},         {"ENOMEM", ENOMEM}, {"ENOSPC", ENOSPC},
    {"EPIPE", EPIPE},   {"ETIMEDOUT", ETIMEDOUT},
};

static struct {
    struct fault_entry entry[FAULT_ENTRIES_MAX];
    size_t count;
    const char *once;
    enum fault_role role;
    uint32_t passes[FAULT_POINT_COUNT];
    const char *clock_file;
    int64_t clock_us;
    uint64_t clock_read_us;
    const char *boot_id;
} plan;

/* ---- reading it ---- */

/* The word before the next ':' (or '/' for a role) is cut off *rest; NULL when there is none left. */
static char *word_next(char **rest, char end)
{
    char *word = *rest, *at;

    if (word == NULL)
        return NULL;
    at = strchr(word, end);
    if (at != NULL)
        *at++ = '\0';
    *rest = at;
    return word;
}

static int word_find(const char *word, const char *const *name, int count)
{
    for (int i = 0; word != NULL && i < count; i++)
        if (strcmp(word, name[i]) == 0)
            return i;
    return -1;
}

static bool number_read(const char *word, uint32_t max, uint32_t *out)
{
    unsigned long long value;
    char *end;

    if (word == NULL || *word < '0' || *word > '9')
        return false;
    errno = 0;
    value = strtoull(word, &end, 10);
    if (errno != 0 || *end != '\0' || value > max)
        return false;
    *out = (uint32_t)value;
    return true;
}

static int point_find(const char *word)
{
    for (int i = 0; word != NULL && i < FAULT_POINT_COUNT; i++)
        if (strcmp(word, fault_row[i].name) == 0)
            return i;
    return -1;
}

static bool point_takes(enum fault_point point, enum fault_action action)
{
    if (action == ACTION_ERROR)
        return fault_row[point].more == FAULT_FAILS;
    return action != ACTION_SHORT || fault_row[point].more == FAULT_SHORT;
}

static int argument_read(struct fault_entry *entry, const char *word, struct hk_why *why)
{
    if (entry->action == ACTION_SLEEP) {
        if (number_read(word, FAULT_SLEEP_MAX_MS, &entry->argument))
            return 0;
        return why_set(why, HK_EINVAL, "sleep needs milliseconds up to %u: sleep:250", FAULT_SLEEP_MAX_MS);
    }
    if (entry->action != ACTION_ERROR)
        return word == NULL ? 0 : why_set(why, HK_EINVAL, "%s has no argument", action_name[entry->action]);
    for (size_t i = 0; word != NULL && i < sizeof fault_errno / sizeof fault_errno[0]; i++)
        if (strcmp(word, fault_errno[i].name) == 0) {
            entry->argument = (uint32_t)fault_errno[i].number;
            return 0;
        }
    return why_set(why, HK_EINVAL, "error needs the name of an errno that is known here: error:ENOSPC");
}

static int entry_read(struct fault_entry *entry, char *text, struct hk_why *why)
{
    char *rest = text;
    int role = word_find(word_next(&rest, '/'), role_name, ROLE_COUNT);
    int point = point_find(word_next(&rest, ':')), action;
    const char *pass = word_next(&rest, ':');

    if (role < 0)
        return why_set(why, HK_EINVAL, "begins with master/, worker/, resolver/, command/ or any/");
    if (point < 0)
        return why_set(why, HK_EINVAL, "that point does not exist; HIKYAKU_FAULTS=list names all");
    if (!number_read(pass, UINT32_MAX, &entry->pass) || entry->pass == 0)
        return why_set(why, HK_EINVAL, "behind the point comes the number of the pass, from 1");
    action = word_find(word_next(&rest, ':'), action_name, ACTION_COUNT);
    if (action < 0)
        return why_set(why, HK_EINVAL, "the action is kill, stop, sleep:MS, error:ERRNO or short");
    entry->role = (enum fault_role)role;
    entry->point = (enum fault_point)point;
    entry->action = (enum fault_action)action;
    if (!point_takes(entry->point, entry->action))
        return why_set(why, HK_EINVAL, "%s cannot be at %s; HIKYAKU_FAULTS=list:%s names where it can",
                       action_name[action], fault_row[point].name, action_name[action]);
    return argument_read(entry, rest, why);
}

int fault_plan(const char *text, const char *once, struct hk_why *why)
{
    char one[FAULT_ENTRY_BYTES];
    struct hk_why inner;

    memset(plan.passes, 0, sizeof plan.passes);
    plan.count = 0;
    plan.once = once;
    while (text != NULL && *text != '\0') {
        size_t length = strcspn(text, ",");
        if (length >= sizeof one || plan.count == FAULT_ENTRIES_MAX)
            return why_set(why, HK_ETOOBIG,
                           "HIKYAKU_FAULTS: %u entries of %zu bytes each are the most, and this is more",
                           FAULT_ENTRIES_MAX, sizeof one - 1);
        memcpy(one, text, length);
        one[length] = '\0';
        if (entry_read(&plan.entry[plan.count], one, &inner) != 0)
            return why_set(why, HK_EINVAL, "HIKYAKU_FAULTS: \"%.*s\": %s", (int)length, text, inner.text);
        plan.count++;
        text += length;
        if (*text == ',' && *++text == '\0')
            return why_set(why, HK_EINVAL, "HIKYAKU_FAULTS: nothing stands behind the last comma");
    }
    return 0;
}

/* ---- carrying it out ---- */

void fault_role_set(const char *title)
{
    memset(plan.passes, 0, sizeof plan.passes);
    plan.role = ROLE_COMMAND;
    if (strcmp(title, "hikyaku: master") == 0)
        plan.role = ROLE_MASTER;
    else if (strcmp(title, "hikyaku: resolver") == 0)
        plan.role = ROLE_RESOLVER;
    else if (strncmp(title, "hikyaku: worker ", strlen("hikyaku: worker ")) == 0)
        plan.role = ROLE_WORKER;
}

static bool mark_path(size_t number, char *out, size_t size)
{
    int n = snprintf(out, size, "%s/%zu", plan.once, number);

    return n > 0 && (size_t)n < size;
}

/* Make the entry's mark. False: it has struck already, or nobody would see that it does. */
static bool mark_make(size_t number, const struct fault_entry *entry)
{
    char path[4096], text[128];
    int fd, n;

    if (plan.once == NULL)
        return true;
    if (!mark_path(number, path, sizeof path))
        return false;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        if (errno != EEXIST)
            log_error("%s: a fault does not strike: %s", path, strerror(errno));
        return false;
    }
    n = snprintf(text, sizeof text, "%s/%s:%u:%s pid %d\n", role_name[plan.role],
                 fault_row[entry->point].name, entry->pass, action_name[entry->action], (int)getpid());
    if (hk_write_all(fd, text, (size_t)n) != 0)
        log_error("%s: %s", path, strerror(errno));
    close(fd);
    return true;
}

static bool mark_is_there(size_t number)
{
    char path[4096];

    return plan.once != NULL && mark_path(number, path, sizeof path) && access(path, F_OK) == 0;
}

static bool entry_is_due(const struct fault_entry *entry, enum fault_point point, uint32_t pass)
{
    return entry->point == point && entry->pass == pass &&
           (entry->role == ROLE_ANY || entry->role == plan.role);
}

static void fault_sleep(uint32_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

static bool fault_strike(const struct fault_entry *entry)
{
    log_warning("fault: %s at %s, pass %u", action_name[entry->action], fault_row[entry->point].name,
                entry->pass);
    switch (entry->action) {
    case ACTION_KILL:
        kill(getpid(), SIGKILL);
        break;
    case ACTION_STOP:
        kill(getpid(), SIGSTOP);
        break;
    case ACTION_SLEEP:
        fault_sleep(entry->argument);
        break;
    case ACTION_ERROR:
        errno = (int)entry->argument;
        return true;
    default:
        break; /* short: the write took half before this */
    }
    return false;
}

bool fault_pass(enum fault_point point)
{
    uint32_t pass = ++plan.passes[point];
    int saved_errno = errno;
    bool fails = false;

    for (size_t i = 0; i < plan.count && !fails; i++)
        if (entry_is_due(&plan.entry[i], point, pass) && mark_make(i + 1, &plan.entry[i]))
            fails = fault_strike(&plan.entry[i]);
    if (!fails)
        errno = saved_errno;
    return fails;
}

bool fault_is_next(enum fault_point point)
{
    for (size_t i = 0; i < plan.count; i++)
        if (entry_is_due(&plan.entry[i], point, plan.passes[point] + 1) && !mark_is_there(i + 1))
            return true;
    return false;
}

size_t fault_half_of(enum fault_point point, size_t length)
{
    return length > 1 && fault_is_next(point) ? length / 2 : length;
}

size_t fault_half_iovec(enum fault_point point, struct iovec *iov, size_t count)
{
    size_t length = 0, left, used = 0;

    for (size_t i = 0; i < count; i++)
        length += iov[i].iov_len;
    left = fault_half_of(point, length);
    if (left == length)
        return count;
    while (left > 0) {
        if (iov[used].iov_len > left)
            iov[used].iov_len = left;
        left -= iov[used++].iov_len;
    }
    return used;
}

/* ---- clock and boot id ---- */

/* Seconds from the file. A file that is missing, or empty since somebody writes it just now, changes nothing. */
static bool clock_file_read(int64_t *out_us)
{
    char text[32];
    int fd = open(plan.clock_file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    long long seconds;
    char *end;

    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return true;
    text[n] = '\0';
    errno = 0;
    seconds = strtoll(text, &end, 10);
    if (end == text || errno != 0 || (*end != '\0' && *end != '\n') || seconds > FAULT_CLOCK_MAX_S ||
        seconds < -FAULT_CLOCK_MAX_S)
        return false;
    *out_us = seconds * 1000000;
    return true;
}

int64_t fault_clock_us(void)
{
    uint64_t now_us;
    int saved_errno = errno;

    if (plan.clock_file == NULL)
        return 0;
    now_us = clock_now_us();
    if (plan.clock_read_us == 0 || now_us - plan.clock_read_us >= 1000000u) {
        plan.clock_read_us = now_us;
        if (!clock_file_read(&plan.clock_us))
            fprintf(stderr, "%s: no number of seconds\n", plan.clock_file);
    }
    errno = saved_errno;
    return plan.clock_us;
}

bool fault_boot_id(char out[40])
{
    if (plan.boot_id == NULL)
        return false;
    memset(out, 0, 40);
    snprintf(out, 40, "%s", plan.boot_id);
    return true;
}

/* ---- from the environment ---- */

static int list_points(const char *action_word)
{
    int action = word_find(action_word, action_name, ACTION_COUNT);

    if (action_word != NULL && action < 0) {
        fprintf(stderr, "HIKYAKU_FAULTS: list takes kill, stop, sleep, error or short: list:error\n");
        return FAULT_EXIT_USAGE;
    }
    for (int i = 0; i < FAULT_POINT_COUNT; i++)
        if (action < 0 || point_takes((enum fault_point)i, (enum fault_action)action))
            puts(fault_row[i].name);
    return fflush(stdout) == 0 ? 0 : FAULT_EXIT_USAGE;
}

static int variables_check(const char *once, struct hk_why *why)
{
    struct stat about;

    if (once != NULL && (stat(once, &about) != 0 || !S_ISDIR(about.st_mode) || access(once, W_OK) != 0))
        return why_set(why, HK_EINVAL, "HIKYAKU_FAULTS_ONCE: %s is no directory that can be written", once);
    if (plan.clock_file != NULL && !clock_file_read(&plan.clock_us))
        return why_set(why, HK_EINVAL, "HIKYAKU_CLOCK: %s does not hold a number of seconds: -3600",
                       plan.clock_file);
    if (plan.boot_id != NULL && (plan.boot_id[0] == '\0' || strlen(plan.boot_id) > 39))
        return why_set(why, HK_EINVAL, "HIKYAKU_BOOT_ID: 1 to 39 bytes");
    return 0;
}

void fault_setup(void)
{
    const char *text = getenv("HIKYAKU_FAULTS"), *once = getenv("HIKYAKU_FAULTS_ONCE");
    struct hk_why why;

    if (text != NULL && strcmp(text, "list") == 0)
        exit(list_points(NULL));
    if (text != NULL && strncmp(text, "list:", 5) == 0)
        exit(list_points(text + 5));
    plan.clock_file = getenv("HIKYAKU_CLOCK");
    plan.boot_id = getenv("HIKYAKU_BOOT_ID");
    if (fault_plan(text, once, &why) == 0 && variables_check(once, &why) == 0)
        return;
    fprintf(stderr, "%s\n", why.text);
    exit(FAULT_EXIT_USAGE);
}

#endif
