/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio transport over PCI (Virtual I/O Device Specification 1.2, 4.1), modern only: the registers that all virtio
 * devices share, and the PCI function in front of them. docs/devices/virtio.md.
 *
 * A virtio device is a device with the four regions below, all movable, in base address register VIRTIO_PCI_BAR. Its
 * line 0 is the interrupt pin, with a level; line 1 + n pulses for MSI-X vector n. Both are signalled; whoever embeds
 * the device holds the pin back while the function sends messages. It needs guest memory by mem_map.
 */
#ifndef RINGD_MODELS_VIRTIO_PCI_H
#define RINGD_MODELS_VIRTIO_PCI_H

#include <ringd/device.h>

#include <ringd/api.h>
#include <ringd/models/pci_function.h>

RINGD_API_BEGIN

#define VIRTIO_QUEUES_MAX     8u
#define VIRTIO_QUEUE_SIZE_MAX 256u
#define VIRTIO_SEGMENTS_MAX   256u
#define VIRTIO_NO_VECTOR      0xffffu

#define VIRTIO_PCI_MSIX_BAR  1u
#define VIRTIO_PCI_BAR       4u /* 64 bits wide, so it takes 5 too */
#define VIRTIO_PCI_BAR_BYTES 0x4000u

/* Offsets in the base address register. */
#define VIRTIO_PCI_COMMON_AT    0x0000u
#define VIRTIO_PCI_ISR_AT       0x1000u
#define VIRTIO_PCI_CONFIG_AT    0x2000u
#define VIRTIO_PCI_NOTIFY_AT    0x3000u
#define VIRTIO_PCI_NOTIFY_STEP  4u /* bytes from one queue's doorbell to the next */
#define VIRTIO_PCI_CONFIG_BYTES 64u

enum virtio_region {
    VIRTIO_REGION_COMMON, /* features, status, queues */
    VIRTIO_REGION_ISR,    /* why the pin is high; a read lowers it */
    VIRTIO_REGION_CONFIG, /* the device's own */
    VIRTIO_REGION_NOTIFY, /* a doorbell for each queue; writes are posted */
    VIRTIO_REGIONS,
};

enum virtio_pci_type { /* VIRTIO 1.2, chapter 5 */
                       VIRTIO_PCI_BLK = 2,
                       VIRTIO_PCI_CONSOLE = 3,
                       VIRTIO_PCI_RNG = 4,
};

/* A piece of guest memory, by its address in ours. */
struct virtio_segment {
    void *base;
    size_t bytes;
};

/*
 * virtio_pci_function_init - makes `fn` the function of a virtio device: capabilities, VIRTIO_PCI_BAR, and MSI-X with
 * its table in VIRTIO_PCI_MSIX_BAR.
 * Returns 0, or -EINVAL for another type.
 */
int virtio_pci_function_init(struct pci_function *fn, enum virtio_pci_type type);

/* virtio_pci_queues - how many queues (and so doorbells) a device of that type has; 0: no such type.
 * virtio_pci_vectors - its MSI-X vectors: one for each queue, and one for changes of its configuration. */
unsigned virtio_pci_queues(enum virtio_pci_type type);
unsigned virtio_pci_vectors(enum virtio_pci_type type);

/* virtio_pci_window - what the capability VIRTIO_PCI_CAP_PCI_CFG of a function says: which base address register, where
 * in it, how many bytes, and the data. */
struct virtio_pci_window {
    unsigned bar;
    uint32_t offset, length, data;
};
struct virtio_pci_window virtio_pci_window(const struct pci_function *fn);

/* virtio_notify - for ringd_call() with any virtio device: queue *(const unsigned *)arg has been notified, by an
 * ioeventfd. */
void virtio_notify(void *self, void *arg);

/* virtio_in_flight - for ringd_call(): how many requests its surroundings have of it, into *(unsigned *)arg. */
void virtio_in_flight(void *self, void *arg);

RINGD_API_END

#endif
