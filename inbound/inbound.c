/* inbound.c - the bounce receiver's life: read what it needs, give up everything else, listen (include/hikyaku/inbound.h). */
#include "inbound.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hikyaku/client_cert.h"

#define ACCEPTS_MAX    64      /* at once; then the others have their turn */
#define ANSWER_WAIT_MS 120000u /* for the master; then whoever waits is told to come again */
#define ACCEPT_PAUSE_S 0.2     /* after the system had no descriptor left */

size_t inbound_listens(const struct config *config, const struct cfg_address *out[FRONT_LISTEN_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < config->inbound.listen_count && count < FRONT_LISTEN_MAX; i++)
        out[count++] = &config->inbound.listen[i];
    for (size_t i = 0; i < config->inbound.lmtp_count && count < FRONT_LISTEN_MAX; i++)
        out[count++] = &config->inbound.lmtp[i];
    return count;
}

struct listener {
    ev_io io;
    ev_timer pause;
    struct inbound *in;
    bool lmtp;
};

static void on_pause(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct listener *listener = timer->data;

    (void)events;
    ev_io_start(loop, &listener->io);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    struct listener *listener = io->data;

    (void)events;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage from = {0};
        socklen_t size = sizeof from;
        int fd = accept4(io->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            peer_open(listener->in, fd, (const struct sockaddr *)&from, listener->lmtp);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            ev_io_stop(loop, io);
            ev_timer_set(&listener->pause, ACCEPT_PAUSE_S, 0.);
            ev_timer_start(loop, &listener->pause);
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void on_gone(void *context)
{
    struct inbound *in = context;

    peers_leave(in);
    ev_break(in->loop, EVBREAK_ALL);
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    peers_look(timer->data);
    process_memory_settle();
}

/* ---- what it needs ---- */

static int open_tls(struct inbound *in, struct hk_why *why)
{
    struct client_cert cert;
    int rc, ok;

    if (in->config->inbound.tls.certificate == NULL)
        return 0;
    rc = client_cert_load(&in->config->inbound.tls, &cert, why);
    if (rc != 0)
        return rc;
    in->tls = SSL_CTX_new(TLS_server_method());
    ok = in->tls != NULL && SSL_CTX_use_cert_and_key(in->tls, cert.leaf, cert.key, cert.chain, 1) == 1;
    client_cert_free(&cert);
    if (!ok)
        return why_set(why, HK_EINVAL, "%s: OpenSSL does not take it with its key: %s",
                       in->config->inbound.tls.certificate, ERR_reason_error_string(ERR_peek_last_error()));
    (void)SSL_CTX_set_options(in->tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* Who comes again brings a ticket: nothing is kept here for strangers. */
    (void)SSL_CTX_set_session_cache_mode(in->tls, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_mode(in->tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return 0;
}

static int open_all(struct inbound *in, int master_fd, struct hk_why *why)
{
    const struct config *c = in->config;
    uint32_t connections;
    int rc = signer_load_tokens(c, &in->signer, why);

    if (rc == 0)
        rc = open_tls(in, why);
    if (rc == 0)
        rc = process_connections("inbound.connections", c->inbound.connections, &connections, why);
    if (rc != 0)
        return rc;
    in->whose = (struct whose){.signer = in->signer, .token_age_s = c->bounce.token_age_s};
    in->smtp = (struct session_settings){
        .hostname = c->hostname, .message_max = (size_t)c->inbound.message_bytes, .tls = in->tls != NULL};
    in->lmtp = in->smtp;
    in->lmtp.lmtp = true;
    in->reader = bounce_reader_new();
    in->guard = guard_new(connections, c->inbound.connections_each, c->inbound.rate, c->inbound.rate_each);
    in->loop = ev_loop_new(EVFLAG_AUTO);
    if (in->loop != NULL)
        in->desk = desk_new(in->loop, master_fd, ANSWER_WAIT_MS, peer_answer, on_gone, in);
    if (in->reader == NULL || in->guard == NULL || in->desk == NULL)
        return why_set(why, HK_ENOMEM, "not enough memory to receive bounces");
    charsets_load();
    return process_confine(why);
}

static void listen_all(struct inbound *in, const struct front_args *args, struct listener *listener)
{
    for (size_t i = 0; i < args->listen_count; i++) {
        listener[i].in = in;
        listener[i].lmtp = i >= in->config->inbound.listen_count;
        ev_io_init(&listener[i].io, on_accept, args->listen_fd[i], EV_READ);
        ev_timer_init(&listener[i].pause, on_pause, ACCEPT_PAUSE_S, 0.);
        listener[i].io.data = listener[i].pause.data = &listener[i];
        ev_io_start(in->loop, &listener[i].io);
    }
}

static void close_all(struct inbound *in)
{
    desk_free(in->desk);
    guard_free(in->guard);
    bounce_reader_free(in->reader);
    signer_free(in->signer);
    SSL_CTX_free(in->tls);
    if (in->loop != NULL)
        ev_loop_destroy(in->loop);
    free(in);
}

int inbound_main(const struct front_args *args)
{
    struct inbound *in = hk_xcalloc(1, sizeof *in);
    struct listener listener[FRONT_LISTEN_MAX] = {0};
    struct hk_why why;
    ev_timer tick;
    int rc;

    in->config = args->config;
    TAILQ_INIT(&in->peers);
    rc = open_all(in, args->master_fd, &why);
    if (rc != 0) {
        log_error("%s", why.text);
        close_all(in);
        return 1;
    }
    listen_all(in, args, listener);
    ev_timer_init(&tick, on_tick, 1., 1.);
    tick.data = in;
    ev_timer_start(in->loop, &tick);
    ev_run(in->loop, 0);
    close_all(in);
    return 0;
}
