/* load_histogram.c - see load_histogram.h. */
#include "load_histogram.h"

#include <string.h>

#define VALUE_MAX ((UINT64_C(1) << HISTOGRAM_MAX_BITS) - 1)

void load_histogram_clear(struct load_histogram *h)
{
    memset(h, 0, sizeof *h);
}

static size_t bucket_of(uint64_t us)
{
    unsigned shift;

    if (us < HISTOGRAM_SUBS)
        return (size_t)us;
    if (us > VALUE_MAX)
        us = VALUE_MAX;
    shift = 63 - (unsigned)__builtin_clzll(us) - HISTOGRAM_SUB_BITS;
    /* us >> shift lies in [SUBS, 2 * SUBS): its upper bit says which power of two, the others which part. */
    return (size_t)shift * HISTOGRAM_SUBS + (size_t)(us >> shift);
}

uint64_t load_histogram_bucket_end(size_t bucket)
{
    size_t shift;

    if (bucket < HISTOGRAM_SUBS)
        return bucket;
    shift = bucket / HISTOGRAM_SUBS - 1;
    return ((uint64_t)(bucket - shift * HISTOGRAM_SUBS + 1) << shift) - 1;
}

void load_histogram_add(struct load_histogram *h, uint64_t us)
{
    if (h->count == 0 || us < h->min_us)
        h->min_us = us;
    if (us > h->max_us)
        h->max_us = us;
    h->count++;
    h->sum_us += us;
    h->over += us > VALUE_MAX;
    h->bucket[bucket_of(us)]++;
}

uint64_t load_histogram_percentile(const struct load_histogram *h, unsigned permyriad)
{
    /* How many values lie at or below it: rounded up, at least one, without overflow. */
    uint64_t rank = h->count / 10000 * permyriad + (h->count % 10000 * permyriad + 9999) / 10000;
    uint64_t seen = 0;

    if (h->count == 0)
        return 0;
    if (rank == 0)
        return h->min_us;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen >= rank) {
            uint64_t end = load_histogram_bucket_end(i);

            /* The last bucket has no end: what lies there may be any size. */
            return end < h->max_us && i < HISTOGRAM_BUCKETS - 1 ? end : h->max_us;
        }
    }
    return h->max_us;
}

bool load_histogram_can_tell(const struct load_histogram *h, unsigned permyriad)
{
    return permyriad < 10000 && h->count >= 10000 / (10000 - permyriad);
}
