/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/pci_host.h>

#include <errno.h>
#include <stdlib.h>

#include "devices/pci_registers.h"
#include "devices/state.h"

/* CONFIG_ADDRESS: enable, bus, device and function, doubleword. Bits 30:24 and 1:0 are read-only zero
 * (PCI 3.0, 3.2.2.3.2). */
#define ADDRESS_WRITABLE 0x80fffffcu
#define ADDRESS_ENABLE   0x80000000u
#define ADDRESS_BUS      0x00ff0000u

/* Reset control register of the 82371SB at port 0xCF9. */
#define RCR_OFFSET     1u
#define RCR_HARD_RESET 0x02u
#define RCR_RESET_CPU  0x04u /* its change from 0 to 1 resets */
#define RCR_WRITABLE   (RCR_HARD_RESET | RCR_RESET_CPU)

#define STATE_WORD           STATE_VERSION('P', 'H', 1)
#define STATE_HEAD_BYTES     (4 + 4 + 1 + 2 + 5 * 8)
#define STATE_FUNCTION_BYTES (1 + PCI_CONFIG_BYTES)

struct pci_host {
    const struct ringd_env *env;
    uint32_t address;
    uint8_t reset_control;
    struct pci_function *functions[256]; /* of bus 0, by devfn */

    uint64_t reads;
    uint64_t writes;
    uint64_t absent;
    uint64_t stray;
    uint64_t resets;
};

static const struct ringd_region pci_host_regions[] = {
    [PCI_HOST_ADDRESS] = {.name = "address",
                          .space = RINGD_PIO,
                          .offset = 0,
                          .size = 4,
                          .widths = 1 | 2 | 4,
                          .flags = RINGD_POSTED,
                          .effect = "a dword selects a register; a byte to 0xCF9 can reset the machine"},
    [PCI_HOST_DATA] = {.name = "data",
                       .space = RINGD_PIO,
                       .offset = 4,
                       .size = 4,
                       .widths = 1 | 2 | 4,
                       .effect = "reads or writes the selected register"},
    [PCI_HOST_ECAM] = {.name = "ecam",
                       .space = RINGD_MMIO,
                       .size = PCI_HOST_ECAM_BYTES,
                       .widths = 1 | 2 | 4,
                       .flags = RINGD_MOVABLE,
                       .effect = "reads or writes the register of that address"},
};

static uint64_t ones(unsigned width)
{
    return width >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * width)) - 1;
}

static struct pci_function *selected(const struct pci_host *host)
{
    if ((host->address & (ADDRESS_ENABLE | ADDRESS_BUS)) != ADDRESS_ENABLE)
        return NULL;
    return host->functions[(host->address >> 8) & 0xff];
}

/* Anything but a dword at 0xCF8 is an ordinary I/O cycle on PCI. There the PIIX3 claims those that start at 0xCF9,
 * whose lowest byte is its register; nobody claims the others. */
static uint64_t address_read(struct pci_host *host, uint64_t offset, unsigned width)
{
    if (offset == 0 && width == 4)
        return host->address;
    if (offset == RCR_OFFSET)
        return (ones(width) & ~UINT64_C(0xff)) | host->reset_control;
    host->stray++;
    return ones(width);
}

static void reset_control_write(struct pci_host *host, uint8_t value)
{
    bool rises = value & ~host->reset_control & RCR_RESET_CPU;
    host->reset_control = value & RCR_WRITABLE;
    if (rises) {
        host->resets++;
        host->env->ops->event(host->env, RINGD_EVENT_RESET, 0);
    }
}

static void address_write(struct pci_host *host, uint64_t offset, unsigned width, uint64_t value)
{
    if (offset == 0 && width == 4)
        host->address = (uint32_t)value & ADDRESS_WRITABLE;
    else if (offset == RCR_OFFSET)
        reset_control_write(host, (uint8_t)value);
    else
        host->stray++;
}

/* Which register an access to memory means; NULL when no function is there. */
static struct pci_function *ecam_target(const struct pci_host *host, uint64_t offset, unsigned *reg)
{
    *reg = offset & 0xfff;
    return host->functions[offset >> 12 & 0xff];
}

static uint64_t ecam_read(struct pci_host *host, uint64_t offset, unsigned width)
{
    unsigned reg;
    const struct pci_function *fn = ecam_target(host, offset, &reg);
    host->reads++;
    if (!fn) {
        host->absent++;
        return ones(width);
    }
    return reg < PCI_CONFIG_BYTES ? pci_function_read(fn, reg, width) : 0;
}

static void ecam_write(struct pci_host *host, uint64_t offset, unsigned width, uint64_t value)
{
    unsigned reg;
    struct pci_function *fn = ecam_target(host, offset, &reg);
    host->writes++;
    if (!fn)
        host->absent++;
    else if (reg < PCI_CONFIG_BYTES)
        pci_function_write(fn, reg, width, (uint32_t)value);
}

static uint64_t pci_host_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct pci_host *host = self;
    if (region == PCI_HOST_ADDRESS)
        return address_read(host, offset, width);
    if (region == PCI_HOST_ECAM)
        return ecam_read(host, offset, width);
    host->reads++;
    const struct pci_function *fn = selected(host);
    if (fn && offset + width <= 4)
        return pci_function_read(fn, (host->address & 0xfc) + (unsigned)offset, width);
    host->absent++;
    return ones(width);
}

static void pci_host_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct pci_host *host = self;
    if (region == PCI_HOST_ADDRESS) {
        address_write(host, offset, width, value);
        return;
    }
    if (region == PCI_HOST_ECAM) {
        ecam_write(host, offset, width, value);
        return;
    }
    host->writes++;
    struct pci_function *fn = selected(host);
    if (fn && offset + width <= 4)
        pci_function_write(fn, (host->address & 0xfc) + (unsigned)offset, width, (uint32_t)value);
    else
        host->absent++;
}

static void pci_host_reset(void *self)
{
    struct pci_host *host = self;
    host->address = 0;
    host->reset_control = 0;
    for (unsigned devfn = 0; devfn < 256; devfn++)
        if (host->functions[devfn])
            pci_function_reset(host->functions[devfn]);
}

static int fill_slots(struct pci_host *host, const struct pci_host_config *config)
{
    for (size_t i = 0; i < config->count; i++) {
        const struct pci_slot *slot = &config->slots[i];
        if (!slot->function || host->functions[slot->devfn])
            return -EINVAL;
        host->functions[slot->devfn] = slot->function;
    }
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        const struct pci_function *first = host->functions[devfn & ~7u];
        if (!host->functions[devfn] || !(devfn & 7))
            continue;
        if (!first || !(first->initial[PCI_HEADER_TYPE] & PCI_HEADER_MULTIFUNCTION))
            return -EINVAL;
    }
    return 0;
}

static int pci_host_create(const struct ringd_env *env, const void *config, void **self)
{
    const struct pci_host_config *cfg = config;
    if (!cfg || (cfg->count && !cfg->slots))
        return -EINVAL;
    struct pci_host *host = calloc(1, sizeof(*host));
    if (!host)
        return -ENOMEM;
    host->env = env;
    int ret = fill_slots(host, cfg);
    if (ret) {
        free(host);
        return ret;
    }
    for (size_t i = 0; i < cfg->count; i++)
        pci_function_attach(cfg->slots[i].function, cfg->slots[i].devfn, cfg->sink);
    pci_host_reset(host);
    *self = host;
    return 0;
}

static void pci_host_destroy(void *self)
{
    struct pci_host *host = self;
    for (unsigned devfn = 0; devfn < 256; devfn++)
        if (host->functions[devfn])
            pci_function_detach(host->functions[devfn]);
    free(host);
}

static unsigned pci_host_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct pci_host *host = self;
    const struct ringd_counter all[] = {
        {"config-reads", host->reads}, {"config-writes", host->writes}, {"absent", host->absent},
        {"stray", host->stray},        {"resets", host->resets},
    };
    unsigned count = sizeof(all) / sizeof(all[0]);
    for (unsigned i = 0; i < count && i < max; i++)
        counters[i] = all[i];
    return count;
}

static unsigned function_count(const struct pci_host *host)
{
    unsigned count = 0;
    for (unsigned devfn = 0; devfn < 256; devfn++)
        count += host->functions[devfn] != NULL;
    return count;
}

static size_t pci_host_state_size(const void *self)
{
    return STATE_HEAD_BYTES + (size_t)function_count(self) * STATE_FUNCTION_BYTES;
}

static void pci_host_save(const void *self, void *state)
{
    const struct pci_host *host = self;
    struct state_writer out = {state};
    state_put(&out, STATE_WORD, 4);
    state_put(&out, host->address, 4);
    state_put(&out, host->reset_control, 1);
    state_put(&out, function_count(host), 2);
    state_put(&out, host->reads, 8);
    state_put(&out, host->writes, 8);
    state_put(&out, host->absent, 8);
    state_put(&out, host->stray, 8);
    state_put(&out, host->resets, 8);
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        if (!host->functions[devfn])
            continue;
        state_put(&out, devfn, 1);
        state_put_bytes(&out, host->functions[devfn]->config, PCI_CONFIG_BYTES);
    }
}

/* The functions' part, which comes in the order of devfn: can it be theirs? */
static bool functions_valid(const struct pci_host *host, struct state_reader in)
{
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        if (!host->functions[devfn])
            continue;
        if (state_get(&in, 1) != devfn || !pci_function_state_valid(host->functions[devfn], in.next))
            return false;
        in.next += PCI_CONFIG_BYTES;
    }
    return true;
}

static int pci_host_load(void *self, const void *state, size_t size)
{
    struct pci_host *host = self;
    struct state_reader in = {state};
    if (size != pci_host_state_size(self) || state_get(&in, 4) != STATE_WORD)
        return -EINVAL;
    uint32_t address = (uint32_t)state_get(&in, 4);
    uint8_t reset_control = (uint8_t)state_get(&in, 1);
    if (address & ~ADDRESS_WRITABLE || reset_control & ~RCR_WRITABLE || state_get(&in, 2) != function_count(host))
        return -EINVAL;
    struct state_reader counts = in;
    in.next += 5 * 8;
    if (!functions_valid(host, in))
        return -EINVAL;
    host->address = address;
    host->reset_control = reset_control;
    host->reads = state_get(&counts, 8);
    host->writes = state_get(&counts, 8);
    host->absent = state_get(&counts, 8);
    host->stray = state_get(&counts, 8);
    host->resets = state_get(&counts, 8);
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        if (!host->functions[devfn])
            continue;
        pci_function_load(host->functions[devfn], in.next + 1);
        in.next += STATE_FUNCTION_BYTES;
    }
    return 0;
}

const struct ringd_device_ops pci_host_ops = {
    .name = "pci-host",
    .summary = "PCI configuration mechanism 1 and the reset control register",
    .regions = pci_host_regions,
    .region_count = PCI_HOST_ECAM,
    .create = pci_host_create,
    .destroy = pci_host_destroy,
    .read = pci_host_read,
    .write = pci_host_write,
    .reset = pci_host_reset,
    .counters = pci_host_counters,
    .state_size = pci_host_state_size,
    .save = pci_host_save,
    .load = pci_host_load,
};

const struct ringd_device_ops pci_host_ecam_ops = {
    .name = "pci-host-ecam",
    .summary = "PCI configuration by mechanism 1 and in memory, and the reset control register",
    .regions = pci_host_regions,
    .region_count = sizeof(pci_host_regions) / sizeof(pci_host_regions[0]),
    .create = pci_host_create,
    .destroy = pci_host_destroy,
    .read = pci_host_read,
    .write = pci_host_write,
    .reset = pci_host_reset,
    .counters = pci_host_counters,
    .state_size = pci_host_state_size,
    .save = pci_host_save,
    .load = pci_host_load,
};
