/* SPDX-License-Identifier: BSD-2-Clause */
#include "devices/acpi_pm.h"

#include <errno.h>
#include <stdlib.h>

/* The PM1 registers of the ACPI specification, 4.8.3, where both chips have them (PIIX4: data sheet 290562,
 * section 7.2; ICH9: data sheet 316972, section 13.8.3). */
#define PM1_STS 0x00u
#define PM1_CNT 0x04u
#define PM_TMR  0x08u

/* The ICH9's beside them: section 13.8.3. */
#define GPE0_STS       0x20u
#define GPE0_EN        0x28u
#define GPE0_EN_BYTES  8u
#define SMI_EN         0x30u
#define SMI_EN_APMC_EN 0x20u

#define TMR_STS    0x0001u
#define GBL_STS    0x0020u
#define PWRBTN_STS 0x0100u
#define RTC_STS    0x0400u

#define EVENTS           (TMR_STS | GBL_STS | PWRBTN_STS | RTC_STS) /* those with an enable bit, which raise the SCI */
#define SCI_EN           0x0001u
#define BM_RLD           0x0002u
#define SLP_TYP          0x1c00u
#define SLP_TYP_OFF      0x0000u
#define SLP_TYP_OFF_ICH9 0x1c00u
#define SLP_EN           0x2000u /* write-only */
#define CNT_WRITABLE     (SCI_EN | BM_RLD | SLP_TYP)

#define TMR_HZ    UINT64_C(3579545)
#define TMR_MASK  0xffffffu /* 24 bits */
#define TMR_CARRY 23        /* TMR_STS is set by each change of the top bit (ACPI, PM1 status registers) */

#define NS_PER_S UINT64_C(1000000000)

struct acpi_pm {
    const struct ringd_env *env;
    enum acpi_pm_chip chip;
    bool acpi_at_reset;
    uint16_t status; /* but for TMR_STS, which follows from time */
    uint16_t enable;
    uint16_t control;
    uint64_t gpe_enable;    /* ICH9: no general-purpose event ever happens */
    uint32_t smi_enable;    /* ICH9: keeps what firmware writes */
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

/* Counts since timer_base, without the 24-bit wrap. Seconds apart, so that nothing overflows. */
static uint64_t timer_counts(const struct acpi_pm *pm)
{
    uint64_t ns = pm->env->ops->now(pm->env) - pm->timer_base;
    return ns / NS_PER_S * TMR_HZ + ns % NS_PER_S * TMR_HZ / NS_PER_S;
}

/* The first time at which timer_counts() is `counts`, ns. */
static uint64_t timer_time(const struct acpi_pm *pm, uint64_t counts)
{
    uint64_t rest = (counts % TMR_HZ * NS_PER_S + TMR_HZ - 1) / TMR_HZ;
    return pm->timer_base + counts / TMR_HZ * NS_PER_S + rest;
}

static uint64_t carries(const struct acpi_pm *pm)
{
    return timer_counts(pm) >> TMR_CARRY;
}

static uint16_t current_status(const struct acpi_pm *pm)
{
    return (uint16_t)(pm->status | (carries(pm) != pm->carries_acked ? TMR_STS : 0));
}

/* Brings the SCI and the timer in line with the registers. The timer runs only while its event would raise the SCI. */
static void update(struct acpi_pm *pm)
{
    uint16_t status = current_status(pm);
    bool level = pm->control & SCI_EN && status & pm->enable;
    uint64_t deadline = RINGD_NEVER;
    if (pm->control & SCI_EN && pm->enable & TMR_STS && !(status & TMR_STS))
        deadline = timer_time(pm, (pm->carries_acked + 1) << TMR_CARRY);

    if (level != pm->sci_level) {
        pm->sci_level = level;
        pm->sci += level;
        pm->env->ops->irq_set(pm->env, ACPI_PM_LINE_SCI, level);
    }
    if (deadline != pm->deadline) {
        pm->deadline = deadline;
        pm->env->ops->timer_set(pm->env, 0, deadline);
    }
}

static uint32_t io_dword(const struct acpi_pm *pm, uint64_t offset)
{
    switch (offset) {
    case PM_TMR:
        return (uint32_t)timer_counts(pm) & TMR_MASK;
    case PM1_STS:
        return current_status(pm) | (uint32_t)pm->enable << 16;
    case PM1_CNT:
        return pm->control;
    default:
        break;
    }
    if (pm->chip != ACPI_PM_ICH9)
        return 0;
    switch (offset) {
    case GPE0_EN:
        return (uint32_t)pm->gpe_enable;
    case GPE0_EN + 4:
        return (uint32_t)(pm->gpe_enable >> 32);
    case SMI_EN:
        return pm->smi_enable;
    default:
        return 0;
    }
}

static uint64_t io_read(const struct acpi_pm *pm, uint64_t offset, unsigned width)
{
    unsigned lane = offset & 3;
    uint64_t value = io_dword(pm, offset - lane);
    if (lane + width > 4)
        value |= (uint64_t)io_dword(pm, offset - lane + 4) << 32;
    return value >> (8 * lane) & (UINT32_MAX >> (32 - 8 * width));
}

static void control_written(struct acpi_pm *pm, uint16_t value)
{
    pm->control = value & CNT_WRITABLE;
    if (!(value & SLP_EN))
        return;
    unsigned type = value & SLP_TYP;
    /* The ICH9 calls its soft-off 7. OVMF switches either chip set off by 0. */
    if (type == SLP_TYP_OFF || (pm->chip == ACPI_PM_ICH9 && type == SLP_TYP_OFF_ICH9)) {
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

/* Replaces the bytes of a register of `bytes` bytes at `at` that the write covers. */
static uint64_t patch(uint64_t old, unsigned at, unsigned bytes, uint64_t offset, unsigned width, uint64_t value)
{
    for (unsigned i = 0; i < width; i++) {
        uint64_t byte = offset + i - at; /* wraps below the register */
        if (byte >= bytes)
            continue;
        old = (old & ~(UINT64_C(0xff) << (8 * byte))) | (value >> (8 * i) & 0xff) << (8 * byte);
    }
    return old;
}

static void ich9_write(struct acpi_pm *pm, uint64_t offset, unsigned width, uint64_t value)
{
    pm->gpe_enable = patch(pm->gpe_enable, GPE0_EN, GPE0_EN_BYTES, offset, width, value);
    pm->smi_enable = (uint32_t)patch(pm->smi_enable, SMI_EN, 4, offset, width, value);
}

static void io_write(struct acpi_pm *pm, uint64_t offset, unsigned width, uint64_t value)
{
    if (pm->chip == ACPI_PM_ICH9)
        ich9_write(pm, offset, width, value);
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
static void apm_write(struct acpi_pm *pm, uint64_t offset, uint8_t value)
{
    pm->apm[offset & 1] = value;
    if (offset != 0)
        return;
    pm->apm_commands++;
    if (value == ACPI_PM_ENABLE)
        pm->control |= SCI_EN;
    else if (value == ACPI_PM_DISABLE)
        pm->control &= (uint16_t)~SCI_EN;
    update(pm);
}

uint64_t acpi_pm_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct acpi_pm *pm = self;
    if (region == ACPI_PM_REGION_APM)
        return pm->apm[offset & 1];
    return io_read(pm, offset, width);
}

void acpi_pm_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    if (region == ACPI_PM_REGION_APM)
        apm_write(self, offset, (uint8_t)value);
    else
        io_write(self, offset, width, value);
}

void acpi_pm_timer(void *self, unsigned timer)
{
    struct acpi_pm *pm = self;
    (void)timer;
    pm->deadline = RINGD_NEVER;
    update(pm);
}

bool acpi_pm_power_button(void *self)
{
    struct acpi_pm *pm = self;
    bool heard = pm->control & SCI_EN && pm->enable & PWRBTN_STS;
    pm->status |= PWRBTN_STS;
    update(pm);
    return heard;
}

void acpi_pm_reset(void *self)
{
    struct acpi_pm *pm = self;
    pm->status = 0;
    pm->enable = 0;
    pm->control = pm->acpi_at_reset ? SCI_EN : 0;
    pm->gpe_enable = 0;
    /* Reset clears it on the chip. SeaBIOS (src/fw/smm.c) takes APMC_EN for a sign that the SMI handler is in place. */
    pm->smi_enable = SMI_EN_APMC_EN;
    pm->apm[0] = pm->apm[1] = 0;
    pm->timer_base = pm->env->ops->now(pm->env);
    pm->carries_acked = 0;
    update(pm);
}

int acpi_pm_create(const struct ringd_env *env, enum acpi_pm_chip chip, bool acpi_at_reset, void **self)
{
    struct acpi_pm *pm = calloc(1, sizeof(*pm));
    if (!pm)
        return -ENOMEM;
    pm->env = env;
    pm->chip = chip;
    pm->acpi_at_reset = acpi_at_reset;
    pm->deadline = RINGD_NEVER;
    acpi_pm_reset(pm);
    *self = pm;
    return 0;
}

void acpi_pm_destroy(void *self)
{
    free(self);
}

unsigned acpi_pm_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct acpi_pm *pm = self;
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
