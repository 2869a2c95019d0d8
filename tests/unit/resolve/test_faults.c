/* test_faults.c - the resolver without memory, or with a socket that fails: a temporary failure in words, the right
 * answer, or the end of the process. Never "the domain does not exist", which would bounce its recipients.
 *
 * The whole resolver runs in this process; a forked child is the master that asks and the DNS server that answers.
 * libunbound's own memory is not made to fail. The events that it asks us for and a question's own few kilobytes come
 * from hk_xcalloc(), which aborts by design: the master starts another resolver.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"
#include "message.h"
#include "question.h"
#include "resolver.h"

enum { RESOLVER_DONE = 0, RESOLVER_PART = 3 };

#define QUESTIONS   3u
#define DEADLINE_MS 10000u
#define TURN_MS     20000 /* nothing came for so long: the answer is lost */
#define ANSWER_IP   "127.0.0.9"

static const struct {
    const char *name;
    uint8_t mx;
} asked[QUESTIONS] = {{"x.test", 1}, {"relay.test", 0}, {ANSWER_IP, 0}};

/* What the child saw; shared with it. */
static struct seen {
    unsigned answers[QUESTIONS];
    struct resolve_answer answer[QUESTIONS];
    bool broken; /* the child was at its wits' end */
} * seen;

/* ---- the child ---- */

/* The question as it came, and behind it one record: MX of x.test is mail.x.test, every address is ANSWER_IP. */
static void dns_answer(int fd)
{
    static struct message m;
    struct sockaddr_in from;
    socklen_t from_length = sizeof from;
    ssize_t got = recvfrom(fd, m.bytes, 512, 0, (struct sockaddr *)&from, &from_length);
    size_t end = 12;

    if (got < 17)
        return;
    while (m.bytes[end] != 0)
        end += m.bytes[end] + 1u;
    unsigned type = m.bytes[end + 2];
    m.length = end + 5;
    m.bytes[2] = 0x81;
    m.bytes[3] = 0x80;
    memset(m.bytes + 6, 0, 6);
    if (type == PACKET_MX)
        message_mx(&m, 300, 10, "mail.x.test");
    else if (type == PACKET_A)
        message_a(&m, 300, ntohl(inet_addr(ANSWER_IP)));
    (void)sendto(fd, m.bytes, m.length, 0, (struct sockaddr *)&from, from_length);
}

/* False: the resolver has ended, or says what nobody asked. */
static bool take_answer(int fd)
{
    static uint8_t packet[RESOLVE_PACKET_MAX];
    struct resolve_answer answer;
    ssize_t got = recv(fd, packet, sizeof packet, 0);

    for (size_t at = 0, took; got > 0 && at < (size_t)got; at += took) {
        took = resolve_unpack_answer(packet + at, (size_t)got - at, &answer);
        if (took == 0 || answer.id >= QUESTIONS) {
            seen->broken = true;
            return false;
        }
        seen->answers[answer.id]++;
        seen->answer[answer.id] = answer;
    }
    return got > 0;
}

/* One at a time, so that each has a packet of its own in both directions. False: the resolver has ended. */
static bool ask_next(int master, unsigned number)
{
    static uint8_t packet[RESOLVE_PACKET_MAX];
    struct resolve_question question = {.id = number, .mx = asked[number].mx};

    snprintf(question.name, sizeof question.name, "%s", asked[number].name);
    return send(master, packet, resolve_pack_question(&question, packet, sizeof packet), MSG_NOSIGNAL) > 0;
}

static _Noreturn void be_master_and_dns(int master, int dns)
{
    struct pollfd fds[2] = {{.fd = master, .events = POLLIN}, {.fd = dns, .events = POLLIN}};

    for (unsigned i = 0; i < QUESTIONS && ask_next(master, i); i++)
        while (seen->answers[i] == 0) {
            if (poll(fds, 2, TURN_MS) <= 0) {
                seen->broken = true;
                _exit(0);
            }
            if (fds[1].revents)
                dns_answer(dns);
            if (fds[0].revents && !take_answer(master))
                _exit(0);
        }
    _exit(0); /* the resolver sees its end closed */
}

/* ---- the resolver ---- */

static uint16_t dns_port(int dns)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;

    assert_true(dns >= 0);
    assert_int_equal(bind(dns, (struct sockaddr *)&at, length), 0);
    assert_int_equal(getsockname(dns, (struct sockaddr *)&at, &length), 0);
    return ntohs(at.sin_port);
}

/* Run a resolver until its master has all answers, or it ends by itself. Its exit status. */
static int run(void (*arm)(unsigned nth), unsigned nth, bool *struck)
{
    int pair[2], dns = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), status = 0;
    struct cfg_address server = {(char[]){"127.0.0.1"}, dns_port(dns)};
    struct config config = {.resolver = {.server = &server, .server_count = 1}};

    memset(seen, 0, sizeof *seen);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(pair[0]);
        be_master_and_dns(pair[1], dns);
    }
    close(pair[1]);
    close(dns);
    arm(nth);
    int exit_status = resolver_run(&config, pair[0], DEADLINE_MS);
    *struck = fault_disarm();
    close(pair[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return exit_status;
}

static void assert_right(const struct resolve_answer *answer)
{
    assert_int_equal(answer->status, RESOLVE_OK);
    assert_int_equal(answer->address_count, 1);
    assert_int_equal(answer->address[0].family, AF_INET);
    assert_memory_equal(answer->address[0].ip, (&(struct in_addr){inet_addr(ANSWER_IP)}), 4);
}

static void assert_answers(bool struck, bool all)
{
    assert_false(seen->broken);
    for (unsigned i = 0; i < QUESTIONS; i++) {
        const struct resolve_answer *answer = &seen->answer[i];
        assert_true(seen->answers[i] == 1 || (!all && seen->answers[i] == 0));
        if (seen->answers[i] == 0)
            continue;
        if (!struck || answer->status != RESOLVE_TEMPORARY)
            assert_right(answer);
        else
            assert_true(strlen(answer->words) > 5);
    }
}

/* ---- memory ---- */

static void arm_memory(unsigned nth)
{
    fault_arm(FAULT_MEMORY, nth);
}

static void arm_memory_from(unsigned nth)
{
    fault_arm_from(FAULT_MEMORY, nth);
}

/* Returns how many runs gave temporary failures, and in *ended how many ended the process. */
static unsigned without_memory(void (*arm)(unsigned nth), unsigned *ended)
{
    unsigned temporary = 0;
    bool struck = true;

    for (unsigned nth = 1; struck; nth++) {
        int status = run(arm, nth, &struck);
        assert_true(status == RESOLVER_DONE || (struck && status == RESOLVER_PART));
        *ended += status == RESOLVER_PART;
        assert_answers(struck, status == RESOLVER_DONE);
        for (unsigned i = 0; i < QUESTIONS; i++)
            if (seen->answers[i] && seen->answer[i].status == RESOLVE_TEMPORARY) {
                temporary++;
                break;
            }
    }
    return temporary;
}

static void an_allocation_that_fails_is_a_temporary_failure_or_the_end(void **state)
{
    unsigned ended = 0;

    (void)state;
    assert_true(without_memory(arm_memory, &ended) > 0);
    assert_true(ended >= 2); /* the context, and its event base */
}

static void no_memory_from_some_point_on_is_a_temporary_failure_or_the_end(void **state)
{
    unsigned ended = 0;

    (void)state;
    assert_true(without_memory(arm_memory_from, &ended) > 0);
    assert_true(ended >= 2);
}

static uint32_t draw_first(uint32_t bound)
{
    (void)bound;
    return 0;
}

/* The rules alone, through every stage: an answer with two hosts, or a temporary failure. */
static void a_question_without_memory_for_its_hosts_is_a_temporary_failure(void **state)
{
    static struct message m;
    struct question_lookup lookup[QUESTION_LOOKUPS_MAX];
    static struct question q;
    bool struck = true;
    unsigned nth = 0;

    (void)state;
    for (unsigned implicit = 0; implicit < 2; implicit++, struck = true, nth = 0)
        while (struck) {
            struct resolve_question what = {.id = 1, .mx = 1, .name = "x.test"};
            fault_arm(FAULT_MEMORY, ++nth);
            assert_false(question_begin(&q, &what, NULL));
            assert_int_equal(question_lookups(&q, lookup), 1);
            message_begin(&m, 0);
            if (implicit)
                message_soa(&m, 300, 300);
            else
                message_mx(&m, 300, 10, "mail.x.test");
            question_take(&q, &lookup[0], m.bytes, m.length, true, draw_first);
            if (!question_step(&q, draw_first)) {
                assert_int_equal(question_lookups(&q, lookup), 3); /* and two TXT */
                message_begin(&m, 0);
                message_a(&m, 300, ntohl(inet_addr(ANSWER_IP)));
                question_take(&q, &lookup[0], m.bytes, m.length, true, draw_first);
                assert_true(question_step(&q, draw_first));
            }
            struck = fault_disarm();
            if (struck) {
                assert_int_equal(q.answer.status, RESOLVE_TEMPORARY);
                assert_non_null(strstr(q.answer.words, "memory"));
            } else {
                assert_right(&q.answer);
                assert_int_equal(nth, 3); /* the hosts, and what DANE says of each */
            }
            question_end(&q);
        }
}

/* ---- the socket ---- */

static void arm_receive_error(unsigned nth)
{
    fault_arm_error(FAULT_RECEIVE, nth, EIO);
}

static void arm_send_error(unsigned nth)
{
    fault_arm_error(FAULT_SEND, nth, EIO);
}

static void arm_master_gone(unsigned nth)
{
    fault_arm(FAULT_SEND, nth);
}

static void arm_send_full(unsigned nth)
{
    fault_arm_error(FAULT_SEND, nth, nth % 2 ? EAGAIN : ENOBUFS);
}

static void arm_interrupted(unsigned nth)
{
    fault_shorten(nth);
}

static void a_socket_that_fails_ends_the_process_and_one_that_is_gone_does_so_in_peace(void **state)
{
    bool struck = true;
    unsigned nth = 1;

    (void)state;
    for (; nth <= QUESTIONS; nth++) {
        assert_int_equal(run(arm_receive_error, nth, &struck), RESOLVER_PART);
        assert_true(struck);
        assert_answers(true, false);
        assert_int_equal(run(arm_send_error, nth, &struck), RESOLVER_PART);
        assert_true(struck);
        assert_answers(true, false);
        assert_int_equal(run(arm_master_gone, nth, &struck), RESOLVER_DONE);
        assert_true(struck);
        assert_answers(true, false);
    }
}

static void an_answer_that_finds_no_room_or_is_interrupted_is_sent_once_all_the_same(void **state)
{
    bool struck = true;

    (void)state;
    for (unsigned nth = 1; nth <= QUESTIONS; nth++) {
        assert_int_equal(run(arm_send_full, nth, &struck), RESOLVER_DONE);
        assert_true(struck);
        assert_answers(false, true);
    }
    assert_int_equal(run(arm_interrupted, 1, &struck), RESOLVER_DONE);
    assert_true(struck);
    assert_answers(false, true);
}

/* Few descriptors, so that libunbound opens few sockets: as many as dns.c wants at least. */
static int prepare(void **state)
{
    struct rlimit few = {200, 200};

    (void)state;
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return seen == MAP_FAILED || setrlimit(RLIMIT_NOFILE, &few) != 0 ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_without_memory_for_its_hosts_is_a_temporary_failure),
        cmocka_unit_test(an_allocation_that_fails_is_a_temporary_failure_or_the_end),
        cmocka_unit_test(no_memory_from_some_point_on_is_a_temporary_failure_or_the_end),
        cmocka_unit_test(a_socket_that_fails_ends_the_process_and_one_that_is_gone_does_so_in_peace),
        cmocka_unit_test(an_answer_that_finds_no_room_or_is_interrupted_is_sent_once_all_the_same),
    };

    return cmocka_run_group_tests(tests, prepare, NULL);
}
