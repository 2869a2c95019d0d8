/* errand.c - a request that changes a campaign: to the running node, or done here by a short-lived one. */
#include "errand.h"

#include <signal.h>

#include "ask.h"
#include "hikyaku/resolve.h"

#define NODE_WAIT_MS 90000u /* above what a node takes for a cancel (master/errand.c) */

/* In the place that is held: a node without workers, for these requests. */
static int do_here(struct reach *reach, struct node_options *node, char **answer, struct hk_why *why)
{
    struct process_table processes = {.worker = worker_main, .resolver = resolver_main};
    int status;

    store_close(reach->store);
    reach->store = NULL;
    *answer = NULL;
    node->processes = &processes;
    node->reply = answer;
    status = node_run(reach->config, &reach->place, node);
    if (*answer == NULL)
        return why_set(why, status == EXIT_USAGE ? HK_EINVAL : HK_EDOWN,
                       "hikyaku: it was not done, or not to its end");
    return store_open(reach->config, &reach->store, why);
}

/* What is asked may take long. Whether anybody is there to do it shows at once, before it is asked. */
static int see_that_it_answers(struct reach *reach, struct hk_why *why)
{
    json_t *reply;
    int ignored, error;

    if (!reach->node_runs || reach->node_answers)
        return 0;
    error = ask_node(reach->config, json_pack("{s:s}", "command", "status"), &reply, &ignored, why);
    reach->node_answers = error == 0;
    if (error == 0) {
        json_decref(reply);
        return 0;
    }
    if (error == HK_EDOWN && reach_node_ended(reach)) {
        reach_close(reach);
        return reach_open(reach->config, reach, why);
    }
    struct hk_why silence = *why;
    return why_set(why, error, "%s. Nothing was asked of it", silence.text);
}

int errand_do_reached(struct reach *reach, json_t *request, json_t **reply, struct hk_why *why)
{
    char *line = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL, *answer = NULL;
    int error;

    json_decref(request);
    *reply = NULL;
    if (line == NULL)
        return why_set(why, HK_ENOMEM, "hikyaku: not enough memory for a request to the node");
    error = see_that_it_answers(reach, why);
    if (error == 0)
        error = reach->node_runs ? node_ask(reach->config, line, NODE_WAIT_MS, &answer, why)
                                 : do_here(reach, &(struct node_options){.request = line}, &answer, why);
    free(line);
    if (error == 0)
        *reply = json_loads(answer, 0, NULL);
    free(answer);
    if (error == 0 && !json_is_object(*reply)) {
        json_decref(*reply);
        error = why_set(why, HK_EDOWN, "hikyaku: the node's answer is not JSON");
    }
    return error;
}

/* ---- several ---- */

struct each {
    json_t *(*next)(void *context, const json_t *reply);
    void *context;
    bool ended; /* there is no further one */
};

/* The next request as a line; NULL: there is none, or no memory for it. */
static char *each_next(struct each *each, const json_t *reply)
{
    json_t *request = each->next(each->context, reply);
    char *line = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;

    each->ended = request == NULL;
    json_decref(request);
    return line;
}

static char *each_next_of(void *context, const char *answer)
{
    json_t *reply = json_loads(answer, 0, NULL);
    char *line = each_next(context, reply);

    json_decref(reply);
    return line;
}

/* A node blocks the signals by which it is told to stop, and reads them when it has the time. What the next request is made of
 * may be long in coming. */
static char *each_next_here(void *context, const char *answer)
{
    sigset_t stop, before;
    char *line;

    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_UNBLOCK, &stop, &before);
    line = each_next_of(context, answer);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return line;
}

static int ask_each(const struct reach *reach, struct each *each, char *line, struct hk_why *why)
{
    int error = 0;

    while (line != NULL && error == 0) {
        char *answer = NULL;
        error = node_ask(reach->config, line, NODE_WAIT_MS, &answer, why);
        free(line);
        line = error == 0 ? each_next_of(each, answer) : NULL;
        free(answer);
    }
    return error;
}

static int do_each_here(struct reach *reach, struct each *each, char *line, struct hk_why *why)
{
    struct node_options node = {.request = line, .next = each_next_here, .context = each};
    char *answer = NULL;
    int error;

    cli_signals_catch();
    error = do_here(reach, &node, &answer, why);

    free(line);
    free(answer);
    return error;
}

int errand_each(struct reach *reach, json_t *(*next)(void *context, const json_t *reply), void *context,
                struct hk_why *why)
{
    struct each each = {.next = next, .context = context};
    char *line = each_next(&each, NULL);
    int error = 0;

    if (line != NULL)
        error = reach->node_runs ? ask_each(reach, &each, line, why) : do_each_here(reach, &each, line, why);
    return error == 0 && !each.ended ? why_set(why, HK_EBUSY, "hikyaku: it was not done to its end") : error;
}

int errand_do(const struct config *config, json_t *request, json_t **reply, struct hk_why *why)
{
    struct reach reach;
    int error = reach_open(config, &reach, why);

    if (error < 0) {
        json_decref(request);
        return error;
    }
    error = errand_do_reached(&reach, request, reply, why);
    reach_close(&reach);
    return error;
}

int errand_status(const json_t *reply)
{
    const char *words = json_string_value(json_object_get(reply, "error"));
    const json_t *names = json_object_get(reply, "outstanding"), *name;
    json_int_t status = json_integer_value(json_object_get(reply, "exit"));
    size_t i;

    if (json_is_true(json_object_get(reply, "ok")))
        return EXIT_SETTLED;
    fprintf(stderr, "hikyaku: %s\n", words != NULL ? words : "the node refuses and does not say why");
    json_array_foreach(names, i, name) fprintf(stderr, "  %s\n", json_string_value(name));
    return status > EXIT_SETTLED && status <= EXIT_NEEDED ? (int)status : EXIT_NEEDED;
}
