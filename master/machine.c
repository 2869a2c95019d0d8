/* machine.c - what the machine has to give a node, seen before the first message: source addresses, room on the disk.
 *
 * HK_EDOWN or HK_EFULL with what to do; nothing is left open.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "master.h"

#define FREE_BYTES_MIN (4ull * 1024 * 1024)
/* While it runs: what is under way has to find room for its outcomes (4 kB each in the log, less in Redis), and an embedded
 * Redis for writing its file anew. Below, sending pauses; a little more than that, and it goes on. */
#define FLOOR_BYTES       (8ull * 1024 * 1024)
#define FLOOR_SLACK_BYTES (2ull * 1024 * 1024)
#define MEGABYTE          1048576.0

static int source_check(const struct cfg_source *source, struct hk_why *why)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    bool is_v4 = inet_pton(AF_INET, source->address, &v4.sin_addr) == 1;
    int fd, rc = 0;

    if (!is_v4 && inet_pton(AF_INET6, source->address, &v6.sin6_addr) != 1)
        return why_set(why, HK_EINVAL, "source \"%s\": %s is no IP address", source->name, source->address);
    fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 ||
        bind(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, is_v4 ? sizeof v4 : sizeof v6) != 0)
        rc = why_set(
            why, HK_EDOWN, "source \"%s\": its address %s cannot be used: %s%s", source->name,
            source->address, strerror(errno),
            errno == EADDRNOTAVAIL
                ? "; this machine does not have it (`ip address` lists what it has): write that as its "
                  "address, and a public one behind NAT as public_address"
                : "");
    if (fd >= 0)
        close(fd);
    return rc;
}

int machine_sources(const struct config *config, struct hk_why *why)
{
    for (size_t i = 0; i < config->source_count; i++)
        if (config->source[i].address != NULL) {
            int rc = source_check(&config->source[i], why);
            if (rc != 0)
                return rc;
        }
    return 0;
}

/* The directory where the file system of this file or directory is mounted: the highest that lies on the same device. */
static void mount_of(const char *path, char out[PATH_MAX])
{
    char at[PATH_MAX];
    struct stat here, above;

    if (realpath(path, at) == NULL || stat(at, &here) != 0) {
        snprintf(out, PATH_MAX, "%s", path);
        return;
    }
    snprintf(out, PATH_MAX, "%s", at);
    while (at[1] != '\0') {
        char *slash = strrchr(at, '/');
        slash[slash == at] = '\0';
        if (stat(at, &above) != 0 || above.st_dev != here.st_dev)
            return;
        snprintf(out, PATH_MAX, "%s", at);
    }
}

int machine_room(const struct config *config, struct hk_why *why)
{
    char mount[PATH_MAX];
    struct statvfs disk;
    unsigned long long room;

    if (access(config->state_dir, R_OK | W_OK | X_OK) != 0)
        return why_set(
            why, HK_EDOWN,
            "%s: state_dir cannot be written: %s; let the user that runs hikyaku own it (chown), or write "
            "another state_dir",
            config->state_dir, strerror(errno));
    if (statvfs(config->state_dir, &disk) != 0)
        return why_set(why, HK_EDOWN, "%s: %s", config->state_dir, strerror(errno));
    if ((disk.f_flag & ST_RDONLY) != 0)
        return why_set(why, HK_EDOWN,
                       "%s: state_dir lies on a disk that is mounted read-only; write another state_dir",
                       config->state_dir);
    room = (unsigned long long)disk.f_bavail * disk.f_frsize;
    mount_of(config->state_dir, mount);
    if (room < FREE_BYTES_MIN)
        return why_set(why, HK_EFULL,
                       "%s: the disk is full: the file system %.150s has %llu kB free, and %llu kB are the "
                       "least; make room, or "
                       "write another state_dir",
                       config->state_dir, mount, room / 1024, FREE_BYTES_MIN / 1024);
    return 0;
}

/* Free bytes where this file or directory lies; as many as there can be where nobody can tell. */
static unsigned long long room_at(const char *path)
{
    struct statvfs disk;

    return statvfs(path, &disk) == 0 ? (unsigned long long)disk.f_bavail * disk.f_frsize : ~0ull;
}

static void say_starved(const char *place, unsigned long long room, unsigned long long floor)
{
    char mount[PATH_MAX], redis[80] = "";

    mount_of(place, mount);
    if (floor > FLOOR_BYTES + FLOOR_BYTES / 8)
        snprintf(redis, sizeof redis, ", the rest for Redis to write its file anew");
    log_warning("%s: the disk is nearly full: the file system %s has %.1f MB free and needs %.1f (%.0f for "
                "what is under "
                "way%s): sending pauses until there is room, and goes on by itself",
                place, mount, (double)room / MEGABYTE, (double)floor / MEGABYTE, FLOOR_BYTES / MEGABYTE,
                redis);
}

void machine_watch_room(struct node *node)
{
    const struct config *config = node->config;
    const char *place[] = {config->state_dir, config->events.file};
    unsigned long long floor[] = {FLOOR_BYTES + redis_server_bytes(config), FLOOR_BYTES};
    bool starved = false;

    for (size_t i = 0; i < sizeof place / sizeof place[0]; i++) {
        unsigned long long room = room_at(place[i]);
        if (room >= floor[i] + (node->starved ? FLOOR_SLACK_BYTES : 0))
            continue;
        if (!node->starved && !starved)
            say_starved(place[i], room, floor[i]);
        starved = true;
    }
    if (node->starved && !starved)
        log_info("there is room on the disk again: sending goes on");
    node->starved = starved;
}
