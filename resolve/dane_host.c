/* dane_host.c - see dane_host.h. */
#include "dane_host.h"

#include <string.h>

void dane_host_address(struct dane_host *host, const char *name, const char *owner, bool secure)
{
    host->has_address = true;
    host->insecure |= !secure;
    if (strcmp(owner, name) == 0)
        return;
    host->alias = true;
    snprintf(host->expanded, sizeof host->expanded, "%s", owner);
}

/* Ask for the TLSA records under `name`. A name that is too long for DNS has none. */
static void ask_tlsa(struct dane_host *host, enum dane_ask ask, uint16_t port, const char *name)
{
    int length = snprintf(host->question, sizeof host->question, "_%u._tcp.%s", (unsigned)port, name);

    host->ask = (size_t)length < sizeof host->question && packet_name_is_host(host->question)
                    ? ask
                    : DANE_ASK_NOTHING;
}

void dane_host_begin(struct dane_host *host, uint16_t port, const char *name)
{
    if (!host->has_address || (host->insecure && !host->alias))
        return;
    if (host->insecure) {
        host->ask = DANE_ASK_CNAME;
        snprintf(host->question, sizeof host->question, "%s", name);
        return;
    }
    if (host->alias)
        ask_tlsa(host, DANE_ASK_EXPANDED, port, host->expanded);
    if (host->ask == DANE_ASK_NOTHING)
        ask_tlsa(host, DANE_ASK_OWN, port, name);
}

void dane_host_next(struct dane_host *host, uint16_t port, const char *name)
{
    enum dane_ask asked = host->ask;

    host->ask = DANE_ASK_NOTHING;
    if (host->state != DANE_NONE)
        return;
    if (asked == DANE_ASK_EXPANDED || (asked == DANE_ASK_CNAME && host->own_is_worth_it))
        ask_tlsa(host, DANE_ASK_OWN, port, name);
}

enum packet_type dane_host_type(const struct dane_host *host)
{
    return host->ask == DANE_ASK_CNAME ? PACKET_CNAME : PACKET_TLSA;
}

void dane_host_cname(struct dane_host *host, const void *bytes, size_t length, bool secure,
                     struct reading *reading)
{
    reading_cname(bytes, length, reading);
    host->own_is_worth_it = secure && reading->verdict == READING_FOUND;
}

void dane_host_tlsa(struct dane_host *host, uint32_t number, const void *bytes, size_t length, bool secure,
                    struct dane_set *set, struct reading *reading)
{
    struct dane_set before = *set;

    reading_tlsa(bytes, length, number, set, &host->state, reading);
    if (secure && reading->verdict == READING_FOUND) {
        host->base_is_expanded = host->ask == DANE_ASK_EXPANDED;
        return;
    }
    /* Records that nobody vouches for, or that are not all there, are as good as none. */
    host->state = DANE_NONE;
    *set = before;
}

void dane_host_failed(struct dane_host *host)
{
    host->state = DANE_FAILED;
}
