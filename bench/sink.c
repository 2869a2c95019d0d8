/* sink.c - a receiver that takes mail as fast as it comes, counts it exactly, and misbehaves when told to.
 *
 * For our tests and for whoever load-tests a sender. Takes every address, keeps no mail unless asked to. One
 * process, one thread; several run side by side. See sink --help.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "net.h"
#include "sink.h"

#define ACCEPTS_PER_TURN 64

double sink_random_share(struct sink *sink)
{
    return sink_hash_share(sink->random++, sink->options.seed);
}

static void listener_accept(struct ev_loop *loop, ev_io *io, int events)
{
    struct sink_listener *listener = io->data;
    struct sockaddr_storage address;
    char host[NI_MAXHOST], port[NI_MAXSERV], peer[NI_MAXHOST + NI_MAXSERV + 4];
    (void)loop;
    (void)events;

    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        socklen_t length = sizeof address;
        int one = 1;
        int fd = accept4(listener->fd, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            /* Out of descriptors: the next tick looks again, and the loop does not spin until then. */
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                listener->counters.out_of_memory++;
                ev_io_stop(listener->sink->loop, io);
            }
            return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        peer[0] = '\0';
        if (listener->sink->options.log_mail &&
            getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port, sizeof port,
                        NI_NUMERICHOST | NI_NUMERICSERV) == 0)
            snprintf(peer, sizeof peer, "%s:%s", host, port);
        sink_conn_open(listener, fd, peer);
    }
}

static int socket_listen(const struct addrinfo *info)
{
    int one = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (info->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, 4096) == 0)
        return fd;
    close(fd);
    return -1;
}

static void listener_name(struct sink_listener *listener)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char host[INET6_ADDRSTRLEN], port[8];

    if (getsockname(listener->fd, (struct sockaddr *)&address, &length) != 0 ||
        getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    listener->port = (uint16_t)strtoul(port, NULL, 10);
    snprintf(listener->name, sizeof listener->name, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host,
             port);
}

static int listener_open(struct sink *sink, struct sink_listener *listener, const char *text,
                         struct hk_why *why)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *info;
    char host[INET6_ADDRSTRLEN + 16];
    const char *port;

    if (net_split(text, host, sizeof host, &port) < 0 || getaddrinfo(host, port, &hints, &info) != 0)
        return why_set(why, HK_EINVAL, "--listen %s: write ADDRESS:PORT, as 127.0.0.1:2525 or [::1]:2525",
                       text);
    listener->sink = sink;
    listener->fd = socket_listen(info);
    freeaddrinfo(info);
    if (listener->fd < 0)
        return why_set(why, HK_EIO, "--listen %s: %s", text, strerror(errno));
    listener_name(listener);
    ev_io_init(&listener->io, listener_accept, listener->fd, EV_READ);
    listener->io.data = listener;
    ev_io_start(sink->loop, &listener->io);
    return HK_OK;
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct sink *sink = timer->data;
    (void)events;

    for (size_t i = 0; i < sink->listener_count; i++)
        ev_io_start(loop, &sink->listener[i].io);
    sink_conn_sweep_idle(sink);
    sink_log_flush(sink);
}

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    struct sink *sink = watcher->data;
    (void)events;

    sink_log_flush(sink);
    if (watcher->signum == SIGUSR1)
        sink_ledger_write(sink);
    else
        ev_break(loop, EVBREAK_ALL);
}

static void signals_start(struct sink *sink)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1};

    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        ev_signal_init(&sink->signals[i], on_signal, numbers[i]);
        sink->signals[i].data = sink;
        ev_signal_start(sink->loop, &sink->signals[i]);
    }
}

/* Addresses that do not exist: entered into the table as such would mix two questions, so they have their own. */
static int unknown_load(struct sink *sink, struct hk_why *why)
{
    char *text, *at, *line;
    size_t length;
    int rc = HK_OK;

    if (sink->options.unknown_file == NULL)
        return HK_OK;
    rc = hk_read_file(sink->options.unknown_file, (size_t)1 << 32, &text, &length, why);
    if (rc < 0)
        return rc;
    sink->unknown = sink_table_new();
    at = text;
    while (sink->unknown != NULL && rc == HK_OK && (line = strsep(&at, "\n")) != NULL) {
        size_t n = strcspn(line, "\r");
        uint32_t number;

        if (n > SINK_LINE_MAX)
            rc = why_set(why, HK_EINVAL, "--unknown-file %s: a line is longer than an address can be",
                         sink->options.unknown_file);
        else if (n > 0 && sink_table_find(sink->unknown, line, n, &number) == NULL)
            rc = why_set(why, HK_ENOMEM, "--unknown-file: out of memory");
    }
    free(text);
    return sink->unknown != NULL ? rc : why_set(why, HK_ENOMEM, "out of memory");
}

static int sink_start(struct sink *sink, struct hk_why *why)
{
    const struct sink_options *o = &sink->options;
    int rc;

    (void)net_raise_descriptors();
    sink->started_us = clock_now_us();
    sink->table = sink_table_new();
    if (sink->loop == NULL || sink->table == NULL)
        return why_set(why, HK_ENOMEM, "out of memory");
    if (o->tls && (sink->tls = sink_tls_context(o, why)) == NULL)
        return HK_EIO;
    if ((rc = unknown_load(sink, why)) < 0 || (rc = sink_record_open(sink, why)) < 0)
        return rc;
    sink->listener = hk_xcalloc(o->listen_count, sizeof *sink->listener);
    for (size_t i = 0; i < o->listen_count; i++) {
        if ((rc = listener_open(sink, &sink->listener[i], o->listen[i], why)) < 0)
            return rc;
        sink->listener_count++;
    }
    ev_timer_init(&sink->tick, on_tick, 0.2, 0.2);
    sink->tick.data = sink;
    ev_timer_start(sink->loop, &sink->tick);
    signals_start(sink);
    return HK_OK;
}

static void sink_stop(struct sink *sink)
{
    sink_conn_close_all(sink);
    for (size_t i = 0; i < sink->listener_count; i++)
        close(sink->listener[i].fd);
    sink_record_close(sink);
    sink_ledger_write(sink);
    if (!sink->options.quiet)
        sink_summary_print(sink);
    sink_table_free(sink->table);
    sink_table_free(sink->unknown);
    SSL_CTX_free(sink->tls);
    free(sink->listener);
    sink_options_free(&sink->options);
    ev_loop_destroy(sink->loop);
}

int main(int argc, char **argv)
{
    static struct sink sink;
    struct hk_why why = {{0}};
    int rc;

    sink_options_parse(argc, argv, &sink.options);
    sink.loop = ev_loop_new(EVFLAG_AUTO);
    rc = sink_start(&sink, &why);
    if (rc < 0) {
        fprintf(stderr, "sink: %s\n", why.text);
        return rc == HK_EINVAL ? 2 : 3;
    }
    for (size_t i = 0; i < sink.listener_count; i++)
        printf("ready %s\n", sink.listener[i].name);
    fflush(stdout);
    ev_run(sink.loop, 0);
    sink_stop(&sink);
    return sink.status;
}
