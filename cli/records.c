/* records.c - read and write rows of CSV (records.h). */
#include "records.h"

#include <errno.h>
#include <string.h>

enum state { FIELD_START, PLAIN, QUOTED, QUOTE_SEEN };

void records_begin(struct records *records, FILE *in)
{
    records->in = in;
    records->error = 0;
    records->line = 1;
    records->separator = '\0';
}

const char *record_field(const struct record *record, uint32_t i)
{
    return i < record->fields && i < RECORD_FIELDS_MAX ? record->text + record->at[i] : "";
}

static void begin_field(struct record *record, uint32_t used)
{
    if (record->fields < RECORD_FIELDS_MAX)
        record->at[record->fields] = used;
    else
        record->fault = "too many fields";
}

static void keep(struct record *record, uint32_t *used, char c)
{
    if (c == '\0')
        record->fault = "a NUL byte";
    if (*used >= RECORD_BYTES_MAX)
        record->fault = "the row is too long";
    else if (record->fields < RECORD_FIELDS_MAX)
        record->text[(*used)++] = c;
}

static void end_field(struct record *record, uint32_t *used)
{
    if (record->fields < RECORD_FIELDS_MAX)
        record->text[(*used)++] = '\0';
    record->fields++;
    begin_field(record, *used);
}

/* The first row says what stands between fields: the first of these that it has. */
static bool is_separator(struct records *records, int c)
{
    if (records->separator == '\0' && (c == ',' || c == ';' || c == '\t'))
        records->separator = (char)c;
    return records->separator != '\0' && c == records->separator;
}

/* One byte in the state it is met in; true where it ends the row. */
static bool take(struct records *records, enum state *state, uint32_t *used, int c)
{
    struct record *record = &records->record;

    if (*state == QUOTED) {
        if (c == '"')
            *state = QUOTE_SEEN;
        else
            keep(record, used, (char)c);
        return false;
    }
    if (c == '\n' || c == '\r')
        return true;
    if (is_separator(records, c)) {
        end_field(record, used);
        *state = FIELD_START;
        return false;
    }
    if (c == '"' && *state != PLAIN) {
        if (*state == QUOTE_SEEN)
            keep(record, used, '"');
        *state = QUOTED;
        return false;
    }
    if (*state == QUOTE_SEEN)
        record->fault = "text behind a closing quote";
    *state = PLAIN;
    keep(record, used, (char)c);
    return false;
}

int records_next(struct records *records)
{
    struct record *record = &records->record;
    enum state state = FIELD_START;
    uint32_t used = 0;
    bool any = false, ended = false;
    int c = EOF;

    record->fields = 0;
    record->line = records->line;
    record->fault = NULL;
    begin_field(record, 0);
    while (!ended && (c = getc_unlocked(records->in)) != EOF) {
        any = true;
        if (c == '\r' && state != QUOTED) {
            int behind = getc_unlocked(records->in);
            if (behind != '\n' && behind != EOF)
                (void)ungetc(behind, records->in);
        }
        records->line += c == '\n' || (c == '\r' && state != QUOTED);
        ended = take(records, &state, &used, c);
    }
    if (ferror(records->in)) {
        records->error = errno;
        return HK_EIO;
    }
    if (state == QUOTED)
        return HK_EINVAL;
    record->blank = used == 0 && record->fields == 0;
    if (!record->blank && records->separator == '\0')
        records->separator = ','; /* a row of one field */
    end_field(record, &used);
    return any ? 1 : 0;
}

void record_write_field(FILE *out, const char *text)
{
    size_t length = strlen(text);

    if (strpbrk(text, ",\"\r\n") == NULL && (length == 0 || (text[0] != ' ' && text[length - 1] != ' '))) {
        fputs(text, out);
        return;
    }
    putc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            putc('"', out);
        putc(*text, out);
    }
    putc('"', out);
}
