/* code.c - codes in texts (code.h). */
#include "code.h"

#include <ctype.h>

size_t code_status_at(const char *at, size_t left, uint16_t status[3])
{
    size_t used = 0;

    if (left < 5 || (at[0] != '2' && at[0] != '4' && at[0] != '5') || at[1] != '.')
        return 0;
    for (int i = 0; i < 3; i++) {
        size_t digits = 0;
        status[i] = 0;
        while (digits < 3 && used < left && isdigit((unsigned char)at[used])) {
            status[i] = (uint16_t)(status[i] * 10 + (at[used++] - '0'));
            digits++;
        }
        if (digits == 0 || (i < 2 && (used >= left || at[used++] != '.')))
            return 0;
    }
    if (used < left && (isalnum((unsigned char)at[used]) ||
                        (at[used] == '.' && used + 1 < left && isdigit((unsigned char)at[used + 1]))))
        return 0;
    return used;
}

uint16_t code_of_refusal(const char *at, size_t left)
{
    if (left < 3 || (at[0] != '4' && at[0] != '5') || at[1] < '0' || at[1] > '7' ||
        !isdigit((unsigned char)at[2]))
        return 0;
    return (uint16_t)((at[0] - '0') * 100 + (at[1] - '0') * 10 + (at[2] - '0'));
}

/* Part of a longer word, a host name, an address or a date before it. */
static bool is_inside_word(struct slice text, size_t at)
{
    return at > 0 && (isalnum((unsigned char)text.at[at - 1]) || strchr(".-_@/", text.at[at - 1]) != NULL);
}

bool code_find_status(struct slice text, unsigned classes, uint16_t status[3])
{
    uint16_t number[3];

    for (size_t at = 0; at + 5 <= text.length; at++) {
        if (text.at[at + 1] != '.' || code_status_at(text.at + at, text.length - at, number) == 0 ||
            (classes >> number[0] & 1u) == 0)
            continue;
        if (is_inside_word(text, at) && /* "550-5.1.1" */
            !(at >= 4 && text.at[at - 1] == '-' && code_of_refusal(text.at + at - 4, 4) != 0))
            continue;
        memcpy(status, number, sizeof number);
        return true;
    }
    return false;
}

/* What leads to a reply stands before this place. */
static bool is_led_to(struct slice text, size_t at)
{
    static const char *const leads[] = {
        "said:", "said",    "error:", "code:", "code",    "returned",   "response:", "was:",    "reply:",
        "with:", "reason:", "smtp;",  "smtp",  "answer:", "responded:", "server:",   "failure:"};

    while (at > 0 && (text.at[at - 1] == ' ' || text.at[at - 1] == '\t'))
        at--;
    if (at == 0 || strchr("\r\n:;<>[()'\"=#", text.at[at - 1]) != NULL)
        return true;
    for (size_t i = 0; i < sizeof leads / sizeof *leads; i++) {
        size_t length = strlen(leads[i]);
        if (at >= length && strncasecmp(text.at + at - length, leads[i], length) == 0)
            return true;
    }
    return false;
}

/* "421 4.2.1" in the middle of a line; "550-5.7.1" there is a line of the same reply, folded. */
static bool has_status_behind(struct slice text, size_t at)
{
    uint16_t status[3];

    return text.length - at > 4 && text.at[at + 3] == ' ' &&
           code_status_at(text.at + at + 4, text.length - at - 4, status) > 0;
}

uint16_t code_reply_at(struct slice text, size_t at)
{
    uint16_t code = code_of_refusal(text.at + at, text.length - at);

    if (code == 0 || is_inside_word(text, at) ||
        (text.length - at > 3 && strchr(" -:\t\r\n'\")]<>,;", text.at[at + 3]) == NULL))
        return 0;
    return is_led_to(text, at) || has_status_behind(text, at) ? code : 0;
}
