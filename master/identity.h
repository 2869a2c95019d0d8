/* identity.h - who the node of a state_dir is: the ID that its lease and its place in the event log are kept under, and the
 * last epoch it had, so that a Redis that has forgotten cannot give it an old one again. One line in state_dir/node.id.
 */
#ifndef MASTER_IDENTITY_H
#define MASTER_IDENTITY_H

#include "hikyaku/node.h"

/* Read it, or make a new one. The caller holds the lock of state_dir. */
int identity_open(const struct config *config, struct node_place *place, struct hk_why *why) HK_MUST_USE;
/* Write it down, with the epoch that was drawn: before anything is done in its name. */
int identity_keep(const struct config *config, const struct node_place *place,
                  struct hk_why *why) HK_MUST_USE;

#endif
