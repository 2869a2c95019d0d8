/* test_secret.c - memory for secrets is a page of zeros in every child, and stays what it is here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hikyaku/base.h"

#define SIZE 5000u

static int child_of(int (*life)(const char *secret), const char *secret)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(life(secret));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int has_none(const char *secret)
{
    for (size_t i = 0; i < SIZE; i++)
        if (secret[i] != '\0')
            return 1;
    return 0;
}

static int grandchild_has_none(const char *secret)
{
    return child_of(has_none, secret);
}

static void a_child_has_zeros_and_its_parent_what_it_was(void **state)
{
    char *secret, copy[SIZE];

    (void)state;
    assert_int_equal(hk_secret_new(SIZE, &secret, NULL), 0);
    assert_int_equal(has_none(secret), 0);
    memset(secret, 's', SIZE);
    memcpy(copy, secret, SIZE);
    assert_int_equal(has_none(copy), 1);
    assert_int_equal(child_of(has_none, copy), 1); /* any other memory is inherited */
    assert_int_equal(child_of(has_none, secret), 0);
    assert_int_equal(child_of(grandchild_has_none, secret), 0);
    assert_memory_equal(secret, copy, SIZE);
    hk_secret_free(secret, SIZE);
    hk_secret_free(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_has_zeros_and_its_parent_what_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
