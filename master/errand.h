/* errand.h - what a command asks of a campaign: begun at once, answered when it is true (design 4, 12).
 *
 * Each errand is one request of control.c, or the only one of a short-lived node. pause and cancel are answered when no
 * granted body is without its dot on any worker, after ERRAND_WAIT_MS with the names of those that are.
 */
#ifndef MASTER_ERRAND_H
#define MASTER_ERRAND_H

#include <jansson.h>

#include "master.h"

#define ERRAND_WAIT_MS 10000u
#define ERRAND_NAMED   20u  /* recipients that an answer names */
#define ERRAND_INDEXES 300u /* recipients in one request */

/* The answer, or NULL: it comes later, by control_answer(client, ...), or for a short-lived node (client NULL) to
 * node->answer. NULL and *known false: there is no such errand. */
json_t *errand_begin(struct node *node, const char *command, json_t *request, void *client, bool *known);
void errands_check(struct node *node);                      /* once a turn */
void errands_forget(struct node *node, const void *client); /* it went away: nobody is told */
void errands_close(struct node *node);
json_t *errand_error(const char *words, int exit_status);

/* control.c */
void control_answer(void *waiting, json_t *reply); /* takes reply */

#endif
