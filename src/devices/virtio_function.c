/* SPDX-License-Identifier: BSD-2-Clause */
/* The PCI function of a virtio device: identification and capabilities (VIRTIO 1.2, 4.1.2 and 4.1.4). */
#include <errno.h>

#include <ringd/models/pci_msix.h>
#include <ringd/models/virtio_pci.h>

#include "devices/pci_registers.h"

#define VENDOR_ID      0x1af4u
#define DEVICE_ID_BASE 0x1040u /* plus the type */
#define REVISION       1u

/* Where the capabilities are in configuration space. */
#define MSIX_AT   0x40u
#define COMMON_AT 0x50u
#define ISR_AT    0x60u
#define CONFIG_AT 0x70u
#define NOTIFY_AT 0x80u
#define WINDOW_AT 0x98u

#define CAPABILITY_VENDOR 0x09u /* PCI 3.0, appendix H */
#define CAP_BYTES         16u
#define CAP_LONG_BYTES    20u
#define CAP_LENGTH        2u
#define CAP_TYPE          3u
#define CAP_BAR           4u
#define CAP_OFFSET        8u
#define CAP_SIZE          12u
#define CAP_MORE          16u /* notify_off_multiplier, or pci_cfg_data */

enum { TYPE_COMMON = 1, TYPE_NOTIFY = 2, TYPE_ISR = 3, TYPE_DEVICE = 4, TYPE_WINDOW = 5 };

static const struct type {
    const char *name;
    unsigned queues;
    uint32_t class_code; /* PCI 3.0, appendix D */
} types[] = {
    [VIRTIO_PCI_BLK] = {"virtio-blk", 1, 0x018000},
    [VIRTIO_PCI_CONSOLE] = {"virtio-console", 2, 0x078000},
    [VIRTIO_PCI_RNG] = {"virtio-rng", 1, 0xff0000},
};

static const struct type *find(enum virtio_pci_type type)
{
    return (unsigned)type < sizeof(types) / sizeof(types[0]) && types[type].name ? &types[type] : NULL;
}

unsigned virtio_pci_queues(enum virtio_pci_type type)
{
    const struct type *found = find(type);
    return found ? found->queues : 0;
}

unsigned virtio_pci_vectors(enum virtio_pci_type type)
{
    const struct type *found = find(type);
    return found ? found->queues + 1 : 0;
}

/* A capability that names a part of the base address register. */
static int add_part(struct pci_function *fn, uint8_t at, uint8_t kind, uint32_t offset, uint32_t size)
{
    bool more = kind == TYPE_NOTIFY;
    const struct pci_register registers[] = {
        {(uint8_t)(at + CAP_LENGTH), 1, more ? CAP_LONG_BYTES : CAP_BYTES, 0, 0},
        {(uint8_t)(at + CAP_TYPE), 1, kind, 0, 0},
        {(uint8_t)(at + CAP_BAR), 1, VIRTIO_PCI_BAR, 0, 0},
        {(uint8_t)(at + CAP_OFFSET), 4, offset, 0, 0},
        {(uint8_t)(at + CAP_SIZE), 4, size, 0, 0},
        {(uint8_t)(at + CAP_MORE), 4, VIRTIO_PCI_NOTIFY_STEP, 0, 0},
    };
    return pci_function_add_capability(fn, at, CAPABILITY_VENDOR, registers, more ? 6 : 5);
}

/* The window in configuration space: the driver says where, and reads or writes the data. */
static int add_window(struct pci_function *fn)
{
    fn->window_data = WINDOW_AT + CAP_MORE;
    const struct pci_register registers[] = {
        {WINDOW_AT + CAP_LENGTH, 1, CAP_LONG_BYTES, 0, 0},
        {WINDOW_AT + CAP_TYPE, 1, TYPE_WINDOW, 0, 0},
        {WINDOW_AT + CAP_BAR, 1, 0, 0xff, 0},
        {WINDOW_AT + CAP_OFFSET, 4, 0, UINT32_MAX, 0},
        {WINDOW_AT + CAP_SIZE, 4, 0, UINT32_MAX, 0},
        {WINDOW_AT + CAP_MORE, 4, 0, UINT32_MAX, 0},
    };
    return pci_function_add_capability(fn, WINDOW_AT, CAPABILITY_VENDOR, registers,
                                       sizeof(registers) / sizeof(registers[0]));
}

int virtio_pci_function_init(struct pci_function *fn, enum virtio_pci_type type)
{
    const struct type *found = find(type);
    if (!found)
        return -EINVAL;
    const struct pci_register header[] = {
        {PCI_VENDOR_ID, 2, VENDOR_ID, 0, 0},           {PCI_DEVICE_ID, 2, DEVICE_ID_BASE + (uint32_t)type, 0, 0},
        {PCI_REVISION_ID, 1, REVISION, 0, 0},          {PCI_CLASS_CODE, 3, found->class_code, 0, 0},
        {PCI_SUBSYSTEM_VENDOR_ID, 2, VENDOR_ID, 0, 0}, {PCI_SUBSYSTEM_ID, 2, DEVICE_ID_BASE + (uint32_t)type, 0, 0},
        {PCI_INTERRUPT_LINE, 1, 0, 0xff, 0},           {PCI_INTERRUPT_PIN, 1, 1, 0, 0},
    };
    pci_function_init(fn, found->name, header, sizeof(header) / sizeof(header[0]));
    int ret = pci_function_add_bar(fn, VIRTIO_PCI_MSIX_BAR, PCI_BAR_MEM32, PCI_MSIX_BAR_BYTES, false);
    ret = ret ? ret : pci_function_add_bar(fn, VIRTIO_PCI_BAR, PCI_BAR_MEM64, VIRTIO_PCI_BAR_BYTES, false);
    ret = ret ? ret : pci_function_add_msix(fn, MSIX_AT, found->queues + 1, VIRTIO_PCI_MSIX_BAR);
    ret = ret ? ret : add_part(fn, COMMON_AT, TYPE_COMMON, VIRTIO_PCI_COMMON_AT, 56);
    ret = ret ? ret : add_part(fn, ISR_AT, TYPE_ISR, VIRTIO_PCI_ISR_AT, 4);
    ret = ret ? ret : add_part(fn, CONFIG_AT, TYPE_DEVICE, VIRTIO_PCI_CONFIG_AT, VIRTIO_PCI_CONFIG_BYTES);
    ret = ret ? ret
              : add_part(fn, NOTIFY_AT, TYPE_NOTIFY, VIRTIO_PCI_NOTIFY_AT, VIRTIO_QUEUES_MAX * VIRTIO_PCI_NOTIFY_STEP);
    return ret ? ret : add_window(fn);
}

static uint32_t register_at(const struct pci_function *fn, unsigned at)
{
    return (uint32_t)fn->config[at] | (uint32_t)fn->config[at + 1] << 8 | (uint32_t)fn->config[at + 2] << 16 |
           (uint32_t)fn->config[at + 3] << 24;
}

struct virtio_pci_window virtio_pci_window(const struct pci_function *fn)
{
    return (struct virtio_pci_window){.bar = fn->config[WINDOW_AT + CAP_BAR],
                                      .offset = register_at(fn, WINDOW_AT + CAP_OFFSET),
                                      .length = register_at(fn, WINDOW_AT + CAP_SIZE),
                                      .data = register_at(fn, WINDOW_AT + CAP_MORE)};
}
