/* test_roster.c - two mailboxes with one hash are two recipients. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "roster.h"

static int add(struct roster *r, uint32_t row, const char *email)
{
    struct segment_field field = {email, (uint32_t)strlen(email)};
    struct address address;

    assert_int_equal(address_parse(email, strlen(email), &address, NULL), 0);
    return roster_add(r, row, &address, &field);
}

/* How many pairs of slots hold the same bits of a hash. */
static unsigned same_hashes(const struct roster *r)
{
    size_t slots = (size_t)1 << r->seen_bits;
    unsigned pairs = 0;

    for (size_t i = 0; i < slots; i++)
        for (size_t k = i + 1; r->seen[i] != 0 && k < slots; k++)
            pairs += r->seen[i] >> 24 == r->seen[k] >> 24;
    return pairs;
}

static void equal_hashes_do_not_make_equal_mailboxes(void **state)
{
    struct roster r;

    (void)state;
    assert_int_equal(roster_init(&r, 1, 0), 0);
    r.seed = 0; /* under which these two collide; searched for among 6 million */
    assert_int_equal(add(&r, 1, "user0881818@x.test"), 1);
    assert_int_equal(add(&r, 2, "user5270225@x.test"), 1);
    assert_int_equal(same_hashes(&r), 1); /* with another hash function: search for another pair */
    assert_int_equal(add(&r, 3, "USER0881818@x.test"), 0);
    assert_int_equal(add(&r, 4, "user5270225@X.test"), 0);
    assert_int_equal(r.count, 2);
    roster_free(&r);
}

static void nothing_is_lost_or_doubled_while_the_tables_grow(void **state)
{
    struct roster r;
    char email[64];

    (void)state;
    assert_int_equal(roster_init(&r, 1, 0), 0);
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < 50000; i++) {
            snprintf(email, sizeof email, "%c%u@d%u.test", round == 0 ? 'u' : 'U', i, i);
            assert_int_equal(add(&r, i + 1, email), round == 0);
        }
    assert_int_equal(r.count, 50000);
    assert_int_equal(r.domain_count, 50000);
    roster_free(&r);
}

/* As it is for an import: plain where that is possible. */
static void add_plain(struct roster *r, uint32_t row, const char *email)
{
    struct segment_field field = {email, (uint32_t)strlen(email)};
    size_t local_length = address_plain_local(email, strlen(email));
    int rc;

    assert_true(local_length > 0);
    rc = roster_add_plain(r, row, local_length, &field);
    assert_true(rc == 0 || rc == 1);
    if (rc == 0)
        add(r, row, email);
}

static void assert_same(const struct roster *r, const struct roster *other)
{
    assert_int_equal(r->count, other->count);
    assert_int_equal(r->duplicates, other->duplicates);
    assert_int_equal(r->domain_count, other->domain_count);
    assert_int_equal(r->records.used, other->records.used);
    assert_memory_equal(r->records.base, other->records.base, r->records.used);
    for (uint32_t i = 0; i < r->count; i++) {
        const unsigned char *a, *b;
        assert_int_equal(roster_record(r, i, &a), roster_record(other, i, &b));
        assert_int_equal(a - r->records.base, b - other->records.base);
        assert_int_equal(roster_owner(r, i), roster_owner(other, i));
    }
    for (uint32_t i = 0; i < r->domain_count; i++)
        assert_int_equal(roster_domain(r, i)->count, roster_domain(other, i)->count);
}

/* Nearly all, half, and few of the records are duplicates: so any of those that are pending together may be. */
static void duplicates_that_are_found_late_leave_the_same_records(void **state)
{
    struct roster late, at_once;
    char email[64];

    (void)state;
    for (uint32_t people = 5; people <= 50000; people *= 100) {
        uint32_t seed = people;
        assert_int_equal(roster_init(&late, 1, 0), 0);
        assert_int_equal(roster_init(&at_once, 1, 0), 0);
        for (uint32_t row = 1; row <= 20000; row++) {
            uint32_t who = (seed = seed * 1664525u + 1013904223u) % people;
            snprintf(email, sizeof email, "%s%u@d%u.test", (seed & 0x10000) != 0 ? "r" : "Reader", who,
                     who % 7);
            add_plain(&late, row, email);
            add(&at_once, row, email);
        }
        assert_int_equal(roster_settle(&late), 0);
        assert_true(late.duplicates > 0);
        assert_same(&late, &at_once);
        roster_free(&late);
        roster_free(&at_once);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_hashes_do_not_make_equal_mailboxes),
        cmocka_unit_test(nothing_is_lost_or_doubled_while_the_tables_grow),
        cmocka_unit_test(duplicates_that_are_found_late_leave_the_same_records),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
