/* queue.h - a ring of fixed-size elements that remembers how far it was released, sent and answered.
 *
 *   head <= sent <= released <= tail
 *   [head, sent)       in flight: kept until it is answered
 *   [sent, released)   may go out
 *   [released, tail)   pushed, not yet released by a flush
 * It grows by doubling up to QUEUE_MAX elements and never shrinks. A pointer from queue_at() is good until the next
 * push.
 */
#ifndef HIKYAKU_STATE_QUEUE_H
#define HIKYAKU_STATE_QUEUE_H

#include "hikyaku/base.h"

#define QUEUE_MAX (1u << 22)

struct queue {
    uint8_t *slots;
    size_t element; /* bytes of one */
    uint64_t capacity;
    uint64_t head, sent, released, tail;
};

void queue_init(struct queue *queue, size_t element);
void queue_free(struct queue *queue);
/* HK_ENOMEM; HK_EFULL at QUEUE_MAX elements. The element is copied. */
int queue_push(struct queue *queue, const void *element) HK_MUST_USE;
void *queue_at(const struct queue *queue, uint64_t position);

#endif
