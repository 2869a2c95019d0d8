/* ask.c - see ask.h. */
#include "ask.h"

#include <errno.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#define REQUEST_MAX 32768u /* as the master takes it (NODE_REQUEST_MAX) */
#define ANSWER_MAX  65536u

struct question {
    STAILQ_ENTRY(question) link;
    char *line; /* with its newline */
    size_t length;
    ask_done *done; /* NULL: it was told already that there is no answer */
    void *context;
    uint64_t asked_ms;
};

struct asker {
    struct ev_loop *loop;
    ev_io io;
    ev_timer timer;
    STAILQ_HEAD(, question) waiting; /* the first one is under way */
    size_t count, written;           /* of the first one's bytes */
    char answer[ANSWER_MAX];
    size_t used;
    void (*on_end)(void *context);
    void *context;
};

static void question_end(struct asker *asker, const json_t *answer)
{
    struct question *question = STAILQ_FIRST(&asker->waiting);

    STAILQ_REMOVE_HEAD(&asker->waiting, link);
    asker->count--;
    asker->written = 0;
    if (question->done != NULL)
        question->done(question->context, answer);
    free(question->line);
    free(question);
}

static void watch(struct asker *asker, int events)
{
    ev_io_stop(asker->loop, &asker->io);
    ev_io_set(&asker->io, asker->io.fd, events);
    ev_io_start(asker->loop, &asker->io);
}

static void go_on(struct asker *asker)
{
    struct question *question = STAILQ_FIRST(&asker->waiting);
    ssize_t n;

    while (question != NULL && asker->written < question->length) {
        n = write(asker->io.fd, question->line + asker->written, question->length - asker->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break; /* full: later; broken: reading tells */
        asker->written += (size_t)n;
    }
    watch(asker, question != NULL && asker->written < question->length ? EV_READ | EV_WRITE : EV_READ);
}

static void take_answers(struct asker *asker)
{
    char *newline;

    while ((newline = memchr(asker->answer, '\n', asker->used)) != NULL) {
        json_t *answer = json_loadb(asker->answer, (size_t)(newline - asker->answer), 0, NULL);
        asker->used -= (size_t)(newline + 1 - asker->answer);
        memmove(asker->answer, newline + 1, asker->used);
        if (!STAILQ_EMPTY(&asker->waiting))
            question_end(asker, answer);
        json_decref(answer);
    }
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct asker *asker = io->data;
    ssize_t n;

    (void)loop;
    (void)events;
    while ((n = read(io->fd, asker->answer + asker->used, sizeof asker->answer - asker->used)) > 0) {
        asker->used += (size_t)n;
        take_answers(asker);
        if (asker->used == sizeof asker->answer) {
            n = 0; /* longer than any answer: out of step */
            break;
        }
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        ev_io_stop(asker->loop, &asker->io);
        asker->on_end(asker->context);
        return;
    }
    go_on(asker);
}

/* Whoever waits too long is told; the answer that comes late is nobody's. */
static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct asker *asker = timer->data;
    uint64_t now = clock_now_ms();
    struct question *question;

    (void)loop;
    (void)events;
    STAILQ_FOREACH(question, &asker->waiting, link)
    {
        ask_done *done = question->done;
        if (now < question->asked_ms + ASK_WAIT_MS)
            break;
        question->done = NULL;
        if (done != NULL)
            done(question->context, NULL);
    }
}

struct asker *asker_open(struct ev_loop *loop, int fd, void (*on_end)(void *context), void *context)
{
    struct asker *asker = calloc(1, sizeof *asker);

    if (asker == NULL)
        return NULL;
    asker->loop = loop;
    asker->on_end = on_end;
    asker->context = context;
    STAILQ_INIT(&asker->waiting);
    ev_io_init(&asker->io, on_io, fd, EV_READ);
    asker->io.data = asker;
    ev_io_start(loop, &asker->io);
    ev_timer_init(&asker->timer, on_timer, 1.0, 1.0);
    asker->timer.data = asker;
    ev_timer_start(loop, &asker->timer);
    return asker;
}

void asker_close(struct asker *asker)
{
    if (asker == NULL)
        return;
    while (!STAILQ_EMPTY(&asker->waiting))
        question_end(asker, NULL);
    ev_io_stop(asker->loop, &asker->io);
    ev_timer_stop(asker->loop, &asker->timer);
    free(asker);
}

static int question_make(json_t *request, struct question *question)
{
    char *text = json_dumps(request, JSON_COMPACT);

    if (text == NULL)
        return HK_ENOMEM;
    question->length = strlen(text) + 1;
    text[question->length - 1] = '\n'; /* over its NUL: written with a length */
    question->line = text;
    return question->length > REQUEST_MAX ? HK_ETOOBIG : 0;
}

int ask(struct asker *asker, json_t *request, ask_done *done, void *context)
{
    struct question *question = request != NULL ? calloc(1, sizeof *question) : NULL;
    int error = question == NULL ? HK_ENOMEM : asker->count >= ASKS_MAX ? HK_EFULL : 0;

    if (error == 0)
        error = question_make(request, question);
    json_decref(request);
    if (error != 0) {
        if (question != NULL)
            free(question->line);
        free(question);
        return error;
    }
    question->done = done;
    question->context = context;
    question->asked_ms = clock_now_ms();
    STAILQ_INSERT_TAIL(&asker->waiting, question, link);
    if (asker->count++ == 0)
        go_on(asker);
    return 0;
}
