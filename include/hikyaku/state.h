/* state.h - what Redis holds (design 7): the ledger of every campaign, its manifest, and the epoch of the node.
 *
 * Two faces. `struct store`: synchronous, for start-up, reports and short commands. `struct ledger`: asynchronous
 * on the caller's libev loop, for the master, with group commit: what is pushed while a call is in flight goes into
 * the next one. Every change of a recipient's word is one compare-and-set script (state/ledger.lua), idempotent, so
 * a call whose answer was lost is simply sent again: it changes nothing more, provided that of one recipient at most
 * one op waits for its verdict (or a COMMIT and its RELEASE), ranges included.
 *
 * Keys of a campaign carry the hash tag {campaign}:
 *   {c}:m            hash: the manifest (struct manifest) and `state` running | paused | cancelled
 *   {c}:own          hash: "segment.span" -> epoch that took it
 *   {c}:s:SEG.SPAN   string: 4 bytes a recipient, ledger_word, little-endian
 *   {c}:d:SEG.SPAN   string: due time, 4 bytes a recipient, seconds since the campaign's start; only where needed,
 *                    may be shorter than the span; 0 none. It never goes back (so a repeated PUT_BACK is known)
 *   {c}:f:SEG.SPAN   string: first attempt, the same way (one in the first second counts as in the next)
 *   {c}:due          sorted set: "segment.span" -> its earliest due time
 *   {c}:n            hash: state name -> recipients in it (pending is not kept: recipients minus the rest), attempts
 *   {c}:site         hash: "segment.domain" -> site, as last resolved
 *   {c}:dom:SEG      string: 4 bytes a domain: index of its first recipient (so that a report needs no segment)
 *   {c}:span:SEG     string: 4 bytes a span: index of its first recipient
 *   {c}:q            hash: epoch -> number of its last call that was applied
 * and without tag: hikyaku:campaigns (set of ids), hikyaku:epoch (counter), hikyaku:node:NAME ("epoch ID", lives as long
 * as the node's lease), hikyaku:lease:EPOCH (the same life), hikyaku:journal:ID (how far the event log of the state_dir
 * ID has been told). What suppress.h and limits.h keep stands there.
 */
#ifndef HIKYAKU_STATE_H
#define HIKYAKU_STATE_H

#include <ev.h>

#include "hikyaku/base.h"
#include "hikyaku/classify.h"
#include "hikyaku/config.h"

/* clang-format off */
#define LEDGER_STATES(X)                                                                                     \
    X(PENDING, "pending")   X(SENDING, "sending")       X(SENT, "sent")        X(DEFERRED, "deferred")       \
    X(BOUNCED, "bounced")   X(EXPIRED, "expired")       X(SUPPRESSED, "suppressed")                          \
    X(UNKNOWN, "unknown")   X(CANCELLED, "cancelled")
/* clang-format on */
enum ledger_state {
#define LEDGER_STATE_ENUM(name, words) LEDGER_##name,
    LEDGER_STATES(LEDGER_STATE_ENUM)
#undef LEDGER_STATE_ENUM
        LEDGER_STATES_COUNT
};
const char *ledger_state_name(enum ledger_state state);

/* A recipient's four bytes, from the low end: state 4 bits, marks 3 (bounced, complained, unsubscribed),
 * class 5, attempts 8 (saturating), reply code 10, 1 bit (LEDGER_UNCOUNTED) that a take sets with the `unknown` it makes of
 * `sending` (no outcome was told of that attempt: the one that may still come counts it), 1 spare. A word with
 * state `sending` keeps class and code of the attempt before; one with state `sent` has a class where it bounced later: why. */
struct ledger_word {
    uint8_t state, marks, reply_class, attempts;
    uint16_t code;
};
#define LEDGER_UNCOUNTED (1u << 30)
enum ledger_mark { LEDGER_MARK_BOUNCED = 1, LEDGER_MARK_COMPLAINED = 2, LEDGER_MARK_UNSUBSCRIBED = 4 };
uint32_t ledger_pack(struct ledger_word word);
struct ledger_word ledger_unpack(uint32_t packed);

/* The embedded server: a private redis-server on state_dir/redis.sock, AOF in state_dir/redis/. A surviving
 * one is adopted through its socket; one is started only after a connection to the socket was refused or the
 * socket is absent. The caller holds the state_dir lock. Waits until PING is answered (loading included).
 * *pid: of the server (from INFO). External mode: does nothing, *pid = 0. */
int redis_server_ensure(const struct config *config, pid_t *pid, bool *started,
                        struct hk_why *why) HK_MUST_USE;
/* For a node whose server went away while it runs: start one if nobody listens, without waiting until it answers (the
 * ledger's own connection finds it). 1: started, *pid is its process; 0: one is there, or about to be; negative: why. */
int redis_server_revive(const struct config *config, pid_t *pid, struct hk_why *why) HK_MUST_USE;
/* Of its append-only files, which it writes anew now and then, the old ones beside the new. 0: it is not ours. */
uint64_t redis_server_bytes(const struct config *config);
/* Tell the embedded server to end (SHUTDOWN, it writes what it has), wait, and after 10 s kill it. */
void redis_server_stop(const struct config *config, pid_t pid);

/* Is the external server fit to hold what must not be lost? HK_EDOWN and what to set there: too old, a replica, part of a
 * Redis Cluster, or one that may evict. With `tell`, what is doubtful is logged: persistence that may lose the last
 * seconds or everything, and a CONFIG that may not be asked. Embedded: 0, it is set up by us. Blocks. */
int redis_check(const struct config *config, bool tell, struct hk_why *why) HK_MUST_USE;

struct manifest {
    char campaign[CAMPAIGN_ID_MAX + 1];
    char state[16];                     /* running, paused, cancelled */
    char list_sha256[HK_SHA256_HEX];    /* of the segment's content */
    char input_sha256[HK_SHA256_HEX];   /* of the list file as given */
    char message_sha256[HK_SHA256_HEX]; /* of the template */
    char sender_sha256[HK_SHA256_HEX];  /* of sender section and DKIM domains */
    uint64_t recipients, rejected, duplicates;
    uint32_t
        segments; /* files of the list: 1 at creation, each extension adds one; the ledger knows them as one */
    uint32_t spans, domains;
    uint64_t first_rows;                            /* only rows up to this one are sent to for now; 0: all */
    uint64_t created_us;                            /* wall clock; due times count from here */
    uint64_t started_us, first_pass_us, settled_us; /* 0: not yet */
};

/* The manifest as lines of text "field value", to be kept beside the list should Redis forget; and read again.
 * manifest_text: malloc'd, NULL without memory. HK_ECHANGED: damaged. */
char *manifest_text(const struct manifest *manifest) HK_MUST_USE;
int manifest_from_text(const char *campaign, const char *text, struct manifest *out,
                       struct hk_why *why) HK_MUST_USE;

struct store;
/* A store whose connection breaks fails that call with HK_EDOWN and connects again with the next one. Whoever opens a
 * store or a ledger has SIGPIPE ignored from then on, unless it has a handler: hiredis writes without MSG_NOSIGNAL. */
int store_open(const struct config *config, struct store **out, struct hk_why *why) HK_MUST_USE;
void store_close(struct store *store);
/* Redis has answered over another connection. A store that found it silent fails its calls at once for a while, so that a loop
 * waits once and not once for each call; now it asks again. */
void store_heard(struct store *store);
/* The next command makes a new connection. For whoever knows that Redis was away: the one there is may have been lost without
 * anybody asking on it, and the first who did would be told so. */
void store_renew(struct store *store);
/* Draw a number that no node had before, above `seen`: what this state_dir remembers, should Redis have forgotten. */
int store_epoch_next(struct store *store, uint64_t seen, uint64_t *epoch, struct hk_why *why) HK_MUST_USE;

/* ---- the node's lease ---- */

#define LEASE_ID_SIZE   33  /* of a state_dir: 32 hex digits and a NUL */
#define LEASE_TOLD_SIZE 128 /* a place in the event log, as text of the caller's own */
struct lease {
    const char *name, *id; /* of the node; of its state_dir */
    uint64_t epoch;
    uint32_t life_ms;
};
/* Begin a lease. HK_EEXIST: the epoch is another node's, or an earlier one of this state_dir: draw again. HK_EBUSY: the name is held by a node with another state_dir, and how long still. The earlier epoch of the
 * same state_dir loses its lease at once: the caller's locks prove that it is dead. */
int store_lease_take(struct store *store, const struct lease *lease, struct hk_why *why) HK_MUST_USE;
/* End it at once, so that others need not wait until it runs out. `told`: up to where the event log has been told, all of it at
 * a clean end, so that the next start need not tell anything again; "" leaves what the last beat said. */
int store_lease_end(struct store *store, const struct lease *lease, const char *told,
                    struct hk_why *why) HK_MUST_USE;
/* Up to where the event log of this state_dir was told, as the last beat that Redis still knows said; "" where it knows
 * none. Redis lost nothing that was told before that place. */
int store_told(struct store *store, const struct lease *lease, char out[LEASE_TOLD_SIZE],
               struct hk_why *why) HK_MUST_USE;
/* HK_EEXIST when there is one of that name. One that Redis has forgotten may have several segments. domain_first[] and span_first[]: index of the first recipient of
 * each domain and span (manifest->domains and ->spans of them). */
int store_campaign_create(struct store *store, const struct manifest *manifest, const uint32_t *domain_first,
                          const uint32_t *span_first, struct hk_why *why) HK_MUST_USE;
/* The same campaign with one segment more: *manifest has the new totals and hashes, the tables all domains and spans of
 * all segments, the old ones as they were (segment_open_all). The ledger counts them as one: its keys say segment 0. An
 * extended campaign is no longer settled: the caller clears first_pass_us and settled_us. HK_ENOENT, or HK_ECHANGED when
 * somebody extended it meanwhile. */
int store_campaign_extend(struct store *store, const struct manifest *manifest, const uint32_t *domain_first,
                          const uint32_t *span_first, struct hk_why *why) HK_MUST_USE;
int store_campaign_get(struct store *store, const char *campaign, struct manifest *out,
                       struct hk_why *why) HK_MUST_USE;
/* Write the fields of the manifest that commands change: state, first_rows, settled_us (as they stand in *manifest). */
int store_campaign_put(struct store *store, const struct manifest *manifest, struct hk_why *why) HK_MUST_USE;
/* Make a ledger that has lost keys usable again: its tables are written anew, spans without their words count as never
 * taken, deferred recipients without due times are due at once. Only for a campaign that no node runs; what is missing is
 * told again afterwards, from the event log, for the places of store_told() are forgotten first. */
int store_campaign_repair(struct store *store, const struct manifest *manifest, const uint32_t *domain_first,
                          const uint32_t *span_first, struct hk_why *why) HK_MUST_USE;
/* Set the quick counts to what the words say. */
int store_campaign_recount(struct store *store, const struct manifest *manifest,
                           struct hk_why *why) HK_MUST_USE;
/* Remove all that Redis holds of a campaign; its name is free afterwards. Cut off half-way, it is done by the next one. */
int store_campaign_purge(struct store *store, const struct manifest *manifest,
                         struct hk_why *why) HK_MUST_USE;
/* Names, malloc'd, sorted; the caller frees each and the array. */
int store_campaign_list(struct store *store, char ***out, size_t *count, struct hk_why *why) HK_MUST_USE;
/* Quick counts, kept by the script. counts[] by enum ledger_state, pending included. */
int store_counts(struct store *store, const struct manifest *manifest, uint64_t counts[LEDGER_STATES_COUNT],
                 uint64_t *attempts, struct hk_why *why) HK_MUST_USE;
/* Walk the whole ledger in index order: fn(context, segment, index, word) for every recipient, absent spans
 * as pending. Memory: 64 spans at most. fn returning non-zero stops the walk with that value. HK_ECHANGED: a span that
 * was taken has no string, or a shorter one. */
int store_ledger_walk(struct store *store, const struct manifest *manifest,
                      int (*fn)(void *context, uint32_t segment, uint32_t index, uint32_t word),
                      void *context, struct hk_why *why) HK_MUST_USE;
/* What stands of one recipient: his word, when he is due and when he was first tried (0: none). `offset` in the span. */
int store_recipient(struct store *store, const char *campaign, uint32_t segment, uint32_t span,
                    uint32_t offset, uint32_t *word, uint32_t *due_s, uint32_t *first_s,
                    struct hk_why *why) HK_MUST_USE;
/* The words of many recipients of any campaigns, in one round trip: word[i] of place[i], 0 where nothing stands. */
struct store_place {
    const char *campaign;
    uint32_t segment, span, offset; /* offset in the span */
};
int store_words(struct store *store, const struct store_place *place, size_t count, uint32_t *word,
                struct hk_why *why) HK_MUST_USE;
/* Site of every domain that has one: fn(context, segment, domain, site); while a node writes, a domain may come twice.
 * And the domain table itself. */
int store_sites(struct store *store, const struct manifest *manifest,
                void (*fn)(void *context, uint32_t segment, uint32_t domain, const char *site), void *context,
                struct hk_why *why) HK_MUST_USE;
int store_domain_first(struct store *store, const struct manifest *manifest, uint32_t segment, uint32_t **out,
                       uint32_t *count, struct hk_why *why) HK_MUST_USE; /* malloc'd */

/* ---- the asynchronous face ---- */

enum ledger_op_kind {
    /* pending | deferred -> sending, as `attempt`, which must be greater than the word's. Granted again to the same
     * epoch and attempt; where that is refused because of a pause or a cancel, it is given back as by RELEASE. */
    OP_COMMIT = 1,
    /* -> word (sent, deferred, bounced, unknown, expired); attempts in word; due_s and first_s if deferred. Needs no
     * COMMIT before it. Sent, bounced and unknown are evidence, whoever owns the span and whatever attempt is on; the
     * others are for the owner or a later epoch. */
    OP_OUTCOME,
    /* sending as `attempt` by this or a dead (which is: an earlier) epoch, dot never left -> pending, or deferred
     * where there were attempts before, due at due_s */
    OP_RELEASE,
    /* `count` recipients from index, those pending or deferred with an earlier due time -> deferred (host not to be
     * reached): class and code from word, attempts + 1 (in {c}:n too), due_s, first_s where there is none. Its verdict
     * is DONE, whatever was in the range. */
    OP_PUT_BACK,
    /* `count` recipients from index, those pending or deferred -> word's state (expired, bounced, suppressed,
     * cancelled) with its class and code; attempts kept, + 1 if word.attempts is not 0. Otherwise as PUT_BACK. */
    OP_SETTLE,
    /* unknown -> pending, attempts kept: somebody decided that he is sent to again; with a due_s -> deferred until then,
     * first_s where there is none. DONE where he is pending already. */
    OP_RESEND,
    /* The marks of word are set beside the others, whatever the state is; `unknown` that gets LEDGER_MARK_BOUNCED becomes
     * bounced instead, with class and code of word. Of who was never sent to: SETTLED, nothing changed. */
    OP_MARK,
};

struct ledger_op {
    uint8_t kind;
    uint8_t attempt;
    uint16_t segment;
    uint32_t span;
    uint32_t index;      /* in its segment; the script works with its offset in the span */
    uint32_t span_first; /* segment_span().first of `span` */
    uint32_t count;      /* PUT_BACK, SETTLE */
    uint32_t word;
    uint32_t due_s, first_s;
    uint64_t cookie; /* the caller's own */
    uint64_t
        granted; /* the epoch that was granted what this tells the end of, when it is a dead one's; 0: our own */
};

enum ledger_verdict {
    VERDICT_DONE = 0, /* granted, applied, or applied before */
    VERDICT_SETTLED,  /* the recipient is in a final state, or another attempt is ahead: nothing changed */
    VERDICT_PAUSED,
    VERDICT_CANCELLED,
    VERDICT_NOT_OURS, /* the span belongs to another epoch */
    VERDICT_LOST, /* the span was taken once and something of it is gone or cut, or the campaign itself is gone */
    VERDICT_HELD, /* of a take alone: it belongs to a node whose lease lives */
};

struct ledger;
struct feedback; /* feedback.h */
struct feedback_result;

struct ledger_callbacks {
    void *context;
    /* Connected (again), or what was broken is mended; what was in flight has been sent again. */
    void (*up)(void *context);
    /* Connection lost, or not to be had at first; tried again by itself, with pauses up to 1 s. Told once. */
    void (*down)(void *context, const char *why);
    /* One call for each op pushed, in order of pushing within a campaign. */
    void (*verdict)(void *context, const char *campaign, const struct ledger_op *op,
                    enum ledger_verdict verdict);
    /* What became of one that ledger_feedback() took; NULL: nobody asks. */
    void (*fed_back)(void *context, const struct feedback *feedback, const struct feedback_result *result);
    /* Redis answered in a way that no retry mends (OOM, READONLY, wrong password, script error ...): the words,
     * once, and the master freezes. Nothing is dropped: it is tried again each second, and up() says when it worked. */
    void (*broken)(void *context, const char *why);
    /* Redis has forgotten calls which it had answered, or a campaign of which a field was to be set: nothing is sent to it
     * any more, and no verdict comes. */
    void (*behind)(void *context, const char *campaign);
};
int ledger_open(const struct config *config, struct ev_loop *loop, uint64_t epoch,
                const struct ledger_callbacks *callbacks, struct ledger **out,
                struct hk_why *why) HK_MUST_USE;
/* Ops without a verdict are dropped. Not from inside a callback. */
void ledger_close(struct ledger *ledger);

/* Leave Redis alone from now on: no call goes out, no callback comes, what is pushed is dropped. Not from inside a
 * callback. For a node that starts over: the event log and the region know all of it. */
void ledger_abandon(struct ledger *ledger);
/* The campaign may go from Redis with all that was answered about it. Nothing of it is pending. */
void ledger_forget(struct ledger *ledger, const char *id);

/* Queue an op. Never blocks, copies *op; memory is bounded by the flights of the node (the caller has at most
 * one COMMIT or OUTCOME per flight slot). HK_EINVAL: no campaign ID, or an op outside its span or of no sense;
 * HK_ENOMEM; HK_EFULL with 4 million ops of a campaign waiting. */
int ledger_push(struct ledger *ledger, const char *campaign, const struct ledger_op *op) HK_MUST_USE;
/* Send what is queued unless a call of that campaign is in flight (then it goes with the next one). At most
 * 1,000 recipients a call. The master calls this once a turn, after the event log was written. */
void ledger_flush(struct ledger *ledger);
/* Ops, takes, sites and fields pushed whose answer has not come. */
size_t ledger_pending(const struct ledger *ledger);
size_t ledger_pending_of(const struct ledger *ledger, const char *id); /* those of one campaign */
/* Is an answer about ops under way, which takes with it what was flushed meanwhile? Until it is there (or the connection is
 * lost, which a callback tells), nothing more goes out. */
bool ledger_is_asked(const struct ledger *ledger);
/* Would ledger_flush() send ops now, and none of what comes in a moment go with them? Never so where a call costs nothing
 * (ledger = none). */
bool ledger_would_ask(const struct ledger *ledger);

/* Take a span for this epoch (also to read it again when its time has come): what stands in it. `sending`
 * left by another epoch has become unknown by then. words: count values; due and first: count values (0: none) or NULL
 * where there are none. Valid during the call only. verdict: DONE (paused too), CANCELLED (taken all the same, so that
 * the rest can be settled), or HELD or LOST, with words NULL. {c}:due keeps the earliest due time behind now, by Redis' clock:
 * what is due by now the caller has from here. Take callbacks keep order with earlier ops of the campaign. */
typedef void (*ledger_take_fn)(void *context, uint64_t cookie, enum ledger_verdict verdict,
                               const uint32_t *words, const uint32_t *due, const uint32_t *first,
                               uint32_t count);
int ledger_take(struct ledger *ledger, const char *campaign, uint16_t segment, uint32_t span, uint32_t count,
                ledger_take_fn fn, void *context, uint64_t cookie) HK_MUST_USE;
/* What {c}:due and {c}:own hold, for a start: fn(context, segment, span, earliest) for each span with
 * something due, then for each span ever taken with taken = true. Synchronous, on a store. */
int store_spans(struct store *store, const char *campaign,
                void (*fn)(void *context, uint32_t segment, uint32_t span, bool taken,
                           uint32_t earliest_due_s),
                void *context, struct hk_why *why) HK_MUST_USE;

/* One beat of the node's lease, at once and beside the ops; told: up to where the event log was told, "" for no change. fn
 * is called once, with what lease.lua says (-1: the lease is ours; how many keys Redis has evicted), unless the connection is lost
 * before. HK_EDOWN when not connected. */
typedef void (*ledger_beat_fn)(void *context, long long left_ms, uint64_t evicted);
int ledger_beat(struct ledger *ledger, const struct lease *lease, const char *told, ledger_beat_fn fn,
                void *context) HK_MUST_USE;
/* A mark behind all that was pushed so far; have all ops before the last mark had their verdict? */
void ledger_mark(struct ledger *ledger);
bool ledger_mark_reached(const struct ledger *ledger);

/* The quick counts, asked at once and beside the ops: fn is called once, with counts[] by enum ledger_state (pending
 * included), or NULL where Redis has none that can be right, unless the connection is lost before. `manifest` has to stay
 * until then. HK_EDOWN when not connected. */
typedef void (*ledger_counts_fn)(void *context, const uint64_t counts[LEDGER_STATES_COUNT],
                                 uint64_t attempts);
int ledger_counts(struct ledger *ledger, const struct manifest *manifest, ledger_counts_fn fn,
                  void *context) HK_MUST_USE;

/* The site of a domain, as last resolved; written with the next flush, beside the ops and not in order with them. */
int ledger_site(struct ledger *ledger, const char *campaign, uint16_t segment, uint32_t domain,
                const char *site) HK_MUST_USE;
/* Change one field of the manifest (state, started_us, first_pass_us, settled_us): value in decimal or words.
 */
int ledger_manifest_set(struct ledger *ledger, const char *campaign, const char *field,
                        const char *value) HK_MUST_USE;

#endif
