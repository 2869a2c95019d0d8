/* test_own.c - what is this host (RFC 5321 5.1): names and addresses of the configuration, addresses of the machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "own.h"

static struct cfg_source sources[] = {
    {.address = (char *)"192.0.2.5",
     .public_address = (char *)"198.51.100.5",
     .hostname = (char *)"mta1.me.test"},
    {.address = (char *)"2001:db8::5", .hostname = (char *)"mta2.me.test"},
    {.address = (char *)"127.0.0.5", .public_address = (char *)"::1", .hostname = (char *)"mta3.me.test"},
    {.address = NULL, .hostname = (char *)"mta4.me.test"},
};
static const struct config config = {.hostname = (char *)"me.test", .source = sources, .source_count = 4};
static struct own own;

static int set_up(void **state)
{
    (void)state;
    own_read(&own, &config, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    own_free(&own);
    return 0;
}

static bool is_own(const char *literal)
{
    uint8_t ip[16] = {0};
    bool four = inet_pton(AF_INET, literal, ip) == 1;
    assert_true(four || inet_pton(AF_INET6, literal, ip) == 1);
    return own_is_address(&own, four ? AF_INET : AF_INET6, ip);
}

static void names_are_those_of_the_host_and_its_sources(void **state)
{
    (void)state;
    assert_true(own_is_name(&own, "ME.test"));
    assert_true(own_is_name(&own, "mta4.me.test"));
    assert_false(own_is_name(&own, "x.me.test"));
    assert_false(own_is_name(NULL, "me.test"));
}

/* RFC 5321 5.1 */
static void addresses_are_those_of_the_sources_and_before_their_nat(void **state)
{
    (void)state;
    assert_true(is_own("192.0.2.5"));
    assert_true(is_own("198.51.100.5"));
    assert_true(is_own("2001:db8::5"));
    assert_false(is_own("192.0.2.6"));
    assert_false(is_own("2001:db8::6"));
    assert_false(is_own("c000:205::")); /* the same octets in the other family */
    assert_false(own_is_address(NULL, AF_INET, (const uint8_t[16]){192, 0, 2, 5}));
}

static void loopback_is_never_ours(void **state)
{
    (void)state;
    assert_false(is_own("127.0.0.5"));
    assert_false(is_own("127.0.0.1"));
    assert_false(is_own("::1"));
}

static void every_interface_but_loopback_counts(void **state)
{
    struct ifaddrs *all;
    (void)state;
    assert_int_equal(getifaddrs(&all), 0);
    for (const struct ifaddrs *at = all; at != NULL; at = at->ifa_next) {
        uint8_t ip[16] = {0};
        if (at->ifa_addr == NULL || at->ifa_addr->sa_family != AF_INET)
            continue;
        memcpy(ip, &((const struct sockaddr_in *)(const void *)at->ifa_addr)->sin_addr, 4);
        assert_int_equal(own_is_address(&own, AF_INET, ip), (at->ifa_flags & IFF_LOOPBACK) == 0);
    }
    freeifaddrs(all);
}

static void what_changed_is_seen_after_a_time(void **state)
{
    size_t count = own.address_count;
    (void)state;
    sources[3].address = (char *)"203.0.113.9";
    own_read(&own, &config, OWN_KEPT_MS);
    assert_int_equal(own.address_count, count);
    own_read(&own, &config, OWN_KEPT_MS + 1);
    assert_int_equal(own.address_count, count + 1);
    assert_true(is_own("203.0.113.9"));
    sources[3].address = NULL;
    own_read(&own, &config, 2 * OWN_KEPT_MS + 1);
    assert_int_equal(own.address_count, count);
    assert_false(is_own("203.0.113.9"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_are_those_of_the_host_and_its_sources, set_up, tear_down),
        cmocka_unit_test_setup_teardown(addresses_are_those_of_the_sources_and_before_their_nat, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(loopback_is_never_ours, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_interface_but_loopback_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_changed_is_seen_after_a_time, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
