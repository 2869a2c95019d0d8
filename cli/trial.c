/* trial.c - send --test (trial.h). */
#include "trial.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hikyaku/address.h"
#include "hikyaku/resolve.h"
#include "preview.h"

#define PATH_BYTES      4096
#define TRIAL_FOLDER    "test"
#define TRIAL_LOG       "events.jsonl"
#define EVENT_LINE_MAX  65536
#define RETRY_S         1u /* a host that cannot be reached is tried once more after that */
#define REMOVE_OPEN_MAX 16

struct trial {
    const struct cli_options *options;
    struct config config; /* the user's, on the place of the test */
    uint32_t schedule_s[1];
    char folder[PATH_BYTES], log[PATH_BYTES + sizeof TRIAL_LOG];
    char id[CAMPAIGN_ID_MAX + 1];
    char **address;
    size_t count;
    int lock_fd;
    struct reach reach;
    bool reached;
    struct hk_why why;
};

int trial_addresses(const char *text, char ***out, size_t *count, struct hk_why *why)
{
    struct address address;
    struct hk_why reason;

    *out = hk_xcalloc(TRIAL_ADDRESSES_MAX, sizeof **out);
    *count = 0;
    for (const char *p = text; *p != 0;) {
        size_t length;
        char clean[ADDRESS_MAX + 1];

        p += strspn(p, ", \t");
        length = strcspn(p, ", \t");
        if (length == 0)
            break;
        hk_clean_text(clean, sizeof clean, p, length);
        if (address_parse(p, length, &address, &reason) < 0)
            return why_set(why, HK_EINVAL, "hikyaku send: --test: '%s' is no address: %s", clean,
                           reason.text);
        if (*count == TRIAL_ADDRESSES_MAX)
            return why_set(why, HK_EINVAL,
                           "hikyaku send: --test: more than %u addresses; make a list of them",
                           TRIAL_ADDRESSES_MAX);
        (*out)[(*count)++] = hk_xasprintf("%.*s", (int)length, p);
        p += length;
    }
    if (*count == 0)
        return why_set(why, HK_EINVAL, "hikyaku send: --test: no address; write --test you@example.com");
    return 0;
}

void trial_campaign(const char *id, uint64_t wall_us, char out[CAMPAIGN_ID_MAX + 1])
{
    char suffix[32];
    int length = snprintf(suffix, sizeof suffix, ".test-%" PRIu64, wall_us / 1000000);

    (void)snprintf(out, CAMPAIGN_ID_MAX + 1, "%.*s%s", CAMPAIGN_ID_MAX - length, id, suffix);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st;
    (void)kind;
    (void)walk;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

static int remove_folder(const char *folder, struct hk_why *why)
{
    if (nftw(folder, remove_one, REMOVE_OPEN_MAX, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT)
        return 0;
    return why_set(why, HK_EIO, "%s: cannot be removed: %s", folder, strerror(errno));
}

/* One test at a time, as a lock outside the folder that comes and goes. */
static int trial_lock(struct trial *t, const struct config *config)
{
    char path[PATH_BYTES];

    if (config_path(config, t->folder, sizeof t->folder, TRIAL_FOLDER) < 0 ||
        config_path(config, path, sizeof path, TRIAL_FOLDER ".lock") < 0)
        return why_set(&t->why, HK_ETOOBIG, "%s: state_dir: the path is too long; write a shorter one",
                       config->file);
    if (mkdir(config->state_dir, 0700) < 0 && errno != EEXIST)
        return why_set(&t->why, HK_EIO, "%s: cannot make state_dir: %s", config->state_dir, strerror(errno));
    t->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (t->lock_fd < 0)
        return why_set(&t->why, HK_EIO, "%s: %s", path, strerror(errno));
    if (flock(t->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return why_set(&t->why, HK_EBUSY, "hikyaku: another send --test is under way on %s; wait for it",
                       config->state_dir);
    return 0;
}

static void trial_configure(struct trial *t, const struct config *config)
{
    t->config = *config;
    t->config.state_dir = t->folder;
    (void)snprintf(t->log, sizeof t->log, "%s/%s", t->folder, TRIAL_LOG);
    t->config.events.file = t->log;
    t->config.redis.mode = REDIS_EMBEDDED;
    t->config.workers = 1;
    t->schedule_s[0] = RETRY_S;
    t->config.retry.schedule_s = t->schedule_s;
    t->config.retry.schedule_count = 1;
    t->config.retry.give_up_s = 0; /* who is deferred is not tried again */
}

/* Enter the place. A test that was killed left its own, with a Redis that still runs: it is ended and removed. */
static int trial_enter(struct trial *t)
{
    struct stat st;
    int error = 0;

    if (stat(t->folder, &st) == 0) {
        error = reach_open(&t->config, &t->reach, &t->why);
        if (error == 0) {
            reach_close(&t->reach);
            error = remove_folder(t->folder, &t->why);
        }
    }
    if (error == 0)
        error = reach_open(&t->config, &t->reach, &t->why);
    t->reached = error == 0;
    return error;
}

/* ---- the list ---- */

static void csv_field(FILE *out, const char *text, size_t length)
{
    (void)fputc('"', out);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"')
            (void)fputc('"', out);
        (void)fputc(text[i], out);
    }
    (void)fputc('"', out);
}

static void csv_row(FILE *out, const struct segment *segment, const struct segment_record *record,
                    const char *address)
{
    for (uint32_t i = 0; i < segment_column_count(segment); i++) {
        const char *column = segment_column(segment, i);

        if (i > 0)
            (void)fputc(',', out);
        if (record == NULL)
            csv_field(out, column, strlen(column));
        else if (strcasecmp(column, "email") == 0)
            csv_field(out, address, strlen(address));
        else
            csv_field(out, record->field[i].text, record->field[i].length);
    }
    (void)fputs("\r\n", out);
}

int trial_list_write(const char *path, const struct segment *segment, const struct segment_record *record,
                     char *const *address, size_t count, struct hk_why *why)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    int error = HK_ENOMEM;

    if (out != NULL) {
        csv_row(out, segment, NULL, NULL);
        for (size_t i = 0; i < count; i++)
            csv_row(out, segment, record, address[i]);
        if (fclose(out) == 0)
            error = hk_write_file(path, 0600, text, length, why);
    }
    if (error == HK_ENOMEM)
        (void)why_set(why, error, "%s: %s", path, hk_strerror(error));
    free(text);
    return error;
}

/* From the user's list to the test's: read it as `send` does, take its first row. */
static int trial_list(struct trial *t, struct campaign_source *source, char path[PATH_BYTES])
{
    struct import_result list;
    struct segment_record record;
    struct segment *segment = NULL;
    uint32_t first = 0;
    int error = config_path(&t->config, path, PATH_BYTES, "whole.seg");

    if (error < 0)
        return why_set(&t->why, error, "%s: state_dir: the path is too long", t->config.file);
    error = campaign_import(source, path, NULL, &list, &t->why);
    if (error == 0)
        error = segment_open(path, false, &segment, &t->why);
    if (error < 0)
        return error;
    error = preview_first_rows(segment, &first, 1) == 1 ? segment_record(segment, first, &record) : HK_EPROTO;
    if (error < 0)
        (void)why_set(&t->why, error, "%s: the compiled list is damaged", path);
    if (error == 0)
        error = config_path(&t->config, path, PATH_BYTES, "list.csv");
    if (error == 0)
        error = trial_list_write(path, segment, &record, t->address, t->count, &t->why);
    segment_close(segment);
    return error;
}

static int trial_prepare(struct trial *t)
{
    char path[PATH_BYTES];
    struct campaign_source source;
    struct manifest manifest;
    int error =
        campaign_source_open(&t->config, t->id, t->options->list, t->options->message, &source, &t->why);

    source.encoding = t->options->encoding;
    if (error == 0)
        error = trial_list(t, &source, path);
    if (error == 0) {
        source.list_path = path;
        source.encoding = NULL;
        error = campaign_create(&source, t->reach.store, &manifest, &t->why);
    }
    campaign_source_close(&source);
    return error;
}

/* ---- what became of it ---- */

static const char *member(const json_t *event, const char *name)
{
    const char *text = json_string_value(json_object_get(event, name));

    return text != NULL ? text : "";
}

/* The event log of the place, as an array; NULL with errno where it cannot be read. */
static json_t *events_read(const char *log)
{
    FILE *in = fopen(log, "re");
    json_t *events;
    char *line;

    if (in == NULL)
        return NULL;
    events = json_array();
    line = hk_xcalloc(EVENT_LINE_MAX, 1);
    while (fgets(line, EVENT_LINE_MAX, in) != NULL)
        (void)json_array_append_new(events, json_loads(line, 0, NULL));
    (void)fclose(in);
    free(line);
    return events;
}

/* The last event of that type whose member is `value`, or NULL. */
static const json_t *event_find(const json_t *events, const char *type, const char *name, const char *value)
{
    for (size_t i = json_array_size(events); i > 0; i--) {
        const json_t *event = json_array_get(events, i - 1);

        if (strcmp(member(event, "type"), type) == 0 && strcmp(member(event, name), value) == 0)
            return event;
    }
    return NULL;
}

static void reply_print(const json_t *reply)
{
    int code = (int)json_integer_value(json_object_get(reply, "code"));
    const char *text = member(reply, "text");
    char clean[1024 + 1];

    printf(":");
    if (code != 0)
        printf(" %d", code);
    (void)hk_clean_text(clean, sizeof clean, text, strlen(text));
    printf(" %s", clean);
}

/* "ADDRESS: sent (MX): 250 2.0.0 text". True where it was accepted. An address whose site could not be reached has no
 * attempt of its own: the site's says why. */
static bool verdict_print(const json_t *events, const char *address)
{
    const json_t *event = event_find(events, "attempt", "recipient", address);

    if (event == NULL) {
        const json_t *expired = event_find(events, "expired", "recipient", address);

        if (expired != NULL)
            event = event_find(events, "attempt", "site", member(expired, "site"));
    }
    printf("%s: %s", address, event != NULL ? member(event, "outcome") : "not sent");
    if (member(event, "mx")[0] != 0)
        printf(" (%s)", member(event, "mx"));
    if (json_object_get(event, "reply") != NULL)
        reply_print(json_object_get(event, "reply"));
    printf("\n");
    return strcmp(member(event, "outcome"), "sent") == 0;
}

static int trial_send(struct trial *t)
{
    struct process_table processes = {.worker = worker_main, .resolver = resolver_main};
    struct node_options node = {.processes = &processes, .campaign = t->id};
    json_t *events;
    bool all = true;
    int status;

    store_close(t->reach.store);
    t->reach.store = NULL;
    status = node_run(&t->config, &t->reach.place, &node);
    if (status != EXIT_SETTLED && status != EXIT_STOPPED)
        return status;
    events = events_read(t->log);
    if (events == NULL) {
        fprintf(stderr, "%s: cannot be read, so what became of the test is not known: %s\n", t->log,
                strerror(errno));
        return EXIT_NEEDED;
    }
    for (size_t i = 0; i < t->count; i++)
        all = verdict_print(events, t->address[i]) && all;
    json_decref(events);
    return all ? EXIT_SETTLED : EXIT_STOPPED;
}

static void trial_leave(struct trial *t)
{
    struct hk_why why;

    if (t->reached) {
        reach_close(&t->reach);
        if (remove_folder(t->folder, &why) < 0)
            fprintf(stderr, "%s\n", why.text);
    }
    if (t->lock_fd >= 0)
        (void)close(t->lock_fd);
    for (size_t i = 0; i < t->count; i++)
        free(t->address[i]);
    free(t->address);
}

int trial_run(const struct config *config, const struct cli_options *options)
{
    struct trial trial = {.options = options, .lock_fd = -1};
    int status, error = trial_addresses(options->test, &trial.address, &trial.count, &trial.why);

    trial_campaign(options->campaign, clock_wall_us(), trial.id);
    if (error == 0)
        error = trial_lock(&trial, config);
    if (error == 0) {
        trial_configure(&trial, config);
        error = trial_enter(&trial);
    }
    if (error == 0)
        error = trial_prepare(&trial);
    status = error == 0 ? trial_send(&trial) : cli_fail(error, &trial.why);
    if (error < 0 && cli_interrupted())
        status = EXIT_STOPPED;
    trial_leave(&trial);
    return status;
}
