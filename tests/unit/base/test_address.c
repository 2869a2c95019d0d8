/* test_address.c - which addresses and domain names are taken, in which form, and the words for the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/address.h"

#define REPEAT8(s)  s s s s s s s s
#define REPEAT64(s) REPEAT8(REPEAT8(s))

static void assert_reads(const char *text, const char *wire, bool smtputf8, bool legacy)
{
    struct address a;
    struct hk_why why = {""};

    if (address_parse(text, strlen(text), &a, &why) != 0)
        fail_msg("%s: refused: %s", text, why.text);
    assert_string_equal(a.text, wire);
    assert_int_equal(a.length, strlen(wire));
    assert_int_equal(a.text[a.local_length], '@');
    assert_int_equal(a.smtputf8, smtputf8);
    assert_int_equal(a.legacy, legacy);
    assert_int_equal(address_is_legacy(a.text, a.length), legacy);
}

static void assert_refused(const char *text, size_t length, const char *words)
{
    struct address a;
    struct hk_why why = {""};

    if (address_parse(text, length, &a, &why) != HK_EINVAL)
        fail_msg("%s: taken as %s", text, a.text);
    if (strstr(why.text, words) == NULL)
        fail_msg("%s: \"%s\" does not say \"%s\"", text, why.text, words);
}

static void plain_addresses_keep_their_local_part_and_get_a_lower_case_domain(void **state)
{
    (void)state;
    assert_reads("taro@example.test", "taro@example.test", false, false);
    assert_reads("Taro.Yamada+News@EXAMPLE.Co.Test", "Taro.Yamada+News@example.co.test", false, false);
    assert_reads("!#$%&'*+-/=?^_`{|}~@a-b.test", "!#$%&'*+-/=?^_`{|}~@a-b.test", false, false);
    assert_reads("a@1-2.3com.test", "a@1-2.3com.test", false, false);
    assert_reads("a@XN--WGV71A.test", "a@xn--wgv71a.test", false, false);
    assert_reads("a@xn--ls8h.test", "a@xn--ls8h.test", false, false);
    assert_reads(REPEAT64("a") "@x.test", REPEAT64("a") "@x.test", false, false);
}

static void quoted_local_parts_are_valid(void **state)
{
    (void)state;
    assert_reads("\"taro yamada\"@x.test", "\"taro yamada\"@x.test", false, false);
    assert_reads("\"a@b\"@x.test", "\"a@b\"@x.test", false, false);
    assert_reads("\"a..b.\"@x.test", "\"a..b.\"@x.test", false, false);
    assert_reads("\"a\\\"b\\\\\"@x.test", "\"a\\\"b\\\\\"@x.test", false, false);
    assert_reads("\"\\\\\xe9\xa3\x9b\"@x.test", "\"\\\\\xe9\xa3\x9b\"@x.test", true, false);
}

static void legacy_local_parts_are_read_and_marked(void **state)
{
    (void)state;
    assert_reads("a..b@docomo.test", "a..b@docomo.test", false, true);
    assert_reads("ab.@docomo.test", "ab.@docomo.test", false, true);
    assert_reads(".ab@docomo.test", ".ab@docomo.test", false, true);
    assert_reads("a...@docomo.test", "a...@docomo.test", false, true);
}

/* RFC 5890 */
static void international_names_become_a_labels(void **state)
{
    (void)state;
    /* 日本語.test, and with the ideographic full stop and full-width letters that Japanese keyboards give */
    assert_reads("a@\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e.test", "a@xn--wgv71a119e.test", false, false);
    assert_reads("a@\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x80\x82test", "a@xn--wgv71a119e.test", false,
                 false);
    assert_reads("a@\xef\xbd\x98.test", "a@x.test", false, false);
    assert_reads("a@B\xc3\x9c"
                 "cher.test",
                 "a@xn--bcher-kva.test", false, false);
    assert_reads("\xe9\xa3\x9b\xe8\x84\x9a@x.test", "\xe9\xa3\x9b\xe8\x84\x9a@x.test", true, false);
}

/* RFC 5321 4.1.3 */
static void what_is_no_address_is_refused_with_the_reason(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "empty"},
        {"taro", "no @"},
        {"taro yamada", "no @"},
        {"taro\xef\xbc\xa0x.test", "full-width"},
        {"@x.test", "nothing before the @"},
        {"a@", "no domain"},
        {"a@@x.test", "more than one @"},
        {"a@b@x.test", "more than one @"},
        {"a b@x.test", "blank in the local part"},
        {"a@x .test", "blank in the domain"},
        {"a,b@x.test", "',' in the local part"},
        {"a@x_y.test", "'_' in the domain"},
        {"a\r\n@x.test", "control byte 0x0d in the local part"},
        {"a@x.test\r\nRCPT", "control byte 0x0d in the domain"},
        {"a@\xe6\x97\xa5\n.test", "control byte 0x0a in the domain"},
        {"Taro <a@x.test>", "write only the address"},
        {"<a@x.test>", "write only the address"},
        {"\"Taro\" <a@x.test>", "write only the address"},
        {"a@x.test>", "'>' in the domain"},
        {"\"a@x.test", "never ends"},
        {"\"a\\@x.test", "never ends"},
        {"\"a\"b@x.test", "no @ behind"},
        {"\"a\r\"@x.test", "control byte"},
        {"\"\\\xe9\xa3\x9b\"@x.test", "backslash"},
        {"a@localhost", "no dot"},
        {"a@[192.0.2.1]", "brackets"},
        {"a@192.0.2.1", "number"},
        {"a@x..test", "empty label"},
        {"a@.x.test", "empty label"},
        {"a@x.test.", "ends with a dot"},
        {"a@-x.test", "begins with '-'"},
        {"a@x-.test", "ends with '-'"},
        {"a@" REPEAT64("x") ".test", "longer than 63"},
        {REPEAT64("a") "a@x.test", "longer than 64"},
        {"\xe3\x80\x80"
         "a@x.test",
         "full-width blank"},
        {"a\xc2\xa0@x.test", "invisible"},
        {"a\xe2\x80\x8b@x.test", "invisible"},
        {"a\xff@x.test", "not UTF-8"},
        {"a@x\xe3\x81.test", "not UTF-8"},
        {"a@-\xe6\x97\xa5.test", "no valid international name"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i].text, strlen(cases[i].text), cases[i].words);
    assert_refused("a\0b@x.test", 10, "control byte 0x00");
    assert_refused("a@x\0.test", 9, "control byte 0x00");
    assert_refused("a@\xe6\x97\xa5\0.test", 11, "control byte 0x00");
}

static void lengths_are_held_at_their_exact_limit(void **state)
{
    char text[1600];
    int n;

    (void)state;
    /* 64 + '@' + 189 octets of domain = 254, the longest path without its brackets */
    n = snprintf(text, sizeof text, "%.64s@%.63s.%.63s.%.56s.test", REPEAT64("a"), REPEAT64("b"),
                 REPEAT64("c"), REPEAT64("d"));
    assert_int_equal(n, 254);
    assert_reads(text, text, false, false);
    snprintf(text, sizeof text, "%.64s@%.63s.%.63s.%.57s.test", REPEAT64("a"), REPEAT64("b"), REPEAT64("c"),
             REPEAT64("d"));
    assert_refused(text, 255, "longer than 254");
    snprintf(text, sizeof text, "a@%.63s.%.63s.%.63s.%.57s.test", REPEAT64("b"), REPEAT64("c"), REPEAT64("d"),
             REPEAT64("e"));
    assert_refused(text, strlen(text), "longer than 253");
    memset(text, 'a', sizeof text);
    assert_refused(text, sizeof text, "longer than 254");
}

static void every_byte_of_the_whole_range_is_harmless_on_the_wire(void **state)
{
    struct address a;
    struct hk_why why;

    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        char local[] = "a?b@x.test", domain[] = "a@x?y.test", quoted[] = "\"a?b\"@x.test";
        local[1] = domain[3] = quoted[2] = (char)c;
        for (int k = 0; k < 3; k++) {
            const char *text = k == 0 ? local : k == 1 ? domain : quoted;
            size_t length = k == 2 ? sizeof quoted - 1 : sizeof local - 1;
            if (address_parse(text, length, &a, &why) != 0)
                continue;
            assert_null(memchr(a.text, '\r', a.length));
            assert_null(memchr(a.text, '\n', a.length));
            assert_int_equal(strlen(a.text), a.length);
            if (k < 2)
                assert_null(strpbrk(a.text, "<> \t"));
        }
    }
}

/* Made of what a local part and a domain have, and a little of what they must not have. */
static size_t make_text(uint32_t *seed, char *out)
{
    static const char bytes[] = "abAB019.._-+\"< \\,\x80\xc3@@";
    static const char domain[] = "@x.test";
    size_t length;

    *seed = *seed * 1664525u + 1013904223u;
    length = *seed >> 28;
    for (size_t i = 0; i < length; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        out[i] = bytes[(*seed >> 16) % (sizeof bytes - 1)];
    }
    memcpy(out + length, domain, sizeof domain);
    return length + sizeof domain - 1;
}

static void a_plain_local_part_is_one_that_parsing_leaves_as_it_is(void **state)
{
    struct address a;
    uint32_t seed = 1;
    char text[400];
    unsigned plain = 0;

    (void)state;
    for (unsigned i = 0; i < 200000; i++) {
        size_t length = make_text(&seed, text), local = address_plain_local(text, length);
        int rc = address_parse(text, length, &a, NULL);
        bool expected = rc == 0 && !a.legacy && !a.smtputf8 && text[0] != '"';
        if (local > 0 && text[local] == '@' && local + 7 != length)
            continue; /* what is behind the @ is no domain: that is not asked here */
        assert_int_equal(local > 0, expected);
        if (local == 0)
            continue;
        assert_int_equal(local, a.local_length);
        assert_int_equal(length, a.length);
        assert_memory_equal(text, a.text, length);
        plain++;
    }
    assert_true(plain > 1000);
}

static void a_plain_local_part_has_the_limits_of_an_address(void **state)
{
    char text[400];

    (void)state;
    memset(text, 'a', sizeof text);
    text[ADDRESS_LOCAL_MAX] = '@';
    assert_int_equal(address_plain_local(text, 254), ADDRESS_LOCAL_MAX);
    assert_int_equal(address_plain_local(text, 255), 0);
    assert_int_equal(address_plain_local(text, ADDRESS_LOCAL_MAX), 0);
    text[ADDRESS_LOCAL_MAX] = 'a';
    text[ADDRESS_LOCAL_MAX + 1] = '@';
    assert_int_equal(address_plain_local(text, 100), 0);
    assert_int_equal(address_plain_local("", 0), 0);
    assert_int_equal(address_plain_local("@x.test", 7), 0);
}

static void domains_are_made_ascii_and_lose_their_trailing_dot(void **state)
{
    char out[DOMAIN_MAX + 1];
    struct hk_why why;

    (void)state;
    assert_int_equal(domain_to_ascii("Example.TEST.", 13, out, &why), 0);
    assert_string_equal(out, "example.test");
    assert_int_equal(domain_to_ascii("localhost", 9, out, NULL), 0);
    assert_string_equal(out, "localhost");
    assert_int_equal(domain_to_ascii(".", 1, out, &why), HK_EINVAL);
    assert_int_equal(domain_to_ascii("", 0, out, &why), HK_EINVAL);
    assert_int_equal(domain_to_ascii("a..b", 4, out, NULL), HK_EINVAL);
}

static void a_pattern_with_a_star_matches_names_below_only(void **state)
{
    (void)state;
    assert_true(domain_matches("docomo.ne.jp", "DOCOMO.ne.jp"));
    assert_false(domain_matches("docomo.ne.jp", "mx.docomo.ne.jp"));
    assert_true(domain_matches("*.docomo.ne.jp", "mx.Docomo.ne.jp"));
    assert_true(domain_matches("*.docomo.ne.jp", "a.b.docomo.ne.jp"));
    assert_false(domain_matches("*.docomo.ne.jp", "docomo.ne.jp"));
    assert_false(domain_matches("*.docomo.ne.jp", ".docomo.ne.jp"));
    assert_false(domain_matches("*.docomo.ne.jp", "notdocomo.ne.jp"));
    assert_false(domain_matches("*.docomo.ne.jp", ""));
}

static void utf8_is_told_from_what_is_not(void **state)
{
    static const char *const good[] = {"",
                                       "a",
                                       "\xc2\x80",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "1234567-\xe3\x81\x82-2345678"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "12345678\xe3\x81",
                                      "1234567\x93\xfa\x96\x7b"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(utf8_is_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(utf8_is_valid(bad[i], strlen(bad[i])));
    assert_int_equal(utf8_ascii_length("123456789\xe3\x81\x82", 12), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_addresses_keep_their_local_part_and_get_a_lower_case_domain),
        cmocka_unit_test(quoted_local_parts_are_valid),
        cmocka_unit_test(legacy_local_parts_are_read_and_marked),
        cmocka_unit_test(international_names_become_a_labels),
        cmocka_unit_test(what_is_no_address_is_refused_with_the_reason),
        cmocka_unit_test(lengths_are_held_at_their_exact_limit),
        cmocka_unit_test(every_byte_of_the_whole_range_is_harmless_on_the_wire),
        cmocka_unit_test(a_plain_local_part_is_one_that_parsing_leaves_as_it_is),
        cmocka_unit_test(a_plain_local_part_has_the_limits_of_an_address),
        cmocka_unit_test(domains_are_made_ascii_and_lose_their_trailing_dot),
        cmocka_unit_test(a_pattern_with_a_star_matches_names_below_only),
        cmocka_unit_test(utf8_is_told_from_what_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
