/* load_histogram.h - how often each duration was seen: a log-linear histogram with a bounded error and a fixed size.
 *
 * Values are microseconds. Below 128 each has a bucket of its own; above, each power of two is cut into 128, so the
 * upper end of a bucket, which is what a percentile gives, is at most 1/128 (0.79 %) above the value. From 2^36 us
 * (19 hours) on values share the last bucket and are counted in `over`. count, sum, smallest and largest are exact.
 */
#ifndef BENCH_LOAD_HISTOGRAM_H
#define BENCH_LOAD_HISTOGRAM_H

#include "hikyaku/base.h"

#define HISTOGRAM_SUB_BITS 7u
#define HISTOGRAM_MAX_BITS 36u
#define HISTOGRAM_SUBS     (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_BUCKETS  ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUBS)
/* Of a percentile, upwards. */
#define HISTOGRAM_ERROR (1.0 / HISTOGRAM_SUBS)

struct load_histogram {
    uint64_t count, sum_us, min_us, max_us; /* min and max mean something where count > 0 */
    uint64_t over;
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

void load_histogram_clear(struct load_histogram *h);
void load_histogram_add(struct load_histogram *h, uint64_t us);
/* The smallest bucket end below which at least permyriad/10000 of all values lie, never above the largest value; 0
 * where there are none. permyriad: 5000 is the median, 9999 is p99.99. */
uint64_t load_histogram_percentile(const struct load_histogram *h, unsigned permyriad);
/* Are there enough values that at least one lies above this percentile? p99.99 needs 10,000. */
bool load_histogram_can_tell(const struct load_histogram *h, unsigned permyriad);
/* The largest value that falls into the bucket. */
uint64_t load_histogram_bucket_end(size_t bucket);

#endif
