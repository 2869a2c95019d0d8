/* test_aof_tail.c - wherever the end of the append-only file is cut, no half of a transaction stays in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aof_tail.h"

#define PLAIN  "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n" /* a value that looks like an end of line */
#define MULTI  "*1\r\n$5\r\nMULTI\r\n"
#define EXEC   "*1\r\n$4\r\nEXEC\r\n"
#define WORD   "*2\r\n$3\r\nGET\r\n$4\r\nEXEC\r\n" /* an argument, not the command */
#define WHOLE  MULTI PLAIN WORD PLAIN EXEC
#define BEFORE PLAIN WHOLE PLAIN

static char dir[64], file[128];

static void put(const char *name, const char *bytes, size_t length)
{
    char path[256];
    struct hk_why why;

    snprintf(path, sizeof path, "%s/appendonlydir/%s", dir, name);
    assert_int_equal(hk_write_file(path, 0600, bytes, length, &why), 0);
}

static int set_up(void **state)
{
    char path[128];

    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_aof_tail.XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/appendonlydir", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(file, sizeof file, "%s/appendonlydir/a.2.incr.aof", dir);
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static void manifest(const char *text)
{
    put("appendonly.aof.manifest", text, strlen(text));
}

/* The length of the file after its end was mended. */
static long mended(const char *bytes, size_t length)
{
    struct hk_why why = {""};
    struct stat about;

    put("a.2.incr.aof", bytes, length);
    manifest(
        "file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\nfile a.2.incr.aof seq 2 type i\n");
    assert_int_equal(aof_tail_mend(dir, &why), 0);
    assert_int_equal(stat(file, &about), 0);
    assert_int_equal(aof_tail_bytes(dir), about.st_size);
    return about.st_size;
}

static void a_transaction_that_is_cut_goes_as_a_whole(void **state)
{
    const char bytes[] = BEFORE WHOLE;
    size_t begin = sizeof BEFORE - 1, end = sizeof bytes - 1;

    (void)state;
    for (size_t cut = begin + sizeof MULTI - 1; cut < end; cut++)
        assert_int_equal(mended(bytes, cut), begin);
    assert_int_equal(mended(bytes, end), end);
}

static void what_is_whole_stays_and_a_torn_command_alone_is_for_redis(void **state)
{
    const char bytes[] = BEFORE PLAIN;
    size_t begin = sizeof BEFORE - 1;

    (void)state;
    for (size_t cut = begin; cut <= sizeof bytes - 1; cut++)
        assert_int_equal(mended(bytes, cut), cut);
    assert_int_equal(mended("", 0), 0);
    assert_int_equal(mended(PLAIN, sizeof PLAIN - 1), sizeof PLAIN - 1);
    assert_int_equal(mended("*", 1), 1);
}

static void what_is_strange_is_left_to_redis(void **state)
{
    const char *strange[] = {MULTI "#TS:5\r\n", MULTI "*1\n", MULTI "*1\r\n:5\r\n", MULTI "*x"};

    (void)state;
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        assert_int_equal(mended(strange[i], strlen(strange[i])), strlen(strange[i]));
}

static void a_long_file_is_mended_by_its_end(void **state)
{
    const size_t before = 9 * 1024 * 1024, length = before + sizeof WHOLE - 3;
    char *bytes = malloc(length);

    (void)state;
    assert_non_null(bytes);
    memset(bytes, 'x', before);
    memcpy(bytes + before, WHOLE, sizeof WHOLE - 3);
    assert_int_equal(mended(bytes, length), before);
    free(bytes);
}

static void without_a_file_there_is_nothing_to_mend(void **state)
{
    struct hk_why why = {""};
    struct stat about;
    char path[128];

    (void)state;
    assert_int_equal(aof_tail_mend("/tmp/test_aof_tail.none", &why), 0);
    assert_int_equal(aof_tail_mend(dir, &why), 0);
    assert_int_equal(aof_tail_bytes(dir), 0);
    manifest("file a.1.base.rdb seq 1 type b\n");
    assert_int_equal(aof_tail_mend(dir, &why), 0);
    manifest("file a.7.incr.aof seq 7 type i\n");
    assert_int_equal(aof_tail_mend(dir, &why), 0);
    assert_int_equal(aof_tail_bytes(dir), 0);
    put("../outside", MULTI, sizeof MULTI - 1);
    manifest("file ../outside seq 7 type i\n");
    assert_int_equal(aof_tail_mend(dir, &why), 0);
    snprintf(path, sizeof path, "%s/outside", dir);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_size, sizeof MULTI - 1);
}

static void what_cannot_be_mended_is_said(void **state)
{
    char path[256];
    struct hk_why why = {""};

    (void)state;
    manifest("file a.2.incr.aof seq 2 type i\n");
    snprintf(path, sizeof path, "%s/appendonlydir/a.2.incr.aof", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(aof_tail_mend(dir, &why), HK_EIO);
    assert_non_null(strstr(why.text, "a.2.incr.aof"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_transaction_that_is_cut_goes_as_a_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_whole_stays_and_a_torn_command_alone_is_for_redis, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_strange_is_left_to_redis, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_file_is_mended_by_its_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_file_there_is_nothing_to_mend, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_mended_is_said, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
