/* unknown.c - hikyaku unknown list and settle: the recipients of whom nobody knows whether they have the message. */
#include <string.h>
#include <strings.h>

#include "commands.h"
#include "errand.h"
#include "events.h"
#include "roll.h"

#define LOG_BYTES UINT64_MAX /* of the current event log: all */

struct unknown {
    const struct cli_options *options;
    const struct config *config;
    struct reach reach;
    struct manifest manifest;
    struct segment *segment;
    uint32_t *index; /* of the unknown ones, rising */
    size_t count, room;
    struct hk_why why;
};

static int note_unknown(void *context, uint32_t segment, uint32_t index, uint32_t word)
{
    struct unknown *u = context;

    (void)segment;
    if (ledger_unpack(word).state != LEDGER_UNKNOWN || index >= segment_count(u->segment))
        return 0;
    if (u->count == u->room) {
        size_t room = u->room > 0 ? u->room * 2 : 256;
        uint32_t *larger = realloc(u->index, room * sizeof *larger);
        if (larger == NULL)
            return why_set(&u->why, HK_ENOMEM, "hikyaku: not enough memory for so many unknown ones");
        u->index = larger;
        u->room = room;
    }
    u->index[u->count++] = index;
    return 0;
}

static int find_unknown(struct unknown *u)
{
    int error = reach_campaign(&u->reach, u->options->campaign, &u->manifest, &u->why);

    if (error == 0)
        error = roll_open(u->config, &u->manifest, &u->segment, &u->why);
    if (error == 0)
        error = store_ledger_walk(u->reach.store, &u->manifest, note_unknown, u, &u->why);
    return error;
}

/* ---- list ---- */

static int by_index(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

struct lines {
    const struct unknown *unknown;
    json_t **event; /* the newest of each unknown one, or NULL */
};

static void note_event(void *context, const json_t *line)
{
    struct lines *lines = context;
    const char *outcome = json_string_value(json_object_get(line, "outcome"));
    json_int_t number = json_integer_value(json_object_get(line, "index"));
    uint32_t index = (uint32_t)number;
    const uint32_t *at;

    if (outcome == NULL || strcmp(outcome, "unknown") != 0)
        return;
    at = bsearch(&index, lines->unknown->index, lines->unknown->count, sizeof index, by_index);
    if (at == NULL || number != (json_int_t)index)
        return;
    json_decref(lines->event[at - lines->unknown->index]);
    lines->event[at - lines->unknown->index] = json_incref((json_t *)(uintptr_t)line);
}

static const char *word_of(const json_t *event, const char *key)
{
    return json_string_value(json_object_get(event, key));
}

static int print_one(struct unknown *u, uint32_t index, const json_t *event)
{
    struct segment_record record;
    const char *when = word_of(event, "time"), *mx = word_of(event, "mx");
    json_t *line;
    bool written;

    if (segment_record(u->segment, index, &record) != 0)
        return why_set(&u->why, HK_EPROTO, "hikyaku: recipient %u: the list is damaged", index);
    if (u->options->json == NULL) {
        written = printf("%-40.*s  %-27s  %s\n", (int)record.email_length, record.email, when ? when : "-",
                         mx ? mx : "-") >= 0;
        return written ? 0 : cli_output_failed(&u->why);
    }
    line = json_pack("{s:s%,s:I,s:I,s:s?,s:s?}", "recipient", record.email, (size_t)record.email_length,
                     "index", (json_int_t)index, "row", (json_int_t)record.row, "time", when, "mx", mx);
    if (line == NULL)
        return why_set(&u->why, HK_ENOMEM, "hikyaku: not enough memory");
    written = json_dumpf(line, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;
    json_decref(line);
    return written ? 0 : cli_output_failed(&u->why);
}

static int list_unknown(struct unknown *u)
{
    struct lines lines = {.unknown = u};
    int error = find_unknown(u);

    if (error < 0)
        return error;
    lines.event = hk_xcalloc(u->count + 1, sizeof(json_t *));
    if (u->count > 0)
        events_scan(u->config, LOG_BYTES, u->manifest.campaign, "\"unknown\"", note_event, &lines);
    for (size_t i = 0; i < u->count; i++) {
        if (error == 0)
            error = print_one(u, u->index[i], lines.event[i]);
        json_decref(lines.event[i]);
    }
    free((void *)lines.event);
    if (error == 0 && u->count == 0 && u->options->json == NULL)
        printf("nobody is unknown in campaign %s\n", u->manifest.campaign);
    return error;
}

/* ---- settle ---- */

/* Only the named ones of those that are unknown. A name that is not in the list is an error before anything changes. */
static int keep_named(struct unknown *u)
{
    size_t kept = 0;

    for (size_t i = 0; i < u->options->operands; i++) {
        struct address address;
        uint32_t index, *at;
        int error = roll_address(u->options->operand[i], &address, &u->why);
        if (error < 0)
            return error;
        if (!roll_find(u->segment, &address, &index))
            return why_set(&u->why, HK_EINVAL, "hikyaku: %s is not in the list of campaign '%s'",
                           address.text, u->manifest.campaign);
        at = u->count > kept ? bsearch(&index, u->index + kept, u->count - kept, sizeof index, by_index)
                             : NULL;
        if (at == NULL) {
            fprintf(stderr, "hikyaku: %s is not unknown, and stays as it is\n", address.text);
            continue;
        }
        /* To the front, and the rest stays in order. */
        memmove(u->index + kept + 1, u->index + kept, (size_t)(at - (u->index + kept)) * sizeof index);
        u->index[kept++] = index;
    }
    u->count = kept;
    return 0;
}

static int settle_some(struct unknown *u, size_t from, size_t count, uint64_t *changed, int *status)
{
    json_t *array = json_array(), *reply;
    int error;

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_integer(u->index[from + i]));
    error = errand_do_reached(&u->reach,
                              json_pack("{s:s,s:s,s:s,s:o}", "command", "unknown", "campaign",
                                        u->manifest.campaign, "as", u->options->as, "index", array),
                              &reply, &u->why);
    if (error < 0)
        return error;
    *status = errand_status(reply);
    *changed += (uint64_t)json_integer_value(json_object_get(reply, "changed"));
    json_decref(reply);
    return 0;
}

static int settle_unknown(struct unknown *u, int *status)
{
    uint64_t changed = 0;
    int error = find_unknown(u);

    if (error == 0 && u->options->all == NULL)
        error = keep_named(u);
    for (size_t i = 0; i < u->count && error == 0 && *status == EXIT_SETTLED; i += ERRAND_INDEXES)
        error = settle_some(u, i, u->count - i < ERRAND_INDEXES ? u->count - i : ERRAND_INDEXES, &changed,
                            status);
    if (error < 0)
        return error;
    printf("%llu of campaign %s are %s now\n", (unsigned long long)changed, u->manifest.campaign,
           u->options->as);
    if (changed > 0 && strcmp(u->options->as, "pending") == 0)
        printf("'hikyaku send' sends to them again\n");
    return 0;
}

static int with_campaign(const struct cli_options *options, int (*act)(struct unknown *u, int *status))
{
    struct unknown u = {.options = options};
    struct config *config;
    int error, status = EXIT_SETTLED;

    if (!cli_campaign_id_check(options->campaign))
        return EXIT_USAGE;
    config = cli_config_load(options->config);
    if (config == NULL)
        return EXIT_USAGE;
    u.config = config;
    error = reach_open(config, &u.reach, &u.why);
    if (error == 0) {
        error = act(&u, &status);
        reach_close(&u.reach);
    }
    if (u.segment != NULL)
        segment_close(u.segment);
    free(u.index);
    config_free(config);
    return error < 0 ? cli_fail(error, &u.why) : status;
}

static int act_list(struct unknown *u, int *status)
{
    (void)status;
    return list_unknown(u);
}

int cmd_unknown_list(const struct cli_options *options)
{
    return with_campaign(options, act_list);
}

int cmd_unknown_settle(const struct cli_options *options)
{
    if (strcmp(options->as, "sent") != 0 && strcmp(options->as, "bounced") != 0 &&
        strcmp(options->as, "pending") != 0) {
        fprintf(stderr, "hikyaku unknown settle: write --as sent, --as bounced or --as pending\n");
        return EXIT_USAGE;
    }
    if ((options->all != NULL) == (options->operands > 0)) {
        fprintf(stderr, "hikyaku unknown settle: name the addresses, or write --all\n");
        return EXIT_USAGE;
    }
    return with_campaign(options, settle_unknown);
}
