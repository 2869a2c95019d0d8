/* import.c - read a list, judge its rows, write its segment (design 6 and 12).
 *
 * What is wrong with the file ends the import with HK_EINVAL and "FILE:LINE: ..."; what is wrong with one row goes
 * to rejected.csv and the next row is read. Recipients are kept in memory (roster.h) as far as their share of it
 * goes, then on disk (spill.h). Nothing is left of a failed import but, where every row was rejected, the
 * rejected.csv that says why.
 */
#include "import.h"

#include <string.h>

#include "csv.h"
#include "guess.h"
#include "input.h"
#include "jsonl.h"
#include "reject.h"
#include "segment_write.h"

#define IMPORT_MEMORY_MAX    (64u << 20)
#define IMPORT_PROGRESS_ROWS 65536u
#define IMPORT_GUESS_ROWS    10000u /* rejected rows that the guess of an encoding looks at */

struct import {
    const struct import_options *options;
    const struct import_limits *limits;
    struct import_result *result;
    struct hk_why *why;

    struct input input;
    bool is_json;
    struct csv_reader csv;
    struct jsonl_reader jsonl;
    struct jsonl_values values;
    bool header_read;
    uint64_t header_line;
    const char *beginning; /* the block that the list begins with, while it is read */
    size_t beginning_length;
    struct columns columns;
    struct roster roster;
    struct spill spill;
    struct output segment, rejected;
    struct guess guess; /* of the rows that are no UTF-8 */
    uint64_t rows_guessed;
    bool hint_wanted, text_seen; /* the first row that is not ASCII was no UTF-8; there was such a row */
    struct hk_why reason;        /* of the row at hand */
    struct hk_why first_reason;  /* of the first rejected row */
};

/* ---- the header ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void trim(struct segment_field *field)
{
    while (field->length > 0 && is_blank(field->text[0]))
        field->text++, field->length--;
    while (field->length > 0 && is_blank(field->text[field->length - 1]))
        field->length--;
}

static size_t row_bytes(const struct csv_row *row)
{
    return row->end[(row->fields < CSV_FIELDS_MAX ? row->fields : CSV_FIELDS_MAX) - 1];
}

static int bad_header(struct import *im, const char *words)
{
    return why_set(im->why, HK_EINVAL, "%s:%llu: %s", im->input.name, (unsigned long long)im->header_line,
                   words);
}

static int no_text(struct import *im)
{
    return bad_header(im, "not a text file (it has NUL bytes); save the list as CSV in UTF-8");
}

/* Fields are checked one by one: two broken halves must not make a whole character. */
static bool row_is_utf8(const struct csv_row *row)
{
    for (uint32_t i = 0; i < row->fields && i < CSV_FIELDS_MAX; i++) {
        struct segment_field field = csv_field(row, i);
        if (!utf8_is_valid(field.text, field.length))
            return false;
    }
    return true;
}

static int header_not_utf8(struct import *im)
{
    const char *end = memrchr(im->beginning, '\n', im->beginning_length), *words;

    guess_add(&im->guess, im->beginning, end != NULL ? (size_t)(end - im->beginning) : im->beginning_length);
    words = guess_words(&im->guess);
    if (im->input.decodes)
        return why_set(
            im->why, HK_EINVAL,
            "%s:%llu: the header row is not valid %s; give the list's own encoding with --encoding",
            im->input.name, (unsigned long long)im->header_line, im->input.encoding);
    return why_set(im->why, HK_EINVAL, "%s:%llu: the header row is not UTF-8; %s", im->input.name,
                   (unsigned long long)im->header_line,
                   words != NULL ? words : "save the list in UTF-8 or give its encoding with --encoding");
}

static int read_csv_header(struct import *im, const struct csv_row *row)
{
    int rc = 0;

    if (memchr(row->text, '\0', row_bytes(row)) != NULL)
        return no_text(im);
    if (row->faults != 0)
        return bad_header(im, "the header row is no valid CSV; write column names separated by commas");
    if (!row_is_utf8(row))
        return header_not_utf8(im);
    if (row->fields > SEGMENT_COLUMNS_MAX)
        return why_set(im->why, HK_EINVAL,
                       "%s:%llu: %u columns; at most %u are taken, leave out what the message does not use",
                       im->input.name, (unsigned long long)im->header_line, row->fields, SEGMENT_COLUMNS_MAX);
    for (uint32_t i = 0; i < row->fields && rc == 0; i++) {
        struct segment_field name = csv_field(row, i);
        trim(&name);
        rc = columns_add(&im->columns, im->input.name, im->header_line, name, im->why);
    }
    return rc == 0 ? columns_close(&im->columns, im->input.name, im->header_line, im->why) : rc;
}

static int begin_roster(struct import *im)
{
    im->header_read = true;
    if (roster_init(&im->roster, im->columns.count, im->columns.email) != 0)
        return why_set(im->why, HK_ENOMEM, "%s: out of memory", im->input.name);
    return 0;
}

/* ---- rows ---- */

static int count_reject(struct import *im)
{
    if (im->result->rejected++ == 0)
        im->first_reason = im->reason;
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
                   "dots at an end of the local part or side by side; %.120s is not known to take that",
                   domain);
}

static int too_many_rows(struct import *im, uint64_t line)
{
    uint32_t most = im->limits->rows;
    char number[16];

    if (most >= 1000000)
        snprintf(number, sizeof number, "%u,%03u,%03u", most / 1000000, most / 1000 % 1000, most % 1000);
    else
        snprintf(number, sizeof number, "%u", most);
    return why_set(im->why, HK_ETOOBIG, "%s:%llu: too many rows; up to %s rows are taken; split the list",
                   im->input.name, (unsigned long long)line, number);
}

static int count_row(struct import *im, uint64_t line)
{
    if (im->result->rows == im->limits->rows)
        return too_many_rows(im, line);
    im->result->rows++;
    if (im->options->progress != NULL && im->result->rows % IMPORT_PROGRESS_ROWS == 0)
        im->options->progress(im->options->context, im->result->rows);
    return 0;
}

static int out_of_memory(struct import *im)
{
    return why_set(im->why, HK_ENOMEM, "%s: out of memory for %llu rows", im->input.name,
                   (unsigned long long)im->result->rows);
}

static int settle_roster(struct import *im)
{
    return roster_settle(&im->roster) == 0 ? 0 : out_of_memory(im);
}

/* Recipients have taken their share of memory: the rest is sorted on disk. */
static int spill_roster(struct import *im)
{
    int rc = settle_roster(im);

    if (rc == 0 && im->spill.path == NULL)
        rc = spill_open(&im->spill, im->options->segment_path, im->why);
    return rc == 0 ? spill_add_run(&im->spill, &im->roster, im->why) : rc;
}

/* Add the recipient. In most rows of most lists nothing of the address has to be read but its local part, because its
 * domain was that of an address before. 0; HK_EINVAL with im->reason; HK_ENOMEM. */
static int add_recipient(struct import *im, const struct segment_field *field)
{
    const struct segment_field *email = &field[im->columns.email];
    size_t local_length = address_plain_local(email->text, email->length);
    uint32_t row = (uint32_t)im->result->rows;
    struct address address;
    int rc = 0;

    if (local_length > 0)
        rc = roster_add_plain(&im->roster, row, local_length, field);
    if (rc == 0) {
        rc = check_address(im, *email, &address);
        if (rc == 0)
            rc = roster_add(&im->roster, row, &address, field);
    }
    return rc < 0 ? rc : 0;
}

/* Take the recipient whose fields these are. 0; 1: rejected, with im->reason; HK_E* with im->why. */
static int take_recipient(struct import *im, uint64_t line, struct segment_field *field)
{
    int rc;

    trim(&field[im->columns.email]);
    rc = add_recipient(im, field);
    if (rc == HK_EINVAL)
        return 1;
    if (rc < 0)
        return why_set(im->why, rc, "%s:%llu: %s", im->input.name, (unsigned long long)line, hk_strerror(rc));
    return roster_is_full(&im->roster, im->limits->memory) ? spill_roster(im) : 0;
}

/* Text that is no UTF-8, for the hint at the end. */
static void guess_row(struct import *im, const char *text, size_t length)
{
    im->hint_wanted = im->hint_wanted || !im->text_seen;
    if (im->rows_guessed++ < IMPORT_GUESS_ROWS)
        guess_add(&im->guess, text, length);
}

static int check_text(struct import *im, bool is_utf8, const char *text, size_t length)
{
    if (memchr(text, '\0', length) != NULL)
        return why_set(&im->reason, HK_EINVAL, "NUL byte in the row");
    if (!is_utf8 && im->input.decodes)
        return why_set(&im->reason, HK_EINVAL, "bytes that mean nothing in %.40s", im->input.encoding);
    if (is_utf8)
        return 0;
    guess_row(im, text, length);
    return why_set(&im->reason, HK_EINVAL, "not UTF-8; give the list's encoding with --encoding");
}

/* ---- rows of CSV ---- */

static int check_csv_text(struct import *im, const struct csv_row *row)
{
    size_t length = row_bytes(row);
    bool is_ascii = utf8_ascii_length(row->text, length) == length;
    int rc = check_text(im, is_ascii || row->in_place || row_is_utf8(row), row->text, length);

    im->text_seen = im->text_seen || !is_ascii;
    return rc;
}

/* What speaks against the row as a row: 0, or HK_EINVAL with im->reason. */
static int check_csv_row(struct import *im, const struct csv_row *row)
{
    int rc = row->is_plain ? 0 : check_csv_text(im, row);

    if (rc != 0)
        return rc;
    if ((row->faults & CSV_LONG_FIELD) != 0)
        return why_set(&im->reason, HK_EINVAL, "a field is longer than %u bytes", CSV_FIELD_MAX);
    if ((row->faults & CSV_BEHIND_QUOTE) != 0)
        return why_set(&im->reason, HK_EINVAL,
                       "text behind a closing quote; double a quote that belongs to the text");
    if (row->fields != im->columns.count)
        return why_set(&im->reason, HK_EINVAL, "%u field%s where the header has %u", row->fields,
                       row->fields == 1 ? "" : "s", im->columns.count);
    return 0;
}

static int read_csv_row(struct import *im, const struct csv_row *row)
{
    struct segment_field field[SEGMENT_COLUMNS_MAX];
    int rc = count_row(im, row->line);

    if (rc != 0)
        return rc;
    rc = check_csv_row(im, row) != 0;
    for (uint32_t i = 0; i < im->columns.count && rc == 0; i++)
        field[i] = csv_field(row, i);
    if (rc == 0)
        rc = take_recipient(im, row->line, field);
    if (rc <= 0)
        return rc;
    if (im->options->rejected_path != NULL)
        reject_add(&im->rejected, im->result->rows, im->reason.text, row);
    return count_reject(im);
}

static int take_csv_row(struct import *im, const struct csv_row *row)
{
    int rc;

    if (row->blank)
        return 0;
    if (im->header_read)
        return read_csv_row(im, row);
    im->header_line = row->line;
    rc = read_csv_header(im, row);
    return rc == 0 ? begin_roster(im) : rc;
}

static int read_csv(struct import *im, const char *at, const char *end)
{
    struct csv_row row;
    int rc;

    while ((rc = csv_next(&im->csv, &at, end, &row)) == 1) {
        rc = take_csv_row(im, &row);
        if (rc != 0)
            return rc;
    }
    if (rc < 0)
        return why_set(im->why, rc, "%s:%llu: %s", im->input.name, (unsigned long long)im->csv.row_line,
                       hk_strerror(rc));
    return 0;
}

static int end_csv(struct import *im)
{
    struct csv_row row;
    int rc = csv_finish(&im->csv, &row);

    if (rc == HK_EINVAL)
        return why_set(
            im->why, HK_EINVAL,
            "%s:%llu: a quote opens here and never closes; close it, or double a quote that belongs to "
            "the text%s",
            im->input.name, (unsigned long long)im->csv.quote_line,
            S_ISREG(im->input.before.st_mode) ? "" : " (or what fed the list ended before its end)");
    return rc == 1 ? take_csv_row(im, &row) : rc;
}

/* ---- rows of JSON Lines ---- */

/* The object of a line: 0; HK_EINVAL with im->reason; HK_ENOMEM. */
static int parse_line(struct import *im, const struct jsonl_line *line, json_t **object)
{
    bool is_ascii = utf8_ascii_length(line->text, line->length) == line->length;
    int rc = check_text(im, is_ascii || utf8_is_valid(line->text, line->length), line->text, line->length);

    im->text_seen = im->text_seen || !is_ascii;
    *object = NULL;
    return rc == 0 ? jsonl_parse(line, object, &im->reason) : rc;
}

/* The first line: its keys are the columns. */
static int begin_json(struct import *im, const struct jsonl_line *line)
{
    json_t *object;
    int rc;

    im->header_line = line->line;
    rc = parse_line(im, line, &object);
    if (rc != 0)
        return why_set(im->why, rc, "%s:%llu: %.300s; write one JSON object a line, the first with all keys",
                       im->input.name, (unsigned long long)line->line, im->reason.text);
    rc = jsonl_columns(object, im->input.name, line->line, &im->columns, im->why);
    json_decref(object);
    return rc == 0 ? begin_roster(im) : rc;
}

static bool line_is_blank(const struct jsonl_line *line)
{
    for (size_t i = 0; i < line->length; i++)
        if (!is_blank(line->text[i]))
            return false;
    return true;
}

static int take_json_line(struct import *im, const struct jsonl_line *line)
{
    json_t *object = NULL;
    int rc = 0;

    if (line_is_blank(line))
        return 0;
    if (!im->header_read)
        rc = begin_json(im, line);
    if (rc == 0)
        rc = count_row(im, line->line);
    if (rc != 0)
        return rc;
    rc = parse_line(im, line, &object);
    if (rc == 0)
        rc = jsonl_values(object, &im->columns, &im->values, &im->reason);
    if (rc == HK_ENOMEM)
        return why_set(im->why, rc, "%s: out of memory", im->input.name);
    rc = rc != 0 ? 1 : take_recipient(im, line->line, im->values.field);
    json_decref(object);
    if (rc <= 0)
        return rc;
    if (im->options->rejected_path != NULL)
        reject_add_text(&im->rejected, im->result->rows, im->reason.text, line->text, line->length);
    return count_reject(im);
}

static int read_json(struct import *im, const char *at, const char *end)
{
    struct jsonl_line line;
    int rc;

    while ((rc = jsonl_next(&im->jsonl, &at, end, &line)) == 1) {
        rc = take_json_line(im, &line);
        if (rc != 0)
            return rc;
    }
    return rc == 0 ? 0 : why_set(im->why, rc, "%s: out of memory", im->input.name);
}

static int end_json(struct import *im)
{
    struct jsonl_line line;

    return jsonl_finish(&im->jsonl, &line) == 1 ? take_json_line(im, &line) : 0;
}

/* ---- the file ---- */

/* What the header row separates its names by: commas, or where it has none, semicolons or tabs. */
static char separator_of(const char *at, const char *end)
{
    uint64_t semicolons = 0, tabs = 0;
    bool quoted = false;

    while (at < end && is_blank(*at))
        at++;
    for (; at < end && (quoted || (*at != '\n' && *at != '\r')); at++) {
        quoted = quoted != (*at == '"');
        if (!quoted && *at == ',')
            return ',';
        semicolons += !quoted && *at == ';';
        tabs += !quoted && *at == '\t';
    }
    return semicolons == 0 && tabs == 0 ? ',' : semicolons >= tabs ? ';' : '\t';
}

/* Excel's first line "sep=;" names the separator of the lines below it. Returns its length, or 0. */
static size_t read_sep_line(const char *at, const char *end, char *separator)
{
    size_t length = 5;

    if (end - at < 6 || strncasecmp(at, "sep=", 4) != 0 || strchr(",;\t|", at[4]) == NULL)
        return 0;
    length += at[length] == '\r';
    if (at + length == end || at[length] != '\n')
        return 0;
    *separator = at[4];
    return length + 1;
}

/* The first block tells a text from what is none before gigabytes of it have been read. */
static int check_is_text(struct import *im, const char *at, const char *end)
{
    const char *nul = memchr(at, '\0', (size_t)(end - at));
    const char *words = im->input.decodes ? NULL : guess_words_of_beginning(at, (size_t)(end - at));

    im->header_line = 1;
    im->beginning = at;
    im->beginning_length = (size_t)(end - at);
    if (words != NULL)
        return why_set(im->why, HK_EINVAL, "%s:1: the list %s", im->input.name, words);
    if (nul == NULL)
        return 0;
    for (const char *p = at; p < nul; p++)
        if (*p == '\n' || *p == '\r')
            return 0;
    return no_text(im);
}

/* The first block: what kind of list it is. Moves *at behind the byte order mark and a sep= line. */
static int check_beginning(struct import *im, const char **at, const char *end)
{
    const char *first;
    char separator;
    size_t skip;
    int rc = check_is_text(im, *at, end);

    if (rc != 0)
        return rc;
    if (end - *at >= 3 && memcmp(*at, "\xef\xbb\xbf", 3) == 0)
        *at += 3;
    for (first = *at; first < end && is_blank(*first); first++) {
    }
    im->is_json = first < end && *first == '{';
    if (im->is_json)
        return 0;
    if (first < end && *first == '[')
        return bad_header(im,
                          "a JSON array is not taken; write one JSON object a line (jq -c '.[]' does it)");
    separator = separator_of(*at, end);
    skip = read_sep_line(*at, end, &separator);
    csv_init(&im->csv, separator);
    *at += skip;
    im->csv.line = im->csv.row_line = skip > 0 ? 2 : 1;
    return 0;
}

static int end_of_rows(struct import *im)
{
    int rc = im->is_json ? end_json(im) : end_csv(im);

    if (rc == 0 && !im->header_read)
        rc = why_set(im->why, HK_EINVAL,
                     "%s:1: the list is empty; write a header row with a column email, then a row for each "
                     "recipient",
                     im->input.name);
    if (rc == 0 && im->result->rows == 0)
        rc = bad_header(im, "no rows behind the header; write a row for each recipient");
    return rc;
}

static int read_rows(struct import *im)
{
    const char *at;
    bool first = true;
    ssize_t n;

    while ((n = input_read(&im->input, &at, im->why)) > 0) {
        const char *end = at + n;
        int rc = first ? check_beginning(im, &at, end) : 0;
        if (rc == 0)
            rc = im->is_json ? read_json(im, at, end) : read_csv(im, at, end);
        if (rc != 0)
            return rc;
        first = false;
    }
    return n < 0 ? (int)n : end_of_rows(im);
}

/* ---- the segment ---- */

static int nobody_left(struct import *im)
{
    const char *path = im->options->rejected_path;
    int rc = path == NULL ? 0 : output_commit(&im->rejected, im->why);

    if (rc != 0)
        return rc;
    return why_set(im->why, HK_EINVAL,
                   "%s:%llu: no valid recipient in %llu row%s (the first: %.160s)%s%s%s%s", im->input.name,
                   (unsigned long long)im->header_line, (unsigned long long)im->result->rows,
                   im->result->rows == 1 ? "" : "s", im->first_reason.text,
                   im->result->hint[0] != '\0' ? "; the list " : "", im->result->hint,
                   path != NULL ? "; see " : "", path != NULL ? path : "");
}

/* Earlier segments have everybody: there is nothing to write but the rejects. */
static int nobody_new(struct import *im)
{
    return im->options->rejected_path == NULL ? 0 : output_commit(&im->rejected, im->why);
}

/* Put the recipients into their order. */
static int group(struct import *im, struct roster_order *order)
{
    int rc;

    if (im->spill.path == NULL)
        rc = roster_group(&im->roster, order);
    else
        rc = roster_group_domains(&im->roster, im->spill.records, im->spill.record_bytes, order);
    if (rc != 0)
        return out_of_memory(im);
    im->result->recipients = order->records;
    im->result->domains = order->domains;
    return 0;
}

/* The rest of the roster goes to the spill too, where there is one, and duplicates are found in it. */
static int settle_spill(struct import *im)
{
    int rc = spill_add_run(&im->spill, &im->roster, im->why);

    roster_free_records(&im->roster);
    if (rc == 0)
        rc = spill_settle(&im->spill, &im->roster, im->why);
    im->result->duplicates += im->spill.duplicates;
    im->result->already = im->spill.known_again;
    im->result->gone = im->spill.known_total - im->spill.known_again;
    return rc;
}

/* The segment's name comes last: where it stands, the rejects that belong to it stand too. And its bytes come
 * before theirs: rejects of a segment that found no room must not stand alone. */
static int commit(struct import *im)
{
    int rc = output_sync(&im->segment, im->why);

    if (rc == 0 && im->options->rejected_path != NULL)
        rc = output_commit(&im->rejected, im->why);
    return rc == 0 ? output_commit(&im->segment, im->why) : rc;
}

static int write_segment(struct import *im)
{
    struct roster_order order = {0};
    bool spilled = im->spill.path != NULL;
    int rc = settle_roster(im);

    im->result->duplicates = im->roster.duplicates;
    if (rc == 0 && spilled)
        rc = settle_spill(im);
    if (rc == 0)
        rc = group(im, &order);
    if (rc == 0 && order.records == 0) {
        roster_order_free(&order);
        return im->result->already > 0 ? nobody_new(im) : nobody_left(im);
    }
    if (rc == 0) {
        rc = segment_write(&im->segment, &im->roster, spilled ? &im->spill : NULL, &order, &im->columns,
                           im->result->segment_sha256);
        if (rc != 0)
            why_set(im->why, rc, "%s: cannot sort the list on disk: %s", im->spill.path, hk_strerror(rc));
    }
    roster_order_free(&order);
    return rc == 0 ? commit(im) : rc;
}

/* ---- the whole ---- */

static int add_known(struct import *im, const char *path)
{
    struct segment *segment;
    struct segment_record record;
    int rc = segment_open(path, false, &segment, im->why);

    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < segment_count(segment) && rc == 0; i++) {
        rc = segment_record(segment, i, &record);
        if (rc != 0)
            why_set(im->why, rc, "%s: the segment is damaged; import the list again", path);
        else
            rc = spill_add_known(&im->spill, record.wire, record.wire_length, im->why);
    }
    segment_close(segment);
    return rc;
}

/* What earlier segments have goes into the spill first, as if it were the beginning of the list. */
static int read_earlier(struct import *im)
{
    int rc = im->options->earlier_count == 0 ? 0 : spill_open(&im->spill, im->options->segment_path, im->why);

    for (uint32_t i = 0; i < im->options->earlier_count && rc == 0; i++)
        rc = add_known(im, im->options->earlier[i]);
    return rc;
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

static void set_hint(struct import *im)
{
    const char *words = im->hint_wanted ? guess_words(&im->guess) : NULL;

    snprintf(im->result->hint, sizeof im->result->hint, "%s", words != NULL ? words : "");
}

/* A disk that is full needs a figure: how much the whole list would have taken. */
static int say_need(struct import *im, int rc)
{
    uint64_t size = (uint64_t)im->input.before.st_size, read = im->input.bytes_read, need;
    struct hk_why first = *im->why;

    if (rc != HK_EFULL || im->spill.path == NULL || !S_ISREG(im->input.before.st_mode) || read == 0)
        return rc;
    need = (uint64_t)((double)im->spill.end * 2e-6 * (double)size / (double)read) + 1;
    return why_set(
        im->why, HK_EFULL,
        "%.360s; about %llu MB are needed beside the segment until it is written, half of them for good",
        first.text, (unsigned long long)need);
}

static int run(struct import *im)
{
    int rc = input_open(&im->input, im->options->list_path, im->options->encoding, im->why);

    if (rc == 0)
        rc = open_outputs(im);
    if (rc == 0)
        rc = read_earlier(im);
    if (rc == 0)
        rc = read_rows(im);
    /* A list that is still being written would be sent to in part; and what looked wrong in it may be its cut end. */
    if ((rc == 0 || rc == HK_EINVAL) && input_has_changed(&im->input))
        rc = why_set(im->why, HK_ECHANGED, "%s: changed while it was read; start again when it is complete",
                     im->input.name);
    if (rc == 0) {
        set_hint(im);
        input_sha256(&im->input, im->result->input_sha256);
        rc = write_segment(im);
    }
    return say_need(im, rc);
}

int import_run(const struct import_options *options, const struct import_limits *limits,
               struct import_result *out, struct hk_why *why)
{
    struct import *im = calloc(1, sizeof *im);
    int rc;

    memset(out, 0, sizeof *out);
    if (im == NULL)
        return why_set(why, HK_ENOMEM, "%s: out of memory", options->list_path);
    HK_BUG_ON(limits->rows > IMPORT_ROWS_MAX);
    im->options = options;
    im->limits = limits;
    im->result = out;
    im->why = why;
    im->segment.fd = im->segment.directory = im->rejected.fd = im->rejected.directory = im->spill.fd = -1;
    csv_init(&im->csv, ',');
    jsonl_init(&im->jsonl);
    rc = run(im);
    output_discard(&im->segment);
    output_discard(&im->rejected);
    spill_close(&im->spill);
    roster_free(&im->roster);
    csv_free(&im->csv);
    jsonl_free(&im->jsonl);
    columns_free(&im->columns);
    input_close(&im->input);
    free(im);
    return rc;
}

int list_import(const struct import_options *options, struct import_result *out, struct hk_why *why)
{
    static const struct import_limits limits = {IMPORT_ROWS_MAX, IMPORT_MEMORY_MAX};

    return import_run(options, &limits, out, why);
}
