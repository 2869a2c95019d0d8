/* encode.c - see encode.h. */
#include "encode.h"

#include <errno.h>
#include <iconv.h>
#include <strings.h>

static const char HEX[] = "0123456789ABCDEF";
static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char BASE32[] = "abcdefghijklmnopqrstuvwxyz234567";

static bool is_crlf(const char *text, size_t left)
{
    return left >= 2 && text[0] == '\r' && text[1] == '\n';
}

/* Must this octet be written as =XX? `left` counts it and what follows. */
static bool qp_must_escape(const char *text, size_t left, size_t col)
{
    unsigned char c = (unsigned char)text[0];

    if (c == ' ' || c == '\t')
        return left == 1 || is_crlf(text + 1, left - 1);
    if (c < 33 || c > 126 || c == '=')
        return true;
    if (col != 0)
        return false;
    return c == '.' || c == '-' || (c == 'F' && left >= 5 && memcmp(text, "From ", 5) == 0);
}

void qp_encode(const char *text, size_t length, size_t *col, struct buf *out)
{
    char *to;

    /* Worst case: three for each octet and a soft break of three for each 72 of them. */
    if (!buf_need(out, 3 * length + 3 * (3 * length / 72 + 2)))
        return;
    to = out->at + out->length;
    for (size_t i = 0; i < length; i++) {
        bool escape;

        if (is_crlf(text + i, length - i)) {
            *to++ = '\r';
            *to++ = '\n';
            *col = 0;
            i++;
            continue;
        }
        escape = qp_must_escape(text + i, length - i, *col);
        if (*col + (escape ? 3u : 1u) > ENCODE_LINE_MAX - 1) {
            *to++ = '=';
            *to++ = '\r';
            *to++ = '\n';
            *col = 0;
            escape = qp_must_escape(text + i, length - i, 0);
        }
        if (escape) {
            *to++ = '=';
            *to++ = HEX[(unsigned char)text[i] >> 4];
            *to++ = HEX[text[i] & 15];
            *col += 3;
        } else {
            *to++ = text[i];
            *col += 1;
        }
    }
    out->length = (size_t)(to - out->at);
}

size_t qp_size(const char *text, size_t length)
{
    size_t size = length;

    for (size_t i = 0; i < length; i++)
        size += (unsigned char)text[i] > 126 || text[i] == '=' ? 2 : 0;
    return size;
}

static void base64_group(const uint8_t in[3], char out[4])
{
    out[0] = BASE64[in[0] >> 2];
    out[1] = BASE64[(in[0] & 3) << 4 | in[1] >> 4];
    out[2] = BASE64[(in[1] & 15) << 2 | in[2] >> 6];
    out[3] = BASE64[in[2] & 63];
}

void base64_put(struct base64 *state, const char *text, size_t length, size_t *col, struct buf *out)
{
    size_t groups = (length + state->carry_length) / 3;

    if (!buf_need(out, groups * 4 + 2 * (groups / 19 + 2)))
        return;
    for (size_t i = 0; i < length; i++) {
        char *to = out->at + out->length;

        state->carry[state->carry_length++] = (uint8_t)text[i];
        if (state->carry_length < 3)
            continue;
        if (*col + 4 > ENCODE_LINE_MAX) {
            *to++ = '\r';
            *to++ = '\n';
            *col = 0;
        }
        base64_group(state->carry, to);
        out->length = (size_t)(to + 4 - out->at);
        *col += 4;
        state->carry_length = 0;
    }
}

void base64_end(struct base64 *state, size_t *col, struct buf *out)
{
    char group[4];
    uint8_t left = state->carry_length;

    if (left == 0)
        return;
    memset(state->carry + left, 0, 3u - left);
    base64_group(state->carry, group);
    memset(group + left + 1, '=', 3u - left);
    if (*col + 4 > ENCODE_LINE_MAX) {
        buf_put(out, "\r\n", 2);
        *col = 0;
    }
    buf_put(out, group, 4);
    *col += 4;
    state->carry_length = 0;
}

void base64_line(const void *bytes, size_t length, struct buf *out)
{
    const uint8_t *in = bytes;

    if (!buf_need(out, (length + 2) / 3 * 4))
        return;
    for (; length >= 3; length -= 3, in += 3, out->length += 4)
        base64_group(in, out->at + out->length);
    if (length > 0) {
        uint8_t last[3] = {in[0], length > 1 ? in[1] : 0, 0};

        base64_group(last, out->at + out->length);
        memset(out->at + out->length + length + 1, '=', 3 - length);
        out->length += 4;
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* Octets of a soft line break behind a '=' at text: blanks and one line end; 0 if it is none. */
static size_t qp_soft_break(const char *text, size_t left)
{
    size_t i = 1;

    while (i < left && (text[i] == ' ' || text[i] == '\t'))
        i++;
    if (i == left)
        return i;
    if (is_crlf(text + i, left - i))
        return i + 2;
    return text[i] == '\n' || text[i] == '\r' ? i + 1 : 0;
}

/* The end of a line's content, without the blanks that transport may have added (RFC 2045 6.7 rule 3). */
static size_t qp_blanks(const char *text, size_t left)
{
    size_t i = 0;

    while (i < left && (text[i] == ' ' || text[i] == '\t'))
        i++;
    return i > 0 && (i == left || text[i] == '\r' || text[i] == '\n') ? i : 0;
}

/* Octets at text that stand for none: a soft line break, or blanks at a line's end; 0 if it is neither. */
static size_t qp_nothing(const char *text, size_t left)
{
    return text[0] == '=' ? qp_soft_break(text, left) : qp_blanks(text, left);
}

void qp_decode(const char *text, size_t length, struct buf *out)
{
    for (size_t i = 0; i < length;) {
        size_t skip;

        if (text[i] == '=' && length - i >= 3 && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0) {
            buf_byte(out, (char)(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2])));
            i += 3;
            continue;
        }
        skip = qp_nothing(text + i, length - i);
        if (skip == 0)
            buf_byte(out, text[i++]);
        i += skip;
    }
}

/* Octet -> its six bits; 0xFF for one that is not of the alphabet. */
static const uint8_t *base64_values(void)
{
    static uint8_t value[256];

    if (value['B'] == 0) {
        memset(value, 0xFF, sizeof value);
        for (unsigned i = 0; i < 64; i++)
            value[(unsigned char)BASE64[i]] = (uint8_t)i;
    }
    return value;
}

size_t base64_fault(const char *text, size_t length)
{
    const uint8_t *value = base64_values();
    size_t digits = 0, pads = 0;

    for (size_t i = 0; i < length; i++) {
        if (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n')
            continue;
        if (text[i] == '=')
            pads++;
        else if (value[(unsigned char)text[i]] == 0xFF || pads > 0)
            return i + 1;
        else
            digits++;
        if (pads > 2)
            return i + 1;
    }
    return digits % 4 == 1 ? length : 0; /* six bits are no octet: its end is missing */
}

void base64_decode(const char *text, size_t length, struct buf *out)
{
    const uint8_t *value = base64_values();
    uint32_t bits = 0;
    unsigned count = 0;

    for (size_t i = 0; i < length && text[i] != '='; i++) {
        if (value[(unsigned char)text[i]] == 0xFF)
            continue;
        bits = bits << 6 | value[(unsigned char)text[i]];
        if (++count % 4 != 1)
            buf_byte(out, (char)(bits >> (count % 4 == 2 ? 4 : count % 4 == 3 ? 2 : 0)));
    }
}

size_t base32_size(size_t bytes)
{
    return (bytes * 8 + 4) / 5;
}

void base32_encode(const uint8_t *bytes, size_t length, char *out)
{
    uint32_t bits = 0;
    unsigned have = 0;

    for (size_t i = 0; i < length; i++) {
        bits = bits << 8 | bytes[i];
        for (have += 8; have >= 5; have -= 5)
            *out++ = BASE32[bits >> (have - 5) & 31];
    }
    if (have > 0)
        *out = BASE32[bits << (5 - have) & 31];
}

static int base32_value(char c)
{
    if (c >= 'a' && c <= 'z')
        return c - 'a';
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    return c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

int base32_decode(const char *text, size_t length, uint8_t *out, size_t room)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t count = 0;

    if (length * 5 / 8 > room || length * 5 % 8 >= 5)
        return -1;
    for (size_t i = 0; i < length; i++) {
        int value = base32_value(text[i]);

        if (value < 0)
            return -1;
        bits = bits << 5 | (uint32_t)value;
        have += 5;
        if (have >= 8) {
            have -= 8;
            out[count++] = (uint8_t)(bits >> have);
        }
    }
    return (bits & ((1u << have) - 1)) == 0 ? (int)count : -1;
}

static const char *html_entity(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

void text_escape(const char *text, size_t length, bool html, struct buf *out)
{
    for (size_t i = 0; i < length; i++) {
        const char *entity = html ? html_entity(text[i]) : NULL;

        if (entity != NULL) {
            buf_text(out, entity);
        } else if (text[i] == '\r' || text[i] == '\n') {
            i += is_crlf(text + i, length - i) ? 1 : 0;
            buf_put(out, "\r\n", 2);
        } else {
            buf_byte(out, text[i]);
        }
    }
}

void text_normalise(const char *text, size_t length, struct buf *out)
{
    size_t from = 0;

    for (size_t i = 0; i < length; i++) {
        if (text[i] != '\r' && text[i] != '\n')
            continue;
        buf_put(out, text + from, i - from);
        buf_put(out, "\r\n", 2);
        i += is_crlf(text + i, length - i) ? 1 : 0;
        from = i + 1;
    }
    buf_put(out, text + from, length - from);
}

bool text_is_plain(const char *text, size_t length, bool html)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\r' || text[i] == '\n' || (html && html_entity(text[i]) != NULL))
            return false;
    }
    return true;
}

/* How many octets a character takes by its first one; 0 for one that begins none. */
static size_t utf8_need(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xC2 && first <= 0xDF)
        return 2;
    if (first >= 0xE0 && first <= 0xEF)
        return 3;
    return first >= 0xF0 && first <= 0xF4 ? 4 : 0;
}

static bool utf8_is_char(const unsigned char *text, size_t need, size_t left)
{
    if (need == 0 || need > left)
        return false;
    for (size_t i = 1; i < need; i++) {
        if ((text[i] & 0xC0) != 0x80)
            return false;
    }
    /* Overlong forms, surrogates, and what lies beyond U+10FFFF. */
    return !((text[0] == 0xE0 && text[1] < 0xA0) || (text[0] == 0xED && text[1] > 0x9F) ||
             (text[0] == 0xF0 && text[1] < 0x90) || (text[0] == 0xF4 && text[1] > 0x8F));
}

size_t utf8_length(const char *text, size_t length)
{
    size_t need = utf8_need((unsigned char)text[0]);

    return utf8_is_char((const unsigned char *)text, need, length) ? need : 1;
}

size_t utf8_fault(const char *text, size_t length)
{
    for (size_t i = 0; i < length;) {
        size_t need = utf8_need((unsigned char)text[i]);

        if (!utf8_is_char((const unsigned char *)text + i, need, length - i))
            return i + 1;
        i += need;
    }
    return 0;
}

bool text_is_ascii(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] >= 0x80 || text[i] == 0)
            return false;
    }
    return true;
}

static int iconv_to_utf8(const char *charset, const char *text, size_t length, struct buf *out)
{
    iconv_t cd = iconv_open("UTF-8", charset);
    char *in = (char *)(uintptr_t)text; /* iconv's signature; it does not write there */
    int error = 0;

    if (cd == (iconv_t)-1)
        return HK_EINVAL;
    while (length > 0 && error == 0) {
        char *to;
        size_t room;

        if (!buf_need(out, length * 2 + 16))
            break;
        to = out->at + out->length;
        room = out->room - out->length;
        if (iconv(cd, &in, &length, &to, &room) == (size_t)-1 && errno != E2BIG)
            error = HK_EINVAL;
        out->length = (size_t)(to - out->at);
    }
    iconv_close(cd);
    return out->failed ? HK_ENOMEM : error;
}

/* One character of ISO-2022-JP's two-octet sets as Shift_JIS has it. */
static void jis_put(struct buf *out, unsigned char row, unsigned char cell)
{
    unsigned high = (unsigned)(row - 0x21) / 2 + 0x81, low = cell;

    if (row % 2 != 0)
        low += cell < 0x60 ? 0x1Fu : 0x20u;
    else
        low += 0x7Eu;
    buf_byte(out, (char)(high > 0x9F ? high + 0x40 : high));
    buf_byte(out, (char)low);
}

enum jis_set { JIS_ASCII, JIS_KANA, JIS_KANJI, JIS_UNKNOWN };

/* Which set the escape sequence behind ESC chooses, and how long it is. */
static enum jis_set jis_escape(const char *text, size_t length, size_t *used)
{
    static const struct {
        char octets[4];
        enum jis_set set;
    } known[] = {{"(B", JIS_ASCII}, {"(J", JIS_ASCII}, {"(I", JIS_KANA},
                 {"$@", JIS_KANJI}, {"$B", JIS_KANJI}, {"$(B", JIS_KANJI}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        *used = strlen(known[i].octets);
        if (*used <= length && memcmp(text, known[i].octets, *used) == 0)
            return known[i].set;
    }
    return JIS_UNKNOWN;
}

/* ISO-2022-JP as mail programs on Windows write it, into Windows' Shift_JIS: they use that set's characters
 * (circled digits, half-width kana), which the standard (RFC 1468) does not have. False: not even that. */
static bool jis_to_cp932(const char *text, size_t length, struct buf *out)
{
    enum jis_set set = JIS_ASCII;
    size_t used;

    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == 0x1B) {
            set = jis_escape(text + i + 1, length - i - 1, &used);
            i += used;
        } else if (c < 0x80 && (set == JIS_ASCII || c <= ' ' || c == 0x7F)) {
            buf_byte(out, (char)c);
        } else if (c < 0x80 && set == JIS_KANA) {
            buf_byte(out, (char)(c | 0x80));
        } else if (c < 0x7F && set == JIS_KANJI && i + 1 < length && text[i + 1] > ' ' &&
                   text[i + 1] < 0x7F) {
            jis_put(out, c, (unsigned char)text[++i]);
        } else {
            return false;
        }
        if (set == JIS_UNKNOWN)
            return false;
    }
    return true;
}

static int jis_to_utf8(const char *text, size_t length, struct buf *out)
{
    struct buf cp932 = {0};
    int error = jis_to_cp932(text, length, &cp932) ? 0 : HK_EINVAL;

    if (cp932.failed)
        error = HK_ENOMEM;
    if (error == 0)
        error = iconv_to_utf8("CP932", cp932.at, cp932.length, out);
    buf_free(&cp932);
    return error;
}

/* What programs mean by these names is the larger set of Windows (as browsers read them). */
static const char *charset_meant(const char *charset)
{
    static const char *const meant[][2] = {
        {"iso-8859-1", "WINDOWS-1252"},
        {"shift_jis", "CP932"},
        {"shift-jis", "CP932"},
        {"sjis", "CP932"},
        {"x-sjis", "CP932"},
        {"euc-jp", "EUC-JP-MS"},
        {"gb2312", "GB18030"},
        {"gbk", "GB18030"},
        {"ks_c_5601-1987", "CP949"},
        {"euc-kr", "CP949"},
        {"big5", "BIG5-HKSCS"},
        {"iso-8859-8-i", "ISO-8859-8"},
        {"iso-8859-9", "WINDOWS-1254"},
        {"tis-620", "CP874"},
    };

    for (size_t i = 0; i < sizeof meant / sizeof meant[0]; i++) {
        if (strcasecmp(charset, meant[i][0]) == 0)
            return meant[i][1];
    }
    return charset;
}

int charset_to_utf8(const char *charset, const char *text, size_t length, struct buf *out)
{
    size_t from = out->length;
    int error;

    if (strcasecmp(charset, "iso-2022-jp") == 0)
        error = jis_to_utf8(text, length, out);
    else
        error = iconv_to_utf8(charset_meant(charset), text, length, out);
    if (error == HK_EINVAL) { /* the larger set lacks it: perhaps the name is meant as it stands */
        out->length = from;
        error = iconv_to_utf8(charset, text, length, out);
    }
    return error;
}
