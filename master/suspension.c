/* suspension.c - sites that nothing is sent to until a time, for a reason that outlives a restart (design 8).
 *
 * Redis keeps them for all nodes: told at once by the node that finds one, asked about once a second, and read at a start
 * before anything is sent. What this node knows stands until its time, also while Redis is away; a Redis that has
 * forgotten is told again. A site that is not known yet is suspended when it comes to be.
 */
#include <string.h>

#include "hikyaku/limits.h"
#include "master.h"

#define LATER_MS \
    500u /* an end that lies so much later is another one: the way to Redis and back costs some */

struct suspended {
    struct table_link link; /* site */
    uint64_t until_ms;
    uint32_t nth;
    bool telling, told, seen;
    char cause[SUSPENSION_CAUSE_SIZE];
    char site[];
};

static struct suspended *suspended_add(struct node *node, const char *site)
{
    size_t size = strlen(site) + 1;
    struct suspended *entry = hk_xcalloc(1, sizeof *entry + size);

    memcpy(entry->site, site, size);
    table_add(&node->suspended, &entry->link, entry->site);
    return entry;
}

static void suspended_drop(struct node *node, struct suspended *entry)
{
    table_remove(&node->suspended, &entry->link);
    free(entry);
}

static void site_apply(struct site *site, const struct suspended *entry)
{
    struct dest *dest;

    site->suspended_until_ms = entry->until_ms;
    if (entry->nth > site->quota_refusals)
        site->quota_refusals = entry->nth;
    TAILQ_FOREACH(dest, &site->dests, of_site)
    dest_rest(dest); /* one connection will ask whether it is over */
    site_wake(site);
}

void site_suspend(struct site *site, const char *cause, uint64_t for_ms)
{
    struct node *node = site->node;
    struct suspended *entry = table_find(&node->suspended, site->name);

    if (entry == NULL)
        entry = suspended_add(node, site->name);
    entry->until_ms = clock_now_ms() + for_ms;
    entry->nth = site->quota_refusals;
    entry->told = entry->telling = false;
    snprintf(entry->cause, sizeof entry->cause, "%s", cause);
    node->suspensions_due = true;
    site_apply(site, entry);
}

void site_remember_suspension(struct site *site)
{
    const struct suspended *entry = table_find(&site->node->suspended, site->name);

    if (entry != NULL)
        site_apply(site, entry);
}

static void site_release(struct site *site)
{
    site->suspended_until_ms = 0;
    log_info("%s: asked again whether it takes more", site->name);
    event_begin(&site->node->log, "released");
    event_word(&site->node->log, "site", site->name);
    event_end(&site->node->log);
    site_wake(site);
}

bool site_is_suspended(struct site *site, uint64_t now_ms)
{
    struct suspended *entry;

    if (site->suspended_until_ms > now_ms)
        return true;
    if (site->suspended_until_ms == 0)
        return false;
    entry = table_find(&site->node->suspended, site->name);
    if (entry != NULL)
        suspended_drop(site->node, entry);
    site_release(site);
    return false;
}

/* ---- what Redis tells ---- */

static void say_learned(struct node *node, const struct suspension *suspension)
{
    char until[40], cause[SUSPENSION_CAUSE_SIZE];

    clock_rfc3339(clock_wall_us() + suspension->left_ms * 1000u, until);
    hk_clean_text(cause, sizeof cause, suspension->cause, strlen(suspension->cause));
    log_warning("%s: suspended until %.19sZ, another %.0f s: %s (Redis knows it)", suspension->site, until,
                (double)suspension->left_ms / 1000.0, cause);
    event_begin(&node->log, "suspended");
    event_word(&node->log, "site", suspension->site);
    event_word(&node->log, "cause", cause);
    event_number(&node->log, "for_s", (suspension->left_ms + 999) / 1000);
    event_end(&node->log);
}

static void learn(struct node *node, const struct suspension *suspension)
{
    struct suspended *entry = table_find(&node->suspended, suspension->site);
    uint64_t until_ms = clock_now_ms() + suspension->left_ms;
    struct site *site;

    if (entry != NULL)
        entry->seen = true;
    if (entry != NULL && until_ms <= entry->until_ms + LATER_MS)
        return;
    if (entry == NULL)
        entry = suspended_add(node, suspension->site);
    entry->until_ms = until_ms;
    entry->nth = suspension->nth;
    entry->told = entry->seen = true;
    snprintf(entry->cause, sizeof entry->cause, "%s", suspension->cause);
    say_learned(node, suspension);
    site = table_find(&node->sites, suspension->site);
    if (site != NULL)
        site_apply(site, entry);
}

/* One that Redis had and has no longer, though it has forgotten nothing: somebody released it. And what no site waits
 * for goes when its time is over. */
static void sweep(struct node *node, bool complete)
{
    struct suspended *entry, *next;
    uint64_t now_ms = clock_now_ms();
    size_t cursor = 0;

    for (entry = table_next(&node->suspended, &cursor, NULL); entry != NULL; entry = next) {
        struct site *site = table_find(&node->sites, entry->site);
        bool released = complete && entry->told && !entry->seen && entry->until_ms > now_ms;
        next = table_next(&node->suspended, &cursor, &entry->link);
        entry->seen = false;
        if (!released && (site != NULL || entry->until_ms > now_ms))
            continue;
        if (released)
            log_info("%s: released before its time", entry->site);
        suspended_drop(node, entry);
        if (released && site != NULL)
            site_release(site);
    }
}

static void mark_told(struct node *node, bool heard, bool forgotten)
{
    struct suspended *entry = NULL;
    size_t cursor = 0;

    while ((entry = table_next(&node->suspended, &cursor, entry ? &entry->link : NULL)) != NULL) {
        entry->told = (entry->told && !forgotten) || (entry->telling && heard);
        entry->telling = false;
    }
}

static void on_suspensions(void *context, const struct suspensions *answer)
{
    struct node *node = context;
    bool forgotten = answer != NULL && answer->version < node->suspensions_version;

    node->suspensions_asked = false;
    mark_told(node, answer != NULL, forgotten);
    if (answer == NULL)
        return;
    node->suspensions_due = node->suspensions_due || forgotten;
    node->suspensions_version = answer->version;
    for (size_t i = 0; i < answer->count; i++)
        if (answer->all[i].source[0] == '\0' && answer->all[i].left_ms > 0)
            learn(node, &answer->all[i]);
    sweep(node, answer->listed && !forgotten);
}

/* ---- what it is told ---- */

void suspensions_turn(struct node *node)
{
    struct suspension told[SUSPENSIONS_TOLD_MAX];
    struct suspended *entry = NULL;
    uint64_t now_ms = clock_now_ms();
    size_t cursor = 0, count = 0;

    if (!node->suspensions_due || node->suspensions_asked || !node->ledger_up)
        return;
    node->suspensions_due = false;
    while (count < SUSPENSIONS_TOLD_MAX &&
           (entry = table_next(&node->suspended, &cursor, entry ? &entry->link : NULL)) != NULL) {
        if (entry->told || entry->until_ms <= now_ms)
            continue;
        entry->telling = true;
        told[count++] = (struct suspension){.source = "",
                                            .site = entry->site,
                                            .cause = entry->cause,
                                            .left_ms = entry->until_ms - now_ms,
                                            .nth = entry->nth};
    }
    node->suspensions_asked = true;
    if (ledger_suspensions(node->ledger, node->suspensions_version, told, count, on_suspensions, node) != 0)
        on_suspensions(node, NULL);
}

int suspensions_open(struct node *node, struct hk_why *why)
{
    if (node->options->request != NULL)
        return 0; /* it sends nothing */
    return store_suspensions(node->store, NULL, 0, on_suspensions, node, why);
}

void suspensions_close(struct node *node)
{
    struct suspended *entry, *next;
    size_t cursor = 0;

    for (entry = table_next(&node->suspended, &cursor, NULL); entry != NULL; entry = next) {
        next = table_next(&node->suspended, &cursor, &entry->link);
        free(entry);
    }
    table_clear(&node->suspended);
}
