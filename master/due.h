/* due.h - which answers a call of the ledger waits for.
 *
 * A call costs nearly the same for one recipient as for sixty, and whoever misses it waits until it is answered. So it waits for
 * those who are about to come: messages whose dot may leave, on connections that answered their last one within DUE_US. It goes
 * when they are all there, or after DUE_US; who is late then goes with the next one. Receivers that are further away are never
 * waited for: their answers come when they come.
 */
#ifndef HIKYAKU_MASTER_DUE_H
#define HIKYAKU_MASTER_DUE_H

#include <stdbool.h>
#include <stdint.h>

#define DUE_US 1000u

struct due {
    uint64_t call; /* number of the call that is waited with, from 1 */
    uint32_t count;
};

/* Of one connection, zeros when it is opened. It has one dot under way at a time. */
struct due_mark {
    uint64_t granted_us;
    uint64_t call; /* it is due for that one; 0: for none */
    bool near;     /* its last answer came within DUE_US */
};

void due_init(struct due *due);
/* Its dot may leave; and its answer is here, or what became of it otherwise. now_us: a clock that does not jump. */
void due_granted(struct due *due, struct due_mark *mark, uint64_t now_us);
void due_answered(struct due *due, struct due_mark *mark, uint64_t now_us);
void due_gone(struct due *due, struct due_mark *mark); /* the connection is */
/* Until nobody is due, for DUE_US at most: look() every now and then, which tells of who is here. Then the call goes, with whom it
 * has. */
void due_await(struct due *due, void (*look)(void *context), void *context);

#endif
