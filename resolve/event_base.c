/* event_base.c - libunbound's event calls on libev. See event_base.h.
 *
 * The semantics are libevent's, which libunbound was written for: an event without UB_EV_PERSIST is over when it
 * has fired; one with it stays, and its time-out starts anew each time. A callback may free its own event, so
 * nothing is touched after the call.
 */
#include "event_base.h"

#include <ev.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unbound-event.h>

#include "hikyaku/base.h"

struct base {
    struct ub_event_base ub; /* first: libunbound knows only this part */
    struct ev_loop *loop;
};

struct event {
    struct ub_event ub; /* first, likewise */
    struct ev_loop *loop;
    ev_io io;
    ev_timer timer;
    int fd;
    short bits;
    void (*callback)(int fd, short bits, void *arg);
    void *arg;
};

static struct event *event_of(struct ub_event *ub)
{
    return (struct event *)ub;
}

static void event_stop(struct event *event)
{
    ev_io_stop(event->loop, &event->io);
    ev_timer_stop(event->loop, &event->timer);
}

static void on_io(struct ev_loop *loop, ev_io *io, int revents)
{
    struct event *event = io->data;
    short bits = 0;

    if (revents & EV_READ)
        bits |= UB_EV_READ;
    if (revents & EV_WRITE)
        bits |= UB_EV_WRITE;
    if (!(event->bits & UB_EV_PERSIST))
        event_stop(event);
    else if (ev_is_active(&event->timer))
        ev_timer_again(loop, &event->timer);
    event->callback(event->fd, bits, event->arg);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct event *event = timer->data;

    (void)loop;
    (void)revents;
    if (!(event->bits & UB_EV_PERSIST))
        event_stop(event);
    event->callback(event->fd, UB_EV_TIMEOUT, event->arg);
}

static void timer_start(struct event *event, const struct timeval *after)
{
    double after_s = (double)after->tv_sec + (double)after->tv_usec / 1e6;

    /* The loop's clock stood still while earlier callbacks of this turn ran. */
    ev_timer_stop(event->loop, &event->timer);
    ev_timer_set(&event->timer, after_s + (ev_time() - ev_now(event->loop)),
                 event->bits & UB_EV_PERSIST ? after_s : 0.);
    ev_timer_start(event->loop, &event->timer);
}

static void event_add_bits(struct ub_event *ub, short bits)
{
    event_of(ub)->bits = (short)(event_of(ub)->bits | bits);
}

static void event_del_bits(struct ub_event *ub, short bits)
{
    event_of(ub)->bits = (short)(event_of(ub)->bits & ~bits);
}

static void event_set_fd(struct ub_event *ub, int fd)
{
    event_of(ub)->fd = fd;
}

static void event_free(struct ub_event *ub)
{
    event_stop(event_of(ub));
    free(ub);
}

static int event_add(struct ub_event *ub, struct timeval *after)
{
    struct event *event = event_of(ub);
    int wanted = (event->bits & UB_EV_READ ? EV_READ : 0) | (event->bits & UB_EV_WRITE ? EV_WRITE : 0);

    ev_io_stop(event->loop, &event->io);
    if (event->fd >= 0 && wanted) {
        ev_io_set(&event->io, event->fd, wanted);
        ev_io_start(event->loop, &event->io);
    }
    if (after)
        timer_start(event, after);
    return 0;
}

static int event_del(struct ub_event *ub)
{
    event_stop(event_of(ub));
    return 0;
}

static int event_add_timer(struct ub_event *ub, struct ub_event_base *base,
                           void (*callback)(int, short, void *), void *arg, struct timeval *after)
{
    struct event *event = event_of(ub);

    (void)base;
    event->callback = callback;
    event->arg = arg;
    timer_start(event, after);
    return 0;
}

static int event_del_timer(struct ub_event *ub)
{
    ev_timer_stop(event_of(ub)->loop, &event_of(ub)->timer);
    return 0;
}

/* Signals and Windows sockets: in the table, but never called inside a library context. */
static int event_no_signal(struct ub_event *ub)
{
    (void)ub;
    return -1;
}

static int event_no_signal_add(struct ub_event *ub, struct timeval *after)
{
    (void)after;
    return event_no_signal(ub);
}

static void event_no_wsa(struct ub_event *ub)
{
    (void)ub;
}

static void event_no_wouldblock(struct ub_event *ub, int bits)
{
    (void)bits;
    event_no_wsa(ub);
}

static struct ub_event_vmt event_calls = {
    .add_bits = event_add_bits,
    .del_bits = event_del_bits,
    .set_fd = event_set_fd,
    .free = event_free,
    .add = event_add,
    .del = event_del,
    .add_timer = event_add_timer,
    .del_timer = event_del_timer,
    .add_signal = event_no_signal_add,
    .del_signal = event_no_signal,
    .winsock_unregister_wsaevent = event_no_wsa,
    .winsock_tcp_wouldblock = event_no_wouldblock,
};

static struct ub_event *base_new_event(struct ub_event_base *ub, int fd, short bits,
                                       void (*callback)(int, short, void *), void *arg)
{
    /* libunbound 1.17 frees its own part twice when it gets none, so there is no going on: the master starts another
     * process. */
    struct event *event = hk_xcalloc(1, sizeof *event);

    event->ub.magic = UB_EVENT_MAGIC;
    event->ub.vmt = &event_calls;
    event->loop = ((struct base *)ub)->loop;
    event->fd = fd;
    event->bits = bits;
    event->callback = callback;
    event->arg = arg;
    ev_init(&event->io, on_io);
    ev_init(&event->timer, on_timer);
    /* An answer that has arrived beats the time-out that ran off in the same turn. */
    ev_set_priority(&event->timer, -1);
    event->io.data = event;
    event->timer.data = event;
    return &event->ub;
}

static struct ub_event *base_no_signal(struct ub_event_base *ub, int number,
                                       void (*callback)(int, short, void *), void *arg)
{
    (void)ub;
    (void)number;
    (void)callback;
    (void)arg;
    return NULL;
}

static struct ub_event *base_no_wsa(struct ub_event_base *ub, void *wsa, void (*callback)(int, short, void *),
                                    void *arg)
{
    (void)wsa;
    return base_no_signal(ub, -1, callback, arg);
}

static int base_no_dispatch(struct ub_event_base *ub)
{
    (void)ub;
    return -1;
}

static int base_no_exit(struct ub_event_base *ub, struct timeval *after)
{
    (void)after;
    return base_no_dispatch(ub);
}

void event_base_free(struct ub_event_base *base)
{
    free(base);
}

static struct ub_event_base_vmt base_calls = {
    .free = event_base_free,
    .dispatch = base_no_dispatch,
    .loopexit = base_no_exit,
    .new_event = base_new_event,
    .new_signal = base_no_signal,
    .winsock_register_wsaevent = base_no_wsa,
};

struct ub_event_base *event_base_new(struct ev_loop *loop)
{
    struct base *base = calloc(1, sizeof *base);

    if (!base)
        return NULL;
    base->ub.magic = UB_EVENT_MAGIC;
    base->ub.vmt = &base_calls;
    base->loop = loop;
    return &base->ub;
}
