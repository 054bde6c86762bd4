/* SPDX-License-Identifier: BSD-2-Clause */
/* Console device with one port (Virtual I/O Device Specification 1.2, 5.3). See docs/devices/virtio_console.md. */
#ifndef RINGD_MODELS_VIRTIO_CONSOLE_H
#define RINGD_MODELS_VIRTIO_CONSOLE_H

#include <ringd/device.h>

#include <ringd/api.h>
#include <ringd/models/virtio_pci.h>

RINGD_API_BEGIN

/* What the guest writes leaves by env->output(). */
struct virtio_console_config {
    void *ctx;
    /* virtio_console_receive() did not take all, and the guest has made room. With the device's lock held: it must not
     * reach into the device. NULL: nobody wants to know. */
    void (*rx_ready)(void *ctx);
};

/* create() takes a struct virtio_console_config, or NULL. */
extern const struct ringd_device_ops virtio_console_ops;

struct virtio_console_input {
    const uint8_t *data;
    size_t len;
    size_t taken; /* out: how many the guest had room for, from the first on */
};

/* virtio_console_receive - for ringd_call(): characters for the guest; arg is a struct virtio_console_input. */
void virtio_console_receive(void *self, void *arg);

RINGD_API_END

#endif
