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

/* ---- turns ---- */

struct turn {
    uint16_t campaign;
    struct queue queue;
};

static struct turn *turns_of(struct turns *turns, uint16_t campaign)
{
    for (uint32_t i = 0; i < turns->count; i++)
        if (turns->turn[i].campaign == campaign)
            return &turns->turn[i];
    return NULL;
}

/* At most one for each campaign of a node, so the array stays short. */
static struct turn *turns_add(struct turns *turns, uint16_t campaign)
{
    if (turns->count == turns->room) {
        uint32_t room = turns->room > 0 ? turns->room * 2 : 1;
        struct turn *turn = hk_xcalloc(room, sizeof *turn);
        if (turns->count > 0)
            memcpy(turn, turns->turn, turns->count * sizeof *turn);
        free(turns->turn);
        turns->turn = turn;
        turns->room = room;
    }
    turns->turn[turns->count] = (struct turn){.campaign = campaign};
    return &turns->turn[turns->count++];
}

/* A campaign that has nothing here any more gives its turn away, and the last one all memory. */
static void turns_drop_empty(struct turns *turns, struct turn *turn)
{
    if (turn->queue.runs > 0)
        return;
    *turn = turns->turn[--turns->count];
    if (turns->count > 0)
        return;
    free(turns->turn);
    memset(turns, 0, sizeof *turns);
}

void turns_put(struct turns *turns, struct run run, bool first)
{
    struct turn *turn = turns_of(turns, run.campaign);

    if (turn == NULL)
        turn = turns_add(turns, run.campaign);
    if (first)
        queue_put_first(&turn->queue, run);
    else
        queue_put(&turn->queue, run);
    turns->recipients += run.count;
}

bool turns_get_one(struct turns *turns, struct run *run)
{
    struct turn *turn;

    if (turns->count == 0)
        return false;
    if (turns->next >= turns->count)
        turns->next = 0;
    turn = &turns->turn[turns->next++];
    turns->recipients--;
    (void)queue_get_one(&turn->queue, run);
    turns_drop_empty(turns, turn);
    return true;
}

static void turns_take_run(struct turns *turns, struct turn *turn, struct run *run)
{
    (void)queue_get(&turn->queue, run);
    turns->recipients -= run->count;
    turns_drop_empty(turns, turn);
}

bool turns_get(struct turns *turns, struct run *run)
{
    if (turns->count == 0)
        return false;
    turns_take_run(turns, turns->turn, run);
    return true;
}

void turns_clear(struct turns *turns)
{
    for (uint32_t i = 0; i < turns->count; i++)
        queue_clear(&turns->turn[i].queue);
    free(turns->turn);
    memset(turns, 0, sizeof *turns);
}

bool turns_get_of(struct turns *turns, uint16_t campaign, struct run *run)
{
    struct turn *turn = turns_of(turns, campaign);

    if (turn == NULL)
        return false;
    turns_take_run(turns, turn, run);
    return true;
}
