/* import.c - read a list, judge its rows, write its segment (design 6 and 12).
 *
 * The file is read() in blocks into memory of ours, never mapped: somebody may cut it while we read. What is
 * wrong with the file ends the import with HK_EINVAL and "FILE:LINE: ..."; what is wrong with one row goes to
 * rejected.csv and the next row is read. Nothing is left of a failed import but, where every row was rejected,
 * the rejected.csv that says why.
 */
#include "import.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "csv.h"
#include "reject.h"
#include "roster.h"
#include "segment_write.h"

#define IMPORT_BLOCK_SIZE    (1u << 20)
#define IMPORT_PROGRESS_ROWS 65536u

struct import {
    const struct import_options *options;
    const char *name; /* of the list, for words */
    uint32_t rows_max;
    struct import_result *result;
    struct hk_why *why;

    int fd;
    char *block;
    struct csv_reader csv;
    bool header_read;
    uint64_t header_line;
    char *column[SEGMENT_COLUMNS_MAX];
    uint32_t columns, email_column;
    struct roster roster;
    struct output segment, rejected;
    struct hk_why reason;       /* of the row at hand */
    struct hk_why first_reason; /* of the first rejected row, with its number */
};

/* ---- the header ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct segment_field trim(struct segment_field field)
{
    while (field.length > 0 && is_blank(field.text[0]))
        field.text++, field.length--;
    while (field.length > 0 && is_blank(field.text[field.length - 1]))
        field.length--;
    return field;
}

static size_t row_bytes(const struct csv_row *row)
{
    return row->end[(row->fields < CSV_FIELDS_MAX ? row->fields : CSV_FIELDS_MAX) - 1];
}

static int bad_header(struct import *im, const char *words)
{
    return why_set(im->why, HK_EINVAL, "%s:%llu: %s", im->name, (unsigned long long)im->header_line, words);
}

/* Fields are checked one by one: two broken halves must not make a whole character. */
static bool row_is_utf8(const struct csv_row *row)
{
    if (utf8_ascii_length(row->text, row_bytes(row)) == row_bytes(row))
        return true;
    for (uint32_t i = 0; i < row->fields && i < CSV_FIELDS_MAX; i++) {
        struct segment_field field = csv_field(row, i);
        if (!utf8_is_valid(field.text, field.length))
            return false;
    }
    return true;
}

static int check_header(struct import *im, const struct csv_row *row)
{
    if (memchr(row->text, '\0', row_bytes(row)) != NULL)
        return bad_header(im, "not a text file (it has NUL bytes); save the list as CSV in UTF-8");
    if (row->faults != 0)
        return bad_header(im, "the header row is no valid CSV; write column names separated by commas");
    if (!row_is_utf8(row))
        return bad_header(im, "the header row is not UTF-8; save the list in UTF-8 or give --encoding");
    if (row->fields > SEGMENT_COLUMNS_MAX)
        return why_set(im->why, HK_EINVAL,
                       "%s:%llu: %u columns; at most %u are taken, leave out what the message "
                       "does not use",
                       im->name, (unsigned long long)im->header_line, row->fields, SEGMENT_COLUMNS_MAX);
    return 0;
}

static int no_email_column(struct import *im, const struct csv_row *row)
{
    struct segment_field first = csv_field(row, 0);
    char names[160];

    if (row->fields == 1 && (memchr(first.text, ';', first.length) || memchr(first.text, '\t', first.length)))
        return bad_header(im, "the header has no commas; separate the columns by commas, not by ';' or tabs");
    hk_clean_text(names, sizeof names, row->text, first.length);
    return why_set(
        im->why, HK_EINVAL,
        "%s:%llu: no column is named email (%u column%s, the first is \"%s\"); write email above the "
        "column of addresses",
        im->name, (unsigned long long)im->header_line, row->fields, row->fields == 1 ? "" : "s", names);
}

static bool is_email(const char *column)
{
    return strcasecmp(column, "email") == 0;
}

static int check_twice(struct import *im, uint32_t i)
{
    char name[160];

    for (uint32_t k = 0; k < i; k++) {
        if (strcmp(im->column[k], im->column[i]) != 0 &&
            !(is_email(im->column[k]) && is_email(im->column[i])))
            continue;
        hk_clean_text(name, sizeof name, im->column[i], strlen(im->column[i]));
        return why_set(im->why, HK_EINVAL,
                       "%s:%llu: columns %u and %u have the same name \"%s\"; rename or remove one", im->name,
                       (unsigned long long)im->header_line, k + 1, i + 1, name);
    }
    return 0;
}

static int read_columns(struct import *im, const struct csv_row *row)
{
    im->email_column = SEGMENT_COLUMNS_MAX;
    for (uint32_t i = 0; i < row->fields; i++) {
        struct segment_field name = trim(csv_field(row, i));
        im->column[i] = strndup(name.text, name.length);
        if (im->column[i] == NULL)
            return why_set(im->why, HK_ENOMEM, "%s: out of memory", im->name);
        im->columns = i + 1;
        if (check_twice(im, i) != 0)
            return HK_EINVAL;
        if (is_email(im->column[i]))
            im->email_column = i;
    }
    return im->email_column < SEGMENT_COLUMNS_MAX ? 0 : no_email_column(im, row);
}

static int read_header(struct import *im, const struct csv_row *row)
{
    int rc;

    im->header_read = true;
    im->header_line = row->line;
    rc = check_header(im, row);
    if (rc == 0)
        rc = read_columns(im, row);
    if (rc == 0 && roster_init(&im->roster, im->columns, im->email_column) != 0)
        rc = why_set(im->why, HK_ENOMEM, "%s: out of memory", im->name);
    return rc;
}

/* ---- rows ---- */

static int reject(struct import *im, const struct csv_row *row)
{
    if (im->result->rejected++ == 0)
        im->first_reason = im->reason;
    if (im->options->rejected_path != NULL)
        reject_add(&im->rejected, im->result->rows, im->reason.text, row);
    return 0;
}

/* What speaks against the row as a row: 0, or HK_EINVAL with im->reason. */
static int check_row(struct import *im, const struct csv_row *row)
{
    if (memchr(row->text, '\0', row_bytes(row)) != NULL)
        return why_set(&im->reason, HK_EINVAL, "NUL byte in the row");
    if (!row_is_utf8(row))
        return why_set(&im->reason, HK_EINVAL, "not UTF-8; give the list's encoding with --encoding");
    if ((row->faults & CSV_LONG_FIELD) != 0)
        return why_set(&im->reason, HK_EINVAL, "a field is longer than %u bytes", CSV_FIELD_MAX);
    if ((row->faults & CSV_BEHIND_QUOTE) != 0)
        return why_set(&im->reason, HK_EINVAL,
                       "text behind a closing quote; double a quote that belongs to the text");
    if (row->fields != im->columns)
        return why_set(&im->reason, HK_EINVAL, "%u field%s where the header has %u", row->fields,
                       row->fields == 1 ? "" : "s", im->columns);
    return 0;
}

static int check_address(struct import *im, struct segment_field email, struct address *address)
{
    const char *domain;
    int rc;

    if (email.length == 0)
        return why_set(&im->reason, HK_EINVAL, "the email field is empty");
    rc = address_parse(email.text, email.length, address, &im->reason);
    if (rc != 0 || !address->legacy)
        return rc;
    domain = address->text + address->local_length + 1;
    if (im->options->legacy_allowed != NULL && im->options->legacy_allowed(im->options->context, domain))
        return 0;
    return why_set(&im->reason, HK_EINVAL,
                   "dots at an end of the local part or side by side; %.120s is not known to take "
                   "that",
                   domain);
}

static int too_many_rows(struct import *im, const struct csv_row *row)
{
    uint32_t most = im->rows_max;
    char number[16];

    if (most >= 1000000)
        snprintf(number, sizeof number, "%u,%03u,%03u", most / 1000000, most / 1000 % 1000, most % 1000);
    else
        snprintf(number, sizeof number, "%u", most);
    return why_set(im->why, HK_ETOOBIG,
                   "%s:%llu: too many rows; this version takes up to %s rows; split the list", im->name,
                   (unsigned long long)row->line, number);
}

static int read_row(struct import *im, const struct csv_row *row)
{
    struct segment_field field[SEGMENT_COLUMNS_MAX];
    struct address address;
    int rc;

    if (im->result->rows == im->rows_max)
        return too_many_rows(im, row);
    im->result->rows++;
    if (im->options->progress != NULL && im->result->rows % IMPORT_PROGRESS_ROWS == 0)
        im->options->progress(im->options->context, im->result->rows);
    if (check_row(im, row) != 0)
        return reject(im, row);
    for (uint32_t i = 0; i < im->columns; i++)
        field[i] = csv_field(row, i);
    field[im->email_column] = trim(field[im->email_column]);
    rc = check_address(im, field[im->email_column], &address);
    if (rc == HK_EINVAL)
        return reject(im, row);
    if (rc == 0)
        rc = roster_add(&im->roster, (uint32_t)im->result->rows, &address, field);
    if (rc < 0)
        return why_set(im->why, rc, "%s:%llu: %s", im->name, (unsigned long long)row->line, hk_strerror(rc));
    im->result->duplicates += rc == 0;
    return 0;
}

static int take_row(struct import *im, const struct csv_row *row)
{
    if (row->blank)
        return 0;
    return im->header_read ? read_row(im, row) : read_header(im, row);
}

/* ---- the file ---- */

static int open_list(struct import *im, struct stat *st)
{
    const char *path = im->options->list_path;
    bool standard_input = strcmp(path, "-") == 0;

    im->name = standard_input ? "standard input" : path;
    im->fd = standard_input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
    if (im->fd < 0)
        return why_set(im->why, errno == ENOENT || errno == ENOTDIR ? HK_ENOENT : HK_EIO,
                       "%s: cannot open the list: %s", im->name, strerror(errno));
    if (fstat(im->fd, st) != 0)
        return why_set(im->why, HK_EIO, "%s: cannot read: %s", im->name, strerror(errno));
    if (S_ISDIR(st->st_mode))
        return why_set(im->why, HK_EINVAL, "%s: is a directory; give the CSV file in it", im->name);
    posix_fadvise(im->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return 0;
}

/* Fill the block as far as the file goes. Returns the bytes, or HK_EIO. */
static ssize_t read_block(struct import *im)
{
    size_t used = 0;

    while (used < IMPORT_BLOCK_SIZE) {
        ssize_t n = read(im->fd, im->block + used, IMPORT_BLOCK_SIZE - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return why_set(im->why, HK_EIO, "%s: cannot read: %s", im->name, strerror(errno));
        if (n == 0)
            break;
        used += (size_t)n;
    }
    return (ssize_t)used;
}

/* The first block tells a text from what is none before gigabytes of it have been read. Skips the BOM. */
static int check_beginning(struct import *im, size_t length, const char **begin)
{
    const char *end = im->block + length, *nul = memchr(im->block, '\0', length);

    im->header_line = 1;
    if (length >= 2 && (memcmp(im->block, "\xff\xfe", 2) == 0 || memcmp(im->block, "\xfe\xff", 2) == 0))
        return bad_header(im, "the list is in UTF-16; save it as CSV in UTF-8");
    *begin = im->block + (length >= 3 && memcmp(im->block, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
    if (nul == NULL)
        return 0;
    for (const char *p = *begin; p < end && p < nul; p++)
        if (*p == '\n' || *p == '\r')
            return 0;
    return bad_header(im, "not a text file (it has NUL bytes); save the list as CSV in UTF-8");
}

static int end_of_rows(struct import *im)
{
    struct csv_row row;
    int rc = csv_finish(&im->csv, &row);

    if (rc == HK_EINVAL)
        return why_set(im->why, HK_EINVAL,
                       "%s:%llu: a quote opens here and never closes; close it, or double a "
                       "quote that belongs to the text",
                       im->name, (unsigned long long)im->csv.quote_line);
    if (rc == 1)
        rc = take_row(im, &row);
    if (rc == 0 && !im->header_read)
        rc = why_set(im->why, HK_EINVAL,
                     "%s:1: the list is empty; write a header row with a column email, then a row "
                     "for each recipient",
                     im->name);
    if (rc == 0 && im->result->rows == 0)
        rc = bad_header(im, "no rows behind the header; write a row for each recipient");
    return rc;
}

static int read_rows(struct import *im)
{
    bool first = true;
    ssize_t n;

    while ((n = read_block(im)) > 0) {
        const char *at = im->block, *end = im->block + n;
        struct csv_row row;
        int rc = first ? check_beginning(im, (size_t)n, &at) : 0;
        first = false;
        if (rc != 0)
            return rc;
        while ((rc = csv_next(&im->csv, &at, end, &row)) == 1) {
            rc = take_row(im, &row);
            if (rc != 0)
                return rc;
        }
        if (rc < 0)
            return why_set(im->why, rc, "%s:%llu: %s", im->name, (unsigned long long)im->csv.row_line,
                           hk_strerror(rc));
    }
    return n < 0 ? (int)n : end_of_rows(im);
}

/* A list that is still being written would be sent to in part; and what looked wrong in it may be its cut end. */
static bool list_has_changed(const struct import *im, const struct stat *before)
{
    struct stat after;

    return im->fd >= 0 && S_ISREG(before->st_mode) &&
           (fstat(im->fd, &after) != 0 || after.st_size != before->st_size ||
            after.st_mtim.tv_sec != before->st_mtim.tv_sec ||
            after.st_mtim.tv_nsec != before->st_mtim.tv_nsec);
}

/* ---- the segment ---- */

static int nobody_left(struct import *im)
{
    const char *path = im->options->rejected_path;
    int rc = path == NULL ? 0 : output_commit(&im->rejected, im->why);

    if (rc != 0)
        return rc;
    return why_set(im->why, HK_EINVAL, "%s:%llu: no valid recipient in %llu row%s (the first: %.160s)%s%s",
                   im->name, (unsigned long long)im->header_line, (unsigned long long)im->result->rows,
                   im->result->rows == 1 ? "" : "s", im->first_reason.text, path != NULL ? "; see " : "",
                   path != NULL ? path : "");
}

static int write_segment(struct import *im)
{
    struct roster_order order;
    int rc;

    if (im->roster.count == 0)
        return nobody_left(im);
    if (roster_group(&im->roster, &order) != 0)
        return why_set(im->why, HK_ENOMEM, "%s: out of memory for %u recipients", im->name, im->roster.count);
    segment_write(&im->segment, &im->roster, &order, im->column, im->result->segment_sha256);
    roster_order_free(&order);
    im->result->recipients = im->roster.count;
    im->result->domains = im->roster.domain_count;
    /* The segment's name comes last: where it stands, the rejects that belong to it stand too. And its bytes
     * come before theirs: rejects of a segment that found no room must not stand alone. */
    rc = output_sync(&im->segment, im->why);
    if (rc == 0 && im->options->rejected_path != NULL)
        rc = output_commit(&im->rejected, im->why);
    return rc == 0 ? output_commit(&im->segment, im->why) : rc;
}

static int open_outputs(struct import *im)
{
    int rc = output_open(&im->segment, im->options->segment_path, true, im->why);

    if (rc != 0 || im->options->rejected_path == NULL)
        return rc;
    rc = output_open(&im->rejected, im->options->rejected_path, false, im->why);
    if (rc == 0)
        reject_begin(&im->rejected);
    return rc;
}

static int run(struct import *im)
{
    struct stat st = {0};
    int rc = open_list(im, &st);

    im->block = malloc(IMPORT_BLOCK_SIZE);
    if (rc == 0 && im->block == NULL)
        rc = why_set(im->why, HK_ENOMEM, "%s: out of memory", im->name);
    if (rc == 0)
        rc = open_outputs(im);
    if (rc == 0)
        rc = read_rows(im);
    if ((rc == 0 || rc == HK_EINVAL) && list_has_changed(im, &st))
        rc = why_set(im->why, HK_ECHANGED, "%s: changed while it was read; start again when it is complete",
                     im->name);
    return rc == 0 ? write_segment(im) : rc;
}

int import_run(const struct import_options *options, uint32_t rows_max, struct import_result *out,
               struct hk_why *why)
{
    struct import *im = calloc(1, sizeof *im);
    int rc;

    memset(out, 0, sizeof *out);
    if (im == NULL)
        return why_set(why, HK_ENOMEM, "%s: out of memory", options->list_path);
    im->options = options;
    im->rows_max = rows_max < IMPORT_ROWS_MAX ? rows_max : IMPORT_ROWS_MAX;
    im->result = out;
    im->why = why;
    im->segment.fd = im->rejected.fd = -1;
    csv_init(&im->csv);
    rc = run(im);
    output_discard(&im->segment);
    output_discard(&im->rejected);
    roster_free(&im->roster);
    csv_free(&im->csv);
    for (uint32_t i = 0; i < im->columns; i++)
        free(im->column[i]);
    free(im->block);
    if (im->fd >= 0)
        close(im->fd);
    free(im);
    return rc;
}

int list_import(const struct import_options *options, struct import_result *out, struct hk_why *why)
{
    return import_run(options, IMPORT_ROWS_MAX, out, why);
}
