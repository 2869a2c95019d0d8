/* records.h - rows of a CSV file (RFC 4180; semicolons or tabs where the first row has them) as strings, for commands that read small tables; and fields on their way out.
 *
 * Rows end in LF, CRLF or CR; a field in quotes may hold commas, line ends and doubled quotes. Memory is bounded: of a row
 * of more than RECORD_BYTES_MAX the rest is dropped, and the row has a fault. What is wrong with one row is a fault of that
 * row; only a quote that never closes is an error of the file. (The importer of lists has a reader of its own, which works
 * on pieces of any size.)
 */
#ifndef CLI_RECORDS_H
#define CLI_RECORDS_H

#include "hikyaku/base.h"

#define RECORD_FIELDS_MAX 256u
#define RECORD_BYTES_MAX  65536u

struct record {
    char text[RECORD_BYTES_MAX + RECORD_FIELDS_MAX + 1];
    uint32_t at[RECORD_FIELDS_MAX]; /* where field i begins in text; each ends in NUL */
    uint32_t fields;                /* as in the file: the first RECORD_FIELDS_MAX are kept */
    uint64_t line;                  /* where the row begins, the first is 1 */
    const char *fault;              /* what is wrong with it; NULL: nothing */
    bool blank;                     /* nothing stands in the row */
};

struct records {
    FILE *in;
    int error;      /* errno, where records_next gave HK_EIO */
    char separator; /* , ; or TAB, as the first row has it */
    uint64_t line;
    struct record record;
};

void records_begin(struct records *records, FILE *in);
/* 1: records->record is the next row; 0: no more; HK_EINVAL: the quote opened in record.line never closes; HK_EIO. */
int records_next(struct records *records) HK_MUST_USE;
const char *record_field(const struct record *record, uint32_t i); /* "" where there is none */

/* One field, quoted where it has to be; the caller writes commas and line ends. */
void record_write_field(FILE *out, const char *text);

#endif
