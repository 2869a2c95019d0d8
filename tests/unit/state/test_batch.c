/* test_batch.c - what goes into one call of the script, and the ring it comes from (state/batch.c, state/queue.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "batch.h"
#include "hikyaku/segment.h"
#include "queue.h"

static struct batch batch;

static struct ledger_op op_of(uint8_t kind, uint32_t span, uint32_t offset, uint32_t count)
{
    struct ledger_op op = {
        .kind = kind, .attempt = 1, .span = span, .span_first = span * SPAN_MAX, .count = count};

    op.index = op.span_first + offset;
    op.word = ledger_pack((struct ledger_word){.state = LEDGER_EXPIRED});
    return op;
}

static void a_call_ends_at_its_limit_of_ops(void **state)
{
    struct ledger_op op;
    uint32_t added = 0;

    (void)state;
    batch_begin(&batch, "c");
    for (op = op_of(OP_COMMIT, 0, 0, 0); batch_add(&batch, &op); added++)
        op = op_of(OP_COMMIT, added * 7919, 1, 0);
    assert_int_equal(added, BATCH_OPS_MAX);
    assert_int_equal(batch_command(&batch, "sha", 1, 7), 3 + 5 + 3 * (int)batch.spans + 5);
}

static void a_call_ends_at_its_limit_of_recipients(void **state)
{
    struct ledger_op op = op_of(OP_SETTLE, 1, 0, SPAN_MAX), one = op_of(OP_COMMIT, 1, 0, 0);

    (void)state;
    batch_begin(&batch, "c");
    assert_true(batch_add(&batch, &op));
    assert_true(batch_add(&batch, &op));
    assert_false(batch_add(&batch, &one));
}

static void each_span_is_named_once_and_ops_point_to_it(void **state)
{
    (void)state;
    batch_begin(&batch, "news");
    for (uint32_t i = 0; i < 900; i++) {
        struct ledger_op op = op_of(OP_COMMIT, (i * 31) % 300, 5, 0);
        assert_true(batch_add(&batch, &op));
    }
    assert_int_equal(batch.spans, 300);
    for (uint32_t i = 0; i < 900; i++) {
        uint32_t place = batch.op[i].span;
        char expected[BATCH_KEY_BYTES];
        (void)snprintf(expected, sizeof expected, "{news}:s:0.%u", (i * 31) % 300);
        assert_string_equal(batch.key[BATCH_KEYS_FIXED + 3 * place], expected);
    }
}

static uint32_t packed_at(size_t at)
{
    return batch.packed[at] | (uint32_t)batch.packed[at + 1] << 8;
}

static void pack(const struct ledger_op *op, size_t count)
{
    batch_begin(&batch, "c");
    for (size_t i = 0; i < count; i++)
        assert_true(batch_add(&batch, &op[i]));
    (void)batch_command(&batch, "sha", 1, 7);
}

enum { PACKED_FIRST = 4, PACKED_COUNT = 6, MORE_BYTES = 8 };

static void ops_that_differ_in_their_recipient_alone_are_one(void **state)
{
    struct ledger_op op[] = {
        op_of(OP_COMMIT, 7, 12, 0),  op_of(OP_COMMIT, 7, 3, 0),   op_of(OP_OUTCOME, 7, 2, 0),
        op_of(OP_COMMIT, 7, 300, 0), op_of(OP_OUTCOME, 7, 14, 0), op_of(OP_COMMIT, 8, 13, 0),
        op_of(OP_COMMIT, 7, 13, 0),  op_of(OP_RELEASE, 7, 20, 0), op_of(OP_RELEASE, 7, 21, 0)};
    static const uint16_t digit[] = {3, 2, 0, 5, 1, 8, 4, 6, 7};
    size_t commits = BATCH_OP_BYTES + MORE_BYTES, bytes = 5 * BATCH_OP_BYTES + 3 * MORE_BYTES;

    (void)state;
    pack(op, 9);
    assert_int_equal(batch.packed_bytes, bytes);
    assert_int_equal(batch.packed[0], OP_OUTCOME);
    assert_int_equal(packed_at(PACKED_FIRST), 2);
    assert_int_equal(packed_at(PACKED_COUNT), 1);
    assert_int_equal(batch.packed[BATCH_OP_BYTES], BATCH_MORE);
    assert_int_equal(packed_at(BATCH_OP_BYTES + 4), 14);
    assert_int_equal(packed_at(BATCH_OP_BYTES + 6), 1);
    assert_int_equal(batch.packed[commits], OP_COMMIT);
    assert_int_equal(packed_at(commits + PACKED_FIRST), 3);
    assert_int_equal(packed_at(commits + BATCH_OP_BYTES + 4), 12);
    assert_int_equal(packed_at(commits + BATCH_OP_BYTES + 6), 2);
    assert_int_equal(packed_at(commits + BATCH_OP_BYTES + MORE_BYTES + 4), 300);
    assert_memory_equal(batch.digit, digit, sizeof digit);
    for (uint32_t i = 0; i < 9; i++) { /* nothing else may differ */
        op[i].due_s = i;
        op[i].word += i;
    }
    pack(op, 9);
    assert_int_equal(batch.packed_bytes, 9 * BATCH_OP_BYTES);
}

static void where_order_may_matter_it_is_kept(void **state)
{
    const struct ledger_op op[] = {op_of(OP_COMMIT, 7, 9, 0), op_of(OP_OUTCOME, 7, 5, 0),
                                   op_of(OP_COMMIT, 7, 5, 0)},
                           range[] = {op_of(OP_SETTLE, 7, 0, 20), op_of(OP_COMMIT, 7, 9, 0),
                                      op_of(OP_COMMIT, 7, 5, 0)};
    static const uint16_t as_pushed[] = {0, 1, 2};

    (void)state;
    pack(op, 3); /* two about one recipient */
    assert_int_equal(batch.packed_bytes, 3 * BATCH_OP_BYTES);
    assert_memory_equal(batch.digit, as_pushed, sizeof as_pushed);
    pack(range, 3);
    assert_int_equal(batch.packed_bytes, 3 * BATCH_OP_BYTES);
    assert_memory_equal(batch.digit, as_pushed, sizeof as_pushed);
}

static uint32_t range_at(uint32_t place, uint32_t end)
{
    const uint8_t *at = batch.ranges + 4 * (size_t)place + 2 * (size_t)end;

    return at[0] | (uint32_t)at[1] << 8;
}

static void the_range_of_a_span_is_what_its_ops_touch(void **state)
{
    const struct ledger_op op[] = {op_of(OP_COMMIT, 7, 300, 0),    op_of(OP_OUTCOME, 7, 20, 0),
                                   op_of(OP_COMMIT, 8, 0, 0),      op_of(OP_SETTLE, 9, 0, SPAN_MAX),
                                   op_of(OP_PUT_BACK, 7, 40, 500), op_of(OP_COMMIT, 7, 100, 0)};
    int argc;

    (void)state;
    batch_begin(&batch, "c");
    for (size_t i = 0; i < sizeof op / sizeof op[0]; i++)
        assert_true(batch_add(&batch, &op[i]));
    argc = batch_command(&batch, "sha", 1, 7);
    assert_int_equal(batch.length[argc - 1], 3 * 4);
    assert_ptr_equal(batch.argv[argc - 1], batch.ranges);
    assert_int_equal(range_at(0, 0), 20);
    assert_int_equal(range_at(0, 1), 540);
    assert_int_equal(range_at(1, 0), 0);
    assert_int_equal(range_at(1, 1), 1);
    assert_int_equal(range_at(2, 0), 0);
    assert_int_equal(range_at(2, 1), SPAN_MAX);
}

static void an_op_outside_its_span_or_of_no_sense_is_refused(void **state)
{
    struct ledger_op op = op_of(OP_COMMIT, 1, 0, 0);

    (void)state;
    assert_true(batch_op_is_valid(&op));
    op.attempt = 0;
    assert_false(batch_op_is_valid(&op));
    op = op_of(OP_COMMIT, 1, SPAN_MAX, 0);
    assert_false(batch_op_is_valid(&op));
    op = op_of(OP_SETTLE, 1, SPAN_MAX - 1, 1);
    assert_true(batch_op_is_valid(&op));
    op.count = 2;
    assert_false(batch_op_is_valid(&op));
    op = op_of(OP_SETTLE, 1, 0, 0);
    assert_false(batch_op_is_valid(&op));
    op = op_of(OP_SETTLE, 1, 0, 1);
    op.word = ledger_pack((struct ledger_word){.state = LEDGER_SENT});
    assert_false(batch_op_is_valid(&op));
    op = op_of(OP_OUTCOME, 1, 0, 0);
    op.word = ledger_pack((struct ledger_word){.state = LEDGER_SENDING});
    assert_false(batch_op_is_valid(&op));
    op = op_of(OP_PUT_BACK, 1, 0, 1);
    op.index = op.span_first - 1;
    assert_false(batch_op_is_valid(&op));
    op = op_of(9, 1, 0, 1);
    assert_false(batch_op_is_valid(&op));
}

static void the_ring_keeps_order_while_it_grows_and_wraps(void **state)
{
    struct queue queue;
    uint64_t in = 0, out = 0;

    (void)state;
    queue_init(&queue, sizeof in);
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 1 + round % 97; i++, in++)
            assert_int_equal(queue_push(&queue, &in), 0);
        for (int i = 0; i < round % 89 && out < in; i++, out++) {
            assert_int_equal(*(uint64_t *)queue_at(&queue, queue.head), out);
            queue.head++;
        }
    }
    assert_true(in - out > 64);
    for (; out < in; out++) {
        assert_int_equal(*(uint64_t *)queue_at(&queue, queue.head), out);
        queue.head++;
    }
    queue_free(&queue);
}

static void the_ring_says_when_it_is_full(void **state)
{
    struct queue queue;
    uint8_t byte = 0;

    (void)state;
    queue_init(&queue, 1);
    for (uint32_t i = 0; i < QUEUE_MAX; i++)
        assert_int_equal(queue_push(&queue, &byte), 0);
    assert_int_equal(queue_push(&queue, &byte), HK_EFULL);
    queue.head++;
    assert_int_equal(queue_push(&queue, &byte), 0);
    queue_free(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_ends_at_its_limit_of_ops),
        cmocka_unit_test(a_call_ends_at_its_limit_of_recipients),
        cmocka_unit_test(each_span_is_named_once_and_ops_point_to_it),
        cmocka_unit_test(ops_that_differ_in_their_recipient_alone_are_one),
        cmocka_unit_test(where_order_may_matter_it_is_kept),
        cmocka_unit_test(the_range_of_a_span_is_what_its_ops_touch),
        cmocka_unit_test(an_op_outside_its_span_or_of_no_sense_is_refused),
        cmocka_unit_test(the_ring_keeps_order_while_it_grows_and_wraps),
        cmocka_unit_test(the_ring_says_when_it_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
