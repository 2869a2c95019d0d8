/* text.c - text from strangers, made fit to be shown. */
#include <string.h>

#include "hikyaku/base.h"

/* Length of the valid UTF-8 sequence at text, 0 if there is none (RFC 3629: no overlong form, no surrogate). */
static size_t utf8_sequence(const unsigned char *t, size_t left)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t n = t[0] < 0x80 ? 1 : t[0] < 0xc2 ? 0 : t[0] < 0xe0 ? 2 : t[0] < 0xf0 ? 3 : t[0] < 0xf5 ? 4 : 0;

    if (n == 0 || n > left)
        return 0;
    if (t[0] == 0xe0)
        low = 0xa0;
    else if (t[0] == 0xed)
        high = 0x9f;
    else if (t[0] == 0xf0)
        low = 0x90;
    else if (t[0] == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < n; i++, low = 0x80, high = 0xbf)
        if (t[i] < low || t[i] > high)
            return 0;
    return n;
}

char *hk_put(char *to, const char *end, const char *text)
{
    HK_BUG_ON(to >= end);
    size_t length = strnlen(text, (size_t)(end - to) - 1);
    memcpy(to, text, length);
    to[length] = '\0';
    return to + length;
}

char *hk_put_number(char *to, const char *end, uint64_t number)
{
    size_t digits = 1;

    HK_BUG_ON(to >= end);
    for (uint64_t rest = number; rest >= 10; rest /= 10)
        digits++;
    for (; digits > (size_t)(end - to) - 1; digits--)
        number /= 10;
    to[digits] = '\0';
    for (size_t at = digits; at-- > 0; number /= 10)
        to[at] = (char)('0' + number % 10);
    return to + digits;
}

size_t hk_clean_text(char *out, size_t size, const char *text, size_t length)
{
    const unsigned char *t = (const unsigned char *)text;
    size_t used = 0;

    HK_BUG_ON(size == 0);
    for (size_t i = 0; i < length;) {
        if (t[i] >= 0x20 && t[i] < 0x7f) { /* nearly all of most texts */
            if (used + 1 > size - 1)
                break;
            out[used++] = (char)t[i++];
            continue;
        }
        size_t n = utf8_sequence(t + i, length - i);
        bool c1 = n == 2 && t[i] == 0xc2 && t[i + 1] < 0xa0;
        bool plain = n > 0 && !c1 && t[i] >= 0x20 && t[i] != 0x7f;
        if (used + (plain ? n : 1) > size - 1)
            break;
        if (plain) {
            for (size_t k = 0; k < n; k++)
                out[used++] = (char)t[i + k];
        } else {
            out[used++] = '?';
        }
        i += n > 0 ? n : 1;
    }
    out[used] = '\0';
    return used;
}
