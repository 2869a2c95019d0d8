/* place.c - the place of the node on a state_dir: its lock, its Redis; and how others find it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "identity.h"
#include "master.h"

#define REPLY_BYTES_MAX (16u * 1024 * 1024)
#define LOCK_BYTES_MAX  64u

/* ---- who holds it ---- */

/* The pid that the holder of the lock wrote into it; 0 where none is told, or it is none of ours any more. */
static int holder_pid(const struct config *config)
{
    char path[4096], cmdline[64] = "", *text = NULL;
    size_t length;
    long pid = 0;
    int fd;

    if (config_path(config, path, sizeof path, "lock") != 0 ||
        hk_read_file(path, LOCK_BYTES_MAX, &text, &length, NULL) != 0)
        return 0;
    pid = strtol(text, NULL, 10);
    free(text);
    if (pid <= 0 || pid > INT32_MAX)
        return 0;
    snprintf(path, sizeof path, "/proc/%ld/cmdline", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    (void)!read(fd, cmdline, sizeof cmdline - 1);
    close(fd);
    return strstr(cmdline, "hikyaku") != NULL ? (int)pid : 0;
}

/* 'R', 'S', 'T' as in proc(5); '?' where it cannot be read. */
static char process_state(int pid)
{
    char path[64], *text = NULL, *at, state = '?';
    size_t length;

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (hk_read_file(path, 4096, &text, &length, NULL) != 0)
        return state;
    at = strrchr(text, ')'); /* its name may hold anything */
    if (at != NULL && at[1] == ' ')
        state = at[2];
    free(text);
    return state;
}

/* Nobody waits longer than he was told, and then he is told for whom. */
static int no_answer(const struct config *config, uint64_t waited_ms, struct hk_why *why)
{
    int pid = holder_pid(config);
    unsigned seconds = (unsigned)((waited_ms + 500) / 1000);

    if (pid == 0)
        return why_set(why, HK_EDOWN, "the node on %s did not answer", config->state_dir);
    if (process_state(pid) == 'T')
        return why_set(
            why, HK_EDOWN,
            "the node on %s (process %d) has not answered for %u s: somebody stopped it; 'kill -CONT "
            "%d' lets it go on",
            config->state_dir, pid, seconds, pid);
    return why_set(
        why, HK_EDOWN,
        "the node on %s (process %d) has not answered for %u s: it hangs, or the machine is too busy; "
        "its log may tell why. 'kill -KILL %d' ends it, and the next start goes on where it was",
        config->state_dir, pid, seconds, pid);
}

/* ---- what the dead left in it ---- */

/* NAME.PID.tmp belongs to that process (hk_write_file), NAME.tmp to whoever has it locked (list/output.h): while it goes, us. */
static bool remove_orphan(int folder, const char *name, size_t length)
{
    const char *pid_at = name + length - strlen(".tmp");
    bool removed;
    long pid;
    int fd;

    while (pid_at > name && pid_at[-1] >= '0' && pid_at[-1] <= '9')
        pid_at--;
    pid = strtol(pid_at, NULL, 10);
    if (pid > 0 && pid <= INT32_MAX && pid_at > name && pid_at[-1] == '.')
        return kill((pid_t)pid, 0) != 0 && errno == ESRCH && unlinkat(folder, name, 0) == 0;
    fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    removed = flock(fd, LOCK_EX | LOCK_NB) == 0 && unlinkat(folder, name, 0) == 0;
    close(fd);
    return removed;
}

static unsigned sweep_folder(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    unsigned removed = 0;
    struct stat st;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        size_t length = strlen(entry->d_name);
        if (length <= strlen(".tmp") || strcmp(entry->d_name + length - strlen(".tmp"), ".tmp") != 0 ||
            fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        removed += remove_orphan(dirfd(folder), entry->d_name, length);
    }
    if (folder != NULL)
        closedir(folder);
    return removed;
}

void node_place_sweep(const struct config *config)
{
    unsigned removed = sweep_folder(config->state_dir);
    const struct dirent *entry;
    char path[4096];
    DIR *campaigns;

    if (config_path(config, path, sizeof path, "tlsrpt") == 0)
        removed += sweep_folder(path);
    campaigns = config_path(config, path, sizeof path, "campaigns") == 0 ? opendir(path) : NULL;
    while (campaigns != NULL && (entry = readdir(campaigns)) != NULL)
        if (campaign_id_is_valid(entry->d_name) &&
            config_path(config, path, sizeof path, "campaigns/%s", entry->d_name) == 0)
            removed += sweep_folder(path);
    if (campaigns != NULL)
        closedir(campaigns);
    if (removed > 0)
        log_info("%s: removed %u unfinished file%s (.tmp) that somebody who died in the middle had left",
                 config->state_dir, removed, removed == 1 ? "" : "s");
}

/* ---- talking to it ---- */

/* A node that hangs has a full queue some day: then it is EAGAIN, and not our waiting. */
static int control_connect(const struct config *config, bool *is_full)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    *is_full = false;
    if (config_path(config, address.sun_path, sizeof address.sun_path, "control.sock") != 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        *is_full = errno == EAGAIN;
        close(fd);
        fd = -1;
    }
    return fd;
}

bool node_is_running(const struct config *config)
{
    bool is_full;
    int fd = control_connect(config, &is_full);

    if (fd >= 0)
        close(fd);
    return fd >= 0 || is_full;
}

static int make_state_dir(const struct config *config, struct hk_why *why)
{
    struct stat st;

    if (mkdir(config->state_dir, 0700) == 0)
        return 0;
    if (errno == EEXIST && stat(config->state_dir, &st) == 0 && !S_ISDIR(st.st_mode))
        return why_set(
            why, HK_EINVAL,
            "%s: state_dir is no directory, and what stands there is left alone; write another one",
            config->state_dir);
    if (errno == EEXIST)
        return 0;
    return why_set(
        why, HK_EIO,
        "%s: cannot make state_dir: %s; make it as root for the user that runs hikyaku, or write another "
        "state_dir",
        config->state_dir, strerror(errno));
}

/* For people who ask who holds it: what counts is the lock. */
static void write_pid(int fd)
{
    char text[LOCK_BYTES_MAX];
    int length = snprintf(text, sizeof text, "%d\n", (int)getpid());

    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) != length)
        log_debug("cannot write the pid into the lock: %s", strerror(errno));
}

static int take_lock(const struct config *config, uint64_t wait_ms, int *out, struct hk_why *why)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    uint64_t until = clock_now_ms() + wait_ms;
    char path[4096];
    int fd;

    if (config_path(config, path, sizeof path, "lock") != 0)
        return why_set(why, HK_ETOOBIG, "%s: state_dir is too long a path", config->state_dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return why_set(why, HK_EIO, "%s: %s", path, strerror(errno));
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            close(fd);
            return why_set(why, HK_EIO, "%s: cannot lock: %s", path, strerror(errno));
        }
        if (clock_now_ms() >= until || process_stop_asked()) {
            int pid = holder_pid(config);
            close(fd);
            if (pid == 0)
                return why_set(why, HK_EBUSY, "%s is in use by another hikyaku", config->state_dir);
            return why_set(why, HK_EBUSY, "%s is in use by another hikyaku, process %d", config->state_dir,
                           pid);
        }
        nanosleep(&pause, NULL);
    }
    write_pid(fd);
    *out = fd;
    return 0;
}

/* One that is adopted was left by somebody who died; one that starts where nothing was left untold is nobody's news. */
static void say_redis(const struct config *config, const struct node_place *place, bool started,
                      uint64_t began_ms)
{
    if (place->redis_pid == 0)
        return;
    if (!started)
        log_info("adopted the embedded Redis that a dead node left running (pid %d)", (int)place->redis_pid);
    else if (node_left_untold(config))
        log_info(
            "started the embedded Redis of a dead node (pid %d): its files of %.1f MB were read, in %.1f s",
            (int)place->redis_pid, (double)redis_server_bytes(config) / 1e6,
            (double)(clock_now_ms() - began_ms) / 1000.0);
}

int node_enter(const struct config *config, uint64_t wait_ms, struct node_place *out, struct hk_why *why)
{
    int rc = make_state_dir(config, why);
    bool started; /* or adopted: it is ours to end either way */
    uint64_t began_ms;

    memset(out, 0, sizeof *out);
    out->lock_fd = -1;
    if (rc == 0)
        rc = machine_room(config, why);
    if (rc == 0)
        rc = take_lock(config, wait_ms, &out->lock_fd, why);
    if (rc == 0)
        rc = identity_open(config, out, why);
    began_ms = clock_now_ms();
    if (rc == 0)
        rc = redis_server_ensure(config, &out->redis_pid, &started, why);
    if (rc == 0)
        say_redis(config, out, started, began_ms);
    if (rc == 0)
        rc = redis_check(config, false, why);
    if (rc != 0 && out->lock_fd >= 0) {
        close(out->lock_fd);
        out->lock_fd = -1;
    }
    return rc;
}

bool node_place_is_gone(const struct config *config, const struct node_place *place)
{
    struct stat ours, named;
    char path[4096];

    if (fstat(place->lock_fd, &ours) != 0 || ours.st_nlink == 0)
        return true;
    if (config_path(config, path, sizeof path, "lock") != 0)
        return false;
    if (stat(path, &named) != 0)
        return errno == ENOENT;
    return named.st_ino != ours.st_ino || named.st_dev != ours.st_dev;
}

void node_leave(const struct config *config, struct node_place *place)
{
    /* Where state_dir was removed or moved, what answers on its socket now belongs to another node. */
    if (place->redis_pid != 0 && place->lock_fd >= 0 && node_place_is_gone(config, place)) {
        kill(place->redis_pid, SIGKILL);
        place->redis_pid = 0;
    }
    /* An adopted server was left by a node that died: nobody else ends it. */
    if (place->redis_pid != 0)
        redis_server_stop(config, place->redis_pid);
    if (place->lock_fd >= 0)
        close(place->lock_fd);
    place->lock_fd = -1;
}

/* Read one line of at most REPLY_BYTES_MAX within the time. */
static int read_line(const struct config *config, int fd, uint64_t began, uint64_t until, char **out,
                     struct hk_why *why)
{
    size_t used = 0, room = 4096;
    char *text = malloc(room);
    bool closed = false;

    while (text != NULL && used < REPLY_BYTES_MAX) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint64_t now = clock_now_ms();
        ssize_t n;
        if (now >= until || poll(&p, 1, (int)(until - now)) <= 0)
            break;
        n = read(fd, text + used, room - used - 1);
        closed = n <= 0;
        if (closed)
            break;
        used += (size_t)n;
        text[used] = '\0';
        if (text[used - 1] == '\n') {
            text[used - 1] = '\0';
            *out = text;
            return 0;
        }
        if (room - used < 2) {
            char *larger = realloc(text, room *= 2);
            if (larger == NULL)
                break;
            text = larger;
        }
    }
    free(text);
    if (closed)
        return why_set(why, HK_EDOWN, "the node on %s ended before it answered", config->state_dir);
    return no_answer(config, clock_now_ms() - began, why);
}

/* The request, as the socket takes it, within the time. */
static bool write_line(int fd, const char *request, uint64_t until)
{
    char *line = hk_xasprintf("%s\n", request);
    size_t length = strlen(line), written = 0;

    while (written < length) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        uint64_t now = clock_now_ms();
        ssize_t n;
        if (now >= until || poll(&p, 1, (int)(until - now)) <= 0)
            break;
        n = send(fd, line + written, length - written, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        written += (size_t)n;
    }
    free(line);
    return written == length;
}

int node_ask(const struct config *config, const char *request, uint64_t timeout_ms, char **reply,
             struct hk_why *why)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    uint64_t began = clock_now_ms(), until = began + timeout_ms;
    bool is_full;
    int rc, fd = control_connect(config, &is_full);

    while (fd < 0 && is_full && clock_now_ms() < until) {
        nanosleep(&pause, NULL);
        fd = control_connect(config, &is_full);
    }
    if (fd < 0 && is_full)
        return no_answer(config, clock_now_ms() - began, why);
    if (fd < 0)
        return why_set(why, HK_EDOWN, "no node runs on %s", config->state_dir);
    if (!write_line(fd, request, until))
        rc = no_answer(config, clock_now_ms() - began, why);
    else
        rc = read_line(config, fd, began, until, reply, why);
    close(fd);
    return rc;
}
