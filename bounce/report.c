/* report.c - read delivery-status and feedback fields (report.h). */
#include "report.h"

static const struct {
    const char *name;
    size_t offset;
} report_fields[] = {
#define REPORT_FIELD(field, name) {name, offsetof(struct report_group, field)},
    REPORT_FIELDS(REPORT_FIELD)
#undef REPORT_FIELD
};

struct reading {
    struct report_group now, waiting; /* waiting: complete, but what comes may still belong to it */
    report_found *found;
    void *context;
    unsigned count;
};

static struct slice *field_of(struct report_group *group, size_t i)
{
    return (struct slice *)(void *)((char *)group + report_fields[i].offset);
}

static bool names_recipient(const struct report_group *group)
{
    return group->final.at != NULL || group->original.at != NULL;
}

static bool is_empty(const struct report_group *group)
{
    return !names_recipient(group) && group->action.at == NULL && group->status.at == NULL &&
           group->diagnostic.at == NULL;
}

static void tell_waiting(struct reading *r)
{
    if (!names_recipient(&r->waiting))
        return;
    r->found(r->context, &r->waiting);
    r->count++;
    r->waiting = (struct report_group){0};
}

/* A group ends. One that names nobody belongs to the one before: somebody has put blank lines between the fields. */
static void group_end(struct reading *r)
{
    if (is_empty(&r->now))
        return;
    if (names_recipient(&r->now)) {
        tell_waiting(r);
        r->waiting = r->now;
    } else if (names_recipient(&r->waiting)) {
        for (size_t i = 0; i < sizeof report_fields / sizeof *report_fields; i++)
            if (field_of(&r->waiting, i)->at == NULL)
                *field_of(&r->waiting, i) = *field_of(&r->now, i);
    }
    r->now = (struct report_group){0};
}

/* The index of a field, or the number of fields. */
static size_t field_index(struct slice name)
{
    size_t i = 0;

    while (i < sizeof report_fields / sizeof *report_fields && !slice_is(name, report_fields[i].name))
        i++;
    return i;
}

unsigned report_groups(struct slice fields, report_found *found, void *context)
{
    struct reading r = {.found = found, .context = context};
    const char *at = fields.at, *end = slice_end(fields);
    struct slice line, name, value, *last = NULL;

    while (line_next(&at, end, &line)) {
        if (slice_trim(line).length == 0) {
            if (r.now.action.at != NULL || r.now.status.at != NULL)
                group_end(&r);
            last = NULL;
            continue;
        }
        if (is_blank(line.at[0]) && last != NULL) {
            *last = slice_between(last->at, slice_end(line));
            continue;
        }
        if (!field_split(slice_trim(line), &name, &value)) {
            last = NULL;
            continue;
        }
        last = NULL;
        size_t i = field_index(name);
        if (i == sizeof report_fields / sizeof *report_fields)
            continue;
        if (field_of(&r.now, i)->at != NULL) /* said once more: the next recipient, without a blank line */
            group_end(&r);
        *field_of(&r.now, i) = value;
        last = field_of(&r.now, i);
    }
    group_end(&r);
    tell_waiting(&r);
    return r.count;
}

struct slice report_in_text(struct slice text)
{
    const char *at = text.at, *end = slice_end(text);
    struct slice line, name, value, begin = {NULL, 0};

    while (line_next(&at, end, &line)) {
        line = slice_trim(line);
        if (line.length == 0 || (line.at[0] | 0x20) < 'a' || (line.at[0] | 0x20) > 'z')
            continue;
        if (!field_split(line, &name, &value) || value.length == 0)
            continue;
        if (begin.at == NULL && (slice_is(name, "Reporting-MTA") || slice_is(name, "Action")))
            begin = slice_between(line.at, end);
        if (slice_is(name, "Final-Recipient") ||
            (slice_is(name, "Original-Recipient") && memchr(value.at, '@', value.length) != NULL))
            return begin.at != NULL ? begin : slice_between(line.at, end);
    }
    return (struct slice){NULL, 0};
}

void feedback_read(struct slice fields, struct feedback *out)
{
    const char *at = fields.at, *end = slice_end(fields);
    struct slice line, name, value;

    memset(out, 0, sizeof *out);
    while (line_next(&at, end, &line)) {
        if (!field_split(slice_trim(line), &name, &value))
            continue;
        if (slice_is(name, "Feedback-Type") && out->type.at == NULL)
            out->type = slice_trim(value);
        else if ((slice_is(name, "Original-Rcpt-To") || slice_is(name, "Removal-Recipient") ||
                  slice_is(name, "X-HmXmrOriginalRecipient")) &&
                 out->recipients < FEEDBACK_RECIPIENTS_MAX)
            out->recipient[out->recipients++] = slice_trim(value);
    }
}
