/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/ich9.h>

#include <string.h>

#include "devices/acpi_pm.h"
#include "devices/pci_registers.h"

/* Configuration space of the LPC bridge (Intel I/O Controller Hub 9, data sheet 316972, section 13.1). */
#define PMBASE         0x40u
#define PMBASE_ADDR    0xff80u
#define ACPI_CNTL      0x44u
#define ACPI_CNTL_EN   0x80u
#define ACPI_CNTL_SCI  0x07u
#define PIRQ_A         0x60u
#define PIRQ_E         0x68u
#define PIRQ_DISABLED  0x80u
#define PIRQ_WRITABLE  0x8fu
#define SMI_LOCK       0x10u
#define RCBA           0xf0u
#define RCBA_WRITABLE  0xffffc001u
#define GPIOBASE_ADDR  0xff80u
#define BASE_IS_PORT   0x01u
#define PIRQS_TOGETHER 4u

static const struct pci_register ich9_lpc_registers[] = {
    {PCI_VENDOR_ID, 2, PCI_VENDOR_INTEL, 0, 0},
    {PCI_DEVICE_ID, 2, 0x2918, 0, 0},
    {PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0x0140, 0}, /* bits 2:0 are wired on */
    {PCI_STATUS, 2, 0x0200, 0, PCI_STATUS_ERRORS},
    {PCI_REVISION_ID, 1, 0x02, 0, 0},
    {PCI_CLASS_CODE, 3, 0x060100, 0, 0}, /* ISA bridge */
    {PCI_HEADER_TYPE, 1, PCI_HEADER_MULTIFUNCTION, 0, 0},
    {PCI_SUBSYSTEM_VENDOR_ID, 4, 0, 0, 0},
    {PMBASE, 4, BASE_IS_PORT, PMBASE_ADDR, 0},
    {ACPI_CNTL, 1, 0, ACPI_CNTL_EN | ACPI_CNTL_SCI, 0},
    {0x48, 4, BASE_IS_PORT, GPIOBASE_ADDR, 0}, /* GPIOBASE */
    {0x4c, 1, 0, 0x11, 0},                     /* GC */
    {PIRQ_A, 1, PIRQ_DISABLED, PIRQ_WRITABLE, 0},
    {PIRQ_A + 1, 1, PIRQ_DISABLED, PIRQ_WRITABLE, 0},
    {PIRQ_A + 2, 1, PIRQ_DISABLED, PIRQ_WRITABLE, 0},
    {PIRQ_A + 3, 1, PIRQ_DISABLED, PIRQ_WRITABLE, 0},
    {0x64, 1, 0x10, 0xdf, 0}, /* SIRQ_CNTL */
    {PIRQ_E, 1, PIRQ_DISABLED, PIRQ_WRITABLE, 0},
    {PIRQ_E + 1, 1, PIRQ_DISABLED, PIRQ_WRITABLE, 0},
    {PIRQ_E + 2, 1, PIRQ_DISABLED, PIRQ_WRITABLE, 0},
    {PIRQ_E + 3, 1, PIRQ_DISABLED, PIRQ_WRITABLE, 0},
    {0x80, 2, 0, 0x1377, 0},              /* LPC_IO_DEC */
    {0x82, 2, 0, 0x3f0f, 0},              /* LPC_EN */
    {0x84, 4, 0, 0x00fcfffd, 0},          /* GEN1_DEC */
    {0x88, 4, 0, 0x00fcfffd, 0},          /* GEN2_DEC */
    {0x8c, 4, 0, 0x00fcfffd, 0},          /* GEN3_DEC */
    {0x90, 4, 0, 0x00fcfffd, 0},          /* GEN4_DEC */
    {0xa0, 2, 0, 0x16af & ~SMI_LOCK, 0},  /* GEN_PMCON_1; SMI_LOCK stays open: there is no SMM to lock */
    {0xa4, 1, 0, 0xff, 0},                /* GEN_PMCON_3 */
    {0xd8, 4, 0x00112233, 0xffffffff, 0}, /* FWH_SEL1 */
    {0xdc, 1, 0, 0x1f, 0},                /* BIOS_CNTL */
    {RCBA, 4, 0, RCBA_WRITABLE, 0},       /* nothing of the root complex's registers is there */
};

static void routes(const struct pci_function *fn, uint8_t out[ICH9_PIRQ_COUNT])
{
    memcpy(out, &fn->config[PIRQ_A], PIRQS_TOGETHER);
    memcpy(out + PIRQS_TOGETHER, &fn->config[PIRQ_E], PIRQS_TOGETHER);
}

static void announce_pirq(struct ich9_lpc *bridge)
{
    const struct pci_sink *sink = bridge->function.sink;
    uint8_t now[ICH9_PIRQ_COUNT];
    routes(&bridge->function, now);
    if (!memcmp(bridge->route, now, sizeof(now)))
        return;
    memcpy(bridge->route, now, sizeof(now));
    if (sink && sink->pirq_changed)
        sink->pirq_changed(sink->ctx, bridge->route, ICH9_PIRQ_COUNT);
}

static void ich9_lpc_written(struct pci_function *fn, unsigned offset, unsigned width)
{
    (void)offset;
    (void)width;
    announce_pirq((struct ich9_lpc *)fn);
}

static void ich9_lpc_reset(struct pci_function *fn)
{
    announce_pirq((struct ich9_lpc *)fn);
}

static bool ich9_lpc_window(const struct pci_function *fn, uint64_t *addr)
{
    *addr = (uint64_t)(fn->config[PMBASE] | fn->config[PMBASE + 1] << 8) & PMBASE_ADDR;
    return fn->config[ACPI_CNTL] & ACPI_CNTL_EN && *addr;
}

void ich9_lpc_init(struct ich9_lpc *bridge)
{
    memset(bridge, 0, sizeof(*bridge));
    pci_function_init(&bridge->function, "82801IB LPC", ich9_lpc_registers,
                      sizeof(ich9_lpc_registers) / sizeof(ich9_lpc_registers[0]));
    routes(&bridge->function, bridge->route);
    bridge->function.config_written = ich9_lpc_written;
    bridge->function.reset = ich9_lpc_reset;
    bridge->function.own_window = ich9_lpc_window;
}

/* ---- power management ---- */

_Static_assert((int)ICH9_PM_IO == ACPI_PM_REGION_IO && (int)ICH9_PM_APM == ACPI_PM_REGION_APM &&
                   (int)ICH9_PM_SCI == ACPI_PM_LINE_SCI && ICH9_PM_ACPI_ENABLE == ACPI_PM_ENABLE &&
                   ICH9_PM_ACPI_DISABLE == ACPI_PM_DISABLE,
               "one set of numbers");

static const struct ringd_region ich9_pm_regions[] = {
    [ICH9_PM_IO] = {.name = "pm-io",
                    .space = RINGD_PIO,
                    .size = 128,
                    .widths = 1 | 2 | 4,
                    .flags = RINGD_MOVABLE,
                    .effect = "PM1 status, enable and control (power-off), PM timer, GPE0 enable"},
    [ICH9_PM_APM] = {.name = "apm",
                     .space = RINGD_PIO,
                     .offset = 0xb2,
                     .size = 2,
                     .widths = 1,
                     .effect = "0xB2 switches ACPI on and off; 0xB3 is a scratch byte"},
};

static int ich9_pm_create(const struct ringd_env *env, const void *config, void **self)
{
    const struct ich9_pm_config *cfg = config;
    return acpi_pm_create(env, ACPI_PM_ICH9, cfg && cfg->acpi_at_reset, self);
}

void ich9_pm_power_button(void *self, void *arg)
{
    bool heard = acpi_pm_power_button(self);
    if (arg)
        *(bool *)arg = heard;
}

const struct ringd_device_ops ich9_pm_ops = {
    .name = "ich9-pm",
    .summary = "ACPI power management of the ICH9: PM1 registers, PM timer, GPE0",
    .regions = ich9_pm_regions,
    .region_count = sizeof(ich9_pm_regions) / sizeof(ich9_pm_regions[0]),
    .irq_count = 1,
    .timer_count = 1,
    .create = ich9_pm_create,
    .destroy = acpi_pm_destroy,
    .read = acpi_pm_read,
    .write = acpi_pm_write,
    .timer = acpi_pm_timer,
    .reset = acpi_pm_reset,
    .counters = acpi_pm_counters,
};
