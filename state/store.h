/* store.h - the blocking connection behind `struct store`, shared by store.c and store_ledger.c.
 *
 * A store whose connection broke connects again with its next question. store_ask() never gives an error reply:
 * what Redis refuses is HK_EDOWN in words, as is a Redis that does not answer. One that was silent for REDIS_ANSWER_MS is
 * not asked again for as long, unless it is heard of (store_heard()): who has many questions waits for it once, and not
 * once for each.
 */
#ifndef HIKYAKU_STATE_STORE_H
#define HIKYAKU_STATE_STORE_H

#include "connect.h"
#include "hikyaku/state.h"

struct store {
    struct redis_target target;
    redisContext *redis;
    uint64_t silent_ms; /* when it was last found to be silent; 0: it answers */
};

/* A command in hiredis' format. The answer is of `type`, or NIL where `type` allows (see nil_too). The caller frees
 * *out. */
int store_ask(struct store *store, int type, redisReply **out, struct hk_why *why, const char *format,
              ...) HK_MUST_USE;
/* The next answer of a pipeline. */
int store_next(struct store *store, redisReply **out, struct hk_why *why) HK_MUST_USE;
/* Be connected: what a pipeline has to see to before it appends. */
int store_connected(struct store *store, struct hk_why *why) HK_MUST_USE;
int store_redis_error(const struct store *store, struct hk_why *why);
int store_strange(const struct store *store, struct hk_why *why);
bool store_parse_u64(const char *text, uint64_t max, uint64_t *out);
/* Is this an answer to SCAN or HSCAN: a new cursor (copied) and texts, `each` of them for one that was found? */
bool store_scan_page(const redisReply *reply, size_t each, char *cursor, size_t size);
/* Numbers to and from the little-endian bytes that Redis holds. malloc'd; NULL: no memory. */
uint8_t *store_numbers_out(const uint32_t *number, uint32_t count);
uint32_t *store_numbers_in(const char *bytes, uint32_t count);

/* What HGETALL {c}:n says (an array of strings), pending counted. HK_ECHANGED when it cannot be. */
int counts_read(const redisReply *reply, const struct manifest *manifest,
                uint64_t counts[LEDGER_STATES_COUNT], uint64_t *attempts, struct hk_why *why) HK_MUST_USE;

#endif
