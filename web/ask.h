/* ask.h - what the web process asks of the master: one JSON line each way over the descriptor it was born with, one request
 * at a time, in order. Bounded: who asks when too many wait is told so at once.
 */
#ifndef WEB_ASK_H
#define WEB_ASK_H

#include <ev.h>
#include <jansson.h>

#include "hikyaku/base.h"

#define ASKS_MAX    4096u  /* that wait */
#define ASK_WAIT_MS 20000u /* for an answer; then whoever waits is told that there is none */

/* `answer` belongs to the caller of it and is gone after; NULL: there came none, nobody knows whether it was done. */
typedef void ask_done(void *context, const json_t *answer);
struct asker;
/* `on_end`: the master is gone, or closed its end. NULL: no memory. */
struct asker *asker_open(struct ev_loop *loop, int fd, void (*on_end)(void *context), void *context);
void asker_close(struct asker *asker);
/* Takes `request`, also where it fails: HK_EFULL, HK_ENOMEM, HK_ETOOBIG. `done` is called once, later. */
int ask(struct asker *asker, json_t *request, ask_done *done, void *context) HK_MUST_USE;

#endif
