/* server.c - see server.h. */
#include "server.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hikyaku/sns.h"

#define CONNECTION_BYTES 16384u /* of memory for a request's head; a longer one gets 431 */
#define LISTENS_MAX      WEB_LISTEN_MAX
#define ACCEPTS_MAX      64u /* at once; then the others have their turn */
#define TICK_S           0.25
#define PATIENCE_SHARE   5u /* of the time, while most connections are in use */

/* One connection. */
struct peer {
    TAILQ_ENTRY(peer) link; /* in the order in which they came */
    int fd;
    uint64_t since_ms;
    bool waits; /* for us, not we for it */
};

struct request {
    struct server *server;
    struct MHD_Connection *connection;
    struct peer *peer;
    struct route route;
    enum route_language language;
    bool begun, is_post, is_raw;
    char one_click[16]; /* the value of List-Unsubscribe in the form; longer than any that counts: cut */
    size_t one_click_length;
    bool form_has_nul;    /* libmicrohttpd reads one by where its pieces end: none of ours has any */
    bool waits, answered; /* suspended; or its answer is ready to be queued */
    struct MHD_PostProcessor *form;
    char *body;
    size_t length, room, form_bytes;
    unsigned status;
    char *text;
    bool is_page;
};

struct server {
    const struct config *config;
    const struct route_table *routes;
    struct ev_loop *loop;
    serve_fn *serve;
    void *context;
    struct MHD_Daemon *daemon;
    ev_io io, listen[LISTENS_MAX];
    size_t listens;
    ev_timer timer, tick;
    ev_prepare prepare;
    TAILQ_HEAD(, peer) peers;
    uint32_t count, most;
    size_t bodies; /* bytes of all of them */
    bool starved;  /* the system had no descriptor left; until the next tick */
    bool resting;  /* as many connections as may be, or starved */
};

/* ---- answers ---- */

static enum MHD_Result queue_text(struct request *request, unsigned status, char *text, bool is_page)
{
    static const char *const headers[][2] = {
        {"Cache-Control", "no-store"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Connection", "close"},
    };
    struct MHD_Response *response;
    enum MHD_Result result;

    response =
        text != NULL ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE) : NULL;
    if (response == NULL) {
        free(text);
        return MHD_NO;
    }
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        (void)MHD_add_response_header(response, headers[i][0], headers[i][1]);
    (void)MHD_add_response_header(response, "Content-Type",
                                  is_page ? "text/html; charset=utf-8" : "text/plain; charset=utf-8");
    if (is_page) {
        (void)MHD_add_response_header(response, "Content-Security-Policy", page_policy());
        (void)MHD_add_response_header(response, "Content-Language", page_language_tag(request->language));
        (void)MHD_add_response_header(response, "Vary", "Accept-Language");
        (void)MHD_add_response_header(response, "X-Robots-Tag", "noindex");
    }
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, "Allow",
                                      request->route.what == ROUTE_UNSUBSCRIBE ? "GET, HEAD, POST" : "POST");
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
        (void)MHD_add_response_header(response, "Retry-After", "60");
    result = MHD_queue_response(request->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static char *text_of_page(const struct request *request, enum page page)
{
    return page_text(page, request->language, request->server->config->sender.list_id);
}

static enum MHD_Result queue_words(struct request *request, unsigned status, const char *words)
{
    char *text = NULL;

    if (asprintf(&text, "%s\n", words) < 0)
        text = NULL;
    return queue_text(request, status, text, false);
}

static enum MHD_Result queue_page(struct request *request, unsigned status, enum page page)
{
    return queue_text(request, status, text_of_page(request, page), true);
}

/* Into the loop's next turn, from wherever it was decided. */
static void answer(struct request *request, unsigned status, char *text, bool is_page)
{
    HK_BUG_ON(request->answered);
    request->answered = true;
    request->status = status;
    request->text = text;
    request->is_page = is_page;
    if (!request->waits)
        return; /* decided at once: on_request() goes on with it */
    request->waits = false;
    if (request->peer != NULL)
        request->peer->since_ms = clock_now_ms(), request->peer->waits = false;
    MHD_resume_connection(request->connection);
    ev_feed_event(request->server->loop, &request->server->io, EV_READ);
}

void request_show(struct request *request, enum page page)
{
    answer(request, page_status(page), text_of_page(request, page), true);
}

void request_answer(struct request *request, unsigned status, const char *words)
{
    char *text = NULL;

    if (asprintf(&text, "%s\n", words) < 0)
        text = NULL;
    answer(request, status, text, false);
}

/* ---- a request ---- */

static const char *header(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

static bool is_form(const struct request *request)
{
    return request->route.what == ROUTE_UNSUBSCRIBE;
}

static size_t body_max(const struct request *request)
{
    return is_form(request) ? FORM_MAX : SNS_BODY_MAX;
}

/* What its head alone decides. MHD_YES with nothing queued: go on. */
static enum MHD_Result refuse_early(struct request *request, const char *method, bool *refused)
{
    const char *length = header(request, "Content-Length");
    bool is_get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;

    *refused = true;
    request->is_post = strcmp(method, "POST") == 0;
    if (request->route.what == ROUTE_NONE)
        return queue_page(request, page_status(PAGE_NOWHERE), PAGE_NOWHERE);
    if (!request->is_post && !(is_get && is_form(request)))
        return queue_words(request, MHD_HTTP_METHOD_NOT_ALLOWED, "this method is of no use here");
    if (length != NULL && strtoull(length, NULL, 10) > body_max(request))
        return queue_words(request, MHD_HTTP_CONTENT_TOO_LARGE, "that is larger than anything expected here");
    *refused = false;
    return MHD_YES;
}

static enum MHD_Result on_form_value(void *context, enum MHD_ValueKind kind, const char *key,
                                     const char *filename, const char *type, const char *encoding,
                                     const char *value, uint64_t at, size_t length)
{
    struct request *request = context;

    (void)kind;
    (void)filename;
    (void)type;
    (void)encoding;
    if (key == NULL || strcasecmp(key, "List-Unsubscribe") != 0)
        return MHD_YES;
    if (at == 0)
        request->one_click_length = 0; /* given twice: the last one counts */
    for (size_t i = 0; i < length && request->one_click_length < sizeof request->one_click; i++)
        request->one_click[request->one_click_length++] = value[i];
    return MHD_YES;
}

static enum MHD_Result begin(struct request *request, const char *method)
{
    bool refused;
    enum MHD_Result result;

    request->begun = true;
    request->language = route_language(header(request, "Accept-Language"));
    request->is_raw = header(request, "x-amz-sns-rawdelivery") != NULL &&
                      strcasecmp(header(request, "x-amz-sns-rawdelivery"), "true") == 0;
    result = refuse_early(request, method, &refused);
    if (!refused && request->is_post && is_form(request))
        request->form = MHD_create_post_processor(request->connection, 1024, on_form_value, request);
    return result;
}

static bool keep_body(struct request *request, const char *bytes, size_t length)
{
    struct server *server = request->server;
    size_t room = request->room;
    char *longer;

    while (room < request->length + length)
        room = room == 0 ? 4096 : room * 2;
    if (room > request->room) {
        if (server->bodies + room - request->room > BODIES_MAX)
            return false;
        longer = realloc(request->body, room);
        if (longer == NULL)
            return false;
        server->bodies += room - request->room;
        request->body = longer;
        request->room = room;
    }
    memcpy(request->body + request->length, bytes, length);
    request->length += length;
    return true;
}

/* A piece of the body. MHD_NO cuts the connection: in the middle of a body no answer can be given. */
static enum MHD_Result take_piece(struct request *request, const char *bytes, size_t *length)
{
    size_t n = *length;

    *length = 0;
    if (is_form(request)) {
        request->form_bytes += n;
        request->form_has_nul = request->form_has_nul || memchr(bytes, '\0', n) != NULL;
        if (request->form_bytes > FORM_MAX)
            return MHD_NO;
        if (request->form != NULL)
            (void)MHD_post_process(request->form, bytes, n);
        return MHD_YES;
    }
    if (request->length + n > body_max(request))
        return MHD_NO;
    return keep_body(request, bytes, n) ? MHD_YES : MHD_NO;
}

static enum MHD_Result finish(struct request *request)
{
    struct asked asked = {.route = &request->route,
                          .language = request->language,
                          .is_post = request->is_post,
                          .is_raw = request->is_raw,
                          .body = request->body != NULL ? request->body : "",
                          .length = request->length};

    if (request->form != NULL) {
        (void)MHD_destroy_post_processor(request->form); /* gives the last value */
        request->form = NULL;
    }
    asked.one_click = !request->form_has_nul && request->one_click_length == 9 &&
                      strncasecmp(request->one_click, "One-Click", 9) == 0;
    request->server->serve(request->server->context, request, &asked);
    if (request->answered)
        return MHD_YES;
    request->waits = true;
    if (request->peer != NULL)
        request->peer->waits = true;
    MHD_suspend_connection(request->connection);
    return MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *bytes, size_t *length,
                                  void **request_at)
{
    struct request *request = *request_at;
    const union MHD_ConnectionInfo *info;
    enum MHD_Result result = MHD_YES;

    (void)context;
    (void)url;
    (void)version;
    if (request == NULL)
        return MHD_NO; /* no memory for it */
    if (!request->begun) {
        info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        request->connection = connection;
        request->peer = info != NULL ? info->socket_context : NULL;
        return begin(request, method);
    }
    if (*length > 0)
        return take_piece(request, bytes, length);
    if (!request->answered)
        result = finish(request);
    if (result == MHD_YES && request->answered) {
        char *text = request->text;
        request->text = NULL;
        result = queue_text(request, request->status, text, request->is_page);
    }
    return result;
}

/* The target as it came; what is returned is the request from here on. */
static void *on_target(void *context, const char *target, struct MHD_Connection *connection)
{
    struct server *server = context;
    struct request *request = calloc(1, sizeof *request);

    (void)connection;
    if (request == NULL)
        return NULL;
    request->server = server;
    route_read(server->routes, target, &request->route);
    return request;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request_at,
                         enum MHD_RequestTerminationCode why)
{
    struct request *request = *request_at;

    (void)context;
    (void)connection;
    (void)why;
    if (request == NULL)
        return;
    if (request->form != NULL)
        (void)MHD_destroy_post_processor(request->form);
    request->server->bodies -= request->room;
    free(request->body);
    free(request->text);
    free(request);
    *request_at = NULL;
}

/* ---- connections ---- */

static void rest_or_listen(struct server *server)
{
    const bool rests = server->starved || server->count >= server->most;

    if (server->resting == rests)
        return;
    server->resting = rests;
    for (size_t i = 0; i < server->listens; i++)
        if (rests)
            ev_io_stop(server->loop, &server->listen[i]);
        else
            ev_io_start(server->loop, &server->listen[i]);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **peer_at,
                          enum MHD_ConnectionNotificationCode what)
{
    struct server *server = context;
    struct peer *peer = *peer_at;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        peer = calloc(1, sizeof *peer);
        if (peer == NULL || info == NULL) {
            free(peer);
            return;
        }
        peer->fd = info->connect_fd;
        peer->since_ms = clock_now_ms();
        TAILQ_INSERT_TAIL(&server->peers, peer, link);
        server->count++;
        *peer_at = peer;
    } else if (peer != NULL) {
        TAILQ_REMOVE(&server->peers, peer, link);
        server->count--;
        free(peer);
        *peer_at = NULL;
    }
}

static void on_listen(struct ev_loop *loop, ev_io *io, int events)
{
    struct server *server = io->data;
    struct sockaddr_storage from;

    (void)loop;
    (void)events;
    for (unsigned i = 0; i < ACCEPTS_MAX && server->count < server->most; i++) {
        socklen_t size = sizeof from;
        int fd = accept4(io->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0) {
            server->starved = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
            break;
        }
        (void)MHD_add_connection(server->daemon, fd, (struct sockaddr *)&from,
                                 size); /* closes it where it fails */
    }
    rest_or_listen(server);
    ev_feed_event(server->loop, &server->io, EV_READ);
}

/* Requests that take too long are cut. Room that gets short makes us less patient, so that a crowd of slow ones holds it for a
 * few seconds and not for the whole time. */
static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct server *server = timer->data;
    uint64_t now = clock_now_ms(), most = server->config->web.timeout_ms;
    struct peer *peer, *next;

    (void)loop;
    (void)events;
    server->starved = false;
    rest_or_listen(server);
    if (server->count > server->most / 4 * 3)
        most /= PATIENCE_SHARE;
    for (peer = TAILQ_FIRST(&server->peers); peer != NULL; peer = next) {
        next = TAILQ_NEXT(peer, link);
        if (!peer->waits && now >= peer->since_ms + most)
            (void)shutdown(peer->fd, SHUT_RDWR); /* the library finds it closed */
    }
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct server *server = io->data;

    (void)loop;
    (void)events;
    (void)MHD_run(server->daemon);
    rest_or_listen(server);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    on_io(loop, &((struct server *)timer->data)->io, events);
}

/* Before the loop waits: when the library wants to be called without an event. */
static void on_prepare(struct ev_loop *loop, ev_prepare *prepare, int events)
{
    struct server *server = prepare->data;
    MHD_UNSIGNED_LONG_LONG wait_ms;

    (void)events;
    ev_timer_stop(loop, &server->timer);
    if (MHD_get_timeout(server->daemon, &wait_ms) != MHD_YES)
        return;
    ev_timer_set(&server->timer, (double)wait_ms / 1e3, 0.0);
    ev_timer_start(loop, &server->timer);
}

/* ---- all of it ---- */

int server_open(const struct config *config, const struct route_table *routes, struct ev_loop *loop,
                serve_fn *serve, void *context, struct server **out, struct hk_why *why)
{
    const unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME;
    struct server *server = hk_xcalloc(1, sizeof *server);
    const union MHD_DaemonInfo *info;

    server->config = config;
    server->routes = routes;
    server->loop = loop;
    server->serve = serve;
    server->context = context;
    TAILQ_INIT(&server->peers);
    if (process_connections("web.connections", config->web.connections, &server->most, why) != 0) {
        free(server);
        return HK_EDOWN;
    }
    server->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, server, MHD_OPTION_CONNECTION_LIMIT,
                                      server->most + 8u, MHD_OPTION_CONNECTION_TIMEOUT,
                                      config->web.timeout_ms / 1000u + 1u, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                      (size_t)CONNECTION_BYTES, MHD_OPTION_URI_LOG_CALLBACK, on_target,
                                      server, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
                                      MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_END);
    info = server->daemon != NULL ? MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (info == NULL) {
        free(server);
        return why_set(why, HK_ENOMEM, "libmicrohttpd does not start");
    }
    ev_io_init(&server->io, on_io, info->epoll_fd, EV_READ);
    ev_timer_init(&server->timer, on_timer, 0.0, 0.0);
    ev_timer_init(&server->tick, on_tick, TICK_S, TICK_S);
    ev_prepare_init(&server->prepare, on_prepare);
    server->io.data = server->timer.data = server->tick.data = server->prepare.data = server;
    ev_io_start(loop, &server->io);
    ev_timer_start(loop, &server->tick);
    ev_prepare_start(loop, &server->prepare);
    *out = server;
    return 0;
}

int server_listen(struct server *server, int fd)
{
    if (server->listens == LISTENS_MAX)
        return HK_EFULL;
    ev_io_init(&server->listen[server->listens], on_listen, fd, EV_READ);
    server->listen[server->listens].data = server;
    ev_io_start(server->loop, &server->listen[server->listens++]);
    return 0;
}
