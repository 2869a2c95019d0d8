/* test_dane.c - sets of TLSA records: filled up to their bounds, and refused when another process gives a broken one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/dane.h"

static struct dane_set set;
static const uint8_t bytes[DANE_BYTES];

static int clear(void **state)
{
    (void)state;
    memset(&set, 0, sizeof set);
    return 0;
}

static bool add(uint8_t host, uint8_t usage, uint16_t length)
{
    struct dane_record record = {.host = host, .usage = usage, .length = length};

    return dane_add(&set, &record, bytes);
}

static void a_host_has_the_records_that_were_added_for_it(void **state)
{
    (void)state;
    assert_true(add(1, DANE_TA, 32));
    assert_true(add(2, DANE_EE, 64));
    assert_true(dane_has_usage(&set, 1, DANE_TA));
    assert_false(dane_has_usage(&set, 2, DANE_TA));
    assert_false(dane_has_usage(&set, 1, DANE_EE));
    assert_int_equal(set.record[1].at, 32);
    assert_true(dane_is_sound(&set));
}

static void what_is_beyond_a_bound_is_left_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DANE_HOST_RECORDS_MAX; i++)
        assert_true(add(0, DANE_EE, 32));
    assert_false(add(0, DANE_EE, 32)); /* of one host */
    for (unsigned i = DANE_HOST_RECORDS_MAX; i < DANE_RECORDS_MAX; i++)
        assert_true(add((uint8_t)(i / DANE_HOST_RECORDS_MAX), DANE_EE, 32));
    assert_false(add(9, DANE_EE, 1)); /* of all */
    clear(state);
    assert_true(add(0, DANE_EE, DANE_BYTES - 10));
    assert_false(add(1, DANE_EE, 11)); /* octets */
    assert_true(add(1, DANE_EE, 10));
    assert_true(dane_is_sound(&set));
}

static void a_base_domain_is_kept_as_long_as_there_is_room(void **state)
{
    char long_name[DOMAIN_MAX + 1];

    (void)state;
    assert_null(dane_base(&set, 3));
    assert_true(dane_base_set(&set, 3, "mx.real.test"));
    assert_string_equal(dane_base(&set, 3), "mx.real.test");
    assert_null(dane_base(&set, 2));
    memset(long_name, 'a', DOMAIN_MAX);
    long_name[DOMAIN_MAX] = '\0';
    assert_true(dane_base_set(&set, 4, long_name));
    assert_false(dane_base_set(&set, 5, long_name));
    assert_null(dane_base(&set, 5));
    assert_string_equal(dane_base(&set, 4), long_name);
    assert_true(dane_is_sound(&set));
}

static void an_index_that_points_outside_is_seen(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 7; how++) {
        clear(state);
        assert_true(add(0, DANE_EE, 32));
        assert_true(dane_is_sound(&set));
        switch (how) {
        case 0:
            set.record_count = DANE_RECORDS_MAX + 1;
            break;
        case 1:
            set.record[0].at = DANE_BYTES + 1;
            break;
        case 2:
            set.record[0].length = DANE_BYTES + 1;
            break;
        case 3:
            set.record[0].host = DANE_HOSTS_MAX;
            break;
        case 4:
            set.base[15] = DANE_NAMES_BYTES + 1;
            break;
        case 5:
            set.names[DANE_NAMES_BYTES - 1] = 'x';
            break;
        default:
            set.next_hop[DOMAIN_MAX] = 'x';
            break;
        }
        assert_false(dane_is_sound(&set));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_host_has_the_records_that_were_added_for_it, clear),
        cmocka_unit_test_setup(what_is_beyond_a_bound_is_left_out, clear),
        cmocka_unit_test_setup(a_base_domain_is_kept_as_long_as_there_is_room, clear),
        cmocka_unit_test_setup(an_index_that_points_outside_is_seen, clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
