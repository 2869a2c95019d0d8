/* test_table.c - the sink's table of addresses counts exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "sink_table.h"

static void every_address_has_one_entry_for_ever(void **state)
{
    enum { ADDRESSES = 200000 };
    struct sink_table *table = sink_table_new();
    (void)state;

    assert_non_null(table);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < ADDRESSES; i++) {
            char text[64];
            int n = snprintf(text, sizeof text, "user%u@domain%u.test", i, i % 977);
            uint32_t number = UINT32_MAX;
            struct sink_entry *e = sink_table_find(table, text, (size_t)n, &number);

            assert_non_null(e);
            assert_int_equal(number, i);
            assert_int_equal(e->delivered++, round);
        }
        assert_int_equal(sink_table_count(table), ADDRESSES);
    }
    assert_memory_equal(sink_table_at(table, 7)->text, "user7@domain7.test", 18);
    sink_table_free(table);
}

static void an_address_that_begins_like_another_is_another(void **state)
{
    struct sink_table *table = sink_table_new();
    uint32_t a, b;
    (void)state;

    assert_non_null(table);
    assert_non_null(sink_table_find(table, "a@b.test", 8, &a));
    assert_false(sink_table_has(table, "a@b.tes", 7));
    assert_non_null(sink_table_find(table, "a@b.tes", 7, &b));
    assert_int_not_equal(a, b);
    assert_true(sink_table_has(table, "a@b.test", 8));
    assert_false(sink_table_has(table, "A@b.test", 8));
    sink_table_free(table);
}

static void shares_are_even_and_one_question_tells_nothing_of_another(void **state)
{
    enum { ADDRESSES = 100000 };
    int first = 0, second = 0, both = 0;
    (void)state;

    for (int i = 0; i < ADDRESSES; i++) {
        char text[64];
        int n = snprintf(text, sizeof text, "user%d@x.test", i);
        uint64_t hash = sink_hash(text, (size_t)n);
        int a = sink_hash_share(hash, 1) < 0.1, b = sink_hash_share(hash, 2) < 0.1;

        first += a;
        second += b;
        both += a && b;
    }
    assert_in_range(first, ADDRESSES / 10 - 600, ADDRESSES / 10 + 600);
    assert_in_range(second, ADDRESSES / 10 - 600, ADDRESSES / 10 + 600);
    assert_in_range(both, ADDRESSES / 100 - 200, ADDRESSES / 100 + 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_address_has_one_entry_for_ever),
        cmocka_unit_test(an_address_that_begins_like_another_is_another),
        cmocka_unit_test(shares_are_even_and_one_question_tells_nothing_of_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
