/* seen.c - what a connection saw of TLS, for the reports that its domain wants (RFC 8460; tlsrpt.h counts and writes).
 *
 * A destination whose domain wants reports serves no other domain (site.c), so its connections are that domain's sessions.
 */
#include <arpa/inet.h>
#include <string.h>

#include "master.h"

/* "" where there is none: a connection that was never made has no address of its own. */
static const char *address_text(uint8_t family, const uint8_t *ip, char out[INET6_ADDRSTRLEN])
{
    static const uint8_t none[16];

    if ((family != AF_INET && family != AF_INET6) || memcmp(ip, none, sizeof none) == 0 ||
        inet_ntop(family, ip, out, INET6_ADDRSTRLEN) == NULL)
        out[0] = '\0';
    return out;
}

/* Which policy was asked of this host. */
static enum tlsrpt_policy policy_of(const struct destination *shared, uint8_t mx)
{
    switch (shared->mx_tls[mx]) {
    case HOST_TLS_DANE:
    case HOST_TLS_UNUSED:
        return TLSRPT_TLSA;
    case HOST_TLS_STS:
    case HOST_TLS_UNLISTED:
        return TLSRPT_STS;
    default:
        return shared->sts != STS_NONE ? TLSRPT_STS : TLSRPT_NO_POLICY;
    }
}

/* The host's TLSA records as RFC 6698 2.3 writes them, a line each; what does not fit is left out. */
static void tlsa_text(const struct dane_set *set, uint8_t mx, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '\0';
    for (uint16_t i = 0; i < set->record_count; i++) {
        const struct dane_record *record = &set->record[i];

        if (record->host != mx || used + 16 + 2 * (size_t)record->length > size)
            continue;
        used += (size_t)snprintf(out + used, size - used, "%u %u %u ", record->usage, record->selector,
                                 record->matching);
        for (uint16_t at = 0; at < record->length; at++)
            used += (size_t)snprintf(out + used, size - used, "%02X", set->bytes[record->at + at]);
        used += (size_t)snprintf(out + used, size - used, "\n");
    }
}

static void report_one(const struct conn *conn, const struct conn_info *info,
                       const struct resolve_answer *hosts, const struct tls_seen *seen)
{
    struct node *node = conn->lane->site->node;
    const struct destination *shared = &node->region.destination[conn->shared];
    const struct dest_address *address = &shared->address[seen->address % DEST_ADDRESSES_MAX];
    uint8_t mx = address->mx % DEST_MX_MAX;
    char ip[INET6_ADDRSTRLEN], source[INET6_ADDRSTRLEN], tlsa[RESOLVE_POLICY_SIZE];
    struct tlsrpt_session session = {
        .domain = conn->dest->next_hop,
        .rua = hosts->rua,
        .policy = policy_of(shared, mx),
        .result = (enum tls_seen_result)seen->result,
        .mx = destination_mx_name(shared, mx),
        .mx_ip = address_text(address->family, address->ip, ip),
        .source_ip = address_text(info->family, info->local, source),
        .reason = seen->result == TLS_SEEN_UNLISTED ? "mx-not-listed-in-sts-policy" : "",
    };

    if (session.policy == TLSRPT_STS) {
        session.policy_text = hosts->sts_policy;
    } else if (session.policy == TLSRPT_TLSA) {
        tlsa_text(&shared->dane, mx, tlsa, sizeof tlsa);
        session.policy_text = tlsa;
    }
    tlsrpt_count(&node->tlsrpt, &session, clock_wall_us());
}

/* The domain announces an MTA-STS policy that was not to be had: the session went on as if there were none, and is told as a
 * failure of that policy as well. */
static void report_fault(const struct conn *conn, const struct resolve_answer *hosts)
{
    static const enum tls_seen_result results[] = {
        [STS_FAULT_FETCH] = TLS_SEEN_STS_FETCH,
        [STS_FAULT_INVALID] = TLS_SEEN_STS_INVALID,
        [STS_FAULT_WEBPKI] = TLS_SEEN_STS_WEBPKI,
    };
    struct tlsrpt_session session = {.domain = conn->dest->next_hop,
                                     .rua = hosts->rua,
                                     .policy = TLSRPT_STS,
                                     .mx = "",
                                     .mx_ip = "",
                                     .source_ip = "",
                                     .reason = ""};

    if (hosts->sts_fault == STS_FAULT_NONE || hosts->sts_fault > STS_FAULT_WEBPKI)
        return;
    session.result = results[hosts->sts_fault];
    tlsrpt_count(&conn->lane->site->node->tlsrpt, &session, clock_wall_us());
}

void conn_report_tls(const struct conn *conn, const struct conn_info *info)
{
    const struct dest *dest = conn->dest;
    struct resolve_answer hosts;

    if (dest->next_hop == NULL || !dest->wants_reports || info->tls_seen_count == 0)
        return;
    dest_hosts(dest, &hosts);
    for (uint8_t i = 0; i < info->tls_seen_count && i < DEST_ADDRESSES_MAX; i++)
        report_one(conn, info, &hosts, &info->tls_seen[i]);
    report_fault(conn, &hosts);
}
