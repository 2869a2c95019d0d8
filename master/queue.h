/* queue.h - recipients that wait, as runs of neighbours: 16 bytes a run, however many recipients it holds.
 *
 * Without memory for them the process ends (hk_xcalloc): a master that forgot a recipient would be worse, and the next one
 * finds all in Redis.
 */
#ifndef MASTER_QUEUE_H
#define MASTER_QUEUE_H

#include "hikyaku/base.h"

struct run {
    uint32_t index;    /* first recipient, in its segment */
    uint32_t count;    /* at least 1; all of one span and one domain */
    uint32_t first_s;  /* campaign second of the first attempt, 0 none yet */
    uint16_t campaign; /* slot */
    uint8_t segment;
    uint8_t attempts; /* made so far */
};
_Static_assert(sizeof(struct run) == 16, "a run is what a waiting recipient costs");

struct queue {
    struct run *run; /* a ring of `room` runs */
    uint32_t room, head, runs;
    uint64_t recipients;
};

void queue_put(struct queue *queue, struct run run);
void queue_put_first(struct queue *queue, struct run run);
bool queue_get(struct queue *queue, struct run *run);     /* a whole run */
bool queue_get_one(struct queue *queue, struct run *run); /* its first recipient alone: count 1 */
void queue_clear(struct queue *queue);

/* Where campaigns share a destination: a queue for each that waits there, served in turn, a recipient at a time. So one
 * campaign's backlog never stands before another's first recipient. */
struct turns {
    struct turn *turn; /* one for each campaign that has something here, in no order */
    uint32_t count, room, next;
    uint64_t recipients; /* in all of them */
};

void turns_put(struct turns *turns, struct run run, bool first); /* first: in front of its campaign's own */
bool turns_get_one(struct turns *turns, struct run *run); /* one recipient of the campaign whose turn it is */
bool turns_get(struct turns *turns, struct run *run);     /* a whole run, of any campaign */
bool turns_get_of(struct turns *turns, uint16_t campaign, struct run *run); /* a whole run of this one */
void turns_clear(struct turns *turns);

#endif
