/* Replies: what they mean for the recipient. Words of providers' documentation and of common servers; the large set
 * of real replies is read where it lies, if it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "hikyaku/classify.h"

struct example {
    enum log_phase phase;
    uint16_t code;
    const char *text;
    enum reply_class reply_class;
    enum disposition disposition;
};

/* The code at the beginning of a line, if its numbers fit: what the reply parser hands on. */
static void enhanced_of(const char *text, uint16_t code, uint8_t out[3])
{
    unsigned a, b, c;

    memset(out, 0, 3);
    if (sscanf(text, "%1u.%3u.%3u", &a, &b, &c) == 3 && a == code / 100u && b < 256 && c < 256)
        out[0] = (uint8_t)a, out[1] = (uint8_t)b, out[2] = (uint8_t)c;
}

static struct verdict classify(enum log_phase phase, uint16_t code, const char *text)
{
    uint8_t enhanced[3];

    enhanced_of(text, code, enhanced);
    return reply_classify(phase, code, enhanced, text, strlen(text));
}

static void assert_examples(const struct example *e, size_t count)
{
    for (; count > 0; count--, e++) {
        struct verdict v = classify(e->phase, e->code, e->text);
        if (v.reply_class != e->reply_class || v.disposition != e->disposition)
            fail_msg("%u %s (phase %d): got %s, %s; wanted %s, %s", e->code, e->text, (int)e->phase,
                     reply_class_name(v.reply_class), disposition_name(v.disposition),
                     reply_class_name(e->reply_class), disposition_name(e->disposition));
    }
}
#define ASSERT_EXAMPLES(examples) assert_examples(examples, sizeof(examples) / sizeof *(examples))

#define BANNER LOG_PHASE_BANNER
#define EHLO   LOG_PHASE_EHLO
#define MAIL   LOG_PHASE_MAIL
#define RCPT   LOG_PHASE_RCPT
#define DOT    LOG_PHASE_DOT

/* RFC 5321 4.2.2 */
static void an_unknown_user_at_rcpt_is_suppressed(void **state)
{
    static const struct example examples[] = {
        {RCPT, 550, "Unknown user taro@docomo.test", CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
        {RCPT, 550, "<taro@au.test>: User unknown", CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
        {RCPT, 550, "Invalid recipient: <taro@softbank.test>", CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
        {RCPT, 550, "5.1.1 <a@x.test>: Recipient address rejected: User unknown in virtual mailbox table",
         CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
        {RCPT, 550,
         "5.1.1 The email account that you tried to reach does\n5.1.1 not exist. Please try "
         "double-checking\n5.1.1 "
         "https://support.test/mail/?p=NoSuchUser x.1 - gsmtp",
         CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
        {RCPT, 550, "5.4.1 Recipient address rejected: Access denied. [X.prod.protection.outlook.test]",
         CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
        {RCPT, 550, "sorry, no mailbox here by that name (#5.1.1)", CLASS_MAILBOX_UNKNOWN,
         DISPOSITION_SUPPRESS},
        {RCPT, 550, "5.1.351 Remote server said it", CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
        {RCPT, 550, "5.1.1", CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
        {RCPT, 550, "unknown alias:spam@x.test", CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
        {RCPT, 554, "delivery error: dd This user doesn't have a yahoo.test account (a@yahoo.test) [0]",
         CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
    };
    (void)state;

    ASSERT_EXAMPLES(examples);
}

/* RFC 5321 4.2.2 */
static void the_same_words_after_the_dot_are_no_unknown_user(void **state)
{
    static const struct example examples[] = {
        {DOT, 550, "Unknown user taro@docomo.test", CLASS_RECIPIENT_REFUSED, DISPOSITION_COUNT},
        {DOT, 550, ": User unknown", CLASS_RECIPIENT_REFUSED, DISPOSITION_COUNT},
        {RCPT, 550, ": User unknown", CLASS_RECIPIENT_REFUSED, DISPOSITION_COUNT},
        {DOT, 550, "5.1.1 go away", CLASS_RECIPIENT_REFUSED, DISPOSITION_COUNT},
        /* The code insists, as servers do that deliver before they answer. */
        {DOT, 550, "5.1.1 <a@x.test>: User unknown", CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
        /* The refusal of RCPT, told once more where the message went out behind it. */
        {DOT, 550, "Unknown user a@docomo.test\n503 Bad sequence of commands", CLASS_MAILBOX_UNKNOWN,
         DISPOSITION_SUPPRESS},
    };
    (void)state;

    ASSERT_EXAMPLES(examples);
}

static void before_rcpt_no_word_is_about_the_recipient(void **state)
{
    static const struct example examples[] = {
        {MAIL, 553, "example.test does not exist", CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
        {MAIL, 550, "5.1.1 User unknown", CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
        {EHLO, 550, "No such user", CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
        {BANNER, 554, "mailbox full", CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
        {BANNER, 554, "go away", CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
        {MAIL, 450, "4.1.1 unknown user", CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
    };
    (void)state;

    ASSERT_EXAMPLES(examples);
}

static void a_temporary_refusal_never_suppresses(void **state)
{
    static const struct example examples[] = {
        {RCPT, 450, "4.1.1 <a@x.test>: Recipient address rejected: User unknown", CLASS_MAILBOX_UNKNOWN,
         DISPOSITION_COUNT},
        {RCPT, 450, "4.2.1 account disabled", CLASS_MAILBOX_INACTIVE, DISPOSITION_COUNT},
        {RCPT, 450, "4.1.2 Host unknown", CLASS_DOMAIN_INVALID, DISPOSITION_COUNT},
        {RCPT, 550, "account temporarily disabled", CLASS_MAILBOX_INACTIVE, DISPOSITION_COUNT},
    };
    (void)state;

    ASSERT_EXAMPLES(examples);
}

static void what_is_about_us_blocks_and_never_counts(void **state)
{
    static const struct example examples[] = {
        {RCPT, 554, "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
         CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
        {RCPT, 550, "5.1.1 rejected, see http://www.spamhaus.org/query/bl?ip=192.0.2.1", CLASS_SENDER_BLOCKED,
         DISPOSITION_BLOCK},
        {RCPT, 550, "Verification failed for <me@us.test>\nNo Such User Here\nSender verify failed",
         CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
        {DOT, 550, "5.7.606 Access denied, banned sending IP [192.0.2.1]", CLASS_SENDER_BLOCKED,
         DISPOSITION_BLOCK},
        {MAIL, 550,
         "5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. part of their network is on our block "
         "list (S3140).",
         CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
        {DOT, 550, "5.7.25 [192.0.2.1] The IP address sending this message does not have a PTR record setup",
         CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
        {DOT, 550, "5.7.26 Unauthenticated email from us.test is not accepted due to domain's DMARC policy.",
         CLASS_AUTH_SECURITY, DISPOSITION_BLOCK},
        {DOT, 550, "5.7.515 Access denied, sending domain does not meet the required level",
         CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
        {DOT, 554,
         "Message rejected: Email address is not verified. The following identities failed the check",
         CLASS_AUTH_SECURITY, DISPOSITION_BLOCK},
        {RCPT, 554, "5.7.1 <a@x.test>: Relay access denied", CLASS_AUTH_SECURITY, DISPOSITION_BLOCK},
        {LOG_PHASE_AUTH, 535, "Authentication Credentials Invalid", CLASS_AUTH_SECURITY, DISPOSITION_BLOCK},
        {MAIL, 530, "Must issue a command first", CLASS_AUTH_SECURITY, DISPOSITION_BLOCK},
        {DOT, 552, "5.7.0 This message was blocked because its content presents a potential security issue",
         CLASS_CONTENT_POLICY, DISPOSITION_BLOCK},
        {DOT, 554, "5.7.1 rejected as spam", CLASS_CONTENT_POLICY, DISPOSITION_BLOCK},
        {DOT, 550, "5.6.11 BareLinefeedsAreIllegal", CLASS_CONTENT_POLICY, DISPOSITION_BLOCK},
        {DOT, 554, "no", CLASS_CONTENT_POLICY, DISPOSITION_BLOCK},
        {MAIL, 552, "5.3.4 Message size exceeds fixed limit", CLASS_TOO_LARGE, DISPOSITION_BLOCK},
        {RCPT, 552, "5.2.3 Message length exceeds administrative limit", CLASS_TOO_LARGE, DISPOSITION_BLOCK},
    };
    (void)state;

    ASSERT_EXAMPLES(examples);
}

static void a_brake_is_a_brake_even_in_a_permanent_reply(void **state)
{
    static const struct example examples[] = {
        {BANNER, 421, "", CLASS_RATE_LIMITED, DISPOSITION_BLOCK},
        {BANNER, 421, "Too many concurrent SMTP connections; please try again later.", CLASS_RATE_LIMITED,
         DISPOSITION_BLOCK},
        {MAIL, 454, "Throttling failure: Maximum sending rate exceeded.", CLASS_RATE_LIMITED,
         DISPOSITION_BLOCK},
        {MAIL, 454, "Throttling failure: Daily message quota exceeded.", CLASS_RATE_LIMITED,
         DISPOSITION_BLOCK},
        {DOT, 421, "4.7.28 Our system has detected an unusual rate of mail from your IP", CLASS_RATE_LIMITED,
         DISPOSITION_BLOCK},
        {RCPT, 450, "4.2.1 The user you are trying to contact is receiving mail too quickly.",
         CLASS_RATE_LIMITED, DISPOSITION_BLOCK},
        {DOT, 550, "Connection frequency limited. http://help.test/?id=1", CLASS_RATE_LIMITED,
         DISPOSITION_BLOCK},
        {RCPT, 552, "too many recipients", CLASS_RATE_LIMITED, DISPOSITION_BLOCK},
        {RCPT, 552, "no", CLASS_RATE_LIMITED, DISPOSITION_BLOCK}, /* RFC 5321 4.5.3.1.10: 452 is meant */
        {DOT, 552, "no", CLASS_MAILBOX_FULL, DISPOSITION_COUNT},
        {RCPT, 451, "4.7.500 Server busy. Please try again later", CLASS_RATE_LIMITED, DISPOSITION_BLOCK},
        {RCPT, 451, "4.7.1 Greylisting in action, please come back later", CLASS_RATE_LIMITED,
         DISPOSITION_BLOCK},
    };
    (void)state;

    ASSERT_EXAMPLES(examples);
}

static void full_boxes_count_and_dead_ones_are_suppressed(void **state)
{
    static const struct example examples[] = {
        {RCPT, 452, "4.2.2 The email account that you tried to reach is over quota.", CLASS_MAILBOX_FULL,
         DISPOSITION_COUNT},
        {RCPT, 552, "5.2.2 The recipient's inbox is out of storage space and inactive.", CLASS_MAILBOX_FULL,
         DISPOSITION_COUNT},
        {DOT, 552, "Too much mail data", CLASS_MAILBOX_FULL, DISPOSITION_COUNT},
        {DOT, 552, "sorry, mailbox a@x.test is over quota temporarily (#5.1.1)", CLASS_MAILBOX_FULL,
         DISPOSITION_COUNT},
        {RCPT, 550, "5.2.1 The email account that you tried to reach is disabled.", CLASS_MAILBOX_INACTIVE,
         DISPOSITION_SUPPRESS},
        {DOT, 554,
         "30 Sorry, your message to a@yahoo.test cannot be delivered. This mailbox is disabled (554.30).",
         CLASS_MAILBOX_INACTIVE, DISPOSITION_SUPPRESS},
        {RCPT, 550, "5.1.2 <a@x.test>: Recipient address rejected: Host unknown", CLASS_DOMAIN_INVALID,
         DISPOSITION_SUPPRESS},
        {RCPT, 556, "5.1.10 no mail here", CLASS_DOMAIN_INVALID, DISPOSITION_SUPPRESS},
        /* RFC 7504: 521 is a host's word, 556 is about the domain. */
        {BANNER, 521, "mx.test does not accept mail", CLASS_DOMAIN_INVALID, DISPOSITION_COUNT},
        {BANNER, 521, "5.3.2 mx.test does not accept mail", CLASS_DOMAIN_INVALID, DISPOSITION_COUNT},
        {BANNER, 521, "5.7.1 your IP is on our blocklist", CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
    };
    (void)state;

    ASSERT_EXAMPLES(examples);
}

static void their_trouble_and_the_network_count_mildly(void **state)
{
    static const struct example examples[] = {
        {DOT, 451, "4.3.0 Error: queue file write error", CLASS_SYSTEM, DISPOSITION_COUNT},
        {MAIL, 452, "4.3.1 Insufficient system storage", CLASS_SYSTEM, DISPOSITION_COUNT},
        {RCPT, 504, "Command parameter not implemented", CLASS_SYSTEM, DISPOSITION_COUNT},
        {DOT, 554, "5.4.6 Too many hops", CLASS_NETWORK, DISPOSITION_COUNT},
        {LOG_PHASE_CONNECT, 0, "connection refused", CLASS_NETWORK, DISPOSITION_COUNT},
        {DOT, 0, "connection reset", CLASS_NETWORK, DISPOSITION_COUNT},
        {LOG_PHASE_STARTTLS, 0, "handshake failed", CLASS_AUTH_SECURITY, DISPOSITION_BLOCK},
        {LOG_PHASE_CONNECT, 0, "null MX", CLASS_DOMAIN_INVALID, DISPOSITION_SUPPRESS},
        {RCPT, 451, "later", CLASS_UNKNOWN, DISPOSITION_COUNT},
        {RCPT, 554, "no", CLASS_UNKNOWN, DISPOSITION_COUNT},
        {RCPT, 550, "no", CLASS_RECIPIENT_REFUSED, DISPOSITION_COUNT},
    };
    (void)state;

    ASSERT_EXAMPLES(examples);
}

static void numbers_and_names_inside_a_text_are_no_codes(void **state)
{
    static const struct example examples[] = {
        {RCPT, 550, "no, host 5.1.1.7 said so", CLASS_RECIPIENT_REFUSED, DISPOSITION_COUNT},
        {RCPT, 550, "no, version 15.1.1", CLASS_RECIPIENT_REFUSED, DISPOSITION_COUNT},
        {RCPT, 550, "no (4.1.1)", CLASS_RECIPIENT_REFUSED, DISPOSITION_COUNT},
        {RCPT, 550, "no, user-unknown@x.test, https://x.test/user/unknown", CLASS_RECIPIENT_REFUSED,
         DISPOSITION_COUNT},
        {RCPT, 550, "5.1.1 <spam@x.test>: User unknown (https://x.test/spam)", CLASS_MAILBOX_UNKNOWN,
         DISPOSITION_SUPPRESS},
        {RCPT, 550, "no, the marble is terrible", CLASS_RECIPIENT_REFUSED, DISPOSITION_COUNT},
    };
    (void)state;

    ASSERT_EXAMPLES(examples);
}

static void a_quoted_number_of_two_digits_is_no_enhanced_code(void **state)
{
    static const char text[] = "'59.8.1 ";
    struct diagnosis d = {.phase = LOG_PHASES, .text = text, .length = sizeof text - 1};

    (void)state;
    diagnosis_read(&d);
    assert_int_equal(d.code, 0);
}

static void names_of_hosts_in_our_own_words_mean_nothing(void **state)
{
    static const struct example examples[] = {
        {LOG_PHASE_CONNECT, 0, "spam.test does not exist (NXDOMAIN)", CLASS_DOMAIN_INVALID,
         DISPOSITION_SUPPRESS},
        {LOG_PHASE_CONNECT, 0, "dnsbl.test accepts no mail (null MX)", CLASS_DOMAIN_INVALID,
         DISPOSITION_SUPPRESS},
        {LOG_PHASE_CONNECT, 0, "nxdomain.test timed out", CLASS_NETWORK, DISPOSITION_COUNT},
        {LOG_PHASE_CONNECT, 0, "SERVFAIL for MX of user-unknown.test", CLASS_NETWORK, DISPOSITION_COUNT},
        {MAIL, 0, "receiver does not offer SMTPUTF8", CLASS_UNKNOWN, DISPOSITION_COUNT},
        {MAIL, 0, "the message is larger than the receiver's SIZE", CLASS_TOO_LARGE, DISPOSITION_BLOCK},
        {LOG_PHASE_STARTTLS, 0, "certificate of mx.test not accepted: expired", CLASS_AUTH_SECURITY,
         DISPOSITION_BLOCK},
        {RCPT, 550, "no, says frozen.test", CLASS_RECIPIENT_REFUSED, DISPOSITION_COUNT},
    };
    (void)state;

    ASSERT_EXAMPLES(examples);
}

static void words_far_apart_do_not_belong_together(void **state)
{
    static const struct example near[] = {{RCPT, 550, "user (of the third floor, see the list) unknown",
                                           CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS}};
    static const struct example far[] = {{RCPT, 550,
                                          "user of this service: our hours are from nine to five on working "
                                          "days only, and reasons are often unknown",
                                          CLASS_RECIPIENT_REFUSED, DISPOSITION_COUNT}};
    (void)state;

    ASSERT_EXAMPLES(near);
    ASSERT_EXAMPLES(far);
}

static void success_is_delivered(void **state)
{
    struct verdict v = classify(DOT, 250, "2.0.0 queued, user unknown");
    (void)state;

    assert_int_equal(v.reply_class, CLASS_DELIVERED);
    assert_int_equal(v.disposition, DISPOSITION_NONE);
}

static void long_and_odd_texts_are_judged_by_their_beginning(void **state)
{
    static char text[1 << 16];
    uint8_t none[3] = {0};
    (void)state;

    memset(text, 'u', sizeof text);
    memcpy(text, "user unknown ", 13);
    assert_int_equal(reply_classify(RCPT, 550, none, text, sizeof text).reply_class, CLASS_MAILBOX_UNKNOWN);
    memset(text, '\0', sizeof text);
    assert_int_equal(reply_classify(RCPT, 550, none, text, sizeof text).reply_class, CLASS_RECIPIENT_REFUSED);
    memset(text, '@', sizeof text);
    assert_int_equal(reply_classify(RCPT, 550, none, text, sizeof text).reply_class, CLASS_RECIPIENT_REFUSED);
    assert_int_equal(reply_classify(RCPT, 550, NULL, "", 0).reply_class, CLASS_RECIPIENT_REFUSED);
}

static void names_are_those_of_the_documents(void **state)
{
    enum disposition read;

    (void)state;
    assert_string_equal(reply_class_name(CLASS_NONE), "");
    assert_string_equal(reply_class_name(CLASS_MAILBOX_UNKNOWN), "mailbox-unknown");
    assert_string_equal(reply_class_name(CLASS_PROVIDER_SUPPRESSED), "provider-suppressed");
    assert_string_equal(reply_class_name((enum reply_class)999), "");
    assert_string_equal(disposition_name(DISPOSITION_SUPPRESS), "suppress");
    assert_string_equal(disposition_name((enum disposition)999), "none");
    for (int c = CLASS_NONE; c < CLASSES; c++)
        assert_int_equal(reply_class_of_word(reply_class_name((enum reply_class)c)), c);
    assert_int_equal(reply_class_of_word("mailbox"), CLASS_NONE);
    for (int d = DISPOSITION_NONE; d <= DISPOSITION_SUPPRESS; d++) {
        assert_true(disposition_of_word(disposition_name((enum disposition)d), &read));
        assert_int_equal(read, d);
    }
    assert_false(disposition_of_word("", &read));
    assert_int_equal(read, DISPOSITION_SUPPRESS);
}

/* --- the collected real replies --- */

static enum log_phase phase_of_command(const char *command)
{
    static const struct {
        const char *command;
        enum log_phase phase;
    } phases[] = {{"CONN", BANNER}, {"EHLO", EHLO}, {"HELO", EHLO},
                  {"MAIL", MAIL},   {"DATA", DOT},  {"QUIT", DOT}};

    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++)
        if (strcmp(phases[i].command, command) == 0)
            return phases[i].phase;
    return RCPT;
}

static bool is_among(const json_t *list, const char *word)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), word) == 0)
            return true;
    return false;
}

struct score {
    unsigned rows, class_right, disposition_right, false_suppress, missed_suppress;
};

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    return text == NULL ? "" : text;
}

static void judge(const json_t *row, struct score *s)
{
    const char *text = text_of(row, "reply");
    uint16_t code = (uint16_t)strtoul(text, NULL, 10);
    struct verdict v =
        classify(phase_of_command(text_of(row, "command")), code, strlen(text) > 4 ? text + 4 : "");
    const char *class_name = reply_class_name(v.reply_class), *disposition = disposition_name(v.disposition);
    const json_t *wanted = json_object_get(row, "disposition");
    bool right = strcmp(class_name, text_of(row, "class")) == 0 ||
                 is_among(json_object_get(row, "class_alt"), class_name);

    s->rows++;
    s->class_right += right;
    s->disposition_right += is_among(wanted, disposition);
    s->false_suppress += v.disposition == DISPOSITION_SUPPRESS && !is_among(wanted, "suppress");
    s->missed_suppress +=
        v.disposition != DISPOSITION_SUPPRESS && json_array_size(wanted) == 1 && is_among(wanted, "suppress");
    if (!right || !is_among(wanted, disposition))
        print_message("    %s, %s (wanted %s): %s %.120s\n", class_name, disposition, text_of(row, "class"),
                      text_of(row, "command"), text);
}

static void real_replies_are_judged_as_people_judged_them(void **state)
{
    const char *shared = getenv("HK_SHARED");
    char path[512], line[8192];
    struct score s = {0};
    FILE *f;
    (void)state;

    snprintf(path, sizeof path, "%s/data/bounce/replies.jsonl", shared == NULL ? "../shared" : shared);
    f = fopen(path, "r");
    if (f == NULL) {
        print_message("    left out: no %s (HK_SHARED names the folder)\n", path);
        return;
    }
    while (fgets(line, sizeof line, f) != NULL) {
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        judge(row, &s);
        json_decref(row);
    }
    fclose(f);
    print_message("    %u replies: class %u, disposition %u, falsely suppressed %u, suppression missed %u\n",
                  s.rows, s.class_right, s.disposition_right, s.false_suppress, s.missed_suppress);
    assert_true(s.rows > 100);
    assert_true(s.class_right * 100 >= s.rows * 90);
    assert_true(s.disposition_right * 100 >= s.rows * 93);
    assert_int_equal(s.false_suppress, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_user_at_rcpt_is_suppressed),
        cmocka_unit_test(the_same_words_after_the_dot_are_no_unknown_user),
        cmocka_unit_test(before_rcpt_no_word_is_about_the_recipient),
        cmocka_unit_test(a_temporary_refusal_never_suppresses),
        cmocka_unit_test(what_is_about_us_blocks_and_never_counts),
        cmocka_unit_test(a_brake_is_a_brake_even_in_a_permanent_reply),
        cmocka_unit_test(full_boxes_count_and_dead_ones_are_suppressed),
        cmocka_unit_test(their_trouble_and_the_network_count_mildly),
        cmocka_unit_test(numbers_and_names_inside_a_text_are_no_codes),
        cmocka_unit_test(a_quoted_number_of_two_digits_is_no_enhanced_code),
        cmocka_unit_test(names_of_hosts_in_our_own_words_mean_nothing),
        cmocka_unit_test(words_far_apart_do_not_belong_together),
        cmocka_unit_test(success_is_delivered),
        cmocka_unit_test(long_and_odd_texts_are_judged_by_their_beginning),
        cmocka_unit_test(names_are_those_of_the_documents),
        cmocka_unit_test(real_replies_are_judged_as_people_judged_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
