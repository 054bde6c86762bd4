/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/pci_msix.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/state.h"

/* An entry: address (64 bits), data, and a word whose bit 0 masks the vector (PCI 3.0, 6.8.2.6 to 6.8.2.9). */
#define ENTRY_WORDS   4u
#define WORD_ADDR     0u
#define WORD_DATA     2u
#define WORD_CONTROL  3u
#define ADDR_WRITABLE 0xfffffffcu
#define CONTROL_MASK  1u

#define STATE_WORD STATE_VERSION('M', 'X', 1)

struct pci_msix {
    struct pci_msix_config config;
    uint32_t words[PCI_MSIX_VECTORS_MAX * ENTRY_WORDS];
    uint64_t writes, ignored;
};

static const struct ringd_region pci_msix_regions[] = {
    [PCI_MSIX_REGION_TABLE] = {.name = "table",
                               .space = RINGD_MMIO,
                               .size = PCI_MSIX_VECTORS_MAX * 16u,
                               .widths = 4 | 8,
                               .flags = RINGD_MOVABLE,
                               .effect = "where each vector's message goes, and whether it is masked"},
    [PCI_MSIX_REGION_PENDING] = {.name = "pending",
                                 .space = RINGD_MMIO,
                                 .size = PCI_MSIX_VECTORS_MAX / 8,
                                 .widths = 4 | 8,
                                 .flags = RINGD_MOVABLE,
                                 .effect = "a bit for each vector that is held back"},
};

static uint64_t msix_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    const struct pci_msix *msix = self;
    uint64_t value;
    if (region == PCI_MSIX_REGION_PENDING) {
        value = msix->config.pending ? msix->config.pending(msix->config.ctx) : 0;
        value >>= 8 * (offset & 7);
    } else {
        uint64_t word = offset / 4;
        value = msix->words[word];
        if (word + 1 < PCI_MSIX_VECTORS_MAX * ENTRY_WORDS)
            value |= (uint64_t)msix->words[word + 1] << 32;
        value >>= 8 * (offset & 3);
    }
    return width >= 8 ? value : value & ((UINT64_C(1) << 8 * width) - 1);
}

static void put_word(struct pci_msix *msix, uint64_t word, uint32_t value)
{
    switch (word % ENTRY_WORDS) {
    case WORD_ADDR:
        value &= ADDR_WRITABLE;
        break;
    case WORD_CONTROL:
        value &= CONTROL_MASK;
        break;
    default:
        break;
    }
    msix->words[word] = value;
}

/* Aligned dwords and qwords: what software may use (6.8.2). Others are ignored. */
static void msix_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct pci_msix *msix = self;
    uint64_t word = offset / 4;
    unsigned vector = (unsigned)(word / ENTRY_WORDS);
    if (region != PCI_MSIX_REGION_TABLE || width < 4 || offset % width || vector >= msix->config.vectors) {
        msix->ignored++;
        return;
    }
    msix->writes++;
    put_word(msix, word, (uint32_t)value);
    if (width == 8)
        put_word(msix, word + 1, (uint32_t)(value >> 32));
    if (msix->config.changed)
        msix->config.changed(msix->config.ctx, vector);
}

static void msix_reset(void *self)
{
    struct pci_msix *msix = self;
    memset(msix->words, 0, sizeof(msix->words));
    for (unsigned i = 0; i < PCI_MSIX_VECTORS_MAX; i++)
        msix->words[i * ENTRY_WORDS + WORD_CONTROL] = i < msix->config.vectors ? CONTROL_MASK : 0;
    for (unsigned i = 0; i < msix->config.vectors && msix->config.changed; i++)
        msix->config.changed(msix->config.ctx, i);
}

static int msix_create(const struct ringd_env *env, const void *config, void **self)
{
    (void)env;
    const struct pci_msix_config *cfg = config;
    if (!cfg || !cfg->vectors || cfg->vectors > PCI_MSIX_VECTORS_MAX)
        return -EINVAL;
    struct pci_msix *msix = calloc(1, sizeof(*msix));
    if (!msix)
        return -ENOMEM;
    msix->config = *cfg;
    msix_reset(msix);
    *self = msix;
    return 0;
}

static void msix_destroy(void *self)
{
    free(self);
}

static unsigned msix_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct pci_msix *msix = self;
    const struct ringd_counter all[] = {{"writes", msix->writes}, {"ignored", msix->ignored}};
    unsigned count = sizeof(all) / sizeof(all[0]);
    for (unsigned i = 0; i < count && i < max; i++)
        counters[i] = all[i];
    return count;
}

void pci_msix_entries(void *self, void *arg)
{
    const struct pci_msix *msix = self;
    struct pci_msix_entry *entries = arg;
    for (unsigned i = 0; i < PCI_MSIX_VECTORS_MAX; i++) {
        const uint32_t *words = &msix->words[i * ENTRY_WORDS];
        entries[i] = (struct pci_msix_entry){
            .addr = words[WORD_ADDR] | (uint64_t)words[WORD_ADDR + 1] << 32,
            .data = words[WORD_DATA],
            .masked = i >= msix->config.vectors || words[WORD_CONTROL] & CONTROL_MASK,
        };
    }
}

static size_t msix_state_size(const void *self)
{
    (void)self;
    return 4 + 2 * 8 + sizeof(((struct pci_msix *)0)->words);
}

static void msix_save(const void *self, void *state)
{
    const struct pci_msix *msix = self;
    struct state_writer out = {state};
    state_put(&out, STATE_WORD, 4);
    state_put(&out, msix->writes, 8);
    state_put(&out, msix->ignored, 8);
    for (unsigned i = 0; i < PCI_MSIX_VECTORS_MAX * ENTRY_WORDS; i++)
        state_put(&out, msix->words[i], 4);
}

static bool word_valid(const struct pci_msix *msix, unsigned word, uint32_t value)
{
    if (word / ENTRY_WORDS >= msix->config.vectors)
        return !value;
    uint32_t writable = word % ENTRY_WORDS == WORD_ADDR      ? ADDR_WRITABLE
                        : word % ENTRY_WORDS == WORD_CONTROL ? CONTROL_MASK
                                                             : UINT32_MAX;
    return !(value & ~writable);
}

static int msix_load(void *self, const void *state, size_t size)
{
    struct pci_msix *msix = self;
    struct state_reader in = {state};
    if (size != msix_state_size(self) || state_get(&in, 4) != STATE_WORD)
        return -EINVAL;
    uint64_t writes = state_get(&in, 8), ignored = state_get(&in, 8);
    struct state_reader words = in;
    for (unsigned i = 0; i < PCI_MSIX_VECTORS_MAX * ENTRY_WORDS; i++)
        if (!word_valid(msix, i, (uint32_t)state_get(&in, 4)))
            return -EINVAL;
    msix->writes = writes;
    msix->ignored = ignored;
    for (unsigned i = 0; i < PCI_MSIX_VECTORS_MAX * ENTRY_WORDS; i++)
        msix->words[i] = (uint32_t)state_get(&words, 4);
    for (unsigned i = 0; i < msix->config.vectors && msix->config.changed; i++)
        msix->config.changed(msix->config.ctx, i);
    return 0;
}

const struct ringd_device_ops pci_msix_ops = {
    .name = "pci-msix",
    .summary = "MSI-X: the table of messages and the pending bits of a PCI function",
    .regions = pci_msix_regions,
    .region_count = sizeof(pci_msix_regions) / sizeof(pci_msix_regions[0]),
    .create = msix_create,
    .destroy = msix_destroy,
    .read = msix_read,
    .write = msix_write,
    .reset = msix_reset,
    .counters = msix_counters,
    .state_size = msix_state_size,
    .save = msix_save,
    .load = msix_load,
};
