/* buf.c - see buf.h. */
#include "buf.h"

bool buf_grow(struct buf *buf, size_t more)
{
    size_t room = buf->room != 0 ? buf->room : 256;
    char *at;

    if (buf->failed || more > SIZE_MAX / 4 - buf->length) {
        buf->failed = true;
        return false;
    }
    while (room - buf->length < more)
        room *= 2;
    at = realloc(buf->at, room);
    if (at == NULL) {
        buf->failed = true;
        return false;
    }
    buf->at = at;
    buf->room = room;
    return true;
}

void buf_free(struct buf *buf)
{
    free(buf->at);
    *buf = (struct buf){0};
}

void buf_reset(struct buf *buf, size_t keep_bytes)
{
    if (buf->room > keep_bytes)
        buf_free(buf);
    buf->length = 0;
    buf->failed = false;
}

void buf_fit(struct buf *buf)
{
    char *at = buf->length > 0 && !buf->failed ? realloc(buf->at, buf->length) : NULL;

    if (at == NULL)
        return;
    buf->at = at;
    buf->room = buf->length;
}
