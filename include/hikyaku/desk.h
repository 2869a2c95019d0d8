/* desk.h - what a front (process.h) hands over to the master, and its answers.
 *
 * One request is under way at a time; what comes meanwhile goes with the next one. Something is answered when the master has
 * answered: its line is in the event log then, and Redis has what follows from it, or will. Without an answer, or with one
 * that says not now, whoever brought it keeps it and comes again: everything that is handed over counts once, however often. So
 * nothing is kept here longer than somebody waits for it, but for the one request that is under way.
 */
#ifndef HIKYAKU_DESK_H
#define HIKYAKU_DESK_H

#include "hikyaku/base.h"

struct ev_loop;
struct json_t;

#define DESK_MAX 8192u /* that wait at a time; more are told to come again */

enum desk_answer { DESK_TAKEN, DESK_LATER, DESK_REFUSED };

struct desk;
/* `nth` of `whose` has its answer; `told` is what the master says of it, NULL nothing, and gone after the call. It is called once
 * for each that was handed over and not forgotten, perhaps before the call that hands it over is back, and must not forget
 * anybody itself. */
typedef void desk_fn(void *whose, unsigned nth, enum desk_answer answer, const struct json_t *told);
/* `master_fd` is of front_args. Who has no answer within `wait_ms` is told to come again. `gone` is called when the master is.
 * NULL: no memory. */
struct desk *desk_new(struct ev_loop *loop, int master_fd, uint32_t wait_ms, desk_fn *answer,
                      void (*gone)(void *context), void *context);
void desk_free(struct desk *desk);
/* What came back about a message (master/returned.h). Takes `entry`; NULL: there was no memory for it. Told: its element of the
 * answer's "bounces". */
void desk_bounce(struct desk *desk, struct json_t *entry, void *whose, unsigned nth);
/* Somebody unsubscribes with this token, letters and digits (master/unsubscribe.h). Told: the whole answer. */
void desk_unsubscribe(struct desk *desk, const char *source, const char *token, size_t length, void *whose,
                      unsigned nth);
/* Nobody waits for these answers any more; what was handed over is done all the same if its turn comes in time. */
void desk_forget(struct desk *desk, const void *whose);

#endif
