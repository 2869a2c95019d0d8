/* resolver.h - the resolver process with its deadline open to tests. */
#ifndef HIKYAKU_RESOLVER_H
#define HIKYAKU_RESOLVER_H

#include "hikyaku/resolve.h"

#define RESOLVER_DEADLINE_MS 30000u /* a question that is open for so long is answered RESOLVE_TEMPORARY */

/* resolver_main() is this with RESOLVER_DEADLINE_MS. */
int resolver_run(const struct config *config, int fd, uint32_t deadline_ms);

#endif
