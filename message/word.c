/* word.c - see word.h. */
#include "word.h"

#include "encode.h"

#include <strings.h>

#define ENCODED_WORD_MAX  75 /* RFC 2047 2 */
#define ENCODED_LINE_MAX  76
#define ENCODED_FRAME     12 /* "=?UTF-8?B?" and "?=" */
#define ENCODED_WORTH     30 /* less room than this on a line is left empty */
#define PHRASE_QUOTED_MAX 200

void fold_begin(struct fold *fold, struct buf *out, const char *name, size_t name_length)
{
    *fold = (struct fold){.out = out, .col = name_length + 1};
    buf_put(out, name, name_length);
    buf_byte(out, ':');
}

static void fold_line(struct fold *fold)
{
    buf_put(fold->out, "\r\n", 2);
    fold->col = 0;
}

void fold_word(struct fold *fold, const char *word, size_t length)
{
    if (fold->begun && fold->col + 1 + length > WORD_LINE_MAX)
        fold_line(fold);
    fold->begun = true;
    buf_byte(fold->out, ' ');
    buf_put(fold->out, word, length);
    fold->col += length + 1;
}

void fold_glue(struct fold *fold, const char *text)
{
    buf_text(fold->out, text);
    fold->col += strlen(text);
}

void fold_end(struct fold *fold)
{
    buf_put(fold->out, "\r\n", 2);
}

/* Octets of one character in Q encoding, in the set that is safe in a phrase too (RFC 2047 5 (3)). */
static bool q_is_plain(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == ' ' ||
           (c != 0 && strchr("!*+-/", c) != NULL);
}

static size_t q_size(const char *text, size_t length)
{
    size_t size = 0;

    for (size_t i = 0; i < length; i++)
        size += q_is_plain((unsigned char)text[i]) ? 1 : 3;
    return size;
}

static void q_put(struct buf *out, const char *text, size_t length)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        const char escape[3] = {'=', hex[c >> 4], hex[c & 15]};

        if (c == ' ')
            buf_byte(out, '_');
        else if (q_is_plain(c))
            buf_byte(out, text[i]);
        else
            buf_put(out, escape, 3);
    }
}

/* How many octets of text, whole characters, fit into `room` octets of encoded text. */
static size_t encoded_fit(const char *text, size_t length, bool base64, size_t room)
{
    size_t used = 0, size = 0;

    while (used < length) {
        size_t n = utf8_length(text + used, length - used);

        size = base64 ? (used + n + 2) / 3 * 4 : size + q_size(text + used, n);
        if (size > room)
            break;
        used += n;
    }
    return used;
}

static void fold_encoded(struct fold *fold, const char *text, size_t length)
{
    bool base64 = (length + 2) / 3 * 4 <= q_size(text, length);

    while (length > 0 && !fold->out->failed) {
        size_t room = fold->col + 1 + ENCODED_FRAME + ENCODED_WORTH <= ENCODED_LINE_MAX
                          ? ENCODED_LINE_MAX - fold->col - 1
                          : 0;
        size_t n, before;

        if (room == 0) {
            fold_line(fold);
            room = ENCODED_WORD_MAX;
        }
        if (room > ENCODED_WORD_MAX)
            room = ENCODED_WORD_MAX;
        n = encoded_fit(text, length, base64, room - ENCODED_FRAME);
        before = fold->out->length;
        buf_text(fold->out, base64 ? " =?UTF-8?B?" : " =?UTF-8?Q?");
        if (base64)
            base64_line(text, n, fold->out);
        else
            q_put(fold->out, text, n);
        buf_put(fold->out, "?=", 2);
        fold->col += fold->out->length - before;
        text += n;
        length -= n;
    }
    fold->begun = true;
    fold->col += WORD_LINE_MAX - ENCODED_LINE_MAX; /* a line with encoded-words has two octets less */
}

/* May an unstructured text stand as it is? An "=?" in it would be taken for an encoded-word. */
static bool text_may_stand(const char *text, size_t length)
{
    size_t unit = 0;
    bool in_word = false;

    if (!text_is_ascii(text, length) || memmem(text, length, "=?", 2) != NULL)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == ' ' && in_word)
            unit = 0;
        in_word = text[i] != ' ';
        if (++unit > WORD_PLAIN_MAX)
            return false;
    }
    return true;
}

/* Blanks and the word behind them, from `from` on: the end of the word. */
static size_t text_unit(const char *text, size_t length, size_t from)
{
    while (from < length && text[from] == ' ')
        from++;
    while (from < length && text[from] != ' ')
        from++;
    return from;
}

void fold_text(struct fold *fold, const char *text, size_t length)
{
    size_t end;

    if (!text_may_stand(text, length)) {
        fold_encoded(fold, text, length);
        return;
    }
    end = text_unit(text, length, 0);
    buf_byte(fold->out, ' ');
    buf_put(fold->out, text, end);
    fold->col += 1 + end;
    for (size_t from = end; from < length; from = end) {
        end = text_unit(text, length, from);
        if (fold->col + end - from > WORD_LINE_MAX)
            fold_line(fold);
        buf_put(fold->out, text + from, end - from);
        fold->col += end - from;
    }
}

static bool is_atom_text(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != 0 && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static void fold_quoted(struct fold *fold, const char *text, size_t length)
{
    char quoted[2 * PHRASE_QUOTED_MAX + 2];
    size_t used = 0;

    quoted[used++] = '"';
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"' || text[i] == '\\')
            quoted[used++] = '\\';
        quoted[used++] = text[i];
    }
    quoted[used++] = '"';
    fold_word(fold, quoted, used);
}

void fold_phrase(struct fold *fold, const char *text, size_t length)
{
    bool atoms = true;

    if (length > PHRASE_QUOTED_MAX || !text_is_ascii(text, length) || memmem(text, length, "=?", 2) != NULL) {
        fold_encoded(fold, text, length);
        return;
    }
    for (size_t i = 0; i < length; i++)
        atoms &= is_atom_text((unsigned char)text[i]) || (text[i] == ' ' && i > 0 && text[i - 1] != ' ');
    if (!atoms) {
        fold_quoted(fold, text, length);
        return;
    }
    for (size_t from = 0; from < length;) {
        size_t end = text_unit(text, length, from);

        if (text[from] == ' ')
            from++;
        fold_word(fold, text + from, end - from);
        from = end;
    }
}

char *header_clean(char *text, size_t *length)
{
    size_t used = 0;

    for (size_t i = 0; i < *length; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == 0xC2 && i + 1 < *length && (unsigned char)text[i + 1] >= 0x80 &&
            (unsigned char)text[i + 1] < 0xA0) {
            i++;
            c = ' ';
        } else if (c < ' ' || c == 0x7F) {
            c = ' ';
        }
        text[used++] = (char)c;
    }
    while (used > 0 && text[used - 1] == ' ')
        used--;
    while (used > 0 && *text == ' ') {
        text++;
        used--;
    }
    *length = used;
    return text;
}

struct encoded_word {
    char charset[64];
    bool base64;
    const char *text;
    size_t text_length;
    size_t length; /* of the whole word */
};

static bool encoded_word_read(const char *text, size_t length, struct encoded_word *word)
{
    const char *end = text + length, *charset = text + 2, *kind, *close;
    size_t name;

    if (length < 8 || memcmp(text, "=?", 2) != 0)
        return false;
    kind = memchr(charset, '?', (size_t)(end - charset));
    if (kind == NULL || end - kind < 5 || kind[2] != '?' || strchr("bBqQ", kind[1]) == NULL || kind[1] == 0)
        return false;
    close = memmem(kind + 3, (size_t)(end - kind - 3), "?=", 2);
    name = (size_t)(kind - charset);
    if (close == NULL || name == 0 || name >= sizeof word->charset)
        return false;
    for (const char *p = kind + 3; p < close; p++) {
        if (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n' || *p == '?')
            return false;
    }
    memcpy(word->charset, charset, name);
    word->charset[name] = 0;
    word->charset[strcspn(word->charset, "*")] = 0; /* RFC 2231 5: a language may follow */
    word->base64 = kind[1] == 'b' || kind[1] == 'B';
    word->text = kind + 3;
    word->text_length = (size_t)(close - word->text);
    word->length = (size_t)(close + 2 - text);
    return true;
}

/* Append the octets of the word, still in its charset. */
static void encoded_word_octets(const struct encoded_word *word, struct buf *out)
{
    struct buf spaced = {0};

    if (word->base64) {
        base64_decode(word->text, word->text_length, out);
        return;
    }
    for (size_t i = 0; i < word->text_length; i++)
        buf_text(&spaced, word->text[i] == '_' ? "=20" : (const char[]){word->text[i], 0});
    out->failed |= spaced.failed;
    qp_decode(spaced.at, spaced.length, out);
    buf_free(&spaced);
}

/* Where the encoded-word behind blanks begins, or length. */
static size_t next_word(const char *text, size_t length, size_t from)
{
    while (from < length && (text[from] == ' ' || text[from] == '\t'))
        from++;
    return from;
}

/* Decode the encoded-words that stand side by side from *at on, moving *at behind the last. Those of one
 * charset are taken together: programs cut a character in two between them, against RFC 2047 5. */
static int words_run(const char *text, size_t length, size_t *at, struct buf *out)
{
    struct encoded_word word, next;
    struct buf octets = {0};
    bool more = encoded_word_read(text + *at, length - *at, &word);
    int error = 0;

    while (more && error == 0) {
        size_t behind = next_word(text, length, *at + word.length);

        encoded_word_octets(&word, &octets);
        *at += word.length;
        more = encoded_word_read(text + behind, length - behind, &next);
        if (!more || strcasecmp(next.charset, word.charset) != 0) {
            error = octets.failed ? HK_ENOMEM : charset_to_utf8(word.charset, octets.at, octets.length, out);
            octets.length = 0;
        }
        if (more) {
            *at = behind;
            word = next;
        }
    }
    buf_free(&octets);
    return error;
}

int words_decode(const char *text, size_t length, struct buf *out)
{
    for (size_t i = 0; i < length;) {
        struct encoded_word word;

        if (encoded_word_read(text + i, length - i, &word)) {
            int error = words_run(text, length, &i, out);

            if (error != 0)
                return error;
            continue;
        }
        buf_byte(out, text[i++]);
    }
    return out->failed ? HK_ENOMEM : 0;
}
