/* node.h - the node as cli/ sees it: run it, ask a running one, or borrow its place for a short command
 * (design 3, 12). */
#ifndef HIKYAKU_NODE_H
#define HIKYAKU_NODE_H

#include "hikyaku/base.h"
#include "hikyaku/config.h"
#include "hikyaku/process.h"
#include "hikyaku/state.h"

/* Exit statuses of every command (design 12). */
enum hk_exit { EXIT_SETTLED = 0, EXIT_STOPPED = 1, EXIT_USAGE = 2, EXIT_NEEDED = 3 };

/* The files of a campaign, all below state_dir/campaigns/ID/, put in place by `send` before the node is told.
 */
#define CAMPAIGN_SEGMENT_FILE    "segment-0.seg"
#define CAMPAIGN_SEGMENT_PATTERN "segment-%u.seg" /* of the extensions, from 1 on */
#define CAMPAIGN_MESSAGE_FILE    "message.eml"
#define CAMPAIGN_REJECTED_FILE   "rejected.csv"
#define CAMPAIGN_REJECTED_FILES  "rejected*.csv" /* with those of the extensions, for a person */
#define CAMPAIGN_MANIFEST_FILE   "manifest" /* what Redis holds of it, should Redis forget (manifest_print) */
/* By the node, when it takes the first of its recipients: from which place the event log tells of it. */
#define CAMPAIGN_JOURNAL_FILE "journal"

struct node_progress {
    const char *campaign;
    uint64_t recipients;
    uint64_t counts[LEDGER_STATES_COUNT];
    uint64_t attempts;
    double rate; /* recipients settled in a second, over the last few */
    bool paused, draining, redis_down;
    uint64_t elapsed_ms;  /* since this run began */
    uint64_t next_due_ms; /* until the next retry, when nothing else is left to do; 0: busy */
};

struct node_options {
    const struct process_table *processes;
    /* The campaign to run until it is settled, already in Redis and on disk; NULL: `serve`, until told to
     * stop. */
    const char *campaign;
    /* The caller has just held its segments against the hashes of its manifest: they are not read a second time. */
    bool list_is_whole;
    /* A short-lived node instead: without workers and control socket it does this one request, as node_ask takes it,
     * and ends. *reply is malloc'd JSON text as node_ask gives it; the status is EXIT_SETTLED where there is one. */
    const char *request;
    char **reply;
    /* After each answer that comes at once ("suppress"): the next request, malloc'd, or NULL: there is none, it ends. NULL
     * here: there is only the first. Called with `context`. */
    char *(*next)(void *context, const char *answer);
    /* Called about twice a second with the campaign's figures, and once at the end; may be NULL. */
    void (*progress)(void *context, const struct node_progress *progress);
    void *context;
};

/* The lock on state_dir, and Redis answering. Made by node_enter, for a node or for a short command without
 * one. */
struct node_place {
    int lock_fd;
    pid_t redis_pid;
    char id[LEASE_ID_SIZE]; /* of the state_dir */
    uint64_t epoch;         /* the last that was drawn here */
};

/* Is a node running on this state_dir (control socket answers)? */
bool node_is_running(const struct config *config);
/* Make state_dir if missing (0700), take its lock, see that Redis answers. Another holder is waited for up to
 * wait_ms, then HK_EBUSY. */
int node_enter(const struct config *config, uint64_t wait_ms, struct node_place *out,
               struct hk_why *why) HK_MUST_USE;
/* Was state_dir removed or moved under us? Then the lock holds nobody else off any more. */
bool node_place_is_gone(const struct config *config, const struct node_place *place);
void node_leave(const struct config *config, struct node_place *place);

/* Be the node, in this process: settle what a dead one left, fork resolver and workers, run, drain on SIGINT
 * or SIGTERM (a second one stops at once). Returns an exit status; errors were said on standard error. */
int node_run(const struct config *config, struct node_place *place, const struct node_options *options);

/* Did the last run on this state_dir end without having told the ledger all it knows? The next node_run tells it. */
bool node_left_untold(const struct config *config);

/* Redis knows no campaign of this name: has it forgotten one that was begun here? Then HK_EDOWN, and why says what to do;
 * else `error` as it is. */
int node_campaign_is_missing(const struct config *config, const char *campaign, int error,
                             struct hk_why *why) HK_MUST_USE;
/* Does the event log of this state_dir reach back to where it began to tell of the campaign? 0 also for one that was never
 * begun here; HK_ENOENT with words: a part of the log is gone. */
int node_journal_reaches(const struct config *config, const char *campaign, struct hk_why *why) HK_MUST_USE;

/* What stands under the name of the event log already, is that one? HK_EINVAL with words: it is a list, a device, ... */
int node_event_log_check(const struct config *config, struct hk_why *why) HK_MUST_USE;

/* One request to the running node over state_dir/control.sock: one JSON object a line each way. *reply is
 * malloc'd JSON text: {"ok":true,...} or {"ok":false,"error":"...","exit":2}. Requests: {"command":"status"},
 * {"command":"run", "campaign":ID} (take up a campaign that is in Redis and on disk), {"command":"suppress",
 * "change":WORD, "entries":[...at most 4096]} (a person changes the suppression lists: master/by_hand.h), {"command":"pause" |
 * "cancel" | "forget", "campaign":ID}, {"command":"resume", "campaign":ID, "first":N}, {"command":"unknown",
 * "campaign":ID, "as":"sent" | "bounced" | "pending", "index":[...at most 300]}, {"command":"restore", "campaign":ID} (only
 * of a short-lived node: tell the ledger all that the event log knows of it; "told":N), {"command":"bounce",
 * "bounces":[{"token", "kind", "class", "disposition", "code", "status", "text", "reported", "ignored"}, ...]} (what came
 * back, as whose.h makes it; instead of "token" there may be "campaign", "index", "recipient", "domain_recipients",
 * "is_ours": master/returned.h tells the fields; answered when the ledger has the marks, with "bounces":[{"campaign",
 * "recipient", "ignored", "again", "done", "count", "limit"}, ...] in the same order). pause and cancel are answered when no body
 * is without its dot, after 10 s with exit 1 and "outstanding":[recipient, ...]. HK_EDOWN when no node answers within
 * timeout_ms: why names the process that does not, and what can be done. */
int node_ask(const struct config *config, const char *request, uint64_t timeout_ms, char **reply,
             struct hk_why *why) HK_MUST_USE;

#endif
