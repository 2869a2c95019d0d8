/* worker.h - the inside of a worker process: what its sessions share.
 *
 * One thread, one libev loop. worker.c owns the process: rings, flight slots, pools, rendering, the end. conn.c owns
 * one session each: its addresses, its socket, its timer. A session never frees itself: conn_over() takes it out of
 * the loop and the worker buries it at the end of the turn (conn_bury), after every callback has returned.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <ev.h>

#include "dialogue.h"
#include "edition.h"
#include "hikyaku/process.h"
#include "link.h"
#include "login.h"

#define WORKER_COPIES_US     1000u      /* of copies made, before the loop looks at sockets again */
#define WORKER_TRICKLE       4u         /* watchers of one turn, up to which it is called a trickle */
#define WORKER_REST_NS       120000     /* see worker_rest() */
#define WORKER_COPY_KEPT_MAX (1u << 20) /* bytes of a copy beyond which its memory is not kept */
#ifdef HK_POOL_MALLOC /* so that the address sanitizer sees what is used after it was given back */
#define WORKER_POOL_MAX 0u
#else
#define WORKER_POOL_MAX 64u /* copies, and wires, that lie ready */
#endif

/* What a session needs only while it reads and writes: lent, so that a connection that waits is small. */
struct wire {
    struct wire *next;
    struct reply_reader reader;
    char text[DIALOGUE_TEXT_BYTES];
};

struct spare_copy {
    struct spare_copy *next;
    struct copy copy;
};

enum conn_state { CONN_FREE, CONN_CONNECTING, CONN_HANDSHAKE, CONN_TALKING, CONN_OVER };

struct session {
    struct worker *worker;
    struct session *over_next, *copy_next;
    enum conn_state state;
    bool wants_copy;   /* in the worker's queue of those that wait for a copy, or for its signature */
    bool plain;        /* opportunistic TLS failed at this address: once more without */
    enum host_tls tls; /* what is asked of the address under trial, or in use */
    bool ever_opened;  /* DESC_OPENED was pushed */
    bool never;        /* every address so far said 521: it takes no mail at all */
    char host[DOMAIN_MAX + 1];
    enum log_phase failed_in;  /* what conn_note_failure was last told */
    uint8_t at, address_count; /* which address is under trial, of how many */
    uint32_t conn;
    uint16_t source;
    uint16_t client; /* tls_client() of its destination */
    struct link link;
    struct wire *wire; /* NULL while it waits */
    struct outbox box;
    struct dialogue talk;
    struct dialogue_terms terms;
    const struct cfg_route *route;  /* its relay is what we talk to; NULL: a domain's MX */
    const struct login *login;      /* of that route, NULL none */
    const struct destination *dest; /* the master keeps its slot as it is until DESC_CLOSED */
    struct dest_address *address;   /* in this connection's order; NULL once it is ready */
    ev_io io;
    ev_timer timer;
    uint64_t deadline_ms; /* outside a dialogue */
    uint64_t timer_ms;    /* when the timer goes off; 0: it does not run */
};

struct worker {
    const struct config *config;
    const struct region *region;
    uint32_t number;
    int master_wake_fd, wake_fd;
    struct ring *down, *up;
    struct counters *counters;
    struct ev_loop *loop;
    struct session *session; /* conn_slots */
    struct letter *letter;   /* flight_slots */
    struct tls *tls;
    struct signer *signer;
    struct shelf *shelf;
    struct login *login; /* by route */
    struct wire *wires;
    struct spare_copy *copies;
    uint32_t wires_kept, copies_kept;
    struct session *over;
    struct session *copy_head, *copy_tail;
    uint32_t open_sessions;
    uint64_t now_ms;
    bool draining, exiting, orphaned;
    bool pushed;         /* since the master was last woken */
    bool unheard;        /* pushed this turn, and the master does not want to be woken for it */
    unsigned int events; /* of this turn: watchers that had something */
    uint64_t orphan_deadline_ms;
    ev_io wake;
    ev_prepare prepare;
    ev_check check;
    ev_idle idle;
    ev_timer parent;
    ev_signal orphan_signal;
};

/* For conn.c. */
void worker_push(struct worker *w, const struct desc *desc);
struct wire *worker_wire(struct worker *w);
void worker_wire_back(struct worker *w, struct wire *wire);
void worker_want_copy(struct worker *w, struct session *s);
struct conn_info *worker_conn_info(const struct worker *w, const struct session *s);
/* The connection's number, as in the event log. */
unsigned long long conn_serial(const struct session *s);

/* letter.c: a message's way from its descriptor to its outcome in the flight table. */
extern const struct dialogue_ops worker_ops; /* context: the session */
/* DESC_SEND: into its flight slot first, then off the ring, then to its session. */
void letter_take(struct worker *w, const struct desc *on_ring);
/* Make its copy, or sign it. NULL, or why that cannot be done. */
const char *letter_render(const struct session *s, struct letter *letter);
const char *letter_sign(struct letter *letter);
/* Give back what it holds; its flight slot stays as it is. */
void letter_drop(struct worker *w, struct letter *letter);
void letter_copies_free(struct worker *w);
/* Its last byte is out of this process: `cancel` waits for nothing more. */
void letter_dot_out(struct worker *w, const struct letter *letter);

/* conn.c: descriptors. */
/* An address failed before the session was ready (worker_ops.fail): kept in conn_info. */
void conn_note_failure(struct session *s, enum log_phase log_phase, const struct reply *reply,
                       const char *words);
void conn_init(struct session *s, struct worker *w, uint32_t conn);
void conn_open(struct session *s, const struct desc *desc);
bool conn_takes_letters(const struct session *s);
void conn_send(struct session *s, struct letter *letter);
void conn_grant(struct session *s, struct letter *letter);
void conn_deny(struct session *s, struct letter *letter);
void conn_close(struct session *s);
void conn_drain(struct session *s);
void conn_stop(struct session *s); /* the master is gone */
void conn_exit(struct session *s); /* end as soon as nothing is under way, without waiting for politeness */

/* Its turn to have its next copy rendered, and the one whose MAIL went signed, where it still wants that. */
void conn_make_copies(struct session *s);
void conn_bury(struct session *s); /* end of the turn: give everything back, say DESC_CLOSED */

#endif
