/* SPDX-License-Identifier: BSD-2-Clause */
/* Figures, put into nanoseconds as they are asked for. */
#include <errno.h>
#include <string.h>

#include "ringd/internal.h"

static uint64_t to_ns(uint64_t cycles, double rate)
{
    return (uint64_t)((double)cycles * rate);
}

static void summarize(const struct histogram *h, double rate, struct ringd_histogram_summary *out)
{
    memset(out, 0, sizeof(*out));
    if (!h->count)
        return;
    out->count = h->count;
    out->min = to_ns(h->min, rate);
    out->avg = to_ns(h->sum / h->count, rate);
    out->p50 = to_ns(histogram_quantile(h, 0.5), rate);
    out->p99 = to_ns(histogram_quantile(h, 0.99), rate);
    out->p999 = to_ns(histogram_quantile(h, 0.999), rate);
    out->max = to_ns(h->max, rate);
}

/* The latency of all writes that a ring has carried: of its devices' posted regions. No lock held. */
static void merge_latency(const struct ring *ring, struct histogram *out)
{
    const struct ringd *rd = ring->rd;
    histogram_init(out);
    for (unsigned i = 0; i < rd->device_count; i++) {
        struct ringd_dev *dev = rd->devices[i];
        if (dev->ring != ring)
            continue;
        lock_take(&dev->lock);
        for (unsigned j = 0; j < dev->ops->region_count; j++)
            if (dev->regions[j].posted)
                histogram_merge(out, &dev->regions[j].posted->latency);
        lock_leave(&dev->lock);
    }
}

unsigned ringd_ring_count(struct ringd *rd)
{
    return rd->ring_count;
}

int ringd_ring_stats(struct ringd *rd, unsigned index, struct ringd_ring_stats *out)
{
    if (index >= rd->ring_count)
        return -ENOENT;
    struct ring *ring = rd->rings[index];
    struct histogram latency;
    memset(out, 0, sizeof(*out));
    merge_latency(ring, &latency);
    summarize(&latency, cycles_to_ns(&rd->base), &out->latency);
    lock_take(ring->lock);
    out->name = ring->name;
    out->entries = ring->entries;
    out->batches = ring->batches;
    out->batch_max = ring->batch_max;
    out->bad = ring->bad + load_relaxed(&ring->cursor.bad);
    lock_leave(ring->lock);
    out->state = moderation_state_name(load_relaxed(&ring->state));
    out->entries_vcpu = load_relaxed(&ring->vcpu_entries);
    out->full_exits = load_relaxed(&ring->full_exits);
    out->wakeups = load_relaxed(&ring->wakeups);
    out->wakeups_wasted = load_relaxed(&ring->wakeups_wasted);
    out->looks = load_relaxed(&ring->looks);
    out->looks_empty = load_relaxed(&ring->looks_empty);
    out->looks_put_off = load_relaxed(&ring->looks_put_off);
    out->switches = load_relaxed(&ring->switches);
    return 0;
}

int ringd_region_stats(struct ringd_dev *dev, unsigned region, struct ringd_region_stats *out)
{
    if (region >= dev->ops->region_count)
        return -ENOENT;
    double rate = cycles_to_ns(&dev->rd->base);
    pthread_mutex_lock(&dev->rd->map_lock);
    lock_take(&dev->lock);
    const struct region_state *state = &dev->regions[region];
    *out = (struct ringd_region_stats){.addr = state->addr, .mapped = state->mapped, .zone = state->zone};
    if (state->posted) {
        out->posted = state->posted->latency.count;
        out->batches = state->posted->batches;
        out->batch_max = state->posted->batch_max;
        out->full_exits = state->posted->full_exits;
        summarize(&state->posted->latency, rate, &out->latency);
    }
    lock_leave(&dev->lock);
    pthread_mutex_unlock(&dev->rd->map_lock);
    return 0;
}

void ringd_dev_lock_stats(struct ringd_dev *dev, struct ringd_lock_stats *out)
{
    double rate = cycles_to_ns(&dev->rd->base);
    lock_take(&dev->lock);
    *out = dev->lock_stats;
    lock_leave(&dev->lock);
    out->wait_ns = to_ns(out->wait_ns, rate);
    out->wait_max_ns = to_ns(out->wait_max_ns, rate);
}

unsigned ringd_dev_counters(struct ringd_dev *dev, struct ringd_counter *counters, unsigned max)
{
    if (!dev->ops->counters)
        return 0;
    lock_take(&dev->lock);
    unsigned count = dev->ops->counters(dev->self, counters, max);
    lock_leave(&dev->lock);
    return count;
}

int ringd_memfd_ring(struct ringd_dev *dev, struct ringd_ring_page **page, int *memfd, int *eventfd)
{
    if (!dev->ring || dev->ring->back.memfd < 0)
        return -ENOTSUP;
    if (page)
        *page = dev->ring->back.page;
    if (memfd)
        *memfd = dev->ring->back.memfd;
    if (eventfd)
        *eventfd = dev->ring->back.fd;
    return 0;
}
