/* fuzz_reply.c - the reply reader over any bytes: whole and byte by byte it must come to the same end.
 *
 * Checks what the contract promises: codes in range, text terminated and as long as said, the same replies for
 * two ways of cutting the input, and the EHLO parser over every reply.
 */
#include <string.h>

#include "hikyaku/reply.h"

#define CHECK(condition)      \
    do {                      \
        if (!(condition))     \
            __builtin_trap(); \
    } while (0)

struct digest {
    uint64_t hash;
    size_t replies;
    int end;
};

static void digest_add(struct digest *d, const void *bytes, size_t length)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < length; i++)
        d->hash = (d->hash ^ p[i]) * 1099511628211u;
}

static void reply_check(const struct reply *r, struct digest *d)
{
    struct ehlo_offer offer;

    CHECK(r->code >= 200 && r->code <= 599);
    CHECK(r->length < REPLY_MAX && strlen(r->text) == r->length);
    CHECK(r->enhanced[0] == 0 || r->enhanced[0] == r->code / 100);
    ehlo_offer_parse(r, &offer);
    digest_add(d, &r->code, sizeof r->code);
    digest_add(d, r->enhanced, sizeof r->enhanced);
    digest_add(d, r->text, r->length + 1);
    d->replies++;
}

/* Feed in pieces of `piece` octets until the input or the session ends. */
static struct digest run(struct reply_reader *reader, const uint8_t *data, size_t size, size_t piece)
{
    struct digest d = {.hash = 14695981039346656037u};
    struct reply r;

    reply_reader_init(reader);
    for (size_t at = 0; at < size && d.end == 0;) {
        char *where;
        size_t room = reply_room(reader, &where);
        size_t n = size - at < piece ? size - at : piece;

        CHECK(room > 0);
        n = n < room ? n : room;
        memcpy(where, data + at, n);
        reply_filled(reader, n);
        at += n;
        while ((d.end = reply_next(reader, &r)) == 1)
            reply_check(&r, &d);
    }
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct reply_reader reader;
    struct digest whole = run(&reader, data, size, size), bytes = run(&reader, data, size, 1);

    CHECK(whole.hash == bytes.hash && whole.replies == bytes.replies && whole.end == bytes.end);
    return 0;
}
