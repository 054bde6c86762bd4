/* SPDX-License-Identifier: BSD-2-Clause */
#include "chips.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

/* The LAPIC's registers (Intel SDM vol. 3A, table 11-1), offsets into its page. */
#define LAPIC_SPURIOUS  0x0f0u
#define LAPIC_ON        0x1ffu /* bit 8, and the spurious vector 255 */
#define LAPIC_REQUESTED 0x200u /* eight words, 16 bytes apart */

#define STEP_NS  1000000
#define PATIENCE 5000u /* steps: only a bug takes as long */
#define QUIET    20u   /* steps in which what KVM left to its work queue has long come */

static void must(int ret, const char *what)
{
    if (ret >= 0)
        return;
    perror(what);
    exit(1);
}

static void get_lapic(const struct guest *guest, struct kvm_lapic_state *lapic)
{
    must(ioctl(guest->vcpus[0].fd, KVM_GET_LAPIC, lapic), "KVM_GET_LAPIC");
}

static struct kvm_irqchip get_chip(const struct guest *guest, unsigned id)
{
    struct kvm_irqchip chip = {.chip_id = id};
    must(ioctl(guest->vm, KVM_GET_IRQCHIP, &chip), "KVM_GET_IRQCHIP");
    return chip;
}

static void step(void)
{
    const struct timespec time = {.tv_nsec = STEP_NS};
    nanosleep(&time, NULL);
}

void chips_clear(const struct guest *guest)
{
    struct kvm_lapic_state lapic;
    const uint32_t on = LAPIC_ON;
    get_lapic(guest, &lapic);
    memcpy(lapic.regs + LAPIC_SPURIOUS, &on, sizeof(on));
    for (unsigned i = 0; i < 8; i++)
        memset(lapic.regs + LAPIC_REQUESTED + 16 * i, 0, 4);
    must(ioctl(guest->vcpus[0].fd, KVM_SET_LAPIC, &lapic), "KVM_SET_LAPIC");
}

bool chips_requested(const struct guest *guest, unsigned vector)
{
    struct kvm_lapic_state lapic;
    uint32_t word;
    get_lapic(guest, &lapic);
    memcpy(&word, lapic.regs + LAPIC_REQUESTED + 16 * (vector / 32), sizeof(word));
    return word >> vector % 32 & 1;
}

bool chips_await(const struct guest *guest, unsigned vector)
{
    for (unsigned i = 0; i < PATIENCE && !chips_requested(guest, vector); i++)
        step();
    return chips_requested(guest, vector);
}

bool chips_quiet(const struct guest *guest, unsigned vector)
{
    for (unsigned i = 0; i < QUIET * guest_slow(); i++)
        step();
    return !chips_requested(guest, vector);
}

void chips_redirect(const struct guest *guest, unsigned pin, unsigned vector, bool level)
{
    struct kvm_irqchip chip = get_chip(guest, KVM_IRQCHIP_IOAPIC);
    chip.chip.ioapic.redirtbl[pin].bits = 0; /* fixed, physical, to LAPIC 0, not masked */
    chip.chip.ioapic.redirtbl[pin].fields.vector = (__u8)vector;
    chip.chip.ioapic.redirtbl[pin].fields.trig_mode = level;
    must(ioctl(guest->vm, KVM_SET_IRQCHIP, &chip), "KVM_SET_IRQCHIP");
}

uint32_t chips_pins(const struct guest *guest)
{
    return get_chip(guest, KVM_IRQCHIP_IOAPIC).chip.ioapic.irr;
}

uint16_t chips_isa(const struct guest *guest)
{
    unsigned low = get_chip(guest, KVM_IRQCHIP_PIC_MASTER).chip.pic.last_irr;
    unsigned high = get_chip(guest, KVM_IRQCHIP_PIC_SLAVE).chip.pic.last_irr;
    return (uint16_t)(low | high << 8);
}
