/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine: which devices stand where, what they are connected to, and what has to happen outside of them when the
 * guest moves a window or a PAM segment.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <ringd/models/fw_cfg.h>
#include <ringd/models/i440fx.h>
#include <ringd/models/ich9.h>
#include <ringd/models/pci_host.h>
#include <ringd/models/pci_msix.h>
#include <ringd/models/piix3.h>
#include <ringd/models/piix4_pm.h>
#include <ringd/models/q35.h>

#include "vmm/boot.h"
#include "vmm/chardev.h"
#include "vmm/flash.h"
#include "vmm/options.h"
#include "vmm/remote.h"
#include "vmm/tables.h"
#include "vmm/vm.h"

#define MACHINE_MAX_DEVICES   48u
#define MACHINE_MAX_REGIONS   8u
#define MACHINE_MAX_WINDOWS   128u
#define MACHINE_NVRAM_SIZE    128u
#define MACHINE_MAX_FUNCTIONS 32u
#define MACHINE_MAX_RANGES    8u
#define MACHINE_DEVICE_IRQS   2u
#define MACHINE_DEVICE_LINES  8u
#define MACHINE_MAX_DOORBELLS 8u
#define MACHINE_MAX_VIRTIO    12u

struct machine_doorbell {
    struct machine_device *device;
    unsigned index;
    int fd; /* an ioeventfd's */
};

/*
 * A region of doorbells without a ring: KVM turns a write to doorbell n into a signal of its eventfd, which the ring
 * thread watches. The value is lost, and the place in the order of accesses; a doorbell has neither.
 */
struct machine_doorbells {
    unsigned region, count, step;        /* bytes from one to the next */
    void (*ring)(void *self, void *arg); /* of the model, for ringd_call(); arg: const unsigned *, which one */
    void (*after)(void *machine);        /* on the ring thread after that, no lock held; NULL: nothing */
    struct machine_doorbell bells[MACHINE_MAX_DOORBELLS];
    bool assigned; /* under apply_lock, like addr */
    uint64_t addr;
};

/* A device of the machine, its wires and its rows in the exit table. */
struct machine_device {
    struct machine *machine;
    const char *label;                 /* "rtc"; the model's own name may occur twice */
    struct machine_function *function; /* whose interrupts it has; NULL: ISA's */
    int irqs[MACHINE_DEVICE_LINES];    /* pins of its lines where their level matters; -1: none */
    struct ringd_dev *dev;
    unsigned first_row[MACHINE_MAX_REGIONS]; /* of each region */
    struct ringd_device_ops *own_ops;        /* a copy with more regions posted (--post), else NULL */
    struct ringd_region *own_regions;
    struct machine_doorbells *doorbells; /* NULL: none, or they are posted */
};

/* A part of what a function decodes, and which device answers there. */
struct machine_range {
    unsigned window; /* of pci_function */
    uint64_t offset; /* in it */
    struct ringd_dev *dev;
    unsigned region;
};

/*
 * A PCI function in the machine: where its windows lead, and how it interrupts. Its configuration space (`fn`) is the
 * PCI host's; it finds this as fn->owner.
 */
struct machine_function {
    struct machine *machine;
    struct pci_function *fn;
    struct machine_range ranges[MACHINE_MAX_RANGES]; /* complete before the vCPUs run */
    unsigned range_count;
    struct irq_intx intx;   /* under the lock of vm->irq */
    struct ringd_dev *msix; /* NULL: none, or MSI */
    unsigned vectors;       /* messages it can send */
    unsigned first_gsi;
    int fds[PCI_MSIX_VECTORS_MAX]; /* an eventfd for each; while it is detached it counts what is pending */

    /* Under queue_lock. */
    bool dirty; /* interrupts or the MSI-X table have changed */
    struct pci_interrupts interrupts;

    /* Under apply_lock: what is in force. */
    uint64_t attached, routed; /* bits of vectors */
    struct irq_message messages[PCI_MSIX_VECTORS_MAX];
};

/* Where the guest wants a region, since it last moved it. */
struct machine_window {
    struct ringd_dev *dev;
    unsigned region;
    bool dirty; /* machine_apply() has not carried it out yet */
    bool decoded;
    uint64_t addr;
};

/* As the firmware reads it from fw_cfg's "etc/e820". */
struct __attribute__((packed)) machine_e820 {
    uint64_t addr, size;
    uint32_t type;
};

/* A disk's line in fw_cfg's "bootorder". */
#define MACHINE_BOOT_PATH_SIZE 32

/* What fw_cfg hands out; it refers to this by pointer, so it lives as long as the device. */
struct machine_firmware {
    struct machine_e820 e820[2];
    char boot_order[OPTIONS_MAX_DISKS * MACHINE_BOOT_PATH_SIZE];
    struct fw_cfg_item items[11 + BOOT_FW_CFG_ITEMS + TABLES_FW_CFG_ITEMS];
    struct fw_cfg_config config;
};

struct machine_type;
struct machine_virtio;
struct machine_window_access;

struct machine {
    struct vm *vm;
    const struct run_options *options;
    const struct machine_type *type;
    const struct boot *boot; /* the kernel that fw_cfg hands out, if there is firmware */
    struct machine_device devices[MACHINE_MAX_DEVICES];
    unsigned device_count;
    unsigned row_count;

    union { /* under the PCI host's lock once it exists */
        struct machine_i440fx {
            struct i440fx bridge;
            struct piix3 piix3;
            struct pci_function pm;
        } i440fx;
        struct machine_q35 {
            struct q35_mch mch;
            struct ich9_lpc lpc;
        } q35;
    } chipset;
    struct pci_sink pci_sink;
    struct pci_slot pci_slots[MACHINE_MAX_FUNCTIONS];
    struct machine_function *functions[MACHINE_MAX_FUNCTIONS]; /* in the order of pci_slots */
    unsigned function_count;
    struct machine_firmware firmware;
    struct tables tables; /* under fw_cfg's lock once it exists: it hands them out */

    struct remote remote; /* the daemon of --device-model */

    struct chardev *serial, *debugcon, *console; /* the last: NULL without --virtio-console */
    struct ringd_dev *uart;
    struct flash *flash;
    struct ringd_region flash_region; /* the model's, of this flash's size */
    struct ringd_device_ops flash_ops;

    /* What the tables are about, and who hands them out: NULL before machine_create() has made them. */
    struct ringd_dev *fw_cfg, *pci, *pm;

    struct machine_virtio *virtio[MACHINE_MAX_VIRTIO]; /* in the order of their slots */
    unsigned virtio_count;

    /* NVRAM for --rtc nvram=FILE: written under the RTC's lock, read by the main thread: atomic bytes, relaxed. */
    uint8_t nvram[MACHINE_NVRAM_SIZE];

    /* What the guest has moved. */
    pthread_mutex_t apply_lock; /* one thread at a time carries it out; taken with no lock held */
    pthread_mutex_t queue_lock; /* innermost; taken under the PCI host's lock. Guards: */
    struct machine_window windows[MACHINE_MAX_WINDOWS];
    unsigned window_count;
    bool flash_dirty, flash_shown;
    bool legacy_dirty, legacy_on; /* the HPET stands in for the PIT */
    unsigned window_accesses;     /* begun and not settled: `pending` stays */
    bool pam_dirty;
    uint8_t pam[I440FX_PAM_COUNT];
    uint64_t moves;                   /* windows and PAM settings that were news; under queue_lock */
    bool placed[MACHINE_MAX_WINDOWS]; /* under apply_lock: of windows[], those that stand on the bus */
    uint64_t refused;                 /* windows that overlap something or have no room; atomic, relaxed */
};

/* Makes it safe to destroy. */
void machine_init(struct machine *machine, struct vm *vm, const struct run_options *options);
/* Where RAM below 4 GiB ends at the latest on the machine that the options name, for memory_create(). */
uint64_t machine_low_limit(const struct run_options *options);
/* Makes the devices of the machine that the options name, and maps them. Reports an error on stderr and returns -errno.
 */
int machine_create(struct machine *machine, struct chardev *serial, struct chardev *debugcon, struct chardev *console,
                   struct flash *flash);
void machine_destroy(struct machine *machine);

/* How many rows of the exit table a region takes: one, or one for each port. */
unsigned machine_rows(const struct ringd_region *region);

/* Carries out what the guest has moved. When it returns, everything that was moved before the call is in place. A
 * thread that holds no lock. */
void machine_apply(struct machine *machine);

/*
 * machine_place_tables - for a guest without firmware: the power management registers get their place and interrupt,
 * the ACPI tables are written to RAM at @gpa, a multiple of 64 below 4 GiB, and *rsdp is the RSDP's address. They take
 * machine_tables_size() bytes, which the guest's memory map has to keep free (ACPI NVS: the FACS is written to). A copy
 * of the RSDP at 0xE0000 and the SMBIOS entry point at 0xF0000 are put where a ROM would show. Main thread, while the
 * vCPUs stand still; again after each reset. 0; -EFAULT when that is not RAM, -EINVAL when @gpa cannot be.
 */
uint32_t machine_tables_size(const struct machine *machine);
int machine_place_tables(struct machine *machine, uint64_t gpa, uint64_t *rsdp);

/* Writes the tables of a machine with these options into files; makes no machine. Reports an error on stderr and
 * returns -errno. */
int machine_dump_tables(const struct run_options *options);

/* Presses the power button. Does the guest listen (ACPI is on, and it wants to hear of the button)? Main thread, with
 * no lock held. */
bool machine_power_button(struct machine *machine);

/* Carries out the access, which becomes none. Returns what was read. The vCPU whose it is, no lock held. */
uint64_t machine_settle_window(struct machine *machine, struct machine_window_access *access);

/* Waits for what is under way outside of the models: signalled doorbells are served, requests to back ends completed.
 * Guest memory is not touched for any of it afterwards. Main thread, while paused. */
void machine_drain(struct machine *machine);

/* Ends what is behind the devices, after the last access of a vCPU or the ring thread. 0, or -errno, with a line on
 * stderr, where something may not have been written. */
int machine_close(struct machine *machine);

/* Characters for the virtio console; as machine_serial_input(). */
size_t machine_console_input(void *ctx, const uint8_t *data, size_t len);

/* Characters for the guest's serial port, as chardev_config.on_input has it; ctx is the machine. */
size_t machine_serial_input(void *ctx, const uint8_t *data, size_t len);

/* A break on the guest's serial line. As the above. */
void machine_serial_break(struct machine *machine);

#endif
