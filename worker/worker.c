/* worker.c - a worker process: its rings, its turns, its end (design 3, 4).
 *
 * One turn of the loop: look at the sockets; take what the master pushed down; make copies for a millisecond; bury sessions
 * that ended; wake the master if anything was pushed up; rest for a moment where replies only trickle. Pushing up never
 * fails: the ring has room for every permission given (region_sizes_for), so a full one is a broken promise and stops
 * the process; the flight table tells the master what it held. The same holds for slots out of range.
 *
 * When the master dies (SIGUSR1 from PR_SET_PDEATHSIG, or another parent) no new dot leaves; what is under way
 * finishes into the slots, and after node.orphan the rest stays as it is.
 */
#include "worker.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define WORKER_PARENT_CHECK_S 0.5

enum { WORKER_ENDED = 0, WORKER_NO_MEMORY = 1, WORKER_BAD_CONFIG = 2 };

void worker_push(struct worker *w, const struct desc *desc)
{
    HK_BUG_ON(!ring_push(w->up, desc));
    w->pushed = true;
}

static void worker_wake_master(struct worker *w)
{
    const uint64_t one = 1;
    if (!w->pushed)
        return;
    w->pushed = false;
    w->unheard = !ring_wants_wake(w->up);
    if (!w->unheard && write(w->master_wake_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        log_error("cannot wake the master: %s", strerror(errno));
}

struct wire *worker_wire(struct worker *w)
{
    struct wire *wire = w->wires;
    if (wire != NULL) {
        w->wires = wire->next;
        w->wires_kept--;
    } else {
        wire = hk_xcalloc(1, sizeof *wire);
    }
    reply_reader_init(&wire->reader);
    return wire;
}

void worker_wire_back(struct worker *w, struct wire *wire)
{
    if (w->wires_kept + 1 > WORKER_POOL_MAX) {
        free(wire);
        return;
    }
    wire->next = w->wires;
    w->wires = wire;
    w->wires_kept++;
}

void worker_want_copy(struct worker *w, struct session *s)
{
    if (s->wants_copy)
        return;
    s->wants_copy = true;
    s->copy_next = NULL;
    if (w->copy_tail != NULL)
        w->copy_tail->copy_next = s;
    else
        w->copy_head = s;
    w->copy_tail = s;
}

struct conn_info *worker_conn_info(const struct worker *w, const struct session *s)
{
    return region_conn(w->region, w->number, s->conn);
}

/* Descriptors. */

static void worker_each_session(struct worker *w, void (*act)(struct session *s))
{
    for (uint32_t i = 0; i < w->region->header->sizes.conn_slots; i++)
        act(&w->session[i]);
}

static struct session *desc_session(const struct worker *w, const struct desc *desc)
{
    HK_BUG_ON(desc->conn >= w->region->header->sizes.conn_slots);
    return &w->session[desc->conn];
}

/* An answer to a commit. It may come late, when the message has found its outcome without it: then the slot is
 * unused, or used for another recipient. */
static void worker_answer(struct worker *w, const struct desc *desc)
{
    HK_BUG_ON(desc->slot >= w->region->header->sizes.flight_slots);
    struct letter *letter = &w->letter[desc->slot];
    if (!letter->used || !letter->asked)
        return;
    struct session *s = &w->session[letter->conn];
    if (desc->kind == DESC_DENY) {
        conn_deny(s, letter);
        return;
    }
    conn_grant(s, letter);
}

static void worker_obey(struct worker *w, const struct desc *desc)
{
    switch ((enum desc_kind)desc->kind) {
    case DESC_OPEN:
        conn_open(desc_session(w, desc), desc);
        return;
    case DESC_CLOSE:
        conn_close(desc_session(w, desc));
        return;
    case DESC_GRANT:
    case DESC_DENY:
        worker_answer(w, desc);
        return;
    case DESC_DRAIN:
        w->draining = true;
        worker_each_session(w, conn_drain);
        return;
    case DESC_EXIT:
        w->draining = w->exiting = true;
        worker_each_session(w, conn_exit);
        return;
    default:
        hk_bug(__FILE__, __LINE__, "a descriptor that no master sends");
    }
}

static void worker_bury(struct worker *w)
{
    while (w->over != NULL) {
        struct session *s = w->over;
        w->over = s->over_next;
        conn_bury(s);
    }
}

static void worker_take_ring(struct worker *w)
{
    const struct desc *desc;
    while (!w->orphaned && (desc = ring_peek(w->down)) != NULL) {
        if (desc->kind == DESC_SEND) {
            letter_take(w, desc); /* moves the ring's tail itself, once the flight slot holds it */
            continue;
        }
        if (desc->kind == DESC_OPEN)
            worker_bury(w); /* so that a slot whose closing was just told is free */
        struct desc copy = *desc;
        ring_next(w->down);
        worker_obey(w, &copy);
    }
}

static void worker_make_copies(struct worker *w)
{
    uint64_t until_us = w->copy_head != NULL ? clock_now_us() + WORKER_COPIES_US : 0;
    while (w->copy_head != NULL) {
        struct session *s = w->copy_head;
        w->copy_head = s->copy_next;
        if (w->copy_head == NULL)
            w->copy_tail = NULL;
        s->wants_copy = false;
        conn_make_copies(s);
        if (clock_now_us() >= until_us)
            break;
    }
}

/* The master's death. */

static void worker_orphaned(struct worker *w)
{
    if (w->orphaned)
        return;
    w->orphaned = w->draining = true;
    w->orphan_deadline_ms = w->now_ms + w->config->node.orphan_ms;
    if (w->number == 0)
        log_warning("the master is gone: finishing what is under way");
    worker_each_session(w, conn_stop);
}

static void on_parent_check(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct worker *w = timer->data;
    (void)loop;
    (void)events;
    if (getppid() != w->region->header->master_pid)
        worker_orphaned(w);
    process_memory_settle();
}

static void on_orphan_signal(struct ev_loop *loop, ev_signal *signal, int events)
{
    (void)loop;
    (void)events;
    worker_orphaned(signal->data);
}

static bool worker_is_done(const struct worker *w)
{
    if (w->exiting || w->orphaned)
        return w->open_sessions == 0 || (w->orphaned && w->now_ms >= w->orphan_deadline_ms);
    return false;
}

/* Turns. */

/* Replies trickle in, on a core that has nothing else to do: each would be a turn of its own. The master does not want to know yet
 * (it waits for the ledger, or looks by itself), so those of the next moment are read at once, unless it tells us something. */
static void worker_rest(struct worker *w)
{
    const struct timespec rest = {.tv_nsec = WORKER_REST_NS};
    struct pollfd wake = {.fd = w->wake_fd, .events = POLLIN};
    (void)ppoll(&wake, 1, &rest, NULL);
}

static void on_prepare(struct ev_loop *loop, ev_prepare *prepare, int events)
{
    struct worker *w = prepare->data;
    (void)events;
    worker_take_ring(w);
    worker_wake_master(w); /* commits do not wait for signatures */
    worker_make_copies(w);
    worker_bury(w);
    worker_wake_master(w);
    counter_add(w->counters, loop_turns, 1);
    if (worker_is_done(w)) {
        ev_break(loop, EVBREAK_ALL);
        ev_idle_start(loop, &w->idle);
    } else if (w->copy_head != NULL || (!ring_sleep(w->down) && !w->orphaned)) {
        ev_idle_start(loop, &w->idle);
    } else {
        ev_idle_stop(loop, &w->idle);
        atomic_store_explicit(&w->counters->resting_since_us, clock_now_us(), memory_order_relaxed);
        if (w->unheard && w->events <= WORKER_TRICKLE)
            worker_rest(w);
    }
}

static void on_check(struct ev_loop *loop, ev_check *check, int events)
{
    struct worker *w = check->data;
    uint64_t now_us = clock_now_us();
    uint64_t since_us = atomic_load_explicit(&w->counters->resting_since_us, memory_order_relaxed);
    (void)events;
    if (since_us != 0) {
        atomic_store_explicit(&w->counters->resting_since_us, 0,
                              memory_order_relaxed); /* nobody else writes it */
        counter_add(w->counters, rested_us, now_us - since_us);
    }
    w->now_ms = now_us / 1000;
    w->events = ev_pending_count(loop);
    w->unheard = false;
    ring_awake(w->down);
}

static void on_idle(struct ev_loop *loop, ev_idle *idle, int events)
{
    (void)loop; /* its only use is that the loop does not block while work is left */
    (void)idle;
    (void)events;
}

static void on_wake(struct ev_loop *loop, ev_io *io, int events)
{
    uint64_t count;
    (void)loop;
    (void)events;
    if (read(io->fd, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR)
        log_error("cannot read the wake-up: %s", strerror(errno));
}

static void worker_watch(struct worker *w)
{
    ev_io_init(&w->wake, on_wake, w->wake_fd, EV_READ);
    ev_io_start(w->loop, &w->wake);
    ev_prepare_init(&w->prepare, on_prepare);
    w->prepare.data = w;
    ev_prepare_start(w->loop, &w->prepare);
    ev_check_init(&w->check, on_check);
    w->check.data = w;
    ev_set_priority(&w->check, EV_MAXPRI); /* the time, before any other callback of the turn */
    ev_check_start(w->loop, &w->check);
    ev_idle_init(&w->idle, on_idle);
    ev_timer_init(&w->parent, on_parent_check, WORKER_PARENT_CHECK_S, WORKER_PARENT_CHECK_S);
    w->parent.data = w;
    ev_timer_start(w->loop, &w->parent);
    ev_signal_init(&w->orphan_signal, on_orphan_signal, SIGUSR1);
    w->orphan_signal.data = w;
    ev_signal_start(w->loop, &w->orphan_signal);
}

/* Beginning. */

static int worker_load(struct worker *w, struct hk_why *why)
{
    const struct config *config = w->config;
    w->login = hk_xcalloc(config->route_count + 1, sizeof *w->login);
    for (size_t i = 0; i < config->route_count; i++) {
        int error = login_load(&config->route[i], &w->login[i], why);
        if (error != 0)
            return error;
    }
    int error = tls_create(config, &w->tls, why);
    if (error != 0)
        return error;
    return signer_load(config, &w->signer, why);
}

static void worker_init(struct worker *w, const struct worker_args *args)
{
    const struct region_sizes *sizes = &args->region->header->sizes;
    w->config = args->config;
    w->region = args->region;
    w->number = args->number;
    w->wake_fd = args->wake_fd;
    w->master_wake_fd = args->master_wake_fd;
    w->down = region_down(args->region, args->number);
    w->up = region_up(args->region, args->number);
    w->counters = region_counters(args->region, args->number);
    w->now_ms = clock_now_ms();
    w->session = hk_xcalloc(sizes->conn_slots, sizeof *w->session);
    w->letter = hk_xcalloc(sizes->flight_slots, sizeof *w->letter);
    for (uint32_t i = 0; i < sizes->conn_slots; i++)
        conn_init(&w->session[i], w, i);
}

/* What was still under way at the orphans' deadline: memory only, the slots stay as they are. */
static void worker_drop_rest(struct worker *w)
{
    for (uint32_t i = 0; i < w->region->header->sizes.conn_slots; i++) {
        struct session *s = &w->session[i];
        link_close(&s->link);
        free(s->address);
        free(s->wire);
    }
    for (uint32_t i = 0; i < w->region->header->sizes.flight_slots; i++)
        letter_drop(w, &w->letter[i]);
}

static void worker_free(struct worker *w)
{
    worker_drop_rest(w);
    shelf_free(w->shelf);
    signer_free(w->signer);
    tls_free(w->tls);
    letter_copies_free(w);
    while (w->wires != NULL) {
        struct wire *wire = w->wires;
        w->wires = wire->next;
        free(wire);
    }
    if (w->login != NULL)
        OPENSSL_cleanse(w->login, (w->config->route_count + 1) * sizeof *w->login);
    free(w->login);
    free(w->letter);
    free(w->session);
    if (w->loop != NULL)
        ev_loop_destroy(w->loop);
    free(w);
}

int worker_main(const struct worker_args *args)
{
    struct hk_why why = {""};
    struct worker *w = hk_xcalloc(1, sizeof *w);
    (void)signal(SIGPIPE, SIG_IGN); /* a lost connection is a return value */
    worker_init(w, args);
    int error = worker_load(w, &why);
    if (error != 0) {
        log_error("%s", why.text[0] != '\0' ? why.text : hk_strerror(error));
        worker_free(w);
        return error == HK_ENOMEM ? WORKER_NO_MEMORY : WORKER_BAD_CONFIG; /* the first is tried again */
    }
    w->shelf = shelf_new(w->config, w->region, w->signer);
    w->loop = ev_loop_new(EVFLAG_AUTO);
    HK_BUG_ON(w->loop == NULL);
    worker_watch(w);
    (void)ev_run(w->loop, 0);
    worker_wake_master(w);
    worker_free(w);
    return WORKER_ENDED;
}
