/* blast.c - the bare loop: how fast one core can push made-up messages through SMTP when it does nothing else.
 *
 * The raw figure that bench/run sets hikyaku's against. Every connection owns one buffer: a message of the wanted
 * size, its final dot, and MAIL, RCPT, DATA of the next one, so that one write and one round trip go to a message
 * (RFC 2920). With --connection-each QUIT stands behind the dot instead, and the next message begins with a connection of its own.
 * Nothing is rendered, signed, logged or retried; a reply that is not expected ends the run.
 * One process, one thread. Exit status: 0, 1 the receiver did not play along, 2 bad usage.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hikyaku/reply.h"

#define ENVELOPE_BYTES 160u
#define SIZE_MAX_BYTES 16777216u

enum phase {
    PHASE_BANNER,
    PHASE_EHLO,
    PHASE_STARTTLS,
    PHASE_HANDSHAKE,
    PHASE_MAIL,
    PHASE_RCPT,
    PHASE_DATA,
    PHASE_DOT,
    PHASE_QUIT
};

struct blast {
    struct ev_loop *loop;
    struct sockaddr_in to;
    SSL_CTX *tls;
    uint64_t messages, begun, done, bytes, connects;
    uint32_t connections, open;
    size_t size;
    bool connection_each;
};

struct conn {
    struct blast *blast;
    ev_io io;
    int fd;
    SSL *ssl;
    enum phase phase;
    bool wants_write;
    char *unit; /* message, dot, envelope of the next */
    size_t message, unit_length;
    const char *out;
    size_t out_length;
    struct reply_reader reader;
};

static _Noreturn HK_PRINTF(2, 3) void stop(int status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("blast: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(status);
}

/* A message of about `size` octets in lines of 72, then ".", and room for the envelope. */
static void unit_make(struct conn *c)
{
    static const char head[] = "From: <blast@sender.test>\r\nSubject: load test\r\n\r\n";
    size_t size = c->blast->size, at = sizeof head - 1;

    c->unit = hk_xcalloc(1, size + ENVELOPE_BYTES + 80);
    memcpy(c->unit, head, at);
    while (at < size) {
        memset(c->unit + at, 'x', 70);
        at += 70;
        c->unit[at++] = '\r';
        c->unit[at++] = '\n';
    }
    c->unit[at++] = '.';
    c->unit[at++] = '\r';
    c->unit[at++] = '\n';
    c->message = at;
}

/* The envelope of the next message goes behind the dot; its address is new each time. */
static void envelope_put(struct conn *c)
{
    uint64_t number = ++c->blast->begun;
    int n = snprintf(c->unit + c->message, ENVELOPE_BYTES,
                     "MAIL FROM:<blast@sender.test> SIZE=%zu\r\nRCPT TO:<r%llu@domain%llu.test>\r\nDATA\r\n",
                     c->message, (unsigned long long)number, (unsigned long long)(number % 1000));

    c->unit_length = c->message + (size_t)n;
}

static void queue(struct conn *c, const char *bytes, size_t length)
{
    c->out = bytes;
    c->out_length = length;
}

/* What goes out when 354 has come: the message, and the next envelope as long as there is one, or QUIT. */
static void message_send(struct conn *c)
{
    c->unit_length = c->message;
    if (c->blast->connection_each)
        c->unit_length += (size_t)snprintf(c->unit + c->message, ENVELOPE_BYTES, "QUIT\r\n");
    else if (c->blast->begun < c->blast->messages)
        envelope_put(c);
    c->blast->bytes += c->message;
    queue(c, c->unit, c->unit_length);
}

static void first_envelope_send(struct conn *c)
{
    if (c->blast->begun == c->blast->messages) {
        c->phase = PHASE_QUIT;
        queue(c, "QUIT\r\n", 6);
        return;
    }
    envelope_put(c);
    c->phase = PHASE_MAIL;
    queue(c, c->unit + c->message, c->unit_length - c->message);
}

static void conn_connect(struct conn *c);

/* The receiver has said good-bye. */
static void conn_close(struct conn *c)
{
    ev_io_stop(c->blast->loop, &c->io);
    SSL_free(c->ssl);
    close(c->fd);
    if (c->blast->connection_each && c->blast->connects < c->blast->messages) {
        conn_connect(c);
        return;
    }
    free(c->unit);
    if (--c->blast->open == 0)
        ev_break(c->blast->loop, EVBREAK_ALL);
    free(c);
}

static void on_ehlo(struct conn *c, const struct reply *r)
{
    struct ehlo_offer offer;

    ehlo_offer_parse(r, &offer);
    if (!offer.pipelining)
        stop(1, "the receiver does not offer PIPELINING");
    if (c->blast->tls != NULL && c->ssl == NULL) {
        if (!offer.starttls)
            stop(1, "the receiver does not offer STARTTLS");
        c->phase = PHASE_STARTTLS;
        queue(c, "STARTTLS\r\n", 10);
        return;
    }
    first_envelope_send(c);
}

static void on_reply(struct conn *c, const struct reply *r)
{
    static const unsigned expected[] = {
        [PHASE_BANNER] = 220, [PHASE_EHLO] = 250, [PHASE_STARTTLS] = 220, [PHASE_MAIL] = 250,
        [PHASE_RCPT] = 250,   [PHASE_DATA] = 354, [PHASE_DOT] = 250,      [PHASE_QUIT] = 221,
    };

    if (r->code != expected[c->phase])
        stop(1, "the receiver answered %u %s", r->code, r->text);
    switch (c->phase) {
    case PHASE_BANNER:
        c->phase = PHASE_EHLO;
        queue(c, "EHLO blast.test\r\n", 17);
        break;
    case PHASE_EHLO:
        on_ehlo(c, r);
        break;
    case PHASE_STARTTLS:
        c->phase = PHASE_HANDSHAKE;
        c->ssl = SSL_new(c->blast->tls);
        if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1)
            stop(1, "no memory for TLS");
        SSL_set_connect_state(c->ssl);
        break;
    case PHASE_MAIL:
        c->phase = PHASE_RCPT;
        break;
    case PHASE_RCPT:
        c->phase = PHASE_DATA;
        break;
    case PHASE_DATA:
        c->phase = PHASE_DOT;
        message_send(c);
        break;
    case PHASE_DOT:
        c->blast->done++;
        c->phase = c->blast->connection_each ? PHASE_QUIT : PHASE_MAIL;
        if (c->unit_length == c->message)
            first_envelope_send(c);
        break;
    case PHASE_HANDSHAKE:
    case PHASE_QUIT:
        break;
    }
}

/* 0 try again later; anything else that is not progress ends the run. */
static size_t tls_result(struct conn *c, int result, size_t n)
{
    int error = SSL_get_error(c->ssl, result);

    if (result == 1)
        return n;
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        stop(1, "TLS: %s",
             error == SSL_ERROR_SSL ? ERR_reason_error_string(ERR_peek_error()) : "connection lost");
    c->wants_write = error == SSL_ERROR_WANT_WRITE;
    return 0;
}

static size_t conn_read(struct conn *c, char *to, size_t size)
{
    size_t got = 0;
    ssize_t n;

    if (c->ssl != NULL) {
        int result = SSL_read_ex(c->ssl, to, size, &got);

        return tls_result(c, result, got);
    }
    n = recv(c->fd, to, size, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        stop(1, "the receiver closed the connection");
    return n > 0 ? (size_t)n : 0;
}

static void conn_write(struct conn *c)
{
    while (c->out_length > 0) {
        size_t written = 0;
        ssize_t n;

        if (c->ssl != NULL) {
            n = (ssize_t)tls_result(c, SSL_write_ex(c->ssl, c->out, c->out_length, &written), 1);
            n = n == 1 ? (ssize_t)written : 0;
        } else {
            n = send(c->fd, c->out, c->out_length, MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN && errno != EINTR)
                stop(1, "the receiver closed the connection: %s", strerror(errno));
        }
        if (n <= 0)
            return;
        c->out += n;
        c->out_length -= (size_t)n;
    }
}

static void conn_watch(struct conn *c)
{
    int events = EV_READ | (c->out_length > 0 || c->wants_write ? EV_WRITE : 0);

    if (c->io.events == events)
        return;
    ev_io_stop(c->blast->loop, &c->io);
    ev_io_set(&c->io, c->fd, events);
    ev_io_start(c->blast->loop, &c->io);
}

/* Replies that are here; false when the connection is gone. */
static bool conn_replies(struct conn *c)
{
    struct reply r;
    char *where;
    size_t room = reply_room(&c->reader, &where);
    int got;

    reply_filled(&c->reader, conn_read(c, where, room));
    while ((got = reply_next(&c->reader, &r)) == 1) {
        if (c->phase == PHASE_QUIT) {
            conn_close(c);
            return false;
        }
        on_reply(c, &r);
    }
    if (got < 0)
        stop(1, "the receiver sent something that is no reply");
    return true;
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct conn *c = io->data;
    (void)loop;
    (void)events;

    c->wants_write = false;
    if (c->phase != PHASE_HANDSHAKE)
        do {
            if (!conn_replies(c))
                return;
        } while (c->ssl != NULL && c->phase != PHASE_HANDSHAKE && SSL_has_pending(c->ssl) == 1);
    if (c->phase == PHASE_HANDSHAKE && tls_result(c, SSL_do_handshake(c->ssl), 1) == 1) {
        c->phase = PHASE_EHLO;
        queue(c, "EHLO blast.test\r\n", 17);
    }
    if (c->phase != PHASE_HANDSHAKE)
        conn_write(c);
    conn_watch(c);
}

static void conn_connect(struct conn *c)
{
    struct blast *b = c->blast;
    int one = 1;

    b->connects++;
    c->ssl = NULL;
    c->phase = PHASE_BANNER;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&b->to, sizeof b->to) != 0)
        stop(1, "connecting: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (ioctl(c->fd, FIONBIO, &one) != 0)
        stop(1, "connecting: %s", strerror(errno));
    reply_reader_init(&c->reader);
    ev_io_init(&c->io, on_io, c->fd, EV_READ);
    c->io.data = c;
    ev_io_start(b->loop, &c->io);
}

static void conn_open(struct blast *b)
{
    struct conn *c = hk_xcalloc(1, sizeof *c);

    c->blast = b;
    unit_make(c);
    conn_connect(c);
    b->open++;
}

static uint64_t number(const char *what, const char *text, uint64_t max)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);

    if (*end != '\0' || text[0] < '0' || text[0] > '9' || value == 0 || value > max)
        stop(2, "%s %s: write a whole number from 1 to %llu", what, text, (unsigned long long)max);
    return value;
}

static void address(struct blast *b, const char *text)
{
    const char *colon = strrchr(text, ':');
    char host[32];

    snprintf(host, sizeof host, "%.*s", colon != NULL ? (int)(colon - text) : 0, text);
    b->to.sin_family = AF_INET;
    if (colon == NULL || inet_pton(AF_INET, host, &b->to.sin_addr) != 1)
        stop(2, "%s: write an IPv4 address and a port, as 127.0.0.1:2525", text);
    b->to.sin_port = htons((uint16_t)number("port", colon + 1, 65535));
}

static void tls_setup(struct blast *b)
{
    b->tls = SSL_CTX_new(TLS_client_method());
    if (b->tls == NULL)
        stop(1, "no memory for TLS");
    SSL_CTX_set_mode(b->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

static void options(struct blast *b, int argc, char **argv)
{
    static const struct option known[] = {
        {"to", required_argument, NULL, 't'},
        {"connections", required_argument, NULL, 'c'},
        {"messages", required_argument, NULL, 'm'},
        {"size", required_argument, NULL, 's'},
        {"tls", no_argument, NULL, 'T'},
        {"connection-each", no_argument, NULL, 'e'},
        {NULL, 0, NULL, 0},
    };
    int got;

    *b = (struct blast){.messages = 100000, .connections = 20, .size = 10240};
    while ((got = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (got == 't')
            address(b, optarg);
        else if (got == 'c')
            b->connections = (uint32_t)number("--connections", optarg, 10000);
        else if (got == 'm')
            b->messages = number("--messages", optarg, 1000000000);
        else if (got == 's')
            b->size = number("--size", optarg, SIZE_MAX_BYTES);
        else if (got == 'T')
            tls_setup(b);
        else if (got == 'e')
            b->connection_each = true;
        else
            exit(2);
    }
    if (b->to.sin_port == 0 || optind < argc)
        stop(2,
             "usage: blast --to 127.0.0.1:PORT [--tls] [--connection-each] [--messages N] [--connections N] "
             "[--size BYTES]");
}

int main(int argc, char **argv)
{
    struct blast b;
    struct rusage use;
    uint64_t started;
    double seconds, cpu;

    options(&b, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    b.loop = ev_loop_new(EVFLAG_AUTO);
    if (b.loop == NULL)
        stop(1, "no memory");
    started = clock_now_us();
    for (uint32_t i = 0; i < b.connections; i++)
        conn_open(&b);
    ev_run(b.loop, 0);
    seconds = (double)(clock_now_us() - started) / 1e6;
    getrusage(RUSAGE_SELF, &use);
    cpu = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
          (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
    printf("{\"messages\": %llu, \"bytes\": %llu, \"seconds\": %.3f, \"cpu_seconds\": %.3f, "
           "\"messages_per_second\": %.0f, \"messages_per_cpu_second\": %.0f}\n",
           (unsigned long long)b.done, (unsigned long long)b.bytes, seconds, cpu, (double)b.done / seconds,
           (double)b.done / cpu);
    SSL_CTX_free(b.tls);
    ev_loop_destroy(b.loop);
    return b.done == b.messages ? 0 : 1;
}
