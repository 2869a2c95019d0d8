/* lease.h - the command of lease.lua, asked by a store at start and by the ledger from then on. */
#ifndef HIKYAKU_STATE_LEASE_H
#define HIKYAKU_STATE_LEASE_H

#include <hiredis/hiredis.h>

#include "hikyaku/state.h"

#define LEASE_ARGC 11

struct lease_command {
    char key[3][512], epoch[24], life[16];
    const char *argv[LEASE_ARGC];
    size_t length[LEASE_ARGC];
};

/* how: EVAL with the script's text, or EVALSHA with its hash. argv points into *out and to the arguments. HK_ETOOBIG: the
 * node's name is longer than a key may be. */
int lease_command(struct lease_command *out, const char *how, const char *script, const struct lease *lease,
                  const char *told) HK_MUST_USE;

/* Its answer; false: it is none. */
bool lease_answer(const redisReply *reply, long long *left_ms, uint64_t *evicted) HK_MUST_USE;

#endif
