/* ask.h - talk to the running node in JSON: one request, one reply. */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include <jansson.h>

#include "cli.h"

#define ASK_TIMEOUT_MS 10000u

/* Send `request` and parse the reply. 0 and *reply (json_decref it) for {"ok":true}; HK_EDOWN where no node
 * answers; HK_EINVAL with the node's words in why and its exit status in *status where it refuses. Takes over
 * `request`. */
int ask_node(const struct config *config, json_t *request, json_t **reply, int *status,
             struct hk_why *why) HK_MUST_USE;

/* The figures of one element of a status reply's "campaigns"; what is missing is 0. */
void ask_progress(const json_t *campaign, struct node_progress *out);
/* The element of that campaign in a status reply, or NULL. */
const json_t *ask_campaign(const json_t *reply, const char *campaign);

#endif
