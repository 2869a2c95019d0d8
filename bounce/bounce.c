/* bounce.c - what a mail that came back says (hikyaku/bounce.h): the parts put together.
 *
 * In this order: a feedback report; a disposition notification, which is no bounce; a delivery report, or one that somebody
 * put into the text; what Amazon SES sends through SNS as mail; a notice for people; an automatic reply. A notice has to be
 * sent by a mail system, say that something failed and name somebody: a person who writes about a bounce does not.
 *
 * Why a recipient did not get it is said at several places. The first of them whose words explain it decides: the field
 * Diagnostic-Code, the paragraph about him, all that is said about him, the whole notice.
 */
#include "hikyaku/bounce.h"

#include <ctype.h>

#include "decode.h"
#include "mime.h"
#include "notice.h"
#include "report.h"
#include "saying.h"

#define PART_MAX      (12u << 20) /* of a delivery report: thousands of recipients */
#define SECTION_MAX   4096u       /* of what is said about one recipient */
#define SHARED_BY_MAX 8u          /* recipients that the whole notice may explain */
#define TEXT_PARTS    8u          /* texts of a mail that are put together */
#define SEEN_KEPT     4096u       /* a larger table is not kept for the next mail */
#define WRAPS_MAX     2u          /* a bounce around a bounce around a bounce */

#define SUBJECT_SHIFT    15u
#define SUBJECT(meaning) ((uint32_t)(meaning) << SUBJECT_SHIFT) /* in bounce_reader.says */
#define WORDS_READ       (1u << 31)

struct bounce_reader {
    struct decoder decoder;
    struct mime_mail mime;
    struct notice notice;
    struct folded folded;
    struct text text;     /* the notice in UTF-8 */
    struct text unquoted; /* the same without '>' */
    struct text report;   /* the delivery report, decoded */
    struct text header;   /* the header of the returned message, decoded */
    struct text subject, from;

    struct mail_fields original; /* of the returned message */
    struct saying saying[5];
    struct bounce bounce;
    bounce_found *found;
    void *context;
    uint32_t told;
    uint32_t says; /* what subject and notice say: enum phrase_meaning */
    bool by_daemon, null_sender, is_reply, is_forwarded;
    uint64_t *seen; /* hashes of recipients that were told: a power of two, 0 is free */
    size_t seen_room;
};

const char *bounce_kind_name(enum bounce_kind kind)
{
    static const char *const names[] = {
#define BOUNCE_KIND_NAME(name, words) words,
        BOUNCE_KINDS(BOUNCE_KIND_NAME)
#undef BOUNCE_KIND_NAME
    };

    return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "";
}

struct bounce_reader *bounce_reader_new(void)
{
    struct bounce_reader *r = calloc(1, sizeof *r);

    if (r == NULL)
        return NULL;
    decoder_init(&r->decoder);
    r->notice.folded = &r->folded;
    r->text.max = r->unquoted.max = NOTICE_TEXT_MAX;
    r->report.max = PART_MAX;
    r->header.max = 64u << 10;
    r->subject.max = r->from.max = 8u << 10;
    return r;
}

void bounce_reader_free(struct bounce_reader *r)
{
    if (r == NULL)
        return;
    decoder_free(&r->decoder);
    notice_free(&r->notice);
    text_free(&r->text);
    text_free(&r->unquoted);
    text_free(&r->report);
    text_free(&r->header);
    text_free(&r->subject);
    text_free(&r->from);
    free(r->seen);
    free(r);
}

static void text_empty(struct text *text)
{
    text->length = 0;
    text->cut = false;
}

/* --- telling --- */

static bool seen_grow(struct bounce_reader *r)
{
    size_t room = r->seen_room == 0 ? 64 : r->seen_room * 4;
    uint64_t *seen = calloc(room, sizeof *seen);

    if (seen == NULL)
        return false;
    for (size_t i = 0; i < r->seen_room; i++) {
        size_t at = (size_t)r->seen[i] & (room - 1);
        if (r->seen[i] == 0)
            continue;
        while (seen[at] != 0)
            at = (at + 1) & (room - 1);
        seen[at] = r->seen[i];
    }
    free(r->seen);
    r->seen = seen;
    r->seen_room = room;
    return true;
}

/* Is it the first time that this recipient is told of? */
static bool is_new(struct bounce_reader *r, const char *recipient)
{
    uint64_t hash = mention_hash((struct slice){recipient, strlen(recipient)});
    size_t at;

    if (r->told * 2 >= r->seen_room && !seen_grow(r)) {
        r->text.failed = true;
        return false;
    }
    at = (size_t)hash & (r->seen_room - 1);
    while (r->seen[at] != 0 && r->seen[at] != hash)
        at = (at + 1) & (r->seen_room - 1);
    if (r->seen[at] == hash)
        return false;
    r->seen[at] = hash;
    return true;
}

static void tell(struct bounce_reader *r)
{
    if (r->told >= BOUNCES_MAX || !is_new(r, r->bounce.recipient))
        return;
    r->told++;
    r->found(r->context, &r->bounce);
}

static void set_recipient(struct bounce_reader *r, struct slice address)
{
    size_t length = address.length < ADDRESS_MAX ? address.length : ADDRESS_MAX;

    memcpy(r->bounce.recipient, address.at, length);
    r->bounce.recipient[length] = '\0';
}

static void tell_fixed(struct bounce_reader *r, enum bounce_kind kind, enum reply_class class,
                       enum disposition disposition)
{
    r->bounce.kind = kind;
    r->bounce.verdict = (struct verdict){.reply_class = class, .disposition = disposition};
    tell(r);
}

/* --- what the mail is made of --- */

static bool is_attached_header(const struct mime_part *part)
{
    struct slice line, name, value;
    const char *at = part->body.at;

    return part->attachment && part->encoding == MIME_IDENTITY &&
           line_next(&at, slice_end(part->body), &line) && field_split(line, &name, &value);
}

static bool is_returned(const struct mime_part *part)
{
    return part->kind == MIME_MESSAGE || part->kind == MIME_HEADERS || is_attached_header(part);
}

static void read_original(struct bounce_reader *r)
{
    text_empty(&r->header);
    memset(&r->original, 0, sizeof r->original);
    for (uint32_t i = 0; i < r->mime.parts; i++) {
        struct mime_part part = r->mime.part[i];
        if (!is_returned(&part))
            continue;
        if (part.body.length > r->header.max)
            part.body.length = r->header.max;
        decode_transfer(part.encoding, part.body, &r->header);
        mime_fields(text_slice(&r->header), &r->original);
        return;
    }
}

/* The texts that come before the returned message. HTML only where there is no plain text, or none that names anybody. */
static void read_text(struct bounce_reader *r, bool html)
{
    unsigned taken = 0;

    text_empty(&r->text);
    for (uint32_t i = 0; i < r->mime.parts && taken < TEXT_PARTS; i++) {
        const struct mime_part *part = &r->mime.part[i];
        if (is_returned(part))
            break;
        if (part->kind != (html ? MIME_HTML : MIME_TEXT) || part->body.length == 0)
            continue;
        decode_part(&r->decoder, part, NOTICE_TEXT_MAX, &r->text);
        text_byte(&r->text, '\n');
        text_byte(&r->text, '\n');
        taken++;
    }
}

static bool first_address(struct slice list, struct slice *address);

static void read_notice(struct bounce_reader *r)
{
    const struct slice nobody = {"", 0};

    if (!first_address(r->mime.fields.to, &r->notice.own[0]))
        r->notice.own[0] = nobody;
    if (!first_address(r->mime.fields.from, &r->notice.own[1]))
        r->notice.own[1] = nobody;
    text_empty(&r->unquoted);
    if (notice_unquote(text_slice(&r->text), &r->unquoted))
        notice_read(&r->notice, text_slice(&r->unquoted));
    else
        notice_read(&r->notice, text_slice(&r->text));
}

static void read_texts(struct bounce_reader *r)
{
    read_text(r, false);
    read_notice(r);
    if (r->notice.addresses > 0)
        return;
    for (uint32_t i = 0; i < r->mime.parts; i++) {
        if (r->mime.part[i].kind != MIME_HTML)
            continue;
        read_text(r, true);
        read_notice(r);
        return;
    }
}

static bool is_null_path(struct slice path)
{
    return path.at != NULL && (slice_is(path, "<>") || path.length == 0);
}

/* Who writes, and what about. */
static void read_envelope(struct bounce_reader *r)
{
    const struct mail_fields *f = &r->mime.fields;
    struct slice subject;

    text_empty(&r->subject);
    text_empty(&r->from);
    decode_words(&r->decoder, f->subject, &r->subject);
    decode_words(&r->decoder, f->from, &r->from);
    r->by_daemon = phrases_in(&r->folded, text_slice(&r->from), SAYS_DAEMON) != 0;
    r->null_sender = is_null_path(f->return_path) || slice_has(text_slice(&r->from), "<>") ||
                     slice_has(f->return_path, "mailer-daemon");
    subject = slice_trim(text_slice(&r->subject));
    r->is_reply =
        slice_begins(subject, "re:") || slice_begins(subject, "aw:") || slice_begins(subject, "sv:");
    r->is_forwarded =
        slice_begins(subject, "fwd:") || slice_begins(subject, "fw:") || slice_begins(subject, "wg:");
    r->says = 0;
}

/* What subject and notice say. A report that is complete needs none of it. */
static void read_words(struct bounce_reader *r)
{
    r->says = phrases_in(&r->folded, text_slice(&r->subject), SAYS_FAILED | SAYS_DELAYED | SAYS_AWAY)
              << SUBJECT_SHIFT;
    r->says |= phrases_in(&r->folded, r->notice.said, SAYS_FAILED | SAYS_DELAYED | SAYS_GIVEN_UP);
    r->says |= WORDS_READ;
}

/* --- why --- */

static void put_status(struct bounce *b, const uint16_t status[3])
{
    snprintf(b->status, sizeof b->status, "%u.%u.%u", status[0], status[1], status[2]);
}

/* Of several texts the first whose words explain it; else the first with a code. */
static void judge(struct bounce_reader *r, unsigned count, enum log_phase phase,
                  const uint16_t field_status[3])
{
    struct bounce *b = &r->bounce;
    bool temporary = field_status[0] == 4 || b->kind == KIND_DELAY;
    unsigned chosen = 0;
    bool explained = false, first = true;

    for (unsigned i = 0; i < count; i++) {
        struct saying *s = &r->saying[i];
        if (s->status[0] == 0 && field_status[0] != 0 && (s->code == 0 || s->code / 100 == field_status[0]))
            memcpy(s->status, field_status, sizeof s->status);
    }
    /* Those with a reply first: what is said around a reply is not what the server said. */
    for (unsigned round = 0; round < 2 && !explained; round++)
        for (unsigned i = 0; i < count && !explained; i++) {
            bool is_reply = r->saying[i].code != 0;
            if (is_reply != (round == 0))
                continue;
            struct verdict v = saying_judge(&r->saying[i], phase, temporary);
            if (first || v.by_text) {
                b->verdict = v;
                chosen = i;
            }
            first = false;
            explained = v.by_text;
        }
    b->code = r->saying[chosen].code;
    if (r->saying[chosen].status[0] != 0)
        put_status(b, r->saying[chosen].status);
    else if (field_status[0] != 0)
        put_status(b, field_status);
    else
        b->status[0] = '\0';
    (void)hk_clean_text(b->reason, sizeof b->reason, r->saying[chosen].text, r->saying[chosen].length);
}

/* A refusal that nothing explains is no reason to give anybody up; nor is what is still being tried. */
static void settle(struct bounce_reader *r, bool is_told)
{
    struct bounce *b = &r->bounce;

    if (!is_told && b->verdict.reply_class != CLASS_NETWORK)
        b->verdict = (struct verdict){.reply_class = CLASS_UNKNOWN, .disposition = DISPOSITION_COUNT};
    if (b->kind == KIND_DELAY)
        b->verdict.disposition = DISPOSITION_NONE;
    if (b->kind == KIND_DELIVERED)
        b->verdict = (struct verdict){.reply_class = CLASS_DELIVERED, .disposition = DISPOSITION_NONE};
}

/* What is said near an address, where it is long its beginning, or of a conversation its end. */
static struct slice beginning(struct slice s)
{
    return (struct slice){s.at, s.length < SECTION_MAX ? s.length : SECTION_MAX};
}

static struct slice ending(struct slice s)
{
    return s.length < SECTION_MAX ? s : (struct slice){slice_end(s) - SECTION_MAX, SECTION_MAX};
}

/* Has one of them a code, or a status that says more than "permanent"? */
static bool is_coded(const struct bounce_reader *r, unsigned count, const uint16_t status[3])
{
    bool coded = status[0] != 0 && (status[1] != 0 || status[2] != 0);

    for (unsigned i = 0; i < count; i++)
        coded |= r->saying[i].code != 0 || (r->saying[i].status[0] != 0 && r->saying[i].status[2] != 0);
    return coded;
}

/* What is said about one recipient into r->saying, the narrowest first; the number of texts. */
static unsigned read_sayings(struct bounce_reader *r, struct slice diagnostic, const struct notice_address *a)
{
    unsigned count = 0;

    if (slice_trim(diagnostic).length > 0)
        saying_read(diagnostic, &r->saying[count++]);
    if (a == NULL)
        return count;
    if (a->before.length > 0)
        saying_read(ending(a->before), &r->saying[count++]);
    saying_read(beginning(a->near), &r->saying[count++]);
    if (a->whole.length > a->near.length)
        saying_read(beginning(a->whole), &r->saying[count++]);
    return count;
}

static enum log_phase find_phase(struct bounce_reader *r, struct slice diagnostic,
                                 const struct notice_address *a, bool whole_notice)
{
    const struct slice nothing = {"", 0};
    const struct slice texts[] = {a != NULL ? ending(a->before) : nothing,
                                  a != NULL ? beginning(a->near) : nothing,
                                  a != NULL ? beginning(a->whole) : nothing, beginning(diagnostic),
                                  whole_notice ? beginning(r->notice.said) : nothing};
    enum log_phase phase = LOG_PHASES;

    for (size_t i = 0; i < sizeof texts / sizeof *texts && phase == LOG_PHASES; i++)
        phase = saying_phase(texts[i]);
    return phase;
}

/* Why it did not arrive. The whole notice is asked for a few recipients, where nobody gave a code. */
static void explain(struct bounce_reader *r, struct slice diagnostic, struct slice status_field,
                    const struct notice_address *a, bool whole_notice)
{
    uint16_t status[3] = {0};
    unsigned count = read_sayings(r, diagnostic, a);
    enum log_phase phase;

    (void)saying_status(status_field, status);
    whole_notice = (whole_notice || count == 0) && r->notice.addresses <= SHARED_BY_MAX;
    phase = find_phase(r, diagnostic, a, whole_notice);
    if (whole_notice && !is_coded(r, count, status))
        saying_read(r->notice.said, &r->saying[count++]);
    if (count == 0)
        saying_read((struct slice){"", 0}, &r->saying[count++]);
    judge(r, count, phase, status);
    settle(r, r->bounce.verdict.by_text || r->bounce.code != 0 || r->bounce.status[0] != '\0');
}

/* --- delivery reports --- */

static enum bounce_kind kind_of(struct bounce_reader *r, struct slice action, struct slice status)
{
    static const struct {
        const char *action;
        enum bounce_kind kind;
    } known[] = {
        {"failed", KIND_BOUNCE},      {"failure", KIND_BOUNCE},      {"expired", KIND_BOUNCE},
        {"delayed", KIND_DELAY},      {"delivered", KIND_DELIVERED}, {"relayed", KIND_DELIVERED},
        {"expanded", KIND_DELIVERED},
    };
    uint16_t number[3];

    action = slice_trim(action);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (slice_begins(action, known[i].action))
            return known[i].kind;
    if (saying_status(status, number) && number[0] == 2)
        return KIND_DELIVERED;
    if ((r->says & WORDS_READ) == 0)
        read_words(r);
    return (r->says & (SAYS_DELAYED | SUBJECT(SAYS_DELAYED))) != 0 && (r->says & SAYS_GIVEN_UP) == 0
               ? KIND_DELAY
               : KIND_BOUNCE;
}

/* The first address of a list such as X-Failed-Recipients. */
static bool first_address(struct slice list, struct slice *address)
{
    for (size_t at = 0; list.at != NULL && at < list.length; at++) {
        bool tight;
        if (list.at[at] == '@' && mention_at(list, at, address, &tight))
            return true;
    }
    return false;
}

static bool failed_recipient(struct bounce_reader *r, struct slice *address)
{
    for (uint32_t i = 0; i < r->mime.fields.failed_count; i++)
        if (first_address(r->mime.fields.failed[i], address))
            return true;
    return false;
}

/* Whom a report means that names no address: a file, a program, a host. */
static bool recipient_elsewhere(struct bounce_reader *r)
{
    struct slice address;

    if (failed_recipient(r, &address) ||
        (r->notice.addresses > 0 && (address = r->notice.address[0].address, true)) ||
        first_address(r->original.to, &address)) {
        set_recipient(r, address);
        return true;
    }
    return false;
}

static void tell_group(void *context, const struct report_group *group)
{
    struct bounce_reader *r = context;
    struct bounce *b = &r->bounce;

    memset(b, 0, sizeof *b);
    if (!mention_of_field(group->final, b->recipient, sizeof b->recipient) &&
        !mention_of_field(group->original, b->recipient, sizeof b->recipient) && !recipient_elsewhere(r))
        b->recipient[0] = '\0';
    b->kind = kind_of(r, group->action, group->status);
    if (b->kind == KIND_DELIVERED) {
        uint16_t status[3] = {0};
        if (saying_status(group->status, status))
            put_status(b, status);
        tell_fixed(r, KIND_DELIVERED, CLASS_DELIVERED, DISPOSITION_NONE);
        return;
    }
    const struct notice_address *a = notice_find(&r->notice, b->recipient);
    if (a == NULL && r->notice.addresses == 1)
        a = &r->notice.address[0];
    struct slice diagnostic = group->diagnostic;
    if (slice_trim(diagnostic).length == 0 &&
        memchr(group->status.at ? group->status.at : "", '(', group->status.length) != NULL)
        diagnostic = group->status; /* "5.4.4 (Illegal host/domain name found)" */
    explain(r, diagnostic, group->status, a, a == NULL);
    tell(r);
}

static bool tell_reports(struct bounce_reader *r)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < r->mime.parts; i++) {
        const struct mime_part *part = &r->mime.part[i];
        if (part->kind != MIME_DELIVERY_STATUS)
            continue;
        text_empty(&r->report);
        decode_transfer(part->encoding, part->body, &r->report);
        count += report_groups(text_slice(&r->report), tell_group, r);
    }
    return count > 0;
}

/* A delivery status that lies in the text: the type of its part is lost, or somebody forwards it. */
static bool tell_report_in_text(struct bounce_reader *r)
{
    struct slice report = report_in_text(r->notice.said);

    if (report.at == NULL || !(r->by_daemon || r->null_sender || r->is_forwarded))
        return false;
    return report_groups(report, tell_group, r) > 0;
}

/* --- feedback --- */

static bool is_real_complaint(struct slice type)
{
    return !slice_begins(type, "auth-failure") && !slice_begins(type, "not-spam") &&
           !slice_begins(type, "dmarc");
}

static void tell_complaint(struct bounce_reader *r, struct slice recipient, struct slice type)
{
    struct slice address;

    memset(&r->bounce, 0, sizeof r->bounce);
    if (!mention_of_field(recipient, r->bounce.recipient, sizeof r->bounce.recipient)) {
        r->bounce.recipient[0] = '\0';
        if (first_address(recipient, &address))
            set_recipient(r, address);
    }
    (void)hk_clean_text(r->bounce.reason, sizeof r->bounce.reason, type.at != NULL ? type.at : "",
                        type.length);
    tell_fixed(r, KIND_FEEDBACK, CLASS_COMPLAINT,
               is_real_complaint(type) ? DISPOSITION_SUPPRESS : DISPOSITION_NONE);
}

static bool tell_feedback(struct bounce_reader *r)
{
    struct slice nobody = {"", 0};

    for (uint32_t i = 0; i < r->mime.parts; i++) {
        struct feedback feedback;
        if (r->mime.part[i].kind != MIME_FEEDBACK)
            continue;
        text_empty(&r->report);
        decode_transfer(r->mime.part[i].encoding, r->mime.part[i].body, &r->report);
        feedback_read(text_slice(&r->report), &feedback);
        for (unsigned j = 0; j < feedback.recipients; j++)
            tell_complaint(r, feedback.recipient[j], feedback.type);
        if (feedback.recipients == 0)
            tell_complaint(r, r->original.to.at != NULL ? r->original.to : nobody, feedback.type);
        return true;
    }
    if (r->original.complainer.at != NULL) { /* a provider that wraps the message and says no more */
        tell_complaint(r, r->original.complainer, (struct slice){"abuse", 5});
        return true;
    }
    return false;
}

/* --- Amazon SES through SNS, by mail --- */

/* The value behind "key": in a text of JSON that may be escaped once more, and folded. */
static struct slice json_value(struct slice text, const char *key)
{
    size_t length = strlen(key);
    const char *end = slice_end(text), *at = text.at;

    while ((at = memmem(at, (size_t)(end - at), key, length)) != NULL) {
        at += length;
        while (at < end && (*at == '\\' || *at == '"' || *at == ':' || is_blank(*at)))
            at++;
        const char *from = at;
        while (at < end && *at != '"' && *at != '\\')
            at++;
        return slice_between(from, at);
    }
    return (struct slice){"", 0};
}

static bool tell_ses(struct bounce_reader *r)
{
    struct slice text = r->notice.said, kind, rest, address;
    const char *at;

    if (text.length < 80 || memmem(text.at, text.length, "otificationType", 15) == NULL ||
        memmem(text.at, text.length, "mail", 4) == NULL)
        return false;
    kind = json_value(text, "notificationType");
    at = memmem(text.at, text.length, "Recipients", 10);
    if (slice_is(kind, "Delivery")) {
        at = memmem(text.at, text.length, "\"recipients", 11);
        at = at != NULL ? at : memmem(text.at, text.length, "recipients", 10);
    }
    if (at == NULL)
        return false;
    rest = slice_between(at, slice_end(text));
    memset(&r->bounce, 0, sizeof r->bounce);
    if (!first_address(rest, &address))
        return false;
    set_recipient(r, address);
    if (slice_is(kind, "Complaint")) {
        tell_fixed(r, KIND_FEEDBACK, CLASS_COMPLAINT, DISPOSITION_SUPPRESS);
    } else if (slice_is(kind, "Delivery")) {
        tell_fixed(r, KIND_DELIVERED, CLASS_DELIVERED, DISPOSITION_NONE);
    } else {
        r->bounce.kind = KIND_BOUNCE;
        explain(r, json_value(rest, "diagnosticCode"), json_value(rest, "status"), NULL, false);
        tell(r);
    }
    return true;
}

/* --- notices for people --- */

static enum bounce_kind kind_of_notice(const struct bounce_reader *r)
{
    if (r->says & SUBJECT(SAYS_DELAYED))
        return KIND_DELAY;
    return (r->says & SAYS_DELAYED) != 0 && (r->says & SAYS_GIVEN_UP) == 0 ? KIND_DELAY : KIND_BOUNCE;
}

static bool tell_failed_recipients(struct bounce_reader *r)
{
    bool any = false;

    for (uint32_t i = 0; i < r->mime.fields.failed_count; i++) {
        struct slice list = r->mime.fields.failed[i], address;
        while (first_address(list, &address)) {
            memset(&r->bounce, 0, sizeof r->bounce);
            set_recipient(r, address);
            r->bounce.kind = kind_of_notice(r);
            const struct notice_address *a = notice_find(&r->notice, r->bounce.recipient);
            explain(r, (struct slice){"", 0}, (struct slice){"", 0}, a, a == NULL);
            tell(r);
            any = true;
            list = slice_between(slice_end(address), slice_end(list));
        }
    }
    return any;
}

static bool is_own_address(const struct bounce_reader *r, struct slice address)
{
    struct slice other;

    return (first_address(r->mime.fields.to, &other) && other.length == address.length &&
            strncasecmp(other.at, address.at, other.length) == 0) ||
           (first_address(r->mime.fields.from, &other) && other.length == address.length &&
            strncasecmp(other.at, address.at, other.length) == 0);
}

static void tell_address(struct bounce_reader *r, struct slice address, const struct notice_address *a)
{
    memset(&r->bounce, 0, sizeof r->bounce);
    set_recipient(r, address);
    r->bounce.kind = kind_of_notice(r);
    explain(r, (struct slice){"", 0}, (struct slice){"", 0}, a, true);
    tell(r);
}

/* The addresses of the notice; where they only stand in the middle of it, the first that is not the mail's own. */
static bool tell_notice_addresses(struct bounce_reader *r)
{
    bool any = false, weak;

    for (size_t i = 0; i < r->notice.addresses; i++) {
        const struct notice_address *a = &r->notice.address[i];
        weak = a->place > PLACE_LABEL;
        if (weak && (any || (a->place == PLACE_MIDDLE && is_own_address(r, a->address))))
            continue;
        tell_address(r, a->address, weak ? NULL : a);
        any = true;
    }
    return any;
}

static bool tell_original_recipient(struct bounce_reader *r)
{
    struct mail_fields fields;
    struct slice address;

    if (r->original.to.at == NULL && r->notice.original.length > 0) {
        mime_fields(r->notice.original, &fields);
        r->original.to = fields.to;
    }
    if (!first_address(r->original.to, &address))
        return false;
    tell_address(r, address, NULL);
    return true;
}

/* Is this from a mail system that says that it could not deliver? */
static bool is_notice(const struct bounce_reader *r)
{
    bool forwarded = r->is_forwarded && (r->says & SAYS_FAILED) != 0 && (r->says & SUBJECT(SAYS_FAILED)) != 0;
    int points = 2 * r->by_daemon + r->null_sender + 2 * forwarded;

    if (points == 0)
        return false;
    points += (r->says & (SAYS_FAILED | SAYS_DELAYED)) != 0 ? 2 : 0;
    points += (r->says & SUBJECT(SAYS_FAILED | SAYS_DELAYED)) != 0 ? 2 : 0;
    if (r->notice.addresses > 0 && r->notice.address[0].place == PLACE_HEAD)
        points++;
    if (r->is_reply && !r->by_daemon)
        points -= 3;
    if ((r->says & SUBJECT(SAYS_AWAY)) != 0)
        points -= 3;
    return points >= 3;
}

static bool is_autoreply(const struct bounce_reader *r)
{
    const struct mail_fields *f = &r->mime.fields;

    if (slice_begins(f->auto_submitted, "auto-replied") || f->autoreply.at != NULL ||
        f->autorespond.at != NULL || slice_begins(f->precedence, "auto_reply") ||
        slice_begins(f->precedence, "auto-reply"))
        return true;
    return (r->says & SUBJECT(SAYS_AWAY)) != 0;
}

/* A mail program that unsubscribes for somebody (RFC 2369 3.2): a subject of one word. */
static bool is_unsubscribe(const struct bounce_reader *r)
{
    return slice_begins(r->mime.fields.auto_submitted, "auto-") &&
           slice_is(slice_trim(text_slice(&r->subject)), "unsubscribe");
}

static bool tell_autoreply(struct bounce_reader *r)
{
    struct slice address;

    if (!is_autoreply(r))
        return false;
    if (is_unsubscribe(r)) {
        tell_complaint(r, r->mime.fields.from, (struct slice){"opt-out", 7});
        return true;
    }
    memset(&r->bounce, 0, sizeof r->bounce);
    if (first_address(r->mime.fields.from, &address))
        set_recipient(r, address);
    (void)hk_clean_text(r->bounce.reason, sizeof r->bounce.reason, r->subject.at != NULL ? r->subject.at : "",
                        r->subject.length);
    tell_fixed(r, KIND_AUTOREPLY, CLASS_AUTOREPLY, DISPOSITION_NONE);
    return true;
}

/* --- all of it --- */

static bool has_part(const struct bounce_reader *r, enum mime_kind kind)
{
    for (uint32_t i = 0; i < r->mime.parts; i++)
        if (r->mime.part[i].kind == kind)
            return true;
    return false;
}

/* A mail system's notice that names nobody, around a bounce that lies in its text or in a part. */
static struct slice wrapped(const struct bounce_reader *r)
{
    struct mail_fields fields;
    struct slice inner = r->notice.original;

    if ((r->notice.addresses > 0 && r->notice.address[0].place <= PLACE_LABEL) ||
        r->mime.fields.failed_count > 0)
        return (struct slice){NULL, 0};
    for (uint32_t i = 0; i < r->mime.parts && inner.length == 0; i++)
        if (r->mime.part[i].kind == MIME_MESSAGE && r->mime.part[i].encoding == MIME_IDENTITY)
            inner = r->mime.part[i].body;
    mime_fields(inner, &fields);
    if (is_null_path(fields.return_path) || slice_has(fields.return_path, "mailer-daemon") ||
        slice_has(fields.from, "mailer-daemon") || slice_has(fields.from, "postmaster"))
        return inner;
    return (struct slice){NULL, 0};
}

static void read_mail(struct bounce_reader *r, struct slice mail, unsigned wraps)
{
    struct slice inner;

    mime_read(mail, &r->mime);
    read_original(r);
    read_texts(r);
    read_envelope(r);
    if (tell_feedback(r) || has_part(r, MIME_DISPOSITION))
        return;
    if (tell_reports(r) || tell_report_in_text(r) || tell_ses(r))
        return;
    read_words(r);
    bool report =
        (r->mime.is_delivery_report && has_part(r, MIME_DELIVERY_STATUS)) || r->mime.fields.failed_count > 0;
    if (!report && !is_notice(r)) {
        (void)tell_autoreply(r);
        return;
    }
    inner = wrapped(r);
    if (inner.at != NULL && wraps < WRAPS_MAX) {
        struct text copy = {.max = NOTICE_TEXT_MAX};
        text_put(&copy, inner.at, inner.length); /* the reader's own text is used again */
        read_mail(r, text_slice(&copy), wraps + 1);
        r->text.failed |= copy.failed;
        text_free(&copy);
        return;
    }
    if (!tell_failed_recipients(r) && !tell_notice_addresses(r) && !tell_original_recipient(r) && report)
        tell_address(r, (struct slice){"", 0}, NULL);
}

int bounce_read(struct bounce_reader *r, const char *mail, size_t length, bounce_found *found, void *context)
{
    bool failed;

    r->found = found;
    r->context = context;
    if (r->seen_room > SEEN_KEPT) {
        free(r->seen);
        r->seen = NULL;
        r->seen_room = 0;
    } else if (r->told > 0) {
        memset(r->seen, 0, r->seen_room * sizeof *r->seen);
    }
    r->told = 0;
    read_mail(r, (struct slice){mail, length}, 0);
    failed = r->text.failed || r->unquoted.failed || r->report.failed || r->header.failed ||
             r->subject.failed || r->from.failed || r->notice.failed || r->decoder.raw.failed ||
             r->decoder.converted.failed;
    r->text.failed = r->unquoted.failed = r->report.failed = r->header.failed = r->subject.failed =
        r->from.failed = r->notice.failed = r->decoder.raw.failed = r->decoder.converted.failed = false;
    return failed ? HK_ENOMEM : 0;
}
