/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ICH9's LPC bridge (82801IB, function 0): its configuration space with the PIRQ routing, which belongs to the PCI
 * host, and its power management registers, which are a device of their own.
 *
 * PCI_WINDOW_OWN of the function is where the guest wants ICH9_PM_IO mapped (128 ports at PMBASE, enabled by
 * ACPI_CNTL).
 */
#ifndef RINGD_MODELS_ICH9_H
#define RINGD_MODELS_ICH9_H

#include <ringd/device.h>

#include <ringd/api.h>
#include <ringd/models/pci_function.h>

RINGD_API_BEGIN

#define ICH9_LPC_DEVFN  PCI_FUNCTION_DEVFN(31, 0)
#define ICH9_PIRQ_COUNT 8u /* PIRQA# to PIRQH# */

struct ich9_lpc {
    struct pci_function function;
    uint8_t route[ICH9_PIRQ_COUNT]; /* as last announced; see piix3_pirq_irq() */
};

/* ich9_lpc_init - makes the function for 00:1f.0, with the multifunction bit. */
void ich9_lpc_init(struct ich9_lpc *bridge);

/* What the APM control port 0xB2 takes for "ACPI on" and "ACPI off": as on the PIIX4. */
#define ICH9_PM_ACPI_ENABLE  0xf1u
#define ICH9_PM_ACPI_DISABLE 0xf0u

enum ich9_pm_region {
    ICH9_PM_IO,  /* movable: PM1 event and control block, PM timer, GPE0 block, SMI_EN */
    ICH9_PM_APM, /* ports 0xB2 and 0xB3, when the instance's base is 0 */
};

enum ich9_pm_irq {
    ICH9_PM_SCI, /* level triggered, active while high; interrupt 9 */
};

struct ich9_pm_config {
    bool acpi_at_reset; /* SCI_EN is set at reset: for ACPI tables without an SMI command port */
};

/* create() takes NULL for the defaults (all false). */
extern const struct ringd_device_ops ich9_pm_ops;

/* ich9_pm_power_button - as piix4_pm_power_button(). */
void ich9_pm_power_button(void *self, void *arg);

RINGD_API_END

#endif
