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
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,

    PCI_COMMAND_IO = 0x0001,
    PCI_COMMAND_MEMORY = 0x0002,
    PCI_COMMAND_MASTER = 0x0004,
    PCI_STATUS_ERRORS = 0xf900, /* the bits that software clears by writing ones */
    PCI_HEADER_MULTIFUNCTION = 0x80,
    PCI_VENDOR_INTEL = 0x8086,
};

#endif
