/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A log-linear histogram: 16 buckets for each power of two, so a value is known to 6.25 %. Fixed size, no allocation,
 * about ten instructions an insertion. Not locked: one writer, or the owner's lock.
 */
#ifndef RINGD_HISTOGRAM_H
#define RINGD_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 4u
#define HISTOGRAM_SUB      (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_OCTAVES  44u /* up to 2^48 units; larger values count in the last bucket */
#define HISTOGRAM_BUCKETS  ((HISTOGRAM_OCTAVES + 1) * HISTOGRAM_SUB)

struct histogram {
    uint64_t count, sum, min, max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *h);
/* The bucket of a value. */
static inline unsigned histogram_bucket(uint64_t value)
{
    if (value < HISTOGRAM_SUB)
        return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    unsigned bucket = (shift + 1) * HISTOGRAM_SUB + ((unsigned)(value >> shift) & (HISTOGRAM_SUB - 1));
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* Adds `weight` samples of `value`. Inline: it is on the path of every posted write. */
static inline void histogram_add(struct histogram *h, uint64_t value, uint32_t weight)
{
    h->count += weight;
    h->sum += value * weight;
    if (__builtin_expect(value < h->min, 0))
        h->min = value;
    if (__builtin_expect(value > h->max, 0))
        h->max = value;
    h->buckets[histogram_bucket(value)] += weight;
}

/* Adds all samples of `from`. */
void histogram_merge(struct histogram *h, const struct histogram *from);
/* The upper edge of the bucket that holds the sample of rank `fraction` (0 to 1), never above max; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *h, double fraction);
/* The largest value of a bucket. */
uint64_t histogram_edge(unsigned bucket);

#endif
