/* SPDX-License-Identifier: BSD-2-Clause */
/* What a file with a machine's table of devices needs of machine.c. */
#ifndef VMM_MACHINE_INTERNAL_H
#define VMM_MACHINE_INTERNAL_H

#include <ringd/models/cfi_flash.h>
#include <ringd/models/fw_cfg.h>
#include <ringd/models/hpet.h>
#include <ringd/models/mc146818.h>
#include <ringd/models/uart16550.h>

#include "vmm/machine.h"

enum machine_output { MACHINE_NO_OUTPUT, MACHINE_SERIAL, MACHINE_DEBUGCON, MACHINE_CONSOLE };

union machine_config {
    struct mc146818_config rtc;
    struct pci_host_config pci_host;
    struct uart16550_config uart;
    struct fw_cfg_config fw_cfg;
    struct hpet_config hpet;
    struct cfi_flash_config flash;
};

/* One device of a machine: a row of its table. */
struct machine_part {
    const char *label;
    const struct ringd_device_ops *ops;
    uint64_t base;
    int irqs[MACHINE_DEVICE_IRQS]; /* ISA interrupts of its lines; -1: not connected */
    enum machine_output output;
    /* Fills in the model's configuration and returns it; NULL: the model's defaults. */
    const void *(*configure)(struct machine *machine, union machine_config *config);
    /* Makes a proxy for --device-model; NULL: the device is always here. */
    int (*delegate)(struct machine *machine, struct remote_proxy *proxy);
    unsigned post; /* enum option_post that makes one more region posted, and which */
    unsigned post_region;
    bool level;      /* its interrupts have a level, not pulses */
    const int *pins; /* in place of `irqs`, for MACHINE_DEVICE_LINES lines with a level; NULL: none */
};

/* A kind of machine: what it has beside the ISA devices that all have. */
struct machine_type {
    uint64_t low_limit; /* RAM below 4 GiB ends here at the latest; above are BARs, APICs and ROM */
    int (*add_functions)(struct machine *machine); /* the chip set's, before any device */
    const struct machine_part *parts;              /* among them the PCI host, "pci" */
    unsigned part_count;
    int (*connect)(struct machine *machine);          /* functions to devices, which are all there now */
    unsigned (*pirq_of)(uint8_t devfn, unsigned pin); /* which PCI line a function's pin, 0 to 3, is wired to */
    /* The power button, for ringd_call() on the device "pm": `heard` is a bool, whether the guest listens. */
    void (*power_button)(void *pm, void *heard);
};

extern const struct machine_type machine_i440fx, machine_q35;

/* The device with this label, or NULL. */
struct ringd_dev *machine_find(const struct machine *machine, const char *label);

/* For machine_part.configure: the PCI host with the functions that were added. */
const void *machine_configure_pci(struct machine *machine, union machine_config *config);

/* Makes the device of a row and maps its fixed regions. 0 or -errno. Main thread, before the vCPUs run. */
int machine_add(struct machine *machine, const struct machine_part *part, struct ringd_dev **out);

/*
 * machine_add_function - gives the machine a PCI function, whose configuration space is initialised and not attached.
 * It has to come before the PCI host is made. machine_find_function: the one at devfn, NULL: none. machine_add_range: a
 * region of a device stands in a window of it.
 * 0, -ENOSPC or -ENOMEM. Main thread, before the vCPUs run.
 */
int machine_add_function(struct machine *machine, uint8_t devfn, struct pci_function *fn,
                         struct machine_function **out);
struct machine_function *machine_find_function(const struct machine *machine, uint8_t devfn);
int machine_add_range(struct machine_function *function, unsigned window, uint64_t offset, struct ringd_dev *dev,
                      unsigned region);

/*
 * machine_add_messages - MSI or MSI-X for a function that has the capability. With `bar` below PCI_BARS also the device
 * with the MSI-X table, there. To be called before the device that sends them is made, whose lines are then: 0 the
 * pin, 1 + n message n.
 */
int machine_add_messages(struct machine_function *function, unsigned vectors, unsigned bar);

/* machine_add_behind - makes a device that belongs to a function, with its interrupts; its regions have to be movable,
 * and become known by machine_add_range(). */
int machine_add_behind(struct machine_function *function, const char *label, const struct ringd_device_ops *ops,
                       const void *config, enum machine_output output, struct ringd_dev **out);

/*
 * machine_add_doorbells - between machine_add_behind()'s making of a device with a posted region of doorbells and its
 * use: where writes have no ring of their own, eventfds take them (struct machine_doorbells). machine_has_rings says
 * whether they have. 0 or -errno. Main thread, before the ring thread runs.
 */
bool machine_has_rings(const struct machine *machine);
int machine_add_doorbells(struct machine *machine, struct ringd_dev *dev, const struct machine_doorbells *doorbells);

/* For place_region() and remove_region(): has KVM signal the eventfds at `addr`, or no more; the latter serves what has
 * been signalled. A region without doorbells: nothing. 0 or -errno. */
int machine_place_doorbells(struct machine_device *device, unsigned region, uint64_t addr);
void machine_remove_doorbells(struct machine_device *device, unsigned region);
/* Serves what has been signalled. True: there was something. */
bool machine_ring_doorbells(struct machine_device *device);
void machine_free_doorbells(struct machine_device *device);

/* Virtio devices have a slot each from here on: the host bridge is 0, i440fx's PIIX3 1, and a display would be 2. */
#define MACHINE_FIRST_SLOT 3u

/* Virtio devices, as the options have them: their functions, before the PCI host is made; and the devices behind them.
 * 0, or -errno with the reason on stderr. */
int machine_add_virtio_functions(struct machine *machine);
int machine_add_virtio_devices(struct machine *machine);
/* After the ringd is gone. */
void machine_free_virtio(struct machine *machine);

/* A disk: a virtio-blk and the image behind it. machine_disk_open reports an error on stderr.
 * machine_disk_has_boot_sector: whether a BIOS would start it; true also where it cannot be read. machine_disk_start
 * begins what the model has handed in: the ring thread, after it has let go of the device's lock. machine_disk_drain
 * waits until no request is under way; true: there was one. machine_disk_close returns -errno where something may not
 * have been written. */
struct machine_disk;
int machine_disk_open(struct machine *machine, const struct option_disk *option, struct machine_disk **out);
int machine_disk_add(struct machine_disk *disk, struct machine_function *function, const char *label,
                     struct ringd_dev **out);
bool machine_disk_has_boot_sector(const struct option_disk *option);
void machine_disk_start(struct machine_disk *disk);
bool machine_disk_drain(struct machine_disk *disk);
int machine_disk_close(struct machine_disk *disk);

/* What functions announce: for struct pci_sink, whose ctx is the machine. Under the PCI host's lock. */
void machine_decode_changed(void *ctx, struct pci_function *fn, unsigned window, bool decoded, uint64_t addr);
void machine_pam_changed(void *ctx, const uint8_t pam[I440FX_PAM_COUNT]);
void machine_pirq_changed(void *ctx, const uint8_t *route, unsigned count);
void machine_interrupts_changed(void *ctx, struct pci_function *fn);
void machine_window_accessed(void *ctx, const struct pci_function *fn, bool write, unsigned width);

/* Brings messages in line with what the guest has written; see machine_apply(), which calls it. 0 or -errno. */
int machine_apply_messages(struct machine_function *function, const struct pci_interrupts *interrupts);
void machine_function_free(struct machine_function *function);

/* What a model asks of the machine: reset, power-off. Any thread. */
void machine_event(struct machine *machine, enum ringd_event event, uint64_t value);

/* The guest has moved a region, or the PAM segments: remembered for machine_apply(). Under the PCI host's lock. */
void machine_window_moved(struct machine *machine, struct ringd_dev *dev, unsigned region, bool decoded, uint64_t addr);
void machine_pam_moved(struct machine *machine, const uint8_t pam[I440FX_PAM_COUNT]);

/* queue_lock held: what has been queued is to be carried out. */
void machine_note_pending(struct machine *machine);

/* The machine's tables, before fw_cfg hands them out. */
void machine_make_tables(struct machine *machine);

/* Open Firmware's paths of the disks that have an order, a line each, as SeaBIOS and OVMF look for them in fw_cfg's
 * "bootorder". Returns the bytes with the end of the string, 0: none has one. */
size_t machine_boot_order(const struct run_options *options, char out[OPTIONS_MAX_DISKS * MACHINE_BOOT_PATH_SIZE]);
/* A region has a new place: the tables say so from now on. apply_lock held; takes fw_cfg's. */
void machine_tables_moved(struct machine *machine, const struct ringd_dev *dev, unsigned region, uint64_t addr);

#endif
