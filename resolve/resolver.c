/* resolver.c - the resolver process: questions from a packet socket, look-ups through libunbound, answers back.
 *
 * It holds no key, list or Redis and writes no file. The rules are in question.c; here are the loop and the bounds:
 *   RESOLVE_INFLIGHT_MAX questions are open, and what the last packet held beyond; more stay unread in the socket until one is
 *   answered.
 *   DNS_LOOKUPS_MAX look-ups are with libunbound; more wait in line. Those for MTA-STS hosts (discover.c) come on top.
 *   A question lives deadline_ms; then it is answered with what has come, or RESOLVE_TEMPORARY.
 * Answers that the socket does not take wait in their question, so they count as open.
 *
 * libunbound calls back from inside its own work, also from inside dns_ask(). Such a call only notes the result and
 * puts the question on the ready list; the next step is taken from the loop (on_prepare), never inside a callback.
 * A look-up outlives its question when the deadline comes first: it then has no question and is dropped when
 * libunbound is done with it, so that what libunbound holds is always counted.
 */
#include "resolver.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/queue.h>

#include "discover.h"
#include "dns.h"
#include "fetch.h"
#include "question.h"

/* What the process ends with. */
enum { EXIT_DONE = 0, EXIT_CONFIG = 2, EXIT_PART = 3 };

struct resolver;
struct open_question;

struct lookup {
    struct dns_query query;         /* first: dns.h gives it back */
    TAILQ_ENTRY(lookup) line;       /* resolver.waiting or resolver.asked */
    LIST_ENTRY(lookup) of_question; /* while there is one */
    struct resolver *resolver;
    struct open_question *open; /* NULL: nobody waits any more */
    bool handed_over;           /* to libunbound: it will call back */
    struct question_lookup what;
};
TAILQ_HEAD(lookup_line, lookup);

enum place { PLACE_OPEN, PLACE_READY, PLACE_POLICY, PLACE_UNSENT, PLACES };

struct open_question {
    struct discovery_wait wait;      /* first: discover.h gives it back. In use in PLACE_POLICY */
    TAILQ_ENTRY(open_question) link; /* in the list that `place` names */
    enum place place;
    struct resolver *resolver;
    ev_timer deadline;
    LIST_HEAD(, lookup) lookups; /* waiting or asked */
    struct question question;
};
TAILQ_HEAD(question_line, open_question);

struct resolver {
    struct ev_loop *loop;
    struct dns *dns;
    struct discovery *discovery;
    ev_io readable, writable;
    ev_prepare prepare;
    int fd;
    int exit_status;
    double deadline_s;
    const struct config *config;
    bool some_plain; /* to some provider mail goes without TLS */
    struct own own;
    uint32_t questions;                /* in all the lists together */
    uint32_t asked_count;              /* look-ups with libunbound */
    struct question_line line[PLACES]; /* by enum place */
    struct lookup_line waiting, asked;
};

static void place_set(struct open_question *open, enum place place)
{
    struct resolver *r = open->resolver;

    TAILQ_REMOVE(&r->line[open->place], open, link);
    open->place = place;
    TAILQ_INSERT_TAIL(&r->line[place], open, link);
}

/* ---- look-ups ---- */

static void lookup_detach(struct lookup *lookup)
{
    LIST_REMOVE(lookup, of_question);
    lookup->open = NULL;
}

/* The look-up has ended. Its question is ready when it was the last one. */
static void lookup_finish(struct lookup *lookup)
{
    struct open_question *open = lookup->open;

    if (open) {
        lookup_detach(lookup);
        if (LIST_EMPTY(&open->lookups))
            place_set(open, PLACE_READY);
    }
    free(lookup);
}

static void failure_words(char *words, size_t size, int rcode, const char *bogus)
{
    if (bogus)
        (void)hk_clean_text(words, size, bogus, strlen(bogus));
    else
        reading_rcode_words(rcode, words);
}

static void on_dns_answer(struct dns_query *query, int rcode, const void *bytes, size_t length, bool secure,
                          const char *bogus)
{
    struct lookup *lookup = (struct lookup *)query;
    struct resolver *r = lookup->resolver;
    char words[64];

    TAILQ_REMOVE(&r->asked, lookup, line);
    r->asked_count--;
    if (lookup->open && bytes && !bogus) {
        question_take(&lookup->open->question, &lookup->what, bytes, length, secure, arc4random_uniform);
    } else if (lookup->open) {
        failure_words(words, sizeof words, rcode, bogus);
        question_take_failure(&lookup->open->question, &lookup->what, words);
    }
    lookup_finish(lookup);
}

/* Hand over to libunbound what is waiting, as far as there is room. */
static void lookups_start(struct resolver *r)
{
    struct lookup *lookup;
    int rc;

    while (r->asked_count < DNS_LOOKUPS_MAX && (lookup = TAILQ_FIRST(&r->waiting))) {
        TAILQ_REMOVE(&r->waiting, lookup, line);
        TAILQ_INSERT_TAIL(&r->asked, lookup, line);
        r->asked_count++;
        lookup->handed_over = true;
        rc = dns_ask(r->dns, lookup->what.name, lookup->what.type, &lookup->query);
        if (rc == 0)
            continue; /* perhaps answered and freed by now */
        TAILQ_REMOVE(&r->asked, lookup, line);
        r->asked_count--;
        question_take_failure(&lookup->open->question, &lookup->what,
                              rc == HK_EDOWN ? "libunbound cannot start" : hk_strerror(rc));
        lookup_finish(lookup);
    }
}

static bool lookup_line_up(struct open_question *open, const struct question_lookup *what)
{
    struct lookup *lookup = calloc(1, sizeof *lookup);

    if (!lookup)
        return false;
    lookup->query.on_answer = on_dns_answer;
    lookup->resolver = open->resolver;
    lookup->open = open;
    lookup->what = *what;
    LIST_INSERT_HEAD(&open->lookups, lookup, of_question);
    TAILQ_INSERT_TAIL(&open->resolver->waiting, lookup, line);
    return true;
}

/* Line up the look-ups of the question's present stage. */
static void question_ask(struct open_question *open)
{
    struct question_lookup what[QUESTION_LOOKUPS_MAX];
    uint32_t count = question_lookups(&open->question, what);

    for (uint32_t i = 0; i < count; i++)
        if (!lookup_line_up(open, &what[i]))
            question_take_failure(&open->question, &what[i], "no memory");
    place_set(open, LIST_EMPTY(&open->lookups) ? PLACE_READY : PLACE_OPEN);
}

/* Nobody waits for the question's look-ups any more: each counts as failed. */
static void lookups_give_up(struct open_question *open, const char *words)
{
    struct lookup *lookup;

    while ((lookup = LIST_FIRST(&open->lookups))) {
        question_take_failure(&open->question, &lookup->what, words);
        lookup_detach(lookup);
        if (!lookup->handed_over) {
            TAILQ_REMOVE(&open->resolver->waiting, lookup, line);
            free(lookup);
        }
    }
}

/* ---- questions ---- */

static void question_free(struct open_question *open)
{
    struct resolver *r = open->resolver;

    lookups_give_up(open, "dropped");
    if (open->place == PLACE_POLICY)
        discovery_cancel(&open->wait);
    ev_timer_stop(r->loop, &open->deadline);
    TAILQ_REMOVE(&r->line[open->place], open, link);
    r->questions--;
    question_end(&open->question);
    free(open);
    if (!ev_is_active(&r->readable))
        ev_io_start(r->loop, &r->readable);
}

static void resolver_stop(struct resolver *r, int exit_status)
{
    r->exit_status = exit_status;
    ev_break(r->loop, EVBREAK_ALL);
}

/* As many answers as fit into a packet. Returns its length; *next is the first question that is not in it. */
static size_t answers_pack(struct open_question **next, uint8_t *packet)
{
    size_t used = 0, more;

    for (; *next; *next = TAILQ_NEXT(*next, link), used += more) {
        more = resolve_pack_answer(&(*next)->question.answer, packet + used, RESOLVE_PACKET_MAX - used);
        if (more == 0)
            break;
    }
    return used;
}

/* False: the socket takes no more now. */
static bool packet_send(struct resolver *r, const uint8_t *packet, size_t length)
{
    if (send(r->fd, packet, length, MSG_NOSIGNAL) == (ssize_t)length)
        return true;
    if (errno == EPIPE || errno == ECONNRESET) {
        resolver_stop(r, EXIT_DONE);
    } else if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
        log_error("cannot answer the master: %s", strerror(errno));
        resolver_stop(r, EXIT_PART);
    }
    return false;
}

static void answers_send(struct resolver *r)
{
    struct open_question *open, *behind, *next;
    uint8_t packet[RESOLVE_PACKET_MAX];

    while ((open = behind = TAILQ_FIRST(&r->line[PLACE_UNSENT]))) {
        size_t length = answers_pack(&behind, packet);

        if (!packet_send(r, packet, length)) {
            ev_io_start(r->loop, &r->writable);
            return;
        }
        for (; open != behind; open = next) {
            next = TAILQ_NEXT(open, link);
            question_free(open);
        }
    }
    ev_io_stop(r->loop, &r->writable);
}

static void question_answered(struct open_question *open)
{
    const struct resolve_answer *answer = &open->question.answer;

    log_debug("%s: status %u, %u hosts, %u addresses, %u s%s%s", open->question.asked.name, answer->status,
              answer->host_count, answer->address_count, answer->ttl_s, answer->words[0] ? ": " : "",
              answer->words);
    ev_timer_stop(open->resolver->loop, &open->deadline);
    place_set(open, PLACE_UNSENT);
}

static void policy_tell(struct open_question *open)
{
    struct question *question = &open->question;
    struct resolve_answer *answer = &question->answer;

    if (question->asked.mx && answer->status == RESOLVE_OK) {
        discovery_tell(open->resolver->discovery, question->asked.name, answer);
        answer->has_words = answer->rua[0] != '\0' || answer->sts_policy[0] != '\0';
    }
    question_answered(open);
}

static void on_policy_known(struct discovery_wait *wait)
{
    policy_tell((struct open_question *)wait);
}

/* Where the hosts are known: the MTA-STS policy, which may have to be fetched. */
static void policy_ask(struct open_question *open)
{
    const struct question *question = &open->question;

    if (question->asked.mx && question->answer.status == RESOLVE_OK &&
        !discovery_ask(open->resolver->discovery, question->asked.name, question->sts_id, &open->wait))
        place_set(open, PLACE_POLICY);
    else
        policy_tell(open);
}

/* May mail to the domain go in TLS? Which provider it has is told by those hosts that turn out to have an address: so each of
 * them is asked about alone, and for any of them together the answer is one of these. */
static bool question_may_use_tls(const struct open_question *open)
{
    const struct config *config = open->resolver->config;
    const struct question *question = &open->question;

    for (uint32_t h = 0; h < question->host_count; h++) {
        const char *host = question->host[h].name;

        if (config_provider(config, question->asked.name, &host, 1)->tls != TLS_NONE)
            return true;
    }
    return false;
}

static void question_go_on(struct open_question *open)
{
    struct question *question = &open->question;
    bool knows_hosts = question->stage == QUESTION_MX;

    if (question_step(question, arc4random_uniform)) {
        policy_ask(open);
        return;
    }
    if (knows_hosts && open->resolver->some_plain && !question_may_use_tls(open))
        question_without_tls(question);
    question_ask(open);
}

static void on_deadline(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct open_question *open = timer->data;
    char words[64];

    (void)loop;
    (void)revents;
    if (open->place == PLACE_POLICY) {
        /* The fetch goes on; RFC 8461 3.3 lets mail go meanwhile as if there were no policy, unless one is kept. */
        discovery_cancel(&open->wait);
        policy_tell(open);
        return;
    }
    snprintf(words, sizeof words, "no answer from DNS within %.4g s", open->resolver->deadline_s);
    lookups_give_up(open, words);
    /* What has come may be enough; if not, the step says RESOLVE_TEMPORARY. A question that only now knows its
     * hosts has no time left to look them up. */
    while (!question_step(&open->question, arc4random_uniform))
        question_give_up(&open->question, words);
    policy_tell(open);
}

/* The step that callbacks must not take: go on with what is ready, start look-ups, send, until all is quiet. */
static void on_prepare(struct ev_loop *loop, ev_prepare *prepare, int revents)
{
    struct resolver *r = prepare->data;
    struct open_question *open;

    (void)loop;
    (void)revents;
    do {
        while ((open = TAILQ_FIRST(&r->line[PLACE_READY])))
            question_go_on(open);
        lookups_start(r);
        discovery_turn(r->discovery);
    } while (!TAILQ_EMPTY(&r->line[PLACE_READY]));
    if (!ev_is_active(&r->writable))
        answers_send(r);
}

static void question_open(struct resolver *r, const struct resolve_question *asked)
{
    /* Where a few kilobytes are not to be had the process ends: the master starts one with an empty cache. */
    struct open_question *open = hk_xrealloc(NULL, 1, sizeof *open);

    memset(open, 0, offsetof(struct open_question, question)); /* question_begin() does the rest */
    open->resolver = r;
    open->wait.on_known = on_policy_known;
    LIST_INIT(&open->lookups);
    open->place = PLACE_OPEN;
    TAILQ_INSERT_TAIL(&r->line[PLACE_OPEN], open, link);
    r->questions++;
    ev_timer_init(&open->deadline, on_deadline, r->deadline_s, 0.);
    /* A look-up that comes in the same turn still counts. */
    ev_set_priority(&open->deadline, EV_MINPRI);
    open->deadline.data = open;
    own_read(&r->own, r->config, clock_now_ms());
    if (question_begin(&open->question, asked, &open->resolver->own)) {
        question_answered(open);
        return;
    }
    ev_timer_start(r->loop, &open->deadline);
    question_ask(open);
}

/* One packet; if there are more, the loop comes back after it has looked at everything else. */
static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
    struct resolver *r = io->data;
    struct resolve_question asked;
    uint8_t packet[RESOLVE_PACKET_MAX];
    ssize_t length = recv(r->fd, packet, sizeof packet, MSG_TRUNC);

    (void)revents;
    if (length == 0 || (length < 0 && errno == ECONNRESET)) {
        resolver_stop(r, EXIT_DONE);
        return;
    }
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length < 0) {
        log_error("cannot read the master's questions: %s", strerror(errno));
        resolver_stop(r, EXIT_PART);
        return;
    }
    /* Both ends are of one build: what is no question is a fault of ours. */
    HK_BUG_ON((size_t)length > sizeof packet);
    for (size_t at = 0, took; at < (size_t)length; at += took) {
        took = resolve_unpack_question(packet + at, (size_t)length - at, &asked);
        HK_BUG_ON(took == 0);
        question_open(r, &asked);
    }
    if (r->questions >= RESOLVE_INFLIGHT_MAX)
        ev_io_stop(loop, io);
}

static void on_writable(struct ev_loop *loop, ev_io *io, int revents)
{
    (void)loop;
    (void)revents;
    answers_send(io->data);
}

/* ---- the process ---- */

static void resolver_init(struct resolver *r, const struct config *config, struct ev_loop *loop, int fd,
                          uint32_t deadline_ms)
{
    memset(r, 0, sizeof *r);
    r->config = config;
    for (size_t i = 0; i < config->provider_count; i++)
        r->some_plain |= config->provider[i].tls == TLS_NONE;
    r->loop = loop;
    r->fd = fd;
    r->deadline_s = deadline_ms / 1e3;
    for (unsigned place = 0; place < PLACES; place++)
        TAILQ_INIT(&r->line[place]);
    TAILQ_INIT(&r->waiting);
    TAILQ_INIT(&r->asked);
    ev_io_init(&r->readable, on_readable, fd, EV_READ);
    ev_io_init(&r->writable, on_writable, fd, EV_WRITE);
    ev_prepare_init(&r->prepare, on_prepare);
    r->readable.data = r->writable.data = r->prepare.data = r;
    ev_io_start(loop, &r->readable);
    ev_prepare_start(loop, &r->prepare);
}

static void resolver_clear(struct resolver *r)
{
    struct open_question *open, *next_open;
    struct lookup *lookup, *next_lookup;

    for (unsigned place = 0; place < PLACES; place++) {
        for (open = TAILQ_FIRST(&r->line[place]); open; open = next_open) {
            next_open = TAILQ_NEXT(open, link);
            question_free(open);
        }
    }
    dns_close(r->dns);
    own_free(&r->own);
    discovery_close(r->discovery);
    for (lookup = TAILQ_FIRST(&r->asked); lookup; lookup = next_lookup) {
        next_lookup = TAILQ_NEXT(lookup, line);
        free(lookup);
    }
}

static void log_start(const struct config *config)
{
    if (config->resolver.server_count == 0)
        log_info("own recursion from the root servers%s",
                 config->resolver.trust_anchor_file ? ", DNSSEC" : "");
    else
        log_info("asking %s@%u%s", config->resolver.server[0].host, (unsigned)config->resolver.server[0].port,
                 config->resolver.server_count > 1 ? " and others" : "");
}

int resolver_run(const struct config *config, int fd, uint32_t deadline_ms)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_NOENV);
    struct resolver r;
    struct hk_why why;
    int rc;

    if (!loop || fcntl(fd, F_SETFL, O_NONBLOCK)) {
        log_error("no event loop: %s", strerror(errno));
        return EXIT_PART;
    }
    signal(SIGPIPE, SIG_IGN); /* libunbound writes to TCP connections that a server may have closed */
    resolver_init(&r, config, loop, fd, deadline_ms);
    rc = dns_open(config, loop, &r.dns, &why);
    if (rc == 0)
        rc = discovery_open(config, loop, r.dns, FETCH_MS, &r.discovery, &why);
    if (rc) {
        log_error("%s", why.text);
        r.exit_status = rc == HK_EINVAL ? EXIT_CONFIG : EXIT_PART;
    } else {
        log_start(config);
        ev_run(loop, 0);
    }
    resolver_clear(&r);
    ev_loop_destroy(loop);
    return r.exit_status;
}

int resolver_main(const struct config *config, int fd)
{
    return resolver_run(config, fd, RESOLVER_DEADLINE_MS);
}
