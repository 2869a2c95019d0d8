/* test_front.c - a process that faces the network keeps its sockets over a death, asks only for what it may, and ends with
 * the node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "front.h"

#define WAIT_MS 10000

static struct cfg_address listens_at = {.host = (char *)"127.0.0.1"};
static uint16_t port;

static size_t listens(const struct config *config, const struct cfg_address *out[FRONT_LISTEN_MAX])
{
    (void)config;
    out[0] = &listens_at;
    return 1;
}

static size_t listens_nowhere(const struct config *config, const struct cfg_address *out[FRONT_LISTEN_MAX])
{
    (void)config;
    (void)out;
    return 0;
}

/* Ask the master something, then tell whoever connects who we are and what was answered; end with the master. */
static int front_main(const struct front_args *args)
{
    static const char question[] = "{\"command\":\"cancel\",\"campaign\":\"c\"}\n";
    char answer[512] = "", text[640];
    struct pollfd wait[2] = {{.fd = args->master_fd, .events = POLLIN},
                             {.fd = args->listen_fd[0], .events = POLLIN}};

    if (write(args->master_fd, question, sizeof question - 1) < 0)
        return 1;
    for (;;) {
        poll(wait, 2, -1);
        if (wait[0].revents != 0) {
            ssize_t n = read(args->master_fd, answer, sizeof answer - 1);
            if (n <= 0)
                return 0;
            answer[n] = '\0';
            wait[1].fd = args->listen_fd[0];
        }
        if (wait[1].revents != 0 && answer[0] != '\0') {
            int fd = accept(args->listen_fd[0], NULL, NULL);
            int n = snprintf(text, sizeof text, "%d %zu %s", (int)getpid(), args->listen_count, answer);
            if (fd >= 0 && write(fd, text, (size_t)n) == n)
                close(fd);
        }
    }
}

static const char *const requests[] = {"bounce", NULL};
static const struct front_kind kinds[] = {
    {.name = "absent", .listens = listens_nowhere, .main = front_main, .requests = requests},
    {.name = "test", .listens = listens, .main = front_main, .requests = requests}};
static const struct process_table table = {.front = kinds, .fronts = 2};
static const struct node_options options = {.processes = &table};
static struct config config;

static int set_up(void **state)
{
    static struct node node;
    struct hk_why why;
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    int probe = socket(AF_INET, SOCK_STREAM, 0);

    at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (probe < 0 || bind(probe, (struct sockaddr *)&at, sizeof at) != 0 ||
        getsockname(probe, (struct sockaddr *)&at, &size) != 0)
        return -1;
    listens_at.port = port = ntohs(at.sin_port);
    close(probe);
    memset(&node, 0, sizeof node);
    node.config = &config;
    node.options = &options;
    node.loop = ev_loop_new(EVFLAG_AUTO);
    *state = &node;
    return fronts_open(&node, &why) == 0 && fronts_start(&node, &why) == 0 ? 0 : -1;
}

static void turn(struct node *node)
{
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);

    if (pid > 0)
        fronts_reaped(node, pid, status);
    ev_run(node->loop, EVRUN_NOWAIT);
    usleep(2000);
}

static int tear_down(void **state)
{
    struct node *node = *state;
    uint64_t until = clock_now_ms() + WAIT_MS;

    node->stopping = true;
    fronts_leave(node);
    while (fronts_run(node) && clock_now_ms() < until)
        turn(node);
    if (fronts_run(node))
        return -1;
    fronts_close(node);
    ev_loop_destroy(node->loop);
    return 0;
}

/* What the process says to one who connects, while the node turns. */
static void greeting(struct node *node, char *out, size_t size)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    uint64_t until = clock_now_ms() + WAIT_MS;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ssize_t n;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at),
                     0); /* also while none runs: the kernel takes it */
    while ((n = recv(fd, out, size - 1, MSG_DONTWAIT)) < 0 && clock_now_ms() < until)
        turn(node);
    assert_true(n > 0);
    out[n] = '\0';
    close(fd);
}

static int pid_shown(struct node *node)
{
    json_t *pids = json_object();
    int pid;

    fronts_show(node, pids);
    assert_null(json_object_get(pids, "absent"));
    pid = (int)json_integer_value(json_object_get(pids, "test"));
    json_decref(pids);
    return pid;
}

static void it_has_its_sockets_and_is_refused_what_it_may_not_ask(void **state)
{
    char text[640];

    greeting(*state, text, sizeof text);
    assert_int_equal((int)strtol(text, NULL, 10), pid_shown(*state));
    assert_non_null(strstr(text, " 1 {"));
    assert_non_null(strstr(text, "may not ask"));
    assert_true(front_may_ask(((struct node *)*state)->front, "bounce"));
    assert_false(front_may_ask(((struct node *)*state)->front, "bounc"));
}

static void one_that_was_killed_runs_again_and_nobody_is_turned_away(void **state)
{
    int first = pid_shown(*state);
    char text[640];

    assert_int_equal(kill(first, SIGKILL), 0);
    greeting(*state, text, sizeof text);
    assert_int_not_equal(pid_shown(*state), first);
    assert_int_equal((int)strtol(text, NULL, 10), pid_shown(*state));
}

static void an_address_in_use_is_said_with_its_port(void **state)
{
    struct node other = {.config = &config, .options = &options, .loop = ((struct node *)*state)->loop};
    struct hk_why why;
    char words[32];

    assert_int_equal(fronts_open(&other, &why), HK_EDOWN);
    snprintf(words, sizeof words, "port %u", port);
    assert_non_null(strstr(why.text, words));
    fronts_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_has_its_sockets_and_is_refused_what_it_may_not_ask, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(one_that_was_killed_runs_again_and_nobody_is_turned_away, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_address_in_use_is_said_with_its_port, set_up, tear_down),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
