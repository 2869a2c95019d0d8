/* test_guard.c - what one address may have, and all together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "guard.h"

#define SECOND 1000000u
static const struct cfg_rate none;

static const struct sockaddr *from(const char *text)
{
    static struct sockaddr_in v4;
    static struct sockaddr_in6 v6;

    v4 = (struct sockaddr_in){.sin_family = AF_INET};
    v6 = (struct sockaddr_in6){.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return (const struct sockaddr *)&v4;
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return (const struct sockaddr *)&v6;
}

static void an_address_and_all_together_have_so_many_connections(void **state)
{
    struct guard *guard = guard_new(5, 2, none, none);
    uint32_t place[5], spare;

    (void)state;
    assert_null(guard_enter(guard, from("192.0.2.1"), 1, &place[0]));
    assert_null(guard_enter(guard, from("::ffff:192.0.2.1"), 1, &place[1])); /* it is the same */
    assert_memory_equal(guard_enter(guard, from("192.0.2.1"), 1, &spare), "421 4.7.0", 9);
    assert_null(guard_enter(guard, from("2001:db8::1"), 1, &place[2]));
    assert_null(guard_enter(guard, from("2001:db8::2"), 1, &place[3])); /* one subscriber */
    assert_memory_equal(guard_enter(guard, from("2001:db8::3"), 1, &spare), "421 4.7.0", 9);
    assert_null(guard_enter(guard, from("2001:db8:0:1::1"), 1, &place[4]));
    assert_memory_equal(guard_enter(guard, from("192.0.2.2"), 1, &spare), "421 4.3.2", 9);
    guard_leave(guard, place[0]);
    assert_null(guard_enter(guard, from("192.0.2.1"), 1, &place[0]));
    guard_free(guard);
}

static void beyond_three_quarters_it_is_crowded(void **state)
{
    struct guard *guard = guard_new(8, 8, none, none);
    uint32_t place[7];

    (void)state;
    for (int i = 0; i < 6; i++)
        assert_null(guard_enter(guard, from("192.0.2.1"), 1, &place[i]));
    assert_false(guard_is_crowded(guard));
    assert_null(guard_enter(guard, from("192.0.2.2"), 1, &place[6]));
    assert_true(guard_is_crowded(guard));
    guard_leave(guard, place[0]);
    assert_false(guard_is_crowded(guard));
    guard_free(guard);
}

static void a_rate_lets_so_many_through_in_any_second(void **state)
{
    struct guard *guard = guard_new(10, 10, (struct cfg_rate){30, 1000}, (struct cfg_rate){20, 1000});
    uint32_t one, two;
    unsigned passed = 0, both = 0;
    uint64_t now = SECOND;

    (void)state;
    assert_null(guard_enter(guard, from("192.0.2.1"), now, &one));
    assert_null(guard_enter(guard, from("192.0.2.2"), now, &two));
    for (int i = 0; i < 100; i++)
        passed += guard_mail(guard, one, now) == NULL;
    assert_int_equal(passed, 20);
    assert_memory_equal(guard_mail(guard, one, now), "450 4.7.1", 9);
    for (int i = 0; i < 100; i++)
        both += guard_mail(guard, two, now) == NULL;
    assert_int_equal(both, 10);
    assert_memory_equal(guard_mail(guard, two, now), "450 4.3.2", 9);
    for (passed = 0, now += 1; now <= 11 * SECOND; now += 10000)
        passed += guard_mail(guard, one, now) == NULL;
    assert_in_range(passed, 195, 201);
    guard_free(guard);
}

static void many_addresses_crowd_nobody_out_who_is_connected(void **state)
{
    struct guard *guard = guard_new(100, 2, none, none);
    uint32_t place, kept;
    char text[40];

    (void)state;
    assert_null(guard_enter(guard, from("192.0.2.1"), 1, &kept));
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(text, sizeof text, "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        assert_null(guard_enter(guard, from(text), i, &place));
        assert_int_not_equal(place, kept);
        guard_leave(guard, place);
    }
    assert_null(guard_enter(guard, from("192.0.2.1"), 1, &place));
    assert_int_equal(place, kept);
    guard_free(guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_and_all_together_have_so_many_connections),
        cmocka_unit_test(beyond_three_quarters_it_is_crowded),
        cmocka_unit_test(a_rate_lets_so_many_through_in_any_second),
        cmocka_unit_test(many_addresses_crowd_nobody_out_who_is_connected),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
