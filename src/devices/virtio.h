/* SPDX-License-Identifier: BSD-2-Clause */
/* What the models of virtio devices share: the registers of the transport, and the serving of queues. */
#ifndef DEVICES_VIRTIO_H
#define DEVICES_VIRTIO_H

#include <ringd/models/virtio_pci.h>

#include "devices/virtqueue.h"

/* Feature bits of all devices (VIRTIO 1.2, chapter 6), device_status bits (2.1), ISR bits (4.1.4.5). */
#define VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX     (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1     (UINT64_C(1) << 32)

#define VIRTIO_STATUS_ACKNOWLEDGE 0x01u
#define VIRTIO_STATUS_DRIVER      0x02u
#define VIRTIO_STATUS_DRIVER_OK   0x04u
#define VIRTIO_STATUS_FEATURES_OK 0x08u
#define VIRTIO_STATUS_NEEDS_RESET 0x40u
#define VIRTIO_STATUS_FAILED      0x80u

#define VIRTIO_ISR_QUEUE  0x01u
#define VIRTIO_ISR_CONFIG 0x02u

/* Timer 0 of each device: goes on with queues that were left for the sake of others. */
#define VIRTIO_TIMER_COUNT 1u

/* Buffers served at one go, as long as which the device's lock is held: the ring thread's batch. */
#define VIRTIO_BATCH 32u

struct virtio;

/* What becomes of a buffer that serve() was given. */
enum virtio_served {
    VIRTIO_DONE,  /* virtio_finish() has been called for it, or will be */
    VIRTIO_LATER, /* not taken: it stays in the queue until virtio_run() */
    VIRTIO_BAD,   /* a driver must not do that */
};

struct virtio_kind {
    unsigned queues;
    uint64_t features; /* beside the three above */
    /* A buffer of `queue`. `chain` goes away after the call. */
    enum virtio_served (*serve)(struct virtio *virtio, unsigned queue, struct virtqueue_chain *chain);
    /* (optional) No more buffers for now. */
    void (*served)(struct virtio *virtio);
    /* The first `bytes` of its configuration. */
    void (*config)(const struct virtio *virtio, uint8_t config[VIRTIO_PCI_CONFIG_BYTES]);
};

/* The first member of each model. All of it under the device's lock. */
struct virtio {
    const struct ringd_env *env;
    const struct virtio_kind *kind;
    uint64_t features; /* offered */
    uint64_t driver_features;
    uint32_t feature_select, driver_feature_select;
    uint16_t config_vector, queue_select;
    uint8_t status, isr, generation;
    uint32_t left;      /* bits of queues that wait for the timer */
    unsigned in_flight; /* requests that the model's surroundings have */
    uint32_t epoch;     /* counts resets: what was in flight before one is not the guest's any more */
    struct virtqueue queues[VIRTIO_QUEUES_MAX];
    struct virtqueue_chain chain; /* the one that is being served */

    uint64_t notifications, buffers, interrupts, suppressed, ignored, faults, resets;
};

/* Operations for the models' tables; `self` begins with a struct virtio. */
extern const struct ringd_region virtio_regions[VIRTIO_REGIONS];
uint64_t virtio_read(void *self, unsigned region, uint64_t offset, unsigned width);
void virtio_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value);
void virtio_timer(void *self, unsigned timer);
void virtio_reset(void *self);
unsigned virtio_counters(void *self, struct ringd_counter *counters, unsigned max);

/* Ends in a reset. */
void virtio_init(struct virtio *virtio, const struct ringd_env *env, const struct virtio_kind *kind, uint64_t features);

/* The driver has set the device up, and it has not failed. */
bool virtio_is_ready(const struct virtio *virtio);

/* Has the driver accepted the feature? */
static inline bool virtio_has(const struct virtio *virtio, uint64_t feature)
{
    return virtio->driver_features & feature;
}

/* Serves what stands in the queue, up to VIRTIO_BATCH buffers; the rest by timer. */
void virtio_run(struct virtio *virtio, unsigned queue);

/* The same from the timer, as soon as the ring thread comes to it: not while that stands still. */
void virtio_run_later(struct virtio *virtio, unsigned queue);

/* Takes the next buffer of a queue into virtio->chain, for data that comes from outside. 1, or 0: none. */
int virtio_take(struct virtio *virtio, unsigned queue);

/* Gives a buffer back, with `bytes` written; virtio_tell() afterwards, once for all, interrupts if need be. */
void virtio_finish(struct virtio *virtio, unsigned queue, uint16_t head, uint32_t bytes);
void virtio_tell(struct virtio *virtio, unsigned queue);

/* The driver does what it must not: nothing happens any more until it resets the device. */
void virtio_break(struct virtio *virtio);

#endif
