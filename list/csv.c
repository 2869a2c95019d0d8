/* csv.c - the CSV reader: one state, one byte range at a time, so that it may stop and go on anywhere.
 *
 * Most rows of most lists have no quote and lie whole in the range at hand: these are given where they are, without a
 * copy, and the state never leaves the beginning of a row. All others go through the states.
 */
#include "csv.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "hikyaku/address.h"

#define CSV_WINDOW 16u /* bytes looked at together */

void csv_init(struct csv_reader *r, char separator)
{
    memset(r, 0, sizeof *r);
    r->separator = separator;
    r->ends_plain[(unsigned char)separator] = r->ends_plain['\r'] = r->ends_plain['\n'] = true;
    r->line = r->row_line = 1;
}

void csv_free(struct csv_reader *r)
{
    free(r->text);
    memset(r, 0, sizeof *r);
}

static uint32_t field_begin(const struct csv_reader *r)
{
    return r->fields == 0 ? 0 : r->end[r->fields - 1];
}

static int make_room(struct csv_reader *r, size_t length)
{
    size_t capacity = r->capacity == 0 ? 4096 : r->capacity;
    char *text;

    if (r->used + length <= r->capacity)
        return 0;
    while (capacity < r->used + length)
        capacity *= 2;
    text = realloc(r->text, capacity);
    if (text == NULL)
        return HK_ENOMEM;
    r->text = text;
    r->capacity = capacity;
    return 0;
}

/* Add bytes to the open field, as far as it is kept. */
static int keep(struct csv_reader *r, const char *bytes, size_t length)
{
    size_t room;

    if (r->fields >= CSV_FIELDS_MAX || length == 0)
        return 0;
    room = CSV_FIELD_MAX - (r->used - field_begin(r));
    if (length > room) {
        length = room;
        r->faults |= CSV_LONG_FIELD;
    }
    if (make_room(r, length) != 0)
        return HK_ENOMEM;
    memcpy(r->text + r->used, bytes, length);
    r->used += length;
    return 0;
}

static void end_field(struct csv_reader *r)
{
    if (r->fields < CSV_FIELDS_MAX)
        r->end[r->fields] = (uint32_t)r->used;
    if (r->fields < UINT32_MAX)
        r->fields++;
    r->state = CSV_FIELD_START;
}

static bool is_blank(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] != ' ' && text[i] != '\t')
            return false;
    return true;
}

static void give_row(struct csv_reader *r, struct csv_row *row)
{
    end_field(r);
    *row = (struct csv_row){
        .text = r->used > 0 ? r->text : "",
        .end = r->end,
        .fields = r->fields,
        .faults = r->faults,
        .separator = r->separator,
        .blank = r->fields == 1 && !r->any_quote && is_blank(r->text, r->used),
        .line = r->row_line,
    };
    r->row_open = false;
    r->row_given = true;
}

static void begin_row(struct csv_reader *r)
{
    r->used = 0;
    r->fields = 0;
    r->faults = 0;
    r->any_quote = false;
    r->row_given = false;
    r->row_line = r->line;
}

/* ---- rows that stay where they are ---- */

/* A bit for each byte of a window: those at which a field may end or a quote stands, and in *odd those that are NUL or
 * no ASCII. */
#ifdef __SSE2__
static unsigned look_at(const char *window, char separator, unsigned *odd)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)window);
    __m128i ends =
        _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\r')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n')));
    __m128i marks = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(separator)),
                                 _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')));

    *odd = (unsigned)_mm_movemask_epi8(_mm_cmpgt_epi8(bytes, _mm_setzero_si128())) ^ 0xffffu;
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(ends, marks));
}
#else
static unsigned look_at(const char *window, char separator, unsigned *odd)
{
    unsigned stops = 0;

    *odd = 0;
    for (unsigned i = 0; i < CSV_WINDOW; i++) {
        char c = window[i];
        stops |= (unsigned)(c == '\r' || c == '\n' || c == separator || c == '"') << i;
        *odd |= (unsigned)(c == '\0' || (unsigned char)c >= 0x80) << i;
    }
    return stops;
}
#endif

/* The row ends at `end`. Text that is no UTF-8 goes the other way: who guesses at its encoding wants the fields one
 * behind another. */
static bool give_in_place(struct csv_reader *r, const char **at, const char *end, uint32_t fields,
                          bool is_plain, struct csv_row *row)
{
    size_t length = (size_t)(end - *at);

    if (!is_plain && !utf8_is_valid(*at, length))
        return false;
    *row = (struct csv_row){
        .text = *at,
        .end = r->end,
        .fields = fields,
        .separator = r->separator,
        .in_place = true,
        .is_plain = is_plain,
        .blank = fields == 1 && is_blank(*at, length),
        .line = r->row_line,
    };
    r->row_given = true;
    r->after_cr = *end == '\r';
    r->line++;
    *at = end + 1;
    return true;
}

/* A row that begins at *at, if it needs no copy: its end is before `end` and it has no quote. If not, nothing of it is
 * read. */
static bool read_in_place(struct csv_reader *r, const char **at, const char *end, struct csv_row *row)
{
    const char *field = *at;
    char separator = r->separator;
    uint32_t fields = 0;
    unsigned any_odd = 0;

    for (const char *window = *at; (size_t)(end - window) >= CSV_WINDOW; window += CSV_WINDOW) {
        unsigned odd, stops = look_at(window, separator, &odd);
        for (; stops != 0; stops &= stops - 1) {
            unsigned place = (unsigned)__builtin_ctz(stops);
            const char *stop = window + place;
            if (*stop == '"' || fields == CSV_FIELDS_MAX || stop - field > CSV_FIELD_MAX)
                return false;
            r->end[fields++] = (uint32_t)(stop - *at);
            field = stop + 1;
            if (*stop != separator) {
                any_odd |= odd & ((1u << place) - 1);
                return give_in_place(r, at, stop, fields, any_odd == 0, row);
            }
        }
        if (window - field > CSV_FIELD_MAX)
            return false;
        any_odd |= odd;
    }
    return false;
}

/* ---- all others ---- */

/* A byte that ends a field, or a whole row: returns 1 for the row. */
static int end_at(struct csv_reader *r, char c, struct csv_row *row)
{
    if (c == r->separator) {
        end_field(r);
        return 0;
    }
    r->after_cr = c == '\r';
    r->line++;
    give_row(r, row);
    return 1;
}

/* Inside quotes: everything up to the next quote is text. */
static int read_quoted(struct csv_reader *r, const char **at, const char *end)
{
    const char *quote = memchr(*at, '"', (size_t)(end - *at));
    const char *stop = quote != NULL ? quote : end;
    int rc = keep(r, *at, (size_t)(stop - *at));

    for (const char *p = *at; (p = memchr(p, '\n', (size_t)(stop - p))) != NULL; p++)
        r->line++;
    *at = stop;
    if (quote != NULL) {
        r->state = CSV_QUOTE_SEEN;
        (*at)++;
    }
    return rc;
}

/* Behind a quote that may have closed the field: a second one is a quote in the text. */
static int read_behind_quote(struct csv_reader *r, const char **at, struct csv_row *row)
{
    char c = **at;

    if (r->ends_plain[(unsigned char)c]) {
        (*at)++;
        return end_at(r, c, row);
    }
    if (c == '"') {
        r->state = CSV_QUOTED;
        return keep(r, (*at)++, 1);
    }
    r->faults |= CSV_BEHIND_QUOTE;
    r->state = CSV_PLAIN;
    return 0;
}

static int read_plain(struct csv_reader *r, const char **at, const char *end, struct csv_row *row)
{
    const char *stop = *at;
    int rc;

    while (stop < end && !r->ends_plain[(unsigned char)*stop])
        stop++;
    rc = keep(r, *at, (size_t)(stop - *at));
    *at = stop;
    if (rc != 0 || stop == end)
        return rc;
    return end_at(r, *(*at)++, row);
}

static void start_field(struct csv_reader *r, const char **at)
{
    r->row_open = true;
    r->state = CSV_PLAIN;
    if (**at != '"')
        return;
    r->state = CSV_QUOTED;
    r->any_quote = true;
    r->quote_line = r->line;
    (*at)++;
}

int csv_next(struct csv_reader *r, const char **at, const char *end, struct csv_row *row)
{
    int rc = 0;

    while (rc == 0 && *at < end) {
        if (r->row_given) {
            if (r->after_cr && **at == '\n')
                (*at)++;
            r->after_cr = false;
            begin_row(r);
            continue;
        }
        switch (r->state) {
        case CSV_FIELD_START:
            if (!r->row_open && read_in_place(r, at, end, row))
                return 1;
            start_field(r, at);
            break;
        case CSV_PLAIN:
            rc = read_plain(r, at, end, row);
            break;
        case CSV_QUOTED:
            rc = read_quoted(r, at, end);
            break;
        case CSV_QUOTE_SEEN:
            rc = read_behind_quote(r, at, row);
            break;
        }
    }
    return rc;
}

int csv_finish(struct csv_reader *r, struct csv_row *row)
{
    if (!r->row_open)
        return 0;
    if (r->state == CSV_QUOTED)
        return HK_EINVAL;
    give_row(r, row);
    return 1;
}
