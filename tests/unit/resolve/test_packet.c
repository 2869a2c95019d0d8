/* test_packet.c - DNS messages as strangers send them: right ones, cut ones, looping ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "message.h"
#include "packet.h"

static struct message message;

static int read_all(size_t length)
{
    struct packet packet;
    struct packet_record record;
    int rc = packet_open(&packet, message.bytes, length);

    if (rc)
        return rc;
    while ((rc = packet_next(&packet, &record)) == 1)
        ;
    return rc;
}

static void an_mx_record_gives_preference_and_a_lower_case_name(void **state)
{
    struct packet packet;
    struct packet_record record;
    char name[DOMAIN_MAX + 1];
    uint16_t preference;

    (void)state;
    message_begin(&message, 0);
    message_mx(&message, 300, 10, "MX1.Example.TEST");
    assert_int_equal(packet_open(&packet, message.bytes, message.length), 0);
    assert_int_equal(packet_next(&packet, &record), 1);
    assert_int_equal(record.section, PACKET_ANSWER);
    assert_int_equal(record.type, PACKET_MX);
    assert_int_equal(record.ttl_s, 300);
    assert_int_equal(packet_mx(&packet, &record, &preference, name), 0);
    assert_int_equal(preference, 10);
    assert_string_equal(name, "mx1.example.test");
    assert_int_equal(packet_next(&packet, &record), 0);
}

static void a_compressed_name_is_followed_and_ends_behind_its_pointer(void **state)
{
    struct packet packet;
    char name[DOMAIN_MAX + 1];
    size_t start, end;

    (void)state;
    message_begin(&message, 0);
    start = message.length;
    message_bytes(&message, "\x03mx1\xc0\x0c", 6);
    assert_int_equal(packet_open(&packet, message.bytes, message.length), 0);
    assert_int_equal(packet_name(&packet, start, name, &end), 0);
    assert_string_equal(name, "mx1.x.test");
    assert_int_equal(end, start + 6);
}

static void a_pointer_that_does_not_point_back_is_refused(void **state)
{
    struct packet packet;
    char name[DOMAIN_MAX + 1];
    size_t start;

    (void)state;
    message_begin(&message, 0);
    start = message.length;
    message_u16(&message, (unsigned)(0xc000u | start)); /* to itself */
    message_u16(&message, (unsigned)(0xc000u | start)); /* back to that one */
    message_bytes(&message, "\1a", 2);                  /* a label, then back to this label */
    message_u16(&message, (unsigned)(0xc000u | (start + 4)));
    message_u16(&message, (unsigned)(0xc000u | (start + 100)));
    assert_int_equal(packet_open(&packet, message.bytes, message.length), 0);
    assert_int_equal(packet_name(&packet, start, name, NULL), HK_EPROTO);
    assert_int_equal(packet_name(&packet, start + 2, name, NULL), HK_EPROTO);
    assert_int_equal(packet_name(&packet, start + 4, name, NULL), HK_EPROTO);
    assert_int_equal(packet_name(&packet, start + 8, name, NULL), HK_EPROTO);
    assert_int_equal(packet_name(&packet, message.length, name, NULL), HK_EPROTO);
}

static void a_name_of_255_octets_is_read_and_a_longer_one_refused(void **state)
{
    struct packet packet;
    char name[DOMAIN_MAX + 1], label[64];
    size_t start;

    (void)state;
    memset(label, 'a', 63);
    label[63] = '\0';
    for (unsigned last = 61; last <= 62; last++) {
        message_begin(&message, 0);
        start = message.length;
        for (unsigned i = 0; i < 3; i++) {
            message.bytes[message.length++] = 63;
            message_bytes(&message, label, 63);
        }
        message.bytes[message.length++] = (uint8_t)last; /* 3 * 64 + 1 + 61 + the root = 255 */
        message_bytes(&message, label, last);
        message.bytes[message.length++] = 0;
        assert_int_equal(packet_open(&packet, message.bytes, message.length), 0);
        assert_int_equal(packet_name(&packet, start, name, NULL), last == 61 ? 0 : HK_EPROTO);
        if (last == 61)
            assert_int_equal(strlen(name), 253);
    }
}

static void a_dot_or_another_byte_inside_a_label_is_no_host_name(void **state)
{
    static const char unfit[] = {'.', ' ', '/', '\0', '\n', '\x7f', '\xe9', '@', '"'};
    struct packet packet;
    char name[DOMAIN_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof unfit; i++) {
        size_t start;

        message_begin(&message, 0);
        start = message.length;
        message_bytes(&message, "\3a", 2);
        message.bytes[message.length++] = (uint8_t)unfit[i];
        message_bytes(&message, "b\0", 2);
        assert_int_equal(packet_open(&packet, message.bytes, message.length), 0);
        assert_int_equal(packet_name(&packet, start, name, NULL), HK_EINVAL);
        assert_string_equal(name, "a?b");
    }
}

static void the_root_is_an_empty_name(void **state)
{
    struct packet packet;
    char name[DOMAIN_MAX + 1];
    size_t end;

    (void)state;
    message_begin(&message, 0);
    message.bytes[message.length++] = 0;
    assert_int_equal(packet_open(&packet, message.bytes, message.length), 0);
    assert_int_equal(packet_name(&packet, message.length - 1, name, &end), 0);
    assert_string_equal(name, "");
    assert_int_equal(end, message.length);
}

static void a_message_cut_anywhere_is_malformed(void **state)
{
    (void)state;
    message_begin(&message, 0);
    message_mx(&message, 300, 10, "mx1.x.test");
    message_a(&message, 300, 0x7f000001);
    message_soa(&message, 300, 60);
    assert_int_equal(read_all(message.length), 0);
    for (size_t cut = 0; cut < message.length; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1); /* so that a sanitizer sees one byte too far */
        struct packet packet;
        struct packet_record record;
        int rc;

        memcpy(exact, message.bytes, cut);
        rc = packet_open(&packet, exact, cut);
        while (rc == 0 && (rc = packet_next(&packet, &record)) == 1)
            rc = 0;
        assert_int_equal(rc, HK_EPROTO);
        free(exact);
    }
}

static void rdata_of_the_wrong_length_is_malformed(void **state)
{
    static const struct {
        unsigned type, length;
    } wrong[] = {{1, 0}, {1, 3}, {1, 5}, {1, 16}, {28, 4}, {28, 15}, {28, 17}};
    struct packet packet;
    struct packet_record record;
    uint8_t ip[16];

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        message_begin(&message, 0);
        message_record(&message, 0, wrong[i].type, 60);
        message_bytes(&message, "0123456789abcdef0", wrong[i].length);
        message_record_end(&message);
        assert_int_equal(packet_open(&packet, message.bytes, message.length), 0);
        assert_int_equal(packet_next(&packet, &record), 1);
        assert_int_equal(packet_address(&packet, &record, ip), HK_EPROTO);
    }
}

static void an_mx_name_may_not_end_before_or_behind_its_rdata(void **state)
{
    struct packet packet;
    struct packet_record record;
    char name[DOMAIN_MAX + 1];
    uint16_t preference;

    (void)state;
    for (int change = -1; change <= 1; change += 2) {
        message_begin(&message, 0);
        message_mx(&message, 300, 10, "mx1.x.test");
        message.bytes[message.rdata_length_at + 1] =
            (uint8_t)(message.bytes[message.rdata_length_at + 1] + change);
        message.bytes[message.length++] = 0;
        assert_int_equal(packet_open(&packet, message.bytes, message.length), 0);
        assert_int_equal(packet_next(&packet, &record), 1);
        assert_int_equal(packet_mx(&packet, &record, &preference, name), HK_EPROTO);
    }
}

static void records_of_another_class_are_stepped_over(void **state)
{
    struct packet packet;
    struct packet_record record;

    (void)state;
    message_begin(&message, 0);
    message_a(&message, 300, 0x7f000001);
    message.bytes[message.rdata_length_at - 5] = 3; /* CHAOS */
    message_a(&message, 77, 0x7f000002);
    assert_int_equal(packet_open(&packet, message.bytes, message.length), 0);
    assert_int_equal(packet_next(&packet, &record), 1);
    assert_int_equal(record.ttl_s, 77);
    assert_int_equal(packet_next(&packet, &record), 0);
}

static void the_additional_section_is_no_answer(void **state)
{
    struct packet packet;
    struct packet_record record;

    (void)state;
    message_begin(&message, 0);
    message_a(&message, 300, 0x7f000001);
    message.bytes[7] = 0;  /* not an answer */
    message.bytes[11] = 1; /* but additional */
    assert_int_equal(packet_open(&packet, message.bytes, message.length), 0);
    assert_int_equal(packet_next(&packet, &record), 0);
    assert_int_equal(packet_open(&packet, message.bytes, message.length), 0);
    packet.beside = true;
    assert_int_equal(packet_next(&packet, &record), 1);
    assert_int_equal(record.section, PACKET_ADDITIONAL);
    assert_int_equal(packet_next(&packet, &record), 0);
}

static void a_ttl_with_its_top_bit_set_is_zero(void **state)
{
    struct packet packet;
    struct packet_record record;

    (void)state;
    message_begin(&message, 0);
    message_a(&message, 0x80000001u, 0x7f000001);
    assert_int_equal(packet_open(&packet, message.bytes, message.length), 0);
    assert_int_equal(packet_next(&packet, &record), 1);
    assert_int_equal(record.ttl_s, 0);
}

static void names_that_can_be_asked_for_are_told_from_others(void **state)
{
    static const char *const good[] = {"a",       "x.test", "_dmarc.x.test", "xn--eckwd4c7c.test",
                                       "1.2.3.4", "A-b.C"};
    static const char *const bad[] = {"", ".", ".a", "a.", "a..b", "a b", "a/b", "\xe3\x81\x82.test", "*.a"};
    char label[70], name[300];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(packet_name_is_host(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(packet_name_is_host(bad[i]));
    memset(label, 'a', 64);
    label[64] = '\0';
    assert_false(packet_name_is_host(label));
    assert_true(packet_name_is_host(label + 1));
    snprintf(name, sizeof name, "%s.%s.%s.%s", label + 1, label + 1, label + 1, label + 3);
    assert_int_equal(strlen(name), 253);
    assert_true(packet_name_is_host(name));
    snprintf(name, sizeof name, "%s.%s.%s.%s", label + 1, label + 1, label + 1, label + 2);
    assert_false(packet_name_is_host(name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_mx_record_gives_preference_and_a_lower_case_name),
        cmocka_unit_test(a_compressed_name_is_followed_and_ends_behind_its_pointer),
        cmocka_unit_test(a_pointer_that_does_not_point_back_is_refused),
        cmocka_unit_test(a_name_of_255_octets_is_read_and_a_longer_one_refused),
        cmocka_unit_test(a_dot_or_another_byte_inside_a_label_is_no_host_name),
        cmocka_unit_test(the_root_is_an_empty_name),
        cmocka_unit_test(a_message_cut_anywhere_is_malformed),
        cmocka_unit_test(rdata_of_the_wrong_length_is_malformed),
        cmocka_unit_test(an_mx_name_may_not_end_before_or_behind_its_rdata),
        cmocka_unit_test(records_of_another_class_are_stepped_over),
        cmocka_unit_test(the_additional_section_is_no_answer),
        cmocka_unit_test(a_ttl_with_its_top_bit_set_is_zero),
        cmocka_unit_test(names_that_can_be_asked_for_are_told_from_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
