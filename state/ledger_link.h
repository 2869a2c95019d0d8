/* ledger_link.h - the ledger's connection, for calls that go out at once and beside its ops (suspension.c, limit.c). */
#ifndef HIKYAKU_STATE_LEDGER_LINK_H
#define HIKYAKU_STATE_LEDGER_LINK_H

#include "hikyaku/state.h"
#include "link.h"

/* NULL: nothing can be sent now. */
struct redis_link *ledger_link(struct ledger *ledger);

#endif
