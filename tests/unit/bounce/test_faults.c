/* test_faults.c - a verdict does not depend on memory: the classifier asks for none and makes no call, so the machine's
 * trouble can never suppress a recipient. Every call that could fail does here, from the first one on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "faults.h"
#include "hikyaku/classify.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_verdict_needs_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
