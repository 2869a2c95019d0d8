/* suppress_entry.c - keys, values and calls of suppression (suppress_entry.h). */
#include "suppress_entry.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

static void lower_ascii(char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] >= 'A' && text[i] <= 'Z')
            text[i] = (char)(text[i] + ('a' - 'A'));
}

int suppress_key(const char *address, char out[ADDRESS_MAX + 1], struct hk_why *why)
{
    struct address parsed;
    int error = address_parse(address, strlen(address), &parsed, why);

    if (error)
        return error;
    lower_ascii(parsed.text, parsed.length);
    memcpy(out, parsed.text, (size_t)parsed.length + 1);
    return 0;
}

int suppress_scope_check(const char *scope, struct hk_why *why)
{
    static const char *const kinds[] = {"sender:", "list:"};

    if (strcmp(scope, "all") == 0)
        return 0;
    for (const char *c = scope; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return why_set(why, HK_EINVAL, "a blank or control byte in the scope");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strncmp(scope, kinds[i], strlen(kinds[i])) == 0 && scope[strlen(kinds[i])] != '\0')
            return 0;
    return why_set(why, HK_EINVAL,
                   "no such scope; write all, sender:DOMAIN or list:LIST-ID (sender and list alone mean this "
                   "configuration's)");
}

int suppress_entry_key(const struct suppress_entry *entry, char out[ADDRESS_MAX + 1], struct hk_why *why)
{
    int error = suppress_key(entry->address, out, why);

    if (!error)
        error = suppress_scope_check(entry->scope, why);
    if (error)
        return error;
    for (const char *c = entry->reason; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-'))
            return why_set(why, HK_EINVAL, "a reason is one word of small letters, digits and '-'");
    return entry->reason[0] ? 0 : why_set(why, HK_EINVAL, "a reason is missing");
}

int suppress_entry_check(const struct suppress_entry *entry, struct hk_why *why)
{
    char key[ADDRESS_MAX + 1];

    return suppress_entry_key(entry, key, why);
}

int suppress_scope(const struct config *config, enum suppress_scope_kind kind, char out[SUPPRESS_SCOPE_MAX],
                   struct hk_why *why)
{
    const char *name = kind == SUPPRESS_SENDER ? config->sender.from_domain : config->sender.list_id;
    int length;

    if (kind == SUPPRESS_ALL) {
        memcpy(out, "all", sizeof "all");
        return 0;
    }
    if (!name)
        return why_set(why, HK_EINVAL, "%s: sender.%s is not set: there is no such scope",
                       config->file ? config->file : "the configuration",
                       kind == SUPPRESS_SENDER ? "from_domain" : "list_id");
    length = snprintf(out, SUPPRESS_SCOPE_MAX, "%s:%s", kind == SUPPRESS_SENDER ? "sender" : "list", name);
    if (length < 0 || (size_t)length >= SUPPRESS_SCOPE_MAX)
        return why_set(why, HK_EINVAL, "sender.list_id is too long for a scope: at most %u bytes",
                       SUPPRESS_SCOPE_MAX - (unsigned)sizeof "list:");
    lower_ascii(out, (size_t)length);
    return suppress_scope_check(out, why);
}

char *suppress_value(const struct suppress_entry *entry)
{
    char source[sizeof entry->source], evidence[sizeof entry->evidence], *text;
    json_t *json;

    (void)hk_clean_text(source, sizeof source, entry->source, strlen(entry->source));
    (void)hk_clean_text(evidence, sizeof evidence, entry->evidence, strlen(entry->evidence));
    json = json_pack("{s:s,s:s,s:s,s:I}", "reason", entry->reason, "source", source, "evidence", evidence,
                     "time", (json_int_t)entry->time_us);
    if (json && entry->until_s != 0 &&
        json_object_set_new(json, "until", json_integer(entry->until_s)) != 0) {
        json_decref(json);
        json = NULL;
    }
    text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return text;
}

/* A quote within a text is escaped, so what looks like the key is the key. */
uint32_t suppress_value_until(const char *value, size_t length)
{
    static const char key[] = "\"until\":";
    const char *at = memmem(value, length, key, sizeof key - 1), *end = value + length;
    uint64_t until = 0;

    for (at = at != NULL ? at + sizeof key - 1 : end; at < end && *at >= '0' && *at <= '9'; at++)
        until = until < UINT32_MAX ? until * 10 + (uint64_t)(*at - '0') : until;
    return until < UINT32_MAX ? (uint32_t)until : 0;
}

bool suppress_has_ended(const struct suppress_entry *entry, uint64_t now_us)
{
    return entry->until_s != 0 && entry->until_s <= now_us / 1000000u;
}

static void copy_word(char *out, size_t size, const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));

    (void)hk_clean_text(out, size, text ? text : "", text ? strlen(text) : 0);
}

int suppress_value_parse(const char *scope, const char *key, const char *value, struct suppress_entry *out)
{
    json_t *json;

    memset(out, 0, sizeof *out);
    errno = 0;
    json = json_loads(value, 0, NULL);
    /* jansson calls that a syntax error, or leaves out the byte for which it had no room and goes on. */
    if (errno == ENOMEM) {
        json_decref(json);
        return HK_ENOMEM;
    }
    if (!json_is_object(json) || strlen(scope) >= sizeof out->scope || strlen(key) >= sizeof out->address) {
        json_decref(json);
        return HK_ECHANGED;
    }
    (void)snprintf(out->scope, sizeof out->scope, "%s", scope);
    (void)snprintf(out->address, sizeof out->address, "%s", key);
    copy_word(out->reason, sizeof out->reason, json, "reason");
    copy_word(out->source, sizeof out->source, json, "source");
    copy_word(out->evidence, sizeof out->evidence, json, "evidence");
    out->time_us = (uint64_t)json_integer_value(json_object_get(json, "time"));
    out->last_us = (uint64_t)json_integer_value(json_object_get(json, "last"));
    out->until_s = (uint32_t)json_integer_value(json_object_get(json, "until"));
    json_decref(json);
    return 0;
}

/* ---- changes ---- */

static const struct {
    const char *name;      /* in the event log */
    const char *op, *late; /* of the script; of a change that is told again */
} changes[] = {
    [SUPPRESS_ADDED] = {"added", "add", "add"},
    [SUPPRESS_REMOVED] = {"removed", "remove", "forget"},
    [SUPPRESS_APPLIED] = {"applied", "apply", "apply"},
    [SUPPRESS_DROPPED] = {"dropped", "drop", "drop"},
};

const char *suppress_change_name(enum suppress_change change)
{
    return changes[change].name;
}

bool suppress_change_of(const char *name, enum suppress_change *out)
{
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
        if (strcmp(name, changes[i].name) == 0) {
            *out = (enum suppress_change)i;
            return true;
        }
    return false;
}

static char *number_text(uint64_t number)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    return strdup(text);
}

void suppress_texts_free(const struct suppress_texts *texts)
{
    for (size_t i = 0; i < SUPPRESS_TEXTS_MAX; i++)
        free(texts->text[i]);
}

int suppress_texts_make(struct suppress_texts *out, enum suppress_change change,
                        const struct suppress_entry *entry, uint64_t time_us, struct hk_why *why)
{
    const bool late = time_us != SUPPRESS_ANY_TIME;
    const bool adds = change == SUPPRESS_ADDED || change == SUPPRESS_APPLIED;
    char key[ADDRESS_MAX + 1];
    int error = adds ? suppress_entry_key(entry, key, why) : suppress_key(entry->address, key, why);

    *out = (struct suppress_texts){.op = late ? changes[change].late : changes[change].op};
    if (!error)
        error = suppress_scope_check(entry->scope, why);
    if (error)
        return error;
    out->text[out->count++] = strdup(key);
    if (adds)
        out->text[out->count++] = suppress_value(entry);
    if (change == SUPPRESS_DROPPED)
        out->text[out->count++] = number_text(entry->time_us);
    /* What is removed may have been imported with a time that lies ahead. */
    if (change == SUPPRESS_REMOVED && late)
        out->text[out->count++] = number_text(entry->time_us > time_us ? entry->time_us : time_us);
    if (change == SUPPRESS_APPLIED || change == SUPPRESS_DROPPED)
        out->text[out->count++] = number_text(time_us);
    for (size_t i = 0; i < out->count; i++)
        if (!out->text[i])
            error = HK_ENOMEM;
    if (error) {
        suppress_texts_free(out);
        *out = (struct suppress_texts){.count = 0};
    }
    return error ? why_set(why, error, "no memory for a suppression") : 0;
}

/* ---- the call ---- */

void suppress_call_add(struct suppress_call *call, const char *text)
{
    HK_BUG_ON(call->argc == SUPPRESS_ARGS_MAX);
    call->argv[call->argc] = text;
    call->length[call->argc++] = strlen(text);
}

void suppress_call_add_texts(struct suppress_call *call, const struct suppress_texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        suppress_call_add(call, texts->text[i]);
}

void suppress_call_begin(struct suppress_call *call, const char *verb, const char *script, const char *op,
                         const char *scope)
{
    const char *const fixed[] = {verb,
                                 script,
                                 "5",
                                 call->hash,
                                 SUPPRESS_KEY("log"),
                                 SUPPRESS_KEY("seq"),
                                 SUPPRESS_KEY("scopes"),
                                 SUPPRESS_HELD_KEY,
                                 op,
                                 scope,
                                 SUPPRESS_LOG_KEPT};
    _Static_assert(sizeof fixed / sizeof fixed[0] == SUPPRESS_ARGS_FIXED, "SUPPRESS_ARGS_FIXED");

    (void)snprintf(call->hash, sizeof call->hash, SUPPRESS_KEY("%s"), scope);
    call->argc = 0;
    for (size_t i = 0; i < SUPPRESS_ARGS_FIXED; i++)
        suppress_call_add(call, fixed[i]);
}
