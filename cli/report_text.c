/* report_text.c - a report for a person: what happened, where it did not go well, what to do next. */
#include <string.h>

#include "format.h"
#include "report.h"

#define SITES_SHOWN  10u
#define BAR_COLUMNS  30u
#define NAME_COLUMNS 36

static void print_time(const char *label, uint64_t from_us, uint64_t to_us, const char *behind, FILE *out)
{
    char text[FORMAT_SIZE];
    if (to_us != 0 && to_us >= from_us)
        fprintf(out, "  %-14s after %s%s\n", label, format_duration((to_us - from_us) / 1000, text), behind);
}

static void print_head(const struct report *report, FILE *out)
{
    const struct manifest *m = &report->manifest;
    char count[FORMAT_SIZE], more[FORMAT_SIZE], rate[FORMAT_SIZE], time[CLOCK_RFC3339_SIZE], behind[80] = "";

    fprintf(out, "\nCampaign %s: %s\n\n", m->campaign,
            report_open_count(report->counts) == 0
                ? strcmp(m->state, "cancelled") == 0 ? "cancelled" : "everyone is settled"
            : strcmp(m->state, "running") == 0 ? "not finished"
                                               : m->state);
    fprintf(out, "  %-14s %s", "recipients", format_count(m->recipients, count));
    if (m->rejected > 0 || m->duplicates > 0)
        fprintf(out, "   (%s rows rejected, %s duplicates left out)", format_count(m->rejected, count),
                format_count(m->duplicates, more));
    fputc('\n', out);
    if (m->started_us != 0) {
        clock_rfc3339(m->started_us, time);
        fprintf(out, "  %-14s %.10s %.8s UTC\n", "started", time, time + 11);
    }
    if (m->started_us != 0 && m->settled_us > m->started_us) {
        double seconds = (double)(m->settled_us - m->started_us) / 1e6;
        uint64_t called_off = report->counts[LEDGER_CANCELLED];
        snprintf(behind, sizeof behind, ", %s recipients a second",
                 format_rate((double)(m->recipients - called_off) / seconds, rate));
    }
    print_time("first pass", m->started_us, m->first_pass_us, "", out);
    print_time("settled", m->started_us, m->settled_us, behind, out);
    fprintf(out, "  %-14s %s\n", "attempts", format_count(report->attempts, count));
}

static void print_states(const struct report *report, FILE *out)
{
    static const enum ledger_state order[] = {LEDGER_SENT,    LEDGER_BOUNCED,    LEDGER_DEFERRED,
                                              LEDGER_PENDING, LEDGER_SENDING,    LEDGER_UNKNOWN,
                                              LEDGER_EXPIRED, LEDGER_SUPPRESSED, LEDGER_CANCELLED};
    char count[FORMAT_SIZE], share[FORMAT_SIZE], bar[BAR_COLUMNS + 1];
    uint64_t whole = report->manifest.recipients;

    fputc('\n', out);
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        uint64_t n = report->counts[order[i]];
        if (n == 0)
            continue;
        size_t columns = whole ? (size_t)(n * BAR_COLUMNS / whole) : 0;
        memset(bar, '#', columns);
        bar[columns] = '\0';
        fprintf(out, "  %-12s %13s %9s  %s\n", ledger_state_name(order[i]), format_count(n, count),
                format_share(n, whole, share), bar);
    }
}

static void print_site_row(const char *name, const uint64_t counts[LEDGER_STATES_COUNT], uint64_t recipients,
                           FILE *out)
{
    char all[FORMAT_SIZE], sent[FORMAT_SIZE], deferred[FORMAT_SIZE], bounced[FORMAT_SIZE], other[FORMAT_SIZE];
    uint64_t rest = recipients - counts[LEDGER_SENT] - counts[LEDGER_DEFERRED] - counts[LEDGER_BOUNCED];
    fprintf(out, "  %-*.*s %12s %12s %10s %9s %9s\n", NAME_COLUMNS, NAME_COLUMNS, name,
            format_count(recipients, all), format_count(counts[LEDGER_SENT], sent),
            format_count(counts[LEDGER_DEFERRED], deferred), format_count(counts[LEDGER_BOUNCED], bounced),
            format_count(rest, other));
}

static void print_sites(const struct report *report, FILE *out)
{
    uint64_t rest[LEDGER_STATES_COUNT] = {0}, rest_recipients = 0;
    char name[64], count[FORMAT_SIZE];
    size_t shown = report->site_count > SITES_SHOWN + 1 ? SITES_SHOWN : report->site_count;

    fprintf(out, "\n  %-*s %12s %12s %10s %9s %9s\n", NAME_COLUMNS, "by site", "recipients", "sent",
            "deferred", "bounced", "other");
    for (size_t i = 0; i < shown; i++) {
        const struct report_site *site = &report->site[i];
        print_site_row(site->name[0] ? site->name : "(no site yet)", site->counts, site->recipients, out);
    }
    for (size_t i = shown; i < report->site_count; i++) {
        rest_recipients += report->site[i].recipients;
        for (int state = 0; state < LEDGER_STATES_COUNT; state++)
            rest[state] += report->site[i].counts[state];
    }
    if (shown < report->site_count) {
        snprintf(name, sizeof name, "%s more sites", format_count(report->site_count - shown, count));
        print_site_row(name, rest, rest_recipients, out);
    }
}

static void print_classes(const char *title, const uint64_t by_class[CLASSES], FILE *out)
{
    char count[FORMAT_SIZE];
    bool any = false;
    for (int c = CLASS_NONE + 1; c < CLASSES; c++)
        any = any || by_class[c] > 0;
    if (!any)
        return;
    fprintf(out, "\n  %s\n", title);
    for (int c = CLASS_NONE + 1; c < CLASSES; c++)
        if (by_class[c] > 0)
            fprintf(out, "  %-24s %13s\n", reply_class_name((enum reply_class)c),
                    format_count(by_class[c], count));
}

static uint64_t came_back(const struct report_site *site)
{
    return (uint64_t)site->later[REPORT_BOUNCED] + site->later[REPORT_COMPLAINED] +
           site->later[REPORT_UNSUBSCRIBED];
}

static void print_later_row(const char *name, const uint64_t later[REPORT_MARKS], FILE *out)
{
    char bounced[FORMAT_SIZE], complained[FORMAT_SIZE], unsubscribed[FORMAT_SIZE];

    fprintf(out, "  %-*.*s %12s %12s %14s\n", NAME_COLUMNS, NAME_COLUMNS, name,
            format_count(later[REPORT_BOUNCED], bounced), format_count(later[REPORT_COMPLAINED], complained),
            format_count(later[REPORT_UNSUBSCRIBED], unsubscribed));
}

/* The first sites that something came back from, and the rest of them in one line. */
static void print_later(const struct report *report, FILE *out)
{
    uint64_t rest[REPORT_MARKS] = {0};
    size_t shown = 0, others = 0;

    if (report->later[REPORT_BOUNCED] + report->later[REPORT_COMPLAINED] +
            report->later[REPORT_UNSUBSCRIBED] ==
        0)
        return;
    fprintf(out, "\n  %-*s %12s %12s %14s\n", NAME_COLUMNS, "came back later", "bounced", "complained",
            "unsubscribed");
    for (size_t i = 0; i < report->site_count; i++) {
        const struct report_site *site = &report->site[i];
        const uint64_t later[] = {site->later[0], site->later[1], site->later[2]};
        if (came_back(site) == 0)
            continue;
        if (shown < SITES_SHOWN) {
            print_later_row(site->name[0] ? site->name : "(no site yet)", later, out);
            shown++;
            continue;
        }
        others++;
        for (int mark = 0; mark < REPORT_MARKS; mark++)
            rest[mark] += later[mark];
    }
    if (others > 0)
        print_later_row("more sites", rest, out);
    print_later_row("all", report->later, out);
}

static void print_next(const struct report *report, const char *config_file, const char *rejected_path,
                       FILE *out)
{
    char count[FORMAT_SIZE];
    const char *id = report->manifest.campaign;
    uint64_t open = report_open_count(report->counts);

    fputs("\n  what to do next\n", out);
    if (open > 0)
        fprintf(out, "  - not settled: %s. Give the same send command again, and it goes on.\n",
                format_count(open, count));
    if (report->counts[LEDGER_UNKNOWN] > 0)
        fprintf(
            out,
            "  - unknown: %s. The connection was lost after the message was handed over; not sent again,\n"
            "    as it may have arrived. Who they are: hikyaku unknown list --config %s --campaign %s\n"
            "    To decide about them: hikyaku unknown settle --help\n",
            format_count(report->counts[LEDGER_UNKNOWN], count), config_file, id);
    if (report->by_class[CLASS_MAILBOX_UNKNOWN] + report->by_class[CLASS_DOMAIN_INVALID] > 0)
        fprintf(out,
                "  - addresses that do not exist: %s. Take them off the list before the next campaign.\n",
                format_count(report->by_class[CLASS_MAILBOX_UNKNOWN] + report->by_class[CLASS_DOMAIN_INVALID],
                             count));
    if (report->by_class[CLASS_SENDER_BLOCKED] + report->by_class[CLASS_AUTH_SECURITY] > 0)
        fputs("  - Receivers refuse this sender: look at SPF, DKIM, reverse DNS and block lists.\n", out);
    if (report->by_class[CLASS_NETWORK] > report->manifest.recipients / 2)
        fputs("  - Most receivers could not be reached: does this machine's provider, or its firewall, let "
              "port 25 out?\n"
              "    Many providers close it until they are asked.\n",
              out);
    if (report->manifest.rejected > 0 && rejected_path != NULL)
        fprintf(out, "  - The rejected rows and why: %s\n", rejected_path);
    fprintf(out, "  - Each recipient: hikyaku report --config %s --campaign %s --recipients\n\n", config_file,
            id);
}

void report_text_print(const struct report *report, const char *config_file, const char *rejected_path,
                       FILE *out)
{
    print_head(report, out);
    print_states(report, out);
    print_sites(report, out);
    print_classes("not sent, by class", report->by_class, out);
    print_later(report, out);
    print_classes("bounced later, by class", report->later_by_class, out);
    print_next(report, config_file, rejected_path, out);
}
