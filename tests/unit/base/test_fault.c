/* test_fault.c - the plan of fault.h: what is refused, and what each action does. What would end this process is tried
 * in a child. Compiled with HK_FAULTS in every build (base/CMakeLists.txt). */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "hikyaku/fault.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static char place[] = "/tmp/hikyaku-fault-XXXXXX";

static int make_place(void **state)
{
    (void)state;
    return mkdtemp(place) == NULL;
}

static char *in_place(const char *name)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/%s", place, name);
    return path;
}

static int remove_place(void **state)
{
    static const char *const name[] = {"1", "2", "clock", "out"};

    (void)state;
    for (size_t i = 0; i < COUNT(name); i++)
        unlink(in_place(name[i]));
    return rmdir(place);
}

static void plan_is(const char *text, const char *once)
{
    struct hk_why why;

    if (fault_plan(text, once, &why) != 0)
        fail_msg("%s", why.text);
    fault_role_set("hikyaku: master");
}

/* What becomes of a child that does this with standard output and error in `out`; status as of waitpid. */
static int in_child(void (*act)(void))
{
    int status, fd = open(in_place("out"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    pid_t pid;

    assert_true(fd >= 0);
    pid = fork();
    if (pid == 0) {
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        act();
        _exit(0);
    }
    close(fd);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    if (WIFSTOPPED(status)) {
        int after;
        kill(pid, SIGCONT);
        assert_int_equal(waitpid(pid, &after, 0), pid);
        assert_true(WIFEXITED(after));
    }
    return status;
}

static char *said(void)
{
    static char text[8192];
    int fd = open(in_place("out"), O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);

    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

/* ---- what is read ---- */

static void a_plan_that_is_wrong_is_refused_and_quoted(void **state)
{
    static const char *const bad[] = {
        "master",
        "master/",
        "nobody/malloc:1:kill",
        "master/log.write:1:kill",
        "master/log.write.before",
        "master/log.write.before:0:kill",
        "master/log.write.before:x:kill",
        "master/log.write.before:1x:kill",
        "master/log.write.before:-1:kill",
        "master/log.write.before:4294967296:kill",
        "master/log.write.before:1",
        "master/log.write.before:1:die",
        "master/log.write.before:1:kill:9",
        "master/log.write.before:1:error",
        "master/log.write.before:1:error:EWHATEVER",
        "master/log.write.before:1:error:ENOSPC:2",
        "master/log.write.before:1:short",
        "master/log.write.middle:1:error:ENOSPC",
        "master/ring.push.before:1:error:EIO",
        "master/ring.push.before:1:short",
        "master/malloc:1:sleep",
        "master/malloc:1:sleep:",
        "master/malloc:1:sleep:99999999999",
        " master/malloc:1:kill",
    };
    char text[128];
    struct hk_why why;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        snprintf(text, sizeof text, "any/malloc:1:kill,%s", bad[i]);
        if (fault_plan(text, NULL, &why) != HK_EINVAL)
            fail_msg("taken: %s", text);
        assert_non_null(strstr(why.text, bad[i]));
    }
    assert_int_equal(fault_plan("any/malloc:1:kill,", NULL, &why), HK_EINVAL);
    assert_int_equal(fault_plan(",any/malloc:1:kill", NULL, &why), HK_EINVAL);
}

static void more_entries_than_fit_are_refused(void **state)
{
    char text[65 * 32] = "", one[200];
    struct hk_why why;

    (void)state;
    for (int i = 0; i < 64; i++)
        strncat(text, i == 0 ? "any/malloc:9:kill" : ",any/malloc:9:kill", sizeof text - strlen(text) - 1);
    assert_int_equal(fault_plan(text, NULL, &why), 0);
    strncat(text, ",any/malloc:9:kill", sizeof text - strlen(text) - 1);
    assert_int_equal(fault_plan(text, NULL, &why), HK_ETOOBIG);
    snprintf(one, sizeof one, "any/%0150d:1:kill", 0);
    assert_int_equal(fault_plan(one, NULL, &why), HK_ETOOBIG);
}

static void list_all(void)
{
    setenv("HIKYAKU_FAULTS", "list", 1);
    fault_setup();
    _exit(99);
}

static void list_failing(void)
{
    setenv("HIKYAKU_FAULTS", "list:error", 1);
    fault_setup();
    _exit(99);
}

static void list_wrong(void)
{
    setenv("HIKYAKU_FAULTS", "list:die", 1);
    fault_setup();
    _exit(99);
}

static void the_points_are_listed_one_a_line(void **state)
{
    static const char *const name[] = {
#define NAME(point, words, more) words,
        FAULT_POINTS(NAME)
#undef NAME
    };
    char all[4096] = "";

    (void)state;
    for (size_t i = 0; i < COUNT(name); i++) {
        strncat(all, name[i], sizeof all - strlen(all) - 1);
        strncat(all, "\n", sizeof all - strlen(all) - 1);
    }
    assert_int_equal(in_child(list_all), 0);
    assert_string_equal(said(), all);
    assert_int_equal(in_child(list_failing), 0);
    assert_non_null(strstr(said(), "log.write.before\n"));
    assert_null(strstr(said(), "log.write.middle\n"));
    assert_null(strstr(said(), "ring."));
    assert_int_equal(WEXITSTATUS(in_child(list_wrong)), 2);
}

static const char *variable, *value;

static void start_with_value(void)
{
    setenv(variable, value, 1);
    fault_setup();
}

static void a_bad_value_is_told_at_start_with_status_2(void **state)
{
    static const struct {
        const char *variable, *value;
    } bad[] = {
        {"HIKYAKU_FAULTS", "master/ring.push:1:kill"},
        {"HIKYAKU_FAULTS_ONCE", "/nowhere/at/all"},
        {"HIKYAKU_FAULTS_ONCE", "/proc/version"},
        {"HIKYAKU_CLOCK", "/proc/version"},
        {"HIKYAKU_BOOT_ID", ""},
        {"HIKYAKU_BOOT_ID", "0123456789012345678901234567890123456789"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        int status;
        variable = bad[i].variable;
        value = bad[i].value;
        status = in_child(start_with_value);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 2);
        assert_non_null(strstr(said(), variable));
    }
}

/* ---- what is done ---- */

static void pass_four_times(void)
{
    for (int i = 0; i < 4; i++) {
        assert_int_equal(write(STDOUT_FILENO, ".", 1), 1);
        fault_at(RING_PUSH_AFTER);
    }
}

static void kill_strikes_at_its_pass(void **state)
{
    int status;

    (void)state;
    plan_is("any/ring.push.before:1:kill,master/ring.push.after:3:kill", NULL);
    status = in_child(pass_four_times);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_memory_equal(said(), "...", 3);
    assert_true(said()[3] != '.');
}

static void stop_waits_to_be_continued(void **state)
{
    int status;

    (void)state;
    plan_is("master/ring.push.after:2:stop", NULL);
    status = in_child(pass_four_times);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(WSTOPSIG(status), SIGSTOP);
}

static void sleep_takes_its_time(void **state)
{
    bool passed_at_once = false;

    (void)state;
    /* A busy machine may keep us waiting where nothing sleeps, but not each time. */
    for (int i = 0; i < 20 && !passed_at_once; i++) {
        uint64_t from_ms = clock_now_ms();
        plan_is("master/ring.push.after:2:sleep:60", NULL);
        fault_at(RING_PUSH_AFTER);
        passed_at_once = clock_now_ms() - from_ms < 50;
        from_ms = clock_now_ms();
        fault_at(RING_PUSH_AFTER);
        assert_true(clock_now_ms() - from_ms >= 59);
    }
    assert_true(passed_at_once);
}

static void an_error_is_that_of_the_call_and_comes_once(void **state)
{
    (void)state;
    plan_is("master/log.write.before:2:error:ENOSPC,any/log.write.before:3:error:EIO", NULL);
    errno = EBUSY;
    assert_false(fault_fails(LOG_WRITE_BEFORE));
    assert_int_equal(errno, EBUSY);
    assert_false(fault_fails(SOCKET_WRITE_BEFORE));
    assert_true(fault_fails(LOG_WRITE_BEFORE));
    assert_int_equal(errno, ENOSPC);
    assert_true(fault_fails(LOG_WRITE_BEFORE));
    assert_int_equal(errno, EIO);
    assert_false(fault_fails(LOG_WRITE_BEFORE));
}

static void only_the_role_counts_and_each_process_for_itself(void **state)
{
    static const char *const other[] = {"hikyaku: master", "hikyaku: resolver", "hikyaku: import",
                                        "hikyaku: workers"};

    (void)state;
    plan_is("worker/malloc:2:error:ENOMEM", NULL);
    for (size_t i = 0; i < COUNT(other); i++) {
        fault_role_set(other[i]);
        assert_false(fault_fails(MALLOC));
        assert_false(fault_fails(MALLOC));
    }
    fault_role_set("hikyaku: worker 12");
    assert_false(fault_fails(MALLOC));
    fault_role_set("hikyaku: worker 3");
    assert_false(fault_fails(MALLOC));
    assert_true(fault_fails(MALLOC));
    fault_at(RING_PUSH_AFTER);
    assert_int_equal(fault_plan("any/ring.push.after:1:sleep:0", NULL, NULL), 0);
    assert_true(fault_strikes(RING_PUSH_AFTER)); /* what was passed before there was a plan does not count */
    plan_is("command/malloc:1:error:ENOMEM,resolver/malloc:1:error:EIO", NULL);
    fault_role_set("hikyaku: import");
    assert_true(fault_fails(MALLOC));
    assert_int_equal(errno, ENOMEM);
    fault_role_set("hikyaku: resolver");
    assert_true(fault_fails(MALLOC));
    assert_int_equal(errno, EIO);
}

static void a_write_is_cut_to_half_before_its_middle_acts(void **state)
{
    (void)state;
    plan_is("master/log.write.middle:2:short", NULL);
    assert_int_equal(fault_half(LOG_WRITE_MIDDLE, 100), 100);
    fault_at(LOG_WRITE_MIDDLE);
    assert_int_equal(fault_half(LOG_WRITE_MIDDLE, 1), 1);
    assert_int_equal(fault_half(LOG_WRITE_MIDDLE, 101), 50);
    fault_at(LOG_WRITE_MIDDLE);
    assert_int_equal(fault_half(LOG_WRITE_MIDDLE, 100), 100);
}

static void pieces_are_cut_to_half_of_all_their_bytes(void **state)
{
    for (size_t cut = 1; cut <= 4; cut++) {
        struct iovec piece[4] = {{.iov_len = 10}, {.iov_len = 0}, {.iov_len = 30}, {.iov_len = 5}};
        size_t want[] = {0, 5, 5, 20, 22}, bytes = 0, count;
        (void)state;
        plan_is("master/socket.write.middle:1:kill", NULL);
        count = fault_half_pieces(SOCKET_WRITE_MIDDLE, piece, cut);
        for (size_t i = 0; i < count; i++)
            bytes += piece[i].iov_len;
        assert_int_equal(bytes, want[cut]);
        assert_true(count <= cut);
    }
}

static void an_entry_with_a_mark_strikes_once_in_all_processes(void **state)
{
    char mark[200] = "";
    int fd;

    (void)state;
    plan_is("master/malloc:1:error:EIO,master/ring.push.after:2:kill", place);
    assert_true(WIFSIGNALED(in_child(pass_four_times)));
    assert_int_equal(access(in_place("1"), F_OK), -1);
    fd = open(in_place("2"), O_RDONLY);
    assert_true(fd >= 0);
    assert_true(read(fd, mark, sizeof mark - 1) > 0);
    close(fd);
    assert_non_null(strstr(mark, "master/ring.push.after:2:kill pid "));
    assert_int_equal(in_child(pass_four_times), 0);
    assert_string_equal(said(), "....");
    assert_false(fault_strikes(RING_PUSH_AFTER));
}

static void allocate(void)
{
    void *first, *third;
    char *second;

    fault_role_set("hikyaku: worker 0");
    first = malloc(10);
    second = strdup("text");
    third = calloc(1, 10);
    _exit(first != NULL && second == NULL && third != NULL ? 7 : 8);
}

static void the_nth_allocation_fails(void **state)
{
    int status;

    (void)state;
    plan_is("worker/malloc:2:error:ENOMEM", NULL);
    status = in_child(allocate);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

/* ---- clock and boot id ---- */

static void clock_put(const char *text)
{
    int fd = open(in_place("clock"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(hk_write_all(fd, text, strlen(text)), 0);
    close(fd);
}

static void clock_is_read_each_second(void)
{
    char *path = hk_xstrdup(in_place("clock"));

    clock_put("-3600\n");
    setenv("HIKYAKU_CLOCK", path, 1);
    fault_setup();
    if (fault_clock_us() != -3600000000ll)
        _exit(1);
    clock_put("25");
    if (fault_clock_us() != -3600000000ll)
        _exit(2);
    usleep(1010000);
    if (fault_clock_us() != 25000000ll)
        _exit(3);
    clock_put("");
    usleep(1010000);
    if (fault_clock_us() != 25000000ll)
        _exit(4);
    free(path);
}

static void the_clock_goes_as_the_file_says(void **state)
{
    (void)state;
    assert_int_equal(fault_clock_us(), 0);
    assert_int_equal(in_child(clock_is_read_each_second), 0);
}

static void boot_is_another(void)
{
    char id[40];

    setenv("HIKYAKU_BOOT_ID", "another-boot", 1);
    fault_setup();
    _exit(fault_boot_id(id) && strcmp(id, "another-boot") == 0 ? 7 : 8);
}

static void the_boot_id_is_the_given_one(void **state)
{
    char id[40];

    (void)state;
    assert_false(fault_boot_id(id));
    assert_int_equal(WEXITSTATUS(in_child(boot_is_another)), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_that_is_wrong_is_refused_and_quoted),
        cmocka_unit_test(more_entries_than_fit_are_refused),
        cmocka_unit_test(the_points_are_listed_one_a_line),
        cmocka_unit_test(a_bad_value_is_told_at_start_with_status_2),
        cmocka_unit_test(kill_strikes_at_its_pass),
        cmocka_unit_test(stop_waits_to_be_continued),
        cmocka_unit_test(sleep_takes_its_time),
        cmocka_unit_test(an_error_is_that_of_the_call_and_comes_once),
        cmocka_unit_test(only_the_role_counts_and_each_process_for_itself),
        cmocka_unit_test(a_write_is_cut_to_half_before_its_middle_acts),
        cmocka_unit_test(pieces_are_cut_to_half_of_all_their_bytes),
        cmocka_unit_test(an_entry_with_a_mark_strikes_once_in_all_processes),
        cmocka_unit_test(the_nth_allocation_fails),
        cmocka_unit_test(the_clock_goes_as_the_file_says),
        cmocka_unit_test(the_boot_id_is_the_given_one),
    };

    return cmocka_run_group_tests(tests, make_place, remove_place);
}
