/* columns.c - take the columns of a list (columns.h). */
#include "columns.h"

#include <string.h>
#include <strings.h>

static bool is_email(const char *column)
{
    return strcasecmp(column, "email") == 0;
}

static int check_twice(const struct columns *c, uint32_t i, const char *list, uint64_t line,
                       struct hk_why *why)
{
    char name[160];

    for (uint32_t k = 0; k < i; k++) {
        if (strcmp(c->name[k], c->name[i]) != 0 && !(is_email(c->name[k]) && is_email(c->name[i])))
            continue;
        hk_clean_text(name, sizeof name, c->name[i], strlen(c->name[i]));
        return why_set(why, HK_EINVAL,
                       "%s:%llu: columns %u and %u have the same name \"%s\"; rename or remove one", list,
                       (unsigned long long)line, k + 1, i + 1, name);
    }
    return 0;
}

int columns_add(struct columns *c, const char *list, uint64_t line, struct segment_field name,
                struct hk_why *why)
{
    uint32_t i = c->count;

    if (i == SEGMENT_COLUMNS_MAX)
        return why_set(why, HK_EINVAL,
                       "%s:%llu: more than %u columns; leave out what the message does not use", list,
                       (unsigned long long)line, SEGMENT_COLUMNS_MAX);
    c->name[i] = strndup(name.text, name.length);
    if (c->name[i] == NULL)
        return why_set(why, HK_ENOMEM, "%s: out of memory", list);
    c->count++;
    return check_twice(c, i, list, line, why);
}

int columns_close(struct columns *c, const char *list, uint64_t line, struct hk_why *why)
{
    char first[160];

    for (c->email = 0; c->email < c->count; c->email++)
        if (is_email(c->name[c->email]))
            return 0;
    if (c->count == 0)
        return why_set(why, HK_EINVAL, "%s:%llu: no columns; one named email is needed", list,
                       (unsigned long long)line);
    hk_clean_text(first, sizeof first, c->name[0], strlen(c->name[0]));
    return why_set(
        why, HK_EINVAL,
        "%s:%llu: no column is named email (%u column%s, the first is \"%s\"); write email above the "
        "column of addresses",
        list, (unsigned long long)line, c->count, c->count == 1 ? "" : "s", first);
}

void columns_free(struct columns *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        free(c->name[i]);
    c->count = 0;
}
