/* grant.c - the block of grant.h. */
#include "grant.h"

#define CLOCKS_APART 1024u /* the clocks of two machines differ in pace by no more than one in so many */

void grant_begin(struct grant *grant, const struct limit_answer *answer, uint64_t asked_us, uint64_t now_us)
{
    grant->count = answer->granted;
    grant->used = 0;
    grant->asked_us = asked_us;
    grant->here_us = now_us;
    grant->first_us = answer->first_us;
    grant->interval_us = answer->interval_us;
    grant->late_us = answer->late_us;
    grant->spaced = answer->spaced;
}

/* Of the message whose turn it is. */
static uint64_t slot_us(const struct grant *grant)
{
    int64_t slot = grant->first_us + (int64_t)(grant->used * grant->interval_us);

    return slot > 0 ? (uint64_t)slot : 0;
}

uint64_t grant_wait_us(struct grant *grant, uint64_t now_us)
{
    for (; grant->used < grant->count; grant->used++) {
        uint64_t slot = slot_us(grant), from_us = grant->here_us + slot + slot / CLOCKS_APART;
        uint64_t last_us = grant->asked_us + slot - slot / CLOCKS_APART + grant->late_us;
        if (grant->spaced && grant->next_us > from_us)
            from_us = grant->next_us;
        if (now_us <= last_us && from_us <= last_us)
            return from_us > now_us ? from_us - now_us : 0;
    }
    return GRANT_NONE;
}

void grant_take(struct grant *grant, uint64_t now_us)
{
    grant->used++;
    grant->next_us = now_us + grant->interval_us;
}
