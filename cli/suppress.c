/* suppress.c - hikyaku suppress add | remove | check: who must not be written to, one address or a few. */
#include "suppress.h"

#include <string.h>

#include "ask.h"
#include "commands.h"
#include "hikyaku/feedback.h"

int suppress_scopes(const struct config *config, const char *typed, struct scopes *out, struct hk_why *why)
{
    static const struct {
        const char *name;
        enum suppress_scope_kind kind;
    } kinds[] = {{"all", SUPPRESS_ALL}, {"sender", SUPPRESS_SENDER}, {"list", SUPPRESS_LIST}};

    out->count = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        int error;
        if (typed != NULL ? strcmp(typed, kinds[i].name) != 0
                          : kinds[i].kind == SUPPRESS_LIST && config->sender.list_id == NULL)
            continue;
        error = suppress_scope(config, kinds[i].kind, out->name[out->count], why);
        if (error < 0)
            return error;
        out->count++;
    }
    if (out->count == 0)
        return why_set(why, HK_EINVAL,
                       "hikyaku suppress: there is no such scope; write --scope all, --scope sender or "
                       "--scope list");
    return 0;
}

int suppress_tell_node(const struct reach *reach, struct hk_why *why)
{
    bool more = reach->node_runs;

    while (more) {
        json_t *reply;
        int status;
        int error =
            ask_node(reach->config, json_pack("{s:s}", "command", "suppress-poll"), &reply, &status, why);
        if (error == HK_EDOWN && !node_is_running(reach->config))
            return 0; /* it has ended: the next one reads it */
        if (error < 0)
            return error;
        more = json_is_true(json_object_get(reply, "more"));
        json_decref(reply);
    }
    return 0;
}

/* ---- what the three commands have in common ---- */

struct job {
    const struct cli_options *options;
    struct scopes scopes;
    struct reach reach;
    bool suppressed; /* check has found one */
};

typedef int (*address_fn)(struct job *job, const char *address, const char *shown, struct hk_why *why);

static void print_entry(const char *shown, const char *verb, const struct suppress_entry *entry)
{
    const bool ended = suppress_has_ended(entry, clock_wall_us());
    char since[CLOCK_RFC3339_SIZE], last[CLOCK_RFC3339_SIZE], until[CLOCK_RFC3339_SIZE];

    clock_rfc3339(entry->time_us, since);
    clock_rfc3339(entry->last_us, last);
    clock_rfc3339((uint64_t)entry->until_s * 1000000u, until);
    printf("%s: %s in %s (%s, since %s%s%s%s%s, from %s%s%s)\n", shown, verb, entry->scope, entry->reason,
           since, entry->last_us != 0 ? ", last " : "", entry->last_us != 0 ? last : "",
           entry->until_s == 0 ? ""
           : ended             ? ", ended "
                               : ", ends ",
           entry->until_s != 0 ? until : "", entry->source, entry->evidence[0] != '\0' ? ": " : "",
           entry->evidence);
}

static void print_soft(void *context, const struct cfg_soft *soft, uint32_t count, uint64_t last_s)
{
    const char *shown = context;
    char last[CLOCK_RFC3339_SIZE];

    clock_rfc3339(last_s * 1000000u, last);
    if (soft->count > 0)
        printf("%s: %u of %u soft bounces (%s, last %s)\n", shown, count, soft->count, soft->reply_class,
               last);
    else
        printf("%s: %u soft bounces (%s, last %s)\n", shown, count, soft->reply_class, last);
}

/* All addresses are read before the first is changed: a slip of the pen changes nothing. */
static int check_addresses(const struct cli_options *options, struct hk_why *why)
{
    struct address parsed;
    struct hk_why reason;
    char shown[ADDRESS_MAX + 1];

    for (size_t i = 0; i < options->operands; i++) {
        const char *text = options->operand[i];
        if (address_parse(text, strlen(text), &parsed, &reason) == 0)
            continue;
        hk_clean_text(shown, sizeof shown, text, strlen(text));
        return why_set(why, HK_EINVAL, "hikyaku suppress: '%s' is no address: %s", shown, reason.text);
    }
    return 0;
}

static int each_address(struct job *job, address_fn fn, bool changes, struct hk_why *why)
{
    int error = 0;

    for (size_t i = 0; i < job->options->operands && error >= 0; i++) {
        const char *address = job->options->operand[i];
        char shown[ADDRESS_MAX + 1];
        hk_clean_text(shown, sizeof shown, address, strlen(address));
        error = fn(job, address, shown, why);
    }
    if (error >= 0 && changes)
        error = suppress_tell_node(&job->reach, why);
    return error < 0 ? error : 0;
}

static int run(const struct cli_options *options, const char *scope, address_fn fn, bool changes)
{
    struct job job = {.options = options};
    struct config *config = cli_config_load(options->config);
    struct hk_why why;
    int error, status;

    if (config == NULL)
        return EXIT_USAGE;
    error = suppress_scopes(config, scope, &job.scopes, &why);
    if (error == 0)
        error = check_addresses(options, &why);
    if (error == 0)
        error = reach_open(config, &job.reach, &why);
    if (error == 0) {
        error = each_address(&job, fn, changes, &why);
        reach_close(&job.reach);
    }
    status = error < 0 ? cli_fail(error, &why) : job.suppressed ? EXIT_STOPPED : EXIT_SETTLED;
    config_free(config);
    return status;
}

/* ---- add ---- */

static int add_one(struct job *job, const char *address, const char *shown, struct hk_why *why)
{
    const char *scope = job->scopes.name[0];
    struct suppress_entry entry = {.source = "command", .time_us = clock_wall_us()}, there;
    struct hk_why reason;
    int rc;

    snprintf(entry.scope, sizeof entry.scope, "%s", scope);
    snprintf(entry.address, sizeof entry.address, "%s", address);
    snprintf(entry.reason, sizeof entry.reason, "%s", job->options->reason ? job->options->reason : "manual");
    if (suppress_entry_check(&entry, &reason) != 0)
        return why_set(why, HK_EINVAL, "hikyaku suppress add: %s: %s", shown, reason.text);
    rc = suppress_add(job->reach.store, &entry, why);
    if (rc == 1)
        printf("%s: now suppressed in %s\n", shown, scope);
    if (rc != 0)
        return rc;
    rc = suppress_find(job->reach.store, scope, address, &there, why);
    if (rc == 1)
        print_entry(shown, "was suppressed already", &there);
    return rc;
}

int cmd_suppress_add(const struct cli_options *options)
{
    return run(options, options->scope != NULL ? options->scope : "all", add_one, true);
}

/* ---- remove ---- */

static int remove_one(struct job *job, const char *address, const char *shown, struct hk_why *why)
{
    bool any = false;

    for (size_t i = 0; i < job->scopes.count; i++) {
        int rc = suppress_remove(job->reach.store, job->scopes.name[i], address, why);
        if (rc < 0)
            return rc;
        if (rc == 1)
            printf("%s: no longer suppressed in %s\n", shown, job->scopes.name[i]);
        any = any || rc == 1;
    }
    if (!any)
        printf("%s: was not suppressed\n", shown);
    return 0;
}

int cmd_suppress_remove(const struct cli_options *options)
{
    return run(options, options->scope, remove_one, true);
}

/* ---- check ---- */

/* Each scope that he is in: who came back and unsubscribed as well is told of both. */
static int check_one(struct job *job, const char *address, const char *shown, struct hk_why *why)
{
    struct suppress_entry entry;
    bool found = false;

    for (size_t i = 0; i < job->scopes.count; i++) {
        int rc = suppress_find(job->reach.store, job->scopes.name[i], address, &entry, why);
        if (rc < 0)
            return rc;
        if (rc == 0)
            continue;
        if (suppress_has_ended(&entry, clock_wall_us())) {
            print_entry(shown, "was suppressed", &entry);
            continue;
        }
        print_entry(shown, "suppressed", &entry);
        found = true;
    }
    job->suppressed = job->suppressed || found;
    if (found)
        return 0;
    printf("%s: not suppressed\n", shown);
    return feedback_soft(job->reach.store, job->reach.config, address, print_soft, (void *)(uintptr_t)shown,
                         why);
}

int cmd_suppress_check(const struct cli_options *options)
{
    return run(options, options->scope, check_one, false);
}
