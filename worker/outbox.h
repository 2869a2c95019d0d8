/* outbox.h - what one connection still has to write: the rest of a message's body, then command lines.
 *
 * A body only ever starts when every command before it has been written, so this order is the only one there is.
 * No socket in here: the caller gathers, writes, and says how much the socket took. The body belongs to the
 * caller and has to stay until it is written or outbox_clear() was called; the text buffer is lent as well.
 * A command that does not fit leaves the box as it was (false): commands are far smaller than the buffer, so
 * that is a fault of ours.
 */
#ifndef WORKER_OUTBOX_H
#define WORKER_OUTBOX_H

#include <sys/uio.h>

#include "hikyaku/base.h"

struct outbox {
    const struct iovec *body;
    size_t body_count;
    size_t body_at;   /* first piece that is not written */
    size_t body_skip; /* bytes of it that are */
    size_t body_left;
    char *text;
    size_t text_size;
    size_t start, end; /* commands still to be written */
    size_t dot_end;    /* just behind the final dot of a message, among the commands; 0: none is waiting */
};

void outbox_init(struct outbox *box, char *text, size_t text_size);
void outbox_clear(struct outbox *box);
bool outbox_is_empty(const struct outbox *box);
bool outbox_put(struct outbox *box, const char *format, ...) HK_PRINTF(2, 3) HK_MUST_USE;
/* The same without printf, for what each message has: texts one behind another. */
struct outbox_text {
    const char *at;
    size_t length;
};
bool outbox_put_texts(struct outbox *box, const struct outbox_text *text, size_t count) HK_MUST_USE;
/* The final dot of a message whose body was put before. */
bool outbox_put_dot(struct outbox *box) HK_MUST_USE;
/* False while commands wait: a body would overtake them. */
bool outbox_put_body(struct outbox *box, const struct iovec *iov, size_t count, size_t bytes) HK_MUST_USE;

/* Up to `max` pieces and max_bytes of what comes next; *has_dot: the final dot is among them. Returns the
 * number of pieces. */
size_t outbox_gather(const struct outbox *box, struct iovec *iov, size_t max, size_t max_bytes,
                     bool *has_dot);
/* The first `bytes` bytes were written. True when the final dot was among them. */
bool outbox_consume(struct outbox *box, size_t bytes);

#endif
