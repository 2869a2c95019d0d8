/* test_faults.c - the n-th allocation, write or read fails, or comes short: the same segment, or words and nothing left.
 *
 * The list is read in an encoding, has rejected rows and is sorted on disk, so that every part of the import is on the
 * way.
 */
#include "tools.h"

#include "faults.h"
#include "import.h"

#define ANY_ERROR 1

static void write_list(struct place *p)
{
    FILE *f = fopen(p->list, "w");

    assert_non_null(f);
    fputs("email,\x96\xbc\n", f);
    for (unsigned i = 0; i < 1500; i++)
        fprintf(f, "u%u@d%u.test,\x93\xfa%u\n%s", i % 1400, i % 37, i, i % 100 == 0 ? "bad,\x93\n" : "");
    assert_int_equal(fclose(f), 0);
    p->options.encoding = "Shift_JIS";
}

static int import_once(struct place *p)
{
    static const struct import_limits limits = {IMPORT_ROWS_MAX, 60000};

    return import_run(&p->options, &limits, &p->result, &p->why);
}

/* An error may leave a segment only where it was the directory that could not be synced behind the rename. */
static void assert_is_whole(const struct place *p, const struct import_result *whole, enum fault_kind kind)
{
    struct segment *segment;
    struct hk_why why = {""};

    assert_int_equal(kind, FAULT_FILE);
    assert_int_equal(segment_open(p->segment, true, &segment, &why), 0);
    assert_string_equal(segment_sha256(segment), whole->segment_sha256);
    segment_close(segment);
}

/* Every call of a kind fails once, each in an import of its own. */
static void try_all(struct place *p, enum fault_kind kind, int expected)
{
    struct import_result whole;
    unsigned nth = 0;
    bool failed;

    write_list(p);
    assert_int_equal(import_once(p), 0);
    whole = p->result;
    do {
        unlink(p->segment);
        unlink(p->rejected);
        fault_arm(kind, ++nth);
        int rc = import_once(p);
        failed = fault_disarm();
        assert_int_not_equal(access(p->segment_tmp, F_OK), 0);
        assert_int_not_equal(access(p->rejected_tmp, F_OK), 0);
        if (rc == 0) {
            assert_memory_equal(&p->result, &whole, sizeof whole);
            continue;
        }
        assert_true(failed);
        assert_true(expected == ANY_ERROR ? rc < 0 : rc == expected);
        assert_true(strlen(p->why.text) > 10);
        if (access(p->segment, F_OK) == 0)
            assert_is_whole(p, &whole, kind);
    } while (failed);
    assert_true(nth > 3);
}

static void without_memory_there_are_words_and_nothing_is_left(void **state)
{
    try_all(*state, FAULT_MEMORY, HK_ENOMEM);
}

static void a_write_that_finds_no_room_is_told_and_nothing_is_left(void **state)
{
    try_all(*state, FAULT_WRITE, HK_EFULL);
}

static void a_read_that_fails_is_told_and_nothing_is_left(void **state)
{
    try_all(*state, FAULT_READ, HK_EIO);
}

static void a_file_that_cannot_be_opened_mapped_or_renamed_is_told_and_nothing_is_left(void **state)
{
    try_all(*state, FAULT_OPEN, ANY_ERROR);
    try_all(*state, FAULT_FILE, ANY_ERROR);
}

static void short_and_interrupted_reads_and_writes_change_nothing(void **state)
{
    struct import_result whole;
    struct place *p = *state;
    struct segment *s;

    write_list(p);
    assert_int_equal(import_once(p), 0);
    whole = p->result;
    fault_shorten(13);
    assert_int_equal(import_once(p), 0);
    assert_true(fault_disarm());
    assert_memory_equal(&p->result, &whole, sizeof whole);
    s = place_open(p);
    segment_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        place_test(without_memory_there_are_words_and_nothing_is_left),
        place_test(a_write_that_finds_no_room_is_told_and_nothing_is_left),
        place_test(a_read_that_fails_is_told_and_nothing_is_left),
        place_test(a_file_that_cannot_be_opened_mapped_or_renamed_is_told_and_nothing_is_left),
        place_test(short_and_interrupted_reads_and_writes_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
