/* utf8.c - is this UTF-8? (RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF.)
 *
 * Lists are mostly ASCII, so ASCII is passed over eight bytes at a time. Pure; a NUL is an ordinary character.
 */
#include <string.h>

#include "hikyaku/address.h"

/* How many bytes follow a lead byte, and the bounds of the first of them; -1: no lead byte. */
static int lead_byte(unsigned char c, unsigned char *low, unsigned char *high)
{
    *low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    *high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (c < 0x80)
        return 0;
    if (c < 0xc2 || c > 0xf4)
        return -1;
    return c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
}

size_t utf8_ascii_length(const char *text, size_t length)
{
    size_t i = 0;
    uint64_t word;

    for (; length - i >= sizeof word; i += sizeof word) {
        memcpy(&word, text + i, sizeof word);
        if ((word & 0x8080808080808080u) != 0)
            break;
    }
    while (i < length && (unsigned char)text[i] < 0x80)
        i++;
    return i;
}

bool utf8_is_valid(const char *text, size_t length)
{
    const unsigned char *t = (const unsigned char *)text;
    unsigned char low, high;

    for (size_t i = utf8_ascii_length(text, length); i < length;) {
        int more = lead_byte(t[i++], &low, &high);
        if (more < 0 || (size_t)more > length - i)
            return false;
        for (; more > 0; more--, i++, low = 0x80, high = 0xbf)
            if (t[i] < low || t[i] > high)
                return false;
    }
    return true;
}
