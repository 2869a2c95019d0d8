/* desk.c - what is handed over to the master, and its answers (desk.h). */
#include "hikyaku/desk.h"

#include <errno.h>
#include <ev.h>
#include <jansson.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hikyaku/process.h"

#define BATCH_MAX     256u           /* entries of one request (master/returned.h) */
#define ANSWER_MAX    (1024u * 1024) /* bytes of one answer; the master's are far below */
#define EXIT_NOT_OURS 2              /* hk_exit of an answer: the request itself is wrong */

struct ticket {
    TAILQ_ENTRY(ticket) link;
    void *whose;        /* NULL: nobody waits */
    const char *source; /* of one that unsubscribes, a constant; NULL: a bounce */
    unsigned nth;
    uint64_t since_ms;
    size_t length;
    char text[]; /* of a request: an entry, or a token */
};
TAILQ_HEAD(tickets, ticket);

struct desk {
    struct ev_loop *loop;
    ev_io io;
    ev_timer timer;
    uint32_t wait_ms;
    desk_fn *answer;
    void (*gone)(void *context);
    void *context;
    struct tickets waits, asked;
    uint32_t count;   /* of both */
    uint64_t said_ms; /* when something was last put off in the log: a crowd is told of once a second */
    unsigned single;  /* so many tickets go one by one: a request with several of them was refused */
    char request[NODE_REQUEST_MAX];
    size_t request_length, request_sent;
    char *reply;
    size_t reply_length, reply_size;
};

static void on_io(struct ev_loop *loop, ev_io *io, int events);

static bool waited_too_long(const struct desk *desk, const struct ticket *ticket, uint64_t now)
{
    return now - ticket->since_ms > desk->wait_ms;
}

static void put_off(struct desk *desk, struct ticket *ticket)
{
    void *whose = ticket->whose;

    ticket->whose = NULL;
    if (whose != NULL)
        desk->answer(whose, ticket->nth, DESK_LATER, NULL);
}

/* What was not asked yet is forgotten with whoever waited: it comes again. */
static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct desk *desk = timer->data;
    uint64_t now = clock_now_ms();
    struct ticket *ticket, *next;

    (void)loop;
    (void)events;
    TAILQ_FOREACH(ticket, &desk->asked, link)
    if (waited_too_long(desk, ticket, now))
        put_off(desk, ticket);
    for (ticket = TAILQ_FIRST(&desk->waits); ticket != NULL; ticket = next) {
        next = TAILQ_NEXT(ticket, link);
        if (!waited_too_long(desk, ticket, now))
            continue;
        TAILQ_REMOVE(&desk->waits, ticket, link);
        desk->count--;
        put_off(desk, ticket);
        free(ticket);
    }
}

struct desk *desk_new(struct ev_loop *loop, int master_fd, uint32_t wait_ms, desk_fn *answer,
                      void (*gone)(void *context), void *context)
{
    struct desk *desk = calloc(1, sizeof *desk);

    if (desk == NULL)
        return NULL;
    desk->loop = loop;
    desk->wait_ms = wait_ms;
    desk->answer = answer;
    desk->gone = gone;
    desk->context = context;
    TAILQ_INIT(&desk->waits);
    TAILQ_INIT(&desk->asked);
    ev_io_init(&desk->io, on_io, master_fd, EV_READ);
    desk->io.data = desk;
    ev_io_start(loop, &desk->io);
    ev_timer_init(&desk->timer, on_timer, (double)wait_ms / 120e3, (double)wait_ms / 120e3);
    desk->timer.data = desk;
    ev_timer_start(loop, &desk->timer);
    return desk;
}

static void tickets_free(struct tickets *tickets)
{
    struct ticket *ticket;

    while ((ticket = TAILQ_FIRST(tickets)) != NULL) {
        TAILQ_REMOVE(tickets, ticket, link);
        free(ticket);
    }
}

void desk_free(struct desk *desk)
{
    if (desk == NULL)
        return;
    ev_io_stop(desk->loop, &desk->io);
    ev_timer_stop(desk->loop, &desk->timer);
    tickets_free(&desk->waits);
    tickets_free(&desk->asked);
    free(desk->reply);
    free(desk);
}

/* ---- asking ---- */

static void watch(struct desk *desk)
{
    int events = desk->request_sent < desk->request_length ? EV_READ | EV_WRITE : EV_READ;

    if (desk->io.events == events)
        return;
    ev_io_stop(desk->loop, &desk->io);
    ev_io_set(&desk->io, desk->io.fd, events);
    ev_io_start(desk->loop, &desk->io);
}

static void request_send(struct desk *desk)
{
    while (desk->request_sent < desk->request_length) {
        ssize_t n = send(desk->io.fd, desk->request + desk->request_sent,
                         desk->request_length - desk->request_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break; /* full, or at its end: reading tells which */
        desk->request_sent += (size_t)n;
    }
    watch(desk);
}

static void put(struct desk *desk, const char *text, size_t length)
{
    memcpy(desk->request + desk->request_length, text, length);
    desk->request_length += length;
}

static void move_first(struct desk *desk)
{
    struct ticket *first = TAILQ_FIRST(&desk->waits);

    put(desk, first->text, first->length);
    TAILQ_REMOVE(&desk->waits, first, link);
    TAILQ_INSERT_TAIL(&desk->asked, first, link);
    if (desk->single > 0)
        desk->single--;
}

/* As many bounces as a request holds, or one that unsubscribes. */
static void ask(struct desk *desk)
{
    static const char bounces[] = "{\"command\":\"bounce\",\"bounces\":[", bounces_end[] = "]}\n";
    static const char leaves[] = "{\"command\":\"unsubscribe\",\"source\":\"", token[] = "\",\"token\":\"",
                      leaves_end[] = "\"}\n";
    struct ticket *next = TAILQ_FIRST(&desk->waits);
    bool single = desk->single > 0;
    unsigned count = 0;

    if (next == NULL || !TAILQ_EMPTY(&desk->asked))
        return;
    desk->request_length = desk->request_sent = 0;
    if (next->source != NULL) {
        put(desk, leaves, sizeof leaves - 1);
        put(desk, next->source, strlen(next->source));
        put(desk, token, sizeof token - 1);
        move_first(desk);
        put(desk, leaves_end, sizeof leaves_end - 1);
    } else {
        put(desk, bounces, sizeof bounces - 1);
        do {
            if (count > 0)
                put(desk, ",", 1);
            move_first(desk);
            next = TAILQ_FIRST(&desk->waits);
        } while (!single && ++count < BATCH_MAX && next != NULL && next->source == NULL &&
                 desk->request_length + next->length + sizeof bounces_end < sizeof desk->request);
        put(desk, bounces_end, sizeof bounces_end - 1);
    }
    request_send(desk);
}

static void add(struct desk *desk, const char *text, size_t length, const char *source, void *whose,
                unsigned nth)
{
    struct ticket *ticket = NULL;

    /* An entry has bounded words (whose.h), far below a request. */
    if (text != NULL && length + 128 < sizeof desk->request && desk->count < DESK_MAX)
        ticket = malloc(sizeof *ticket + length);
    if (ticket == NULL) {
        desk->answer(whose, nth, DESK_LATER, NULL);
        return;
    }
    *ticket = (struct ticket){
        .whose = whose, .nth = nth, .since_ms = clock_now_ms(), .source = source, .length = length};
    memcpy(ticket->text, text, length);
    TAILQ_INSERT_TAIL(&desk->waits, ticket, link);
    desk->count++;
    ask(desk);
}

void desk_bounce(struct desk *desk, struct json_t *entry, void *whose, unsigned nth)
{
    char *text = entry != NULL ? json_dumps(entry, JSON_COMPACT) : NULL;

    json_decref(entry);
    add(desk, text, text != NULL ? strlen(text) : 0, NULL, whose, nth);
    free(text);
}

void desk_unsubscribe(struct desk *desk, const char *source, const char *token, size_t length, void *whose,
                      unsigned nth)
{
    add(desk, token, length, source, whose, nth);
}

void desk_forget(struct desk *desk, const void *whose)
{
    struct tickets *const lists[] = {&desk->asked, &desk->waits};

    for (int i = 0; i < 2; i++) {
        struct ticket *ticket;
        TAILQ_FOREACH(ticket, lists[i], link)
        if (ticket->whose == whose)
            ticket->whose = NULL;
    }
}

/* ---- answers ---- */

/* A request is wrong as a whole where one entry is: then each goes alone, and only that one is put off. */
static bool asks_singly(struct desk *desk, int status)
{
    struct ticket *ticket, *last;
    unsigned count = 0;

    TAILQ_FOREACH(ticket, &desk->asked, link)
    count++;
    if (status != EXIT_NOT_OURS || count < 2)
        return false;
    while ((last = TAILQ_LAST(&desk->asked, tickets)) != NULL) {
        TAILQ_REMOVE(&desk->asked, last, link);
        TAILQ_INSERT_HEAD(&desk->waits, last, link);
    }
    desk->single += count;
    return true;
}

/* What the answer says of the nth of a request. */
static const json_t *told_of(const json_t *reply, const struct ticket *ticket, size_t nth)
{
    return ticket->source != NULL ? reply : json_array_get(json_object_get(reply, "bounces"), nth);
}

/* Of what was asked: the next request goes out first, so that the master works while these are told. */
static void tell(struct desk *desk, enum desk_answer answer, const json_t *reply)
{
    struct tickets done = TAILQ_HEAD_INITIALIZER(done);
    struct ticket *ticket;
    size_t nth = 0;

    TAILQ_CONCAT(&done, &desk->asked, link);
    ask(desk);
    while ((ticket = TAILQ_FIRST(&done)) != NULL) {
        TAILQ_REMOVE(&done, ticket, link);
        desk->count--;
        if (ticket->whose != NULL)
            desk->answer(ticket->whose, ticket->nth, answer, told_of(reply, ticket, nth));
        nth++;
        free(ticket);
    }
}

static void say_refused(struct desk *desk, enum desk_answer answer, const char *words)
{
    uint64_t now = clock_now_ms();

    if (desk->said_ms != 0 && now < desk->said_ms + 1000)
        return;
    desk->said_ms = now;
    log_warning("what was handed over is %s: %s", answer == DESK_LATER ? "put off" : "refused", words);
}

static void answered(struct desk *desk, const char *line, size_t length)
{
    json_t *reply = json_loadb(line, length, 0, NULL);
    bool taken = json_is_true(json_object_get(reply, "ok"));
    int status = (int)json_integer_value(json_object_get(reply, "exit"));
    const char *words = json_string_value(json_object_get(reply, "error"));
    enum desk_answer answer = taken ? DESK_TAKEN : status == EXIT_NOT_OURS ? DESK_REFUSED : DESK_LATER;

    if (!taken && asks_singly(desk, status)) {
        ask(desk);
    } else {
        if (!taken)
            say_refused(desk, answer, words != NULL ? words : "the master does not say why");
        tell(desk, answer, reply);
    }
    json_decref(reply);
}

static bool reply_reserve(struct desk *desk)
{
    size_t size = desk->reply_size == 0 ? 65536 : desk->reply_size * 2;
    char *reply;

    if (desk->reply_length < desk->reply_size)
        return true;
    reply = size <= ANSWER_MAX ? realloc(desk->reply, size) : NULL;
    if (reply == NULL)
        return false;
    desk->reply = reply;
    desk->reply_size = size;
    return true;
}

static void reply_read(struct desk *desk)
{
    char *newline;
    ssize_t n;

    if (!reply_reserve(desk)) {
        desk->gone(desk->context);
        return;
    }
    n = recv(desk->io.fd, desk->reply + desk->reply_length, desk->reply_size - desk->reply_length, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        desk->gone(desk->context);
        return;
    }
    desk->reply_length += (size_t)n;
    while ((newline = memchr(desk->reply, '\n', desk->reply_length)) != NULL) {
        size_t length = (size_t)(newline - desk->reply);
        answered(desk, desk->reply, length);
        desk->reply_length -= length + 1;
        memmove(desk->reply, desk->reply + length + 1, desk->reply_length);
    }
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct desk *desk = io->data;

    (void)loop;
    if ((events & EV_WRITE) != 0)
        request_send(desk);
    if ((events & EV_READ) != 0)
        reply_read(desk);
}
