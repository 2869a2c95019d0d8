/* place.c - the place of the node on a state_dir: its lock, its Redis; and how others find it. */
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

static int control_connect(const struct config *config)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (config_path(config, address.sun_path, sizeof address.sun_path, "control.sock") != 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool node_is_running(const struct config *config)
{
    int fd = control_connect(config);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int make_state_dir(const struct config *config, struct hk_why *why)
{
    if (mkdir(config->state_dir, 0700) == 0 || errno == EEXIST)
        return 0;
    return why_set(
        why, HK_EIO,
        "%s: cannot make state_dir: %s; make it as root for the user that runs hikyaku, or write another "
        "state_dir",
        config->state_dir, strerror(errno));
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
            close(fd);
            return why_set(why, HK_EBUSY, "%s is in use by another hikyaku", config->state_dir);
        }
        nanosleep(&pause, NULL);
    }
    *out = fd;
    return 0;
}

int node_enter(const struct config *config, uint64_t wait_ms, struct node_place *out, struct hk_why *why)
{
    int rc = make_state_dir(config, why);

    memset(out, 0, sizeof *out);
    out->lock_fd = -1;
    if (rc == 0)
        rc = machine_room(config, why);
    if (rc == 0)
        rc = take_lock(config, wait_ms, &out->lock_fd, why);
    if (rc == 0)
        rc = identity_open(config, out, why);
    if (rc == 0)
        rc = redis_server_ensure(config, &out->redis_pid, &out->redis_started, why);
    if (rc == 0)
        rc = redis_check(config, false, why);
    if (rc != 0 && out->lock_fd >= 0) {
        close(out->lock_fd);
        out->lock_fd = -1;
    }
    return rc;
}

bool node_place_is_gone(const struct node_place *place)
{
    struct stat st;

    return fstat(place->lock_fd, &st) != 0 || st.st_nlink == 0;
}

void node_leave(const struct config *config, struct node_place *place)
{
    /* Where state_dir was removed, what answers on its socket now belongs to another node. */
    if (place->redis_pid != 0 && place->lock_fd >= 0 && node_place_is_gone(place)) {
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
static int read_line(int fd, uint64_t until, char **out, struct hk_why *why)
{
    size_t used = 0, room = 4096;
    char *text = malloc(room);

    while (text != NULL && used < REPLY_BYTES_MAX) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint64_t now = clock_now_ms();
        ssize_t n;
        if (now >= until || poll(&p, 1, (int)(until - now)) <= 0)
            break;
        n = read(fd, text + used, room - used - 1);
        if (n <= 0)
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
    return why_set(why, HK_EDOWN, "the node did not answer");
}

int node_ask(const struct config *config, const char *request, uint64_t timeout_ms, char **reply,
             struct hk_why *why)
{
    uint64_t until = clock_now_ms() + timeout_ms;
    int fd = control_connect(config);
    int rc;

    if (fd < 0)
        return why_set(why, HK_EDOWN, "no node runs on %s", config->state_dir);
    if (hk_write_all(fd, request, strlen(request)) != 0 || hk_write_all(fd, "\n", 1) != 0)
        rc = why_set(why, HK_EDOWN, "the node does not listen: %s", strerror(errno));
    else
        rc = read_line(fd, until, reply, why);
    close(fd);
    return rc;
}
