/* reject.c - write rejected rows as CSV (RFC 4180): text in quotes, quotes doubled. */
#include "reject.h"

#include <string.h>

/* A buffer that takes what fits and remembers that something did not. */
struct reject_text {
    char bytes[REJECT_TEXT_MAX];
    size_t used;
    bool cut;
};

static void text_add(struct reject_text *t, const char *bytes, size_t length)
{
    size_t room = sizeof t->bytes - t->used;

    t->cut = t->cut || length > room;
    length = length < room ? length : room;
    memcpy(t->bytes + t->used, bytes, length);
    t->used += length;
}

static void text_add_field(struct reject_text *t, struct segment_field field, char separator)
{
    bool quoted = false;

    for (uint32_t i = 0; i < field.length && !quoted; i++)
        quoted = field.text[i] == separator || field.text[i] == '"' || field.text[i] == '\r' ||
                 field.text[i] == '\n';
    if (!quoted) {
        text_add(t, field.text, field.length);
        return;
    }
    text_add(t, "\"", 1);
    for (uint32_t i = 0; i < field.length && !t->cut; i++)
        text_add(t, field.text[i] == '"' ? "\"\"" : &field.text[i], field.text[i] == '"' ? 2 : 1);
    text_add(t, "\"", 1);
}

static void add_quoted(struct output *out, const char *text)
{
    output_add(out, "\"", 1);
    for (const char *p = text; *p != '\0'; p++)
        output_add(out, *p == '"' ? "\"\"" : p, *p == '"' ? 2 : 1);
    output_add(out, "\"", 1);
}

void reject_begin(struct output *out)
{
    static const char header[] = "row,reason,text\n";

    output_add(out, header, sizeof header - 1);
}

static void add_row(struct output *out, uint64_t row, const char *reason, const struct reject_text *raw)
{
    char number[32], clean[REJECT_TEXT_MAX + 4];
    size_t length = hk_clean_text(clean, sizeof clean - 3, raw->bytes, raw->used);

    if (raw->cut)
        memcpy(clean + length, "...", 4);
    output_add(out, number, (size_t)snprintf(number, sizeof number, "%llu,", (unsigned long long)row));
    add_quoted(out, reason);
    output_add(out, ",", 1);
    add_quoted(out, clean);
    output_add(out, "\n", 1);
}

void reject_add(struct output *out, uint64_t row, const char *reason, const struct csv_row *text)
{
    struct reject_text raw = {.used = 0};

    for (uint32_t i = 0; i < text->fields && i < CSV_FIELDS_MAX && !raw.cut; i++) {
        if (i > 0)
            text_add(&raw, &text->separator, 1);
        text_add_field(&raw, csv_field(text, i), text->separator);
    }
    add_row(out, row, reason, &raw);
}

void reject_add_text(struct output *out, uint64_t row, const char *reason, const char *text, size_t length)
{
    struct reject_text raw = {.used = 0};

    text_add(&raw, text, length);
    add_row(out, row, reason, &raw);
}
