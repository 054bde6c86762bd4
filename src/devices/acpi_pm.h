/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI power management as the south bridges have it: PM1 registers, PM timer, the APM ports, and the ICH9's few more.
 * The chips' own files make devices of it; docs/devices/piix4_pm.md and ich9.md have the registers.
 */
#ifndef DEVICES_ACPI_PM_H
#define DEVICES_ACPI_PM_H

#include <ringd/device.h>

enum acpi_pm_chip { ACPI_PM_PIIX4, ACPI_PM_ICH9 };

enum { ACPI_PM_REGION_IO, ACPI_PM_REGION_APM };
enum { ACPI_PM_LINE_SCI };

/* What the APM control port 0xB2 takes for "ACPI on" and "ACPI off". */
#define ACPI_PM_ENABLE  0xf1u
#define ACPI_PM_DISABLE 0xf0u

/* Operations of the device; the last two arguments of create() are what the chip's own takes from its configuration. */
int acpi_pm_create(const struct ringd_env *env, enum acpi_pm_chip chip, bool acpi_at_reset, void **self);
void acpi_pm_destroy(void *self);
uint64_t acpi_pm_read(void *self, unsigned region, uint64_t offset, unsigned width);
void acpi_pm_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value);
void acpi_pm_timer(void *self, unsigned timer);
void acpi_pm_reset(void *self);
unsigned acpi_pm_counters(void *self, struct ringd_counter *counters, unsigned max);

/* Sets PWRBTN_STS. Does the guest listen (ACPI is on, and the button may raise the SCI)? */
bool acpi_pm_power_button(void *self);

#endif
