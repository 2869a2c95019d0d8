/* test_faults.c - a verdict does not depend on memory: the classifier asks for none and makes no call, so the machine's
 * trouble can never suppress a recipient. Every call that could fail does here, from the first one on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "faults.h"
#include "hikyaku/bounce.h"
#include "hikyaku/classify.h"
#include "hikyaku/whose.h"
#include "openssl_faults.h"

static const char *const text[] = {
    "5.1.1 <taro@x.test>: Recipient address rejected: User unknown",
    "4.2.2 The email account that you tried to reach is over quota",
    "5.7.1 Message rejected as spam by content scanner",
    "Our system has detected an unusual rate of mail from your IP address",
    "5.7.26 This mail is unauthenticated\n5.7.26 SPF and DKIM did not pass",
    "connection reset by peer",
    "\xff\xfe\x01 not a text",
    "",
};
#define TEXTS (sizeof text / sizeof *text)

static void all_verdicts(struct verdict out[TEXTS])
{
    static const uint8_t none[3];

    for (size_t i = 0; i < TEXTS; i++)
        out[i] = reply_classify(i % 2 ? LOG_PHASE_DOT : LOG_PHASE_RCPT, i % 2 ? 450 : 550, none, text[i],
                                strlen(text[i]));
}

static void a_verdict_needs_no_memory(void **state)
{
    struct verdict with[TEXTS], without[TEXTS];
    /* Longer than any buffer of ours would be. */
    static char long_text[REGION_REPLY_TEXT * 64];
    static const uint8_t none[3];

    (void)state;
    all_verdicts(with);
    assert_int_equal(with[0].reply_class, CLASS_MAILBOX_UNKNOWN);
    assert_int_equal(with[0].disposition, DISPOSITION_SUPPRESS);
    memset(long_text, 'x', sizeof long_text);
    fault_arm_from(~0u, 1);
    all_verdicts(without);
    struct verdict of_long = reply_classify(LOG_PHASE_RCPT, 550, none, long_text, sizeof long_text);
    assert_false(fault_disarm());
    for (size_t i = 0; i < TEXTS; i++) {
        assert_int_equal(with[i].reply_class, without[i].reply_class);
        assert_int_equal(with[i].disposition, without[i].disposition);
        assert_ptr_equal(with[i].rule, without[i].rule);
    }
    assert_int_not_equal(of_long.disposition, DISPOSITION_SUPPRESS);
}

static void count_row(void *context, const struct bounce *bounce)
{
    (void)bounce;
    ++*(unsigned *)context;
}

static int count_mail(void *context, const char *mail, size_t length)
{
    (void)mail;
    *(size_t *)context += length;
    return 0;
}

/* Whatever allocation fails, the call says so and the reader is good for the next mail: nobody is half read. */
static void a_mail_without_memory_is_an_error_and_no_verdict(void **state)
{
    static const char mail[] =
        "Return-Path: <>\nFrom: MAILER-DAEMON@x.test\nTo: b@y.test\n"
        "Subject: =?UTF-8?Q?failure_notice?=\nContent-Type: multipart/mixed; boundary=B\n\n--B\n"
        "Content-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n"
        "<p>could not be delivered to:<br>taro@x.test<br>550 5.1.1 User unknown =E9</p>\n--B\n"
        "Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822; jiro@x.test\n"
        "Action: failed\nStatus: 5.1.1\n\n--B--\n";
    unsigned failed = 0, rows = 0;
    bool struck = true;

    (void)state;
    for (unsigned nth = 1; struck; nth++) {
        struct bounce_reader *reader = bounce_reader_new();
        assert_non_null(reader);
        fault_arm(FAULT_MEMORY, nth);
        int error = bounce_read(reader, mail, sizeof mail - 1, count_row, &rows);
        struck = fault_disarm();
        assert_true(error == (struck ? HK_ENOMEM : 0));
        failed += struck;
        rows = 0;
        assert_int_equal(bounce_read(reader, mail, sizeof mail - 1, count_row, &rows), 0);
        assert_int_equal(rows, 1);
        bounce_reader_free(reader);
    }
    assert_true(failed >= 5);
    fault_arm(FAULT_MEMORY, 1);
    assert_null(bounce_reader_new());
    assert_true(fault_disarm());
}

static void an_intake_needs_its_mapping_and_nothing_more(void **state)
{
    size_t taken = 0;
    struct intake *intake;

    (void)state;
    for (unsigned nth = 1; nth <= 2; nth++) {
        fault_arm(FAULT_MEMORY | FAULT_FILE, nth);
        assert_null(intake_new(count_mail, &taken));
        assert_true(fault_disarm());
    }
    intake = intake_new(count_mail, &taken);
    assert_non_null(intake);
    fault_arm_from(~0u, 1);
    int error = intake_put(intake, "Subject: a\n\nb\n", 15);
    error = error == 0 ? intake_end(intake) : error;
    assert_false(fault_disarm());
    assert_int_equal(error, 0);
    assert_int_equal(taken, 15);
    intake_free(intake);
}

static struct signer *own_signer(char *secret)
{
    static char from_domain[] = "news.test", return_path[] = "bounce.news.test";
    struct config config = {
        .sender = {.from_domain = from_domain, .return_path = return_path, .secret_file = secret}};
    struct signer *signer;
    struct hk_why why;

    assert_int_equal(keygen_verp(secret, &why), 0);
    assert_int_equal(signer_load_tokens(&config, &signer, &why), 0);
    assert_int_equal(unlink(secret), 0);
    return signer;
}

/* A token of ours is ours whatever memory there is: whoever has none to look at it says so, and the mail comes again. */
static void a_token_without_memory_is_neither_forged_nor_nobodys(void **state)
{
    static const char mail[] =
        "Subject: Undelivered Mail\nMIME-Version: 1.0\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=x\n\n--x\n"
        "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.a.test\n\n"
        "Final-Recipient: rfc822; ann@a.test\nAction: failed\nStatus: 5.1.1\n\n--x--\n";
    char directory[] = "/tmp/hikyaku-token-XXXXXX", secret[64], path[ADDRESS_MAX + 1];
    struct bounce_reader *reader = bounce_reader_new();
    struct token_subject subject = {
        .campaign = "c1", .address = "ann@a.test", .address_length = 10, .index = 7};
    unsigned unread = 0, untold = 0;
    bool struck = true;

    (void)state;
    assert_non_null(reader);
    assert_non_null(mkdtemp(directory));
    (void)snprintf(secret, sizeof secret, "%s/verp.key", directory);
    struct signer *signer = own_signer(secret);
    const struct whose whose = {.signer = signer, .token_age_s = 86400};
    subject.day = VERP_DAY(clock_wall_us());
    assert_int_equal(verp_make(signer, &subject, path), 0);
    for (unsigned nth = 1; struck; nth++) {
        struct whose_said said;
        json_t *entry = NULL;
        fault_arm(FAULT_MEMORY | FAULT_LIBRARY, nth);
        int error = whose_read(&whose, reader, path, mail, sizeof mail - 1, &said);
        if (error == 0)
            entry = whose_entry(&said);
        struck = fault_disarm();
        unread += error != 0;
        untold += error == 0 && entry == NULL;
        assert_true(error == 0 || (struck && error == HK_ENOMEM));
        assert_true(entry != NULL || struck);
        if (error == 0)
            assert_int_equal(said.found, WHOSE_TOKEN);
        if (entry != NULL)
            assert_string_equal(json_string_value(json_object_get(entry, "token")), path);
        json_decref(entry);
    }
    assert_true(unread > 0 && untold > 0);
    bounce_reader_free(reader);
    signer_free(signer);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_verdict_needs_no_memory),
        cmocka_unit_test(a_mail_without_memory_is_an_error_and_no_verdict),
        cmocka_unit_test(an_intake_needs_its_mapping_and_nothing_more),
        cmocka_unit_test(a_token_without_memory_is_neither_forged_nor_nobodys),
    };

    if (!openssl_ask(fault_strikes))
        return 1;
    json_set_alloc_funcs(malloc, free); /* as they are wrapped */

    return cmocka_run_group_tests(tests, NULL, NULL);
}
