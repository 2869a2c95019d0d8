/* ring.c - the ring of ring.h. Each end keeps to its own fields; the fences of the sleep flag are said where they are. */
#include <string.h>

#include "hikyaku/fault.h"
#include "hikyaku/ring.h"

size_t ring_bytes(uint32_t slots)
{
    return sizeof(struct ring) + (size_t)slots * sizeof(struct desc);
}

void ring_init(struct ring *ring, uint32_t slots)
{
    HK_BUG_ON(slots == 0 || (slots & (slots - 1)) != 0);
    memset(ring, 0, ring_bytes(slots));
    ring->slots = slots;
    ring->layout = RING_LAYOUT;
    ring->magic = RING_MAGIC;
}

bool ring_is_valid(const struct ring *ring, uint32_t slots)
{
    return ring->magic == RING_MAGIC && ring->layout == RING_LAYOUT && ring->slots == slots;
}

bool ring_push(struct ring *ring, const struct desc *desc)
{
    uint64_t put = atomic_load_explicit(&ring->put, memory_order_relaxed);
    uint64_t got = atomic_load_explicit(&ring->got, memory_order_acquire);

    if (put - got >= ring->slots)
        return false;
    ring->slot[put & (ring->slots - 1)] = *desc;
    fault_at(RING_PUSH_BEFORE);
    atomic_store_explicit(&ring->put, put + 1, memory_order_release);
    fault_at(RING_PUSH_AFTER);
    return true;
}

bool ring_wants_wake(struct ring *ring)
{
    /* Pairs with ring_sleep: either we see its flag or it sees our put. */
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&ring->asleep, memory_order_relaxed) != 0 &&
           atomic_exchange_explicit(&ring->asleep, 0, memory_order_relaxed) != 0;
}

const struct desc *ring_peek(const struct ring *ring)
{
    uint64_t got = atomic_load_explicit(&ring->got, memory_order_relaxed);
    uint64_t put = atomic_load_explicit(&ring->put, memory_order_acquire);

    return got == put ? NULL : &ring->slot[got & (ring->slots - 1)];
}

void ring_next(struct ring *ring)
{
    uint64_t got = atomic_load_explicit(&ring->got, memory_order_relaxed);

    fault_at(RING_NEXT_BEFORE);
    atomic_store_explicit(&ring->got, got + 1, memory_order_release);
    fault_at(RING_NEXT_AFTER);
}

bool ring_sleep(struct ring *ring)
{
    atomic_store_explicit(&ring->asleep, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (ring_peek(ring) == NULL)
        return true;
    atomic_store_explicit(&ring->asleep, 0, memory_order_relaxed);
    return false;
}

void ring_awake(struct ring *ring)
{
    atomic_store_explicit(&ring->asleep, 0, memory_order_relaxed);
}
