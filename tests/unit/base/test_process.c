/* test_process.c - how many connections a process may have: what the limit of open files leaves, and it is raised first. And how
 * it is scheduled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hikyaku/base.h"

/* The soft limit, the hard one stays. */
static rlim_t limit_soft(rlim_t soft)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(limit.rlim_max >= 1000);
    limit.rlim_cur = soft;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return limit.rlim_max;
}

static rlim_t soft(void)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    return limit.rlim_cur;
}

static void the_limit_is_raised_as_far_as_needed_and_never_lowered(void **state)
{
    struct hk_why why;
    uint32_t connections = 0;

    (void)state;
    (void)limit_soft(100);
    assert_int_equal(process_connections("a.key", 500, &connections, &why), 0);
    assert_int_equal(connections, 500);
    assert_int_equal(soft(), 564); /* and descriptors that are no connections */
    assert_int_equal(process_connections("a.key", 7, &connections, &why), 0);
    assert_int_equal(connections, 7);
    assert_int_equal(soft(), 564);
}

static void beyond_the_hard_limit_there_are_fewer(void **state)
{
    const rlim_t hard = limit_soft(100);
    struct hk_why why;
    uint32_t connections = 0;

    (void)state;
    assert_int_equal(process_connections("a.key", (uint32_t)hard, &connections, &why), 0);
    assert_int_equal(connections, hard - 64);
    assert_int_equal(soft(), hard);
}

static void policy_set(int policy)
{
    const struct sched_param none = {0};

    assert_int_equal(sched_setscheduler(0, policy, &none), 0);
}

static int policy_of_child(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(sched_getscheduler(0));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_batch_of_processes_is_one_with_its_children(void **state)
{
    (void)state;
    policy_set(SCHED_OTHER);
    process_batch();
    assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
    assert_int_equal(policy_of_child(), SCHED_BATCH);
}

static void a_policy_that_somebody_chose_stays(void **state)
{
    (void)state;
    policy_set(SCHED_IDLE);
    process_batch();
    assert_int_equal(sched_getscheduler(0), SCHED_IDLE);
    policy_set(SCHED_OTHER);
}

/* The last one: a hard limit that was lowered stays so. */
static void where_not_one_fits_it_says_what_to_do(void **state)
{
    const struct rlimit low = {.rlim_cur = 64, .rlim_max = 64};
    struct hk_why why;
    uint32_t connections;

    (void)state;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(process_connections("a.key", 300, &connections, &why), HK_EDOWN);
    assert_non_null(strstr(why.text, "the limit of open files is 64, and a.key = 300 needs 364"));
    assert_non_null(strstr(why.text, "LimitNOFILE=364"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_is_raised_as_far_as_needed_and_never_lowered),
        cmocka_unit_test(beyond_the_hard_limit_there_are_fewer),
        cmocka_unit_test(a_batch_of_processes_is_one_with_its_children),
        cmocka_unit_test(a_policy_that_somebody_chose_stays),
        cmocka_unit_test(where_not_one_fits_it_says_what_to_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
