/* ses.c - see ses.h (docs.aws.amazon.com/ses: contents of notifications, and of event data that SES publishes). */
#include "hikyaku/ses.h"

#include <string.h>
#include <strings.h>

#include "json_text.h"
#include "mention.h"
#include "saying.h"

struct reading {
    const json_t *json, *part; /* the notice, and its member "bounce", "complaint", ... */
    struct ses_notice *out;
    bounce_found *found;
    void *context;
};

static void put(char *out, size_t size, const char *text)
{
    if (text != NULL && strlen(text) < size)
        (void)hk_clean_text(out, size, text, strlen(text));
}

static void put_words(char *out, size_t size, const char *text)
{
    out[0] = '\0';
    if (text != NULL)
        (void)hk_clean_text(out, size, text, strlen(text));
}

static bool is(const char *text, const char *word)
{
    return text != NULL && strcasecmp(text, word) == 0;
}

/* An address as SES writes it: it may have a display name in front, which may look like another one. */
static void put_recipient(struct bounce *b, const char *text)
{
    struct slice whole = {text, text != NULL ? strlen(text) : 0}, address = {NULL, 0}, one;
    bool tight = false;

    for (size_t at = 0; at < whole.length && !tight; at++)
        if (whole.at[at] == '@' && mention_at(whole, at, &one, &tight) && (address.at == NULL || tight))
            address = one;
    if (address.at == NULL || address.length > ADDRESS_MAX)
        return;
    memcpy(b->recipient, address.at, address.length);
    b->recipient[address.length] = '\0';
}

/* ---- a bounce ---- */

/* What SES calls it, where the receiver's words do not say. Subtypes that are not known count as their type. */
static const struct opinion {
    const char *type, *subtype;
    enum reply_class reply_class;
    enum disposition disposition;
} opinions[] = {
    {"Permanent", "Suppressed", CLASS_PROVIDER_SUPPRESSED, DISPOSITION_SUPPRESS},
    {"Permanent", "OnAccountSuppressionList", CLASS_PROVIDER_SUPPRESSED, DISPOSITION_SUPPRESS},
    {"Permanent", "UnsubscribedRecipient", CLASS_PROVIDER_SUPPRESSED, DISPOSITION_SUPPRESS},
    {"Permanent", NULL, CLASS_MAILBOX_UNKNOWN, DISPOSITION_SUPPRESS},
    {"Transient", "MailboxFull", CLASS_MAILBOX_FULL, DISPOSITION_COUNT},
    {"Transient", "MessageTooLarge", CLASS_TOO_LARGE, DISPOSITION_BLOCK},
    {"Transient", "ContentRejected", CLASS_CONTENT_POLICY, DISPOSITION_BLOCK},
    {"Transient", "AttachmentRejected", CLASS_CONTENT_POLICY, DISPOSITION_BLOCK},
    {"Transient", NULL, CLASS_UNKNOWN, DISPOSITION_COUNT},
    {NULL, NULL, CLASS_UNKNOWN, DISPOSITION_COUNT},
};

static const struct opinion *opinion_of(const char *type, const char *subtype)
{
    const struct opinion *row = opinions;

    while (row->type != NULL && !(is(type, row->type) && (row->subtype == NULL || is(subtype, row->subtype))))
        row++;
    return row;
}

/* Ours where the words or the status tell something. SES knows what was the end of it: what it will try again, or called
 * temporary, suppresses nobody, but for a domain that is not there: of some dead ones it says "Transient". */
static struct verdict weigh(struct verdict ours, bool said, const struct opinion *ses)
{
    struct verdict v = ours;

    if (ses->reply_class == CLASS_PROVIDER_SUPPRESSED || !said)
        return (struct verdict){.reply_class = ses->reply_class, .disposition = ses->disposition};
    if (ses->type != NULL && is(ses->type, "Transient") && v.disposition == DISPOSITION_SUPPRESS &&
        v.reply_class != CLASS_DOMAIN_INVALID)
        v.disposition = DISPOSITION_COUNT;
    return v;
}

static void put_status(struct bounce *b, const uint16_t status[3])
{
    if (status[0] != 0)
        (void)snprintf(b->status, sizeof b->status, "%u.%u.%u", status[0], status[1], status[2]);
}

/* An automatic reply comes as "Transient", "General", without a word: nothing follows from that. */
static bool is_autoreply(const struct reading *r, const char *diagnostic, const char *status)
{
    return diagnostic == NULL && (status == NULL || status[0] == '\0') &&
           is(json_text_at(r->part, "bounceType"), "Transient") &&
           (json_object_get(r->part, "bounceSubType") == NULL ||
            is(json_text_at(r->part, "bounceSubType"), "General"));
}

static void read_bounced(const struct reading *r, const json_t *recipient, struct bounce *b)
{
    const char *diagnostic = json_text_at(recipient, "diagnosticCode"),
               *status_text = json_text_at(recipient, "status");
    const char *type = json_text_at(r->part, "bounceType"), *subtype = json_text_at(r->part, "bounceSubType");
    uint16_t status[3] = {0};
    struct saying saying;

    if (is_autoreply(r, diagnostic, status_text)) {
        b->kind = KIND_AUTOREPLY;
        b->verdict.reply_class = CLASS_AUTOREPLY;
        return;
    }
    if (status_text != NULL)
        (void)saying_status((struct slice){status_text, strlen(status_text)}, status);
    saying_read(
        (struct slice){diagnostic != NULL ? diagnostic : "", diagnostic != NULL ? strlen(diagnostic) : 0},
        &saying);
    if (saying.status[0] == 0 && (saying.code == 0 || saying.code / 100 == status[0]))
        memcpy(saying.status, status, sizeof status);
    b->verdict = saying_judge(&saying, LOG_PHASES, is(type, "Transient"));
    b->verdict = weigh(b->verdict, saying.length > 0 || saying.status[0] != 0, opinion_of(type, subtype));
    b->code = saying.code;
    put_status(b, saying.status);
    put_words(b->reason, sizeof b->reason, diagnostic != NULL ? diagnostic : subtype);
}

/* ---- a complaint ---- */

static void read_complaint(const struct reading *r, struct bounce *b)
{
    const char *type = json_text_at(r->part, "complaintFeedbackType"),
               *subtype = json_text_at(r->part, "complaintSubType");

    b->kind = KIND_FEEDBACK;
    b->verdict.reply_class = CLASS_COMPLAINT;
    b->verdict.disposition = DISPOSITION_SUPPRESS;
    if (is(subtype, "OnAccountSuppressionList"))
        b->verdict.reply_class = CLASS_PROVIDER_SUPPRESSED;
    else if (is(type, "auth-failure") || is(type, "not-spam") || is(type, "dmarc"))
        b->verdict.disposition = DISPOSITION_NONE;
    put_words(b->reason, sizeof b->reason, type != NULL ? type : subtype != NULL ? subtype : "complaint");
}

/* ---- the others ---- */

static void read_delivery(const struct reading *r, struct bounce *b)
{
    b->kind = KIND_DELIVERED;
    b->verdict.reply_class = CLASS_DELIVERED;
    put_words(b->reason, sizeof b->reason, json_text_at(r->part, "smtpResponse"));
}

static void read_delay(const struct reading *r, const json_t *recipient, struct bounce *b)
{
    const char *diagnostic = json_text_at(recipient, "diagnosticCode");
    struct saying saying;

    if (diagnostic == NULL)
        diagnostic = "";
    saying_read((struct slice){diagnostic, strlen(diagnostic)}, &saying);
    b->kind = KIND_DELAY;
    b->verdict = saying_judge(&saying, LOG_PHASES, true);
    b->verdict.disposition = DISPOSITION_NONE;
    b->code = saying.code;
    put_status(b, saying.status);
    put_words(b->reason, sizeof b->reason,
              diagnostic[0] != '\0' ? diagnostic : json_text_at(r->part, "delayType"));
}

static void read_one(const struct reading *r, const json_t *recipient)
{
    struct bounce b = {.kind = KIND_BOUNCE};

    /* Delivery has bare addresses, the others objects. */
    put_recipient(&b, json_is_string(recipient) ? json_string_value(recipient)
                                                : json_text_at(recipient, "emailAddress"));
    switch (r->out->event) {
    case SES_BOUNCE:
        read_bounced(r, recipient, &b);
        break;
    case SES_COMPLAINT:
        read_complaint(r, &b);
        break;
    case SES_DELIVERY:
        read_delivery(r, &b);
        break;
    case SES_DELAY:
        read_delay(r, recipient, &b);
        break;
    case SES_REJECT:
        b.verdict.reply_class = CLASS_CONTENT_POLICY;
        b.verdict.disposition = DISPOSITION_BLOCK;
        put_words(b.reason, sizeof b.reason, json_text_at(r->part, "reason"));
        break;
    case SES_NOTHING:
        return;
    }
    r->found(r->context, &b);
}

/* ---- together ---- */

static const struct event {
    enum ses_event event;
    const char *name, *part, *recipients;
} events[] = {
    {SES_BOUNCE, "Bounce", "bounce", "bouncedRecipients"},
    {SES_COMPLAINT, "Complaint", "complaint", "complainedRecipients"},
    {SES_DELIVERY, "Delivery", "delivery", "recipients"},
    {SES_REJECT, "Reject", "reject", NULL},
    {SES_DELAY, "DeliveryDelay", "deliveryDelay", "delayedRecipients"},
};

/* mail.tags is {"hikyaku": ["b-..."]}; our own envelope sender stands in mail.source. */
static void read_mail(const json_t *mail, struct ses_notice *out)
{
    const json_t *tag = json_object_get(json_object_get(mail, "tags"), "hikyaku");

    put(out->message_id, sizeof out->message_id, json_text_at(mail, "messageId"));
    put(out->source, sizeof out->source, json_text_at(mail, "source"));
    put(out->tag, sizeof out->tag, json_string_value(json_is_array(tag) ? json_array_get(tag, 0) : tag));
}

static int read_event(struct reading *r, const struct event *event, struct hk_why *why)
{
    const json_t *mail = json_object_get(r->json, "mail"), *recipients;

    r->part = json_object_get(r->json, event->part);
    if (!json_is_object(mail) || !json_is_object(r->part))
        return why_set(why, HK_EINVAL, "a notice of SES (%s) without \"mail\" or \"%s\"", event->name,
                       event->part);
    recipients = event->recipients != NULL ? json_object_get(r->part, event->recipients) : NULL;
    if (event->recipients != NULL && !json_is_array(recipients))
        return why_set(why, HK_EINVAL, "a notice of SES (%s) without \"%s\"", event->name, event->recipients);
    r->out->event = event->event;
    read_mail(mail, r->out);
    put(r->out->feedback_id, sizeof r->out->feedback_id, json_text_at(r->part, "feedbackId"));
    if (event->recipients == NULL)
        read_one(r, NULL);
    for (size_t i = 0; i < json_array_size(recipients) && i < SES_RECIPIENTS_MAX; i++)
        read_one(r, json_array_get(recipients, i));
    return 0;
}

static int read_notice(struct reading *r, struct hk_why *why)
{
    const char *type = json_text_at(r->json, "notificationType");

    if (type == NULL)
        type = json_text_at(r->json, "eventType");
    if (type == NULL)
        return why_set(why, HK_EINVAL, "no notice of SES: neither \"notificationType\" nor \"eventType\"");
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (strcmp(type, events[i].name) == 0)
            return read_event(r, &events[i], why);
    return 0; /* Send, Open, Click, Rendering Failure, Subscription, and what may come yet */
}

int ses_read(const char *text, size_t length, struct ses_notice *out, bounce_found *found, void *context,
             struct hk_why *why)
{
    /* What SES publishes when a topic is chosen, which is no JSON. */
    static const char hello[] = "Successfully validated SNS topic";
    struct reading r = {.out = out, .found = found, .context = context};
    json_t *json;
    int error = 0;

    memset(out, 0, sizeof *out);
    if (length >= sizeof hello - 1 && memcmp(text, hello, sizeof hello - 1) == 0)
        return 0;
    json = json_text_read(text, length, SES_BODY_MAX, SES_DEPTH_MAX, &error, why);
    if (json == NULL)
        return error;
    r.json = json;
    error = read_notice(&r, why);
    json_decref(json);
    return error;
}
