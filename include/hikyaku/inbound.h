/* inbound.h - the bounce receiver: a process of `serve` that takes what comes back to our return path, by SMTP or LMTP.
 *
 * It holds the token's secret and, where it offers STARTTLS, a key for that; no DKIM key and no list. It takes mail for our
 * return paths, for the addresses of List-Unsubscribe, and complaints that bear a return path; it relays nothing, answers
 * nobody, and sends no mail. A mail is answered with 250 when the master has it written down (master/returned.h).
 */
#ifndef HIKYAKU_INBOUND_H
#define HIKYAKU_INBOUND_H

#include "hikyaku/process.h"

size_t inbound_listens(const struct config *config, const struct cfg_address *out[FRONT_LISTEN_MAX]);
int inbound_main(const struct front_args *args);

#endif
