/* order.c - see order.h. */
#include "order.h"

#include <sys/socket.h>

/* Where an address stands among its equals: the first of each host comes before the second of any. */
struct place {
    struct dest_address address;
    uint32_t round, lot;
};

static bool comes_before(const struct place *a, const struct place *b)
{
    return a->round != b->round ? a->round < b->round : a->lot < b->lot;
}

static void addresses_shuffle(struct dest_address *address, size_t count, order_draw_fn draw)
{
    for (size_t left = count; left > 1; left--) {
        uint32_t other = draw((uint32_t)left);
        struct dest_address keep = address[left - 1];
        address[left - 1] = address[other];
        address[other] = keep;
    }
}

/* Which of its host's addresses this is, in their new order. */
static uint32_t round_of(const struct dest_address *address, size_t at)
{
    uint32_t round = 0;
    for (size_t i = 0; i < at; i++)
        round += address[i].mx == address[at].mx;
    return round;
}

static void equals_draw(struct dest_address *address, size_t count, order_draw_fn draw)
{
    struct place place[DEST_ADDRESSES_MAX];
    uint32_t lot[UINT8_MAX + 1];
    size_t placed = 0;

    for (size_t i = 0; i < count; i++)
        lot[address[i].mx] = draw(UINT32_MAX);
    addresses_shuffle(address, count, draw);
    for (size_t i = 0; i < count; i++) {
        struct place next = {address[i], round_of(address, i), lot[address[i].mx]};
        size_t at = placed++;
        for (; at > 0 && comes_before(&next, &place[at - 1]); at--)
            place[at] = place[at - 1];
        place[at] = next;
    }
    for (size_t i = 0; i < count; i++)
        address[i] = place[i].address;
}

size_t order_of_family(struct dest_address *address, size_t count, int family)
{
    size_t kept = 0;

    for (size_t i = 0; family == AF_UNSPEC && i < count; i++)
        if (address[i].family == AF_INET)
            family = AF_INET;
    for (size_t i = 0; i < count; i++)
        if (family == AF_UNSPEC || address[i].family == family)
            address[kept++] = address[i];
    return kept;
}

void order_draw(struct dest_address *address, size_t count, order_draw_fn draw)
{
    HK_BUG_ON(count > DEST_ADDRESSES_MAX);
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && address[to].rank == address[from].rank;)
            to++;
        if (to - from > 1)
            equals_draw(address + from, to - from, draw);
    }
}
