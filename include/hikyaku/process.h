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

struct process_table {
    /* Each runs in the child after the fork and returns its exit status. */
    int (*worker)(const struct worker_args *args);
    int (*resolver)(const struct config *config, int fd);
};

/* What a child does first (base/process.c): own session (setsid), die with the master (PR_SET_PDEATHSIG with
 * `signal` and a check of the parent), default signal handlers, its name in /proc/PID/cmdline ("hikyaku:
 * worker 0"), every descriptor above 2 closed but those in keep[]. */
void process_child_setup(const char *title, int parent_pid, int signal, const int *keep, size_t keep_count);
/* Remember where the program's arguments lie, so that a title can be written over them. Call first in main().
 */
void process_title_init(int argc, char **argv);
void process_title_set(const char *title);

/* The worker process's whole life (worker/). */
int worker_main(const struct worker_args *args);

#endif
