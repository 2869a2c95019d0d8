/* test_question.c - from DNS messages to the answer that the master gets: every rule, without a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "message.h"
#include "question.h"

static struct message message;
static struct question question;
static char *own_names[] = {(char *)"MTA.me.test", (char *)"mta2.me.test"};
static struct own_address own_address = {AF_INET, {192, 0, 2, 1}};
static const struct own own = {.name = {own_names, 2}, .address = &own_address, .address_count = 1};

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

static bool begin(const char *name, bool mx, bool ipv6)
{
    struct resolve_question asked = {.id = 42, .mx = mx, .ipv6 = ipv6};

    snprintf(asked.name, sizeof asked.name, "%s", name);
    return question_begin(&question, &asked, &own);
}

/* What `message` says is the answer to the n-th look-up of this stage. */
static void take(uint32_t nth, bool secure)
{
    struct question_lookup lookups[QUESTION_LOOKUPS_MAX];

    assert_true(nth < question_lookups(&question, lookups));
    question_take(&question, &lookups[nth], message.bytes, message.length, secure, draw_last);
}

static void take_failure(uint32_t nth, const char *words)
{
    struct question_lookup lookups[QUESTION_LOOKUPS_MAX];

    assert_true(nth < question_lookups(&question, lookups));
    question_take_failure(&question, &lookups[nth], words);
}

static void take_a(uint32_t nth, uint32_t ttl_s, uint32_t ip)
{
    message_begin(&message, 0);
    message_a(&message, ttl_s, ip);
    take(nth, true);
}

static void take_none(uint32_t nth, unsigned rcode, uint32_t minimum_s)
{
    message_begin(&message, rcode);
    message_soa(&message, 86400, minimum_s);
    take(nth, true);
}

/* The question has two MX hosts, mx1 (10) and mx2 (20), TTL 600. */
static void begin_with_two_hosts(bool ipv6)
{
    assert_false(begin("x.test", true, ipv6));
    message_begin(&message, 0);
    message_mx(&message, 600, 20, "mx2.x.test");
    message_mx(&message, 600, 10, "mx1.x.test");
    take(0, true);
    assert_false(question_step(&question, draw_last));
}

static void step_to(enum resolve_status status, uint32_t ttl_s)
{
    assert_true(question_step(&question, draw_last));
    assert_int_equal(question.answer.id, 42);
    assert_int_equal(question.answer.status, status);
    assert_int_equal(question.answer.ttl_s, ttl_s);
    if (status != RESOLVE_OK) {
        assert_int_equal(question.answer.address_count, 0);
        assert_true(question.answer.words[0] != '\0');
    }
}

static void mx_hosts_are_looked_up_and_answered_in_order(void **state)
{
    (void)state;
    begin_with_two_hosts(false);
    take_a(0, 300, 0x7f000001);
    take_a(1, 900, 0x7f000002);
    step_to(RESOLVE_OK, 300);
    assert_int_equal(question.answer.host_count, 2);
    assert_string_equal(question.answer.host[0].name, "mx1.x.test");
    assert_string_equal(question.answer.host[1].name, "mx2.x.test");
    assert_int_equal(question.answer.address[1].ip[3], 2);
    assert_true(question.answer.secure);
}

static void one_answer_without_dnssec_makes_the_whole_insecure(void **state)
{
    (void)state;
    begin_with_two_hosts(false);
    take_a(0, 300, 0x7f000001);
    message_begin(&message, 0);
    message_a(&message, 300, 0x7f000002);
    take(1, false);
    step_to(RESOLVE_OK, 300);
    assert_false(question.answer.secure);
}

static void ttls_are_bounded_at_both_ends(void **state)
{
    static const uint32_t given[] = {0, 29, 31, 86400, 900000}, kept[] = {30, 30, 31, 86400, 86400};

    (void)state;
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
        assert_false(begin("relay.test", false, false));
        take_a(0, given[i], 0x7f000001);
        step_to(RESOLVE_OK, kept[i]);
        question_end(&question);
    }
}

static void a_cname_on_the_way_lowers_the_ttl(void **state)
{
    (void)state;
    assert_false(begin("relay.test", false, false));
    message_begin(&message, 0);
    message_record(&message, 0, 5, 45);
    message_name(&message, "other.test");
    message_record_end(&message);
    message_a(&message, 900, 0x7f000001);
    take(0, true);
    step_to(RESOLVE_OK, 45);
}

/* RFC 7505 */
static void a_null_mx_is_final(void **state)
{
    (void)state;
    assert_false(begin("x.test", true, false));
    message_begin(&message, 0);
    message_mx(&message, 700, 0, "");
    take(0, true);
    step_to(RESOLVE_NULL_MX, 700);
}

static void a_root_among_other_mx_is_skipped(void **state)
{
    struct question_lookup lookups[QUESTION_LOOKUPS_MAX];

    (void)state;
    assert_false(begin("x.test", true, false));
    message_begin(&message, 0);
    message_mx(&message, 700, 0, "");
    message_mx(&message, 700, 5, "mx.x.test");
    take(0, true);
    assert_false(question_step(&question, draw_last));
    assert_int_equal(question_lookups(&question, lookups), 3);
    assert_string_equal(lookups[0].name, "mx.x.test");
    assert_string_equal(lookups[1].name, "_mta-sts.x.test");
    assert_string_equal(lookups[2].name, "_smtp._tls.x.test");
}

/* RFC 5321 5.1 */
static void mx_without_a_usable_name_is_no_reason_for_the_a_fallback(void **state)
{
    (void)state;
    assert_false(begin("x.test", true, false));
    message_begin(&message, 0);
    message_mx(&message, 700, 5, "a b.test");
    take(0, true);
    step_to(RESOLVE_NO_ADDRESS, 700);
    assert_non_null(strstr(question.answer.words, "a?b.test"));
}

/* RFC 5321 5.1: a host of our own among the MX closes the list at its preference. */
static void an_mx_that_is_this_host_takes_those_of_no_better_preference_along(void **state)
{
    struct question_lookup lookups[QUESTION_LOOKUPS_MAX];
    static const uint16_t own_at[] = {0, 1, 2, 3, 4}; /* where in the answer our own record stands */

    (void)state;
    for (size_t i = 0; i < sizeof own_at / sizeof *own_at; i++) {
        assert_false(begin("x.test", true, false));
        message_begin(&message, 0);
        for (uint16_t at = 0; at <= 4; at++) {
            if (at == own_at[i])
                message_mx(&message, 700, 20, "mta.me.TEST");
            if (at == 0)
                message_mx(&message, 700, 20, "same.x.test");
            if (at == 1)
                message_mx(&message, 700, 10, "better.x.test");
            if (at == 2)
                message_mx(&message, 700, 30, "worse.x.test");
            if (at == 3)
                message_mx(&message, 700, 30, "mta2.me.test");
        }
        take(0, true);
        assert_false(question_step(&question, draw_last));
        assert_int_equal(question_lookups(&question, lookups), 1 + 2); /* and two TXT */
        assert_string_equal(lookups[0].name, "better.x.test");
        question_end(&question);
    }
}

/* RFC 5321 5.1: none left, so it cannot be delivered, and the words say what to do. */
static void a_domain_whose_best_mx_is_this_host_is_not_sent_to(void **state)
{
    (void)state;
    assert_false(begin("x.test", true, false));
    message_begin(&message, 0);
    message_mx(&message, 700, 20, "other.x.test");
    message_mx(&message, 700, 20, "mta2.me.test");
    take(0, true);
    step_to(RESOLVE_OWN_HOST, 700);
    assert_non_null(strstr(question.answer.words, "best MX of x.test: write a route"));

    assert_false(begin("mta.me.test", true, false)); /* without MX the name is its own */
    take_none(0, 0, 120);
    step_to(RESOLVE_OWN_HOST, 120);

    assert_false(begin("mta.me.test", false, false)); /* as a relay it was asked for */
    take_a(0, 900, 0x7f000001);
    step_to(RESOLVE_OK, 900);
}

/* RFC 5321 5.1: the same for a host of another name whose address is ours; TLSA records are asked of the others alone. */
static void an_mx_at_an_address_of_ours_is_this_host(void **state)
{
    static const char *const name[] = {"better.x.test", "other.x.test", "same.x.test", "worse.x.test"};
    static const uint16_t preference[] = {10, 20, 20, 30};

    (void)state;
    assert_false(begin("x.test", true, false));
    message_begin(&message, 0);
    for (size_t i = 0; i < 4; i++)
        message_mx(&message, 700, preference[i], name[i]);
    take(0, true);
    assert_false(question_step(&question, draw_last));
    take_a(0, 900, 0x7f000001);
    take_failure(1, "SERVFAIL");
    take_a(2, 900, 0xc0000201);
    take_a(3, 900, 0x7f000002);
    step_to(RESOLVE_OK, QUESTION_TTL_PARTIAL_S);
    assert_int_equal(question.answer.host_count, 1);
    assert_string_equal(question.answer.host[0].name, "better.x.test");
    question_end(&question);

    assert_false(begin("x.test", true, false));
    message_begin(&message, 0);
    message_mx(&message, 700, 10, "other.x.test");
    message_mx(&message, 700, 10, "same.x.test");
    take(0, true);
    assert_false(question_step(&question, draw_last));
    take_failure(0, "SERVFAIL"); /* whatever its address: it is no better than we are */
    take_a(1, 600, 0xc0000201);
    step_to(RESOLVE_OWN_HOST, 600);
    assert_non_null(strstr(question.answer.words, "best MX of x.test: write a route"));
}

/* RFC 5321 5.1: without MX the name itself is the host; a relay is what the operator says. */
static void a_domain_at_an_address_of_ours_is_not_sent_to(void **state)
{
    (void)state;
    assert_false(begin("x.test", true, false));
    take_none(0, 0, 120);
    assert_false(question_step(&question, draw_last));
    take_a(0, 900, 0xc0000201);
    step_to(RESOLVE_OWN_HOST, 120);
    question_end(&question);

    assert_false(begin("x.test", false, false));
    take_a(0, 900, 0xc0000201);
    step_to(RESOLVE_OK, 900);
}

/* RFC 5321 5.1 */
static void without_mx_the_name_itself_is_the_host(void **state)
{
    (void)state;
    assert_false(begin("X.Test", true, false));
    take_none(0, 0, 120);
    assert_false(question_step(&question, draw_last));
    take_a(0, 900, 0x7f000001);
    step_to(RESOLVE_OK, 120); /* the "no MX" holds for 120 s */
    assert_int_equal(question.answer.host_count, 1);
    assert_string_equal(question.answer.host[0].name, "x.test");
}

static void neither_mx_nor_address_is_no_address(void **state)
{
    (void)state;
    assert_false(begin("x.test", true, false));
    take_none(0, 0, 120);
    assert_false(question_step(&question, draw_last));
    take_none(0, 0, 90);
    step_to(RESOLVE_NO_ADDRESS, 90);
}

/* RFC 5321 5.1 */
static void nxdomain_holds_as_long_as_the_soa_says(void **state)
{
    (void)state;
    assert_false(begin("x.test", true, false));
    take_none(0, 3, 77);
    step_to(RESOLVE_NXDOMAIN, 77);
    question_end(&question);
    assert_false(begin("x.test", true, false));
    message_begin(&message, 3);
    take(0, true);
    step_to(RESOLVE_NXDOMAIN, READING_NEGATIVE_TTL_S);
}

static void a_relay_that_does_not_exist_is_nxdomain(void **state)
{
    (void)state;
    assert_false(begin("relay.test", false, false));
    take_none(0, 3, 77);
    step_to(RESOLVE_NXDOMAIN, 77);
}

/* RFC 5321 5.1 */
static void servfail_and_malformed_answers_are_temporary(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 4; how++) {
        assert_false(begin("x.test", true, false));
        message_begin(&message, how == 0 ? 2 : 0);
        message_mx(&message, 300, 10, "mx1.x.test");
        if (how == 1)
            message.length -= 3;
        if (how == 2)
            message.bytes[2] |= 2; /* TC */
        if (how < 3)
            take(0, true);
        else
            take_failure(0, "no answer from DNS within 30 s");
        step_to(RESOLVE_TEMPORARY, QUESTION_TTL_FAILED_S);
        question_end(&question);
    }
    assert_string_equal(question.answer.words, "no answer from DNS within 30 s for MX of x.test");
}

static void a_host_without_address_is_skipped(void **state)
{
    (void)state;
    begin_with_two_hosts(false);
    take_none(0, 3, 50);
    take_a(1, 900, 0x7f000002);
    step_to(RESOLVE_OK, 600);
    assert_int_equal(question.answer.host_count, 1);
    assert_string_equal(question.answer.host[0].name, "mx2.x.test");
    assert_string_equal(question.answer.words, "1 of 2 MX hosts have no address");
}

static void no_host_with_an_address_is_no_address(void **state)
{
    (void)state;
    begin_with_two_hosts(false);
    take_none(0, 3, 50);
    take_none(1, 0, 40);
    step_to(RESOLVE_NO_ADDRESS, 40);
    assert_non_null(strstr(question.answer.words, "mx1.x.test"));
}

static void no_address_and_one_host_that_could_not_be_asked_is_temporary(void **state)
{
    (void)state;
    begin_with_two_hosts(false);
    take_none(0, 3, 50);
    take_failure(1, "SERVFAIL");
    step_to(RESOLVE_TEMPORARY, QUESTION_TTL_FAILED_S);
    assert_string_equal(question.answer.words, "SERVFAIL for A of mx2.x.test");
}

static void a_host_that_could_not_be_asked_shortens_the_life_of_the_rest(void **state)
{
    (void)state;
    begin_with_two_hosts(false);
    take_a(0, 600, 0x7f000001);
    take_failure(1, "SERVFAIL");
    step_to(RESOLVE_OK, QUESTION_TTL_PARTIAL_S);
    assert_int_equal(question.answer.host_count, 1);
    assert_false(question.answer.secure);
}

static void beside_a(const char *owner, uint32_t ttl_s, uint32_t ip)
{
    message_record_at(&message, 2, owner, 1, ttl_s);
    message_u32(&message, ip);
    message_record_end(&message);
}

/* MX at mx1.x.test and mx.other.test, with addresses of both beside them. */
static void begin_with_addresses_beside(bool ipv6, bool secure)
{
    assert_false(begin("x.test", true, ipv6));
    message_begin(&message, 0);
    message_mx(&message, 600, 10, "mx1.x.test");
    message_mx(&message, 600, 20, "mx.other.test");
    beside_a("mx1.x.test", 300, 0x7f000001);
    beside_a("mx.other.test", 400, 0x7f000003);
    beside_a("mx1.x.test", 200, 0x7f000002);
    take(0, secure);
    assert_false(question_step(&question, draw_last));
}

/* RFC 1035 3.3.9 */
static void addresses_beside_the_mx_spare_the_look_up_of_hosts_below_the_domain(void **state)
{
    struct question_lookup lookups[QUESTION_LOOKUPS_MAX];

    (void)state;
    begin_with_addresses_beside(false, false);
    assert_int_equal(question_lookups(&question, lookups), 1 + 2);
    assert_string_equal(lookups[0].name, "mx.other.test");
    message_begin(&message, 0);
    message_a(&message, 500, 0x7f000009);
    take(0, false);
    step_to(RESOLVE_OK, 200);
    assert_int_equal(question.answer.host_count, 2);
    assert_int_equal(question.answer.address_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_not_equal(question.answer.address[i].ip[3], 3);
    assert_string_equal(question.answer.words, "");
}

static void a_domain_may_be_known_from_its_mx_answer_alone(void **state)
{
    struct question_lookup lookups[QUESTION_LOOKUPS_MAX];

    (void)state;
    assert_false(begin("x.test", true, false));
    message_begin(&message, 0);
    message_mx(&message, 600, 10, "x.test");
    beside_a("x.test", 300, 0x7f000001);
    take(0, false);
    assert_false(question_step(&question, draw_last));
    question_without_tls(&question);
    assert_int_equal(question_lookups(&question, lookups), 0);
    step_to(RESOLVE_OK, 300);
    assert_int_equal(question.answer.address_count, 1);
    assert_false(question.answer.secure);
}

/* What is not asked for by its name is not validated; and an IPv6 address may be left out. */
static void addresses_beside_the_mx_do_not_count_where_more_has_to_be_known(void **state)
{
    struct question_lookup lookups[QUESTION_LOOKUPS_MAX];
    struct resolve_question asked = {.id = 42, .mx = 1, .tlsa_port = 25, .name = "x.test"};

    (void)state;
    begin_with_addresses_beside(true, false);
    assert_int_equal(question_lookups(&question, lookups), 4 + 2);
    question_end(&question);
    begin_with_addresses_beside(false, true);
    assert_int_equal(question_lookups(&question, lookups), 2 + 2);
    question_end(&question);
    assert_false(question_begin(&question, &asked, &own));
    message_begin(&message, 0);
    message_mx(&message, 600, 10, "mx1.x.test");
    beside_a("mx1.x.test", 300, 0x7f000001);
    take(0, false);
    assert_false(question_step(&question, draw_last));
    assert_int_equal(question_lookups(&question, lookups), 1 + 2);
}

static void a_damaged_record_beside_the_mx_spares_nothing(void **state)
{
    struct question_lookup lookups[QUESTION_LOOKUPS_MAX];

    (void)state;
    assert_false(begin("x.test", true, false));
    message_begin(&message, 0);
    message_mx(&message, 600, 10, "mx1.x.test");
    beside_a("mx1.x.test", 31, 0x7f000001);
    message_record_at(&message, 2, "mx1.x.test", 1, 300);
    message_bytes(&message, "\1\2\3", 3);
    message_record_end(&message);
    take(0, false);
    assert_false(question_step(&question, draw_last));
    assert_int_equal(question_lookups(&question, lookups), 1 + 2);
    take_a(0, 300, 0x7f000001);
    step_to(RESOLVE_OK, 300);
}

/* A host of our own by its address is found there as well (RFC 5321 5.1). */
static void an_address_of_our_own_beside_the_mx_is_this_host(void **state)
{
    (void)state;
    assert_false(begin("x.test", true, false));
    message_begin(&message, 0);
    message_mx(&message, 600, 10, "mx1.x.test");
    beside_a("mx1.x.test", 300, 0xc0000201);
    take(0, false);
    assert_false(question_step(&question, draw_last));
    step_to(RESOLVE_OWN_HOST, 300);
}

static void without_tls_nothing_is_asked_that_is_about_it(void **state)
{
    struct question_lookup lookups[QUESTION_LOOKUPS_MAX];
    struct resolve_question asked = {.id = 42, .mx = 1, .tlsa_port = 25, .name = "x.test"};

    (void)state;
    assert_false(question_begin(&question, &asked, &own));
    message_begin(&message, 0);
    message_mx(&message, 600, 10, "mx1.x.test");
    take(0, true);
    assert_false(question_step(&question, draw_last));
    question_without_tls(&question);
    assert_int_equal(question_lookups(&question, lookups), 1);
    take_a(0, 300, 0x7f000001);
    step_to(RESOLVE_OK, 300);
    assert_true(question.answer.secure);
}

static void take_txt(uint32_t nth, const char *text)
{
    message_begin(&message, 0);
    message_record(&message, 0, 16, 300);
    message.bytes[message.length++] = (uint8_t)strlen(text);
    message_bytes(&message, text, strlen(text));
    message_record_end(&message);
    take(nth, false);
}

static void what_the_domain_says_of_tls_is_noted(void **state)
{
    (void)state;
    begin_with_two_hosts(false);
    take_txt(2, "v=STSv1; id=7");
    take_txt(3, "v=TLSRPTv1; rua=mailto:r@x.test");
    take_a(0, 300, 0x7f000001);
    take_a(1, 300, 0x7f000002);
    step_to(RESOLVE_OK, 300);
    assert_string_equal(question.sts_id, "7");
    assert_string_equal(question.answer.rua, "mailto:r@x.test");
}

static void no_word_about_tls_holds_mail_back(void **state)
{
    (void)state;
    begin_with_two_hosts(false);
    take_a(0, 300, 0x7f000001);
    take_a(1, 300, 0x7f000002);
    take_failure(2, "SERVFAIL");
    take_failure(3, "SERVFAIL");
    step_to(RESOLVE_OK, 300);
    assert_string_equal(question.answer.words, "");
    assert_string_equal(question.sts_id, "");
    assert_true(question.answer.secure);
}

static void ipv6_is_asked_for_only_when_wanted_and_comes_second(void **state)
{
    struct question_lookup lookups[QUESTION_LOOKUPS_MAX];

    (void)state;
    begin_with_two_hosts(true);
    assert_int_equal(question_lookups(&question, lookups), 4 + 2);
    message_begin(&message, 0);
    message_aaaa(&message, 300, 9);
    take(1, true);
    take_a(0, 300, 0x7f000001);
    take_a(2, 300, 0x7f000002);
    take_none(3, 0, 60);
    step_to(RESOLVE_OK, 300);
    assert_int_equal(question.answer.address_count, 3);
    assert_int_equal(question.answer.address[0].family, AF_INET);
    assert_int_equal(question.answer.address[1].family, AF_INET6);
    assert_int_equal(question.answer.address[1].host, 0);
    assert_int_equal(question.answer.address[2].host, 1);
}

static void a_literal_address_needs_no_look_up(void **state)
{
    (void)state;
    assert_true(begin("127.0.0.1", false, false));
    assert_int_equal(question.answer.status, RESOLVE_OK);
    assert_int_equal(question.answer.address[0].family, AF_INET);
    assert_int_equal(question.answer.address[0].ip[0], 127);
    assert_true(begin("::1", false, false));
    assert_int_equal(question.answer.address[0].family, AF_INET6);
    assert_int_equal(question.answer.address[0].ip[15], 1);
}

static void what_dns_cannot_name_does_not_exist(void **state)
{
    static const char *const names[] = {"", "a..test", "a b.test", "a\n.test"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_true(begin(names[i], true, false));
        assert_int_equal(question.answer.status, RESOLVE_NXDOMAIN);
        assert_null(strchr(question.answer.words, '\n'));
    }
}

static void time_that_is_up_fails_what_was_never_asked(void **state)
{
    (void)state;
    begin_with_two_hosts(true);
    question_give_up(&question, "too late");
    step_to(RESOLVE_TEMPORARY, QUESTION_TTL_FAILED_S);
    assert_string_equal(question.answer.words, "too late for A of mx1.x.test");
}

static void more_records_than_there_is_room_for_are_cut(void **state)
{
    char name[32];

    (void)state;
    assert_false(begin("x.test", true, false));
    message_begin(&message, 0);
    for (unsigned i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "mx%u.x.test", i);
        message_mx(&message, 600, 200 - i, name);
    }
    take(0, true);
    assert_false(question_step(&question, draw_last));
    assert_int_equal(question.host_count, RESOLVE_HOSTS_MAX);
    assert_string_equal(question.host[0].name, "mx199.x.test");
    for (uint32_t h = 0; h < RESOLVE_HOSTS_MAX; h++) {
        message_begin(&message, 0);
        for (unsigned i = 0; i < 100; i++)
            message_a(&message, 600, 0x7f000000u + i);
        take(h, true);
    }
    step_to(RESOLVE_OK, 600);
    assert_int_equal(question.answer.host_count, RESOLVE_HOSTS_MAX);
    assert_int_equal(question.answer.address_count, RESOLVE_ADDRESSES_MAX);
}

#define TEST(name) cmocka_unit_test_teardown(name, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(mx_hosts_are_looked_up_and_answered_in_order),
        TEST(one_answer_without_dnssec_makes_the_whole_insecure),
        TEST(ttls_are_bounded_at_both_ends),
        TEST(a_cname_on_the_way_lowers_the_ttl),
        TEST(a_null_mx_is_final),
        TEST(a_root_among_other_mx_is_skipped),
        TEST(mx_without_a_usable_name_is_no_reason_for_the_a_fallback),
        TEST(an_mx_that_is_this_host_takes_those_of_no_better_preference_along),
        TEST(a_domain_whose_best_mx_is_this_host_is_not_sent_to),
        TEST(an_mx_at_an_address_of_ours_is_this_host),
        TEST(a_domain_at_an_address_of_ours_is_not_sent_to),
        TEST(without_mx_the_name_itself_is_the_host),
        TEST(neither_mx_nor_address_is_no_address),
        TEST(nxdomain_holds_as_long_as_the_soa_says),
        TEST(a_relay_that_does_not_exist_is_nxdomain),
        TEST(servfail_and_malformed_answers_are_temporary),
        TEST(a_host_without_address_is_skipped),
        TEST(no_host_with_an_address_is_no_address),
        TEST(no_address_and_one_host_that_could_not_be_asked_is_temporary),
        TEST(a_host_that_could_not_be_asked_shortens_the_life_of_the_rest),
        TEST(addresses_beside_the_mx_spare_the_look_up_of_hosts_below_the_domain),
        TEST(a_domain_may_be_known_from_its_mx_answer_alone),
        TEST(addresses_beside_the_mx_do_not_count_where_more_has_to_be_known),
        TEST(a_damaged_record_beside_the_mx_spares_nothing),
        TEST(an_address_of_our_own_beside_the_mx_is_this_host),
        TEST(without_tls_nothing_is_asked_that_is_about_it),
        TEST(what_the_domain_says_of_tls_is_noted),
        TEST(no_word_about_tls_holds_mail_back),
        TEST(ipv6_is_asked_for_only_when_wanted_and_comes_second),
        TEST(a_literal_address_needs_no_look_up),
        TEST(what_dns_cannot_name_does_not_exist),
        TEST(time_that_is_up_fails_what_was_never_asked),
        TEST(more_records_than_there_is_room_for_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
