/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --kernel: the files, and what is done with them. Without firmware the kernel is put into memory and entered, at the
 * start and after each reset (boot_load.h); with firmware it is handed out by fw_cfg.
 */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include "vmm/boot_load.h"
#include "vmm/options.h"
#include "vmm/vm.h"

struct fw_cfg_item;

/* The most items that boot_fw_cfg_items() writes. */
#define BOOT_FW_CFG_ITEMS 8u

/* The main thread's; what fw_cfg reads of it, on vCPU threads, does not change from boot_open() to boot_close(). All
 * zeros: no kernel. */
struct boot {
    const struct run_options *options;
    uint8_t *kernel, *initrd; /* from image_read() */
    struct boot_request request;
};

/*
 * boot_open - reads the files and finds out whether they can be booted in a machine of --memory. Nothing to be done
 * without --kernel. Reports an error on stderr and returns -errno.
 */
int boot_open(struct boot *boot, const struct run_options *options);
void boot_close(struct boot *boot);

/* Whether the machine starts with the kernel, not with firmware. */
bool boot_is_direct(const struct boot *boot);

/* Puts the kernel into memory and vCPU 0, which is in its power-on state, at its first instruction. While the vCPUs
 * stand still. Reports an error on stderr and returns -errno. */
int boot_start(struct boot *boot, struct vm *vm);

/* The items by which firmware finds the kernel; they refer to the boot's memory. Returns how many: 0 or
 * BOOT_FW_CFG_ITEMS. */
unsigned boot_fw_cfg_items(const struct boot *boot, struct fw_cfg_item *items);

#endif
