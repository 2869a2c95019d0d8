/* suppress_view.h - the inside of a view, for the ledger and for tests. */
#ifndef HIKYAKU_STATE_SUPPRESS_VIEW_H
#define HIKYAKU_STATE_SUPPRESS_VIEW_H

#include "hash_pile.h"
#include "suppress_entry.h"

#define SUPPRESS_FILE   "suppress.hashes"
#define SUPPRESS_SCOPES 3u

/* The hashes of everything in Redis, on their way to a new file. */
struct rebuild {
    bool on;
    char **scope; /* the scopes to read, `at` is under way */
    size_t scopes, at;
    char cursor[24];
    struct hash_pile pile;
    struct hash_writer *writer; /* once all is read */
    uint64_t position, mark;    /* of the stream, before the first was read */
};

struct suppress {
    struct store *store;
    char path[4096];
    char scope[SUPPRESS_SCOPES][SUPPRESS_SCOPE_MAX];
    size_t scopes;
    uint8_t id[HASH_ID_BYTES];
    uint64_t position, mark;
    struct hash_file file;
    struct hash_set changes;
    size_t told;     /* changes that the stream told and the file does not have */
    size_t merge_at; /* so many of them go into a new file */
    size_t count;
    struct rebuild rebuild;
    uint32_t polls; /* that found nothing left; some of them sweep */
};

/* Have Redis look at about `count` entries, from where the last call stopped, and delete those that ended more than
 * SUPPRESS_ENDED_KEPT_S before `now_s`. How many are gone, or an error. */
int suppress_sweep(struct store *store, uint64_t now_s, uint32_t count, struct hk_why *why) HK_MUST_USE;

/* Put `key` into the view, before the stream tells of it. until_s: when it ends, 0 never. */
int suppress_ours(struct suppress *view, const char *scope, const char *key, uint32_t until_s) HK_MUST_USE;

#endif
