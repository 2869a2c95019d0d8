/* worker_drive.c - one worker without a node: plays the master to it and prints what became of each recipient.
 *
 * Usage: worker_drive CONFIG PLAN   (both files; the plan is JSON, see peers.py)
 *
 * Three processes, so that any of them can die: the driver makes the campaign and in the end reads the region from
 * its file, as a new master would; the stand-in master opens connections, sends, grants; the worker is the real
 * one. Standard output gets one JSON document. The plan's times bound everything.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hikyaku/message.h"
#include "hikyaku/process.h"
#include "hikyaku/segment.h"

#define DRIVE_CAMPAIGN "drive"
#define DRIVE_CONNS    2048u

/* What the stand-in master saw; shared with the driver. */
struct drive_notes {
    uint32_t opened, closed, commits, done;
    uint32_t order[65536]; /* recipients by the order of their outcomes */
    int worker_status;
    bool worker_reaped;
};

struct drive {
    struct config *config;
    json_t *plan;
    struct region region;
    char region_path[4096];
    struct drive_notes *notes;
    uint32_t recipients, conns;
    uint32_t sent;
    uint32_t window;
    uint32_t reopens; /* how often a closed connection is opened again */
    uint32_t quota;   /* recipients each time */
    uint32_t taken[DRIVE_CONNS];
    uint32_t under_way[DRIVE_CONNS];
    bool open[DRIVE_CONNS], closed[DRIVE_CONNS];
    bool close_told, trigger_done;
    int worker_fd, master_fd;
    pid_t worker;
};

static _Noreturn void drive_die(const char *what)
{
    (void)fprintf(stderr, "worker_drive: %s\n", what);
    _exit(3);
}

static const char *plan_text(const struct drive *d, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(d->plan, key));
    return text != NULL ? text : otherwise;
}

static uint32_t plan_number(const struct drive *d, const char *key, uint32_t otherwise)
{
    const json_t *value = json_object_get(d->plan, key);
    return json_is_integer(value) ? (uint32_t)json_integer_value(value) : otherwise;
}

static bool plan_has(const struct drive *d, const char *key, uint32_t index)
{
    size_t i;
    json_t *value;
    json_array_foreach(json_object_get(d->plan, key), i,
                       value) if (json_integer_value(value) == index) return true;
    return false;
}

/* The campaign as `send` leaves it. */

/* How they go on the wire is what is tested here. */
static bool legacy_allowed(void *context, const char *domain)
{
    (void)context;
    (void)domain;
    return true;
}

static void drive_campaign(struct drive *d)
{
    char folder[4096], path[4096 + 64];
    struct hk_why why = {""};
    struct import_result result;
    char *message;
    size_t length;
    if (config_path(d->config, folder, sizeof folder, "campaigns/%s", DRIVE_CAMPAIGN) != 0)
        drive_die("path too long");
    (void)mkdir(d->config->state_dir, 0700);
    (void)snprintf(path, sizeof path, "%s/campaigns", d->config->state_dir);
    (void)mkdir(path, 0700);
    (void)mkdir(folder, 0700);
    (void)snprintf(path, sizeof path, "%s/segment-0.seg", folder);
    const struct import_options options = {
        .list_path = plan_text(d, "list", ""), .segment_path = path, .legacy_allowed = legacy_allowed};
    if (list_import(&options, &result, &why) != 0)
        drive_die(why.text);
    d->recipients = (uint32_t)result.recipients;
    if (hk_read_file(plan_text(d, "message", ""), MESSAGE_TEMPLATE_MAX, &message, &length, &why) != 0)
        drive_die(why.text);
    (void)snprintf(path, sizeof path, "%s/message.eml", folder);
    if (hk_write_file(path, 0600, message, length, &why) != 0)
        drive_die(why.text);
    free(message);
    if (access(d->config->sender.secret_file, F_OK) != 0 &&
        keygen_verp(d->config->sender.secret_file, &why) != 0)
        drive_die(why.text);
}

static void drive_destination(struct drive *d)
{
    struct destination *dest = &d->region.destination[0];
    size_t i;
    size_t used = 0;
    json_t *value;
    dest->generation = 1;
    dest->refs = 1;
    dest->port = (uint16_t)plan_number(d, "port", 25);
    memset(dest->mx_tls, (int)plan_number(d, "tls", TLS_NONE), sizeof dest->mx_tls);
    dest->route = (int16_t)((int)plan_number(d, "route", 0) - 1);
    dest->no_pipelining = (uint8_t)plan_number(d, "no_pipelining", 0);
    dest->local_part = (uint8_t)plan_number(d, "local_part", LOCAL_PART_QUOTE);
    (void)snprintf(dest->site, sizeof dest->site, "site.test");
    json_array_foreach(json_object_get(d->plan, "addresses"), i, value)
    {
        struct dest_address *address = &dest->address[i];
        address->rank = (uint8_t)i; /* a script's addresses are tried in its order */
        address->family = strchr(json_string_value(value), ':') != NULL ? AF_INET6 : AF_INET;
        address->mx = (uint8_t)i;
        if (inet_pton(address->family, json_string_value(value), address->ip) != 1)
            drive_die("not an address");
        dest->address_count++;
        dest->mx_offset[i] = (uint16_t)used;
        const char *name = json_string_value(json_array_get(json_object_get(d->plan, "mx"), i));
        used += (size_t)snprintf(dest->names + used, sizeof dest->names - used, "%s",
                                 name != NULL ? name : "mx.test") +
                1;
        dest->mx_count++;
    }
}

/* The campaign's slot in the region, with what a manifest would name: its files as they are. */
static void drive_pinned(struct drive *d)
{
    struct region_campaign *campaign = &d->region.campaign[0];
    struct segment *segment;
    struct hk_why why = {""};
    char path[4096];
    (void)snprintf(campaign->id, sizeof campaign->id, "%s", DRIVE_CAMPAIGN);
    campaign->segments = 1;
    if (segment_open_campaign(d->config, DRIVE_CAMPAIGN, 1, true, &segment, &why) != 0 ||
        config_path(d->config, path, sizeof path, "campaigns/%s/message.eml", DRIVE_CAMPAIGN) != 0 ||
        hk_sha256_file(path, campaign->message_sha256, &why) != 0)
        drive_die(why.text);
    (void)snprintf(campaign->list_sha256, sizeof campaign->list_sha256, "%s", segment_sha256(segment));
    segment_close(segment);
    atomic_store_explicit(&campaign->generation, 1, memory_order_release);
}

static void drive_region(struct drive *d)
{
    struct hk_why why = {""};
    uint32_t slots = 64;
    d->conns = plan_number(d, "conns", 1);
    d->window = plan_number(d, "window", d->recipients);
    d->reopens = plan_number(d, "reopen", 0);
    d->quota = plan_number(d, "quota", d->recipients);
    if (d->conns > DRIVE_CONNS || d->recipients > 65536)
        drive_die("too many");
    while (slots < 4 * (d->recipients + d->conns) + 16)
        slots *= 2;
    const struct region_sizes sizes = {.workers = 1,
                                       .ring_slots = slots,
                                       .flight_slots = d->recipients > 0 ? d->recipients : 1,
                                       .conn_slots = d->conns,
                                       .dest_slots = 1};
    (void)snprintf(d->region_path, sizeof d->region_path, "%s/region", d->config->state_dir);
    if (region_create(d->region_path, sizes, 1, &d->region, &why) != 0)
        drive_die(why.text);
    d->region.header->master_pid = (int32_t)getpid();
    drive_pinned(d);
    drive_destination(d);
}

/* The stand-in master. */

static void master_tell(struct drive *d, const struct desc *desc)
{
    const uint64_t one = 1;
    if (!ring_push(region_down(&d->region, 0), desc))
        drive_die("ring down is full");
    if (ring_wants_wake(region_down(&d->region, 0)) && write(d->worker_fd, &one, sizeof one) < 0)
        drive_die("cannot wake the worker");
}

static void master_feed(struct drive *d, uint32_t conn)
{
    while (d->open[conn] && !d->closed[conn] && d->sent < d->recipients && d->under_way[conn] < d->window &&
           d->taken[conn] < d->quota) {
        d->under_way[conn]++;
        d->taken[conn]++;
        master_tell(d, &(struct desc){.kind = DESC_SEND,
                                      .attempt = 1,
                                      .slot = d->sent,
                                      .conn = conn,
                                      .index = d->sent,
                                      .serial = 0});
        d->sent++;
    }
}

static void master_open(struct drive *d, uint32_t conn)
{
    d->closed[conn] = false;
    d->taken[conn] = 0;
    master_tell(d, &(struct desc){.kind = DESC_OPEN, .conn = conn, .serial = conn + 1});
    d->open[conn] = plan_number(d, "early", 0) != 0;
    master_feed(d, conn);
}

static void master_hear(struct drive *d, const struct desc *desc)
{
    struct drive_notes *notes = d->notes;
    if (desc->kind == DESC_OPENED) {
        notes->opened++;
        d->open[desc->conn] = true;
    } else if (desc->kind == DESC_CLOSED) {
        notes->closed++;
        d->closed[desc->conn] = true;
        if (d->reopens > 0 && d->sent < d->recipients) {
            d->reopens--;
            master_open(d, desc->conn);
        }
    } else if (desc->kind == DESC_COMMIT) {
        notes->commits++;
        if (plan_has(d, "deny", desc->slot))
            master_tell(d, &(struct desc){.kind = DESC_DENY, .slot = desc->slot});
        else if (!plan_has(d, "withhold", desc->slot))
            master_tell(d, &(struct desc){.kind = DESC_GRANT, .slot = desc->slot});
    } else if (desc->kind == DESC_DONE) {
        notes->order[notes->done++] = desc->slot;
        d->under_way[desc->conn]--;
    }
}

static void master_listen(struct drive *d)
{
    struct ring *up = region_up(&d->region, 0);
    const struct desc *desc;
    while ((desc = ring_peek(up)) != NULL) {
        struct desc copy = *desc;
        ring_next(up);
        master_hear(d, &copy);
        if (!plan_has(d, "hold", copy.conn))
            master_feed(d, copy.conn);
    }
}

static bool worker_is_there(struct drive *d)
{
    if (!d->notes->worker_reaped && waitpid(d->worker, &d->notes->worker_status, WNOHANG) == d->worker)
        d->notes->worker_reaped = true;
    return !d->notes->worker_reaped;
}

/* Something happens when the flight of recipient trigger_slot reaches a phase. */
static void master_trigger(struct drive *d)
{
    const char *act = plan_text(d, "act", NULL);
    const struct flight *flight = region_flight(&d->region, 0, plan_number(d, "act_slot", 0));
    if (act == NULL || d->trigger_done ||
        atomic_load_explicit(&flight->phase, memory_order_acquire) != plan_number(d, "act_phase", FLIGHT_DOT))
        return;
    d->trigger_done = true;
    if (strcmp(act, "kill") == 0)
        (void)kill(d->worker, SIGKILL);
    else if (strcmp(act, "die") == 0)
        _exit(0);
    else if (strcmp(act, "drain") == 0)
        master_tell(d, &(struct desc){.kind = DESC_DRAIN});
    else if (strcmp(act, "exit") == 0)
        master_tell(d, &(struct desc){.kind = DESC_EXIT});
    else
        drive_die("unknown act");
}

static bool master_is_done(const struct drive *d)
{
    if (plan_number(d, "stop_when_done", 0) != 0 && d->notes->done >= d->recipients)
        return true;
    return d->notes->closed >= d->conns + plan_number(d, "reopen", 0);
}

static void master_close(struct drive *d)
{
    if (d->close_told || d->notes->done < d->recipients || plan_number(d, "leave_open", 0) != 0)
        return;
    d->close_told = true;
    for (uint32_t i = 0; i < d->conns; i++)
        master_tell(d, &(struct desc){.kind = DESC_CLOSE, .conn = i});
}

static void master_wait(struct drive *d)
{
    uint64_t count;
    struct ring *up = region_up(&d->region, 0);
    struct pollfd wait = {.fd = d->master_fd, .events = POLLIN};
    bool act = plan_text(d, "act", NULL) != NULL && !d->trigger_done;
    if (ring_sleep(up) && poll(&wait, 1, act ? 1 : 100) > 0 && read(d->master_fd, &count, sizeof count) < 0)
        drive_die("cannot read the wake-up");
    ring_awake(up);
}

static void master_run(struct drive *d)
{
    uint64_t until_ms = clock_now_ms() + plan_number(d, "timeout_ms", 10000);
    for (uint32_t i = 0; i < d->conns; i++)
        master_open(d, i);
    while (!master_is_done(d) && worker_is_there(d) && clock_now_ms() < until_ms) {
        master_listen(d);
        master_trigger(d);
        master_close(d);
        master_wait(d);
    }
    if (worker_is_there(d))
        master_tell(d, &(struct desc){.kind = DESC_EXIT});
    until_ms = clock_now_ms() + 5000;
    while (worker_is_there(d) && clock_now_ms() < until_ms)
        (void)usleep(2000);
    master_listen(d);
    if (worker_is_there(d))
        (void)kill(d->worker, SIGKILL);
}

static void master_process(struct drive *d)
{
    drive_region(d);
    d->worker_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    d->master_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pid_t self = getpid();
    d->worker = fork();
    if (d->worker == 0) {
        const int keep[] = {d->worker_fd, d->master_fd, d->region.fd};
        process_child_setup("worker_drive: worker", self, SIGUSR1, keep, 3);
        log_setup(getenv("DRIVE_DEBUG") != NULL ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, "worker");
        const struct worker_args args = {.config = d->config,
                                         .region = &d->region,
                                         .wake_fd = d->worker_fd,
                                         .master_wake_fd = d->master_fd,
                                         .lock_fd = -1};
        int status = worker_main(&args);
        region_close(&d->region);
        config_free(d->config);
        json_decref(d->plan);
        exit(status);
    }
    master_run(d);
    _exit(0);
}

/* What the region tells. */

static json_t *reply_json(const struct outcome_reply *reply)
{
    char text[2048], enhanced[16] = "";
    (void)hk_clean_text(text, sizeof text, reply->text, reply->text_length);
    if (reply->enhanced[0] != 0)
        (void)snprintf(enhanced, sizeof enhanced, "%u.%u.%u", reply->enhanced[0], reply->enhanced[1],
                       reply->enhanced[2]);
    return json_pack("{s:s, s:i, s:s, s:s}", "phase", log_phase_name((enum log_phase)reply->log_phase),
                     "code", (int)reply->code, "enhanced", enhanced, "text", text);
}

static json_t *outcome_json(struct drive *d, const struct segment *segment, uint32_t slot)
{
    static const char *const phase[] = {"free", "taken", "envelope", "content", "dot", "done"};
    static const char *const result[] = {"none", "returned", "denied",  "refused",
                                         "sent", "deferred", "bounced", "unknown"};
    const struct flight *flight = region_flight(&d->region, 0, slot);
    uint32_t at = atomic_load_explicit(&flight->phase, memory_order_acquire);
    struct segment_record record;
    if (segment_record(segment, slot, &record) != 0 || at > FLIGHT_DONE || flight->result > RESULT_UNKNOWN)
        drive_die("the flight table is damaged");
    return json_pack("{s:s%, s:s, s:s, s:i, s:i, s:i, s:o}", "recipient", record.email,
                     (size_t)record.email_length, "flight", phase[at], "result",
                     at == FLIGHT_DONE ? result[flight->result] : "none", "nth", (int)flight->nth, "bytes",
                     (int)flight->bytes, "dot_out", (int)atomic_load(&flight->dot_out), "reply",
                     reply_json(&flight->reply));
}

static json_t *conn_json(struct drive *d, uint32_t conn)
{
    const struct conn_info *info = region_conn(&d->region, 0, conn);
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:s, s:o}", "failed", (int)info->failed,
                     "never", (int)info->never, "mail_max", (int)info->mail_max, "rcpt_domain_max",
                     (int)info->rcpt_domain_max, "broken_sync", (int)info->broken_sync, "mx", (int)info->mx,
                     "tls_version", info->tls_version, "tls_cipher", info->tls_cipher, "tls_verified",
                     info->tls_verified, "failure", reply_json(&info->failure));
}

static json_t *counters_json(struct drive *d)
{
    json_t *out = json_object();
    const struct counters *counters = region_counters(&d->region, 0);
#define COUNTER_JSON(name) \
    (void)json_object_set_new(out, #name, json_integer((json_int_t)atomic_load(&counters->name)));
    COUNTERS(COUNTER_JSON)
#undef COUNTER_JSON
    return out;
}

static void drive_report(struct drive *d)
{
    struct hk_why why = {""};
    bool same_boot;
    char path[4096];
    struct segment *segment;
    json_t *outcomes = json_array(), *conns = json_array(), *order = json_array();
    if (config_path(d->config, path, sizeof path, "campaigns/%s/segment-0.seg", DRIVE_CAMPAIGN) != 0 ||
        region_attach(d->region_path, &d->region, &same_boot, &why) != 0 ||
        segment_open(path, true, &segment, &why) != 0)
        drive_die(why.text);
    for (uint32_t i = 0; i < d->recipients; i++)
        (void)json_array_append_new(outcomes, outcome_json(d, segment, i));
    for (uint32_t i = 0; i < d->region.header->sizes.conn_slots; i++)
        (void)json_array_append_new(conns, conn_json(d, i));
    for (uint32_t i = 0; i < d->notes->done; i++)
        (void)json_array_append_new(order, json_integer(d->notes->order[i]));
    int status = d->notes->worker_status;
    json_t *all =
        json_pack("{s:o, s:o, s:o, s:i, s:i, s:i, s:i, s:i, s:o}", "outcomes", outcomes, "conns", conns,
                  "order", order, "opened", (int)d->notes->opened, "closed", (int)d->notes->closed, "commits",
                  (int)d->notes->commits, "worker_exit", WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                  "worker_signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0, "counters", counters_json(d));
    if (all == NULL || json_dumpf(all, stdout, JSON_COMPACT) != 0)
        drive_die("cannot print");
    json_decref(all);
    segment_close(segment);
    region_close(&d->region);
}

/* Every process we started is gone, also a worker whose parent died. */
static void drive_reap(struct drive *d)
{
    int status;
    pid_t pid;
    while ((pid = wait(&status)) > 0 || errno == EINTR)
        if (pid > 0 && plan_text(d, "act", NULL) != NULL && strcmp(plan_text(d, "act", ""), "die") == 0)
            d->notes->worker_status = status; /* the last one reaped is the orphan */
}

int main(int argc, char **argv)
{
    struct hk_why why = {""};
    json_error_t fault;
    struct drive *d = hk_xcalloc(1, sizeof *d);
    if (argc != 3)
        drive_die("usage: worker_drive CONFIG PLAN");
    process_title_init(argc, argv);
    log_setup(LOG_LEVEL_ERROR, "drive");
    if (config_load(argv[1], &d->config, &why) != 0)
        drive_die(why.text);
    d->plan = json_load_file(argv[2], 0, &fault);
    if (d->plan == NULL)
        drive_die(fault.text);
    d->notes = mmap(NULL, sizeof *d->notes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (d->notes == MAP_FAILED)
        drive_die("no memory");
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    drive_campaign(d);
    (void)snprintf(d->region_path, sizeof d->region_path, "%s/region", d->config->state_dir);
    pid_t master = fork();
    if (master == 0)
        master_process(d);
    drive_reap(d);
    drive_report(d);
    config_free(d->config);
    json_decref(d->plan);
    free(d);
    return 0;
}
