/* segment_bytes.h - a segment that lies in memory already: what segment_open() does behind the mapping.
 *
 * Tests and the fuzzer use it, because a sanitizer sees the ends of a heap block but not those of a mapping.
 */
#ifndef LIST_SEGMENT_BYTES_H
#define LIST_SEGMENT_BYTES_H

#include "hikyaku/segment.h"

/* As segment_open(); `bytes` (aligned to 8) stay the caller's and have to outlive the segment; `name` is for
 * words. */
int segment_from_bytes(const char *name, const void *bytes, size_t size, bool verify, struct segment **out,
                       struct hk_why *why) HK_MUST_USE;

#endif
