/* outbox.c - see outbox.h. */
#include "outbox.h"

#include <stdarg.h>
#include <string.h>

void outbox_init(struct outbox *box, char *text, size_t text_size)
{
    *box = (struct outbox){.text = text, .text_size = text_size};
}

void outbox_clear(struct outbox *box)
{
    outbox_init(box, box->text, box->text_size);
}

bool outbox_is_empty(const struct outbox *box)
{
    return box->body_left == 0 && box->start == box->end;
}

bool outbox_put(struct outbox *box, const char *format, ...)
{
    va_list args;
    size_t room = box->text_size - box->end;
    va_start(args, format);
    int length = vsnprintf(box->text + box->end, room, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= room)
        return false;
    box->end += (size_t)length;
    return true;
}

bool outbox_put_texts(struct outbox *box, const struct outbox_text *text, size_t count)
{
    size_t end = box->end;
    for (size_t i = 0; i < count; i++) {
        if (text[i].length >= box->text_size - end)
            return false;
        memcpy(box->text + end, text[i].at, text[i].length);
        end += text[i].length;
    }
    box->end = end;
    return true;
}

bool outbox_put_dot(struct outbox *box)
{
    if (!outbox_put_texts(box, &(struct outbox_text){".\r\n", 3}, 1))
        return false;
    box->dot_end = box->end;
    return true;
}

bool outbox_put_body(struct outbox *box, const struct iovec *iov, size_t count, size_t bytes)
{
    if (!outbox_is_empty(box))
        return false;
    box->body = iov;
    box->body_count = count;
    box->body_at = 0;
    box->body_skip = 0;
    box->body_left = bytes;
    return true;
}

size_t outbox_gather(const struct outbox *box, struct iovec *iov, size_t max, size_t max_bytes, bool *has_dot)
{
    size_t n = 0;
    size_t room = max_bytes;
    size_t left = box->body_left;
    size_t skip = box->body_skip;
    *has_dot = false;
    for (size_t i = box->body_at; left > 0 && n < max && room > 0; i++, skip = 0) {
        size_t length = box->body[i].iov_len - skip;
        if (length == 0)
            continue;
        size_t take = length < room ? length : room;
        iov[n++] = (struct iovec){(char *)box->body[i].iov_base + skip, take};
        room -= take;
        left -= take;
    }
    if (left > 0 || n == max || room == 0 || box->start == box->end)
        return n;
    size_t length = box->end - box->start;
    size_t take = length < room ? length : room;
    iov[n++] = (struct iovec){box->text + box->start, take};
    *has_dot = box->dot_end > 0 && box->start + take >= box->dot_end;
    return n;
}

static size_t outbox_consume_body(struct outbox *box, size_t bytes)
{
    size_t taken = bytes < box->body_left ? bytes : box->body_left;
    size_t rest = taken;
    while (rest > 0) {
        size_t length = box->body[box->body_at].iov_len - box->body_skip;
        if (rest < length) {
            box->body_skip += rest;
            break;
        }
        rest -= length;
        box->body_at++;
        box->body_skip = 0;
    }
    box->body_left -= taken;
    return taken;
}

bool outbox_consume(struct outbox *box, size_t bytes)
{
    bytes -= outbox_consume_body(box, bytes);
    HK_BUG_ON(bytes > box->end - box->start);
    box->start += bytes;
    bool dot_gone = box->dot_end > 0 && box->start >= box->dot_end;
    if (dot_gone)
        box->dot_end = 0;
    if (box->start == box->end)
        box->start = box->end = 0;
    return dot_gone;
}
