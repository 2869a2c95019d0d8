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

/* The worker process's whole life (worker/). */
int worker_main(const struct worker_args *args);

#endif
