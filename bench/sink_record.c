/* sink_record.c - what the sink writes: log lines, the ledger, stored messages, the summary.
 *
 * A write that fails is said on standard error and makes the exit status 3; the sink goes on, since whoever
 * tests wants the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sink.h"

#define LOG_BUFFER_BYTES 1048576u

int sink_record_open(struct sink *sink, struct hk_why *why)
{
    const struct sink_options *o = &sink->options;

    if (o->store_dir != NULL && mkdir(o->store_dir, 0777) != 0 && errno != EEXIST)
        return why_set(why, HK_EIO, "--store %s: %s", o->store_dir, strerror(errno));
    if (o->log_file == NULL)
        return HK_OK;
    sink->log = fopen(o->log_file, "we");
    if (sink->log == NULL)
        return why_set(why, HK_EIO, "--log %s: %s", o->log_file, strerror(errno));
    setvbuf(sink->log, NULL, _IOFBF, LOG_BUFFER_BYTES);
    return HK_OK;
}

static void write_failed(struct sink *sink, const char *file)
{
    if (sink->status == 0)
        fprintf(stderr, "sink: %s: %s\n", file, strerror(errno));
    sink->status = 3;
}

void sink_log_flush(struct sink *sink)
{
    if (sink->log != NULL && fflush(sink->log) != 0)
        write_failed(sink, sink->options.log_file);
}

void sink_record_close(struct sink *sink)
{
    if (sink->log == NULL)
        return;
    sink_log_flush(sink);
    fclose(sink->log);
    sink->log = NULL;
}

void sink_log_event_at(struct sink_conn *conn, uint64_t wall_us, const char *event, const char *text,
                       size_t length)
{
    FILE *log = conn->sink->log;

    if (log == NULL)
        return;
    fprintf(log, "%" PRIu64 " %s %" PRIu64 " %d %u ", wall_us, event, conn->number,
            conn->ssl != NULL && !conn->handshaking, conn->listener->port);
    fwrite(text, 1, length, log);
    putc('\n', log);
}

void sink_log_event(struct sink_conn *conn, const char *event, const char *text, size_t length)
{
    sink_log_event_at(conn, clock_wall_us(), event, text, length);
}

static json_t *counters_json(const struct sink_counters *counters)
{
    json_t *object = json_object();

#define COUNTER_TO_JSON(name, words) \
    json_object_set_new(object, #name, json_integer((json_int_t)counters->name));
    SINK_COUNTERS(COUNTER_TO_JSON)
#undef COUNTER_TO_JSON
    return object;
}

static struct sink_counters totals_of(const struct sink *sink)
{
    struct sink_counters total = {0};

    for (size_t i = 0; i < sink->listener_count; i++) {
#define COUNTER_SUM(name, words) total.name += sink->listener[i].counters.name;
        SINK_COUNTERS(COUNTER_SUM)
#undef COUNTER_SUM
    }
    return total;
}

void sink_ledger_write(struct sink *sink)
{
    struct sink_counters total = totals_of(sink);
    struct hk_why why;
    json_t *ledger, *listeners;
    char *text;

    if (sink->options.ledger_file == NULL)
        return;
    listeners = json_array();
    for (size_t i = 0; i < sink->listener_count; i++) {
        const struct sink_listener *l = &sink->listener[i];
        json_t *object = counters_json(&l->counters);

        json_object_set_new(object, "address", json_string(l->name));
        json_object_set_new(object, "max_connections_at_once", json_integer(l->open_max));
        json_array_append_new(listeners, object);
    }
    ledger = counters_json(&total);
    json_object_set_new(ledger, "schema", json_integer(1));
    json_object_set_new(ledger, "seconds", json_real((double)(clock_now_us() - sink->started_us) / 1e6));
    json_object_set_new(ledger, "addresses_seen", json_integer((json_int_t)sink_table_count(sink->table)));
    json_object_set_new(ledger, "stored", json_integer((json_int_t)sink->stored));
    json_object_set_new(ledger, "max_connections_at_once", json_integer(sink->open_max));
    json_object_set_new(ledger, "listeners", listeners);
    text = json_dumps(ledger, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(ledger);
    if (text == NULL || hk_write_file(sink->options.ledger_file, 0644, text, strlen(text), &why) < 0) {
        fprintf(stderr, "sink: --ledger: %s\n", text == NULL ? "out of memory" : why.text);
        sink->status = 3;
    }
    free(text);
}

void sink_summary_print(const struct sink *sink)
{
    struct sink_counters total = totals_of(sink);

#define COUNTER_PRINT(name, words) \
    if (total.name != 0)           \
        printf("%12" PRIu64 "  %-20s %s\n", total.name, #name, words);
    SINK_COUNTERS(COUNTER_PRINT)
#undef COUNTER_PRINT
    printf("%12u  %-20s connections open at the same moment\n", sink->open_max, "max at once");
}

static bool file_write(struct sink *sink, uint64_t number, const char *suffix, const char *bytes,
                       size_t length)
{
    char path[4096];
    int fd, n = snprintf(path, sizeof path, "%s/%08" PRIu64 ".%s", sink->options.store_dir, number, suffix);
    bool ok = false;

    if (n < 0 || (size_t)n >= sizeof path) {
        errno = ENAMETOOLONG;
        write_failed(sink, sink->options.store_dir);
        return false;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0) {
        ok = hk_write_all(fd, bytes, length) == HK_OK;
        ok = close(fd) == 0 && ok;
    }
    if (!ok)
        write_failed(sink, path);
    return ok;
}

static json_t *text_json(const char *text, size_t length)
{
    char clean[SINK_LINE_MAX];
    size_t n = hk_clean_text(clean, sizeof clean, text, length);

    return json_stringn(clean, n);
}

bool sink_store_message(struct sink_conn *conn)
{
    struct sink *sink = conn->sink;
    uint64_t number = sink->stored + 1;
    size_t length = body_unstuff(conn->kept, conn->kept_length);
    json_t *envelope = json_object(), *recipients = json_array();
    char *text;
    bool ok;

    for (size_t i = conn->recipients_pending; i < conn->recipients_count; i++) {
        const struct sink_entry *e = sink_table_at(sink->table, conn->recipient[i]);

        json_array_append_new(recipients, text_json(e->text, e->length));
    }
    json_object_set_new(envelope, "sender", text_json(conn->sender, strlen(conn->sender)));
    json_object_set_new(envelope, "recipients", recipients);
    json_object_set_new(envelope, "connection", json_integer((json_int_t)conn->number));
    json_object_set_new(envelope, "tls", json_boolean(conn->ssl != NULL));
    text = json_dumps(envelope, JSON_COMPACT);
    json_decref(envelope);
    ok = text != NULL && file_write(sink, number, "json", text, strlen(text)) &&
         file_write(sink, number, "eml", conn->kept, length);
    free(text);
    if (ok)
        sink->stored = number;
    return ok;
}
