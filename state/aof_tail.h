/* aof_tail.h - the end of the embedded server's append-only file, mended before the server starts.
 *
 * A machine that dies may leave half of Redis' last write. Redis (7.0) then cuts its file behind the last whole command:
 * where that stands in a transaction, its MULTI stays there without an EXEC, and what is written behind it belongs to that
 * transaction when the file is loaded a second time: counters are then counted twice. So an unfinished transaction is cut
 * off as a whole. Anything else that is odd in the file is left to Redis.
 */
#ifndef STATE_AOF_TAIL_H
#define STATE_AOF_TAIL_H

#include "hikyaku/base.h"

/* dir: the server's, which nobody serves. 0, also where there is nothing to mend, or HK_EIO. */
int aof_tail_mend(const char *dir, struct hk_why *why) HK_MUST_USE;
/* Bytes of the file that aof_tail_mend() looks at; 0 where there is none. A server that has loaded it and was told nothing yet
 * leaves it as it is, or shorter by a command that was not whole. */
uint64_t aof_tail_bytes(const char *dir);

#endif
