/* fuzz_journal.c - any bytes as a line of the event log: evidence within its bounds, or nothing. */
#include "journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct journal_entry entry;

    if (journal_line((const char *)data, size, &entry))
        HK_BUG_ON(!campaign_id_is_valid(entry.campaign) || entry.word.code > 999 ||
                  (entry.word.state != LEDGER_SENT && entry.word.state != LEDGER_BOUNCED) ||
                  entry.word.reply_class >= CLASSES);
    return 0;
}
