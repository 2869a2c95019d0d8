/* guard.c - how much strangers may have (guard.h). */
#include "guard.h"

#include <netinet/in.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define PROBES   32u
#define BURST_US 1000000u /* what a second allows may come at once */

/* When the next one would be due if all came evenly (GCRA). */
struct pace {
    uint64_t due_us;
};

struct place {
    uint8_t key[9]; /* family and address; family 0: free */
    uint32_t connections;
    struct pace mail;
};

struct guard {
    uint32_t connections, connections_max, connections_each, mask;
    struct cfg_rate rate, rate_each;
    struct pace mail;
    uint64_t seed;
    struct place place[];
};

struct guard *guard_new(uint32_t connections, uint32_t connections_each, struct cfg_rate rate,
                        struct cfg_rate rate_each)
{
    uint32_t places = 1024;
    struct guard *guard;

    while (places < connections * 4 && places < 1u << 20)
        places *= 2;
    guard = calloc(1, sizeof *guard + places * sizeof guard->place[0]);
    if (guard == NULL)
        return NULL;
    guard->connections_max = connections;
    guard->connections_each = connections_each;
    guard->rate = rate;
    guard->rate_each = rate_each;
    guard->mask = places - 1;
    if (RAND_bytes((unsigned char *)&guard->seed, sizeof guard->seed) != 1) {
        free(guard);
        return NULL;
    }
    return guard;
}

void guard_free(struct guard *guard)
{
    free(guard);
}

/* An IPv4 address that came to an IPv6 socket is one all the same. */
static void key_of(const struct sockaddr *from, uint8_t key[9])
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)from;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)from;

    memset(key, 0, 9);
    key[0] = 4;
    if (from->sa_family == AF_INET) {
        memcpy(key + 1, &v4->sin_addr, 4);
    } else if (from->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        memcpy(key + 1, v6->sin6_addr.s6_addr + 12, 4);
    } else if (from->sa_family == AF_INET6) {
        key[0] = 6;
        memcpy(key + 1, v6->sin6_addr.s6_addr, 8);
    }
}

/* With a seed, so that nobody can choose addresses that crowd one another out. */
static uint32_t hash_of(const struct guard *guard, const uint8_t key[9])
{
    uint64_t hash = guard->seed;

    for (int i = 0; i < 9; i++) {
        hash = (hash ^ key[i]) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return (uint32_t)(hash >> 32) & guard->mask;
}

static struct place *place_of(struct guard *guard, const uint8_t key[9], uint64_t now_us)
{
    uint32_t at = hash_of(guard, key);
    struct place *unused = NULL;

    for (uint32_t i = 0; i < PROBES; i++) {
        struct place *place = &guard->place[(at + i) & guard->mask];
        if (memcmp(place->key, key, sizeof place->key) == 0)
            return place;
        if (unused == NULL && place->connections == 0 && place->mail.due_us <= now_us)
            unused = place;
    }
    if (unused != NULL) {
        memset(unused, 0, sizeof *unused);
        memcpy(unused->key, key, sizeof unused->key);
    }
    return unused;
}

const char *guard_enter(struct guard *guard, const struct sockaddr *from, uint64_t now_us, uint32_t *place)
{
    uint8_t key[9];
    struct place *its;

    if (guard->connections >= guard->connections_max)
        return "421 4.3.2 too many connections: come again\r\n";
    key_of(from, key);
    its = place_of(guard, key, now_us);
    if (its == NULL || its->connections >= guard->connections_each)
        return "421 4.7.0 too many connections from your address\r\n";
    its->connections++;
    guard->connections++;
    *place = (uint32_t)(its - guard->place);
    return NULL;
}

void guard_leave(struct guard *guard, uint32_t place)
{
    HK_BUG_ON(guard->place[place].connections == 0 || guard->connections == 0);
    guard->place[place].connections--;
    guard->connections--;
}

bool guard_is_crowded(const struct guard *guard)
{
    return guard->connections > guard->connections_max / 4 * 3;
}

static uint64_t interval_us(struct cfg_rate rate)
{
    return (uint64_t)rate.per_ms * 1000u / rate.count;
}

static bool pace_allows(const struct pace *pace, struct cfg_rate rate, uint64_t now_us)
{
    uint64_t burst;

    if (rate.count == 0)
        return true;
    burst = interval_us(rate) > BURST_US ? 0 : BURST_US - interval_us(rate);
    return pace->due_us <= now_us + burst;
}

static void pace_take(struct pace *pace, struct cfg_rate rate, uint64_t now_us)
{
    if (rate.count > 0)
        pace->due_us = (pace->due_us > now_us ? pace->due_us : now_us) + interval_us(rate);
}

const char *guard_mail(struct guard *guard, uint32_t place, uint64_t now_us)
{
    struct place *its = &guard->place[place];

    if (!pace_allows(&its->mail, guard->rate_each, now_us))
        return "450 4.7.1 too many messages from your address: come again\r\n";
    if (!pace_allows(&guard->mail, guard->rate, now_us))
        return "450 4.3.2 too many messages: come again\r\n";
    pace_take(&its->mail, guard->rate_each, now_us);
    pace_take(&guard->mail, guard->rate, now_us);
    return NULL;
}
