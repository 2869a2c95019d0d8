/* report_json.c - a report as the document of docs/report.schema.json (schema number 1). */
#include <jansson.h>

#include "report.h"

#define REPORT_SCHEMA 1

static json_t *json_of_counts(const uint64_t counts[LEDGER_STATES_COUNT])
{
    json_t *object = json_object();
    for (int state = 0; state < LEDGER_STATES_COUNT; state++)
        json_object_set_new(object, ledger_state_name((enum ledger_state)state),
                            json_integer((json_int_t)counts[state]));
    return object;
}

/* A moment that has not come yet is null. */
static json_t *json_of_time(uint64_t wall_us)
{
    char text[CLOCK_RFC3339_SIZE];
    if (wall_us == 0)
        return json_null();
    clock_rfc3339(wall_us, text);
    return json_string(text);
}

static json_t *json_of_marks(uint64_t bounced, uint64_t complained, uint64_t unsubscribed)
{
    return json_pack("{s:I, s:I, s:I}", "bounced", (json_int_t)bounced, "complained", (json_int_t)complained,
                     "unsubscribed", (json_int_t)unsubscribed);
}

static void add_class(json_t *object, int c, uint64_t recipients)
{
    if (recipients > 0)
        json_object_set_new(object, reply_class_name((enum reply_class)c),
                            json_integer((json_int_t)recipients));
}

static json_t *json_of_classes(const uint64_t by_class[CLASSES])
{
    json_t *object = json_object();
    for (int c = CLASS_NONE + 1; c < CLASSES; c++)
        add_class(object, c, by_class[c]);
    return object;
}

static json_t *json_of_site_classes(const uint32_t by_class[CLASSES])
{
    json_t *object = json_object();
    for (int c = CLASS_NONE + 1; c < CLASSES; c++)
        add_class(object, c, by_class[c]);
    return object;
}

static json_t *json_of_sites(const struct report *report)
{
    json_t *array = json_array();
    for (size_t i = 0; i < report->site_count; i++) {
        const struct report_site *site = &report->site[i];
        json_array_append_new(array, json_pack("{s:s, s:o, s:o, s:o, s:o}", "site", site->name, "counts",
                                               json_of_counts(site->counts), "later",
                                               json_of_marks(site->later[0], site->later[1], site->later[2]),
                                               "by_class", json_of_site_classes(site->by_class),
                                               "later_by_class", json_of_site_classes(site->later_by_class)));
    }
    return array;
}

static json_t *json_of_report(const struct report *report)
{
    const struct manifest *m = &report->manifest;
    return json_pack("{s:i, s:s, s:I, s:I, s:I, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o}",          //
                     "schema", REPORT_SCHEMA, "campaign", m->campaign,                                  //
                     "recipients", (json_int_t)m->recipients, "rejected_rows", (json_int_t)m->rejected, //
                     "duplicate_rows", (json_int_t)m->duplicates, "counts", json_of_counts(report->counts),
                     "later",
                     json_of_marks(report->later[REPORT_BOUNCED], report->later[REPORT_COMPLAINED],
                                   report->later[REPORT_UNSUBSCRIBED]),                                //
                     "attempts", (json_int_t)report->attempts, "started", json_of_time(m->started_us), //
                     "first_pass_done", json_of_time(m->first_pass_us), "settled",
                     json_of_time(m->settled_us), //
                     "by_site", json_of_sites(report), "by_class", json_of_classes(report->by_class),
                     "later_by_class", json_of_classes(report->later_by_class));
}

int report_json_print(const struct report *report, FILE *out)
{
    json_t *document = json_of_report(report);
    int status;
    if (document == NULL)
        return HK_ENOMEM;
    status = json_dumpf(document, out, JSON_INDENT(2));
    json_decref(document);
    if (status < 0 || fputc('\n', out) == EOF || fflush(out) != 0)
        return HK_EIO;
    return 0;
}
