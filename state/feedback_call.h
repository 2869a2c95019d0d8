/* feedback_call.h - one call of feedback.lua: made once, sent as often as needed (private to state/). */
#ifndef HIKYAKU_STATE_FEEDBACK_CALL_H
#define HIKYAKU_STATE_FEEDBACK_CALL_H

#include <hiredis/hiredis.h>

#include "hikyaku/feedback.h"

#define SOFT_KEY         "hikyaku:soft:%s:%s" /* class, address key */
#define FEEDBACK_KEYS    9
#define FEEDBACK_NUMBERS 9
#define FEEDBACK_ARGC    (3 + FEEDBACK_KEYS + 6 + FEEDBACK_NUMBERS)

struct feedback_call {
    char key[ADDRESS_MAX + 1]; /* of the address */
    char scope[SUPPRESS_SCOPE_MAX];
    char message[FEEDBACK_MESSAGE_MAX];
    const char *op;
    char *value;
    char *redis_key[FEEDBACK_KEYS];
    char number[FEEDBACK_NUMBERS][24];
};

/* Into a zeroed one. HK_EINVAL: an entry that cannot be added, or nothing is to be done; HK_ENOMEM. feedback_call_free() in
 * any case. */
int feedback_call_make(struct feedback_call *call, const struct config *config,
                       const struct feedback *feedback, struct hk_why *why) HK_MUST_USE;
void feedback_call_free(struct feedback_call *call);
/* The command, EVAL with the script or EVALSHA with its sum; argv points into the call. */
void feedback_call_command(const struct feedback_call *call, const char *verb, const char *script,
                           const char *argv[FEEDBACK_ARGC]);
/* False: no answer that the script gives. `limit` is not touched. */
bool feedback_call_read(const redisReply *reply, struct feedback_result *result);
/* What suppresses by its count; count 0: nothing does. */
struct cfg_soft feedback_soft_rule(const struct config *config, const char *reply_class);

#endif
