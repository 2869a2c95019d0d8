/* fuzz_inbound.c - a stranger's side of a session with the bounce receiver, cut as he likes, answered late or at once.
 *
 * The first byte chooses SMTP or LMTP and how the rest is cut. Checked: the session takes no more than it is given, its replies
 * are whole lines within their bound, memory is given back, no message is larger than it may be, and the same bytes in one
 * piece get the same replies.
 */
#include <stdlib.h>
#include <string.h>

#include "session.h"

#define CHECK(condition)  \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

#define MESSAGE_MAX 4000u

struct world {
    struct session session;
    ssize_t memory;
    char *replies;
    size_t length, size;
    unsigned late; /* bits: is the next message answered later? */
};

static enum rcpt_kind rcpt(void *context, const char *address, size_t length)
{
    (void)context;
    return length == 0 ? RCPT_FOREIGN : (enum rcpt_kind)((unsigned char)address[0] % (RCPT_LATER + 1));
}

static const char *may_mail(void *context)
{
    struct world *w = context;

    return w->session.messages % 5 == 4 ? "450 4.7.1 later\r\n" : NULL;
}

static bool memory(void *context, ssize_t more)
{
    struct world *w = context;

    w->memory += more;
    CHECK(w->memory >= 0 && w->memory <= 65536);
    return true;
}

static void answer_all(struct world *w)
{
    const unsigned recipients = w->session.recipients;

    for (unsigned i = recipients; i-- > 0;)
        session_answer(&w->session, i,
                       (enum session_verdict)((unsigned char)w->session.recipient[i].address[0] % 3));
}

static void message(void *context, struct session *session)
{
    struct world *w = context;

    CHECK(session->recipients > 0 && session->body_length <= MESSAGE_MAX && session->waiting);
    w->late >>= 1;
    if ((w->late & 1) == 0)
        answer_all(w);
}

static const struct session_host host = {
    .rcpt = rcpt, .mail = may_mail, .memory = memory, .message = message};

static void flush(struct world *w, size_t most)
{
    size_t n = w->session.out_length < most ? w->session.out_length : most;

    if (w->length + n > w->size) {
        w->size = (w->length + n) * 2;
        w->replies = realloc(w->replies, w->size);
        CHECK(w->replies != NULL);
    }
    memcpy(w->replies + w->length, w->session.out, n);
    w->length += n;
    session_written(&w->session, n);
}

static void run(struct world *w, const struct session_settings *settings, const uint8_t *data, size_t length,
                unsigned cut)
{
    session_begin(&w->session, settings, &host, w);
    w->late = cut;
    for (size_t at = 0; at < length && !w->session.closing;) {
        size_t piece = cut == 0 ? length - at : 1 + (data[at] * cut) % 97, taken;
        piece = piece < length - at ? piece : length - at;
        char *copy = malloc(piece); /* of its own, so that the sanitizer sees what is read beyond it */
        CHECK(copy != NULL);
        memcpy(copy, data + at, piece);
        taken = session_input(&w->session, copy, piece);
        free(copy);
        CHECK(taken <= piece);
        at += taken;
        flush(w, SIZE_MAX);
        if (w->session.waiting)
            answer_all(w);
        if (w->session.upgrading) {
            session_upgraded(&w->session);
            break; /* what came with it is gone, so that a cut makes a difference from here on */
        }
    }
    flush(w, SIZE_MAX);
    session_end(&w->session);
    CHECK(w->memory == 0);
    CHECK(w->length >= 2 && memcmp(w->replies + w->length - 2, "\r\n", 2) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct session_settings settings = {.hostname = "mta.test", .message_max = MESSAGE_MAX, .tls = true};
    struct world *whole = calloc(1, sizeof *whole), *cut = calloc(1, sizeof *cut);

    CHECK(whole != NULL && cut != NULL);
    if (length > 1) {
        settings.lmtp = (data[0] & 1) != 0;
        run(whole, &settings, data + 1, length - 1, 0);
        run(cut, &settings, data + 1, length - 1, 1u + data[0]);
        CHECK(whole->length == cut->length && memcmp(whole->replies, cut->replies, whole->length) == 0);
    }
    free(whole->replies);
    free(cut->replies);
    free(whole);
    free(cut);
    return 0;
}
