/* front.h - processes of the node that face the network: their sockets bound, forked, watched, started again (process.h).
 *
 * Which there are says the process table; `serve` alone has some. Each asks the master over a socket pair, as a command does
 * over the control socket, and only for what its row allows. One that dies takes nothing with it but what it had not handed
 * over, which whoever sent it sends again; connections wait in the kernel meanwhile, since its sockets stay open here.
 */
#ifndef MASTER_FRONT_H
#define MASTER_FRONT_H

#include "master.h"

struct json_t;

int fronts_open(struct node *node,
                struct hk_why *why) HK_MUST_USE; /* bind. HK_EDOWN: an address is not to be had */
int fronts_start(struct node *node, struct hk_why *why) HK_MUST_USE;
void fronts_reaped(struct node *node, pid_t pid, int status);
void fronts_leave(struct node *node); /* tell them that the node stops */
bool fronts_run(const struct node *node);
void fronts_kill(struct node *node);
void fronts_close(struct node *node); /* after the last of them has ended */
/* name: pid of each that is configured; 0 while it does not run. */
void fronts_show(const struct node *node, struct json_t *pids);

bool front_may_ask(const struct front *front, const char *command);
void front_closed(struct front *front); /* by control.c: its end of the socket pair is gone */

/* control.c: serve what comes over `fd`, which is control's from then on. NULL: no memory. */
void *control_adopt(struct front *front, struct node *node, int fd);
void control_drop(void *adopted);

#endif
