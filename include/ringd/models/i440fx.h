/* SPDX-License-Identifier: BSD-2-Clause */
/* The 82441FX PCI and memory controller (host bridge) of the 440FX chip set: configuration space, PAM and SMRAM. */
#ifndef RINGD_MODELS_I440FX_H
#define RINGD_MODELS_I440FX_H

#include <ringd/api.h>
#include <ringd/models/pci_function.h>

RINGD_API_BEGIN

#define I440FX_DEVFN     PCI_FUNCTION_DEVFN(0, 0)
#define I440FX_PAM       0x59u /* PAM0, of PAM0 to PAM6 */
#define I440FX_PAM_COUNT 7u
#define I440FX_SMRAM     0x72u

/* The ranges that PAM governs, in the order of their addresses: 12 of 16 KiB from 0xC0000, and 0xF0000 to 0xFFFFF. */
#define I440FX_SEGMENTS 13u

/* Where the processors' accesses to a segment go; a sum of the two bits. */
enum pam_mode {
    PAM_PCI = 0,   /* reads and writes to PCI: where the firmware's ROM answers */
    PAM_READ = 1,  /* reads from RAM, writes to PCI: write-protected shadow */
    PAM_WRITE = 2, /* reads from PCI, writes to RAM: copying a ROM over itself */
    PAM_RAM = 3,
};

struct i440fx {
    struct pci_function function;
    uint8_t pam[I440FX_PAM_COUNT]; /* as last announced */
};

/* i440fx_init - makes the function for 00:00.0. All of it is reset to the data sheet's defaults. */
void i440fx_init(struct i440fx *bridge);

/* i440fx_pam - the mode of segment 0 to 12 under these registers; PAM_PCI for any other segment. */
enum pam_mode i440fx_pam(const uint8_t pam[I440FX_PAM_COUNT], unsigned segment);

/* i440fx_segment - a segment's first guest-physical address, and its size in bytes (0 past the last one). */
uint32_t i440fx_segment(unsigned segment, uint32_t *size);

RINGD_API_END

#endif
