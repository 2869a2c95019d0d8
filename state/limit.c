/* limit.c - limits of all nodes of one Redis, asked for blocks of messages (limits.h). The rules are in limit.lua. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "hikyaku/limits.h"
#include "ledger_link.h"
#include "store.h"

#define ARGC         10 /* of a question that changes nothing */
#define ARGC_CHANGE  15
#define ANSWER_PARTS 13u
#define MOST         1e12 /* of any number in an answer: beyond it is nonsense */

struct limit_call {
    struct link_call link_call;
    limit_fn fn;
    void *context;
};

/* What Redis keeps as text. */
static bool read_double(const redisReply *part, double *out)
{
    char *end;

    if (part->type != REDIS_REPLY_STRING || part->len == 0)
        return false;
    *out = strtod(part->str, &end);
    return *end == '\0' && isfinite(*out) && *out >= 0.0 && *out <= MOST * 1e6;
}

static bool read_number(const redisReply *part, long long least, long long most, long long *out)
{
    *out = part->integer;
    return part->type == REDIS_REPLY_INTEGER && part->integer >= least && part->integer <= most;
}

static int answer_read(const redisReply *reply, struct limit_answer *out)
{
    long long granted, first, interval, spaced, late, wait, nodes;
    double version, quiet, cut;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != ANSWER_PARTS)
        return HK_ECHANGED;
    if (!read_number(reply->element[0], 0, UINT32_MAX, &granted) ||
        !read_number(reply->element[1], -(long long)MOST, (long long)MOST, &first) ||
        !read_number(reply->element[2], 0, (long long)MOST, &interval) ||
        !read_number(reply->element[3], 0, 1, &spaced) ||
        !read_number(reply->element[4], 0, (long long)MOST, &late) ||
        !read_number(reply->element[5], 0, (long long)MOST, &wait) ||
        !read_number(reply->element[6], 0, UINT32_MAX, &nodes) ||
        !read_double(reply->element[7], &out->others) || !read_double(reply->element[8], &version) ||
        !read_double(reply->element[9], &out->rate) || !read_double(reply->element[10], &out->step) ||
        !read_double(reply->element[11], &quiet) || !read_double(reply->element[12], &cut) ||
        quiet > UINT32_MAX)
        return HK_ECHANGED;
    out->granted = (uint32_t)granted;
    out->first_us = first;
    out->interval_us = (uint64_t)interval;
    out->spaced = spaced == 1;
    out->late_us = (uint64_t)late;
    out->wait_us = (uint64_t)wait;
    out->nodes = (uint32_t)nodes;
    out->version = (uint64_t)version;
    out->quiet = (uint32_t)quiet;
    out->cut_us = (uint64_t)cut;
    return 0;
}

static void on_answer(struct link_call *link_call, const redisReply *reply)
{
    struct limit_call call = *(struct limit_call *)link_call;
    struct limit_answer answer;
    bool good = reply && answer_read(reply, &answer) == 0;

    free(link_call);
    call.fn(call.context, good ? &answer : NULL);
    if (reply && !good)
        redis_link_reject(call.link_call.link, "the script of limits gives something else than a grant");
}

static int ask(struct redis_link *link, struct limit_call *call, const struct limit_question *question)
{
    char key[LIMIT_NAME_MAX + 32], text[11][32];
    const char *argv[ARGC_CHANGE] = {"EVALSHA", link->sha1[LINK_LIMIT], "1", key};
    size_t length[ARGC_CHANGE];
    int argc = question->change ? ARGC_CHANGE : ARGC;

    (void)snprintf(key, sizeof key, "hikyaku:limit:%s", question->name);
    (void)snprintf(text[0], sizeof text[0], "%" PRIu64, question->epoch);
    (void)snprintf(text[1], sizeof text[1], "%" PRIu64, question->interval_us);
    (void)snprintf(text[2], sizeof text[2], "%" PRIu64, question->ahead_us);
    (void)snprintf(text[3], sizeof text[3], "%" PRIu64, question->late_us);
    (void)snprintf(text[4], sizeof text[4], "%" PRIu32, question->want);
    (void)snprintf(text[5], sizeof text[5], "%.3f", question->taken);
    (void)snprintf(text[6], sizeof text[6], "%" PRIu64, question->version);
    (void)snprintf(text[7], sizeof text[7], "%.9g", question->rate);
    (void)snprintf(text[8], sizeof text[8], "%.9g", question->step);
    (void)snprintf(text[9], sizeof text[9], "%" PRIu32, question->quiet);
    (void)snprintf(text[10], sizeof text[10], "%d", question->cut);
    for (int i = 4; i < argc; i++)
        argv[i] = text[i - 4];
    for (int i = 0; i < argc; i++)
        length[i] = strlen(argv[i]);
    return redis_link_send(link, &call->link_call, argc, argv, length);
}

int ledger_limit(struct ledger *ledger, const struct limit_question *question, limit_fn fn, void *context)
{
    struct redis_link *link = ledger_link(ledger);
    struct limit_call *call;
    int error;

    if (strlen(question->name) > LIMIT_NAME_MAX)
        return HK_ETOOBIG;
    if (!link)
        return HK_EDOWN;
    call = malloc(sizeof *call);
    if (!call)
        return HK_ENOMEM;
    *call = (struct limit_call){.link_call.answer = on_answer, .fn = fn, .context = context};
    error = ask(link, call, question);
    if (error)
        free(call);
    return error;
}
