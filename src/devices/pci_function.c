/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/pci_function.h>

#include <errno.h>
#include <string.h>

#include "devices/pci_registers.h"

/* Low bits of a base address register (PCI 3.0, 6.2.5.1). */
#define BAR_IO           0x1u
#define BAR_MEM_64       0x4u
#define BAR_PREFETCHABLE 0x8u
#define BAR_IO_FLAGS     0x3u
#define BAR_MEM_FLAGS    0xfu

#define IO_SPACE_END  UINT64_C(0x10000)
#define FOUR_GIB      (UINT64_C(1) << 32)
#define MEM_SPACE_END (UINT64_C(1) << 52) /* the widest physical address of x86-64 (Intel SDM vol. 3A, 4.1.4) */

static uint8_t byte_of(uint32_t value, unsigned index)
{
    return (uint8_t)(value >> (8 * index));
}

static uint32_t dword_at(const uint8_t *bytes, unsigned offset)
{
    return (uint32_t)bytes[offset] | (uint32_t)bytes[offset + 1] << 8 | (uint32_t)bytes[offset + 2] << 16 |
           (uint32_t)bytes[offset + 3] << 24;
}

static void announce(struct pci_function *fn, unsigned window, bool decoded, uint64_t addr)
{
    if (fn->sink && fn->sink->decode_changed)
        fn->sink->decode_changed(fn->sink->ctx, fn, window, decoded, addr);
}

static void set_window(struct pci_function *fn, unsigned index, bool decoded, uint64_t addr)
{
    struct pci_window *window = &fn->windows[index];
    if (decoded == window->decoded && (!decoded || addr == window->addr))
        return;
    uint64_t old = window->addr;
    *window = (struct pci_window){.decoded = decoded, .addr = decoded ? addr : 0};
    announce(fn, index, decoded, decoded ? addr : old);
}

static bool bar_decoded(const struct pci_function *fn, unsigned index, uint64_t *addr)
{
    const struct pci_bar *bar = &fn->bars[index];
    uint32_t low = dword_at(fn->config, PCI_BASE_ADDRESS + 4 * index);
    uint8_t enable = bar->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
    if (!(fn->config[PCI_COMMAND] & enable))
        return false;
    if (bar->kind == PCI_BAR_IO) {
        *addr = low & ~BAR_IO_FLAGS;
        return *addr && *addr + bar->size <= IO_SPACE_END;
    }
    *addr = low & ~BAR_MEM_FLAGS;
    if (bar->kind == PCI_BAR_MEM64)
        *addr |= (uint64_t)dword_at(fn->config, PCI_BASE_ADDRESS + 4 * index + 4) << 32;
    uint64_t end = *addr + bar->size;
    /* What ends at 4 GiB is a register that is being sized while decoding is on (Linux does so for some devices): the
     * firmware's flash is there, and no operating system puts a window over it. */
    return *addr && end > *addr && end <= MEM_SPACE_END && end != FOUR_GIB;
}

static void update_windows(struct pci_function *fn)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        uint64_t addr = 0;
        bool decoded = fn->bars[i].kind != PCI_BAR_NONE && bar_decoded(fn, i, &addr);
        set_window(fn, i, decoded, addr);
    }
    if (fn->own_window) {
        uint64_t addr = 0;
        bool decoded = fn->own_window(fn, &addr);
        set_window(fn, PCI_WINDOW_OWN, decoded, addr);
    }
}

void pci_function_define(struct pci_function *fn, const struct pci_register *reg)
{
    if (reg->width > 4 || reg->offset + reg->width > (int)PCI_CONFIG_BYTES)
        return;
    for (unsigned i = 0; i < reg->width; i++) {
        unsigned at = reg->offset + i;
        fn->initial[at] = fn->config[at] = byte_of(reg->initial, i);
        fn->initial_wmask[at] = fn->wmask[at] = byte_of(reg->writable, i);
        fn->w1cmask[at] = byte_of(reg->w1c, i);
    }
}

void pci_function_init(struct pci_function *fn, const char *name, const struct pci_register *registers, size_t count)
{
    memset(fn, 0, sizeof(*fn));
    fn->name = name;
    for (size_t i = 0; i < count; i++)
        pci_function_define(fn, &registers[i]);
}

static bool bar_size_valid(enum pci_bar_kind kind, uint64_t size)
{
    static const struct {
        uint64_t min, max;
    } limits[] = {
        [PCI_BAR_IO] = {4, 256}, /* 256: PCI 3.0, 6.2.5.1 */
        [PCI_BAR_MEM32] = {16, UINT64_C(1) << 31},
        [PCI_BAR_MEM64] = {16, UINT64_C(1) << 51},
    };
    if (kind != PCI_BAR_IO && kind != PCI_BAR_MEM32 && kind != PCI_BAR_MEM64)
        return false;
    return size >= limits[kind].min && size <= limits[kind].max && !(size & (size - 1));
}

static bool bar_taken(const struct pci_function *fn, unsigned index)
{
    return fn->bars[index].kind != PCI_BAR_NONE || (index > 0 && fn->bars[index - 1].kind == PCI_BAR_MEM64);
}

int pci_function_add_bar(struct pci_function *fn, unsigned index, enum pci_bar_kind kind, uint64_t size,
                         bool prefetchable)
{
    bool wide = kind == PCI_BAR_MEM64;
    bool io = kind == PCI_BAR_IO;
    if (index >= PCI_BARS || (wide && index + 1 >= PCI_BARS) || !bar_size_valid(kind, size) || (io && prefetchable))
        return -EINVAL;
    if (bar_taken(fn, index) || (wide && fn->bars[index + 1].kind != PCI_BAR_NONE))
        return -EINVAL;

    uint32_t flags = io ? BAR_IO : (wide ? BAR_MEM_64 : 0) | (prefetchable ? BAR_PREFETCHABLE : 0);
    uint64_t writable = ~(size - 1) & ~(uint64_t)(io ? BAR_IO_FLAGS : BAR_MEM_FLAGS);
    uint8_t offset = (uint8_t)(PCI_BASE_ADDRESS + 4 * index);
    pci_function_define(fn, &(struct pci_register){offset, 4, flags, (uint32_t)writable, 0});
    if (wide)
        pci_function_define(fn, &(struct pci_register){(uint8_t)(offset + 4), 4, 0, (uint32_t)(writable >> 32), 0});
    fn->initial_wmask[PCI_COMMAND] |= PCI_COMMAND_MASTER | (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
    fn->wmask[PCI_COMMAND] = fn->initial_wmask[PCI_COMMAND];
    fn->bars[index] = (struct pci_bar){.kind = kind, .size = size};
    return 0;
}

void pci_function_attach(struct pci_function *fn, uint8_t devfn, const struct pci_sink *sink)
{
    pci_function_reset(fn);
    fn->devfn = devfn;
    fn->sink = sink;
}

void pci_function_detach(struct pci_function *fn)
{
    fn->sink = NULL;
}

void pci_function_reset(struct pci_function *fn)
{
    memcpy(fn->config, fn->initial, sizeof(fn->config));
    memcpy(fn->wmask, fn->initial_wmask, sizeof(fn->wmask));
    if (fn->reset)
        fn->reset(fn);
    update_windows(fn);
}

uint32_t pci_function_read(const struct pci_function *fn, unsigned offset, unsigned width)
{
    if (width > 4 || offset > PCI_CONFIG_BYTES - width)
        return UINT32_MAX;
    uint32_t value = 0;
    for (unsigned i = 0; i < width; i++)
        value |= (uint32_t)fn->config[offset + i] << (8 * i);
    return value;
}

void pci_function_write(struct pci_function *fn, unsigned offset, unsigned width, uint32_t value)
{
    if (width > 4 || offset > PCI_CONFIG_BYTES - width)
        return;
    for (unsigned i = 0; i < width; i++) {
        unsigned at = offset + i;
        uint8_t byte = byte_of(value, i);
        uint8_t merged = (uint8_t)((fn->config[at] & ~fn->wmask[at]) | (byte & fn->wmask[at]));
        fn->config[at] = (uint8_t)(merged & ~(byte & fn->w1cmask[at]));
    }
    if (fn->config_written)
        fn->config_written(fn, offset, width);
    update_windows(fn);
}

bool pci_function_state_valid(const struct pci_function *fn, const uint8_t config[PCI_CONFIG_BYTES])
{
    for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++)
        if ((config[i] ^ fn->initial[i]) & ~(fn->initial_wmask[i] | fn->w1cmask[i]))
            return false;
    return true;
}

void pci_function_load(struct pci_function *fn, const uint8_t config[PCI_CONFIG_BYTES])
{
    memcpy(fn->config, config, sizeof(fn->config));
    memcpy(fn->wmask, fn->initial_wmask, sizeof(fn->wmask));
    if (fn->config_written)
        fn->config_written(fn, 0, PCI_CONFIG_BYTES);
    update_windows(fn);
}
