/* batch.c - pack ops into one call of ledger.lua (batch.h). No socket, no clock. */
#include "batch.h"

#include <inttypes.h>
#include <string.h>

#include "hikyaku/segment.h"

static bool outcome_is_valid(uint8_t state)
{
    return state != LEDGER_PENDING && state != LEDGER_SENDING && state < LEDGER_STATES_COUNT;
}

static bool settle_is_valid(uint8_t state)
{
    return state == LEDGER_EXPIRED || state == LEDGER_BOUNCED || state == LEDGER_SUPPRESSED ||
           state == LEDGER_CANCELLED;
}

static uint32_t op_cost(const struct ledger_op *op)
{
    return op->kind == OP_PUT_BACK || op->kind == OP_SETTLE ? op->count : 1;
}

bool batch_op_is_valid(const struct ledger_op *op)
{
    uint8_t state = ledger_unpack(op->word).state;
    uint32_t cost = op_cost(op);

    if (op->index < op->span_first || op->index - op->span_first >= SPAN_MAX || cost == 0 ||
        cost > SPAN_MAX - (op->index - op->span_first))
        return false;
    switch (op->kind) {
    case OP_COMMIT:
    case OP_RELEASE:
        return op->attempt > 0;
    case OP_OUTCOME:
        return outcome_is_valid(state);
    case OP_PUT_BACK:
    case OP_RESEND:
        return true;
    case OP_MARK:
        return ledger_unpack(op->word).marks != 0;
    case OP_SETTLE:
        return settle_is_valid(state);
    default:
        return false;
    }
}

void key_of(char out[BATCH_KEY_BYTES], const char *campaign, const char *part)
{
    (void)snprintf(out, BATCH_KEY_BYTES, "{%s}:%s", campaign, part);
}

void key_of_span(char out[BATCH_KEY_BYTES], const char *campaign, char part, uint32_t segment, uint32_t span)
{
    (void)snprintf(out, BATCH_KEY_BYTES, "{%s}:%c:%" PRIu32 ".%" PRIu32, campaign, part, segment, span);
}

void batch_begin(struct batch *batch, const char *campaign)
{
    static const char *const fixed[BATCH_KEYS_FIXED] = {"m", "own", "due", "n", "q"};

    batch->campaign = campaign;
    batch->ops = batch->cost = batch->spans = 0;
    memset(batch->place, 0, sizeof batch->place);
    for (uint32_t i = 0; i < BATCH_KEYS_FIXED; i++)
        key_of(batch->key[i], campaign, fixed[i]);
}

/* The place of a span among the keys of this call. */
static uint32_t batch_span(struct batch *batch, uint16_t segment, uint32_t span)
{
    uint64_t id = (uint64_t)segment << 32 | span;
    uint32_t at = (uint32_t)(id * 0x9e3779b97f4a7c15u >> 53) % BATCH_PLACES, key;

    for (; batch->place[at]; at = (at + 1) % BATCH_PLACES)
        if (batch->span_id[batch->place[at] - 1] == id)
            return batch->place[at] - 1u;
    batch->span_id[batch->spans] = id;
    key = BATCH_KEYS_FIXED + 3 * batch->spans;
    key_of_span(batch->key[key], batch->campaign, 's', segment, span);
    key_of_span(batch->key[key + 1], batch->campaign, 'd', segment, span);
    key_of_span(batch->key[key + 2], batch->campaign, 'f', segment, span);
    batch->span_from[batch->spans] = SPAN_MAX;
    batch->span_to[batch->spans] = 0;
    batch->place[at] = (uint16_t)++batch->spans;
    return batch->spans - 1;
}

static uint8_t *put16(uint8_t *at, uint32_t value)
{
    *at++ = value & 0xff;
    *at++ = value >> 8 & 0xff;
    return at;
}

static uint8_t *put32(uint8_t *at, uint32_t value)
{
    return put16(put16(at, value), value >> 16);
}

bool batch_add(struct batch *batch, const struct ledger_op *op)
{
    uint32_t cost = op_cost(op), first = op->index - op->span_first, span;
    uint8_t *at = batch->packed + (size_t)batch->ops * BATCH_OP_BYTES;

    if (batch->ops == BATCH_OPS_MAX ||
        (batch->ops > 0 && (batch->cost + cost > BATCH_COST_MAX || batch->granted != op->granted)))
        return false;
    batch->granted = op->granted;
    *at++ = op->kind;
    *at++ = op->attempt;
    span = batch_span(batch, op->segment, op->span);
    if (first < batch->span_from[span])
        batch->span_from[span] = (uint16_t)first;
    if (first + cost > batch->span_to[span])
        batch->span_to[span] = (uint16_t)(first + cost);
    at = put16(at, span);
    at = put16(at, first);
    at = put16(at, cost);
    at = put32(at, op->word);
    at = put32(at, op->due_s);
    (void)put32(at, op->first_s);
    batch->ops++;
    batch->cost += cost;
    return true;
}

static void batch_arg(struct batch *batch, int at, const char *text, size_t length)
{
    batch->argv[at] = text;
    batch->length[at] = length;
}

int batch_command(struct batch *batch, const char *sha1, uint64_t epoch, uint64_t number)
{
    uint32_t keys = BATCH_KEYS_FIXED + 3 * batch->spans;
    uint8_t *at = batch->ranges;
    int argc = 0;

    for (uint32_t i = 0; i < batch->spans; i++)
        at = put16(put16(at, batch->span_from[i]), batch->span_to[i]);
    (void)snprintf(batch->sha1, sizeof batch->sha1, "%s", sha1);
    (void)snprintf(batch->epoch, sizeof batch->epoch, "%" PRIu64, epoch);
    (void)snprintf(batch->number, sizeof batch->number, "%" PRIu64, number);
    (void)snprintf(batch->granted_text, sizeof batch->granted_text, "%" PRIu64,
                   batch->granted ? batch->granted : epoch);
    (void)snprintf(batch->key_count, sizeof batch->key_count, "%" PRIu32, keys);
    batch_arg(batch, argc++, "EVALSHA", 7);
    batch_arg(batch, argc++, batch->sha1, strlen(batch->sha1));
    batch_arg(batch, argc++, batch->key_count, strlen(batch->key_count));
    for (uint32_t i = 0; i < keys; i++)
        batch_arg(batch, argc++, batch->key[i], strlen(batch->key[i]));
    batch_arg(batch, argc++, batch->epoch, strlen(batch->epoch));
    batch_arg(batch, argc++, (const char *)batch->packed, (size_t)batch->ops * BATCH_OP_BYTES);
    batch_arg(batch, argc++, batch->number, strlen(batch->number));
    batch_arg(batch, argc++, batch->granted_text, strlen(batch->granted_text));
    batch_arg(batch, argc++, (const char *)batch->ranges, (size_t)(at - batch->ranges));
    return argc;
}
