/* process.h - how the master starts processes it does not include: cli/ hands it their main functions. */
#ifndef HIKYAKU_PROCESS_H
#define HIKYAKU_PROCESS_H

#include "hikyaku/base.h"
#include "hikyaku/config.h"
#include "hikyaku/region.h"

struct worker_args {
    const struct config *config;
    const struct region *region;
    uint32_t number;
    int wake_fd;        /* eventfd: the master woke us */
    int master_wake_fd; /* eventfd: wake the master */
    int lock_fd;        /* state_dir/workers.lock, held shared (flock) until this process ends */
};

/* A front is a process of `serve` that faces the network: strangers' bytes are read there and nowhere else. The master binds its
 * sockets and keeps them, so a front needs no privilege, and what connects while it is started again waits. What it
 * wants done it asks for over `master_fd`, as a command does over the control socket: one JSON object a line each way. */
#define NODE_REQUEST_MAX 32768u /* bytes of a request line to a running node (node.h) */
#define FRONT_LISTEN_MAX 8u
struct front_args {
    const struct config *config;
    int master_fd; /* non-blocking stream. Its end means: the node stops, answer nobody any more, and end */
    int listen_fd[FRONT_LISTEN_MAX]; /* listening, non-blocking, in the order in which listens() named them */
    size_t listen_count;
};

struct front_kind {
    const char *name; /* in ps, in the log, in the pids of `status` */
    /* Where it listens, at most FRONT_LISTEN_MAX; 0: it is not configured, and does not run. */
    size_t (*listens)(const struct config *config, const struct cfg_address *out[FRONT_LISTEN_MAX]);
    int (*main)(const struct front_args *args);
    const char *const
        *requests; /* the commands that it may ask for, NULL behind the last; others are refused */
};

struct process_table {
    /* Each runs in the child after the fork and returns its exit status. */
    int (*worker)(const struct worker_args *args);
    int (*resolver)(const struct config *config, int fd);
    const struct front_kind *front; /* of `serve` alone */
    size_t fronts;
};

/* Give up, for the rest of this process's life, whatever a front does not need: capabilities, new privileges, core files, other
 * processes, and every system call but those of sockets and files that are open. After everything it reads from the disk has been
 * read. HK_EDOWN. */
int process_confine(struct hk_why *why) HK_MUST_USE;
/* The same for a process that makes connections by libcurl: it may connect over IP (not to sockets of this machine's files, which
 * Redis and the node have), have threads, and read the files that are named, those of them that are there now; another that later
 * takes such a name it may not read. By Landlock; on a kernel without it opens no file at all. HK_EDOWN. */
int process_confine_client(const char *const *readable, size_t count, struct hk_why *why) HK_MUST_USE;

/* The worker process's whole life (worker/). */
int worker_main(const struct worker_args *args);

#endif
