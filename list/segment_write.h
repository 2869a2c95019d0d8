/* segment_write.h - a grouped roster becomes the bytes of a segment (format.h). Used by the import only. */
#ifndef LIST_SEGMENT_WRITE_H
#define LIST_SEGMENT_WRITE_H

#include "columns.h"
#include "spill.h"

/* Write everything, trailer included, into `out` (opened with a digest), and tell the SHA-256. The records are in
 * the roster, or in the spill where there is one. The same recipients and columns give the same bytes either way.
 * 0, or HK_EIO or HK_ENOMEM of the spill; what fails in `out` sticks there. */
int segment_write(struct output *out, const struct roster *roster, const struct spill *spill,
                  const struct roster_order *order, const struct columns *columns,
                  char sha256[HK_SHA256_HEX]) HK_MUST_USE;

#endif
