/* cli.c - what the commands share: configuration, failures, signals, the way to the state. */
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void cli_signals_catch(void)
{
    process_stop_catch();
}

bool cli_interrupted(void)
{
    return process_stop_asked();
}

static void set_log_level(const char *name)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    for (size_t i = 0; name != NULL && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            log_threshold = (enum log_level)i;
}

struct config *cli_config_load(const char *path)
{
    struct config *config;
    struct hk_why why;
    if (config_load(path, &config, &why) < 0) {
        fprintf(stderr, "%s\n", why.text);
        return NULL;
    }
    set_log_level(config->log_level);
    return config;
}

static bool output_failure_told;

int cli_output_failed(struct hk_why *why)
{
    output_failure_told = true;
    if (errno != EPIPE)
        return why_set(why, HK_EIO, "hikyaku: cannot write to standard output: %s", strerror(errno));
    why->text[0] = '\0';
    return HK_EIO;
}

int cli_output_end(int status)
{
    bool failed = ferror(stdout) != 0;
    struct hk_why why;

    errno = EIO; /* of a write that failed long ago and is not tried again */
    failed = fflush(stdout) != 0 || failed;
    if (!failed)
        return status;
    return output_failure_told ? EXIT_NEEDED : cli_fail(cli_output_failed(&why), &why);
}

int cli_fail(int error, const struct hk_why *why)
{
    if (why->text[0] != '\0')
        fprintf(stderr, "%s\n", why->text);
    if (error == HK_EBUSY && cli_interrupted())
        return EXIT_STOPPED; /* told to stop while it waited for something */
    switch (error) {
    case HK_EINVAL:
    case HK_ENOENT:
    case HK_EEXIST:
    case HK_ETOOBIG:
    case HK_EPROTO:
    case HK_ECHANGED:
        return EXIT_USAGE;
    default:
        return EXIT_NEEDED;
    }
}

bool cli_standard_input_check(const char *list)
{
    if (strcmp(list, "-") != 0 || !isatty(STDIN_FILENO))
        return true;
    fprintf(stderr, "hikyaku: --list - reads the list from standard input, which is a terminal; write "
                    "'... --list - < FILE', or pipe the list in\n");
    return false;
}

bool cli_campaign_id_check(const char *text)
{
    char clean[CAMPAIGN_ID_MAX + 16];
    if (campaign_id_is_valid(text))
        return true;
    hk_clean_text(clean, sizeof clean, text, strlen(text));
    fprintf(
        stderr,
        "hikyaku: '%s' is no campaign ID: write 1 to 64 letters, digits, '.', '_' or '-', beginning with a "
        "letter or digit\n",
        clean);
    return false;
}

static void pause_ms(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void say_waiting(const struct hk_why *why)
{
    fprintf(stderr, "hikyaku: %s: waiting for it, %u s at most\n", why->text, CLI_PLACE_WAIT_MS / 1000);
}

int cli_enter(const struct config *config, struct node_place *place, struct hk_why *why)
{
    int error = node_enter(config, CLI_PLACE_QUIET_MS, place, why);

    if (error != HK_EBUSY || cli_interrupted())
        return error;
    say_waiting(why);
    return node_enter(config, CLI_PLACE_WAIT_MS - CLI_PLACE_QUIET_MS, place, why);
}

/* A node that is just starting holds the lock before it answers, and one that ends holds it a little longer
 * than it answers: so both ways are tried in turn. */
int reach_open(const struct config *config, struct reach *out, struct hk_why *why)
{
    uint64_t until_ms = clock_now_ms() + CLI_PLACE_WAIT_MS;
    bool said = false;
    int error;

    *out = (struct reach){.config = config};
    for (;;) {
        out->node_runs = node_is_running(config);
        if (out->node_runs)
            break;
        error = node_enter(config, CLI_PLACE_QUIET_MS, &out->place, why);
        if (error == 0)
            break;
        if (error != HK_EBUSY || clock_now_ms() >= until_ms || cli_interrupted())
            return error;
        if (!said)
            say_waiting(why);
        said = true;
        pause_ms(100);
    }
    error = store_open(config, &out->store, why);
    if (error < 0)
        reach_close(out);
    return error;
}

void reach_close(struct reach *reach)
{
    if (reach->store != NULL)
        store_close(reach->store);
    reach->store = NULL;
    if (!reach->node_runs)
        node_leave(reach->config, &reach->place);
}

bool reach_node_ended(const struct reach *reach)
{
    return reach->node_runs && !node_is_running(reach->config);
}

int reach_campaign(const struct reach *reach, const char *campaign, struct manifest *out, struct hk_why *why)
{
    int error = store_campaign_get(reach->store, campaign, out, why);
    error = node_campaign_is_missing(reach->config, campaign, error, why);
    if (error == HK_ENOENT)
        return why_set(why, HK_ENOENT,
                       "hikyaku: there is no campaign '%s'; 'hikyaku status --config %s' lists what there is",
                       campaign, reach->config->file);
    return error;
}

int reach_lost(const struct reach *reach, struct hk_why *why)
{
    char *path = hk_xasprintf("%s/campaigns", reach->config->state_dir);
    DIR *folder = opendir(path);
    const struct dirent *entry;
    struct manifest manifest;
    int error = 0;

    free(path);
    while (error == 0 && folder != NULL && (entry = readdir(folder)) != NULL) {
        if (!campaign_id_is_valid(entry->d_name))
            continue;
        error = store_campaign_get(reach->store, entry->d_name, &manifest, why);
        error = node_campaign_is_missing(reach->config, entry->d_name, error, why);
        if (error != HK_EDOWN)
            error = 0; /* what else is wrong with it, whoever asks for it is told */
    }
    if (folder != NULL)
        closedir(folder);
    return error;
}
