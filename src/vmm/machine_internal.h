/* SPDX-License-Identifier: BSD-2-Clause */
/* What a file with a machine's table of devices needs of machine.c. */
#ifndef VMM_MACHINE_INTERNAL_H
#define VMM_MACHINE_INTERNAL_H

#include <ringd/models/fw_cfg.h>
#include <ringd/models/mc146818.h>
#include <ringd/models/uart16550.h>

#include "vmm/machine.h"

#define MACHINE_PART_IRQS 2u

enum machine_output { MACHINE_NO_OUTPUT, MACHINE_SERIAL, MACHINE_DEBUGCON };

union machine_config {
    struct mc146818_config rtc;
    struct pci_host_config pci_host;
    struct uart16550_config uart;
    struct fw_cfg_config fw_cfg;
};

/* One device of a machine: a row of its table. */
struct machine_part {
    const char *label;
    const struct ringd_device_ops *ops;
    uint64_t base;
    int irqs[MACHINE_PART_IRQS]; /* ISA interrupts of its lines; -1: not connected */
    enum machine_output output;
    /* Fills in the model's configuration and returns it; NULL: the model's defaults. */
    const void *(*configure)(struct machine *machine, union machine_config *config);
    /* Makes a proxy for --device-model; NULL: the device is always here. */
    int (*delegate)(struct machine *machine, struct remote_proxy *proxy);
    unsigned post; /* enum option_post that makes one more region posted, and which */
    unsigned post_region;
};

/* Makes the device of a row and maps its fixed regions. 0 or -errno. Main thread, before the vCPUs run. */
int machine_add(struct machine *machine, const struct machine_part *part, struct ringd_dev **out);

/* What a model asks of the machine: reset, power-off. Any thread. */
void machine_event(struct machine *machine, enum ringd_event event, uint64_t value);

/* The guest has moved a region, or the PAM segments: remembered for machine_apply(). Under the PCI host's lock. */
void machine_window_moved(struct machine *machine, struct ringd_dev *dev, unsigned region, bool decoded, uint64_t addr);
void machine_pam_moved(struct machine *machine, const uint8_t pam[I440FX_PAM_COUNT]);

/* The machine's tables, before fw_cfg hands them out. */
void machine_make_tables(struct machine *machine);

/* A region has a new place: the tables say so from now on. apply_lock held; takes fw_cfg's. */
void machine_tables_moved(struct machine *machine, const struct ringd_dev *dev, unsigned region, uint64_t addr);

#endif
