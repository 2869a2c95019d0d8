/* address.c - read mailbox addresses and domain names (RFC 5321 4.1.2, RFC 6531 3.3, RFC 5890-5893).
 *
 * Whatever passes here may stand in an SMTP command: no control byte, no blank outside quotes, no bare '<' or
 * '>'. The length limits are those that a receiver must take (RFC 5321 4.5.3.1: local part 64, path 256 with
 * its brackets) and that DNS can carry (253 octets, labels of 63). Touches no file and keeps nothing.
 */
#include <idn2.h>
#include <string.h>
#include <strings.h>

#include "hikyaku/address.h"

#define ADDRESS_PATH_MAX  254 /* RFC 5321 4.5.3.1.3 without the angle brackets */
#define DOMAIN_NAME_MAX   253 /* 255 octets in DNS: a length before each label and the root behind */
#define DOMAIN_LABEL_MAX  63
#define DOMAIN_INPUT_MAX  1024 /* no Unicode form of 253 octets of A-labels is longer in UTF-8 */
#define ADDRESS_INPUT_MAX (DOMAIN_INPUT_MAX + ADDRESS_LOCAL_MAX + 1)

/* RFC 5322 3.2.3, without the dot. */
static const bool atext[128] = {
    ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['!'] = true,  ['#'] = true,
    ['$'] = true,         ['%'] = true,         ['&'] = true,         ['\''] = true, ['*'] = true,
    ['+'] = true,         ['-'] = true,         ['/'] = true,         ['='] = true,  ['?'] = true,
    ['^'] = true,         ['_'] = true,         ['`'] = true,         ['{'] = true,  ['|'] = true,
    ['}'] = true,         ['~'] = true,
};

static int bad_byte(struct hk_why *why, unsigned char c, const char *where)
{
    if (c == ' ' || c == '\t')
        return why_set(why, HK_EINVAL, "blank in the %s", where);
    if (c < 0x20 || c >= 0x7f)
        return why_set(why, HK_EINVAL, "control byte 0x%02x in the %s", c, where);
    return why_set(why, HK_EINVAL, "'%c' in the %s", c, where);
}

/* Characters that nobody types into a mailbox name on purpose: C1 controls, no-break, ideographic and
 * zero-width blanks, direction marks, the byte order mark. They come from spreadsheets, and only ever bounce. */
static bool is_invisible(const unsigned char *t, size_t left)
{
    if (left >= 2 && t[0] == 0xc2)
        return t[1] <= 0xa0;
    if (left < 3)
        return false;
    return (t[0] == 0xe3 && t[1] == 0x80 && t[2] == 0x80) || (t[0] == 0xef && t[1] == 0xbb && t[2] == 0xbf) ||
           (t[0] == 0xe2 && t[1] == 0x80 &&
            ((t[2] >= 0x80 && t[2] <= 0x8f) || (t[2] >= 0xa8 && t[2] <= 0xaf))) ||
           (t[0] == 0xe2 && t[1] == 0x81 && t[2] >= 0xa0 && t[2] <= 0xaf);
}

/* Measure an unquoted local part: everything before the first '@'. */
static int read_atoms(const char *text, size_t length, struct address *out, struct hk_why *why)
{
    bool after_dot = true;
    size_t i;

    for (i = 0; i < length && text[i] != '@'; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '.') {
            out->legacy = out->legacy || after_dot;
            after_dot = true;
            continue;
        }
        after_dot = false;
        if (c >= 0x80 && is_invisible((const unsigned char *)text + i, length - i))
            return why_set(why, HK_EINVAL, "invisible character or full-width blank in the local part");
        if (c < 0x80 && !atext[c])
            return bad_byte(why, c, "local part");
        out->smtputf8 = out->smtputf8 || c >= 0x80;
    }
    out->legacy = out->legacy || after_dot;
    out->local_length = (uint16_t)i;
    return 0;
}

/* Measure a quoted local part: "..." with qtextSMTP, blanks and quoted pairs (RFC 5321 4.1.2). */
static int read_quoted(const char *text, size_t length, struct address *out, struct hk_why *why)
{
    size_t i;

    for (i = 1; i < length && text[i] != '"'; i++) {
        unsigned char c = (unsigned char)text[i];
        bool escaped = c == '\\';
        if (escaped && ++i < length)
            c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f)
            return bad_byte(why, c, "local part");
        if (c >= 0x80 && escaped)
            return why_set(why, HK_EINVAL, "backslash before a character that is not ASCII");
        if (c >= 0x80 && is_invisible((const unsigned char *)text + i, length - i))
            return why_set(why, HK_EINVAL, "invisible character or full-width blank in the local part");
        out->smtputf8 = out->smtputf8 || c >= 0x80;
    }
    if (i >= length)
        return why_set(why, HK_EINVAL, "the quoted local part never ends");
    out->local_length = (uint16_t)(i + 1);
    return 0;
}

/* Copy a name of letters, digits and hyphens in lower case. Names in A-labels already are taken as they are:
 * some in use (IDNA 2003, emoji) are no valid IDNA 2008, yet DNS knows them. */
static int copy_ascii_name(const char *text, size_t length, char *out, struct hk_why *why)
{
    size_t label = 0;

    if (length > DOMAIN_NAME_MAX)
        return why_set(why, HK_EINVAL, "domain is longer than %d octets", DOMAIN_NAME_MAX);
    for (size_t i = 0; i <= length; i++) {
        unsigned char c = i < length ? (unsigned char)text[i] : '.';
        if (c == '.') {
            if (label == 0)
                return why_set(why, HK_EINVAL, "%s", length == 0 ? "no domain" : "domain has an empty label");
            if (text[i - 1] == '-')
                return why_set(why, HK_EINVAL, "a label of the domain ends with '-'");
            if (label > DOMAIN_LABEL_MAX)
                return why_set(why, HK_EINVAL, "a label of the domain is longer than %d octets",
                               DOMAIN_LABEL_MAX);
            label = 0;
        } else {
            if (c >= 'A' && c <= 'Z')
                c = (unsigned char)(c + ('a' - 'A'));
            if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
                return bad_byte(why, c, "domain");
            if (c == '-' && label == 0)
                return why_set(why, HK_EINVAL, "a label of the domain begins with '-'");
            label++;
        }
        out[i] = (char)(i < length ? c : '\0');
    }
    return 0;
}

/* Unicode name -> A-labels, with the mapping of UTS 46 (case, width) that people who type names rely on. */
static int copy_unicode_name(const char *text, size_t length, char *out, struct hk_why *why)
{
    uint8_t name[DOMAIN_INPUT_MAX + 1], *ascii = NULL;
    int rc;

    memcpy(name, text, length);
    name[length] = '\0';
    rc = idn2_lookup_u8(name, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc == IDN2_MALLOC)
        return why_set(why, HK_ENOMEM, "out of memory");
    if (rc != IDN2_OK)
        return why_set(why, HK_EINVAL, "domain is no valid international name: %s", idn2_strerror(rc));
    rc = copy_ascii_name((const char *)ascii, strlen((const char *)ascii), out, why);
    idn2_free(ascii);
    return rc;
}

int domain_to_ascii(const char *text, size_t length, char *out, struct hk_why *why)
{
    if (length > DOMAIN_INPUT_MAX)
        return why_set(why, HK_EINVAL, "domain is longer than %d octets", DOMAIN_NAME_MAX);
    if (length > 1 && text[length - 1] == '.')
        length--;
    if (utf8_ascii_length(text, length) == length)
        return copy_ascii_name(text, length, out, why);
    if (!utf8_is_valid(text, length))
        return why_set(why, HK_EINVAL, "not UTF-8");
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] <= 0x20 || text[i] == 0x7f)
            return bad_byte(why, (unsigned char)text[i], "domain");
    return copy_unicode_name(text, length, out, why);
}

static int read_domain(const char *text, size_t length, char *out, struct hk_why *why)
{
    const char *last;
    int rc;

    if (length > 0 && text[0] == '[')
        return why_set(why, HK_EINVAL, "an IP address in brackets is not taken: write a domain name");
    if (length > 0 && memchr(text, '@', length) != NULL)
        return why_set(why, HK_EINVAL, "more than one @");
    if (length > 0 && text[length - 1] == '.')
        return why_set(why, HK_EINVAL, "domain ends with a dot");
    rc = domain_to_ascii(text, length, out, why);
    if (rc != 0)
        return rc;
    last = strrchr(out, '.');
    if (last == NULL)
        return why_set(why, HK_EINVAL, "domain has no dot: write the whole name");
    if (strspn(last + 1, "0123456789") == strlen(last + 1))
        return why_set(why, HK_EINVAL, "domain ends in a number: no such top-level domain exists");
    return 0;
}

/* "Name <x@y>", "<x@y>": the commonest of all mistakes, so it gets words of its own. */
static bool is_bracketed(const char *text, size_t length)
{
    return text[length - 1] == '>' && memchr(text, '<', length) != NULL;
}

static int without_at(const char *text, size_t length, struct hk_why *why)
{
    if (memmem(text, length, "\xef\xbc\xa0", 3) != NULL)
        return why_set(why, HK_EINVAL, "no @ (the full-width sign is another character)");
    return why_set(why, HK_EINVAL, "no @");
}

int address_parse(const char *text, size_t length, struct address *out, struct hk_why *why)
{
    int rc;

    out->text[0] = '\0';
    out->length = out->local_length = 0;
    out->smtputf8 = out->legacy = false;
    if (length == 0)
        return why_set(why, HK_EINVAL, "empty address");
    if (length > ADDRESS_INPUT_MAX)
        return why_set(why, HK_EINVAL, "address is longer than %d octets", ADDRESS_PATH_MAX);
    if (!utf8_is_valid(text, length))
        return why_set(why, HK_EINVAL, "not UTF-8");
    if (is_bracketed(text, length))
        return why_set(why, HK_EINVAL, "write only the address, without a name and without < >");
    if (memchr(text, '@', length) == NULL)
        return without_at(text, length, why);
    rc = text[0] == '"' ? read_quoted(text, length, out, why) : read_atoms(text, length, out, why);
    if (rc != 0)
        return rc;
    if (out->local_length == length || text[out->local_length] != '@')
        return why_set(why, HK_EINVAL, "no @ behind the quoted local part");
    if (out->local_length == 0)
        return why_set(why, HK_EINVAL, "nothing before the @");
    if (out->local_length > ADDRESS_LOCAL_MAX)
        return why_set(why, HK_EINVAL, "local part is longer than %d octets", ADDRESS_LOCAL_MAX);
    memcpy(out->text, text, out->local_length + 1u);
    rc = read_domain(text + out->local_length + 1, length - out->local_length - 1,
                     out->text + out->local_length + 1, why);
    if (rc != 0)
        return rc;
    out->length = (uint16_t)(out->local_length + 1u + strlen(out->text + out->local_length + 1));
    if (out->length > ADDRESS_PATH_MAX)
        return why_set(why, HK_EINVAL, "address is longer than %d octets", ADDRESS_PATH_MAX);
    return 0;
}

size_t address_plain_local(const char *text, size_t length)
{
    size_t most = length < ADDRESS_LOCAL_MAX + 1 ? length : ADDRESS_LOCAL_MAX + 1, i;

    for (i = 0; i < most; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x80 && atext[c])
            continue;
        if (c != '.' || i == 0 || text[i - 1] == '.')
            break;
    }
    if (i == 0 || i == most || text[i] != '@' || text[i - 1] == '.')
        return 0;
    return length <= ADDRESS_PATH_MAX ? i : 0;
}

bool address_is_legacy(const char *text, size_t length)
{
    const char *at = memrchr(text, '@', length);

    if (at == NULL || at == text || text[0] == '"')
        return false;
    return text[0] == '.' || at[-1] == '.' || memmem(text, (size_t)(at - text), "..", 2) != NULL;
}

bool domain_matches(const char *pattern, const char *name)
{
    size_t tail, length = strlen(name);

    if (strncmp(pattern, "*.", 2) != 0)
        return strcasecmp(pattern, name) == 0;
    tail = strlen(pattern + 1);
    return length > tail && strcasecmp(name + length - tail, pattern + 1) == 0;
}
