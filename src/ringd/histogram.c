/* SPDX-License-Identifier: BSD-2-Clause */
#include "ringd/histogram.h"

#include <string.h>

void histogram_init(struct histogram *h)
{
    memset(h, 0, sizeof(*h));
    h->min = UINT64_MAX;
}

uint64_t histogram_edge(unsigned bucket)
{
    if (bucket < HISTOGRAM_SUB)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_SUB - 1;
    return ((uint64_t)(HISTOGRAM_SUB + bucket % HISTOGRAM_SUB + 1) << shift) - 1;
}

void histogram_merge(struct histogram *h, const struct histogram *from)
{
    h->count += from->count;
    h->sum += from->sum;
    h->min = from->min < h->min ? from->min : h->min;
    h->max = from->max > h->max ? from->max : h->max;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        h->buckets[i] += from->buckets[i];
}

uint64_t histogram_quantile(const struct histogram *h, double fraction)
{
    if (!h->count)
        return 0;
    double rank = fraction * (double)h->count;
    uint64_t below = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        below += h->buckets[i];
        if (h->buckets[i] && (double)below >= rank) {
            uint64_t edge = histogram_edge(i);
            return i == HISTOGRAM_BUCKETS - 1 || edge > h->max ? h->max : edge;
        }
    }
    return h->max;
}
