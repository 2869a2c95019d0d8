/* unsubscribe.h - somebody wants no more mail of a list (RFC 8058): a line in the event log, then the suppression list and a mark.
 *
 * The line is the journal. Once it is written the wish is accepted, also while Redis is away; it is applied by the next turn
 * that finds Redis there, or told again from the log by the node's next life (a place in the log is not passed as long as
 * anything before it waits). Everything here may be done twice.
 */
#ifndef MASTER_UNSUBSCRIBE_H
#define MASTER_UNSUBSCRIBE_H

#include <jansson.h>

#include "master.h"

#define UNSUBSCRIBES_MAX 100000u /* that wait for Redis; more are asked to come again */

/* The answer to {"command":"unsubscribe", "token", "source"}; the caller's. */
json_t *unsubscribe_take(struct node *node, const json_t *request);
/* Apply what waits, as far as Redis takes it. */
void unsubscribes_turn(struct node *node);
bool unsubscribes_wait(const struct node *node);

/* A line of the event log that is told again: whoever is meant by its token is suppressed, with the ledger's next flush. *is_ours:
 * he stands in the ledger, and gets a mark of the caller. HK_EDOWN, HK_ENOMEM. */
int unsubscribe_retell(struct node *node, const char *token, const char *source, uint64_t time_us,
                       bool *is_ours, struct hk_why *why) HK_MUST_USE;

#endif
