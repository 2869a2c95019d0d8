/* status.c - hikyaku status: the node, its processes, and every campaign's figures.
 *
 * The running node tells of itself and of what it sends; the other campaigns come from Redis. Without a node
 * all comes from Redis. docs/status.schema.json is the shape of --json.
 */
#include <string.h>

#include "ask.h"
#include "commands.h"
#include "format.h"
#include "report.h"

#define STATUS_SCHEMA 1

static json_t *json_of_counts(const uint64_t counts[LEDGER_STATES_COUNT])
{
    json_t *object = json_object();
    for (int state = 0; state < LEDGER_STATES_COUNT; state++)
        json_object_set_new(object, ledger_state_name((enum ledger_state)state),
                            json_integer((json_int_t)counts[state]));
    return object;
}

/* {campaign, paused, counts, rate} from what Redis holds; nothing sends it now, so its rate is 0. */
static int stored_campaign(const struct reach *reach, const char *name, json_t **out, struct hk_why *why)
{
    uint64_t counts[LEDGER_STATES_COUNT] = {0}, attempts;
    struct manifest manifest;
    int error = store_campaign_get(reach->store, name, &manifest, why);

    if (error == 0)
        error = store_counts(reach->store, &manifest, counts, &attempts, why);
    if (error < 0)
        return error;
    *out = json_pack("{s:s, s:b, s:o, s:f}", "campaign", name, "paused",
                     strcmp(manifest.state, "paused") == 0, "counts", json_of_counts(counts), "rate", 0.0);
    return *out ? 0 : why_set(why, HK_ENOMEM, "hikyaku: not enough memory");
}

/* What the node told about one campaign, in the shape of the schema and no more. */
static json_t *told_campaign(const json_t *told)
{
    struct node_progress now;
    ask_progress(told, &now);
    return json_pack("{s:s, s:b, s:o, s:f}", "campaign", now.campaign, "paused", now.paused, "counts",
                     json_of_counts(now.counts), "rate", now.rate);
}

/* One campaign into the array: the node's word for it where the node has it. */
static int add_campaign(const struct reach *reach, const json_t *reply, const char *name, json_t *array,
                        struct hk_why *why)
{
    const json_t *told = reply ? ask_campaign(reply, name) : NULL;
    json_t *element = NULL;
    int error = 0;

    if (told != NULL)
        element = told_campaign(told);
    else
        error = stored_campaign(reach, name, &element, why);
    if (error == 0 && json_array_append_new(array, element) < 0)
        error = why_set(why, HK_ENOMEM, "hikyaku: not enough memory");
    return error;
}

static int add_all_campaigns(const struct reach *reach, const json_t *reply, json_t *array,
                             struct hk_why *why)
{
    char **name;
    size_t count;
    int error = store_campaign_list(reach->store, &name, &count, why);

    if (error < 0)
        return error;
    for (size_t i = 0; i < count; i++) {
        if (error == 0)
            error = add_campaign(reach, reply, name[i], array, why);
        free(name[i]);
    }
    free(name);
    return error;
}

static json_t *no_node_document(json_t *campaigns)
{
    return json_pack("{s:i, s:n, s:{s:n, s:[], s:n, s:n}, s:o}", "schema", STATUS_SCHEMA, "node", "pids",
                     "master", "workers", "resolver", "redis", "campaigns", campaigns);
}

static json_t *node_document(const json_t *reply, json_t *campaigns)
{
    return json_pack("{s:i, s:O, s:O, s:o}", "schema", STATUS_SCHEMA, "node", json_object_get(reply, "node"),
                     "pids", json_object_get(reply, "pids"), "campaigns", campaigns);
}

/* *silent: a node runs and does not answer, which `silence` tells; what Redis knows is shown all the same. */
static int make_document(const struct reach *reach, const char *only, json_t **out, bool *silent,
                         struct hk_why *silence, struct hk_why *why)
{
    json_t *reply = NULL, *campaigns = json_array();
    struct manifest manifest;
    int ignored, error = 0;

    if (reach->node_runs)
        error = ask_node(reach->config, json_pack("{s:s}", "command", "status"), &reply, &ignored, silence);
    *silent = error == HK_EDOWN;
    if (error < 0 && !*silent)
        *why = *silence;
    if (*silent)
        error = 0;
    if (error == 0 && only != NULL)
        error = reach_campaign(reach, only, &manifest, why);
    if (error == 0)
        error = only ? add_campaign(reach, reply, only, campaigns, why)
                     : add_all_campaigns(reach, reply, campaigns, why);
    if (error < 0) {
        json_decref(campaigns);
    } else {
        *out = reply ? node_document(reply, campaigns) : no_node_document(campaigns);
        if (*out == NULL)
            error = why_set(why, HK_EPROTO, "hikyaku: the node's status lacks its name or its processes");
    }
    json_decref(reply);
    return error;
}

static void print_node(const struct config *config, const json_t *document, bool silent, FILE *out)
{
    static const char *const front[] = {"inbound", "web"}; /* those that are configured */
    const json_t *pids = json_object_get(document, "pids");
    const char *node = json_string_value(json_object_get(document, "node"));

    if (node == NULL) {
        fprintf(out, silent ? "a node on %s does not answer; Redis says:\n" : "no node runs on %s\n",
                config->state_dir);
        return;
    }
    fprintf(out, "node %s: master %lld, %zu workers, resolver %lld", node,
            (long long)json_integer_value(json_object_get(pids, "master")),
            json_array_size(json_object_get(pids, "workers")),
            (long long)json_integer_value(json_object_get(pids, "resolver")));
    if (json_is_integer(json_object_get(pids, "redis")))
        fprintf(out, ", redis %lld", (long long)json_integer_value(json_object_get(pids, "redis")));
    else
        fputs(", redis external", out);
    for (size_t i = 0; i < sizeof front / sizeof front[0]; i++)
        if (json_object_get(pids, front[i]) != NULL)
            fprintf(out, ", %s %lld", front[i],
                    (long long)json_integer_value(json_object_get(pids, front[i])));
    fputc('\n', out);
}

static void print_campaign(const json_t *campaign, FILE *out)
{
    char whole[FORMAT_SIZE], done[FORMAT_SIZE], sent[FORMAT_SIZE], deferred[FORMAT_SIZE],
        bounced[FORMAT_SIZE];
    char unknown[FORMAT_SIZE], rate[FORMAT_SIZE];
    struct node_progress now;

    ask_progress(campaign, &now);
    fprintf(
        out, "%-28s %13s %13s %13s %10s %9s %9s %10s%s\n", now.campaign, format_count(now.recipients, whole),
        format_count(now.recipients - report_open_count(now.counts), done),
        format_count(now.counts[LEDGER_SENT], sent), format_count(now.counts[LEDGER_DEFERRED], deferred),
        format_count(now.counts[LEDGER_BOUNCED], bounced), format_count(now.counts[LEDGER_UNKNOWN], unknown),
        format_rate(now.rate, rate), now.paused ? "  paused" : "");
}

static void print_text(const struct config *config, const json_t *document, bool silent, FILE *out)
{
    const json_t *campaigns = json_object_get(document, "campaigns"), *campaign;
    size_t i;

    print_node(config, document, silent, out);
    if (json_array_size(campaigns) == 0) {
        fprintf(out, "no campaigns\n");
        return;
    }
    fprintf(out, "\n%-28s %13s %13s %13s %10s %9s %9s %10s\n", "campaign", "recipients", "settled", "sent",
            "deferred", "bounced", "unknown", "a second");
    json_array_foreach(campaigns, i, campaign) print_campaign(campaign, out);
}

/* What one look saw. */
struct seen {
    json_t *document;
    bool silent; /* a node runs and does not answer; silence has the words */
    bool ended;  /* the node that was found ended while it was asked, and its Redis may have too */
    struct hk_why silence;
    int lost; /* as of reach_lost */
};

static int look(const struct config *config, const char *only, struct seen *seen, struct hk_why *why)
{
    struct reach reach;
    int error = reach_open(config, &reach, why);

    *seen = (struct seen){0};
    if (error < 0)
        return error;
    error = make_document(&reach, only, &seen->document, &seen->silent, &seen->silence, why);
    if (error == 0 && only == NULL)
        seen->lost = reach_lost(&reach, why);
    seen->ended = (seen->silent || error == HK_EDOWN || seen->lost == HK_EDOWN) && reach_node_ended(&reach);
    reach_close(&reach);
    return error;
}

int cmd_status(const struct cli_options *options)
{
    struct config *config;
    struct seen seen;
    struct hk_why why;
    int error;

    if (options->campaign != NULL && !cli_campaign_id_check(options->campaign))
        return EXIT_USAGE;
    config = cli_config_load(options->config);
    if (config == NULL)
        return EXIT_USAGE;
    error = look(config, options->campaign, &seen, &why);
    if (seen.ended) { /* what it left is the answer */
        json_decref(seen.document);
        error = look(config, options->campaign, &seen, &why);
    }
    if (error == 0 && options->json) {
        if (json_dumpf(seen.document, stdout, JSON_INDENT(2)) < 0 || fputc('\n', stdout) == EOF)
            error = cli_output_failed(&why);
    } else if (error == 0) {
        print_text(config, seen.document, seen.silent, stdout);
    }
    json_decref(seen.document);
    config_free(config);
    if (seen.silent)
        fprintf(stderr, "hikyaku: %s\n", seen.silence.text);
    if (error == 0)
        error = seen.lost;
    if (error < 0)
        return cli_fail(error, &why);
    return seen.silent ? EXIT_NEEDED : EXIT_SETTLED;
}
