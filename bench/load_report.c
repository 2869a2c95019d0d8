/* load_report.c - what load says: the report as text or JSON (docs/load.schema.json), and a line a second on a terminal.
 *
 * Percentiles that too few values can tell (p99.99 needs 10,000) are left out.
 */
#include <jansson.h>
#include <string.h>

#include "load.h"

#define LATE_P99_US 5000u /* above: this program is part of what it measured */

static const struct percentile {
    unsigned permyriad;
    const char *name;
} percentile_table[] = {
    {5000, "p50"}, {7500, "p75"},   {9000, "p90"},    {9500, "p95"},
    {9900, "p99"}, {9990, "p99.9"}, {9999, "p99.99"},
};
#define PERCENTILES (sizeof percentile_table / sizeof percentile_table[0])

static const struct time_row {
    const char *name, *words;
    size_t at;
} time_table[] = {
#define TIME_ROW(name, words) {#name, words, offsetof(struct load_times, name)},
    LOAD_TIMES(TIME_ROW)
#undef TIME_ROW
};
#define TIMES (sizeof time_table / sizeof time_table[0])

static const struct load_histogram *time_of(const struct load *load, size_t i)
{
    return (const struct load_histogram *)(const void *)((const char *)&load->times + time_table[i].at);
}

static const char *end_word(enum load_end end)
{
    static const char *const words[] = {
        [LOAD_RUNS] = "running",
        [LOAD_ALL_SENT] = "messages",
        [LOAD_TIME_UP] = "time",
        [LOAD_KNEE] = "knee",
        [LOAD_RAMP_DONE] = "ramp",
        [LOAD_SIGNAL] = "signal",
        [LOAD_SERVER_LOST] = "server-lost",
    };

    return words[end];
}

static const char *mode_word(const struct load *load)
{
    return load->options.ramp ? "ramp" : load->options.rate > 0 ? "open" : "closed";
}

/* Until the run ended or its last message was answered. */
static double seconds_of(const struct load *load)
{
    uint64_t end_us = load->last_reply_us > load->ended_us ? load->last_reply_us : load->ended_us;

    return end_us > load->started_us ? (double)(end_us - load->started_us) / 1e6 : 1e-6;
}

static double cpu_share(const struct load *load)
{
    return load->cpu_used / seconds_of(load);
}

/* What whoever reads the figures has to know; how many lines. */
#define WARNINGS_MAX 4u
struct warnings {
    size_t count;
    char text[WARNINGS_MAX][200];
};

static struct warnings warnings_of(const struct load *load)
{
    struct warnings w = {0};
    uint64_t late_us = load_histogram_percentile(&load->times.late, 9900);

    if (cpu_share(load) >= LOAD_CPU_FULL)
        snprintf(w.text[w.count++], sizeof w.text[0],
                 "load itself used %.0f %% of a core: the server may take more than this",
                 100 * cpu_share(load));
    if (load->times.late.count > 0 && late_us > LATE_P99_US)
        snprintf(w.text[w.count++], sizeof w.text[0],
                 "load saw messages late (p99 %.1f ms): so much of the latencies is this machine's own",
                 (double)late_us / 1e3);
    if (load->times.latency.over > 0)
        snprintf(w.text[w.count++], sizeof w.text[0], "%llu latencies are above 19 hours",
                 (unsigned long long)load->times.latency.over);
    if (load->counts.unfinished > 0)
        snprintf(w.text[w.count++], sizeof w.text[0],
                 "%llu messages were not answered: latency has them with the age they had at the end",
                 (unsigned long long)load->counts.unfinished);
    return w;
}

/* 1234567 as "1,234,567". */
#define GROUPED_BYTES 28u
static const char *grouped(uint64_t value, char out[GROUPED_BYTES])
{
    char digits[GROUPED_BYTES];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    size_t at = 0;

    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

static void knee_words(const struct load *load, char *out, size_t size)
{
    const struct load_steps *s = &load->steps;
    const struct load_step *last = &s->step[s->count - 1];
    char why[160] = "";

    if (s->count > 0)
        load_step_words(last, &load->options.bounds, why, sizeof why);
    if (s->count == 0 || last->verdict == STEP_CUT)
        snprintf(out, size, "not found: the ramp ended before its time");
    else if (last->verdict == STEP_HOLDS)
        snprintf(out, size, "not reached: the last step of the ramp holds, %s", why);
    else if (last->verdict == STEP_OURS)
        snprintf(out, size, "not found: at %.0f/s %s", last->rate, why);
    else if (s->knee > 0)
        snprintf(out, size, "%.0f messages a second; %.0f/s was tried and did not hold: %s", s->knee,
                 last->rate, why);
    else
        snprintf(out, size, "below the first step of %.0f/s: %s", last->rate, why);
}

static void histogram_print(const char *name, const char *words, const struct load_histogram *h)
{
    char count[GROUPED_BYTES];

    if (h->count == 0)
        return;
    printf("%-8s %11s %9.2f", name, grouped(h->count, count), (double)h->sum_us / (double)h->count / 1e3);
    for (size_t i = 0; i < PERCENTILES; i++)
        if (load_histogram_can_tell(h, percentile_table[i].permyriad))
            printf(" %9.2f", (double)load_histogram_percentile(h, percentile_table[i].permyriad) / 1e3);
        else
            printf(" %9s", "-");
    printf(" %9.2f  %s\n", (double)h->max_us / 1e3, words);
}

static void times_print(const struct load *load)
{
    printf("\n%-8s %11s %9s", "ms", "count", "mean");
    for (size_t i = 0; i < PERCENTILES; i++)
        printf(" %9s", percentile_table[i].name);
    printf(" %9s\n", "max");
    for (size_t i = 0; i < TIMES; i++)
        histogram_print(time_table[i].name, time_table[i].words, time_of(load, i));
    printf("percentiles are at most %.1f %% too high\n", 100 * HISTOGRAM_ERROR);
}

static void steps_print(const struct load *load)
{
    const struct load_steps *s = &load->steps;
    char words[200];

    if (!load->options.ramp)
        return;
    printf("\n%9s %9s %9s %9s %7s %5s  %s\n", "rate", "answered", "p50 ms", "p99 ms", "failed", "CPU", "");
    for (size_t i = 0; i < s->count; i++) {
        const struct load_step *step = &s->step[i];

        load_step_words(step, &load->options.bounds, words, sizeof words);
        printf("%9.0f %9.0f %9.2f %9.2f %7llu %4.0f%%  %s: %s\n", step->rate, step->achieved,
               (double)step->p50_us / 1e3, (double)step->p99_us / 1e3, (unsigned long long)step->failed,
               100 * step->cpu_share, load_verdict_word(step->verdict), words);
    }
    knee_words(load, words, sizeof words);
    printf("knee         %s\n", words);
}

static void errors_print(struct load *load)
{
    load_errors_sort(&load->errors);
    if (load->errors.count > 0)
        puts("\nerrors");
    for (size_t i = 0; i < load->errors.count; i++) {
        const struct load_error *e = &load->errors.row[i];
        char code[8] = "";

        if (e->code != 0)
            snprintf(code, sizeof code, "%u ", e->code);
        printf("%11llu  %-9s %s%s\n", (unsigned long long)e->count, e->phase, code, e->text);
    }
    if (load->errors.others > 0)
        printf("%11llu  of other kinds\n", (unsigned long long)load->errors.others);
}

static void head_print(const struct load *load)
{
    static const char *const tls[] = {"plain", "STARTTLS", "implicit TLS"};
    const struct load_options *o = &load->options;
    char text[GROUPED_BYTES];

    printf("server       %s, %s%s\n", load->to_text, tls[o->tls], o->auth != LOAD_AUTH_NONE ? ", AUTH" : "");
    if (o->ramp)
        printf("load         a ramp of steps of %.1f s", o->step_ms / 1e3);
    else if (o->rate > 0)
        printf("load         open loop, %s messages a second (%s)", grouped(o->rate, text),
               o->poisson ? "poisson" : "even");
    else
        printf("load         closed loop");
    printf(", up to %s connections\n", grouped(o->connections, text));
    printf("ended        by %s after %.3f s\n", end_word(load->end), seconds_of(load));
}

static void counts_print(const struct load *load)
{
    const struct load_counts *c = &load->counts;
    double seconds = seconds_of(load);
    char a[GROUPED_BYTES], b[GROUPED_BYTES], d[GROUPED_BYTES], e[GROUPED_BYTES];

    printf("messages     %s due, %s accepted, %s failed, %s not answered\n", grouped(c->due, a),
           grouped(c->accepted, b), grouped(c->failed, d), grouped(c->unfinished, e));
    printf("recipients   %s accepted, %s refused\n", grouped(c->recipients_accepted, a),
           grouped(c->recipients_refused, b));
    printf("rate         %.1f accepted a second, %.2f MB/s\n", (double)c->accepted / seconds,
           (double)c->bytes / seconds / 1e6);
    printf("connections  %s taken by the server, %s at most at once, %s failed, %s closed while idle",
           grouped(c->opened, a), grouped(load->open_max, b), grouped(c->lost, d),
           grouped(c->idle_closed, e));
    if (load->options.tls != LOAD_TLS_NONE)
        printf(", %s with TLS, %s of them resumed", grouped(c->tls, a), grouped(c->tls_resumed, b));
    printf("\nown CPU      %.2f s, %.0f %% of a core", load->cpu_used, 100 * cpu_share(load));
    if (load->cpu_used > 0)
        printf(", %.0f messages per CPU-second", (double)(c->accepted + c->failed) / load->cpu_used);
    putchar('\n');
}

bool load_report_text(struct load *load)
{
    struct warnings w = warnings_of(load);

    head_print(load);
    counts_print(load);
    steps_print(load);
    times_print(load);
    errors_print(load);
    for (size_t i = 0; i < w.count; i++)
        printf("%snote: %s\n", i == 0 ? "\n" : "", w.text[i]);
    return fflush(stdout) == 0;
}

static json_t *ms_json(uint64_t us)
{
    return json_real((double)us / 1e3);
}

static json_t *histogram_json(const struct load_histogram *h, bool buckets)
{
    json_t *object = json_object(), *list;

    json_object_set_new(object, "count", json_integer((json_int_t)h->count));
    json_object_set_new(object, "min", h->count > 0 ? ms_json(h->min_us) : json_null());
    json_object_set_new(object, "mean",
                        h->count > 0 ? json_real((double)h->sum_us / (double)h->count / 1e3) : json_null());
    for (size_t i = 0; i < PERCENTILES; i++)
        json_object_set_new(object, percentile_table[i].name,
                            load_histogram_can_tell(h, percentile_table[i].permyriad)
                                ? ms_json(load_histogram_percentile(h, percentile_table[i].permyriad))
                                : json_null());
    json_object_set_new(object, "max", h->count > 0 ? ms_json(h->max_us) : json_null());
    if (!buckets)
        return object;
    list = json_array();
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (h->bucket[i] > 0)
            json_array_append_new(
                list, json_pack("[o, I]", ms_json(load_histogram_bucket_end(i)), (json_int_t)h->bucket[i]));
    json_object_set_new(object, "buckets", list);
    return object;
}

static json_t *counts_json(const struct load *load)
{
    const struct load_counts *c = &load->counts;

    return json_pack("{s:{s:I, s:I, s:I, s:I}, s:{s:I, s:I}, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I}}",
                     "messages", "due", (json_int_t)c->due, "accepted", (json_int_t)c->accepted, "failed",
                     (json_int_t)c->failed, "unfinished", (json_int_t)c->unfinished, "recipients", "accepted",
                     (json_int_t)c->recipients_accepted, "refused", (json_int_t)c->recipients_refused,
                     "connections", "opened", (json_int_t)c->opened, "ready", (json_int_t)c->ready, "failed",
                     (json_int_t)c->lost, "max_at_once", (json_int_t)load->open_max, "closed_while_idle",
                     (json_int_t)c->idle_closed, "tls", (json_int_t)c->tls, "tls_resumed",
                     (json_int_t)c->tls_resumed);
}

static json_t *errors_json(struct load *load)
{
    json_t *list = json_array();

    load_errors_sort(&load->errors);
    for (size_t i = 0; i < load->errors.count; i++) {
        const struct load_error *e = &load->errors.row[i];
        char enhanced[16];

        snprintf(enhanced, sizeof enhanced, "%u.%u.%u", e->enhanced[0], e->enhanced[1], e->enhanced[2]);
        json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:s, s:I}", "phase", e->phase, "code",
                                              e->code != 0 ? json_integer(e->code) : json_null(), "enhanced",
                                              e->enhanced[0] != 0 ? json_string(enhanced) : json_null(),
                                              "text", e->text, "count", (json_int_t)e->count));
    }
    return list;
}

static json_t *steps_json(const struct load *load)
{
    const struct load_steps *s = &load->steps;
    json_t *list = json_array();
    char words[200];

    for (size_t i = 0; i < s->count; i++) {
        const struct load_step *step = &s->step[i];

        load_step_words(step, &load->options.bounds, words, sizeof words);
        json_array_append_new(
            list, json_pack("{s:f, s:f, s:f, s:I, s:I, s:f, s:f, s:f, s:s, s:s}", "rate", step->rate,
                            "seconds", step->seconds, "achieved", step->achieved, "answered",
                            (json_int_t)step->answered, "failed", (json_int_t)step->failed, "p50",
                            (double)step->p50_us / 1e3, "p99", (double)step->p99_us / 1e3, "cpu_share",
                            step->cpu_share, "verdict", load_verdict_word(step->verdict), "reason", words));
    }
    return list;
}

static json_t *document(struct load *load)
{
    static const char *const tls[] = {"plain", "starttls", "implicit"};
    const struct load_options *o = &load->options;
    struct warnings w = warnings_of(load);
    double seconds = seconds_of(load);
    json_t *root = counts_json(load), *times = json_object(), *notes = json_array();
    char words[200];

    json_object_set_new(root, "schema", json_integer(1));
    json_object_set_new(root, "server",
                        json_pack("{s:s, s:s, s:s, s:b}", "host", o->host, "address", load->to_text, "tls",
                                  tls[o->tls], "auth", o->auth != LOAD_AUTH_NONE));
    json_object_set_new(root, "mode", json_string(mode_word(load)));
    json_object_set_new(root, "offered_rate", o->rate > 0 ? json_real(o->rate) : json_null());
    json_object_set_new(root, "arrivals",
                        o->rate > 0 || o->ramp ? json_string(o->poisson ? "poisson" : "even") : json_null());
    json_object_set_new(root, "ended_by", json_string(end_word(load->end)));
    json_object_set_new(root, "seconds", json_real(seconds));
    json_object_set_new(root, "cpu_seconds", json_real(load->cpu_used));
    json_object_set_new(root, "rate", json_real((double)load->counts.accepted / seconds));
    json_object_set_new(root, "bytes", json_integer((json_int_t)load->counts.bytes));
    json_object_set_new(root, "percentile_error", json_real(HISTOGRAM_ERROR));
    for (size_t i = 0; i < TIMES; i++)
        json_object_set_new(times, time_table[i].name, histogram_json(time_of(load, i), i == 0));
    json_object_set_new(root, "times_ms", times);
    json_object_set_new(root, "errors", errors_json(load));
    json_object_set_new(root, "errors_of_other_kinds", json_integer((json_int_t)load->errors.others));
    if (o->ramp) {
        knee_words(load, words, sizeof words);
        json_object_set_new(root, "steps", steps_json(load));
        json_object_set_new(root, "knee",
                            json_pack("{s:o, s:s}", "rate",
                                      load->end == LOAD_KNEE && load->steps.knee > 0
                                          ? json_real(load->steps.knee)
                                          : json_null(),
                                      "reason", words));
    }
    for (size_t i = 0; i < w.count; i++)
        json_array_append_new(notes, json_string(w.text[i]));
    json_object_set_new(root, "notes", notes);
    return root;
}

bool load_report_json(struct load *load)
{
    json_t *root = document(load);
    bool ok = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 && putchar('\n') != EOF;

    json_decref(root);
    return fflush(stdout) == 0 && ok;
}

void load_report_second(struct load *load, uint64_t now_us)
{
    struct load_view *v = &load->view;
    const struct load_counts *c = &load->counts;

    fprintf(stderr,
            "%5.0fs  due %llu/s  accepted %llu/s  p50 %.1f ms  p99 %.1f ms  waiting %llu  connections %u  "
            "failed %llu\n",
            (double)(now_us - load->started_us) / 1e6, (unsigned long long)(c->due - v->due),
            (unsigned long long)(c->accepted - v->accepted),
            (double)load_histogram_percentile(&v->latency, 5000) / 1e3,
            (double)load_histogram_percentile(&v->latency, 9900) / 1e3,
            (unsigned long long)load_waiting(load), load->open, (unsigned long long)c->failed);
    v->due = c->due;
    v->accepted = c->accepted;
    load_histogram_clear(&v->latency);
    v->next_us += 1000000;
}
