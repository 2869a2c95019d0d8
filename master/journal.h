/* journal.h - what the event log knows and the ledger may not: it is told to the ledger again.
 *
 * Lines are written before the ledger hears of them. So what a dead master wrote last, and all that a Redis has lost, stands
 * in the log; told again through the same script it changes nothing that is known already. From where on it has to be told
 * Redis itself knows: a place that was written with a beat behind everything it covers (state.h: store_told).
 */
#ifndef MASTER_JOURNAL_H
#define MASTER_JOURNAL_H

#include "master.h"

/* One line that moves recipients [index, index + count) of a campaign; with index UINT32_MAX: one that cancels all of it. */
struct journal_entry {
    char campaign[CAMPAIGN_ID_MAX + 1];
    uint64_t epoch,
        number; /* its id: the epoch of the node that wrote it, and the how-manieth of its lines */
    uint64_t time_us;
    uint32_t index, count;
    uint8_t kind; /* enum ledger_op_kind: OUTCOME, SETTLE, RESEND, MARK */
    struct ledger_word word;
    bool suppress;
    bool has_id;               /* of a message that was taken: text is what a relay calls it */
    bool delivered;            /* a MARK without a mark: mail has reached his address */
    uint8_t disposition;       /* enum disposition, of a MARK; of what only counts: COUNT */
    char source[16];           /* how a MARK came, where not as a mail */
    char site[DOMAIN_MAX + 1]; /* where he was sent to, "" not said */
    uint16_t text_length;
    char text[REGION_REPLY_TEXT]; /* of the reply, or as above */
};

/* Read one line (without its newline). Anything that moves nobody, damaged lines among it, is false. Pure. */
bool journal_line(const char *text, size_t length, struct journal_entry *out) HK_MUST_USE;

/* Before the first recipient of a campaign is taken: write down, in its folder, from where on the event log tells of it.
 * False: that cannot be, and the campaign stands still; said why. */
bool journal_begin(struct campaign *campaign) HK_MUST_USE;
/* Read it: campaign->begun_* and, where `place` is not NULL, the place in the log. 0 as well where it has not begun. */
int journal_begun(struct campaign *campaign, char place[LEASE_TOLD_SIZE], struct hk_why *why) HK_MUST_USE;

struct journal_story {
    uint64_t lines; /* that were told */
    bool whole;     /* the place was found; else what there is was told */
};
/* Tell the ledger what the log says from `place` on ("" or unknown: from its beginning) about every campaign whose list is
 * here, or only about `campaign`, and wait until it has heard. HK_EDOWN when Redis does not take it, HK_EIO when a part of
 * the log cannot be read. */
int journal_replay(struct node *node, const char *place, const char *campaign, struct journal_story *story,
                   struct hk_why *why) HK_MUST_USE;

#endif
