/* load.h - the parts of load, which load-tests an SMTP server. One process, one thread, one loop.
 *
 * Who owns what: struct load belongs to load.c; connections are an array made at start, each slot used again and again
 * (load_conn.c); the dialogue on a connection is load_dialogue.c, without a socket. Nothing grows while it runs.
 *
 * The open loop does not omit: a message's latency counts from when it was due, wherever it waited since. What waits is
 * a number, not a queue (load_arrivals.h).
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <ev.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "hikyaku/base.h"
#include "hikyaku/reply.h"
#include "load_arrivals.h"
#include "load_errors.h"
#include "load_histogram.h"
#include "load_mail.h"
#include "load_ramp.h"

#define LOAD_CONNECTIONS_MAX 100000u
#define LOAD_SOURCES_MAX     1024u
#define LOAD_RECIPIENTS_MAX  100u /* of a message: what any server has to take (RFC 5321 4.5.3.1.8) */
#define LOAD_OPENING_MAX     256u /* connections being set up at once: a listen queue is not what is measured */
#define LOAD_SECRET_MAX      255u
#define LOAD_HEADER_MAX      200u   /* octets of a made-up header, without addresses and name */
#define LOAD_TLS_PIECE       16384u /* octets of a TLS record */
#define LOAD_TICK_S          0.1

enum load_tls { LOAD_TLS_NONE, LOAD_TLS_STARTTLS, LOAD_TLS_IMPLICIT };
enum load_auth { LOAD_AUTH_NONE, LOAD_AUTH_ANY, LOAD_AUTH_PLAIN, LOAD_AUTH_LOGIN };

struct load_options {
    const char *to, *owned; /* the server as given; the host that --i-own-this-server names */
    char host[256];         /* the host of `to` */
    const char *port;
    uint32_t rate; /* messages a second; 0: closed loop */
    bool poisson, ramp;
    struct load_ramp_plan plan;
    struct load_bounds bounds;
    uint32_t step_ms;
    uint32_t connections, per_source, per_connection; /* 0: not said */
    uint64_t messages;                                /* 0: no limit */
    uint32_t time_ms;                                 /* 0: no limit */
    uint32_t drain_ms, timeout_ms;
    char **source;
    size_t source_count;
    struct load_sizes sizes;
    const char *message_file;
    const char *from, *rcpt, *rcpt_file, *helo;
    uint64_t rcpt_modulo;
    uint32_t rcpts; /* of a message */
    enum load_tls tls;
    const char *tls_ca; /* NULL: certificates are not looked at */
    bool tls_resume;
    enum load_auth auth;
    const char *user, *password_file;
    bool no_pipelining, json;
    uint64_t seed;
};

/* The phase names what is awaited; the word stands in reports. */
#define LOAD_PHASES(X)       \
    X(FREE, "none")          \
    X(COOLING, "none")       \
    X(CONNECT, "connect")    \
    X(HANDSHAKE, "tls")      \
    X(BANNER, "banner")      \
    X(EHLO, "ehlo")          \
    X(STARTTLS, "starttls")  \
    X(AUTH, "auth")          \
    X(AUTH_USER, "auth")     \
    X(AUTH_PASSWORD, "auth") \
    X(IDLE, "idle")          \
    X(RSET, "rset")          \
    X(MAIL, "mail")          \
    X(RCPT, "rcpt")          \
    X(DATA, "data")          \
    X(DOT, "dot")            \
    X(QUIT, "quit")

enum load_phase {
#define LOAD_PHASE_ENUM(name, word) LOAD_##name,
    LOAD_PHASES(LOAD_PHASE_ENUM)
#undef LOAD_PHASE_ENUM
};

/* What is measured, each in a histogram of its own. */
#define LOAD_TIMES(X)                                                                                   \
    X(latency, "from due to the last reply: accepted messages, and those left unanswered by their age") \
    X(failed, "the same of messages that failed")                                                       \
    X(wait, "from due to MAIL: waiting for a connection")                                               \
    X(service, "from MAIL to the last reply, accepted messages")                                        \
    X(mail, "from MAIL to its reply")                                                                   \
    X(dot, "from a message's last octet to its reply")                                                  \
    X(connect, "TCP connect")                                                                           \
    X(banner, "from connected (or TLS) to the greeting")                                                \
    X(tls, "TLS handshake")                                                                             \
    X(late, "how late this program itself saw that a message was due")

struct load_times {
#define LOAD_TIME_FIELD(name, words) struct load_histogram name;
    LOAD_TIMES(LOAD_TIME_FIELD)
#undef LOAD_TIME_FIELD
};

struct load_counts {
    uint64_t due, begun, accepted, failed, unfinished;
    uint64_t recipients_accepted, recipients_refused;
    uint64_t bytes;  /* octets of accepted messages */
    uint64_t opened; /* connections that the server took */
    uint64_t ready;  /* of them, ready for mail */
    uint64_t lost;   /* connections that failed before they were ready */
    uint64_t idle_closed;
    uint64_t tls, tls_resumed;
};

struct load_conn {
    struct load *load;
    struct load_conn *next, *previous; /* in the list of the free or of the idle */
    ev_io io;
    int fd;
    SSL *ssl;
    enum load_phase phase;
    uint32_t index, messages,
        failures;     /* failures: one after another, for how long to leave the slot alone */
    bool wants_write; /* OpenSSL has to write before it can go on */
    bool pipelining, size_offered;
    bool in_transaction; /* RSET is needed before the next MAIL */
    bool refused;        /* this message has failed already */
    uint64_t phase_us;   /* since when the phase lasts */
    uint64_t due_us, begun_us;
    uint64_t number; /* of the message */
    size_t size;
    uint32_t rcpt_answered, rcpt_accepted;
    struct iovec out[3]; /* not yet written; [out_first, out_count) */
    unsigned out_first, out_count;
    char *head;                  /* the envelope, then the header */
    struct reply_reader *reader; /* only while a reply is incomplete */
};

enum load_end {
    LOAD_RUNS,
    LOAD_ALL_SENT,
    LOAD_TIME_UP,
    LOAD_KNEE,
    LOAD_RAMP_DONE,
    LOAD_SIGNAL,
    LOAD_SERVER_LOST
};

struct load {
    struct load_options options;
    struct ev_loop *loop;
    struct sockaddr_storage to, *source;
    socklen_t to_length;
    char to_text[64]; /* the address as figures */
    SSL_CTX *tls;
    SSL_SESSION *session;                                     /* the newest, with --tls-resume */
    char auth_plain[700], auth_user[350], auth_password[350]; /* base64 */
    char secret[LOAD_SECRET_MAX + 1]; /* the password, to find it in what a server repeats */

    struct load_conn *conn;
    uint32_t connections; /* slots */
    struct load_conn *free, *idle;
    uint32_t open, opening, busy, open_max, idle_count;
    struct reply_reader reader; /* for all connections whose replies come whole */
    char piece[LOAD_TLS_PIECE];

    struct load_addresses rcpt;
    struct load_text text;
    size_t head_size;
    char date[48]; /* of the second */

    struct load_arrivals arrivals;
    struct load_cursor due, begun; /* begun: up to which messages were taken up */
    int timer_fd;
    ev_io timer_io;
    ev_prepare prepare; /* once a turn: messages meet connections */
    ev_timer tick, end_timer;
    ev_signal signals[2];
    uint64_t started_us, ended_us, drain_until_us;
    uint64_t last_reply_us, reached_us; /* reached: when a connection was last ready */
    double cpu_begun, cpu_used;
    enum load_end end;
    bool stopping, abandon; /* nothing new is due; what waits is not taken up any more */
    char lost_why[200];     /* why the newest connection failed */

    struct load_counts counts;
    struct load_times times;
    struct load_errors errors;

    struct load_view {
        bool on;
        uint64_t next_us, due, accepted;
        struct load_histogram latency;
    } view;

    struct load_steps {
        size_t count;
        struct load_step step[LOAD_STEPS_MAX];
        enum { STEP_NONE, STEP_FIRST_HALF, STEP_SECOND_HALF, STEP_RECOVERS } state;
        bool again; /* the step is a second try */
        double rate;
        uint64_t begun_us, half_us, answered, failed, half_answered;
        double cpu;
        double knee; /* messages a second; 0: none found */
        struct load_histogram latency;
    } steps;
};

#define load_waiting(load) ((load)->counts.due - (load)->counts.begun)

/* load_options.c: exits with 2 and a word on bad usage, with 0 after --help. */
void load_options_parse(int argc, char **argv, struct load_options *out);

/* load_target.c: whom to connect to, and from where. HK_EINVAL (also: a host that is not ours), HK_EDOWN. */
int load_target_find(struct load *load, struct hk_why *why) HK_MUST_USE;

/* load_tls.c */
int load_tls_setup(struct load *load, struct hk_why *why) HK_MUST_USE;
int load_auth_setup(struct load *load, struct hk_why *why) HK_MUST_USE;
/* Does the text have our password in it, in any of the forms in which it was told? */
bool load_auth_is_told(const struct load *load, const char *text, size_t length);
SSL *load_tls_new(struct load *load, int fd);

/* load_conn.c */
void load_conn_open(struct load_conn *conn, uint64_t now_us);
/* Up to three pieces, which stay where they are until they are written; then send, which may end the connection: look at
 * nothing of it afterwards. */
void load_conn_queue(struct load_conn *conn, const void *bytes, size_t length);
void load_conn_send(struct load_conn *conn, uint64_t now_us);
/* The connection is over, or has to be: what it carried has failed, in these words. `reply`: for one that said so. */
void load_conn_fail(struct load_conn *conn, const char *what, const struct reply *reply, uint64_t now_us);
void load_conn_close(struct load_conn *conn, uint64_t now_us);
/* What takes too long fails; slots that were left alone are free again. */
void load_conn_sweep(struct load *load, uint64_t now_us);
const char *load_phase_word(enum load_phase phase);
void load_conn_phase(struct load_conn *conn, enum load_phase phase, uint64_t now_us);

/* load_dialogue.c */
void load_dialogue_connected(struct load_conn *conn, uint64_t now_us);
void load_dialogue_secured(struct load_conn *conn, uint64_t now_us);
void load_dialogue_reply(struct load_conn *conn, const struct reply *reply, uint64_t now_us);
void load_dialogue_begin(struct load_conn *conn, uint64_t due_us, uint64_t now_us);
void load_dialogue_quit(struct load_conn *conn, uint64_t now_us);
/* Octets of the largest envelope and header. */
size_t load_dialogue_head_size(const struct load *load);

/* load.c: what a connection asks the run. */
/* It is ready for a message: it gets one, waits, or is closed. */
void load_ready(struct load_conn *conn, uint64_t now_us);
/* Its message has its last reply, or will get none. */
void load_settled(struct load_conn *conn, bool accepted, uint64_t now_us);
/* A connection failed before it was ready. */
void load_lost(struct load *load, const char *why, uint64_t now_us);

/* load_steps.c: the ramp. */
void load_steps_begin(struct load *load, uint64_t now_us);
void load_steps_tick(struct load *load, uint64_t now_us);
void load_steps_cut(struct load *load, uint64_t now_us);
double load_cpu_seconds(void);
void load_finish(struct load *load, enum load_end why, uint64_t now_us);

/* load_report.c. False when standard output did not take it. */
bool load_report_text(struct load *load);
bool load_report_json(struct load *load);
void load_report_second(struct load *load, uint64_t now_us);

#endif
