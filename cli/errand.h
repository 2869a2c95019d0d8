/* errand.h - a request that changes a campaign: to the running node, or done here by a short-lived one. */
#ifndef CLI_ERRAND_H
#define CLI_ERRAND_H

#include <jansson.h>

#include "cli.h"

#define ERRAND_INDEXES 300u /* recipients in one request (node.h) */

/* Reach the state, do it, and leave again. 0 and *reply, an object that says ok or not; takes over `request`. */
int errand_do(const struct config *config, json_t *request, json_t **reply, struct hk_why *why) HK_MUST_USE;
/* The same with a place that is reached already. The store of `reach` is closed meanwhile, and open again after. */
int errand_do_reached(struct reach *reach, json_t *request, json_t **reply, struct hk_why *why) HK_MUST_USE;
/* Several, one after the other: `next` makes the next one, of the reply to the one before (NULL at first), or says that there
 * is none any more. Only of "suppress" (node.h). An error of `next` is for its context to keep. HK_EBUSY: it was told to stop
 * before the last. */
int errand_each(struct reach *reach, json_t *(*next)(void *context, const json_t *reply), void *context,
                struct hk_why *why) HK_MUST_USE;
/* The exit status of a reply; what is not ok is said on standard error, with the recipients it names. */
int errand_status(const json_t *reply);

#endif
