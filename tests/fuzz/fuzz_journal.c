/* fuzz_journal.c - any bytes as a line of the event log: evidence within its bounds, or nothing. */
#include <string.h>

#include "by_hand.h"
#include "journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t kinds = 1u << OP_OUTCOME | 1u << OP_SETTLE | 1u << OP_RESEND | 1u << OP_MARK;
    struct by_hand_line by_hand;
    struct journal_entry entry;

    if (by_hand_line((const char *)data, size, &by_hand))
        HK_BUG_ON(by_hand.change > SUPPRESS_DROPPED || strlen(by_hand.entry.address) > ADDRESS_MAX ||
                  strlen(by_hand.entry.evidence) >= sizeof by_hand.entry.evidence);
    if (!journal_line((const char *)data, size, &entry))
        return 0;
    HK_BUG_ON(!campaign_id_is_valid(entry.campaign) || (kinds >> entry.kind & 1) == 0);
    HK_BUG_ON(entry.word.code > 999 || entry.word.reply_class >= CLASSES ||
              entry.word.state >= LEDGER_STATES_COUNT || entry.word.state == LEDGER_SENDING);
    HK_BUG_ON(entry.count == 0 || entry.count > SPAN_MAX || entry.text_length > sizeof entry.text);
    HK_BUG_ON(strlen(entry.site) >= sizeof entry.site || strlen(entry.source) >= sizeof entry.source);
    HK_BUG_ON(entry.disposition > DISPOSITION_SUPPRESS);
    return 0;
}
