/* list.c - hikyaku list import | show | export: compile a list, look into it, get it back.
 *
 * Needs no node and no Redis. A configuration only tells which providers take the local parts that RFC 5321 does
 * not know.
 */
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "commands.h"
#include "format.h"
#include "hikyaku/segment.h"

#define LIST_TOP_DOMAINS 10u

static bool legacy_allowed(void *context, const char *domain)
{
    return config_provider(context, domain, NULL, 0)->legacy_local_part;
}

static void show_rows(const char *path, uint64_t rows)
{
    char count[FORMAT_SIZE];

    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Kreading %s: %s rows", path, format_count(rows, count));
}

static void say_imported(const struct cli_options *options, const struct import_result *result)
{
    char rows[FORMAT_SIZE], recipients[FORMAT_SIZE], domains[FORMAT_SIZE], duplicates[FORMAT_SIZE],
        rejected[FORMAT_SIZE];

    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    printf("%s: %s recipients at %s domains, from %s rows; %s duplicates left out, %s rejected\n",
           options->out, format_count(result->recipients, recipients), format_count(result->domains, domains),
           format_count(result->rows, rows), format_count(result->duplicates, duplicates),
           format_count(result->rejected, rejected));
    if (result->hint[0] != '\0')
        fprintf(stderr, "hikyaku: the list %s\n", result->hint);
    if (result->rejected > 0)
        fprintf(stderr, "hikyaku: rows were rejected; which and why: %s\n",
                options->rejected != NULL ? options->rejected : "add --rejected FILE");
}

static int import(const struct cli_options *options, struct config *config)
{
    struct import_options import = {.list_path = options->list,
                                    .encoding = options->encoding,
                                    .segment_path = options->out,
                                    .rejected_path = options->rejected,
                                    .legacy_allowed = config != NULL ? legacy_allowed : NULL,
                                    .context = config};
    struct import_child child;
    struct hk_why why;
    int error = list_import_start(&import, &child, &why);

    if (error < 0)
        return cli_fail(error, &why);
    while (!child.done) {
        struct pollfd ready = {.fd = child.pipe, .events = POLLIN};
        (void)poll(&ready, 1, -1);
        list_import_poll(&child);
        show_rows(options->list, child.rows);
    }
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    if (child.status < 0)
        return cli_fail(child.status, &child.why);
    say_imported(options, &child.result);
    return EXIT_SETTLED;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat first, second;

    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

int cmd_list_import(const struct cli_options *options)
{
    struct config *config = NULL;
    int status;

    if (access(options->out, F_OK) == 0) {
        fprintf(stderr, "%s: is there already; write another name behind --out, or remove it\n",
                options->out);
        return EXIT_USAGE;
    }
    if (options->rejected != NULL && is_same_file(options->rejected, options->list)) {
        fprintf(stderr, "%s: is the list itself; write another name behind --rejected\n", options->rejected);
        return EXIT_USAGE;
    }
    if (!cli_standard_input_check(options->list))
        return EXIT_USAGE;
    if (options->config != NULL) {
        config = cli_config_load(options->config);
        if (config == NULL)
            return EXIT_USAGE;
    }
    status = import(options, config);
    if (config != NULL)
        config_free(config);
    return status;
}

/* ---- show ---- */

/* The domains with the most recipients, the most first; of equals the one that comes first in the segment. */
static uint32_t top_domains(const struct segment *segment, uint32_t top[LIST_TOP_DOMAINS])
{
    uint32_t count = 0;

    for (uint32_t d = 0; d < segment_domain_count(segment); d++) {
        uint32_t size = segment_domain(segment, d).count, at = count;
        while (at > 0 && segment_domain(segment, top[at - 1]).count < size)
            at--;
        if (at == LIST_TOP_DOMAINS)
            continue;
        count += count < LIST_TOP_DOMAINS;
        memmove(&top[at + 1], &top[at], (count - at - 1) * sizeof *top);
        top[at] = d;
    }
    return count;
}

static void print_segment(const struct segment *segment)
{
    uint32_t top[LIST_TOP_DOMAINS], count = top_domains(segment, top);
    char figure[FORMAT_SIZE], share[FORMAT_SIZE], clean[1024];

    printf("columns     ");
    for (uint32_t i = 0; i < segment_column_count(segment); i++) {
        const char *name = segment_column(segment, i);
        hk_clean_text(clean, sizeof clean, name, strlen(name));
        printf("%s%s", i > 0 ? ", " : "", clean);
    }
    printf("\nrecipients  %s\n", format_count(segment_count(segment), figure));
    printf("domains     %s\n", format_count(segment_domain_count(segment), figure));
    printf("spans       %s\n", format_count(segment_span_count(segment), figure));
    printf("sha256      %s\n", segment_sha256(segment));
    printf("most recipients are at\n");
    for (uint32_t i = 0; i < count; i++) {
        struct segment_domain domain = segment_domain(segment, top[i]);
        printf("  %12s  %7s  %s\n", format_count(domain.count, figure),
               format_share(domain.count, segment_count(segment), share), domain.name);
    }
}

int cmd_list_show(const struct cli_options *options)
{
    struct segment *segment;
    struct hk_why why;
    int error = segment_open(options->list, true, &segment, &why);

    if (error < 0)
        return cli_fail(error, &why);
    print_segment(segment);
    segment_close(segment);
    return EXIT_SETTLED;
}

/* ---- export ---- */

/* Quoted whenever the import could take it for anything else than one field. */
static void print_field(const char *text, size_t length)
{
    bool quoted = false;

    for (size_t i = 0; i < length && !quoted; i++)
        quoted = strchr(",;\t\"\r\n{[=", text[i]) != NULL;
    if (!quoted) {
        fwrite(text, 1, length, stdout);
        return;
    }
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"')
            putchar('"');
        putchar(text[i]);
    }
    putchar('"');
}

static int print_records(const struct segment *segment, struct segment_record *record)
{
    uint32_t columns = segment_column_count(segment);

    for (uint32_t i = 0; i < columns; i++) {
        if (i > 0)
            putchar(',');
        print_field(segment_column(segment, i), strlen(segment_column(segment, i)));
    }
    putchar('\n');
    for (uint32_t k = 0; k < segment_count(segment) && !ferror(stdout); k++) {
        int error = segment_record(segment, k, record);
        if (error < 0)
            return error;
        for (uint32_t i = 0; i < columns; i++) {
            if (i > 0)
                putchar(',');
            print_field(record->field[i].text, record->field[i].length);
        }
        putchar('\n');
    }
    return ferror(stdout) ? HK_EIO : 0;
}

int cmd_list_export(const struct cli_options *options)
{
    struct segment_record record;
    struct segment *segment;
    struct hk_why why;
    int error = segment_open(options->list, true, &segment, &why);

    if (error < 0)
        return cli_fail(error, &why);
    error = print_records(segment, &record);
    if (error == HK_EIO)
        error = cli_output_failed(&why);
    else if (error < 0)
        error = why_set(&why, error, "%s: the segment is damaged; import the list again", options->list);
    segment_close(segment);
    return error < 0 ? cli_fail(error, &why) : EXIT_SETTLED;
}
