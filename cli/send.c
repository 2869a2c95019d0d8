/* send.c - hikyaku send: make the campaign, see it through, tell what became of it.
 *
 * Where a node runs on this state_dir the campaign is handed to it and followed; else this process becomes the
 * node. Ctrl-C of a follower leaves the campaign running; Ctrl-C of the node drains it.
 */
#include <string.h>
#include <time.h>

#include "ask.h"
#include "campaign.h"
#include "commands.h"
#include "errand.h"
#include "files.h"
#include "format.h"
#include "hikyaku/resolve.h"
#include "preview.h"
#include "progress.h"
#include "report.h"
#include "trial.h"

#define FOLLOW_EVERY_MS 500

struct sending {
    const struct cli_options *options;
    struct config *config;
    struct reach reach;
    struct manifest manifest;
    struct hk_why why;
    uint64_t first_rows; /* of --first; 0: all */
    bool halted;         /* followed until it was paused behind them */
    bool list_is_whole;  /* its segments were compared with the manifest, just now */
};

/* Running, and as far as this command says: who types `send` wants it to go on. A node changes what it has in memory. */
static int go_on(struct sending *s)
{
    struct manifest *m = &s->manifest;
    json_t *reply;
    int error;

    if (m->settled_us != 0 || strcmp(m->state, "cancelled") == 0 ||
        (strcmp(m->state, "running") == 0 && m->first_rows == s->first_rows))
        return 0;
    if (strcmp(m->state, "paused") == 0)
        fprintf(stderr, "hikyaku: campaign '%s' was paused and goes on\n", m->campaign);
    snprintf(m->state, sizeof m->state, "running");
    m->first_rows = s->first_rows;
    if (!s->reach.node_runs)
        return store_campaign_put(s->reach.store, m, &s->why);
    error = errand_do_reached(&s->reach,
                              json_pack("{s:s,s:s,s:I}", "command", "resume", "campaign", m->campaign,
                                        "first", (json_int_t)s->first_rows),
                              &reply, &s->why);
    if (error < 0)
        return error;
    if (errand_status(reply) != EXIT_SETTLED)
        error = why_set(&s->why, HK_EBUSY, "hikyaku: campaign '%s' does not go on", m->campaign);
    json_decref(reply);
    return error;
}

/* Create the campaign, or see that it is the one that was begun. */
static int prepare(struct sending *s)
{
    struct campaign_source source;
    int error = campaign_source_open(s->config, s->options->campaign, s->options->list, s->options->message,
                                     &source, &s->why);
    source.encoding = s->options->encoding;
    if (error == 0) {
        error = store_campaign_get(s->reach.store, s->options->campaign, &s->manifest, &s->why);
        error = node_campaign_is_missing(s->config, s->options->campaign, error, &s->why);
        if (error == HK_ENOENT)
            error = campaign_create(&source, s->reach.store, &s->manifest, &s->why);
        else if (error == 0 && s->options->extend != NULL)
            error = campaign_extend(&source, s->reach.store, &s->manifest, &s->why);
        else if (error == 0) {
            error = campaign_compare(&source, &s->manifest, &s->why);
            s->list_is_whole = error == 0;
        }
    }
    campaign_source_close(&source);
    return error == 0 ? go_on(s) : error;
}

/* The report at the end; a document where --json was given. */
static int print_report(struct sending *s, int status)
{
    char rejected[4096];
    struct report report;
    int error = reach_campaign(&s->reach, s->options->campaign, &s->manifest, &s->why);

    if (error == 0)
        error = report_read(s->reach.store, &s->manifest, &report, &s->why);
    if (error < 0)
        return cli_fail(error, &s->why);
    if (status == EXIT_SETTLED && report_open_count(report.counts) > 0)
        status = EXIT_STOPPED; /* whatever the node thought: Redis knows of some who are left */
    if (s->options->json) {
        error = report_json_print(&report, stdout);
        if (error == HK_EIO)
            error = cli_output_failed(&s->why);
        else if (error < 0)
            error = why_set(&s->why, error, "hikyaku: not enough memory for the report");
        if (error < 0)
            status = cli_fail(error, &s->why);
    } else {
        bool named =
            config_path(s->config, rejected, sizeof rejected, "campaigns/%s/%s", s->options->campaign,
                        s->manifest.segments > 1 ? CAMPAIGN_REJECTED_FILES : CAMPAIGN_REJECTED_FILE) == 0;
        report_text_print(&report, s->config->file, named ? rejected : NULL, stdout);
    }
    report_free(&report);
    return status;
}

static int say_stopped(struct sending *s, const char *how_to_go_on)
{
    uint64_t counts[LEDGER_STATES_COUNT] = {0}, attempts;
    char left[FORMAT_SIZE], whole[FORMAT_SIZE];
    int error = reach_campaign(&s->reach, s->options->campaign, &s->manifest, &s->why);

    if (error == 0)
        error = store_counts(s->reach.store, &s->manifest, counts, &attempts, &s->why);
    if (error < 0)
        return cli_fail(error, &s->why);
    if (strcmp(s->manifest.state, "paused") == 0)
        how_to_go_on = s->first_rows > 0
                           ? "paused behind the first rows; 'hikyaku resume', or the same command without "
                             "--first, goes on"
                           : "paused; 'hikyaku resume' or the same command goes on";
    fprintf(stderr, "stopped: %s of %s left; %s\n", format_count(report_open_count(counts), left),
            format_count(s->manifest.recipients, whole), how_to_go_on);
    return s->options->json ? print_report(s, EXIT_STOPPED) : EXIT_STOPPED;
}

/* This process becomes the node, in the place that it holds already. */
static int run_here(struct sending *s)
{
    struct process_table processes = {.worker = worker_main, .resolver = resolver_main};
    struct progress progress;
    struct node_options node = {.processes = &processes,
                                .campaign = s->options->campaign,
                                .list_is_whole = s->list_is_whole,
                                .progress = progress_show,
                                .context = &progress};
    int status, error;

    store_close(s->reach.store);
    s->reach.store = NULL;
    progress_init(&progress, stderr);
    status = node_run(s->config, &s->reach.place, &node);
    progress_end(&progress);
    if (status != EXIT_SETTLED && status != EXIT_STOPPED)
        return status;
    error = store_open(s->config, &s->reach.store, &s->why);
    if (error < 0 && status == EXIT_STOPPED) {
        fprintf(stderr,
                "stopped; how many are left cannot be told: %s; run the same command again to go on\n",
                s->why.text);
        return EXIT_STOPPED;
    }
    if (error < 0)
        return cli_fail(error, &s->why);
    if (status == EXIT_STOPPED)
        return say_stopped(s, "run the same command again to go on");
    return print_report(s, status);
}

/* One look at the campaign; *settled once nobody is left. HK_EDOWN: the node is gone. */
static int follow_once(struct sending *s, uint64_t since_ms, struct progress *progress, bool *settled,
                       int *status)
{
    struct node_progress now;
    json_t *reply;
    int error = ask_node(s->config, json_pack("{s:s}", "command", "status"), &reply, status, &s->why);

    if (error < 0)
        return error;
    const json_t *campaign = ask_campaign(reply, s->options->campaign);
    if (campaign != NULL) {
        ask_progress(campaign, &now);
        now.elapsed_ms = clock_now_ms() - since_ms;
        progress_show(progress, &now);
        *settled = report_open_count(now.counts) == 0 && json_is_true(json_object_get(campaign, "settled"));
        s->halted = now.paused && s->first_rows > 0;
    } else {
        error = reach_campaign(&s->reach, s->options->campaign, &s->manifest, &s->why);
        *settled = error == 0 && s->manifest.settled_us != 0;
    }
    json_decref(reply);
    return error;
}

/* The node that was followed ended: look at what it left, from its place. */
static int after_the_node(struct sending *s)
{
    reach_close(&s->reach);
    int error = reach_open(s->config, &s->reach, &s->why);
    if (error == 0)
        error = reach_campaign(&s->reach, s->options->campaign, &s->manifest, &s->why);
    if (error < 0)
        return cli_fail(error, &s->why);
    if (s->manifest.settled_us != 0)
        return print_report(s, EXIT_SETTLED);
    return say_stopped(s, "the node that sent it has ended: run the same command again to go on");
}

/* A node that hangs is no node that has ended: it is said, and followed on. */
static int wait_for_answer(struct sending *s, int error, bool *said)
{
    if (error != HK_EDOWN || cli_interrupted() || !node_is_running(s->config)) {
        *said = *said && error != 0;
        return error;
    }
    if (!*said)
        fprintf(stderr, "hikyaku: %s\n", s->why.text);
    *said = true;
    return 0;
}

static int follow(struct sending *s)
{
    struct timespec pause = {.tv_nsec = FOLLOW_EVERY_MS * 1000000L};
    uint64_t since_ms = clock_now_ms();
    struct progress progress;
    json_t *reply, *request = json_pack("{s:s, s:s}", "command", "run", "campaign", s->options->campaign);
    bool settled = false, said = false;
    int status, error = ask_node(s->config, request, &reply, &status, &s->why);

    if (error < 0) {
        fprintf(stderr, "%s\n", s->why.text);
        return status;
    }
    json_decref(reply);
    fprintf(stderr, "hikyaku: a node runs on %s and has the campaign now\n", s->config->state_dir);
    progress_init(&progress, stderr);
    while (error == 0 && !settled && !s->halted && !cli_interrupted()) {
        error = wait_for_answer(s, follow_once(s, since_ms, &progress, &settled, &status), &said);
        if (error == 0 && !settled && !s->halted)
            nanosleep(&pause, NULL);
    }
    progress_end(&progress);
    if (settled)
        return print_report(s, EXIT_SETTLED);
    if (s->halted)
        return say_stopped(s, "");
    if (cli_interrupted()) {
        fprintf(stderr, "hikyaku: no longer following; the node goes on with campaign '%s'\n",
                s->options->campaign);
        return EXIT_STOPPED;
    }
    if (error == HK_EDOWN)
        return after_the_node(s);
    fprintf(stderr, "%s\n", s->why.text);
    return status;
}

/* Everyone is settled; but where another node settled them, one that was stopped here may know better of some. */
static bool is_over(const struct sending *s)
{
    return s->manifest.settled_us != 0 && (s->reach.node_runs || !node_left_untold(s->config));
}

static int send_campaign(struct sending *s)
{
    int status, error = reach_open(s->config, &s->reach, &s->why);

    if (error < 0)
        return cli_fail(error, &s->why);
    error = prepare(s);
    if (error < 0) {
        status = cli_fail(error, &s->why);
        if (cli_interrupted())
            status = EXIT_STOPPED;
    } else if (is_over(s)) {
        fprintf(s->options->json ? stderr : stdout,
                "campaign %s: %s, there is nothing to do; 'hikyaku report' tells what became of it\n",
                s->options->campaign,
                strcmp(s->manifest.state, "cancelled") == 0 ? "it was cancelled" : "everyone is settled");
        status = s->options->json ? print_report(s, EXIT_SETTLED) : EXIT_SETTLED;
    } else if (cli_interrupted()) {
        status = say_stopped(s, "run the same command again to go on");
    } else {
        status = s->reach.node_runs ? follow(s) : run_here(s);
    }
    reach_close(&s->reach);
    return status;
}

/* --dry-run and --test make no campaign, so there is none to report. */
static bool options_agree(const struct cli_options *options)
{
    const char *wrong = NULL;

    if (options->dry_run != NULL && options->test != NULL)
        wrong = "--dry-run and --test: write one of them";
    else if ((options->dry_run != NULL || options->test != NULL) && options->json != NULL)
        wrong = "--json is the report of a campaign, and --dry-run and --test make none; leave it out";
    else if ((options->dry_run != NULL || options->test != NULL) && options->extend != NULL)
        wrong = "--extend is about a campaign, and --dry-run and --test make none; leave it out";
    else if ((options->dry_run != NULL || options->test != NULL) && options->first != NULL)
        wrong = "--first is about a campaign, and --dry-run and --test make none; leave it out";
    if (wrong != NULL)
        fprintf(stderr, "hikyaku send: %s\n", wrong);
    return wrong == NULL;
}

/* "N" of --first: a row number, as reports count rows. */
static bool read_first(const char *text, uint64_t *out)
{
    char *end;

    *out = 0;
    if (text == NULL)
        return true;
    *out = strtoull(text, &end, 10);
    if (text[0] >= '1' && text[0] <= '9' && *end == '\0' && *out <= UINT32_MAX)
        return true;
    fprintf(stderr, "hikyaku send: --first: write a number of rows, 1 or more\n");
    return false;
}

int cmd_send(const struct cli_options *options)
{
    struct sending sending = {.options = options};
    int status;

    if (!cli_campaign_id_check(options->campaign) || !options_agree(options))
        return EXIT_USAGE;
    if (!read_first(options->first, &sending.first_rows) || !cli_standard_input_check(options->list))
        return EXIT_USAGE;
    sending.config = cli_config_load(options->config);
    if (sending.config == NULL)
        return EXIT_USAGE;
    cli_signals_catch();
    if (options->dry_run == NULL && files_check(sending.config, false, &sending.why) < 0)
        status = cli_fail(HK_EINVAL, &sending.why);
    else if (options->dry_run != NULL)
        status = preview_run(sending.config, options);
    else if (options->test != NULL)
        status = trial_run(sending.config, options);
    else
        status = send_campaign(&sending);
    config_free(sending.config);
    return status;
}
