/* saying.c - texts of diagnoses (saying.h). Pure, no allocation. */
#include "saying.h"

#include <ctype.h>

#include "automaton.h"
#include "code.h"
#include "phrase.h"

bool saying_status(struct slice value, uint16_t status[3])
{
    value = slice_trim(value);
    return code_status_at(value.at, value.length, status) > 0;
}

/* The first reply; where it stands in the text goes to *from. */
static void find_code(struct slice text, struct saying *out, size_t *from)
{
    for (size_t at = 0; at < text.length && out->code == 0; at++) {
        out->code = code_reply_at(text, at);
        *from = out->code != 0 ? at : 0;
    }
}

static void find_status(struct slice text, struct saying *out)
{
    static const unsigned any = 1u << 2 | 1u << 4 | 1u << 5;

    (void)code_find_status(text, out->code != 0 ? 1u << out->code / 100 : any, out->status);
}

/* Of "550-5.1.1 " and "550 5.1.1 " inside a reply of several lines: how much is repetition. */
static size_t repeated(const struct saying *out, struct slice text, size_t at)
{
    uint16_t status[3];
    size_t used = 3, length;

    if (out->code == 0 || text.length - at < 4 ||
        (at > 0 && !is_blank(text.at[at - 1]) && strchr(";:[('\"<", text.at[at - 1]) == NULL) ||
        code_of_refusal(text.at + at, text.length - at) != out->code)
        return 0;
    if (text.at[at + 3] != '-' && text.at[at + 3] != ' ')
        return 0;
    used++;
    length = code_status_at(text.at + at + used, text.length - at - used, status);
    if (length == 0 && text.at[at + 3] == ' ' && at > 0 && out->length > 0)
        return 0; /* a number in the middle of words */
    return used + length;
}

static void put_words(struct slice text, struct saying *out, size_t reply_from)
{
    for (size_t at = 0; at < text.length && out->length < SAYING_MAX; at++) {
        char c = text.at[at];
        size_t skip = c == '4' || c == '5' ? repeated(out, text, at) : 0;
        if (at == reply_from)
            out->reply = out->length;
        if (skip > 0) {
            at += skip - 1;
            c = ' ';
        }
        if (is_blank(c))
            c = ' ';
        if (c == ' ' && (out->length == 0 || out->text[out->length - 1] == ' '))
            continue;
        out->text[out->length++] = c;
    }
    while (out->length > 0 && out->text[out->length - 1] == ' ')
        out->length--;
    out->text[out->length] = '\0';
}

/* Behind "smtp;", "X-Postfix;": the type of a Diagnostic-Code. */
static struct slice without_type(struct slice text)
{
    size_t at = 0;

    text = slice_trim(text);
    while (at < text.length && at < 40 &&
           (isalnum((unsigned char)text.at[at]) || text.at[at] == '-' || text.at[at] == '/'))
        at++;
    while (at < text.length && text.at[at] == ' ')
        at++;
    return at > 0 && at < text.length && text.at[at] == ';' && !isdigit((unsigned char)text.at[0])
               ? slice_trim(slice_between(text.at + at + 1, slice_end(text)))
               : text;
}

void saying_read(struct slice text, struct saying *out)
{
    size_t reply_from = 0;

    memset(out, 0, sizeof *out);
    text = without_type(text);
    if (text.length > 4 * SAYING_MAX)
        text.length = 4 * SAYING_MAX;
    find_code(text, out, &reply_from);
    find_status(text, out);
    put_words(text, out, reply_from);
}

/* --- the phase --- */

/* Of several that are said the first of these counts. */
static const struct {
    const char *words;
    enum log_phase phase;
} signs[] = {
    /* Whatever came last: RCPT had been refused before. */
    {"need rcpt", LOG_PHASE_RCPT},
    {"no valid recipient", LOG_PHASE_RCPT},
    {"rcpt first", LOG_PHASE_RCPT},
    {"no recipients", LOG_PHASE_RCPT},
    {"valid rcpt command", LOG_PHASE_RCPT},
    {"503 bad sequence", LOG_PHASE_RCPT},
    {"in reply to end of data", LOG_PHASE_DOT},
    {"in reply to data", LOG_PHASE_DOT},
    {"in reply to rcpt", LOG_PHASE_RCPT},
    {"in reply to mail", LOG_PHASE_MAIL},
    {"in reply to ehlo", LOG_PHASE_EHLO},
    {"in reply to helo", LOG_PHASE_EHLO},
    {"in reply to starttls", LOG_PHASE_STARTTLS},
    {"in reply to auth", LOG_PHASE_AUTH},
    {"refused to talk to me", LOG_PHASE_BANNER},
    {"initial connection", LOG_PHASE_BANNER},
    {"initial server greeting", LOG_PHASE_BANNER},
    {"but greeting failed", LOG_PHASE_BANNER},
    {"my name was rejected", LOG_PHASE_EHLO},
    {"after ehlo", LOG_PHASE_EHLO},
    {"after helo", LOG_PHASE_EHLO},
    {"after end of data", LOG_PHASE_DOT},
    {"end of data", LOG_PHASE_DOT},
    {"after rcpt to", LOG_PHASE_RCPT},
    {"after mail from", LOG_PHASE_MAIL},
    {"after data", LOG_PHASE_DOT},
    {"after pipelined mail from", LOG_PHASE_MAIL},
    {"after pipelined rcpt", LOG_PHASE_RCPT},
    {"our final data", LOG_PHASE_DOT},
    {"like our data", LOG_PHASE_DOT},
    {"like our rcpt", LOG_PHASE_RCPT},
    {"like our mail from", LOG_PHASE_MAIL},
    {"[rcpt_to]", LOG_PHASE_RCPT},
    {"[mail_from]", LOG_PHASE_MAIL},
    {"[data]", LOG_PHASE_DOT},
    {"does not like recipient", LOG_PHASE_RCPT},
    {"sender was rejected", LOG_PHASE_MAIL},
    {"does not like sender", LOG_PHASE_MAIL},
    {"rcpt to response", LOG_PHASE_RCPT},
    {"failed on data", LOG_PHASE_DOT},
    {"after i sent the message", LOG_PHASE_DOT},
    {"for text command", LOG_PHASE_DOT},
    {"for rcpt command", LOG_PHASE_RCPT},
    {"for mail command", LOG_PHASE_MAIL},
    {"smtp:rcpt", LOG_PHASE_RCPT},
    {"smtp:mail", LOG_PHASE_MAIL},
    {"smtp:data", LOG_PHASE_DOT},
    {"(data)", LOG_PHASE_DOT},
    {"smtp command data", LOG_PHASE_DOT},
    {"data send", LOG_PHASE_DOT},
    {">>> data", LOG_PHASE_DOT},
    {">>> rcpt", LOG_PHASE_RCPT},
    {">>> mail", LOG_PHASE_MAIL},
    {">>> ehlo", LOG_PHASE_EHLO},
    {">>> helo", LOG_PHASE_EHLO},
};
#define SIGNS (sizeof signs / sizeof *signs)
_Static_assert(SIGNS < 64, "each sign has a bit");

enum log_phase saying_phase(struct slice text)
{
    static struct automaton *automaton;
    uint64_t found;

    if (text.length == 0)
        return LOG_PHASES;
    if (automaton == NULL) {
        automaton = automaton_new();
        for (size_t i = 0; i < SIGNS; i++)
            automaton_add(automaton, signs[i].words, strlen(signs[i].words), UINT64_C(1) << i);
        automaton_build(automaton);
    }
    found = automaton_find(automaton, folded_part(text), UINT64_MAX);
    return found == 0 ? LOG_PHASES : signs[__builtin_ctzll(found)].phase;
}

/* What somebody says before he quotes a reply ("the message was rejected by the server, which said:") explains nothing,
 * unless the reply itself does not, or says no more than that something failed. */
static bool explains(const struct saying *saying, const struct verdict *v)
{
    if (!v->by_text)
        return saying->status[1] != 0 || saying->status[2] != 0;
    return v->reply_class != CLASS_SYSTEM && v->reply_class != CLASS_UNKNOWN;
}

/* Before MAIL nobody has been told of any address: who says that one is unknown said so behind RCPT, and the notice shows
 * another part of the conversation. */
static bool is_told_too_early(enum log_phase phase, uint16_t code, const char *text, size_t length)
{
    struct verdict v;

    if (phase >= LOG_PHASE_MAIL)
        return false;
    v = reply_classify(LOG_PHASE_RCPT, code, NULL, text, length);
    return v.by_text && v.reply_class == CLASS_MAILBOX_UNKNOWN;
}

struct verdict saying_judge(const struct saying *saying, enum log_phase phase, bool temporary)
{
    char text[SAYING_MAX + 32];
    uint16_t code = saying->code;
    size_t length = saying->length, from = saying->reply < length ? saying->reply : 0;
    struct verdict v, whole;

    memcpy(text, saying->text, length);
    if (saying->status[0] != 0) /* a detail may be above 255, and the text may have lost it */
        length += (size_t)snprintf(text + length, sizeof text - length, " (%u.%u.%u)", saying->status[0],
                                   saying->status[1], saying->status[2]);
    if (code == 0)
        code = saying->status[0] == 4 || (saying->status[0] == 0 && temporary) ? 450 : 550;
    if (phase == LOG_PHASES || is_told_too_early(phase, code, text + from, length - from))
        phase = LOG_PHASE_RCPT;
    v = reply_classify(phase, code, NULL, text + from, length - from);
    if (from == 0 || explains(saying, &v))
        return v;
    whole = reply_classify(phase, code, NULL, text, length);
    return whole.by_text ? whole : v;
}
