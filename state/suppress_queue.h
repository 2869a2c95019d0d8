/* suppress_queue.h - suppressions, what refusals count, and ids of messages, on their way to Redis over the ledger's
 * connection.
 *
 * Like the ledger's own queues: nothing goes out before it is released, what is in flight is kept until it is answered, and
 * a rewind sends it again. Calls are pipelined: the ledger sends all of them before its ops.
 */
#ifndef HIKYAKU_STATE_SUPPRESS_QUEUE_H
#define HIKYAKU_STATE_SUPPRESS_QUEUE_H

#include "hikyaku/feedback.h"
#include "link.h"
#include "queue.h"
#include "sent_ids.h"
#include "suppress_entry.h"

struct suppress_queue {
    struct redis_link *link;
    void *context;
    void (*answered)(void *context, uint32_t count); /* so many of them are in Redis */
    void (*fed_back)(void *context, const struct feedback *feedback, const struct feedback_result *result);
    struct queue queue;
    uint32_t calls; /* in flight */
    const struct config *config;
    uint64_t full_day; /* it was said of this day that no more ids are kept */
};

void suppress_queue_init(struct suppress_queue *queue, struct redis_link *link, void *context,
                         void (*answered)(void *context, uint32_t count),
                         void (*fed_back)(void *context, const struct feedback *feedback,
                                          const struct feedback_result *result));
void suppress_queue_free(struct suppress_queue *queue);
/* HK_EINVAL: no address or scope; HK_ENOMEM; HK_EFULL. `key` is what it stands under. `time_us`: SUPPRESS_ANY_TIME, or when a
 * change was made that is told again. */
int suppress_queue_push(struct suppress_queue *queue, enum suppress_change change,
                        const struct suppress_entry *entry, uint64_t time_us,
                        char key[ADDRESS_MAX + 1]) HK_MUST_USE;
/* One more soft bounce, or a suppression that the breaker may hold: the answer comes to fed_back. HK_EINVAL, HK_ENOMEM,
 * HK_EFULL. */
int suppress_queue_feedback(struct suppress_queue *queue, const struct config *config,
                            const struct feedback *feedback) HK_MUST_USE;
/* One more id of a message to be remembered; `config` stays the caller's. HK_ENOMEM, HK_EFULL. */
int suppress_queue_sent_id(struct suppress_queue *queue, const struct config *config,
                           const struct sent_id *id) HK_MUST_USE;
void suppress_queue_release(struct suppress_queue *queue);
/* Send all that is released. False: some of it could not be sent, and nothing may overtake it. */
bool suppress_queue_send(struct suppress_queue *queue) HK_MUST_USE;
void suppress_queue_rewind(struct suppress_queue *queue);

#endif
