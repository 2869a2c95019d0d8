/* meant.h - whom a token of our return path is of: its campaign here, and who stands at its place in the list.
 *
 * The address comes from the campaign's list. Where that is gone, or another campaign has its name by now, the address that
 * the mail names counts if the token's proof is that of this address, and no other one does.
 */
#ifndef MASTER_MEANT_H
#define MASTER_MEANT_H

#include "hikyaku/address.h"
#include "hikyaku/message.h"
#include "master.h"

struct meant {
    char campaign[CAMPAIGN_ID_MAX + 1]; /* its ID; of one that is gone as the token has it */
    char
        address[ADDRESS_MAX + 1]; /* local part '@' A-label domain; "" where nobody can be held to be meant */
    const char *ignored;          /* why not, a constant; "" somebody is */
    uint32_t index, domain_recipients;
    bool is_ours; /* the ledger knows this recipient under this index */
};

/* `reported`: the address that the mail names, "" none. HK_EDOWN, HK_ENOMEM, HK_EFULL, and HK_EINVAL where the secret cannot
 * be read; everything else that is not to be had is answered in *out. */
int meant_find(struct node *node, const char *token, const char *reported, struct meant *out,
               struct hk_why *why) HK_MUST_USE;
/* By what Amazon SES calls the message, where sns.remember has it kept: 1 and *out, 0 nobody remembers. */
int meant_find_by_id(struct node *node, const char *id, const char *reported, struct meant *out,
                     struct hk_why *why) HK_MUST_USE;
/* Have it kept: a message of this recipient was taken under that id. What cannot be kept is said once and left out. */
void meant_remember(struct campaign *campaign, uint32_t index, const char *id, size_t length,
                    uint64_t time_us);
/* The same of a token that was taken apart and holds; how old it is does not matter. */
int meant_of_token(struct node *node, const struct verp_token *token, const char *reported, struct meant *out,
                   struct hk_why *why) HK_MUST_USE;
/* Whom such a token is of, from a list that is opened for this question alone: where there is no room for one campaign more
 * (HK_EFULL). HK_EDOWN, HK_ENOMEM. */
int meant_beside(struct node *node, const struct verp_token *token, struct meant *out,
                 struct hk_why *why) HK_MUST_USE;
/* Who stands at its place in this campaign's list; out->ignored where it was not made for him. node->tokens is there. */
void meant_in_list(struct node *node, const struct campaign *campaign, const struct verp_token *token,
                   struct meant *out);
void meant_close(struct node *node);

/* Has he this mark in the ledger? False also where that cannot be asked. */
bool recipient_has_mark(struct node *node, const struct meant *meant, uint8_t mark);

/* A campaign in memory, also one that is settled: taken up for its list alone. NULL with 0: it is not to be had here. */
int campaign_for_marks(struct node *node, const char *id, struct campaign **out,
                       struct hk_why *why) HK_MUST_USE;

#endif
