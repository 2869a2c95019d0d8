/* front.c - processes of the node that face the network (front.h). */
#include "front.h"

#include <errno.h>
#include <jansson.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Who connects while a front is started again, or faster than it takes them. Linux holds as many as net.core.somaxconn, 4096
 * unless it was changed; more are not refused: they knock again after a second, then after two more. */
#define FRONT_BACKLOG 4096
#define YOUNG_MS \
    2000u /* one that ends sooner has a trouble that lasts: it is started again later each time */
#define PAUSE_MIN_S 0.1
#define PAUSE_MAX_S 30.0

struct front {
    struct node *node;
    const struct front_kind *kind;
    pid_t pid;    /* 0: none runs */
    void *client; /* control.c's, for its requests; NULL: none */
    int listen_fd[FRONT_LISTEN_MAX];
    size_t listen_count;
    ev_timer respawn;
    uint64_t forked_ms;
    double pause_s;
};

/* ---- sockets ---- */

static int bind_to(const struct addrinfo *at)
{
    const int on = 1;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at->ai_family == AF_INET6) /* [::] is not 0.0.0.0 as well: both may be named */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, FRONT_BACKLOG) == 0)
        return fd;
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int front_listen(struct front *front, const struct cfg_address *address, struct hk_why *why)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    int fd = -1, rc;

    snprintf(port, sizeof port, "%u", address->port);
    rc = getaddrinfo(address->host, port, &hints, &found);
    if (rc != 0)
        return why_set(why, HK_EDOWN, "%s: %s is no address of this machine: %s", front->kind->name,
                       address->host, gai_strerror(rc));
    fd = bind_to(found);
    freeaddrinfo(found);
    if (fd < 0)
        return why_set(
            why, HK_EDOWN, "%s: cannot listen on %s port %u: %s%s", front->kind->name, address->host,
            address->port, strerror(errno),
            errno == EACCES && address->port < 1024
                ? "; a port below 1024 needs CAP_NET_BIND_SERVICE: AmbientCapabilities="
                  "CAP_NET_BIND_SERVICE in the unit of systemd, or another port and a redirection to it"
                : "");
    front->listen_fd[front->listen_count++] = fd;
    return 0;
}

int fronts_open(struct node *node, struct hk_why *why)
{
    const struct process_table *table = node->options->processes;
    int rc = 0;

    if (table->fronts == 0)
        return 0;
    node->front = hk_xcalloc(table->fronts, sizeof *node->front);
    for (size_t i = 0; i < table->fronts && rc == 0; i++) {
        const struct cfg_address *address[FRONT_LISTEN_MAX];
        size_t count = table->front[i].listens(node->config, address);
        struct front *front;
        HK_BUG_ON(count > FRONT_LISTEN_MAX);
        if (count == 0)
            continue;
        front = &node->front[node->fronts++];
        front->node = node;
        front->kind = &table->front[i];
        for (size_t k = 0; k < count && rc == 0; k++)
            rc = front_listen(front, address[k], why);
    }
    return rc;
}

/* ---- the process ---- */

static void run_front(struct front *front, int fd, int parent)
{
    struct front_args args = {
        .config = front->node->config, .master_fd = fd, .listen_count = front->listen_count};
    int keep[FRONT_LISTEN_MAX + 1];
    char title[48];

    child_forget(front->node);
    for (size_t i = 0; i < front->listen_count; i++)
        keep[i] = args.listen_fd[i] = front->listen_fd[i];
    keep[front->listen_count] = fd;
    snprintf(title, sizeof title, "hikyaku: %s", front->kind->name);
    process_child_setup(title, parent, SIGTERM, keep, front->listen_count + 1);
    log_setup(log_threshold, front->kind->name);
    _exit(front->kind->main(&args));
}

static int front_start(struct front *front, struct hk_why *why)
{
    int parent = (int)getpid(), pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return why_set(why, HK_EIO, "cannot make a socket pair: %s", strerror(errno));
    front->client = control_adopt(front, front->node, pair[0]);
    if (front->client == NULL) {
        close(pair[0]);
        close(pair[1]);
        return why_set(why, HK_ENOMEM, "cannot start %s: not enough memory", front->kind->name);
    }
    pid = fork();
    if (pid == 0)
        run_front(front, pair[1], parent);
    close(pair[1]);
    if (pid < 0) {
        control_drop(front->client);
        return why_set(why, HK_EIO, "cannot start %s: %s", front->kind->name, strerror(errno));
    }
    front->pid = pid;
    front->forked_ms = clock_now_ms();
    return 0;
}

static void respawn_later(struct front *front)
{
    ev_timer_set(&front->respawn, front->pause_s, 0.0);
    ev_timer_start(front->node->loop, &front->respawn);
    front->pause_s = front->pause_s * 2 > PAUSE_MAX_S ? PAUSE_MAX_S : front->pause_s * 2;
}

static void on_respawn(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct front *front = timer->data;
    struct hk_why why;

    (void)loop;
    (void)events;
    if (front->node->stopping || front->pid != 0)
        return;
    if (front_start(front, &why) == 0) {
        log_info("%s runs again (pid %d)", front->kind->name, (int)front->pid);
        return;
    }
    log_error("%s; tried again in %.1f s", why.text, front->pause_s);
    respawn_later(front);
}

int fronts_start(struct node *node, struct hk_why *why)
{
    int rc = 0;

    for (size_t i = 0; i < node->fronts && rc == 0; i++) {
        struct front *front = &node->front[i];
        ev_timer_init(&front->respawn, on_respawn, PAUSE_MIN_S, 0.0);
        front->respawn.data = front;
        front->pause_s = PAUSE_MIN_S;
        rc = front_start(front, why);
    }
    return rc;
}

static void front_died(struct front *front, int status)
{
    char how[48];

    front->pid = 0;
    if (front->client != NULL)
        control_drop(front->client);
    if (front->node->stopping)
        return;
    if (clock_now_ms() - front->forked_ms >= YOUNG_MS)
        front->pause_s = PAUSE_MIN_S;
    log_warning("%s %s; it is started again in %.1f s", front->kind->name,
                child_how_it_ended(status, how, sizeof how), front->pause_s);
    respawn_later(front);
}

void fronts_reaped(struct node *node, pid_t pid, int status)
{
    for (size_t i = 0; i < node->fronts; i++)
        if (node->front[i].pid == pid)
            front_died(&node->front[i], status);
}

/* ---- the end ---- */

void fronts_leave(struct node *node)
{
    for (size_t i = 0; i < node->fronts; i++)
        if (node->front[i].client != NULL)
            control_drop(node->front[i].client);
}

bool fronts_run(const struct node *node)
{
    for (size_t i = 0; i < node->fronts; i++)
        if (node->front[i].pid != 0)
            return true;
    return false;
}

void fronts_kill(struct node *node)
{
    for (size_t i = 0; i < node->fronts; i++)
        if (node->front[i].pid != 0)
            kill(node->front[i].pid, SIGKILL);
}

void fronts_close(struct node *node)
{
    for (size_t i = 0; i < node->fronts; i++) {
        struct front *front = &node->front[i];
        ev_timer_stop(node->loop, &front->respawn);
        for (size_t k = 0; k < front->listen_count; k++)
            close(front->listen_fd[k]);
    }
    free(node->front);
    node->front = NULL;
    node->fronts = 0;
}

/* ---- what control.c asks ---- */

void fronts_show(const struct node *node, struct json_t *pids)
{
    for (size_t i = 0; i < node->fronts; i++)
        json_object_set_new(pids, node->front[i].kind->name, json_integer(node->front[i].pid));
}

bool front_may_ask(const struct front *front, const char *command)
{
    for (const char *const *allowed = front->kind->requests; *allowed != NULL; allowed++)
        if (strcmp(*allowed, command) == 0)
            return true;
    return false;
}

void front_closed(struct front *front)
{
    front->client = NULL;
}
