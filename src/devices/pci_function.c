/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/pci_function.h>

#include <errno.h>
#include <string.h>

#include <ringd/models/pci_msix.h>

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

static uint32_t word_at(const uint8_t *bytes, unsigned offset)
{
    return (uint32_t)bytes[offset] | (uint32_t)bytes[offset + 1] << 8;
}

static bool same_interrupts(const struct pci_interrupts *a, const struct pci_interrupts *b)
{
    return a->intx == b->intx && a->msi == b->msi && a->msix == b->msix && a->msix_masked == b->msix_masked &&
           a->vectors == b->vectors && a->addr == b->addr && a->data == b->data && a->mask_bits == b->mask_bits;
}

/* Whether a capability's Enable bit is set decides about the pin (PCI 3.0, 6.8.3.3); whether messages may be sent, the
 * bus master bit too. */
static bool may_send(const struct pci_function *fn, bool enabled, struct pci_interrupts *out)
{
    out->intx = out->intx && !enabled;
    return enabled && fn->config[PCI_COMMAND] & PCI_COMMAND_MASTER;
}

static void read_msi(const struct pci_function *fn, struct pci_interrupts *out)
{
    const uint8_t *at = fn->config + fn->msi;
    uint32_t control = word_at(at, PCI_MSI_CONTROL);
    unsigned allowed = (control & PCI_MSI_ALLOWED) >> PCI_MSI_ALLOWED_SHIFT,
             most = control >> PCI_MSI_CAPABLE_SHIFT & 7;
    out->msi = may_send(fn, control & PCI_MSI_ENABLE, out);
    out->vectors = 1u << (allowed < most ? allowed : most);
    out->addr = dword_at(at, PCI_MSI_ADDRESS) | (uint64_t)dword_at(at, PCI_MSI_ADDRESS + 4) << 32;
    out->data = word_at(at, PCI_MSI_DATA) & ~(out->vectors - 1);
    out->mask_bits = dword_at(at, PCI_MSI_MASK_BITS);
}

static void update_interrupts(struct pci_function *fn)
{
    struct pci_interrupts now = {.intx = !(word_at(fn->config, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE)};
    if (fn->msi)
        read_msi(fn, &now);
    if (fn->msix) {
        uint32_t control = word_at(fn->config, fn->msix + PCI_MSIX_CONTROL);
        now.msix = may_send(fn, control & PCI_MSIX_ENABLE, &now);
        now.msix_masked = control & PCI_MSIX_MASK_ALL;
    }
    if (same_interrupts(&now, &fn->interrupts))
        return;
    fn->interrupts = now;
    if (fn->sink && fn->sink->interrupts_changed)
        fn->sink->interrupts_changed(fn->sink->ctx, fn);
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

static void update(struct pci_function *fn)
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
    update_interrupts(fn);
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
    fn->interrupts.intx = true;
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

int pci_function_add_capability(struct pci_function *fn, uint8_t offset, uint8_t id,
                                const struct pci_register *registers, size_t count)
{
    if (offset < 0x40 || offset & 3)
        return -EINVAL;
    uint8_t link = fn->last_capability ? (uint8_t)(fn->last_capability + 1) : PCI_CAPABILITY_LIST;
    pci_function_define(fn, &(struct pci_register){link, 1, offset, 0, 0});
    pci_function_define(fn, &(struct pci_register){offset, 2, id, 0, 0});
    for (size_t i = 0; i < count; i++)
        pci_function_define(fn, &registers[i]);
    fn->initial[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
    fn->config[PCI_STATUS] = fn->initial[PCI_STATUS];
    fn->last_capability = offset;
    return 0;
}

/* A function that can interrupt at all can be told not to use its pin. */
static void allow_intx_disable(struct pci_function *fn)
{
    fn->initial_wmask[PCI_COMMAND + 1] |= PCI_COMMAND_INTX_DISABLE >> 8;
    fn->wmask[PCI_COMMAND + 1] = fn->initial_wmask[PCI_COMMAND + 1];
}

int pci_function_add_msi(struct pci_function *fn, uint8_t offset, unsigned vectors)
{
    if (!vectors || vectors & (vectors - 1) || vectors > PCI_MSI_VECTORS_MAX ||
        offset > PCI_CONFIG_BYTES - PCI_MSI_BYTES)
        return -EINVAL;
    uint32_t control = (uint32_t)__builtin_ctz(vectors) << PCI_MSI_CAPABLE_SHIFT | PCI_MSI_64_BIT | PCI_MSI_MASKS;
    uint32_t masks = vectors == 32 ? UINT32_MAX : (1u << vectors) - 1;
    const struct pci_register registers[] = {
        {(uint8_t)(offset + PCI_MSI_CONTROL), 2, control, PCI_MSI_ENABLE | PCI_MSI_ALLOWED, 0},
        {(uint8_t)(offset + PCI_MSI_ADDRESS), 4, 0, 0xfffffffc, 0},
        {(uint8_t)(offset + PCI_MSI_ADDRESS + 4), 4, 0, UINT32_MAX, 0},
        {(uint8_t)(offset + PCI_MSI_DATA), 2, 0, 0xffff, 0},
        {(uint8_t)(offset + PCI_MSI_MASK_BITS), 4, 0, masks, 0},
    };
    allow_intx_disable(fn);
    fn->msi = offset;
    return pci_function_add_capability(fn, offset, PCI_CAPABILITY_MSI, registers,
                                       sizeof(registers) / sizeof(*registers));
}

int pci_function_add_msix(struct pci_function *fn, uint8_t offset, unsigned vectors, unsigned bar)
{
    if (!vectors || vectors > PCI_MSIX_VECTORS_MAX || bar >= PCI_BARS || offset > PCI_CONFIG_BYTES - PCI_MSIX_BYTES)
        return -EINVAL;
    const struct pci_register registers[] = {
        {(uint8_t)(offset + PCI_MSIX_CONTROL), 2, vectors - 1, PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL, 0},
        {(uint8_t)(offset + PCI_MSIX_TABLE), 4, PCI_MSIX_BAR_TABLE | bar, 0, 0},
        {(uint8_t)(offset + PCI_MSIX_PENDING), 4, PCI_MSIX_BAR_PENDING | bar, 0, 0},
    };
    allow_intx_disable(fn);
    fn->msix = offset;
    return pci_function_add_capability(fn, offset, PCI_CAPABILITY_MSIX, registers,
                                       sizeof(registers) / sizeof(*registers));
}

void pci_function_set_pin(struct pci_function *fn, bool high)
{
    __atomic_store_n(&fn->pin_high, high, __ATOMIC_RELAXED);
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
    update(fn);
}

static void tell_window(const struct pci_function *fn, unsigned offset, unsigned width, bool write)
{
    if (fn->window_data && offset == fn->window_data && fn->sink && fn->sink->window_accessed)
        fn->sink->window_accessed(fn->sink->ctx, fn, write, width);
}

uint32_t pci_function_read(const struct pci_function *fn, unsigned offset, unsigned width)
{
    if (width > 4 || offset > PCI_CONFIG_BYTES - width)
        return UINT32_MAX;
    uint32_t value = 0;
    for (unsigned i = 0; i < width; i++)
        value |= (uint32_t)fn->config[offset + i] << (8 * i);
    if (offset <= PCI_STATUS && offset + width > PCI_STATUS && __atomic_load_n(&fn->pin_high, __ATOMIC_RELAXED))
        value |= (uint32_t)PCI_STATUS_INTERRUPT << (8 * (PCI_STATUS - offset));
    tell_window(fn, offset, width, false);
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
    update(fn);
    tell_window(fn, offset, width, true);
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
    update(fn);
}
