/* fuzz_tlsa.c - a DNS message about TLSA records, as a server may send it, into a set that is partly filled: whatever it
 * says, the set stays sound, and its state says what is in it. The first byte tells how full the set is before. */
#include <string.h>

#include "reading.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOST 3u

static void fill(struct dane_set *set, unsigned records)
{
    static const uint8_t bytes[64];

    for (unsigned i = 0; i < records; i++) {
        struct dane_record record = {.host = (uint8_t)(4 + i % 12), .usage = DANE_EE, .length = 64};
        if (!dane_add(set, &record, bytes))
            return;
    }
}

static void set_check(const struct dane_set *set, const struct dane_set *before, enum dane_state state,
                      const struct reading *reading)
{
    uint32_t added = 0;

    HK_BUG_ON(!dane_is_sound(set));
    HK_BUG_ON(set->record_count < before->record_count || set->bytes_used > DANE_BYTES);
    HK_BUG_ON(memcmp(set->record, before->record, before->record_count * sizeof set->record[0]) != 0);
    for (uint32_t i = before->record_count; i < set->record_count; i++) {
        HK_BUG_ON(set->record[i].host != HOST || set->record[i].selector > 1);
        HK_BUG_ON(set->record[i].usage != DANE_TA && set->record[i].usage != DANE_EE);
        added++;
    }
    if (reading->verdict == READING_FOUND)
        HK_BUG_ON((state == DANE_USABLE) != (added > 0) || state == DANE_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dane_set set = {0}, before;
    struct reading reading;
    enum dane_state state;
    uint8_t *bytes;

    if (size == 0)
        return 0;
    log_threshold = LOG_LEVEL_ERROR;
    fill(&set, data[0] % 40);
    before = set;
    bytes = hk_xrealloc(NULL, size, 1); /* of exactly its size */
    memcpy(bytes, data + 1, size - 1);
    reading_tlsa(bytes, size - 1, HOST, &set, &state, &reading);
    set_check(&set, &before, state, &reading);
    reading_cname(bytes, size - 1, &reading);
    HK_BUG_ON(reading.verdict == READING_FOUND && reading.ttl_s == 0xffffffffu);
    free(bytes);
    return 0;
}
