/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine: which devices stand where, what they are connected to, and what has to happen outside of them when the
 * guest moves a window or a PAM segment.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <ringd/models/fw_cfg.h>
#include <ringd/models/i440fx.h>
#include <ringd/models/pci_host.h>
#include <ringd/models/piix3.h>
#include <ringd/models/piix4_pm.h>

#include "vmm/chardev.h"
#include "vmm/options.h"
#include "vmm/remote.h"
#include "vmm/vm.h"

#define MACHINE_MAX_DEVICES 24u
#define MACHINE_MAX_REGIONS 8u
#define MACHINE_MAX_WINDOWS 16u
#define MACHINE_ISA_IRQS    16u
#define MACHINE_NVRAM_SIZE  128u
#define MACHINE_PCI_SLOTS   3u

/* A device of the machine and its rows in the exit table. */
struct machine_device {
    const char *label; /* "rtc"; the model's own name may occur twice */
    struct ringd_dev *dev;
    unsigned first_row[MACHINE_MAX_REGIONS]; /* of each region */
    struct ringd_device_ops *own_ops;        /* a copy with more regions posted (--post), else NULL */
    struct ringd_region *own_regions;
};

/* A window that the guest moved, until machine_apply() has carried it out. */
struct machine_window {
    struct ringd_dev *dev;
    unsigned region;
    bool dirty, decoded;
    uint64_t addr;
};

/* As the firmware reads it from fw_cfg's "etc/e820". */
struct __attribute__((packed)) machine_e820 {
    uint64_t addr, size;
    uint32_t type;
};

/* What fw_cfg hands out; it refers to this by pointer, so it lives as long as the device. */
struct machine_firmware {
    struct machine_e820 e820[2];
    struct fw_cfg_item items[10];
    struct fw_cfg_config config;
};

struct machine {
    struct vm *vm;
    const struct run_options *options;
    struct machine_device devices[MACHINE_MAX_DEVICES];
    unsigned device_count;
    unsigned row_count;
    int irqfds[MACHINE_ISA_IRQS]; /* -1: not made */

    struct i440fx i440fx; /* under the PCI host's lock once it exists */
    struct piix3 piix3;
    struct pci_function piix4_pm;
    struct pci_sink pci_sink;
    struct pci_slot pci_slots[MACHINE_PCI_SLOTS];
    struct machine_firmware firmware;

    struct remote remote; /* the daemon of --device-model */

    struct chardev *serial, *debugcon;
    struct ringd_dev *uart;

    /* NVRAM for --rtc nvram=FILE: written under the RTC's lock, read by the main thread: atomic bytes, relaxed. */
    uint8_t nvram[MACHINE_NVRAM_SIZE];

    /* What the guest has moved. */
    pthread_mutex_t apply_lock; /* one thread at a time carries it out; taken with no lock held */
    pthread_mutex_t queue_lock; /* innermost; taken under the PCI host's lock. Guards: */
    struct machine_window windows[MACHINE_MAX_WINDOWS];
    unsigned window_count;
    bool pam_dirty;
    uint8_t pam[I440FX_PAM_COUNT];
    uint64_t moves;   /* windows and PAM settings that were news; under queue_lock */
    uint64_t refused; /* windows that overlap something or have no room; atomic, relaxed */
};

/* Makes it safe to destroy. */
void machine_init(struct machine *machine, struct vm *vm, const struct run_options *options);
/* Makes the devices of an i440fx machine and maps them. Reports an error on stderr and returns -errno. */
int machine_create(struct machine *machine, struct chardev *serial, struct chardev *debugcon);
void machine_destroy(struct machine *machine);

/* How many rows of the exit table a region takes: one, or one for each port. */
unsigned machine_rows(const struct ringd_region *region);

/* Carries out what the guest has moved. When it returns, everything that was moved before the call is in place. A
 * thread that holds no lock. */
void machine_apply(struct machine *machine);

/* Characters for the guest's serial port, as chardev_config.on_input has it; ctx is the machine. */
size_t machine_serial_input(void *ctx, const uint8_t *data, size_t len);

#endif
