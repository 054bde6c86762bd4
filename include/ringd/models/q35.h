/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory controller hub of the Q35 and its kin (Intel 3 Series chip set): configuration space, PAM, PCIEXBAR. */
#ifndef RINGD_MODELS_Q35_H
#define RINGD_MODELS_Q35_H

#include <ringd/api.h>
#include <ringd/models/i440fx.h>
#include <ringd/models/pci_function.h>

RINGD_API_BEGIN

#define Q35_MCH_DEVFN    PCI_FUNCTION_DEVFN(0, 0)
#define Q35_MCH_PCIEXBAR 0x60u
#define Q35_MCH_PAM      0x90u /* PAM0, of PAM0 to PAM6, which are as the 440FX's: i440fx_pam() */
#define Q35_MCH_SMRAM    0x9du

/* PCI_WINDOW_OWN of the function is where the guest wants PCI_HOST_ECAM. */
struct q35_mch {
    struct pci_function function;
    uint8_t pam[I440FX_PAM_COUNT]; /* as last announced */
};

/* q35_mch_init - makes the function for 00:00.0. All of it is reset to the data sheet's defaults. */
void q35_mch_init(struct q35_mch *bridge);

RINGD_API_END

#endif
