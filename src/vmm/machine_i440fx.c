/* SPDX-License-Identifier: BSD-2-Clause */
/* The i440fx machine: a 440FX host bridge, and a PIIX3 with PIIX4 power management. */
#include "vmm/machine_internal.h"

#include <string.h>

#define SCI 9 /* PIIX4 data sheet: hard-wired */

static void on_pci_event(void *ctx, uint32_t event, uint64_t value)
{
    struct machine *machine = ctx;
    struct machine_function *function;
    uint8_t bytes[I440FX_PAM_COUNT];
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    switch (event) {
    case RINGD_EVENT_RESET:
        machine_event(machine, RINGD_EVENT_RESET, 0);
        break;
    case RINGD_EVENT_PCI_WINDOW:
        function = machine_find_function(machine, (uint8_t)(value >> 56));
        if (function)
            machine_decode_changed(machine, function->fn, value >> 53 & 7, value >> 52 & 1,
                                   value & ((UINT64_C(1) << 52) - 1));
        break;
    case RINGD_EVENT_PCI_PAM:
        machine_pam_changed(machine, bytes);
        break;
    case RINGD_EVENT_PCI_PIRQ:
        machine_pirq_changed(machine, bytes, sizeof(machine->chipset.i440fx.piix3.route));
        break;
    default:
        break;
    }
}

static int delegate_pci(struct machine *machine, struct remote_proxy *proxy)
{
    const struct ringd_config_pci pci = {.functions = 7};
    memcpy(proxy->config, &pci, sizeof(pci));
    proxy->config_bytes = sizeof(pci);
    proxy->type = "pci-host";
    proxy->event = on_pci_event;
    proxy->ctx = machine;
    return 0;
}

static const struct machine_part parts[] = {
    {.label = "pci",
     .ops = &pci_host_ops,
     .base = PCI_HOST_BASE,
     .irqs = {-1, -1},
     .configure = machine_configure_pci,
     .delegate = delegate_pci,
     .post = OPTION_POST_PCI_DATA,
     .post_region = PCI_HOST_DATA},
    {.label = "pm", .ops = &piix4_pm_ops, .irqs = {SCI, -1}, .level = true},
};

static int add_functions(struct machine *machine)
{
    struct machine_i440fx *chipset = &machine->chipset.i440fx;
    i440fx_init(&chipset->bridge);
    piix3_init(&chipset->piix3);
    piix4_pm_function_init(&chipset->pm);
    int ret = machine_add_function(machine, I440FX_DEVFN, &chipset->bridge.function, NULL);
    ret = ret ? ret : machine_add_function(machine, PIIX3_DEVFN, &chipset->piix3.function, NULL);
    return ret ? ret : machine_add_function(machine, PIIX4_PM_DEVFN, &chipset->pm, NULL);
}

static int connect(struct machine *machine)
{
    return machine_add_range(machine_find_function(machine, PIIX4_PM_DEVFN), PCI_WINDOW_OWN, 0,
                             machine_find(machine, "pm"), PIIX4_PM_IO);
}

/* Turned by one from slot to slot, so that slot 1's pin A is PIRQA#. */
static unsigned pirq_of(uint8_t devfn, unsigned pin)
{
    return ((devfn >> 3) + pin - 1) & 3;
}

const struct machine_type machine_i440fx = {
    .low_limit = 0xc0000000,
    .add_functions = add_functions,
    .parts = parts,
    .part_count = sizeof(parts) / sizeof(parts[0]),
    .connect = connect,
    .pirq_of = pirq_of,
    .power_button = piix4_pm_power_button,
};
