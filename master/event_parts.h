/* event_parts.h - the files of the event log: parts that were put aside as NAME.TIME or NAME.TIME.zst, and the one in use. */
#ifndef MASTER_EVENT_PARTS_H
#define MASTER_EVENT_PARTS_H

#include "hikyaku/base.h"

struct event_parts {
    char *folder;
    char **path; /* oldest first; the one in use last, where it is there */
    size_t count;
};

/* What is there of `file`; a part whose packing was cut off counts once, unpacked. HK_EIO: the folder cannot be read. Free it
 * in any case. */
int event_parts_list(const char *file, struct event_parts *parts, struct hk_why *why) HK_MUST_USE;
void event_parts_free(struct event_parts *parts);

/* Where the part that ends now goes: named by the time, or, where the clock was set back, by a time just behind that of the
 * newest part: their order is all that tells which lines came first. Allocated; NULL: the folder cannot be read. */
char *event_parts_next(const char *file, uint64_t wall_us, struct hk_why *why) HK_MUST_USE;

#endif
