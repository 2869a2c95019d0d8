/* wish.h - the wishes of those who unsubscribed, from when they are written down until they are done (unsubscribe.h).
 *
 *   waiting   in the order of their lines
 *   aside     could not be done for a reason of their own: tried again each second, behind nobody's back
 *   awaited   done, and the ledger has not said so yet
 * Where Redis is away all wait. One that cannot be done, now or ever, holds up nobody who came after it. Pure memory: who does
 * them, and the time, are the caller's.
 */
#ifndef MASTER_WISH_H
#define MASTER_WISH_H

#include "table.h"

#include <sys/queue.h>

#define WISH_TOKEN_SIZE 64u /* as message/ makes them, with a NUL */

/* Whoever says the same as one that is here changes nothing. */
struct wish {
    struct table_link by_token;
    STAILQ_ENTRY(wish) link;
    char token[WISH_TOKEN_SIZE];
    char source[16];
    uint32_t number; /* never 0 */
    uint64_t time_us;
};
STAILQ_HEAD(wish_queue, wish);

struct wishes {
    struct wish_queue waiting, aside, awaited;
    struct table by_token; /* all of them */
    uint64_t again_ms, aside_ms;
    uint32_t number; /* of the last one */
};

enum wish_result {
    WISH_DONE,
    WISH_AWAITED, /* done; wishes_answered() ends it */
    WISH_HELD_UP, /* nor could any other be done now */
    WISH_ASIDE,   /* this one cannot; why says why */
};
typedef enum wish_result (*wish_fn)(void *context, const struct wish *wish, struct hk_why *why);

void wishes_init(struct wishes *wishes);
void wishes_close(struct wishes *wishes);
size_t wishes_count(const struct wishes *wishes);
bool wishes_has(const struct wishes *wishes, const char *token);
/* NULL: no memory, or that is no token of ours. Its time is the caller's to set. */
struct wish *wishes_add(struct wishes *wishes, const char *token, const char *source) HK_MUST_USE;
/* Do a bounded number of those whose time it is. */
void wishes_turn(struct wishes *wishes, uint64_t now_ms, wish_fn fn, void *context);
void wishes_answered(struct wishes *wishes, uint32_t number);

#endif
