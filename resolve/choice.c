/* choice.c - the order in which hosts and addresses are tried. See choice.h. */
#include "choice.h"

#include <string.h>

_Static_assert(RESOLVE_ADDRESSES_MAX >= RESOLVE_HOSTS_MAX, "every host has to get an address");

static bool mx_comes_before(const struct choice_mx *a, const struct choice_mx *b)
{
    return a->preference != b->preference ? a->preference < b->preference : a->lot < b->lot;
}

static void mx_remove(struct choice_list *list, uint32_t at)
{
    list->count--;
    memmove(&list->mx[at], &list->mx[at + 1], (list->count - at) * sizeof list->mx[0]);
}

/* Nothing of this preference or a worse one is in the list, or comes into it. */
static void list_close(struct choice_list *list, uint16_t preference)
{
    list->has_own = true;
    list->own_preference = preference;
    while (list->count > 0 && list->mx[list->count - 1].preference >= preference)
        list->count--;
}

void choice_add(struct choice_list *list, uint16_t preference, uint32_t lot, const char *name)
{
    struct choice_mx mx = {.preference = preference, .lot = lot};
    uint32_t at = 0;

    if (list->has_own && preference >= list->own_preference)
        return;
    if (own_is_name(list->own, name)) {
        list_close(list, preference);
        return;
    }
    memcpy(mx.name, name, strnlen(name, DOMAIN_MAX));
    for (uint32_t i = 0; i < list->count; i++) {
        if (strcmp(list->mx[i].name, mx.name) != 0)
            continue;
        if (!mx_comes_before(&mx, &list->mx[i]))
            return;
        mx_remove(list, i);
        break;
    }
    while (at < list->count && mx_comes_before(&list->mx[at], &mx))
        at++;
    if (at == RESOLVE_HOSTS_MAX)
        return;
    if (list->count == RESOLVE_HOSTS_MAX)
        list->count--;
    memmove(&list->mx[at + 1], &list->mx[at], (list->count - at) * sizeof list->mx[0]);
    list->mx[at] = mx;
    list->count++;
}

static bool host_is_own(const struct choice_host *host, const struct own *own)
{
    static const uint8_t family[CHOICE_FAMILIES] = {[CHOICE_IPV4] = AF_INET, [CHOICE_IPV6] = AF_INET6};

    for (uint32_t f = 0; f < CHOICE_FAMILIES; f++)
        for (uint32_t i = 0; i < host->of[f].count; i++)
            if (own_is_address(own, family[f], host->of[f].ip[i]))
                return true;
    return false;
}

uint32_t choice_before_own(const struct choice_host *hosts, uint32_t count, const struct own *own)
{
    uint32_t left = 0;

    while (left < count && !host_is_own(&hosts[left], own))
        left++;
    if (left == count)
        return count;
    for (uint16_t preference = hosts[left].preference; left > 0 && hosts[left - 1].preference == preference;)
        left--;
    return left;
}

static uint32_t host_addresses(const struct choice_host *host)
{
    return host->of[CHOICE_IPV4].count + host->of[CHOICE_IPV6].count;
}

static void addresses_shuffle(struct choice_addresses *addresses, choice_draw_fn draw)
{
    uint8_t keep[16];

    for (uint32_t left = addresses->count; left > 1; left--) {
        uint32_t other = draw(left);

        memcpy(keep, addresses->ip[left - 1], sizeof keep);
        memcpy(addresses->ip[left - 1], addresses->ip[other], sizeof keep);
        memcpy(addresses->ip[other], keep, sizeof keep);
    }
}

/* Deal the places out in turn, so that a host with many addresses leaves room for the next. */
static void shares_deal(const struct choice_host *hosts, uint32_t count, uint32_t *share)
{
    uint32_t left = RESOLVE_ADDRESSES_MAX;
    bool dealt = true;

    memset(share, 0, count * sizeof *share);
    while (left && dealt) {
        dealt = false;
        for (uint32_t h = 0; h < count && left; h++) {
            if (share[h] >= host_addresses(&hosts[h]))
                continue;
            share[h]++;
            left--;
            dealt = true;
        }
    }
}

static void address_put(struct resolve_answer *answer, const struct choice_host *host, uint32_t nth,
                        uint8_t answer_host)
{
    bool is_v4 = nth < host->of[CHOICE_IPV4].count;
    const uint8_t *ip =
        is_v4 ? host->of[CHOICE_IPV4].ip[nth] : host->of[CHOICE_IPV6].ip[nth - host->of[CHOICE_IPV4].count];

    HK_BUG_ON(answer->address_count >= RESOLVE_ADDRESSES_MAX);
    answer->address[answer->address_count].family = is_v4 ? AF_INET : AF_INET6;
    answer->address[answer->address_count].host = answer_host;
    memcpy(answer->address[answer->address_count].ip, ip, 16);
    answer->address_count++;
}

/* hosts[from .. to) are of one preference: the first address of each, then the second of each, ... */
static void group_put(const struct choice_host *hosts, const uint32_t *share, const uint8_t *place,
                      uint32_t from, uint32_t to, struct resolve_answer *answer)
{
    for (uint32_t nth = 0; nth < RESOLVE_ADDRESSES_MAX; nth++)
        for (uint32_t h = from; h < to; h++)
            if (nth < share[h])
                address_put(answer, &hosts[h], nth, place[h]);
}

void choice_fill(struct choice_host *hosts, uint32_t count, choice_draw_fn draw,
                 struct resolve_answer *answer)
{
    uint32_t share[RESOLVE_HOSTS_MAX];
    uint8_t place[RESOLVE_HOSTS_MAX] = {0};

    HK_BUG_ON(count > RESOLVE_HOSTS_MAX);
    answer->host_count = 0;
    answer->address_count = 0;
    shares_deal(hosts, count, share);
    for (uint32_t h = 0; h < count; h++) {
        for (uint32_t family = 0; family < CHOICE_FAMILIES; family++)
            addresses_shuffle(&hosts[h].of[family], draw);
        if (share[h] == 0)
            continue;
        place[h] = answer->host_count++;
        answer->host[place[h]].preference = hosts[h].preference;
        memcpy(answer->host[place[h]].name, hosts[h].name, sizeof hosts[h].name);
    }
    for (uint32_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && hosts[to].preference == hosts[from].preference;)
            to++;
        group_put(hosts, share, place, from, to, answer);
    }
}
