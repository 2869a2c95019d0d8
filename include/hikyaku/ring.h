/* ring.h - a single-producer single-consumer ring of fixed-size descriptors in shared memory.
 *
 * ring down: master -> one worker; ring up: one worker -> master. Same shape, same code.
 *                                                          producer  consumer
 *   0  magic, layout, slots (a power of two)               set before the fork
 *  64  put     slots ever filled                           release   acquire
 * 128  got     taken, after whatever must outlive a death  acquire   release
 * 192  asleep  the consumer waits on its eventfd           full fence between put and this, both ways
 * 256  slot[]  struct desc, 32 bytes
 *
 * A dead consumer leaves [got, put) as it was; a dead producer leaves nothing half-written: put moves after the slot.
 */
#ifndef HIKYAKU_RING_H
#define HIKYAKU_RING_H

#include <stdatomic.h>

#include "hikyaku/base.h"

enum desc_kind {
    /* down */
    DESC_OPEN = 1, /* open connection `conn` to `dest` for `lane`; serial = its number in the event log */
    DESC_SEND, /* send recipient (campaign, segment, index) as `attempt` over `conn`, in flight slot `slot` */
    DESC_GRANT, /* the commit of `slot` is durable: its dot may leave */
    DESC_DENY,  /* it is not granted (paused, cancelled, suppressed, settled elsewhere): no dot */
    DESC_CLOSE, /* QUIT `conn` once what it has is done */
    DESC_DRAIN, /* give back every send whose MAIL is not written; finish the rest */
    DESC_EXIT,  /* close everything and end */
    /* up */
    DESC_OPENED = 64, /* conn is ready for MAIL; its facts are in the conn table */
    DESC_CLOSED,      /* conn is gone and its slot free; if it never opened, why is in the conn table */
    DESC_COMMIT,      /* RCPT of `slot` was accepted: may its dot leave? */
    DESC_DONE,        /* the outcome of `slot` is in the flight table */
};

struct desc {
    uint8_t kind; /* enum desc_kind */
    uint8_t attempt;
    uint16_t campaign; /* slot in the region's campaign table */
    uint32_t slot;     /* flight slot */
    uint32_t conn;     /* connection slot of this worker */
    uint32_t index;    /* recipient: index in its segment */
    uint16_t segment;
    uint16_t source; /* index into config.source: what OPEN binds to and greets as */
    uint32_t dest;   /* destination slot */
    uint64_t serial; /* OPEN: connection number; else 0 */
};

struct ring {
    uint32_t magic, layout, slots;
    _Alignas(64) _Atomic uint64_t put;
    _Alignas(64) _Atomic uint64_t got;
    _Alignas(64) _Atomic uint32_t asleep;
    _Alignas(64) struct desc slot[];
};
#define RING_MAGIC  0x52494e47u
#define RING_LAYOUT 1u

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a shared counter must not hide a lock");
_Static_assert(sizeof(struct desc) == 32, "layout changed: raise RING_LAYOUT");
_Static_assert(offsetof(struct ring, put) == 64 && offsetof(struct ring, got) == 128 &&
                   offsetof(struct ring, asleep) == 192 && offsetof(struct ring, slot) == 256,
               "layout changed: raise RING_LAYOUT");

size_t ring_bytes(uint32_t slots); /* memory one ring takes; slots is a power of two */
void ring_init(struct ring *ring, uint32_t slots);
/* Is this a ring of our layout with that many slots (a file from another build is not)? */
bool ring_is_valid(const struct ring *ring, uint32_t slots);

/* Producer. ring_push: false when full. Returns with the descriptor visible; wake the consumer after a batch.
 */
bool ring_push(struct ring *ring, const struct desc *desc) HK_MUST_USE;
/* Does the consumer sleep (and so has to be woken by its eventfd)? Clears the flag: one wake for one sleep.
 */
bool ring_wants_wake(struct ring *ring);

/* Consumer. ring_peek: the next descriptor or NULL; ring_next: done with it. Copy what must survive before
 * ring_next. */
const struct desc *ring_peek(const struct ring *ring);
void ring_next(struct ring *ring);
/* Before blocking: say so. False when something came meanwhile: do not block, go on reading. */
bool ring_sleep(struct ring *ring) HK_MUST_USE;
void ring_awake(struct ring *ring);

#endif
