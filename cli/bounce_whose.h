/* bounce_whose.h - who is meant by a mail that came back: the token of our return path decides, whatever the mail says.
 *
 * The token stands in the envelope, in the header, or in the message that was sent back with a complaint. Its HMAC proves that
 * whoever wrote the mail has one of ours; its day, that it is not too old; its proof, whose address it was made for. The
 * address comes from the campaign's list. Where that is gone, or another campaign has its name by now, the address that the
 * mail names counts if the token's proof is that of this address, and no other one does.
 */
#ifndef CLI_BOUNCE_WHOSE_H
#define CLI_BOUNCE_WHOSE_H

#include "cli.h"
#include "hikyaku/address.h"
#include "hikyaku/message.h"
#include "hikyaku/segment.h"

struct whose;
/* Reads the token's secret, and no other key. `reach` has to stay. */
int whose_open(const struct config *config, struct reach *reach, struct whose **out,
               struct hk_why *why) HK_MUST_USE;
void whose_close(struct whose *whose);

/* What a mail has of ours. */
enum whose_token { WHOSE_TOKEN, WHOSE_NONE, WHOSE_FORGED, WHOSE_OLD, WHOSE_SEVERAL };
const char *whose_token_words(enum whose_token found);

/* Look for the token. `envelope`: the recipient of the mail's envelope, NULL where it is not known; one that looks like a
 * token decides alone. */
enum whose_token whose_token(const struct whose *whose, const char *envelope, const char *mail, size_t length,
                             struct verp_token *out);

struct recipient {
    char campaign[CAMPAIGN_ID_MAX + 1]; /* its ID; of one that is gone as the token has it */
    char address[ADDRESS_MAX + 1];      /* local part '@' A-label domain; "": the mail has to name it */
    uint32_t index, domain_recipients;
    bool is_ours; /* the ledger knows this recipient under this index */
};
/* The recipient of a token. HK_EDOWN, HK_ENOMEM; everything else that is not to be had is answered in *out. */
int whose_recipient(struct whose *whose, const struct verp_token *token, struct recipient *out,
                    struct hk_why *why) HK_MUST_USE;

/* Does a mail that names this address mean the recipient? Where his address is not known, a proven one becomes it. */
bool whose_is_named(const struct whose *whose, const struct verp_token *token, struct recipient *recipient,
                    const char *named);

#endif
