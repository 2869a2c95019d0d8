/* test_ehlo.c - what an EHLO reply offers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/reply.h"

static struct ehlo_offer offer_of(const char *text)
{
    const struct reply r = {.code = 250, .text = text, .length = strlen(text)};
    struct ehlo_offer out;

    memset(&out, 0xff, sizeof out);
    ehlo_offer_parse(&r, &out);
    return out;
}

static void every_keyword_is_known_in_any_case(void **state)
{
    struct ehlo_offer o = offer_of("mx.test hello\nPipelining\nSTARTTLS\n8bitMIME\nsmtputf8\n"
                                   "EnhancedStatusCodes\nchunking\nSIZE 1000\nAUTH LOGIN PLAIN\n"
                                   "LIMITS MAILMAX=20 RCPTMAX=50 RCPTDOMAINMAX=1");
    (void)state;

    assert_true(o.pipelining && o.starttls && o.eightbitmime && o.smtputf8 && o.enhanced_codes && o.chunking);
    assert_true(o.size_offered && o.auth_plain && o.auth_login);
    assert_int_equal(o.size_max, 1000);
    assert_int_equal(o.mail_max, 20);
    assert_int_equal(o.rcpt_max, 50);
    assert_int_equal(o.rcpt_domain_max, 1);
}

static void a_server_that_offers_nothing_has_nothing(void **state)
{
    static const struct ehlo_offer none;
    struct ehlo_offer o;
    (void)state;

    o = offer_of("mx.test");
    assert_memory_equal(&o.size_max, &none.size_max, sizeof o.size_max);
    assert_false(o.pipelining || o.starttls || o.eightbitmime || o.smtputf8 || o.enhanced_codes);
    assert_false(o.chunking || o.size_offered || o.auth_plain || o.auth_login);
    assert_int_equal(o.mail_max + o.rcpt_max + o.rcpt_domain_max, 0);
    o = offer_of("");
    assert_false(o.pipelining || o.size_offered);
}

static void the_host_name_in_the_first_line_offers_nothing(void **state)
{
    struct ehlo_offer o = offer_of("STARTTLS PIPELINING\nSIZE");
    (void)state;

    assert_false(o.starttls || o.pipelining);
    assert_true(o.size_offered);
}

static void a_longer_or_shorter_word_is_another_keyword(void **state)
{
    struct ehlo_offer o =
        offer_of("mx\nSTARTTLSX\nSTART\nXPIPELINING\nSMTPUTF\nAUTHX PLAIN\nLIMIT MAILMAX=1");
    (void)state;

    assert_false(o.starttls || o.pipelining || o.smtputf8 || o.auth_plain);
    assert_int_equal(o.mail_max, 0);
}

/* RFC 1870 */
static void a_size_that_is_no_number_sets_no_limit(void **state)
{
    (void)state;

    assert_int_equal(offer_of("mx\nSIZE lots").size_max, 0);
    assert_true(offer_of("mx\nSIZE lots").size_offered);
    assert_int_equal(offer_of("mx\nSIZE -5").size_max, 0);
    assert_int_equal(offer_of("mx\nSIZE").size_max, 0);
    assert_true(offer_of("mx\nSIZE 99999999999999999999999").size_max == UINT64_MAX);
    assert_true(offer_of("mx\nSIZE 18446744073709551615").size_max == UINT64_MAX);
}

static void the_old_form_of_auth_is_understood(void **state)
{
    struct ehlo_offer o = offer_of("mx\nAUTH=LOGIN\nAUTH CRAM-MD5 PLAIN");
    (void)state;

    assert_true(o.auth_login && o.auth_plain);
    assert_false(offer_of("mx\nAUTH CRAM-MD5 PLAINTEXT").auth_plain);
}

/* RFC 9422 */
static void limits_that_make_no_sense_are_passed_over(void **state)
{
    struct ehlo_offer o = offer_of("mx\nLIMITS MAILMAX= RCPTMAX=x NEW=3 RCPTDOMAINMAX=0 MAILMAX RCPTMAXX=2");
    (void)state;

    assert_int_equal(o.mail_max + o.rcpt_max + o.rcpt_domain_max, 0);
    assert_int_equal(offer_of("mx\nLIMITS MAILMAX=99999999999").mail_max, UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_keyword_is_known_in_any_case),
        cmocka_unit_test(a_server_that_offers_nothing_has_nothing),
        cmocka_unit_test(the_host_name_in_the_first_line_offers_nothing),
        cmocka_unit_test(a_longer_or_shorter_word_is_another_keyword),
        cmocka_unit_test(a_size_that_is_no_number_sets_no_limit),
        cmocka_unit_test(the_old_form_of_auth_is_understood),
        cmocka_unit_test(limits_that_make_no_sense_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
