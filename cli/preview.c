/* preview.c - send --dry-run (preview.h). */
#include "preview.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format.h"
#include "hikyaku/address.h"

#define PATH_BYTES 4096

struct preview {
    struct campaign_source source;
    char folder[PATH_BYTES - 64]; /* with a slash at its end */
    struct import_result list;
    struct segment *segment;
    struct message *message;
    uint32_t index[PREVIEW_COPIES_MAX];
    int copies;
    size_t bytes_most;
};

int preview_first_rows(const struct segment *segment, uint32_t *index, int room)
{
    uint32_t row[PREVIEW_COPIES_MAX];
    struct segment_record record;
    int found = 0;

    HK_BUG_ON(room < 1 || room > (int)PREVIEW_COPIES_MAX);
    for (uint32_t i = 0; i < segment_count(segment); i++) {
        int at, error = segment_record(segment, i, &record);

        if (error < 0)
            return error;
        if (found == room && record.row > row[found - 1])
            continue;
        found += found < room ? 1 : 0;
        for (at = found - 1; at > 0 && row[at - 1] > record.row; at--) {
            row[at] = row[at - 1];
            index[at] = index[at - 1];
        }
        row[at] = record.row;
        index[at] = i;
    }
    return found;
}

static int make_folder(const char *path, struct hk_why *why)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return why_set(why, HK_EIO, "%s: cannot be made: %s", path, strerror(errno));
    return 0;
}

/* An earlier preview may have had more copies. */
static void clear_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        size_t length = strlen(entry->d_name);

        if (length > 4 && strcmp(entry->d_name + length - 4, ".eml") == 0)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

static int preview_open(struct preview *p, const struct config *config, const struct cli_options *options,
                        struct hk_why *why)
{
    int error = make_folder(config->state_dir, why);

    if (error == 0)
        error =
            campaign_source_open(config, options->campaign, options->list, options->message, &p->source, why);
    p->source.encoding = options->encoding;
    if (error < 0)
        return error;
    if (config_path(config, p->folder, sizeof p->folder, "campaigns/%s/preview/", options->campaign) < 0)
        return why_set(why, HK_ETOOBIG, "%s: state_dir: the path is too long; write a shorter one",
                       config->file);
    error = make_folder(p->folder, why);
    clear_folder(p->folder);
    return error;
}

static int preview_list(struct preview *p, struct hk_why *why)
{
    char segment[PATH_BYTES], rejected[PATH_BYTES];
    int error;

    (void)snprintf(segment, sizeof segment, "%slist.seg", p->folder);
    (void)snprintf(rejected, sizeof rejected, "%s%s", p->folder, CAMPAIGN_REJECTED_FILE);
    error = campaign_import(&p->source, segment, rejected, &p->list, why);
    if (error == 0)
        error = segment_open(segment, false, &p->segment, why);
    (void)unlink(segment); /* mapped for as long as it is read */
    if (error < 0)
        return error;
    p->copies = preview_first_rows(p->segment, p->index, PREVIEW_COPIES_MAX);
    return p->copies < 0 ? why_set(why, p->copies, "%s: the compiled list is damaged", segment) : 0;
}

/* As a receiver stores it: the dots that SMTP doubles are single. */
static int copy_write(const struct copy *copy, const char *path, struct hk_why *why)
{
    char *text = malloc(copy->bytes + 1);
    size_t used = 0;
    bool line_start = true;
    int error;

    if (text == NULL)
        return why_set(why, HK_ENOMEM, "%s: %s", path, hk_strerror(HK_ENOMEM));
    for (size_t i = 0; i < copy->iov_count; i++) {
        const char *at = copy->iov[i].iov_base;

        for (size_t k = 0; k < copy->iov[i].iov_len; k++) {
            if (!(line_start && at[k] == '.'))
                text[used++] = at[k];
            line_start = at[k] == '\n';
        }
    }
    error = hk_write_file(path, 0600, text, used, why);
    free(text);
    return error;
}

static int preview_copies(struct preview *p, struct hk_why *why)
{
    struct segment_record record;
    struct copy copy = {0};
    char path[PATH_BYTES];
    int error = campaign_compile(&p->source, p->segment, &p->message, why);

    for (int i = 0; i < p->copies && error == 0; i++) {
        error = segment_record(p->segment, p->index[i], &record);
        if (error == 0)
            error = message_render(p->message, &record, 0, p->index[i], clock_wall_us(), &copy);
        if (error == 0)
            error = message_sign(p->message, &copy);
        if (error < 0) {
            error = why_set(why, error, "%s: the copy of row %u cannot be made: %s", p->source.message_path,
                            record.row, hk_strerror(error));
            break;
        }
        (void)snprintf(path, sizeof path, "%srow-%u.eml", p->folder, record.row);
        error = copy_write(&copy, path, why);
        p->bytes_most = copy.bytes > p->bytes_most ? copy.bytes : p->bytes_most;
    }
    copy_free(&copy);
    return error;
}

static void print_notes(const struct preview *p)
{
    size_t count;
    const struct note *note = message_notes(p->message, &count);

    for (size_t i = 0; i < count; i++)
        printf("  note         %s\n", note[i].text);
}

static void print_paths(const struct preview *p)
{
    struct segment_record record;
    char email[ADDRESS_MAX + 1];

    for (int i = 0; i < p->copies; i++) {
        if (segment_record(p->segment, p->index[i], &record) != 0)
            continue;
        (void)hk_clean_text(email, sizeof email, record.email, record.email_length);
        printf("  %-12s %srow-%u.eml  %s\n", i == 0 ? "first copies" : "", p->folder, record.row, email);
    }
}

static void preview_print(const struct preview *p)
{
    const struct config *config = p->source.config;
    char count[FORMAT_SIZE], domains[FORMAT_SIZE], duplicates[FORMAT_SIZE], rejected[FORMAT_SIZE];

    printf("campaign %s: a dry run; nothing is sent, and the campaign is not made\n", p->source.id);
    printf("  recipients   %s at %s domains; %s duplicates left out\n",
           format_count(p->list.recipients, count), format_count(p->list.domains, domains),
           format_count(p->list.duplicates, duplicates));
    if (p->list.rejected > 0)
        printf("  rejected     %s rows: %s%s\n", format_count(p->list.rejected, rejected), p->folder,
               CAMPAIGN_REJECTED_FILE);
    if (p->list.hint[0] != 0)
        printf("  note         the list %s\n", p->list.hint);
    printf("  sites        not known: no DNS is asked\n");
    if (config->dkim_count == 0)
        printf("  signed       no: there is no dkim section\n");
    for (size_t i = 0; i < config->dkim_count; i++)
        printf("  signed       by %s, selector %s\n", config->dkim[i].domain, config->dkim[i].selector);
    printf("  size         %s bytes the largest of the first copies\n", format_count(p->bytes_most, count));
    print_notes(p);
    print_paths(p);
}

int preview_run(const struct config *config, const struct cli_options *options)
{
    struct preview preview = {.source = {.lock_fd = -1}};
    struct hk_why why;
    int status, error = preview_open(&preview, config, options, &why);

    if (error == 0)
        error = preview_list(&preview, &why);
    if (error == 0)
        error = preview_copies(&preview, &why);
    if (error == 0)
        preview_print(&preview);
    status = error == 0 ? EXIT_SETTLED : cli_fail(error, &why);
    if (error < 0 && cli_interrupted())
        status = EXIT_STOPPED;
    if (preview.message != NULL)
        message_free(preview.message);
    if (preview.segment != NULL)
        segment_close(preview.segment);
    campaign_source_close(&preview.source);
    return status;
}
