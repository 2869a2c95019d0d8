/* desk.h - what is handed over to the master, and its answers.
 *
 * One request is under way at a time; what comes meanwhile goes with the next one. A mail is answered when the master has
 * answered: its line is in the event log then, and Redis has what follows from it. Without an answer, or with one that says
 * not now, whoever sent the mail keeps it and comes again: everything that is handed over counts once, however often. So nothing
 * is kept here longer than somebody waits for it, but for the one request that is under way.
 */
#ifndef INBOUND_DESK_H
#define INBOUND_DESK_H

#include <ev.h>

#include "hikyaku/base.h"

struct json_t;

#define DESK_WAIT_MS 120000u

enum desk_answer { DESK_TAKEN, DESK_LATER, DESK_REFUSED };

struct desk;
/* Who has waited for `wait_ms` is told to come again. `answer` is called once for each that was handed over and not forgotten, and must not forget anybody itself; `gone` when the master is. HK_ENOMEM: NULL. */
struct desk *desk_new(struct ev_loop *loop, int master_fd, uint64_t wait_ms,
                      void (*answer)(void *whose, unsigned nth, enum desk_answer answer),
                      void (*gone)(void *context), void *context);
void desk_free(struct desk *desk);
/* Takes `entry` (whose.h). `nth` of `whose` is what `answer` gets back. */
void desk_bounce(struct desk *desk, struct json_t *entry, void *whose, unsigned nth);
/* The token of an address of List-Unsubscribe. */
void desk_unsubscribe(struct desk *desk, const char *token, size_t length, void *whose, unsigned nth);
/* Nobody waits for these answers any more; what was handed over is done all the same if its turn comes in time. */
void desk_forget(struct desk *desk, const void *whose);

#endif
