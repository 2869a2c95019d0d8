/* batch.c - pack ops into one call of ledger.lua (batch.h). No socket, no clock. */
#include "batch.h"

#include <inttypes.h>
#include <stdlib.h>
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

    if (batch->ops == BATCH_OPS_MAX ||
        (batch->ops > 0 && (batch->cost + cost > BATCH_COST_MAX || batch->granted != op->granted)))
        return false;
    batch->granted = op->granted;
    span = batch_span(batch, op->segment, op->span);
    if (first < batch->span_from[span])
        batch->span_from[span] = (uint16_t)first;
    if (first + cost > batch->span_to[span])
        batch->span_to[span] = (uint16_t)(first + cost);
    batch->op[batch->ops] = (struct batch_op){.kind = op->kind,
                                              .attempt = op->attempt,
                                              .span = (uint16_t)span,
                                              .first = (uint16_t)first,
                                              .count = (uint16_t)cost,
                                              .word = op->word,
                                              .due_s = op->due_s,
                                              .first_s = op->first_s};
    batch->order[batch->ops] = (uint64_t)span << 32 | first << 16 | batch->ops;
    batch->ops++;
    batch->cost += cost;
    return true;
}

static int by_order(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

static uint32_t op_number(const struct batch *batch, uint32_t at)
{
    return batch->order[at] & 0xffff;
}

/* Bring the ops into the order of the list, where each is about one recipient, and another than the rest: else the order may
 * matter, and stays. */
static bool batch_sort(struct batch *batch)
{
    if (batch->cost > batch->ops)
        return false;
    qsort(batch->order, batch->ops, sizeof *batch->order, by_order);
    for (uint32_t i = 1; i < batch->ops; i++) {
        if (batch->order[i] >> 16 != batch->order[i - 1] >> 16)
            continue;
        for (uint32_t k = 0; k < batch->ops; k++)
            batch->order[k] = k;
        return false;
    }
    return true;
}

static bool op_joins(const struct batch_op *head, const struct batch_op *op)
{
    return (op->kind == OP_COMMIT || op->kind == OP_OUTCOME) && op->kind == head->kind &&
           op->attempt == head->attempt && op->span == head->span && op->word == head->word &&
           op->due_s == head->due_s && op->first_s == head->first_s;
}

/* What goes with what: `head` gets the first op of each; returns how many. */
static uint32_t batch_join(struct batch *batch, uint16_t head[BATCH_OPS_MAX])
{
    uint16_t last[BATCH_OPS_MAX];
    uint32_t heads = 0;
    bool apart = batch_sort(batch);

    for (uint32_t i = 0; i < batch->ops; i++) {
        uint16_t number = (uint16_t)op_number(batch, i);
        uint32_t oldest = heads > BATCH_OPEN ? heads - BATCH_OPEN : 0, at = heads;
        batch->next[number] = 0;
        while (apart && at > oldest && !op_joins(&batch->op[head[at - 1]], &batch->op[number]))
            at--;
        if (!apart || at == oldest) {
            head[heads] = last[heads] = number;
            heads++;
            continue;
        }
        batch->next[last[at - 1]] = (uint16_t)(number + 1);
        last[at - 1] = number;
    }
    return heads;
}

static uint8_t *put_op(uint8_t *at, const struct batch_op *op)
{
    *at++ = op->kind;
    *at++ = op->attempt;
    at = put16(put16(put16(at, op->span), op->first), op->count);
    return put32(put32(put32(at, op->word), op->due_s), op->first_s);
}

/* A run of neighbours: the first of its head with all that they have in common. */
static uint8_t *put_run(uint8_t *at, const struct batch_op *run, bool is_first)
{
    if (is_first)
        return put_op(at, run);
    return put16(put16(put32(at, BATCH_MORE), run->first), run->count);
}

static void batch_pack(struct batch *batch)
{
    uint16_t head[BATCH_OPS_MAX], digit = 0;
    uint32_t heads = batch_join(batch, head);
    uint8_t *at = batch->packed;

    for (uint32_t i = 0; i < heads; i++) {
        struct batch_op run = batch->op[head[i]];
        bool is_first = true;
        batch->digit[head[i]] = digit++;
        for (uint32_t next = batch->next[head[i]]; next != 0; next = batch->next[next - 1]) {
            const struct batch_op *op = &batch->op[next - 1];
            batch->digit[next - 1] = digit++;
            if (op->first == run.first + run.count) {
                run.count++;
                continue;
            }
            at = put_run(at, &run, is_first);
            is_first = false;
            run = *op;
        }
        at = put_run(at, &run, is_first);
    }
    batch->packed_bytes = (size_t)(at - batch->packed);
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

    batch_pack(batch);
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
    batch_arg(batch, argc++, (const char *)batch->packed, batch->packed_bytes);
    batch_arg(batch, argc++, batch->number, strlen(batch->number));
    batch_arg(batch, argc++, batch->granted_text, strlen(batch->granted_text));
    batch_arg(batch, argc++, (const char *)batch->ranges, (size_t)(at - batch->ranges));
    return argc;
}
