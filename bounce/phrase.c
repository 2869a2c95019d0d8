/* phrase.c - look phrases up in a text (phrase.h). Pure, no allocation. */
#include "phrase.h"

#include <ctype.h>

/* Three bytes as a place among 65536: a text has few of them, so a phrase that is not there is seldom looked for. */
static unsigned three_at(const char *at)
{
    return ((unsigned)(unsigned char)at[0] * 2081u ^ (unsigned)(unsigned char)at[1] * 257u ^
            (unsigned)(unsigned char)at[2] * 33u) &
           0xffffu;
}

/* Forget the text before: of a short one only the bits that it has set. */
static void threes_clear(struct folded *folded)
{
    if (folded->length > 1000) {
        memset(folded->threes, 0, sizeof folded->threes);
        return;
    }
    for (size_t i = 0; i + 2 < folded->length; i++)
        folded->threes[three_at(folded->text + i) >> 6] = 0;
}

void folded_set(struct folded *folded, struct slice text)
{
    size_t length = 0;
    char before = ' ';

    threes_clear(folded);
    folded->text[length++] = ' ';
    for (size_t i = 0; i < text.length && length < FOLDED_MAX; i++) {
        char c = text.at[i];
        c = c == '\0' || c == '\t' || c == '\r' || c == '\n' ? ' '
                                                             : (char)((c >= 'A' && c <= 'Z') ? c | 0x20 : c);
        if (c == ' ' && before == ' ')
            continue;
        folded->text[length++] = c;
        before = c;
    }
    folded->text[length++] = ' ';
    folded->text[length] = '\0';
    folded->length = length;
    for (size_t i = 0; i + 2 < length; i++) {
        unsigned three = three_at(folded->text + i);
        folded->threes[three >> 6] |= 1ull << (three & 63);
    }
}

static bool rest_matches(const char *text, const char *pattern)
{
    size_t length = strcspn(pattern, "*");

    for (size_t gap = 0; gap <= PHRASE_GAP_MAX; gap++) {
        if (strncmp(text + gap, pattern, length) == 0 &&
            (pattern[length] == '\0' || rest_matches(text + gap + length, pattern + length + 1)))
            return true;
        if (text[gap] == '\0')
            return false;
    }
    return false;
}

bool phrase_is_in(const struct folded *folded, const char *pattern)
{
    size_t length = strcspn(pattern, "*");
    unsigned first = three_at(pattern), last = three_at(pattern + length - 3);
    const char *at = folded->text;

    if ((folded->threes[first >> 6] >> (first & 63) & 1) == 0 ||
        (folded->threes[last >> 6] >> (last & 63) & 1) == 0)
        return false;
    while ((at = memmem(at, folded->length - (size_t)(at - folded->text), pattern, length)) != NULL) {
        if (pattern[length] == '\0' || rest_matches(at + length, pattern + length + 1))
            return true;
        at++;
    }
    return false;
}

uint32_t phrases_in(const struct folded *folded, uint32_t wanted)
{
    uint32_t found = 0;

    for (size_t i = 0; i < phrase_count; i++)
        if ((phrases[i].meaning & wanted & ~found) != 0 && phrase_is_in(folded, phrases[i].pattern))
            found |= phrases[i].meaning;
    return found & wanted;
}
