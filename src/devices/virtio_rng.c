/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/virtio_rng.h>

#include <errno.h>
#include <stdlib.h>

#include "devices/virtio.h"

struct virtio_rng {
    struct virtio virtio; /* first */
    struct virtio_rng_config config;
    uint64_t bytes;
};

/* The device has to write something into each buffer (5.4.6.1). If there is nothing the buffer comes back empty. */
static enum virtio_served serve(struct virtio *virtio, unsigned queue, struct virtqueue_chain *chain)
{
    struct virtio_rng *rng = (struct virtio_rng *)(void *)virtio;
    size_t left = chain->in_bytes < VIRTIO_RNG_MOST ? chain->in_bytes : VIRTIO_RNG_MOST, done = 0;
    for (unsigned i = 0; i < chain->in_count && left; i++) {
        const struct virtio_segment *segment = &chain->segments[chain->out_count + i];
        size_t part = segment->bytes < left ? segment->bytes : left;
        size_t got = rng->config.random(rng->config.ctx, segment->base, part);
        done += got;
        left -= got;
        if (got < part)
            break;
    }
    rng->bytes += done;
    virtio_finish(virtio, queue, chain->head, (uint32_t)done);
    return VIRTIO_DONE;
}

/* It has no configuration. */
static void config(const struct virtio *virtio, uint8_t bytes[VIRTIO_PCI_CONFIG_BYTES])
{
    (void)virtio;
    (void)bytes;
}

static const struct virtio_kind kind = {.queues = 1, .serve = serve, .config = config};

static int rng_create(const struct ringd_env *env, const void *config_ptr, void **self)
{
    const struct virtio_rng_config *cfg = config_ptr;
    if (!cfg || !cfg->random)
        return -EINVAL;
    struct virtio_rng *rng = calloc(1, sizeof(*rng));
    if (!rng)
        return -ENOMEM;
    rng->config = *cfg;
    virtio_init(&rng->virtio, env, &kind, 0);
    *self = rng;
    return 0;
}

static void rng_destroy(void *self)
{
    free(self);
}

static unsigned rng_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct virtio_rng *rng = self;
    unsigned count = virtio_counters(self, counters, max);
    if (count < max)
        counters[count] = (struct ringd_counter){"bytes", rng->bytes};
    return count + 1;
}

const struct ringd_device_ops virtio_rng_ops = {
    .name = "virtio-rng",
    .summary = "virtio entropy device",
    .regions = virtio_regions,
    .region_count = VIRTIO_REGIONS,
    .irq_count = 1 + 2, /* the pin; configuration and queue */
    .timer_count = VIRTIO_TIMER_COUNT,
    .create = rng_create,
    .destroy = rng_destroy,
    .read = virtio_read,
    .write = virtio_write,
    .timer = virtio_timer,
    .reset = virtio_reset,
    .counters = rng_counters,
};
