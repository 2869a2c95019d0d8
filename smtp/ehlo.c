/* ehlo.c - what a server offers in its EHLO reply (RFC 5321 4.1.1.1).
 *
 * Pure. A keyword that is not known, or a parameter that makes no sense, is passed over: it is the server's to
 * offer and ours to use or not. Never fails.
 */
#include <string.h>
#include <strings.h>

#include "hikyaku/reply.h"

struct word {
    const char *at;
    size_t length;
};

static bool word_is(const struct word *word, const char *text)
{
    return word->length == strlen(text) && strncasecmp(word->at, text, word->length) == 0;
}

/* Cut the next word off a line; blanks, and '=' too where `equals` says so, stand between words. */
static bool word_next(const char **at, const char *end, bool equals, struct word *out)
{
    const char *p = *at;

    while (p < end && (*p == ' ' || *p == '\t' || (equals && *p == '=')))
        p++;
    out->at = p;
    while (p < end && *p != ' ' && *p != '\t' && !(equals && *p == '='))
        p++;
    out->length = (size_t)(p - out->at);
    *at = p;
    return out->length > 0;
}

/* A decimal number, saturating. False when it is none. */
static bool word_number(const char *at, size_t length, uint64_t *out)
{
    uint64_t value = 0;

    if (length == 0)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(at[i] - '0'), &value))
            value = UINT64_MAX;
    }
    *out = value;
    return true;
}

/* "RCPTMAX=100" into `out`, where the name fits. 0 in the offer means "none named", so 0 is passed over. */
static void limit_take(const struct word *word, const char *name, uint32_t *out)
{
    size_t name_length = strlen(name);
    uint64_t value;

    if (word->length <= name_length || word->at[name_length] != '=' ||
        strncasecmp(word->at, name, name_length) != 0)
        return;
    if (word_number(word->at + name_length + 1, word->length - name_length - 1, &value) && value > 0)
        *out = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static void limits_parse(const char *at, const char *end, struct ehlo_offer *out)
{
    struct word word;

    while (word_next(&at, end, false, &word)) {
        limit_take(&word, "MAILMAX", &out->mail_max);
        limit_take(&word, "RCPTMAX", &out->rcpt_max);
        limit_take(&word, "RCPTDOMAINMAX", &out->rcpt_domain_max);
    }
}

static void auth_parse(const char *at, const char *end, struct ehlo_offer *out)
{
    struct word word;

    while (word_next(&at, end, true, &word)) {
        if (word_is(&word, "PLAIN"))
            out->auth_plain = true;
        else if (word_is(&word, "LOGIN"))
            out->auth_login = true;
    }
}

static void size_parse(const char *at, const char *end, struct ehlo_offer *out)
{
    struct word word;

    out->size_offered = true;
    if (word_next(&at, end, false, &word) && !word_number(word.at, word.length, &out->size_max))
        out->size_max = 0;
}

static void line_parse(const char *at, const char *end, struct ehlo_offer *out)
{
    static const struct {
        const char *keyword;
        size_t flag;
    } plain[] = {
        {"PIPELINING", offsetof(struct ehlo_offer, pipelining)},
        {"STARTTLS", offsetof(struct ehlo_offer, starttls)},
        {"8BITMIME", offsetof(struct ehlo_offer, eightbitmime)},
        {"SMTPUTF8", offsetof(struct ehlo_offer, smtputf8)},
        {"ENHANCEDSTATUSCODES", offsetof(struct ehlo_offer, enhanced_codes)},
        {"CHUNKING", offsetof(struct ehlo_offer, chunking)},
    };
    struct word word;

    /* "AUTH=LOGIN PLAIN" is what servers wrote before RFC 2554, and some still do: '=' ends a keyword. */
    if (!word_next(&at, end, true, &word))
        return;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (word_is(&word, plain[i].keyword))
            *(bool *)((char *)out + plain[i].flag) = true;
    if (word_is(&word, "SIZE"))
        size_parse(at, end, out);
    else if (word_is(&word, "AUTH"))
        auth_parse(at, end, out);
    else if (word_is(&word, "LIMITS"))
        limits_parse(at, end, out);
}

void ehlo_offer_parse(const struct reply *reply, struct ehlo_offer *out)
{
    const char *at = reply->text;
    const char *end = reply->text + reply->length;
    bool greeting = true; /* the first line is the host's name: "STARTTLS.example" offers nothing */

    memset(out, 0, sizeof *out);
    for (;;) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));

        if (!greeting)
            line_parse(at, lf != NULL ? lf : end, out);
        if (lf == NULL)
            return;
        greeting = false;
        at = lf + 1;
    }
}
