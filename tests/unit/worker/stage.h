/* stage.h - a stage for one worker: its campaign and region, a receiver on loopback, and the master, all played by the
 * test. The worker is the real one, in a process of its own, where calls fail as the test arms it.
 *
 * One connection, STAGE_LETTERS letters. The master grants every commit, closes when all letters are settled, and ends the
 * worker. The receiver takes every message and notes what came: the judge of what the worker says.
 */
#ifndef TEST_WORKER_STAGE_H
#define TEST_WORKER_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"
#include "hikyaku/message.h"
#include "hikyaku/process.h"
#include "hikyaku/segment.h"

#define STAGE_LETTERS  3u
#define STAGE_TALKS    8u /* connections the receiver takes in one run */
#define STAGE_IN_BYTES (1u << 20)
#define STAGE_LIMIT_MS 30000u /* a run that takes longer hangs */
#define STAGE_HOLD_MS  20u    /* for a worker to fill every buffer on the way */
#define STAGE_HOST     "mx.test"

enum { WORKER_ENDED = 0, WORKER_NO_MEMORY = 1, WORKER_BAD_CONFIG = 2 };

struct talk { /* one connection of the receiver */
    int fd;   /* -1: over */
    SSL *ssl;
    bool in_data;
    int recipient;
    uint64_t bytes; /* that came in plain */
    size_t used;
    char *in;        /* STAGE_IN_BYTES */
    char reply[512]; /* what goes out in one write, when all that has come is answered */
};

struct stage {
    /* What the test wants. */
    enum tls_policy tls; /* of the destination */
    bool pipelining, starttls;
    bool signs;           /* every copy, by RSA */
    uint64_t reset_after; /* raw bytes of a connection at which the receiver resets it; 0: never */
    int receive_buffer;   /* of the receiver; 0: the system's */
    size_t hold_at; /* bytes of a message at which the receiver stops reading until it is granted; 0: never */
    uint32_t lines; /* of the body */
    /* What came of the last run. */
    bool struck; /* a fault did */
    int status;  /* of the worker's process, as waitpid() gives it */
    unsigned opened, closed, sent, done[STAGE_LETTERS];
    bool granted[STAGE_LETTERS];
    unsigned accepted[STAGE_LETTERS], in_tls[STAGE_LETTERS];
    size_t wire_bytes[STAGE_LETTERS];
    bool reset; /* the receiver did */
    struct flight flight[STAGE_LETTERS];
    struct outcome_reply failure; /* of the connection */
    /* Its own. */
    char folder[64];
    struct config *config, *signing_config;
    struct region region;
    SSL_CTX *ssl_ctx;
    bool *struck_there; /* shared with the worker */
    int worker_wake, master_wake, listener;
    struct talk talk[STAGE_TALKS];
    unsigned talks;
    bool close_told, exit_told;
    bool held; /* a grant is held back, until the receiver has stopped reading for HOLD_MS */
    uint32_t held_slot;
    uint64_t stopped_ms; /* 0: it reads */
};

/* ---- setting up ---- */

static inline void stage_path(const struct stage *st, char out[128], const char *name)
{
    (void)snprintf(out, 128, "%s/%s", st->folder, name);
}

static inline void stage_put(const struct stage *st, const char *name, const char *text)
{
    char path[128];
    struct hk_why why = {""};

    stage_path(st, path, name);
    if (hk_write_file(path, 0600, text, strlen(text), &why) != 0)
        fail_msg("%s", why.text);
}

/* The body, with these ends of lines; some lines begin with `dot`, which the wire has doubled. */
static inline char *stage_body(const struct stage *st, const char *end, const char *dot)
{
    size_t size = 1 + st->lines * 64u, used = 0;
    char *body = malloc(size);

    assert_non_null(body);
    for (uint32_t i = 0; i < st->lines; i++)
        used += (size_t)snprintf(body + used, size - used, "%sline %u of a letter that may be cut anywhere%s",
                                 i % 10 == 0 ? dot : "", i, end);
    return body;
}

static inline void stage_message(const struct stage *st)
{
    char *body = stage_body(st, "\n", "."), *text = NULL;

    assert_true(asprintf(&text, "From: a@me.test\nTo: <{{email}}>\nSubject: for {{email}}\n\n%s", body) > 0);
    stage_put(st, "campaigns/one/message.eml", text);
    free(text);
    free(body);
}

static inline void stage_campaign(const struct stage *st)
{
    char path[128], list[128];
    struct import_result result;
    struct hk_why why = {""};

    stage_path(st, path, "campaigns");
    assert_int_equal(mkdir(path, 0700), 0);
    stage_path(st, path, "campaigns/one");
    assert_int_equal(mkdir(path, 0700), 0);
    stage_put(st, "list.csv", "email\na0@x.test\na1@x.test\na2@x.test\n");
    stage_path(st, list, "list.csv");
    stage_path(st, path, "campaigns/one/segment-0.seg");
    const struct import_options options = {.list_path = list, .segment_path = path};
    if (list_import(&options, &result, &why) != 0)
        fail_msg("%s", why.text);
    assert_int_equal(result.recipients, STAGE_LETTERS);
}

/* A certificate for STAGE_HOST that signs itself: the receiver's, and the authority that the worker trusts. */
static inline void stage_certificate(struct stage *st)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_NAME *name = X509_get_subject_name(x);
    char path[128];

    assert_int_equal(X509_set_version(x, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x), 1), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), -3600));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), 86400));
    assert_int_equal(
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)STAGE_HOST, -1, -1, 0),
        1);
    assert_int_equal(X509_set_issuer_name(x, name), 1);
    assert_int_equal(X509_set_pubkey(x, key), 1);
    X509_EXTENSION *host = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:" STAGE_HOST);
    assert_int_equal(X509_add_ext(x, host, -1), 1);
    X509_EXTENSION_free(host);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    st->ssl_ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(st->ssl_ctx, x), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(st->ssl_ctx, key), 1);
    stage_path(st, path, "ca.pem");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, x), 1);
    assert_int_equal(fclose(f), 0);
    X509_free(x);
    EVP_PKEY_free(key);
}

/* With `more` in its file. */
static inline struct config *stage_config(const struct stage *st, const char *name, const char *more)
{
    struct config *config;
    char path[128], text[512];
    struct hk_why why = {""};

    (void)snprintf(
        text, sizeof text,
        "hostname = \"me.test\"\nstate_dir = \"%s\"\nsender { from_domain = \"me.test\" return_path = "
        "\"b.me.test\" secret_file = \"verp.key\" }\ntls { ca_file = \"ca.pem\" }\n%s",
        st->folder, more);
    stage_put(st, name, text);
    stage_path(st, path, name);
    if (config_load(path, &config, &why) != 0)
        fail_msg("%s", why.text);
    return config;
}

static inline struct stage *stage_new(void)
{
    struct stage *st = calloc(1, sizeof *st);
    char path[128], *record;
    struct hk_why why = {""};

    assert_non_null(st);
    (void)snprintf(st->folder, sizeof st->folder, "/tmp/hikyaku-worker-XXXXXX");
    assert_non_null(mkdtemp(st->folder));
    st->lines = 200;
    stage_path(st, path, "verp.key");
    assert_int_equal(keygen_verp(path, &why), 0);
    stage_certificate(st);
    stage_path(st, path, "s1.pem");
    assert_int_equal(keygen_dkim(DKIM_RSA2048, "me.test", "s1", path, &record, &why), 0);
    free(record);
    st->config = stage_config(st, "hikyaku.conf", "");
    st->signing_config =
        stage_config(st, "signing.conf", "dkim \"s1\" { domain = \"me.test\" key_file = \"s1.pem\" }\n");
    stage_campaign(st);
    st->struck_there = mmap(NULL, sizeof(bool), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(st->struck_there, MAP_FAILED);
    return st;
}

static inline void stage_free(struct stage *st)
{
    char command[128];

    config_free(st->config);
    config_free(st->signing_config);
    SSL_CTX_free(st->ssl_ctx);
    munmap(st->struck_there, sizeof(bool));
    (void)snprintf(command, sizeof command, "rm -r %s", st->folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a name of our own making */
    free(st);
}

/* ---- the receiver ---- */

static inline void stage_listen(struct stage *st, uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;

    st->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(st->listener >= 0);
    if (st->receive_buffer > 0)
        assert_int_equal(
            setsockopt(st->listener, SOL_SOCKET, SO_RCVBUF, &st->receive_buffer, sizeof st->receive_buffer),
            0);
    assert_int_equal(bind(st->listener, (struct sockaddr *)&at, length), 0);
    assert_int_equal(getsockname(st->listener, (struct sockaddr *)&at, &length), 0);
    assert_int_equal(listen(st->listener, 8), 0);
    *port = ntohs(at.sin_port);
}

static inline void talk_end(struct stage *st, struct talk *t, bool reset)
{
    const struct linger now = {1, 0};

    if (reset && setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0)
        st->reset = true;
    SSL_free(t->ssl);
    close(t->fd);
    free(t->in);
    *t = (struct talk){.fd = -1};
}

static inline void talk_put(struct talk *t, const char *text)
{
    size_t used = strlen(t->reply);

    assert_true(used + strlen(text) < sizeof t->reply);
    (void)snprintf(t->reply + used, sizeof t->reply - used, "%s", text);
}

/* A connection that is gone is seen when it is read. */
static inline void talk_flush(struct talk *t)
{
    size_t done = 0, length = strlen(t->reply);

    if (length == 0)
        return;
    if (t->ssl != NULL)
        (void)SSL_write_ex(t->ssl, t->reply, length, &done);
    else
        (void)!send(t->fd, t->reply, length, MSG_NOSIGNAL);
    t->reply[0] = '\0';
}

static inline void talk_begin(struct stage *st)
{
    int fd = accept4(st->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return;
    const int one = 1;
    assert_true(st->talks < STAGE_TALKS);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
    struct talk *t = &st->talk[st->talks++];
    *t = (struct talk){.fd = fd, .recipient = -1, .in = malloc(STAGE_IN_BYTES)};
    assert_non_null(t->in);
    talk_put(t, "220 " STAGE_HOST " ready\r\n");
    talk_flush(t);
}

/* What is made anew for each copy is there: "Message-ID: <" 32 digits "@me.test>". */
static inline void talk_judge_id(const char *header, size_t length)
{
    static const char begin[] = "Message-ID: <", end[] = "@me.test>\r\n";
    const char *at = memmem(header, length, begin, sizeof begin - 1);

    assert_non_null(at);
    at += sizeof begin - 1;
    assert_int_equal(strspn(at, "abcdefghijklmnopqrstuvwxyz234567"), 32);
    assert_int_equal(strncmp(at + 32, end, sizeof end - 1), 0);
}

/* 256 octets in base64, on five lines, and nothing left blank (RFC 6376 3.5, b=). */
static inline void talk_judge_signature(const struct stage *st, const char *header, size_t length)
{
    static const char begin[] = ";\r\n b=";
    const char *at = memmem(header, length, begin, sizeof begin - 1);
    size_t digits = 0;

    assert_int_equal(at != NULL, st->signs);
    if (at == NULL)
        return;
    at += sizeof begin - 1;
    for (;; at += 3) {
        size_t line = strcspn(at, "\r ");
        digits += line;
        at += line;
        if (strncmp(at, "\r\n ", 3) != 0)
            break;
    }
    assert_int_equal(digits, 344);
    assert_int_equal(strncmp(at, "\r\n", 2), 0);
}

/* A message came whole: `length` bytes without the dot. */
static inline void talk_judge(struct stage *st, const struct talk *t, size_t length)
{
    const char *body = memmem(t->in, length, "\r\n\r\n", 4);
    char *expected = stage_body(st, "\r\n", ".."), subject[64];

    assert_true(t->recipient >= 0 && t->recipient < (int)STAGE_LETTERS);
    assert_non_null(body);
    body += 4;
    assert_int_equal(length - (size_t)(body - t->in), strlen(expected));
    assert_memory_equal(body, expected, strlen(expected));
    (void)snprintf(subject, sizeof subject, "\r\nSubject: for a%d@x.test\r\n", t->recipient);
    assert_non_null(memmem(t->in, (size_t)(body - t->in), subject, strlen(subject)));
    talk_judge_id(t->in, (size_t)(body - t->in));
    talk_judge_signature(st, t->in, (size_t)(body - t->in));
    free(expected);
    st->accepted[t->recipient]++;
    st->in_tls[t->recipient] += t->ssl != NULL;
    st->wire_bytes[t->recipient] = length;
}

static inline void talk_command(struct stage *st, struct talk *t, const char *line)
{
    if (strncmp(line, "EHLO ", 5) == 0) {
        talk_put(t, "250-" STAGE_HOST "\r\n");
        if (st->pipelining)
            talk_put(t, "250-PIPELINING\r\n");
        if (st->starttls && t->ssl == NULL)
            talk_put(t, "250-STARTTLS\r\n");
        talk_put(t, "250 SIZE 10000000\r\n");
    } else if (strncmp(line, "STARTTLS", 8) == 0) {
        talk_put(t, "220 go on\r\n");
        talk_flush(t);
        t->ssl = SSL_new(st->ssl_ctx);
        assert_int_equal(SSL_set_fd(t->ssl, t->fd), 1);
        SSL_set_accept_state(t->ssl);
    } else if (strncmp(line, "MAIL FROM:<b-", 13) == 0 && strstr(line, "@b.me.test>") != NULL) {
        talk_put(t, "250 2.1.0 ok\r\n");
    } else if (strncmp(line, "RCPT TO:<a", 10) == 0) {
        t->recipient = line[10] - '0';
        talk_put(t, "250 2.1.5 ok\r\n");
    } else if (strncmp(line, "DATA", 4) == 0) {
        t->in_data = true;
        talk_put(t, "354 go on\r\n");
    } else if (strncmp(line, "QUIT", 4) == 0) {
        talk_put(t, "221 bye\r\n");
    } else {
        talk_put(t, strncmp(line, "RSET", 4) == 0 ? "250 ok\r\n" : "500 what?\r\n");
    }
}

/* Take one command or message off the front. False: none is whole. */
static inline bool talk_step(struct stage *st, struct talk *t)
{
    const char *end = t->in_data ? memmem(t->in, t->used, "\r\n.\r\n", 5) : memchr(t->in, '\n', t->used);
    size_t length = end == NULL ? 0 : (size_t)(end - t->in) + (t->in_data ? 5 : 1);

    if (end == NULL)
        return false;
    if (t->in_data) {
        talk_judge(st, t, length - 3);
        t->in_data = false;
        talk_put(t, "250 2.0.0 queued\r\n");
    } else {
        t->in[length - 1] = '\0';
        talk_command(st, t, t->in);
    }
    t->used -= length;
    memmove(t->in, t->in + length, t->used);
    return true;
}

/* Bytes read, 0: none now, -1: the end. */
static inline int talk_read(struct stage *st, struct talk *t)
{
    size_t room = STAGE_IN_BYTES - t->used, got = 0;

    assert_true(room > 0);
    if (t->ssl != NULL) {
        int rc = SSL_read_ex(t->ssl, t->in + t->used, room < 4096 ? room : 4096, &got);
        return rc == 1 ? (int)got : SSL_get_error(t->ssl, rc) == SSL_ERROR_WANT_READ ? 0 : -1;
    }
    if (st->reset_after > 0 && st->reset_after - t->bytes < room)
        room = (size_t)(st->reset_after - t->bytes);
    ssize_t n = recv(t->fd, t->in + t->used, room < 4096 ? room : 4096, 0);
    t->bytes += n > 0 ? (uint64_t)n : 0;
    return n > 0 ? (int)n : n < 0 && errno == EAGAIN ? 0 : -1;
}

static inline uint64_t talk_raw_bytes(const struct talk *t)
{
    return t->bytes + (t->ssl != NULL ? BIO_number_read(SSL_get_rbio(t->ssl)) : 0);
}

/* While its grant is held back, no more than the beginning of a message is read. */
static inline bool talk_stops(struct stage *st, const struct talk *t)
{
    if (!st->held || !t->in_data || t->used < st->hold_at)
        return false;
    if (st->stopped_ms == 0)
        st->stopped_ms = clock_now_ms();
    return true;
}

static inline void talk_serve(struct stage *st, struct talk *t)
{
    int got;

    while (t->fd >= 0 && !talk_stops(st, t) && (got = talk_read(st, t)) != 0) {
        if (got < 0) {
            talk_end(st, t, false);
            return;
        }
        t->used += (size_t)got;
        while (talk_step(st, t))
            ;
        talk_flush(t);
        if (st->reset_after > 0 && talk_raw_bytes(t) >= st->reset_after)
            talk_end(st, t, true);
    }
    if (t->fd >= 0 && st->reset_after > 0 && talk_raw_bytes(t) >= st->reset_after)
        talk_end(st, t, true);
}

/* ---- the master ---- */

static inline void stage_tell(const struct stage *st, const struct desc *desc)
{
    const uint64_t one = 1;

    assert_true(ring_push(region_down(&st->region, 0), desc));
    assert_int_equal(write(st->worker_wake, &one, sizeof one), sizeof one);
}

static inline void stage_grant(struct stage *st, uint32_t slot)
{
    assert_true(slot < st->sent);
    assert_false(st->granted[slot]);
    st->granted[slot] = true;
    stage_tell(st, &(struct desc){.kind = DESC_GRANT, .slot = slot});
}

static inline void stage_heard(struct stage *st, const struct desc *desc)
{
    if (desc->kind == DESC_OPENED) {
        st->opened++;
        for (; st->sent < STAGE_LETTERS; st->sent++)
            stage_tell(st,
                       &(struct desc){.kind = DESC_SEND, .attempt = 1, .slot = st->sent, .index = st->sent});
    } else if (desc->kind == DESC_COMMIT) {
        st->held = st->hold_at > 0;
        st->held_slot = desc->slot;
        if (!st->held)
            stage_grant(st, desc->slot);
    } else if (desc->kind == DESC_DONE) {
        assert_true(desc->slot < st->sent);
        st->done[desc->slot]++;
    } else {
        assert_int_equal(desc->kind, DESC_CLOSED);
        st->closed++;
    }
}

static inline void stage_hear(struct stage *st)
{
    struct ring *up = region_up(&st->region, 0);
    const struct desc *desc;

    while ((desc = ring_peek(up)) != NULL) {
        struct desc copy = *desc;
        ring_next(up);
        stage_heard(st, &copy);
    }
}

static inline unsigned stage_done(const struct stage *st)
{
    unsigned done = 0;

    for (unsigned i = 0; i < STAGE_LETTERS; i++)
        done += st->done[i];
    return done;
}

static inline void stage_direct(struct stage *st)
{
    stage_hear(st);
    if (st->held && st->stopped_ms != 0 && clock_now_ms() > st->stopped_ms + STAGE_HOLD_MS) {
        stage_grant(st, st->held_slot);
        st->held = false;
        st->stopped_ms = 0;
    }
    bool settled = stage_done(st) >= st->sent;
    if (st->sent == STAGE_LETTERS && settled && !st->close_told) {
        stage_tell(st, &(struct desc){.kind = DESC_CLOSE});
        st->close_told = true;
    }
    if (st->closed > 0 && settled && !st->exit_told) {
        stage_tell(st, &(struct desc){.kind = DESC_EXIT});
        st->exit_told = true;
    }
}

static inline void stage_serve(struct stage *st, int wait_ms)
{
    struct pollfd fds[STAGE_TALKS + 2] = {{.fd = st->master_wake, .events = POLLIN},
                                          {.fd = st->listener, .events = POLLIN}};
    uint64_t count;

    for (unsigned i = 0; i < STAGE_TALKS; i++)
        fds[i + 2] = (struct pollfd){.fd = i < st->talks ? st->talk[i].fd : -1, .events = POLLIN};
    if (!ring_sleep(region_up(&st->region, 0)))
        wait_ms = 0;
    (void)poll(fds, STAGE_TALKS + 2, wait_ms);
    ring_awake(region_up(&st->region, 0));
    (void)!read(st->master_wake, &count, sizeof count);
    talk_begin(st);
    for (unsigned i = 0; i < st->talks; i++)
        if (st->talk[i].fd >= 0)
            talk_serve(st, &st->talk[i]);
}

/* ---- a run ---- */

/* The campaign's slot, with what a manifest would name: its files as they are. */
static inline void stage_pinned(struct stage *st)
{
    struct region_campaign *campaign = &st->region.campaign[0];
    struct segment *segment;
    struct hk_why why;
    char path[4096];

    (void)snprintf(campaign->id, sizeof campaign->id, "one");
    campaign->segments = 1;
    if (segment_open_campaign(st->config, campaign->id, 1, true, &segment, &why) != 0)
        fail_msg("%s", why.text);
    (void)snprintf(campaign->list_sha256, sizeof campaign->list_sha256, "%s", segment_sha256(segment));
    segment_close(segment);
    assert_int_equal(config_path(st->config, path, sizeof path, "campaigns/one/message.eml"), 0);
    if (hk_sha256_file(path, campaign->message_sha256, &why) != 0)
        fail_msg("%s", why.text);
    atomic_store(&campaign->generation, 1);
}

static inline void stage_region(struct stage *st, uint16_t port)
{
    const struct region_sizes sizes = {
        .workers = 1, .ring_slots = 64, .flight_slots = STAGE_LETTERS, .conn_slots = 1, .dest_slots = 1};
    struct hk_why why = {""};
    char path[128];

    stage_path(st, path, "region");
    unlink(path);
    if (region_create(path, sizes, 1, &st->region, &why) != 0)
        fail_msg("%s", why.text);
    stage_pinned(st);
    struct destination *dest = &st->region.destination[0];
    dest->generation = dest->refs = 1;
    dest->port = port;
    memset(dest->mx_tls, (int)st->tls, sizeof dest->mx_tls);
    dest->route = -1;
    dest->address_count = dest->mx_count = 1;
    dest->address[0].family = AF_INET;
    memcpy(dest->address[0].ip, (const uint8_t[]){127, 0, 0, 1}, 4);
    (void)snprintf(dest->names, sizeof dest->names, STAGE_HOST);
}

/* The child; cmocka's way with signals is not for it. */
static inline _Noreturn void stage_worker(const struct stage *st, void (*arm)(unsigned nth), unsigned nth)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS};
    const struct worker_args args = {.config = st->signs ? st->signing_config : st->config,
                                     .region = &st->region,
                                     .wake_fd = st->worker_wake,
                                     .master_wake_fd = st->master_wake,
                                     .lock_fd = -1};

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        (void)signal(own[i], SIG_DFL);
    close(st->listener);
    log_setup(LOG_LEVEL_ERROR, "worker");
    if (arm != NULL)
        arm(nth);
    int status = worker_main(&args);
    *st->struck_there = fault_disarm();
    exit(status); /* with what the sanitizers have to say */
}

static inline void stage_clear(struct stage *st)
{
    st->struck = st->reset = st->close_told = st->exit_told = st->held = false;
    st->stopped_ms = 0;
    st->opened = st->closed = st->sent = st->talks = 0;
    memset(st->granted, 0, sizeof st->granted);
    memset(st->done, 0, sizeof st->done);
    memset(st->accepted, 0, sizeof st->accepted);
    memset(st->in_tls, 0, sizeof st->in_tls);
    memset(st->wire_bytes, 0, sizeof st->wire_bytes);
    *st->struck_there = false;
}

/* What is left: the last descriptors, and what lies in the receiver's sockets. */
static inline void stage_end(struct stage *st)
{
    stage_hear(st);
    talk_begin(st);
    for (unsigned i = 0; i < st->talks; i++)
        while (st->talk[i].fd >= 0)
            talk_serve(st, &st->talk[i]); /* the other end is closed, so this ends */
    for (unsigned i = 0; i < STAGE_LETTERS; i++)
        st->flight[i] = *region_flight(&st->region, 0, i);
    st->failure = region_conn(&st->region, 0, 0)->failure;
    st->struck = *st->struck_there;
    region_close(&st->region);
    close(st->worker_wake);
    close(st->master_wake);
    close(st->listener);
}

/* One worker from its beginning to its end, with arm(nth) called in it first (NULL: nothing fails). */
static inline void stage_run(struct stage *st, void (*arm)(unsigned nth), unsigned nth)
{
    uint64_t until_ms = clock_now_ms() + STAGE_LIMIT_MS;
    uint16_t port;
    pid_t pid;

    stage_clear(st);
    stage_message(st);
    stage_listen(st, &port);
    stage_region(st, port);
    st->worker_wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    st->master_wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    stage_tell(st, &(struct desc){.kind = DESC_OPEN, .serial = 1});
    (void)fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        stage_worker(st, arm, nth);
    while (waitpid(pid, &st->status, WNOHANG) == 0) {
        stage_direct(st);
        stage_serve(st, 5);
        if (clock_now_ms() < until_ms)
            continue;
        kill(pid, SIGKILL);
        (void)waitpid(pid, &st->status, 0);
        fail_msg("the worker hangs (fault %u): %u sent, %u done, %u closed", nth, st->sent, stage_done(st),
                 st->closed);
    }
    stage_end(st);
}

#endif
