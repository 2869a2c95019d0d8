/* batch.h - one call of ledger.lua: ops collected up to its limits, packed, with the keys of their spans.
 *
 * The layout of the arguments is described at the head of ledger.lua. Scratch memory of its owner: a batch is built
 * and sent before the next one begins; argv points into it.
 */
#ifndef HIKYAKU_STATE_BATCH_H
#define HIKYAKU_STATE_BATCH_H

#include "hikyaku/state.h"

#define BATCH_OPS_MAX    1000u /* Lua's stack bounds what a script can take (design 16) */
#define BATCH_COST_MAX   8192u /* recipients touched: keeps a call near a millisecond or two */
#define BATCH_OP_BYTES   20u
#define BATCH_MORE       0u /* in place of a kind: the op before is about these too */
#define BATCH_KEYS_FIXED 5u /* m, own, due, n, q */
#define BATCH_KEYS_MAX   (BATCH_KEYS_FIXED + 3 * BATCH_OPS_MAX)
#define BATCH_ARGS_MAX   (3 + BATCH_KEYS_MAX + 5)
#define BATCH_KEY_BYTES  (CAMPAIGN_ID_MAX + 32)
#define BATCH_PLACES     2048u /* hash slots for the spans of a call */
#define BATCH_OPEN       8u    /* of how many earlier ones, at most, an op may become a part */

/* An op as the script reads it. */
struct batch_op {
    uint8_t kind, attempt;
    uint16_t span, first, count; /* span: its place among the keys */
    uint32_t word, due_s, first_s;
};

struct batch {
    const char *campaign;
    uint32_t ops, cost, spans;
    uint64_t granted; /* of its ops: all the same */
    struct batch_op op[BATCH_OPS_MAX];
    uint64_t order[BATCH_OPS_MAX]; /* where in the list an op is, and (16 bits) its number */
    uint16_t next[BATCH_OPS_MAX];  /* op + 1 that goes with an op, 0: it is the last */
    uint16_t digit[BATCH_OPS_MAX]; /* which of the reply's is the verdict of an op */
    uint8_t packed[BATCH_OPS_MAX * BATCH_OP_BYTES];
    size_t packed_bytes;
    char key[BATCH_KEYS_MAX][BATCH_KEY_BYTES];
    uint16_t place[BATCH_PLACES]; /* span + 1, 0 empty */
    uint64_t span_id[BATCH_OPS_MAX];
    uint16_t span_from[BATCH_OPS_MAX], span_to[BATCH_OPS_MAX]; /* what its ops touch; to: behind it */
    uint8_t ranges[BATCH_OPS_MAX * 4];
    char sha1[48], epoch[24], number[24], granted_text[24], key_count[12];
    const char *argv[BATCH_ARGS_MAX];
    size_t length[BATCH_ARGS_MAX];
};

/* Is this an op that the script knows, inside its span? */
bool batch_op_is_valid(const struct ledger_op *op);
void batch_begin(struct batch *batch, const char *campaign);
/* False: it does not fit any more. The first one always fits. */
bool batch_add(struct batch *batch, const struct ledger_op *op);
/* The EVALSHA command; returns argc. Ops that differ in their recipient alone become one, which costs the script a fraction, where
 * no order can matter. number: of this call among those of the epoch (ledger.lua). */
int batch_command(struct batch *batch, const char *sha1, uint64_t epoch, uint64_t number);

/* A key of a campaign: "{c}:PART" or, with a span, "{c}:PART:SEG.SPAN". */
void key_of(char out[BATCH_KEY_BYTES], const char *campaign, const char *part);
void key_of_span(char out[BATCH_KEY_BYTES], const char *campaign, char part, uint32_t segment, uint32_t span);

#endif
