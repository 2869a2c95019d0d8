/* campaigns.c - hikyaku campaigns list, purge and restore: what there is, and how it goes away again.
 *
 * docs/campaigns.schema.json is the shape of list --json. A purge takes the ledger out of Redis first and the files
 * after it: cut off between the two, a new campaign of that name writes over them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "campaign.h"
#include "commands.h"
#include "errand.h"
#include "format.h"
#include "report.h"

#define CAMPAIGNS_SCHEMA 1
#define FOLDER_DEPTH_MAX 8 /* a campaign's folder has one folder in it, preview */

/* ---- list ---- */

static json_t *json_of_time(uint64_t wall_us)
{
    time_t at = (time_t)(wall_us / 1000000u);
    char text[32];
    struct tm tm;

    if (wall_us == 0 || gmtime_r(&at, &tm) == NULL)
        return json_null();
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

/* Running is what it may do; once everyone is settled there is nothing left of that. */
static const char *state_of(const struct manifest *manifest)
{
    return manifest->settled_us != 0 && strcmp(manifest->state, "running") == 0 ? "settled" : manifest->state;
}

static int add_campaign(const struct reach *reach, const char *name, json_t *array, struct hk_why *why)
{
    uint64_t counts[LEDGER_STATES_COUNT], attempts;
    json_t *of_counts = json_object();
    struct manifest manifest;
    int error = store_campaign_get(reach->store, name, &manifest, why);

    if (error == 0)
        error = store_counts(reach->store, &manifest, counts, &attempts, why);
    for (int state = 0; state < LEDGER_STATES_COUNT && error == 0; state++)
        json_object_set_new(of_counts, ledger_state_name((enum ledger_state)state),
                            json_integer((json_int_t)counts[state]));
    if (error == 0 && json_array_append_new(
                          array, json_pack("{s:s,s:s,s:I,s:O,s:o,s:o}", "campaign", name, "state",
                                           state_of(&manifest), "recipients", (json_int_t)manifest.recipients,
                                           "counts", of_counts, "created", json_of_time(manifest.created_us),
                                           "settled", json_of_time(manifest.settled_us))) < 0)
        error = why_set(why, HK_ENOMEM, "hikyaku: not enough memory");
    json_decref(of_counts);
    return error;
}

/* *lost: of reach_lost(), with its words. */
static int read_all(const struct config *config, json_t *array, int *lost, struct hk_why *why)
{
    struct reach reach;
    size_t count = 0;
    char **name = NULL;
    int error = reach_open(config, &reach, why);

    if (error < 0)
        return error;
    error = store_campaign_list(reach.store, &name, &count, why);
    for (size_t i = 0; i < count; i++) {
        if (error == 0)
            error = add_campaign(&reach, name[i], array, why);
        free(name[i]);
    }
    free((void *)name);
    *lost = error == 0 ? reach_lost(&reach, why) : 0;
    reach_close(&reach);
    return error;
}

static void print_text(const json_t *array)
{
    const json_t *campaign;
    size_t i;

    if (json_array_size(array) == 0) {
        printf("no campaigns\n");
        return;
    }
    printf("%-28s %-10s %13s %13s %13s  %-20s  %s\n", "campaign", "state", "recipients", "sent", "left",
           "created", "settled");
    json_array_foreach(array, i, campaign)
    {
        const json_t *counts = json_object_get(campaign, "counts");
        const char *settled = json_string_value(json_object_get(campaign, "settled"));
        const char *created = json_string_value(json_object_get(campaign, "created"));
        uint64_t count[LEDGER_STATES_COUNT];
        char whole[FORMAT_SIZE], sent[FORMAT_SIZE], left[FORMAT_SIZE];
        for (int state = 0; state < LEDGER_STATES_COUNT; state++)
            count[state] = (uint64_t)json_integer_value(
                json_object_get(counts, ledger_state_name((enum ledger_state)state)));
        printf("%-28s %-10s %13s %13s %13s  %-20s  %s\n",
               json_string_value(json_object_get(campaign, "campaign")),
               json_string_value(json_object_get(campaign, "state")),
               format_count((uint64_t)json_integer_value(json_object_get(campaign, "recipients")), whole),
               format_count(count[LEDGER_SENT], sent), format_count(report_open_count(count), left),
               created ? created : "", settled ? settled : "-");
    }
}

int cmd_campaigns_list(const struct cli_options *options)
{
    struct config *config = cli_config_load(options->config);
    json_t *array, *document;
    struct hk_why why;
    int error, lost = 0;

    if (config == NULL)
        return EXIT_USAGE;
    array = json_array();
    error = read_all(config, array, &lost, &why);
    if (error == 0 && options->json) {
        document = json_pack("{s:i,s:O}", "schema", CAMPAIGNS_SCHEMA, "campaigns", array);
        if (document == NULL)
            error = why_set(&why, HK_ENOMEM, "hikyaku: not enough memory");
        else if (json_dumpf(document, stdout, JSON_INDENT(2)) < 0 || fputc('\n', stdout) == EOF)
            error = cli_output_failed(&why);
        json_decref(document);
    } else if (error == 0) {
        print_text(array);
    }
    json_decref(array);
    config_free(config);
    if (error == 0)
        error = lost;
    return error < 0 ? cli_fail(error, &why) : EXIT_SETTLED;
}

/* ---- purge ---- */

/* A folder of ours and what is in it; never through a link. HK_EIO with errno. */
static int remove_folder(int parent, const char *name, int depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const struct dirent *entry;
    DIR *folder;
    int error = 0;

    if (fd < 0)
        return errno == ENOENT ? 0 : HK_EIO;
    folder = depth > 0 ? fdopendir(fd) : NULL;
    if (folder == NULL) {
        close(fd);
        return HK_EIO;
    }
    while (error == 0 && (entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, entry->d_name, 0) != 0)
            error = errno == EISDIR || errno == EPERM ? remove_folder(fd, entry->d_name, depth - 1) : HK_EIO;
    }
    closedir(folder);
    if (error == 0 && unlinkat(parent, name, AT_REMOVEDIR) != 0)
        error = HK_EIO;
    return error;
}

static int remove_files(const struct config *config, const char *campaign, struct hk_why *why)
{
    char path[4096];

    if (config_path(config, path, sizeof path, "campaigns/%s", campaign) < 0)
        return why_set(why, HK_ETOOBIG, "%s: state_dir: the path is too long", config->file);
    if (remove_folder(AT_FDCWD, path, FOLDER_DEPTH_MAX) != 0)
        return why_set(why, HK_EIO, "%s: cannot be removed: %s", path, strerror(errno));
    return 0;
}

/* First of all: from here on a new campaign may have the name, wherever the purge is cut off. */
static int forget_kept(const struct config *config, const char *campaign, struct hk_why *why)
{
    char path[4096];

    if (config_path(config, path, sizeof path, "campaigns/%s/" CAMPAIGN_MANIFEST_FILE, campaign) < 0)
        return why_set(why, HK_ETOOBIG, "%s: state_dir: the path is too long", config->file);
    if (unlink(path) != 0 && errno != ENOENT)
        return why_set(why, HK_EIO, "%s: cannot be removed: %s", path, strerror(errno));
    return 0;
}

/* A running node lets go of it first, so that nothing is written after the purge. */
static int let_go(struct reach *reach, const char *campaign, int *status, struct hk_why *why)
{
    json_t *reply;
    int error;

    *status = EXIT_SETTLED;
    if (!reach->node_runs)
        return 0;
    error = errand_do_reached(reach, json_pack("{s:s,s:s}", "command", "forget", "campaign", campaign),
                              &reply, why);
    if (error < 0)
        return error;
    *status = errand_status(reply);
    json_decref(reply);
    return 0;
}

/* Of a campaign that Redis has forgotten. */
static int purge_files(const struct config *config, const char *campaign)
{
    struct hk_why why;
    int error = remove_files(config, campaign, &why);

    if (error == 0)
        printf("campaign %s: Redis knew nothing of it; its files are removed\n", campaign);
    return error < 0 ? cli_fail(error, &why) : EXIT_SETTLED;
}

static int purge(const struct config *config, const char *campaign, bool force)
{
    struct manifest manifest;
    struct reach reach;
    struct hk_why why;
    int status = EXIT_SETTLED, error = reach_open(config, &reach, &why);

    if (error < 0)
        return cli_fail(error, &why);
    error = store_campaign_get(reach.store, campaign, &manifest, &why);
    if (error == HK_ENOENT && force) {
        reach_close(&reach);
        return purge_files(config, campaign);
    }
    if (error == HK_ENOENT)
        error = reach_campaign(&reach, campaign, &manifest, &why);
    if (error == 0 && manifest.settled_us == 0 && !force)
        error = why_set(&why, HK_EINVAL,
                        "hikyaku: campaign '%s' is not settled; 'hikyaku cancel' it first, or write --force",
                        campaign);
    if (error == 0)
        error = let_go(&reach, campaign, &status, &why);
    if (error == 0 && status == EXIT_SETTLED)
        error = forget_kept(config, campaign, &why);
    if (error == 0 && status == EXIT_SETTLED)
        error = store_campaign_purge(reach.store, &manifest, &why);
    if (error == 0 && status == EXIT_SETTLED)
        error = remove_files(config, campaign, &why);
    reach_close(&reach);
    if (error == 0 && status == EXIT_SETTLED)
        printf("campaign %s is purged\n", campaign);
    return error < 0 ? cli_fail(error, &why) : status;
}

int cmd_campaigns_purge(const struct cli_options *options)
{
    struct config *config;
    int status;

    if (!cli_campaign_id_check(options->campaign))
        return EXIT_USAGE;
    config = cli_config_load(options->config);
    if (config == NULL)
        return EXIT_USAGE;
    status = purge(config, options->campaign, options->force != NULL);
    config_free(config);
    return status;
}

/* ---- restore ---- */

static int restore_reached(struct reach *reach, const char *campaign, struct hk_why *why)
{
    struct manifest manifest;
    json_t *reply = NULL;
    bool anew = false;
    int status, error = 0;

    if (reach->node_runs)
        error = why_set(why, HK_EBUSY, "hikyaku: a node runs on %s: stop it first", reach->config->state_dir);
    if (error == 0)
        error = node_journal_reaches(reach->config, campaign, why);
    if (error == 0)
        error = campaign_rebuild(reach->config, campaign, reach->store, &manifest, &anew, why);
    if (error == 0)
        error = errand_do_reached(reach, json_pack("{s:s,s:s}", "command", "restore", "campaign", campaign),
                                  &reply, why);
    if (error < 0)
        return cli_fail(error, why);
    status = errand_status(reply);
    if (status == EXIT_SETTLED)
        printf("campaign %s: told Redis %lld lines of the event log again; it is %s%s\n", campaign,
               (long long)json_integer_value(json_object_get(reply, "told")),
               json_string_value(json_object_get(reply, "state")),
               anew ? " (restore it on every other node that sent it before 'hikyaku resume')" : "");
    json_decref(reply);
    return status;
}

int cmd_campaigns_restore(const struct cli_options *options)
{
    struct config *config;
    struct reach reach;
    struct hk_why why;
    int status, error;

    if (!cli_campaign_id_check(options->campaign))
        return EXIT_USAGE;
    config = cli_config_load(options->config);
    if (config == NULL)
        return EXIT_USAGE;
    error = reach_open(config, &reach, &why);
    if (error < 0) {
        status = cli_fail(error, &why);
    } else {
        status = restore_reached(&reach, options->campaign, &why);
        reach_close(&reach);
    }
    config_free(config);
    return status;
}
