/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration space of one PCI function (PCI Local Bus Specification 3.0, chapter 6, header type 0).
 *
 * A function is a struct in its owner's memory. All functions of a bus belong to the pci_host device that they are
 * attached to and are touched under that device's lock only. What a function decodes (its windows: base address
 * registers, and a chip's own base register) is usually served by another device, which has a lock of its own; so a
 * change of a window is only announced through struct pci_sink, and whoever embeds the machine carries it out after the
 * access has returned.
 *
 * There is no expansion ROM register: it reads as 0 like any register that no table defines.
 */
#ifndef RINGD_MODELS_PCI_FUNCTION_H
#define RINGD_MODELS_PCI_FUNCTION_H

#include <ringd/api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

RINGD_API_BEGIN

#define PCI_CONFIG_BYTES 256u
#define PCI_BARS         6u
#define PCI_WINDOW_OWN   6u /* the window of a chip's own base register */
#define PCI_WINDOWS      7u

#define PCI_MSI_VECTORS_MAX  32u /* PCI 3.0, 6.8.1.3 */
#define PCI_MSIX_VECTORS_MAX 64u /* of what pci_msix has room for */

#define PCI_FUNCTION_DEVFN(device, function) ((uint8_t)((device) << 3 | (function)))

enum pci_bar_kind {
    PCI_BAR_NONE,
    PCI_BAR_IO,
    PCI_BAR_MEM32,
    PCI_BAR_MEM64, /* takes the next register too */
};

struct pci_bar {
    enum pci_bar_kind kind;
    uint64_t size; /* bytes, a power of two */
};

struct pci_window {
    bool decoded;
    uint64_t addr; /* valid when decoded */
};

/* One row of a chip's register table. What no row covers reads as 0 and ignores writes. */
struct pci_register {
    uint8_t offset;
    uint8_t width;     /* bytes, 1 to 4 */
    uint32_t initial;  /* after reset */
    uint32_t writable; /* bits that take what is written */
    uint32_t w1c;      /* bits that a written one clears */
};

/* How a function may interrupt, as its configuration space has it. */
struct pci_interrupts {
    bool intx;          /* the pin may be high: not disabled (COMMAND bit 10), and neither MSI nor MSI-X enabled */
    bool msi, msix;     /* enabled, and the function is a bus master: messages may be sent */
    bool msix_masked;   /* all of them: the function mask */
    unsigned vectors;   /* MSI: messages that software has allowed, 1 to PCI_MSI_VECTORS_MAX */
    uint64_t addr;      /* MSI: of the message */
    uint32_t data;      /* MSI: of message 0; message n has n in the low bits */
    uint32_t mask_bits; /* MSI: bit n: message n is held back */
};

struct pci_function;

/* Where functions announce what their surroundings have to act on. Called with pci_host's lock held: a callback must
 * not block or reach into another device. Each may be NULL. */
struct pci_sink {
    void *ctx;
    /* Window `window` (0 to 5: base address register, PCI_WINDOW_OWN) has appeared at or moved to `addr` (`decoded`),
     * or is gone from `addr`. Called only when that differs from what was said before. Whether the range may be given
     * to the function (it can overlap RAM or another function's) is the receiver's to judge. */
    void (*decode_changed)(void *ctx, struct pci_function *fn, unsigned window, bool decoded, uint64_t addr);
    /* The host bridge's PAM registers, at least one of which has changed (see i440fx_pam()). */
    void (*pam_changed)(void *ctx, const uint8_t pam[7]);
    /* The ISA bridge's `count` PIRQ route control registers, at least one of which has changed (see piix3_pirq_irq()).
     */
    void (*pirq_changed)(void *ctx, const uint8_t *route, unsigned count);
    /* fn->interrupts has changed. */
    void (*interrupts_changed)(void *ctx, struct pci_function *fn);
    /* Software has read (config[] holds what it gets unless the receiver replaces that) or written the register
     * fn->window_data, whose meaning is in the capability before it. From under a read this is in the middle of the
     * guest's instruction. */
    void (*window_accessed)(void *ctx, const struct pci_function *fn, bool write, unsigned width);
};

struct pci_function {
    /* Set by whoever initialises the function. The hooks may be NULL. */
    const char *name;
    void *owner; /* not used here: what the embedder wants to find again in decode_changed() */
    uint8_t initial[PCI_CONFIG_BYTES];
    uint8_t initial_wmask[PCI_CONFIG_BYTES];
    uint8_t w1cmask[PCI_CONFIG_BYTES];
    struct pci_bar bars[PCI_BARS];
    uint8_t last_capability, msi, msix; /* where they start; 0: none */
    uint8_t window_data;                /* a register through which software reaches the function's windows; 0: none */
    /* After a write has gone into config[], before windows are looked at. It may clear writable bits of config[] and
     * take bits out of wmask[]: the latter by what config[] holds, so that a load (all 256 bytes at once) does too. */
    void (*config_written)(struct pci_function *fn, unsigned offset, unsigned width);
    /* After config[] and wmask[] are back at their initial values. */
    void (*reset)(struct pci_function *fn);
    /* PCI_WINDOW_OWN: whether it is enabled, and where. */
    bool (*own_window)(const struct pci_function *fn, uint64_t *addr);

    /* State. */
    uint8_t devfn;
    const struct pci_sink *sink; /* NULL while not attached */
    uint8_t config[PCI_CONFIG_BYTES];
    uint8_t wmask[PCI_CONFIG_BYTES];
    struct pci_window windows[PCI_WINDOWS];
    struct pci_interrupts interrupts;
    bool pin_high; /* for STATUS bit 3. Atomic, relaxed: from under another device's lock */
};

/*
 * pci_function_init - makes `fn` a function with the registers of a table, reset and not attached.
 * @name: for people; not copied.
 * @registers, @count: the table; read during the call only. Rows must lie inside the 256 bytes (a row that does not is
 * left out) and a later row wins where two overlap.
 */
void pci_function_init(struct pci_function *fn, const char *name, const struct pci_register *registers, size_t count);

/* pci_function_define - adds one row to a function that is not attached yet: a register or part of a capability. */
void pci_function_define(struct pci_function *fn, const struct pci_register *reg);

/*
 * pci_function_add_bar - gives a function that is not attached yet a base address register, and makes COMMAND's enable
 * bit for its space and the bus master bit writable.
 * @index: 0 to 5; the register at 0x10 + 4 * index. A MEM64 takes index + 1 too.
 * @size: bytes, a power of two: I/O 4 to 256, MEM32 16 to 2^31, MEM64 16 to 2^51.
 * @prefetchable: memory only.
 * Returns 0, or -EINVAL when any of this does not hold or a register is taken.
 */
int pci_function_add_bar(struct pci_function *fn, unsigned index, enum pci_bar_kind kind, uint64_t size,
                         bool prefetchable);

/*
 * pci_function_add_capability - puts a capability at the end of the list of a function that is not attached yet.
 * @offset: of its first byte, a multiple of 4 from 0x40 on. @id: PCI 3.0, appendix H.
 * @registers, @count: what follows its first two bytes, at absolute offsets; as for pci_function_init().
 * Returns 0, or -EINVAL for an impossible offset.
 *
 * pci_function_add_msi - MSI with 64-bit addresses and a mask bit for each message, 24 bytes at @offset.
 * @vectors: a power of two up to PCI_MSI_VECTORS_MAX.
 * pci_function_add_msix - MSI-X, 12 bytes at @offset, with its table and pending bits as pci_msix has them: in base
 * address register @bar.
 * @vectors: 1 to PCI_MSIX_VECTORS_MAX.
 */
int pci_function_add_capability(struct pci_function *fn, uint8_t offset, uint8_t id,
                                const struct pci_register *registers, size_t count);
int pci_function_add_msi(struct pci_function *fn, uint8_t offset, unsigned vectors);
int pci_function_add_msix(struct pci_function *fn, uint8_t offset, unsigned vectors, unsigned bar);

/* pci_function_set_pin - the level of the function's interrupt pin, for STATUS. Any thread, any lock. */
void pci_function_set_pin(struct pci_function *fn, bool high);

/* pci_function_attach - pci_host's: gives the function its place and its sink, and resets it. */
void pci_function_attach(struct pci_function *fn, uint8_t devfn, const struct pci_sink *sink);
void pci_function_detach(struct pci_function *fn);

/* pci_function_reset - power-on state; windows that were decoded are announced as gone. */
void pci_function_reset(struct pci_function *fn);

/*
 * pci_function_read, pci_function_write - one access to the configuration space.
 * @width: 1 to 4 bytes. An access that leaves the 256 bytes reads as ones and writes nothing.
 */
uint32_t pci_function_read(const struct pci_function *fn, unsigned offset, unsigned width);
void pci_function_write(struct pci_function *fn, unsigned offset, unsigned width, uint32_t value);

/*
 * The 256 bytes of config[] are a function's state: what is writable and where windows are follows from them.
 * pci_function_state_valid() says whether these can be this function's, and pci_function_load(), after that, puts
 * them in and announces what they change.
 */
bool pci_function_state_valid(const struct pci_function *fn, const uint8_t config[PCI_CONFIG_BYTES]);
void pci_function_load(struct pci_function *fn, const uint8_t config[PCI_CONFIG_BYTES]);

RINGD_API_END

#endif
