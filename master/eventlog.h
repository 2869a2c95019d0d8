/* eventlog.h - the event log (design 14): one JSON object a line, written by the master alone, before the ledger.
 *
 * Lines gather in memory and are written by eventlog_flush, once a turn; what is not written is kept and tried again. A
 * torn last line is cut off when the file is opened. Past `rotate_bytes` the file is renamed to NAME.TIME, compressed by
 * zstd to NAME.TIME.zst, and begun anew. Each file begins with a line of its own, by whose id a place in the log is named.
 */
#ifndef MASTER_EVENTLOG_H
#define MASTER_EVENTLOG_H

#include "hikyaku/config.h"
#include "hikyaku/state.h"

#define EVENT_ID_SIZE 48 /* "epoch-number" and a NUL */
/* What an old region left is numbered by its slot, beyond all that its own node can have written: whoever settles it again,
 * because the one before died in that, says the same ids. */
#define EVENT_SETTLED ((uint64_t)1 << 40)

struct eventlog {
    const struct config *config;
    int fd;
    uint64_t epoch, number;         /* the next line's id is epoch-number */
    uint64_t file_bytes, rotate_at; /* past this size it is put aside */
    uint64_t line_us;               /* when the last line was begun, as it says itself */
    char first_id[EVENT_ID_SIZE];   /* of the first line of the file */
    char *buffer;
    size_t used, room;
    bool failing;  /* the last flush could not write: said once */
    bool unsynced; /* something was written since the last sync */
    bool astray;   /* its file is not where it belongs, and no new one can be begun: said once */
};

int eventlog_open(struct eventlog *log, const struct config *config, uint64_t epoch,
                  struct hk_why *why) HK_MUST_USE;
void eventlog_close(struct eventlog *log);
/* 0, or HK_EIO: nothing was lost, nothing that depends on the lines may go to the ledger yet. */
int eventlog_flush(struct eventlog *log) HK_MUST_USE;

/* Up to where the log is written, as "ID:OFFSET": the id of its file's first line, and bytes. `out` has LEASE_TOLD_SIZE. */
void eventlog_place(const struct eventlog *log, char *out);

/* About once a second: was the file moved, removed or cut by somebody else? Then a new one is begun, with a warning that says
 * what `campaigns restore` lacks. */
void eventlog_watch(struct eventlog *log);

/* Pack a part that was put aside, by a zstd of its own, so that no loop waits; the master reaps it with its other children.
 * What a zstd that was killed left is written over. Without one the part stays as it is. */
void eventlog_compress(const char *path);

/* See that what is written survives a power cut: about once a second, so that the log lacks at most its last second. */
void eventlog_sync(struct eventlog *log);

/* The id of a line of ours: false where it is none. */
bool event_id(const char *line, size_t length, char out[EVENT_ID_SIZE]) HK_MUST_USE;

/* A line: begin, members, end. The id is `number` of this epoch, or of a dead one's line that is told again. Returns the
 * number used. Text is cleaned and escaped here; a NULL text makes no member. */
uint64_t event_begin(struct eventlog *log, const char *type);
void event_begin_again(struct eventlog *log, const char *type, uint64_t epoch, uint64_t number);
void event_text(struct eventlog *log, const char *key, const char *text, size_t length);
void event_word(struct eventlog *log, const char *key, const char *text); /* NUL-terminated */
void event_number(struct eventlog *log, const char *key, uint64_t number);
/* "1.2.3": numbers with dots between, as a text. */
void event_dotted(struct eventlog *log, const char *key, const uint8_t *part, size_t parts);
void event_object(struct eventlog *log, const char *key);
void event_object_end(struct eventlog *log);
void event_end(struct eventlog *log);

#endif
