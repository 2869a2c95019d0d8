/* sink.h - the parts of the sink: a receiver for tests and load tests. One process, one thread, one loop.
 *
 * Who owns what: struct sink belongs to sink.c; a connection to sink_conn.c, which alone frees it, at the end
 * of a callback (everybody else sets `dead` or `closing`); the recipients to sink_table.c.
 */
#ifndef BENCH_SINK_H
#define BENCH_SINK_H

#include <ev.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "hikyaku/base.h"
#include "hikyaku/body.h"
#include "hikyaku/reply.h"
#include "sink_table.h"

#define SINK_INPUT_BYTES    131072u   /* one read; shared by all connections */
#define SINK_OUTPUT_LIMIT   65536u    /* unwritten replies above which a connection is not read */
#define SINK_LINE_MAX       2048u     /* octets of a command line */
#define SINK_RECIPIENTS_MAX 1000u     /* of one transaction */
#define SINK_MESSAGE_MAX    67108864u /* octets of a message */
#define SINK_LISTENERS_MAX  1024u
#define SINK_IDLE_US        300000000ull /* RFC 5321 4.5.3.2.7 */
#define SINK_LINGER_US \
    5000000ull /* how long a closed connection is read on, so that its last reply arrives */

/* What is counted, for each listener; totals are sums. */
#define SINK_COUNTERS(X)                                                        \
    X(accepted, "messages answered 2xx after the final dot")                    \
    X(ambiguous, "messages taken whose reply was not sent")                     \
    X(recipients, "addresses that got at least one message")                    \
    X(duplicates, "deliveries to an address that had one already")              \
    X(bytes, "octets of messages taken")                                        \
    X(messages_refused, "messages answered 4xx or 5xx after the final dot")     \
    X(recipients_refused, "RCPT answered 5xx")                                  \
    X(deferred, "RCPT answered 4xx")                                            \
    X(connections, "connections taken")                                         \
    X(connections_refused, "connections above the cap")                         \
    X(tls, "connections that used TLS")                                         \
    X(tls_resumed, "of them, with a resumed session")                           \
    X(tls_failures, "TLS handshakes that failed")                               \
    X(dropped_banner, "dropped instead of the greeting")                        \
    X(dropped_ehlo, "dropped instead of the reply to EHLO")                     \
    X(dropped_mail, "dropped instead of the reply to MAIL")                     \
    X(dropped_rcpt, "dropped instead of the reply to RCPT")                     \
    X(dropped_data, "dropped instead of the reply to DATA")                     \
    X(dropped_body, "reset in the body")                                        \
    X(dropped_dot, "dropped after the final dot, message taken")                \
    X(abandoned, "transactions that the client left unfinished")                \
    X(bad_commands, "commands that are unknown, malformed or out of order")     \
    X(out_of_turn, "input that came before a reply which had to be waited for") \
    X(bare_lf, "lines that ended without CR")                                   \
    X(long_lines, "lines of a message above 1,000 octets")                      \
    X(out_of_memory, "recipients and connections turned away for want of memory")

struct sink_counters {
#define SINK_COUNTER_FIELD(name, words) uint64_t name;
    SINK_COUNTERS(SINK_COUNTER_FIELD)
#undef SINK_COUNTER_FIELD
};

/* A reply fixed on the command line, as it goes out. code 0: none given. */
struct sink_reply {
    unsigned code;
    char *wire;
    size_t length;
};

struct sink_options {
    char **listen;
    size_t listen_count;
    const char *starttls;                  /* NULL: as it should be; else how it goes wrong */
    const char *tls_certificate, *tls_key; /* both NULL with tls: made in memory */
    bool tls, implicit_tls, no_pipelining, log_mail, log_dot, quiet;
    uint32_t latency_ms, latency_dot_ms;
    double defer, unknown, drop, drop_dot; /* shares, 0 to 1 */
    const char *unknown_file, *store_dir, *ledger_file, *log_file;
    uint32_t cap_connections, cap_messages; /* 0: none */
    uint32_t store_every;
    uint64_t seed;
    struct sink_reply reply_mail, reply_rcpt, reply_data, reply_dot;
};

struct sink_listener {
    struct sink *sink;
    int fd;
    ev_io io;
    char name[64]; /* "127.0.0.1:2525" */
    uint16_t port;
    uint32_t open, open_max;
    struct sink_counters counters;
};

struct sink {
    struct sink_options options;
    struct ev_loop *loop;
    SSL_CTX *tls;
    struct sink_listener *listener;
    size_t listener_count;
    struct sink_conn *first;    /* open connections */
    struct sink_table *table;   /* every address that was named */
    struct sink_table *unknown; /* --unknown-file; may be NULL */
    FILE *log;
    uint64_t random, serial, stored, started_us, swept_us;
    uint64_t messages; /* begun, to choose those that are stored */
    uint32_t open, open_max;
    ev_timer tick;
    ev_signal signals[3];
    int status; /* exit status, when writing what we were asked to write failed */
    char input[SINK_INPUT_BYTES];
};

/* Where a transaction or a connection is to be dropped. */
enum sink_drop {
    DROP_NONE,
    DROP_BANNER,
    DROP_EHLO,
    DROP_MAIL,
    DROP_RCPT,
    DROP_DATA,
    DROP_BODY,
    DROP_DOT,
};

#define SINK_NEVER UINT64_MAX

/* A point in the output: a reply that waits for its time, or one that ends a transaction. */
struct sink_mark {
    uint64_t end;      /* octets of output up to and with this reply; SINK_NEVER: none is sent */
    uint64_t due_us;   /* when it may be written */
    size_t recipients; /* of a message that counts as delivered once this is written */
};

struct sink_conn {
    struct sink *sink;
    struct sink_listener *listener;
    struct sink_conn *next, *previous;
    ev_io io;
    ev_timer timer;
    int fd;
    SSL *ssl;
    uint64_t number, active_us;
    uint64_t arrived_us; /* --log-dot: when the octets that were read last came, by the kernel's wall clock */

    /* state of the socket */
    bool handshaking; /* TLS is being set up */
    bool upgrading;   /* 220 to STARTTLS is on its way */
    bool silent;      /* --starttls hang: nothing is heard or said any more */
    bool wants_write; /* OpenSSL has to write before it can go on */
    bool more;        /* input may be left inside OpenSSL */
    bool closing;     /* no more input; close when the output is written */
    bool dropped;     /* closing without a word */
    bool lingering;   /* our side is shut: read and forget */
    bool reset;       /* close with RST */
    bool dead;        /* free at the end of the callback */

    /* the dialogue */
    bool greeted, in_mail, in_body;
    bool line_too_long;
    bool keep, keep_failed;      /* store this message; there was no memory for it */
    enum sink_drop drop;         /* of the connection */
    enum sink_drop drop_message; /* of the transaction */
    uint32_t messages;
    uint64_t hold; /* output that the client has to read before it may go on */
    char *line;    /* an incomplete command line */
    size_t line_length;
    struct body_reader body;
    char *kept; /* the body as it came */
    size_t kept_length, kept_size;
    char *sender; /* kept with it */

    /* recipients: [settled, pending) taken and not answered, [pending, count) of the open transaction */
    uint32_t *recipient;
    size_t recipients_settled, recipients_pending, recipients_count, recipients_size;

    /* output: octets queued, written, and free to be written, counted from the connection's beginning */
    char *out;
    size_t out_start, out_end, out_size;
    uint64_t queued, written, released;
    struct sink_mark *mark; /* [first, undue) may be written, [undue, end) wait */
    size_t mark_first, mark_undue, mark_end, mark_size;
};

#define sink_count(conn, name, n) ((conn)->listener->counters.name += (n))

/* sink_options.c: exits with 2 and a word on bad usage, with 0 after --help. */
void sink_options_parse(int argc, char **argv, struct sink_options *out);
void sink_options_free(struct sink_options *options);

/* sink_tls.c: NULL and the reason. */
SSL_CTX *sink_tls_context(const struct sink_options *options, struct hk_why *why);

/* sink_conn.c */
void sink_conn_open(struct sink_listener *listener, int fd, const char *peer);
void sink_conn_close_all(struct sink *sink);
void sink_conn_sweep_idle(struct sink *sink);
/* Queue a reply, to be written delay_ms from now and not before those queued earlier. recipients: how many of
 * the pending ones are delivered once it is written (0: none hang on it). */
void sink_conn_reply(struct sink_conn *conn, const char *wire, size_t length, uint32_t delay_ms,
                     size_t recipients);
/* A message of so many pending recipients is taken and will not be answered. */
void sink_conn_unanswered(struct sink_conn *conn, size_t recipients);

/* sink_session.c: the dialogue. No socket in it. */
void sink_session_begin(struct sink_conn *conn);
void sink_session_input(struct sink_conn *conn, const char *bytes, size_t length);
void sink_session_free(struct sink_conn *conn);
/* The next n pending recipients have their message: accepted, or taken without a reply. */
void sink_session_delivered(struct sink_conn *conn, size_t n, bool ambiguous);

/* sink_record.c: what is written for others to read. */
int sink_record_open(struct sink *sink, struct hk_why *why) HK_MUST_USE;
void sink_record_close(struct sink *sink);
void sink_log_event(struct sink_conn *conn, const char *event, const char *text, size_t length);
/* The same of something that was at another time than now. */
void sink_log_event_at(struct sink_conn *conn, uint64_t wall_us, const char *event, const char *text,
                       size_t length);
void sink_log_flush(struct sink *sink);
void sink_ledger_write(struct sink *sink);
void sink_summary_print(const struct sink *sink);
/* Write the kept message and its envelope. False when that failed (said on standard error). */
bool sink_store_message(struct sink_conn *conn);

/* A number in [0, 1) from the sink's own stream. */
double sink_random_share(struct sink *sink);

#endif
