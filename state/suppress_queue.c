/* suppress_queue.c - the asynchronous way of suppressions to Redis (suppress_queue.h). */
#include "suppress_queue.h"

#include <string.h>

struct waiting {
    char *scope, *key, *value; /* one allocation each but key, which lies behind scope */
};

struct queue_call {
    struct link_call link_call;
    struct suppress_queue *queue;
    uint32_t count;
};

void suppress_queue_init(struct suppress_queue *queue, struct redis_link *link, void *context,
                         void (*answered)(void *context, uint32_t count))
{
    *queue = (struct suppress_queue){.link = link, .context = context, .answered = answered};
    queue_init(&queue->queue, sizeof(struct waiting));
}

static void waiting_free(const struct waiting *waiting)
{
    free(waiting->scope);
    free(waiting->value);
}

void suppress_queue_free(struct suppress_queue *queue)
{
    for (uint64_t at = queue->queue.head; at < queue->queue.tail; at++)
        waiting_free(queue_at(&queue->queue, at));
    queue_free(&queue->queue);
}

int suppress_queue_push(struct suppress_queue *queue, const struct suppress_entry *entry,
                        char key[ADDRESS_MAX + 1])
{
    struct waiting waiting;
    size_t scope_size = strlen(entry->scope) + 1, key_size;
    int error = suppress_entry_key(entry, key, NULL);

    if (error)
        return error;
    key_size = strlen(key) + 1;
    waiting.value = suppress_value(entry);
    waiting.scope = malloc(scope_size + key_size);
    if (waiting.value && waiting.scope) {
        waiting.key = waiting.scope + scope_size;
        memcpy(waiting.scope, entry->scope, scope_size);
        memcpy(waiting.key, key, key_size);
        error = queue_push(&queue->queue, &waiting);
    } else {
        error = HK_ENOMEM;
    }
    if (error)
        waiting_free(&waiting);
    return error;
}

void suppress_queue_release(struct suppress_queue *queue)
{
    queue->queue.released = queue->queue.tail;
}

void suppress_queue_rewind(struct suppress_queue *queue)
{
    queue->queue.sent = queue->queue.head;
    queue->calls = 0;
}

static void on_answer(struct link_call *link_call, const redisReply *reply)
{
    struct queue_call *call = (struct queue_call *)link_call;
    struct suppress_queue *queue = call->queue;
    uint32_t count = call->count;

    free(call);
    if (!reply)
        return;
    if (reply->type != REDIS_REPLY_STRING || reply->len != count) {
        redis_link_reject(queue->link, "the script of suppression gives something else than its digits");
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        waiting_free(queue_at(&queue->queue, queue->queue.head));
        queue->queue.head++;
    }
    queue->calls--;
    queue->answered(queue->context, count);
}

/* One call: neighbours of one scope. */
static bool send_some(struct suppress_queue *queue)
{
    const struct waiting *first = queue_at(&queue->queue, queue->queue.sent);
    struct queue_call *call = malloc(sizeof *call);
    struct suppress_call command;
    uint32_t count = 0;

    if (!call)
        return false;
    suppress_call_begin(&command, "EVALSHA", queue->link->sha1[LINK_SUPPRESS], "add", first->scope);
    for (uint64_t at = queue->queue.sent; at < queue->queue.released && count < SUPPRESS_CALL_MAX; at++) {
        const struct waiting *waiting = queue_at(&queue->queue, at);
        if (strcmp(waiting->scope, first->scope) != 0)
            break;
        suppress_call_add(&command, waiting->key);
        suppress_call_add(&command, waiting->value);
        count++;
    }
    *call = (struct queue_call){.link_call.answer = on_answer, .queue = queue, .count = count};
    if (redis_link_send(queue->link, &call->link_call, command.argc, command.argv, command.length) != 0) {
        free(call);
        return false;
    }
    queue->queue.sent += count;
    queue->calls++;
    return true;
}

bool suppress_queue_send(struct suppress_queue *queue)
{
    while (queue->queue.sent < queue->queue.released)
        if (!send_some(queue))
            return false;
    return true;
}
