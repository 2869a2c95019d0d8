/* control.c - the control socket: one JSON object a line each way, for the owner of state_dir alone.
 *
 * A client gets one answer to each line. One that sends more than a request's worth, or does not read its answers, is
 * closed. Requests: see node_ask in node.h.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "master.h"

#define REQUEST_MAX 4096u
#define CLIENTS_MAX 64u

struct client {
    ev_io io;
    struct node *node;
    char text[REQUEST_MAX];
    size_t used;
};

static uint32_t clients; /* open now */

static json_t *error_reply(const char *words, int exit_status)
{
    return json_pack("{s:b,s:s,s:i}", "ok", 0, "error", words, "exit", exit_status);
}

static json_t *campaign_json(struct campaign *campaign)
{
    json_t *counts = json_object();

    for (int i = 0; i < LEDGER_STATES_COUNT; i++)
        json_object_set_new(counts, ledger_state_name((enum ledger_state)i),
                            json_integer((json_int_t)campaign->counts[i]));
    return json_pack("{s:s,s:b,s:b,s:b,s:I,s:I,s:f,s:o}", "campaign", campaign->manifest.campaign, "paused",
                     strcmp(campaign->manifest.state, "paused") == 0, "settled", campaign->settled, "frozen",
                     campaign->frozen, "recipients", (json_int_t)campaign->manifest.recipients, "attempts",
                     (json_int_t)campaign->attempts, "rate", campaign->node->rate, "counts", counts);
}

static json_t *status_reply(struct node *node)
{
    json_t *workers = json_array(), *campaigns = json_array();
    uint64_t wait_ms = 0;

    for (uint32_t i = 0; i < node->workers; i++)
        json_array_append_new(workers, json_integer(node->worker[i].pid));
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        if (node->campaign[i] != NULL)
            json_array_append_new(campaigns, campaign_json(node->campaign[i]));
    node_next_due_s(node, &wait_ms);
    return json_pack("{s:b,s:s,s:b,s:b,s:I,s:{s:i,s:o,s:i,s:i},s:o}", "ok", 1, "node",
                     node->config->node.name, "draining", node->draining, "redis_down", !node->ledger_up,
                     "next_due_ms", (json_int_t)wait_ms, "pids", "master", (int)getpid(), "workers", workers,
                     "resolver", (int)node->resolver_pid, "redis", (int)node->place->redis_pid, "campaigns",
                     campaigns);
}

static json_t *run_reply(struct node *node, const char *id)
{
    struct hk_why why;
    int rc;

    if (id == NULL || !campaign_id_is_valid(id))
        return error_reply("\"campaign\" is missing or no campaign ID", EXIT_USAGE);
    if (node->draining)
        return error_reply("the node is being stopped", EXIT_STOPPED);
    rc = campaign_open(node, id, &why);
    if (rc != 0)
        return error_reply(why.text, rc == HK_EDOWN ? EXIT_NEEDED : EXIT_USAGE);
    return json_pack("{s:b}", "ok", 1);
}

/* Read a piece of what commands have changed. "more": ask again until there is none. */
static json_t *suppress_reply(struct node *node)
{
    struct hk_why why;
    int rc = suppression_poll(node, &why);

    return rc < 0 ? error_reply(why.text, EXIT_NEEDED) : json_pack("{s:b,s:b}", "ok", 1, "more", rc > 0);
}

static json_t *answer(struct node *node, const char *text, size_t length)
{
    json_t *request = json_loadb(text, length, 0, NULL), *reply;
    const char *command = json_string_value(json_object_get(request, "command"));
    const char *campaign = json_string_value(json_object_get(request, "campaign"));

    if (command == NULL)
        reply = error_reply("a request is one JSON object with \"command\"", EXIT_USAGE);
    else if (strcmp(command, "status") == 0)
        reply = status_reply(node);
    else if (strcmp(command, "run") == 0)
        reply = run_reply(node, campaign);
    else if (strcmp(command, "suppress-poll") == 0)
        reply = suppress_reply(node);
    else
        reply = error_reply("this node does not know that command", EXIT_USAGE);
    json_decref(request);
    return reply;
}

static void client_close(struct client *client)
{
    ev_io_stop(client->node->loop, &client->io);
    close(client->io.fd);
    free(client);
    clients--;
}

/* Answers are small against a socket's buffer: one that does not fit belongs to a client that does not read. */
static bool client_answer(struct client *client, size_t length)
{
    json_t *reply = answer(client->node, client->text, length);
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

static void on_client(struct ev_loop *loop, ev_io *io, int events)
{
    struct client *client = io->data;
    char *newline;
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
    while ((newline = memchr(client->text, '\n', client->used)) != NULL) {
        size_t length = (size_t)(newline - client->text);
        if (!client_answer(client, length)) {
            client_close(client);
            return;
        }
        client->used -= length + 1;
        memmove(client->text, newline + 1, client->used);
    }
    if (client->used == sizeof client->text)
        client_close(client);
}

static void on_control(struct ev_loop *loop, ev_io *io, int events)
{
    struct node *node = io->data;
    struct client *client;
    int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)events;
    if (fd < 0)
        return;
    client = clients < CLIENTS_MAX ? calloc(1, sizeof *client) : NULL;
    if (client == NULL) {
        close(fd);
        return;
    }
    clients++;
    client->node = node;
    ev_io_init(&client->io, on_client, fd, EV_READ);
    client->io.data = client;
    ev_io_start(loop, &client->io);
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
