/* load_target.c - whom load connects to, and from where.
 *
 * A load test of somebody else's server is an attack. So every address of the host has to be loopback, unless the host is
 * named once more with --i-own-this-server. The name is looked up once; what was checked is what is connected to.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "load.h"

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == 127;
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;

        return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
    }
    return false;
}

static int owner_check(const struct load_options *o, const struct addrinfo *info, struct hk_why *why)
{
    bool loopback = true;

    for (const struct addrinfo *i = info; i != NULL; i = i->ai_next)
        loopback = loopback && is_loopback(i->ai_addr);
    if (o->owned != NULL && strcmp(o->owned, o->host) != 0)
        return why_set(
            why, HK_EINVAL,
            "--i-own-this-server %s is not the host of --to: write --i-own-this-server %s if it is yours",
            o->owned, o->host);
    if (!loopback && o->owned == NULL)
        return why_set(
            why, HK_EINVAL,
            "%s is not this machine, and its owner would take this for an attack: if it is yours, write "
            "--i-own-this-server %s",
            o->host, o->host);
    if (!loopback && o->user != NULL && o->tls_ca == NULL)
        return why_set(
            why, HK_EINVAL,
            "a password goes to another machine only when its certificate was verified: write --tls-ca "
            "system, or a file of authorities");
    return HK_OK;
}

static void target_name(struct load *load)
{
    char host[INET6_ADDRSTRLEN + 20] = "", port[8] = "";

    (void)getnameinfo((struct sockaddr *)&load->to, load->to_length, host, sizeof host, port, sizeof port,
                      NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(load->to_text, sizeof load->to_text, strchr(host, ':') != NULL ? "[%.46s]:%s" : "%.46s:%s", host,
             port);
}

static int source_parse(const char *text, struct sockaddr_storage *out)
{
    struct sockaddr_in *four = (struct sockaddr_in *)(void *)out;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)out;

    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, text, &four->sin_addr) == 1)
        four->sin_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1)
        six->sin6_family = AF_INET6;
    else
        return HK_EINVAL;
    return HK_OK;
}

/* An IPv4 address that lies so many behind the first. */
static void source_after(const struct sockaddr_storage *first, uint32_t more, struct sockaddr_storage *out)
{
    struct sockaddr_in *four = (struct sockaddr_in *)(void *)out;

    *out = *first;
    four->sin_addr.s_addr = htonl(ntohl(four->sin_addr.s_addr) + more);
}

static uint32_t figure_of(const struct sockaddr_storage *a)
{
    return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr);
}

/* "A" or "A..B" behind those that are there already. */
static int source_add(struct load *load, size_t *count, const char *text, struct hk_why *why)
{
    struct sockaddr_storage first, last;
    char from[64];
    const char *dots = strstr(text, "..");
    size_t length = dots != NULL ? (size_t)(dots - text) : strlen(text);

    snprintf(from, sizeof from, "%.*s", (int)(length < sizeof from ? length : sizeof from - 1), text);
    if (source_parse(from, &first) < 0 || source_parse(dots != NULL ? dots + 2 : from, &last) < 0 ||
        (dots != NULL &&
         (first.ss_family != AF_INET || last.ss_family != AF_INET || figure_of(&last) < figure_of(&first))))
        return why_set(why, HK_EINVAL,
                       "--source %s: write an address, or first and last of a range as 127.0.0.2..127.0.0.9",
                       text);
    if (first.ss_family != load->to.ss_family)
        return why_set(why, HK_EINVAL, "--source %s: %s is an address of the other family", text,
                       load->to_text);
    for (uint32_t i = 0; i <= (dots != NULL ? figure_of(&last) - figure_of(&first) : 0); i++) {
        if (*count == LOAD_SOURCES_MAX)
            return why_set(why, HK_EINVAL, "--source %s: at most %u addresses in all", text,
                           LOAD_SOURCES_MAX);
        if (dots != NULL)
            source_after(&first, i, &load->source[*count]);
        else
            load->source[*count] = first;
        (*count)++;
    }
    return HK_OK;
}

static int sources_find(struct load *load, struct hk_why *why)
{
    struct load_options *o = &load->options;
    size_t count = 0;
    uint64_t room;
    int rc;

    load->source = hk_xcalloc(LOAD_SOURCES_MAX, sizeof *load->source);
    for (size_t i = 0; i < o->source_count; i++)
        if ((rc = source_add(load, &count, o->source[i], why)) < 0)
            return rc;
    o->source_count = count;
    room = o->per_source > 0 ? (uint64_t)o->per_source * (count > 0 ? count : 1) : LOAD_CONNECTIONS_MAX;
    if (o->connections == 0)
        o->connections = (uint32_t)(room < LOAD_CONNECTIONS_MAX ? room : LOAD_CONNECTIONS_MAX);
    if (o->connections > room)
        return why_set(
            why, HK_EINVAL,
            "--connections %u: %zu sources with %u each have room for %llu: write --connections %llu, or "
            "more sources",
            o->connections, count > 0 ? count : 1, o->per_source, (unsigned long long)room,
            (unsigned long long)room);
    return HK_OK;
}

/* Of several addresses the first that takes a connection, as localhost may be ::1 and 127.0.0.1; where none does, the first. */
static const struct addrinfo *answering(const struct addrinfo *info, uint32_t timeout_ms)
{
    const struct timeval wait = {.tv_sec = timeout_ms / 1000, .tv_usec = (long)(timeout_ms % 1000) * 1000};

    for (const struct addrinfo *at = info; info->ai_next != NULL && at != NULL; at = at->ai_next) {
        int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = -1;
        if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) == 0)
            rc = connect(fd, at->ai_addr, at->ai_addrlen);
        if (fd >= 0)
            close(fd);
        if (rc == 0)
            return at;
    }
    return info;
}

int load_target_find(struct load *load, struct hk_why *why)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    const struct load_options *o = &load->options;
    struct addrinfo *info;
    int rc = getaddrinfo(o->host, o->port, &hints, &info);

    if (rc != 0)
        return why_set(why, HK_EDOWN, "%s: %s", o->host,
                       rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
    rc = owner_check(o, info, why); /* before anything is connected to */
    if (rc == 0) {
        const struct addrinfo *chosen = answering(info, o->timeout_ms);
        memcpy(&load->to, chosen->ai_addr, chosen->ai_addrlen);
        load->to_length = chosen->ai_addrlen;
    }
    freeaddrinfo(info);
    if (rc < 0)
        return rc;
    target_name(load);
    return sources_find(load, why);
}
