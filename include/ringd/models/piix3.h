/* SPDX-License-Identifier: BSD-2-Clause */
/* The 82371SB (PIIX3) PCI-to-ISA bridge: function 0's configuration space with the PIRQ routing. */
#ifndef RINGD_MODELS_PIIX3_H
#define RINGD_MODELS_PIIX3_H

#include <ringd/api.h>
#include <ringd/models/pci_function.h>

RINGD_API_BEGIN

#define PIIX3_DEVFN PCI_FUNCTION_DEVFN(1, 0)
#define PIIX3_PIRQ  0x60u /* PIRQRCA, of PIRQRCA to PIRQRCD */

struct piix3 {
    struct pci_function function;
    uint8_t route[4]; /* as last announced */
};

/* piix3_init - makes the function for 00:01.0, with the multifunction bit: its other functions may be attached too. */
void piix3_init(struct piix3 *bridge);

/* piix3_pirq_irq - the ISA interrupt (3 to 15) that a PIRQ route control register selects, or -1: routing is off, or
 * the value is one that the data sheet reserves (0, 1, 2, 8, 13). */
int piix3_pirq_irq(uint8_t route);

RINGD_API_END

#endif
