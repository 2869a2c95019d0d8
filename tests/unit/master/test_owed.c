/* test_owed.c - what is written down and not in Redis yet: tried until it is, and nobody in another's way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "owed.h"

struct one {
    struct owed owed;
    int rc; /* what trying it gives */
    unsigned tried, *ended;
};

static int apply(struct owed *owed, struct hk_why *why)
{
    struct one *one = (struct one *)owed;

    one->tried++;
    return one->rc == 0 ? 0 : why_set(why, one->rc, "it cannot be done");
}

static void end(struct owed *owed)
{
    ++*((struct one *)owed)->ended;
}

static struct owed_list list;
static struct one one[OWED_MAX + 1];
static unsigned ended;

static int anew(void **state)
{
    (void)state;
    log_threshold = LOG_LEVEL_ERROR;
    ended = 0;
    owed_init(&list);
    memset(one, 0, sizeof one);
    for (size_t i = 0; i < OWED_MAX + 1; i++) {
        one[i].owed.apply = apply;
        one[i].owed.end = end;
        one[i].ended = &ended;
    }
    return 0;
}

static void add(unsigned count, int rc)
{
    for (unsigned i = 0; i < count; i++) {
        one[i].rc = rc;
        owed_add(&list, &one[i].owed);
    }
}

static void what_redis_has_is_owed_no_more(void **state)
{
    struct hk_why why;

    (void)state;
    assert_int_equal(owed_settle(&list, &why), 0);
    add(3, 0);
    assert_true(owed_waits(&list));
    assert_int_equal(owed_settle(&list, &why), 0);
    assert_false(owed_waits(&list));
    assert_int_equal(ended, 3);
}

static void where_redis_is_away_the_others_are_not_tried(void **state)
{
    struct hk_why why = {""};

    (void)state;
    add(3, HK_EDOWN);
    assert_int_equal(owed_settle(&list, &why), HK_EDOWN);
    assert_string_equal(why.text, "it cannot be done");
    assert_int_equal(one[0].tried, 1);
    assert_int_equal(one[1].tried + one[2].tried, 0);
    for (unsigned i = 0; i < 3; i++)
        one[i].rc = 0;
    assert_int_equal(owed_settle(&list, &why), 0);
    assert_int_equal(ended, 3);
}

static void one_that_cannot_be_done_holds_up_nobody(void **state)
{
    struct hk_why why;

    (void)state;
    add(3, 0);
    one[0].rc = HK_ECHANGED;
    assert_int_equal(owed_settle(&list, &why), 0);
    assert_int_equal(ended, 2);
    assert_true(owed_waits(&list));
    owed_close(&list);
    assert_int_equal(ended, 3);
    assert_false(owed_waits(&list));
}

static void at_the_bound_nothing_more_is_taken(void **state)
{
    struct hk_why why;

    (void)state;
    add(OWED_MAX - 1, HK_ECHANGED);
    assert_int_equal(owed_settle(&list, &why), 0);
    one[OWED_MAX - 1].rc = HK_ECHANGED;
    owed_add(&list, &one[OWED_MAX - 1].owed);
    assert_int_equal(owed_settle(&list, &why), HK_EFULL);
    one[5].rc = 0;
    assert_int_equal(owed_settle(&list, &why), 0);
    owed_close(&list);
}

static void by_itself_it_is_tried_once_a_second(void **state)
{
    (void)state;
    owed_turn(&list, 5000);
    add(1, HK_EDOWN);
    owed_turn(&list, 5000);
    owed_turn(&list, 5999);
    assert_int_equal(one[0].tried, 1);
    owed_turn(&list, 6000);
    assert_int_equal(one[0].tried, 2);
    one[0].rc = 0;
    owed_turn(&list, 7000);
    assert_int_equal(ended, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_redis_has_is_owed_no_more, anew),
        cmocka_unit_test_setup(where_redis_is_away_the_others_are_not_tried, anew),
        cmocka_unit_test_setup(one_that_cannot_be_done_holds_up_nobody, anew),
        cmocka_unit_test_setup(at_the_bound_nothing_more_is_taken, anew),
        cmocka_unit_test_setup(by_itself_it_is_tried_once_a_second, anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
