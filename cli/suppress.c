/* suppress.c - hikyaku suppress add | remove | check: who must not be written to, one address or a few. */
#include "suppress.h"

#include <string.h>

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

/* ---- what the three commands have in common ---- */

struct job {
    const struct cli_options *options;
    struct scopes scopes;
    struct reach reach;
    bool suppressed; /* check has found one */
};

typedef int (*job_fn)(struct job *job, struct hk_why *why);
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

static int each_address(struct job *job, address_fn fn, struct hk_why *why)
{
    int error = 0;

    for (size_t i = 0; i < job->options->operands && error >= 0; i++) {
        const char *address = job->options->operand[i];
        char shown[ADDRESS_MAX + 1];
        hk_clean_text(shown, sizeof shown, address, strlen(address));
        error = fn(job, address, shown, why);
    }
    return error < 0 ? error : 0;
}

static int run(const struct cli_options *options, const char *scope, job_fn fn)
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
        error = fn(&job, &why);
        reach_close(&job.reach);
    }
    status = error < 0 ? cli_fail(error, &why) : job.suppressed ? EXIT_STOPPED : EXIT_SETTLED;
    config_free(config);
    return status;
}

/* ---- add and remove ---- */

#define AT_ONCE 256u /* entries in one request */

/* Each address in each of the scopes, one after the other. */
struct by_hand {
    struct job *job;
    size_t at, told; /* entries that were made, and that were answered */
    bool *changed;   /* of each */
};

static int next_entry(void *context, struct suppress_entry *out, struct hk_why *why)
{
    struct by_hand *b = context;
    const struct cli_options *options = b->job->options;
    const struct scopes *scopes = &b->job->scopes;

    (void)why;
    if (b->at == options->operands * scopes->count)
        return 0;
    *out = (struct suppress_entry){.source = "command", .time_us = clock_wall_us()};
    snprintf(out->scope, sizeof out->scope, "%s", scopes->name[b->at % scopes->count]);
    snprintf(out->address, sizeof out->address, "%s", options->operand[b->at++ / scopes->count]);
    snprintf(out->reason, sizeof out->reason, "%s", options->reason ? options->reason : "manual");
    return 1;
}

static int note_changed(void *context, const struct suppress_entry *entry, bool changed, struct hk_why *why)
{
    struct by_hand *b = context;

    (void)entry;
    (void)why;
    b->changed[b->told++] = changed;
    return 0;
}

/* changed[i * scopes + k]: the address i in the scope k; the caller's. NULL: why says why not. */
static bool *change_all(struct job *job, enum suppress_change change, struct hk_why *why)
{
    struct by_hand b = {.job = job};
    const struct changes changes = {
        .change = change, .most = AT_ONCE, .next = next_entry, .told = note_changed, .context = &b};

    b.changed = hk_xcalloc(job->options->operands * job->scopes.count, sizeof *b.changed);
    if (suppress_change(&job->reach, &changes, why) == 0)
        return b.changed;
    free(b.changed);
    return NULL;
}

static int show_added(struct job *job, size_t operand, bool added, struct hk_why *why)
{
    const char *address = job->options->operand[operand], *scope = job->scopes.name[0];
    struct suppress_entry there;
    char shown[ADDRESS_MAX + 1];
    int rc;

    hk_clean_text(shown, sizeof shown, address, strlen(address));
    if (added) {
        printf("%s: now suppressed in %s\n", shown, scope);
        return 0;
    }
    rc = suppress_find(job->reach.store, scope, address, &there, why);
    if (rc == 1)
        print_entry(shown, "was suppressed already", &there);
    return rc < 0 ? rc : 0;
}

static int add_all(struct job *job, struct hk_why *why)
{
    bool *added = change_all(job, SUPPRESS_ADDED, why);
    int error = added != NULL ? 0 : HK_EDOWN;

    for (size_t i = 0; i < job->options->operands && error == 0; i++)
        error = show_added(job, i, added[i], why);
    free(added);
    return error;
}

int suppress_reason_check(const char *command, const char *reason, struct hk_why *why)
{
    struct suppress_entry entry = {.scope = "all", .address = "a@example.com"};
    struct hk_why words;

    if (strlen(reason) >= sizeof entry.reason)
        return why_set(why, HK_EINVAL, "hikyaku %s: a reason has at most %zu letters", command,
                       sizeof entry.reason - 1);
    snprintf(entry.reason, sizeof entry.reason, "%s", reason);
    if (suppress_entry_check(&entry, &words) == 0)
        return 0;
    return why_set(why, HK_EINVAL, "hikyaku %s: %s", command, words.text);
}

int cmd_suppress_add(const struct cli_options *options)
{
    struct hk_why why;
    int error = 0;

    if (options->reason != NULL)
        error = suppress_reason_check("suppress add", options->reason, &why);
    if (error < 0)
        return cli_fail(error, &why);
    return run(options, options->scope != NULL ? options->scope : "all", add_all);
}

static void show_removed(const struct job *job, size_t operand, const bool *removed)
{
    const char *address = job->options->operand[operand];
    char shown[ADDRESS_MAX + 1];
    bool any = false;

    hk_clean_text(shown, sizeof shown, address, strlen(address));
    for (size_t k = 0; k < job->scopes.count; k++) {
        if (removed[k])
            printf("%s: no longer suppressed in %s\n", shown, job->scopes.name[k]);
        any = any || removed[k];
    }
    if (!any)
        printf("%s: was not suppressed\n", shown);
}

static int remove_all(struct job *job, struct hk_why *why)
{
    bool *removed = change_all(job, SUPPRESS_REMOVED, why);

    if (removed == NULL)
        return HK_EDOWN;
    for (size_t i = 0; i < job->options->operands; i++)
        show_removed(job, i, removed + i * job->scopes.count);
    free(removed);
    return 0;
}

int cmd_suppress_remove(const struct cli_options *options)
{
    return run(options, options->scope, remove_all);
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

static int check_all(struct job *job, struct hk_why *why)
{
    return each_address(job, check_one, why);
}

int cmd_suppress_check(const struct cli_options *options)
{
    return run(options, options->scope, check_all);
}
