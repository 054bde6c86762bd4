/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI configuration and the PM block. Each operation is one byte, then its operands: what the guest can do to the
 * ports, time, reset. After each, what was announced must be what the registers say.
 */
#include <stdlib.h>
#include <string.h>

#include <ringd/models/i440fx.h>
#include <ringd/models/pci_host.h>
#include <ringd/models/piix3.h>
#include <ringd/models/piix4_pm.h>

#include "devices/pci_registers.h"
#include "fake_env.h"

#define FUNCTIONS 5u
#define MAX_STEP  (UINT64_C(1) << 36) /* ns; about a minute, 30 carries of the PM timer */

struct input {
    const uint8_t *data;
    size_t left;
};

struct machine {
    struct fake_env host, pm;
    struct i440fx i440fx;
    struct piix3 piix3;
    struct pci_function pm_function, bars, wide;
    struct pci_function *functions[FUNCTIONS];
    struct pci_window windows[FUNCTIONS][PCI_WINDOWS]; /* as announced */
    uint8_t pam[7], route[4];
};

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint64_t take(struct input *in, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes && in->left; i++, in->data++, in->left--)
        value |= (uint64_t)*in->data << (8 * i);
    return value;
}

static void decode_changed(void *ctx, struct pci_function *fn, unsigned window, bool decoded, uint64_t addr)
{
    struct machine *m = ctx;
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        if (m->functions[i] != fn)
            continue;
        struct pci_window *seen = &m->windows[i][window];
        require(decoded ? !seen->decoded || seen->addr != addr : seen->decoded && seen->addr == addr);
        *seen = (struct pci_window){.decoded = decoded, .addr = decoded ? addr : 0};
        return;
    }
    abort();
}

static void pam_changed(void *ctx, const uint8_t pam[7])
{
    struct machine *m = ctx;
    require(memcmp(m->pam, pam, 7) != 0);
    memcpy(m->pam, pam, 7);
}

static void pirq_changed(void *ctx, const uint8_t *route, unsigned count)
{
    (void)count;
    struct machine *m = ctx;
    require(memcmp(m->route, route, 4) != 0);
    memcpy(m->route, route, 4);
}

static void check_function(const struct machine *m, unsigned index)
{
    const struct pci_function *fn = m->functions[index];
    for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++)
        require(!((fn->config[i] ^ fn->initial[i]) & ~(fn->initial_wmask[i] | fn->w1cmask[i])));
    for (unsigned i = 0; i < PCI_WINDOWS; i++) {
        const struct pci_window *window = &fn->windows[i];
        require(window->decoded == m->windows[index][i].decoded && window->addr == m->windows[index][i].addr);
        if (!window->decoded || i == PCI_WINDOW_OWN)
            continue;
        bool io = fn->bars[i].kind == PCI_BAR_IO;
        uint64_t end = window->addr + fn->bars[i].size;
        require(fn->config[PCI_COMMAND] & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY));
        require(window->addr && end > window->addr && !(window->addr & (fn->bars[i].size - 1)));
        require(end <= (io ? UINT64_C(0x10000) : UINT64_C(1) << 52));
    }
}

static void check(struct machine *m)
{
    for (unsigned i = 0; i < FUNCTIONS; i++)
        check_function(m, i);
    require(!memcmp(m->pam, &m->i440fx.function.config[I440FX_PAM], 7));
    require(!memcmp(m->route, &m->piix3.function.config[PIIX3_PIRQ], 4));
    require(!(fake_read(&m->host, PCI_HOST_ADDRESS, 0, 4) & ~UINT64_C(0x80fffffc)));

    uint32_t sts_en = (uint32_t)fake_read(&m->pm, PIIX4_PM_IO, 0, 4);
    bool sci_en = fake_read(&m->pm, PIIX4_PM_IO, 4, 1) & 1;
    require(m->pm.irq[PIIX4_PM_SCI] == (sci_en && sts_en & sts_en >> 16));
    bool armed = sci_en && sts_en & 0x10000 && !(sts_en & 1);
    require((m->pm.deadline[0] != RINGD_NEVER) == armed);
    require(fake_read(&m->pm, PIIX4_PM_IO, 8, 4) <= 0xffffff);
}

/* One access anywhere in a device's regions, as its host would make it. */
static void access_region(struct fake_env *fake, struct input *in, bool write)
{
    unsigned where = (unsigned)take(in, 1);
    unsigned region = where & 1;
    uint64_t size = fake->device->regions[region].size;
    unsigned width = 1u << (where >> 1) % 3;
    if (!(fake->device->regions[region].widths & width))
        width = 1;
    uint64_t offset = (where >> 3) % (size - width + 1);
    uint64_t mask = (UINT64_C(1) << (8 * width)) - 1;
    if (write)
        fake_write(fake, region, offset, width, take(in, width));
    else
        require(!(fake_read(fake, region, offset, width) & ~mask));
}

/* The way drivers do it: a short cut for the fuzzer to the registers that exist. */
static void config_write(struct machine *m, struct input *in)
{
    const struct pci_function *fn = m->functions[take(in, 1) % FUNCTIONS];
    uint32_t reg = (uint32_t)take(in, 1);
    fake_write(&m->host, PCI_HOST_ADDRESS, 0, 4, 0x80000000u | (uint32_t)fn->devfn << 8 | reg);
    fake_write(&m->host, PCI_HOST_DATA, 0, 4, take(in, 4));
    /* Reading twice gives the same: no register changes by being read. */
    uint64_t value = fake_read(&m->host, PCI_HOST_DATA, 0, 4);
    require(value == fake_read(&m->host, PCI_HOST_DATA, 0, 4));
    require(value == pci_function_read(fn, reg & 0xfc, 4));
}

static void setup(struct machine *m, const struct pci_sink *sink)
{
    struct pci_slot slots[FUNCTIONS];
    const uint8_t devfn[FUNCTIONS] = {I440FX_DEVFN, PIIX3_DEVFN, PIIX4_PM_DEVFN, PCI_FUNCTION_DEVFN(2, 0),
                                      PCI_FUNCTION_DEVFN(31, 0)};
    i440fx_init(&m->i440fx);
    piix3_init(&m->piix3);
    piix4_pm_function_init(&m->pm_function);
    pci_function_init(&m->bars, "bars", NULL, 0);
    require(!pci_function_add_bar(&m->bars, 0, PCI_BAR_IO, 64, false));
    require(!pci_function_add_bar(&m->bars, 1, PCI_BAR_MEM32, 65536, false));
    require(!pci_function_add_bar(&m->bars, 4, PCI_BAR_MEM64, 16, true));
    require(!pci_function_add_msix(&m->bars, 0x60, 5, 1));
    pci_function_init(&m->wide, "wide", NULL, 0);
    require(!pci_function_add_bar(&m->wide, 1, PCI_BAR_MEM64, UINT64_C(1) << 51, false));
    require(!pci_function_add_bar(&m->wide, 3, PCI_BAR_MEM64, UINT64_C(1) << 32, true));
    require(!pci_function_add_bar(&m->wide, 5, PCI_BAR_MEM32, UINT64_C(1) << 31, true));
    require(!pci_function_add_msi(&m->wide, 0x40, 8));
    struct pci_function *functions[FUNCTIONS] = {&m->i440fx.function, &m->piix3.function, &m->pm_function, &m->bars,
                                                 &m->wide};
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        m->functions[i] = functions[i];
        slots[i] = (struct pci_slot){devfn[i], functions[i]};
    }
    memset(m->route, 0x80, sizeof(m->route));
    const struct pci_host_config config = {.slots = slots, .count = FUNCTIONS, .sink = sink};
    require(!fake_env_create(&m->host, &pci_host_ops, &config, 0));
    require(!fake_env_create(&m->pm, &piix4_pm_ops, NULL, 0));
}

/* What is announced is what the registers say. */
static void interrupts_changed(void *ctx, struct pci_function *fn)
{
    const struct machine *m = ctx;
    require(fn == &m->bars || fn == &m->wide);
    require(!fn->interrupts.msi || fn->interrupts.vectors - 1 < 8);
    require(fn->interrupts.intx == !(fn->config[PCI_COMMAND + 1] & 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine *m = calloc(1, sizeof(*m));
    require(m != NULL);
    const struct pci_sink sink = {.ctx = m,
                                  .decode_changed = decode_changed,
                                  .pam_changed = pam_changed,
                                  .pirq_changed = pirq_changed,
                                  .interrupts_changed = interrupts_changed};
    setup(m, &sink);
    struct input in = {data, size};
    while (in.left) {
        unsigned op = (unsigned)take(&in, 1);
        switch (op % 9) {
        case 0:
        case 1:
            access_region(&m->host, &in, op & 1);
            break;
        case 2:
        case 3:
            access_region(&m->pm, &in, op & 1);
            break;
        case 4:
        case 5:
            config_write(m, &in);
            break;
        case 6:
            require(fake_env_advance(&m->pm, take(&in, 5) % MAX_STEP));
            break;
        case 7:
            piix4_pm_power_button(m->pm.self, NULL);
            break;
        default:
            m->host.device->reset(m->host.self);
            m->pm.device->reset(m->pm.self);
            break;
        }
        check(m);
    }
    fake_env_destroy(&m->host);
    fake_env_destroy(&m->pm);
    free(m);
    return 0;
}
