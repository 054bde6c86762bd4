/* SPDX-License-Identifier: BSD-2-Clause */
/* A driver of virtio devices in fake memory, for tests of the models. It can do right and wrong. */
#ifndef VIRTIO_DRIVER_H
#define VIRTIO_DRIVER_H

#include <string.h>

#include <ringd/models/virtio_pci.h>

#include "devices/virtio.h"
#include "fake_env.h"

#define MEMORY  0x100000u
#define QUEUES  0x10000u /* each takes QUEUE_STEP */
#define BUFFERS 0x40000u

#define QUEUE_STEP 0x4000u
#define AVAIL_AT   0x1000u
#define USED_AT    0x2000u
#define TABLE_AT   0x3000u /* for an indirect table */

#define D_NEXT     1u
#define D_WRITE    2u
#define D_INDIRECT 4u

struct driver {
    struct fake_env fake;
    uint16_t size, avail[VIRTIO_QUEUES_MAX], used[VIRTIO_QUEUES_MAX];
};

static inline void common_write(struct driver *d, unsigned offset, unsigned width, uint64_t value)
{
    fake_write(&d->fake, VIRTIO_REGION_COMMON, offset, width, value);
}

static inline uint64_t common_read(struct driver *d, unsigned offset, unsigned width)
{
    return fake_read(&d->fake, VIRTIO_REGION_COMMON, offset, width);
}

static inline uint8_t driver_status(struct driver *d)
{
    return (uint8_t)common_read(d, 20, 1);
}

static inline uint32_t queue_at(unsigned queue)
{
    return QUEUES + queue * QUEUE_STEP;
}

static inline void put(struct driver *d, uint32_t at, uint64_t value, unsigned bytes)
{
    memcpy(d->fake.memory + at, &value, bytes);
}

static inline uint64_t get(struct driver *d, uint32_t at, unsigned bytes)
{
    uint64_t value = 0;
    memcpy(&value, d->fake.memory + at, bytes);
    return value;
}

static inline void place_queue(struct driver *d, unsigned queue)
{
    uint32_t at = queue_at(queue);
    common_write(d, 22, 2, queue);
    common_write(d, 24, 2, d->size);
    common_write(d, 26, 2, queue + 1); /* its vector */
    common_write(d, 32, 4, at);
    common_write(d, 40, 4, at + AVAIL_AT);
    common_write(d, 48, 4, at + USED_AT);
    common_write(d, 28, 2, 1);
}

/* The way of 3.1.1, up to DRIVER_OK; `features` and VERSION_1. */
static inline void driver_start(struct driver *d, unsigned queues, uint64_t features)
{
    features |= VIRTIO_F_VERSION_1;
    common_write(d, 20, 1, 0);
    common_write(d, 20, 1, VIRTIO_STATUS_ACKNOWLEDGE);
    common_write(d, 20, 1, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
    for (unsigned i = 0; i < 2; i++) {
        common_write(d, 8, 4, i);
        common_write(d, 12, 4, (uint32_t)(features >> (32 * i)));
    }
    common_write(d, 20, 1, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK);
    common_write(d, 16, 2, 0);
    memset(d->fake.memory + QUEUES, 0, (size_t)QUEUE_STEP * queues);
    memset(d->avail, 0, sizeof(d->avail));
    memset(d->used, 0, sizeof(d->used));
    for (unsigned i = 0; i < queues; i++)
        place_queue(d, i);
    common_write(d, 20, 1,
                 VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK |
                     VIRTIO_STATUS_DRIVER_OK);
}

static inline void describe_in(struct driver *d, uint32_t table, unsigned index, uint64_t addr, uint32_t len,
                               unsigned flags, unsigned next)
{
    put(d, table + index * 16, addr, 8);
    put(d, table + index * 16 + 8, len, 4);
    put(d, table + index * 16 + 12, flags, 2);
    put(d, table + index * 16 + 14, next, 2);
}

static inline void describe(struct driver *d, unsigned queue, unsigned index, uint64_t addr, uint32_t len,
                            unsigned flags, unsigned next)
{
    describe_in(d, queue_at(queue), index, addr, len, flags, next);
}

static inline void offer(struct driver *d, unsigned queue, uint16_t head)
{
    uint32_t at = queue_at(queue) + AVAIL_AT;
    put(d, at + 4 + 2u * (d->avail[queue] % d->size), head, 2);
    d->avail[queue]++;
    put(d, at + 2, d->avail[queue], 2);
}

static inline void notify(struct driver *d, unsigned queue)
{
    fake_write(&d->fake, VIRTIO_REGION_NOTIFY, queue * VIRTIO_PCI_NOTIFY_STEP, 2, queue);
}

/* How many buffers have come back since the last call; *head and *len are the last one's. */
static inline unsigned returned(struct driver *d, unsigned queue, uint32_t *head, uint32_t *len)
{
    uint32_t at = queue_at(queue) + USED_AT;
    uint16_t idx = (uint16_t)get(d, at + 2, 2);
    unsigned count = (uint16_t)(idx - d->used[queue]);
    uint32_t entry = at + 4 + 8u * ((idx - 1u) % d->size);
    d->used[queue] = idx;
    if (head)
        *head = (uint32_t)get(d, entry, 4);
    if (len)
        *len = (uint32_t)get(d, entry + 4, 4);
    return count;
}

#endif
