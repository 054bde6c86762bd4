/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/i440fx.h>

#include <string.h>

#include "devices/pci_registers.h"

/* SMRAM. C_BASE_SEG, bits 2:0, is read-only 010: 0xA0000. */
#define SMRAM_D_OPEN  0x40u
#define SMRAM_D_CLS   0x20u
#define SMRAM_D_LCK   0x10u
#define SMRAM_SMRAME  0x08u
#define SMRAM_INITIAL 0x02u

/* PAM1 to PAM6: write and read enable in bits 5:4 and 1:0; PAM0 has the upper pair only. The rest is reserved. */
#define PAM_BOTH  0x33u
#define PAM_UPPER 0x30u

/* Offsets, defaults and masks: Intel 440FX PCIset, 82441FX PMC, data sheet 290549, section 3.2. Memory timing,
 * arbitration and error registers have no effect here; they keep what firmware writes. */
static const struct pci_register i440fx_registers[] = {
    {PCI_VENDOR_ID, 2, PCI_VENDOR_INTEL, 0, 0},
    {PCI_DEVICE_ID, 2, 0x1237, 0, 0},
    {PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0x0140, 0}, /* memory and master are wired on */
    {PCI_STATUS, 2, 0x0280, 0, PCI_STATUS_ERRORS},
    {PCI_REVISION_ID, 1, 0x02, 0, 0},
    {PCI_CLASS_CODE, 3, 0x060000, 0, 0}, /* host bridge */
    {PCI_LATENCY_TIMER, 1, 0, 0xf8, 0},
    /* The real chip has none. SeaBIOS (src/fw/paravirt.c) takes these for a machine as QEMU's. */
    {PCI_SUBSYSTEM_VENDOR_ID, 2, 0x1af4, 0, 0},
    {PCI_SUBSYSTEM_ID, 2, 0x1100, 0, 0},
    {0x50, 2, 0x0000, 0xffff, 0},         /* PMCCFG */
    {0x52, 1, 0x00, 0xff, 0},             /* DETURBO */
    {0x53, 1, 0x80, 0xff, 0},             /* DBC */
    {0x54, 1, 0x00, 0xff, 0},             /* AXC */
    {0x55, 2, 0x0000, 0xffff, 0},         /* DRT */
    {0x57, 1, 0x01, 0xff, 0},             /* DRAMC */
    {0x58, 1, 0x10, 0xff, 0},             /* DRAMT */
    {I440FX_PAM, 1, 0, PAM_UPPER, 0},     /* PAM0: 0xF0000 */
    {I440FX_PAM + 1, 1, 0, PAM_BOTH, 0},  /* PAM1: 0xC4000, 0xC0000 */
    {I440FX_PAM + 2, 1, 0, PAM_BOTH, 0},  /* PAM2: 0xCC000, 0xC8000 */
    {I440FX_PAM + 3, 1, 0, PAM_BOTH, 0},  /* PAM3: 0xD4000, 0xD0000 */
    {I440FX_PAM + 4, 1, 0, PAM_BOTH, 0},  /* PAM4: 0xDC000, 0xD8000 */
    {I440FX_PAM + 5, 1, 0, PAM_BOTH, 0},  /* PAM5: 0xE4000, 0xE0000 */
    {I440FX_PAM + 6, 1, 0, PAM_BOTH, 0},  /* PAM6: 0xEC000, 0xE8000 */
    {0x60, 4, 0x01010101, 0xffffffff, 0}, /* DRB0 to DRB3 */
    {0x64, 4, 0x01010101, 0xffffffff, 0}, /* DRB4 to DRB7 */
    {0x68, 1, 0x00, 0xff, 0},             /* FDHC */
    {0x70, 1, 0x00, 0xff, 0},             /* MTT */
    {0x71, 1, 0x10, 0xff, 0},             /* CLT */
    {I440FX_SMRAM, 1, SMRAM_INITIAL, SMRAM_D_OPEN | SMRAM_D_CLS | SMRAM_D_LCK | SMRAM_SMRAME, 0},
    {0x90, 1, 0x00, 0xff, 0}, /* ERRCMD */
    {0x91, 1, 0x00, 0, 0xff}, /* ERRSTS */
};

static void announce_pam(struct i440fx *bridge)
{
    const struct pci_sink *sink = bridge->function.sink;
    if (!memcmp(bridge->pam, &bridge->function.config[I440FX_PAM], I440FX_PAM_COUNT))
        return;
    memcpy(bridge->pam, &bridge->function.config[I440FX_PAM], I440FX_PAM_COUNT);
    if (sink && sink->pam_changed)
        sink->pam_changed(sink->ctx, bridge->pam);
}

static void i440fx_written(struct pci_function *fn, unsigned offset, unsigned width)
{
    (void)offset;
    (void)width;
    /* Locked, SMRAM is closed and both bits stay as they are until a reset. */
    if (fn->config[I440FX_SMRAM] & SMRAM_D_LCK) {
        fn->config[I440FX_SMRAM] &= (uint8_t)~SMRAM_D_OPEN;
        fn->wmask[I440FX_SMRAM] &= (uint8_t) ~(SMRAM_D_LCK | SMRAM_D_OPEN);
    }
    announce_pam((struct i440fx *)fn);
}

static void i440fx_reset(struct pci_function *fn)
{
    announce_pam((struct i440fx *)fn);
}

void i440fx_init(struct i440fx *bridge)
{
    memset(bridge, 0, sizeof(*bridge));
    pci_function_init(&bridge->function, "82441FX", i440fx_registers,
                      sizeof(i440fx_registers) / sizeof(i440fx_registers[0]));
    bridge->function.config_written = i440fx_written;
    bridge->function.reset = i440fx_reset;
}

enum pam_mode i440fx_pam(const uint8_t pam[I440FX_PAM_COUNT], unsigned segment)
{
    if (segment >= I440FX_SEGMENTS)
        return PAM_PCI;
    if (segment == I440FX_SEGMENTS - 1)
        return (enum pam_mode)(pam[0] >> 4 & 3);
    return (enum pam_mode)(pam[1 + segment / 2] >> (segment & 1 ? 4 : 0) & 3);
}

uint32_t i440fx_segment(unsigned segment, uint32_t *size)
{
    if (segment >= I440FX_SEGMENTS) {
        *size = 0;
        return 0x100000;
    }
    *size = segment == I440FX_SEGMENTS - 1 ? 0x10000 : 0x4000;
    return 0xc0000 + segment * 0x4000;
}
