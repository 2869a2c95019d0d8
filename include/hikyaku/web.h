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
/* Could the process begin with the addresses that are configured, and with sns.secret_file? 0, or HK_E* with the words: else
 * it would end again and again beside a node that runs. */
int web_check(const struct config *config, struct hk_why *why) HK_MUST_USE;

#endif
