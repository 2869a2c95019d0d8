/* site.c - sites, their lanes and destinations: what limits apply to a recipient, and the queue he waits in.
 *
 * A site is named as design 2 says; the same MX set under two providers is two destinations. Everything here goes away
 * again when nothing waits in it, nothing is connected to it and no domain names it.
 */
#include <math.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "host_tls.h"
#include "master.h"

#define USEFUL_AT_FIRST 256u /* recipients of a new site that count for the window */
#define USEFUL_SECONDS  10u
/* Of the longest key: the site, a relay, the hosts with their marks, and the one domain. */
#define DEST_KEY_SIZE ((RESOLVE_HOSTS_MAX + 3u) * (DOMAIN_MAX + 32u))
#define FIRST_TURN    1e-6 /* so little that it decides who is first, and nothing behind that */

/* ---- how much of the window a site takes ---- */

static uint64_t site_share(const struct site *site)
{
    return site->queued < site->useful ? site->queued : site->useful;
}

static void site_count(struct site *site, int64_t change)
{
    uint64_t before = site_share(site);

    site->queued = (uint64_t)((int64_t)site->queued + change);
    site->node->movable = site->node->movable - before + site_share(site);
}

static void site_enliven(struct site *site)
{
    if (site->is_lively)
        return;
    site->is_lively = true;
    TAILQ_INSERT_TAIL(&site->node->lively, site, lively_link);
}

static void site_calm(struct site *site)
{
    if (site->is_lively)
        TAILQ_REMOVE(&site->node->lively, site, lively_link);
    site->is_lively = false;
}

void site_settled(struct site *site, uint64_t count)
{
    site->settled += count;
    site_enliven(site);
}

/* A site that sends fast may hold many recipients in the window, one that crawls only a few: so slow ones never fill it. Where
 * nobody was settled for a second it stays as it is, so of hundreds of thousands only a few are looked at. */
void sites_tick(struct node *node)
{
    struct site *site, *next;

    for (site = TAILQ_FIRST(&node->lively); site != NULL; site = next) {
        uint64_t share = site_share(site);
        next = TAILQ_NEXT(site, lively_link);
        if (site->settled == site->before)
            site_calm(site);
        site->useful = USEFUL_AT_FIRST / 4 + (site->settled - site->before) * USEFUL_SECONDS;
        site->before = site->settled;
        node->movable = node->movable - share + site_share(site);
    }
}

/* ---- sites ---- */

static void on_site_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    site_wake(timer->data);
}

/* Sources of the first pool, or all of them where no pool stands. */
static size_t lane_count(const struct config *config)
{
    return config->pool_count > 0 ? config->pool[0].count : config->source_count;
}

static uint16_t lane_source(const struct config *config, size_t nth)
{
    return (uint16_t)(config->pool_count > 0 ? config->pool[0].source[nth] : nth);
}

bool sources_want_ipv6(const struct config *config)
{
    for (size_t i = 0; i < lane_count(config); i++)
        if (config_source_family(&config->source[lane_source(config, i)]) == AF_INET6)
            return true;
    return false;
}

bool sources_reach(const struct config *config, const struct resolve_answer *answer)
{
    for (size_t i = 0; i < lane_count(config); i++) {
        int family = config_source_family(&config->source[lane_source(config, i)]);
        for (uint8_t k = 0; k < answer->address_count; k++)
            if (family == AF_UNSPEC || family == answer->address[k].family)
                return true;
    }
    return false;
}

static double per_second(struct cfg_rate rate)
{
    return rate.per_ms == 0 ? 0.0 : rate.count * 1000.0 / rate.per_ms;
}

/* SES says itself what an account may: the table's figures for receivers in general do not apply to it. */
static void lane_limits(struct lane *lane, const struct cfg_provider *provider, bool ses)
{
    const struct cfg_rate none = {0};
    bool said = provider->own || !ses;

    limit_init(&lane->rate, said ? provider->rate : none, provider->burst);
    limit_init(&lane->conn_rate, said ? provider->max_connection_rate : none, 1);
    lane->most = said ? per_second(provider->rate) : 0.0;
}

/* Most sites of a long list get one connection and no more: whose turn is first is drawn, in proportion to the weights. */
static void lane_init(struct site *site, uint32_t nth)
{
    const struct config *config = site->node->config;
    struct lane *lane = &site->lane[nth];

    lane->site = site;
    lane->source = lane_source(config, nth);
    lane->family = config_source_family(&config->source[lane->source]);
    lane->weight = config->pool_count > 0 ? config->pool[0].weight[nth] : 1;
    if (site->lanes > 1) /* else there is nothing to choose, and a draw is a system call */
        lane->turn = FIRST_TURN * -log((arc4random() + 1.0) / (UINT32_MAX + 1.0)) / lane->weight;
    lane->cap = UINT32_MAX;
    lane_limits(lane, site->provider, site->ses);
}

static struct site *site_new(struct node *node, const char *name)
{
    size_t lanes = lane_count(node->config), name_size = strlen(name) + 1;
    struct site *site = hk_xcalloc(1, sizeof *site + lanes * sizeof *site->lane + name_size);

    site->node = node;
    site->lane = (struct lane *)(site + 1);
    site->lanes = (uint32_t)lanes;
    site->name = (char *)(site->lane + lanes);
    memcpy(site->name, name, name_size);
    return site;
}

/* route: of a relay; NULL: found by MX. */
static struct site *site_get(struct node *node, const char *name, const struct cfg_provider *provider,
                             const struct cfg_route *route)
{
    bool ses = route != NULL && route->profile == RELAY_SES;
    uint64_t hash = table_hash(name);
    struct site *site = table_find_hashed(&node->sites, name, hash);

    if (site != NULL)
        return site;
    site = site_new(node, name);
    site->provider = provider;
    site->useful = USEFUL_AT_FIRST;
    site->ses = ses;
    for (uint32_t i = 0; i < site->lanes; i++)
        lane_init(site, i);
    TAILQ_INIT(&site->dests);
    ev_timer_init(&site->timer, on_site_timer, 0.0, 0.0);
    site->timer.data = site;
    table_add_hashed(&node->sites, &site->link, site->name, hash);
    site_enliven(site);
    gates_of_site(site, route);
    site_remember_suspension(site);
    return site;
}

/* A limit that is not yet at rest has to be remembered, or the site could begin anew and pass more than it allows. */
static bool site_is_at_rest(const struct site *site, uint64_t now_us)
{
    if (!TAILQ_EMPTY(&site->dests) || site->is_ready || site->is_waiting ||
        site->no_pipelining_until_ms > now_us / 1000 || site->suspended_until_ms > now_us / 1000)
        return false;
    for (uint32_t i = 0; i < site->lanes; i++) {
        const struct lane *lane = &site->lane[i];
        if (lane->conns > 0 || lane->rate.due_us > now_us || lane->conn_rate.due_us > now_us ||
            lane->cap_until_ms > now_us / 1000)
            return false;
    }
    return true;
}

static void dest_free(struct dest *dest)
{
    turns_clear(&dest->queue);
    free(dest->hosts);
    free(dest->next_hop);
    free(dest->failure);
    free(dest);
}

static void site_free(struct site *site)
{
    ev_timer_stop(site->node->loop, &site->timer);
    gates_forget_site(site);
    site_calm(site);
    free(site);
}

void sites_sweep(struct node *node)
{
    uint64_t now_us = clock_now_us();
    size_t cursor = 0;
    struct site *site, *next;

    for (site = table_next(&node->sites, &cursor, NULL); site != NULL; site = next) {
        next = table_next(&node->sites, &cursor, &site->link);
        if (!site_is_at_rest(site, now_us))
            continue;
        table_remove(&node->sites, &site->link);
        site_free(site);
    }
}

void sites_close(struct node *node)
{
    size_t cursor = 0;
    struct site *site, *next;

    for (site = table_next(&node->sites, &cursor, NULL); site != NULL; site = next) {
        struct dest *dest, *following;
        next = table_next(&node->sites, &cursor, &site->link);
        for (dest = TAILQ_FIRST(&site->dests); dest != NULL; dest = following) {
            following = TAILQ_NEXT(dest, of_site);
            dest_free(dest);
        }
        site_free(site);
    }
    table_clear(&node->sites);
    table_clear(&node->dests);
}

/* ---- destinations ---- */

static const struct resolve_answer *sort_of; /* for the comparison below: qsort takes no context */

static int by_preference_then_name(const void *a, const void *b)
{
    uint8_t x = *(const uint8_t *)a, y = *(const uint8_t *)b;

    if (sort_of->host[x].preference != sort_of->host[y].preference)
        return sort_of->host[x].preference < sort_of->host[y].preference ? -1 : 1;
    return strcmp(sort_of->host[x].name, sort_of->host[y].name);
}

static uint8_t sorted_hosts(const struct resolve_answer *answer, uint8_t order[RESOLVE_HOSTS_MAX])
{
    for (uint8_t i = 0; i < answer->host_count; i++)
        order[i] = i;
    sort_of = answer;
    if (answer->host_count > 1)
        qsort(order, answer->host_count, 1, by_preference_then_name);
    return answer->host_count;
}

static struct site *site_of_answer(struct node *node, const char *domain, const struct cfg_route *route,
                                   const struct resolve_answer *answer)
{
    const char *mx[RESOLVE_HOSTS_MAX] = {NULL}, *first = NULL;
    const struct cfg_provider *provider;

    for (uint8_t i = 0; i < answer->host_count; i++) {
        mx[i] = answer->host[i].name;
        if (first == NULL || strcmp(mx[i], first) < 0)
            first = mx[i];
    }
    if (route != NULL)
        return site_get(node, route->domain,
                        config_provider(node->config, route->domain, mx, answer->host_count), route);
    provider = config_provider(node->config, domain, mx, answer->host_count);
    if (strcmp(provider->name, "default") != 0)
        return site_get(node, provider->name, provider, NULL);
    return site_get(node, first != NULL ? first : domain, provider, NULL);
}

static bool wants_reports(const struct resolve_answer *answer)
{
    return answer->has_words && answer->rua[0] != '\0';
}

/* An MTA-STS policy is the domain's own, and so are the sessions that it wants reported. And where a host is found by usage
 * DANE-TA its certificate may name the recipient's domain instead (RFC 7672 3.2.2). Then no other domain may use the
 * connection: whoever owns a certificate for this one could be the host for that one. */
static bool is_for_one_domain(const struct resolve_answer *answer, enum tls_policy policy)
{
    if (answer->sts != STS_NONE || wants_reports(answer))
        return true;
    for (uint8_t i = 0; answer->has_dane && i < answer->host_count; i++)
        if (host_tls(policy, (enum dane_state)answer->host[i].dane, STS_NONE, false) == HOST_TLS_DANE &&
            dane_has_usage(&answer->dane, i, DANE_TA))
            return true;
    return false;
}

/* What tells one MX set of a site from another: the site, then its hosts by rank, and what DANE asks of each (it is there
 * for some of the domains that have these hosts, and for others not); at last the domain, where it has to be alone. */
static void dest_key(char key[DEST_KEY_SIZE], const struct site *site, const struct cfg_address *relay,
                     const struct resolve_answer *answer, const char *alone)
{
    static const char *const marks[] = {
        [DANE_NONE] = "", [DANE_USABLE] = "+dane", [DANE_UNUSABLE] = "+tls", [DANE_FAILED] = "+unused"};
    uint8_t order[RESOLVE_HOSTS_MAX];
    uint8_t count = sorted_hosts(answer, order);
    const char *end = key + DEST_KEY_SIZE;

    key = hk_put(key, end, site->name);
    if (relay != NULL) {
        key = hk_put(hk_put(key, end, " relay "), end, relay->host);
        key = hk_put_number(hk_put(key, end, ":"), end, relay->port);
    }
    for (uint8_t i = 0; i < count; i++) {
        bool same = i > 0 && answer->host[order[i]].preference == answer->host[order[i - 1]].preference;
        const char *mark = marks[answer->host[order[i]].dane & DANE_FAILED];
        const char *sts = answer->sts != STS_ENFORCE           ? ""
                          : answer->sts_hosts >> order[i] & 1u ? "+sts"
                                                               : "+unlisted";
        key = hk_put(hk_put(key, end, same ? "=" : " "), end, answer->host[order[i]].name);
        key = hk_put(hk_put(key, end, mark), end, sts);
    }
    if (alone != NULL)
        (void)hk_put(hk_put(key, end, " for "), end, alone);
}

/* New connections get the newest addresses; open ones keep the slot they were opened with. */
static void dest_learn(struct dest *dest, const struct resolve_answer *answer)
{
    uint8_t packed[RESOLVE_PACKET_MAX];

    dest->hosts_length = resolve_pack_answer(answer, packed, sizeof packed);
    dest->hosts = hk_xrealloc(dest->hosts, 1, dest->hosts_length);
    memcpy(dest->hosts, packed, dest->hosts_length);
    dest->wants_reports = wants_reports(answer);
    dest->shared = UINT32_MAX;
    dest->has_ipv4 = dest->has_ipv6 = false;
    for (uint8_t i = 0; i < answer->address_count; i++)
        *(answer->address[i].family == AF_INET ? &dest->has_ipv4 : &dest->has_ipv6) = true;
}

void dest_hosts(const struct dest *dest, struct resolve_answer *answer)
{
    HK_BUG_ON(resolve_unpack_answer(dest->hosts, dest->hosts_length, answer) != dest->hosts_length);
}

static struct dest *dest_new(struct site *site, const char *key, uint64_t hash)
{
    size_t size = strlen(key) + 1;
    struct dest *dest = hk_xcalloc(1, sizeof *dest + size);

    memcpy(dest->name, key, size);
    dest->site = site;
    TAILQ_INIT(&dest->hungry);
    TAILQ_INSERT_TAIL(&site->dests, dest, of_site);
    table_add_hashed(&site->node->dests, &dest->link, dest->name, hash);
    return dest;
}

struct dest *dest_of_answer(struct node *node, const struct domain *domain,
                            const struct resolve_answer *answer)
{
    const struct cfg_route *route = domain->route >= 0 ? &node->config->route[domain->route] : NULL;
    const struct cfg_address *relay = route != NULL ? &route->relay[domain->relay] : NULL;
    struct site *site = site_of_answer(node, domain->name, route, answer);
    enum tls_policy policy = route != NULL ? route->tls : site->provider->tls;
    const char *alone = route == NULL && is_for_one_domain(answer, policy) ? domain->name : NULL;
    char key[DEST_KEY_SIZE];
    struct dest *dest = NULL;
    uint64_t hash;

    dest_key(key, site, relay, answer, alone);
    hash = table_hash(key);
    if (!TAILQ_EMPTY(&site->dests)) /* the key begins with the site: a new one has none */
        dest = table_find_hashed(&node->dests, key, hash);
    if (dest == NULL) {
        dest = dest_new(site, key, hash);
        dest->route = domain->route;
        dest->relay = domain->relay;
        dest->port = relay != NULL ? relay->port : node->config->smtp.port;
        dest->tls = (uint8_t)policy;
        dest->next_hop = alone != NULL ? hk_xstrdup(alone) : NULL;
    }
    dest_learn(dest, answer);
    return dest;
}

const struct outcome_reply *dest_failure(const struct dest *dest)
{
    static const struct outcome_reply none;

    return dest->failure != NULL ? &dest->failure->reply : &none;
}

void dest_forget(struct dest *dest)
{
    if (dest->domains > 0 || dest->refs > 0 || dest->queue.recipients > 0)
        return;
    TAILQ_REMOVE(&dest->site->dests, dest, of_site);
    table_remove(&dest->site->node->dests, &dest->link);
    dest_free(dest);
}

void dest_enqueue(struct dest *dest, struct run run, bool first)
{
    turns_put(&dest->queue, run, first);
    site_count(dest->site, run.count);
    site_wake(dest->site);
}

bool dest_next(struct dest *dest, struct run *run)
{
    if (!turns_get_one(&dest->queue, run))
        return false;
    site_count(dest->site, -1);
    return true;
}

/* The next relay of the route takes over what waits for this one. */
static void dest_hand_over(struct dest *dest)
{
    struct site *site = dest->site;
    struct run run;

    log_info("%s: what waits for %s goes to the next relay", site->name,
             site->node->config->route[dest->route].relay[dest->relay].host);
    while (turns_get(&dest->queue, &run)) {
        struct campaign *campaign = site->node->campaign[run.campaign];
        site_count(site, -(int64_t)run.count);
        domain_enqueue(site->node, campaign, segment_domain_of(campaign->segment, run.index), run);
    }
}

/* A log-in that no relay of the route accepts is nobody's attempt. */
static bool dest_is_barred(const struct dest *dest)
{
    const struct outcome_reply *failure = dest_failure(dest);

    return dest->route >= 0 && failure->log_phase == LOG_PHASE_AUTH && failure->code >= 500;
}

void dest_put_back(struct dest *dest)
{
    const struct outcome_reply *failure = dest_failure(dest);
    struct site *site = dest->site;
    struct verdict verdict = reply_classify((enum log_phase)failure->log_phase, failure->code,
                                            failure->enhanced, failure->text, failure->text_length);
    uint64_t put_back = 0;
    struct run run;

    if (relay_has_stand_in(site->node, dest)) {
        dest_hand_over(dest);
        return;
    }
    while (turns_get(&dest->queue, &run)) {
        struct campaign *campaign = site->node->campaign[run.campaign];
        site_count(site, -(int64_t)run.count);
        if (dest_is_barred(dest)) {
            account_stop(campaign, ACCOUNT_LOGIN, failure);
            run_let_go(campaign, run);
            continue;
        }
        if (dest->never) {
            run_bounce(campaign, run, site->name, failure, verdict);
            continue;
        }
        if (run_is_over(campaign, &run)) {
            run_expire(campaign, run, site->name, verdict.reply_class, failure->code);
            continue;
        }
        put_back += run.count;
        run_put_back(campaign, run, verdict.reply_class, failure->code);
    }
    if (put_back > 0)
        event_unreachable(site->node, dest, site->name, put_back, failure);
}

void dests_let_go(struct campaign *campaign)
{
    struct node *node = campaign->node;
    struct dest *dest, *next;
    size_t cursor = 0;
    struct run run;

    for (dest = table_next(&node->dests, &cursor, NULL); dest != NULL; dest = next) {
        next = table_next(&node->dests, &cursor, &dest->link);
        while (turns_get_of(&dest->queue, campaign->slot, &run)) {
            site_count(dest->site, -(int64_t)run.count);
            run_let_go(campaign, run);
        }
        dest_forget(dest);
    }
}

/* ---- the shared slot that workers read ---- */

/* Hosts of one preference, and of one family, since IPv4 comes first. */
static bool are_equals(const struct resolve_answer *hosts, const struct dest_address *a,
                       const struct dest_address *b)
{
    return hosts->host[a->mx].preference == hosts->host[b->mx].preference;
}

static void share_names(struct destination *shared, const struct resolve_answer *hosts,
                        enum tls_policy policy)
{
    size_t used = 0;

    for (uint8_t i = 0; i < hosts->host_count && shared->mx_count < DEST_MX_MAX; i++) {
        size_t length = strlen(hosts->host[i].name) + 1;
        if (used + length > sizeof shared->names)
            break; /* hosts beyond this are not tried: there are enough before them */
        memcpy(shared->names + used, hosts->host[i].name, length);
        shared->mx_tls[i] = (uint8_t)host_tls(policy, (enum dane_state)hosts->host[i].dane,
                                              (enum sts_mode)hosts->sts, hosts->sts_hosts >> i & 1u);
        shared->mx_offset[shared->mx_count++] = (uint16_t)used;
        used += length;
    }
    for (uint8_t i = 0; i < hosts->address_count && shared->address_count < DEST_ADDRESSES_MAX; i++) {
        struct dest_address *to = &shared->address[shared->address_count];
        if (hosts->address[i].host >= shared->mx_count)
            continue;
        to->family = hosts->address[i].family;
        to->mx = hosts->address[i].host;
        memcpy(to->ip, hosts->address[i].ip, sizeof to->ip);
        if (shared->address_count > 0)
            to->rank = (uint8_t)(to[-1].rank + !are_equals(hosts, &to[-1], to));
        shared->address_count++;
    }
}

bool dest_share(struct dest *dest)
{
    struct node *node = dest->site->node;
    struct destination *shared;
    struct resolve_answer hosts;
    uint32_t generation;

    if (dest->shared != UINT32_MAX)
        return true;
    if (node->free_dests == 0)
        return false;
    dest->shared = node->free_dest[--node->free_dests];
    shared = &node->region.destination[dest->shared];
    generation = shared->generation + 1;
    memset(shared, 0, sizeof *shared);
    shared->generation = generation;
    shared->port = dest->port;
    shared->route = dest->route;
    shared->provider = (uint32_t)(dest->site->provider - node->config->provider);
    shared->local_part = (uint8_t)dest->site->provider->local_part;
    shared->ses = dest->site->ses;
    shared->no_pipelining = dest->site->no_pipelining_until_ms > clock_now_ms();
    snprintf(shared->site, sizeof shared->site, "%s", dest->site->name);
    dest_hosts(dest, &hosts);
    share_names(shared, &hosts, (enum tls_policy)dest->tls);
    shared->sts = hosts.sts;
    shared->sts_listed = hosts.sts_hosts; /* mx i is host i */
    if (hosts.has_dane)
        shared->dane = hosts.dane;
    if (dest->next_hop != NULL)
        snprintf(shared->next_hop, sizeof shared->next_hop, "%s", dest->next_hop);
    return true;
}

void dest_unshare(struct dest *dest, uint32_t slot)
{
    struct node *node = dest->site->node;
    struct destination *shared = &node->region.destination[slot];

    HK_BUG_ON(shared->refs == 0);
    if (--shared->refs > 0)
        return;
    node->free_dest[node->free_dests++] = slot;
    if (dest->shared == slot)
        dest->shared = UINT32_MAX;
}
