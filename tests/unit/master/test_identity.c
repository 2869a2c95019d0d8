/* test_identity.c - a state_dir keeps its ID and its last epoch, and gets a new one only where the old cannot be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "identity.h"

static char directory[] = "/tmp/hikyaku-identity-XXXXXX";
static char file[64];
static struct config config;

static int set_up(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    config.state_dir = directory;
    snprintf(file, sizeof file, "%s/node.id", directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(file);
    return rmdir(directory);
}

static struct node_place opened(void)
{
    struct node_place place = {0};
    struct hk_why why = {""};

    if (identity_open(&config, &place, &why) != 0)
        fail_msg("%s", why.text);
    assert_int_equal(strlen(place.id), LEASE_ID_SIZE - 1);
    assert_int_equal(strspn(place.id, "0123456789abcdef"), LEASE_ID_SIZE - 1);
    return place;
}

static void it_is_the_same_at_every_start(void **state)
{
    struct node_place first = opened(), again;
    struct hk_why why;

    (void)state;
    assert_int_equal(first.epoch, 0);
    first.epoch = 18446744073709551614u;
    assert_int_equal(identity_keep(&config, &first, &why), 0);
    again = opened();
    assert_string_equal(again.id, first.id);
    assert_int_equal(again.epoch, first.epoch);
}

static void what_cannot_be_read_is_made_anew(void **state)
{
    static const char *const damaged[] = {"", "x", "0123456789abcdef0123456789abcdef", "0123 7\n",
                                          "0123456789ABCDEF0123456789ABCDEF 7\n"};
    struct hk_why why;

    (void)state;
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        struct node_place place;
        assert_int_equal(hk_write_file(file, 0600, damaged[i], strlen(damaged[i]), &why), 0);
        place = opened();
        assert_int_equal(place.epoch, 0);
        assert_string_not_equal(place.id, "0123456789abcdef0123456789abcdef");
    }
}

static void two_state_dirs_are_two(void **state)
{
    struct node_place one, other;

    (void)state;
    unlink(file);
    one = opened();
    other = opened();
    assert_string_not_equal(one.id, other.id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_same_at_every_start),
        cmocka_unit_test(what_cannot_be_read_is_made_anew),
        cmocka_unit_test(two_state_dirs_are_two),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
