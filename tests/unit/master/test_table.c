/* The table: what was added is found, what was removed is not, and a walk meets each entry once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "table.h"

#define ENTRIES 5000u

struct entry {
    struct table_link link;
    char name[16];
    bool met;
};

static void entries_are_found_until_they_are_removed(void **state)
{
    static struct entry entry[ENTRIES];
    struct table table = {0};
    struct entry *e, *next;
    size_t cursor = 0, met = 0;

    (void)state;
    assert_null(table_find(&table, "d0.test"));
    for (uint32_t i = 0; i < ENTRIES; i++) {
        snprintf(entry[i].name, sizeof entry[i].name, "d%u.test", i);
        table_add(&table, &entry[i].link, entry[i].name);
    }
    for (uint32_t i = 0; i < ENTRIES; i++)
        assert_ptr_equal(table_find(&table, entry[i].name), &entry[i]);
    for (e = table_next(&table, &cursor, NULL); e != NULL; e = next) {
        next = table_next(&table, &cursor, &e->link);
        assert_false(e->met);
        e->met = true;
        met++;
        if ((e - entry) % 3 == 0)
            table_remove(&table, &e->link);
    }
    assert_int_equal(met, ENTRIES);
    for (uint32_t i = 0; i < ENTRIES; i++)
        assert_ptr_equal(table_find(&table, entry[i].name), i % 3 == 0 ? NULL : (void *)&entry[i]);
    table_clear(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(entries_are_found_until_they_are_removed)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
