/* SPDX-License-Identifier: BSD-2-Clause */
/* The q35 machine: a memory controller hub with configuration space in memory, and an ICH9. */
#include "vmm/machine_internal.h"

#define SCI 9 /* ACPI_CNTL's default */

static const struct machine_part parts[] = {
    {.label = "pci",
     .ops = &pci_host_ecam_ops,
     .base = PCI_HOST_BASE,
     .irqs = {-1, -1},
     .configure = machine_configure_pci,
     .post = OPTION_POST_PCI_DATA,
     .post_region = PCI_HOST_DATA},
    {.label = "pm", .ops = &ich9_pm_ops, .irqs = {SCI, -1}, .level = true},
};

static int add_functions(struct machine *machine)
{
    struct machine_q35 *chipset = &machine->chipset.q35;
    q35_mch_init(&chipset->mch);
    ich9_lpc_init(&chipset->lpc);
    machine->vm->irq.pirq_pins = true;
    int ret = machine_add_function(machine, Q35_MCH_DEVFN, &chipset->mch.function, NULL);
    return ret ? ret : machine_add_function(machine, ICH9_LPC_DEVFN, &chipset->lpc.function, NULL);
}

static int connect(struct machine *machine)
{
    int ret = machine_add_range(machine_find_function(machine, Q35_MCH_DEVFN), PCI_WINDOW_OWN, 0,
                                machine_find(machine, "pci"), PCI_HOST_ECAM);
    return ret ? ret
               : machine_add_range(machine_find_function(machine, ICH9_LPC_DEVFN), PCI_WINDOW_OWN, 0,
                                   machine_find(machine, "pm"), ICH9_PM_IO);
}

/* Slots 25 to 31 are the chip's own, whose DxxIR registers lead pins A to D to PIRQA# to PIRQD#; the others' pins are
 * wired to PIRQE# to PIRQH#, turned by one from slot to slot. */
static unsigned pirq_of(uint8_t devfn, unsigned pin)
{
    unsigned slot = devfn >> 3;
    return slot < 25 ? 4 + ((slot + pin) & 3) : pin;
}

const struct machine_type machine_q35 = {
    .low_limit = 0x80000000, /* below wherever firmware puts PCIEXBAR: 0xB0000000 (SeaBIOS), 0xE0000000 (OVMF) */
    .add_functions = add_functions,
    .parts = parts,
    .part_count = sizeof(parts) / sizeof(parts[0]),
    .connect = connect,
    .pirq_of = pirq_of,
    .power_button = ich9_pm_power_button,
};
