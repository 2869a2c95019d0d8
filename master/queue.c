/* queue.c - the queue of queue.h. It grows by doubling and gives its memory back when it runs empty. */
#include <string.h>

#include "queue.h"

static struct run *queue_at(const struct queue *queue, uint32_t n)
{
    return &queue->run[(queue->head + n) & (queue->room - 1)];
}

static void queue_make_room(struct queue *queue)
{
    uint32_t room = queue->room > 0 ? queue->room * 2 : 4;
    struct run *run;

    if (queue->runs < queue->room)
        return;
    HK_BUG_ON(room < queue->room);
    run = hk_xcalloc(room, sizeof *run);
    for (uint32_t i = 0; i < queue->runs; i++)
        run[i] = *queue_at(queue, i);
    free(queue->run);
    queue->run = run;
    queue->room = room;
    queue->head = 0;
}

void queue_put(struct queue *queue, struct run run)
{
    queue_make_room(queue);
    *queue_at(queue, queue->runs++) = run;
    queue->recipients += run.count;
}

void queue_put_first(struct queue *queue, struct run run)
{
    queue_make_room(queue);
    queue->head = (queue->head - 1) & (queue->room - 1);
    queue->runs++;
    *queue_at(queue, 0) = run;
    queue->recipients += run.count;
}

static void queue_drop_head(struct queue *queue)
{
    queue->head = (queue->head + 1) & (queue->room - 1);
    if (--queue->runs == 0)
        queue_clear(queue);
}

bool queue_get(struct queue *queue, struct run *run)
{
    if (queue->runs == 0)
        return false;
    *run = *queue_at(queue, 0);
    queue->recipients -= run->count;
    queue_drop_head(queue);
    return true;
}

bool queue_get_one(struct queue *queue, struct run *run)
{
    struct run *head;

    if (queue->runs == 0)
        return false;
    head = queue_at(queue, 0);
    *run = *head;
    run->count = 1;
    queue->recipients--;
    head->index++;
    if (--head->count == 0)
        queue_drop_head(queue);
    return true;
}

void queue_clear(struct queue *queue)
{
    free(queue->run);
    memset(queue, 0, sizeof *queue);
}
