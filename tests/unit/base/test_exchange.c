/* test_exchange.c - questions and answers in a packet: as they were behind it, and refused when another process gives
 * broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/resolve.h"

#define BROKEN 20000

static uint8_t packet[RESOLVE_PACKET_MAX];
static uint8_t *bytes; /* of a full answer: pack_full() */
static size_t length;

static struct resolve_answer small(void)
{
    struct resolve_answer answer = {.id = 7, .host_count = 1, .address_count = 1, .ttl_s = 300, .secure = 1};

    answer.host[0].preference = 10;
    snprintf(answer.host[0].name, sizeof answer.host[0].name, "mx.x.test");
    answer.address[0].family = 2;
    memcpy(answer.address[0].ip, "\x7f\0\0\1", 4);
    return answer;
}

/* Everything that an answer can hold, to its last octet. */
static struct resolve_answer full(void)
{
    struct resolve_answer answer;

    memset(&answer, 'x', sizeof answer);
    answer.host_count = RESOLVE_HOSTS_MAX;
    answer.address_count = RESOLVE_ADDRESSES_MAX;
    for (unsigned i = 0; i < RESOLVE_HOSTS_MAX; i++)
        answer.host[i].name[DOMAIN_MAX] = '\0';
    answer.words[sizeof answer.words - 1] = '\0';
    answer.rua[RESOLVE_RUA_SIZE - 1] = '\0';
    answer.sts_policy[RESOLVE_POLICY_SIZE - 1] = '\0';
    return answer;
}

/* Packed into memory of just that size, so that a sanitizer sees a read beyond it. */
static void pack(const struct resolve_answer *answer)
{
    length = resolve_pack_answer(answer, packet, sizeof packet);
    assert_true(length > 0);
    bytes = hk_xcalloc(1, length);
    memcpy(bytes, packet, length);
}

static int pack_full(void **state)
{
    struct resolve_answer answer = full();

    (void)state;
    pack(&answer);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    free(bytes);
    bytes = NULL;
    return 0;
}

static void a_question_comes_out_as_it_went_in(void **state)
{
    struct resolve_question in = {.id = 5, .mx = 1, .ipv6 = 1, .tlsa_port = 25}, out;

    (void)state;
    memset(in.name, 'x', DOMAIN_MAX);
    memset(&out, 0, sizeof out);
    length = resolve_pack_question(&in, packet, sizeof packet);
    assert_int_equal(resolve_unpack_question(packet, length, &out), length);
    assert_memory_equal(&in, &out, offsetof(struct resolve_question, name));
    assert_string_equal(in.name, out.name);
    assert_int_equal(resolve_pack_question(&in, packet, length - 1), 0);
    for (size_t less = 0; less < length; less++)
        assert_int_equal(resolve_unpack_question(packet, less, &out), 0);
}

static void a_name_without_an_end_is_no_question(void **state)
{
    struct resolve_question in = {.name = "x.test"}, out;

    (void)state;
    size_t front = resolve_pack_question(&in, packet, sizeof packet) - sizeof "x.test";
    memset(packet + front, 'x', sizeof packet - front);
    assert_int_equal(resolve_unpack_question(packet, sizeof packet, &out), 0);
}

static void an_answer_comes_out_as_it_went_in(void **state)
{
    static const struct {
        uint8_t words, dane;
    } kind[] = {{0, 0}, {1, 0}, {0, 1}, {1, 1}};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct resolve_answer in = full(), out;

        in.has_words = kind[i].words;
        in.has_dane = kind[i].dane;
        pack(&in);
        memset(&out, 0, sizeof out);
        assert_int_equal(resolve_unpack_answer(bytes, length, &out), length);
        assert_memory_equal(&in, &out, offsetof(struct resolve_answer, host));
        for (unsigned h = 0; h < RESOLVE_HOSTS_MAX; h++)
            assert_memory_equal(&in.host[h], &out.host[h],
                                offsetof(struct resolve_host, name) + DOMAIN_MAX + 1);
        assert_string_equal(in.words, out.words);
        assert_string_equal(out.rua, in.has_words ? in.rua : "");
        assert_string_equal(out.sts_policy, in.has_words ? in.sts_policy : "");
        if (in.has_dane)
            assert_memory_equal(&in.dane, &out.dane, sizeof in.dane);
        assert_int_equal(resolve_pack_answer(&in, packet, length - 1), 0);
        (void)drop(state);
    }
}

static void an_answer_is_as_long_as_what_is_in_it(void **state)
{
    struct resolve_answer answer = small();

    (void)state;
    assert_in_range(resolve_pack_answer(&answer, packet, sizeof packet), 1, 64);
}

static void a_packet_holds_several_one_behind_another(void **state)
{
    struct resolve_answer in = small(), out = {0};
    size_t used = 0, at = 0, count = 0;

    (void)state;
    for (size_t more; (more = resolve_pack_answer(&in, packet + used, sizeof packet - used)) > 0;
         used += more)
        in.id++;
    for (size_t took; at < used; at += took, count++) {
        took = resolve_unpack_answer(packet + at, used - at, &out);
        assert_true(took > 0);
        assert_int_equal(out.id, 7 + count);
    }
    assert_int_equal(out.id, in.id - 1);
    assert_true(count > 100);
}

static void an_answer_that_is_cut_is_none(void **state)
{
    struct resolve_answer out;

    (void)state;
    for (size_t less = 0; less < length; less++) {
        uint8_t *exact = hk_xcalloc(1, less + 1);
        memcpy(exact + 1, bytes, less);
        assert_int_equal(resolve_unpack_answer(exact + 1, less, &out), 0);
        free(exact);
    }
}

static void counts_beyond_what_an_answer_holds_are_refused(void **state)
{
    struct resolve_answer out;

    (void)state;
    bytes[offsetof(struct resolve_answer, host_count)] = RESOLVE_HOSTS_MAX + 1;
    assert_int_equal(resolve_unpack_answer(bytes, length, &out), 0);
    bytes[offsetof(struct resolve_answer, host_count)] = RESOLVE_HOSTS_MAX;
    bytes[offsetof(struct resolve_answer, address_count)] = 255;
    assert_int_equal(resolve_unpack_answer(bytes, length, &out), 0);
}

/* Whatever octets are changed: what is read has an end behind each text. */
static void what_is_read_of_a_broken_answer_is_within_bounds(void **state)
{
    struct resolve_answer out;

    (void)state;
    srand(1);
    for (unsigned i = 0; i < BROKEN; i++) {
        if (i % 50 == 0)
            memcpy(bytes, packet, length);
        bytes[(size_t)rand() % length] = (uint8_t)(rand() % 3 == 0 ? 0 : rand());
        if (resolve_unpack_answer(bytes, length, &out) == 0)
            continue;
        assert_true(out.host_count <= RESOLVE_HOSTS_MAX && out.address_count <= RESOLVE_ADDRESSES_MAX);
        for (unsigned h = 0; h < out.host_count; h++)
            assert_non_null(memchr(out.host[h].name, '\0', sizeof out.host[h].name));
        assert_non_null(memchr(out.words, '\0', sizeof out.words));
        assert_non_null(memchr(out.rua, '\0', sizeof out.rua));
        assert_non_null(memchr(out.sts_policy, '\0', sizeof out.sts_policy));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_comes_out_as_it_went_in),
        cmocka_unit_test(a_name_without_an_end_is_no_question),
        cmocka_unit_test(an_answer_comes_out_as_it_went_in),
        cmocka_unit_test(an_answer_is_as_long_as_what_is_in_it),
        cmocka_unit_test(a_packet_holds_several_one_behind_another),
        cmocka_unit_test_setup_teardown(an_answer_that_is_cut_is_none, pack_full, drop),
        cmocka_unit_test_setup_teardown(counts_beyond_what_an_answer_holds_are_refused, pack_full, drop),
        cmocka_unit_test_setup_teardown(what_is_read_of_a_broken_answer_is_within_bounds, pack_full, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
