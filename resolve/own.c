/* own.c - see own.h. */
#include "own.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

bool own_is_name(const struct own *own, const char *name)
{
    for (size_t i = 0; own != NULL && i < own->name.count; i++)
        if (strcasecmp(own->name.item[i], name) == 0)
            return true;
    return false;
}

bool own_is_address(const struct own *own, uint8_t family, const uint8_t ip[16])
{
    size_t length = family == AF_INET ? 4 : 16;

    for (size_t i = 0; own != NULL && i < own->address_count; i++)
        if (own->address[i].family == family && memcmp(own->address[i].ip, ip, length) == 0)
            return true;
    return false;
}

static bool is_loopback(uint8_t family, const uint8_t ip[16])
{
    static const uint8_t six[16] = {[15] = 1};

    return family == AF_INET ? ip[0] == 127 : memcmp(ip, six, sizeof six) == 0;
}

static void address_add(struct own *own, uint8_t family, const void *ip)
{
    struct own_address address = {.family = family};

    memcpy(address.ip, ip, family == AF_INET ? 4 : 16);
    if (is_loopback(family, address.ip) || own_is_address(own, family, address.ip))
        return;
    own->address = hk_xrealloc(own->address, own->address_count + 1, sizeof *own->address);
    own->address[own->address_count++] = address;
}

static void literal_add(struct own *own, const char *literal)
{
    uint8_t ip[16];

    if (literal == NULL)
        return;
    if (inet_pton(AF_INET, literal, ip) == 1)
        address_add(own, AF_INET, ip);
    else if (inet_pton(AF_INET6, literal, ip) == 1)
        address_add(own, AF_INET6, ip);
}

static void interfaces_add(struct own *own)
{
    struct ifaddrs *all;

    if (getifaddrs(&all) != 0) {
        log_warning("the addresses of this machine cannot be read: %s", strerror(errno));
        return;
    }
    for (const struct ifaddrs *at = all; at != NULL; at = at->ifa_next) {
        if (at->ifa_addr == NULL || (at->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        if (at->ifa_addr->sa_family == AF_INET) {
            struct sockaddr_in v4;
            memcpy(&v4, at->ifa_addr, sizeof v4);
            address_add(own, AF_INET, &v4.sin_addr);
        } else if (at->ifa_addr->sa_family == AF_INET6) {
            struct sockaddr_in6 v6;
            memcpy(&v6, at->ifa_addr, sizeof v6);
            address_add(own, AF_INET6, &v6.sin6_addr);
        }
    }
    freeifaddrs(all);
}

static void names_read(struct own *own, const struct config *config)
{
    own->name.item = hk_xcalloc(config->source_count + 1, sizeof *own->name.item);
    if (config->hostname != NULL)
        own->name.item[own->name.count++] = config->hostname;
    for (size_t i = 0; i < config->source_count; i++)
        own->name.item[own->name.count++] = config->source[i].hostname;
}

void own_read(struct own *own, const struct config *config, uint64_t now_ms)
{
    bool first = own->name.item == NULL;

    if (!first && now_ms - own->read_ms < OWN_KEPT_MS)
        return;
    if (first)
        names_read(own, config);
    own->read_ms = now_ms;
    own->address_count = 0;
    for (size_t i = 0; i < config->source_count; i++) {
        literal_add(own, config->source[i].address);
        literal_add(own, config->source[i].public_address);
    }
    interfaces_add(own);
}

void own_free(struct own *own)
{
    free(own->name.item);
    free(own->address);
    *own = (struct own){0};
}
