/* decode.c - transfer encodings, charsets, HTML and encoded-words into UTF-8 (decode.h). */
#include "decode.h"

#include <ctype.h>
#include <errno.h>

#include "hikyaku/address.h"
#include "hikyaku/bounce.h"

#define TEXT_MAX (1u << 20)

void decoder_init(struct decoder *decoder)
{
    memset(decoder, 0, sizeof *decoder);
    for (unsigned i = 0; i < DECODER_CHARSETS; i++)
        decoder->open[i].cd = (iconv_t)-1;
    decoder->raw.max = decoder->converted.max = 2 * TEXT_MAX;
}

void decoder_free(struct decoder *decoder)
{
    for (unsigned i = 0; i < DECODER_CHARSETS; i++)
        if (decoder->open[i].cd != (iconv_t)-1)
            iconv_close(decoder->open[i].cd);
    text_free(&decoder->raw);
    text_free(&decoder->converted);
}

/* --- transfer encodings --- */

static int base64_value(unsigned char c)
{
    if (isupper(c))
        return c - 'A';
    if (islower(c))
        return c - 'a' + 26;
    if (isdigit(c))
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Octets that are not of the alphabet are passed over (RFC 2045 6.8); after padding a new run may begin. */
static void decode_base64(struct slice in, struct text *out)
{
    uint32_t bits = 0;
    unsigned have = 0;

    for (size_t i = 0; i < in.length; i++) {
        int value = base64_value((unsigned char)in.at[i]);
        if (in.at[i] == '=') {
            have = 0;
            continue;
        }
        if (value < 0)
            continue;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            text_byte(out, (char)(bits >> have & 0xff));
        }
    }
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10 : -1;
}

static void decode_quoted_printable(struct slice in, struct text *out)
{
    for (size_t i = 0; i < in.length; i++) {
        if (in.at[i] != '=') {
            text_byte(out, in.at[i]);
            continue;
        }
        size_t blank = i + 1;
        while (blank < in.length && (in.at[blank] == ' ' || in.at[blank] == '\t'))
            blank++;
        if (blank >= in.length)
            return;
        if (in.at[blank] == '\r' || in.at[blank] == '\n') { /* a soft line break */
            i = blank + (in.at[blank] == '\r' && blank + 1 < in.length && in.at[blank + 1] == '\n');
            continue;
        }
        int high = i + 2 < in.length ? hex_value(in.at[i + 1]) : -1;
        int low = high >= 0 ? hex_value(in.at[i + 2]) : -1;
        text_byte(out, low >= 0 ? (char)(high << 4 | low) : '=');
        i += low >= 0 ? 2 : 0;
    }
}

void decode_transfer(enum mime_encoding encoding, struct slice in, struct text *out)
{
    if (encoding == MIME_BASE64)
        decode_base64(in, out);
    else if (encoding == MIME_QUOTED_PRINTABLE)
        decode_quoted_printable(in, out);
    else
        text_put(out, in.at, in.length);
}

/* --- charsets --- */

static const char *const charsets[] = {
    "ISO-8859-1",    "ISO-8859-2",  "ISO-8859-3",  "ISO-8859-4",  "ISO-8859-5",  "ISO-8859-6",
    "ISO-8859-7",    "ISO-8859-8",  "ISO-8859-9",  "ISO-8859-10", "ISO-8859-13", "ISO-8859-14",
    "ISO-8859-15",   "ISO-8859-16", "CP1250",      "CP1251",      "CP1252",      "CP1253",
    "CP1254",        "CP1255",      "CP1256",      "CP1257",      "CP1258",      "CP437",
    "CP850",         "CP852",       "CP866",       "KOI8-R",      "KOI8-U",      "MACINTOSH",
    "EUC-JP",        "EUC-JP-MS",   "SHIFT_JIS",   "CP932",       "ISO-2022-JP", "ISO-2022-JP-2",
    "ISO-2022-JP-3", "EUC-KR",      "UHC",         "ISO-2022-KR", "GB2312",      "GBK",
    "GB18030",       "HZ-GB-2312",  "ISO-2022-CN", "BIG5",        "BIG5-HKSCS",  "EUC-TW",
    "TIS-620",       "VISCII",      "UTF-7",       "UTF-16",      "UTF-16LE",    "UTF-16BE",
    "UTF-32",        "UTF-8",
};

void charsets_load(void)
{
    static iconv_t
        kept[sizeof charsets / sizeof charsets[0]]; /* while they are open, their modules stay loaded */

    for (size_t i = 0; i < sizeof charsets / sizeof charsets[0]; i++)
        if (kept[i] == NULL)
            kept[i] = iconv_open("UTF-8", charsets[i]);
}

static iconv_t converter(struct decoder *decoder, const char *charset)
{
    unsigned place;
    iconv_t cd;

    for (unsigned i = 0; i < DECODER_CHARSETS; i++)
        if (strcasecmp(decoder->open[i].name, charset) == 0)
            return decoder->open[i].cd;
    cd = iconv_open("UTF-8", charset);
    place = decoder->next++ % DECODER_CHARSETS;
    if (decoder->open[place].cd != (iconv_t)-1)
        iconv_close(decoder->open[place].cd);
    decoder->open[place].cd = cd;
    snprintf(decoder->open[place].name, sizeof decoder->open[place].name, "%s", charset);
    return cd;
}

/* Append `in` as UTF-8; the number of places that are no text of this charset, SIZE_MAX where nobody knows it. */
static size_t convert(struct decoder *decoder, const char *charset, struct slice in, struct text *out)
{
    iconv_t cd = converter(decoder, charset);
    char *from = (char *)(uintptr_t)in.at;
    size_t left = in.length, wrong = 0;
    char piece[2048];

    if (cd == (iconv_t)-1)
        return SIZE_MAX;
    (void)iconv(cd, NULL, NULL, NULL, NULL);
    while (left > 0) {
        char *to = piece;
        size_t room = sizeof piece;
        size_t done = iconv(cd, &from, &left, &to, &room);
        text_put(out, piece, sizeof piece - room);
        if (done != (size_t)-1 || errno == E2BIG)
            continue;
        wrong++;
        text_byte(out, '?');
        from++;
        left--;
        if (errno == EINVAL)
            break; /* cut in the middle of a character */
    }
    return wrong;
}

/* ISO-2022-JP (RFC 1468) as EUC-JP, which needs no state: a line that does not return to ASCII must not drag the next
 * ones with it. */
static void unfold_iso2022jp(struct slice in, struct text *out)
{
    enum { ASCII, KANJI, KANA } set = ASCII;

    for (size_t i = 0; i < in.length; i++) {
        unsigned char c = (unsigned char)in.at[i];
        if (c == 0x1b && i + 2 < in.length) {
            if (in.at[i + 1] == '$' && (in.at[i + 2] == 'B' || in.at[i + 2] == '@'))
                set = KANJI;
            else if (in.at[i + 1] == '(')
                set = in.at[i + 2] == 'I' ? KANA : ASCII;
            i += 2;
            continue;
        }
        if (c == '\n' || c == '\r')
            set = ASCII;
        if (set == KANJI && c > 0x20 && c < 0x7f && i + 1 < in.length && in.at[i + 1] > 0x20 &&
            in.at[i + 1] < 0x7f) {
            text_byte(out, (char)(c | 0x80));
            text_byte(out, (char)((unsigned char)in.at[++i] | 0x80));
        } else if (set == KANA && c > 0x20 && c < 0x60) {
            text_byte(out, (char)0x8e);
            text_byte(out, (char)(c | 0x80));
        } else {
            text_byte(out, in.at[i]);
        }
    }
}

/* Bytes above ASCII of which nobody says the truth: Japanese as it is mislabelled, else one byte a character. */
static void convert_guess(struct decoder *decoder, struct slice in, struct text *out)
{
    static const char *const guesses[] = {"EUC-JP-MS", "CP932"};
    size_t before = out->length;

    for (size_t i = 0; i < sizeof guesses / sizeof *guesses; i++) {
        out->length = before;
        if (convert(decoder, guesses[i], in, out) == 0)
            return;
    }
    out->length = before;
    if (convert(decoder, "CP1252", in, out) == SIZE_MAX)
        text_put(out, in.at, in.length);
}

static bool is_utf16(struct slice charset, struct slice in)
{
    if (in.length >= 2 && (memcmp(in.at, "\xff\xfe", 2) == 0 || memcmp(in.at, "\xfe\xff", 2) == 0))
        return true;
    /* A label alone proves nothing: there have to be the zeros of ASCII in it. */
    return slice_begins(charset, "utf-16") && memchr(in.at, '\0', in.length) != NULL;
}

static void charset_name(struct slice charset, char *out, size_t size)
{
    size_t length = 0;

    for (size_t i = 0; i < charset.length && length + 1 < size; i++)
        if (isalnum((unsigned char)charset.at[i]) || strchr("-_.:", charset.at[i]) != NULL)
            out[length++] = charset.at[i];
    out[length] = '\0';
}

/* Append text of a charset as UTF-8. */
static void decode_charset(struct decoder *decoder, struct slice charset, struct slice in, struct text *out)
{
    size_t ascii = utf8_ascii_length(in.at, in.length), before = out->length;
    char name[40];

    if (is_utf16(charset, in)) {
        charset_name(charset, name, sizeof name);
        if (convert(decoder, slice_begins(charset, "utf-16") ? name : "UTF-16", in, out) != SIZE_MAX)
            return;
        out->length = before;
    }
    if (memchr(in.at, 0x1b, in.length) != NULL) {
        decoder->converted.length = 0;
        decoder->converted.cut = false;
        unfold_iso2022jp(in, &decoder->converted);
        in = text_slice(&decoder->converted);
        ascii = utf8_ascii_length(in.at, in.length);
        if (ascii < in.length) {
            convert_guess(decoder, in, out);
            return;
        }
    }
    if (ascii == in.length || utf8_is_valid(in.at, in.length)) {
        text_put(out, in.at, in.length);
        return;
    }
    charset_name(charset, name, sizeof name);
    if (name[0] != '\0' && !slice_begins(charset, "utf-8") && !slice_begins(charset, "iso-2022-jp") &&
        !slice_begins(charset, "us-ascii")) {
        size_t wrong = convert(decoder, name, in, out);
        if (wrong != SIZE_MAX && wrong <= in.length / 50)
            return;
        out->length = before;
    }
    convert_guess(decoder, in, out);
}

/* --- HTML --- */

static void html_entity(const char **at, const char *end, struct text *out)
{
    static const struct {
        const char *name;
        char c;
    } known[] = {{"amp;", '&'},  {"lt;", '<'},     {"gt;", '>'},   {"quot;", '"'},
                 {"nbsp;", ' '}, {"apos;", '\''},  {"#39;", '\''}, {"#64;", '@'},
                 {"#x40;", '@'}, {"commat;", '@'}, {"#46;", '.'},  {"period;", '.'}};
    struct slice rest = slice_between(*at + 1, end);

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!slice_begins(rest, known[i].name))
            continue;
        text_byte(out, known[i].c);
        *at += strlen(known[i].name);
        return;
    }
    text_byte(out, '&');
}

static bool tag_is(struct slice tag, const char *name)
{
    size_t length = strlen(name);

    return slice_begins(tag, name) && (tag.length == length || !isalnum((unsigned char)tag.at[length]));
}

static bool tag_breaks_line(struct slice tag)
{
    static const char *const names[] = {"br", "p",  "div",   "tr", "li", "h1",  "h2",
                                        "h3", "h4", "table", "ul", "hr", "pre", "blockquote"};

    if (tag.length > 0 && tag.at[0] == '/')
        tag = slice_between(tag.at + 1, slice_end(tag));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (tag_is(tag, names[i]))
            return true;
    return false;
}

/* Where the element that opens here ends, for those whose content is no text. */
static const char *html_skip(struct slice tag, const char *at, const char *end)
{
    const char *const names[] = {"style", "script", "title"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!tag_is(tag, names[i]))
            continue;
        for (; at + 1 < end; at++)
            if (*at == '<' && at[1] == '/' && tag_is(slice_between(at + 2, end), names[i]))
                return at;
        return end;
    }
    return at;
}

/* Text of an HTML document: tags go, with what is in their attributes; blocks and <br> become lines. */
static void html_to_text(struct slice in, struct text *out)
{
    const char *at = in.at, *end = slice_end(in);

    for (; at < end; at++) {
        if (*at == '&') {
            html_entity(&at, end, out);
        } else if (*at == '\r' || *at == '\n' || *at == '\t') {
            text_byte(out, ' ');
        } else if (*at != '<' || at + 1 >= end ||
                   (!isalpha((unsigned char)at[1]) && strchr("/!?", at[1]) == NULL)) {
            text_byte(out, *at);
        } else {
            const char *close = memchr(at, '>', (size_t)(end - at));
            struct slice tag = slice_between(at + 1, close != NULL ? close : end);
            if (tag.length <= 330 && memchr(tag.at, '@', tag.length) != NULL &&
                memchr(tag.at, ' ', tag.length) == NULL && memchr(tag.at, '=', tag.length) == NULL) {
                text_byte(out, '<');
                continue;
            }
            if (tag_breaks_line(tag))
                text_byte(out, '\n');
            at = close != NULL ? html_skip(tag, close, end) : end - 1;
            if (at != close && at < end)
                at--; /* the closing tag of what was skipped comes next */
        }
    }
}

/* --- a part, a field --- */

void decode_part(struct decoder *decoder, const struct mime_part *part, size_t max, struct text *out)
{
    struct slice body = part->body;
    struct text *raw = &decoder->raw;
    struct text html = {.max = TEXT_MAX};

    if (body.length > max)
        body.length = max;
    raw->length = 0;
    raw->cut = false;
    if (part->encoding != MIME_IDENTITY) {
        decode_transfer(part->encoding, body, raw);
        body = text_slice(raw);
    }
    if (body.length == 0)
        return;
    if (part->kind != MIME_HTML) {
        decode_charset(decoder, part->charset, body, out);
        return;
    }
    decode_charset(decoder, part->charset, body, &html);
    html_to_text(text_slice(&html), out);
    out->failed |= html.failed;
    text_free(&html);
}

/* "=?charset?B?text?=" at `at`: where it ends, NULL where it is none. */
static const char *word_decode(struct decoder *decoder, const char *at, const char *end, struct text *out)
{
    const char *part[3], *from = at + 2;
    struct slice charset, text;

    for (unsigned i = 0; i < 3; i++) {
        part[i] = from < end ? memchr(from, '?', (size_t)(end - from)) : NULL;
        if (part[i] == NULL || part[i] - at > 1000)
            return NULL;
        from = part[i] + 1;
    }
    if (part[2] + 1 >= end || part[2][1] != '=' || part[1] != part[0] + 2)
        return NULL;
    charset = slice_between(at + 2, part[0]);
    text = slice_between(part[1] + 1, part[2]);
    decoder->raw.length = 0;
    if ((part[0][1] | 0x20) == 'b') {
        decode_base64(text, &decoder->raw);
    } else {
        size_t begin = decoder->raw.length;
        decode_quoted_printable(text, &decoder->raw);
        for (size_t i = begin; i < decoder->raw.length; i++)
            if (decoder->raw.at[i] == '_')
                decoder->raw.at[i] = ' ';
    }
    if (decoder->raw.length > 0)
        decode_charset(decoder, charset, text_slice(&decoder->raw), out);
    return part[2] + 2;
}

void decode_words(struct decoder *decoder, struct slice value, struct text *out)
{
    const char *at = value.at, *end = slice_end(value);
    struct text plain = {.max = 16384};
    bool between = false; /* blanks between two encoded-words are not there */

    if (value.length > 16384)
        end = value.at + 16384;
    while (at < end) {
        const char *behind =
            *at == '=' && at + 1 < end && at[1] == '?' ? word_decode(decoder, at, end, &plain) : NULL;
        if (behind != NULL) {
            const char *blank = behind;
            while (blank < end && is_blank(*blank))
                blank++;
            between = blank + 1 < end && blank[0] == '=' && blank[1] == '?';
            at = between ? blank : behind;
            continue;
        }
        text_byte(&plain, *at == '\r' || *at == '\n' ? ' ' : *at);
        at++;
    }
    if (plain.length > 0) /* raw bytes above ASCII, too */
        decode_charset(decoder, (struct slice){"", 0}, text_slice(&plain), out);
    out->failed |= plain.failed;
    text_free(&plain);
}
