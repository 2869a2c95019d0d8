/* test_faults.c - a region cannot be made or read, at every call on the way: words, and no file that is half a region.
 *
 * region.c's only allocation is hk_xasprintf(), which aborts by design: no memory is made to fail here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "faults.h"
#include "hikyaku/region.h"

#define EVERY_CALL (FAULT_OPEN | FAULT_READ | FAULT_WRITE | FAULT_FILE)

static char directory[] = "/tmp/hikyaku-region-XXXXXX";
static char path[64], old_path[80];

static int make_directory(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/region", directory);
    snprintf(old_path, sizeof old_path, "%s.old", path);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    unlink(old_path);
    return rmdir(directory);
}

static int create(uint64_t epoch)
{
    struct region region;
    struct hk_why why = {""};
    int rc = region_create(path, region_sizes_for(2, 10), epoch, &region, &why);

    if (rc != 0)
        assert_non_null(strstr(why.text, path));
    else
        region_close(&region);
    return rc;
}

/* The region of `epoch` lies under this name, whole. */
static void assert_lies(const char *where, uint64_t epoch)
{
    struct region region;
    struct hk_why why = {""};
    bool same_boot = false;

    if (region_attach(where, &region, &same_boot, &why) != 0)
        fail_msg("%s", why.text);
    assert_true(same_boot);
    assert_int_equal(region.header->epoch, epoch);
    region_close(&region);
}

static void a_region_that_cannot_be_made_leaves_no_half_of_it_and_the_old_one_whole(void **state)
{
    bool struck = true;
    unsigned nth = 1, renamed = 0;

    (void)state;
    for (; struck; nth++) {
        unlink(path);
        unlink(old_path);
        assert_int_equal(create(1), 0);
        fault_arm(EVERY_CALL, nth);
        int rc = create(2);
        struck = fault_disarm();
        if (!struck) {
            assert_int_equal(rc, 0);
            assert_lies(path, 2);
            assert_lies(old_path, 1);
        } else if (access(old_path, F_OK) == 0) {
            assert_true(rc == HK_EIO || rc == HK_ENOMEM);
            assert_int_not_equal(access(path, F_OK), 0);
            assert_lies(old_path, 1);
            renamed++;
        } else {
            assert_int_equal(rc, HK_EIO);
            assert_lies(path, 1);
        }
    }
    assert_true(
        nth > 6); /* the boot id opened and read, the old one renamed, the new one opened, reserved, mapped */
    assert_int_equal(renamed, 3);
}

static void a_region_that_cannot_be_read_now_is_not_called_damaged(void **state)
{
    bool struck = true;
    unsigned nth = 1;

    (void)state;
    assert_int_equal(create(3), 0);
    for (; struck; nth++) {
        struct region region;
        struct hk_why why = {""};
        bool same_boot = false;
        fault_arm(EVERY_CALL, nth);
        int rc = region_attach(path, &region, &same_boot, &why);
        struck = fault_disarm();
        if (struck) {
            assert_true(rc == HK_EIO || rc == HK_ENOMEM);
            assert_non_null(strstr(why.text, path));
            continue;
        }
        assert_int_equal(rc, 0);
        assert_true(same_boot);
        region_close(&region);
    }
    assert_true(nth > 5); /* the file opened, asked for its size, mapped; the boot id opened and read */
    assert_lies(path, 3);
}

static void short_and_interrupted_calls_change_nothing(void **state)
{
    struct region region;
    struct hk_why why = {""};
    bool same_boot = false;

    (void)state;
    unlink(path);
    unlink(old_path);
    fault_shorten(5);
    assert_int_equal(create(4), 0);
    assert_true(fault_disarm());
    assert_lies(path, 4); /* its boot id is the whole of it */
    fault_shorten(1);
    assert_int_equal(region_attach(path, &region, &same_boot, &why), 0);
    assert_true(fault_disarm());
    assert_true(same_boot);
    region_close(&region);
    fault_arm_error(FAULT_WRITE, 1, EINTR); /* a signal while blocks are reserved */
    assert_int_equal(create(5), 0);
    assert_true(fault_disarm());
    assert_lies(path, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_region_that_cannot_be_made_leaves_no_half_of_it_and_the_old_one_whole),
        cmocka_unit_test(a_region_that_cannot_be_read_now_is_not_called_damaged),
        cmocka_unit_test(short_and_interrupted_calls_change_nothing),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
