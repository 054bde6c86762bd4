/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/q35.h>

#include <string.h>

#include "devices/pci_registers.h"

/* PCIEXBAR: bit 0 enables, bits 2:1 are the length, 64 MiB to 256 MiB, and the base has as many bits (section 5.1.15).
 */
#define PCIEXBAR_ENABLE   0x1u
#define PCIEXBAR_LENGTH   0x6u
#define PCIEXBAR_WRITABLE 0xfc000007u
#define PCIEXBAR_HIGH     0x0000000fu

#define SMRAM_D_OPEN   0x40u
#define SMRAM_D_CLS    0x20u
#define SMRAM_D_LCK    0x10u
#define SMRAM_G_SMRAME 0x08u
#define SMRAM_INITIAL  0x02u
#define ESMRAMC        0x9eu

#define PAM_BOTH  0x33u
#define PAM_UPPER 0x30u

/* Offsets, defaults and masks: Intel 3 Series Express Chipset Family, data sheet 316966, section 5.1. Those without an
 * effect here keep what firmware writes. */
static const struct pci_register q35_mch_registers[] = {
    {PCI_VENDOR_ID, 2, PCI_VENDOR_INTEL, 0, 0},
    {PCI_DEVICE_ID, 2, 0x29c0, 0, 0},
    {PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0x0100, 0}, /* memory and master are wired on */
    {PCI_STATUS, 2, 0x0080, 0, PCI_STATUS_ERRORS},
    {PCI_REVISION_ID, 1, 0x00, 0, 0},
    {PCI_CLASS_CODE, 3, 0x060000, 0, 0}, /* host bridge */
    /* SeaBIOS (src/fw/paravirt.c) takes these for a machine as QEMU's. */
    {PCI_SUBSYSTEM_VENDOR_ID, 2, 0x1af4, 0, 0},
    {PCI_SUBSYSTEM_ID, 2, 0x1100, 0, 0},
    {Q35_MCH_PCIEXBAR, 4, 0, PCIEXBAR_WRITABLE, 0},
    {Q35_MCH_PCIEXBAR + 4, 4, 0, PCIEXBAR_HIGH, 0},
    {Q35_MCH_PAM, 1, 0, PAM_UPPER, 0},    /* PAM0: 0xF0000 */
    {Q35_MCH_PAM + 1, 1, 0, PAM_BOTH, 0}, /* PAM1 to PAM6: as the 440FX's */
    {Q35_MCH_PAM + 2, 1, 0, PAM_BOTH, 0},
    {Q35_MCH_PAM + 3, 1, 0, PAM_BOTH, 0},
    {Q35_MCH_PAM + 4, 1, 0, PAM_BOTH, 0},
    {Q35_MCH_PAM + 5, 1, 0, PAM_BOTH, 0},
    {Q35_MCH_PAM + 6, 1, 0, PAM_BOTH, 0},
    {0x97, 1, 0, 0x01, 0}, /* LAC */
    {Q35_MCH_SMRAM, 1, SMRAM_INITIAL, SMRAM_D_OPEN | SMRAM_D_CLS | SMRAM_D_LCK | SMRAM_G_SMRAME, 0},
    {ESMRAMC, 1, 0x38, 0x87, 0x40},
    {0xa0, 2, 0x0001, 0x03ff, 0}, /* TOM */
    {0xa2, 2, 0, 0xffff, 0},      /* TOUUD */
    {0xa4, 4, 0, 0xfff00000, 0},  /* GBSM */
    {0xac, 4, 0, 0xfff00000, 0},  /* TSEGMB */
    {0xb0, 2, 0x0010, 0xfff0, 0}, /* TOLUD */
};

static void announce_pam(struct q35_mch *bridge)
{
    const struct pci_sink *sink = bridge->function.sink;
    if (!memcmp(bridge->pam, &bridge->function.config[Q35_MCH_PAM], I440FX_PAM_COUNT))
        return;
    memcpy(bridge->pam, &bridge->function.config[Q35_MCH_PAM], I440FX_PAM_COUNT);
    if (sink && sink->pam_changed)
        sink->pam_changed(sink->ctx, bridge->pam);
}

static void q35_mch_written(struct pci_function *fn, unsigned offset, unsigned width)
{
    (void)offset;
    (void)width;
    /* Locked, SMRAM is closed, and what says where it is stays as it is until a reset (5.1.32 and 5.1.33). */
    if (fn->config[Q35_MCH_SMRAM] & SMRAM_D_LCK) {
        fn->config[Q35_MCH_SMRAM] &= (uint8_t)~SMRAM_D_OPEN;
        fn->wmask[Q35_MCH_SMRAM] &= (uint8_t) ~(SMRAM_D_LCK | SMRAM_D_OPEN);
        fn->wmask[ESMRAMC] = 0;
    }
    announce_pam((struct q35_mch *)fn);
}

static void q35_mch_reset(struct pci_function *fn)
{
    announce_pam((struct q35_mch *)fn);
}

static bool q35_mch_window(const struct pci_function *fn, uint64_t *addr)
{
    const uint8_t *reg = &fn->config[Q35_MCH_PCIEXBAR];
    static const uint32_t base_masks[] = {0xf0000000, 0xf8000000, 0xfc000000, 0}; /* 3 is reserved */
    uint32_t low = (uint32_t)reg[0] | (uint32_t)reg[1] << 8 | (uint32_t)reg[2] << 16 | (uint32_t)reg[3] << 24;
    uint32_t mask = base_masks[(low & PCIEXBAR_LENGTH) >> 1];
    *addr = (low & mask) | (uint64_t)reg[4] << 32;
    return low & PCIEXBAR_ENABLE && mask && *addr;
}

void q35_mch_init(struct q35_mch *bridge)
{
    memset(bridge, 0, sizeof(*bridge));
    pci_function_init(&bridge->function, "82Q35 MCH", q35_mch_registers,
                      sizeof(q35_mch_registers) / sizeof(q35_mch_registers[0]));
    bridge->function.config_written = q35_mch_written;
    bridge->function.reset = q35_mch_reset;
    bridge->function.own_window = q35_mch_window;
}
