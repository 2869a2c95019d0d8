/* mention.c - find addresses in texts and report fields (mention.h).
 *
 * Laxer than address.h: a bounce names what the list held, ".foo..bar.@docomo.ne.jp" and quoted local parts included.
 */
#include "mention.h"

#include <ctype.h>

#include "hikyaku/address.h"

/* What a local part may have where nothing marks its beginning: less than RFC 5322 allows, because of what stands around
 * addresses in texts. */
static bool is_local(unsigned char c)
{
    return isalnum(c) || (c != '\0' && strchr("._+-=/%'~!$&", c) != NULL);
}

static bool is_local_in_brackets(unsigned char c)
{
    return c > ' ' && c != 0x7f && strchr("<>()[]\",;:\\@", c) == NULL;
}

static bool is_domain(unsigned char c)
{
    return isalnum(c) || c == '-' || c == '.' || c == '_' || c >= 0x80;
}

static size_t local_start(struct slice text, size_t at, bool *tight)
{
    size_t from = at, floor = at > ADDRESS_MAX ? at - ADDRESS_MAX : 0;

    *tight = false;
    if (at > 1 && text.at[at - 1] == '"') { /* a quoted local part */
        from = at - 1;
        while (from > floor && text.at[from - 1] != '"' && (unsigned char)text.at[from - 1] >= ' ')
            from--;
        *tight = from > 1 && text.at[from - 2] == '<';
        return from > floor && text.at[from - 1] == '"' ? from - 1 : at;
    }
    while (from > floor && is_local_in_brackets((unsigned char)text.at[from - 1]))
        from--;
    if (from < at && from > 0 && text.at[from - 1] == '<') {
        *tight = true;
        return from;
    }
    from = at;
    while (from > floor && is_local((unsigned char)text.at[from - 1]))
        from--;
    while (from < at && (text.at[from] == '\'' || text.at[from] == '=' || text.at[from] == '/'))
        from++;
    return from;
}

/* Length of the domain at `at`; 0 where it is none that a mail goes to. */
static size_t domain_length(const char *at, size_t left, bool tight, bool lone)
{
    size_t length = 0;
    const char *dot;

    while (length < left && length <= DOMAIN_MAX && is_domain((unsigned char)at[length]) &&
           (tight || (unsigned char)at[length] < 0x80))
        length++;
    while (length > 0 && strchr(".-_", at[length - 1]) != NULL)
        length--;
    if (length == 0 || length > DOMAIN_MAX || at[0] == '.')
        return 0;
    dot = memrchr(at, '.', length);
    if (dot == NULL)
        return lone ? length : 0;
    for (const char *c = dot + 1; c < at + length; c++)
        if (!isdigit((unsigned char)*c))
            return length;
    return 0; /* an IP address */
}

bool mention_at(struct slice text, size_t at, struct slice *address, bool *tight)
{
    size_t from = local_start(text, at, tight);
    size_t length = domain_length(text.at + at + 1, text.length - at - 1, *tight, false);

    if (from == at || length == 0 || at - from > 255)
        return false;
    if (from >= 7 && strncasecmp(text.at + from - 7, "mailto:", 7) == 0)
        return false;
    *address = (struct slice){text.at + from, at + 1 + length - from};
    return true;
}

/* RFC 6533 3: a character as \x{HEX}. */
static size_t escape_put(const char *at, size_t left, char *out, size_t room, size_t *used)
{
    uint32_t code = 0;
    size_t i = 3;

    if (left < 5 || at[0] != '\\' || at[1] != 'x' || at[2] != '{')
        return 0;
    for (; i < left && i < 10 && isxdigit((unsigned char)at[i]); i++)
        code =
            code << 4 | (uint32_t)(isdigit((unsigned char)at[i]) ? at[i] - '0' : (at[i] | 0x20) - 'a' + 10);
    if (i >= left || at[i] != '}' || i == 3 || code < 0x20 || code > 0x10ffff ||
        (code >= 0xd800 && code < 0xe000) || room < 5)
        return 0;
    if (code < 0x80) {
        out[(*used)++] = (char)code;
    } else if (code < 0x800) {
        out[(*used)++] = (char)(0xc0 | code >> 6);
        out[(*used)++] = (char)(0x80 | (code & 0x3f));
    } else {
        if (code < 0x10000) {
            out[(*used)++] = (char)(0xe0 | code >> 12);
        } else {
            out[(*used)++] = (char)(0xf0 | code >> 18);
            out[(*used)++] = (char)(0x80 | (code >> 12 & 0x3f));
        }
        out[(*used)++] = (char)(0x80 | (code >> 6 & 0x3f));
        out[(*used)++] = (char)(0x80 | (code & 0x3f));
    }
    return i + 1;
}

/* Behind "rfc822;", without brackets and comments. */
static struct slice field_address(struct slice value)
{
    const char *semicolon = memchr(value.at, ';', value.length < 40 ? value.length : 40);
    const char *open, *close;

    if (semicolon != NULL && memchr(value.at, '@', (size_t)(semicolon - value.at)) == NULL)
        value = slice_between(semicolon + 1, slice_end(value));
    value = slice_trim(value);
    open = memchr(value.at, '<', value.length);
    close = open != NULL ? memchr(open, '>', (size_t)(slice_end(value) - open)) : NULL;
    if (close != NULL && memchr(open, '@', (size_t)(close - open)) != NULL)
        return slice_trim(slice_between(open + 1, close));
    if (open == value.at && value.length > 0) /* cut off before the '>' */
        value = slice_between(value.at + 1, slice_end(value));
    for (size_t i = 0; i + 1 < value.length && value.at[0] != '"'; i++)
        if (is_blank(value.at[i]) && value.at[i + 1] == '(')
            return slice_trim(slice_between(value.at, value.at + i));
    return value;
}

bool mention_of_field(struct slice value, char *out, size_t size)
{
    struct slice address = {"", 0};
    const char *sign;
    size_t used = 0;

    if (value.length > 0)
        address = field_address(value);
    if (address.length == 0 || address.length > 4 * ADDRESS_MAX)
        return false;
    for (size_t i = 0; i < address.length && used + 1 < size; i++) {
        size_t escape = escape_put(address.at + i, address.length - i, out, size - 1 - used, &used);
        if (escape > 0) {
            i += escape - 1;
            continue;
        }
        if ((unsigned char)address.at[i] < ' ' || address.at[i] == '<' || address.at[i] == '>' ||
            (address.at[i] == ' ' && address.at[0] != '"'))
            return false;
        out[used++] = address.at[i];
    }
    out[used] = '\0';
    sign = memrchr(out, '@', used);
    if (sign == NULL || sign == out || sign + 1 == out + used || out[0] == '|' ||
        (out[0] == '/' && strchr(out + 1, '/') != NULL))
        return false;
    if (sign[1] == '[')
        return out[used - 1] == ']';
    size_t domain = domain_length(sign + 1, (size_t)(out + used - sign - 1), true, true);
    if (domain == 0)
        return false;
    out[(size_t)(sign + 1 - out) + domain] = '\0';
    return true;
}

uint64_t mention_hash(struct slice address)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < address.length; i++)
        hash = (hash ^ (uint64_t)(unsigned char)tolower((unsigned char)address.at[i])) * 0x100000001b3u;
    return hash | 1;
}
