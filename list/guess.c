/* guess.c - count what speaks for and against the encodings that lists come in (guess.h).
 *
 * Shift_JIS and windows-1252 overlap: "\xfcl" is a character in one and "ul" with an umlaut in the other. What
 * tells them apart is that Japanese text is mostly pairs whose first byte lies below 0xa0, where Western text has
 * next to nothing, or long runs of high bytes, where Western text has single letters between ASCII ones.
 */
#include "guess.h"

#include <string.h>

static bool is_high(unsigned char c)
{
    return c >= 0x80;
}

static void add_sjis(struct guess *g, const unsigned char *t, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (t[i] < 0x80 || (t[i] >= 0xa1 && t[i] <= 0xdf))
            continue;
        if (t[i] == 0x80 || t[i] == 0xa0 || t[i] > 0xfc || i + 1 == length || t[i + 1] < 0x40 ||
            t[i + 1] == 0x7f || t[i + 1] > 0xfc) {
            g->no_sjis = true;
            return;
        }
        g->sjis_pairs++;
        g->sjis_common += t[i] <= 0x9f;
        i++;
    }
}

static void add_euc(struct guess *g, const unsigned char *t, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (t[i] < 0x80)
            continue;
        if ((t[i] < 0xa1 && t[i] != 0x8e) || t[i] == 0xff || i + 1 == length || t[i + 1] < 0xa1 ||
            t[i + 1] == 0xff) {
            g->no_euc = true;
            return;
        }
        g->euc_pairs++;
        g->euc_kana += t[i] == 0xa4 || t[i] == 0xa5;
        i++;
    }
}

static void add_latin(struct guess *g, const unsigned char *t, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!is_high(t[i]))
            continue;
        g->high++;
        g->runs += i == 0 || !is_high(t[i - 1]);
        g->letters += t[i] >= 0xc0;
        g->no_latin =
            g->no_latin || t[i] == 0x81 || t[i] == 0x8d || t[i] == 0x8f || t[i] == 0x90 || t[i] == 0x9d;
    }
}

void guess_add(struct guess *g, const char *text, size_t length)
{
    const unsigned char *t = (const unsigned char *)text;

    add_sjis(g, t, length);
    add_euc(g, t, length);
    add_latin(g, t, length);
}

const char *guess_words(const struct guess *g)
{
    bool runs_are_long = g->high >= 3 * g->runs;

    if (g->high == 0)
        return NULL;
    if (!g->no_euc && runs_are_long && (g->no_sjis || g->euc_kana * 4 >= g->euc_pairs))
        return "looks like EUC-JP: add --encoding EUC-JP";
    if (!g->no_sjis && (g->sjis_pairs > 0 ? g->sjis_common * 2 >= g->sjis_pairs : runs_are_long))
        return "looks like Shift_JIS, as Excel in Japan saves it: add --encoding Shift_JIS";
    if (!g->no_latin && g->letters * 2 >= g->high)
        return "looks like windows-1252, as Excel in the West saves it: add --encoding windows-1252";
    return NULL;
}

/* ASCII with a NUL before or behind each character. */
static bool is_wide(const char *text, size_t length, size_t nul_at)
{
    size_t looked = length < 64 ? length & ~(size_t)1 : 64, nuls = 0;

    for (size_t i = 0; i < looked; i += 2)
        nuls += text[i + nul_at] == '\0' && text[i + 1 - nul_at] != '\0';
    return looked >= 4 && nuls * 4 >= looked / 2 * 3;
}

const char *guess_words_of_beginning(const char *text, size_t length)
{
    if (length >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
        return "is UTF-16, as Excel saves \"Unicode text\": add --encoding UTF-16";
    if (is_wide(text, length, 1))
        return "looks like UTF-16: add --encoding UTF-16LE";
    if (is_wide(text, length, 0))
        return "looks like UTF-16: add --encoding UTF-16BE";
    if (memmem(text, length, "\x1b$B", 3) != NULL || memmem(text, length, "\x1b$@", 3) != NULL)
        return "looks like ISO-2022-JP: add --encoding ISO-2022-JP";
    return NULL;
}
