/* segment.h - a list compiled into one immutable file: validated, deduplicated, grouped by destination
 * domain.
 *
 * The importer writes it, everybody else maps it read-only. The same input gives the same bytes on every
 * node. Order of records: domains with SPAN_MAX / 4 or more recipients first, then the small ones, both in
 * order of first appearance; inside a domain in input order. A span is up to SPAN_MAX consecutive records:
 * big domains have spans of their own, small ones are packed together (a domain never crosses a packed span's
 * end).
 */
#ifndef HIKYAKU_SEGMENT_H
#define HIKYAKU_SEGMENT_H

#include "hikyaku/base.h"
#include "hikyaku/config.h"

#define SEGMENTS_MAX        1024u /* of one campaign */
#define SPAN_MAX            4096u
#define SEGMENT_COLUMNS_MAX 256u
#define IMPORT_FIELD_MAX    65536u     /* bytes of one field; a longer one rejects its row */
#define IMPORT_ROWS_MAX     250000000u /* rows this importer takes */

struct import_options {
    const char *list_path;     /* CSV with a header row, or JSON Lines; "-": standard input */
    const char *encoding;      /* of the list, a name that iconv knows; NULL: UTF-8 */
    const char *segment_path;  /* written through a temporary file beside it; fsynced; mode 0600 */
    const char *rejected_path; /* CSV: row, reason, text; NULL: not kept. Written even when empty of rows */
    /* Segments of the campaign so far: recipients that one of them has are left out, whatever their other fields. */
    const char *const *earlier;
    uint32_t earlier_count;
    /* May this provider's domain have a legacy local part (".."; trailing dot)? NULL: never. */
    bool (*legacy_allowed)(void *context, const char *domain);
    void *context;
    /* Called now and then with rows read so far; may be NULL. */
    void (*progress)(void *context, uint64_t rows);
};

struct import_result {
    uint64_t rows;       /* data rows read */
    uint64_t recipients; /* records written */
    uint64_t duplicates;
    uint64_t rejected;
    uint64_t already; /* mailboxes of the list that an earlier segment has */
    uint64_t gone;    /* mailboxes of earlier segments that the list has not */
    uint32_t domains;
    char segment_sha256[HK_SHA256_HEX];
    char input_sha256[HK_SHA256_HEX]; /* of the list as it was read */
    char hint
        [128]; /* rows were not UTF-8: what the list looks like and what to add; "" when there is nothing to say */
};

/* Read a list and write its segment, in this process, within some 200 MB whatever its size (and 50 bytes for each
 * domain): what is more is sorted in a nameless file beside the segment. 0, or HK_E* with "FILE:LINE: ..." in why.
 * No partial segment is ever left at segment_path. A list without a single valid recipient is HK_EINVAL, and
 * its rejected rows are kept; one that is changed while it is read is HK_ECHANGED; HK_EBUSY: another process
 * is writing this segment. A list of which earlier segments have everybody is 0 with no recipients, and no segment
 * is written. */
int list_import(const struct import_options *options, struct import_result *out,
                struct hk_why *why) HK_MUST_USE;

/* The same in a child process of its own, so that no loop of the caller waits on parsing. The caller waits
 * for `pipe` to become readable and calls list_import_poll(). The options' progress callback is not called:
 * progress is in `rows`. The child dies with its parent. */
struct import_child {
    int pid;
    int pipe; /* readable when progress or the result came; see list_import_poll */
    struct import_result result;
    struct hk_why why;
    uint64_t rows; /* progress */
    int status;    /* once done: 0 or HK_E* */
    bool told;     /* the result has come; the end of the process has not yet */
    bool done;
};
int list_import_start(const struct import_options *options, struct import_child *out,
                      struct hk_why *why) HK_MUST_USE;
/* Read what has come without blocking; sets done, status, result and why when the child has ended (and reaps
 * it). A child killed by a signal is HK_EIO in words. */
void list_import_poll(struct import_child *child);

struct segment; /* an open, mapped segment */

struct segment_domain {
    const char *name; /* lower-case A-labels, NUL-terminated, in the mapping */
    uint32_t first;   /* index of its first record in this segment */
    uint32_t count;
};

struct segment_span {
    uint32_t first;
    uint32_t count;
    uint32_t domain_first; /* the domains it touches: domain_first .. domain_first + domain_count - 1 */
    uint32_t domain_count;
};

struct segment_field {
    const char *text; /* not NUL-terminated; valid UTF-8 without NUL */
    uint32_t length;
};

struct segment_record {
    const char *email; /* as written in the list, not NUL-terminated: what the report shows */
    const char *wire;  /* local part as written, '@', domain as A-labels: what goes behind RCPT TO; NOT
                          NUL-terminated */
    uint32_t email_length, wire_length;
    uint32_t wire_local_length; /* octets of `wire` before '@' */
    uint32_t domain;            /* index of its domain */
    uint32_t row;               /* line of data in the input, the first data row being 1 */
    bool smtputf8;
    struct segment_field field[SEGMENT_COLUMNS_MAX]; /* one for each column, `email` included */
};

/* Map a segment and check magic, version, size and every offset that later reads rely on (the file may be
 * damaged: no read of ours may leave the mapping). `verify` also compares the SHA-256 of the content. */
int segment_open(const char *path, bool verify, struct segment **out, struct hk_why *why) HK_MUST_USE;
/* Several segments as one, each behind the one before it: records, domains and spans are counted through all of
 * them, so an index keeps its meaning when another segment is added. A domain may come once in each. They must have the
 * same columns (HK_ECHANGED). The SHA-256 is that of the hex digests of all, one behind another; of one segment it is
 * its own. */
int segment_open_all(const char *const *path, uint32_t count, bool verify, struct segment **out,
                     struct hk_why *why) HK_MUST_USE;
/* All segments of a campaign, from state_dir/campaigns/ID/segment-N.seg, as one. */
int segment_open_campaign(const struct config *config, const char *campaign, uint32_t segments, bool verify,
                          struct segment **out, struct hk_why *why) HK_MUST_USE;
void segment_close(struct segment *segment);
/* Processes forked from now on do not have it: a list is nothing for those that face the network. */
void segment_keep_from_children(const struct segment *segment);

uint32_t segment_count(const struct segment *segment);
uint32_t segment_domain_count(const struct segment *segment);
uint32_t segment_span_count(const struct segment *segment);
uint32_t segment_column_count(const struct segment *segment);
const char *segment_column(const struct segment *segment,
                           uint32_t column);               /* trimmed, as in the header row */
const char *segment_sha256(const struct segment *segment); /* 64 hex digits, from the trailer */
struct segment_domain segment_domain(const struct segment *segment, uint32_t domain);
struct segment_span segment_span(const struct segment *segment, uint32_t span);
uint32_t segment_span_of(const struct segment *segment,
                         uint32_t index); /* the span that holds record `index` */
uint32_t segment_domain_of(const struct segment *segment, uint32_t index); /* the domain of record `index` */

/* Decode record `index` (< segment_count) into out; pointers into the mapping. 0, or HK_EPROTO on a damaged
 * record. */
int segment_record(const struct segment *segment, uint32_t index, struct segment_record *out) HK_MUST_USE;

#endif
