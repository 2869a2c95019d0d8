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
            for (int sts = STS_NONE; sts <= STS_TESTING; sts++) /* testing changes nothing of what is done */
                for (int listed = 0; listed <= 1; listed++)
                    assert_int_equal(host_tls((enum tls_policy)policy, (enum dane_state)dane,
                                              (enum sts_mode)sts, listed != 0),
                                     want[policy][dane]);
}

static void an_mta_sts_policy_in_force_counts_where_dane_has_no_word(void **state)
{
    static const enum host_tls listed[] = {[TLS_NONE] = HOST_TLS_NONE,
                                           [TLS_OPPORTUNISTIC] = HOST_TLS_STS,
                                           [TLS_REQUIRED] = HOST_TLS_STS,
                                           [TLS_VERIFIED] = HOST_TLS_VERIFIED};
    enum dane_state dane;

    (void)state;
    for (int policy = TLS_NONE; policy <= TLS_VERIFIED; policy++) {
        assert_int_equal(host_tls((enum tls_policy)policy, DANE_NONE, STS_ENFORCE, true), listed[policy]);
        assert_int_equal(host_tls((enum tls_policy)policy, DANE_NONE, STS_ENFORCE, false),
                         policy == TLS_NONE ? HOST_TLS_NONE : HOST_TLS_UNLISTED);
    }
    for (dane = DANE_USABLE; dane <= DANE_FAILED; dane++) /* RFC 8461 2: DANE wins, also where it fails */
        for (int is_listed = 0; is_listed <= 1; is_listed++)
            assert_int_equal(host_tls(TLS_OPPORTUNISTIC, dane, STS_ENFORCE, is_listed != 0),
                             host_tls(TLS_OPPORTUNISTIC, dane, STS_NONE, false));
}

static void each_has_a_word_for_the_event_log(void **state)
{
    (void)state;
    assert_string_equal(host_tls_name(HOST_TLS_OPPORTUNISTIC), "opportunistic");
    assert_string_equal(host_tls_name(HOST_TLS_VERIFIED), "verified");
    assert_string_equal(host_tls_name(HOST_TLS_DANE), "dane");
    assert_string_equal(host_tls_name(HOST_TLS_UNUSED), "unused");
    assert_string_equal(host_tls_name(HOST_TLS_STS), "sts");
    assert_string_equal(host_tls_name(HOST_TLS_UNLISTED), "unlisted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_has_its_policy),
        cmocka_unit_test(an_mta_sts_policy_in_force_counts_where_dane_has_no_word),
        cmocka_unit_test(each_has_a_word_for_the_event_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
