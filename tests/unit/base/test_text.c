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

static void a_time_that_was_written_is_read_again(void **state)
{
    static const uint64_t times[] = {0, 1, 999999, 1795510800123456u, 4294967295000000u, 99999999999000000u};
    static const char *const none[] = {"",
                                       "2026-11-24",
                                       "2026-11-24T09:00:00Z",
                                       "1969-12-31T23:59:59.999999Z",
                                       "2026-11-24T09:00:00.12345",
                                       "yesterday"};
    char text[CLOCK_RFC3339_SIZE];
    uint64_t read;

    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        clock_rfc3339(times[i], text);
        assert_true(clock_rfc3339_parse(text, &read));
        assert_int_equal(read, times[i]);
    }
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_false(clock_rfc3339_parse(none[i], &read));
}

static void a_time_reads_as_rfc3339(void **state)
{
    char out[CLOCK_RFC3339_SIZE];

    (void)state;
    clock_rfc3339(1795510800123456u, out);
    assert_string_equal(out, "2026-11-24T09:00:00.123456Z");
}

static void times_one_after_another_are_each_their_own(void **state)
{
    static const struct {
        uint64_t us;
        const char *text;
    } times[] = {{1795510800000000u, "2026-11-24T09:00:00.000000Z"},
                 {1795510800999999u, "2026-11-24T09:00:00.999999Z"},
                 {1795510801000010u, "2026-11-24T09:00:01.000010Z"},
                 {1795510800000007u, "2026-11-24T09:00:00.000007Z"},
                 {0u, "1970-01-01T00:00:00.000000Z"}};
    char out[CLOCK_RFC3339_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        clock_rfc3339(times[i].us, out);
        assert_string_equal(out, times[i].text);
    }
}

static void texts_and_numbers_are_put_as_far_as_there_is_room(void **state)
{
    static const uint64_t number[] = {0, 7, 10, 4294967296u, UINT64_MAX};
    char out[24], expected[24];

    (void)state;
    for (size_t i = 0; i < sizeof number / sizeof number[0]; i++) {
        for (size_t size = 1; size <= sizeof out; size++) {
            char *end = out;

            memset(out, 'x', sizeof out);
            end = hk_put(end, out + size, "a:");
            end = hk_put_number(end, out + size, number[i]);
            (void)snprintf(expected, size, "a:%llu", (unsigned long long)number[i]);
            assert_string_equal(out, expected);
            assert_ptr_equal(end, out + strlen(out));
            assert_true(size == sizeof out || out[size] == 'x');
        }
    }
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
        cmocka_unit_test(a_time_that_was_written_is_read_again),
        cmocka_unit_test(times_one_after_another_are_each_their_own),
        cmocka_unit_test(texts_and_numbers_are_put_as_far_as_there_is_room),
        cmocka_unit_test(a_file_written_is_read_back_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
