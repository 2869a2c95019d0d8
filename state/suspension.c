/* suspension.c - suspensions in Redis, told and asked (limits.h). The rules are in suspend.lua. */
#include <inttypes.h>
#include <string.h>

#include "hikyaku/limits.h"
#include "ledger_link.h"
#include "store.h"

extern const char state_suspend_lua[];

#define KEY        "hikyaku:suspended"
#define PARTS      5u /* of one suspension, in the call as in the answer */
#define ARGC_FIXED 5u
#define ARGC_MAX   (ARGC_FIXED + PARTS * SUSPENSIONS_TOLD_MAX)

struct command {
    char known[24], number[SUSPENSIONS_TOLD_MAX][2][24];
    const char *argv[ARGC_MAX];
    size_t length[ARGC_MAX];
    int argc;
};

/* how: EVAL with the script's text, or EVALSHA with its hash. It points into what it is given. */
static void command_make(struct command *command, const char *how, const char *script, uint64_t known,
                         const struct suspension *told, size_t count)
{
    const char *fixed[ARGC_FIXED] = {how, script, "1", KEY, command->known};
    const char **at = command->argv + ARGC_FIXED;

    (void)snprintf(command->known, sizeof command->known, "%" PRIu64, known);
    memcpy(command->argv, fixed, sizeof fixed);
    for (size_t i = 0; i < count && i < SUSPENSIONS_TOLD_MAX; i++) {
        (void)snprintf(command->number[i][0], sizeof command->number[i][0], "%" PRIu64, told[i].left_ms);
        (void)snprintf(command->number[i][1], sizeof command->number[i][1], "%" PRIu32, told[i].nth);
        *at++ = told[i].source;
        *at++ = told[i].site;
        *at++ = command->number[i][0];
        *at++ = command->number[i][1];
        *at++ = told[i].cause;
    }
    command->argc = (int)(at - command->argv);
    for (int i = 0; i < command->argc; i++)
        command->length[i] = strlen(command->argv[i]);
}

static bool one_is_valid(redisReply *const *part)
{
    return part[0]->type == REDIS_REPLY_STRING && part[1]->type == REDIS_REPLY_STRING &&
           part[2]->type == REDIS_REPLY_INTEGER && part[2]->integer >= 0 &&
           part[3]->type == REDIS_REPLY_INTEGER && part[3]->integer >= 0 && part[3]->integer <= UINT32_MAX &&
           part[4]->type == REDIS_REPLY_STRING;
}

/* HK_ECHANGED: no answer of the script. The suspensions point into the reply; out->all is malloc'd. */
static int answer_read(const redisReply *reply, uint64_t known, struct suspensions *out)
{
    struct suspension *all;
    size_t count;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements % PARTS != 1 ||
        reply->element[0]->type != REDIS_REPLY_STRING)
        return HK_ECHANGED;
    count = reply->elements / PARTS;
    *out = (struct suspensions){.count = count};
    if (!store_parse_u64(reply->element[0]->str, UINT64_MAX, &out->version))
        return HK_ECHANGED;
    out->listed = out->version != known;
    for (size_t i = 0; i < count; i++)
        if (!one_is_valid(reply->element + 1 + i * PARTS))
            return HK_ECHANGED;
    out->all = all = malloc((count + 1) * sizeof *all);
    if (!all)
        return HK_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        redisReply *const *part = reply->element + 1 + i * PARTS;
        all[i] = (struct suspension){.source = part[0]->str,
                                     .site = part[1]->str,
                                     .left_ms = (uint64_t)part[2]->integer,
                                     .nth = (uint32_t)part[3]->integer,
                                     .cause = part[4]->str};
    }
    return 0;
}

int store_suspensions(struct store *store, const struct suspension *told, size_t count, suspensions_fn fn,
                      void *context, struct hk_why *why)
{
    struct suspensions answer;
    struct command command;
    redisReply *reply;
    int error = store_connected(store, why);

    if (error)
        return error;
    command_make(&command, "EVAL", state_suspend_lua, 0, told, count);
    if (redisAppendCommandArgv(store->redis, command.argc, command.argv, command.length) != REDIS_OK)
        return why_set(why, HK_ENOMEM, "no memory to ask what is suspended");
    error = store_next(store, &reply, why);
    if (error)
        return error;
    error = answer_read(reply, 0, &answer);
    if (error == HK_ENOMEM)
        error = why_set(why, HK_ENOMEM, "no memory for what is suspended");
    else if (error)
        error = store_strange(store, why);
    if (!error) {
        fn(context, &answer);
        free((void *)answer.all);
    }
    freeReplyObject(reply);
    return error;
}

struct suspensions_call {
    struct link_call link_call;
    uint64_t known;
    suspensions_fn fn;
    void *context;
};

static void on_answer(struct link_call *link_call, const redisReply *reply)
{
    struct suspensions_call call = *(struct suspensions_call *)link_call;
    struct suspensions answer = {0};
    int error = reply ? answer_read(reply, call.known, &answer) : 0;

    free(link_call);
    call.fn(call.context, reply && !error ? &answer : NULL);
    if (!error)
        free((void *)answer.all);
    if (error == HK_ECHANGED)
        redis_link_reject(call.link_call.link, "the script of suspensions gives something else than a list");
}

int ledger_suspensions(struct ledger *ledger, uint64_t known, const struct suspension *told, size_t count,
                       suspensions_fn fn, void *context)
{
    struct redis_link *link = ledger_link(ledger);
    struct suspensions_call *call;
    struct command command;
    int error;

    if (!link)
        return HK_EDOWN;
    call = malloc(sizeof *call);
    if (!call)
        return HK_ENOMEM;
    *call = (struct suspensions_call){
        .link_call.answer = on_answer, .known = known, .fn = fn, .context = context};
    command_make(&command, "EVALSHA", link->sha1[LINK_SUSPEND], known, told, count);
    error = redis_link_send(link, &call->link_call, command.argc, command.argv, command.length);
    if (error)
        free(call);
    return error;
}
