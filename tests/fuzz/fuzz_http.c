/* fuzz_http.c - a stranger's side of an HTTP connection with the web process: libmicrohttpd and web/server.c as they are, on a loop
 * of their own, behind a socket.
 *
 * The first byte chooses how the rest is cut, whether the request is answered at once or later, and whether the stranger waits
 * for it. Checked: a connection is served once at most, with a request that could be of ours and within its bounds; what comes
 * back is HTTP; connections and memory are given back; the same bytes in one piece are understood as the same request.
 */
#include <ctype.h>
#include <string.h>
#include <sys/un.h>

/* The server's own struct shows what it still holds. */
#include "server.c" // NOLINT(bugprone-suspicious-include)

#define TURNS_MAX 1000u /* of the loop, until a connection that was closed is forgotten */
#define IDLE_MAX  4u    /* turns without a byte: there is nothing more to come */

/* What was asked for on a connection. */
struct heard {
    unsigned served;
    enum route_what what;
    enum route_language language;
    bool is_post, one_click, is_raw;
    char token[ROUTE_TOKEN_MAX + 1];
    char *body;
    size_t length;
};

static struct config config;
static struct route_table routes;
static struct ev_loop *loop;
static struct server *server;
static struct sockaddr_un address;
static socklen_t address_size;

static struct heard *heard;
static struct request *owed; /* an answer */
static bool late, as_page;

static void give_answer(struct request *request)
{
    if (as_page)
        request_show(request, PAGE_DONE);
    else
        request_answer(request, MHD_HTTP_SERVICE_UNAVAILABLE, "later");
}

static void serve(void *context, struct request *request, const struct asked *asked)
{
    (void)context;
    HK_BUG_ON(heard->served++ != 0);
    HK_BUG_ON(asked->route->what == ROUTE_NONE ||
              (!asked->is_post && asked->route->what != ROUTE_UNSUBSCRIBE));
    HK_BUG_ON(asked->length > (size_t)SNS_BODY_MAX ||
              (asked->length > 0 && asked->route->what == ROUTE_UNSUBSCRIBE));
    HK_BUG_ON(asked->one_click && !(asked->is_post && asked->route->what == ROUTE_UNSUBSCRIBE));
    heard->what = asked->route->what;
    heard->language = asked->language;
    heard->is_post = asked->is_post;
    heard->one_click = asked->one_click;
    heard->is_raw = asked->is_raw;
    memcpy(heard->token, asked->route->token, sizeof heard->token);
    heard->body = malloc(asked->length + 1);
    HK_BUG_ON(heard->body == NULL);
    memcpy(heard->body, asked->body, asked->length);
    heard->length = asked->length;
    if (late)
        owed = request;
    else
        give_answer(request);
}

static void open_once(void)
{
    static char secret[] = "abcdefghijklmnop-Q", topic[] = "arn:aws:sns:us-east-1:123456789012:ses",
                path[] = "/sns", url[] = "https://u.test/u/", list[] = "news.list.test";
    static char *topics[] = {topic};
    struct hk_why why;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (server != NULL) {
        (void)close(fd);
        return;
    }
    config.sns.topics.item = topics;
    config.sns.topics.count = 1;
    config.sns.path = path;
    config.sender.unsubscribe_url = url;
    config.sender.list_id = list;
    config.web.connections = 16;
    config.web.timeout_ms = 600000;
    loop = ev_loop_new(EVFLAG_AUTO);
    HK_BUG_ON(loop == NULL || fd < 0);
    HK_BUG_ON(route_table_make(&config, secret, &routes, &why) != 0);
    HK_BUG_ON(server_open(&config, &routes, loop, serve, NULL, &server, &why) != 0);
    address.sun_family = AF_UNIX; /* and no name: the kernel gives one that is in no folder (unix(7)) */
    HK_BUG_ON(bind(fd, (struct sockaddr *)&address, sizeof address.sun_family) != 0 || listen(fd, 8) != 0);
    address_size = sizeof address;
    HK_BUG_ON(getsockname(fd, (struct sockaddr *)&address, &address_size) != 0);
    HK_BUG_ON(server_listen(server, fd) != 0);
}

struct client {
    int fd;
    bool ended; /* by the server */
    char head[16];
    size_t length; /* of all that came back */
};

/* Turns of the loop until nothing more comes. */
static void listen_to(struct client *client)
{
    char bytes[4096];

    for (unsigned idle = 0; idle < IDLE_MAX && !client->ended;) {
        ssize_t n;
        (void)ev_run(loop, EVRUN_NOWAIT);
        n = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        idle = n > 0 ? 0 : idle + 1;
        client->ended = n == 0 || (n < 0 && errno != EAGAIN);
        for (ssize_t i = 0; i < n; i++, client->length++)
            if (client->length < sizeof client->head)
                client->head[client->length] = bytes[i];
    }
}

static void check_reply(const struct client *client)
{
    static const char version[] = "HTTP/1.";
    const char *head = client->head;

    if (client->length == 0)
        return;
    HK_BUG_ON(client->length < sizeof client->head || strncmp(head, version, sizeof version - 1) != 0);
    HK_BUG_ON(head[8] != ' ' || !isdigit((unsigned char)head[9]) || !isdigit((unsigned char)head[10]) ||
              !isdigit((unsigned char)head[11]));
}

/* Answered while somebody waits for it or after he has gone. */
static void settle(struct client *client, bool waits)
{
    if (!waits)
        (void)close(client->fd);
    for (unsigned turn = 0; turn < IDLE_MAX; turn++)
        (void)ev_run(loop, EVRUN_NOWAIT);
    if (owed != NULL) {
        struct request *request = owed;
        owed = NULL;
        give_answer(request);
    }
    if (waits) {
        listen_to(client);
        check_reply(client);
        HK_BUG_ON(heard->served > 0 && client->length == 0);
        (void)close(client->fd);
    }
    for (unsigned turn = 0; server->count > 0; turn++) {
        HK_BUG_ON(turn == TURNS_MAX);
        (void)ev_run(loop, EVRUN_NOWAIT);
    }
    HK_BUG_ON(server->bodies != 0 || owed != NULL);
}

static void run(struct heard *out, const uint8_t *data, size_t length, unsigned cut, bool waits)
{
    struct client client = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};

    heard = out;
    HK_BUG_ON(client.fd < 0 || connect(client.fd, (struct sockaddr *)&address, address_size) != 0);
    for (size_t at = 0; at < length && !client.ended;) {
        size_t piece = cut == 0 ? length - at : 1 + (data[at] * cut) % 97;
        ssize_t n;
        piece = piece < length - at ? piece : length - at;
        n = send(client.fd, data + at, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0)
            break; /* it takes no more: it has answered */
        at += (size_t)n;
        listen_to(&client);
    }
    (void)shutdown(client.fd, SHUT_WR);
    settle(&client, waits);
}

/* libmicrohttpd takes a CR without its LF one way or another, by where what it has read ends (RFC 9112 2.2 lets it). */
static bool has_bare_cr(const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (data[i] == '\r' && (i + 1 == length || data[i + 1] != '\n'))
            return true;
    return false;
}

static void assert_same(const struct heard *whole, const struct heard *cut)
{
    HK_BUG_ON(whole->served != cut->served);
    if (whole->served == 0)
        return;
    HK_BUG_ON(whole->what != cut->what || whole->language != cut->language || whole->is_post != cut->is_post);
    HK_BUG_ON(whole->one_click != cut->one_click || whole->is_raw != cut->is_raw);
    HK_BUG_ON(strcmp(whole->token, cut->token) != 0 || whole->length != cut->length);
    HK_BUG_ON(memcmp(whole->body, cut->body, whole->length) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct heard whole = {0}, cut = {0};

    if (length < 2)
        return 0;
    open_once();
    as_page = (data[0] & 1) != 0;
    late = (data[0] & 2) != 0;
    run(&whole, data + 1, length - 1, 0, true);
    run(&cut, data + 1, length - 1, 1u + (data[0] >> 3), (data[0] & 4) == 0);
    if (!has_bare_cr(data, length))
        assert_same(&whole, &cut);
    free(whole.body);
    free(cut.body);
    return 0;
}
