/* journal_file.c - read the event log again, part by part (journal_file.h). */
#include "journal_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "event_parts.h"

#define PACKED_BYTES 65536u
#define PACK_AT_ONCE 4u

/* ---- bytes of one part, unpacked ---- */

struct part {
    const char *path;
    int fd;
    ZSTD_DCtx *zstd; /* NULL: it is not packed */
    ZSTD_inBuffer in;
    size_t hint; /* of zstd: 0 where a frame has ended */
    char packed[PACKED_BYTES];
};

static bool is_packed(const char *path)
{
    size_t length = strlen(path);

    return length > 4 && strcmp(path + length - 4, ".zst") == 0;
}

static void part_close(struct part *part)
{
    if (part->fd >= 0)
        close(part->fd);
    ZSTD_freeDCtx(part->zstd);
    free(part);
}

/* NULL: why says why not. */
static struct part *part_open(const char *path, struct hk_why *why)
{
    struct part *part = calloc(1, sizeof *part);

    if (part == NULL) {
        (void)why_set(why, HK_ENOMEM, "no memory to read the event log again");
        return NULL;
    }
    part->path = path;
    part->fd = open(path, O_RDONLY | O_CLOEXEC);
    part->in.src = part->packed;
    if (part->fd < 0)
        (void)why_set(why, HK_EIO, "%s: cannot be read: %s", path, strerror(errno));
    else if (!is_packed(path) || (part->zstd = ZSTD_createDCtx()) != NULL)
        return part;
    else
        (void)why_set(why, HK_ENOMEM, "no memory to read the event log again");
    part_close(part);
    return NULL;
}

static ssize_t read_fd(const struct part *part, char *out, size_t size, struct hk_why *why)
{
    ssize_t n;

    do
        n = read(part->fd, out, size);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? n : why_set(why, HK_EIO, "%s: cannot be read: %s", part->path, strerror(errno));
}

/* As read(2): 0 at the end, negative an HK_E*. */
static ssize_t part_read(struct part *part, char *out, size_t size, struct hk_why *why)
{
    ZSTD_outBuffer to = {out, size, 0};

    if (part->zstd == NULL)
        return read_fd(part, out, size, why);
    while (to.pos == 0) {
        if (part->in.pos == part->in.size) {
            ssize_t n = read_fd(part, part->packed, sizeof part->packed, why);
            if (n < 0)
                return n;
            if (n == 0)
                return part->hint == 0 ? 0
                                       : why_set(why, HK_EIO,
                                                 "%s: its end is missing; put the whole file there, or move "
                                                 "it away where what it tells is not needed",
                                                 part->path);
            part->in.size = (size_t)n;
            part->in.pos = 0;
        }
        part->hint = ZSTD_decompressStream(part->zstd, &to, &part->in);
        if (ZSTD_isError(part->hint))
            return why_set(why, HK_EIO,
                           "%s: cannot be unpacked (%s); put the whole file there, or move it away where "
                           "what it tells is not needed",
                           part->path, ZSTD_getErrorName(part->hint));
    }
    return (ssize_t)to.pos;
}

static bool begins_with(const char *path, const char *id)
{
    char line[128], first[EVENT_ID_SIZE];
    size_t used = 0;
    struct part *part = part_open(path, NULL);
    ssize_t n;

    if (part == NULL)
        return false;
    while (used < sizeof line && (n = part_read(part, line + used, sizeof line - used, NULL)) > 0)
        used += (size_t)n;
    part_close(part);
    return event_id(line, used, first) && strcmp(first, id) == 0;
}

/* ---- lines ---- */

struct reader {
    int (*fn)(void *context, const char *line, size_t length);
    void *context;
    uint64_t ahead; /* bytes to pass over */
    char buffer[2 * JOURNAL_LINE_MAX];
    size_t used;
    bool skipping; /* the rest of a line that is too long */
};

static int take_lines(struct reader *r)
{
    char *at = r->buffer, *end = r->buffer + r->used, *newline;
    size_t pass = r->ahead < r->used ? (size_t)r->ahead : r->used;
    int rc = 0;

    at += pass;
    r->ahead -= pass;
    while (rc == 0 && (newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        if (!r->skipping)
            rc = r->fn(r->context, at, (size_t)(newline - at));
        r->skipping = false;
        at = newline + 1;
    }
    r->used = (size_t)(end - at);
    if (r->used > JOURNAL_LINE_MAX) {
        r->skipping = true;
        r->used = 0;
    }
    memmove(r->buffer, at, r->used);
    return rc;
}

static int read_part(const char *path, uint64_t from, struct reader *r, struct hk_why *why)
{
    struct part *part = part_open(path, why);
    ssize_t n = 0;
    int rc = 0;

    if (part == NULL)
        return HK_EIO;
    r->used = 0;
    r->skipping = false;
    r->ahead = from;
    if (part->zstd == NULL && lseek(part->fd, (off_t)from, SEEK_SET) == (off_t)from)
        r->ahead = 0;
    while (rc == 0 && (n = part_read(part, r->buffer + r->used, sizeof r->buffer - r->used, why)) > 0) {
        r->used += (size_t)n;
        rc = take_lines(r);
    }
    part_close(part);
    return rc != 0 ? rc : (int)n;
}

/* ---- parts ---- */

/* "ID:OFFSET": in which part, and where in it. */
static bool find_place(const struct event_parts *parts, const char *place, size_t *part, uint64_t *offset)
{
    char id[EVENT_ID_SIZE];
    unsigned long long bytes;

    if (sscanf(place, "%47[0-9-]:%llu", id, &bytes) != 2)
        return false;
    for (size_t i = parts->count; i-- > 0;)
        if (begins_with(parts->path[i], id)) {
            *part = i;
            *offset = bytes;
            return true;
        }
    return false;
}

int journal_read(const char *file, const char *place, bool *found,
                 int (*fn)(void *context, const char *line, size_t length), void *context, struct hk_why *why)
{
    struct reader *reader = malloc(sizeof *reader);
    struct event_parts parts;
    size_t first = 0;
    uint64_t offset = 0;
    int rc;

    if (reader == NULL)
        return why_set(why, HK_ENOMEM, "no memory to read the event log again");
    reader->fn = fn;
    reader->context = context;
    rc = event_parts_list(file, &parts, why);
    *found = rc == 0 && find_place(&parts, place, &first, &offset);
    for (size_t i = first; i < parts.count && rc == 0; i++)
        rc = read_part(parts.path[i], i == first ? offset : 0, reader, why);
    event_parts_free(&parts);
    free(reader);
    return rc;
}

void journal_pack(const char *file)
{
    struct event_parts parts;
    struct hk_why why;
    unsigned packed = 0;

    if (event_parts_list(file, &parts, &why) != 0)
        log_warning("%s", why.text);
    for (size_t i = 0; i < parts.count && packed < PACK_AT_ONCE; i++)
        if (strcmp(parts.path[i], file) != 0 && !is_packed(parts.path[i])) {
            eventlog_compress(parts.path[i]);
            packed++;
        }
    event_parts_free(&parts);
}
