/* journal.h - what the event log knows and the ledger may not: outcomes told in a line before the machine went down.
 *
 * Lines are written before the ledger hears of them, so after a power cut the log can hold an acceptance that the ledger
 * calls unknown. Evidence is told again through the same script, which changes nothing that it knows already.
 */
#ifndef MASTER_JOURNAL_H
#define MASTER_JOURNAL_H

#include "master.h"

#define JOURNAL_BYTES (64u * 1024 * 1024) /* of the newest log: more than can have been under way */

struct journal_entry {
    char campaign[CAMPAIGN_ID_MAX + 1];
    uint32_t index;
    struct ledger_word word; /* sent or bounced */
};

/* Read one line (without its newline). True: it is an attempt that ended in evidence about one recipient. Anything else,
 * damaged lines among it, is false. Pure. */
bool journal_line(const char *text, size_t length, struct journal_entry *out) HK_MUST_USE;
/* Tell the ledger what the newest part of the log says about the campaigns that are open here, and wait until it has heard.
 * HK_EDOWN when Redis does not take it, HK_EIO when the log cannot be read now: who has the message after all would be
 * unknown, and with campaign.unknown = resend get it twice. */
int journal_replay(struct node *node, struct hk_why *why) HK_MUST_USE;

#endif
