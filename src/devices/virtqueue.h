/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's side of a split virtqueue (Virtual I/O Device Specification 1.2, 2.7). The rings lie in guest memory,
 * which vCPUs write at any time: indices go by atomic accesses, everything else is copied once and then checked.
 *
 * What a guest cannot rightly do (an index out of range, a descriptor that leads out of RAM, a loop) makes
 * virtqueue_pop() fail; the queue is not to be used any more then. Nothing else comes of it.
 */
#ifndef DEVICES_VIRTQUEUE_H
#define DEVICES_VIRTQUEUE_H

#include <ringd/device.h>
#include <ringd/models/virtio_pci.h>

/* A buffer that the driver has made available. */
struct virtqueue_chain {
    uint16_t head; /* its number, for virtqueue_push() */
    /* Those that the device reads, then those that it writes; none is empty. Host addresses. */
    unsigned out_count, in_count;
    uint32_t out_bytes, in_bytes;
    struct virtio_segment segments[VIRTIO_SEGMENTS_MAX];
};

struct virtqueue {
    /* As the driver sets them. */
    uint16_t size; /* entries, a power of two up to VIRTIO_QUEUE_SIZE_MAX */
    uint16_t vector;
    bool enabled;
    uint64_t desc_addr, avail_addr, used_addr;

    /* Host addresses of the three; valid while enabled. */
    const uint8_t *desc;
    const uint16_t *avail; /* flags, idx, ring[size], used_event */
    uint8_t *used;         /* flags, idx, ring[size] of {id, len}, avail_event */
    /* Negotiated; set when the driver is ready. */
    bool indirect, event_idx;
    uint16_t next_avail, next_used, signalled;
};

/* Power-on state with `size` entries. */
void virtqueue_reset(struct virtqueue *queue, uint16_t size);

/* Finds the rings in memory. 0, or -EINVAL where there is no RAM or an address is not aligned as 2.7 has it. */
int virtqueue_enable(struct virtqueue *queue, const struct ringd_env *env);

/* Takes the next buffer: 1, 0 when there is none, or -EINVAL for what a driver must not do. */
int virtqueue_pop(struct virtqueue *queue, const struct ringd_env *env, struct virtqueue_chain *chain);

/* Gives the buffer that was taken last back, as if it had not been. */
void virtqueue_unpop(struct virtqueue *queue);

/* Returns a buffer to the driver, with `bytes` written into its writable part. */
void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t bytes);

/* After pushing: does the driver want to be interrupted for that? */
bool virtqueue_wants_interrupt(struct virtqueue *queue);

/* The device has taken all that it saw and wants to be notified of more. True: more has come meanwhile, unnotified. */
bool virtqueue_rest(struct virtqueue *queue);

/* Copies from, or to, the chain's readable, or writable, bytes. Returns how many: fewer where it ends. */
size_t virtqueue_read(const struct virtqueue_chain *chain, size_t offset, void *to, size_t bytes);
size_t virtqueue_write(const struct virtqueue_chain *chain, size_t offset, const void *from, size_t bytes);

#endif
