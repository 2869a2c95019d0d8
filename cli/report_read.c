/* report_read.c - read what became of a campaign from the ledger: by state, by site, by class.
 *
 * The ledger knows recipients by index and sites by domain; the domain table's first indexes join the two.
 */
#include "report.h"

#include <string.h>

#define NO_SITE 0u /* report_site[0] while reading: what has no site yet */

struct domain_site {
    uint32_t segment, domain;
    char *name;
};

struct reading {
    struct report *report;
    struct domain_site *found; /* what store_sites told */
    size_t found_count, found_room;
    bool out_of_memory;
    /* of the segment the walk is in */
    uint32_t segment;
    uint32_t *first;   /* index of each domain's first recipient */
    uint32_t *site_of; /* index into report->site of each domain */
    uint32_t domains, domain;
    struct store *store;
    struct hk_why *why;
};

uint64_t report_open_count(const uint64_t counts[LEDGER_STATES_COUNT])
{
    return counts[LEDGER_PENDING] + counts[LEDGER_SENDING] + counts[LEDGER_DEFERRED];
}

static void on_site(void *context, uint32_t segment, uint32_t domain, const char *site)
{
    struct reading *reading = context;
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
    reading->found[reading->found_count++] =
        (struct domain_site){.segment = segment, .domain = domain, .name = name};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct domain_site *)a)->name, ((const struct domain_site *)b)->name);
}

/* One report_site for each distinct name, in the order of names: enter_segment walks both together. */
static int make_sites(struct reading *reading)
{
    struct report *report = reading->report;
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

static int enter_segment(struct reading *reading, uint32_t segment)
{
    int error;
    uint32_t site = NO_SITE;

    free(reading->first);
    free(reading->site_of);
    reading->first = reading->site_of = NULL;
    reading->segment = segment;
    reading->domain = 0;
    error = store_domain_first(reading->store, &reading->report->manifest, segment, &reading->first,
                               &reading->domains, reading->why);
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
        if (found->segment == segment && found->domain < reading->domains)
            reading->site_of[found->domain] = site;
    }
    return 0;
}

static int on_recipient(void *context, uint32_t segment, uint32_t index, uint32_t packed)
{
    struct reading *reading = context;
    struct report *report = reading->report;
    struct ledger_word word = ledger_unpack(packed);

    if (reading->first == NULL || segment != reading->segment) {
        int error = enter_segment(reading, segment);
        if (error < 0)
            return error;
    }
    while (reading->domain + 1 < reading->domains && reading->first[reading->domain + 1] <= index)
        reading->domain++;
    if (word.state >= LEDGER_STATES_COUNT)
        return why_set(reading->why, HK_EPROTO, "hikyaku: the ledger holds a state %u that is none",
                       word.state);
    struct report_site *site = &report->site[reading->domains ? reading->site_of[reading->domain] : NO_SITE];
    report->counts[word.state]++;
    site->counts[word.state]++;
    site->recipients++;
    for (unsigned mark = 0; mark < REPORT_MARKS; mark++)
        report->later[mark] += (word.marks >> mark) & 1u;
    if (word.state != LEDGER_SENT && word.state != LEDGER_PENDING && word.state != LEDGER_SENDING)
        report->by_class[word.reply_class < CLASSES ? word.reply_class : CLASS_NONE]++;
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

int report_read(struct store *store, const struct manifest *manifest, struct report *out, struct hk_why *why)
{
    struct reading reading = {.report = out, .store = store, .why = why};
    uint64_t quick[LEDGER_STATES_COUNT];
    int error;

    *out = (struct report){.manifest = *manifest};
    error = store_counts(store, manifest, quick, &out->attempts, why);
    if (error == 0)
        error = store_sites(store, manifest, on_site, &reading, why);
    if (error == 0 && (reading.out_of_memory || make_sites(&reading) < 0))
        error = why_set(why, HK_ENOMEM, "hikyaku: not enough memory for the sites of this campaign");
    if (error == 0)
        error = store_ledger_walk(store, manifest, on_recipient, &reading, why);
    if (error == 0)
        order_sites(out);
    for (size_t i = 0; i < reading.found_count; i++)
        free(reading.found[i].name);
    free(reading.found);
    free(reading.first);
    free(reading.site_of);
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
