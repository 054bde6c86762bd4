/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI configuration mechanism 1 (PCI Local Bus Specification 3.0, 3.2.2.3.2) for one bus, and the PIIX3's reset control
 * register, which lies inside the address register's ports.
 *
 * The device is mapped at port PCI_HOST_BASE. docs/devices/pci_host.md says which access does what.
 */
#ifndef RINGD_MODELS_PCI_HOST_H
#define RINGD_MODELS_PCI_HOST_H

#include <ringd/device.h>

#include <ringd/api.h>
#include <ringd/models/pci_function.h>

RINGD_API_BEGIN

#define PCI_HOST_BASE 0xcf8u

/* Memory that PCI_HOST_ECAM takes: 4 KiB for each function of a bus (PCI Express 3.0, 7.2.2). */
#define PCI_HOST_ECAM_BYTES (256u * 4096u)

enum pci_host_region {
    PCI_HOST_ADDRESS, /* CONFIG_ADDRESS and the reset control register; writes are posted */
    PCI_HOST_DATA,    /* CONFIG_DATA; synchronous: BARs and COMMAND act outside the device */
    PCI_HOST_ECAM,    /* of pci_host_ecam_ops only: the same space as memory; movable, synchronous */
};

struct pci_slot {
    uint8_t devfn; /* PCI_FUNCTION_DEVFN(device, function) on bus 0 */
    struct pci_function *function;
};

/*
 * The table is read during create() only. The functions and the sink belong to the embedder and must outlive the
 * device, which attaches and resets the functions; from then on they are touched under the device's lock only
 * (ringd_call()). create() returns -EINVAL for a NULL function, a devfn given twice, a function without function 0 of
 * its device, and a function above 0 where function 0 lacks the multifunction bit: no operating system would find
 * those.
 */
struct pci_host_config {
    const struct pci_slot *slots;
    size_t count;
    const struct pci_sink *sink; /* NULL: nobody wants to know */
};

extern const struct ringd_device_ops pci_host_ops;

/* The same for a PCI Express machine, whose configuration space stands in memory too (bus 0; nobody is on the others).
 * What lies above a function's 256 bytes reads as 0. */
extern const struct ringd_device_ops pci_host_ecam_ops;

RINGD_API_END

#endif
