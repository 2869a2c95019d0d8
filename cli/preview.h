/* preview.h - send --dry-run: the first copies as files, and what would be sent.
 *
 * Reads the list and the message as `send` does, asks no DNS and no Redis, makes no campaign. Writes below
 * state_dir/campaigns/ID/preview/ only, whatever stood there before.
 */
#ifndef CLI_PREVIEW_H
#define CLI_PREVIEW_H

#include "campaign.h"
#include "commands.h"

#define PREVIEW_COPIES_MAX 10u

/* The exit status; what went wrong was said on standard error. */
int preview_run(const struct config *config, const struct cli_options *options);

/* The `room` records with the lowest rows, lowest first; the number of them, or HK_EPROTO for a damaged segment. */
int preview_first_rows(const struct segment *segment, uint32_t *index, int room) HK_MUST_USE;

#endif
