/* test_faults.c - the n-th allocation, write or read fails, or comes short: the same segment, or words and nothing left.
 *
 * The calls of our code are wrapped by the linker. The list is read in an encoding, has rejected rows and is sorted on
 * disk, so that every part of the import is on the way.
 */
#include "tools.h"

#include <errno.h>

#include "import.h"

enum fault { FAULT_NONE, FAULT_MEMORY, FAULT_WRITE, FAULT_READ, FAULT_SHORT };

static enum fault fault;
static unsigned calls_left; /* until the one that fails */
static bool failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strndup(const char *text, size_t length);
char *__real_strdup(const char *text);
ssize_t __real_write(int fd, const void *bytes, size_t length);
ssize_t __real_read(int fd, void *bytes, size_t length);
ssize_t __real_pread(int fd, void *bytes, size_t length, off_t at);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strndup(const char *text, size_t length);
char *__wrap_strdup(const char *text);
ssize_t __wrap_write(int fd, const void *bytes, size_t length);
ssize_t __wrap_read(int fd, void *bytes, size_t length);
ssize_t __wrap_pread(int fd, void *bytes, size_t length, off_t at);

static bool this_one_fails(enum fault kind)
{
    if (fault != kind || calls_left == 0 || --calls_left > 0)
        return false;
    failed = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return this_one_fails(FAULT_MEMORY) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return this_one_fails(FAULT_MEMORY) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return this_one_fails(FAULT_MEMORY) ? NULL : __real_realloc(old, size);
}

char *__wrap_strndup(const char *text, size_t length)
{
    return this_one_fails(FAULT_MEMORY) ? NULL : __real_strndup(text, length);
}

char *__wrap_strdup(const char *text)
{
    return this_one_fails(FAULT_MEMORY) ? NULL : __real_strdup(text);
}

/* A third of the calls comes back interrupted, the others take at most `most` bytes. */
static bool comes_short(size_t *length, size_t most)
{
    static unsigned calls;

    if (fault != FAULT_SHORT)
        return false;
    *length = *length < most ? *length : most;
    errno = EINTR;
    return ++calls % 3 == 0;
}

ssize_t __wrap_write(int fd, const void *bytes, size_t length)
{
    if (this_one_fails(FAULT_WRITE)) {
        errno = ENOSPC;
        return -1;
    }
    return comes_short(&length, 4097) ? -1 : __real_write(fd, bytes, length);
}

ssize_t __wrap_read(int fd, void *bytes, size_t length)
{
    if (this_one_fails(FAULT_READ)) {
        errno = EIO;
        return -1;
    }
    return comes_short(&length, 13) ? -1 : __real_read(fd, bytes, length);
}

ssize_t __wrap_pread(int fd, void *bytes, size_t length, off_t at)
{
    if (this_one_fails(FAULT_READ)) {
        errno = EIO;
        return -1;
    }
    return comes_short(&length, 1001) ? -1 : __real_pread(fd, bytes, length, at);
}

/* ---- the list ---- */

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

static int import_once(struct place *p, enum fault kind, unsigned nth)
{
    static const struct import_limits limits = {IMPORT_ROWS_MAX, 60000};
    int rc;

    failed = false;
    calls_left = nth;
    fault = kind;
    rc = import_run(&p->options, &limits, &p->result, &p->why);
    fault = FAULT_NONE;
    return rc;
}

/* Every call of a kind fails once, each in an import of its own. */
static void try_all(struct place *p, enum fault kind, int expected)
{
    struct import_result whole;
    unsigned nth = 0;

    write_list(p);
    assert_int_equal(import_once(p, FAULT_NONE, 0), 0);
    whole = p->result;
    do {
        unlink(p->segment);
        unlink(p->rejected);
        int rc = import_once(p, kind, ++nth);
        assert_int_not_equal(access(p->segment_tmp, F_OK), 0);
        assert_int_not_equal(access(p->rejected_tmp, F_OK), 0);
        if (rc == 0) {
            assert_memory_equal(&p->result, &whole, sizeof whole);
            continue;
        }
        assert_true(failed);
        assert_int_equal(rc, expected);
        assert_true(strlen(p->why.text) > 10);
        assert_int_not_equal(access(p->segment, F_OK), 0);
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

static void short_and_interrupted_reads_and_writes_change_nothing(void **state)
{
    struct import_result whole;
    struct place *p = *state;
    struct segment *s;

    write_list(p);
    assert_int_equal(import_once(p, FAULT_NONE, 0), 0);
    whole = p->result;
    assert_int_equal(import_once(p, FAULT_SHORT, 0), 0);
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
        place_test(short_and_interrupted_reads_and_writes_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
