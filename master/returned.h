/* returned.h - what came back after a message was sent: a line in the event log, then Redis, then a mark in the ledger.
 *
 * Who is meant says the token of our return path (meant.h): from there on a recipient is an index of a campaign, an address,
 * or both. Whoever has found that out by other means names campaign, recipient and index instead.
 */
#ifndef MASTER_RETURNED_H
#define MASTER_RETURNED_H

#include <jansson.h>

#include "hikyaku/bounce.h"
#include "hikyaku/feedback.h"
#include "master.h"

#define RETURNED_MAX 256u /* in one request */

/* Strings belong to the request. */
struct returned {
    enum bounce_kind kind;
    enum reply_class reply_class;
    enum disposition disposition;
    const char *campaign;  /* an ID, or what verp_campaign() makes of one; "" without a token */
    const char *recipient; /* local part '@' A-label domain; "" where nobody can be held to be meant */
    const char *reported;  /* whom the mail names, as it does; "" nobody */
    const char *ignored;   /* why it counts for nothing; "" it counts */
    const char *status, *text;
    const char *source;    /* how it came, where not as a mail: "ses" */
    const char *remote_id; /* what a relay called the message; "" */
    uint32_t index;
    uint32_t domain_recipients;
    uint16_t code;
    const json_t *heard; /* an array of texts by which it is known again when it is told twice; NULL none */
    bool is_ours;        /* the campaign is here, and the index is one of its list: the ledger gets a mark */
};

/* The answer, or NULL: it comes with the last verdict, see errand.c. *ops, malloc'd, are for the caller to push, `*count` of
 * them, each with its campaign; *reply is what to answer then. */
struct returned_mark {
    char campaign[CAMPAIGN_ID_MAX + 1];
    struct ledger_op op;
};
json_t *returned_take(struct node *node, json_t *request, struct returned_mark **mark, size_t *count,
                      json_t **reply);

/* The ledger has answered about a mark of one that nobody waits for any more. */
void returned_marked(struct node *node, uint32_t number);

/* What a person has to know of: a breaker that has tripped, or no room to hold any more. Else nothing. */
void returned_alarm(struct node *node, const char *campaign, const char *recipient,
                    const struct feedback_result *result);

/* A line of the event log that is told again: the suppression or the count that followed from it. */
int returned_retell(struct campaign *campaign, uint32_t index, const struct returned *returned,
                    uint64_t time_us, struct hk_why *why) HK_MUST_USE;

/* The mark that the ledger gets for it; 0: none. */
uint8_t returned_marks(const struct returned *returned);

#endif
