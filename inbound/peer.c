/* peer.c - connections of the bounce receiver: socket, TLS, what is read and written, how long it may take, the end.
 *
 * Knows no SMTP beyond the words of a close. Every callback ends in peer_turn(), the only place where a connection is freed
 * before the node stops.
 * Bounds: what is read and not dealt with yet is one piece of INBOUND_INPUT; replies are the session's buffer; while either
 * is full, or an answer of the master is waited for, nothing is read, so that TCP holds the client back.
 */
#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "inbound.h"

#define TURNS_MAX         8 /* pieces read in one turn; then others have theirs */
#define HANDSHAKE_MAX_MS  60000u
#define LINGER_MS         5000u
#define PEER_MAX_MS       3600000u
#define HURRY_SHARE       5u /* of inbound.timeout, while most of the room is taken */
#define BODY_BYTES_PER_MS 1u /* after the first timeout a message has to come at 1 kB a second at least */

struct peer {
    TAILQ_ENTRY(peer) link;
    struct inbound *in;
    ev_io io;
    ev_timer timer;
    SSL *ssl;
    bool handshaking, wants_write, lingering, dead, lmtp;
    uint32_t place; /* of its address in the guard */
    uint64_t opened_ms, active_ms;
    uint64_t step_ms, steps; /* when the session's counter last moved, and to what */
    char *rest;              /* read, and not taken by the session yet */
    size_t rest_length;
    struct session session;
};

static void peer_turn(struct peer *peer);

/* ---- what the session asks ---- */

static enum rcpt_kind host_rcpt(void *context, const char *address, size_t length)
{
    const struct peer *peer = context;

    return mail_rcpt(peer->in, address, length);
}

static const char *host_mail(void *context)
{
    const struct peer *peer = context;

    /* What a trusted neighbour hands over by LMTP has passed bounds of its own. */
    return peer->lmtp ? NULL : guard_mail(peer->in->guard, peer->place, clock_now_us());
}

static bool host_memory(void *context, ssize_t more)
{
    struct inbound *in = ((struct peer *)context)->in;

    if (more > 0 && in->memory + (size_t)more > in->config->inbound.memory_bytes)
        return false;
    in->memory = more > 0 ? in->memory + (size_t)more : in->memory - (size_t)-more;
    return true;
}

static void host_message(void *context, struct session *session)
{
    struct peer *peer = context;

    mail_take(peer->in, session, peer);
}

static const struct session_host host = {
    .rcpt = host_rcpt, .mail = host_mail, .memory = host_memory, .message = host_message};

void peer_answer(void *whose, unsigned nth, enum desk_answer answer, const struct json_t *told)
{
    struct peer *peer = whose;
    static const enum session_verdict verdict[] = {
        [DESK_TAKEN] = SESSION_TAKEN, [DESK_LATER] = SESSION_LATER, [DESK_REFUSED] = SESSION_NOT_OURS};

    (void)told;
    session_answer(&peer->session, nth, verdict[answer]);
    ev_feed_event(peer->in->loop, &peer->io, EV_CUSTOM); /* its turn comes when the desk is done */
}

/* ---- bytes ---- */

/* What OpenSSL's answer means: `octets`, 0 try again later, -1 the connection is over. */
static ssize_t tls_result(struct peer *peer, int result, size_t octets)
{
    int error = SSL_get_error(peer->ssl, result);

    peer->wants_write = error == SSL_ERROR_WANT_WRITE;
    if (result == 1)
        return (ssize_t)octets;
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* Octets, 0 when there are none now, -1 at the end. */
static ssize_t bytes_read(struct peer *peer, char *to, size_t size)
{
    size_t got = 0;
    ssize_t n;

    if (peer->ssl != NULL) {
        ERR_clear_error();
        int result = SSL_read_ex(peer->ssl, to, size, &got);
        return tls_result(peer, result, got);
    }
    n = recv(peer->io.fd, to, size, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return n > 0 ? n : -1;
}

static ssize_t bytes_write(struct peer *peer, const char *bytes, size_t length)
{
    size_t written = 0;
    ssize_t n;

    if (peer->ssl != NULL) {
        ERR_clear_error();
        int result = SSL_write_ex(peer->ssl, bytes, length, &written);
        return tls_result(peer, result, written);
    }
    n = send(peer->io.fd, bytes, length, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    return n;
}

static void peer_write(struct peer *peer)
{
    while (peer->session.out_length > 0 && !peer->dead) {
        ssize_t n = bytes_write(peer, peer->session.out, peer->session.out_length);
        if (n < 0)
            peer->dead = true;
        if (n <= 0)
            return;
        session_written(&peer->session, (size_t)n);
    }
}

/* ---- input ---- */

static bool takes_input(const struct peer *peer)
{
    return !peer->dead && !peer->handshaking && !peer->lingering && !peer->session.closing &&
           !peer->session.upgrading && !peer->session.waiting;
}

static void rest_keep(struct peer *peer, const char *bytes, size_t length)
{
    if (length > 0 && peer->rest == NULL)
        peer->rest = malloc(INBOUND_INPUT);
    if (length > 0 && peer->rest == NULL) {
        session_close(&peer->session, "421 4.3.2 out of memory\r\n");
        length = 0;
    }
    if (length > 0)
        memcpy(peer->rest, bytes, length);
    peer->rest_length = length;
}

/* What lies there first. True: something was taken. */
static bool rest_take(struct peer *peer)
{
    size_t taken = session_input(&peer->session, peer->rest, peer->rest_length);

    peer->rest_length -= taken;
    memmove(peer->rest, peer->rest + taken, peer->rest_length);
    return taken > 0;
}

/* True: something came, and there may be more. */
static bool peer_read(struct peer *peer)
{
    struct inbound *in = peer->in;
    ssize_t n = bytes_read(peer, in->input, sizeof in->input);
    size_t taken;

    if (n < 0)
        peer->dead = true;
    if (n <= 0)
        return false;
    peer->active_ms = clock_now_ms();
    taken = session_input(&peer->session, in->input, (size_t)n);
    rest_keep(peer, in->input + taken, (size_t)n - taken);
    if (peer->rest_length == 0) {
        free(peer->rest);
        peer->rest = NULL;
    }
    return true;
}

/* ---- TLS ---- */

static void peer_handshake(struct peer *peer)
{
    int result;

    ERR_clear_error();
    result = SSL_accept(peer->ssl);
    if (result == 1) {
        peer->handshaking = peer->wants_write = false;
        session_upgraded(&peer->session);
        peer->step_ms = clock_now_ms();
    } else if (tls_result(peer, result, 0) < 0) {
        peer->dead = true;
    }
}

static void tls_begin(struct peer *peer)
{
    peer->ssl = SSL_new(peer->in->tls);
    if (peer->ssl == NULL || SSL_set_fd(peer->ssl, peer->io.fd) != 1) {
        peer->dead = true;
        return;
    }
    peer->handshaking = true;
    peer->step_ms = clock_now_ms();
    peer_handshake(peer);
}

/* ---- the end ---- */

static void peer_free(struct peer *peer)
{
    struct inbound *in = peer->in;

    if (peer->session.waiting)
        desk_forget(in->desk, peer);
    session_end(&peer->session);
    ev_io_stop(in->loop, &peer->io);
    ev_timer_stop(in->loop, &peer->timer);
    TAILQ_REMOVE(&in->peers, peer, link);
    guard_leave(in->guard, peer->place);
    if (peer->ssl != NULL)
        SSL_set_quiet_shutdown(peer->ssl, 1);
    SSL_free(peer->ssl);
    close(peer->io.fd);
    free(peer->rest);
    free(peer);
}

/* All is said. Close at once and unread input would turn into an RST that overtakes the last reply: so shut our side, and
 * read until the other closes, for a while. */
static void peer_finish(struct peer *peer)
{
    ERR_clear_error();
    if (peer->ssl != NULL && !peer->handshaking)
        (void)SSL_shutdown(peer->ssl);
    if (shutdown(peer->io.fd, SHUT_WR) != 0) {
        peer->dead = true;
        return;
    }
    peer->lingering = true;
    peer->step_ms = clock_now_ms();
}

static void peer_discard(struct peer *peer)
{
    for (int i = 0; i < TURNS_MAX; i++) {
        ssize_t n = recv(peer->io.fd, peer->in->input, sizeof peer->in->input, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            peer->dead = true;
            return;
        }
    }
}

/* ---- time ---- */

/* When it has had time enough. A command has to be whole within the timeout, however many bytes it is sent in; a message has
 * to go on, and in the end to come faster than drop by drop. */
static uint64_t deadline_ms(const struct peer *peer)
{
    const uint64_t timeout = peer->in->config->inbound.timeout_ms / (peer->in->hurried ? HURRY_SHARE : 1u);
    uint64_t at = peer->step_ms + timeout, end = peer->opened_ms + PEER_MAX_MS;

    if (peer->lingering)
        return peer->step_ms + LINGER_MS / (peer->in->hurried ? HURRY_SHARE : 1u);
    if (peer->handshaking)
        return peer->step_ms + (timeout < HANDSHAKE_MAX_MS ? timeout : HANDSHAKE_MAX_MS);
    if (peer->session.waiting)
        return UINT64_MAX; /* the desk knows how long */
    if (peer->session.in_body) {
        at += peer->session.reader.bytes / BODY_BYTES_PER_MS;
        at = at < peer->active_ms + timeout ? at : peer->active_ms + timeout;
    }
    return at < end ? at : end;
}

static void watch_timer(struct peer *peer)
{
    uint64_t now = clock_now_ms(), at = deadline_ms(peer);

    ev_timer_stop(peer->in->loop, &peer->timer);
    if (at == UINT64_MAX)
        return;
    ev_timer_set(&peer->timer, at > now ? (double)(at - now) / 1e3 : 0.001, 0.);
    ev_timer_start(peer->in->loop, &peer->timer);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct peer *peer = timer->data;

    (void)loop;
    (void)events;
    if (clock_now_ms() >= deadline_ms(peer)) {
        if (peer->lingering || peer->handshaking || peer->session.closing)
            peer->dead = true;
        session_close(&peer->session, "421 4.4.2 that took too long\r\n");
        peer->step_ms = clock_now_ms();
    }
    peer_turn(peer);
}

/* ---- turns of the loop ---- */

static void peer_watch(struct peer *peer)
{
    int events = 0;

    /* TLS that has to write before it can go on is not waiting for what lies there to be read. */
    if (peer->lingering ||
        (!peer->wants_write && (peer->handshaking || (takes_input(peer) && peer->rest_length == 0))))
        events |= EV_READ;
    if (!peer->lingering && (peer->wants_write || (!peer->handshaking && peer->session.out_length > 0)))
        events |= EV_WRITE;
    if (peer->io.events != events || !ev_is_active(&peer->io)) {
        ev_io_stop(peer->in->loop, &peer->io);
        ev_io_set(&peer->io, peer->io.fd, events);
        if (events != 0)
            ev_io_start(peer->in->loop, &peer->io);
    }
    watch_timer(peer);
}

/* Take, write, read, until nothing moves or others have to have their turn. */
static void peer_work(struct peer *peer)
{
    bool moved = true;

    for (int i = 0; moved && i < TURNS_MAX && !peer->dead && !peer->handshaking; i++) {
        moved = false;
        if (peer->rest_length > 0 && takes_input(peer))
            moved = rest_take(peer);
        peer_write(peer);
        if (peer->session.upgrading && peer->session.out_length == 0 && !peer->dead) {
            tls_begin(peer);
            moved = true;
        } else if (takes_input(peer) && peer->rest_length == 0) {
            moved = peer_read(peer) || moved;
        }
    }
    if (moved && !peer->dead && !peer->handshaking)
        ev_feed_event(peer->in->loop, &peer->io, EV_CUSTOM);
}

static void peer_turn(struct peer *peer)
{
    if (peer->handshaking && !peer->dead)
        peer_handshake(peer);
    if (peer->lingering)
        peer_discard(peer);
    else
        peer_work(peer);
    if (!peer->dead && !peer->lingering && peer->session.closing && peer->session.out_length == 0)
        peer_finish(peer);
    if (peer->dead) {
        peer_free(peer);
        return;
    }
    if (peer->session.steps != peer->steps) {
        peer->steps = peer->session.steps;
        peer->step_ms = peer->active_ms = clock_now_ms();
    }
    peer_watch(peer);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    peer_turn(io->data);
}

/* Too many: a line where the greeting would be, and the end. */
static void peer_refuse(int fd, const char *wire)
{
    (void)!send(fd, wire, strlen(wire), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

void peer_open(struct inbound *in, int fd, const struct sockaddr *from, bool lmtp)
{
    uint32_t place = 0;
    const char *refusal = in->stopping ? "421 4.3.2 this host is being stopped\r\n"
                                       : guard_enter(in->guard, from, clock_now_us(), &place);
    struct peer *peer;

    if (refusal != NULL) {
        peer_refuse(fd, refusal);
        return;
    }
    peer = calloc(1, sizeof *peer);
    if (peer == NULL) {
        guard_leave(in->guard, place);
        peer_refuse(fd, "421 4.3.2 out of memory\r\n");
        return;
    }
    peer->in = in;
    peer->place = place;
    peer->lmtp = lmtp;
    peer->opened_ms = peer->active_ms = peer->step_ms = clock_now_ms();
    ev_io_init(&peer->io, on_io, fd, EV_READ);
    ev_timer_init(&peer->timer, on_timer, 0., 0.);
    peer->io.data = peer->timer.data = peer;
    TAILQ_INSERT_TAIL(&in->peers, peer, link);
    session_begin(&peer->session, lmtp ? &in->lmtp : &in->smtp, &host, peer);
    peer_turn(peer);
}

/* A crowd that says nothing holds the room for a share of the time, and MTAs that were told to come again find some. */
void peers_look(struct inbound *in)
{
    const bool hurried = guard_is_crowded(in->guard) || in->memory > in->config->inbound.memory_bytes / 4 * 3;
    struct peer *peer;

    if (hurried == in->hurried)
        return;
    in->hurried = hurried;
    /* Timers that run too long now; too short ones look again when they end. */
    TAILQ_FOREACH(peer, &in->peers, link)
    if (hurried)
        watch_timer(peer);
}

void peers_leave(struct inbound *in)
{
    struct peer *peer, *next;

    in->stopping = true;
    for (peer = TAILQ_FIRST(&in->peers); peer != NULL; peer = next) {
        next = TAILQ_NEXT(peer, link);
        session_close(&peer->session, "421 4.3.2 this host is being stopped\r\n");
        peer_write(peer);
        peer_free(peer);
    }
}
