/* bounce_held.c - hikyaku bounce held, apply, drop: who is held back because most of a domain became unknown at once. */
#include <string.h>
#include <strings.h>

#include "commands.h"
#include "hikyaku/feedback.h"
#include "suppress.h"

#define PIECE 1000u /* entries that are decided about together */

struct held {
    const struct cli_options *options;
    struct reach reach;
    struct suppress_entry *entry; /* of the piece at hand */
    size_t count, told;
    uint64_t done;
    bool any, suppress; /* apply, and not drop */
    struct hk_why *why;
};

/* Named on the command line: as an address, or as the domain of it. */
static bool is_meant(const struct cli_options *options, const struct suppress_entry *entry)
{
    const char *domain = strrchr(entry->address, '@');

    for (size_t i = 0; i < options->operands; i++)
        if (strcasecmp(options->operand[i], entry->address) == 0 ||
            (domain != NULL && strcasecmp(options->operand[i], domain + 1) == 0))
            return true;
    return options->operands == 0;
}

static int print_held(void *context, const struct suppress_entry *entry)
{
    struct held *held = context;
    char since[CLOCK_RFC3339_SIZE];

    if (!is_meant(held->options, entry))
        return 0;
    held->any = true;
    clock_rfc3339(entry->time_us, since);
    return printf("%s: held since %s%s%s\n", entry->address, since, entry->evidence[0] != '\0' ? ": " : "",
                  entry->evidence) < 0
               ? cli_output_failed(held->why)
               : 0;
}

static int collect(void *context, const struct suppress_entry *entry)
{
    struct held *held = context;

    if (!is_meant(held->options, entry))
        return 0;
    held->entry[held->count++] = *entry;
    return held->count == PIECE ? 1 : 0;
}

static int next_held(void *context, struct suppress_entry *out, struct hk_why *why)
{
    struct held *held = context;

    (void)why;
    if (held->told == held->count)
        return 0;
    *out = held->entry[held->told++];
    return 1;
}

static int decided(void *context, const struct suppress_entry *entry, bool was_held, struct hk_why *why)
{
    struct held *held = context;

    held->done += was_held;
    if (!was_held)
        return 0;
    return printf("%s: %s\n", entry->address,
                  held->suppress ? "now suppressed" : "not suppressed, and no longer held") < 0
               ? cli_output_failed(why)
               : 0;
}

static int decide(struct held *held)
{
    const struct changes changes = {.change = held->suppress ? SUPPRESS_APPLIED : SUPPRESS_DROPPED,
                                    .most = PIECE,
                                    .next = next_held,
                                    .told = decided,
                                    .context = held};

    held->told = 0;
    return suppress_change(&held->reach, &changes, held->why);
}

/* A piece is walked, then decided about: what goes while a walk is under way may be missed by it. */
static int decide_all(struct held *held)
{
    int rc, error;

    do {
        held->count = 0;
        rc = feedback_held_walk(held->reach.store, collect, held, held->why);
        error = rc >= 0 && held->count > 0 ? decide(held) : 0;
    } while (rc > 0 && error == 0);
    return rc < 0 ? rc : error;
}

static int with_state(const struct cli_options *options, bool suppress, int (*act)(struct held *held))
{
    struct hk_why why = {""};
    struct held held = {.options = options, .suppress = suppress, .why = &why};
    struct config *config = cli_config_load(options->config);
    int error;

    if (config == NULL)
        return EXIT_USAGE;
    held.entry = hk_xcalloc(PIECE, sizeof *held.entry);
    error = reach_open(config, &held.reach, &why);
    if (error == 0) {
        error = act(&held);
        reach_close(&held.reach);
    }
    free(held.entry);
    config_free(config);
    return error < 0 ? cli_fail(error, &why) : EXIT_SETTLED;
}

static int list_all(struct held *held)
{
    int error = feedback_held_walk(held->reach.store, print_held, held, held->why);

    if (error == 0 && !held->any)
        printf("nobody is held\n");
    return error;
}

static int apply_all(struct held *held)
{
    int error = decide_all(held);

    if (error == 0 && held->done == 0)
        printf("nobody of these is held\n");
    return error;
}

int cmd_bounce_held(const struct cli_options *options)
{
    return with_state(options, false, list_all);
}

static int settle(const struct cli_options *options, const char *name, bool suppress)
{
    if ((options->all != NULL) == (options->operands > 0)) {
        fprintf(stderr, "hikyaku bounce %s: name the addresses or domains, or write --all\n", name);
        return EXIT_USAGE;
    }
    return with_state(options, suppress, apply_all);
}

int cmd_bounce_apply(const struct cli_options *options)
{
    return settle(options, "apply", true);
}

int cmd_bounce_drop(const struct cli_options *options)
{
    return settle(options, "drop", false);
}
