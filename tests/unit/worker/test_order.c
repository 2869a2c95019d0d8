/* test_order.c - the order in which a connection tries addresses: preference stays, equals are shared fairly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>

#include "order.h"

#define DRAWS 8000

static uint32_t seed = 1;

static uint32_t draw_any(uint32_t bound)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % bound;
}

/* "mx:rank:number ..." */
static size_t make(struct dest_address *to, const char *text)
{
    size_t count = 0;
    memset(to, 0, DEST_ADDRESSES_MAX * sizeof *to);
    for (; *text != '\0'; text += strcspn(text, " "), text += *text == ' ') {
        unsigned mx, rank, number;
        assert_int_equal(sscanf(text, "%u:%u:%u", &mx, &rank, &number), 3);
        to[count].mx = (uint8_t)mx;
        to[count].rank = (uint8_t)rank;
        to[count++].ip[3] = (uint8_t)number;
    }
    return count;
}

/* RFC 5321 5.1: "the sender-SMTP MUST randomize them", every time anew. */
static void equals_are_drawn_for_each_connection_and_ranks_stay(void **state)
{
    struct dest_address address[DEST_ADDRESSES_MAX];
    unsigned first[3] = {0};
    (void)state;
    for (unsigned i = 0; i < DRAWS; i++) {
        size_t count = make(address, "0:0:1 1:0:2 2:1:3 2:1:4 0:2:5");
        unsigned seen = 0;
        order_draw(address, count, draw_any);
        assert_in_range(address[0].ip[3], 1, 2);
        assert_in_range(address[1].ip[3], 1, 2);
        assert_in_range(address[2].ip[3], 3, 4);
        assert_int_equal(address[4].ip[3], 5);
        for (size_t a = 0; a < count; a++)
            seen |= 1u << address[a].ip[3];
        assert_int_equal(seen, 0x3e); /* each of the five once */
        first[address[0].mx]++;
    }
    assert_in_range(first[0], DRAWS * 45 / 100, DRAWS * 55 / 100);
}

static void a_host_with_many_addresses_is_not_drawn_more_often(void **state)
{
    struct dest_address address[DEST_ADDRESSES_MAX];
    unsigned first_host = 0, first_number[6] = {0};
    (void)state;
    for (unsigned i = 0; i < DRAWS; i++) {
        size_t count = make(address, "0:0:1 1:0:2 0:0:3 0:0:4 0:0:5");
        order_draw(address, count, draw_any);
        assert_int_not_equal(address[0].mx, address[1].mx); /* the second try is another host's */
        first_host += address[0].mx == 1;
        first_number[address[0].ip[3]]++;
    }
    assert_in_range(first_host, DRAWS * 45 / 100, DRAWS * 55 / 100);
    for (unsigned n = 1; n < 6; n++)
        if (n != 2)
            assert_in_range(first_number[n], DRAWS * 10 / 100, DRAWS * 15 / 100);
}

static void one_address_or_none_needs_no_chance(void **state)
{
    struct dest_address address[DEST_ADDRESSES_MAX];
    (void)state;
    order_draw(address, 0, NULL);
    order_draw(address, make(address, "0:0:1 1:1:2"), NULL);
    assert_int_equal(address[0].ip[3], 1);
}

static void a_source_keeps_the_addresses_of_its_family_in_their_order(void **state)
{
    static const struct {
        int family;
        const char *families, *kept; /* "4" or "6" for each address; the numbers of those that stay */
    } rows[] = {
        {AF_INET, "464", "02"},  {AF_INET6, "464", "1"}, {AF_UNSPEC, "464", "02"},
        {AF_UNSPEC, "66", "01"}, {AF_INET, "66", ""},    {AF_INET6, "", ""},
    };
    struct dest_address address[DEST_ADDRESSES_MAX] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t count = strlen(rows[i].families);
        for (size_t k = 0; k < count; k++)
            address[k] = (struct dest_address){.family = rows[i].families[k] == '4' ? AF_INET : AF_INET6,
                                               .mx = (uint8_t)k};
        assert_int_equal(order_of_family(address, count, rows[i].family), strlen(rows[i].kept));
        for (size_t k = 0; rows[i].kept[k] != '\0'; k++)
            assert_int_equal(address[k].mx, rows[i].kept[k] - '0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_are_drawn_for_each_connection_and_ranks_stay),
        cmocka_unit_test(a_host_with_many_addresses_is_not_drawn_more_often),
        cmocka_unit_test(one_address_or_none_needs_no_chance),
        cmocka_unit_test(a_source_keeps_the_addresses_of_its_family_in_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
