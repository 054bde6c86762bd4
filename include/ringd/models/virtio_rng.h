/* SPDX-License-Identifier: BSD-2-Clause */
/* Entropy device (Virtual I/O Device Specification 1.2, 5.4). See docs/devices/virtio_rng.md. */
#ifndef RINGD_MODELS_VIRTIO_RNG_H
#define RINGD_MODELS_VIRTIO_RNG_H

#include <ringd/device.h>

#include <ringd/api.h>
#include <ringd/models/virtio_pci.h>

RINGD_API_BEGIN

/* A buffer gets this much at most, however long it is; the driver asks again. */
#define VIRTIO_RNG_MOST 4096u

struct virtio_rng_config {
    void *ctx;
    /* Fills `to` with random bytes, at once. Returns how many, 0 when there are none now. With the device's lock held.
     */
    size_t (*random)(void *ctx, void *to, size_t bytes);
};

/* create() takes a struct virtio_rng_config, and returns -EINVAL without random(). */
extern const struct ringd_device_ops virtio_rng_ops;

RINGD_API_END

#endif
