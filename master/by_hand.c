/* by_hand.c - see by_hand.h. */
#include "by_hand.h"

#include <string.h>

#include "errand.h"
#include "hikyaku/fault.h"
#include "hikyaku/feedback.h"

struct by_hand {
    struct owed owed;
    struct node *node;
    enum suppress_change change;
    struct suppress_entry
        *entry;    /* that would be changed; but for what is added, once it is asked, what is there */
    bool *is_new;  /* it changes something, as far as Redis was asked */
    bool *changed; /* what Redis has said */
    size_t count;
    bool told; /* the lines are there */
    struct hk_why why;
};

/* ---- a request ---- */

static bool copy_text(char *out, size_t size, const json_t *text)
{
    size_t length = json_string_length(text);

    if (!json_is_string(text) || length >= size || strlen(json_string_value(text)) != length)
        return false;
    memcpy(out, json_string_value(text), length + 1);
    return true;
}

static bool read_entry(const json_t *array, struct suppress_entry *out)
{
    json_int_t time_us = json_integer_value(json_array_get(array, 5));
    json_int_t until_s = json_integer_value(json_array_get(array, 6));

    if (json_array_size(array) != 7 || time_us < 0 || until_s < 0 || until_s > UINT32_MAX)
        return false;
    out->time_us = (uint64_t)time_us;
    out->until_s = (uint32_t)until_s;
    return copy_text(out->address, sizeof out->address, json_array_get(array, 0)) &&
           copy_text(out->scope, sizeof out->scope, json_array_get(array, 1)) &&
           copy_text(out->reason, sizeof out->reason, json_array_get(array, 2)) &&
           copy_text(out->source, sizeof out->source, json_array_get(array, 3)) &&
           copy_text(out->evidence, sizeof out->evidence, json_array_get(array, 4));
}

static int read_request(struct by_hand *b, const json_t *request)
{
    const json_t *array = json_object_get(request, "entries");
    const char *change = json_string_value(json_object_get(request, "change"));

    b->count = json_array_size(array);
    if (change == NULL || !suppress_change_of(change, &b->change))
        return why_set(&b->why, HK_EINVAL, "\"change\" is missing or no change");
    if (b->count == 0 || b->count > BY_HAND_MAX)
        return why_set(&b->why, HK_EINVAL, "\"entries\" is missing, empty or too long");
    b->entry = hk_xcalloc(b->count, sizeof *b->entry);
    b->is_new = hk_xcalloc(b->count, sizeof *b->is_new);
    b->changed = hk_xcalloc(b->count, sizeof *b->changed);
    for (size_t i = 0; i < b->count; i++) {
        struct hk_why reason = {"it is none"};
        if (!read_entry(json_array_get(array, i), &b->entry[i]) ||
            suppress_entry_check(&b->entry[i], &reason) != 0)
            return why_set(&b->why, HK_EINVAL, "\"entries\" has something that is none: %s", reason.text);
    }
    return 0;
}

/* ---- what it changes ---- */

static bool adds(const struct suppress_entry *entry, const struct suppress_entry *there)
{
    uint64_t ends = entry->until_s != 0 ? entry->until_s : UINT64_MAX;

    return there->until_s != 0 && there->until_s < ends;
}

static int find_there(struct by_hand *b, struct suppress_entry *there, bool *found)
{
    return b->change == SUPPRESS_APPLIED || b->change == SUPPRESS_DROPPED
               ? feedback_held_find(b->node->store, b->entry, b->count, there, found, &b->why)
               : suppress_find_all(b->node->store, b->entry, b->count, there, found, &b->why);
}

/* Of a removal and of who is held the line says what was there. */
static int find_new(struct by_hand *b)
{
    struct suppress_entry *there = hk_xcalloc(b->count, sizeof *there);
    bool *found = hk_xcalloc(b->count, sizeof *found);
    int rc = find_there(b, there, found);

    for (size_t i = 0; i < b->count && rc == 0; i++) {
        if (b->change == SUPPRESS_ADDED) {
            b->is_new[i] = !found[i] || adds(&b->entry[i], &there[i]);
        } else if (found[i]) {
            b->is_new[i] = true;
            b->entry[i] = there[i];
        }
    }
    free(there);
    free(found);
    return rc;
}

static void event_time(struct eventlog *log, const char *key, uint64_t wall_us)
{
    char text[CLOCK_RFC3339_SIZE];

    clock_rfc3339(wall_us, text);
    event_word(log, key, text);
}

static void event_change(struct eventlog *log, enum suppress_change change,
                         const struct suppress_entry *entry)
{
    event_begin(log, "suppression");
    event_word(log, "change", suppress_change_name(change));
    event_word(log, "recipient", entry->address);
    event_word(log, "scope", entry->scope);
    event_word(log, "reason", entry->reason);
    event_word(log, "source", entry->source);
    if (entry->evidence[0] != '\0')
        event_word(log, "evidence", entry->evidence);
    event_time(log, "since", entry->time_us);
    if (entry->until_s != 0)
        event_time(log, "until", (uint64_t)entry->until_s * 1000000u);
    event_end(log);
}

static int tell_lines(struct by_hand *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (b->is_new[i])
            event_change(&b->node->log, b->change, &b->entry[i]);
    b->told = true;
    return eventlog_flush(&b->node->log) == 0 ? 0
                                              : why_set(&b->why, HK_EDOWN, "the event log cannot be written");
}

/* Those that change nothing are not told either: they may not be what they were when Redis was asked. */
static int apply(struct by_hand *b)
{
    struct suppress_entry *some = hk_xcalloc(b->count, sizeof *some);
    bool *changed = hk_xcalloc(b->count, sizeof *changed);
    size_t count = 0;
    int rc;

    for (size_t i = 0; i < b->count; i++)
        if (b->is_new[i])
            some[count++] = b->entry[i];
    rc = suppress_change_all(b->node->store, b->change, some, count, changed, &b->why);
    for (size_t i = b->count; i-- > 0;)
        b->changed[i] = b->is_new[i] && changed[--count];
    free(some);
    free(changed);
    return rc;
}

static json_t *reply_of(const struct by_hand *b)
{
    json_t *array = json_array();

    for (size_t i = 0; i < b->count; i++)
        json_array_append_new(array, json_boolean(b->changed[i]));
    return json_pack("{s:b,s:o}", "ok", 1, "changed", array);
}

static void by_hand_free(struct by_hand *b)
{
    free(b->entry);
    free(b->is_new);
    free(b->changed);
    free(b);
}

static int take_all(struct by_hand *b, const json_t *request)
{
    int rc = read_request(b, request);

    if (rc == 0)
        rc = owed_settle(&b->node->owed, &b->why);
    if (rc == 0)
        rc = find_new(b);
    if (rc == 0)
        rc = tell_lines(b);
    if (rc == 0) {
        fault_at(EFFECT_BEFORE);
        rc = apply(b);
    }
    return rc;
}

/* ---- what Redis did not take ---- */

static void owed_end(struct owed *owed)
{
    by_hand_free((struct by_hand *)owed);
}

static int owed_apply(struct owed *owed, struct hk_why *why)
{
    struct by_hand *b = (struct by_hand *)owed;
    int rc = eventlog_flush(&b->node->log) == 0
                 ? apply(b)
                 : why_set(&b->why, HK_EDOWN, "the event log cannot be written");

    if (rc == 0)
        suppression_follow(b->node);
    else
        *why = b->why;
    return rc;
}

/* It stays, and is done when Redis is back. */
static void by_hand_owe(struct by_hand *b)
{
    b->owed.apply = owed_apply;
    b->owed.end = owed_end;
    owed_add(&b->node->owed, &b->owed);
}

static json_t *refusal_of(const struct by_hand *b, int rc)
{
    char words[sizeof b->why.text + 64];

    (void)snprintf(words, sizeof words, "%s%s", b->why.text,
                   b->told ? "; it is written down, and is done as soon as Redis is back" : "");
    return errand_error(words, rc == HK_EINVAL ? EXIT_USAGE : EXIT_NEEDED);
}

json_t *by_hand_take(struct node *node, const json_t *request)
{
    struct by_hand *b;
    json_t *reply;
    int rc;

    if (!node->ledger_up)
        return errand_error("Redis does not answer: nothing was changed", EXIT_NEEDED);
    b = hk_xcalloc(1, sizeof *b);
    b->node = node;
    rc = take_all(b, request);
    if (rc == 0)
        suppression_follow(node);
    reply = rc == 0 ? reply_of(b) : refusal_of(b, rc);
    if (rc != 0 && b->told)
        by_hand_owe(b);
    else
        by_hand_free(b);
    return reply;
}

/* ---- told again ---- */

static bool read_time(const json_t *line, const char *key, uint64_t *out)
{
    const char *text = json_string_value(json_object_get(line, key));

    return text != NULL && clock_rfc3339_parse(text, out);
}

static bool read_line(const json_t *line, struct by_hand_line *out)
{
    const char *type = json_string_value(json_object_get(line, "type"));
    const char *change = json_string_value(json_object_get(line, "change"));
    const json_t *evidence = json_object_get(line, "evidence");
    struct suppress_entry *entry = &out->entry;
    uint64_t until_us = 0;

    memset(out, 0, sizeof *out);
    if (type == NULL || strcmp(type, "suppression") != 0 || change == NULL ||
        !suppress_change_of(change, &out->change) || !read_time(line, "time", &out->time_us) ||
        !read_time(line, "since", &entry->time_us))
        return false;
    if (json_object_get(line, "until") != NULL &&
        (!read_time(line, "until", &until_us) || until_us / 1000000u > UINT32_MAX))
        return false;
    entry->until_s = (uint32_t)(until_us / 1000000u);
    return copy_text(entry->address, sizeof entry->address, json_object_get(line, "recipient")) &&
           copy_text(entry->scope, sizeof entry->scope, json_object_get(line, "scope")) &&
           copy_text(entry->reason, sizeof entry->reason, json_object_get(line, "reason")) &&
           copy_text(entry->source, sizeof entry->source, json_object_get(line, "source")) &&
           (evidence == NULL || copy_text(entry->evidence, sizeof entry->evidence, evidence));
}

bool by_hand_line(const char *text, size_t length, struct by_hand_line *out)
{
    static const char type[] = "\"type\":\"suppression\"";
    json_t *line;
    bool is_one;

    /* Most lines are others: it stands behind the id and the time. */
    if (memmem(text, length < 160 ? length : 160, type, sizeof type - 1) == NULL)
        return false;
    line = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    is_one = read_line(line, out);
    json_decref(line);
    return is_one;
}

int by_hand_retell(struct node *node, const struct by_hand_line *line)
{
    int rc = ledger_suppress_again(node->ledger, line->change, &line->entry, line->time_us);

    return rc == HK_EINVAL ? 0 : rc; /* none of ours: nobody wrote such an entry */
}
