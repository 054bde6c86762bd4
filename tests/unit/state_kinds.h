/* SPDX-License-Identifier: BSD-2-Clause */
/* The models that can save and load, each in a world of its own: for the unit test and the fuzz target of both. */
#ifndef STATE_KINDS_H
#define STATE_KINDS_H

#include <stdlib.h>
#include <string.h>

#include "fake_env.h"
#include <ringd/models/debug_console.h>
#include <ringd/models/i440fx.h>
#include <ringd/models/ich9.h>
#include <ringd/models/mc146818.h>
#include <ringd/models/pci_host.h>
#include <ringd/models/pci_msix.h>
#include <ringd/models/piix3.h>
#include <ringd/models/piix4_pm.h>
#include <ringd/models/post_code.h>
#include <ringd/models/q35.h>

enum state_kind {
    KIND_RTC_HOST,
    KIND_RTC_VM,
    KIND_RTC_SLEW,
    KIND_PCI,
    KIND_PCI_ECAM,
    KIND_CONSOLE,
    KIND_POST,
    KIND_MSIX,
    STATE_KINDS,
};

#define KIND_STATE_MAX 4096u
#define KIND_SLOTS     3u

/* One instance, its world, and what it has told of its windows. */
struct kind_instance {
    struct fake_env fake;
    struct i440fx bridge;
    struct piix3 isa;
    struct q35_mch mch;
    struct ich9_lpc lpc;
    struct pci_function pm;
    struct pci_sink sink;
    struct pci_window windows[KIND_SLOTS][PCI_WINDOWS];
    uint8_t pam[I440FX_PAM_COUNT];
    uint8_t route[ICH9_PIRQ_COUNT];
};

static inline void kind_window(void *ctx, struct pci_function *fn, unsigned window, bool decoded, uint64_t addr)
{
    struct kind_instance *in = ctx;
    unsigned slot = fn == &in->pm ? 2 : fn == &in->isa.function || fn == &in->lpc.function ? 1 : 0;
    in->windows[slot][window] = (struct pci_window){decoded, decoded ? addr : 0};
}

static inline void kind_pam(void *ctx, const uint8_t pam[7])
{
    memcpy(((struct kind_instance *)ctx)->pam, pam, I440FX_PAM_COUNT);
}

static inline void kind_pirq(void *ctx, const uint8_t *route, unsigned count)
{
    memcpy(((struct kind_instance *)ctx)->route, route, count);
}

static inline int kind_create_pci(struct kind_instance *in, bool ecam)
{
    q35_mch_init(&in->mch);
    ich9_lpc_init(&in->lpc);
    i440fx_init(&in->bridge);
    piix3_init(&in->isa);
    piix4_pm_function_init(&in->pm);
    /* The chips themselves have no base address registers: these two stand for any function's. */
    pci_function_add_bar(&in->pm, 0, PCI_BAR_MEM64, 4096, false);
    pci_function_add_bar(&in->pm, 2, PCI_BAR_IO, 32, false);
    memcpy(in->route, in->lpc.route, sizeof(in->route)); /* the ISA bridge has the first four of the same */
    pci_function_add_msi(&in->pm, 0xe0, 8);
    in->sink =
        (struct pci_sink){.ctx = in, .decode_changed = kind_window, .pam_changed = kind_pam, .pirq_changed = kind_pirq};
    const struct pci_slot slots[2][KIND_SLOTS] = {
        {{I440FX_DEVFN, &in->bridge.function}, {PIIX3_DEVFN, &in->isa.function}, {PCI_FUNCTION_DEVFN(1, 3), &in->pm}},
        {{Q35_MCH_DEVFN, &in->mch.function}, {ICH9_LPC_DEVFN, &in->lpc.function}, {PCI_FUNCTION_DEVFN(1, 0), &in->pm}}};
    struct pci_host_config config = {.slots = slots[ecam], .count = KIND_SLOTS, .sink = &in->sink};
    return fake_env_create(&in->fake, ecam ? &pci_host_ecam_ops : &pci_host_ops, &config, 0);
}

static inline int kind_create(struct kind_instance *in, enum state_kind kind)
{
    struct mc146818_config rtc = {.base = MC146818_BASE_DATE,
                                  .base_ns = INT64_C(1700000000) * 1000000000,
                                  .clock = kind == KIND_RTC_HOST ? MC146818_CLOCK_HOST : MC146818_CLOCK_VM,
                                  .lost_ticks = kind == KIND_RTC_SLEW ? MC146818_LOST_SLEW : MC146818_LOST_DISCARD};
    memset(in, 0, sizeof(*in));
    const struct pci_msix_config msix = {.vectors = 5};
    switch (kind) {
    case KIND_RTC_HOST:
    case KIND_RTC_VM:
    case KIND_RTC_SLEW:
        return fake_env_create(&in->fake, &mc146818_ops, &rtc, 0);
    case KIND_PCI:
    case KIND_PCI_ECAM:
        return kind_create_pci(in, kind == KIND_PCI_ECAM);
    case KIND_CONSOLE:
        return fake_env_create(&in->fake, &debug_console_ops, NULL, 0);
    case KIND_MSIX:
        return fake_env_create(&in->fake, &pci_msix_ops, &msix, 0);
    default:
        return fake_env_create(&in->fake, &post_code_ops, NULL, 0);
    }
}

/* Where in a region so large that hardly any place in it means something: a register of one of the functions. */
static inline uint64_t kind_large_offset(unsigned function, uint64_t offset)
{
    static const uint8_t devfns[] = {Q35_MCH_DEVFN, ICH9_LPC_DEVFN, PCI_FUNCTION_DEVFN(1, 0), PCI_FUNCTION_DEVFN(2, 0)};
    return (uint64_t)devfns[function % 4] << 12 | offset % 0x140;
}

#endif
