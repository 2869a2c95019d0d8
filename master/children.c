/* children.c - the processes of a node: fork them, read what they say, settle and replace those that die.
 *
 * A worker that dies takes nothing with it: its ring up is read to the end, then its flight slots tell the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "front.h"
#include "hikyaku/fault.h"
#include "hikyaku/message.h"
#include "master.h"

#define RESPAWN_PAUSE_S 1.0 /* for a process that lived less than this */
#define STOP_WAIT_MS    5000u

/* Held by the worker alone once the parent has closed its copy: proof of its end for whoever takes the lock. */
static int open_workers_lock(const struct node *node)
{
    char path[4096];
    int fd;

    if (config_path(node->config, path, sizeof path, "workers.lock") != 0)
        return -1;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void run_worker(const struct worker *worker, int lock_fd, int parent)
{
    const struct node *node = worker->node;
    const int keep[] = {worker->wake_fd, worker->up_fd, node->region.fd, lock_fd};
    struct worker_args args = {.config = node->config,
                               .region = &node->region,
                               .number = worker->number,
                               .wake_fd = worker->wake_fd,
                               .master_wake_fd = worker->up_fd,
                               .lock_fd = lock_fd};
    char title[32];

    snprintf(title, sizeof title, "hikyaku: worker %u", worker->number);
    process_child_setup(title, parent, SIGUSR1, keep, sizeof keep / sizeof keep[0]);
    log_setup(log_threshold, title + strlen("hikyaku: "));
    _exit(node->options->processes->worker(&args));
}

static int start_worker(struct worker *worker, struct hk_why *why)
{
    struct node *node = worker->node;
    int parent = (int)getpid(), lock_fd = open_workers_lock(node);
    pid_t pid;

    if (lock_fd < 0)
        return why_set(why, HK_EIO, "cannot lock %s/workers.lock: %s", node->config->state_dir,
                       strerror(errno));
    ring_init(region_down(&node->region, worker->number), node->region.header->sizes.ring_slots);
    ring_init(region_up(&node->region, worker->number), node->region.header->sizes.ring_slots);
    worker_begins(worker);
    pid = fault_fails(FORK_WORKER_BEFORE) ? -1 : fork();
    if (pid == 0)
        run_worker(worker, lock_fd, parent);
    fault_at(FORK_WORKER_AFTER);
    close(lock_fd);
    if (pid < 0)
        return why_set(why, HK_EIO, "cannot start a worker: %s", strerror(errno));
    worker->pid = pid;
    worker->forked_ms = clock_now_ms();
    return 0;
}

static void on_respawn(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct worker *worker = timer->data;
    struct hk_why why;

    (void)loop;
    (void)events;
    if (worker->node->stopping || worker->pid != 0)
        return;
    if (start_worker(worker, &why) == 0) {
        log_info("worker %u runs again (pid %d)", worker->number, (int)worker->pid);
        return;
    }
    log_error("%s; tried again in %.0f s", why.text, RESPAWN_PAUSE_S);
    ev_timer_set(timer, RESPAWN_PAUSE_S, 0.0);
    ev_timer_start(worker->node->loop, timer);
}

static void on_worker_ring(struct ev_loop *loop, ev_io *io, int events)
{
    struct worker *worker = io->data;
    uint64_t count;

    (void)loop;
    (void)events;
    if (read(worker->up_fd, &count, sizeof count) < 0 && errno != EAGAIN &&
        errno != EINTR) /* one takes all */
        log_error("cannot read the wake-up of worker %u: %s", worker->number, strerror(errno));
    worker_read(worker);
}

void worker_read(struct worker *worker)
{
    struct ring *up = region_up(&worker->node->region, worker->number);
    const struct desc *peeked;

    while ((peeked = ring_peek(up)) != NULL) {
        struct desc desc = *peeked;
        ring_next(up);
        switch (desc.kind) {
        case DESC_OPENED:
            conn_opened(worker, desc.conn);
            break;
        case DESC_CLOSED:
            conn_closed(worker, desc.conn);
            break;
        case DESC_COMMIT:
            flight_commit(worker, desc.slot);
            break;
        case DESC_DONE:
            flight_done(worker, desc.slot);
            break;
        default:
            HK_BUG_ON(true);
        }
    }
}

void worker_tell(struct worker *worker, const struct desc *desc)
{
    /* The ring has room for every permission that can be given (region_sizes_for). */
    HK_BUG_ON(!ring_push(region_down(&worker->node->region, worker->number), desc));
    worker->touched = true;
}

void workers_wake(struct node *node)
{
    const uint64_t one = 1;

    for (uint32_t i = 0; i < node->workers; i++) {
        struct worker *worker = &node->worker[i];
        if (!worker->touched)
            continue;
        worker->touched = false;
        /* EAGAIN means that the counter is full: it is awake in any case. */
        if (ring_wants_wake(region_down(&node->region, i)) && write(worker->wake_fd, &one, sizeof one) < 0 &&
            errno != EAGAIN)
            log_warning("cannot wake worker %u: %s", i, strerror(errno));
    }
}

static int prepare_worker(struct node *node, uint32_t number, struct hk_why *why)
{
    const struct region_sizes *sizes = &node->region.header->sizes;
    struct worker *worker = &node->worker[number];

    worker->node = node;
    worker->number = number;
    worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    worker->up_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (worker->wake_fd < 0 || worker->up_fd < 0)
        return why_set(why, HK_EIO, "cannot make an eventfd: %s", strerror(errno));
    worker->conn = hk_xcalloc(sizes->conn_slots, sizeof *worker->conn);
    worker->free_conn = hk_xcalloc(sizes->conn_slots, sizeof *worker->free_conn);
    worker->hold = hk_xcalloc(sizes->flight_slots, sizeof *worker->hold);
    worker->free_slot = hk_xcalloc(sizes->flight_slots, sizeof *worker->free_slot);
    /* Stacks: what was used last is used next, so that few pages are touched. */
    for (uint32_t i = sizes->conn_slots; i-- > 0;) {
        worker->conn[i].id = i;
        worker->conn[i].worker = (uint16_t)number;
        worker->free_conn[worker->free_conns++] = i;
    }
    for (uint32_t i = sizes->flight_slots; i-- > 0;)
        worker->free_slot[worker->free_slots++] = i;
    ev_io_init(&worker->up_io, on_worker_ring, worker->up_fd, EV_READ);
    worker->up_io.data = worker;
    ev_io_start(node->loop, &worker->up_io);
    ev_timer_init(&worker->respawn, on_respawn, RESPAWN_PAUSE_S, 0.0);
    worker->respawn.data = worker;
    return start_worker(worker, why);
}

static bool answers_take(struct node *node, const uint8_t *packet, size_t length)
{
    struct resolve_answer answer;
    size_t took;

    for (; length > 0; packet += took, length -= took) {
        took = resolve_unpack_answer(packet, length, &answer);
        if (took == 0)
            return false;
        domain_answer(node, &answer);
    }
    return true;
}

static void on_resolver(struct ev_loop *loop, ev_io *io, int events)
{
    struct node *node = io->data;
    uint8_t packet[RESOLVE_PACKET_MAX];
    ssize_t n;

    (void)events;
    while ((n = recv(node->resolver_fd, packet, sizeof packet, 0)) > 0) {
        if (answers_take(node, packet, (size_t)n))
            continue;
        log_error("the resolver says what cannot be read, and is started anew");
        (void)kill(node->resolver_pid, SIGKILL);
        break;
    }
    if (n >= 0 || (errno != EAGAIN && errno != EINTR))
        ev_io_stop(loop, io); /* it has ended, or will: SIGCHLD tells the rest */
}

void child_forget(struct node *node)
{
    region_close(&node->region); /* this process's copy of the mapping */
    signer_free(node->tokens);   /* wiped by it; who needs tokens reads the secret itself */
    node->tokens = NULL;
}

static int start_resolver(struct node *node, struct hk_why *why)
{
    int parent = (int)getpid(), pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return why_set(why, HK_EIO, "cannot make a socket pair: %s", strerror(errno));
    node->resolver_pid = fork();
    if (node->resolver_pid == 0) {
        child_forget(node);
        process_child_setup("hikyaku: resolver", parent, SIGTERM, &pair[1], 1);
        log_setup(log_threshold, "resolver");
        _exit(node->options->processes->resolver(node->config, pair[1]));
    }
    close(pair[1]);
    if (node->resolver_pid < 0) {
        close(pair[0]);
        node->resolver_pid = 0;
        return why_set(why, HK_EIO, "cannot start the resolver: %s", strerror(errno));
    }
    node->resolver_fd = pair[0];
    ev_io_init(&node->resolver_io, on_resolver, pair[0], EV_READ);
    node->resolver_io.data = node;
    ev_io_start(node->loop, &node->resolver_io);
    return 0;
}

static void on_resolver_respawn(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct node *node = timer->data;
    struct hk_why why;

    (void)loop;
    (void)events;
    if (node->stopping || node->resolver_pid != 0)
        return;
    if (start_resolver(node, &why) != 0) {
        log_error("%s; tried again in %.0f s", why.text, RESPAWN_PAUSE_S);
        ev_timer_set(timer, RESPAWN_PAUSE_S, 0.0);
        ev_timer_start(node->loop, timer);
        return;
    }
    domains_ask(node);
}

int children_start(struct node *node, struct hk_why *why)
{
    int rc;

    ev_timer_init(&node->resolver_respawn, on_resolver_respawn, RESPAWN_PAUSE_S, 0.0);
    node->resolver_respawn.data = node;
    node->resolver_fd = -1;
    rc = start_resolver(node, why);
    node->workers = node->region.header->sizes.workers;
    node->worker = hk_xcalloc(node->workers, sizeof *node->worker);
    for (uint32_t i = 0; i < node->workers; i++) /* children_stop() closes those that were not reached, too */
        node->worker[i].wake_fd = node->worker[i].up_fd = -1;
    for (uint32_t i = 0; rc == 0 && i < node->workers; i++)
        rc = prepare_worker(node, i, why);
    return rc;
}

const char *child_how_it_ended(int status, char *text, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(text, size, "was killed by signal %d", WTERMSIG(status));
    else
        snprintf(text, size, "ended with status %d", WEXITSTATUS(status));
    return text;
}

static void worker_died(struct worker *worker, int status)
{
    struct node *node = worker->node;
    const struct region_sizes *sizes = &node->region.header->sizes;
    uint32_t settled = 0;
    char how[48];
    bool young = clock_now_ms() - worker->forked_ms < (uint64_t)(RESPAWN_PAUSE_S * 1000);

    worker->pid = 0;
    worker_read(worker);
    for (uint32_t i = 0; i < sizes->flight_slots; i++)
        if (worker->hold[i].used && !worker->hold[i].done) {
            flight_orphan(worker, i);
            settled++;
        }
    for (uint32_t i = 0; i < sizes->conn_slots; i++)
        if (worker->conn[i].state != CONN_FREE)
            conn_drop(&worker->conn[i]);
    if (node->stopping)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE) {
        node_give_up(node, EXIT_USAGE);
        return;
    }
    if (worker->ended_by_us)
        log_info("worker %u was not waited for any longer; settled %u messages it had under way",
                 worker->number, settled);
    else
        log_warning("worker %u %s; settled %u messages it had under way", worker->number,
                    child_how_it_ended(status, how, sizeof how), settled);
    if (node->draining)
        return;
    ev_timer_set(&worker->respawn, young ? RESPAWN_PAUSE_S : 0.0, 0.0);
    ev_timer_start(node->loop, &worker->respawn);
}

static void resolver_died(struct node *node, int status)
{
    char how[48];

    ev_io_stop(node->loop, &node->resolver_io);
    close(node->resolver_fd);
    node->resolver_fd = -1;
    node->resolver_pid = 0;
    domains_forget_asked(node);
    if (node->stopping)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE) {
        node_give_up(node, EXIT_USAGE);
        return;
    }
    log_warning("the resolver %s; it is started again", child_how_it_ended(status, how, sizeof how));
    ev_timer_set(&node->resolver_respawn, RESPAWN_PAUSE_S, 0.0);
    ev_timer_start(node->loop, &node->resolver_respawn);
}

void children_reaped(struct node *node)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == node->resolver_pid)
            resolver_died(node, status);
        for (uint32_t i = 0; i < node->workers; i++)
            if (pid == node->worker[i].pid)
                worker_died(&node->worker[i], status);
        fronts_reaped(node, pid, status);
    }
}

void children_kill_workers(struct node *node)
{
    for (uint32_t i = 0; i < node->workers; i++)
        if (node->worker[i].pid != 0) {
            node->worker[i].ended_by_us = true;
            kill(node->worker[i].pid, SIGKILL);
        }
}

static bool children_left(const struct node *node)
{
    for (uint32_t i = 0; i < node->workers; i++)
        if (node->worker[i].pid != 0)
            return true;
    return node->resolver_pid != 0 || fronts_run(node);
}

void children_stop(struct node *node)
{
    const struct desc leave = {.kind = DESC_EXIT};
    const struct timespec pause = {.tv_nsec = 5000000};
    uint64_t until = clock_now_ms() + STOP_WAIT_MS;

    node->stopping = true;
    for (uint32_t i = 0; i < node->workers; i++)
        if (node->worker[i].pid != 0)
            worker_tell(&node->worker[i], &leave);
    workers_wake(node);
    if (node->resolver_fd >= 0)
        shutdown(node->resolver_fd, SHUT_RDWR);
    fronts_leave(node);
    while (children_left(node)) {
        children_reaped(node);
        nanosleep(&pause, NULL);
        if (clock_now_ms() < until)
            continue;
        children_kill_workers(node);
        fronts_kill(node);
        if (node->resolver_pid != 0)
            kill(node->resolver_pid, SIGKILL);
    }
    for (uint32_t i = 0; i < node->workers; i++) {
        struct worker *worker = &node->worker[i];
        ev_io_stop(node->loop, &worker->up_io);
        ev_timer_stop(node->loop, &worker->respawn);
        close(worker->wake_fd);
        close(worker->up_fd);
        free(worker->conn);
        free(worker->free_conn);
        free(worker->hold);
        free(worker->free_slot);
    }
    ev_timer_stop(node->loop, &node->resolver_respawn);
    free(node->worker);
    node->worker = NULL;
    node->workers = 0;
}
