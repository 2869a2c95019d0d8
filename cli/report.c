/* report.c - hikyaku report: what became of a campaign, from Redis alone.
 *
 * --recipients needs the campaign's compiled list on this machine as well: Redis knows recipients by number
 * only.
 */
#include <string.h>

#include "report.h"
#include "roll.h"

#include <jansson.h>

#include "cli.h"
#include "commands.h"
#include "hikyaku/segment.h"

#define PATH_BYTES 4096

struct listing {
    struct segment *segment;
    struct hk_why *why;
};

static json_t *json_of_recipient(const struct segment_record *record, uint32_t index, struct ledger_word word)
{
    const char *class_name = word.reply_class > CLASS_NONE && word.reply_class < CLASSES
                                 ? reply_class_name(word.reply_class)
                                 : NULL;
    return json_pack("{s:s%, s:I, s:I, s:s, s:i, s:s?, s:o}", "recipient", record->email,
                     (size_t)record->email_length, "index", (json_int_t)index, "row", (json_int_t)record->row,
                     "state", ledger_state_name((enum ledger_state)word.state), "attempts",
                     (int)word.attempts, "class", class_name, "code",
                     word.code ? json_integer(word.code) : json_null());
}

static int print_recipient(void *context, uint32_t segment, uint32_t index, uint32_t packed)
{
    struct listing *listing = context;
    struct ledger_word word = ledger_unpack(packed);
    struct segment_record record;
    json_t *line;
    int written;

    (void)segment; /* the ledger counts all segments of a list as one */
    if (index >= segment_count(listing->segment) || word.state >= LEDGER_STATES_COUNT ||
        segment_record(listing->segment, index, &record) < 0)
        return why_set(listing->why, HK_EPROTO,
                       "hikyaku: recipient %u: list and ledger do not fit each other", index);
    line = json_of_recipient(&record, index, word);
    if (line == NULL)
        return why_set(listing->why, HK_ENOMEM, "hikyaku: not enough memory");
    written = json_dumpf(line, stdout, JSON_COMPACT);
    json_decref(line);
    if (written < 0 || fputc('\n', stdout) == EOF)
        return cli_output_failed(listing->why);
    return 0;
}

static int print_recipients(const struct reach *reach, const struct manifest *manifest, struct hk_why *why)
{
    struct listing listing = {.why = why};
    int error = roll_open(reach->config, manifest, &listing.segment, why);

    if (error < 0)
        return error;
    error = store_ledger_walk(reach->store, manifest, print_recipient, &listing, why);
    segment_close(listing.segment);
    return error;
}

static int print_summary(const struct reach *reach, const struct manifest *manifest, bool as_json,
                         struct hk_why *why)
{
    char rejected[PATH_BYTES];
    struct report report;
    int error = report_read(reach->store, manifest, &report, why);

    if (error < 0)
        return error;
    if (as_json) {
        error = report_json_print(&report, stdout);
        if (error == HK_EIO)
            error = cli_output_failed(why);
        else if (error < 0)
            error = why_set(why, error, "hikyaku: not enough memory for the report");
    } else {
        bool named =
            config_path(reach->config, rejected, sizeof rejected, "campaigns/%s/%s", manifest->campaign,
                        manifest->segments > 1 ? CAMPAIGN_REJECTED_FILES : CAMPAIGN_REJECTED_FILE) == 0;
        report_text_print(&report, reach->config->file, named ? rejected : NULL, stdout);
    }
    report_free(&report);
    return error;
}

static int report_campaign(const struct config *config, const struct cli_options *options, struct hk_why *why)
{
    struct manifest manifest;
    struct reach reach;
    int error = reach_open(config, &reach, why);

    if (error < 0)
        return error;
    error = reach_campaign(&reach, options->campaign, &manifest, why);
    if (error == 0)
        error = options->recipients ? print_recipients(&reach, &manifest, why)
                                    : print_summary(&reach, &manifest, options->json != NULL, why);
    reach_close(&reach);
    return error;
}

int cmd_report(const struct cli_options *options)
{
    struct config *config;
    struct hk_why why;
    int error;

    if (options->json && options->recipients) {
        fprintf(stderr, "hikyaku report: write either --json or --recipients (which is JSON too)\n");
        return EXIT_USAGE;
    }
    if (!cli_campaign_id_check(options->campaign))
        return EXIT_USAGE;
    config = cli_config_load(options->config);
    if (config == NULL)
        return EXIT_USAGE;
    error = report_campaign(config, options, &why);
    config_free(config);
    return error < 0 ? cli_fail(error, &why) : EXIT_SETTLED;
}
