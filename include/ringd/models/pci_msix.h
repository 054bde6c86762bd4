/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table and the pending bits of MSI-X (PCI Local Bus Specification 3.0, 6.8.2), a device of its own beside whatever
 * interrupts by it: a base address register of PCI_MSIX_BAR_BYTES has its two regions. The capability is
 * pci_function_add_msix().
 *
 * The model keeps the table and says what changes. Sending, and holding back, is its embedder's: who has messages as
 * irqfds holds one back by detaching its eventfd, which then counts what is pending.
 */
#ifndef RINGD_MODELS_PCI_MSIX_H
#define RINGD_MODELS_PCI_MSIX_H

#include <ringd/device.h>

#include <ringd/api.h>
#include <ringd/models/pci_function.h>

RINGD_API_BEGIN

#define PCI_MSIX_BAR_BYTES   4096u
#define PCI_MSIX_BAR_TABLE   0x000u
#define PCI_MSIX_BAR_PENDING 0x800u

enum pci_msix_region {
    PCI_MSIX_REGION_TABLE,   /* 16 bytes for each vector; movable */
    PCI_MSIX_REGION_PENDING, /* a bit for each; movable */
};

struct pci_msix_entry {
    uint64_t addr;
    uint32_t data;
    bool masked;
};

/* For create(), which returns -EINVAL for an impossible number of vectors. Callbacks come from under the device's lock:
 * they must not block or reach into another device. */
struct pci_msix_config {
    unsigned vectors; /* 1 to PCI_MSIX_VECTORS_MAX */
    void *ctx;
    void (*changed)(void *ctx, unsigned vector); /* its entry; NULL: nobody wants to know */
    uint64_t (*pending)(void *ctx);              /* bit n: vector n is held back; NULL: none ever is */
};

extern const struct ringd_device_ops pci_msix_ops;

/* pci_msix_entries - for ringd_call(): all entries, into arg: struct pci_msix_entry [PCI_MSIX_VECTORS_MAX]. Those above
 * the vectors are masked. */
void pci_msix_entries(void *self, void *arg);

RINGD_API_END

#endif
