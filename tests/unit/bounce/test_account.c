/* What a relay says about our account is told from what it says about a recipient. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/classify.h"

static enum account_fault of(bool ses, uint16_t code, const char *text)
{
    return account_fault_of(ses, code, text, strlen(text));
}

static void the_replies_of_ses_are_known(void **state)
{
    (void)state;
    assert_int_equal(of(true, 454, "Throttling failure: Maximum sending rate exceeded."), ACCOUNT_RATE);
    assert_int_equal(of(true, 454, "Throttling failure: Daily message quota exceeded."), ACCOUNT_QUOTA);
    assert_int_equal(of(true, 554,
                        "Message rejected: Email address is not verified. The following identities "
                        "failed the check in region AP-NORTHEAST-1: a@b.test"),
                     ACCOUNT_IDENTITY);
    assert_int_equal(of(true, 554, "Message rejected: Email address is\nnot verified."), ACCOUNT_IDENTITY);
    assert_int_equal(of(true, 554, "Message rejected: Sending paused for this account."), ACCOUNT_CLOSED);
    assert_int_equal(of(true, 554, "Access denied: User `arn:aws:iam::1:user/x' is not authorized"),
                     ACCOUNT_CLOSED);
    assert_int_equal(of(true, 554, "Transaction failed: Duplicate header 'DKIM-Signature'."),
                     ACCOUNT_MESSAGE);
    assert_int_equal(of(true, 554, "Transaction failed: Configuration set does not exist: news"),
                     ACCOUNT_SETTING);
}

static void what_is_about_a_recipient_is_left_to_the_classifier(void **state)
{
    (void)state;
    assert_int_equal(of(true, 550, "5.1.1 user unknown"), ACCOUNT_FINE);
    assert_int_equal(of(true, 554, "Transaction failed: Missing final '@domain'"), ACCOUNT_FINE);
    assert_int_equal(of(true, 554, "Message rejected."), ACCOUNT_FINE);
    assert_int_equal(of(true, 451, "Temporary service failure, Maximum sending rate exceeded"), ACCOUNT_FINE);
    assert_int_equal(of(true, 454, ""), ACCOUNT_FINE);
    assert_int_equal(of(true, 554, "is not verifie"), ACCOUNT_FINE);
}

static void another_relay_is_only_asked_about_the_log_in(void **state)
{
    (void)state;
    assert_int_equal(of(false, 554, "Email address is not verified"), ACCOUNT_FINE);
    assert_int_equal(of(false, 454, "Daily message quota exceeded"), ACCOUNT_FINE);
    assert_int_equal(of(false, 530, "Authentication required"), ACCOUNT_LOGIN);
    assert_int_equal(of(false, 535, "no"), ACCOUNT_LOGIN);
}

static void what_needs_a_person_stops_and_says_what_to_do(void **state)
{
    (void)state;
    assert_false(account_fault_stops(ACCOUNT_FINE));
    assert_false(account_fault_stops(ACCOUNT_RATE));
    assert_false(account_fault_stops(ACCOUNT_QUOTA));
    for (int fault = ACCOUNT_IDENTITY; fault <= ACCOUNT_LOGIN; fault++) {
        assert_true(account_fault_stops((enum account_fault)fault));
        assert_true(strlen(account_advice((enum account_fault)fault)) > 20);
    }
    assert_non_null(strstr(account_advice(ACCOUNT_IDENTITY), "production access"));
}

static void the_id_stands_behind_ok(void **state)
{
    static const struct {
        const char *text, *id;
    } cases[] = {
        {"Ok 0102018abc-11-22-000000", "0102018abc-11-22-000000"},
        {"ok 0102018abc-11-22-000000 and more", "0102018abc-11-22-000000"},
        {"Ok ", ""},
        {"Ok", ""},
        {"", ""},
        {"2.0.0 Ok: queued as 4A", ""},
        {"Okay 1", ""},
    };
    char text[256] = "Ok ";
    const char *id;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t length = ses_message_id(cases[i].text, strlen(cases[i].text), &id);
        assert_int_equal(length, strlen(cases[i].id));
        if (length > 0)
            assert_memory_equal(id, cases[i].id, length);
    }
    memset(text + 3, 'a', SES_MESSAGE_ID_MAX + 1);
    assert_int_equal(ses_message_id(text, 3 + SES_MESSAGE_ID_MAX, &id), SES_MESSAGE_ID_MAX);
    assert_int_equal(ses_message_id(text, 3 + SES_MESSAGE_ID_MAX + 1, &id), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_replies_of_ses_are_known),
        cmocka_unit_test(what_is_about_a_recipient_is_left_to_the_classifier),
        cmocka_unit_test(another_relay_is_only_asked_about_the_log_in),
        cmocka_unit_test(what_needs_a_person_stops_and_says_what_to_do),
        cmocka_unit_test(the_id_stands_behind_ok),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
