/* control.c - the control socket: one JSON object a line each way, for the owner of state_dir alone.
 *
 * A client gets one answer to each line. One that sends more than a request's worth, or does not read its answers, is
 * closed. Requests: see node_ask in node.h.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "errand.h"
#include "front.h"

#define REQUEST_MAX NODE_REQUEST_MAX
#define CLIENTS_MAX 64u

struct client {
    ev_io io;
    struct node *node;
    char text[REQUEST_MAX];
    size_t used;
    bool waiting;        /* for the answer to its last request: the next one is read after it */
    struct front *front; /* that it is the other end of; NULL: a command's */
};

static uint32_t clients; /* open now */

static json_t *campaign_json(struct campaign *campaign)
{
    json_t *counts = json_object();

    for (int i = 0; i < LEDGER_STATES_COUNT; i++)
        json_object_set_new(counts, ledger_state_name((enum ledger_state)i),
                            json_integer((json_int_t)campaign->counts[i]));
    return json_pack("{s:s,s:b,s:b,s:b,s:I,s:I,s:f,s:o}", "campaign", campaign->manifest.campaign, "paused",
                     strcmp(campaign->manifest.state, "paused") == 0, "settled", campaign->settled, "frozen",
                     campaign->frozen, "recipients", (json_int_t)campaign->manifest.recipients, "attempts",
                     (json_int_t)campaign->attempts, "rate", campaign_rate(campaign), "counts", counts);
}

static json_t *status_reply(struct node *node)
{
    json_t *workers = json_array(), *campaigns = json_array(), *reply;
    uint64_t wait_ms = 0;

    for (uint32_t i = 0; i < node->workers; i++)
        if (node->worker[i].pid > 0)
            json_array_append_new(workers, json_integer(node->worker[i].pid));
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (node->campaign[i] != NULL)
            json_array_append_new(campaigns, campaign_json(node->campaign[i]));
    node_next_due_s(node, &wait_ms);
    reply = json_pack("{s:b,s:s,s:b,s:b,s:I,s:{s:i,s:o,s:i,s:o},s:o}", "ok", 1, "node",
                      node->config->node.name, "draining", node->draining, "redis_down", !node->ledger_up,
                      "next_due_ms", (json_int_t)wait_ms, "pids", "master", (int)getpid(), "workers", workers,
                      "resolver", (int)node->resolver_pid, "redis",
                      node->place->redis_pid > 0 ? json_integer(node->place->redis_pid) : json_null(),
                      "campaigns", campaigns);
    fronts_show(node, json_object_get(reply, "pids"));
    return reply;
}

static json_t *run_reply(struct node *node, const char *id)
{
    struct hk_why why;
    int rc;

    if (id == NULL || !campaign_id_is_valid(id))
        return errand_error("\"campaign\" is missing or no campaign ID", EXIT_USAGE);
    if (node->draining)
        return errand_error("the node is being stopped", EXIT_STOPPED);
    rc = campaign_run(node, id, &why);
    if (rc != 0)
        return errand_error(why.text, rc == HK_EDOWN || rc == HK_EFULL ? EXIT_NEEDED : EXIT_USAGE);
    campaign_find(node, id)->parked = false;
    return json_pack("{s:b}", "ok", 1);
}

/* NULL: the answer comes later. */
static json_t *answer(struct node *node, struct client *client, const char *text, size_t length)
{
    bool known = true;
    json_t *request = json_loadb(text, length, 0, NULL), *reply;
    const char *command = json_string_value(json_object_get(request, "command"));
    const char *campaign = json_string_value(json_object_get(request, "campaign"));

    if (command != NULL && client->front != NULL && !front_may_ask(client->front, command))
        reply = errand_error("a process that faces the network may not ask for that", EXIT_USAGE);
    else if (command == NULL)
        reply = errand_error("a request is one JSON object with \"command\"", EXIT_USAGE);
    else if (strcmp(command, "status") == 0)
        reply = status_reply(node);
    else if (strcmp(command, "run") == 0)
        reply = run_reply(node, campaign);
    else
        reply = errand_begin(node, command, request, client, &known);
    if (!known)
        reply = errand_error("this node does not know that command", EXIT_USAGE);
    json_decref(request);
    return reply;
}

static void client_close(struct client *client)
{
    errands_forget(client->node, client);
    ev_io_stop(client->node->loop, &client->io);
    close(client->io.fd);
    if (client->front != NULL)
        front_closed(client->front);
    else
        clients--;
    free(client);
}

/* Answers are small against a socket's buffer: one that does not fit belongs to a client that does not read. */
static bool client_tell(struct client *client, json_t *reply)
{
    char *text = json_dumps(reply, JSON_COMPACT);
    bool sent = false;

    json_decref(reply);
    if (text != NULL) {
        size_t n = strlen(text);
        text[n] = '\n'; /* over its NUL: sent with a length */
        sent = send(client->io.fd, text, n + 1, MSG_NOSIGNAL) == (ssize_t)n + 1;
        free(text);
    }
    return sent;
}

/* Requests that have come whole, one after the other, until one has to wait. False: the client is to be closed. */
static bool client_serve(struct client *client)
{
    char *newline;

    while (!client->waiting && (newline = memchr(client->text, '\n', client->used)) != NULL) {
        json_t *reply = answer(client->node, client, client->text, (size_t)(newline - client->text));
        client->used -= (size_t)(newline + 1 - client->text);
        memmove(client->text, newline + 1, client->used);
        client->waiting = reply == NULL;
        if (reply != NULL && !client_tell(client, reply))
            return false;
    }
    return client->used < sizeof client->text;
}

void control_answer(void *waiting, json_t *reply)
{
    struct client *client = waiting;

    client->waiting = false;
    if (!client_tell(client, reply) || !client_serve(client))
        client_close(client);
}

static void on_client(struct ev_loop *loop, ev_io *io, int events)
{
    struct client *client = io->data;
    ssize_t n = read(io->fd, client->text + client->used, sizeof client->text - client->used);

    (void)loop;
    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_close(client);
        return;
    }
    client->used += (size_t)n;
    if (!client_serve(client))
        client_close(client);
}

static struct client *client_open(struct node *node, int fd)
{
    struct client *client = calloc(1, sizeof *client);

    if (client == NULL)
        return NULL;
    client->node = node;
    ev_io_init(&client->io, on_client, fd, EV_READ);
    client->io.data = client;
    ev_io_start(node->loop, &client->io);
    return client;
}

void *control_adopt(struct front *front, struct node *node, int fd)
{
    struct client *client = client_open(node, fd);

    if (client != NULL)
        client->front = front;
    return client;
}

void control_drop(void *adopted)
{
    client_close(adopted);
}

static void on_control(struct ev_loop *loop, ev_io *io, int events)
{
    struct node *node = io->data;
    int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)loop;
    (void)events;
    if (fd < 0)
        return;
    if (clients < CLIENTS_MAX && client_open(node, fd) != NULL)
        clients++;
    else
        close(fd);
}

int control_open(struct node *node, struct hk_why *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    mode_t mask;
    int rc;

    if (config_path(node->config, address.sun_path, sizeof address.sun_path, "control.sock") != 0)
        return why_set(why, HK_ETOOBIG, "%s: too long for a socket below it; use a shorter state_dir",
                       node->config->state_dir);
    unlink(address.sun_path); /* we hold the lock: whose it was is dead */
    node->control_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (node->control_fd < 0)
        return why_set(why, HK_EIO, "cannot make the control socket: %s", strerror(errno));
    mask = umask(0177);
    rc = bind(node->control_fd, (struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (rc != 0 || listen(node->control_fd, 16) != 0)
        return why_set(why, HK_EIO, "%s: %s", address.sun_path, strerror(errno));
    ev_io_init(&node->control_io, on_control, node->control_fd, EV_READ);
    node->control_io.data = node;
    ev_io_start(node->loop, &node->control_io);
    return 0;
}

void control_close(struct node *node)
{
    char path[4096];

    if (node->control_fd < 0)
        return;
    ev_io_stop(node->loop, &node->control_io);
    close(node->control_fd);
    node->control_fd = -1;
    if (config_path(node->config, path, sizeof path, "control.sock") == 0)
        unlink(path);
}
