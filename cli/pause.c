/* pause.c - hikyaku pause, resume and cancel: a campaign's state, changed by the node or in its place. */
#include <string.h>

#include "commands.h"
#include "errand.h"
#include "format.h"
#include "report.h"

/* "paused: 120 of 300 sent, 180 left" */
static void say_state(const struct reach *reach, const struct manifest *manifest, const json_t *reply)
{
    const char *note = json_string_value(json_object_get(reply, "note"));
    const char *state = json_string_value(json_object_get(reply, "state"));
    uint64_t counts[LEDGER_STATES_COUNT], attempts;
    char sent[FORMAT_SIZE], whole[FORMAT_SIZE], left[FORMAT_SIZE], off[FORMAT_SIZE];
    struct hk_why why;
    bool counted = store_counts(reach->store, manifest, counts, &attempts, &why) == 0;

    if (counted && report_open_count(counts) == 0 && state != NULL && strcmp(state, "running") == 0)
        state = "settled";
    printf("campaign %s is %s", manifest->campaign, state != NULL ? state : "?");
    if (counted)
        printf(": %s of %s sent, %s left, %s cancelled", format_count(counts[LEDGER_SENT], sent),
               format_count(manifest->recipients, whole), format_count(report_open_count(counts), left),
               format_count(counts[LEDGER_CANCELLED], off));
    printf("%s%s\n", note != NULL ? "; " : "", note != NULL ? note : "");
    if (state != NULL && strcmp(state, "running") == 0 && !reach->node_runs)
        printf("no node runs on %s: 'hikyaku send' or 'hikyaku serve' goes on with it\n",
               reach->config->state_dir);
}

static int change(const struct config *config, const char *command, const char *campaign)
{
    struct manifest manifest;
    struct reach reach;
    struct hk_why why;
    json_t *reply = NULL;
    int status, error = reach_open(config, &reach, &why);

    if (error < 0)
        return cli_fail(error, &why);
    error = reach_campaign(&reach, campaign, &manifest, &why);
    if (error == 0)
        error = errand_do_reached(&reach, json_pack("{s:s,s:s}", "command", command, "campaign", campaign),
                                  &reply, &why);
    if (error < 0) {
        status = cli_fail(error, &why);
    } else {
        status = errand_status(reply);
        if (status == EXIT_SETTLED)
            say_state(&reach, &manifest, reply);
        json_decref(reply);
    }
    reach_close(&reach);
    return status;
}

static int command(const struct cli_options *options, const char *name)
{
    struct config *config;
    int status;

    if (!cli_campaign_id_check(options->campaign))
        return EXIT_USAGE;
    config = cli_config_load(options->config);
    if (config == NULL)
        return EXIT_USAGE;
    status = change(config, name, options->campaign);
    config_free(config);
    return status;
}

int cmd_pause(const struct cli_options *options)
{
    return command(options, "pause");
}

int cmd_resume(const struct cli_options *options)
{
    return command(options, "resume");
}

int cmd_cancel(const struct cli_options *options)
{
    return command(options, "cancel");
}
