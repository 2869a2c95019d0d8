/* segment_write.h - a grouped roster becomes the bytes of a segment (format.h). Used by the import only. */
#ifndef LIST_SEGMENT_WRITE_H
#define LIST_SEGMENT_WRITE_H

#include "output.h"
#include "roster.h"

/* Write everything, trailer included, into `out` (opened with a digest), and tell the SHA-256. Errors stick in
 * `out`. The same roster and columns give the same bytes. */
void segment_write(struct output *out, const struct roster *roster, const struct roster_order *order,
                   char *const *column, char sha256[HK_SHA256_HEX]);

#endif
