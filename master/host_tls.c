/* host_tls.c - see host_tls.h. */
#include "host_tls.h"

static enum host_tls without_dane(enum tls_policy policy, enum sts_mode sts, bool listed)
{
    if (sts != STS_ENFORCE)
        return (enum host_tls)policy;
    if (!listed)
        return HOST_TLS_UNLISTED;
    return policy == TLS_VERIFIED ? HOST_TLS_VERIFIED : HOST_TLS_STS;
}

enum host_tls host_tls(enum tls_policy policy, enum dane_state dane, enum sts_mode sts, bool listed)
{
    if (policy == TLS_NONE)
        return HOST_TLS_NONE;
    if (policy == TLS_VERIFIED)
        return without_dane(policy, sts, listed);
    switch (dane) {
    case DANE_USABLE:
        return HOST_TLS_DANE;
    case DANE_UNUSABLE:
        return HOST_TLS_REQUIRED;
    case DANE_FAILED:
        return HOST_TLS_UNUSED;
    default:
        return without_dane(policy, sts, listed);
    }
}
