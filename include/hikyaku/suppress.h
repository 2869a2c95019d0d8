/* suppress.h - who must not be written to (design 7): kept in Redis, asked from a file of hashes in memory.
 *
 * Redis holds the truth, one hash a scope, and a stream of every change:
 *   hikyaku:suppress:SCOPE   hash: address key -> {"reason","source","evidence","time","until","last"} as JSON
 *   hikyaku:suppress:log     stream: op (add | remove), scope, key, and until where it ends. Its ids are N-0, N without a gap, so that a reader
 *                            knows what it missed; the last 250,000 are kept, whoever needs older ones reads the hashes
 *   hikyaku:suppress:seq     the last N
 *   hikyaku:suppress:scopes  set: the scopes that have entries
 *   hikyaku:suppress:id      16 random bytes in hex: a file made from another Redis is known by it
 *   hikyaku:suppress:sweep   hash: how far the deleting of ended entries has come
 * An entry may end (`until`): what a class of soft bounces that recovers has suppressed. From then on it skips nobody, and stays
 * to be looked at for SUPPRESS_ENDED_KEPT_S. It gives way to one that ends later or not at all, whichever came first; nothing else
 * does.
 * SCOPE is `all`, `sender:FROM_DOMAIN` or `list:LIST_ID`. The address key is the local part in ASCII lower case, '@', the
 * domain as A-labels. Each node keeps state_dir/suppress.hashes (state/hashes.h): sorted 64-bit hashes of scope and key,
 * all scopes together, mmapped, with the N it stands for; what came since lies in a small set in memory and is merged into
 * the file when that grows large, and at the end.
 */
#ifndef HIKYAKU_SUPPRESS_H
#define HIKYAKU_SUPPRESS_H

#include "hikyaku/address.h"
#include "hikyaku/base.h"
#include "hikyaku/config.h"
#include "hikyaku/state.h"

#define SUPPRESS_SCOPE_MAX    300u           /* bytes of a scope's name, its NUL included */
#define SUPPRESS_ENDED_KEPT_S (90u * 86400u) /* in Redis; then a node deletes the entry */

enum suppress_scope_kind { SUPPRESS_ALL, SUPPRESS_SENDER, SUPPRESS_LIST };

struct suppress_entry {
    char scope[SUPPRESS_SCOPE_MAX];
    char address[ADDRESS_MAX + 1]; /* as a person wrote it; the key is made of it */
    char reason[32];               /* bounce, complaint, unsubscribe, manual, import */
    char source[80];               /* campaign id, "command", a file's name */
    char evidence[512];            /* the reply's text, cleaned */
    uint64_t time_us;              /* wall clock, of the first time */
    uint64_t last_us;              /* read only: when it was last heard again; 0: never */
    uint32_t until_s;              /* wall clock: it ends then; 0: it does not */
};

struct suppress; /* a node's view */

/* Open the view for the scopes that apply to this configuration's sender: all, its from_domain, its list_id. Maps the file,
 * reads what the stream has since; makes the file anew from Redis where it is missing, damaged, of another Redis, or the
 * stream does not go back as far. One process at a time for a state_dir: the node. It keeps `store` for its polls. */
int suppress_open(const struct config *config, struct store *store, struct suppress **out,
                  struct hk_why *why) HK_MUST_USE;
void suppress_close(struct suppress *view); /* writes the file; what fails there is a warning */
/* Read what is new in the stream, a bounded piece of it: 0 nothing is left, 1 there is more. The master calls it about twice
 * a second and when told to. On an error the view stays as it was. Now and then, when nothing is left, it has Redis delete
 * some of what ended long ago. */
int suppress_poll(struct suppress *view, struct hk_why *why) HK_MUST_USE;
/* Is this recipient suppressed now in any of the view's scopes? `address` is local part '@' A-label domain, any case; about a
 * microsecond, no Redis. */
bool suppress_has(const struct suppress *view, const char *address, size_t length);
/* By an entry that does not end? */
bool suppress_has_for_good(const struct suppress *view, const char *address, size_t length);
/* Hashes in the view, of all scopes, with those that have ended. */
size_t suppress_count(const struct suppress *view);
/* Does it skip nobody any more? */
bool suppress_has_ended(const struct suppress_entry *entry, uint64_t now_us);

/* Could this be added? HK_EINVAL says what is wrong with its address, scope or reason. */
int suppress_entry_check(const struct suppress_entry *entry, struct hk_why *why) HK_MUST_USE;
/* What a person changes: somebody is put on a list or taken off it; who is held (feedback.h) is put on the list of all, or let
 * go. The last two have the entry that is held. */
enum suppress_change { SUPPRESS_ADDED, SUPPRESS_REMOVED, SUPPRESS_APPLIED, SUPPRESS_DROPPED };
/* The word for it in the event log; a constant. */
const char *suppress_change_name(enum suppress_change change);
bool suppress_change_of(const char *name, enum suppress_change *out) HK_MUST_USE;

/* Synchronous: the stream tells every node. Many at once, in few round trips; changed[i], where it is not NULL: entry[i] is
 * new, or in the place of one that ends (else it was there, and its first reason stays); it was there and is removed; he was
 * held. What was changed before an error stays. HK_EINVAL, HK_ENOMEM, HK_EDOWN. */
int suppress_change_all(struct store *store, enum suppress_change change, const struct suppress_entry *entry,
                        size_t count, bool *changed, struct hk_why *why) HK_MUST_USE;
/* One: 1 changed, 0 not. */
int suppress_add(struct store *store, const struct suppress_entry *entry, struct hk_why *why) HK_MUST_USE;
/* What stands under the scope and address of each, in few round trips: found[i], and then there[i]. */
int suppress_find_all(struct store *store, const struct suppress_entry *entry, size_t count,
                      struct suppress_entry *there, bool *found, struct hk_why *why) HK_MUST_USE;
/* 1 and *out, 0 not there. */
int suppress_find(struct store *store, const char *scope, const char *address, struct suppress_entry *out,
                  struct hk_why *why) HK_MUST_USE;
/* Every entry of a scope (NULL: of all scopes), in no order; while others write, one may come twice. The entry's address
 * is its key. fn returning non-zero stops with that value. Bounded memory. */
int suppress_walk(struct store *store, const char *scope,
                  int (*fn)(void *context, const struct suppress_entry *entry), void *context,
                  struct hk_why *why) HK_MUST_USE;
/* The scope's name for this sender: "all", "sender:example.com", "list:news.example.com". HK_EINVAL without a list_id. */
int suppress_scope(const struct config *config, enum suppress_scope_kind kind, char out[SUPPRESS_SCOPE_MAX],
                   struct hk_why *why) HK_MUST_USE;

/* Asynchronous, for the master: goes out with the ledger's next flush, before every op of it, so that an outcome is never
 * in the ledger without the suppression that follows from it. The view has it at once. HK_EINVAL, HK_ENOMEM. */
int ledger_suppress(struct ledger *ledger, struct suppress *suppress,
                    const struct suppress_entry *entry) HK_MUST_USE;
/* The same of a change that was made at `time_us`, and is told again: what began on the list later than that stays. The view
 * learns of it from the stream. HK_EINVAL, HK_ENOMEM, HK_EFULL. */
int ledger_suppress_again(struct ledger *ledger, enum suppress_change change,
                          const struct suppress_entry *entry, uint64_t time_us) HK_MUST_USE;

#endif
