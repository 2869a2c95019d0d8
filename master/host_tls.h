/* host_tls.h - which policy counts for one host: the only place where what the configuration says and what is published for
 * the host are weighed against each other.
 */
#ifndef MASTER_HOST_TLS_H
#define MASTER_HOST_TLS_H

#include "hikyaku/region.h"

/* What the operator wrote as "none" or "verified" stands. Opportunistic and required give way to DANE (RFC 7672 2.2), and
 * where DNS has no word of DANE on the host to an MTA-STS policy in force (RFC 8461 2). A host that such a policy does not list
 * is not used, whatever else was asked of it but "none". */
enum host_tls host_tls(enum tls_policy policy, enum dane_state dane, enum sts_mode sts, bool listed);

#endif
