/* suppress_change.c - entries of suppression lists, changed by the node in requests of many (suppress.h). */
#include <string.h>

#include "errand.h"
#include "suppress.h"

#define FRAME_BYTES 1024u /* of a request, around its entries */

struct sending {
    const struct changes *changes;
    struct reach *reach;
    json_t *entries;
    size_t bytes, most_bytes;
    struct suppress_entry *entry; /* that are under way, and behind them one for which there was no room */
    size_t count;
    bool left_over, ended;
    int error;
    struct hk_why *why;
};

static json_t *entry_json(const struct suppress_entry *entry)
{
    return json_pack("[s,s,s,s,s,I,I]", entry->address, entry->scope, entry->reason, entry->source,
                     entry->evidence, (json_int_t)entry->time_us, (json_int_t)entry->until_s);
}

/* How long it is as JSON at most: what has to be escaped takes six bytes for one. */
static size_t bytes_of(const struct suppress_entry *entry)
{
    const char *const text[] = {entry->address, entry->scope, entry->reason, entry->source, entry->evidence};
    size_t bytes = 64;

    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++)
        for (const char *c = text[i]; *c != '\0'; c++)
            bytes += (unsigned char)*c < ' ' ? 6 : *c == '"' || *c == '\\' ? 2 : 1;
    return bytes;
}

/* One more, if there is one and room for it. */
static bool collect_one(struct sending *s)
{
    struct suppress_entry *entry = &s->entry[s->count];
    json_t *json;

    if (!s->left_over) {
        int rc = s->changes->next(s->changes->context, entry, s->why);
        s->ended = rc != 1;
        if (rc < 0)
            s->error = rc;
        if (rc != 1)
            return false;
    }
    s->left_over = s->count > 0 && s->bytes + bytes_of(entry) > s->most_bytes;
    if (s->left_over)
        return false;
    json = entry_json(entry);
    if (json == NULL || json_array_append_new(s->entries, json) != 0) {
        s->error = why_set(s->why, HK_ENOMEM, "hikyaku: not enough memory for a request to the node");
        s->ended = true;
        return false;
    }
    s->bytes += bytes_of(entry);
    s->count++;
    return true;
}

static int hand_back(struct sending *s, const json_t *reply)
{
    const json_t *changed = json_object_get(reply, "changed");
    const char *words = json_string_value(json_object_get(reply, "error"));
    json_int_t status = json_integer_value(json_object_get(reply, "exit"));

    if (!json_is_true(json_object_get(reply, "ok")) || json_array_size(changed) != s->count)
        return why_set(s->why, status == EXIT_USAGE ? HK_EINVAL : HK_EDOWN, "hikyaku: %s",
                       words != NULL ? words : "the node refuses and does not say why");
    for (size_t i = 0; i < s->count; i++) {
        int error = s->changes->told(s->changes->context, &s->entry[i],
                                     json_is_true(json_array_get(changed, i)), s->why);
        if (error != 0)
            return error;
    }
    return 0;
}

static json_t *next_request(void *context, const json_t *reply)
{
    struct sending *s = context;
    int error = s->count > 0 ? hand_back(s, reply) : 0;

    if (error != 0) {
        s->error = error;
        return NULL;
    }
    if (s->left_over)
        s->entry[0] = s->entry[s->count];
    s->count = s->bytes = 0;
    s->entries = json_array();
    while (!s->ended && s->count < s->changes->most && collect_one(s))
        continue;
    if (s->count > 0)
        return json_pack("{s:s,s:s,s:o}", "command", "suppress", "change",
                         suppress_change_name(s->changes->change), "entries", s->entries);
    json_decref(s->entries);
    return NULL;
}

int suppress_change(struct reach *reach, const struct changes *changes, struct hk_why *why)
{
    struct sending s = {.changes = changes, .reach = reach, .why = why};
    struct hk_why words;
    int error;

    s.most_bytes = reach->node_runs ? NODE_REQUEST_MAX - FRAME_BYTES : SIZE_MAX;
    s.entry = hk_xcalloc(changes->most + 1, sizeof *s.entry);
    error = errand_each(reach, next_request, &s, &words);
    free(s.entry);
    if (s.error != 0)
        return s.error;
    if (error != 0)
        *why = words;
    return error;
}
