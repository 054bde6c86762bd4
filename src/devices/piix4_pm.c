/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/piix4_pm.h>

#include <errno.h>
#include <stdlib.h>

#include "devices/pci_registers.h"

/* Configuration space of function 3 (Intel 82371AB, data sheet 290562, section 7.1). */
#define PMBA          0x40u
#define PMBA_ADDR     0xffc0u
#define PMREGMISC     0x80u
#define PMREGMISC_IO  0x01u
#define DEVACTB       0x58u
#define DEVACTB_APMC  0x02000000u /* APMC_EN, bit 25 */
#define SMBUS_BASE_IO 0x00000001u

/* I/O registers (data sheet, section 7.2; the PM1 registers of the ACPI specification, 4.8.3). */
#define PM1_STS     0x00u
#define PM1_CNT     0x04u
#define PM_TMR      0x08u
#define PM_IO_BYTES 64u

#define TMR_STS    0x0001u
#define GBL_STS    0x0020u
#define PWRBTN_STS 0x0100u
#define RTC_STS    0x0400u

#define EVENTS       (TMR_STS | GBL_STS | PWRBTN_STS | RTC_STS) /* those with an enable bit, which raise the SCI */
#define SCI_EN       0x0001u
#define BM_RLD       0x0002u
#define SLP_TYP      0x1c00u
#define SLP_TYP_OFF  0x0000u
#define SLP_EN       0x2000u /* write-only */
#define CNT_WRITABLE (SCI_EN | BM_RLD | SLP_TYP)

#define TMR_HZ    UINT64_C(3579545)
#define TMR_MASK  0xffffffu /* 24 bits */
#define TMR_CARRY 23        /* TMR_STS is set by each change of the top bit (ACPI, PM1 status registers) */

#define NS_PER_S UINT64_C(1000000000)

struct piix4_pm {
    const struct ringd_env *env;
    bool acpi_at_reset;
    uint16_t status; /* but for TMR_STS, which follows from time */
    uint16_t enable;
    uint16_t control;
    uint8_t apm[2];         /* APMC, APMS */
    uint64_t timer_base;    /* now() when the PM timer was 0, ns */
    uint64_t carries_acked; /* changes of the timer's top bit that the guest has cleared from PM1_STS */
    uint64_t deadline;      /* of the env's timer */

    uint64_t carry_events;
    uint64_t sci;
    bool sci_level;
    uint64_t poweroffs;
    uint64_t sleeps_ignored;
    uint64_t apm_commands;
};

static const struct ringd_region piix4_pm_regions[] = {
    [PIIX4_PM_IO] = {.name = "pm-io",
                     .space = RINGD_PIO,
                     .size = PM_IO_BYTES,
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

/* Counts since timer_base, without the 24-bit wrap. Seconds apart, so that nothing overflows. */
static uint64_t timer_counts(const struct piix4_pm *pm)
{
    uint64_t ns = pm->env->ops->now(pm->env) - pm->timer_base;
    return ns / NS_PER_S * TMR_HZ + ns % NS_PER_S * TMR_HZ / NS_PER_S;
}

/* The first time at which timer_counts() is `counts`, ns. */
static uint64_t timer_time(const struct piix4_pm *pm, uint64_t counts)
{
    uint64_t rest = (counts % TMR_HZ * NS_PER_S + TMR_HZ - 1) / TMR_HZ;
    return pm->timer_base + counts / TMR_HZ * NS_PER_S + rest;
}

static uint64_t carries(const struct piix4_pm *pm)
{
    return timer_counts(pm) >> TMR_CARRY;
}

static uint16_t current_status(const struct piix4_pm *pm)
{
    return (uint16_t)(pm->status | (carries(pm) != pm->carries_acked ? TMR_STS : 0));
}

/* Brings the SCI and the timer in line with the registers. The timer runs only while its event would raise the SCI. */
static void update(struct piix4_pm *pm)
{
    uint16_t status = current_status(pm);
    bool level = pm->control & SCI_EN && status & pm->enable;
    uint64_t deadline = RINGD_NEVER;
    if (pm->control & SCI_EN && pm->enable & TMR_STS && !(status & TMR_STS))
        deadline = timer_time(pm, (pm->carries_acked + 1) << TMR_CARRY);

    if (level != pm->sci_level) {
        pm->sci_level = level;
        pm->sci += level;
        pm->env->ops->irq_set(pm->env, PIIX4_PM_SCI, level);
    }
    if (deadline != pm->deadline) {
        pm->deadline = deadline;
        pm->env->ops->timer_set(pm->env, 0, deadline);
    }
}

static uint32_t io_dword(const struct piix4_pm *pm, uint64_t offset)
{
    switch (offset) {
    case PM_TMR:
        return (uint32_t)timer_counts(pm) & TMR_MASK;
    case PM1_STS:
        return current_status(pm) | (uint32_t)pm->enable << 16;
    case PM1_CNT:
        return pm->control;
    default:
        return 0;
    }
}

static uint64_t io_read(const struct piix4_pm *pm, uint64_t offset, unsigned width)
{
    unsigned lane = offset & 3;
    uint64_t value = io_dword(pm, offset - lane);
    if (lane + width > 4)
        value |= (uint64_t)io_dword(pm, offset - lane + 4) << 32;
    return value >> (8 * lane) & (UINT32_MAX >> (32 - 8 * width));
}

static void control_written(struct piix4_pm *pm, uint16_t value)
{
    pm->control = value & CNT_WRITABLE;
    if (!(value & SLP_EN))
        return;
    if ((value & SLP_TYP) == SLP_TYP_OFF) {
        pm->poweroffs++;
        pm->env->ops->event(pm->env, RINGD_EVENT_POWEROFF, 0);
    } else {
        pm->sleeps_ignored++;
    }
}

/* Replaces those bytes of `old` that the write covers; `bytes` has the write's bytes at register offsets 0 to 7. */
static uint16_t merge(uint16_t old, unsigned at, uint64_t bytes, uint64_t covered)
{
    uint16_t mask = (uint16_t)(covered >> (8 * at));
    return (uint16_t)((old & ~mask) | ((bytes >> (8 * at)) & mask));
}

static void io_write(struct piix4_pm *pm, uint64_t offset, unsigned width, uint64_t value)
{
    if (offset >= PM1_CNT + 2)
        return;
    uint64_t covered = (UINT64_C(1) << (8 * width)) - 1;
    uint64_t bytes = (value & covered) << (8 * offset);
    covered <<= 8 * offset;

    uint16_t cleared = merge(0, 0, bytes, covered);
    if (cleared & TMR_STS) {
        uint64_t seen = carries(pm);
        pm->carry_events += seen != pm->carries_acked;
        pm->carries_acked = seen;
    }
    pm->status = (uint16_t)(pm->status & ~cleared);
    pm->enable = merge(pm->enable, 2, bytes, covered) & EVENTS;
    if (covered >> (8 * PM1_CNT) & 0xffff)
        control_written(pm, merge(pm->control, 4, bytes, covered));
    update(pm);
}

/* On the real chip a write to APMC raises an SMI and the firmware's handler sets SCI_EN. There is no SMM here: the
 * model does what the handler would. */
static void apm_write(struct piix4_pm *pm, uint64_t offset, uint8_t value)
{
    pm->apm[offset & 1] = value;
    if (offset != 0)
        return;
    pm->apm_commands++;
    if (value == PIIX4_PM_ACPI_ENABLE)
        pm->control |= SCI_EN;
    else if (value == PIIX4_PM_ACPI_DISABLE)
        pm->control &= (uint16_t)~SCI_EN;
    update(pm);
}

static uint64_t piix4_pm_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct piix4_pm *pm = self;
    if (region == PIIX4_PM_APM)
        return pm->apm[offset & 1];
    return io_read(pm, offset, width);
}

static void piix4_pm_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    if (region == PIIX4_PM_APM)
        apm_write(self, offset, (uint8_t)value);
    else
        io_write(self, offset, width, value);
}

static void piix4_pm_timer(void *self, unsigned timer)
{
    struct piix4_pm *pm = self;
    (void)timer;
    pm->deadline = RINGD_NEVER;
    update(pm);
}

void piix4_pm_power_button(void *self, void *arg)
{
    struct piix4_pm *pm = self;
    (void)arg;
    pm->status |= PWRBTN_STS;
    update(pm);
}

static void piix4_pm_reset(void *self)
{
    struct piix4_pm *pm = self;
    pm->status = 0;
    pm->enable = 0;
    pm->control = pm->acpi_at_reset ? SCI_EN : 0;
    pm->apm[0] = pm->apm[1] = 0;
    pm->timer_base = pm->env->ops->now(pm->env);
    pm->carries_acked = 0;
    update(pm);
}

static int piix4_pm_create(const struct ringd_env *env, const void *config, void **self)
{
    const struct piix4_pm_config *cfg = config;
    struct piix4_pm *pm = calloc(1, sizeof(*pm));
    if (!pm)
        return -ENOMEM;
    pm->env = env;
    pm->acpi_at_reset = cfg && cfg->acpi_at_reset;
    pm->deadline = RINGD_NEVER;
    piix4_pm_reset(pm);
    *self = pm;
    return 0;
}

static void piix4_pm_destroy(void *self)
{
    free(self);
}

static unsigned piix4_pm_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct piix4_pm *pm = self;
    const struct ringd_counter all[] = {
        {"sci", pm->sci},
        {"timer-carries", pm->carry_events},
        {"poweroffs", pm->poweroffs},
        {"sleeps-ignored", pm->sleeps_ignored},
        {"apm-commands", pm->apm_commands},
    };
    unsigned count = sizeof(all) / sizeof(all[0]);
    for (unsigned i = 0; i < count && i < max; i++)
        counters[i] = all[i];
    return count;
}

const struct ringd_device_ops piix4_pm_ops = {
    .name = "piix4-pm",
    .summary = "ACPI power management of the 82371AB: PM1 registers and PM timer",
    .regions = piix4_pm_regions,
    .region_count = sizeof(piix4_pm_regions) / sizeof(piix4_pm_regions[0]),
    .irq_count = 1,
    .timer_count = 1,
    .create = piix4_pm_create,
    .destroy = piix4_pm_destroy,
    .read = piix4_pm_read,
    .write = piix4_pm_write,
    .timer = piix4_pm_timer,
    .reset = piix4_pm_reset,
    .counters = piix4_pm_counters,
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
