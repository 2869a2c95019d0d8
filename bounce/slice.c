/* slice.c - what slice.h does not do in line. */
#include "slice.h"

#include <ctype.h>

bool slice_has(struct slice s, const char *text)
{
    size_t length = strlen(text);

    for (size_t at = 0; at + length <= s.length; at++) {
        size_t i = 0;
        while (i < length && tolower((unsigned char)s.at[at + i]) == text[i])
            i++;
        if (i == length)
            return true;
    }
    return false;
}

bool text_room(struct text *text, size_t more)
{
    size_t want = text->length + more, room = text->room == 0 ? 4096 : text->room;
    char *at;

    if (text->failed)
        return false;
    if (want > text->max) {
        text->cut = true;
        want = text->max;
    }
    while (room < want)
        room *= 2;
    if (room > text->max)
        room = text->max;
    if (room > text->room) {
        at = realloc(text->at, room);
        if (at == NULL) {
            text->failed = true;
            return false;
        }
        text->at = at;
        text->room = room;
    }
    return !text->cut;
}

void text_free(struct text *text)
{
    free(text->at);
    *text = (struct text){.max = text->max};
}
