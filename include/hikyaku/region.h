/* region.h - the shared memory of a node: one file in state_dir, mapped MAP_SHARED by master and workers.
 *
 * The file outlives its processes: what a dead worker or a dead master left is read from it (region_attach).
 * No pointer, no lock, fixed sizes, indexes only. Every part is described by the header's layout table:
 *
 *   part          writer -> reader        what
 *   header        master -> all           layout, epoch, boot id; written before the fork
 *   campaigns     master -> workers       write-once slots: campaign id and generation
 *   destinations  master -> workers       write-once slots while connections use them
 *   per worker:
 *   ring down     master -> worker        struct ring (ring.h)
 *   ring up       worker -> master        struct ring
 *   flights       worker -> master        a slot per message under way (struct flight)
 *   conns         worker -> master        a slot per connection: whom it talks to, or why it failed (struct conn_info)
 *   counters      worker -> any reader    struct counters, summed by the reader
 */
#ifndef HIKYAKU_REGION_H
#define HIKYAKU_REGION_H

#include <netinet/in.h>
#include <stdatomic.h>

#include "hikyaku/address.h"
#include "hikyaku/base.h"
#include "hikyaku/config.h"
#include "hikyaku/dane.h"
#include "hikyaku/ring.h"

#define REGION_WORKERS_MAX   256u
#define REGION_CAMPAIGNS_MAX 64u
#define REGION_REPLY_TEXT    1024u

/* SMTP phases as the event log names them (design 14). */
/* clang-format off */
#define SMTP_LOG_PHASES(X)                                                                                   \
    X(CONNECT, "connect")   X(BANNER, "banner")   X(EHLO, "ehlo")   X(STARTTLS, "starttls")                  \
    X(AUTH, "auth")         X(MAIL, "mail")       X(RCPT, "rcpt")   X(DATA, "data")   X(DOT, "dot")
/* clang-format on */
enum log_phase {
#define LOG_PHASE_ENUM(name, words) LOG_PHASE_##name,
    SMTP_LOG_PHASES(LOG_PHASE_ENUM)
#undef LOG_PHASE_ENUM
        LOG_PHASES
};
const char *log_phase_name(enum log_phase phase);

/* What the master does with the slot of a dead worker. */
enum flight_phase {
    FLIGHT_FREE = 0, /* nothing */
    FLIGHT_TAKEN,    /* send again: no dot yet. Stored by the worker before the ring's tail moves */
    FLIGHT_ENVELOPE, /* send again: MAIL is written */
    FLIGHT_CONTENT,  /* send again: the body is on its way, its last byte is not */
    FLIGHT_DOT,      /* unknown; stored before the write that holds the last byte */
    FLIGHT_DONE,     /* settle with the outcome in the slot */
};

enum flight_result {
    RESULT_NONE = 0,
    RESULT_RETURNED, /* nothing was tried (connection went away, drain): queue again, no attempt counted */
    RESULT_DENIED,   /* the commit was denied, the dot held back: the master knows why */
    RESULT_REFUSED, /* the relay refused us, not him (account_fault_of its reply): queue again, no attempt counted */
    RESULT_SENT,     /* 2xx after the dot */
    RESULT_DEFERRED, /* 4xx, or connection lost before the dot */
    RESULT_BOUNCED,  /* 5xx, or the receiver lacks what this message needs (SMTPUTF8, SIZE) */
    RESULT_UNKNOWN,  /* connection lost, timed out or a senseless reply after the dot */
};

/* A reply as it is kept; code 0: no reply, text says in our words what happened instead ("connection reset").
 */
struct outcome_reply {
    uint16_t code;
    uint8_t enhanced[3];
    uint8_t log_phase; /* enum log_phase: what was answered, or what we waited for */
    uint16_t text_length;
    char text[REGION_REPLY_TEXT]; /* as the server sent it, cut; lines joined by '\n' */
};

/* Written by the master before DESC_SEND: event. By the worker: everything else. Read by the master after
 * DESC_DONE or a death. phase is stored with release after what it promises, loaded with acquire. */
struct flight {
    _Atomic uint32_t phase; /* enum flight_phase */
    uint32_t conn;
    struct desc send;        /* the descriptor that brought it */
    uint8_t result;          /* enum flight_result, valid with FLIGHT_DONE */
    _Atomic uint8_t dot_out; /* the write that held the last byte has returned: the kernel has it */
    uint32_t nth;            /* message number on its connection, from 1 */
    uint32_t bytes;          /* of the copy on the wire */
    uint32_t queue_ms;       /* from the descriptor's arrival to MAIL */
    uint32_t smtp_ms;        /* from MAIL to the outcome */
    uint64_t event;          /* master: number of the event line that told this outcome; 0 none yet */
    struct outcome_reply reply;
};

/* How TLS went with one address: the result types of RFC 8460 4.3. */
/* clang-format off */
#define TLS_SEEN_RESULTS(X)                                                                                  \
    X(OK, "")                                        X(STARTTLS, "starttls-not-supported")                   \
    X(HOST_MISMATCH, "certificate-host-mismatch")    X(EXPIRED, "certificate-expired")                       \
    X(NOT_TRUSTED, "certificate-not-trusted")        X(VALIDATION, "validation-failure")                     \
    X(UNLISTED, "validation-failure")                X(TLSA_INVALID, "tlsa-invalid")                         \
    X(DNSSEC_INVALID, "dnssec-invalid")              X(STS_FETCH, "sts-policy-fetch-error")                  \
    X(STS_INVALID, "sts-policy-invalid")             X(STS_WEBPKI, "sts-webpki-invalid")
/* clang-format on */
enum tls_seen_result {
#define TLS_SEEN_ENUM(name, words) TLS_SEEN_##name,
    TLS_SEEN_RESULTS(TLS_SEEN_ENUM)
#undef TLS_SEEN_ENUM
        TLS_SEEN_COUNT
};
const char *tls_seen_name(enum tls_seen_result result);

struct tls_seen {
    uint8_t address; /* index into the destination's */
    uint8_t result;  /* enum tls_seen_result */
};

#define DEST_ADDRESSES_MAX 16u
#define DEST_MX_MAX        16u
#define DEST_NAMES_BYTES   1024u

/* One connection of one worker. Written by the worker before DESC_OPENED (all but failure) or DESC_CLOSED
 * (failure). */
struct conn_info {
    uint64_t serial;
    uint32_t dest;
    uint16_t source;
    uint8_t family;   /* AF_INET, AF_INET6, 0: never got as far */
    uint8_t mx;       /* which address of the destination */
    uint8_t peer[16]; /* its address, network order */
    uint8_t local[16];
    uint16_t port;
    uint8_t failed;       /* closed before it was ready: `failure` says why */
    uint8_t never;        /* with failed: every address said 521, it takes no mail at all (RFC 7504) */
    uint8_t broken_sync;  /* the receiver got out of step while pipelining: do not pipeline to this site for a
                             time */
    char tls_version[16]; /* "" plain */
    char tls_cipher[48];
    char tls_verified[16]; /* "" not verified, "pkix", "dane" */
    uint8_t tls_policy;    /* enum host_tls: what was asked of this host */
    uint8_t tls_seen_count;
    struct tls_seen tls_seen[DEST_ADDRESSES_MAX]; /* of each address that was tried as far as TLS, once */
    uint32_t mail_max,
        rcpt_domain_max; /* what the server's LIMITS allow a session (RFC 9422); 0: none named */
    struct outcome_reply failure;
};

struct dest_address {
    uint8_t family;
    uint8_t mx; /* index into mx names */
    uint8_t
        rank; /* those of one rank are as good as each other: each connection draws their order (RFC 5321 5.1) */
    uint8_t ip[16];
};

/* How much TLS one host gets: the configuration's policy, or what is published for the host (master/host_tls.c). */
enum host_tls {
    HOST_TLS_NONE = TLS_NONE,
    HOST_TLS_OPPORTUNISTIC = TLS_OPPORTUNISTIC,
    HOST_TLS_REQUIRED = TLS_REQUIRED,
    HOST_TLS_VERIFIED = TLS_VERIFIED,
    HOST_TLS_DANE,     /* its certificate has to match a record of destination.dane */
    HOST_TLS_UNUSED,   /* its TLSA records could not be looked up: it may not be used */
    HOST_TLS_STS,      /* chain and name have to hold because an MTA-STS policy says so (RFC 8461 4.2) */
    HOST_TLS_UNLISTED, /* an MTA-STS policy in force does not list it: it may not be used */
};
const char *host_tls_name(enum host_tls tls);

/* One MX set of a site. Write-once while refs > 0; the generation goes up each time the slot is filled anew.
 */
struct destination {
    uint32_t generation;
    uint32_t refs; /* master's alone: connections that use it */
    uint16_t port;
    int16_t route; /* index into config.route, -1: MX delivery */
    uint32_t
        provider; /* index into config.provider: what a client certificate is chosen by where no route is */
    uint8_t address_count;
    uint8_t no_pipelining;
    uint8_t local_part; /* enum local_part */
    uint8_t ses;        /* it is Amazon SES: the master reads the id of its replies */
    uint8_t mx_count;
    uint8_t sts;                                     /* enum sts_mode: testing or enforce, of next_hop */
    uint16_t sts_listed;                             /* bit i: its policy lists mx i */
    uint8_t mx_tls[DEST_MX_MAX];                     /* enum host_tls */
    struct dest_address address[DEST_ADDRESSES_MAX]; /* in the order to be tried */
    uint16_t mx_offset[DEST_MX_MAX];                 /* into names; host names for SNI, logs and TLS checks */
    char site[DOMAIN_MAX + 1];
    char names[DEST_NAMES_BYTES];  /* NUL-terminated names, one after another */
    char next_hop[DOMAIN_MAX + 1]; /* the one domain that this MX set is used for; "": any */
    struct dane_set dane;          /* TLSA records of the hosts */
};
_Static_assert(DEST_MX_MAX == DANE_HOSTS_MAX, "every host has a place in the set");

struct region_campaign {
    _Atomic uint32_t generation; /* 0: never used; release after the rest is in place */
    uint32_t segments;           /* files of its list */
    char list_sha256[HK_SHA256_HEX], message_sha256[HK_SHA256_HEX]; /* of what its manifest names */
    char id[CAMPAIGN_ID_MAX + 1];
};

/* Counted by one worker, read by anybody: relaxed. rested_us: microseconds that it waited for something to do. resting_since_us is no
 * count: since when it does so (clock_now_us), 0: it works. */
/* clang-format off */
#define COUNTERS(X)                                                                                          \
    X(connects)   X(connect_failures)   X(tls_handshakes)   X(tls_resumed)   X(messages)                     \
    X(bytes_out)  X(replies)            X(loop_turns)       X(bugs_contained)                                \
    X(rested_us)  X(resting_since_us)
/* clang-format on */
struct counters {
#define COUNTER_FIELD(name) _Atomic uint64_t name;
    COUNTERS(COUNTER_FIELD)
#undef COUNTER_FIELD
};
#define counter_add(counters, name, n) atomic_fetch_add_explicit(&(counters)->name, (n), memory_order_relaxed)

struct region_sizes {
    uint32_t workers;
    uint32_t ring_slots;   /* power of two; holds every permission: sends + grants + opens + closes */
    uint32_t flight_slots; /* per worker */
    uint32_t conn_slots;   /* per worker */
    uint32_t dest_slots;
};

struct region_header {
    char magic[8]; /* "HKREGION" */
    uint32_t layout;
    struct region_sizes sizes;
    char boot_id[40]; /* /proc/sys/kernel/random/boot_id: a region of another boot is not believed */
    uint64_t epoch;   /* of the node that made it */
    uint64_t bytes;   /* of the whole file */
    int32_t master_pid;
    uint64_t campaigns_at, destinations_at, workers_at,
        worker_stride;                                          /* offsets from the start of the file */
    uint64_t down_at, up_at, flights_at, conns_at, counters_at; /* offsets inside one worker's stride */
};
#define REGION_LAYOUT 10u

struct region {
    struct region_header *header;
    struct region_campaign *campaign; /* REGION_CAMPAIGNS_MAX */
    struct destination *destination;  /* sizes.dest_slots */
    uint8_t *base;
    size_t bytes;
    int fd;
};

/* Sizes for a configuration: how many slots each part needs so that no permission ever finds its ring full.
 */
struct region_sizes region_sizes_for(uint32_t workers, uint32_t connections);
/* Make a new region file (an old one is renamed away first: its mappings stay valid for whoever has it). When that
 * fails nothing stands under `path`. */
int region_create(const char *path, struct region_sizes sizes, uint64_t epoch, struct region *out,
                  struct hk_why *why) HK_MUST_USE;
/* Map what an earlier master left. 0; HK_ENOENT none; HK_ECHANGED another layout, or damaged: nothing in it
 * is believed; HK_EIO, HK_ENOMEM it cannot be read now, and may be whole. Another boot's region is mapped, with
 * *same_boot false. */
int region_attach(const char *path, struct region *out, bool *same_boot, struct hk_why *why) HK_MUST_USE;
void region_close(struct region *region);

struct ring *region_down(const struct region *region, uint32_t worker);
struct ring *region_up(const struct region *region, uint32_t worker);
struct flight *region_flight(const struct region *region, uint32_t worker, uint32_t slot);
struct conn_info *region_conn(const struct region *region, uint32_t worker, uint32_t conn);
struct counters *region_counters(const struct region *region, uint32_t worker);
const char *destination_mx_name(const struct destination *dest, uint8_t mx);

#endif
