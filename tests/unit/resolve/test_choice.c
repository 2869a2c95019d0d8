/* test_choice.c - the order of MX hosts and addresses, with chance held still or counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "choice.h"

/* Fisher-Yates with this leaves everything in its place. */
static uint32_t draw_last(uint32_t bound)
{
    return bound - 1;
}

static void host_make(struct choice_host *host, unsigned preference, const char *name, uint32_t v4,
                      uint32_t v6)
{
    memset(host, 0, sizeof *host);
    host->preference = (uint16_t)preference;
    snprintf(host->name, sizeof host->name, "%s", name);
    host->of[CHOICE_IPV4].count = v4;
    host->of[CHOICE_IPV6].count = v6;
    for (uint32_t i = 0; i < v4; i++) {
        host->of[CHOICE_IPV4].ip[i][0] = 127;
        host->of[CHOICE_IPV4].ip[i][3] = (uint8_t)i;
    }
    for (uint32_t i = 0; i < v6; i++)
        host->of[CHOICE_IPV6].ip[i][15] = (uint8_t)i;
}

/* "mx1:0 mx1:1 mx2:0 mx2/0": host name, ':' IPv4 or '/' IPv6, which of its addresses. */
static const char *order_text(const struct resolve_answer *answer)
{
    static char text[1024];
    size_t used = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < answer->address_count; i++) {
        bool is_v4 = answer->address[i].family == AF_INET;

        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s%c%u", i ? " " : "",
                                 answer->host[answer->address[i].host].name, is_v4 ? ':' : '/',
                                 answer->address[i].ip[is_v4 ? 3 : 15]);
    }
    return text;
}

/* RFC 5321 5.1 */
static void mx_hosts_stand_by_preference_and_equals_by_lot(void **state)
{
    struct choice_list list = {0};

    (void)state;
    choice_add(&list, 20, 1, "c");
    choice_add(&list, 10, 9, "b");
    choice_add(&list, 10, 3, "a");
    choice_add(&list, 10, 12, "b2");
    choice_add(&list, 30, 0, "d");
    assert_int_equal(list.count, 5);
    assert_string_equal(list.mx[0].name, "a");
    assert_string_equal(list.mx[1].name, "b");
    assert_string_equal(list.mx[2].name, "b2");
    assert_string_equal(list.mx[3].name, "c");
    assert_string_equal(list.mx[4].name, "d");
}

static void a_host_named_twice_keeps_its_better_preference(void **state)
{
    struct choice_list list = {0};

    (void)state;
    choice_add(&list, 20, 1, "a");
    choice_add(&list, 15, 1, "b");
    choice_add(&list, 10, 5, "a");
    choice_add(&list, 30, 0, "b");
    assert_int_equal(list.count, 2);
    assert_string_equal(list.mx[0].name, "a");
    assert_int_equal(list.mx[0].preference, 10);
    assert_int_equal(list.mx[1].preference, 15);
}

/* RFC 5321 5.1: our own host closes the list at its preference, wherever in the answer it stands. */
static void a_host_of_our_own_closes_the_list_at_its_preference(void **state)
{
    static char *names[] = {(char *)"me", (char *)"me2"};
    static const struct own own = {.name = {names, 2}};
    struct choice_list list = {.own = &own};

    (void)state;
    choice_add(&list, 10, 1, "a");
    choice_add(&list, 20, 1, "b");
    choice_add(&list, 30, 1, "ME2");
    assert_int_equal(list.count, 2);
    choice_add(&list, 40, 1, "c");
    choice_add(&list, 30, 1, "d");
    assert_int_equal(list.count, 2);
    choice_add(&list, 20, 1, "me");
    assert_int_equal(list.count, 1);
    assert_string_equal(list.mx[0].name, "a");
    choice_add(&list, 20, 1, "e");
    choice_add(&list, 15, 1, "f");
    choice_add(&list, 30, 1, "me"); /* worse than what is known: changes nothing */
    choice_add(&list, 19, 1, "g");
    assert_int_equal(list.count, 3);
    choice_add(&list, 0, 1, "me");
    assert_int_equal(list.count, 0);
    assert_true(list.has_own);
}

/* RFC 5321 5.1: and so does one of another name that has an address of ours, whichever of its addresses it is. */
static void a_host_at_an_address_of_ours_closes_the_list_at_its_preference(void **state)
{
    static struct own_address address[] = {{AF_INET, {127, 0, 0, 3}}, {AF_INET6, {[15] = 2}}};
    static const struct own own = {.address = address, .address_count = 2};
    struct choice_host hosts[4];

    (void)state;
    host_make(&hosts[0], 10, "a", 2, 0);
    host_make(&hosts[1], 20, "b", 3, 2);
    host_make(&hosts[2], 20, "c", 4, 0); /* the fourth is ours */
    host_make(&hosts[3], 30, "d", 1, 0);
    assert_int_equal(choice_before_own(hosts, 4, NULL), 4);
    assert_int_equal(choice_before_own(hosts, 2, &own), 2);
    assert_int_equal(choice_before_own(hosts, 4, &own), 1);
    host_make(&hosts[0], 10, "a", 0, 3);
    assert_int_equal(choice_before_own(hosts, 4, &own), 0);
    assert_int_equal(choice_before_own(hosts, 0, &own), 0);
}

static void of_too_many_hosts_the_most_preferred_stay(void **state)
{
    struct choice_list list = {0};
    char name[16];

    (void)state;
    for (unsigned i = 0; i < 100; i++) { /* 63, 26, 89, ... : every number below 100 once */
        unsigned preference = (i * 63 + 63) % 100;

        snprintf(name, sizeof name, "mx%u", preference);
        choice_add(&list, (uint16_t)preference, 7, name);
        assert_true(list.count <= RESOLVE_HOSTS_MAX);
    }
    assert_int_equal(list.count, RESOLVE_HOSTS_MAX);
    for (unsigned i = 0; i < RESOLVE_HOSTS_MAX; i++)
        assert_int_equal(list.mx[i].preference, i);
}

static void preference_decides_before_anything_else(void **state)
{
    struct choice_host hosts[2];
    struct resolve_answer answer = {0};

    (void)state;
    host_make(&hosts[0], 10, "mx1", 2, 1);
    host_make(&hosts[1], 20, "mx2", 1, 0);
    choice_fill(hosts, 2, draw_last, &answer);
    assert_string_equal(order_text(&answer), "mx1:0 mx1:1 mx1/0 mx2:0");
}

static void hosts_of_equal_preference_take_turns(void **state)
{
    struct choice_host hosts[3];
    struct resolve_answer answer = {0};

    (void)state;
    host_make(&hosts[0], 10, "a", 3, 0);
    host_make(&hosts[1], 10, "b", 2, 0);
    host_make(&hosts[2], 20, "c", 1, 0);
    choice_fill(hosts, 3, draw_last, &answer);
    assert_string_equal(order_text(&answer), "a:0 b:0 a:1 b:1 a:2 c:0");
}

static void a_host_with_many_addresses_leaves_room_for_the_next(void **state)
{
    struct choice_host hosts[2];
    struct resolve_answer answer = {0};
    unsigned of_second = 0;

    (void)state;
    host_make(&hosts[0], 10, "a", 16, 16);
    host_make(&hosts[1], 20, "b", 3, 0);
    choice_fill(hosts, 2, draw_last, &answer);
    assert_int_equal(answer.address_count, RESOLVE_ADDRESSES_MAX);
    for (unsigned i = 0; i < answer.address_count; i++)
        of_second += answer.address[i].host == 1;
    assert_int_equal(of_second, 3);
    assert_int_equal(answer.address[RESOLVE_ADDRESSES_MAX - 1].host, 1);
}

static void hosts_without_an_address_are_left_out(void **state)
{
    struct choice_host hosts[3];
    struct resolve_answer answer = {0};

    (void)state;
    host_make(&hosts[0], 10, "a", 0, 0);
    host_make(&hosts[1], 20, "b", 1, 0);
    host_make(&hosts[2], 20, "c", 0, 0);
    choice_fill(hosts, 3, draw_last, &answer);
    assert_int_equal(answer.host_count, 1);
    assert_int_equal(answer.host[0].preference, 20);
    assert_string_equal(order_text(&answer), "b:0");
}

static void every_address_of_a_host_comes_first_about_equally_often(void **state)
{
    unsigned first[4] = {0};

    (void)state;
    for (unsigned i = 0; i < 4000; i++) {
        struct choice_host host;
        struct resolve_answer answer = {0};

        host_make(&host, 10, "a", 4, 0);
        choice_fill(&host, 1, arc4random_uniform, &answer);
        assert_int_equal(answer.address_count, 4);
        first[answer.address[0].ip[3]]++;
    }
    for (unsigned i = 0; i < 4; i++) /* 1000 each; ten standard deviations are 274 */
        assert_in_range(first[i], 726, 1274);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mx_hosts_stand_by_preference_and_equals_by_lot),
        cmocka_unit_test(a_host_named_twice_keeps_its_better_preference),
        cmocka_unit_test(a_host_of_our_own_closes_the_list_at_its_preference),
        cmocka_unit_test(a_host_at_an_address_of_ours_closes_the_list_at_its_preference),
        cmocka_unit_test(of_too_many_hosts_the_most_preferred_stay),
        cmocka_unit_test(preference_decides_before_anything_else),
        cmocka_unit_test(hosts_of_equal_preference_take_turns),
        cmocka_unit_test(a_host_with_many_addresses_leaves_room_for_the_next),
        cmocka_unit_test(hosts_without_an_address_are_left_out),
        cmocka_unit_test(every_address_of_a_host_comes_first_about_equally_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
