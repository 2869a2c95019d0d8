/* suppress_file.c - hikyaku suppress import | export: suppression lists as CSV files.
 *
 * Import reads what export writes, the exports of SendGrid, Amazon SES and Mailgun, and any CSV file with a column `email`. It keeps a bounded number of rows in memory; a
 * bad row is told and passed over, and what was there already keeps its first reason.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "records.h"
#include "suppress.h"

#define PIECE_ROWS  4096u /* handed to the node together, at most (node.h) */
#define TOLD_MAX    1000u /* bad rows told one by one */
#define COLUMN_NONE UINT32_MAX

#define COLUMNS(X)    \
    X(EMAIL, "email") \
    X(SCOPE, "scope") \
    X(REASON, "reason") X(SOURCE, "source") X(EVIDENCE, "evidence") X(TIME, "time") X(UNTIL, "until")
enum column {
#define COLUMN_ENUM(id, name) COLUMN_##id,
    COLUMNS(COLUMN_ENUM)
#undef COLUMN_ENUM
        COLUMNS_COUNT
};
static const char *const column_name[] = {
#define COLUMN_NAME(id, name) name,
    COLUMNS(COLUMN_NAME)
#undef COLUMN_NAME
};

/* What other senders' exports call them: SendGrid (email, reason, status, created), Amazon SES (EmailAddress, Reason,
 * LastUpdateTime), Mailgun (address, code, error, created_at). Ours come first where a file has both. */
static const struct {
    const char *name;
    enum column column;
} other_names[] = {
    {"address", COLUMN_EMAIL},       {"emailaddress", COLUMN_EMAIL}, {"email address", COLUMN_EMAIL},
    {"error", COLUMN_EVIDENCE},      {"created", COLUMN_TIME},       {"created_at", COLUMN_TIME},
    {"lastupdatetime", COLUMN_TIME},
};
static const char *const code_names[] = {"status", "code"}; /* of the reply; stand before the evidence */

/* ---- times ---- */

/* "Z", "+00:00", "UTC": the zone behind a time, in seconds. */
static bool zone_parse(const char *text, long *out)
{
    static const char *const utc[] = {"", "Z", "UTC", "GMT", "+0000", "+00:00"};
    unsigned hours, minutes;
    int end = 0;

    *out = 0;
    text += strspn(text, " ");
    for (size_t i = 0; i < sizeof utc / sizeof utc[0]; i++)
        if (strcmp(text, utc[i]) == 0)
            return true;
    if ((*text != '+' && *text != '-') ||
        (sscanf(text + 1, "%2u:%2u%n", &hours, &minutes, &end) != 2 &&
         sscanf(text + 1, "%2u%2u%n", &hours, &minutes, &end) != 2) ||
        text[1 + end] != '\0' || hours > 14 || minutes > 59)
        return false;
    *out = (long)(hours * 3600u + minutes * 60u) * (*text == '-' ? -1 : 1);
    return true;
}

/* Seconds since 1970, as SendGrid has it. */
static bool seconds_parse(const char *text, uint64_t *out)
{
    unsigned long long seconds;
    int end = 0;

    if (strspn(text, "0123456789") != strlen(text) || strlen(text) > 11 ||
        sscanf(text, "%llu%n", &seconds, &end) != 1)
        return false;
    *out = seconds * 1000000u;
    return true;
}

/* "2026-11-24T09:00:00.123456Z", with or without a fraction: what export writes. Others' exports: a blank for the 'T', another
 * zone or none, "Fri, 21 Oct 2011 11:02:55 UTC", and seconds. */
static bool time_parse(const char *text, uint64_t *out)
{
    static const char *const shapes[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%a, %d %b %Y %H:%M:%S",
                                         "%d %b %Y %H:%M:%S"};
    uint64_t us = 0, unit = 100000;
    const char *rest = NULL;
    struct tm tm;
    time_t seconds;
    long zone;

    if (seconds_parse(text, out))
        return true;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0] && rest == NULL; i++) {
        memset(&tm, 0, sizeof tm);
        rest = strptime(text, shapes[i], &tm);
    }
    if (rest == NULL)
        return false;
    if (*rest == '.')
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
            us += (uint64_t)(*rest - '0') * unit;
    if (!zone_parse(rest, &zone))
        return false;
    seconds = timegm(&tm) - zone;
    if (seconds < 0)
        return false;
    *out = (uint64_t)seconds * 1000000u + us;
    return true;
}

/* ---- import ---- */

struct import {
    const struct cli_options *options;
    const struct config *config;
    const char *name; /* of the file, for words */
    char source[80];  /* of rows that name none */
    char scope[SUPPRESS_SCOPE_MAX];
    struct reach reach;
    struct records records;
    uint32_t column[COLUMNS_COUNT], code_column, columns;
    bool first_is_row; /* of a file without a header, as Amazon SES takes and gives them */
    uint64_t rows, taken, added, rejected, untold;
};

/* A name without the blanks around it, and without the byte order mark of a first one. */
static size_t trimmed(const char **text)
{
    size_t length;

    if (strncmp(*text, "\xef\xbb\xbf", 3) == 0)
        *text += 3;
    *text += strspn(*text, " \t");
    length = strlen(*text);
    while (length > 0 && ((*text)[length - 1] == ' ' || (*text)[length - 1] == '\t'))
        length--;
    return length;
}

static int file_error(const struct import *import, int error, struct hk_why *why)
{
    if (error == HK_EINVAL)
        return why_set(why, error, "%s:%llu: a quote that opens in this row never closes", import->name,
                       (unsigned long long)import->records.record.line);
    return why_set(why, error, "%s: %s", import->name, strerror(import->records.error));
}

static bool is_named(const struct record *record, uint32_t i, const char *name)
{
    const char *text = record_field(record, i);
    size_t length = trimmed(&text);

    return strlen(name) == length && strncasecmp(text, name, length) == 0;
}

/* Our own names; one may be there once. */
static int find_columns(struct import *import, struct hk_why *why)
{
    const struct record *record = &import->records.record;

    for (uint32_t i = 0; i < record->fields && i < RECORD_FIELDS_MAX; i++) {
        for (size_t c = 0; c < COLUMNS_COUNT; c++) {
            if (!is_named(record, i, column_name[c]))
                continue;
            if (import->column[c] != COLUMN_NONE)
                return why_set(why, HK_EINVAL, "%s:%llu: the column %s is there twice", import->name,
                               (unsigned long long)record->line, column_name[c]);
            import->column[c] = i;
        }
    }
    return 0;
}

static void find_other_columns(struct import *import)
{
    const struct record *record = &import->records.record;

    for (size_t n = 0; n < sizeof other_names / sizeof other_names[0]; n++)
        for (uint32_t i = 0; i < record->fields && i < RECORD_FIELDS_MAX; i++)
            if (import->column[other_names[n].column] == COLUMN_NONE &&
                is_named(record, i, other_names[n].name))
                import->column[other_names[n].column] = i;
    for (size_t n = 0; n < sizeof code_names / sizeof code_names[0]; n++)
        for (uint32_t i = 0; i < record->fields && i < RECORD_FIELDS_MAX; i++)
            if (import->code_column == COLUMN_NONE && is_named(record, i, code_names[n]))
                import->code_column = i;
}

/* "gone@example.com,BOUNCE" instead of a header. */
static bool is_ses_row(const struct record *record)
{
    struct address address;
    const char *text;

    if (record->fault != NULL || record->fields != 2 ||
        (!is_named(record, 1, "BOUNCE") && !is_named(record, 1, "COMPLAINT")))
        return false;
    text = record_field(record, 0);
    size_t length = trimmed(&text);
    return address_parse(text, length, &address, NULL) == 0;
}

static bool is_json(const struct record *record)
{
    const char *text = record_field(record, 0);

    return trimmed(&text) > 0 && (*text == '{' || *text == '[');
}

static int read_header(struct import *import, struct hk_why *why)
{
    struct record *record = &import->records.record;
    int rc = records_next(&import->records);

    if (rc < 0)
        return file_error(import, rc, why);
    if (rc == 0)
        return why_set(why, HK_EINVAL, "%s: is empty; a header row with a column email is wanted",
                       import->name);
    for (size_t c = 0; c < COLUMNS_COUNT; c++)
        import->column[c] = COLUMN_NONE;
    import->code_column = COLUMN_NONE;
    import->columns = record->fields;
    import->first_is_row = is_ses_row(record);
    if (import->first_is_row) {
        import->column[COLUMN_EMAIL] = 0;
        import->column[COLUMN_REASON] = 1;
        return 0;
    }
    rc = find_columns(import, why);
    if (rc < 0)
        return rc;
    find_other_columns(import);
    if (import->column[COLUMN_EMAIL] == COLUMN_NONE && is_json(record))
        return why_set(why, HK_EINVAL,
                       "%s: is JSON, and CSV is wanted; of the list of Amazon SES this makes it: aws sesv2 "
                       "list-suppressed-destinations --output text --query "
                       "'SuppressedDestinationSummaries[].[EmailAddress,Reason]'",
                       import->name);
    if (import->column[COLUMN_EMAIL] == COLUMN_NONE)
        return why_set(why, HK_EINVAL, "%s:%llu: the header row has no column email", import->name,
                       (unsigned long long)record->line);
    return 0;
}

static const char *field(const struct import *import, enum column column)
{
    return import->column[column] == COLUMN_NONE
               ? ""
               : record_field(&import->records.record, import->column[column]);
}

/* Copy a field, or what stands for it where it is empty. False: it does not fit. */
static bool copy(char *out, size_t size, const char *text, const char *instead)
{
    size_t length = trimmed(&text);

    if (length == 0) {
        text = instead;
        length = strlen(instead);
    }
    if (length >= size)
        return false;
    memcpy(out, text, length);
    out[length] = '\0';
    return true;
}

static int row_scope(const struct import *import, struct suppress_entry *entry, struct hk_why *why)
{
    struct scopes scopes;

    if (!copy(entry->scope, sizeof entry->scope, field(import, COLUMN_SCOPE), import->scope))
        return why_set(why, HK_EINVAL, "the scope is too long");
    if (!utf8_is_valid(entry->scope, strlen(entry->scope)))
        return why_set(why, HK_EINVAL, "the scope is no UTF-8");
    if (strcmp(entry->scope, "sender") != 0 && strcmp(entry->scope, "list") != 0)
        return 0;
    if (suppress_scopes(import->config, entry->scope, &scopes, why) != 0)
        return HK_EINVAL;
    memcpy(entry->scope, scopes.name[0], sizeof entry->scope);
    return 0;
}

static const char *code_of(const struct import *import)
{
    return import->code_column == COLUMN_NONE ? ""
                                              : record_field(&import->records.record, import->code_column);
}

/* A reason of ours is in small letters; others write theirs in capitals. */
static void lower(char *text)
{
    for (char *c = text; *c != '\0'; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c);
}

/* A reason of ours is one word. Where somebody has the words of a reply there they are the evidence. */
static int row_reason(const struct import *import, struct suppress_entry *entry, const char *instead,
                      struct hk_why *why)
{
    const char *text = field(import, COLUMN_REASON), *evidence = field(import, COLUMN_EVIDENCE);
    const char *code = code_of(import);
    char joined[sizeof entry->evidence];
    size_t length = trimmed(&text);
    bool has_evidence = import->column[COLUMN_EVIDENCE] != COLUMN_NONE;

    if (!has_evidence && (import->code_column != COLUMN_NONE || memchr(text, ' ', length) != NULL)) {
        evidence = text;
        text = "";
        length = 0;
    }
    if (length == 0 && import->code_column != COLUMN_NONE && import->options->reason == NULL)
        instead = "bounce";
    (void)snprintf(joined, sizeof joined, "%s%s%s", code, code[0] != '\0' ? " " : "", evidence);
    hk_clean_text(entry->evidence, sizeof entry->evidence, joined, strlen(joined));
    if (!copy(entry->reason, sizeof entry->reason, text, instead))
        return why_set(why, HK_EINVAL, "the reason is longer than %zu bytes", sizeof entry->reason - 1);
    lower(entry->reason);
    return 0;
}

/* Empty: it does not end. One that has ended is taken as well: it says that somebody was suppressed. */
static int row_until(const struct import *import, struct suppress_entry *entry, struct hk_why *why)
{
    uint64_t until_us;

    entry->until_s = 0;
    if (field(import, COLUMN_UNTIL)[0] == '\0')
        return 0;
    if (!time_parse(field(import, COLUMN_UNTIL), &until_us) || until_us < 1000000u ||
        until_us / 1000000u > UINT32_MAX)
        return why_set(why, HK_EINVAL,
                       "until is no time between 1970 and 2106 written as 2026-11-24T09:00:00Z");
    entry->until_s = (uint32_t)(until_us / 1000000u);
    return 0;
}

/* The entry that a row means; HK_EINVAL says what is wrong with it. */
static int row_entry(const struct import *import, struct suppress_entry *entry, struct hk_why *why)
{
    const struct record *record = &import->records.record;
    const char *reason = import->options->reason ? import->options->reason : "import";
    char source[sizeof entry->source];

    if (record->fault != NULL)
        return why_set(why, HK_EINVAL, "%s", record->fault);
    if (record->fields != import->columns)
        return why_set(why, HK_EINVAL, "%u fields where the header has %u", record->fields, import->columns);
    if (!copy(entry->address, sizeof entry->address, field(import, COLUMN_EMAIL), ""))
        return why_set(why, HK_EINVAL, "the address is longer than %d bytes", ADDRESS_MAX);
    if (row_reason(import, entry, reason, why) != 0)
        return HK_EINVAL;
    if (!copy(source, sizeof source, field(import, COLUMN_SOURCE), import->source))
        return why_set(why, HK_EINVAL, "the source is longer than %zu bytes", sizeof entry->source - 1);
    hk_clean_text(entry->source, sizeof entry->source, source, strlen(source));
    entry->time_us = clock_wall_us();
    if (field(import, COLUMN_TIME)[0] != '\0' && !time_parse(field(import, COLUMN_TIME), &entry->time_us))
        return why_set(why, HK_EINVAL, "the time is not written as 2026-11-24T09:00:00Z");
    if (row_until(import, entry, why) != 0 || row_scope(import, entry, why) != 0)
        return HK_EINVAL;
    return suppress_entry_check(entry, why);
}

static void reject(struct import *import, const struct hk_why *reason)
{
    import->rejected++;
    if (import->rejected > TOLD_MAX) {
        import->untold++;
        return;
    }
    fprintf(stderr, "%s:%llu: %s\n", import->name, (unsigned long long)import->records.record.line,
            reason->text);
}

static int next_row(struct import *import)
{
    bool is_there = import->first_is_row;

    import->first_is_row = false;
    return is_there ? 1 : records_next(&import->records);
}

static int next_entry(void *context, struct suppress_entry *out, struct hk_why *why)
{
    struct import *import = context;
    int rc;

    memset(out, 0, sizeof *out);
    while ((rc = next_row(import)) == 1) {
        struct hk_why reason;
        if (import->records.record.blank)
            continue;
        import->rows++;
        if (row_entry(import, out, &reason) == 0)
            return 1;
        reject(import, &reason);
    }
    return rc < 0 ? file_error(import, rc, why) : 0;
}

static int told_entry(void *context, const struct suppress_entry *entry, bool changed, struct hk_why *why)
{
    struct import *import = context;

    (void)entry;
    (void)why;
    import->added += changed;
    import->taken++;
    return 0;
}

/* What stands before the place where the file breaks off is good. */
static int read_rows(struct import *import, struct hk_why *why)
{
    const struct changes changes = {.change = SUPPRESS_ADDED,
                                    .most = PIECE_ROWS,
                                    .next = next_entry,
                                    .told = told_entry,
                                    .context = import};

    return suppress_change(&import->reach, &changes, why);
}

static int import_run(struct import *import, struct hk_why *why)
{
    int error = reach_open(import->config, &import->reach, why);

    if (error < 0)
        return error;
    error = read_header(import, why);
    if (error == 0) {
        error = read_rows(import, why);
        if (import->untold > 0)
            fprintf(stderr, "%s: and %llu more rows\n", import->name, (unsigned long long)import->untold);
        printf("%llu rows: %llu added, %llu were there already, %llu rejected\n",
               (unsigned long long)import->rows, (unsigned long long)import->added,
               (unsigned long long)(import->taken - import->added), (unsigned long long)import->rejected);
    }
    reach_close(&import->reach);
    return error;
}

static int open_input(struct import *import, FILE **in, struct hk_why *why)
{
    const char *path = import->options->operands > 0 ? import->options->operand[0] : "-";
    const char *base = strrchr(path, '/');
    struct stat st;

    import->name = path;
    snprintf(import->source, sizeof import->source, "%.79s", base != NULL ? base + 1 : path);
    if (strcmp(path, "-") == 0) {
        import->name = "standard input";
        snprintf(import->source, sizeof import->source, "standard input");
        return 0;
    }
    *in = fopen(path, "re");
    if (*in == NULL)
        return why_set(why, HK_ENOENT, "%s: %s", path, strerror(errno));
    if (fstat(fileno(*in), &st) == 0 && S_ISDIR(st.st_mode)) {
        fclose(*in);
        return why_set(why, HK_EINVAL, "%s: is a directory; name a CSV file", path);
    }
    return 0;
}

/* It would be wrong in every row. */
static int check_reason(const struct cli_options *options, struct hk_why *why)
{
    char *reason;
    int error;

    if (options->reason == NULL)
        return 0;
    reason = hk_xstrdup(options->reason);
    lower(reason);
    error = suppress_reason_check("suppress import", reason, why);
    free(reason);
    return error;
}

static int import_with(struct import *import, struct hk_why *why)
{
    struct scopes scopes;
    FILE *in = stdin;
    int error = suppress_scopes(import->config, import->options->scope ? import->options->scope : "all",
                                &scopes, why);

    if (error == 0)
        error = check_reason(import->options, why);
    if (error == 0)
        error = open_input(import, &in, why);
    if (error < 0)
        return error;
    memcpy(import->scope, scopes.name[0], sizeof import->scope);
    records_begin(&import->records, in);
    error = import_run(import, why);
    if (in != stdin)
        fclose(in);
    return error;
}

int cmd_suppress_import(const struct cli_options *options)
{
    struct config *config = cli_config_load(options->config);
    struct import *import;
    struct hk_why why;
    int error, status;

    if (config == NULL)
        return EXIT_USAGE;
    import = hk_xcalloc(1, sizeof *import);
    import->options = options;
    import->config = config;
    error = import_with(import, &why);
    status = error < 0 ? cli_fail(error, &why) : import->rejected > 0 ? EXIT_STOPPED : EXIT_SETTLED;
    if (error == HK_EBUSY && import->rows > 0)
        status = EXIT_STOPPED; /* in the middle */
    free(import);
    config_free(config);
    return status;
}

/* ---- export ---- */

struct writing {
    const char *name; /* of the file */
    FILE *out;
    int error; /* errno of the write that failed */
};

static int write_entry(void *context, const struct suppress_entry *entry)
{
    struct writing *writing = context;
    FILE *out = writing->out;
    char since[CLOCK_RFC3339_SIZE], until[CLOCK_RFC3339_SIZE] = "";

    clock_rfc3339(entry->time_us, since);
    if (entry->until_s != 0)
        clock_rfc3339((uint64_t)entry->until_s * 1000000u, until);
    const char *const text[COLUMNS_COUNT] = {entry->address,  entry->scope, entry->reason, entry->source,
                                             entry->evidence, since,        until};
    for (size_t c = 0; c < COLUMNS_COUNT; c++) {
        if (c > 0)
            putc(',', out);
        record_write_field(out, text[c]);
    }
    putc('\n', out);
    if (!ferror(out))
        return 0;
    writing->error = errno;
    return HK_EIO;
}

static int write_failed(const struct writing *writing, struct hk_why *why)
{
    errno = writing->error;
    if (writing->out == stdout)
        return cli_output_failed(why);
    return why_set(why, HK_EIO, "%s: %s", writing->name, strerror(errno));
}

static int write_all(const struct config *config, const char *name, FILE *out, const struct scopes *scopes,
                     struct hk_why *why)
{
    struct writing writing = {.name = name, .out = out};
    struct reach reach;
    int error = reach_open(config, &reach, why);

    if (error < 0)
        return error;
    for (size_t c = 0; c < COLUMNS_COUNT; c++)
        fprintf(out, "%s%c", column_name[c], c + 1 < COLUMNS_COUNT ? ',' : '\n');
    error =
        suppress_walk(reach.store, scopes->count > 0 ? scopes->name[0] : NULL, write_entry, &writing, why);
    if (error == 0 && (fflush(out) != 0 || ferror(out))) {
        writing.error = errno;
        error = HK_EIO;
    }
    reach_close(&reach);
    return error == HK_EIO ? write_failed(&writing, why) : error;
}

/* Beside its place, then renamed: a file that is there stays whole until the new one is. */
static int write_to_file(const struct config *config, const char *path, const struct scopes *scopes,
                         struct hk_why *why)
{
    char *temporary;
    mode_t mask;
    FILE *out;
    int error = hk_may_replace(path, why);

    if (error != 0)
        return error;
    temporary = hk_xasprintf("%s.new", path);
    mask = umask(0077);
    out = fopen(temporary, "we");
    umask(mask);
    if (out == NULL) {
        error = why_set(why, HK_EIO, "%s: cannot be written: %s", path, strerror(errno));
        free(temporary);
        return error;
    }
    error = write_all(config, path, out, scopes, why);
    if (error == 0 && fsync(fileno(out)) != 0)
        error = why_set(why, HK_EIO, "%s: cannot be written: %s", path, strerror(errno));
    fclose(out);
    if (error == 0 && rename(temporary, path) != 0)
        error = why_set(why, HK_EIO, "%s: cannot be written: %s", path, strerror(errno));
    if (error != 0)
        unlink(temporary);
    free(temporary);
    return error;
}

int cmd_suppress_export(const struct cli_options *options)
{
    const char *path = options->operands > 0 ? options->operand[0] : "-";
    struct config *config = cli_config_load(options->config);
    struct scopes scopes = {.count = 0};
    struct hk_why why;
    int error = 0;

    if (config == NULL)
        return EXIT_USAGE;
    if (options->scope != NULL)
        error = suppress_scopes(config, options->scope, &scopes, &why);
    if (error == 0)
        error = strcmp(path, "-") == 0 ? write_all(config, path, stdout, &scopes, &why)
                                       : write_to_file(config, path, &scopes, &why);
    config_free(config);
    return error < 0 ? cli_fail(error, &why) : EXIT_SETTLED;
}
