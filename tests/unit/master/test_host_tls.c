/* test_host_tls.c - which policy counts for a host (RFC 7672 2.2): every pair of configuration and DNS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "host_tls.h"

static void every_pair_has_its_policy(void **state)
{
    static const enum host_tls want[4][4] = {
        /* DANE_NONE, DANE_USABLE, DANE_UNUSABLE, DANE_FAILED */
        [TLS_NONE] = {HOST_TLS_NONE, HOST_TLS_NONE, HOST_TLS_NONE, HOST_TLS_NONE},
        [TLS_OPPORTUNISTIC] = {HOST_TLS_OPPORTUNISTIC, HOST_TLS_DANE, HOST_TLS_REQUIRED, HOST_TLS_UNUSED},
        [TLS_REQUIRED] = {HOST_TLS_REQUIRED, HOST_TLS_DANE, HOST_TLS_REQUIRED, HOST_TLS_UNUSED},
        [TLS_VERIFIED] = {HOST_TLS_VERIFIED, HOST_TLS_VERIFIED, HOST_TLS_VERIFIED, HOST_TLS_VERIFIED},
    };

    (void)state;
    for (int policy = TLS_NONE; policy <= TLS_VERIFIED; policy++)
        for (int dane = DANE_NONE; dane <= DANE_FAILED; dane++)
            assert_int_equal(host_tls((enum tls_policy)policy, (enum dane_state)dane), want[policy][dane]);
}

static void each_has_a_word_for_the_event_log(void **state)
{
    (void)state;
    assert_string_equal(host_tls_name(HOST_TLS_OPPORTUNISTIC), "opportunistic");
    assert_string_equal(host_tls_name(HOST_TLS_VERIFIED), "verified");
    assert_string_equal(host_tls_name(HOST_TLS_DANE), "dane");
    assert_string_equal(host_tls_name(HOST_TLS_UNUSED), "unused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_has_its_policy),
        cmocka_unit_test(each_has_a_word_for_the_event_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
