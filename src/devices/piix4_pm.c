/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/piix4_pm.h>

#include "devices/acpi_pm.h"
#include "devices/pci_registers.h"

/* Configuration space of function 3 (Intel 82371AB, data sheet 290562, section 7.1). */
#define PMBA          0x40u
#define PMBA_ADDR     0xffc0u
#define PMREGMISC     0x80u
#define PMREGMISC_IO  0x01u
#define DEVACTB       0x58u
#define DEVACTB_APMC  0x02000000u /* APMC_EN, bit 25 */
#define SMBUS_BASE_IO 0x00000001u

static const struct ringd_region piix4_pm_regions[] = {
    [PIIX4_PM_IO] = {.name = "pm-io",
                     .space = RINGD_PIO,
                     .size = 64,
                     .widths = 1 | 2 | 4,
                     .flags = RINGD_MOVABLE,
                     .effect = "PM1 status, enable and control (power-off), PM timer"},
    [PIIX4_PM_APM] = {.name = "apm",
                      .space = RINGD_PIO,
                      .offset = 0xb2,
                      .size = 2,
                      .widths = 1,
                      .effect = "0xB2 switches ACPI on and off; 0xB3 is a scratch byte"},
};

_Static_assert((int)PIIX4_PM_IO == ACPI_PM_REGION_IO && (int)PIIX4_PM_APM == ACPI_PM_REGION_APM &&
                   (int)PIIX4_PM_SCI == ACPI_PM_LINE_SCI && PIIX4_PM_ACPI_ENABLE == ACPI_PM_ENABLE &&
                   PIIX4_PM_ACPI_DISABLE == ACPI_PM_DISABLE,
               "one set of numbers");

static int piix4_pm_create(const struct ringd_env *env, const void *config, void **self)
{
    const struct piix4_pm_config *cfg = config;
    return acpi_pm_create(env, ACPI_PM_PIIX4, cfg && cfg->acpi_at_reset, self);
}

void piix4_pm_power_button(void *self, void *arg)
{
    bool heard = acpi_pm_power_button(self);
    if (arg)
        *(bool *)arg = heard;
}

const struct ringd_device_ops piix4_pm_ops = {
    .name = "piix4-pm",
    .summary = "ACPI power management of the 82371AB: PM1 registers and PM timer",
    .regions = piix4_pm_regions,
    .region_count = sizeof(piix4_pm_regions) / sizeof(piix4_pm_regions[0]),
    .irq_count = 1,
    .timer_count = 1,
    .create = piix4_pm_create,
    .destroy = acpi_pm_destroy,
    .read = acpi_pm_read,
    .write = acpi_pm_write,
    .timer = acpi_pm_timer,
    .reset = acpi_pm_reset,
    .counters = acpi_pm_counters,
};

/* The device resource and SMBus registers have no effect here; they keep what firmware writes. */
static const struct pci_register piix4_pm_registers[] = {
    {PCI_VENDOR_ID, 2, PCI_VENDOR_INTEL, 0, 0},
    {PCI_DEVICE_ID, 2, 0x7113, 0, 0},
    {PCI_COMMAND, 2, 0, PCI_COMMAND_IO, 0},
    {PCI_STATUS, 2, 0x0280, 0, PCI_STATUS_ERRORS},
    {PCI_REVISION_ID, 1, 0x03, 0, 0},
    {PCI_CLASS_CODE, 3, 0x068000, 0, 0}, /* other bridge */
    {PCI_INTERRUPT_LINE, 1, 0, 0xff, 0},
    {PCI_INTERRUPT_PIN, 1, 1, 0, 0},
    {PMBA, 4, 1, PMBA_ADDR, 0},
    {0x44, 4, 0, 0xffffffff, 0}, /* CNTA */
    {0x48, 4, 0, 0xffffffff, 0}, /* CNTB */
    {0x4c, 4, 0, 0xffffffff, 0}, /* GPICTL */
    {0x50, 4, 0, 0xffffffff, 0}, /* DEVRESD */
    {0x54, 4, 0, 0xffffffff, 0}, /* DEVACTA */
    /* Reset clears APMC_EN on the chip. SeaBIOS (src/fw/smm.c) takes it for a sign that the SMI handler is in place and
     * does not try to install one, for which it would need SMM. */
    {DEVACTB, 4, DEVACTB_APMC, 0xffffffff, 0},
    {0x5c, 4, 0, 0xffffffff, 0}, /* DEVRESA */
    {0x60, 4, 0, 0xffffffff, 0}, /* DEVRESB */
    {0x64, 4, 0, 0xffffffff, 0}, /* DEVRESC */
    {0x68, 4, 0, 0xffffffff, 0}, /* DEVRESE */
    {0x6c, 4, 0, 0xffffffff, 0}, /* DEVRESF */
    {0x70, 4, 0, 0xffffffff, 0}, /* DEVRESG */
    {0x74, 4, 0, 0xffffffff, 0}, /* DEVRESH */
    {0x78, 4, 0, 0xffffffff, 0}, /* DEVRESI */
    {0x7c, 4, 0, 0xffffffff, 0}, /* DEVRESJ */
    {PMREGMISC, 1, 0, PMREGMISC_IO, 0},
    {0x90, 4, SMBUS_BASE_IO, 0xfff0, 0}, /* SMBBA */
    {0xd2, 4, 0, 0xffffffff, 0},         /* SMBHSTCFG, SMBSLVC, SMBSHDW1, SMBSHDW2 */
};

static bool piix4_pm_window(const struct pci_function *fn, uint64_t *addr)
{
    *addr = (uint64_t)(fn->config[PMBA] | fn->config[PMBA + 1] << 8) & PMBA_ADDR;
    return fn->config[PMREGMISC] & PMREGMISC_IO && *addr;
}

void piix4_pm_function_init(struct pci_function *fn)
{
    pci_function_init(fn, "82371AB PM", piix4_pm_registers, sizeof(piix4_pm_registers) / sizeof(piix4_pm_registers[0]));
    fn->own_window = piix4_pm_window;
}
