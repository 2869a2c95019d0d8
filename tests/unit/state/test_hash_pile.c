/* Hashes come out of a pile in order and once, however many pieces went to the disk, and whatever fails on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../faults.h"
#include "hash_pile.h"
#include <cmocka.h>

#define PIECE 300u

static char dir[] = "/tmp/hikyaku-pile-XXXXXX", path[64], nowhere[64];

static int start(void **state)
{
    (void)state;
    log_threshold = LOG_LEVEL_ERROR;
    if (!mkdtemp(dir))
        return -1;
    (void)snprintf(path, sizeof path, "%s/sorted", dir);
    (void)snprintf(nowhere, sizeof nowhere, "%s/nowhere/sorted", dir);
    return 0;
}

/* Fails where something was left behind. */
static int end(void **state)
{
    (void)state;
    return rmdir(dir);
}

/* The hashes 1 ... count, some twice and in other pieces, in no order; every third ends. */
static int fill(struct hash_pile *pile, size_t count)
{
    int error = 0;

    for (size_t i = 0; i < count + count / 4 && !error; i++) {
        size_t hash = i * 7919 % count + 1; /* 7919 is prime: each of them, then some again */
        error = hash_pile_add(pile, hash, hash % 3 == 0 ? (uint32_t)hash : 0);
    }
    return error;
}

/* How many came in order until the pile ended or failed. */
static size_t tell(struct hash_pile *pile, int *error)
{
    struct hash_ending entry;
    size_t told = 0;

    *error = hash_pile_rewind(pile);
    while (*error == 0 && (*error = hash_pile_next(pile, &entry)) == 1) {
        told++;
        assert_int_equal(entry.hash, told);
        assert_int_equal(entry.until_s, told % 3 == 0 ? told : 0);
        *error = 0;
    }
    return told;
}

static void whatever_their_number_all_come_in_order(void **state)
{
    static const size_t counts[] = {0, 1, 2, PIECE - 1, PIECE, PIECE + 1, 7 * PIECE, 1000 * PIECE + 17};
    struct hash_pile pile;
    int error;

    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        hash_pile_open(&pile, path, PIECE);
        assert_int_equal(fill(&pile, counts[i]), 0);
        assert_int_equal(pile.added, counts[i] + counts[i] / 4);
        assert_int_equal(pile.pieces, pile.added / PIECE);
        assert_true(pile.room <= 1024); /* one piece, not all */
        for (int again = 0; again < 2; again++) {
            assert_int_equal(tell(&pile, &error), counts[i]);
            assert_int_equal(error, 0);
        }
        hash_pile_close(&pile);
    }
}

static void where_no_file_can_be_made_it_is_done_in_memory(void **state)
{
    struct hash_pile pile;
    int error;

    (void)state;
    hash_pile_open(&pile, nowhere, PIECE);
    assert_int_equal(fill(&pile, 20 * PIECE), 0);
    assert_int_equal(pile.pieces, 0);
    assert_int_equal(tell(&pile, &error), 20 * PIECE);
    assert_int_equal(error, 0);
    hash_pile_close(&pile);
}

/* A disk that is full behind some pieces, or in the middle of one. */
static void a_disk_that_takes_no_more_costs_memory_only(void **state)
{
    size_t told_with_pieces = 0;
    bool struck = true;
    int error;

    (void)state;
    for (unsigned nth = 1; struck; nth++) {
        struct hash_pile pile;
        hash_pile_open(&pile, path, PIECE);
        if (nth % 2 != 0)
            fault_arm_from(FAULT_WRITE, nth);
        else
            fault_arm(FAULT_WRITE, nth);
        assert_int_equal(fill(&pile, 20 * PIECE), 0);
        struck = fault_disarm();
        assert_int_equal(pile.stays, struck);
        told_with_pieces += struck && pile.pieces > 0;
        assert_int_equal(tell(&pile, &error), 20 * PIECE);
        assert_int_equal(error, 0);
        hash_pile_close(&pile);
    }
    assert_true(told_with_pieces > 10);
}

static void short_and_interrupted_calls_lose_nothing(void **state)
{
    struct hash_pile pile;
    int error;

    (void)state;
    hash_pile_open(&pile, path, PIECE);
    fault_shorten(101);
    assert_int_equal(fill(&pile, 20 * PIECE), 0);
    assert_int_equal(tell(&pile, &error), 20 * PIECE);
    assert_true(fault_disarm());
    assert_int_equal(error, 0);
    assert_false(pile.stays);
    hash_pile_close(&pile);
}

static void a_lack_of_memory_is_told_and_nothing_is_left_behind(void **state)
{
    unsigned told = 0;
    bool struck = true;

    (void)state;
    for (unsigned nth = 1; struck; nth++) {
        struct hash_pile pile;
        int error;
        hash_pile_open(&pile, path, PIECE);
        fault_arm(FAULT_MEMORY, nth);
        error = fill(&pile, 20 * PIECE);
        if (error == 0)
            (void)tell(&pile, &error);
        struck = fault_disarm();
        assert_int_equal(error, struck ? HK_ENOMEM : 0);
        told += struck;
        if (struck && pile.added == 25 * PIECE) { /* what failed was the merge, and that can be begun again */
            assert_int_equal(tell(&pile, &error), 20 * PIECE);
            assert_int_equal(error, 0);
        }
        hash_pile_close(&pile);
    }
    assert_true(told > 10);
}

static void a_file_that_cannot_be_read_is_told(void **state)
{
    struct hash_pile pile;
    bool struck = true;
    unsigned told = 0;
    int error;

    (void)state;
    hash_pile_open(&pile, path, 2048); /* so long that a run is read in two */
    assert_int_equal(fill(&pile, 10000), 0);
    for (unsigned nth = 1; struck; nth++) {
        fault_arm(FAULT_READ, nth);
        size_t count = tell(&pile, &error);
        struck = fault_disarm();
        assert_int_equal(error, struck ? HK_EIO : 0);
        assert_true(struck || count == 10000);
        told += struck;
    }
    assert_true(told > 10);
    assert_int_equal(ftruncate(pile.fd, 100000), 0);
    (void)tell(&pile, &error);
    assert_int_equal(error, HK_EIO);
    hash_pile_close(&pile);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_their_number_all_come_in_order),
        cmocka_unit_test(where_no_file_can_be_made_it_is_done_in_memory),
        cmocka_unit_test(a_disk_that_takes_no_more_costs_memory_only),
        cmocka_unit_test(short_and_interrupted_calls_lose_nothing),
        cmocka_unit_test(a_lack_of_memory_is_told_and_nothing_is_left_behind),
        cmocka_unit_test(a_file_that_cannot_be_read_is_told),
    };

    return cmocka_run_group_tests(tests, start, end);
}
