/* dane.c - sets of TLSA records: filled within their bounds, read, and checked when they come from another process. */
#include "hikyaku/dane.h"

#include <string.h>

static uint32_t records_of(const struct dane_set *set, uint32_t host)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < set->record_count; i++)
        count += set->record[i].host == host;
    return count;
}

bool dane_add(struct dane_set *set, const struct dane_record *record, const void *bytes)
{
    struct dane_record *to;

    HK_BUG_ON(record->host >= DANE_HOSTS_MAX);
    if (set->record_count == DANE_RECORDS_MAX || record->length > DANE_BYTES - set->bytes_used ||
        records_of(set, record->host) == DANE_HOST_RECORDS_MAX)
        return false;
    to = &set->record[set->record_count++];
    *to = *record;
    to->at = set->bytes_used;
    memcpy(set->bytes + to->at, bytes, record->length);
    set->bytes_used = (uint16_t)(set->bytes_used + record->length);
    return true;
}

bool dane_base_set(struct dane_set *set, uint32_t host, const char *name)
{
    size_t length = strlen(name) + 1;

    HK_BUG_ON(host >= DANE_HOSTS_MAX);
    if (length > DANE_NAMES_BYTES - (size_t)set->names_used)
        return false;
    memcpy(set->names + set->names_used, name, length);
    set->base[host] = (uint16_t)(set->names_used + 1u);
    set->names_used = (uint16_t)(set->names_used + length);
    return true;
}

const char *dane_base(const struct dane_set *set, uint32_t host)
{
    return host < DANE_HOSTS_MAX && set->base[host] != 0 ? set->names + set->base[host] - 1 : NULL;
}

bool dane_has_usage(const struct dane_set *set, uint32_t host, enum dane_usage usage)
{
    for (uint32_t i = 0; i < set->record_count; i++)
        if (set->record[i].host == host && set->record[i].usage == usage)
            return true;
    return false;
}

bool dane_is_sound(const struct dane_set *set)
{
    if (set->record_count > DANE_RECORDS_MAX || set->names[DANE_NAMES_BYTES - 1] != '\0' ||
        set->next_hop[DOMAIN_MAX] != '\0')
        return false;
    for (uint32_t i = 0; i < set->record_count; i++)
        if (set->record[i].host >= DANE_HOSTS_MAX || set->record[i].at > DANE_BYTES ||
            set->record[i].length > DANE_BYTES - set->record[i].at)
            return false;
    for (uint32_t host = 0; host < DANE_HOSTS_MAX; host++)
        if (set->base[host] > DANE_NAMES_BYTES)
            return false;
    return true;
}
