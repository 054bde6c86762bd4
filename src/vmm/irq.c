/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/irq.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A pin takes two entries at most: PIC and IOAPIC. */
#define MAX_ROUTES (IRQ_ISA_LINES + IRQ_PINS + IRQ_MAX_MESSAGES)

void irq_clear(struct irq *irq)
{
    memset(irq, 0, sizeof(*irq));
    irq->vm_fd = -1;
    pthread_mutex_init(&irq->lock, NULL);
    for (unsigned i = 0; i < IRQ_ISA_LINES; i++)
        irq->isa_fds[i] = -1;
    for (unsigned i = 0; i < IRQ_PIRQS; i++)
        irq->pirq_isa[i] = -1;
}

int irq_init(struct irq *irq, int vm_fd)
{
    irq->vm_fd = vm_fd;
    return irq_routes_write(irq);
}

void irq_destroy(struct irq *irq)
{
    for (unsigned i = 0; i < IRQ_ISA_LINES; i++)
        if (irq->isa_fds[i] >= 0)
            close(irq->isa_fds[i]);
    pthread_mutex_destroy(&irq->lock);
}

/* ---- routes ---- */

static struct kvm_irq_routing_entry chip_entry(uint32_t gsi, uint32_t chip, uint32_t pin)
{
    return (struct kvm_irq_routing_entry){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = chip, .pin = pin}};
}

/* As a PC is wired: each ISA interrupt at the PICs and at the IOAPIC's pin of the same number, but interrupt 0 (the
 * PIT) at the IOAPIC's pin 2, where interrupt 2 cannot be, being the PICs' cascade. The firmware's tables say the same
 * (FW_CFG_KEY_IRQ0_OVERRIDE). */
static unsigned pin_entries(struct kvm_irq_routing_entry *entries)
{
    unsigned count = 0;
    for (uint32_t gsi = 0; gsi < IRQ_PINS; gsi++) {
        if (gsi == 2)
            continue;
        if (gsi < IRQ_ISA_LINES)
            entries[count++] = chip_entry(gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % 8);
        entries[count++] = chip_entry(gsi, KVM_IRQCHIP_IOAPIC, gsi ? gsi : 2);
    }
    return count;
}

int irq_routes_write(struct irq *irq)
{
    struct kvm_irq_routing *routing = calloc(1, sizeof(*routing) + MAX_ROUTES * sizeof(routing->entries[0]));
    if (!routing)
        return -ENOMEM;
    routing->nr = pin_entries(routing->entries);
    for (unsigned i = 0; i < irq->message_count; i++) {
        const struct irq_message *message = &irq->messages[i];
        if (!irq->message_set[i])
            continue;
        routing->entries[routing->nr++] = (struct kvm_irq_routing_entry){
            .gsi = IRQ_PINS + i,
            .type = KVM_IRQ_ROUTING_MSI,
            .u.msi = {.address_lo = (uint32_t)message->addr,
                      .address_hi = (uint32_t)(message->addr >> 32),
                      .data = message->data},
        };
    }
    int ret = ioctl(irq->vm_fd, KVM_SET_GSI_ROUTING, routing) < 0 ? -errno : 0;
    free(routing);
    return ret;
}

int irq_messages_add(struct irq *irq, unsigned count)
{
    if (count > IRQ_MAX_MESSAGES - irq->message_count)
        return -ENOSPC;
    unsigned first = irq->message_count;
    irq->message_count += count;
    return (int)(IRQ_PINS + first);
}

void irq_message_set(struct irq *irq, unsigned gsi, const struct irq_message *message)
{
    irq->messages[gsi - IRQ_PINS] = *message;
    irq->message_set[gsi - IRQ_PINS] = true;
}

int irq_attach(struct irq *irq, unsigned gsi, int fd, bool attach)
{
    struct kvm_irqfd request = {.fd = (__u32)fd, .gsi = gsi, .flags = attach ? 0 : KVM_IRQFD_FLAG_DEASSIGN};
    return ioctl(irq->vm_fd, KVM_IRQFD, &request) < 0 ? -errno : 0;
}

/* ---- legacy replacement ---- */

int irq_hpet_legacy(struct irq *irq, bool on)
{
    struct kvm_pit_state2 pit;
    if (ioctl(irq->vm_fd, KVM_GET_PIT2, &pit) < 0)
        return -errno;
    uint32_t flags = on ? pit.flags | KVM_PIT_FLAGS_HPET_LEGACY : pit.flags & ~(uint32_t)KVM_PIT_FLAGS_HPET_LEGACY;
    if (flags == pit.flags) /* writing the state anew starts the first channel from its count */
        return 0;
    pit.flags = flags;
    return ioctl(irq->vm_fd, KVM_SET_PIT2, &pit) < 0 ? -errno : 0;
}

/* ---- lines ---- */

int irq_isa_fd(struct irq *irq, unsigned line, int *fd)
{
    *fd = irq->isa_fds[line];
    if (*fd >= 0)
        return 0;
    int made = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made < 0)
        return -errno;
    int ret = irq_attach(irq, line, made, true);
    if (ret) {
        close(made);
        return ret;
    }
    *fd = irq->isa_fds[line] = made;
    return 0;
}

/* lock held. */
static void hold(struct irq *irq, unsigned gsi, bool level)
{
    unsigned before = irq->held[gsi];
    irq->held[gsi] = level ? before + 1 : before - 1;
    if (before && irq->held[gsi])
        return;
    struct kvm_irq_level line = {.irq = gsi, .level = level};
    (void)ioctl(irq->vm_fd, KVM_IRQ_LINE, &line); /* fails without an interrupt controller in the kernel only */
}

void irq_pin_hold(struct irq *irq, unsigned gsi, bool level)
{
    pthread_mutex_lock(&irq->lock);
    hold(irq, gsi, level);
    pthread_mutex_unlock(&irq->lock);
}

/* lock held. */
static void pirq_hold(struct irq *irq, unsigned pirq, bool level)
{
    unsigned before = irq->pirq[pirq];
    irq->pirq[pirq] = level ? before + 1 : before - 1;
    if (before && irq->pirq[pirq])
        return;
    if (irq->pirq_isa[pirq] >= 0)
        hold(irq, (unsigned)irq->pirq_isa[pirq], level);
    if (irq->pirq_pins)
        hold(irq, IRQ_ISA_LINES + pirq, level);
}

void irq_intx_set(struct irq *irq, struct irq_intx *intx, bool level)
{
    pthread_mutex_lock(&irq->lock);
    if (intx->level != level) {
        intx->level = level;
        if (intx->allowed)
            pirq_hold(irq, intx->pirq, level);
    }
    pthread_mutex_unlock(&irq->lock);
}

void irq_intx_allow(struct irq *irq, struct irq_intx *intx, bool allowed)
{
    pthread_mutex_lock(&irq->lock);
    if (intx->allowed != allowed) {
        intx->allowed = allowed;
        if (intx->level)
            pirq_hold(irq, intx->pirq, allowed);
    }
    pthread_mutex_unlock(&irq->lock);
}

void irq_pirq_route(struct irq *irq, unsigned pirq, int isa_line)
{
    pthread_mutex_lock(&irq->lock);
    int before = irq->pirq_isa[pirq];
    if (before != isa_line) {
        irq->pirq_isa[pirq] = isa_line;
        if (irq->pirq[pirq] && before >= 0)
            hold(irq, (unsigned)before, false);
        if (irq->pirq[pirq] && isa_line >= 0)
            hold(irq, (unsigned)isa_line, true);
    }
    pthread_mutex_unlock(&irq->lock);
}
