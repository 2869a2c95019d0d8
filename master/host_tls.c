/* host_tls.c - see host_tls.h. */
#include "host_tls.h"

enum host_tls host_tls(enum tls_policy policy, enum dane_state dane)
{
    if (policy == TLS_NONE || policy == TLS_VERIFIED)
        return (enum host_tls)policy;
    switch (dane) {
    case DANE_USABLE:
        return HOST_TLS_DANE;
    case DANE_UNUSABLE:
        return HOST_TLS_REQUIRED;
    case DANE_FAILED:
        return HOST_TLS_UNUSED;
    default:
        return (enum host_tls)policy;
    }
}
