/* classify.c - what a reply means for the recipient (bounce-facts: text is the evidence, the code a hint, the phase
 * what a text can be about).
 *
 * Pure: no allocation, no state. Three steps: the text is normalised (lower case, one blank between words, mail
 * addresses and the paths of URLs taken out, because "spam@" and ".../reason/#blocked" say nothing); the first text
 * rule that matches names a class, else the enhanced code, else the code and the phase; then the phase corrects what
 * cannot have been meant, and class and code give the disposition.
 * Only a permanent refusal that names the recipient, where a recipient is judged, may suppress.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "rules.h"

#define NORMAL_MAX 2048u /* of a longer text the beginning is judged */

struct reply {
    enum log_phase phase;
    uint16_t code;
    uint16_t subject, detail;
    bool has_enhanced;
    bool
        rcpt_refused; /* the text itself says that no recipient was left: RCPT was refused, whatever the phase */
    bool no_address; /* "550 : User unknown": the address is missing where it always stands */
    char text[NORMAL_MAX + 3];
};

const char *reply_class_name(enum reply_class c)
{
    static const char *const names[] = {
#define REPLY_CLASS_NAME(name, words) words,
        REPLY_CLASSES(REPLY_CLASS_NAME)
#undef REPLY_CLASS_NAME
    };

    return (unsigned)c < sizeof names / sizeof *names ? names[c] : "";
}

const char *disposition_name(enum disposition d)
{
    static const char *const names[] = {"none", "count", "block", "suppress"};

    return (unsigned)d < sizeof names / sizeof *names ? names[d] : "none";
}

/* --- the enhanced code --- */

/* "5.7.509" at text; the number of bytes, 0 for none. What follows must not be one more number: an address. */
static size_t enhanced_at(const char *text, size_t left, uint16_t number[3])
{
    size_t at = 0;

    for (int i = 0; i < 3; i++) {
        size_t digits = 0;
        number[i] = 0;
        while (digits < 3 && at + digits < left && isdigit((unsigned char)text[at + digits])) {
            number[i] = (uint16_t)(number[i] * 10 + (text[at + digits] - '0'));
            digits++;
        }
        at += digits;
        if (digits == 0 || (i < 2 && (at >= left || text[at++] != '.')))
            return 0;
    }
    if (at < left && (isalnum((unsigned char)text[at]) ||
                      (text[at] == '.' && at + 1 < left && isdigit((unsigned char)text[at + 1]))))
        return 0;
    return at;
}

/* The first enhanced code in the text whose class is the reply's: some write it behind the words, "(#5.1.1)". */
static void find_enhanced(struct reply *r, const char *text, size_t length)
{
    uint16_t number[3];

    for (size_t at = 0; at < length && !r->has_enhanced; at++) {
        if (at > 0 && (isalnum((unsigned char)text[at - 1]) || text[at - 1] == '.'))
            continue;
        if (enhanced_at(text + at, length - at, number) == 0 || number[0] != r->code / 100)
            continue;
        r->subject = number[1];
        r->detail = number[2];
        r->has_enhanced = true;
    }
}

/* --- the text --- */

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 ||
           (c != '\0' && strchr("@.'_-+=/:?#&%!", c) != NULL);
}

/* The end of the run of characters that an address or a URL may be made of. */
static size_t token_end(const char *text, size_t at, size_t length)
{
    while (at < length && is_word(text[at]))
        at++;
    return at;
}

struct normal {
    char *out;
    size_t at;
};

static void put(struct normal *n, char c)
{
    if (c == ' ' && n->at > 0 && n->out[n->at - 1] == ' ')
        return;
    if (n->at < NORMAL_MAX)
        n->out[n->at++] = c;
}

/* A token without the characters that only join words; a dot or dash stays inside a word. */
static void put_token(struct normal *n, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        bool inside = i > 0 && i + 1 < length && isalnum((unsigned char)text[i - 1]) &&
                      isalnum((unsigned char)text[i + 1]);
        if (isalnum((unsigned char)c) || (unsigned char)c >= 0x80)
            put(n, (unsigned char)c < 0x80 ? (char)tolower((unsigned char)c) : c);
        else if (c == '\'' || ((c == '.' || c == '-') && inside))
            put(n, c);
        else
            put(n, ' ');
    }
}

static bool is_address(const char *token, size_t length)
{
    const char *at = memchr(token, '@', length);

    return at != NULL && at != token && at + 1 < token + length;
}

/* Of a URL only its host counts: it may be a block list's. */
static size_t url_host_length(const char *token, size_t length)
{
    size_t skip = length > 8 && strncasecmp(token, "https://", 8) == 0  ? 8
                  : length > 7 && strncasecmp(token, "http://", 7) == 0 ? 7
                                                                        : 0;
    size_t end = skip;

    if (skip == 0)
        return length;
    while (end < length && strchr("/?#:", token[end]) == NULL)
        end++;
    return end;
}

/* Where the address begins in a token such as "alias:a@example.com". */
static size_t address_start(const char *token, size_t length)
{
    size_t at = (size_t)((const char *)memchr(token, '@', length) - token);

    while (at > 0 && strchr(":=/#?", token[at - 1]) == NULL)
        at--;
    return at;
}

/* Lower case, one blank between words and at both ends. Enhanced codes go too: they stand at the beginning of each
 * line, in the middle of what is said. */
static void normalise(const char *text, size_t length, char *out)
{
    struct normal n = {.out = out};
    uint16_t number[3];

    put(&n, ' ');
    for (size_t at = 0; at < length;) {
        size_t end = token_end(text, at, length);
        if (end == at) {
            put(&n, ' ');
            at++;
            continue;
        }
        if (is_address(text + at, end - at)) {
            put_token(&n, text + at, address_start(text + at, end - at));
            put(&n, ' ');
            put(&n, '@');
            put(&n, ' ');
        } else if (enhanced_at(text + at, end - at, number) == end - at) {
            put(&n, ' ');
        } else {
            put_token(&n, text + at, url_host_length(text + at, end - at));
        }
        at = end;
    }
    put(&n, ' ');
    n.out[n.at] = '\0';
}

/* One piece of a pattern (up to '*' or its end) at `text`. */
static bool piece_is_at(const char *text, const char *piece, size_t length)
{
    return strncmp(text, piece, length) == 0;
}

/* The rest of a pattern behind a gap. */
static bool matches_behind_gap(const char *text, const char *pattern)
{
    size_t length = strcspn(pattern, "*");

    for (size_t gap = 0; gap <= RULE_GAP_MAX; gap++) {
        if (piece_is_at(text + gap, pattern, length) &&
            (pattern[length] == '\0' || matches_behind_gap(text + gap + length, pattern + length + 1)))
            return true;
        if (text[gap] == '\0')
            return false;
    }
    return false;
}

static bool text_has(const char *text, const char *pattern)
{
    size_t length = strcspn(pattern, "*");

    for (const char *at = text; *at != '\0'; at++) {
        if (*at != pattern[0] || !piece_is_at(at, pattern, length))
            continue;
        if (pattern[length] == '\0' || matches_behind_gap(at + length, pattern + length + 1))
            return true;
    }
    return false;
}

/* --- the class --- */

/* Nothing said why: the code and the phase are all there is. */
static enum reply_class class_by_code(const struct reply *r)
{
    bool early = r->phase < LOG_PHASE_RCPT;

    if (r->code == 0)
        return r->phase == LOG_PHASE_STARTTLS || r->phase == LOG_PHASE_AUTH ? CLASS_AUTH_SECURITY
                                                                            : CLASS_NETWORK;
    if (r->code == 421)
        return CLASS_RATE_LIMITED; /* a bare 421 is how carriers show a block */
    if (r->code < 500)
        return r->has_enhanced && r->subject == 7 ? CLASS_RATE_LIMITED : CLASS_UNKNOWN;
    if (r->code >= 530 && r->code <= 538)
        return CLASS_AUTH_SECURITY;
    if (r->code == 521 || r->code == 556)
        return CLASS_DOMAIN_INVALID; /* RFC 7504 */
    if (r->code <= 504)
        return CLASS_SYSTEM;
    if (early)
        return CLASS_SENDER_BLOCKED;
    if (r->phase == LOG_PHASE_DOT)
        return r->code == 552 ? CLASS_MAILBOX_FULL : CLASS_CONTENT_POLICY;
    if (r->has_enhanced && r->subject == 7)
        return CLASS_SENDER_BLOCKED;
    if (r->code == 550)
        return CLASS_RECIPIENT_REFUSED;
    if (r->code == 551)
        return CLASS_MAILBOX_UNKNOWN;
    if (r->code == 552) /* at RCPT it is 452, "too many recipients" (RFC 5321 4.5.3.1.10) */
        return r->phase == LOG_PHASE_RCPT ? CLASS_RATE_LIMITED : CLASS_MAILBOX_FULL;
    return CLASS_UNKNOWN;
}

static enum reply_class class_by_enhanced(const struct reply *r)
{
    if (!r->has_enhanced || (r->code == 521 && r->subject == 3)) /* 521 itself says more than 5.3.2 does */
        return CLASS_NONE;
    for (size_t i = 0; i < code_rule_count; i++) {
        const struct code_rule *rule = &code_rules[i];
        if (rule->subject == r->subject && r->detail >= rule->detail_from && r->detail <= rule->detail_to)
            return r->code >= 500 ? rule->permanent : rule->temporary;
    }
    return CLASS_NONE;
}

/* Where nobody answered the text is ours, and the only names of others in it are host names: what a server might
 * have meant by such a word is not what it says. */
static bool is_said_without_reply(enum reply_class c)
{
    return c == CLASS_DOMAIN_INVALID || c == CLASS_NETWORK || c == CLASS_TOO_LARGE || c == CLASS_UNKNOWN;
}

static enum reply_class class_by_text(const struct reply *r)
{
    for (size_t i = 0; i < text_rule_count; i++) {
        if (r->code == 0 && !is_said_without_reply(text_rules[i].reply_class))
            continue;
        if (text_has(r->text, text_rules[i].pattern))
            return text_rules[i].reply_class;
    }
    return CLASS_NONE;
}

static bool is_about_recipient(enum reply_class c)
{
    return c == CLASS_MAILBOX_UNKNOWN || c == CLASS_RECIPIENT_REFUSED || c == CLASS_MAILBOX_INACTIVE ||
           c == CLASS_MAILBOX_FULL || c == CLASS_DOMAIN_INVALID;
}

/* The enhanced code says in so many words that the address does not exist. */
static bool says_bad_address(const struct reply *r)
{
    return r->has_enhanced && r->subject == 1 && (r->detail == 1 || r->detail == 6 || r->detail == 10);
}

/* Before RCPT nobody has seen the recipient; after the dot "unknown user" is a filter's answer, unless the code
 * insists (docomo and au answer so where a recipient refuses the sender). */
static enum reply_class correct_by_phase(const struct reply *r, enum reply_class c, bool by_text)
{
    if (r->code == 0 || r->rcpt_refused)
        return c;
    if (r->phase < LOG_PHASE_RCPT && is_about_recipient(c))
        return c == CLASS_DOMAIN_INVALID && (r->code == 521 || r->code == 556) ? c : CLASS_SENDER_BLOCKED;
    if (c != CLASS_MAILBOX_UNKNOWN)
        return c;
    if (r->no_address)
        return CLASS_RECIPIENT_REFUSED;
    if (r->phase == LOG_PHASE_DOT && !(by_text && says_bad_address(r)))
        return CLASS_RECIPIENT_REFUSED;
    return c;
}

static enum reply_class class_of(const struct reply *r, bool *says)
{
    enum reply_class c = class_by_text(r);
    bool by_text = c != CLASS_NONE;

    *says = by_text;

    /* "inactive address" with the code of an unknown one: the code is the narrower word. */
    if (c == CLASS_MAILBOX_INACTIVE && says_bad_address(r) && r->code >= 500)
        c = CLASS_MAILBOX_UNKNOWN;
    if (c == CLASS_NONE)
        c = class_by_enhanced(r);
    if (c == CLASS_NONE)
        c = class_by_code(r);
    return correct_by_phase(r, c, by_text);
}

/* --- the disposition --- */

static enum disposition disposition_of(const struct reply *r, enum reply_class c)
{
    bool permanent = r->code == 0 || r->code >= 500;

    switch (c) {
    case CLASS_DOMAIN_INVALID:
        if (r->code == 521) /* about the host, and some use it to turn one client away */
            return DISPOSITION_COUNT;
        return permanent ? DISPOSITION_SUPPRESS : DISPOSITION_COUNT;
    case CLASS_MAILBOX_UNKNOWN:
        return permanent ? DISPOSITION_SUPPRESS : DISPOSITION_COUNT;
    case CLASS_MAILBOX_INACTIVE:
        return permanent && !text_has(r->text, "temporar") ? DISPOSITION_SUPPRESS : DISPOSITION_COUNT;
    case CLASS_CONTENT_POLICY:
    case CLASS_SENDER_BLOCKED:
    case CLASS_AUTH_SECURITY:
    case CLASS_RATE_LIMITED:
    case CLASS_TOO_LARGE:
        return DISPOSITION_BLOCK;
    case CLASS_DELIVERED:
        return DISPOSITION_NONE;
    default:
        return DISPOSITION_COUNT;
    }
}

static bool says_rcpt_refused(const char *text)
{
    static const char *const words[] = {"need rcpt", "no valid recipient", "no recipients", "valid rcpt",
                                        " 503 bad sequence of commands"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (text_has(text, words[i]))
            return true;
    return false;
}

struct verdict reply_classify(enum log_phase phase, uint16_t code, const uint8_t enhanced[3],
                              const char *text, size_t length)
{
    struct reply r = {.phase = phase, .code = code};
    struct verdict v = {.by_text = false};

    if (code >= 200 && code < 400)
        return (struct verdict){.reply_class = CLASS_DELIVERED, .disposition = DISPOSITION_NONE};
    if (enhanced != NULL && enhanced[0] != 0) {
        r.subject = enhanced[1];
        r.detail = enhanced[2];
        r.has_enhanced = true;
    }
    find_enhanced(&r, text, length);
    normalise(text, length, r.text);
    r.rcpt_refused = code >= 500 && says_rcpt_refused(r.text);
    r.no_address = length > 1 && text[0] == ':' && text[1] == ' ';
    v.reply_class = class_of(&r, &v.by_text);
    v.disposition = disposition_of(&r, v.reply_class);
    return v;
}
