/* test_load_mail.c - sizes, addresses and texts of a load test are what was asked for, or a word says why not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "load_errors.h"
#include "load_mail.h"

static void sizes_are_read(void **state)
{
    static const struct {
        const char *text;
        size_t count;
        uint32_t min, max;
    } good[] = {{"10k", 1, 10240, 10240},       {"1k..100k", 1, 1024, 102400},
                {"777", 1, 777, 777},           {"1k:50,10k:40,100k:10", 3, 1024, 102400},
                {"64m", 1, 67108864, 67108864}, {"1k..2k:0.5,5000", 2, 1024, 5000}};
    static const char *const bad[] = {"",       "k",
                                      "0",      "10kb",
                                      "2k..1k", "1k:",
                                      "1k:0",   "1k:-1",
                                      "1k,",    ",1k",
                                      "65m",    "-5",
                                      "1k..",   "1k...2k",
                                      "1k:50;", "1k:nan",
                                      "1 k",    "1k:1e",
                                      "1k:inf", "99999999999k",
                                      "1k:1:1", "18446744073709551616"};
    struct load_sizes sizes;
    struct hk_why why;
    (void)state;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(load_sizes_parse(good[i].text, &sizes, &why), HK_OK);
        assert_int_equal(sizes.count, good[i].count);
        assert_int_equal(load_sizes_min(&sizes), good[i].min);
        assert_int_equal(load_sizes_max(&sizes), good[i].max);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(load_sizes_parse(bad[i], &sizes, &why), HK_EINVAL);
        assert_non_null(strstr(why.text, "--size"));
    }
    assert_int_equal(load_sizes_parse("1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", &sizes, &why), HK_EINVAL);
}

static void a_mix_has_its_parts(void **state)
{
    enum { MESSAGES = 100000 };
    struct load_sizes sizes;
    struct hk_why why;
    unsigned small = 0, middle = 0, large = 0;
    (void)state;

    assert_int_equal(load_sizes_parse("1k:50,10k:40,100k:10", &sizes, &why), HK_OK);
    for (uint64_t i = 0; i < MESSAGES; i++) {
        size_t size = load_sizes_draw(&sizes, i, 1);

        assert_int_equal(size, load_sizes_draw(&sizes, i, 1));
        small += size == 1024;
        middle += size == 10240;
        large += size == 102400;
    }
    assert_int_equal(small + middle + large, MESSAGES);
    assert_in_range(small, MESSAGES * 49 / 100, MESSAGES * 51 / 100);
    assert_in_range(middle, MESSAGES * 39 / 100, MESSAGES * 41 / 100);
    assert_in_range(large, MESSAGES * 9 / 100, MESSAGES * 11 / 100);
}

static void a_range_reaches_both_its_ends_and_no_further(void **state)
{
    struct load_sizes sizes;
    struct hk_why why;
    unsigned seen[11] = {0};
    (void)state;

    assert_int_equal(load_sizes_parse("1000..1010", &sizes, &why), HK_OK);
    for (uint64_t i = 0; i < 11000; i++) {
        size_t size = load_sizes_draw(&sizes, i, 4);

        assert_in_range(size, 1000, 1010);
        seen[size - 1000]++;
    }
    for (size_t i = 0; i < 11; i++)
        assert_in_range(seen[i], 850, 1150);
}

static void assert_address(const char *pattern, uint64_t modulo, uint64_t number, const char *expected)
{
    struct load_addresses addresses;
    struct hk_why why;
    char out[ADDRESS_MAX + 1];

    assert_int_equal(load_addresses_pattern(pattern, modulo, &addresses, &why), HK_OK);
    *load_address_put(&addresses, number, out) = '\0';
    assert_string_equal(out, expected);
    assert_true(strlen(out) <= addresses.longest);
    load_addresses_free(&addresses);
}

static void patterns_count_up(void **state)
{
    (void)state;
    assert_address("user%d@domain.test", 0, 0, "user0@domain.test");
    assert_address("user%d@domain.test", 0, UINT64_MAX, "user18446744073709551615@domain.test");
    assert_address("u%d@d%d.test", 10, 123, "u3@d3.test");
    assert_address("%d@a.test", 0, 1234567890, "1234567890@a.test");
    assert_address("a%%%d%%d@a.test", 0, 7, "a%7%d@a.test");
    assert_address("one@a.test", 0, 7, "one@a.test");
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "user",
                                      "user%d",
                                      "user%x@a.test",
                                      "user%",
                                      "a@b.test>",
                                      "a@b.test> SIZE=1",
                                      "a@b.test\r\nDATA",
                                      "<a@b.test>",
                                      "a b@c.test",
                                      "@one.test:a@b.test",
                                      "\xc3\xa4@b.test",
                                      "%d%d%d%d%d%d%d%d@a.test",
                                      "a@b..test"};
    char longest[400];
    struct load_addresses addresses;
    struct hk_why why;
    (void)state;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(load_addresses_pattern(bad[i], 0, &addresses, &why), HK_EINVAL);
        assert_non_null(strstr(why.text, "--rcpt"));
        load_addresses_free(&addresses);
    }
    memset(longest, 'a', sizeof longest);
    longest[399] = '\0';
    assert_int_equal(load_addresses_pattern(longest, 0, &addresses, &why), HK_EINVAL);
}

static const char *file_with(const char *text, size_t length)
{
    static char path[64];
    int fd;

    snprintf(path, sizeof path, "/tmp/load-mail-%d", (int)getpid());
    (void)unlink(path);
    assert_int_equal(hk_write_file(path, 0600, text, length, NULL), HK_OK);
    fd = access(path, R_OK);
    assert_int_equal(fd, 0);
    return path;
}

static void a_file_of_addresses_is_used_in_turn(void **state)
{
    static const char text[] = "a@x.test\r\n\nbb@x.test\nccc@x.test";
    struct load_addresses addresses;
    struct hk_why why;
    char out[64];
    (void)state;

    assert_int_equal(load_addresses_file(file_with(text, sizeof text - 1), &addresses, &why), HK_OK);
    assert_int_equal(addresses.lines, 3);
    assert_int_equal(addresses.longest, 10);
    *load_address_put(&addresses, 4, out) = '\0';
    assert_string_equal(out, "bb@x.test");
    load_addresses_free(&addresses);
    assert_int_equal(load_addresses_file(file_with("a@x.test\nb@\n", 12), &addresses, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, ":2: "));
    load_addresses_free(&addresses);
    assert_int_equal(load_addresses_file(file_with("\n\n", 2), &addresses, &why), HK_EINVAL);
    load_addresses_free(&addresses);
    assert_int_equal(load_addresses_file(file_with("a@x.test\0b", 10), &addresses, &why), HK_EINVAL);
    load_addresses_free(&addresses);
    (void)unlink(file_with("", 0));
}

static void a_made_up_body_has_exactly_its_length_and_proper_lines(void **state)
{
    struct load_text text;
    struct hk_why why;
    (void)state;

    assert_int_equal(load_text_make(1000, &text, &why), HK_OK);
    for (size_t length = 3; length <= 1000; length++) {
        char body[1100];
        size_t taken, all;
        const char *end = load_text_end(&text, length, &taken);

        memcpy(body, text.bytes, taken);
        memcpy(body + taken, end, strlen(end) + 1);
        all = taken + strlen(end);
        assert_int_equal(all, length + 3);
        assert_string_equal(body + length - 2, "\r\n.\r\n");
        for (size_t i = 0; i < all; i++) {
            assert_true((body[i] == '\r') == (body[i + 1] == '\n'));
            assert_true(body[i] != '.' || i == length);
        }
    }
    load_text_free(&text);
}

static void a_message_file_goes_out_as_rfc_5321_wants(void **state)
{
    static const char given[] = "Subject: x\n\n.\n..two\r\nplain\n.end";
    static const char wire[] = "Subject: x\r\n\r\n..\r\n...two\r\nplain\r\n..end\r\n";
    struct load_text text;
    struct hk_why why;
    char *large = malloc(1001);
    (void)state;

    assert_int_equal(load_text_file(file_with(given, sizeof given - 1), &text, &why), HK_OK);
    assert_int_equal(text.length, sizeof wire - 1);
    assert_memory_equal(text.bytes, wire, text.length);
    assert_false(text.eight_bit);
    load_text_free(&text);
    assert_int_equal(load_text_file(file_with("Subject: \xc3\xa4\n", 12), &text, &why), HK_OK);
    assert_true(text.eight_bit);
    load_text_free(&text);
    /* every octet doubles */
    assert_int_equal(load_text_file(file_with("\n\n\n\n\n", 5), &text, &why), HK_OK);
    assert_int_equal(text.length, 10);
    load_text_free(&text);
    assert_non_null(large);
    memset(large, 'y', 1001);
    assert_int_equal(load_text_file(file_with(large, 999), &text, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, ":1: "));
    load_text_free(&text);
    assert_int_equal(load_text_file(file_with(large, 998), &text, &why), HK_OK);
    load_text_free(&text);
    assert_int_equal(load_text_file(file_with("a\rb\n", 4), &text, &why), HK_EINVAL);
    load_text_free(&text);
    assert_int_equal(load_text_file(file_with("", 0), &text, &why), HK_EINVAL);
    load_text_free(&text);
    (void)unlink(file_with("", 0));
    free(large);
}

static void errors_of_one_code_are_one_row_and_the_table_is_bounded(void **state)
{
    static struct load_errors errors;
    struct reply r = {.code = 550, .enhanced = {5, 1, 1}, .text = "5.1.1 <a@x> unknown", .length = 19};
    char what[32];
    (void)state;

    load_errors_reply(&errors, "rcpt", &r);
    r.text = "5.1.1 \x1b[2Jevil";
    r.length = strlen(r.text);
    load_errors_reply(&errors, "rcpt", &r);
    assert_int_equal(errors.count, 1);
    assert_int_equal(errors.row[0].count, 2);
    assert_string_equal(errors.row[0].text, "5.1.1 <a@x> unknown");
    load_errors_reply(&errors, "dot", &r);
    assert_int_equal(errors.count, 2);
    assert_null(strchr(errors.row[1].text, '\x1b'));
    r.enhanced[2] = 2;
    load_errors_reply(&errors, "rcpt", &r);
    assert_int_equal(errors.count, 3);
    for (int i = 0; i < 100; i++) {
        snprintf(what, sizeof what, "event %d", i);
        load_errors_event(&errors, "connect", what);
        load_errors_event(&errors, "connect", what);
    }
    assert_int_equal(errors.count, LOAD_ERRORS_MAX);
    assert_int_equal(errors.others, 2 * (100 - (LOAD_ERRORS_MAX - 3)));
    load_errors_sort(&errors);
    for (size_t i = 1; i < errors.count; i++)
        assert_true(errors.row[i - 1].count >= errors.row[i].count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(a_mix_has_its_parts),
        cmocka_unit_test(a_range_reaches_both_its_ends_and_no_further),
        cmocka_unit_test(patterns_count_up),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_file_of_addresses_is_used_in_turn),
        cmocka_unit_test(a_made_up_body_has_exactly_its_length_and_proper_lines),
        cmocka_unit_test(a_message_file_goes_out_as_rfc_5321_wants),
        cmocka_unit_test(errors_of_one_code_are_one_row_and_the_table_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
