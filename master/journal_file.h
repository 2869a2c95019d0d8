/* journal_file.h - the parts of the event log in their order: what was rotated, packed or not, and the newest. */
#ifndef MASTER_JOURNAL_FILE_H
#define MASTER_JOURNAL_FILE_H

#include "eventlog.h"

#define JOURNAL_LINE_MAX 65536u /* a longer one is none of ours: skipped */

/* fn(context, line, length) for each line behind `place` (eventlog_place), without its newline; not 0 ends it with that.
 * *found: the place was there; else everything is read that there is. A torn last line is no line. HK_EIO: a part cannot be
 * read. */
int journal_read(const char *file, const char *place, bool *found,
                 int (*fn)(void *context, const char *line, size_t length), void *context,
                 struct hk_why *why) HK_MUST_USE;

/* Parts whose packing was cut off, or never begun, are packed now: a few of them, the others at a later start. */
void journal_pack(const char *file);

#endif
