/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI configuration, the PM block and an MSI-X table. The first byte chooses the chip set; then each operation is one
 * byte and its operands: what the guest can do to ports and memory, time, reset. After each, what was announced must be
 * what the registers say.
 */
#include <stdlib.h>
#include <string.h>

#include <ringd/models/i440fx.h>
#include <ringd/models/ich9.h>
#include <ringd/models/pci_host.h>
#include <ringd/models/pci_msix.h>
#include <ringd/models/piix3.h>
#include <ringd/models/piix4_pm.h>
#include <ringd/models/q35.h>

#include "devices/pci_registers.h"
#include "fake_env.h"

#define FUNCTIONS 5u
#define VECTORS   5u
#define PIRQ_A    0x60u /* of either bridge; the ICH9's PIRQE is at 0x68 */
#define PIRQ_E    0x68u
#define MAX_STEP  (UINT64_C(1) << 36) /* ns; about a minute, 30 carries of the PM timer */

struct input {
    const uint8_t *data;
    size_t left;
};

struct machine {
    struct fake_env host, pm, msix;
    bool q35;
    struct i440fx i440fx;
    struct piix3 piix3;
    struct q35_mch mch;
    struct ich9_lpc lpc;
    struct pci_function pm_function, bars, wide;
    struct pci_function *functions[FUNCTIONS];
    struct pci_window windows[FUNCTIONS][PCI_WINDOWS]; /* as announced */
    uint8_t pam[7], route[ICH9_PIRQ_COUNT];
    struct pci_msix_entry entries[PCI_MSIX_VECTORS_MAX]; /* as announced, and read then */
    uint64_t held_back;
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
    struct machine *m = ctx;
    require(count == (m->q35 ? ICH9_PIRQ_COUNT : 4));
    require(memcmp(m->route, route, count) != 0);
    memcpy(m->route, route, count);
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

static void vector_changed(void *ctx, unsigned vector)
{
    struct machine *m = ctx;
    struct pci_msix_entry entries[PCI_MSIX_VECTORS_MAX];
    require(vector < VECTORS);
    if (!m->msix.self) /* while it is being made */
        return;
    pci_msix_entries(m->msix.self, entries);
    m->entries[vector] = entries[vector];
}

static uint64_t held_back(void *ctx)
{
    return ((struct machine *)ctx)->held_back;
}

static void check_msix(struct machine *m)
{
    struct pci_msix_entry now[PCI_MSIX_VECTORS_MAX];
    pci_msix_entries(m->msix.self, now);
    for (unsigned i = 0; i < PCI_MSIX_VECTORS_MAX; i++) {
        const struct pci_msix_entry *seen = &m->entries[i];
        require(now[i].addr == seen->addr && now[i].data == seen->data && now[i].masked == seen->masked);
        require(!(now[i].addr & 3) && (i < VECTORS || (now[i].masked && !now[i].addr && !now[i].data)));
        require(fake_read(&m->msix, PCI_MSIX_REGION_TABLE, 16 * i, 8) == now[i].addr);
        require(fake_read(&m->msix, PCI_MSIX_REGION_TABLE, 16 * i + 8, 4) == now[i].data);
    }
    require(fake_read(&m->msix, PCI_MSIX_REGION_PENDING, 0, 8) == m->held_back);
}

static void check(struct machine *m)
{
    for (unsigned i = 0; i < FUNCTIONS; i++)
        check_function(m, i);
    check_msix(m);
    require(!memcmp(m->pam, &m->functions[0]->config[m->q35 ? Q35_MCH_PAM : I440FX_PAM], 7));
    require(!memcmp(m->route, &m->functions[1]->config[PIRQ_A], 4));
    require(!m->q35 || !memcmp(m->route + 4, &m->functions[1]->config[PIRQ_E], 4));
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
    unsigned where = (unsigned)take(in, 2);
    unsigned region = (where & 3) % fake->device->region_count;
    uint64_t size = fake->device->regions[region].size;
    unsigned width = 1u << (where >> 2 & 3);
    if (!(fake->device->regions[region].widths & width)) /* one that is too narrow is passed on */
        width = fake->device->regions[region].widths & 1 ? 1 : 2;
    uint64_t offset = (where >> 4) % (size - width + 1);
    if (where >> 15) /* where registers are: near the start, aligned */
        offset = offset % 128 / width * width;
    if (size > 4096) /* configuration space in memory: a function's first registers, most often */
        offset = ((take(in, 1) << 12) + offset % 4096) % (size - width + 1);
    uint64_t mask = UINT64_MAX >> (64 - 8 * width);
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
    /* The PM function is anybody's: the Q35 has none, but room for one. */
    static const uint8_t devfns[2][FUNCTIONS] = {
        {I440FX_DEVFN, PIIX3_DEVFN, PIIX4_PM_DEVFN, PCI_FUNCTION_DEVFN(2, 0), PCI_FUNCTION_DEVFN(31, 0)},
        {Q35_MCH_DEVFN, ICH9_LPC_DEVFN, PCI_FUNCTION_DEVFN(31, 3), PCI_FUNCTION_DEVFN(2, 0),
         PCI_FUNCTION_DEVFN(30, 0)}};
    const uint8_t *devfn = devfns[m->q35];
    q35_mch_init(&m->mch);
    ich9_lpc_init(&m->lpc);
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
    struct pci_function *functions[FUNCTIONS] = {m->q35 ? &m->mch.function : &m->i440fx.function,
                                                 m->q35 ? &m->lpc.function : &m->piix3.function, &m->pm_function,
                                                 &m->bars, &m->wide};
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        m->functions[i] = functions[i];
        slots[i] = (struct pci_slot){devfn[i], functions[i]};
    }
    memset(m->route, 0x80, sizeof(m->route));
    const struct pci_host_config config = {.slots = slots, .count = FUNCTIONS, .sink = sink};
    require(!fake_env_create(&m->host, m->q35 ? &pci_host_ecam_ops : &pci_host_ops, &config, 0));
    require(!fake_env_create(&m->pm, m->q35 ? &ich9_pm_ops : &piix4_pm_ops, NULL, 0));
    const struct pci_msix_config msix = {.vectors = VECTORS, .ctx = m, .changed = vector_changed, .pending = held_back};
    require(!fake_env_create(&m->msix, &pci_msix_ops, &msix, 0));
    pci_msix_entries(m->msix.self, m->entries);
}

/* What is announced is what the registers say. */
static void interrupts_changed(void *ctx, struct pci_function *fn)
{
    const struct machine *m = ctx;
    require(fn == &m->bars || fn == &m->wide);
    require(!fn->interrupts.msi || fn->interrupts.vectors - 1 < 8);
    bool enabled = (fn->msi && fn->config[fn->msi + 2] & 1) || (fn->msix && fn->config[fn->msix + 3] & 0x80);
    require(fn->interrupts.intx == (!(fn->config[PCI_COMMAND + 1] & 4) && !enabled));
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
    struct input in = {data, size};
    m->q35 = take(&in, 1) & 1;
    setup(m, &sink);
    while (in.left) {
        unsigned op = (unsigned)take(&in, 1);
        switch (op % 12) {
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
            (m->q35 ? ich9_pm_power_button : piix4_pm_power_button)(m->pm.self, NULL);
            break;
        case 8:
        case 9:
            access_region(&m->msix, &in, op & 1);
            break;
        case 10:
            m->held_back = take(&in, 8);
            break;
        default:
            m->host.device->reset(m->host.self);
            m->pm.device->reset(m->pm.self);
            m->msix.device->reset(m->msix.self);
            break;
        }
        check(m);
    }
    fake_env_destroy(&m->host);
    fake_env_destroy(&m->pm);
    fake_env_destroy(&m->msix);
    free(m);
    return 0;
}
