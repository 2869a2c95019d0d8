/* wish.c - see wish.h. */
#include "wish.h"

#include <string.h>

#define AT_ONCE       256u
#define ASIDE_AT_ONCE 16u   /* in a second: each may cost some round trips, and likely in vain */
#define AGAIN_MS      1000u /* after one could not be done */

void wishes_init(struct wishes *wishes)
{
    memset(wishes, 0, sizeof *wishes);
    STAILQ_INIT(&wishes->waiting);
    STAILQ_INIT(&wishes->aside);
    STAILQ_INIT(&wishes->awaited);
}

static void wish_end(struct wishes *wishes, struct wish *wish)
{
    table_remove(&wishes->by_token, &wish->by_token);
    free(wish);
}

void wishes_close(struct wishes *wishes)
{
    struct wish *wish;

    STAILQ_CONCAT(&wishes->waiting, &wishes->aside);
    STAILQ_CONCAT(&wishes->waiting, &wishes->awaited);
    while ((wish = STAILQ_FIRST(&wishes->waiting)) != NULL) {
        STAILQ_REMOVE_HEAD(&wishes->waiting, link);
        wish_end(wishes, wish);
    }
    table_clear(&wishes->by_token);
}

size_t wishes_count(const struct wishes *wishes)
{
    return wishes->by_token.count;
}

bool wishes_has(const struct wishes *wishes, const char *token)
{
    return table_find(&wishes->by_token, token) != NULL;
}

struct wish *wishes_add(struct wishes *wishes, const char *token, const char *source)
{
    struct wish *wish;

    if (strlen(token) >= sizeof wish->token || strlen(source) >= sizeof wish->source)
        return NULL;
    wish = calloc(1, sizeof *wish);
    if (wish == NULL)
        return NULL;
    memcpy(wish->token, token, strlen(token) + 1);
    memcpy(wish->source, source, strlen(source) + 1);
    if (++wishes->number == 0)
        wishes->number = 1;
    wish->number = wishes->number;
    STAILQ_INSERT_TAIL(&wishes->waiting, wish, link);
    table_add(&wishes->by_token, &wish->by_token, wish->token);
    return wish;
}

/* The first of a queue: true where the next one may be tried. */
static bool try_first(struct wishes *wishes, struct wish_queue *queue, wish_fn fn, void *context,
                      struct hk_why *why)
{
    struct wish *wish = STAILQ_FIRST(queue);
    enum wish_result result = fn(context, wish, why);
    bool is_first = queue == &wishes->waiting && STAILQ_EMPTY(&wishes->aside);

    if (result == WISH_HELD_UP)
        return false;
    STAILQ_REMOVE_HEAD(queue, link);
    if (result == WISH_DONE)
        wish_end(wishes, wish);
    else if (result == WISH_AWAITED)
        STAILQ_INSERT_TAIL(&wishes->awaited, wish, link);
    else
        STAILQ_INSERT_TAIL(&wishes->aside, wish, link);
    if (result == WISH_ASIDE && is_first)
        log_warning("somebody who unsubscribed is written down, and waits: %s", why->text);
    return true;
}

/* Some of them, each once; then those who were not tried stand before those who were. */
static bool try_aside(struct wishes *wishes, wish_fn fn, void *context, struct hk_why *why)
{
    struct wish_queue untried = STAILQ_HEAD_INITIALIZER(untried);
    bool goes_on = true;

    STAILQ_CONCAT(&untried, &wishes->aside);
    for (uint32_t tried = 0; goes_on && tried < ASIDE_AT_ONCE && !STAILQ_EMPTY(&untried); tried++)
        goes_on = try_first(wishes, &untried, fn, context, why);
    STAILQ_CONCAT(&untried, &wishes->aside);
    STAILQ_CONCAT(&wishes->aside, &untried);
    return goes_on;
}

void wishes_turn(struct wishes *wishes, uint64_t now_ms, wish_fn fn, void *context)
{
    struct hk_why why = {""};
    bool goes_on = true;

    if (now_ms < wishes->again_ms)
        return;
    for (uint32_t tried = 0; goes_on && tried < AT_ONCE && !STAILQ_EMPTY(&wishes->waiting); tried++)
        goes_on = try_first(wishes, &wishes->waiting, fn, context, &why);
    if (goes_on && now_ms >= wishes->aside_ms) {
        wishes->aside_ms = now_ms + AGAIN_MS;
        goes_on = try_aside(wishes, fn, context, &why);
    }
    if (goes_on)
        return;
    log_warning("%zu who unsubscribed are written down and not applied yet: %s", wishes->by_token.count,
                why.text);
    wishes->again_ms = now_ms + AGAIN_MS;
}

/* Answers come in the order of a campaign's ops, so the wanted one is among the first. */
void wishes_answered(struct wishes *wishes, uint32_t number)
{
    struct wish *wish;

    STAILQ_FOREACH(wish, &wishes->awaited, link)
    if (wish->number == number) {
        STAILQ_REMOVE(&wishes->awaited, wish, wish, link);
        wish_end(wishes, wish);
        return;
    }
}
