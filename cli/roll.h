/* roll.h - a campaign's compiled list on this machine: from an address to its recipient. */
#ifndef CLI_ROLL_H
#define CLI_ROLL_H

#include "cli.h"
#include "hikyaku/address.h"
#include "hikyaku/segment.h"

/* Open the segment of a campaign and see that it is the one in the manifest. HK_ENOENT: it is not on this machine. */
int roll_open(const struct config *config, const struct manifest *manifest, struct segment **out,
              struct hk_why *why) HK_MUST_USE;
/* The recipient of that address, a local part without regard to case, as the import counts duplicates. False: none. */
bool roll_find(const struct segment *segment, const struct address *address, uint32_t *index);
/* What a person typed, or HK_EINVAL with words. */
int roll_address(const char *text, struct address *out, struct hk_why *why) HK_MUST_USE;

#endif
