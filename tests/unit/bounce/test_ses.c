/* What Amazon SES tells is read into the same bounces as mails that came back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/ses.h"

struct found {
    struct bounce bounce[SES_RECIPIENTS_MAX];
    size_t count;
};

static void keep(void *context, const struct bounce *bounce)
{
    struct found *found = context;

    assert_true(found->count < SES_RECIPIENTS_MAX);
    found->bounce[found->count++] = *bounce;
}

#define MAIL                                                                                              \
    "\"mail\":{\"messageId\":\"0102-id\",\"source\":\"b-src@bounce.test\",\"destination\":[\"x@a.test\"," \
    "\"innocent@a.test\"],\"tags\":{\"ses:operation\":[\"SendSmtpEmail\"],\"hikyaku\":[\"b-tag\"]}}"

static int read_text(const char *text, struct ses_notice *notice, struct found *found)
{
    found->count = 0;
    return ses_read(text, strlen(text), notice, keep, found, NULL);
}

/* A bounce with these members, and one recipient with those. */
static struct bounce bounce_of(const char *members, const char *recipient)
{
    char text[4096];
    struct ses_notice notice;
    struct found found;

    (void)snprintf(text, sizeof text,
                   "{\"eventType\":\"Bounce\"," MAIL
                   ",\"bounce\":{%s,\"feedbackId\":\"f-1\",\"bouncedRecipients\":["
                   "{\"emailAddress\":\"Taro <taro@a.test>\"%s}]}}",
                   members, recipient);
    assert_int_equal(read_text(text, &notice, &found), 0);
    assert_int_equal(notice.event, SES_BOUNCE);
    assert_string_equal(notice.feedback_id, "f-1");
    assert_int_equal(found.count, 1);
    assert_string_equal(found.bounce[0].recipient, "taro@a.test");
    return found.bounce[0];
}

static void both_formats_say_the_same(void **state)
{
    static const char rest[] =
        "," MAIL ",\"bounce\":{\"bounceType\":\"Permanent\",\"bounceSubType\":\"General\","
        "\"bouncedRecipients\":[{\"emailAddress\":\"x@a.test\",\"action\":\"failed\","
        "\"status\":\"5.1.1\",\"diagnosticCode\":\"smtp; 550 5.1.1 user unknown\"}]}}";
    char text[2][2048];
    struct found found[2];
    struct ses_notice notice[2];

    (void)state;
    (void)snprintf(text[0], sizeof text[0], "{\"notificationType\":\"Bounce\"%s", rest);
    (void)snprintf(text[1], sizeof text[1], "{\"eventType\":\"Bounce\"%s", rest);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(read_text(text[i], &notice[i], &found[i]), 0);
        assert_int_equal(found[i].count, 1);
        assert_int_equal(found[i].bounce[0].verdict.reply_class, CLASS_MAILBOX_UNKNOWN);
        assert_int_equal(found[i].bounce[0].verdict.disposition, DISPOSITION_SUPPRESS);
        assert_int_equal(found[i].bounce[0].code, 550);
        assert_string_equal(found[i].bounce[0].status, "5.1.1");
        assert_string_equal(found[i].bounce[0].reason, "smtp; 550 5.1.1 user unknown");
        assert_string_equal(notice[i].message_id, "0102-id");
        assert_string_equal(notice[i].tag, "b-tag");
        assert_string_equal(notice[i].source, "b-src@bounce.test");
    }
}

static void the_words_of_the_receiver_count_before_the_type_of_ses(void **state)
{
#define SAYS(text) ",\"diagnosticCode\":\"" text "\""
    static const struct {
        const char *members, *recipient;
        enum reply_class reply_class;
        enum disposition disposition;
    } cases[] = {
        /* The words. */
        {"\"bounceType\":\"Permanent\",\"bounceSubType\":\"General\"",
         SAYS("smtp; 554 5.7.1 Service unavailable; Client host [1.2.3.4] blocked using Spamhaus"),
         CLASS_SENDER_BLOCKED, DISPOSITION_BLOCK},
        {"\"bounceType\":\"Permanent\",\"bounceSubType\":\"General\"", SAYS("smtp; 552 5.2.2 mailbox full"),
         CLASS_MAILBOX_FULL, DISPOSITION_COUNT},
        {"\"bounceType\":\"Undetermined\",\"bounceSubType\":\"Undetermined\"",
         SAYS("smtp; 550 5.1.1 user unknown"), CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
        /* SES still tries it, or knows it to be temporary: nobody is suppressed. */
        {"\"bounceType\":\"Transient\",\"bounceSubType\":\"General\"", SAYS("smtp; 550 5.1.1 user unknown"),
         CLASS_MAILBOX_UNKNOWN, DISPOSITION_COUNT},
        /* But a domain that does not exist is gone, whatever SES calls that. */
        {"\"bounceType\":\"Transient\",\"bounceSubType\":\"General\"",
         ",\"status\":\"5.4.4\"" SAYS("smtp; 550 5.4.4 Invalid domain"), CLASS_DOMAIN_INVALID,
         DISPOSITION_SUPPRESS},
        /* No words: the type. */
        {"\"bounceType\":\"Permanent\",\"bounceSubType\":\"NoEmail\"", "", CLASS_MAILBOX_UNKNOWN,
         DISPOSITION_SUPPRESS},
        {"\"bounceType\":\"Permanent\",\"bounceSubType\":\"SomethingNew\"", "", CLASS_MAILBOX_UNKNOWN,
         DISPOSITION_SUPPRESS},
        {"\"bounceType\":\"Transient\",\"bounceSubType\":\"MailboxFull\"", "", CLASS_MAILBOX_FULL,
         DISPOSITION_COUNT},
        {"\"bounceType\":\"Transient\",\"bounceSubType\":\"MessageTooLarge\"", "", CLASS_TOO_LARGE,
         DISPOSITION_BLOCK},
        {"\"bounceType\":\"Transient\",\"bounceSubType\":\"ContentRejected\"", "", CLASS_CONTENT_POLICY,
         DISPOSITION_BLOCK},
        {"\"bounceType\":\"Undetermined\",\"bounceSubType\":\"Undetermined\"", "", CLASS_UNKNOWN,
         DISPOSITION_COUNT},
        {"\"bounceType\":\"New\"", "", CLASS_UNKNOWN, DISPOSITION_COUNT},
        /* Its own suppression lists. */
        {"\"bounceType\":\"Permanent\",\"bounceSubType\":\"OnAccountSuppressionList\"",
         ",\"status\":\"5.1.1\"" SAYS("Amazon SES did not send the message to this address"),
         CLASS_PROVIDER_SUPPRESSED, DISPOSITION_SUPPRESS},
        {"\"bounceType\":\"Permanent\",\"bounceSubType\":\"UnsubscribedRecipient\"", "",
         CLASS_PROVIDER_SUPPRESSED, DISPOSITION_SUPPRESS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bounce b = bounce_of(cases[i].members, cases[i].recipient);
        if (b.kind != KIND_BOUNCE || b.verdict.reply_class != cases[i].reply_class ||
            b.verdict.disposition != cases[i].disposition)
            fail_msg("%s%s: %s, %s", cases[i].members, cases[i].recipient,
                     reply_class_name(b.verdict.reply_class), disposition_name(b.verdict.disposition));
    }
}

static void an_automatic_reply_is_no_bounce(void **state)
{
    struct bounce b = bounce_of("\"bounceType\":\"Transient\",\"bounceSubType\":\"General\"", "");

    (void)state;
    assert_int_equal(b.kind, KIND_AUTOREPLY);
    assert_int_equal(b.verdict.disposition, DISPOSITION_NONE);
}

static struct bounce complaint_of(const char *members)
{
    char text[2048];
    struct ses_notice notice;
    struct found found;

    (void)snprintf(
        text, sizeof text,
        "{\"notificationType\":\"Complaint\"," MAIL ",\"complaint\":{%s\"feedbackId\":\"f-2\","
        "\"complainedRecipients\":[{\"emailAddress\":\"x@a.test\"},{\"emailAddress\":\"y@a.test\"}]}}",
        members);
    assert_int_equal(read_text(text, &notice, &found), 0);
    assert_int_equal(notice.event, SES_COMPLAINT);
    assert_int_equal(found.count, 2);
    assert_string_equal(found.bounce[1].recipient, "y@a.test");
    return found.bounce[0];
}

static void complaints_suppress_unless_they_are_none(void **state)
{
    static const struct {
        const char *members;
        enum disposition disposition;
    } cases[] = {
        {"", DISPOSITION_SUPPRESS},
        {"\"complaintFeedbackType\":null,", DISPOSITION_SUPPRESS},
        {"\"complaintFeedbackType\":\"abuse\",", DISPOSITION_SUPPRESS},
        {"\"complaintFeedbackType\":\"fraud\",", DISPOSITION_SUPPRESS},
        {"\"complaintFeedbackType\":\"not-spam\",", DISPOSITION_NONE},
        {"\"complaintFeedbackType\":\"auth-failure\",", DISPOSITION_NONE},
        {"\"complaintSubType\":\"OnAccountSuppressionList\",", DISPOSITION_SUPPRESS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bounce b = complaint_of(cases[i].members);
        assert_int_equal(b.kind, KIND_FEEDBACK);
        assert_int_equal(b.verdict.disposition, cases[i].disposition);
    }
}

static void the_other_events_have_a_meaning_each(void **state)
{
    struct ses_notice notice;
    struct found found;

    (void)state;
    assert_int_equal(read_text("{\"eventType\":\"Delivery\"," MAIL
                               ",\"delivery\":{\"recipients\":[\"x@a.test\"],"
                               "\"smtpResponse\":\"250 ok\"}}",
                               &notice, &found),
                     0);
    assert_int_equal(found.bounce[0].kind, KIND_DELIVERED);
    assert_string_equal(found.bounce[0].recipient, "x@a.test");
    assert_int_equal(read_text("{\"eventType\":\"Reject\"," MAIL ",\"reject\":{\"reason\":\"Bad content\"}}",
                               &notice, &found),
                     0);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.bounce[0].verdict.disposition, DISPOSITION_BLOCK);
    assert_string_equal(found.bounce[0].recipient, "");
    assert_int_equal(
        read_text(
            "{\"eventType\":\"DeliveryDelay\"," MAIL ",\"deliveryDelay\":{\"delayType\":\"MailboxFull\","
            "\"delayedRecipients\":[{\"emailAddress\":\"x@a.test\",\"status\":\"4.2.2\",\"diagnosticCode\":"
            "\"smtp; 550 5.1.1 user unknown\"}]}}",
            &notice, &found),
        0);
    assert_int_equal(found.bounce[0].kind, KIND_DELAY);
    assert_int_equal(found.bounce[0].verdict.disposition, DISPOSITION_NONE);
    for (const char *const *event = (const char *const[]){"Send", "Open", "Click", "Rendering Failure",
                                                          "Subscription", "Unheard", NULL};
         *event != NULL; event++) {
        char text[256];
        (void)snprintf(text, sizeof text, "{\"eventType\":\"%s\",\"mail\":{}}", *event);
        assert_int_equal(read_text(text, &notice, &found), 0);
        assert_int_equal(notice.event, SES_NOTHING);
        assert_int_equal(found.count, 0);
    }
    assert_int_equal(
        read_text("Successfully validated SNS topic for Amazon SES event publishing.", &notice, &found), 0);
    assert_int_equal(read_text("{\"notificationType\":\"AmazonSnsSubscriptionSucceeded\",\"message\":\"x\"}",
                               &notice, &found),
                     0);
    assert_int_equal(notice.event, SES_NOTHING);
}

static void what_is_no_notice_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "hello",
        "[]",
        "{}",
        "{\"eventType\":7}",
        "{\"eventType\":\"Bounce\"}",
        "{\"eventType\":\"Bounce\",\"mail\":[],\"bounce\":{\"bouncedRecipients\":[]}}",
        "{\"eventType\":\"Bounce\",\"mail\":{},\"bounce\":{\"bouncedRecipients\":{}}}",
        "{\"eventType\":\"Bounce\",\"mail\":{},\"mail\":{},\"bounce\":{\"bouncedRecipients\":[]}}",
        "{\"eventType\":\"Complaint\",\"mail\":{},\"complaint\":7}",
    };
    struct ses_notice notice;
    struct found found;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (read_text(bad[i], &notice, &found) != HK_EINVAL)
            fail_msg("taken: %s", bad[i]);
    /* A recipient that is none names nobody, and a token that is too long is none of ours. */
    assert_int_equal(
        read_text("{\"eventType\":\"Bounce\",\"mail\":{\"tags\":{\"hikyaku\":\"b-aaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}},\"bounce\":{\"bouncedRecipients\":"
                  "[7,{\"emailAddress\":\"nobody\"}]}}",
                  &notice, &found),
        0);
    assert_int_equal(found.count, 2);
    assert_string_equal(found.bounce[0].recipient, "");
    assert_string_equal(found.bounce[1].recipient, "");
    assert_string_equal(notice.tag, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_formats_say_the_same),
        cmocka_unit_test(the_words_of_the_receiver_count_before_the_type_of_ses),
        cmocka_unit_test(an_automatic_reply_is_no_bounce),
        cmocka_unit_test(complaints_suppress_unless_they_are_none),
        cmocka_unit_test(the_other_events_have_a_meaning_each),
        cmocka_unit_test(what_is_no_notice_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
