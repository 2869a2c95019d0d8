/* buf.h - a growing run of bytes.
 *
 * Used while a template is compiled and, kept from copy to copy, while one is rendered. Running out of
 * memory is remembered in `failed` and everything put afterwards is dropped, so that a writer checks once, at
 * its end. The owner frees it with buf_free; a zeroed struct is an empty buffer.
 */
#ifndef MESSAGE_BUF_H
#define MESSAGE_BUF_H

#include <string.h>

#include "hikyaku/base.h"

struct buf {
    char *at;
    size_t length, room;
    bool failed;
};

/* Make room for `more` bytes behind the end; false when there is no memory. */
bool buf_grow(struct buf *buf, size_t more);
void buf_free(struct buf *buf);
/* Forget the content; give memory beyond `keep_bytes` back. */
void buf_reset(struct buf *buf, size_t keep_bytes);

/* Give back memory behind the content, for a buf that grows no more. */
void buf_fit(struct buf *buf);

static inline bool buf_need(struct buf *buf, size_t more)
{
    return !buf->failed && (buf->room - buf->length >= more || buf_grow(buf, more));
}

static inline void buf_put(struct buf *buf, const void *bytes, size_t length)
{
    if (length == 0 || !buf_need(buf, length))
        return;
    memcpy(buf->at + buf->length, bytes, length);
    buf->length += length;
}

static inline void buf_text(struct buf *buf, const char *text)
{
    buf_put(buf, text, strlen(text));
}

static inline void buf_byte(struct buf *buf, char byte)
{
    if (!buf_need(buf, 1))
        return;
    buf->at[buf->length++] = byte;
}

#endif
