/* mention.h - addresses as they stand in texts: "<taro@example.com>:", "taro@example.com...", in the middle of a line. */
#ifndef BOUNCE_MENTION_H
#define BOUNCE_MENTION_H

#include "slice.h"

/* The address whose '@' stands at text.at[at]. False where there is none: no local part, a domain without a dot, or a
 * mailto: link. `tight`: it stands in angle brackets. */
bool mention_at(struct slice text, size_t at, struct slice *address, bool *tight);

/* The address that a field of a report names: "rfc822; <taro@example.com> (Taro)", "utf-8; ...", or alone. A domain may be
 * a single label or a literal. Writes at most size - 1 bytes; false where the value names a file, a program or nothing. */
bool mention_of_field(struct slice value, char *out, size_t size);

/* The same address, for tables: case does not count. Never 0. */
uint64_t mention_hash(struct slice address);

#endif
