/* campaign.c - make a campaign out of what `send` was given, or hold it against the one there is.
 *
 * Order of making: segment and message are renamed into place, then Redis is told: from then on the campaign
 * exists. The import runs in a process of its own; a signal ends it and this command.
 */
#include "campaign.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format.h"

#define PATH_BYTES         4096
#define MANIFEST_BYTES_MAX 16384u
#define IMPORT_WAIT_MS     200
#define INCOMING_PREFIX    "incoming-" /* a list that is only looked at, beside the one in force */

static int campaign_path(const struct campaign_source *source, const char *name, char out[PATH_BYTES],
                         struct hk_why *why)
{
    if (config_path(source->config, out, PATH_BYTES, "campaigns/%s/%s", source->id, name) < 0)
        return why_set(why, HK_ETOOBIG, "%s: state_dir: the path is too long; write a shorter one",
                       source->config->file);
    return 0;
}

static int make_directory(const char *path, struct hk_why *why)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return why_set(why, HK_EIO, "%s: cannot be made: %s", path, strerror(errno));
    return 0;
}

/* state_dir is there: reach_open made it or a node has. */
static int lock_directory(struct campaign_source *source, struct hk_why *why)
{
    char path[PATH_BYTES];
    int error;

    if (config_path(source->config, path, sizeof path, "campaigns") < 0)
        return why_set(why, HK_ETOOBIG, "%s: state_dir: the path is too long", source->config->file);
    error = make_directory(path, why);
    if (error == 0)
        error = campaign_path(source, "", path, why);
    if (error == 0)
        error = make_directory(path, why);
    if (error < 0)
        return error;
    source->lock_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (source->lock_fd < 0)
        return why_set(why, HK_EIO, "%s: %s", path, strerror(errno));
    if (flock(source->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return why_set(why, HK_EBUSY, "hikyaku: another command is preparing campaign '%s'; wait for it",
                       source->id);
    return 0;
}

static void say_signer_notes(const struct signer *signer)
{
    size_t count;
    const struct note *note = signer_notes(signer, &count);

    notes_log(note, count);
}

int campaign_source_open(const struct config *config, const char *id, const char *list_path,
                         const char *message_path, struct campaign_source *out, struct hk_why *why)
{
    int error;
    *out = (struct campaign_source){
        .config = config, .id = id, .list_path = list_path, .message_path = message_path, .lock_fd = -1};
    error = signer_load(config, &out->signer, why);
    if (error == 0)
        say_signer_notes(out->signer);
    if (error == 0)
        error = hk_read_file(message_path, MESSAGE_TEMPLATE_MAX, &out->message, &out->message_length, why);
    if (error == 0 && strcmp(list_path, "-") != 0)
        error = hk_sha256_file(list_path, out->input_sha256, why);
    /* What the user named and is not there is his to mend. */
    if (error == HK_EIO)
        error = HK_EINVAL;
    if (error == 0)
        error = lock_directory(out, why);
    if (error < 0)
        return error;
    hk_sha256_hex(out->message, out->message_length, out->message_sha256);
    config_sender_sha256(config, out->sender_sha256);
    return 0;
}

void campaign_source_close(struct campaign_source *source)
{
    if (source->signer != NULL)
        signer_free(source->signer);
    free(source->message);
    if (source->lock_fd >= 0)
        close(source->lock_fd);
    *source = (struct campaign_source){.lock_fd = -1};
}

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

static void clear_rows(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

int campaign_import(const struct campaign_source *source, const char *segment_path, const char *rejected_path,
                    struct import_result *result, struct hk_why *why)
{
    struct import_options options = {.list_path = source->list_path,
                                     .encoding = source->encoding,
                                     .segment_path = segment_path,
                                     .rejected_path = rejected_path,
                                     .earlier = source->earlier,
                                     .earlier_count = source->earlier_count,
                                     .legacy_allowed = legacy_allowed,
                                     .context = (void *)(uintptr_t)source->config};
    struct import_child child;
    bool stopped = false;
    int error = list_import_start(&options, &child, why);

    if (error < 0)
        return error;
    while (!child.done) {
        struct pollfd ready = {.fd = child.pipe, .events = POLLIN};
        (void)poll(&ready, 1, IMPORT_WAIT_MS);
        list_import_poll(&child);
        show_rows(source->list_path, child.rows);
        if (cli_interrupted() && !child.done && !stopped) {
            kill(child.pid, SIGTERM);
            stopped = true;
        }
    }
    clear_rows();
    if (cli_interrupted())
        return why_set(why, HK_EBUSY, "hikyaku: interrupted while the list was read; nothing was sent");
    if (child.status < 0) {
        *why = child.why;
        return child.status;
    }
    *result = child.result;
    return 0;
}

static void say_imported(const struct campaign_source *source, const struct import_result *result,
                         const char *rejected_path)
{
    char count[FORMAT_SIZE], domains[FORMAT_SIZE], duplicates[FORMAT_SIZE];
    fprintf(stderr, "%s: %s recipients at %s domains, %s duplicates left out\n", source->list_path,
            format_count(result->recipients, count), format_count(result->domains, domains),
            format_count(result->duplicates, duplicates));
    if (result->rejected > 0)
        fprintf(stderr, "%s: %s rows rejected; which and why: %s\n", source->list_path,
                format_count(result->rejected, count), rejected_path);
    if (result->hint[0] != '\0')
        fprintf(stderr, "%s: the list %s\n", source->list_path, result->hint);
}

int campaign_compile(const struct campaign_source *source, const struct segment *segment,
                     struct message **out, struct hk_why *why)
{
    const char *column[SEGMENT_COLUMNS_MAX];
    uint32_t columns = segment_column_count(segment);

    for (uint32_t i = 0; i < columns && i < SEGMENT_COLUMNS_MAX; i++)
        column[i] = segment_column(segment, i);
    return message_compile(source->message_path, source->message, source->message_length, source->config,
                           source->signer, source->id, column, columns, out, why);
}

/* Would every recipient get a copy: the template against the list's columns. */
static int check_message(const struct campaign_source *source, const struct segment *segment,
                         struct hk_why *why)
{
    struct message *message;
    const struct note *note;
    size_t notes;
    int error = campaign_compile(source, segment, &message, why);

    if (error < 0)
        return error;
    note = message_notes(message, &notes);
    notes_log(note, notes);
    message_free(message);
    return 0;
}

static int place_message(const struct campaign_source *source, struct hk_why *why)
{
    char path[PATH_BYTES];
    int error = campaign_path(source, CAMPAIGN_MESSAGE_FILE, path, why);
    return error < 0 ? error : hk_write_file(path, 0600, source->message, source->message_length, why);
}

/* What Redis was told, for the day it has forgotten. The campaign is there already: where it cannot be kept, that is a word,
 * and the next `send` tries it again. */
static void keep_manifest(const struct campaign_source *source, const struct manifest *m)
{
    char path[PATH_BYTES], *text = manifest_text(m);
    struct hk_why why;
    int error = campaign_path(source, CAMPAIGN_MANIFEST_FILE, path, &why);

    if (error == 0 && text != NULL)
        error = hk_write_file(path, 0600, text, strlen(text), &why);
    else if (error == 0)
        error = why_set(&why, HK_ENOMEM, "hikyaku: not enough memory for a copy of the manifest");
    free(text);
    if (error < 0)
        log_warning("%s; should Redis ever lose the campaign, it cannot be restored", why.text);
}

/* A campaign of this name may have been here before, and left what is not about this one. */
static int forget_earlier(const struct campaign_source *source, struct hk_why *why)
{
    char path[PATH_BYTES];
    int error = campaign_path(source, CAMPAIGN_JOURNAL_FILE, path, why);

    if (error == 0 && unlink(path) != 0 && errno != ENOENT)
        error = why_set(why, HK_EIO, "%s: cannot be removed: %s", path, strerror(errno));
    return error;
}

enum registering { REGISTER_NEW, REGISTER_MORE, REGISTER_REPAIR };

/* Tell Redis, last of all: from here on the campaign, or its extension, is there. `m` gets the totals of `segment`. */
static int register_campaign(struct store *store, const struct segment *segment, struct manifest *m,
                             enum registering how, struct hk_why *why)
{
    uint32_t domains = segment_domain_count(segment), spans = segment_span_count(segment);
    uint32_t *domain_first = calloc((size_t)domains + 1, sizeof *domain_first);
    uint32_t *span_first = calloc((size_t)spans + 1, sizeof *span_first);
    int error = HK_ENOMEM;

    if (domain_first == NULL || span_first == NULL) {
        (void)why_set(why, HK_ENOMEM, "hikyaku: not enough memory for %u domains", domains);
        goto done;
    }
    for (uint32_t i = 0; i < domains; i++)
        domain_first[i] = segment_domain(segment, i).first;
    for (uint32_t i = 0; i < spans; i++)
        span_first[i] = segment_span(segment, i).first;
    m->recipients = segment_count(segment);
    m->domains = domains;
    m->spans = spans;
    snprintf(m->list_sha256, sizeof m->list_sha256, "%s", segment_sha256(segment));
    switch (how) {
    case REGISTER_NEW:
        error = store_campaign_create(store, m, domain_first, span_first, why);
        break;
    case REGISTER_MORE:
        error = store_campaign_extend(store, m, domain_first, span_first, why);
        break;
    case REGISTER_REPAIR:
        error = store_campaign_repair(store, m, domain_first, span_first, why);
        break;
    }
done:
    free(domain_first);
    free(span_first);
    return error;
}

static struct manifest first_manifest(const struct campaign_source *source,
                                      const struct import_result *result)
{
    struct manifest m = {.rejected = result->rejected,
                         .duplicates = result->duplicates,
                         .segments = 1,
                         .created_us = clock_wall_us()};

    snprintf(m.campaign, sizeof m.campaign, "%s", source->id);
    snprintf(m.state, sizeof m.state, "running");
    memcpy(m.input_sha256, result->input_sha256, sizeof m.input_sha256);
    memcpy(m.message_sha256, source->message_sha256, sizeof m.message_sha256);
    memcpy(m.sender_sha256, source->sender_sha256, sizeof m.sender_sha256);
    return m;
}

int campaign_create(const struct campaign_source *source, struct store *store, struct manifest *out,
                    struct hk_why *why)
{
    char segment_path[PATH_BYTES], rejected_path[PATH_BYTES];
    struct import_result result = {0};
    struct segment *segment;
    int error = campaign_path(source, CAMPAIGN_SEGMENT_FILE, segment_path, why);

    if (error == 0)
        error = campaign_path(source, CAMPAIGN_REJECTED_FILE, rejected_path, why);
    if (error == 0)
        error = campaign_import(source, segment_path, rejected_path, &result, why);
    if (error < 0)
        return error;
    say_imported(source, &result, rejected_path);
    if (result.recipients == 0)
        return why_set(why, HK_EINVAL, "%s: no row can be sent to; look at %s", source->list_path,
                       rejected_path);
    error = segment_open(segment_path, false, &segment, why);
    if (error < 0)
        return error;
    error = check_message(source, segment, why);
    if (error == 0)
        error = place_message(source, why);
    if (error == 0) {
        *out = first_manifest(source, &result);
        error = forget_earlier(source, why);
        if (error == 0)
            error = register_campaign(store, segment, out, REGISTER_NEW, why);
    }
    segment_close(segment);
    if (error == 0)
        keep_manifest(source, out);
    return error;
}

/* FNV-1a of the address, its local part in lower case: only ever compared within one run of this command. */
static uint64_t address_hash(const struct segment_record *record)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (uint32_t i = 0; i < record->wire_length; i++) {
        hash ^= (uint64_t)(unsigned char)tolower((unsigned char)record->wire[i]);
        hash *= 0x100000001b3u;
    }
    return hash;
}

static int compare_hash(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int sorted_hashes(const struct segment *segment, uint64_t **out)
{
    uint32_t count = segment_count(segment);
    struct segment_record record;
    uint64_t *hash = malloc(((size_t)count + 1) * sizeof *hash);
    if (hash == NULL)
        return HK_ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        int error = segment_record(segment, i, &record);
        if (error < 0) {
            free(hash);
            return error;
        }
        hash[i] = address_hash(&record);
    }
    qsort(hash, count, sizeof *hash, compare_hash);
    *out = hash;
    return 0;
}

int campaign_segments_compare(const struct segment *before, const struct segment *after,
                              struct campaign_difference *out)
{
    uint64_t *old_hash = NULL, *new_hash = NULL;
    uint32_t old_count = segment_count(before), new_count = segment_count(after), i = 0, j = 0;
    int error = sorted_hashes(before, &old_hash);

    *out = (struct campaign_difference){0};
    if (error == 0)
        error = sorted_hashes(after, &new_hash);
    while (error == 0 && (i < old_count || j < new_count)) {
        if (j == new_count || (i < old_count && old_hash[i] < new_hash[j])) {
            out->gone++;
            i++;
        } else if (i == old_count || new_hash[j] < old_hash[i]) {
            out->added++;
            j++;
        } else {
            i++;
            j++;
        }
    }
    free(old_hash);
    free(new_hash);
    return error;
}

static int refuse_list(const struct campaign_source *source, const struct segment *before,
                       const struct segment *after, struct hk_why *why)
{
    struct campaign_difference difference;
    char added[FORMAT_SIZE], gone[FORMAT_SIZE];
    int error = campaign_segments_compare(before, after, &difference);

    if (error < 0)
        return why_set(why, error, "hikyaku: the two lists cannot be compared: %s", hk_strerror(error));
    return why_set(
        why, HK_ECHANGED,
        "%s: not the list that campaign '%s' was made of: %s new addresses, %s gone%s; a campaign's "
        "list is fixed: --extend adds the new ones, or use another --campaign",
        source->list_path, source->id, format_count(difference.added, added),
        format_count(difference.gone, gone),
        difference.added + difference.gone == 0 ? " (their fields or their order differ)" : "");
}

/* The list reads otherwise than the one in force: compile it beside that one, and say how they differ. What
 * compiles to the same segment (other blanks, other line ends) is the same list. */
static int compare_list(const struct campaign_source *source, const struct manifest *manifest,
                        struct hk_why *why)
{
    char incoming[PATH_BYTES];
    struct segment *before = NULL, *after = NULL;
    struct import_result result = {0};
    int error = campaign_path(source, INCOMING_PREFIX CAMPAIGN_SEGMENT_FILE, incoming, why);

    if (error == 0)
        error = campaign_import(source, incoming, NULL, &result, why);
    if (error < 0)
        return error;
    if (strcmp(result.segment_sha256, manifest->list_sha256) != 0) {
        error = segment_open_campaign(source->config, source->id, manifest->segments, false, &before, why);
        if (error == 0)
            error = segment_open(incoming, false, &after, why);
        if (error == 0)
            error = refuse_list(source, before, after, why);
        segment_close(before);
        segment_close(after);
    }
    unlink(incoming);
    return error;
}

/* Are the segments of this campaign here, whole? */
static bool segments_are_in_place(const struct campaign_source *source, const struct manifest *manifest)
{
    struct segment *segment;
    struct hk_why ignored;
    bool same;

    if (segment_open_campaign(source->config, source->id, manifest->segments, true, &segment, &ignored) < 0)
        return false;
    same = strcmp(segment_sha256(segment), manifest->list_sha256) == 0;
    segment_close(segment);
    return same;
}

static int restore_segment(const struct campaign_source *source, const struct manifest *manifest,
                           struct hk_why *why)
{
    char segment_path[PATH_BYTES], rejected_path[PATH_BYTES];
    struct import_result result = {0};
    int error = campaign_path(source, CAMPAIGN_SEGMENT_FILE, segment_path, why);

    if (manifest->segments > 1)
        return why_set(
            why, HK_ECHANGED,
            "hikyaku: campaign '%s' has a list of %u segments, and they are not all in state_dir; put "
            "state_dir/campaigns/%s back from where it was",
            source->id, manifest->segments, source->id);
    if (error == 0)
        error = campaign_path(source, CAMPAIGN_REJECTED_FILE, rejected_path, why);
    if (error == 0)
        error = campaign_import(source, segment_path, rejected_path, &result, why);
    if (error < 0)
        return error;
    if (strcmp(result.segment_sha256, manifest->list_sha256) != 0) {
        unlink(segment_path);
        return why_set(
            why, HK_ECHANGED,
            "%s: not the list that campaign '%s' was made of, and the compiled list is no longer in "
            "state_dir; give the first list again",
            source->list_path, source->id);
    }
    return 0;
}

/* The message and the sender are what they were when the campaign was made. */
static int check_pinned(const struct campaign_source *source, const struct manifest *manifest,
                        struct hk_why *why)
{
    if (strcmp(source->message_sha256, manifest->message_sha256) != 0)
        return why_set(why, HK_ECHANGED,
                       "%s: not the message that campaign '%s' was made of; give the first one again, or use "
                       "another --campaign",
                       source->message_path, source->id);
    if (strcmp(source->sender_sha256, manifest->sender_sha256) != 0)
        return why_set(why, HK_ECHANGED,
                       "%s: the sender section or the DKIM domains are not those that campaign '%s' was made "
                       "with; put them back, or use another --campaign",
                       source->config->file, source->id);
    return 0;
}

int campaign_compare(const struct campaign_source *source, const struct manifest *manifest,
                     struct hk_why *why)
{
    int error = check_pinned(source, manifest, why);

    if (error < 0)
        return error;
    if (!segments_are_in_place(source, manifest))
        error = restore_segment(source, manifest, why);
    else if (strcmp(source->input_sha256, manifest->input_sha256) != 0)
        error = compare_list(source, manifest, why);
    /* Written anew each time: they are small, and a damaged copy would be refused later by every node. */
    if (error == 0)
        keep_manifest(source, manifest);
    return error < 0 ? error : place_message(source, why);
}

/* ---- after Redis has forgotten ---- */

static int read_kept(const struct config *config, const char *id, struct manifest *out, struct hk_why *why)
{
    char path[PATH_BYTES], *text = NULL;
    size_t length;
    int error = config_path(config, path, sizeof path, "campaigns/%s/" CAMPAIGN_MANIFEST_FILE, id);

    if (error < 0)
        return why_set(why, HK_ETOOBIG, "%s: state_dir: the path is too long", config->file);
    error = hk_read_file(path, MANIFEST_BYTES_MAX, &text, &length, why);
    if (error == HK_ENOENT)
        return why_set(why, HK_ENOENT,
                       "hikyaku: there is no campaign '%s', and none was begun on this state_dir", id);
    if (error == 0)
        error = manifest_from_text(id, text, out, why);
    free(text);
    return error;
}

int campaign_rebuild(const struct config *config, const char *id, struct store *store,
                     struct manifest *manifest, bool *anew, struct hk_why *why)
{
    struct segment *segment = NULL;
    int error = store_campaign_get(store, id, manifest, why);

    *anew = error == HK_ENOENT;
    if (*anew) {
        error = read_kept(config, id, manifest, why);
        manifest->started_us = manifest->first_pass_us = manifest->settled_us = 0;
        snprintf(manifest->state, sizeof manifest->state, "paused");
    }
    if (error == 0)
        error = segment_open_campaign(config, id, manifest->segments, true, &segment, why);
    if (error == 0 && strcmp(segment_sha256(segment), manifest->list_sha256) != 0)
        error = why_set(why, HK_ECHANGED, "%s/campaigns/%s: not the list that the campaign was made of",
                        config->state_dir, id);
    if (error == 0 && *anew)
        error = register_campaign(store, segment, manifest, REGISTER_NEW, why);
    if (error == 0)
        error = register_campaign(store, segment, manifest, REGISTER_REPAIR, why);
    segment_close(segment);
    return error;
}

/* ---- --extend ---- */

static void say_extended(const struct campaign_source *source, const struct import_result *result)
{
    char added[FORMAT_SIZE], already[FORMAT_SIZE], gone[FORMAT_SIZE];

    fprintf(stderr,
            "%s: %s new recipients, %s in the campaign already, %s of the campaign no longer in the list%s\n",
            source->list_path, format_count(result->recipients, added),
            format_count(result->already, already), format_count(result->gone, gone),
            result->gone > 0 ? " (they stay)" : "");
}

/* Compile whom the list has more into segment number manifest->segments. */
static int import_more(struct campaign_source *source, const struct manifest *manifest,
                       struct import_result *result, struct hk_why *why)
{
    char segment_path[PATH_BYTES], rejected_path[PATH_BYTES], name[64];
    const char *path[SEGMENTS_MAX];
    char *earlier = hk_xcalloc(manifest->segments, PATH_BYTES);
    int error = 0;

    for (uint32_t i = 0; i < manifest->segments && error == 0; i++) {
        path[i] = earlier + (size_t)i * PATH_BYTES;
        snprintf(name, sizeof name, CAMPAIGN_SEGMENT_PATTERN, i);
        error = campaign_path(source, name, earlier + (size_t)i * PATH_BYTES, why);
    }
    snprintf(name, sizeof name, CAMPAIGN_SEGMENT_PATTERN, manifest->segments);
    if (error == 0)
        error = campaign_path(source, name, segment_path, why);
    snprintf(name, sizeof name, "rejected-%u.csv", manifest->segments);
    if (error == 0)
        error = campaign_path(source, name, rejected_path, why);
    source->earlier = path;
    source->earlier_count = manifest->segments;
    if (error == 0)
        error = campaign_import(source, segment_path, rejected_path, result, why);
    source->earlier = NULL;
    source->earlier_count = 0;
    if (error == 0 && result->rejected > 0)
        fprintf(stderr, "%s: some rows were rejected; which and why: %s\n", source->list_path, rejected_path);
    free(earlier);
    return error;
}

int campaign_extend(struct campaign_source *source, struct store *store, struct manifest *manifest,
                    struct hk_why *why)
{
    struct manifest more = *manifest;
    struct import_result result = {0};
    struct segment *segment = NULL;
    int error = check_pinned(source, manifest, why);

    if (error == 0 && strcmp(manifest->state, "cancelled") == 0)
        error = why_set(why, HK_EINVAL, "hikyaku: campaign '%s' was cancelled: use another --campaign",
                        source->id);
    else if (error == 0 && manifest->segments == SEGMENTS_MAX)
        error = why_set(why, HK_EFULL, "hikyaku: campaign '%s' was extended %u times, which is the most",
                        source->id, SEGMENTS_MAX - 1);
    else if (error == 0 && !segments_are_in_place(source, manifest))
        error = restore_segment(source, manifest, why);
    if (error == 0)
        error = place_message(source, why);
    if (error == 0)
        error = import_more(source, manifest, &result, why);
    if (error < 0)
        return error;
    say_extended(source, &result);
    if (result.recipients == 0)
        return 0;
    more.segments++;
    more.rejected += result.rejected;
    more.duplicates += result.duplicates;
    more.first_pass_us = more.settled_us = 0;
    memcpy(more.input_sha256, result.input_sha256, sizeof more.input_sha256);
    error = segment_open_campaign(source->config, source->id, more.segments, false, &segment, why);
    if (error == 0)
        error = register_campaign(store, segment, &more, REGISTER_MORE, why);
    segment_close(segment);
    if (error == 0) {
        *manifest = more;
        keep_manifest(source, manifest);
    }
    return error;
}
