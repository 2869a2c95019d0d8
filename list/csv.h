/* csv.h - cut a stream of bytes into CSV rows (RFC 4180), in pieces of any size.
 *
 * Rows end in CRLF, LF or CR, mixed as they come; fields are separated by commas, or by what csv_init() is told;
 * a field in quotes may hold separators, line ends and doubled quotes. No file, no encoding, no meaning of fields in here, so tests and the fuzzer drive it directly. What is
 * wrong with one row is a fault of that row and the next one is read; only a quote that never closes ends a
 * file (HK_EINVAL, quote_line says where it was opened). Memory is bounded: at most CSV_FIELDS_MAX fields of
 * CSV_FIELD_MAX bytes are kept of a row, however long it is.
 */
#ifndef LIST_CSV_H
#define LIST_CSV_H

#include "hikyaku/segment.h"

#define CSV_FIELDS_MAX SEGMENT_COLUMNS_MAX
#define CSV_FIELD_MAX  IMPORT_FIELD_MAX

/* Faults of a row. */
enum csv_fault {
    CSV_LONG_FIELD = 1,   /* a field was cut at CSV_FIELD_MAX */
    CSV_BEHIND_QUOTE = 2, /* text between a closing quote and the next separator */
};

struct csv_row {
    const char *text;    /* the fields in their order, quotes taken off; good until the next call */
    const uint32_t *end; /* where field i ends in text; field 0 begins at 0 */
    uint32_t fields;     /* as in the file: only the first CSV_FIELDS_MAX are in text */
    unsigned faults;
    char separator;
    bool in_place; /* text is the caller's own bytes, the separators in it; and it is UTF-8 */
    bool is_plain; /* text is ASCII without NUL; false: it was not looked for */
    bool blank;    /* nothing on the line but blanks */
    uint64_t line; /* of the file, where the row begins; the first is 1 */
};

enum csv_state { CSV_FIELD_START, CSV_PLAIN, CSV_QUOTED, CSV_QUOTE_SEEN };

struct csv_reader {
    enum csv_state state;
    char separator;
    bool ends_plain[256]; /* bytes at which a field outside quotes ends */
    bool row_open;        /* bytes of a row have been read */
    bool after_cr;        /* a row ended in CR: an LF that follows belongs to it */
    bool any_quote;       /* a quote opened in this row */
    bool row_given;       /* the last call returned a row: begin afresh */
    unsigned faults;
    uint32_t fields;
    uint64_t line, row_line, quote_line;
    char *text;
    size_t used, capacity;
    uint32_t end[CSV_FIELDS_MAX];
};

void csv_init(struct csv_reader *reader, char separator);
void csv_free(struct csv_reader *reader);

/* Read on from *at, no further than `end`, and move *at. 1: a row; 0: all bytes are read and the row goes on;
 * HK_ENOMEM. */
int csv_next(struct csv_reader *reader, const char **at, const char *end, struct csv_row *row) HK_MUST_USE;

/* No more bytes will come. 1: the last row, which has no line end; 0: there is none; HK_EINVAL: a quote never
 * closed. */
int csv_finish(struct csv_reader *reader, struct csv_row *row) HK_MUST_USE;

/* Field i (below both row->fields and CSV_FIELDS_MAX) of a row. */
static inline struct segment_field csv_field(const struct csv_row *row, uint32_t i)
{
    uint32_t begin = i == 0 ? 0 : row->end[i - 1] + row->in_place;

    return (struct segment_field){row->text + begin, row->end[i] - begin};
}

#endif
