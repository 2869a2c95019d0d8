/* The small tools of base/: text made safe, files whole, times readable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hikyaku/base.h"

static void control_bytes_and_bad_utf8_become_question_marks(void **state)
{
    char out[64];

    (void)state;
    assert_int_equal(hk_clean_text(out, sizeof out, "a\x1b[31m\r\nb\xff\xc3\xa9\xc2\x85", 13), 13);
    assert_string_equal(out, "a?[31m??b?\xc3\xa9?");
}

static void a_utf8_sequence_is_never_split(void **state)
{
    char out[4];

    (void)state;
    assert_int_equal(hk_clean_text(out, sizeof out, "ab\xe3\x81\x82", 5), 2);
    assert_string_equal(out, "ab");
}

static void a_reason_is_one_line(void **state)
{
    struct hk_why why;

    (void)state;
    assert_int_equal(why_set(&why, HK_EINVAL, "%s:%d: no\nway", "f.conf", 3), HK_EINVAL);
    assert_string_equal(why.text, "f.conf:3: no way");
}

static void a_time_reads_as_rfc3339(void **state)
{
    char out[CLOCK_RFC3339_SIZE];

    (void)state;
    clock_rfc3339(1795510800123456u, out);
    assert_string_equal(out, "2026-11-24T09:00:00.123456Z");
}

static void a_file_written_is_read_back_whole(void **state)
{
    char path[] = "/tmp/hikyaku-test-XXXXXX";
    char sum[HK_SHA256_HEX], *text = NULL;
    struct hk_why why;
    size_t length = 0;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(hk_write_file(path, 0600, "abc", 3, &why), 0);
    assert_int_equal(hk_read_file(path, 3, &text, &length, &why), 0);
    assert_int_equal(length, 3);
    assert_string_equal(text, "abc");
    free(text);
    assert_int_equal(hk_sha256_file(path, sum, &why), 0);
    assert_string_equal(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(hk_read_file(path, 2, &text, &length, &why), HK_ETOOBIG);
    unlink(path);
    assert_int_equal(hk_read_file(path, 2, &text, &length, &why), HK_ENOENT);
    assert_int_equal(hk_read_file("/tmp", 2, &text, &length, &why), HK_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_bytes_and_bad_utf8_become_question_marks),
        cmocka_unit_test(a_utf8_sequence_is_never_split),
        cmocka_unit_test(a_reason_is_one_line),
        cmocka_unit_test(a_time_reads_as_rfc3339),
        cmocka_unit_test(a_file_written_is_read_back_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
