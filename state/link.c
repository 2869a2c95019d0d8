/* link.c - keep one asynchronous connection to Redis in use (link.h).
 *
 *   PAUSED -> CONNECTING -> GREETING -> READY
 * and from everywhere back to PAUSED: after a lost connection with pauses of 50 ms to 1 s, after -NOSCRIPT at once,
 * after -LOADING and its like with the same pauses, after any other error each second. hiredis frees a context itself
 * once it is disconnected; link->redis is cleared wherever that may have begun.
 */
#include "link.h"

#include <hiredis/adapters/libev.h>
#include <string.h>

#include "hikyaku/fault.h"

/* The scripts' files, built into the library (CMakeLists.txt). */
extern const char state_ledger_lua[];
extern const char state_take_lua[];
extern const char state_suppress_lua[];
extern const char state_lease_lua[];
extern const char state_suspend_lua[];
extern const char state_note_lua[];
extern const char state_limit_lua[];
extern const char state_feedback_lua[];
extern const char state_sent_ids_lua[];

static void link_start(struct redis_link *link);

static void link_wait(struct redis_link *link, uint32_t ms)
{
    link->state = LINK_PAUSED;
    ev_timer_stop(link->loop, &link->pause);
    ev_timer_set(&link->pause, ms / 1000.0, 0.);
    ev_timer_start(link->loop, &link->pause);
}

/* Longer each time, until something has worked. */
static void link_wait_longer(struct redis_link *link)
{
    link_wait(link, link->pause_ms);
    link->pause_ms = link->pause_ms * 2 > LINK_PAUSE_MAX_MS ? LINK_PAUSE_MAX_MS : link->pause_ms * 2;
}

static void link_rewind(struct redis_link *link)
{
    link->generation++;
    link->owner.rewind(link->owner.context);
}

/* The connection is of no use any more. */
static void link_lost(struct redis_link *link, const char *why)
{
    redisAsyncContext *redis = link->redis;

    link->redis = NULL;
    link->waiting = 0;
    ev_timer_stop(link->loop, &link->guard);
    link_rewind(link);
    link_wait_longer(link);
    link->owner.lost(link->owner.context, why);
    if (redis && !(redis->c.flags & (REDIS_DISCONNECTING | REDIS_FREEING)))
        redisAsyncFree(redis);
}

static bool error_is(const char *text, const char *const *kinds)
{
    for (; *kinds; kinds++)
        if (strncmp(text, *kinds, strlen(*kinds)) == 0)
            return true;
    return false;
}

/* Redis answered with an error: nothing behind that call counts, and all of it goes out again in its order. */
static void link_trouble(struct redis_link *link, const char *text)
{
    static const char *const passing[] = {"LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", NULL};
    static const char *const unloaded[] = {"NOSCRIPT", NULL};

    link_rewind(link);
    if (error_is(text, unloaded)) {
        link_wait(link, 0);
    } else if (error_is(text, passing)) {
        link_wait_longer(link);
    } else {
        link_wait(link, LINK_PAUSE_MAX_MS);
        link->owner.broken(link->owner.context, text);
    }
}

void redis_link_reject(struct redis_link *link, const char *what)
{
    link_trouble(link, what);
}

static void on_reply(redisAsyncContext *redis, void *raw, void *data)
{
    struct link_call *call = data;
    struct redis_link *link = call->link;
    const redisReply *reply = raw;

    if (reply)
        fault_at(REDIS_ANSWER_BEFORE);
    if (redis == link->redis && reply) {
        link->waiting--;
        if (link->waiting > 0)
            ev_timer_again(link->loop, &link->guard);
        else
            ev_timer_stop(link->loop, &link->guard);
    }
    if (call->generation != link->generation)
        reply = NULL;
    if (reply && reply->type == REDIS_REPLY_ERROR) {
        link_trouble(link, reply->str);
        reply = NULL;
    }
    call->answer(call, reply);
}

static void link_sent(struct redis_link *link)
{
    if (link->waiting++ == 0)
        ev_timer_again(link->loop, &link->guard);
}

int redis_link_send(struct redis_link *link, struct link_call *call, int argc, const char **argv,
                    const size_t *length)
{
    if (!link->redis)
        return HK_EDOWN;
    call->link = link;
    call->generation = link->generation;
    if (fault_fails(REDIS_SEND_BEFORE) ||
        redisAsyncCommandArgv(link->redis, on_reply, call, argc, argv, length) != REDIS_OK)
        return HK_EDOWN;
    link->unwritten = true;
    link_sent(link);
    if (fault_strikes(REDIS_SEND_AFTER))
        redisAsyncHandleWrite(link->redis); /* out of our memory first */
    fault_at(REDIS_SEND_AFTER);
    return 0;
}

/* hiredis would have the loop tell when the socket can be written, which it nearly always can: that is two system calls and a
 * turn of the loop for each call. */
void redis_link_write(struct redis_link *link)
{
    bool unwritten = link->unwritten;

    link->unwritten = false;
    if (unwritten && link->redis)
        redisAsyncHandleWrite(link->redis);
}

bool link_is_ready(const struct redis_link *link)
{
    return link->state == LINK_READY;
}

/* ---- the greeting: AUTH, then the scripts; the answer to the last of them opens the way ---- */

struct greeting {
    struct link_call call;
    int script; /* -1: AUTH */
};

static void on_greeting(struct link_call *call, const redisReply *reply)
{
    struct greeting *greeting = (struct greeting *)call;
    struct redis_link *link = call->link;
    int script = greeting->script;

    free(greeting);
    if (!reply || script < 0)
        return;
    if (reply->type != REDIS_REPLY_STRING || reply->len != LINK_SHA1_HEX - 1) {
        redis_link_reject(link, "SCRIPT LOAD gives no hash");
        return;
    }
    memcpy(link->sha1[script], reply->str, LINK_SHA1_HEX);
    if (script != LINK_SCRIPTS - 1)
        return;
    link->state = LINK_READY;
    link->pause_ms = LINK_PAUSE_MIN_MS;
    link->owner.ready(link->owner.context);
}

/* Past redis_link_send(), which would leave the password in hiredis' memory. */
static int link_authenticate(struct redis_link *link)
{
    struct greeting *greeting = malloc(sizeof *greeting);

    if (!greeting)
        return HK_ENOMEM;
    *greeting = (struct greeting){
        .call = {.link = link, .generation = link->generation, .answer = on_greeting}, .script = -1};
    if (redisAsyncFormattedCommand(link->redis, on_reply, &greeting->call, link->target.auth,
                                   link->target.auth_length) != REDIS_OK) {
        free(greeting);
        return HK_EDOWN;
    }
    link_sent(link); /* from here on it is the link's */
    return redis_auth_write(&link->redis->c);
}

static int link_load(struct redis_link *link, int script, const char *text)
{
    const char *argv[] = {"SCRIPT", "LOAD", text};
    const size_t length[] = {strlen(argv[0]), strlen(argv[1]), strlen(text)};
    struct greeting *greeting = malloc(sizeof *greeting);
    int error;

    if (!greeting)
        return HK_ENOMEM;
    *greeting = (struct greeting){.call.answer = on_greeting, .script = script};
    error = redis_link_send(link, &greeting->call, 3, argv, length);
    if (error)
        free(greeting);
    return error;
}

static void link_greet(struct redis_link *link)
{
    const char *const text[LINK_SCRIPTS] = {
        [LINK_APPLY] = state_ledger_lua,      [LINK_TAKE] = state_take_lua,
        [LINK_SUPPRESS] = state_suppress_lua, [LINK_LEASE] = state_lease_lua,
        [LINK_SUSPEND] = state_suspend_lua,   [LINK_NOTE] = state_note_lua,
        [LINK_LIMIT] = state_limit_lua,       [LINK_FEEDBACK] = state_feedback_lua,
        [LINK_SENT_IDS] = state_sent_ids_lua};
    int error = 0;

    link->state = LINK_GREETING;
    if (link->target.auth)
        error = link_authenticate(link);
    for (int i = 0; i < LINK_SCRIPTS && !error; i++)
        error = link_load(link, i, text[i]);
    if (error)
        link_lost(link, hk_strerror(error));
}

/* ---- the connection ---- */

static void on_connect(const redisAsyncContext *redis, int status)
{
    struct redis_link *link = redis->data;

    if (redis != link->redis)
        return;
    if (status != REDIS_OK) {
        char why[160];
        (void)snprintf(why, sizeof why, "%s is not to be reached: %s", redis_target_name(&link->target),
                       redis->errstr);
        /* hiredis frees a context whose connection failed when this returns. */
        link->redis = NULL;
        link_lost(link, why);
        return;
    }
    ev_timer_stop(link->loop, &link->guard);
    /* Not from here: hiredis does not bear it when this callback ends in freeing the context. */
    link_wait(link, 0);
}

static void on_disconnect(const redisAsyncContext *redis, int status)
{
    struct redis_link *link = redis->data;
    char why[160];

    if (redis != link->redis)
        return;
    (void)snprintf(why, sizeof why, "%s has closed the connection%s%s", redis_target_name(&link->target),
                   status != REDIS_OK && *redis->errstr ? ": " : "", status != REDIS_OK ? redis->errstr : "");
    link->redis = NULL;
    link_lost(link, why);
}

static void on_guard(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct redis_link *link = timer->data;
    char why[160];

    (void)loop;
    (void)events;
    (void)snprintf(why, sizeof why, "%s has not answered for %u s", redis_target_name(&link->target),
                   REDIS_ANSWER_MS / 1000);
    link_lost(link, why);
}

static void on_pause_over(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    link_start(timer->data);
}

static void link_connect(struct redis_link *link)
{
    redisAsyncContext *redis;
    char why[160] = "no memory";

    redis = link->target.host ? redisAsyncConnect(link->target.address, link->target.port)
                              : redisAsyncConnectUnix(link->target.socket);
    if (!redis || redis->err || redisLibevAttach(link->loop, redis) != REDIS_OK) {
        if (redis) {
            (void)snprintf(why, sizeof why, "%s is not to be reached: %s", redis_target_name(&link->target),
                           redis->errstr);
            redisAsyncFree(redis);
        }
        link_lost(link, why);
        return;
    }
    redis->data = link;
    link->redis = redis;
    link->state = LINK_CONNECTING;
    ev_timer_again(link->loop, &link->guard);
    (void)redisAsyncSetDisconnectCallback(redis, on_disconnect);
    (void)redisAsyncSetConnectCallback(redis, on_connect);
}

static void link_start(struct redis_link *link)
{
    if (link->redis)
        link_greet(link);
    else
        link_connect(link);
}

int redis_link_open(struct redis_link *link, const struct config *config, struct ev_loop *loop,
                    const struct link_owner *owner, struct hk_why *why)
{
    int error;

    memset(link, 0, sizeof *link);
    error = redis_target_from(config, &link->target, why);
    if (error)
        return error;
    link->loop = loop;
    link->owner = *owner;
    link->pause_ms = LINK_PAUSE_MIN_MS;
    ev_init(&link->pause, on_pause_over);
    link->pause.data = link;
    ev_init(&link->guard, on_guard);
    link->guard.repeat = REDIS_ANSWER_MS / 1000.0;
    link->guard.data = link;
    /* From the loop, so that no callback comes before the caller has what it opened. */
    link_wait(link, 0);
    return 0;
}

void redis_link_close(struct redis_link *link)
{
    redisAsyncContext *redis = link->redis;

    ev_timer_stop(link->loop, &link->pause);
    ev_timer_stop(link->loop, &link->guard);
    link->redis = NULL;
    link->state = LINK_PAUSED;
    link->generation++;
    if (redis)
        redisAsyncFree(redis);
    redis_target_free(&link->target);
}
