/* jsonl.c - lines, and the objects in them (jsonl.h); the JSON itself is Jansson's. */
#include "jsonl.h"

#include <string.h>

#include "hikyaku/address.h"

/* ---- lines ---- */

void jsonl_init(struct jsonl_reader *r)
{
    memset(r, 0, sizeof *r);
    r->line = 1;
}

void jsonl_free(struct jsonl_reader *r)
{
    free(r->text);
    memset(r, 0, sizeof *r);
}

/* Keep a piece of a line, as far as it is kept at all. */
static int keep(struct jsonl_reader *r, const char *bytes, size_t length)
{
    size_t room = JSONL_LINE_MAX - r->used, capacity = r->capacity == 0 ? 4096 : r->capacity;
    char *text;

    r->open = true;
    if (length > room) {
        length = room;
        r->too_long = true;
    }
    while (capacity < r->used + length)
        capacity *= 2;
    if (capacity > r->capacity) {
        text = realloc(r->text, capacity);
        if (text == NULL)
            return HK_ENOMEM;
        r->text = text;
        r->capacity = capacity;
    }
    memcpy(r->text + r->used, bytes, length);
    r->used += length;
    return 0;
}

static void give(struct jsonl_reader *r, const char *text, size_t length, struct jsonl_line *line)
{
    if (length > JSONL_LINE_MAX) {
        length = JSONL_LINE_MAX;
        r->too_long = true;
    }
    if (length > 0 && text[length - 1] == '\r')
        length--;
    *line = (struct jsonl_line){.text = text, .length = length, .line = r->line, .too_long = r->too_long};
    r->given = true;
}

int jsonl_next(struct jsonl_reader *r, const char **at, const char *end, struct jsonl_line *line)
{
    const char *begin = *at, *stop;
    size_t length;

    if (r->given) {
        r->line++;
        r->used = 0;
        r->open = r->too_long = r->given = false;
    }
    if (begin == end)
        return 0;
    stop = memchr(begin, '\n', (size_t)(end - begin));
    length = (size_t)((stop != NULL ? stop : end) - begin);
    *at = stop != NULL ? stop + 1 : end;
    if (r->open || stop == NULL) {
        if (keep(r, begin, length) != 0)
            return HK_ENOMEM;
        begin = r->text;
        length = r->used;
    }
    if (stop == NULL)
        return 0;
    give(r, begin, length, line);
    return 1;
}

int jsonl_finish(struct jsonl_reader *r, struct jsonl_line *line)
{
    if (!r->open || r->given)
        return 0;
    give(r, r->text, r->used, line);
    return 1;
}

/* ---- objects ---- */

int jsonl_parse(const struct jsonl_line *line, json_t **out, struct hk_why *reason)
{
    json_error_t error;
    char words[160];

    *out = NULL;
    if (line->too_long)
        return why_set(reason, HK_EINVAL, "the line is longer than %u bytes", JSONL_LINE_MAX);
    *out = json_loadb(line->text, line->length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (*out == NULL && json_error_code(&error) == json_error_out_of_memory)
        return why_set(reason, HK_ENOMEM, "out of memory");
    if (*out == NULL) {
        hk_clean_text(words, sizeof words, error.text, strlen(error.text));
        return why_set(reason, HK_EINVAL, "no JSON object on the line: %s (at byte %d)", words,
                       error.position);
    }
    if (json_is_object(*out))
        return 0;
    json_decref(*out);
    *out = NULL;
    return why_set(reason, HK_EINVAL, "no JSON object on the line but another value");
}

int jsonl_columns(const json_t *object, const char *list, uint64_t line, struct columns *out,
                  struct hk_why *why)
{
    const char *key;
    json_t *value;
    int rc = 0;

    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        size_t length = strlen(key);
        if (length > IMPORT_FIELD_MAX)
            return why_set(why, HK_EINVAL, "%s:%llu: a key is longer than %u bytes", list,
                           (unsigned long long)line, IMPORT_FIELD_MAX);
        rc = columns_add(out, list, line, (struct segment_field){key, (uint32_t)length}, why);
        if (rc != 0)
            return rc;
    }
    return columns_close(out, list, line, why);
}

/* The shortest decimal that reads as the same number. */
static size_t write_real(double value, char *out, size_t size)
{
    int length = 0;

    for (int digits = 15; digits <= 17; digits++) {
        length = snprintf(out, size, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            break;
    }
    return (size_t)length;
}

/* Keys come in the order of the columns, nearly always. */
static uint32_t find_column(const struct columns *columns, const char *key, uint32_t likely)
{
    if (likely < columns->count && strcmp(columns->name[likely], key) == 0)
        return likely;
    for (uint32_t i = 0; i < columns->count; i++)
        if (strcmp(columns->name[i], key) == 0)
            return i;
    return columns->count;
}

static int read_value(const char *key, const json_t *value, char *number, size_t size,
                      struct segment_field *out, struct hk_why *reason)
{
    char clean[80];

    *out = (struct segment_field){number, 0};
    switch (json_typeof(value)) {
    case JSON_STRING:
        if (json_string_length(value) > IMPORT_FIELD_MAX)
            return why_set(reason, HK_EINVAL, "a field is longer than %u bytes", IMPORT_FIELD_MAX);
        *out = (struct segment_field){json_string_value(value), (uint32_t)json_string_length(value)};
        return 0;
    case JSON_INTEGER:
        out->length = (uint32_t)snprintf(number, size, "%lld", (long long)json_integer_value(value));
        return 0;
    case JSON_REAL:
        out->length = (uint32_t)write_real(json_real_value(value), number, size);
        return 0;
    case JSON_TRUE:
        *out = (struct segment_field){"true", 4};
        return 0;
    case JSON_FALSE:
    case JSON_NULL:
        return 0;
    case JSON_OBJECT:
    case JSON_ARRAY:
        break;
    }
    hk_clean_text(clean, sizeof clean, key, strlen(key));
    return why_set(reason, HK_EINVAL, "the value of \"%s\" is an object or a list; write a text or a number",
                   clean);
}

int jsonl_values(const json_t *object, const struct columns *columns, struct jsonl_values *out,
                 struct hk_why *reason)
{
    uint32_t likely = 0;
    const char *key;
    json_t *value;
    char clean[80];

    for (uint32_t i = 0; i < columns->count; i++)
        out->field[i] = (struct segment_field){"", 0};
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        uint32_t i = find_column(columns, key, likely);
        int rc;
        if (i == columns->count) {
            hk_clean_text(clean, sizeof clean, key, strlen(key));
            return why_set(reason, HK_EINVAL, "key \"%s\" is not among those of the first line", clean);
        }
        likely = i + 1;
        rc = read_value(key, value, out->number[i], sizeof out->number[i], &out->field[i], reason);
        if (rc != 0)
            return rc;
    }
    return 0;
}
