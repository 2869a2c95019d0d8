/* eventlog.c - the event log of eventlog.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eventlog.h"

#include "event_parts.h"
#include "hikyaku/fault.h"
#include "hikyaku/node.h"

/* A line of ours that begins somewhere in so many bytes makes a file a log. */
#define FOREIGN_BYTES 65536u

#define NUMBER_SIZE     24u  /* of 64 bits in digits, and a NUL */
#define EVENT_HEAD_SIZE 160u /* of a line up to its type */

extern char **environ;

/* Cut a last line without its newline off: the writer died in it, and the ledger rules. */
static int cut_torn_line(int fd, const char *path, uint64_t *size, struct hk_why *why)
{
    char block[4096];
    struct stat st;
    off_t end;

    if (fstat(fd, &st) != 0)
        return why_set(why, HK_EIO, "%s: %s", path, strerror(errno));
    for (end = st.st_size; end > 0;) {
        off_t from = end > (off_t)sizeof block ? end - (off_t)sizeof block : 0;
        ssize_t n = hk_pread_all(fd, block, (size_t)(end - from), from);
        char *newline;
        if (n != end - from)
            return why_set(why, HK_EIO, "%s: cannot read: %s", path,
                           n < 0 ? strerror(errno) : "somebody else cuts it");
        newline = memrchr(block, '\n', (size_t)n);
        if (newline != NULL) {
            end = from + (newline - block) + 1;
            break;
        }
        end = from;
    }
    if (end != st.st_size) {
        log_warning("%s: cut off a torn last line of %lld bytes", path, (long long)(st.st_size - end));
        if (ftruncate(fd, end) != 0)
            return why_set(why, HK_EIO, "%s: cannot cut a torn line: %s", path, strerror(errno));
    }
    *size = (uint64_t)end;
    return 0;
}

/* The id in a line of ours; the buffer is no string. */
bool event_id(const char *line, size_t length, char out[EVENT_ID_SIZE])
{
    static const char before[] = "{\"v\":1,\"id\":\"";
    const char *id = line + sizeof before - 1, *end;

    if (length < sizeof before || memcmp(line, before, sizeof before - 1) != 0)
        return false;
    end = memchr(id, '"', length - (sizeof before - 1));
    if (end == NULL || end == id || end - id >= EVENT_ID_SIZE)
        return false;
    snprintf(out, EVENT_ID_SIZE, "%.*s", (int)(end - id), id);
    return true;
}

/* The first line of a file names it. One that begins with something else has no name: it is always read whole. */
static int read_name(int fd, const char *path, char out[EVENT_ID_SIZE], struct hk_why *why)
{
    char line[128];
    ssize_t n = hk_pread_all(fd, line, sizeof line, 0);

    if (n < 0)
        return why_set(why, HK_EIO, "%s: cannot read: %s", path, strerror(errno));
    if (!event_id(line, (size_t)n, out))
        out[0] = '\0';
    return 0;
}

static char *event_room(struct eventlog *log, size_t bytes)
{
    if (log->used + bytes > log->room) {
        log->room = (log->used + bytes) * 2 + 65536;
        log->buffer = hk_xrealloc(log->buffer, log->room, 1);
    }
    return log->buffer + log->used;
}

static void event_raw(struct eventlog *log, const char *text, size_t length)
{
    memcpy(event_room(log, length), text, length);
    log->used += length;
}

/* A list or a message that was named by mistake is not written into, and above all not cut. */
static int check_is_log(int fd, const char *path, struct hk_why *why)
{
    static const char begins[] = "{\"v\":1,\"id\":\"";
    char head[FOREIGN_BYTES];
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) != 0)
        return why_set(why, HK_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return why_set(
            why, HK_EINVAL,
            "%s: events.file is no ordinary file, and what is written there could not be read again; "
            "write the name of one",
            path);
    n = hk_pread_all(fd, head, sizeof head, 0);
    if (n < 0)
        return why_set(why, HK_EIO, "%s: cannot read: %s", path, strerror(errno));
    /* What a power cut left may begin with NULs, or with less than a line. */
    if (n == 0 || head[0] == '\0' || memmem(head, (size_t)n, begins, sizeof begins - 1) != NULL ||
        ((size_t)n < sizeof begins - 1 && memcmp(head, begins, (size_t)n) == 0))
        return 0;
    return why_set(
        why, HK_EINVAL,
        "%s: events.file is there already and is no event log, so nothing is written into it; write "
        "another name",
        path);
}

int node_event_log_check(const struct config *config, struct hk_why *why)
{
    int rc, fd = open(config->events.file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return 0; /* it is made, or whoever makes it says why not */
    rc = check_is_log(fd, config->events.file, why);
    close(fd);
    return rc;
}

static void put_begin(struct eventlog *log)
{
    event_begin(log, "node");
    event_word(log, "node", log->config->node.name);
    event_word(log, "state", "the log begins");
    event_end(log);
}

/* Its first line, before what waits to be written. */
static void begin_file(struct eventlog *log)
{
    char *waiting = log->buffer;
    size_t length = log->used;

    log->buffer = NULL;
    log->used = log->room = 0;
    snprintf(log->first_id, sizeof log->first_id, "%llu-%llu", (unsigned long long)log->epoch,
             (unsigned long long)log->number);
    put_begin(log);
    if (length > 0)
        event_raw(log, waiting, length);
    free(waiting);
}

/* On an error the log goes on with the file it had. */
static int open_file(struct eventlog *log, struct hk_why *why)
{
    const char *path = log->config->events.file;
    int rc, fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0600);
    uint64_t bytes = 0;

    if (fd < 0)
        return why_set(why, HK_EIO, "%s: cannot open the event log: %s%s", path, strerror(errno),
                       errno == ENOENT ? "; make the folder that it lies in" : "");
    rc = check_is_log(fd, path, why);
    if (rc == 0)
        rc = cut_torn_line(fd, path, &bytes, why);
    if (rc == 0 && bytes > 0)
        rc = read_name(fd, path, log->first_id, why);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    if (log->fd > 0)
        close(log->fd);
    log->fd = fd;
    log->astray = false;
    log->file_bytes = bytes;
    log->rotate_at = log->config->events.rotate_bytes;
    if (bytes == 0)
        begin_file(log);
    return 0;
}

void eventlog_place(const struct eventlog *log, char *out)
{
    snprintf(out, LEASE_TOLD_SIZE, "%s:%llu", log->first_id, (unsigned long long)log->file_bytes);
}

int eventlog_open(struct eventlog *log, const struct config *config, uint64_t epoch, struct hk_why *why)
{
    memset(log, 0, sizeof *log);
    log->config = config;
    log->epoch = epoch;
    log->number = 1;
    return open_file(log, why);
}

void eventlog_close(struct eventlog *log)
{
    if (log->fd > 0)
        close(log->fd);
    free(log->buffer);
    memset(log, 0, sizeof *log);
}

void eventlog_compress(const char *path)
{
    char *argv[] = {(char *)(uintptr_t) "zstd", (char *)(uintptr_t) "-qf", (char *)(uintptr_t) "--rm",
                    (char *)(uintptr_t) "--",   (char *)(uintptr_t)path,   NULL};
    posix_spawnattr_t attributes;
    sigset_t none;
    pid_t pid;
    int error;

    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0); /* Ctrl-C is not meant for it */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    error = posix_spawnp(&pid, argv[0], NULL, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    if (error != 0)
        log_warning("%s is not compressed: zstd: %s", path, strerror(error));
}

enum whereabouts { FILE_IN_PLACE, FILE_MOVED, FILE_REMOVED, FILE_CUT };

static enum whereabouts find_file(const struct eventlog *log)
{
    struct stat ours, named;

    if (fstat(log->fd, &ours) != 0)
        return FILE_IN_PLACE; /* nothing that a person did */
    if (ours.st_nlink == 0)
        return FILE_REMOVED;
    if (stat(log->config->events.file, &named) != 0
            ? errno == ENOENT
            : named.st_dev != ours.st_dev || named.st_ino != ours.st_ino)
        return FILE_MOVED;
    return (uint64_t)ours.st_size < log->file_bytes ? FILE_CUT : FILE_IN_PLACE;
}

/* Where that fails, lines go on into the file as it is, and it is tried again when that has grown by an eighth more. */
static void rotate(struct eventlog *log)
{
    const char *path = log->config->events.file;
    struct hk_why why;
    char *to;

    log->rotate_at = log->file_bytes + log->config->events.rotate_bytes / 8;
    if (find_file(log) != FILE_IN_PLACE)
        return; /* eventlog_watch() says it, and begins a new one */
    to = event_parts_next(path, clock_wall_us(), &why);
    if (to == NULL) {
        log_warning("%s: cannot rotate: %s", path, why.text);
    } else if (fsync(log->fd) != 0 || rename(path, to) != 0) {
        log_warning("%s: cannot rotate: %s", path, strerror(errno));
    } else if (open_file(log, &why) == 0) {
        eventlog_compress(to);
    } else {
        bool back = rename(to, path) == 0;
        log_warning("%s; the event log goes on in %s", why.text, back ? path : to);
    }
    free(to);
}

/* A line of which only a part could be written goes back whole: what waits may have to go into another file. */
static size_t whole_lines(struct eventlog *log, size_t written)
{
    const char *newline = memrchr(log->buffer, '\n', written);
    size_t whole = newline != NULL ? (size_t)(newline + 1 - log->buffer) : 0;

    if (whole < written && ftruncate(log->fd, (off_t)(log->file_bytes + whole)) == 0)
        written = whole;
    return written;
}

int eventlog_flush(struct eventlog *log)
{
    size_t written = 0;
    int error = 0;

    if (log->astray)
        return HK_EIO;
    while (written < log->used) {
        size_t length = fault_half(LOG_WRITE_MIDDLE, log->used - written);
        ssize_t n = fault_fails(LOG_WRITE_BEFORE) ? -1 : write(log->fd, log->buffer + written, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            error = errno;
            written = whole_lines(log, written);
            break;
        }
        fault_at(LOG_WRITE_MIDDLE);
        written += (size_t)n;
        fault_at(LOG_WRITE_AFTER);
    }
    log->file_bytes += written;
    log->unsynced = log->unsynced || written > 0;
    if (written < log->used) {
        if (!log->failing)
            log_error("%s: cannot write the event log: %s; sending waits until it can",
                      log->config->events.file, strerror(error));
        log->failing = true;
        memmove(log->buffer, log->buffer + written, log->used - written);
        log->used -= written;
        return HK_EIO;
    }
    if (log->failing)
        log_info("%s: the event log can be written again", log->config->events.file);
    log->failing = false;
    log->used = 0;
    if (log->file_bytes > log->rotate_at)
        rotate(log);
    return 0;
}

void eventlog_sync(struct eventlog *log)
{
    if (log->unsynced && (fault_fails(LOG_SYNC_BEFORE) || fdatasync(log->fd) != 0))
        log_warning("%s: cannot sync the event log: %s", log->config->events.file, strerror(errno));
    log->unsynced = false;
}

/* ---- what others do to the file ---- */

/* The name that our open file has now; "" where nobody can tell. */
static void name_now(int fd, char *out, size_t size)
{
    char link[48];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, out, size - 1);
    out[n > 0 ? n : 0] = '\0';
}

/* What is gone with the file matters to nobody but `campaigns restore`: that is what has to be said. */
static void say_astray(const struct eventlog *log, enum whereabouts where)
{
    static const char restore[] = "should Redis lose its data, 'campaigns restore'";
    static const char better[] = "hikyaku puts it aside itself: events { rotate = ... }";
    const char *path = log->config->events.file;
    char now[4096], *part;
    struct hk_why why;

    name_now(log->fd, now, sizeof now);
    part = event_parts_next(path, clock_wall_us(), &why);
    if (where == FILE_CUT)
        log_warning(
            "%s: somebody cut the event log under this node; %s cannot tell what was sent until now; %s",
            path, restore, better);
    else if (where == FILE_MOVED && now[0] != '\0' && part != NULL)
        log_warning(
            "%s: somebody moved the event log to %s under this node; a new one is begun; %s needs the old "
            "one, named %s; %s",
            path, now, restore, part, better);
    else
        log_warning(
            "%s: somebody %s the event log under this node; a new one is begun; %s cannot tell what was "
            "sent until now; %s",
            path, where == FILE_MOVED ? "moved" : "removed", restore, better);
    free(part);
}

/* What waits belongs into the old file where that is still somewhere. */
void eventlog_watch(struct eventlog *log)
{
    enum whereabouts where = find_file(log);
    struct hk_why why;

    if (where == FILE_IN_PLACE)
        return;
    if (!log->astray && where != FILE_REMOVED && eventlog_flush(log) != 0)
        return; /* nothing goes on before it can be written */
    if (!log->astray)
        say_astray(log, where);
    if (open_file(log, &why) == 0) {
        /* Nobody knows which lines whoever cut it has kept: the number that is passed over is that hole. */
        if (where == FILE_CUT && log->file_bytes > 0) {
            log->number++;
            put_begin(log);
        }
        return;
    }
    if (!log->astray)
        log_error("%s; sending waits until it can", why.text);
    log->astray = log->failing = true;
}

/* ---- lines ---- */

/* A member's key, and room for `bytes` of its value: that begins where this ends, and log->used is the caller's to set. Values
 * are made in place: what was written octet by octet and is copied at once waits for the processor's store buffer. */
static char *event_member(struct eventlog *log, const char *key, size_t bytes)
{
    size_t length = strlen(key);
    char *out = event_room(log, length + bytes + sizeof ",\"\":");

    if (log->used > 0 && out[-1] != '{')
        *out++ = ',';
    *out++ = '"';
    memcpy(out, key, length + 1);
    out += length;
    *out++ = '"';
    *out++ = ':';
    return out;
}

static void event_until(struct eventlog *log, const char *end)
{
    log->used = (size_t)(end - log->buffer);
}

void event_begin_again(struct eventlog *log, const char *type, uint64_t epoch, uint64_t number)
{
    char *out = event_room(log, EVENT_HEAD_SIZE);
    const char *end = out + EVENT_HEAD_SIZE;

    log->line_us = clock_wall_us();
    out = hk_put(out, end, "{\"v\":1,\"id\":\"");
    out = hk_put_number(out, end, epoch);
    *out++ = '-';
    out = hk_put_number(out, end, number);
    out = hk_put(out, end, "\",\"time\":\"");
    out = clock_rfc3339(log->line_us, out);
    *out++ = '"';
    event_until(log, out);
    event_word(log, "type", type);
}

uint64_t event_begin(struct eventlog *log, const char *type)
{
    event_begin_again(log, type, log->epoch, log->number);
    return log->number++;
}

/* Eight octets of which none has to be cleaned or escaped: each is in [0x20, 0x7e] and neither '"' nor '\\'. In each step the
 * highest bit of an octet says that it is not so. */
static bool eight_are_plain(uint64_t eight)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t quote = eight ^ ones * '"', slash = eight ^ ones * '\\', last = eight ^ ones * 0x7f;
    uint64_t below = eight - ones * ' ';

    return ((eight | (below & ~eight) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash) |
             ((last - ones) & ~last)) &
            high) == 0;
}

/* Copies what needs neither cleaning nor a backslash, and returns how much that is: all of most texts. */
static size_t copy_plain(char *out, const char *text, size_t length)
{
    size_t i = 0;
    uint64_t eight;

    for (; i + sizeof eight <= length; i += sizeof eight) {
        memcpy(&eight, text + i, sizeof eight);
        if (!eight_are_plain(eight))
            break;
        memcpy(out + i, &eight, sizeof eight);
    }
    while (i < length && text[i] >= ' ' && text[i] < 0x7f && text[i] != '"' && text[i] != '\\') {
        out[i] = text[i];
        i++;
    }
    return i;
}

/* What is behind the plain beginning of a text, cleaned at `clean` first. */
static char *put_cleaned(char *out, char *clean, const char *text, size_t length)
{
    size_t n = hk_clean_text(clean, length + 1, text, length);

    for (size_t i = 0; i < n; i++) {
        if (clean[i] == '"' || clean[i] == '\\')
            *out++ = '\\';
        *out++ = clean[i];
    }
    return out;
}

void event_text(struct eventlog *log, const char *key, const char *text, size_t length)
{
    char *clean, *out;
    size_t plain;

    if (text == NULL)
        return;
    /* A cleaned byte is at most one byte, an escaped one two. */
    out = event_member(log, key, 3 * length + 8);
    clean = out + 2 * length + 4;
    *out++ = '"';
    plain = copy_plain(out, text, length);
    out += plain;
    if (plain < length)
        out = put_cleaned(out, clean, text + plain, length - plain);
    *out++ = '"';
    event_until(log, out);
}

void event_word(struct eventlog *log, const char *key, const char *text)
{
    event_text(log, key, text, text != NULL ? strlen(text) : 0);
}

void event_number(struct eventlog *log, const char *key, uint64_t number)
{
    char *out = event_member(log, key, NUMBER_SIZE);

    event_until(log, hk_put_number(out, out + NUMBER_SIZE, number));
}

void event_dotted(struct eventlog *log, const char *key, const uint8_t *part, size_t parts)
{
    size_t room = parts * NUMBER_SIZE + 2;
    char *out = event_member(log, key, room);
    const char *end = out + room;

    *out++ = '"';
    for (size_t i = 0; i < parts; i++) {
        if (i > 0)
            *out++ = '.';
        out = hk_put_number(out, end, part[i]);
    }
    *out++ = '"';
    event_until(log, out);
}

void event_object(struct eventlog *log, const char *key)
{
    char *out = event_member(log, key, 1);

    *out++ = '{';
    event_until(log, out);
}

void event_object_end(struct eventlog *log)
{
    event_raw(log, "}", 1);
}

void event_end(struct eventlog *log)
{
    event_raw(log, "}\n", 2);
}
