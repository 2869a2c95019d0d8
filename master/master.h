/* master.h - the master's own memory: workers, connections, sites and their queues, campaigns and their spans.
 *
 * One process, one thread: plain structs, no lock. Reading order: node.c (the loop), children.c (processes), campaign.c
 * (which recipients are taken up), domain.c (where they go), site.c (what limits apply), dispatch.c (who may send now),
 * outcome.c (what became of it), settle.c (what the dead left behind), control.c (what others ask).
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include <ev.h>
#include <sys/queue.h>

#include "busy.h"
#include "due.h"
#include "eventlog.h"
#include "grant.h"
#include "hikyaku/classify.h"
#include "hikyaku/node.h"
#include "hikyaku/resolve.h"
#include "hikyaku/segment.h"
#include "hikyaku/suppress.h"
#include "limit.h"
#include "owed.h"
#include "pace.h"
#include "queue.h"
#include "table.h"
#include "tlsrpt.h"
#include "wish.h"

#define CONN_DEPTH \
    2u /* messages on one connection: one under way, one behind it, so that their round trips overlap */

struct errand;
struct json_t;
struct signer;
struct node;
struct site;
struct lane;
struct dest;

/* ---- sites ---- */

/* One source x one site: where connections live and limits apply. */
struct lane {
    struct site *site;
    uint16_t source;
    uint32_t weight; /* its share of the connections, beside the other lanes' */
    double turn;     /* when its next connection would be due, in connections of weight 1 (site->turn) */
    int family;      /* AF_INET or AF_INET6: it reaches no other address; AF_UNSPEC any */
    uint32_t conns;  /* opening, ready or closing: each holds a permit until its socket is closed */
    uint32_t ready;
    uint32_t cap; /* what the receiver let us have when it refused one more; UINT32_MAX none */
    uint64_t cap_until_ms;
    struct limit rate, conn_rate;
    double most; /* the rate that is configured, 0 none */
};

enum gate_scope { GATE_SOURCE, GATE_NODE, GATE_CLUSTER };
/* A limit that several sites or lanes pass together (gate.c). */
struct gate {
    struct table_link link; /* name */
    struct node *node;
    char *name;        /* "dkim:example.com", "account:SITE": as in Redis */
    uint8_t scope;     /* enum gate_scope */
    struct limit *own; /* of each source, or one */
    size_t counts;
    TAILQ_HEAD(, site) line; /* sites whose next message waits here */
    /* of all nodes of one Redis */
    struct grant grant;
    bool asking; /* the question is under way: since when, and for how many */
    uint32_t wanted;
    uint64_t asked_us, again_us;
    uint64_t trip_us; /* to Redis and back, the longest of late */
    /* of a relay's account: its rate, as far as it is known, and what Redis is to be told of it */
    bool account, known, change, cut, changing, cutting;
    struct pace pace;
    uint64_t version;
    uint32_t nodes;
    double most, others, said;
};
#define GATE_LINE UINT64_MAX

enum conn_state { CONN_FREE, CONN_OPENING, CONN_READY, CONN_CLOSING };
struct conn {
    TAILQ_ENTRY(conn) hungry_link; /* in dest->hungry while ready with room for one more */
    struct lane *lane;
    struct dest *dest;
    uint32_t id;     /* slot in its worker */
    uint32_t shared; /* the region's destination slot it was opened with */
    uint16_t worker;
    uint8_t state; /* enum conn_state */
    bool hungry;
    bool worked;       /* a transaction on it was answered: its receiver can be had */
    bool parting;      /* told to close with the dot of what it has under way */
    uint8_t under_way; /* sends without an outcome */
    uint32_t sent;     /* permissions given in its life */
    uint32_t send_max; /* at most so many; 0: no limit */
    uint32_t domain_max,
        domains;     /* recipient domains it may carry, 0: no limit; and has carried, changes counted */
    uint64_t domain; /* hash of the latest */
    uint64_t opened_ms;
    uint64_t serial; /* its number, as in the event log; 0: none, the slot is free */
    struct due_mark due;
};

/* One MX set of a site. Lives while a domain names it, a recipient waits in it or a connection uses it. */
struct dest {
    struct table_link link; /* name: what makes it this MX set */
    TAILQ_ENTRY(dest) of_site;
    struct site *site;
    uint8_t *hosts; /* the latest answer, packed: dest_hosts() */
    size_t hosts_length;
    uint16_t port;
    bool has_ipv4, has_ipv6; /* addresses of the latest answer */
    bool wants_reports;      /* of TLS (RFC 8460) */
    int16_t route;
    uint8_t relay;  /* which one of the route */
    uint8_t tls;    /* enum tls_policy of the configuration; host_tls() weighs it for each host */
    char *next_hop; /* the only domain it is for; NULL: any */
    uint32_t
        shared; /* the region slot that new connections get, UINT32_MAX none; older ones may be in use as well */
    uint32_t domains; /* that resolve to it */
    uint32_t refs;    /* connections and holds that point here */
    uint32_t live;    /* connections opening or ready */
    bool proven;      /* a transaction was answered since the last failure */
    struct turns queue;
    TAILQ_HEAD(, conn) hungry;
    uint32_t failures;            /* connections that failed in a row */
    uint64_t failed_ms;           /* when the last of them did */
    uint64_t hold_until_ms;       /* no new connection before */
    uint64_t dead_until_ms;       /* what arrives before is put back at once */
    bool never;                   /* or bounces at once: every host said that it takes no mail at all */
    struct dest_failure *failure; /* the latest; NULL: none yet */
    char name[];
};

struct dest_failure {
    struct outcome_reply reply;
    char ip[46]; /* "" none */
};

struct site {
    struct table_link link; /* name */
    struct node *node;
    const struct cfg_provider *provider;
    TAILQ_HEAD(, dest) dests;
    TAILQ_ENTRY(site) ready_link;  /* in node->ready: has to be looked at */
    TAILQ_ENTRY(site) wait_link;   /* in node->waiting: wants a connection, the node has none to give */
    TAILQ_ENTRY(site) lively_link; /* in node->lively: somebody was settled since the last second */
    bool is_ready, is_waiting, is_lively;
    bool ses;       /* its relays are Amazon SES */
    bool called;    /* it has stood in a gate's line long enough, on this visit */
    ev_timer timer; /* when its limits let something pass */
    struct lane *lane;
    uint32_t lanes;
    double turn; /* of the connection opened last: who was held up has nothing to catch up with */
    uint64_t queued;
    uint64_t useful;          /* how many of queued count for the window: what it can send soon */
    uint64_t settled, before; /* outcomes so far, and a second ago */
    uint16_t home;            /* the worker that serves it while one is enough, or did last */
    bool spread;              /* it has connections, or had, on others as well */
    uint64_t no_pipelining_until_ms;
    struct gate **gate;              /* that its messages pass */
    struct gate *account, *waits_at; /* of ses; in whose line it stands, NULL: in none */
    TAILQ_ENTRY(site) gate_link;
    uint32_t gates;
    uint32_t gate_want;          /* messages that could go when it began to stand there */
    uint64_t suspended_until_ms; /* nothing is sent before; 0: it is not suspended */
    uint32_t quota_refusals;     /* in a row */
    char *name;                  /* behind its lanes, which are behind it: one piece of memory */
};

/* ---- domains ---- */

enum domain_state { DOMAIN_ASK, DOMAIN_ASKED, DOMAIN_KNOWN };
struct domain {
    struct table_link link; /* name */
    TAILQ_ENTRY(domain) ask_link;
    uint8_t state;  /* enum domain_state */
    uint8_t status; /* enum resolve_status, when known */
    int16_t route;  /* a relay of this route is meant, not a domain's MX; -1 */
    uint8_t relay;  /* which one */
    uint64_t expires_ms;
    struct dest *dest;  /* when known and RESOLVE_OK */
    struct queue queue; /* recipients that wait for the answer */
    char *words;        /* why it cannot be sent to; NULL: none */
    char name[];
};

/* ---- campaigns ---- */

#define NOT_BIG UINT32_MAX
enum span_state { SPAN_FRESH, SPAN_TAKING, SPAN_OPEN };
struct span {
    uint32_t first, count;
    uint32_t active; /* recipients queued or under way */
    uint32_t due_s;  /* earliest retry, campaign seconds; 0 none */
    uint8_t state;   /* enum span_state */
    bool passed;     /* every recipient was tried, or is settled */
    uint32_t big;    /* which big domain it belongs to, NOT_BIG */
    bool reserved;   /* its big domain counts all of it as active until it is known what stands in it */
    bool again;      /* somebody in it was let go untried: it is read again when the campaign runs */
    bool beyond;     /* somebody in it stands in a row behind first_rows */
    bool called_off; /* of a cancelled campaign: nobody in it waits any more */
    bool known;      /* Redis knows that it was taken once */
    bool ours;       /* by this node, in this life */
    bool held;       /* by another node that lives: looked at again now and then */
    bool read;       /* in this life, so that those found unknown in it have their lines */
    uint64_t *bits;  /* which are active; NULL when none is */
};

struct campaign {
    SLIST_ENTRY(campaign) closed_link;
    struct node *node;
    uint16_t slot; /* in the region's campaign table */
    struct manifest manifest;
    struct segment *segment;
    struct span *span;
    uint32_t spans, taking, passed, held;
    uint64_t active; /* sum of the spans' */
    uint32_t packed_next;
    struct big_domain {     /* a domain with spans of its own */
        uint32_t next, end; /* its spans that are not taken yet */
        uint64_t active;
    } * big_domain;
    uint32_t big_domains, big_cursor;
    uint64_t start_us;   /* boot clock of campaign second 1 */
    uint32_t next_due_s; /* no span is due before; 0: look */
    bool frozen;         /* something is wrong that needs a person: said once */
    uint64_t thaw_ms;    /* or may pass by itself: when it is tried again; 0 never */
    uint32_t thaws;      /* in a row, without a message sent between */
    bool settled, said_settled;
    bool parked; /* in memory for a command alone: nothing of it is sent */
    bool halted; /* paused because first_rows were reached, or Redis said so */
    bool
        overruled; /* Redis has or had another state than we were told: asked with each beat until both are the same */
    uint64_t begun_epoch,
        begun_number;    /* the first line of the event log that can be about it; 0: none yet */
    uint32_t called_off; /* spans that are */
    uint32_t call_off_next;
    uint64_t counts[LEDGER_STATES_COUNT], attempts; /* as last read */
    uint64_t rate_at_ms, rate_from; /* when the rate was last measured, and who was settled then */
    double rate;                    /* campaign_rate() */
};

/* ---- workers ---- */

enum hold_commit { COMMIT_NONE, COMMIT_ASKED, COMMIT_GRANTED, COMMIT_REFUSED };
/* What the master remembers of a permission it gave: one for each flight slot in use. */
struct hold {
    bool used, done;
    bool suppressed; /* his commit was refused for that */
    bool stopped;    /* or because the campaign does not run: he still waits */
    uint8_t commit;  /* enum hold_commit */
    uint32_t span;
    struct run run; /* count 1 */
    struct dest *dest;
    struct conn *conn; /* a slot: what was to carry it has `serial` */
    uint64_t serial;
};

struct worker {
    struct node *node;
    uint32_t number;
    pid_t pid; /* 0: none runs */
    int wake_fd, up_fd;
    ev_io up_io;
    ev_timer respawn;
    uint64_t forked_ms;
    bool touched;     /* something was pushed this turn */
    bool ended_by_us; /* the time to drain is over, or it did not leave */
    struct conn *conn;
    uint32_t *free_conn, free_conns, conns;
    struct hold *hold;
    uint32_t *free_slot, free_slots;
    struct busy busy;
};

struct node {
    const struct config *config;
    struct node_place *place;
    const struct node_options *options;
    struct last_life *last_life;
    struct ev_loop *loop;
    uint64_t epoch;
    struct lease lease;
    uint64_t beat_ms; /* when the last beat went out */
    struct region region;
    struct store *store;
    struct ledger *ledger;
    struct suppress *suppress;
    struct eventlog log;
    struct tlsrpt tlsrpt;

    struct worker *worker;
    uint32_t workers, conns;
    uint64_t serial;    /* connections opened so far */
    uint64_t shared_ms; /* when a worker last gave connections up */
    struct due due;
    uint32_t *free_dest, free_dests;

    pid_t resolver_pid;
    int resolver_fd;
    ev_io resolver_io;
    ev_timer resolver_respawn;
    TAILQ_HEAD(, domain) ask; /* domains whose question waits to be put */
    struct domain *asked[RESOLVE_INFLIGHT_MAX];
    uint32_t free_question[RESOLVE_INFLIGHT_MAX], free_questions;

    struct table sites, dests, domains;
    struct {
        uint32_t failed, answered; /* look-ups since this was said */
        uint64_t say_ms;           /* not before; 0: none has failed yet */
        char words[128];
    } dns;
    struct table suspended; /* sites that nothing is sent to for now, known or not (suspension.c) */
    struct table gates;
    ev_timer gate_timer;
    uint64_t suspensions_version;
    bool suspensions_due, suspensions_asked;
    TAILQ_HEAD(site_list, site) ready, waiting, lively;
    uint64_t movable; /* recipients in memory that can be sent soon: the window */
    uint64_t holds;   /* flight slots in use */

    struct campaign *campaign[REGION_CAMPAIGNS_MAX];
    SLIST_HEAD(, campaign) closed;

    struct wishes wishes;  /* of those who unsubscribed (unsubscribe.c) */
    struct signer *tokens; /* takes tokens of our return path apart (meant.h); NULL until one comes */
    struct front *front;   /* processes that face the network (front.h) */
    size_t fronts;

    struct owed_list owed;        /* written down, and not in Redis yet */
    TAILQ_HEAD(, errand) errands; /* requests whose answer waits for something */
    struct json_t *answer;        /* of a short-lived node's request, when it has come */

    int signal_fd, control_fd;
    ev_io signal_io, control_io;
    ev_prepare turn;
    ev_idle busy; /* keeps the loop from blocking while sites are ready */
    ev_timer tick, redis_check;
    bool draining, stopping;
    bool ledger_up;
    /* The last poll left something; it failed: said once. */
    bool suppress_due, suppress_more, suppress_failing;
    bool beating; /* the last beat has no answer yet */
    bool evicted_known;
    uint64_t evicted;  /* keys that Redis had thrown away with that beat */
    bool past_told;    /* what the event log knew at the start: from then on places in it can be told */
    bool told_to_stop; /* by a signal */
    bool redis_lost;   /* something that it had acknowledged: what was known before this life counts */
    bool again; /* what it knows and what Redis knows differ: it starts over, settling all as after a death */
    bool abandoned; /* the ledger, for that */
    bool starved;   /* the disk is nearly full: nothing new is sent (machine.c) */
    uint64_t drain_until_ms, started_ms, ticks;
    uint64_t stuck_ms;         /* since when a drain waits for room on the disk alone; 0: it does not */
    uint64_t redis_revived_ms; /* 0: never */
    uint32_t connections_max;  /* smtp.connections, or as many as the limit of open files allows */
    int exit_status;
    uint32_t mark_number; /* of the last request whose marks were pushed */
    uint32_t refill_from; /* the campaign that takes its next span first */
    /* At start: a campaign of which Redis had no place for what was told; "" none. */
    char forgotten[CAMPAIGN_ID_MAX + 1];
    /* Places in the event log: at ledger_mark(), and told up to. */
    char mark[LEASE_TOLD_SIZE], told[LEASE_TOLD_SIZE];
};

/* node.c */
void node_wait(struct node *node); /* one step of the loop, at start, when no timer runs yet */
void node_freeze(struct campaign *campaign, const char *why);
void node_freeze_a_while(struct campaign *campaign, const char *why); /* a worker could not: memory, a file */
void node_start_over(struct node *node, const char *why);
/* The same, because Redis has lost something: which campaigns were paused is remembered as well. */
void node_start_over_lost(struct node *node, const char *why);
#define REDIS_IS_BEHIND "Redis has less than it had acknowledged"
bool node_is_told_to_stop(const struct node *node); /* at start: signals are not read yet */
void node_give_up(struct node *node,
                  int exit_status); /* what a child said cannot be mended by starting it again */
uint32_t node_next_due_s(const struct node *node, uint64_t *wait_ms);

/* place.c */
void node_place_sweep(const struct config *config); /* unfinished files of those who died in the middle */

/* machine.c */
int machine_sources(const struct config *config, struct hk_why *why) HK_MUST_USE;
int machine_room(const struct config *config, struct hk_why *why) HK_MUST_USE;
void machine_watch_room(struct node *node);

/* children.c */
int children_start(struct node *node, struct hk_why *why) HK_MUST_USE;
void children_reaped(struct node *node);
void children_stop(struct node *node);
void children_kill_workers(struct node *node);
/* First thing in a child that strangers talk to: whatever of the node could tell them something goes. What the node keeps
 * from all its children is not there to begin with: the password of Redis (hk_secret_new), lists, and who is suppressed. */
void child_forget(struct node *node);
const char *child_how_it_ended(int status, char *text, size_t size); /* words for a status of waitpid */
void worker_tell(struct worker *worker,
                 const struct desc *desc); /* push down; wakes at the end of the turn */
void workers_wake(struct node *node);
void worker_read(struct worker *worker); /* everything in its ring up */

/* campaign.c */
int campaign_open(struct node *node, const char *id, struct hk_why *why) HK_MUST_USE;
/* Open it to be sent: HK_ECHANGED where this configuration has another sender. To be settled or cancelled it needs none. */
int campaign_run(struct node *node, const char *id, struct hk_why *why) HK_MUST_USE;
int campaign_check_sender(const struct node *node, const struct manifest *manifest,
                          struct hk_why *why) HK_MUST_USE;
void campaign_close(struct campaign *campaign);
void campaign_publish(struct campaign *campaign); /* tell its id to the workers */
struct campaign *campaign_find(const struct node *node, const char *id);
void campaigns_refill(struct node *node);
void campaigns_tick(struct node *node);
uint32_t campaign_now_s(const struct campaign *campaign);
/* Recipients [index, index + count) are neither queued nor under way any more; due_s: when one of them is wanted again. */
void campaign_release(struct campaign *campaign, uint32_t number, uint32_t index, uint32_t count,
                      uint32_t due_s);
/* Recipients that are active and cannot go on because the campaign does not run: paused, they are read again when it
 * does; cancelled, the ledger is told. */
void run_let_go(struct campaign *campaign, struct run run);
bool campaign_runs(const struct campaign *campaign);
/* "running", "paused" or "cancelled", in Redis and here. On an error both are as they were. */
int manifest_put_state(struct node *node, struct manifest *manifest, const char *state,
                       struct hk_why *why) HK_MUST_USE;
/* This state it had when Redis lost its last writes. Where the two differ it is paused: who made it go on is asked again. */
void campaign_as_before(struct campaign *campaign, const char *state);
/* Take over a new state: what waits leaves the queues, or is read again. */
void campaign_stop(struct campaign *campaign);
void campaign_go_on(struct campaign *campaign);
/* Campaigns whose commits Redis refused although they run: what does Redis say? Only where it has just answered. */
void campaigns_ask_state(struct node *node);
void span_read_again(struct campaign *campaign, uint32_t number);
/* The ledger has settled all who waited in it. */
void span_called_off(struct campaign *campaign, uint32_t number);
bool campaign_is_idle(const struct campaign *campaign); /* nothing of it is in memory or on its way */
bool campaign_read_counts(struct campaign *campaign);
/* Recipients settled in a second, by all nodes, over the last few seconds; 0 while nobody counts them. */
double campaign_rate(const struct campaign *campaign);

/* domain.c */
void domain_enqueue(struct node *node, struct campaign *campaign, uint32_t number, struct run run);
void domains_ask(struct node *node);
void domain_answer(struct node *node, const struct resolve_answer *answer);
void domains_open(struct node *node);
void domains_forget_asked(struct node *node); /* the resolver died: ask again */
void domains_sweep(struct node *node);
void domains_tell(struct node *node); /* about once a second: which look-ups failed, once a minute at most */
void domains_close(struct node *node);

/* Does the route of this destination have a relay that can be had, as far as is known, or was not tried yet? */
bool relay_has_stand_in(struct node *node, const struct dest *dest);

/* site.c */
bool sources_want_ipv6(const struct config *config); /* some source sends from an IPv6 address */
/* Has it an address that some source can connect to? */
bool sources_reach(const struct config *config, const struct resolve_answer *answer);
struct dest *dest_of_answer(struct node *node, const struct domain *domain,
                            const struct resolve_answer *answer);
void dest_enqueue(struct dest *dest, struct run run, bool first);
void dest_put_back(struct dest *dest); /* all who wait; or bounce them, see dest.never */
/* What it last failed with: an empty reply where it has not. */
const struct outcome_reply *dest_failure(const struct dest *dest);
void dest_forget(struct dest *dest); /* free it if nothing needs it */
/* The latest answer about it. */
void dest_hosts(const struct dest *dest, struct resolve_answer *answer);
bool dest_share(struct dest *dest); /* see that it has a slot in the region; false: none is free */
void dest_unshare(struct dest *dest, uint32_t slot);
bool dest_next(struct dest *dest, struct run *run); /* take one recipient out of its queue */
void dests_let_go(struct campaign *campaign);       /* take all of this campaign out of every queue */
void site_settled(struct site *site, uint64_t count);
void sites_tick(struct node *node);
void sites_sweep(struct node *node);
void sites_close(struct node *node); /* after domains_close: free them all, whatever waits */

/* account.c */
void account_accepted(struct site *site);
/* A message came back because of our account. */
void account_refused(struct site *site, struct campaign *campaign, const struct flight *flight);
void account_stop(struct campaign *campaign, enum account_fault fault, const struct outcome_reply *reply);

/* gate.c */
void gates_open(struct node *node);
void gates_close(struct node *node); /* after the ledger: no answer comes any more */
void gates_of_site(struct site *site, const struct cfg_route *route); /* that has just come to be */
void gates_forget_site(struct site *site);
/* 0: the next message may go (gates_take counts it), else microseconds until it may. GATE_LINE: the site is woken. */
uint64_t gates_wait_us(const struct dest *dest, const struct lane *lane, uint64_t now_us);
void gates_take(const struct lane *lane, uint64_t now_us);
void gates_turn(struct node *node);
void gates_tick(struct node *node);   /* once a second */
void gate_refused(struct gate *gate); /* an account's: too fast */

/* suspension.c */
int suspensions_open(struct node *node, struct hk_why *why) HK_MUST_USE;
void suspensions_close(struct node *node);
void suspensions_turn(
    struct node *node); /* tell Redis what it does not know yet, and ask, once that is due */
void site_suspend(struct site *site, const char *cause, uint64_t for_ms);
void site_remember_suspension(struct site *site); /* of a site that has just come to be */
bool site_is_suspended(struct site *site, uint64_t now_ms);

/* dispatch.c */
void site_wake(struct site *site);
void dispatch(struct node *node);
/* For sites that wait for a connection, and for workers that have more to do than others. */
void dispatch_tick(struct node *node);
void worker_begins(struct worker *worker); /* before its fork: nothing is known of how busy it is */
void conn_opened(struct worker *worker, uint32_t id);
void conn_closed(struct worker *worker, uint32_t id);
void conn_drop(struct conn *conn); /* forget it: its process is gone */
void conn_feed(struct conn *conn);
/* The dot of a message on it may leave. */
void conn_granted(struct conn *conn);
/* Close what has nothing under way; of what is opened next, one connection goes first. */
void dest_rest(struct dest *dest);
/* What a flight tells of its connection itself; accepted: the recipient was, a commit was asked for. */
void conn_outcome(struct conn *conn, const struct flight *flight, bool accepted);
void slot_release(struct worker *worker, uint32_t slot);

/* seen.c */
void conn_report_tls(const struct conn *conn, const struct conn_info *info);

/* outcome.c */
void flight_commit(struct worker *worker, uint32_t slot);
void flight_done(struct worker *worker, uint32_t slot);
void flight_orphan(struct worker *worker, uint32_t slot); /* its worker died */
void flight_lost_reply(struct flight *flight,
                       const char *words); /* its dot left, nobody knows more: unknown */
/* Tell the outcome that stands in `flight` (of this or of a dead master's region): event line, then ledger op. */
void flight_outcome(struct node *node, const struct region *region, uint32_t worker, struct flight *flight,
                    struct campaign *campaign, struct ledger_op op);
/* The schedule's step after so many attempts, in seconds. */
uint32_t retry_step_s(const struct config *config, uint32_t attempts);
/* The line about somebody whose attempt nobody ever told the end of. */
void event_unknown(struct campaign *campaign, uint32_t index, uint8_t attempts, const char *settled_as);
/* The line about recipients [index, index + count) who were waiting when their campaign was cancelled. */
void event_cancelled(struct campaign *campaign, uint32_t index, uint32_t count);
/* Somebody of a span just taken is unknown: sent to again where that was chosen. When, 0: not. */
uint32_t recipient_resend(struct campaign *campaign, uint32_t number, uint32_t index, uint8_t attempts,
                          uint32_t first_s);
#define COOKIE_OLD_REGION UINT64_MAX          /* of an op that settles a dead master's flight */
#define COOKIE_CALL_OFF   (UINT64_MAX - 1)    /* of an op that cancels who waits in a span */
#define COOKIE_ERRAND     (UINT64_MAX - 2)    /* of an op that a command asked for */
#define COOKIE_MARK       ((uint64_t)3 << 62) /* of a mark, with the number of its errand */
#define COOKIE_WISH \
    (COOKIE_MARK | (uint64_t)1 << 32) /* of one of who unsubscribed, with the number of his wish */
void outcome_verdict(void *context, const char *id, const struct ledger_op *op, enum ledger_verdict verdict);
/* Runs of one domain that cannot be tried. Each consumes the run: it is active until the ledger has said so. */
void run_put_back(struct campaign *campaign, struct run run, enum reply_class reply_class, uint16_t code);
void run_bounce(struct campaign *campaign, struct run run, const char *site,
                const struct outcome_reply *reply, struct verdict verdict);
bool run_is_over(const struct campaign *campaign, const struct run *run); /* give_up has passed */
void run_expire(struct campaign *campaign, struct run run, const char *site, enum reply_class reply_class,
                uint16_t code);
void run_suppress(struct campaign *campaign, struct run run, const char *site);
void event_reply(struct eventlog *log,
                 const struct outcome_reply *reply); /* phase, and reply {code, enhanced, text} */
void event_unreachable(struct node *node, const struct dest *dest, const char *site, uint64_t recipients,
                       const struct outcome_reply *failure);

/* suppression.c */
int suppression_open(struct node *node, struct hk_why *why) HK_MUST_USE;
int suppression_poll(struct node *node, struct hk_why *why) HK_MUST_USE; /* as suppress_poll */
void suppression_follow(struct node *node); /* read what is new now: who told it is answered after that */
void suppression_tick(struct node *node, bool due);
void suppression_redis_answers(struct node *node); /* just now: a call that waits for it will not wait long */
bool recipient_is_suppressed(const struct campaign *campaign, uint32_t index);
/* A run of one domain that was taken up: who is suppressed is settled, the others go on to domain_enqueue. */
void run_admit(struct campaign *campaign, struct run run, uint32_t domain);
/* He was refused, and nobody will try again: what that counts for him. Suppressed at once, a soft bounce more, or held where
 * his whole domain is suddenly unknown; before the outcome that is pushed next. Of a reply that is about us: nothing. */
void refusal_count(struct campaign *campaign, uint32_t index, const struct outcome_reply *reply,
                   struct verdict verdict, uint64_t time_us);
/* ledger_callbacks.fed_back */
void refusal_counted(void *context, const struct feedback *feedback, const struct feedback_result *result);

/* settle.c */
/* Campaigns that are in memory only while their past is told. */
struct settle_open {
    struct campaign *campaign[REGION_CAMPAIGNS_MAX];
    char refused[REGION_CAMPAIGNS_MAX][CAMPAIGN_ID_MAX + 1]; /* that cannot be opened: said once */
    uint32_t refusals;
};
struct campaign *settle_campaign(struct node *node, const char *id,
                                 struct settle_open *open); /* NULL: said why */
void settle_close(struct node *node, struct settle_open *open);
int settle_push(struct campaign *campaign, struct ledger_op op) HK_MUST_USE; /* an op about the past */
int settle_region(struct node *node, struct hk_why *why) HK_MUST_USE;
/* Until the ledger has taken all that was pushed, at start. HK_EDOWN when Redis does not. */
int settle_wait(struct node *node, struct hk_why *why) HK_MUST_USE;

/* errand.c */
void errands_verdict(struct node *node, const char *campaign, const struct ledger_op *op,
                     enum ledger_verdict verdict);

/* control.c */
int control_open(struct node *node, struct hk_why *why) HK_MUST_USE;
void control_close(struct node *node);

#endif
