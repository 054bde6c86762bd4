/* SPDX-License-Identifier: BSD-2-Clause */
/* The DSDT of machine i440fx: 440FX, PIIX3, PIIX4 power management. docs/devices/acpi.md says what stands where and why. */
#include "placeholders.h"
#include "links.inc"

DefinitionBlock ("", "DSDT", 2, "RINGVM", "I440FX", 1)
{
    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, Zero)
            #include "host_bridge.inc"

            /* Slot d, pin p (0 is INTA#): line (d - 1 + p) mod 4. Slot 1's INTA# is the SCI, which no PIRQ register routes. */
            Name (_PRT, Package ()
            {
                LINKED (0, LNKD, LNKA, LNKB, LNKC),
                LINKED (1, LNKS, LNKB, LNKC, LNKD),
                LINKED (2, LNKB, LNKC, LNKD, LNKA),
                LINKED (3, LNKC, LNKD, LNKA, LNKB),
                LINKED (4, LNKD, LNKA, LNKB, LNKC),
                LINKED (5, LNKA, LNKB, LNKC, LNKD),
                LINKED (6, LNKB, LNKC, LNKD, LNKA),
                LINKED (7, LNKC, LNKD, LNKA, LNKB),
                LINKED (8, LNKD, LNKA, LNKB, LNKC),
                LINKED (9, LNKA, LNKB, LNKC, LNKD),
                LINKED (10, LNKB, LNKC, LNKD, LNKA),
                LINKED (11, LNKC, LNKD, LNKA, LNKB),
                LINKED (12, LNKD, LNKA, LNKB, LNKC),
                LINKED (13, LNKA, LNKB, LNKC, LNKD),
                LINKED (14, LNKB, LNKC, LNKD, LNKA),
                LINKED (15, LNKC, LNKD, LNKA, LNKB),
                LINKED (16, LNKD, LNKA, LNKB, LNKC),
                LINKED (17, LNKA, LNKB, LNKC, LNKD),
                LINKED (18, LNKB, LNKC, LNKD, LNKA),
                LINKED (19, LNKC, LNKD, LNKA, LNKB),
                LINKED (20, LNKD, LNKA, LNKB, LNKC),
                LINKED (21, LNKA, LNKB, LNKC, LNKD),
                LINKED (22, LNKB, LNKC, LNKD, LNKA),
                LINKED (23, LNKC, LNKD, LNKA, LNKB),
                LINKED (24, LNKD, LNKA, LNKB, LNKC),
                LINKED (25, LNKA, LNKB, LNKC, LNKD),
                LINKED (26, LNKB, LNKC, LNKD, LNKA),
                LINKED (27, LNKC, LNKD, LNKA, LNKB),
                LINKED (28, LNKD, LNKA, LNKB, LNKC),
                LINKED (29, LNKA, LNKB, LNKC, LNKD),
                LINKED (30, LNKB, LNKC, LNKD, LNKA),
                LINKED (31, LNKC, LNKD, LNKA, LNKB)
            })

            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (ROUT, PCI_Config, 0x60, 0x04)
                Field (ROUT, ByteAcc, NoLock, Preserve)
                {
                    PRQA, 8,
                    PRQB, 8,
                    PRQC, 8,
                    PRQD, 8
                }
                #include "isa.inc"
            }
        }

        LINK (LNKA, 0, \_SB.PCI0.ISA.PRQA)
        LINK (LNKB, 1, \_SB.PCI0.ISA.PRQB)
        LINK (LNKC, 2, \_SB.PCI0.ISA.PRQC)
        LINK (LNKD, 3, \_SB.PCI0.ISA.PRQD)

        /* The SCI's way is fixed. */
        Device (LNKS)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 4)
            Name (_STA, 0x0B)
            Name (_PRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) {9}
            })
            Name (_CRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) {9}
            })
            Method (_SRS, 1, NotSerialized)
            {
            }
            Method (_DIS, 0, NotSerialized)
            {
            }
        }

        #include "board.inc"

        /* Ports of the chips that no other device names. */
        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, Zero)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0092, 0x0092, 0x01, 0x01)
                IO (Decode16, 0x00B2, 0x00B2, 0x01, 0x02)
                IO (Decode16, PLACE_PM_BASE, PLACE_PM_BASE, 0x01, 0x40)
            })
        }
    }

    /* SLP_TYP of soft off, the only sleep there is. */
    Name (\_S5, Package () {Zero, Zero, Zero, Zero})
}
