/* json_text.c - see json_text.h. The depth is counted by a walk over the bytes: the library's parser recurses. */
#include "json_text.h"

#include <string.h>

/* The deepest nesting of brackets outside of texts, cut short at `most` + 1. */
static unsigned depth_of(const char *bytes, size_t length, unsigned most)
{
    unsigned depth = 0, deepest = 0;
    bool in_text = false;

    for (size_t i = 0; i < length && deepest <= most; i++) {
        char c = bytes[i];
        if (in_text && c == '\\')
            i++;
        else if (c == '"')
            in_text = !in_text;
        else if (!in_text && (c == '{' || c == '['))
            deepest = ++depth > deepest ? depth : deepest;
        else if (!in_text && (c == '}' || c == ']') && depth > 0)
            depth--;
    }
    return deepest;
}

json_t *json_text_read(const char *bytes, size_t length, size_t most, unsigned depth, int *error,
                       struct hk_why *why)
{
    json_error_t what;
    json_t *json;
    char words[160];

    if (length > most) {
        *error = why_set(why, HK_ETOOBIG, "%zu bytes, at most %zu are taken", length, most);
        return NULL;
    }
    if (depth_of(bytes, length, depth) > depth) {
        *error = why_set(why, HK_EINVAL, "JSON of more than %u levels", depth);
        return NULL;
    }
    json = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &what);
    if (json == NULL && json_error_code(&what) == json_error_out_of_memory) {
        *error = why_set(why, HK_ENOMEM, "no memory for %zu bytes of JSON", length);
        return NULL;
    }
    if (json_is_object(json)) {
        *error = 0;
        return json;
    }
    (void)hk_clean_text(words, sizeof words, what.text,
                        json == NULL ? strnlen(what.text, sizeof what.text) : 0);
    *error = why_set(why, HK_EINVAL, "no JSON object: %s", json == NULL ? words : "something else");
    json_decref(json);
    return NULL;
}

const char *json_text_at(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}
