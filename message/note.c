/* note.c - see note.h. */
#include "note.h"

#include <stdarg.h>
#include <string.h>

int note_add(struct note_list *list, bool is_warning, const char *format, ...)
{
    char words[NOTE_LENGTH_MAX];
    struct note *more;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    more = realloc(list->at, (list->count + 1) * sizeof *more);
    if (more == NULL)
        return HK_ENOMEM;
    list->at = more;
    more += list->count;
    more->is_warning = is_warning;
    more->text = strndup(words, sizeof words);
    if (more->text == NULL)
        return HK_ENOMEM;
    list->count++;
    return 0;
}

void note_list_free(struct note_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i].text);
    free(list->at);
    *list = (struct note_list){0};
}

void notes_log(const struct note *notes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (notes[i].is_warning)
            log_warning("%s", notes[i].text);
        else
            log_info("%s", notes[i].text);
    }
}
