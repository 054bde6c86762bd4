/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/piix3.h>

#include <string.h>

#include "devices/pci_registers.h"

/* PIRQ route control: bit 7 switches routing off, bits 3:0 are the interrupt. */
#define PIRQ_DISABLED 0x80u
#define PIRQ_IRQ      0x0fu
#define PIRQ_WRITABLE (PIRQ_DISABLED | PIRQ_IRQ)

/* The interrupts that PCI may have: 3 to 7, 9 to 12, 14 and 15. */
#define PIRQ_IRQS_VALID 0xdef8u

/* Offsets and defaults: Intel 82371FB/82371SB, data sheet 290550, section 2.2. But for the PIRQ registers none has an
 * effect here; they keep what firmware writes. */
static const struct pci_register piix3_registers[] = {
    {PCI_VENDOR_ID, 2, PCI_VENDOR_INTEL, 0, 0},
    {PCI_DEVICE_ID, 2, 0x7000, 0, 0},
    {PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0x0108, 0}, /* bits 2:0 are wired on */
    {PCI_STATUS, 2, 0x0200, 0, PCI_STATUS_ERRORS},
    {PCI_CLASS_CODE, 3, 0x060100, 0, 0}, /* ISA bridge */
    {PCI_HEADER_TYPE, 1, PCI_HEADER_MULTIFUNCTION, 0, 0},
    {0x4c, 1, 0x4d, 0xff, 0},     /* IORT */
    {0x4e, 2, 0x0003, 0xffff, 0}, /* XBCS */
    {PIIX3_PIRQ, 1, PIRQ_DISABLED, PIRQ_WRITABLE, 0},
    {PIIX3_PIRQ + 1, 1, PIRQ_DISABLED, PIRQ_WRITABLE, 0},
    {PIIX3_PIRQ + 2, 1, PIRQ_DISABLED, PIRQ_WRITABLE, 0},
    {PIIX3_PIRQ + 3, 1, PIRQ_DISABLED, PIRQ_WRITABLE, 0},
    {0x69, 1, 0x02, 0xff, 0},     /* TOM */
    {0x6a, 2, 0x0000, 0xffff, 0}, /* MSTAT */
    {0x70, 1, 0x80, 0xff, 0},     /* MBIRQ0 */
    {0x76, 2, 0x0c0c, 0xffff, 0}, /* MBDMA0, MBDMA1 */
    {0x78, 2, 0x0002, 0xffff, 0}, /* PCSC */
    {0x80, 1, 0x00, 0xff, 0},     /* APICBASE: the IOAPIC is KVM's and stays at 0xFEC00000 */
    {0x82, 1, 0x00, 0xff, 0},     /* DLC */
    {0xa0, 1, 0x08, 0xff, 0},     /* SMICNTL */
    {0xa2, 2, 0x0000, 0xffff, 0}, /* SMIEN */
    {0xa4, 4, 0, 0xffffffff, 0},  /* SEE */
    {0xa8, 1, 0x0f, 0xff, 0},     /* FTMR */
    {0xaa, 2, 0x0000, 0xffff, 0}, /* SMIREQ */
    {0xac, 1, 0x00, 0xff, 0},     /* CTLTMR */
    {0xae, 1, 0x00, 0xff, 0},     /* CTHTMR */
};

static void announce_pirq(struct piix3 *bridge)
{
    const struct pci_sink *sink = bridge->function.sink;
    if (!memcmp(bridge->route, &bridge->function.config[PIIX3_PIRQ], sizeof(bridge->route)))
        return;
    memcpy(bridge->route, &bridge->function.config[PIIX3_PIRQ], sizeof(bridge->route));
    if (sink && sink->pirq_changed)
        sink->pirq_changed(sink->ctx, bridge->route, sizeof(bridge->route));
}

static void piix3_written(struct pci_function *fn, unsigned offset, unsigned width)
{
    (void)offset;
    (void)width;
    announce_pirq((struct piix3 *)fn);
}

static void piix3_reset(struct pci_function *fn)
{
    announce_pirq((struct piix3 *)fn);
}

void piix3_init(struct piix3 *bridge)
{
    memset(bridge, 0, sizeof(*bridge));
    pci_function_init(&bridge->function, "82371SB", piix3_registers,
                      sizeof(piix3_registers) / sizeof(piix3_registers[0]));
    memcpy(bridge->route, &bridge->function.config[PIIX3_PIRQ], sizeof(bridge->route));
    bridge->function.config_written = piix3_written;
    bridge->function.reset = piix3_reset;
}

int piix3_pirq_irq(uint8_t route)
{
    unsigned irq = route & PIRQ_IRQ;
    if (route & PIRQ_DISABLED || !(PIRQ_IRQS_VALID >> irq & 1))
        return -1;
    return (int)irq;
}
