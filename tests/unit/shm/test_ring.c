/* The ring: bounded, in order, exact between two threads (for the thread sanitizer) and between two processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hikyaku/ring.h"

#define SLOTS 64u
#define ROUND 200000u

static struct ring *shared_ring(void)
{
    struct ring *ring =
        mmap(NULL, ring_bytes(SLOTS), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(ring != MAP_FAILED);
    ring_init(ring, SLOTS);
    return ring;
}

static void a_full_ring_refuses_and_an_empty_one_gives_nothing(void **state)
{
    struct ring *ring = shared_ring();
    struct desc desc = {.kind = DESC_SEND};

    (void)state;
    assert_null(ring_peek(ring));
    for (uint32_t i = 0; i < SLOTS; i++) {
        desc.index = i;
        assert_true(ring_push(ring, &desc));
    }
    assert_false(ring_push(ring, &desc));
    for (uint32_t i = 0; i < SLOTS; i++) {
        assert_int_equal(ring_peek(ring)->index, i);
        ring_next(ring);
    }
    assert_null(ring_peek(ring));
    assert_true(ring_push(ring, &desc));
    munmap(ring, ring_bytes(SLOTS));
}

static void a_sleeper_is_woken_once_and_never_sleeps_over_work(void **state)
{
    struct ring *ring = shared_ring();
    struct desc desc = {.kind = DESC_GRANT};

    (void)state;
    assert_false(ring_wants_wake(ring));
    assert_true(ring_sleep(ring));
    assert_true(ring_push(ring, &desc));
    assert_true(ring_wants_wake(ring));
    assert_false(ring_wants_wake(ring));
    assert_false(ring_sleep(ring));
    assert_false(ring_wants_wake(ring));
    munmap(ring, ring_bytes(SLOTS));
}

static void a_ring_of_another_size_or_layout_is_not_ours(void **state)
{
    struct ring *ring = shared_ring();

    (void)state;
    assert_true(ring_is_valid(ring, SLOTS));
    assert_false(ring_is_valid(ring, SLOTS * 2));
    ring->layout++;
    assert_false(ring_is_valid(ring, SLOTS));
    munmap(ring, ring_bytes(SLOTS));
}

struct ends {
    struct ring *ring;
    int wake;
};

static void produce(const struct ends *ends)
{
    struct desc desc = {.kind = DESC_SEND};
    uint64_t one = 1;

    for (uint32_t i = 0; i < ROUND;) {
        desc.index = i;
        desc.serial = (uint64_t)i * 3;
        if (ring_push(ends->ring, &desc))
            i++;
        else
            sched_yield();
        if (ring_wants_wake(ends->ring) && write(ends->wake, &one, sizeof one) != sizeof one)
            return;
    }
}

/* Returns how many came in order before one was wrong or missing for five seconds. */
static uint32_t consume(const struct ends *ends)
{
    struct pollfd p = {.fd = ends->wake, .events = POLLIN};
    uint64_t woken;

    for (uint32_t i = 0; i < ROUND;) {
        const struct desc *desc = ring_peek(ends->ring);
        if (desc != NULL) {
            if (desc->index != i || desc->serial != (uint64_t)i * 3)
                return i;
            ring_next(ends->ring);
            i++;
            continue;
        }
        if (!ring_sleep(ends->ring))
            continue;
        if (poll(&p, 1, 5000) != 1 || read(ends->wake, &woken, sizeof woken) != sizeof woken)
            return i;
        ring_awake(ends->ring);
    }
    return ROUND;
}

static void *produce_in_thread(void *ends)
{
    produce(ends);
    return NULL;
}

static void two_threads_pass_everything_in_order(void **state)
{
    struct ends ends = {.ring = shared_ring(), .wake = eventfd(0, EFD_CLOEXEC)};
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, produce_in_thread, &ends), 0);
    assert_int_equal(consume(&ends), ROUND);
    pthread_join(thread, NULL);
    close(ends.wake);
    munmap(ends.ring, ring_bytes(SLOTS));
}

static void two_processes_pass_everything_in_order(void **state)
{
    struct ends ends = {.ring = shared_ring(), .wake = eventfd(0, EFD_CLOEXEC)};
    int status;
    pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        produce(&ends);
        _exit(0);
    }
    assert_int_equal(consume(&ends), ROUND);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(ends.wake);
    munmap(ends.ring, ring_bytes(SLOTS));
}

static void what_a_killed_producer_pushed_is_whole(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct ring *ring = shared_ring();
        pid_t pid = fork();
        uint32_t next = 0;
        int status;

        assert_true(pid >= 0);
        if (pid == 0) {
            struct desc desc = {.kind = DESC_SEND};
            for (uint32_t i = 0;; i += ring_push(ring, &desc)) {
                desc.index = i;
                desc.serial = (uint64_t)i * 3;
            }
        }
        while (next < 1000u * (uint32_t)round) {
            const struct desc *desc = ring_peek(ring);
            if (desc == NULL)
                continue;
            assert_int_equal(desc->index, next++);
            ring_next(ring);
        }
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        for (const struct desc *desc; (desc = ring_peek(ring)) != NULL; ring_next(ring), next++) {
            assert_int_equal(desc->index, next);
            assert_int_equal(desc->serial, (uint64_t)next * 3);
        }
        munmap(ring, ring_bytes(SLOTS));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_ring_refuses_and_an_empty_one_gives_nothing),
        cmocka_unit_test(a_sleeper_is_woken_once_and_never_sleeps_over_work),
        cmocka_unit_test(a_ring_of_another_size_or_layout_is_not_ours),
        cmocka_unit_test(two_threads_pass_everything_in_order),
        cmocka_unit_test(two_processes_pass_everything_in_order),
        cmocka_unit_test(what_a_killed_producer_pushed_is_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
