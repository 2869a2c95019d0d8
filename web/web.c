/* web.c - the web process's life (web.h): what it reads, what it gives up, what it answers. */
#include "hikyaku/web.h"

#include <ev.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <string.h>

#include "hikyaku/message.h"
#include "notify.h"

#define ANSWER_WAIT_MS 20000u /* for the master; then whoever waits is asked to come again */

struct web {
    const struct config *config;
    struct ev_loop *loop;
    struct signer *signer; /* the token's secrets alone */
    struct route_table routes;
    struct server *server;
    struct desk *desk;
    struct courier *courier;
    struct notifier *notifier;
    int status;
};

size_t web_listens(const struct config *config, const struct cfg_address *out[FRONT_LISTEN_MAX])
{
    _Static_assert(WEB_LISTEN_MAX <= FRONT_LISTEN_MAX, "more addresses than a front may have");
    for (size_t i = 0; i < config->web.listen_count; i++)
        out[i] = &config->web.listen[i];
    return config->web.listen_count;
}

/* ---- unsubscribing ---- */

static void unsubscribe_told(struct request *request, enum desk_answer answer, const json_t *told)
{
    const char *result = json_string_value(json_object_get(told, "result"));

    if (answer != DESK_TAKEN)
        request_show(request, answer == DESK_REFUSED ? PAGE_UNKNOWN : PAGE_LATER);
    else
        request_show(request, result != NULL && strcmp(result, "gone") == 0 ? PAGE_GONE : PAGE_DONE);
}

static void on_told(void *whose, unsigned nth, enum desk_answer answer, const json_t *told)
{
    if (nth == ASKED_UNSUBSCRIBE)
        unsubscribe_told(whose, answer, told);
    else
        notifier_told(whose, answer, told);
}

/* RFC 8058 3.2: the POST alone counts, without a redirect, a cookie or anything else. GET only asks. */
static void serve_unsubscribe(struct web *web, struct request *request, const struct asked *asked)
{
    struct verp_token token;
    const char *text = asked->route->token;
    enum page page = PAGE_LATER;
    int error = unsubscribe_parse(web->signer, text, strlen(text), &token);

    if (error == 0 && asked->is_post && asked->one_click) {
        desk_unsubscribe(web->desk, "web", text, strlen(text), request, ASKED_UNSUBSCRIBE);
        return;
    }
    if (error == 0)
        page = asked->is_post ? PAGE_WRONG : PAGE_ASK;
    else if (error != HK_ENOMEM)
        page = PAGE_UNKNOWN;
    request_show(request, page);
}

static void serve(void *context, struct request *request, const struct asked *asked)
{
    struct web *web = context;

    if (asked->route->what == ROUTE_UNSUBSCRIBE)
        serve_unsubscribe(web, request, asked);
    else
        notifier_take(web->notifier, request, asked);
}

/* ---- its life ---- */

static void on_master_gone(void *context)
{
    struct web *web = context;

    ev_break(web->loop, EVBREAK_ALL);
}

static void on_courier_gone(void *context)
{
    struct web *web = context;

    log_error("the process that fetches certificates is gone: this one ends, to be started again with it");
    web->status = 1;
    ev_break(web->loop, EVBREAK_ALL);
}

static int read_secret(const struct config *config, char **out, struct hk_why *why)
{
    struct hk_why reason;
    size_t length;
    int error;

    *out = NULL;
    if (config->sns.secret_file == NULL)
        return 0;
    error = hk_read_file(config->sns.secret_file, 4096, out, &length, &reason);
    if (error != 0)
        return why_set(why, error, "sns.secret_file: %s", reason.text);
    (*out)[strcspn(*out, "\r\n")] = '\0';
    return 0;
}

static int read_routes(const struct config *config, struct route_table *out, struct hk_why *why)
{
    char *secret;
    int error = read_secret(config, &secret, why);

    if (error != 0)
        return error;
    error = route_table_make(config, secret, out, why);
    if (secret != NULL)
        OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
    return error;
}

int web_check(const struct config *config, struct hk_why *why)
{
    struct route_table routes;
    int error;

    if (config->web.listen_count == 0 && config->sns.secret_file == NULL)
        return 0;
    error = read_routes(config, &routes, why);
    OPENSSL_cleanse(&routes, sizeof routes);
    return error;
}

static int read_all(struct web *web, struct hk_why *why)
{
    int error = signer_load_tokens(web->config, &web->signer, why);

    return error == 0 ? read_routes(web->config, &web->routes, why) : error;
}

static int open_all(struct web *web, const struct front_args *args, struct hk_why *why)
{
    int error;

    web->loop = ev_loop_new(EVFLAG_AUTO);
    if (web->loop != NULL)
        web->desk = desk_new(web->loop, args->master_fd, ANSWER_WAIT_MS, on_told, on_master_gone, web);
    if (web->desk == NULL)
        return why_set(why, HK_ENOMEM, "no memory to begin with");
    if (web->courier != NULL)
        courier_watch(web->courier, web->loop, on_courier_gone, web);
    error = notifier_open(web->config, web->courier, web->desk, &web->notifier, why);
    if (error == 0)
        error = server_open(web->config, &web->routes, web->loop, serve, web, &web->server, why);
    for (size_t i = 0; error == 0 && i < args->listen_count; i++)
        error = server_listen(web->server, args->listen_fd[i]);
    return error;
}

int web_main(const struct front_args *args)
{
    struct web web = {.config = args->config};
    struct hk_why why = {""};
    int error = 0;

    /* Before any secret is read: what it does not have nobody gets from it. */
    if (web.config->sns.topics.count > 0)
        error = courier_fork(web.config, &web.courier, &why);
    if (error == 0)
        error = read_all(&web, &why);
    if (error == 0)
        error = open_all(&web, args, &why);
    if (error == 0)
        error = process_confine(&why);
    if (error != 0) {
        log_error("%s", why.text[0] != '\0' ? why.text : hk_strerror(error));
        return 1;
    }
    ev_run(web.loop, 0);
    return web.status; /* what is open is closed by that; whoever waits for an answer asks again */
}
