/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power management of the 82371AB (PIIX4), function 3: its configuration space, which belongs to pci_host, and its I/O
 * registers, which are a device of their own.
 *
 * PCI_WINDOW_OWN of the function is where the guest wants PIIX4_PM_IO mapped (64 ports at PMBA, enabled by PMREGMISC).
 */
#ifndef RINGD_MODELS_PIIX4_PM_H
#define RINGD_MODELS_PIIX4_PM_H

#include <ringd/device.h>

#include <ringd/api.h>
#include <ringd/models/pci_function.h>

RINGD_API_BEGIN

#define PIIX4_PM_DEVFN PCI_FUNCTION_DEVFN(1, 3) /* where SeaBIOS and its ACPI tables look for it on this machine */

/* What the APM control port 0xB2 takes for "ACPI on" and "ACPI off": the FADT's ACPI_ENABLE and ACPI_DISABLE, as in the
 * tables that SeaBIOS makes for this chip (src/fw/acpi.c). */
#define PIIX4_PM_ACPI_ENABLE  0xf1u
#define PIIX4_PM_ACPI_DISABLE 0xf0u

enum piix4_pm_region {
    PIIX4_PM_IO,  /* movable: PM1 event and control block, PM timer */
    PIIX4_PM_APM, /* ports 0xB2 and 0xB3, when the instance's base is 0 */
};

enum piix4_pm_irq {
    PIIX4_PM_SCI, /* level triggered, active while high; ISA interrupt 9 on this machine */
};

struct piix4_pm_config {
    /* SCI_EN is set at reset: for ACPI tables without an SMI command port (FADT.SMI_CMD 0). */
    bool acpi_at_reset;
};

/* create() takes NULL for the defaults (all false). */
extern const struct ringd_device_ops piix4_pm_ops;

/* piix4_pm_function_init - makes the function for 00:01.3. */
void piix4_pm_function_init(struct pci_function *fn);

/* piix4_pm_power_button - someone pressed the power button: sets PWRBTN_STS. For ringd_call(); `arg`: NULL, or a bool
 * that says whether the guest listens (ACPI is on, and the button may raise the SCI). */
void piix4_pm_power_button(void *self, void *arg);

RINGD_API_END

#endif
