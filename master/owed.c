/* owed.c - see owed.h. */
#include "owed.h"

#define AGAIN_MS 1000u

void owed_init(struct owed_list *list)
{
    *list = (struct owed_list){.count = 0};
    TAILQ_INIT(&list->waiting);
}

static void owed_end(struct owed_list *list, struct owed *owed)
{
    TAILQ_REMOVE(&list->waiting, owed, link);
    list->count--;
    owed->end(owed);
}

void owed_close(struct owed_list *list)
{
    struct owed *owed;

    while ((owed = TAILQ_FIRST(&list->waiting)) != NULL)
        owed_end(list, owed);
}

void owed_add(struct owed_list *list, struct owed *owed)
{
    TAILQ_INSERT_TAIL(&list->waiting, owed, link);
    list->count++;
}

bool owed_waits(const struct owed_list *list)
{
    return list->count > 0;
}

int owed_settle(struct owed_list *list, struct hk_why *why)
{
    struct owed *owed, *next;

    for (owed = TAILQ_FIRST(&list->waiting); owed != NULL; owed = next) {
        int rc = owed->apply(owed, why);
        next = TAILQ_NEXT(owed, link);
        if (rc == HK_EDOWN)
            return rc;
        if (rc == 0)
            owed_end(list, owed);
        else if (!list->said)
            log_warning("what is written down cannot be put in effect, and is tried again: %s", why->text);
        list->said = rc != 0 || list->said;
    }
    if (list->count == 0)
        list->said = false;
    return list->count < OWED_MAX
               ? 0
               : why_set(why, HK_EFULL, "%u requests are written down and wait for Redis", list->count);
}

void owed_turn(struct owed_list *list, uint64_t now_ms)
{
    struct hk_why why;

    if (list->count == 0 || now_ms < list->again_ms)
        return;
    list->again_ms = now_ms + AGAIN_MS;
    if (owed_settle(list, &why) == 0 && list->count == 0)
        log_info("what was written down while Redis was away is in effect");
}
