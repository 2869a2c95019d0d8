/* suppress_queue.c - the asynchronous way of suppressions to Redis (suppress_queue.h). */
#include "suppress_queue.h"

#include <string.h>

#include "feedback_call.h"

struct waiting {
    char *scope;
    struct suppress_texts texts;       /* of a change in that scope */
    struct waiting_feedback *feedback; /* where one of these is there, the others are not */
    struct sent_id *sent_id;
};
struct waiting_feedback {
    struct feedback feedback;
    struct feedback_call call;
    uint32_t limit;
};

struct queue_call {
    struct link_call link_call;
    struct suppress_queue *queue;
    uint32_t count;
};

void suppress_queue_init(struct suppress_queue *queue, struct redis_link *link, void *context,
                         void (*answered)(void *context, uint32_t count),
                         void (*fed_back)(void *context, const struct feedback *feedback,
                                          const struct feedback_result *result))
{
    *queue =
        (struct suppress_queue){.link = link, .context = context, .answered = answered, .fed_back = fed_back};
    queue_init(&queue->queue, sizeof(struct waiting));
}

static void waiting_free(const struct waiting *waiting)
{
    free(waiting->scope);
    suppress_texts_free(&waiting->texts);
    if (waiting->feedback)
        feedback_call_free(&waiting->feedback->call);
    free(waiting->feedback);
    free(waiting->sent_id);
}

void suppress_queue_free(struct suppress_queue *queue)
{
    for (uint64_t at = queue->queue.head; at < queue->queue.tail; at++)
        waiting_free(queue_at(&queue->queue, at));
    queue_free(&queue->queue);
}

int suppress_queue_push(struct suppress_queue *queue, enum suppress_change change,
                        const struct suppress_entry *entry, uint64_t time_us, char key[ADDRESS_MAX + 1])
{
    struct waiting waiting = {.feedback = NULL};
    int error = suppress_texts_make(&waiting.texts, change, entry, time_us, NULL);

    if (error)
        return error;
    memcpy(key, waiting.texts.text[0], strlen(waiting.texts.text[0]) + 1);
    waiting.scope = strdup(entry->scope);
    error = waiting.scope ? queue_push(&queue->queue, &waiting) : HK_ENOMEM;
    if (error)
        waiting_free(&waiting);
    return error;
}

int suppress_queue_feedback(struct suppress_queue *queue, const struct config *config,
                            const struct feedback *feedback)
{
    struct waiting waiting = {.feedback = calloc(1, sizeof *waiting.feedback)};
    int error;

    if (!waiting.feedback)
        return HK_ENOMEM;
    waiting.feedback->feedback = *feedback;
    waiting.feedback->limit = feedback_soft_rule(config, feedback->reply_class).count;
    error = feedback_call_make(&waiting.feedback->call, config, feedback, NULL);
    if (!error)
        error = queue_push(&queue->queue, &waiting);
    if (error)
        waiting_free(&waiting);
    return error;
}

int suppress_queue_sent_id(struct suppress_queue *queue, const struct config *config,
                           const struct sent_id *id)
{
    struct waiting waiting = {.sent_id = malloc(sizeof *waiting.sent_id)};
    int error;

    if (!waiting.sent_id)
        return HK_ENOMEM;
    queue->config = config;
    *waiting.sent_id = *id;
    error = queue_push(&queue->queue, &waiting);
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

/* Once a day: it goes on being full. */
static void say_if_full(struct suppress_queue *queue, const struct sent_id *id, const redisReply *reply)
{
    if (memchr(reply->str, 'f', reply->len) == NULL || queue->full_day == id->day)
        return;
    queue->full_day = id->day;
    log_warning(
        "more than %u messages of a day have ids of SES: notices about the others, where they carry no tag, "
        "cannot be told whose they are (sns.remember_most)",
        queue->config->sns.remember_most);
}

static void on_answer(struct link_call *link_call, const redisReply *reply)
{
    struct queue_call *call = (struct queue_call *)link_call;
    struct suppress_queue *queue = call->queue;
    uint32_t count = call->count;
    const struct waiting *first;

    free(call);
    if (!reply)
        return;
    if (reply->type != REDIS_REPLY_STRING || reply->len != count) {
        redis_link_reject(queue->link, "a script of suppression gives something else than a letter for each");
        return;
    }
    first = queue_at(&queue->queue, queue->queue.head);
    if (first->sent_id)
        say_if_full(queue, first->sent_id, reply);
    for (uint32_t i = 0; i < count; i++) {
        waiting_free(queue_at(&queue->queue, queue->queue.head));
        queue->queue.head++;
    }
    queue->calls--;
    queue->answered(queue->context, count);
}

static void on_feedback(struct link_call *link_call, const redisReply *reply)
{
    struct queue_call *call = (struct queue_call *)link_call;
    struct suppress_queue *queue = call->queue;
    struct feedback_result result;
    struct waiting waiting;

    free(call);
    if (!reply)
        return;
    if (!feedback_call_read(reply, &result)) {
        redis_link_reject(queue->link, "the script of feedback gives something else than what was done");
        return;
    }
    waiting = *(const struct waiting *)queue_at(&queue->queue, queue->queue.head);
    queue->queue.head++;
    queue->calls--;
    result.limit = waiting.feedback->limit;
    queue->fed_back(queue->context, &waiting.feedback->feedback, &result);
    waiting_free(&waiting);
    queue->answered(queue->context, 1);
}

/* The next `count` of the queue, as one call. */
static bool send_call(struct suppress_queue *queue, void (*answer)(struct link_call *, const redisReply *),
                      int argc, const char **argv, const size_t *length, uint32_t count)
{
    struct queue_call *call = malloc(sizeof *call);

    if (!call)
        return false;
    *call = (struct queue_call){.link_call.answer = answer, .queue = queue, .count = count};
    if (redis_link_send(queue->link, &call->link_call, argc, argv, length) != 0) {
        free(call);
        return false;
    }
    queue->queue.sent += count;
    queue->calls++;
    return true;
}

static bool send_feedback(struct suppress_queue *queue, const struct waiting *waiting)
{
    const char *argv[FEEDBACK_ARGC];
    size_t length[FEEDBACK_ARGC];

    feedback_call_command(&waiting->feedback->call, "EVALSHA", queue->link->sha1[LINK_FEEDBACK], argv);
    for (size_t i = 0; i < FEEDBACK_ARGC; i++)
        length[i] = strlen(argv[i]);
    return send_call(queue, on_feedback, FEEDBACK_ARGC, argv, length, 1);
}

/* One call: neighbours of one day. */
static bool send_sent_ids(struct suppress_queue *queue)
{
    const struct sent_id *one[SENT_IDS_CALL_MAX];
    struct sent_ids_call command;
    uint32_t count = 0;

    for (uint64_t at = queue->queue.sent; at < queue->queue.released && count < SENT_IDS_CALL_MAX; at++) {
        const struct waiting *waiting = queue_at(&queue->queue, at);
        if (!waiting->sent_id || (count > 0 && waiting->sent_id->day != one[0]->day))
            break;
        one[count++] = waiting->sent_id;
    }
    sent_ids_call_make(&command, queue->link->sha1[LINK_SENT_IDS], queue->config, one, count);
    return send_call(queue, on_answer, command.argc, command.argv, command.length, count);
}

static bool goes_with(const struct waiting *waiting, const struct waiting *first)
{
    return !waiting->feedback && !waiting->sent_id && strcmp(waiting->texts.op, first->texts.op) == 0 &&
           strcmp(waiting->scope, first->scope) == 0;
}

/* One call: neighbours of one scope, to which the same is done. */
static bool send_some(struct suppress_queue *queue)
{
    const struct waiting *first = queue_at(&queue->queue, queue->queue.sent);
    struct suppress_call command;
    uint32_t count = 0;

    if (first->feedback)
        return send_feedback(queue, first);
    if (first->sent_id)
        return send_sent_ids(queue);
    suppress_call_begin(&command, "EVALSHA", queue->link->sha1[LINK_SUPPRESS], first->texts.op, first->scope);
    for (uint64_t at = queue->queue.sent; at < queue->queue.released && count < SUPPRESS_CALL_MAX; at++) {
        const struct waiting *waiting = queue_at(&queue->queue, at);
        if (!goes_with(waiting, first))
            break;
        suppress_call_add_texts(&command, &waiting->texts);
        count++;
    }
    return send_call(queue, on_answer, command.argc, command.argv, command.length, count);
}

bool suppress_queue_send(struct suppress_queue *queue)
{
    while (queue->queue.sent < queue->queue.released)
        if (!send_some(queue))
            return false;
    return true;
}
