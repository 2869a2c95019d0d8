/* sink_conn.c - connections of the sink: socket, TLS, the queue of replies and their times, the end.
 *
 * Knows no SMTP: bytes go to sink_session_input(), replies come back through sink_conn_reply(). Every callback
 * ends in conn_turn(), which writes, closes, frees. A message counts as delivered when the reply to it has been
 * given to the kernel; what is not answered when a connection ends was taken all the same: "ambiguous".
 */
#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sink.h"

#define READS_PER_TURN 4
#define SWEEP_EVERY_US 10000000u

static void conn_turn(struct sink_conn *conn);

static size_t unwritten(const struct sink_conn *conn)
{
    return conn->out_end - conn->out_start;
}

static bool is_readable(const struct sink_conn *conn)
{
    return !conn->dead && !conn->handshaking && !conn->upgrading && !conn->closing && !conn->lingering &&
           unwritten(conn) < SINK_OUTPUT_LIMIT;
}

/* ---- output ---- */

static bool out_reserve(struct sink_conn *conn, size_t length)
{
    size_t size = conn->out_size == 0 ? 1024 : conn->out_size;
    char *out;

    if (conn->out_start == conn->out_end)
        conn->out_start = conn->out_end = 0;
    if (conn->out_end + length <= conn->out_size)
        return true;
    if (conn->out_start > 0) {
        memmove(conn->out, conn->out + conn->out_start, unwritten(conn));
        conn->out_end -= conn->out_start;
        conn->out_start = 0;
    }
    while (size < conn->out_end + length)
        size *= 2;
    if (size == conn->out_size)
        return true;
    out = realloc(conn->out, size);
    if (out == NULL)
        return false;
    conn->out = out;
    conn->out_size = size;
    return true;
}

static struct sink_mark *mark_add(struct sink_conn *conn)
{
    if (conn->mark_first == conn->mark_end)
        conn->mark_first = conn->mark_undue = conn->mark_end = 0;
    if (conn->mark_end == conn->mark_size && conn->mark_first > 0) {
        size_t gone = conn->mark_first;

        memmove(conn->mark, conn->mark + gone, (conn->mark_end - gone) * sizeof *conn->mark);
        conn->mark_first = 0;
        conn->mark_undue -= gone;
        conn->mark_end -= gone;
    }
    if (conn->mark_end == conn->mark_size) {
        size_t size = conn->mark_size == 0 ? 16 : conn->mark_size * 2;
        struct sink_mark *mark = realloc(conn->mark, size * sizeof *mark);

        if (mark == NULL)
            return NULL;
        conn->mark = mark;
        conn->mark_size = size;
    }
    return &conn->mark[conn->mark_end++];
}

/* No memory for a reply: the client would wait for ever, so the connection ends. */
static void conn_starved(struct sink_conn *conn)
{
    sink_count(conn, out_of_memory, 1);
    conn->dead = true;
}

void sink_conn_reply(struct sink_conn *conn, const char *wire, size_t length, uint32_t delay_ms,
                     size_t recipients)
{
    bool waits = delay_ms > 0 || conn->mark_undue < conn->mark_end;
    struct sink_mark *mark;

    if (!out_reserve(conn, length)) {
        conn_starved(conn);
        return;
    }
    memcpy(conn->out + conn->out_end, wire, length);
    conn->out_end += length;
    conn->queued += length;
    if (!waits)
        conn->released = conn->queued;
    if (!waits && recipients == 0)
        return;
    mark = mark_add(conn);
    if (mark == NULL) {
        conn_starved(conn);
        return;
    }
    *mark = (struct sink_mark){.end = conn->queued, .recipients = recipients};
    if (waits)
        mark->due_us = clock_now_us() + (uint64_t)delay_ms * 1000;
    else
        conn->mark_undue = conn->mark_end;
}

void sink_conn_unanswered(struct sink_conn *conn, size_t recipients)
{
    struct sink_mark *mark = mark_add(conn);

    if (mark == NULL)
        conn_starved(conn);
    else
        *mark = (struct sink_mark){.end = SINK_NEVER, .recipients = recipients};
}

/* Replies whose time has come may be written. Times do not fall: an earlier one holds later ones back. */
static void marks_release(struct sink_conn *conn)
{
    uint64_t now = conn->mark_undue < conn->mark_end ? clock_now_us() : 0;

    while (conn->mark_undue < conn->mark_end) {
        const struct sink_mark *mark = &conn->mark[conn->mark_undue];

        if (mark->end == SINK_NEVER || mark->due_us > now)
            return;
        conn->released = mark->end;
        conn->mark_undue++;
    }
}

/* Replies that are out: their messages are delivered. */
static void marks_settle(struct sink_conn *conn)
{
    while (conn->mark_first < conn->mark_undue && conn->mark[conn->mark_first].end <= conn->written) {
        if (conn->mark[conn->mark_first].recipients > 0)
            sink_session_delivered(conn, conn->mark[conn->mark_first].recipients, false);
        conn->mark_first++;
    }
}

/* What OpenSSL's answer means: 0 try again later, -1 the connection is over. */
static int tls_result(struct sink_conn *conn, int result)
{
    int error = SSL_get_error(conn->ssl, result);

    conn->wants_write = error == SSL_ERROR_WANT_WRITE;
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* Octets written, 0 when the socket takes none now, -1 when it is gone. */
static ssize_t bytes_write(struct sink_conn *conn, const char *bytes, size_t length)
{
    ssize_t n;

    if (conn->ssl != NULL) {
        size_t written = 0;
        int result;

        ERR_clear_error();
        result = SSL_write_ex(conn->ssl, bytes, length, &written);
        return result == 1 ? (ssize_t)written : tls_result(conn, result);
    }
    n = send(conn->fd, bytes, length, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    return n;
}

static void conn_write(struct sink_conn *conn)
{
    marks_release(conn);
    while (conn->written < conn->released && !conn->dead) {
        ssize_t n = bytes_write(conn, conn->out + conn->out_start, (size_t)(conn->released - conn->written));

        if (n < 0)
            conn->dead = true;
        if (n <= 0)
            return;
        conn->out_start += (size_t)n;
        conn->written += (uint64_t)n;
        marks_settle(conn);
    }
}

/* ---- input ---- */

/* As recv(), and conn->arrived_us becomes the time at which the kernel got the last of them. It is the sink's clock, not
 * the sink's leisure: however late it reads, this does not move. */
static ssize_t bytes_read_timed(struct sink_conn *conn, char *to, size_t size)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec piece = {.iov_base = to, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(conn->fd, &message, 0);
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    struct timespec at;

    conn->arrived_us = clock_wall_us();
    if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
        return n;
    memcpy(&at, CMSG_DATA(c), sizeof at);
    conn->arrived_us = (uint64_t)at.tv_sec * 1000000u + (uint64_t)at.tv_nsec / 1000u;
    return n;
}

/* Octets read, 0 when there are none now, -1 at the end. */
static ssize_t bytes_read(struct sink_conn *conn, char *to, size_t size)
{
    ssize_t n;

    if (conn->ssl != NULL) {
        size_t got = 0;
        int result;

        ERR_clear_error();
        result = SSL_read_ex(conn->ssl, to, size, &got);
        return result == 1 ? (ssize_t)got : tls_result(conn, result);
    }
    n = conn->sink->options.log_dot ? bytes_read_timed(conn, to, size) : recv(conn->fd, to, size, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return n > 0 ? n : -1;
}

/* The bytes of one turn, in the buffer that all connections share: filled as far as records of TLS go. */
static void conn_read(struct sink_conn *conn)
{
    struct sink *sink = conn->sink;
    size_t filled = 0;

    conn->more = false;
    while (filled < sizeof sink->input) {
        ssize_t n = bytes_read(conn, sink->input + filled, sizeof sink->input - filled);

        if (n < 0)
            conn->dead = true;
        if (n <= 0)
            break;
        filled += (size_t)n;
        if (conn->ssl == NULL)
            break;
        conn->more = filled == sizeof sink->input;
    }
    if (filled > 0) {
        bool gone = conn->dead;

        conn->active_us = clock_now_us();
        sink_session_input(conn, sink->input, filled);
        conn->dead = conn->dead || gone;
    }
}

/* The other side has not closed yet: what it still sends is of no interest. */
static void conn_discard(struct sink_conn *conn)
{
    ssize_t n = recv(conn->fd, conn->sink->input, sizeof conn->sink->input, 0);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        conn->dead = true;
}

/* ---- TLS ---- */

static void conn_handshake(struct sink_conn *conn)
{
    int result;

    ERR_clear_error();
    result = SSL_accept(conn->ssl);
    if (result == 1) {
        conn->handshaking = false;
        conn->wants_write = false;
        conn->more = true;
        sink_count(conn, tls, 1);
        sink_count(conn, tls_resumed, SSL_session_reused(conn->ssl) == 1);
        if (conn->sink->options.implicit_tls)
            sink_session_begin(conn);
    } else if (tls_result(conn, result) < 0) {
        sink_count(conn, tls_failures, 1);
        conn->dead = true;
    }
}

static void tls_begin(struct sink_conn *conn)
{
    conn->upgrading = false;
    conn->ssl = SSL_new(conn->sink->tls);
    if (conn->ssl == NULL || SSL_set_fd(conn->ssl, conn->fd) != 1) {
        conn_starved(conn);
        return;
    }
    conn->handshaking = true;
    conn_handshake(conn);
}

/* ---- the end ---- */

static void conn_unlink(struct sink_conn *conn)
{
    if (conn->previous != NULL)
        conn->previous->next = conn->next;
    else
        conn->sink->first = conn->next;
    if (conn->next != NULL)
        conn->next->previous = conn->previous;
    conn->listener->open--;
    conn->sink->open--;
}

static void conn_free(struct sink_conn *conn)
{
    const struct linger rst = {.l_onoff = 1, .l_linger = 0};

    for (size_t i = conn->mark_first; i < conn->mark_end; i++)
        if (conn->mark[i].recipients > 0)
            sink_session_delivered(conn, conn->mark[i].recipients, true);
    sink_session_free(conn);
    ev_io_stop(conn->sink->loop, &conn->io);
    ev_timer_stop(conn->sink->loop, &conn->timer);
    conn_unlink(conn);
    if (conn->reset)
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
    /* Without the shutdown that OpenSSL asks for, it would not let the session be resumed. */
    if (conn->ssl != NULL)
        SSL_set_quiet_shutdown(conn->ssl, 1);
    SSL_free(conn->ssl);
    close(conn->fd);
    free(conn->out);
    free(conn->mark);
    free(conn);
}

/* All is said. Close at once and unread input would turn into an RST that overtakes the last reply: so shut our
 * side, and read until the other closes. */
static void conn_finish(struct sink_conn *conn)
{
    if (conn->reset) {
        conn->dead = true;
        return;
    }
    if (conn->ssl != NULL && !conn->dropped && !conn->handshaking)
        SSL_shutdown(conn->ssl);
    if (shutdown(conn->fd, SHUT_WR) != 0) {
        conn->dead = true;
        return;
    }
    conn->lingering = true;
    conn->active_us = clock_now_us();
}

/* ---- turns of the loop ---- */

static void watch_timer(struct sink_conn *conn)
{
    struct ev_loop *loop = conn->sink->loop;
    uint64_t now = clock_now_us(), at = 0;

    if (conn->lingering)
        at = conn->active_us + SINK_LINGER_US;
    else if (conn->mark_undue < conn->mark_end && conn->mark[conn->mark_undue].end != SINK_NEVER)
        at = conn->mark[conn->mark_undue].due_us;
    if (at == 0 && !ev_is_active(&conn->timer))
        return;
    ev_timer_stop(loop, &conn->timer);
    if (at == 0)
        return;
    /* libev counts from the time the loop woke up, which may be a while ago. */
    ev_now_update(loop);
    ev_timer_set(&conn->timer, at > now ? (double)(at - now) / 1e6 : 0., 0.);
    ev_timer_start(loop, &conn->timer);
}

static void conn_watch(struct sink_conn *conn)
{
    int events = 0;

    if (conn->lingering || conn->handshaking || is_readable(conn))
        events |= EV_READ;
    if (!conn->lingering && (conn->wants_write || (!conn->handshaking && conn->written < conn->released)))
        events |= EV_WRITE;
    if (conn->io.events != events || !ev_is_active(&conn->io)) {
        ev_io_stop(conn->sink->loop, &conn->io);
        ev_io_set(&conn->io, conn->fd, events);
        if (events != 0)
            ev_io_start(conn->sink->loop, &conn->io);
    }
    if (conn->more && is_readable(conn))
        ev_feed_event(conn->sink->loop, &conn->io, EV_READ);
    watch_timer(conn);
}

/* Write what may be written, read what OpenSSL holds back, and see whether this was the end. */
static void conn_turn(struct sink_conn *conn)
{
    for (int i = 0; i < READS_PER_TURN && !conn->dead; i++) {
        if (!conn->handshaking && !conn->lingering)
            conn_write(conn);
        if (conn->upgrading && !conn->dead && conn->queued == conn->written)
            tls_begin(conn);
        if (!conn->more || !is_readable(conn))
            break;
        conn_read(conn);
    }
    if (!conn->dead && conn->closing && !conn->lingering && conn->queued == conn->written)
        conn_finish(conn);
    if (conn->dead)
        conn_free(conn);
    else
        conn_watch(conn);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct sink_conn *conn = io->data;
    (void)loop;

    if (conn->lingering)
        conn_discard(conn);
    else if (conn->handshaking)
        conn_handshake(conn);
    else if (is_readable(conn) && ((events & EV_READ) != 0 || conn->wants_write))
        conn_read(conn);
    conn_turn(conn);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct sink_conn *conn = timer->data;
    (void)loop;
    (void)events;

    if (conn->lingering && clock_now_us() >= conn->active_us + SINK_LINGER_US)
        conn->dead = true;
    conn_turn(conn);
}

static struct sink_conn *conn_new(struct sink_listener *listener, int fd)
{
    struct sink *sink = listener->sink;
    struct sink_conn *conn = calloc(1, sizeof *conn);

    if (conn == NULL)
        return NULL;
    conn->sink = sink;
    conn->listener = listener;
    conn->fd = fd;
    conn->number = ++sink->serial;
    conn->active_us = clock_now_us();
    ev_io_init(&conn->io, on_io, fd, EV_READ);
    ev_timer_init(&conn->timer, on_timer, 0., 0.);
    conn->io.data = conn->timer.data = conn;
    conn->next = sink->first;
    if (sink->first != NULL)
        sink->first->previous = conn;
    sink->first = conn;
    sink->open_max = ++sink->open > sink->open_max ? sink->open : sink->open_max;
    listener->open_max = ++listener->open > listener->open_max ? listener->open : listener->open_max;
    return conn;
}

/* Above the cap, where a greeting would be: one line and the end. Under implicit TLS there is no line to send. */
static void conn_refuse(struct sink_listener *listener, int fd)
{
    static const char words[] = "421 4.7.0 too many connections\r\n";
    ssize_t sent = 0;

    listener->counters.connections_refused++;
    if (!listener->sink->options.implicit_tls)
        sent = send(fd, words, sizeof words - 1, MSG_NOSIGNAL);
    (void)sent; /* a client that is gone already needs no word */
    close(fd);
}

void sink_conn_open(struct sink_listener *listener, int fd, const char *peer)
{
    const struct sink_options *o = &listener->sink->options;
    struct sink_conn *conn;

    if (o->cap_connections != 0 && listener->open >= o->cap_connections) {
        conn_refuse(listener, fd);
        return;
    }
    conn = conn_new(listener, fd);
    if (conn == NULL) {
        listener->counters.out_of_memory++;
        close(fd);
        return;
    }
    sink_count(conn, connections, 1);
    if (o->log_dot && setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &(int){1}, sizeof(int)) != 0)
        fprintf(stderr, "sink: --log-dot: %s; the times are those of the reading\n", strerror(errno));
    if (o->log_mail)
        sink_log_event(conn, "connect", peer, strlen(peer));
    if (o->implicit_tls)
        tls_begin(conn);
    else
        sink_session_begin(conn);
    conn_turn(conn);
}

void sink_conn_close_all(struct sink *sink)
{
    while (sink->first != NULL)
        conn_free(sink->first);
}

void sink_conn_sweep_idle(struct sink *sink)
{
    uint64_t now = clock_now_us();
    struct sink_conn *next;

    if (now - sink->swept_us < SWEEP_EVERY_US)
        return;
    sink->swept_us = now;
    for (struct sink_conn *conn = sink->first; conn != NULL; conn = next) {
        next = conn->next;
        if (now > conn->active_us && now - conn->active_us > SINK_IDLE_US)
            conn_free(conn);
    }
}
