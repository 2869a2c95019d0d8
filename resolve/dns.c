/* dns.c - libunbound, configured and asked. See dns.h. */
#include "dns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <unbound-event.h>
#include <unbound.h>
#include <unistd.h>

#include "hikyaku/resolve.h"

#include "event_base.h"

#define CLASS_IN          1
#define ANCHOR_FILE_MAX   (1024u * 1024)
#define ANCHOR_HINT       "Debian has the root's as /usr/share/dns/root.key (dns-root-data)"
#define SOCKETS_MAX       4096u /* UDP sockets, one for each query under way; more wait inside libunbound */
#define SOCKETS_MIN       16u
#define DESCRIPTORS_SPARE 128u /* TCP look-ups and what the process has open anyway */

struct dns {
    struct ub_event_base *base;
    struct ub_ctx *ctx;
};

static const struct {
    const char *key, *value;
} settings[] = {
    {"do-not-query-localhost:", "no"}, /* forwarders on loopback are used as given */
    /* else .test is NXDOMAIN even with forwarders; "nodefault" has no effect through this call */
    {"local-zone:", "test. transparent"},
    {"num-queries-per-thread:", "8192"},
    {"outgoing-num-tcp:", "64"},
    {"msg-cache-size:", "16m"},
    {"rrset-cache-size:", "32m"},
    {"key-cache-size:", "4m"},
    {"neg-cache-size:", "1m"},
    {"infra-cache-numhosts:", "20000"},
    /* A DNS server that was away is asked again within a minute, not a quarter of an hour. */
    {"infra-keep-probing:", "yes"},
    {"infra-host-ttl:", "60"},
};

/* As many sockets as the process may have. libunbound's own default of 16 holds everything up. */
static unsigned sockets_allowed(void)
{
    struct rlimit limit;
    rlim_t room;

    if (getrlimit(RLIMIT_NOFILE, &limit))
        return SOCKETS_MIN;
    if (limit.rlim_cur < limit.rlim_max && limit.rlim_cur < SOCKETS_MAX + DESCRIPTORS_SPARE) {
        limit.rlim_cur = limit.rlim_max < SOCKETS_MAX + DESCRIPTORS_SPARE ? limit.rlim_max
                                                                          : SOCKETS_MAX + DESCRIPTORS_SPARE;
        /* where this is refused the old limit stands, and is read below */
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        if (getrlimit(RLIMIT_NOFILE, &limit))
            return SOCKETS_MIN;
    }
    room = limit.rlim_cur > DESCRIPTORS_SPARE ? limit.rlim_cur - DESCRIPTORS_SPARE : 0;
    if (room < SOCKETS_MIN)
        return SOCKETS_MIN;
    return room > SOCKETS_MAX ? SOCKETS_MAX : (unsigned)room;
}

static int dns_set(struct dns *dns, const char *key, const char *value, struct hk_why *why)
{
    int rc = ub_ctx_set_option(dns->ctx, key, value);

    if (rc)
        return why_set(why, HK_EINVAL, "libunbound does not take %s %s: %s", key, value, ub_strerror(rc));
    return 0;
}

static int dns_set_all(struct dns *dns, struct hk_why *why)
{
    char sockets[16];

    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (dns_set(dns, settings[i].key, settings[i].value, why))
            return HK_EINVAL;
    snprintf(sockets, sizeof sockets, "%u", sockets_allowed());
    return dns_set(dns, "outgoing-range:", sockets, why);
}

static int forwarders_set(struct dns *dns, const struct config *config, struct hk_why *why)
{
    char server[128];
    int rc;

    for (size_t i = 0; i < config->resolver.server_count; i++) {
        const struct cfg_address *address = &config->resolver.server[i];
        int length = snprintf(server, sizeof server, "%s@%u", address->host, (unsigned)address->port);

        rc = length < (int)sizeof server ? ub_ctx_set_fwd(dns->ctx, server) : UB_SYNTAX;
        if (rc)
            return why_set(
                why, HK_EINVAL,
                "resolver.servers: \"%.64s\" is no address: write an IP address with a port, such as "
                "\"127.0.0.1:53\"",
                address->host);
    }
    return 0;
}

static int trust_anchor_set(struct dns *dns, const char *file, struct hk_why *why)
{
    if (!file)
        return 0;
    /* libunbound reads it at the first question, when nobody can be told any more */
    if (access(file, R_OK))
        return why_set(why, HK_EINVAL, "resolver.trust_anchor_file: %.256s: %s", file, strerror(errno));
    if (ub_ctx_add_ta_file(dns->ctx, file))
        return why_set(why, HK_EINVAL, "resolver.trust_anchor_file: %.256s is not usable", file);
    return 0;
}

/* A file without any is not refused by libunbound: it validates nothing then, and nothing would ask for DANE. */
static bool names_an_anchor(const char *text)
{
    static const char *const word[] = {"DS", "DNSKEY"};
    static const char blank[] = " \t\r\n(";

    while (*text != '\0') {
        size_t length = strcspn(text, " \t\r\n(;");
        for (size_t i = 0; i < sizeof word / sizeof word[0]; i++)
            if (length == strlen(word[i]) && strncasecmp(text, word[i], length) == 0)
                return true;
        text += length;
        if (*text == ';')
            text += strcspn(text, "\n");
        text += strspn(text, blank);
    }
    return false;
}

/* What libunbound says of it, without its clock and process: "...error: WORDS". */
static const char *first_complaint(char *said)
{
    char *words;

    said[strcspn(said, "\n")] = '\0';
    words = strstr(said, "error: ");
    return words != NULL ? words + strlen("error: ") : "it cannot be used";
}

/* localhost is answered without a packet, but not before the anchors were read. */
static int anchor_try(const char *file, struct hk_why *why)
{
    struct ub_ctx *ctx = ub_ctx_create();
    struct ub_result *result = NULL;
    char *said = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&said, &length);
    int rc = UB_NOMEM, error = 0;

    if (ctx != NULL && out != NULL)
        rc = ub_ctx_debugout(ctx, out);
    if (rc == 0)
        rc = ub_ctx_add_ta_file(ctx, file);
    if (rc == 0)
        rc = ub_resolve(ctx, "localhost", PACKET_A, CLASS_IN, &result);
    ub_resolve_free(result);
    if (ctx != NULL)
        ub_ctx_delete(ctx);
    if (out != NULL && fclose(out) != 0)
        rc = UB_NOMEM;
    if (rc == UB_NOMEM)
        error = why_set(why, HK_ENOMEM, "no memory for the resolver");
    else if (rc != 0)
        error = why_set(why, HK_EINVAL, "resolver.trust_anchor_file: %.200s; " ANCHOR_HINT,
                        first_complaint(said));
    free(said);
    return error;
}

int resolve_check(const struct config *config, struct hk_why *why)
{
    const char *file = config->resolver.trust_anchor_file;
    struct hk_why reason;
    char *text;
    size_t length;
    int error;
    bool named;

    if (file == NULL)
        return 0;
    error = hk_read_file(file, ANCHOR_FILE_MAX, &text, &length, &reason);
    if (error < 0)
        return why_set(why, error, "resolver.trust_anchor_file: %s", reason.text);
    named = names_an_anchor(text);
    free(text);
    if (!named)
        return why_set(why, HK_EINVAL,
                       "resolver.trust_anchor_file: %.256s has no DS or DNSKEY record; " ANCHOR_HINT, file);
    return anchor_try(file, why);
}

int dns_open(const struct config *config, struct ev_loop *loop, struct dns **out, struct hk_why *why)
{
    struct dns *dns = calloc(1, sizeof *dns);
    int rc;

    if (!dns)
        return why_set(why, HK_ENOMEM, "no memory for the resolver");
    dns->base = event_base_new(loop);
    dns->ctx = dns->base ? ub_ctx_create_ub_event(dns->base) : NULL;
    if (!dns->ctx) {
        dns_close(dns);
        return why_set(why, HK_ENOMEM, "no memory for the resolver");
    }
    rc = dns_set_all(dns, why);
    if (rc == 0)
        rc = forwarders_set(dns, config, why);
    if (rc == 0)
        rc = trust_anchor_set(dns, config->resolver.trust_anchor_file, why);
    if (rc) {
        dns_close(dns);
        return rc;
    }
    *out = dns;
    return 0;
}

void dns_close(struct dns *dns)
{
    if (!dns)
        return;
    if (dns->ctx)
        ub_ctx_delete(dns->ctx);
    event_base_free(dns->base);
    free(dns);
}

static void on_event(void *context, int rcode, void *bytes, int length, int security, char *bogus,
                     int limited)
{
    struct dns_query *query = context;

    (void)limited;
    if (security == 1 && !bogus)
        bogus = "no reason given";
    query->on_answer(query, rcode, rcode == 0 ? bytes : NULL, length > 0 ? (size_t)length : 0, security == 2,
                     bogus);
}

int dns_ask(struct dns *dns, const char *name, enum packet_type type, struct dns_query *query)
{
    int rc = ub_resolve_event(dns->ctx, name, (int)type, CLASS_IN, query, on_event, NULL);

    if (rc == 0)
        return 0;
    if (rc == UB_SYNTAX)
        return HK_EINVAL;
    return rc == UB_NOMEM ? HK_ENOMEM : HK_EDOWN;
}
