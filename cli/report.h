/* report.h - what became of a campaign, read from Redis alone, and the two ways to show it.
 *
 * report_read walks the whole ledger (one span in memory at a time) so that its counts agree with each other.
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "hikyaku/state.h"

enum report_mark { REPORT_BOUNCED, REPORT_COMPLAINED, REPORT_UNSUBSCRIBED, REPORT_MARKS };

struct report_site {
    char *name; /* "": no site yet */
    uint64_t recipients;
    uint64_t counts[LEDGER_STATES_COUNT];
    uint32_t later[REPORT_MARKS];
    uint32_t by_class[CLASSES], later_by_class[CLASSES]; /* as those of the report */
};

struct report {
    struct manifest manifest;
    uint64_t counts[LEDGER_STATES_COUNT];
    uint64_t later[REPORT_MARKS];
    uint64_t attempts;
    uint64_t by_class[CLASSES];       /* recipients not sent; [CLASS_NONE]: those without a class */
    uint64_t later_by_class[CLASSES]; /* sent, and came back as a bounce; [CLASS_NONE]: nobody knows why */
    struct report_site *site;         /* most recipients first */
    size_t site_count;
};

int report_read(struct store *store, const struct manifest *manifest, struct report *out,
                struct hk_why *why) HK_MUST_USE;
void report_free(struct report *report);
/* Recipients in no final state. */
uint64_t report_open_count(const uint64_t counts[LEDGER_STATES_COUNT]);

/* For a person. config_file and rejected_path are named in what is to be done next; rejected_path may be NULL. */
void report_text_print(const struct report *report, const char *config_file, const char *rejected_path,
                       FILE *out);
/* The document of docs/report.schema.json. 0, HK_ENOMEM or HK_EIO. */
int report_json_print(const struct report *report, FILE *out) HK_MUST_USE;

#endif
