/* why.c - hikyaku why: what became of one address, in each campaign whose list is on this machine, and why.
 *
 * The ledger in Redis says the state; the event log, as far back as WHY_LOG_BYTES, the replies in words.
 * docs/why.schema.json is the shape of --json.
 */
#include <string.h>
#include <strings.h>
#include <time.h>

#include <jansson.h>

#include "commands.h"
#include "events.h"
#include "roll.h"

#define WHY_SCHEMA    1
#define WHY_LOG_BYTES (64u * 1024 * 1024)
#define WHY_EVENTS    5u

struct asked {
    const struct config *config;
    struct reach reach;
    struct address address;
    json_t *found; /* array of campaigns */
    struct hk_why why;
};

struct newest {
    json_t *array;
    const char *recipient;
};

static void keep_newest(void *context, const json_t *line)
{
    struct newest *newest = context;
    const char *recipient = json_string_value(json_object_get(line, "recipient"));

    if (recipient == NULL || strcasecmp(recipient, newest->recipient) != 0)
        return;
    json_array_append(newest->array, (json_t *)(uintptr_t)line);
    if (json_array_size(newest->array) > WHY_EVENTS)
        json_array_remove(newest->array, 0);
}

static json_t *events_of(const struct config *config, const char *campaign, const char *recipient)
{
    struct newest newest = {.array = json_array(), .recipient = recipient};

    events_scan(config, WHY_LOG_BYTES, campaign, recipient, keep_newest, &newest);
    return newest.array;
}

/* A host that cannot be reached is one line for the site, not one for each recipient that it puts back. */
struct put_back {
    const char *site;
    struct ledger_word word;
    json_t *newest;
};

static void keep_put_back(void *context, const json_t *line)
{
    struct put_back *back = context;
    const char *site = json_string_value(json_object_get(line, "site"));
    const char *class_name = json_string_value(json_object_get(line, "class"));
    const json_t *code = json_object_get(json_object_get(line, "reply"), "code");

    if (json_object_get(line, "recipients") == NULL || json_object_get(line, "recipient") != NULL ||
        site == NULL || strcmp(site, back->site) != 0 || class_name == NULL ||
        strcmp(class_name, reply_class_name(back->word.reply_class)) != 0 ||
        json_integer_value(code) != back->word.code)
        return;
    json_decref(back->newest);
    back->newest = json_incref((json_t *)(uintptr_t)line);
}

/* The last try of his site, where that is what the ledger says of him, in its place among the lines about himself. */
static void add_put_back(const struct config *config, const char *site, struct ledger_word word,
                         json_t *events)
{
    struct put_back back = {.site = site, .word = word};
    const char *when;
    size_t at;

    if (site == NULL || (word.state != LEDGER_DEFERRED && word.state != LEDGER_EXPIRED) ||
        word.reply_class <= CLASS_NONE || word.reply_class >= CLASSES)
        return;
    events_scan(config, WHY_LOG_BYTES, NULL, site, keep_put_back, &back);
    when = json_string_value(json_object_get(back.newest, "time"));
    for (at = json_array_size(events); when != NULL && at > 0; at--) {
        const char *before = json_string_value(json_object_get(json_array_get(events, at - 1), "time"));
        if (before != NULL && strcmp(before, when) <= 0)
            break;
    }
    if (when != NULL)
        json_array_insert(events, at, back.newest);
    if (json_array_size(events) > WHY_EVENTS)
        json_array_remove(events, 0);
    json_decref(back.newest);
}

struct site_of {
    uint32_t domain;
    json_t *name;
};

static void note_site(void *context, uint32_t segment, uint32_t domain, const char *site)
{
    struct site_of *of = context;

    (void)segment;
    if (domain != of->domain)
        return;
    json_decref(of->name);
    of->name = json_string(site);
}

static json_t *json_of_time(const struct manifest *manifest, uint32_t seconds)
{
    time_t at = (time_t)(manifest->created_us / 1000000u + seconds);
    char text[32];
    struct tm tm;

    if (seconds == 0 || gmtime_r(&at, &tm) == NULL)
        return json_null();
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

static const char *campaign_state(const struct manifest *manifest)
{
    return manifest->settled_us != 0 && strcmp(manifest->state, "cancelled") != 0 ? "settled"
                                                                                  : manifest->state;
}

static json_t *describe(struct asked *asked, const struct manifest *manifest,
                        const struct segment_record *record, uint32_t index, uint32_t packed, uint32_t due_s,
                        uint32_t first_s)
{
    struct ledger_word word = ledger_unpack(packed);
    bool has_class = word.reply_class > CLASS_NONE && word.reply_class < CLASSES;
    char *recipient = hk_xasprintf("%.*s", (int)record->email_length, record->email);
    struct site_of site = {.domain = record->domain, .name = NULL};
    json_t *object, *events;

    if (word.state != LEDGER_DEFERRED)
        due_s = 0;
    if (store_sites(asked->reach.store, manifest, note_site, &site, &asked->why) != 0)
        site.name = NULL;
    events = events_of(asked->config, manifest->campaign, recipient);
    add_put_back(asked->config, json_string_value(site.name), word, events);
    object = json_pack(
        "{s:s,s:s,s:s,s:I,s:I,s:s,s:i,s:s?,s:o,s:o,s:o,s:o,s:o}", "campaign", manifest->campaign,
        "campaign_state", campaign_state(manifest), "recipient", recipient, "index", (json_int_t)index, "row",
        (json_int_t)record->row, "state",
        word.state < LEDGER_STATES_COUNT ? ledger_state_name((enum ledger_state)word.state) : "?", "attempts",
        (int)word.attempts, "class", has_class ? reply_class_name(word.reply_class) : NULL, "code",
        word.code ? json_integer(word.code) : json_null(), "first_attempt", json_of_time(manifest, first_s),
        "next_attempt", json_of_time(manifest, due_s), "site", site.name ? site.name : json_null(), "events",
        events);
    free(recipient);
    return object;
}

/* One campaign; one whose list is not here is passed over unless it was named. */
static int look(struct asked *asked, const struct manifest *manifest, bool named)
{
    struct segment *segment;
    struct segment_record record;
    uint32_t index, word, due_s, first_s;
    int error = roll_open(asked->config, manifest, &segment, &asked->why);

    if (error < 0)
        return named ? error : 0;
    if (roll_find(segment, &asked->address, &index) && segment_record(segment, index, &record) == 0) {
        uint32_t span = segment_span_of(segment, index);
        error =
            store_recipient(asked->reach.store, manifest->campaign, 0, span,
                            index - segment_span(segment, span).first, &word, &due_s, &first_s, &asked->why);
        if (error == 0)
            json_array_append_new(asked->found,
                                  describe(asked, manifest, &record, index, word, due_s, first_s));
    }
    segment_close(segment);
    return error;
}

static int look_everywhere(struct asked *asked)
{
    struct manifest manifest;
    char **name;
    size_t count;
    int error = store_campaign_list(asked->reach.store, &name, &count, &asked->why);

    if (error < 0)
        return error;
    for (size_t i = 0; i < count; i++) {
        if (error == 0)
            error = store_campaign_get(asked->reach.store, name[i], &manifest, &asked->why);
        if (error == 0)
            error = look(asked, &manifest, false);
        free(name[i]);
    }
    free((void *)name);
    return error;
}

/* Not every mail that came back is a bounce; of one, what it was taken for, and so what it did. */
static void print_came_back(const json_t *event)
{
    const char *kind = json_string_value(json_object_get(event, "kind"));
    const char *class_name = json_string_value(json_object_get(event, "class"));
    const char *disposition = json_string_value(json_object_get(event, "disposition"));

    fputs(kind != NULL ? kind : "bounce", stdout);
    if ((kind == NULL || strcmp(kind, "bounce") == 0) && class_name != NULL && disposition != NULL)
        printf(" (%s, %s)", class_name, disposition);
}

static void print_event(const json_t *event)
{
    const json_t *reply = json_object_get(event, "reply");
    const char *time_text = json_string_value(json_object_get(event, "time"));
    const char *outcome = json_string_value(json_object_get(event, "outcome"));
    const char *type = json_string_value(json_object_get(event, "type"));
    const char *phase = json_string_value(json_object_get(event, "phase"));
    const char *mx = json_string_value(json_object_get(event, "mx"));
    const char *mx_ip = json_string_value(json_object_get(event, "mx_ip"));
    json_int_t recipients = json_integer_value(json_object_get(event, "recipients"));
    const char *text = json_string_value(json_object_get(reply, "text"));
    json_int_t code = json_integer_value(json_object_get(reply, "code"));
    char clean[512];

    hk_clean_text(clean, sizeof clean, text ? text : "", text ? strlen(text) : 0);
    printf("    %s  ", time_text ? time_text : "");
    if (type != NULL && strcmp(type, "bounce") == 0)
        print_came_back(event);
    else
        fputs(outcome ? outcome : type ? type : "", stdout);
    if (phase != NULL)
        printf(" in %s", phase);
    if (mx != NULL || mx_ip != NULL)
        printf(" at %s", mx != NULL ? mx : mx_ip);
    if (recipients > 1)
        printf(", with %lld other%s", (long long)recipients - 1, recipients == 2 ? "" : "s");
    if (code != 0)
        printf(": %lld %s", (long long)code, clean);
    else if (clean[0] != '\0')
        printf(": %s", clean);
    putchar('\n');
}

static void print_found(const json_t *found)
{
    const json_t *events = json_object_get(found, "events"), *event;
    const char *class_name = json_string_value(json_object_get(found, "class"));
    const char *next = json_string_value(json_object_get(found, "next_attempt"));
    const char *site = json_string_value(json_object_get(found, "site"));
    json_int_t code = json_integer_value(json_object_get(found, "code"));
    json_int_t attempts = json_integer_value(json_object_get(found, "attempts"));
    size_t i;

    printf("campaign %s (%s): %s is %s", json_string_value(json_object_get(found, "campaign")),
           json_string_value(json_object_get(found, "campaign_state")),
           json_string_value(json_object_get(found, "recipient")),
           json_string_value(json_object_get(found, "state")));
    printf(" after %lld attempt%s", (long long)attempts, attempts == 1 ? "" : "s");
    if (code != 0)
        printf(", last reply %lld", (long long)code);
    if (class_name != NULL)
        printf(" (%s)", class_name);
    if (site != NULL)
        printf(", site %s", site);
    if (next != NULL)
        printf(", next attempt %s", next);
    putchar('\n');
    json_array_foreach(events, i, event) print_event(event);
}

static int show(struct asked *asked, bool as_json)
{
    const json_t *found;
    size_t i;

    if (as_json) {
        json_t *document = json_pack("{s:i,s:s,s:O}", "schema", WHY_SCHEMA, "address", asked->address.text,
                                     "campaigns", asked->found);
        if (document == NULL)
            return why_set(&asked->why, HK_ENOMEM, "hikyaku: not enough memory");
        bool written = json_dumpf(document, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF;
        json_decref(document);
        return written ? 0 : cli_output_failed(&asked->why);
    }
    if (json_array_size(asked->found) == 0)
        printf("%s is in no campaign whose list is on this machine\n", asked->address.text);
    json_array_foreach(asked->found, i, found) print_found(found);
    return 0;
}

static int why_address(struct asked *asked, const struct cli_options *options)
{
    struct manifest manifest;
    struct hk_why lost_why;
    int lost = 0, error = reach_open(asked->config, &asked->reach, &asked->why);

    if (error < 0)
        return error;
    if (options->campaign == NULL) {
        error = look_everywhere(asked);
    } else {
        error = reach_campaign(&asked->reach, options->campaign, &manifest, &asked->why);
        if (error == 0)
            error = look(asked, &manifest, true);
    }
    if (error == 0)
        lost = reach_lost(&asked->reach, &lost_why);
    reach_close(&asked->reach);
    if (error == 0)
        error = show(asked, options->json != NULL);
    if (error == 0 && lost != 0)
        asked->why = lost_why;
    return error == 0 ? lost : error;
}

int cmd_why(const struct cli_options *options)
{
    struct asked asked = {.found = NULL};
    struct config *config;
    int error;

    if (strchr(options->operand[0], '@') == NULL) {
        fprintf(stderr, "hikyaku why: write an ADDRESS; 'hikyaku status' and 'hikyaku report' tell about "
                        "campaigns and sites\n");
        return EXIT_USAGE;
    }
    if (options->campaign != NULL && !cli_campaign_id_check(options->campaign))
        return EXIT_USAGE;
    error = roll_address(options->operand[0], &asked.address, &asked.why);
    if (error < 0)
        return cli_fail(error, &asked.why);
    config = cli_config_load(options->config);
    if (config == NULL)
        return EXIT_USAGE;
    asked.config = config;
    asked.found = json_array();
    error = why_address(&asked, options);
    json_decref(asked.found);
    config_free(config);
    return error < 0 ? cli_fail(error, &asked.why) : EXIT_SETTLED;
}
