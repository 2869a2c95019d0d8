/* queue.c - the ring of what the ledger has to send (queue.h). Pure memory. */
#include "queue.h"

#include <string.h>

#define QUEUE_FIRST 64u

void queue_init(struct queue *queue, size_t element)
{
    *queue = (struct queue){.element = element};
}

void queue_free(struct queue *queue)
{
    free(queue->slots);
    memset(queue, 0, sizeof *queue);
}

void *queue_at(const struct queue *queue, uint64_t position)
{
    HK_BUG_ON(position < queue->head || position >= queue->tail);
    return queue->slots + (position & (queue->capacity - 1)) * queue->element;
}

static int queue_grow(struct queue *queue)
{
    uint64_t capacity = queue->capacity ? queue->capacity * 2 : QUEUE_FIRST;
    uint8_t *slots;

    if (capacity > QUEUE_MAX)
        return HK_EFULL;
    slots = malloc(capacity * queue->element);
    if (!slots)
        return HK_ENOMEM;
    for (uint64_t at = queue->head; at < queue->tail; at++)
        memcpy(slots + (at & (capacity - 1)) * queue->element, queue_at(queue, at), queue->element);
    free(queue->slots);
    queue->slots = slots;
    queue->capacity = capacity;
    return 0;
}

int queue_push(struct queue *queue, const void *element)
{
    if (queue->tail - queue->head == queue->capacity) {
        int error = queue_grow(queue);
        if (error)
            return error;
    }
    queue->tail++;
    memcpy(queue_at(queue, queue->tail - 1), element, queue->element);
    return 0;
}
