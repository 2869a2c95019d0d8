/* web.h - the web process: HTTP behind a web server that speaks TLS, for one-click unsubscribe (RFC 8058) and Amazon SNS.
 *
 * A front (process.h). It holds the secret of the tokens, of raw delivery, and the authorities that SNS is verified with;
 * everything that changes something it asks of the master.
 */
#ifndef HIKYAKU_WEB_H
#define HIKYAKU_WEB_H

#include "hikyaku/process.h"

size_t web_listens(const struct config *config, const struct cfg_address *out[FRONT_LISTEN_MAX]);
int web_main(const struct front_args *args);

#endif
