/* load_errors.c - see load_errors.h. */
#include "load_errors.h"

#include <string.h>

/* The row that this belongs to; NULL when the table is full. Replies of one code are one row, whatever their text:
 * servers put addresses and queue names into it. */
static struct load_error *row_find(struct load_errors *errors, const char *phase, uint16_t code,
                                   const uint8_t enhanced[3], const char *text)
{
    for (size_t i = 0; i < errors->count; i++) {
        struct load_error *row = &errors->row[i];

        if (row->code == code && memcmp(row->enhanced, enhanced, 3) == 0 && strcmp(row->phase, phase) == 0 &&
            (code != 0 || strcmp(row->text, text) == 0))
            return row;
    }
    if (errors->count == LOAD_ERRORS_MAX)
        return NULL;
    errors->row[errors->count] = (struct load_error){.phase = phase, .code = code};
    memcpy(errors->row[errors->count].enhanced, enhanced, 3);
    snprintf(errors->row[errors->count].text, sizeof errors->row->text, "%s", text);
    return &errors->row[errors->count++];
}

static void count(struct load_errors *errors, struct load_error *row)
{
    if (row != NULL)
        row->count++;
    else
        errors->others++;
}

void load_errors_reply(struct load_errors *errors, const char *phase, const struct reply *reply)
{
    char text[sizeof errors->row->text];

    hk_clean_text(text, sizeof text, reply->text, reply->length);
    count(errors, row_find(errors, phase, reply->code, reply->enhanced, text));
}

void load_errors_event(struct load_errors *errors, const char *phase, const char *what)
{
    static const uint8_t none[3];
    char text[sizeof errors->row->text];

    hk_clean_text(text, sizeof text, what, strlen(what));
    count(errors, row_find(errors, phase, 0, none, text));
}

static int by_count(const void *a, const void *b)
{
    const struct load_error *x = a, *y = b;

    return (x->count < y->count) - (x->count > y->count);
}

void load_errors_sort(struct load_errors *errors)
{
    qsort(errors->row, errors->count, sizeof errors->row[0], by_count);
}
