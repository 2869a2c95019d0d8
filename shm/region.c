/* region.c - lay out, make and attach the shared file of region.h.
 *
 * Touches the file and /proc's boot id, nothing else. region_attach believes nothing it has not checked: every offset is
 * computed again from the sizes and compared, so a damaged header cannot send a reader outside the mapping.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hikyaku/fault.h"
#include "hikyaku/region.h"

#define REGION_MAGIC "HKREGION"
#define PAGE_BYTES   4096u

const char *log_phase_name(enum log_phase phase)
{
    static const char *const name[] = {
#define LOG_PHASE_NAME(id, words) words,
        SMTP_LOG_PHASES(LOG_PHASE_NAME)
#undef LOG_PHASE_NAME
    };

    return phase < LOG_PHASES ? name[phase] : "?";
}

const char *host_tls_name(enum host_tls tls)
{
    switch (tls) {
    case HOST_TLS_DANE:
        return "dane";
    case HOST_TLS_UNUSED:
        return "unused";
    case HOST_TLS_STS:
        return "sts";
    case HOST_TLS_UNLISTED:
        return "unlisted";
    default:
        return tls_policy_name((enum tls_policy)tls);
    }
}

const char *tls_seen_name(enum tls_seen_result result)
{
    static const char *const name[] = {
#define TLS_SEEN_NAME(id, words) [TLS_SEEN_##id] = words,
        TLS_SEEN_RESULTS(TLS_SEEN_NAME)
#undef TLS_SEEN_NAME
    };

    return result < TLS_SEEN_COUNT ? name[result] : "?";
}

static uint32_t power_of_two_at_least(uint32_t n)
{
    uint32_t p = 1;

    while (p < n)
        p *= 2;
    return p;
}

struct region_sizes region_sizes_for(uint32_t workers, uint32_t connections)
{
    struct region_sizes sizes;

    HK_BUG_ON(workers == 0 || workers > REGION_WORKERS_MAX || connections == 0);
    sizes.workers = workers;
    /* Any worker may come to hold all connections; each has two messages under way, and a few wait behind them. */
    sizes.conn_slots = connections;
    sizes.flight_slots = connections * 2 < 1024 ? 1024 : connections * 2;
    sizes.dest_slots = connections + 1024;
    /* Down: a send and a grant for each flight, an open and a close for each connection, drain and exit. Up: a commit and
     * a done for each flight, opened and closed for each connection. */
    sizes.ring_slots = power_of_two_at_least(2 * sizes.flight_slots + 2 * sizes.conn_slots + 2);
    return sizes;
}

static uint64_t page_align(uint64_t at)
{
    return (at + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
}

static void layout(struct region_header *h)
{
    const struct region_sizes *s = &h->sizes;
    uint64_t at = page_align(sizeof *h);

    h->campaigns_at = at;
    at = page_align(at + REGION_CAMPAIGNS_MAX * sizeof(struct region_campaign));
    h->destinations_at = at;
    at = page_align(at + s->dest_slots * sizeof(struct destination));
    h->workers_at = at;

    at = 0;
    h->down_at = at;
    at = page_align(at + ring_bytes(s->ring_slots));
    h->up_at = at;
    at = page_align(at + ring_bytes(s->ring_slots));
    h->flights_at = at;
    at = page_align(at + s->flight_slots * sizeof(struct flight));
    h->conns_at = at;
    at = page_align(at + s->conn_slots * sizeof(struct conn_info));
    h->counters_at = at;
    h->worker_stride = page_align(at + sizeof(struct counters));
    h->bytes = h->workers_at + h->worker_stride * s->workers;
}

/* False: errno says why. A region without it is never believed again, so nothing is made without. */
static bool read_boot_id(char out[40])
{
    size_t used = 0;
    ssize_t n;
    int error, fd;

    if (fault_boot_id(out))
        return true;
    fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    while (used < 36 && ((n = read(fd, out + used, 36 - used)) > 0 || (n < 0 && errno == EINTR)))
        used += n > 0 ? (size_t)n : 0;
    error = used < 36 && n == 0 ? ENODATA : errno;
    close(fd);
    out[used] = '\0';
    errno = error;
    return used == 36;
}

static int no_boot_id(const char *path, struct hk_why *why)
{
    return why_set(why, HK_EIO, "%s: cannot tell which start of the machine this is: %s", path,
                   strerror(errno));
}

static void region_point(struct region *region)
{
    struct region_header *h = region->header;

    region->campaign = (struct region_campaign *)(region->base + h->campaigns_at);
    region->destination = (struct destination *)(region->base + h->destinations_at);
}

static int region_map(struct region *region, const char *path, struct hk_why *why)
{
    void *at = mmap(NULL, region->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);

    if (at == MAP_FAILED) {
        why_set(why, HK_ENOMEM, "%s: cannot map %zu bytes: %s", path, region->bytes, strerror(errno));
        close(region->fd);
        region->fd = -1;
        return HK_ENOMEM;
    }
    region->base = at;
    region->header = at;
    return 0;
}

/* The old file keeps its name with ".old" behind it, so that whoever still maps it is not disturbed. */
static int region_file_new(const char *path, uint64_t bytes, struct hk_why *why)
{
    char *old = hk_xasprintf("%s.old", path);
    int fd, error;

    if (rename(path, old) != 0 && errno != ENOENT) {
        error = why_set(why, HK_EIO, "%s: cannot rename the old region: %s", path, strerror(errno));
        free(old);
        return error;
    }
    free(old);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return why_set(why, HK_EIO, "%s: %s", path, strerror(errno));
    /* Blocks are reserved now: a full disk is an error here, and never a SIGBUS in the middle of a message. */
    do
        error = posix_fallocate(fd, 0, (off_t)bytes);
    while (error == EINTR);
    if (error != 0) {
        close(fd);
        unlink(path);
        return why_set(why, HK_EIO, "%s: cannot reserve %llu bytes: %s", path, (unsigned long long)bytes,
                       strerror(error));
    }
    return fd;
}

int region_create(const char *path, struct region_sizes sizes, uint64_t epoch, struct region *out,
                  struct hk_why *why)
{
    struct region_header header = {.layout = REGION_LAYOUT, .sizes = sizes, .epoch = epoch};
    int rc;

    memset(out, 0, sizeof *out);
    if (!read_boot_id(header.boot_id))
        return no_boot_id(path, why);
    header.master_pid = (int32_t)getpid();
    layout(&header);
    rc = region_file_new(path, header.bytes, why);
    if (rc < 0)
        return rc;
    out->fd = rc;
    out->bytes = header.bytes;
    rc = region_map(out, path, why);
    if (rc != 0) {
        unlink(path); /* nothing was in it yet */
        return rc;
    }
    memcpy(out->header, &header, sizeof header);
    region_point(out);
    for (uint32_t w = 0; w < sizes.workers; w++) {
        ring_init(region_down(out, w), sizes.ring_slots);
        ring_init(region_up(out, w), sizes.ring_slots);
    }
    /* Last: a region without its magic was never finished and has nothing to tell. */
    memcpy(out->header->magic, REGION_MAGIC, sizeof out->header->magic);
    return 0;
}

static bool sizes_are_sane(const struct region_sizes *s)
{
    return s->workers > 0 && s->workers <= REGION_WORKERS_MAX && s->conn_slots > 0 &&
           s->conn_slots <= 1u << 20 && s->flight_slots > 0 && s->flight_slots <= 1u << 21 &&
           s->dest_slots <= 1u << 21 && s->ring_slots > 0 && s->ring_slots <= 1u << 23 &&
           (s->ring_slots & (s->ring_slots - 1)) == 0;
}

static bool same_layout(const struct region_header *a, const struct region_header *b)
{
    return a->bytes == b->bytes && a->campaigns_at == b->campaigns_at &&
           a->destinations_at == b->destinations_at && a->workers_at == b->workers_at &&
           a->worker_stride == b->worker_stride && a->down_at == b->down_at && a->up_at == b->up_at &&
           a->flights_at == b->flights_at && a->conns_at == b->conns_at && a->counters_at == b->counters_at;
}

static bool region_is_whole(const struct region *region)
{
    struct region_header want = *region->header;

    if (memcmp(want.magic, REGION_MAGIC, sizeof want.magic) != 0 || want.layout != REGION_LAYOUT ||
        !sizes_are_sane(&want.sizes) || memchr(want.boot_id, '\0', sizeof want.boot_id) == NULL)
        return false;
    layout(&want);
    if (want.bytes != region->bytes || !same_layout(&want, region->header))
        return false;
    for (uint32_t w = 0; w < want.sizes.workers; w++)
        if (!ring_is_valid(region_down(region, w), want.sizes.ring_slots) ||
            !ring_is_valid(region_up(region, w), want.sizes.ring_slots))
            return false;
    return true;
}

int region_attach(const char *path, struct region *out, bool *same_boot, struct hk_why *why)
{
    struct stat st;
    char boot_id[40];
    int rc;

    memset(out, 0, sizeof *out);
    out->fd = open(path, O_RDWR | O_CLOEXEC);
    if (out->fd < 0)
        return why_set(why, errno == ENOENT ? HK_ENOENT : HK_EIO, "%s: %s", path, strerror(errno));
    if (fstat(out->fd, &st) != 0) {
        why_set(why, HK_EIO, "%s: %s", path, strerror(errno));
        close(out->fd);
        return HK_EIO;
    }
    if (st.st_size < (off_t)sizeof(struct region_header)) {
        close(out->fd);
        return why_set(why, HK_ECHANGED, "%s: not a region of this version", path);
    }
    out->bytes = (size_t)st.st_size;
    rc = region_map(out, path, why);
    if (rc != 0)
        return rc;
    if (!region_is_whole(out)) {
        region_close(out);
        return why_set(why, HK_ECHANGED, "%s: not a region of this version, or never finished", path);
    }
    if (!read_boot_id(boot_id)) {
        rc = no_boot_id(path, why);
        region_close(out);
        return rc;
    }
    region_point(out);
    *same_boot = strcmp(boot_id, out->header->boot_id) == 0;
    return 0;
}

void region_close(struct region *region)
{
    if (region->base == NULL)
        return;
    munmap(region->base, region->bytes);
    close(region->fd);
    memset(region, 0, sizeof *region);
}

static uint8_t *worker_part(const struct region *region, uint32_t worker, uint64_t at)
{
    HK_BUG_ON(worker >= region->header->sizes.workers);
    return region->base + region->header->workers_at + worker * region->header->worker_stride + at;
}

struct ring *region_down(const struct region *region, uint32_t worker)
{
    return (struct ring *)worker_part(region, worker, region->header->down_at);
}

struct ring *region_up(const struct region *region, uint32_t worker)
{
    return (struct ring *)worker_part(region, worker, region->header->up_at);
}

struct flight *region_flight(const struct region *region, uint32_t worker, uint32_t slot)
{
    HK_BUG_ON(slot >= region->header->sizes.flight_slots);
    return (struct flight *)worker_part(region, worker, region->header->flights_at) + slot;
}

struct conn_info *region_conn(const struct region *region, uint32_t worker, uint32_t conn)
{
    HK_BUG_ON(conn >= region->header->sizes.conn_slots);
    return (struct conn_info *)worker_part(region, worker, region->header->conns_at) + conn;
}

struct counters *region_counters(const struct region *region, uint32_t worker)
{
    return (struct counters *)worker_part(region, worker, region->header->counters_at);
}

const char *destination_mx_name(const struct destination *dest, uint8_t mx)
{
    return mx < dest->mx_count ? dest->names + dest->mx_offset[mx] : "";
}
