/* drop.c - see drop.h. */
#include "drop.h"

#include <string.h>
#include <strings.h>

enum drop_group {
    DROP_NONE,
    DROP_TRANSPORT, /* written on the way to a mailbox */
    DROP_RESENT,    /* written by one who sent it on (RFC 5322 3.6.6) */
    DROP_PROGRAM,   /* a mail program's own marks */
    DROP_GROUPS,
};

/* A name that ends in '*' stands for all that begin so. */
static const struct drop_rule {
    const char *name;
    enum drop_group group;
} RULES[] = {
    {"Received", DROP_TRANSPORT},
    {"Received-SPF", DROP_TRANSPORT},
    {"X-Received", DROP_TRANSPORT},
    {"Authentication-Results", DROP_TRANSPORT},
    {"Authentication-Results-*", DROP_TRANSPORT},
    {"X-Authentication-*", DROP_TRANSPORT},
    {"ARC-*", DROP_TRANSPORT},
    {"DomainKey-Signature", DROP_TRANSPORT},
    {"X-Google-*", DROP_TRANSPORT},
    {"X-GM-*", DROP_TRANSPORT},
    {"Delivered-To", DROP_TRANSPORT},
    {"X-Delivered-To", DROP_TRANSPORT},
    {"X-Original-To", DROP_TRANSPORT},
    {"Original-Recipient", DROP_TRANSPORT},
    {"Envelope-To", DROP_TRANSPORT},
    {"X-Envelope-*", DROP_TRANSPORT},
    {"X-Originating-IP", DROP_TRANSPORT},
    {"X-OriginatorOrg", DROP_TRANSPORT},
    {"X-MS-*", DROP_TRANSPORT},
    {"X-Microsoft-*", DROP_TRANSPORT},
    {"X-Forefront-*", DROP_TRANSPORT},
    {"X-EOP*", DROP_TRANSPORT},
    {"X-Spam-*", DROP_TRANSPORT},
    {"X-Virus-*", DROP_TRANSPORT},
    {"X-YMail*", DROP_TRANSPORT},
    {"X-ICL-*", DROP_TRANSPORT},
    {"X-Proofpoint-*", DROP_TRANSPORT},
    {"Resent-*", DROP_RESENT},
    {"X-Mailer", DROP_PROGRAM},
    {"User-Agent", DROP_PROGRAM},
    {"X-MimeOLE", DROP_PROGRAM},
    {"X-MSMail-Priority", DROP_PROGRAM}, /* without X-MimeOLE it counts as forged */
    {"Thread-Index", DROP_PROGRAM},
    {"Thread-Topic", DROP_PROGRAM},
    {"X-Unsent", DROP_PROGRAM},
    {"X-Mozilla-*", DROP_PROGRAM},
    {"X-Account-Key", DROP_PROGRAM},
    {"X-Identity-Key", DROP_PROGRAM},
    {"X-Enigmail-*", DROP_PROGRAM},
    {"FCC", DROP_PROGRAM},
    {"X-Apple-*", DROP_PROGRAM},
    {"X-Uniform-Type-Identifier", DROP_PROGRAM},
    {"X-Universally-Unique-Identifier", DROP_PROGRAM},
    {"X-Evolution-*", DROP_PROGRAM},
    {"X-KMail-*", DROP_PROGRAM},
    {"Status", DROP_PROGRAM},
    {"X-Status", DROP_PROGRAM},
    {"X-Keywords", DROP_PROGRAM},
    {"X-UID", DROP_PROGRAM},
    {"X-UIDL", DROP_PROGRAM},
    {"Content-Length", DROP_PROGRAM}, /* of the file, not of a copy */
    {"Lines", DROP_PROGRAM},
};

static const char *const GROUP_WORDS[DROP_GROUPS] = {
    [DROP_NONE] = "",
    [DROP_TRANSPORT] = "written on the way to a mailbox",
    [DROP_RESENT] = "written by one who sent it on",
    [DROP_PROGRAM] = "a mail program's own marks",
};

static bool rule_matches(const struct drop_rule *rule, struct slice name)
{
    size_t length = strlen(rule->name);

    if (rule->name[length - 1] != '*')
        return slice_is(name, rule->name);
    return name.length >= length - 1 && strncasecmp(name.at, rule->name, length - 1) == 0;
}

static enum drop_group group_of(struct slice name)
{
    for (size_t i = 0; i < sizeof RULES / sizeof RULES[0]; i++) {
        if (rule_matches(&RULES[i], name))
            return RULES[i].group;
    }
    return DROP_NONE;
}

bool drop_is_due(struct slice name)
{
    return group_of(name) != DROP_NONE;
}

static bool name_is_new(const struct entity *entity, size_t number)
{
    struct slice name = entity->field[number].name;

    for (size_t i = 0; i < number; i++) {
        if (entity->field[i].name.length == name.length &&
            strncasecmp(entity->field[i].name.at, name.at, name.length) == 0)
            return false;
    }
    return true;
}

/* The fields of one group, in one note: a received copy has dozens. */
static int group_note(const struct entity *entity, const char *path, struct note_list *notes,
                      enum drop_group group)
{
    char names[NOTE_LENGTH_MAX / 2];
    size_t used = 0, count = 0, hidden = 0;

    for (size_t i = 0; i < entity->field_count; i++) {
        struct slice name = entity->field[i].name;

        if (group_of(name) != group)
            continue;
        count++;
        if (!name_is_new(entity, i))
            continue;
        if (used + name.length + 3 > sizeof names)
            hidden++;
        else
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%.*s", used > 0 ? ", " : "",
                                     (int)name.length, name.at);
    }
    if (count == 0)
        return 0;
    return hidden > 0
               ? note_add(notes, false, "%s: left out, %s (%zu): %s and %zu more", path, GROUP_WORDS[group],
                          count, names, hidden)
               : note_add(notes, false, "%s: left out, %s (%zu): %s", path, GROUP_WORDS[group], count, names);
}

int drop_note(const struct entity *entity, const char *path, struct note_list *notes)
{
    int error = 0;

    for (int group = DROP_NONE + 1; group < DROP_GROUPS && error == 0; group++)
        error = group_note(entity, path, notes, (enum drop_group)group);
    return error;
}
