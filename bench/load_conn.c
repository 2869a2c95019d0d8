/* load_conn.c - connections of load: socket, TLS, what is read and written, the end.
 *
 * A slot that is closed is free at once, but nothing opens it again before the loop's next turn (load.c), so a callback
 * may look at `fd` to see whether its connection is still there. A slot whose connection failed before it was ready is
 * left alone for a while, longer each time: a server that refuses is not hammered.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

#define COOL_FIRST_US  100000u
#define COOL_LONGEST   6u       /* doublings: 6.4 s */
#define QUIT_WAIT_US   2000000u /* for 221 */
#define TEXT_OF_CLOSED "the server closed the connection"

const char *load_phase_word(enum load_phase phase)
{
    static const char *const words[] = {
#define LOAD_PHASE_WORD(name, word) word,
        LOAD_PHASES(LOAD_PHASE_WORD)
#undef LOAD_PHASE_WORD
    };

    return words[phase];
}

static bool is_opening(const struct load_conn *c)
{
    return c->phase > LOAD_COOLING && c->phase < LOAD_IDLE;
}

static bool is_busy(const struct load_conn *c)
{
    return c->phase > LOAD_IDLE && c->phase < LOAD_QUIT;
}

static void list_push(struct load_conn **list, struct load_conn *c)
{
    c->previous = NULL;
    c->next = *list;
    if (c->next != NULL)
        c->next->previous = c;
    *list = c;
}

static void list_remove(struct load_conn **list, struct load_conn *c)
{
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        *list = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
}

void load_conn_phase(struct load_conn *c, enum load_phase phase, uint64_t now_us)
{
    struct load *load = c->load;

    load->opening -= is_opening(c);
    load->busy -= is_busy(c);
    if (c->phase == LOAD_IDLE)
        list_remove(&load->idle, c);
    else if (c->phase == LOAD_FREE)
        list_remove(&load->free, c);
    load->idle_count -= c->phase == LOAD_IDLE;
    c->phase = phase;
    c->phase_us = now_us;
    load->opening += is_opening(c);
    load->busy += is_busy(c);
    load->idle_count += phase == LOAD_IDLE;
    if (phase == LOAD_IDLE)
        list_push(&load->idle, c);
    else if (phase == LOAD_FREE)
        list_push(&load->free, c);
}

void load_conn_close(struct load_conn *c, uint64_t now_us)
{
    struct load *load = c->load;

    ev_io_stop(load->loop, &c->io);
    if (c->ssl != NULL) {
        /* Without it OpenSSL takes the session for a bad one, and nothing resumes it. */
        if (c->phase == LOAD_QUIT)
            (void)SSL_shutdown(c->ssl);
        else
            SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(c->ssl);
        ERR_clear_error();
    }
    if (c->fd >= 0) {
        close(c->fd);
        load->open--;
    }
    free(c->reader);
    free(c->head);
    c->ssl = NULL;
    c->fd = -1;
    c->reader = NULL;
    c->head = NULL;
    load_conn_phase(c, c->failures > 0 ? LOAD_COOLING : LOAD_FREE, now_us);
}

void load_conn_fail(struct load_conn *c, const char *what, const struct reply *reply, uint64_t now_us)
{
    struct load *load = c->load;
    const char *phase = load_phase_word(c->phase);
    char words[sizeof load->lost_why];

    if (reply != NULL)
        snprintf(words, sizeof words, "%s: %u %.150s", what, reply->code, reply->text);
    else
        snprintf(words, sizeof words, "%s", what);
    if (c->phase == LOAD_IDLE && (reply == NULL || reply->code == 421)) {
        load->counts.idle_closed++;
    } else if (c->phase != LOAD_QUIT) {
        if (reply != NULL)
            load_errors_reply(&load->errors, phase, reply);
        else
            load_errors_event(&load->errors, phase, what);
    }
    if (is_busy(c)) {
        load_settled(c, false, now_us);
    } else if (is_opening(c)) {
        load->counts.lost++;
        c->failures += c->failures < COOL_LONGEST;
        load_lost(load, words, now_us);
    }
    load_conn_close(c, now_us);
}

/* 0 for "try again later", or -1 when the connection failed (and is closed). */
static int tls_trouble(struct load_conn *c, int result, uint64_t now_us)
{
    int error = SSL_get_error(c->ssl, result);
    bool verifies = c->load->options.tls_ca != NULL;
    long verified = SSL_get_verify_result(c->ssl);
    unsigned long queued = ERR_peek_error();
    char what[150];

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        c->wants_write = error == SSL_ERROR_WANT_WRITE;
        return 0;
    }
    if (verifies && verified != X509_V_OK)
        snprintf(what, sizeof what, "certificate: %s", X509_verify_cert_error_string(verified));
    else if (error == SSL_ERROR_SSL && ERR_reason_error_string(queued) != NULL &&
             ERR_GET_REASON(queued) != SSL_R_UNEXPECTED_EOF_WHILE_READING)
        snprintf(what, sizeof what, "TLS: %s", ERR_reason_error_string(queued));
    else
        snprintf(what, sizeof what, "%s", TEXT_OF_CLOSED);
    ERR_clear_error();
    load_conn_fail(c, what, NULL, now_us);
    return -1;
}

/* Octets read; 0: none now; -1: the connection has failed. */
static ssize_t conn_read(struct load_conn *c, char *to, size_t size, uint64_t now_us)
{
    size_t got = 0;
    ssize_t n;
    int result;

    if (c->ssl != NULL) {
        result = SSL_read_ex(c->ssl, to, size, &got);
        return result == 1 ? (ssize_t)got : tls_trouble(c, result, now_us);
    }
    n = recv(c->fd, to, size, 0);
    if (n > 0)
        return n;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    load_conn_fail(c, n == 0 ? TEXT_OF_CLOSED : strerror(errno), NULL, now_us);
    return -1;
}

/* The next octets to be written, copied together for one record: the same ones when a write is tried again. */
static size_t piece_fill(const struct load_conn *c, char *piece)
{
    size_t filled = 0;

    for (unsigned i = c->out_first; i < c->out_count && filled < LOAD_TLS_PIECE; i++) {
        size_t n = c->out[i].iov_len < LOAD_TLS_PIECE - filled ? c->out[i].iov_len : LOAD_TLS_PIECE - filled;

        memcpy(piece + filled, c->out[i].iov_base, n);
        filled += n;
    }
    return filled;
}

static ssize_t conn_write(struct load_conn *c, uint64_t now_us)
{
    struct msghdr header = {.msg_iov = c->out + c->out_first, .msg_iovlen = c->out_count - c->out_first};
    size_t written = 0;
    ssize_t n;
    int result;

    if (c->ssl != NULL) {
        result = SSL_write_ex(c->ssl, c->load->piece, piece_fill(c, c->load->piece), &written);
        return result == 1 ? (ssize_t)written : tls_trouble(c, result, now_us);
    }
    n = sendmsg(c->fd, &header, MSG_NOSIGNAL);
    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    load_conn_fail(c, strerror(errno), NULL, now_us);
    return -1;
}

static void written_take(struct load_conn *c, size_t n)
{
    while (c->out_first < c->out_count && n >= c->out[c->out_first].iov_len)
        n -= c->out[c->out_first++].iov_len;
    if (c->out_first < c->out_count) {
        c->out[c->out_first].iov_base = (char *)c->out[c->out_first].iov_base + n;
        c->out[c->out_first].iov_len -= n;
    } else {
        c->out_first = c->out_count = 0;
    }
}

static void conn_watch(struct load_conn *c)
{
    int events = EV_READ | (c->out_count > 0 || c->wants_write || c->phase == LOAD_CONNECT ? EV_WRITE : 0);

    if ((c->io.events & (EV_READ | EV_WRITE)) == events && ev_is_active(&c->io))
        return;
    ev_io_stop(c->load->loop, &c->io);
    ev_io_set(&c->io, c->fd, events);
    ev_io_start(c->load->loop, &c->io);
}

void load_conn_queue(struct load_conn *c, const void *bytes, size_t length)
{
    HK_BUG_ON(c->out_count == sizeof c->out / sizeof c->out[0]);
    c->out[c->out_count++] = (struct iovec){(void *)(uintptr_t)bytes, length};
}

void load_conn_send(struct load_conn *c, uint64_t now_us)
{
    while (c->out_count > 0) {
        ssize_t n = conn_write(c, now_us);

        if (n < 0)
            return;
        if (n == 0)
            break;
        written_take(c, (size_t)n);
        /* The reply to a message is waited for from its last octet on. */
        if (c->phase == LOAD_DOT && now_us != c->phase_us)
            c->phase_us = now_us;
    }
    conn_watch(c);
}

/* An incomplete reply stays with its connection; the common reader is empty again for the next one. False when there is
 * no memory for that. */
static bool remainder_keep(struct load_conn *c)
{
    struct reply_reader *common = &c->load->reader;

    if (c->reader != NULL && reply_pending(c->reader) == 0) {
        free(c->reader);
        c->reader = NULL;
    } else if (c->reader == NULL && reply_pending(common) > 0) {
        c->reader = malloc(sizeof *c->reader);
        if (c->reader != NULL)
            *c->reader = *common;
        reply_reader_init(common);
        return c->reader != NULL;
    }
    return true;
}

/* Replies that are in the reader; false when the connection is gone. */
static bool replies_take(struct load_conn *c, struct reply_reader *reader, uint64_t now_us)
{
    struct reply r;
    int got;

    while ((got = reply_next(reader, &r)) == 1) {
        load_dialogue_reply(c, &r, now_us);
        if (c->fd < 0)
            return false;
        if (c->phase == LOAD_HANDSHAKE) {
            /* RFC 3207: what came in the clear behind 220 may be anybody's. */
            if (reply_pending(reader) > 0)
                load_conn_fail(c, "more came behind the reply to STARTTLS", NULL, now_us);
            return c->fd >= 0;
        }
    }
    if (got < 0)
        load_conn_fail(c, "not an SMTP reply", NULL, now_us);
    return got == 0;
}

static void replies_read(struct load_conn *c, uint64_t now_us)
{
    struct load *load = c->load;
    bool own = c->reader != NULL;
    struct reply_reader *reader = own ? c->reader : &load->reader;
    char *where;

    do {
        size_t room = reply_room(reader, &where);
        ssize_t n = conn_read(c, where, room, now_us);

        if (n == 0)
            break;
        if (n > 0)
            reply_filled(reader, (size_t)n);
        if (n < 0 || !replies_take(c, reader, now_us)) {
            if (!own)
                reply_reader_init(reader);
            return;
        }
    } while (c->ssl != NULL && c->phase != LOAD_HANDSHAKE && SSL_has_pending(c->ssl) == 1);
    if (!remainder_keep(c))
        load_conn_fail(c, "out of memory", NULL, now_us);
}

static void handshake(struct load_conn *c, uint64_t now_us)
{
    struct load *load = c->load;
    int result = 0;

    if (c->ssl == NULL)
        c->ssl = load_tls_new(load, c->fd);
    if (c->ssl == NULL) {
        load_conn_fail(c, "no memory for TLS", NULL, now_us);
        return;
    }
    result = SSL_do_handshake(c->ssl);
    if (result != 1) {
        if (tls_trouble(c, result, now_us) == 0)
            conn_watch(c);
        return;
    }
    load->counts.tls++;
    load->counts.tls_resumed += SSL_session_reused(c->ssl) == 1;
    load_histogram_add(&load->times.tls, clock_now_us() - c->phase_us);
    load_dialogue_secured(c, clock_now_us());
}

static void connected(struct load_conn *c, uint64_t now_us)
{
    int error = 0;
    socklen_t length = sizeof error;

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) {
        load_conn_fail(c, strerror(error != 0 ? error : errno), NULL, now_us);
        return;
    }
    c->load->counts.opened++;
    load_histogram_add(&c->load->times.connect, now_us - c->phase_us);
    load_dialogue_connected(c, now_us);
    if (c->phase == LOAD_HANDSHAKE)
        handshake(c, now_us);
    else
        conn_watch(c);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct load_conn *c = io->data;
    uint64_t now_us = clock_now_us();
    (void)loop;

    c->wants_write = false;
    if (c->phase == LOAD_CONNECT) {
        if (events & EV_WRITE)
            connected(c, now_us);
        return;
    }
    if (c->phase != LOAD_HANDSHAKE && (events & EV_WRITE || c->ssl != NULL))
        load_conn_send(c, now_us);
    if (c->fd >= 0 && c->phase != LOAD_HANDSHAKE && (events & EV_READ || c->ssl != NULL))
        replies_read(c, now_us);
    if (c->fd >= 0 && c->phase == LOAD_HANDSHAKE)
        handshake(c, now_us);
    else if (c->fd >= 0)
        conn_watch(c);
}

static int socket_open(struct load_conn *c)
{
    const struct load *load = c->load;
    const struct sockaddr_storage *source = NULL;
    int one = 1;

    c->fd = socket(load->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return -1;
    c->load->open++;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (load->options.source_count > 0) {
        source = &load->source[c->index % load->options.source_count];
        /* The port is chosen at connect(), when both ends are known: 28,000 for each source, not in all. */
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->fd, (const struct sockaddr *)source, load->to_length) != 0)
            return -1;
    }
    return connect(c->fd, (const struct sockaddr *)&load->to, load->to_length);
}

void load_conn_open(struct load_conn *c, uint64_t now_us)
{
    struct load *load = c->load;

    c->messages = 0;
    c->out_first = c->out_count = 0;
    c->in_transaction = c->wants_write = false;
    load_conn_phase(c, LOAD_CONNECT, now_us);
    c->head = malloc(load->head_size);
    if (c->head == NULL) {
        load_conn_fail(c, "out of memory", NULL, now_us);
        return;
    }
    if (socket_open(c) != 0 && errno != EINPROGRESS) {
        load_conn_fail(c,
                       errno == EADDRNOTAVAIL ? "no address or port left to connect from (give more --source)"
                                              : strerror(errno),
                       NULL, now_us);
        return;
    }
    if (load->open > load->open_max)
        load->open_max = load->open;
    ev_io_init(&c->io, on_io, c->fd, EV_READ | EV_WRITE);
    c->io.data = c;
    ev_io_start(load->loop, &c->io);
}

/* How long a connection may be in its phase, microseconds. */
static uint64_t patience_us(const struct load_conn *c)
{
    uint64_t timeout_us = (uint64_t)c->load->options.timeout_ms * 1000;

    if (c->phase == LOAD_COOLING)
        return (uint64_t)COOL_FIRST_US << (c->failures > 0 ? c->failures - 1 : 0);
    return c->phase == LOAD_QUIT && timeout_us > QUIT_WAIT_US ? QUIT_WAIT_US : timeout_us;
}

void load_conn_sweep(struct load *load, uint64_t now_us)
{
    for (uint32_t i = 0; i < load->connections; i++) {
        struct load_conn *c = &load->conn[i];
        char what[64];

        if (c->phase == LOAD_FREE || c->phase == LOAD_IDLE || now_us < c->phase_us + patience_us(c))
            continue;
        if (c->phase == LOAD_COOLING) {
            load_conn_phase(c, LOAD_FREE, now_us);
        } else if (c->phase == LOAD_QUIT) {
            load_conn_close(c, now_us);
        } else {
            snprintf(what, sizeof what, "no reply within %u ms", load->options.timeout_ms);
            load_conn_fail(c, what, NULL, now_us);
        }
    }
}
