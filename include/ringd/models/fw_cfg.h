/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fw_cfg: the interface by which QEMU's firmware learns about its machine (QEMU, docs/specs/fw_cfg), on I/O ports.
 * A list of read-only items, each with a 16-bit key, read a byte at a time or by a DMA of the device.
 */
#ifndef RINGD_MODELS_FW_CFG_H
#define RINGD_MODELS_FW_CFG_H

#include <ringd/api.h>
#include <ringd/device.h>

RINGD_API_BEGIN

#define FW_CFG_BASE 0x510 /* where the firmware looks: the selector; the region table is relative to it */

/* Keys of QEMU's include/standard-headers/linux/qemu_fw_cfg.h and hw/i386/fw_cfg.h that a PC's firmware asks for.
 * Numbers are little endian unless stated. */
enum fw_cfg_key {
    FW_CFG_KEY_SIGNATURE = 0x00, /* "QEMU"; the model's own */
    FW_CFG_KEY_ID = 0x01,        /* 32 bits of features; the model's own */
    FW_CFG_KEY_UUID = 0x02,      /* 16 bytes */
    FW_CFG_KEY_RAM_SIZE = 0x03,  /* 64 bits, bytes */
    FW_CFG_KEY_NOGRAPHIC = 0x04, /* 16 bits */
    FW_CFG_KEY_NB_CPUS = 0x05,   /* 16 bits: CPUs that are there at power-on */
    FW_CFG_KEY_MACHINE_ID = 0x06,
    FW_CFG_KEY_KERNEL_SIZE = 0x08, /* 32 bits: bytes of a Linux kernel behind its setup part */
    FW_CFG_KEY_INITRD_SIZE = 0x0b, /* 32 bits */
    FW_CFG_KEY_BOOT_MENU = 0x0e,   /* 16 bits */
    FW_CFG_KEY_MAX_CPUS = 0x0f,    /* 16 bits: one more than the highest APIC ID that can come */
    FW_CFG_KEY_KERNEL_DATA = 0x11,
    FW_CFG_KEY_INITRD_DATA = 0x12,
    FW_CFG_KEY_CMDLINE_SIZE = 0x14, /* 32 bits: with the terminating zero */
    FW_CFG_KEY_CMDLINE_DATA = 0x15,
    FW_CFG_KEY_SETUP_SIZE = 0x17, /* 32 bits: bytes of a Linux kernel's real-mode part */
    FW_CFG_KEY_SETUP_DATA = 0x18,
    FW_CFG_KEY_FILE_DIR = 0x19, /* the directory of files, big endian; the model's own */
    FW_CFG_KEY_FILE_FIRST = 0x20,

    FW_CFG_KEY_ACPI_TABLES = 0x8000,
    FW_CFG_KEY_SMBIOS_ENTRIES = 0x8001,
    FW_CFG_KEY_IRQ0_OVERRIDE = 0x8002, /* 32 bits: 1 when the PIT is wired to the I/O APIC's input 2 */
    FW_CFG_KEY_E820_TABLE = 0x8003,
    FW_CFG_KEY_HPET = 0x8004,
};

#define FW_CFG_NAME_MAX 55u /* characters of a file's name: 56 in the directory, one of them the terminating zero */

/* A read that goes past its item's end by more than this ends with the error bit instead of zeros: the length is the
 * guest's, up to 4 GiB, and the device's lock is held meanwhile. No firmware reads past an end by more than a table. */
#define FW_CFG_ZERO_FILL_MAX (1024u * 1024u)

enum fw_cfg_region {
    FW_CFG_REGION_SELECTOR_DATA, /* 0x510: selector (16 bits), 0x511: data (8 bits) */
    FW_CFG_REGION_DMA,           /* 0x514: DMA address, 64 bits, big endian */
};

/*
 * One item. Three ways to give its contents:
 * - data and size: kept BY REFERENCE, so that a kernel or an initrd need not be copied. The caller keeps the bytes,
 *   unchanged, until the device is destroyed;
 * - data NULL, size 1 to 8: the number `value`, little endian, kept by the device;
 * - data NULL, size 0: an empty item.
 */
struct fw_cfg_item {
    uint16_t key; /* when name is NULL: below FW_CFG_KEY_FILE_FIRST or from 0x8000 to 0xbfff, and not the model's own */
    const char *name; /* a file: 1 to FW_CFG_NAME_MAX characters; its key is given by its place in the directory */
    const void *data;
    size_t size; /* bytes, below 4 GiB */
    uint64_t value;
};

/* For create(); items and names are read during the call only, item data as said above. Files may come in any order:
 * the directory is sorted by name, and file i in it has the key FW_CFG_KEY_FILE_FIRST + i.
 * create() returns -EINVAL for a key or a name that is not allowed or comes twice, or an impossible size. */
struct fw_cfg_config {
    const struct fw_cfg_item *items;
    size_t item_count;
};

extern const struct ringd_device_ops fw_cfg_ops;

RINGD_API_END

#endif
