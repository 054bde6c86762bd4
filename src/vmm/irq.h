/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts outside the devices: KVM's routing table; ISA lines that pulse, by irqfd; lines with a level, wired
 * together as on a board; and messages (MSI), each with a GSI of its own.
 *
 * A GSI below IRQ_PINS is a pin: of the IOAPIC, and below 16 of a PIC too.
 */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define IRQ_ISA_LINES    16u
#define IRQ_PINS         24u /* of the 82093AA, which KVM models */
#define IRQ_PIRQS        8u  /* PIRQA# to PIRQH#: a PIIX3 has four, an ICH9 eight */
#define IRQ_MAX_MESSAGES 1024u

/* Where a message goes: a write of `data` to `addr` (Intel SDM vol. 3A, 11.11). */
struct irq_message {
    uint64_t addr;
    uint32_t data;
};

/* A PCI function's interrupt pin. */
struct irq_intx {
    unsigned pirq; /* the line it is wired to; constant */
    bool level;    /* the device's wish; under the lock, like all below */
    bool allowed;  /* the configuration space does not forbid it */
};

struct irq {
    int vm_fd;
    int isa_fds[IRQ_ISA_LINES]; /* -1: not made. They change before the vCPUs run only */

    pthread_mutex_t lock;     /* innermost; held across KVM_IRQ_LINE, which does not sleep. Guards: */
    unsigned held[IRQ_PINS];  /* sources that hold the pin */
    unsigned pirq[IRQ_PIRQS]; /* sources that hold the PCI line */
    int pirq_isa[IRQ_PIRQS];  /* the ISA line that the bridge routes it to, -1: none */
    bool pirq_pins;           /* PIRQn# is also wired to the IOAPIC's pin 16 + n, as in an ICH */

    /* Of whoever holds the machine's apply_lock; before the vCPUs run, the main thread's. */
    unsigned message_count;
    bool message_set[IRQ_MAX_MESSAGES];
    struct irq_message messages[IRQ_MAX_MESSAGES];
};

/* irq_init - for a VM whose interrupt controllers are in the kernel; writes the routing table. 0, or -errno of
 * KVM_SET_GSI_ROUTING. irq_clear makes a struct safe for irq_destroy(), which closes what irq_init() and irq_isa_fd()
 * made. */
void irq_clear(struct irq *irq);
int irq_init(struct irq *irq, int vm_fd);
void irq_destroy(struct irq *irq);

/* irq_isa_fd - the eventfd that pulses ISA line `line`, made when first asked for; stays irq's. 0 or -errno. Main
 * thread, before the vCPUs run. */
int irq_isa_fd(struct irq *irq, unsigned line, int *fd);

/*
 * irq_hpet_legacy - an HPET stands in for the PIT, which has no interrupt meanwhile; or no more. The RTC keeps
 * interrupt 8 (docs/devices/hpet.md). 0 or -errno of KVM_GET_PIT2 or KVM_SET_PIT2. No device's lock is held. Thread:
 * whoever holds the machine's apply_lock.
 */
int irq_hpet_legacy(struct irq *irq, bool on);

/* irq_pin_hold - one source more (or less) holds pin `gsi`, which is high as long as there is one. Each source calls it
 * for its own changes only. Any thread, from under a device's lock. */
void irq_pin_hold(struct irq *irq, unsigned gsi, bool level);

/* irq_intx_set, irq_intx_allow - the two things that decide whether a function's pin is high. As irq_pin_hold(). */
void irq_intx_set(struct irq *irq, struct irq_intx *intx, bool level);
void irq_intx_allow(struct irq *irq, struct irq_intx *intx, bool allowed);

/* irq_pirq_route - which ISA line a PCI line is routed to, -1: none. A line that is held moves. As irq_pin_hold(). */
void irq_pirq_route(struct irq *irq, unsigned pirq, int isa_line);

/* irq_messages_add - GSIs for `count` messages, which lead nowhere yet. The first, or -ENOSPC. */
int irq_messages_add(struct irq *irq, unsigned count);

/* irq_message_set - where GSI `gsi`, from irq_messages_add(), leads; in force after irq_routes_write(), which is true
 * for all that were set before it. irq_routes_write: 0 or -errno. May wait for the kernel; no device's lock is held. */
void irq_message_set(struct irq *irq, unsigned gsi, const struct irq_message *message);
int irq_routes_write(struct irq *irq);

/* irq_attach - from now on (or no more) `fd` raises `gsi`. What stands in the eventfd already is raised too. 0 or
 * -errno. */
int irq_attach(struct irq *irq, unsigned gsi, int fd, bool attach);

#endif
