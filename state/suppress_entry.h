/* suppress_entry.h - one entry of a suppression list on its way to Redis: its key, its value, the call that adds it.
 *
 * Shared by the blocking face (suppress.c), the view (suppress_view.c) and the asynchronous ledger. Pure memory.
 */
#ifndef HIKYAKU_STATE_SUPPRESS_ENTRY_H
#define HIKYAKU_STATE_SUPPRESS_ENTRY_H

#include <hiredis/hiredis.h>

#include "hikyaku/suppress.h"

#define SUPPRESS_KEY(name)  "hikyaku:suppress:" name
#define SUPPRESS_HELD_KEY   "hikyaku:bounce:held"
#define SUPPRESS_CALL_MAX   256u /* entries in one call of the script: about a millisecond of Redis' time */
#define SUPPRESS_LOG_KEPT   "250000"
#define SUPPRESS_ARGS_FIXED 11 /* EVAL, the script, 5, five keys, op, scope, entries kept */
#define SUPPRESS_TEXTS_MAX  3  /* of one entry */
#define SUPPRESS_ARGS_MAX   (SUPPRESS_ARGS_FIXED + SUPPRESS_TEXTS_MAX * SUPPRESS_CALL_MAX)
#define SUPPRESS_ANY_TIME \
    (((uint64_t)1 << 53) - 1) /* behind all; the largest that the script can count with */

/* The script's file, built into the library. */
extern const char state_suppress_lua[];
extern const char state_suppress_sweep_lua[];

/* The address key. HK_EINVAL in words: it is no address. */
int suppress_key(const char *address, char out[ADDRESS_MAX + 1], struct hk_why *why) HK_MUST_USE;
/* The same, of an entry that can be added: see suppress_entry_check(). */
int suppress_entry_key(const struct suppress_entry *entry, char out[ADDRESS_MAX + 1],
                       struct hk_why *why) HK_MUST_USE;
int suppress_scope_check(const char *scope, struct hk_why *why) HK_MUST_USE;
/* What stands behind the key: JSON, malloc'd. NULL: no memory. */
char *suppress_value(const struct suppress_entry *entry);
/* The entry again. HK_ECHANGED: this is none of ours. HK_ENOMEM. */
int suppress_value_parse(const char *scope, const char *key, const char *value,
                         struct suppress_entry *out) HK_MUST_USE;

/* When what stands behind a key ends, without reading the rest; 0: it does not. */
uint32_t suppress_value_until(const char *value, size_t length);

/* What the script is told of one change of one entry. Texts are malloc'd; text[0] is the address key. */
struct suppress_texts {
    const char *op;
    char *text[SUPPRESS_TEXTS_MAX];
    unsigned count;
};
/* `time_us`: of a change that is told again, it counts as of then; SUPPRESS_ANY_TIME: it is made now. HK_EINVAL as
 * suppress_entry_check(), HK_ENOMEM. */
int suppress_texts_make(struct suppress_texts *out, enum suppress_change change,
                        const struct suppress_entry *entry, uint64_t time_us, struct hk_why *why) HK_MUST_USE;
void suppress_texts_free(const struct suppress_texts *texts);

/* A call of suppress.lua for one scope; the keys and values are the caller's until it is sent. */
struct suppress_call {
    char hash[sizeof SUPPRESS_KEY("") + SUPPRESS_SCOPE_MAX];
    const char *argv[SUPPRESS_ARGS_MAX];
    size_t length[SUPPRESS_ARGS_MAX];
    int argc;
};
/* `verb` and `script`: EVAL and the text, or EVALSHA and its sum. scope has to stay until the call is sent. */
void suppress_call_begin(struct suppress_call *call, const char *verb, const char *script, const char *op,
                         const char *scope);
void suppress_call_add(struct suppress_call *call, const char *text);
void suppress_call_add_texts(struct suppress_call *call, const struct suppress_texts *texts);

/* Every entry of a hash of entries: as suppress_walk(), under the scope that is said. */
int suppress_walk_hash(struct store *store, const char *hash, const char *scope,
                       int (*fn)(void *context, const struct suppress_entry *entry), void *context,
                       struct hk_why *why) HK_MUST_USE;

/* As suppress_find_all(), in this hash; NULL: in the one of each entry's scope. */
int suppress_find_in(struct store *store, const char *hash, const struct suppress_entry *entry, size_t count,
                     struct suppress_entry *there, bool *found, struct hk_why *why) HK_MUST_USE;

#endif
