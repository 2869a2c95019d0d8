/* normal.c - the text of a diagnosis, made fit to be compared with rules.
 *
 * Pure: no allocation, no state. "spam@" in an address and ".../reason/#blocked" in a URL say nothing, a host name may
 * be a block list's; programs of all languages write with and without accents, so letters lose them.
 */
#include "normal.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "code.h"

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

static void put_words(struct normal *n, const char *words)
{
    for (; *words != '\0'; words++)
        put(n, *words);
}

static bool is_letter(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* --- letters beyond ASCII --- */

/* The character at `text`, and its length in *size. What is no UTF-8 is taken for one byte of Latin-1. */
static uint32_t character_at(const char *text, size_t left, size_t *size)
{
    const unsigned char *t = (const unsigned char *)text;
    uint32_t c = t[0];
    size_t need = c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 1;

    *size = 1;
    if (need == 1 || need > left)
        return t[0];
    c &= 0x7fu >> need;
    for (size_t i = 1; i < need; i++) {
        if ((t[i] & 0xc0) != 0x80)
            return t[0];
        c = c << 6 | (t[i] & 0x3fu);
    }
    *size = need;
    return c;
}

/* U+00C0 to U+017F as letters that everyone has; "*" is two letters, told apart below. */
static const char latin[] = "aaaaaa*ceeeeiiiidnooooo ouuuuy**"
                            "aaaaaa*ceeeeiiiidnooooo ouuuuy*y"
                            "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkkllllllllll"
                            "nnnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";

static void put_latin(struct normal *n, uint32_t c)
{
    char letter = latin[c - 0xc0];

    if (letter != '*')
        put(n, letter);
    else
        put_words(n, c == 0xdf ? "ss" : (c | 0x20) == 0xe6 ? "ae" : "th");
}

static void put_bytes(struct normal *n, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        put(n, text[i]);
}

static void put_wide(struct normal *n, uint32_t c, const char *text, size_t size)
{
    if (c >= 0xc0 && c < 0x180)
        put_latin(n, c);
    else if (c == 0x2018 || c == 0x2019)
        put(n, '\'');
    else if (c < 0xc0 || (c >= 0x2000 && c < 0x2070) || (c >= 0x3000 && c <= 0x3003) ||
             (c >= 0x3008 && c <= 0x3011))
        put(n, ' ');                     /* punctuation and blanks of other scripts */
    else if (c >= 0xff01 && c <= 0xff5e) /* full width */
        put(n, isalnum((int)(c - 0xfee0)) ? (char)tolower((int)(c - 0xfee0)) : ' ');
    else if (c >= 0x410 && c < 0x430 && size == 2) /* Cyrillic capitals */
        put_bytes(n, (char[]){(char)(0xd0 | ((c + 0x20) >> 6 & 1)), (char)(0x80 | ((c + 0x20) & 0x3f))}, 2);
    else
        put_bytes(n, text, size);
}

/* --- tokens --- */

static bool is_token(char c)
{
    return is_letter(c) || (c != '\0' && strchr("@.'_-+=/:?#&%!", c) != NULL);
}

static size_t token_end(const char *text, size_t at, size_t length)
{
    while (at < length && is_token(text[at]))
        at++;
    return at;
}

/* A host name keeps its dashes; "over-quota" is two words. */
static bool has_inner_dot(const char *text, size_t length)
{
    for (size_t i = 1; i + 1 < length; i++)
        if (text[i] == '.' && is_letter(text[i - 1]) && is_letter(text[i + 1]))
            return true;
    return false;
}

/* A token without the characters that only join words. */
static void put_token(struct normal *n, const char *text, size_t length)
{
    bool host = has_inner_dot(text, length);
    size_t size;

    for (size_t i = 0; i < length; i += size) {
        char c = text[i];
        bool inside = i > 0 && i + 1 < length && is_letter(text[i - 1]) && is_letter(text[i + 1]);
        size = 1;
        if ((unsigned char)c >= 0x80) {
            uint32_t wide = character_at(text + i, length - i, &size);
            put_wide(n, wide, text + i, size);
        } else if (isalnum((unsigned char)c)) {
            put(n, (char)tolower((unsigned char)c));
        } else if (c == '-' && i == 1 && tolower((unsigned char)text[0]) == 'e') {
            continue; /* "e-mail" */
        } else {
            put(n, inside && (c == '\'' || c == '.' || (c == '-' && host)) ? c : ' ');
        }
    }
}

/* Of a URL only its host counts: it may be a block list's. */
static void put_word_or_host(struct normal *n, const char *token, size_t length)
{
    size_t from = length > 8 && strncasecmp(token, "https://", 8) == 0  ? 8
                  : length > 7 && strncasecmp(token, "http://", 7) == 0 ? 7
                                                                        : 0;
    size_t end = from;

    while (from > 0 && end < length && strchr("/?#:", token[end]) == NULL)
        end++;
    put_token(n, token + from, from > 0 ? end - from : length);
}

/* Where the address in a token such as "alias:a@example.com" begins and ends; false where there is none. Scripts without
 * blanks write on right behind an address. */
static bool find_address(const char *token, size_t length, size_t *from, size_t *to)
{
    const char *sign = memchr(token, '@', length);

    if (sign == NULL || sign == token || sign + 1 >= token + length)
        return false;
    *from = *to = (size_t)(sign - token);
    while (*from > 0 && (unsigned char)token[*from - 1] < 0x80 && strchr(":=/#?", token[*from - 1]) == NULL)
        (*from)--;
    if (token + *from == sign) /* a local part in UTF-8 */
        *from = 0;
    while (*to < length && (unsigned char)token[*to] < 0x80)
        (*to)++;
    return true;
}

size_t normal_text(const char *text, size_t length, char out[NORMAL_SIZE])
{
    struct normal n = {.out = out};
    uint16_t number[3];
    size_t from, to;

    put(&n, ' ');
    for (size_t at = 0; at < length && n.at < NORMAL_MAX;) {
        size_t end = token_end(text, at, length);
        if (end == at || text[at] == '#') { /* "#5.1.1" is a code too */
            put(&n, ' ');
            at++;
            continue;
        }
        if (find_address(text + at, end - at, &from, &to)) {
            put_token(&n, text + at, from);
            put_words(&n, " @ ");
            end = at + to;
        } else if (code_status_at(text + at, end - at, number) == end - at) {
            put(&n, ' ');
        } else {
            put_word_or_host(&n, text + at, end - at);
        }
        at = end;
    }
    if (out[n.at - 1] != ' ')
        out[n.at++] = ' '; /* NORMAL_SIZE leaves room */
    out[n.at] = '\0';
    return n.at;
}
