/* txt.h - the two TXT records by which a domain speaks of TLS: `_mta-sts` (RFC 8461 3.1) and `_smtp._tls` (RFC 8460 3).
 *
 * Both have to stand there exactly once: of two that begin as the record must, none counts; other TXT records at
 * the name are passed over. Pure, no allocation; the fuzzer drives it. A record of more than TXT_BYTES_MAX octets is
 * passed over: neither needs a tenth of that.
 */
#ifndef HIKYAKU_TXT_H
#define HIKYAKU_TXT_H

#include "hikyaku/resolve.h"

#define TXT_BYTES_MAX  2048u
#define TXT_STS_ID_MAX 32u              /* RFC 8461 3.1 */
#define TXT_RUA_SIZE   RESOLVE_RUA_SIZE /* as many whole URIs as fit, a comma between */

/* The DNS message with the TXT records of a name. True and `id`: the domain says that it has a policy. */
bool txt_sts_id(const void *bytes, size_t length, char id[TXT_STS_ID_MAX + 1]);

/* True and `rua`: the domain wants reports, sent to these mailto: and https: URIs. */
bool txt_tlsrpt_rua(const void *bytes, size_t length, char rua[TXT_RUA_SIZE]);

#endif
