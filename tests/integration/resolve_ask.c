/* resolve_ask.c - put questions to a resolver process and print its answers (for tests/integration/resolver.py).
 *
 * resolve_ask [--server HOST:PORT]... [--hostname NAME] [--deadline MS] [--anchor FILE] [--ca FILE] [--window N]
 *             [--tlsa PORT] [--plain] [--hang-up] [--step]
 *
 * Reads lines "mx NAME", "mx6 NAME", "host NAME" or "host6 NAME" to the end of input, forks resolver_run() on a socket
 * pair, keeps up to N questions open (without --window: as many as the socket takes), prints one JSON line for each
 * answer as it comes and a last one with totals, exit status, processor time and memory of the child. --hang-up: close
 * the socket when all is asked, and see the resolver end. --plain: no receiver is asked for TLS. --step: each line is asked when it comes, and the next one read
 * when its answer was printed, so that the world may change between two.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "resolver.h"

#define SERVERS_MAX 4u

struct ask {
    struct resolve_question *question;
    uint64_t *sent_ms;
    size_t count, sent, answered, most_open, window;
    uint32_t deadline_ms;
    uint16_t tlsa_port;
    bool hang_up, step;
    int fd;
};

static const char *const status_names[] = {"ok",       "nxdomain",   "null_mx",
                                           "own_host", "no_address", "temporary"};

static _Noreturn void usage(const char *words)
{
    fprintf(stderr, "resolve_ask: %s\n", words);
    exit(2);
}

static void server_add(struct config *config, char *text)
{
    char *colon = strrchr(text, ':');
    struct cfg_address *server;

    if (!colon || config->resolver.server_count == SERVERS_MAX)
        usage("--server HOST:PORT, four times at most");
    *colon = '\0';
    server = &config->resolver.server[config->resolver.server_count++];
    server->host = text;
    server->port = (uint16_t)strtoul(colon + 1, NULL, 10);
}

static void arguments_read(int argc, char **argv, struct config *config, struct ask *ask)
{
    ask->deadline_ms = RESOLVER_DEADLINE_MS;
    ask->window = SIZE_MAX;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--hang-up") == 0)
            ask->hang_up = true;
        else if (strcmp(argv[i], "--step") == 0)
            ask->step = true;
        else if (strcmp(argv[i], "--plain") == 0)
            config->provider_count = 1;
        else if (i + 1 == argc)
            usage("an option without its value");
        else if (strcmp(argv[i], "--server") == 0)
            server_add(config, argv[++i]);
        else if (strcmp(argv[i], "--deadline") == 0)
            ask->deadline_ms = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--anchor") == 0)
            config->resolver.trust_anchor_file = argv[++i];
        else if (strcmp(argv[i], "--tlsa") == 0)
            ask->tlsa_port = (uint16_t)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--hostname") == 0)
            config->hostname = argv[++i];
        else if (strcmp(argv[i], "--ca") == 0)
            config->tls.ca_file = argv[++i];
        else if (strcmp(argv[i], "--window") == 0)
            ask->window = strtoul(argv[++i], NULL, 10);
        else
            usage("an option that it does not know");
    }
}

static void question_read(struct ask *ask, char *line)
{
    char *name = strchr(line, ' ');
    struct resolve_question *question;

    if (!name || strlen(name + 1) > DOMAIN_MAX)
        usage("a line is not \"mx|mx6|host|host6 NAME\"");
    *name++ = '\0';
    ask->question = hk_xrealloc(ask->question, ask->count + 1, sizeof *ask->question);
    question = &ask->question[ask->count];
    memset(question, 0, sizeof *question);
    question->id = ask->count++;
    question->mx = strncmp(line, "mx", 2) == 0;
    question->tlsa_port = ask->tlsa_port;
    question->ipv6 = line[strlen(line) - 1] == '6';
    snprintf(question->name, sizeof question->name, "%s", name);
}

static void questions_read(struct ask *ask)
{
    char *line = NULL;
    size_t size = 0;

    while (getline(&line, &size, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        question_read(ask, line);
    }
    free(line);
    ask->sent_ms = hk_xcalloc(ask->count + 1, sizeof *ask->sent_ms);
}

/* Which of the hosts the MTA-STS policy lists. */
static json_t *listed_json(const struct resolve_answer *answer)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < answer->host_count; i++)
        if (answer->sts_hosts >> i & 1u)
            json_array_append_new(list, json_string(answer->host[i].name));
    return list;
}

static json_t *sts_json(const struct resolve_answer *answer)
{
    static const char *const modes[] = {"none", "testing", "enforce"};
    static const char *const faults[] = {"", "fetch", "invalid", "webpki"};

    return json_pack("{s:s, s:s, s:o, s:s, s:s}", "mode", modes[answer->sts], "fault",
                     faults[answer->sts_fault], "listed", listed_json(answer), "policy",
                     answer->has_words ? answer->sts_policy : "", "rua",
                     answer->has_words ? answer->rua : "");
}

static json_t *addresses_json(const struct resolve_answer *answer)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < answer->address_count; i++) {
        char ip[INET6_ADDRSTRLEN];

        inet_ntop(answer->address[i].family, answer->address[i].ip, ip, sizeof ip);
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "ip", ip, "host", answer->host[answer->address[i].host].name));
    }
    return list;
}

/* [state, base domain, [usage selector matching length, ...]] of each host. */
static json_t *dane_json(const struct resolve_answer *answer)
{
    static const char *const state[] = {"none", "usable", "unusable", "failed"};
    json_t *list = json_array();

    for (unsigned h = 0; h < answer->host_count; h++) {
        const char *base = answer->has_dane ? dane_base(&answer->dane, h) : NULL;
        json_t *records = json_array();

        for (unsigned i = 0; answer->has_dane && i < answer->dane.record_count; i++) {
            const struct dane_record *r = &answer->dane.record[i];
            if (r->host == h)
                json_array_append_new(records,
                                      json_sprintf("%u %u %u %u", (unsigned)r->usage, (unsigned)r->selector,
                                                   (unsigned)r->matching, (unsigned)r->length));
        }
        json_array_append_new(list, json_pack("[s, s, o]", state[answer->host[h].dane],
                                              base ? base : answer->host[h].name, records));
    }
    return list;
}

static void answer_print(const struct ask *ask, const struct resolve_answer *answer)
{
    json_t *hosts = json_array(), *document;

    for (unsigned i = 0; i < answer->host_count; i++)
        json_array_append_new(hosts,
                              json_pack("[i, s]", (int)answer->host[i].preference, answer->host[i].name));
    document = json_pack("{s:s, s:s, s:o, s:o, s:o, s:i, s:b, s:s, s:i, s:o}", "name",
                         ask->question[answer->id].name, "status", status_names[answer->status], "hosts",
                         hosts, "dane", dane_json(answer), "addresses", addresses_json(answer), "ttl",
                         (int)answer->ttl_s, "secure", (int)answer->secure, "words", answer->words, "ms",
                         (int)(clock_now_ms() - ask->sent_ms[answer->id]), "sts", sts_json(answer));
    HK_BUG_ON(!document);
    json_dumpf(document, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(document);
}

/* The next line of --step, when nothing is open. False: there is none. */
static bool question_step_read(struct ask *ask)
{
    char line[DOMAIN_MAX + 16];

    if (ask->answered < ask->count)
        return true;
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return false;
    line[strcspn(line, "\n")] = '\0';
    question_read(ask, line);
    ask->sent_ms = hk_xrealloc(ask->sent_ms, ask->count, sizeof *ask->sent_ms);
    return true;
}

static void questions_send(struct ask *ask)
{
    uint8_t packet[RESOLVE_PACKET_MAX];

    while (ask->sent < ask->count && ask->sent - ask->answered < ask->window) {
        size_t length = resolve_pack_question(&ask->question[ask->sent], packet, sizeof packet);

        ask->sent_ms[ask->sent] = clock_now_ms();
        if (send(ask->fd, packet, length, MSG_NOSIGNAL) < 0)
            return;
        ask->sent++;
        if (ask->sent - ask->answered > ask->most_open)
            ask->most_open = ask->sent - ask->answered;
    }
}

static bool dane_is_sound_or_none(const struct resolve_answer *answer)
{
    return !answer->has_dane || dane_is_sound(&answer->dane);
}

static void answers_print(struct ask *ask, const uint8_t *packet, size_t length)
{
    struct resolve_answer answer;
    size_t took;

    for (; length > 0; packet += took, length -= took) {
        took = resolve_unpack_answer(packet, length, &answer);
        HK_BUG_ON(took == 0 || !dane_is_sound_or_none(&answer) || answer.id >= ask->sent ||
                  answer.status >= sizeof status_names / sizeof status_names[0]);
        ask->answered++;
        answer_print(ask, &answer);
    }
}

/* False: the resolver has gone. */
static bool answers_receive(struct ask *ask)
{
    uint8_t packet[RESOLVE_PACKET_MAX];
    ssize_t length;

    while ((length = recv(ask->fd, packet, sizeof packet, 0)) > 0)
        answers_print(ask, packet, (size_t)length);
    return length < 0 && errno == EAGAIN;
}

static void ask_run(struct ask *ask)
{
    while ((ask->step && question_step_read(ask)) || ask->answered < ask->count) {
        bool more = ask->sent < ask->count && ask->sent - ask->answered < ask->window;
        struct pollfd wait = {ask->fd, (short)(more ? POLLIN | POLLOUT : POLLIN), 0};

        if (poll(&wait, 1, 120000) <= 0)
            break;
        questions_send(ask);
        if (ask->hang_up && ask->sent == ask->count)
            break;
        if (!answers_receive(ask))
            break;
    }
}

static int child_start(const struct config *config, struct ask *ask, pid_t *pid)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
        return HK_EIO;
    *pid = fork();
    if (*pid < 0)
        return HK_EIO;
    if (*pid == 0) {
        uint32_t deadline_ms = ask->deadline_ms;

        close(pair[0]);
        free(ask->question);
        free(ask->sent_ms);
        exit(resolver_run(config, pair[1], deadline_ms));
    }
    close(pair[1]);
    ask->fd = pair[0];
    return fcntl(ask->fd, F_SETFL, O_NONBLOCK) ? HK_EIO : 0;
}

int main(int argc, char **argv)
{
    struct cfg_address servers[SERVERS_MAX] = {{0}};
    struct cfg_provider everybody = {.tls = TLS_NONE};
    struct config config = {.resolver = {.server = servers}, .provider = &everybody};
    struct ask ask = {0};
    struct rusage usage_of_child;
    uint64_t start_ms, end_ms;
    pid_t pid;
    int status;

    log_setup(LOG_LEVEL_WARNING, "resolve_ask");
    arguments_read(argc, argv, &config, &ask);
    if (!ask.step)
        questions_read(&ask);
    if (child_start(&config, &ask, &pid)) {
        perror("resolve_ask");
        return 3;
    }
    start_ms = clock_now_ms();
    ask_run(&ask);
    end_ms = clock_now_ms();
    close(ask.fd);
    if (wait4(pid, &status, 0, &usage_of_child) != pid)
        return 3;
    printf("{\"asked\":%zu,\"answered\":%zu,\"most_open\":%zu,\"ms\":%u,\"exit\":%d,\"end_ms\":%u,\"cpu_ms\":"
           "%ld,"
           "\"rss_kb\":%ld}\n",
           ask.sent, ask.answered, ask.most_open, (unsigned)(end_ms - start_ms),
           WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), (unsigned)(clock_now_ms() - end_ms),
           (usage_of_child.ru_utime.tv_sec + usage_of_child.ru_stime.tv_sec) * 1000 +
               (usage_of_child.ru_utime.tv_usec + usage_of_child.ru_stime.tv_usec) / 1000,
           usage_of_child.ru_maxrss);
    free(ask.question);
    free(ask.sent_ms);
    return 0;
}
