/* test_outbox.c - what a connection still has to write comes out whole, in order, for every size of write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "outbox.h"

static const struct iovec body[] = {
    {(void *)"one ", 4}, {(void *)"", 0}, {(void *)"two ", 4}, {(void *)"three\r\n", 7}};
#define BODY_PIECES (sizeof body / sizeof *body)
#define BODY_BYTES  15u

/* Write everything in steps of at most `step` bytes and `pieces` pieces; *dot_at: bytes written when the dot went. */
static size_t drain(struct outbox *box, size_t step, size_t pieces, char *out, size_t *dot_at)
{
    size_t written = 0;
    struct iovec iov[16];
    while (!outbox_is_empty(box)) {
        bool has_dot;
        size_t length = 0;
        size_t count = outbox_gather(box, iov, pieces, step, &has_dot);
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++) {
            memcpy(out + written + length, iov[i].iov_base, iov[i].iov_len);
            length += iov[i].iov_len;
        }
        assert_true(length <= step);
        written += length;
        bool gone = outbox_consume(box, length);
        assert_int_equal(gone, has_dot);
        if (gone)
            *dot_at = written;
    }
    return written;
}

static void a_body_its_dot_and_the_next_envelope_come_out_in_order_for_every_write_size(void **state)
{
    static const char whole[] = "one two three\r\n.\r\nMAIL FROM:<a@b>\r\n";
    (void)state;
    for (size_t step = 1; step < sizeof whole + 4; step++)
        for (size_t pieces = 1; pieces <= 6; pieces++) {
            char text[128], out[128];
            size_t dot_at = 0;
            struct outbox box;
            outbox_init(&box, text, sizeof text);
            assert_true(outbox_put_body(&box, body, BODY_PIECES, BODY_BYTES));
            assert_true(outbox_put_dot(&box));
            assert_true(outbox_put(&box, "MAIL FROM:<%s>\r\n", "a@b"));
            assert_int_equal(drain(&box, step, pieces, out, &dot_at), sizeof whole - 1);
            assert_memory_equal(out, whole, sizeof whole - 1);
            assert_true(dot_at >= BODY_BYTES + 3);
        }
}

static void a_body_never_overtakes_commands(void **state)
{
    char text[32];
    struct outbox box;
    (void)state;
    outbox_init(&box, text, sizeof text);
    assert_true(outbox_put(&box, "DATA\r\n"));
    assert_false(outbox_put_body(&box, body, BODY_PIECES, BODY_BYTES));
    assert_false(outbox_consume(&box, 6));
    assert_true(outbox_put_body(&box, body, BODY_PIECES, BODY_BYTES));
}

static void a_command_that_does_not_fit_changes_nothing(void **state)
{
    char text[8];
    struct outbox box;
    struct iovec iov;
    bool has_dot;
    (void)state;
    outbox_init(&box, text, sizeof text);
    assert_true(outbox_put(&box, "NOOP\r\n"));
    assert_false(outbox_put(&box, "RSET\r\n"));
    assert_int_equal(outbox_gather(&box, &iov, 1, 100, &has_dot), 1);
    assert_int_equal(iov.iov_len, 6);
    assert_memory_equal(iov.iov_base, "NOOP\r\n", 6);
}

static void a_short_write_leaves_the_dot_behind(void **state)
{
    char text[32];
    struct outbox box;
    struct iovec iov[8];
    bool has_dot;
    (void)state;
    outbox_init(&box, text, sizeof text);
    assert_true(outbox_put_body(&box, body, BODY_PIECES, BODY_BYTES));
    assert_true(outbox_put_dot(&box));
    (void)outbox_gather(&box, iov, 8, 1000, &has_dot);
    assert_true(has_dot);
    assert_false(outbox_consume(&box, BODY_BYTES + 2));
    assert_int_equal(outbox_gather(&box, iov, 8, 1000, &has_dot), 1);
    assert_true(has_dot);
    assert_int_equal(iov[0].iov_len, 1);
    assert_true(outbox_consume(&box, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_its_dot_and_the_next_envelope_come_out_in_order_for_every_write_size),
        cmocka_unit_test(a_body_never_overtakes_commands),
        cmocka_unit_test(a_command_that_does_not_fit_changes_nothing),
        cmocka_unit_test(a_short_write_leaves_the_dot_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
