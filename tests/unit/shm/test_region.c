/* The region: what one process lays down another finds; what is damaged or of another build is not believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hikyaku/region.h"

static char directory[] = "/tmp/hikyaku-region-XXXXXX";
static char path[64];

static int make_directory(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/region", directory);
    return 0;
}

static int remove_directory(void **state)
{
    char old[80];

    (void)state;
    snprintf(old, sizeof old, "%s.old", path);
    unlink(path);
    unlink(old);
    return rmdir(directory);
}

static void the_rings_hold_every_permission(void **state)
{
    (void)state;
    for (uint32_t connections = 1; connections < 5000; connections += 7) {
        struct region_sizes s = region_sizes_for(2, connections);
        assert_true(s.ring_slots >= 2 * s.flight_slots + 2 * s.conn_slots + 2);
        assert_true(s.flight_slots >= connections);
    }
}

static void a_dead_process_leaves_its_flights_to_be_read(void **state)
{
    struct region_sizes sizes = region_sizes_for(2, 10);
    struct region region;
    struct hk_why why;
    bool same_boot = false;
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(region_create(path, sizes, 7, &region, &why), 0);
    pid = fork();
    if (pid == 0) {
        struct flight *f = region_flight(&region, 1, 3);
        f->send.index = 42;
        f->reply.code = 250;
        atomic_store_explicit(&f->phase, FLIGHT_DONE, memory_order_release);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    region_close(&region);

    assert_int_equal(region_attach(path, &region, &same_boot, &why), 0);
    assert_true(same_boot);
    assert_int_equal(region.header->epoch, 7);
    assert_int_equal(region_flight(&region, 1, 3)->phase, FLIGHT_DONE);
    assert_int_equal(region_flight(&region, 1, 3)->send.index, 42);
    assert_int_equal(region_flight(&region, 0, 3)->phase, FLIGHT_FREE);
    region_close(&region);
}

static void a_region_of_another_boot_is_told_apart(void **state)
{
    struct region region;
    struct hk_why why;
    bool same_boot = true;

    (void)state;
    assert_int_equal(region_create(path, region_sizes_for(1, 10), 7, &region, &why), 0);
    region.header->boot_id[0] = region.header->boot_id[0] == 'a' ? 'b' : 'a';
    region_close(&region);
    assert_int_equal(region_attach(path, &region, &same_boot, &why), 0);
    assert_false(same_boot);
    region_close(&region);
}

static void every_damaged_header_byte_is_noticed_or_harmless(void **state)
{
    struct region region;
    struct hk_why why;
    bool same_boot;
    int fd;

    (void)state;
    assert_int_equal(region_create(path, region_sizes_for(1, 10), 7, &region, &why), 0);
    region_close(&region);
    fd = open(path, O_RDWR);
    for (off_t at = 0; at < (off_t)sizeof(struct region_header); at++) {
        uint8_t was, now;
        assert_int_equal(pread(fd, &was, 1, at), 1);
        now = (uint8_t)~was;
        assert_int_equal(pwrite(fd, &now, 1, at), 1);
        if (region_attach(path, &region, &same_boot, &why) == 0) {
            assert_int_equal(region_flight(&region, 0, 0)->phase, FLIGHT_FREE);
            region_close(&region);
        }
        assert_int_equal(pwrite(fd, &was, 1, at), 1);
    }
    assert_int_equal(ftruncate(fd, 5000), 0);
    assert_int_equal(region_attach(path, &region, &same_boot, &why), HK_ECHANGED);
    assert_int_equal(ftruncate(fd, 5), 0);
    assert_int_equal(region_attach(path, &region, &same_boot, &why), HK_ECHANGED);
    close(fd);
    unlink(path);
    assert_int_equal(region_attach(path, &region, &same_boot, &why), HK_ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rings_hold_every_permission),
        cmocka_unit_test(a_dead_process_leaves_its_flights_to_be_read),
        cmocka_unit_test(a_region_of_another_boot_is_told_apart),
        cmocka_unit_test(every_damaged_header_byte_is_noticed_or_harmless),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
