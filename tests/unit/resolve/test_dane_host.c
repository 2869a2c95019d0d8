/* test_dane_host.c - which TLSA records are looked up, and what they make of a host (RFC 7672 2.1, 2.2; RFC 6698 2.1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "message.h"
#include "question.h"

#define HOST  "mx1.x.test"
#define OTHER "mx2.x.test"
#define REAL  "real.y.test"

static struct message message;
static struct question question;

static uint32_t draw_last(uint32_t bound)
{
    return bound - 1;
}

static int clear(void **state)
{
    (void)state;
    question_end(&question);
    return 0;
}

static void begin(bool mx, bool ipv6)
{
    struct resolve_question asked = {.mx = mx, .ipv6 = ipv6, .tlsa_port = 25};

    snprintf(asked.name, sizeof asked.name, "%s", mx ? "x.test" : HOST);
    assert_false(question_begin(&question, &asked, NULL));
}

static uint32_t lookups(struct question_lookup *out)
{
    return question_lookups(&question, out);
}

/* `message` is the answer to the look-up of this type and name, which has to be among those of this round. */
static void take(enum packet_type type, const char *name, bool secure)
{
    struct question_lookup out[QUESTION_LOOKUPS_MAX];
    uint32_t count = lookups(out);

    for (uint32_t i = 0; i < count; i++) {
        if (out[i].type != type || strcmp(out[i].name, name) != 0)
            continue;
        question_take(&question, &out[i], message.bytes, message.length, secure, draw_last);
        return;
    }
    fail_msg("nobody asks for type %d of %s", (int)type, name);
}

static void take_failure(enum packet_type type, const char *name)
{
    struct question_lookup out[QUESTION_LOOKUPS_MAX];
    uint32_t count = lookups(out);

    for (uint32_t i = 0; i < count; i++)
        if (out[i].type == type && strcmp(out[i].name, name) == 0)
            question_take_failure(&question, &out[i], "SERVFAIL");
}

static void take_none(enum packet_type type, const char *name, bool secure)
{
    message_begin(&message, 3);
    message_soa(&message, 900, 900);
    take(type, name, secure);
}

static void take_address(const char *name, const char *owner, bool secure)
{
    message_begin(&message, 0);
    message_record_of(&message, owner, PACKET_A, 900);
    message_u32(&message, 0x7f000001);
    message_record_end(&message);
    take(PACKET_A, name, secure);
}

static void take_tlsa(const char *name, unsigned usage, unsigned matching, size_t length, bool secure)
{
    message_begin(&message, 0);
    message_tlsa(&message, 500, usage, 1, matching, length);
    take(PACKET_TLSA, name, secure);
}

static void go_on(void)
{
    assert_false(question_step(&question, draw_last));
}

static void end(void)
{
    assert_true(question_step(&question, draw_last));
    assert_int_equal(question.answer.status, RESOLVE_OK);
}

static void take_mx(bool secure)
{
    message_begin(&message, 0);
    message_mx(&message, 900, 10, HOST);
    take(PACKET_MX, "x.test", secure);
    go_on();
}

/* MX and address are known and vouched for. */
static void begin_secure(void)
{
    begin(true, false);
    take_mx(true);
    take_address(HOST, HOST, true);
    go_on();
}

static enum dane_state state_of(unsigned host)
{
    return (enum dane_state)question.answer.host[host].dane;
}

static void a_host_that_is_secure_all_the_way_is_asked_for(void **state)
{
    struct question_lookup out[QUESTION_LOOKUPS_MAX];

    (void)state;
    begin_secure();
    assert_int_equal(lookups(out), 1);
    take_tlsa("_25._tcp." HOST, DANE_EE, DANE_SHA256, 32, true);
    end();
    assert_int_equal(state_of(0), DANE_USABLE);
    assert_true(question.answer.has_dane);
    assert_int_equal(question.answer.ttl_s, 500);
    assert_int_equal(question.answer.dane.record_count, 1);
    assert_int_equal(question.answer.dane.record[0].selector, 1);
    assert_int_equal(question.answer.dane.bytes[31], 0xd5);
    assert_null(dane_base(&question.answer.dane, 0));
}

/* RFC 7672 2.2.1, 2.2.2 */
static void where_mx_or_address_is_not_secure_nobody_asks(void **state)
{
    (void)state;
    for (unsigned insecure = 0; insecure < 2; insecure++) {
        begin(true, false);
        take_mx(insecure != 0);
        take_address(HOST, HOST, insecure != 1);
        end();
        assert_int_equal(state_of(0), DANE_NONE);
        assert_false(question.answer.has_dane);
        clear(state);
    }
}

static void without_a_port_nobody_asks(void **state)
{
    struct resolve_question asked = {.name = HOST};

    (void)state;
    assert_false(question_begin(&question, &asked, NULL));
    take_address(HOST, HOST, true);
    end();
    assert_false(question.answer.has_dane);
}

/* RFC 7672 2.2.3: a relay that the operator names needs no MX. */
static void a_relay_has_records_as_well(void **state)
{
    (void)state;
    begin(false, false);
    take_address(HOST, HOST, true);
    go_on();
    take_tlsa("_25._tcp." HOST, DANE_TA, DANE_SHA512, 64, true);
    end();
    assert_int_equal(state_of(0), DANE_USABLE);
}

static void records_that_are_missing_or_not_vouched_for_are_none(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 2; how++) {
        begin_secure();
        if (how == 0)
            take_none(PACKET_TLSA, "_25._tcp." HOST, true);
        else
            take_tlsa("_25._tcp." HOST, DANE_EE, DANE_SHA256, 32, false);
        end();
        assert_int_equal(state_of(0), DANE_NONE);
        assert_false(question.answer.has_dane);
        assert_int_equal(question.answer.dane.record_count, 0);
        clear(state);
    }
}

/* RFC 7672 2.1.2: else whoever can lose an answer on its way could take DANE away. */
static void a_look_up_that_fails_makes_the_host_unusable(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 4; how++) {
        begin_secure();
        message_begin(&message, how == 1 ? 2 : 0);
        message_tlsa(&message, 500, DANE_EE, 1, DANE_SHA256, 32);
        if (how == 2)
            message.bytes[2] |= 2; /* TC */
        if (how == 3)
            message.length -= 1;
        if (how == 0)
            take_failure(PACKET_TLSA, "_25._tcp." HOST);
        else
            take(PACKET_TLSA, "_25._tcp." HOST, true);
        end();
        assert_int_equal(state_of(0), DANE_FAILED);
        assert_int_equal(question.answer.dane.record_count, 0);
        assert_int_equal(question.answer.ttl_s, QUESTION_TTL_PARTIAL_S);
        assert_non_null(strstr(question.answer.words, "for TLSA of _25._tcp." HOST));
        clear(state);
    }
}

static void time_that_is_up_makes_the_host_unusable(void **state)
{
    (void)state;
    begin(true, false);
    take_mx(true);
    take_address(HOST, HOST, true);
    while (!question_step(&question, draw_last))
        question_give_up(&question, "no answer from DNS within 30 s");
    assert_int_equal(state_of(0), DANE_FAILED);
}

/* RFC 7672 3.1.3 (usages), RFC 6698 2.1 (selector, matching type, lengths) */
static void what_cannot_be_used_is_told_from_what_is_not_there(void **state)
{
    static const struct {
        uint8_t usage, selector, matching;
        uint8_t length;
        enum dane_state want;
    } cases[] = {
        {0, 1, 1, 32, DANE_UNUSABLE},   {1, 1, 1, 32, DANE_UNUSABLE}, {4, 1, 1, 32, DANE_UNUSABLE},
        {255, 1, 1, 32, DANE_UNUSABLE}, {3, 2, 1, 32, DANE_UNUSABLE}, {3, 1, 3, 32, DANE_UNUSABLE},
        {3, 1, 1, 31, DANE_UNUSABLE},   {3, 1, 1, 33, DANE_UNUSABLE}, {3, 1, 2, 32, DANE_UNUSABLE},
        {3, 1, 0, 0, DANE_UNUSABLE},    {3, 0, 1, 32, DANE_USABLE},   {2, 1, 2, 64, DANE_USABLE},
        {2, 0, 0, 90, DANE_USABLE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin_secure();
        message_begin(&message, 0);
        message_tlsa(&message, 500, cases[i].usage, cases[i].selector, cases[i].matching, cases[i].length);
        take(PACKET_TLSA, "_25._tcp." HOST, true);
        end();
        assert_int_equal(state_of(0), cases[i].want);
        assert_int_equal(question.answer.dane.record_count, cases[i].want == DANE_USABLE);
        clear(state);
    }
}

static void one_record_that_can_be_used_is_enough(void **state)
{
    (void)state;
    begin_secure();
    message_begin(&message, 0);
    message_tlsa(&message, 500, 1, 1, 1, 32);
    message_tlsa(&message, 500, 3, 1, 1, 32);
    take(PACKET_TLSA, "_25._tcp." HOST, true);
    end();
    assert_int_equal(state_of(0), DANE_USABLE);
    assert_int_equal(question.answer.dane.record_count, 1);
}

/* To go on without would be to believe less than is published. */
static void a_record_without_room_makes_the_host_fail(void **state)
{
    (void)state;
    begin_secure();
    take_tlsa("_25._tcp." HOST, DANE_EE, DANE_FULL, DANE_BYTES + 1, true);
    end();
    assert_int_equal(state_of(0), DANE_FAILED);
    clear(state);
    begin_secure();
    message_begin(&message, 0);
    for (unsigned i = 0; i < DANE_HOST_RECORDS_MAX + 4; i++)
        message_tlsa(&message, 500, 3, 1, 1, 32);
    take(PACKET_TLSA, "_25._tcp." HOST, true);
    end();
    assert_int_equal(state_of(0), DANE_USABLE);
    assert_int_equal(question.answer.dane.record_count, DANE_HOST_RECORDS_MAX);
}

/* RFC 7672 2.2.2: the end of the CNAMEs is preferred as base domain. */
static void an_alias_is_asked_for_at_its_end_first(void **state)
{
    (void)state;
    begin(true, false);
    take_mx(true);
    take_address(HOST, REAL, true);
    go_on();
    take_tlsa("_25._tcp." REAL, DANE_EE, DANE_SHA256, 32, true);
    end();
    assert_int_equal(state_of(0), DANE_USABLE);
    assert_string_equal(dane_base(&question.answer.dane, 0), REAL);
}

static void an_alias_whose_end_has_none_is_asked_for_itself(void **state)
{
    (void)state;
    begin(true, false);
    take_mx(true);
    take_address(HOST, REAL, true);
    go_on();
    take_none(PACKET_TLSA, "_25._tcp." REAL, true);
    go_on();
    take_tlsa("_25._tcp." HOST, DANE_EE, DANE_SHA256, 32, true);
    end();
    assert_int_equal(state_of(0), DANE_USABLE);
    assert_null(dane_base(&question.answer.dane, 0));
}

static void an_alias_whose_end_cannot_be_asked_is_unusable(void **state)
{
    (void)state;
    begin(true, false);
    take_mx(true);
    take_address(HOST, REAL, true);
    go_on();
    take_failure(PACKET_TLSA, "_25._tcp." REAL);
    end();
    assert_int_equal(state_of(0), DANE_FAILED);
}

/* RFC 7672 2.2.2: a secure CNAME into a zone that is not signed. */
static void an_alias_into_an_unsigned_zone_counts_if_its_own_record_is_secure(void **state)
{
    (void)state;
    for (unsigned secure = 0; secure < 3; secure++) {
        begin(true, false);
        take_mx(true);
        take_address(HOST, REAL, false);
        go_on();
        message_begin(&message, 0);
        message_record_of(&message, HOST, PACKET_CNAME, 900);
        message_name(&message, REAL);
        message_record_end(&message);
        if (secure == 2)
            take_failure(PACKET_CNAME, HOST);
        else
            take(PACKET_CNAME, HOST, secure == 1);
        if (secure == 1) {
            go_on();
            take_tlsa("_25._tcp." HOST, DANE_EE, DANE_SHA256, 32, true);
        }
        end();
        assert_int_equal(state_of(0), secure == 0 ? DANE_NONE : secure == 1 ? DANE_USABLE : DANE_FAILED);
        clear(state);
    }
}

/* Else it would be enough to lose the answer for AAAA to take DANE away. */
static void one_address_family_that_fails_does_not_take_dane_away(void **state)
{
    (void)state;
    begin(true, true);
    take_mx(true);
    take_address(HOST, HOST, true);
    take_failure(PACKET_AAAA, HOST);
    go_on();
    take_tlsa("_25._tcp." HOST, DANE_EE, DANE_SHA256, 32, true);
    end();
    assert_int_equal(state_of(0), DANE_USABLE);
}

static void records_keep_their_host_when_another_has_no_address(void **state)
{
    (void)state;
    begin(true, false);
    message_begin(&message, 0);
    message_mx(&message, 900, 5, HOST);
    message_mx(&message, 900, 10, OTHER);
    message_mx(&message, 900, 20, "mx3.x.test");
    take(PACKET_MX, "x.test", true);
    go_on();
    take_none(PACKET_A, HOST, true);
    take_address(OTHER, OTHER, true);
    take_address("mx3.x.test", REAL, true);
    go_on();
    take_none(PACKET_TLSA, "_25._tcp." OTHER, true);
    take_tlsa("_25._tcp." REAL, DANE_TA, DANE_SHA256, 32, true);
    end();
    assert_int_equal(question.answer.host_count, 2);
    assert_int_equal(state_of(0), DANE_NONE);
    assert_int_equal(state_of(1), DANE_USABLE);
    assert_int_equal(question.answer.dane.record[0].host, 1);
    assert_string_equal(dane_base(&question.answer.dane, 1), REAL);
    assert_true(dane_has_usage(&question.answer.dane, 1, DANE_TA));
}

/* RFC 7672 3.2.2: the third reference identifier. */
static void what_the_domain_is_an_alias_of_is_kept(void **state)
{
    (void)state;
    begin(true, false);
    message_begin(&message, 0);
    message_record_of(&message, "real.test", PACKET_MX, 900);
    message_u16(&message, 10);
    message_name(&message, HOST);
    message_record_end(&message);
    take(PACKET_MX, "x.test", true);
    go_on();
    take_address(HOST, HOST, true);
    go_on();
    take_tlsa("_25._tcp." HOST, DANE_TA, DANE_SHA256, 32, true);
    end();
    assert_string_equal(question.answer.dane.next_hop, "real.test");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_host_that_is_secure_all_the_way_is_asked_for, clear),
        cmocka_unit_test_teardown(where_mx_or_address_is_not_secure_nobody_asks, clear),
        cmocka_unit_test_teardown(without_a_port_nobody_asks, clear),
        cmocka_unit_test_teardown(a_relay_has_records_as_well, clear),
        cmocka_unit_test_teardown(records_that_are_missing_or_not_vouched_for_are_none, clear),
        cmocka_unit_test_teardown(a_look_up_that_fails_makes_the_host_unusable, clear),
        cmocka_unit_test_teardown(time_that_is_up_makes_the_host_unusable, clear),
        cmocka_unit_test_teardown(what_cannot_be_used_is_told_from_what_is_not_there, clear),
        cmocka_unit_test_teardown(one_record_that_can_be_used_is_enough, clear),
        cmocka_unit_test_teardown(a_record_without_room_makes_the_host_fail, clear),
        cmocka_unit_test_teardown(an_alias_is_asked_for_at_its_end_first, clear),
        cmocka_unit_test_teardown(an_alias_whose_end_has_none_is_asked_for_itself, clear),
        cmocka_unit_test_teardown(an_alias_whose_end_cannot_be_asked_is_unusable, clear),
        cmocka_unit_test_teardown(an_alias_into_an_unsigned_zone_counts_if_its_own_record_is_secure, clear),
        cmocka_unit_test_teardown(one_address_family_that_fails_does_not_take_dane_away, clear),
        cmocka_unit_test_teardown(records_keep_their_host_when_another_has_no_address, clear),
        cmocka_unit_test_teardown(what_the_domain_is_an_alias_of_is_kept, clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
