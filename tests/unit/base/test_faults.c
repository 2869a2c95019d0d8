/* test_faults.c - a call of base/ finds no memory, no room or a broken disk, or reads and writes come short: words and
 * the old file, or the same bytes.
 *
 * The configuration's own memory comes from hk_xcalloc() and its like, which abort by design (base.h): faults.h lets
 * them be. What is left to fail is the file it is read from. libConfuse's allocations are its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "faults.h"
#include "hikyaku/config.h"

#define LONG_BYTES 300000u /* several times what hk_read_file() begins with */

static char directory[] = "/tmp/hikyaku-base-XXXXXX";
static char path[64];
static char text[LONG_BYTES + 1];

static int make_directory(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/file", directory);
    for (size_t i = 0; i < LONG_BYTES; i++)
        text[i] = (char)('a' + i * i % 23);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory); /* fails when a temporary file was left */
}

static void put(const char *bytes, size_t length)
{
    struct hk_why why = {""};

    if (hk_write_file(path, 0600, bytes, length, &why) != 0)
        fail_msg("%s", why.text);
}

static unsigned files_in_directory(void)
{
    unsigned count = 0;
    DIR *d = opendir(directory);

    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(d);
    return count;
}

static void assert_holds(const char *bytes, size_t length)
{
    struct hk_why why = {""};
    char *got = NULL;
    size_t got_length = 0;

    if (hk_read_file(path, LONG_BYTES, &got, &got_length, &why) != 0)
        fail_msg("%s", why.text);
    assert_int_equal(got_length, length);
    assert_memory_equal(got, bytes, length + 1); /* with its NUL */
    free(got);
}

/* Every call of these kinds fails once. Returns how many there were. */
static unsigned read_with_every(unsigned kinds, int expected)
{
    bool struck = true;
    unsigned nth = 0;

    while (struck) {
        struct hk_why why = {""};
        char *got = NULL;
        size_t length = 0;
        fault_arm(kinds, ++nth);
        int rc = hk_read_file(path, LONG_BYTES, &got, &length, &why);
        struck = fault_disarm();
        assert_int_equal(rc, struck ? expected : 0);
        assert_true(struck ? strstr(why.text, path) != NULL && got == NULL : length == LONG_BYTES);
        free(got);
    }
    return nth - 1;
}

static void a_file_that_cannot_be_read_is_told_with_its_reason(void **state)
{
    struct hk_why why = {""};
    char *got = NULL;
    size_t length = 0;

    (void)state;
    put(text, LONG_BYTES);
    assert_int_equal(read_with_every(FAULT_OPEN, HK_EIO), 1);
    assert_true(read_with_every(FAULT_READ, HK_EIO) > 4);
    assert_int_equal(read_with_every(FAULT_MEMORY, HK_ENOMEM), 4); /* 64, 128, 256, 512 KiB */
    fault_arm(FAULT_READ, 2);
    assert_int_equal(hk_read_file(path, LONG_BYTES, &got, &length, &why), HK_EIO);
    assert_true(fault_disarm());
    assert_non_null(strstr(why.text, strerror(EIO)));
}

/* --config <(command): the shell's command has written nothing yet when the file is opened, or only half. */
static void a_pipe_is_read_to_the_end_of_its_writer(void **state)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    struct hk_why why = {""};
    char name[32], *got = NULL;
    size_t length = 0;
    int end[2], status;
    pid_t writer;

    (void)state;
    assert_int_equal(pipe(end), 0);
    writer = fork();
    assert_true(writer >= 0);
    if (writer == 0) {
        nanosleep(&pause, NULL);
        if (write(end[1], "late ", 5) != 5)
            _exit(1);
        nanosleep(&pause, NULL);
        _exit(write(end[1], "words", 5) == 5 ? 0 : 1);
    }
    close(end[1]);
    snprintf(name, sizeof name, "/dev/fd/%d", end[0]);
    if (hk_read_file(name, LONG_BYTES, &got, &length, &why) != 0)
        fail_msg("%s", why.text);
    assert_string_equal(got, "late words");
    assert_int_equal(length, 10);
    free(got);
    close(end[0]);
    assert_int_equal(waitpid(writer, &status, 0), writer);
    assert_int_equal(status, 0);
}

static void short_and_interrupted_reads_give_the_whole_file(void **state)
{
    char whole[HK_SHA256_HEX], in_pieces[HK_SHA256_HEX];
    struct hk_why why = {""};

    (void)state;
    put(text, LONG_BYTES);
    fault_shorten(1021);
    assert_holds(text, LONG_BYTES);
    assert_int_equal(hk_sha256_file(path, in_pieces, &why), 0);
    assert_true(fault_disarm());
    hk_sha256_hex(text, LONG_BYTES, whole);
    assert_string_equal(in_pieces, whole);
}

static void a_digest_of_a_file_that_breaks_off_is_none(void **state)
{
    char digest[HK_SHA256_HEX];
    bool struck = true;
    unsigned nth = 0;

    (void)state;
    put(text, LONG_BYTES);
    while (struck) {
        struct hk_why why = {""};
        fault_arm(FAULT_OPEN | FAULT_READ, ++nth);
        int rc = hk_sha256_file(path, digest, &why);
        struck = fault_disarm();
        assert_int_equal(rc, struck ? HK_EIO : 0);
        assert_int_equal(strstr(why.text, path) != NULL, struck);
    }
    assert_true(nth > 6);
}

/* Write over the old file while the nth call fails: the old one whole, or the new one, and nothing beside it. */
static bool write_over(unsigned nth, unsigned *kept)
{
    static const char old[] = "what stood there";
    struct hk_why why = {""};

    put(old, sizeof old - 1);
    fault_arm(FAULT_OPEN | FAULT_WRITE | FAULT_FILE, nth);
    int rc = hk_write_file(path, 0600, text, LONG_BYTES, &why);
    bool struck = fault_disarm();
    assert_int_equal(rc, struck ? HK_EIO : 0);
    assert_int_equal(strstr(why.text, path) != NULL, struck);
    assert_int_equal(files_in_directory(), 1);
    char *got = NULL;
    size_t length = 0;
    assert_int_equal(hk_read_file(path, LONG_BYTES, &got, &length, &why), 0);
    if (length == LONG_BYTES) {
        assert_memory_equal(got, text, length);
    } else {
        assert_true(struck);
        assert_string_equal(got, old);
        ++*kept;
    }
    free(got);
    return struck;
}

static void a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_beside_it(void **state)
{
    struct hk_why why = {""};
    unsigned nth = 1, kept = 0;

    (void)state;
    while (write_over(nth, &kept))
        nth++;
    assert_int_equal(nth - 1, 6); /* open, write, fsync, rename, and the directory opened and fsynced */
    assert_int_equal(kept, 4);
    fault_arm(FAULT_WRITE, 1);
    assert_int_equal(hk_write_file(path, 0600, "x", 1, &why), HK_EIO);
    assert_true(fault_disarm());
    assert_non_null(strstr(why.text, strerror(ENOSPC)));
}

static void short_and_interrupted_writes_write_the_whole_file(void **state)
{
    (void)state;
    fault_shorten(997);
    put(text, LONG_BYTES);
    assert_true(fault_disarm());
    assert_holds(text, LONG_BYTES);
}

static void a_log_line_is_whole_through_short_writes_and_lost_without_harm(void **state)
{
    char line[256] = "";
    int pair[2], stderr_now = dup(STDERR_FILENO);

    (void)state;
    assert_int_equal(pipe2(pair, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(dup2(pair[1], STDERR_FILENO), STDERR_FILENO);
    fault_shorten(3);
    log_warning("a line of some length, for a person");
    bool cut = fault_disarm();
    fault_arm(FAULT_WRITE, 1);
    log_warning("nobody hears this");
    bool failed = fault_disarm();
    dup2(stderr_now, STDERR_FILENO);
    close(stderr_now);
    assert_true(cut && failed);
    assert_true(read(pair[0], line, sizeof line - 1) > 0);
    assert_non_null(strstr(line, "a line of some length, for a person\n"));
    assert_null(strstr(line, "nobody"));
    close(pair[0]);
    close(pair[1]);
}

/* ---- the configuration ---- */

#define SETTINGS                                                                                        \
    "hostname = \"me.test\"\nsender { from_domain = \"example.test\" return_path = \"b.example.test\" " \
    "secret_file = \"verp.key\" }\nroute \"x.test\" { relay = \"relay.test:2525\" }\n"

static void put_configuration(void)
{
    static char padded[sizeof SETTINGS + 100000];

    memset(padded, '#', sizeof padded); /* a comment, so that it takes more than one piece of memory */
    memcpy(padded, SETTINGS, sizeof SETTINGS - 1);
    put(padded, sizeof padded);
}

static char *printed(const struct config *config)
{
    char *out = NULL;
    size_t size;
    FILE *f = open_memstream(&out, &size);

    assert_non_null(f);
    config_print(config, f);
    assert_int_equal(fclose(f), 0);
    return out;
}

static unsigned load_with_every(unsigned kinds, const char *part)
{
    bool struck = true;
    unsigned nth = 0;
    char begin[128];

    snprintf(begin, sizeof begin, "%s: the configuration cannot be read: ", path);
    while (struck) {
        struct config *config = (struct config *)1;
        struct hk_why why = {""};
        fault_arm(kinds, ++nth);
        int rc = config_load(path, &config, &why);
        struck = fault_disarm();
        if (rc != (struck ? HK_EINVAL : 0))
            fail_msg("%d: %s", rc, why.text);
        if (struck) {
            assert_null(config);
            assert_int_equal(strncmp(why.text, begin, strlen(begin)), 0);
            assert_non_null(strstr(why.text, part));
        }
        config_free(config);
    }
    return nth - 1;
}

static void a_configuration_that_cannot_be_read_is_none(void **state)
{
    (void)state;
    put_configuration();
    assert_int_equal(load_with_every(FAULT_OPEN, strerror(EMFILE)), 1);
    assert_true(load_with_every(FAULT_READ, strerror(EIO)) >= 2);
    assert_int_equal(load_with_every(FAULT_MEMORY, "out of memory"), 2);
}

static void a_configuration_read_in_pieces_is_the_same(void **state)
{
    struct config *whole, *pieces;
    struct hk_why why = {""};

    (void)state;
    put_configuration();
    assert_int_equal(config_load(path, &whole, &why), 0);
    fault_shorten(7);
    assert_int_equal(config_load(path, &pieces, &why), 0);
    assert_true(fault_disarm());
    char *a = printed(whole), *b = printed(pieces);
    assert_string_equal(a, b);
    free(a);
    free(b);
    config_free(whole);
    config_free(pieces);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_cannot_be_read_is_told_with_its_reason),
        cmocka_unit_test(a_pipe_is_read_to_the_end_of_its_writer),
        cmocka_unit_test(short_and_interrupted_reads_give_the_whole_file),
        cmocka_unit_test(a_digest_of_a_file_that_breaks_off_is_none),
        cmocka_unit_test(a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_beside_it),
        cmocka_unit_test(short_and_interrupted_writes_write_the_whole_file),
        cmocka_unit_test(a_log_line_is_whole_through_short_writes_and_lost_without_harm),
        cmocka_unit_test(a_configuration_that_cannot_be_read_is_none),
        cmocka_unit_test(a_configuration_read_in_pieces_is_the_same),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
