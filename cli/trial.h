/* trial.h - send --test ADDRESS,...: the first row's copy to those addresses, by real delivery, without a campaign.
 *
 * What runs is the node itself on a place of its own (state_dir/test: another lock, Redis, event log), so rendering,
 * DKIM, DNS, TLS and the dialogue are those of the campaign, and its ledger never hears of it. Each address is tried
 * once: no retries. The place is removed at the end. A node on state_dir may go on meanwhile; its limits and
 * suspensions are not this one's.
 */
#ifndef CLI_TRIAL_H
#define CLI_TRIAL_H

#include "campaign.h"
#include "commands.h"

#define TRIAL_ADDRESSES_MAX 50u

/* Prints each address with its outcome and reply. EXIT_SETTLED when all were accepted, else EXIT_STOPPED; what went
 * wrong before anything was sent was said on standard error, with the status that goes with it. */
int trial_run(const struct config *config, const struct cli_options *options);

/* The addresses in "a@x, b@y", each malloc'd; the caller frees them and the array. HK_EINVAL in words for one that is
 * none, for none at all, and for too many. */
int trial_addresses(const char *text, char ***out, size_t *count, struct hk_why *why) HK_MUST_USE;

/* The campaign ID of a test at that time, cut where ID is too long. */
void trial_campaign(const char *id, uint64_t wall_us, char out[CAMPAIGN_ID_MAX + 1]);

/* Write the test's list: the columns of the segment, record `record` for each address, its email replaced. */
int trial_list_write(const char *path, const struct segment *segment, const struct segment_record *record,
                     char *const *address, size_t count, struct hk_why *why) HK_MUST_USE;

#endif
