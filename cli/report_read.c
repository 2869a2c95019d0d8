/* report_read.c - read what became of a campaign from the ledger: by state, by site, by class.
 *
 * The ledger knows recipients by index and sites by domain; the domain table's first indexes join the two.
 */
#include "report.h"

#include <string.h>

#define NO_SITE 0u /* report_site[0] while reading: what has no site yet */

struct domain_site {
    uint32_t domain;
    char *name;
};

struct reading {
    struct report *report;
    struct domain_site *found; /* what store_sites told */
    size_t found_count, found_room;
    bool out_of_memory;
    uint32_t *first;   /* index of each domain's first recipient */
    uint32_t *site_of; /* index into report->site of each domain */
    uint32_t domains;
    uint32_t at_domain; /* where the walk is */
    struct hk_why *why;
};

uint64_t report_open_count(const uint64_t counts[LEDGER_STATES_COUNT])
{
    return counts[LEDGER_PENDING] + counts[LEDGER_SENDING] + counts[LEDGER_DEFERRED];
}

static void on_site(void *context, uint32_t segment, uint32_t domain, const char *site)
{
    struct reading *reading = context;

    (void)segment; /* the ledger counts all segments of a list as one */
    if (reading->found_count == reading->found_room) {
        size_t room = reading->found_room ? reading->found_room * 2 : 1024;
        struct domain_site *grown = realloc(reading->found, room * sizeof *grown);
        if (grown == NULL) {
            reading->out_of_memory = true;
            return;
        }
        reading->found = grown;
        reading->found_room = room;
    }
    char *name = strdup(site);
    if (name == NULL) {
        reading->out_of_memory = true;
        return;
    }
    reading->found[reading->found_count++] = (struct domain_site){.domain = domain, .name = name};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct domain_site *)a)->name, ((const struct domain_site *)b)->name);
}

/* One report_site for each distinct name, in the order of names: read_domains walks both together. */
static int make_sites(struct reading *reading)
{
    struct report *report = reading->report;
    if (reading->found_count > 0) /* qsort wants no NULL, and nobody has a site when all are suppressed */
        qsort(reading->found, reading->found_count, sizeof *reading->found, by_name);
    report->site = calloc(reading->found_count + 1, sizeof *report->site);
    if (report->site == NULL || (report->site[NO_SITE].name = strdup("")) == NULL)
        return HK_ENOMEM;
    report->site_count = 1;
    for (size_t i = 0; i < reading->found_count; i++) {
        const char *name = reading->found[i].name;
        if (strcmp(report->site[report->site_count - 1].name, name) == 0)
            continue;
        report->site[report->site_count].name = strdup(name);
        if (report->site[report->site_count].name == NULL)
            return HK_ENOMEM;
        report->site_count++;
    }
    return 0;
}

/* The domains and the sites they were resolved to. Before the walk, for no other question may go to Redis while one is
 * under way. */
static int read_domains(struct reading *reading, struct store *store)
{
    uint32_t site = NO_SITE;
    int error = store_domain_first(store, &reading->report->manifest, 0, &reading->first, &reading->domains,
                                   reading->why);
    if (error < 0)
        return error;
    reading->site_of = calloc((size_t)reading->domains + 1, sizeof *reading->site_of);
    if (reading->site_of == NULL)
        return why_set(reading->why, HK_ENOMEM, "hikyaku: not enough memory for %u domains",
                       reading->domains);
    for (size_t i = 0; i < reading->found_count; i++) {
        const struct domain_site *found = &reading->found[i];
        while (strcmp(reading->report->site[site].name, found->name) != 0)
            site++;
        if (found->domain < reading->domains)
            reading->site_of[found->domain] = site;
    }
    return 0;
}

/* The site of a recipient; the walk comes in index order, so the domain is this one or a later one. */
static struct report_site *site_of(struct reading *reading, uint32_t index)
{
    while (reading->at_domain + 1 < reading->domains && reading->first[reading->at_domain + 1] <= index)
        reading->at_domain++;
    return &reading->report->site[reading->domains ? reading->site_of[reading->at_domain] : NO_SITE];
}

static void count_marks(struct report *report, struct report_site *site, struct ledger_word word)
{
    for (unsigned mark = 0; mark < REPORT_MARKS; mark++) {
        report->later[mark] += ((unsigned)word.marks >> mark) & 1u;
        site->later[mark] += ((unsigned)word.marks >> mark) & 1u;
    }
}

static void count_class(struct report *report, struct report_site *site, struct ledger_word word)
{
    uint8_t class = word.reply_class < CLASSES ? word.reply_class : CLASS_NONE;

    if (word.state == LEDGER_SENT && (word.marks & LEDGER_MARK_BOUNCED) != 0) {
        report->later_by_class[class]++;
        site->later_by_class[class]++;
    } else if (word.state != LEDGER_SENT && word.state != LEDGER_PENDING && word.state != LEDGER_SENDING) {
        report->by_class[class]++;
        site->by_class[class]++;
    }
}

static int on_recipient(void *context, uint32_t segment, uint32_t index, uint32_t packed)
{
    struct reading *reading = context;
    struct report *report = reading->report;
    struct ledger_word word = ledger_unpack(packed);
    struct report_site *site;

    (void)segment;
    if (word.state >= LEDGER_STATES_COUNT)
        return why_set(reading->why, HK_EPROTO, "hikyaku: the ledger holds a state %u that is none",
                       word.state);
    site = site_of(reading, index);
    report->counts[word.state]++;
    site->counts[word.state]++;
    site->recipients++;
    count_marks(report, site, word);
    count_class(report, site, word);
    return 0;
}

static int by_recipients(const void *a, const void *b)
{
    const struct report_site *left = a, *right = b;
    if (left->recipients != right->recipients)
        return left->recipients > right->recipients ? -1 : 1;
    return strcmp(left->name, right->name);
}

/* Largest first; a site that nobody is counted at (the empty one, mostly) is not shown. */
static void order_sites(struct report *report)
{
    qsort(report->site, report->site_count, sizeof *report->site, by_recipients);
    while (report->site_count > 0 && report->site[report->site_count - 1].recipients == 0)
        free(report->site[--report->site_count].name);
}

static void reading_free(struct reading *reading)
{
    for (size_t i = 0; i < reading->found_count; i++)
        free(reading->found[i].name);
    free(reading->found);
    free(reading->first);
    free(reading->site_of);
}

int report_read(struct store *store, const struct manifest *manifest, struct report *out, struct hk_why *why)
{
    struct reading reading = {.report = out, .why = why};
    uint64_t quick[LEDGER_STATES_COUNT];
    int error;

    *out = (struct report){.manifest = *manifest};
    error = store_counts(store, manifest, quick, &out->attempts, why);
    if (error == 0)
        error = store_sites(store, manifest, on_site, &reading, why);
    if (error == 0 && (reading.out_of_memory || make_sites(&reading) < 0))
        error = why_set(why, HK_ENOMEM, "hikyaku: not enough memory for the sites of this campaign");
    if (error == 0)
        error = read_domains(&reading, store);
    if (error == 0)
        error = store_ledger_walk(store, manifest, on_recipient, &reading, why);
    if (error == 0)
        order_sites(out);
    reading_free(&reading);
    if (error < 0)
        report_free(out);
    return error;
}

void report_free(struct report *report)
{
    for (size_t i = 0; i < report->site_count; i++)
        free(report->site[i].name);
    free(report->site);
    report->site = NULL;
    report->site_count = 0;
}
