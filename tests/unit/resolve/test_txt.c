/* test_txt.c - the TXT records `_mta-sts` (RFC 8461 3.1) and `_smtp._tls` (RFC 8460 3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "message.h"
#include "txt.h"

static struct message message;
static char id[TXT_STS_ID_MAX + 1], rua[TXT_RUA_SIZE];

static void txt(const char *first, const char *second)
{
    message_record(&message, 0, 16, 300);
    for (const char *text = first; text != NULL; text = text == first ? second : NULL) {
        message.bytes[message.length++] = (uint8_t)strlen(text);
        message_bytes(&message, text, strlen(text));
    }
    message_record_end(&message);
}

static bool sts(const char *record)
{
    message_begin(&message, 0);
    txt(record, NULL);
    return txt_sts_id(message.bytes, message.length, id);
}

static bool report(const char *record)
{
    message_begin(&message, 0);
    txt(record, NULL);
    return txt_tlsrpt_rua(message.bytes, message.length, rua);
}

static void the_id_of_a_policy_is_read(void **state)
{
    (void)state;
    assert_true(sts("v=STSv1; id=20160831085700Z;"));
    assert_string_equal(id, "20160831085700Z");
    assert_true(sts("v=STSv1 ;\t id=a1 ; x=y"));
    assert_string_equal(id, "a1");
    assert_true(sts("v=STSv1;x=id=3;id=2"));
    assert_string_equal(id, "2");
    assert_true(sts("v=STSv1;id=12345678901234567890123456789012"));
}

static void a_record_without_a_usable_id_announces_nothing(void **state)
{
    (void)state;
    assert_false(sts("v=STSv1;"));
    assert_false(sts("v=STSv1; id="));
    assert_false(sts("v=STSv1; id=a-b"));
    assert_false(sts("v=STSv1; id=123456789012345678901234567890123"));
    assert_false(sts("v=STSv10; id=1"));
    assert_false(sts("v=STSv1"));
    assert_false(sts("id=1; v=STSv1"));
    assert_false(sts("v=spf1 -all"));
}

static void strings_are_joined_and_other_records_passed_over(void **state)
{
    (void)state;
    message_begin(&message, 0);
    txt("v=spf1 -all", NULL);
    txt("v=STSv1; i", "d=77;");
    assert_true(txt_sts_id(message.bytes, message.length, id));
    assert_string_equal(id, "77");
}

static void of_two_records_none_counts(void **state)
{
    (void)state;
    message_begin(&message, 0);
    txt("v=STSv1; id=1", NULL);
    txt("v=STSv1; id=2", NULL);
    assert_false(txt_sts_id(message.bytes, message.length, id));
    message_begin(&message, 0);
    txt("v=TLSRPTv1; rua=mailto:a@x.test", NULL);
    txt("v=TLSRPTv1; rua=mailto:b@x.test", NULL);
    assert_false(txt_tlsrpt_rua(message.bytes, message.length, rua));
}

static void reports_go_to_mailto_and_https(void **state)
{
    (void)state;
    assert_true(report("v=TLSRPTv1;rua=mailto:reports@x.test"));
    assert_string_equal(rua, "mailto:reports@x.test");
    assert_true(report("v=TLSRPTv1; rua=mailto:a@x.test , HTTPS://x.test/r ,ftp://x.test,http://x.test/;"));
    assert_string_equal(rua, "mailto:a@x.test,HTTPS://x.test/r");
    assert_false(report("v=TLSRPTv1; rua="));
    assert_false(report("v=TLSRPTv1; rua=ftp://x.test/"));
    assert_false(report("v=TLSRPTv1; rua=mailto:a b@x.test"));
    assert_false(report("v=TLSRPTv1"));
    assert_false(report("v=TLSRPTv2; rua=mailto:a@x.test"));
}

static void what_does_not_fit_is_left_out_whole(void **state)
{
    char long_uri[256];

    (void)state;
    memset(long_uri, 'a', sizeof long_uri);
    long_uri[255] = '\0';
    memcpy(long_uri, "mailto:", 7);
    message_begin(&message, 0);
    message_record(&message, 0, 16, 300);
    for (int i = 0; i < 4; i++) {
        const char *lead = i == 0 ? "v=TLSRPTv1;rua=" : ",";
        message.bytes[message.length++] = (uint8_t)strlen(lead);
        message_bytes(&message, lead, strlen(lead));
        message.bytes[message.length++] = 255;
        message_bytes(&message, long_uri, 255);
    }
    message_record_end(&message);
    assert_true(txt_tlsrpt_rua(message.bytes, message.length, rua));
    assert_int_equal(strlen(rua), 255 + 1 + 255);
}

static void a_string_that_is_longer_than_its_record_is_refused(void **state)
{
    (void)state;
    message_begin(&message, 0);
    message_record(&message, 0, 16, 300);
    message_bytes(&message, "\x20v=STSv1; id=1", 15);
    message_record_end(&message);
    assert_false(txt_sts_id(message.bytes, message.length, id));
    message_begin(&message, 3);
    assert_false(txt_sts_id(message.bytes, message.length, id));
    assert_false(txt_sts_id("", 0, id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_id_of_a_policy_is_read),
        cmocka_unit_test(a_record_without_a_usable_id_announces_nothing),
        cmocka_unit_test(strings_are_joined_and_other_records_passed_over),
        cmocka_unit_test(of_two_records_none_counts),
        cmocka_unit_test(reports_go_to_mailto_and_https),
        cmocka_unit_test(what_does_not_fit_is_left_out_whole),
        cmocka_unit_test(a_string_that_is_longer_than_its_record_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
