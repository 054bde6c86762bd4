/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of the registers in a PCI function's header. Not public: <linux/pci_regs.h> has macros of the same names. */
#ifndef DEVICES_PCI_REGISTERS_H
#define DEVICES_PCI_REGISTERS_H

/* Registers and bits of the header (PCI 3.0, 6.1 and 6.2). */
enum {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION_ID = 0x08,
    PCI_CLASS_CODE = 0x09,
    PCI_LATENCY_TIMER = 0x0d,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BASE_ADDRESS = 0x10,
    PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
    PCI_SUBSYSTEM_ID = 0x2e,
    PCI_CAPABILITY_LIST = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,

    PCI_COMMAND_IO = 0x0001,
    PCI_COMMAND_MEMORY = 0x0002,
    PCI_COMMAND_MASTER = 0x0004,
    PCI_COMMAND_INTX_DISABLE = 0x0400,
    PCI_STATUS_INTERRUPT = 0x0008,
    PCI_STATUS_CAPABILITIES = 0x0010,
    PCI_STATUS_ERRORS = 0xf900, /* the bits that software clears by writing ones */
    PCI_HEADER_MULTIFUNCTION = 0x80,
    PCI_VENDOR_INTEL = 0x8086,
};

/* Capabilities (PCI 3.0, 6.8.1 and 6.8.2): offsets from their start. */
enum {
    PCI_CAPABILITY_MSI = 0x05,
    PCI_MSI_CONTROL = 0x02,
    PCI_MSI_ENABLE = 0x0001,
    PCI_MSI_CAPABLE_SHIFT = 1, /* log2 of the messages it has; those that software allows: bits 6:4 */
    PCI_MSI_ALLOWED_SHIFT = 4,
    PCI_MSI_ALLOWED = 0x0070,
    PCI_MSI_64_BIT = 0x0080,
    PCI_MSI_MASKS = 0x0100,
    PCI_MSI_ADDRESS = 0x04,
    PCI_MSI_DATA = 0x0c,
    PCI_MSI_MASK_BITS = 0x10,
    PCI_MSI_PENDING = 0x14,
    PCI_MSI_BYTES = 0x18,

    PCI_CAPABILITY_MSIX = 0x11,
    PCI_MSIX_CONTROL = 0x02,
    PCI_MSIX_ENABLE = 0x8000,
    PCI_MSIX_MASK_ALL = 0x4000,
    PCI_MSIX_TABLE = 0x04,
    PCI_MSIX_PENDING = 0x08,
    PCI_MSIX_BYTES = 0x0c,
};

#endif
