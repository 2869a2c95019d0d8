/* slice.c - what slice.h does not do in line. */
#include "slice.h"

#include <ctype.h>

bool slice_has(struct slice s, const char *text)
{
    size_t length = strlen(text);
    char first = text[0], upper = (char)toupper((unsigned char)text[0]);

    if (s.length < length)
        return false;
    for (const char *at = s.at, *last = at + (s.length - length); at <= last; at++)
        if ((*at == first || *at == upper) && strncasecmp(at, text, length) == 0)
            return true;
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
