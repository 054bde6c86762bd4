/* SPDX-License-Identifier: BSD-2-Clause */
/* The DSDT of machine q35: Q35 MCH and ICH9. docs/devices/acpi.md says what stands where and why. */
#include "placeholders.h"
#include "links.inc"

/* Slots 0 to 24: pin p of slot d goes to PIRQ[E + (d + p) mod 4]#. */
#define EXPANSION(KIND, e, f, g, h)   \
    KIND (0, e, f, g, h),             \
    KIND (1, f, g, h, e),             \
    KIND (2, g, h, e, f),             \
    KIND (3, h, e, f, g),             \
    KIND (4, e, f, g, h),             \
    KIND (5, f, g, h, e),             \
    KIND (6, g, h, e, f),             \
    KIND (7, h, e, f, g),             \
    KIND (8, e, f, g, h),             \
    KIND (9, f, g, h, e),             \
    KIND (10, g, h, e, f),            \
    KIND (11, h, e, f, g),            \
    KIND (12, e, f, g, h),            \
    KIND (13, f, g, h, e),            \
    KIND (14, g, h, e, f),            \
    KIND (15, h, e, f, g),            \
    KIND (16, e, f, g, h),            \
    KIND (17, f, g, h, e),            \
    KIND (18, g, h, e, f),            \
    KIND (19, h, e, f, g),            \
    KIND (20, e, f, g, h),            \
    KIND (21, f, g, h, e),            \
    KIND (22, g, h, e, f),            \
    KIND (23, h, e, f, g),            \
    KIND (24, e, f, g, h)

/* Slots 25 to 31 are the chip's own: pin p goes to PIRQ[A + p]#, as the DnIR registers say after a reset. */
#define OWN(KIND, a, b, c, d)         \
    KIND (25, a, b, c, d),            \
    KIND (26, a, b, c, d),            \
    KIND (27, a, b, c, d),            \
    KIND (28, a, b, c, d),            \
    KIND (29, a, b, c, d),            \
    KIND (30, a, b, c, d),            \
    KIND (31, a, b, c, d)

DefinitionBlock ("", "DSDT", 2, "RINGVM", "Q35", 1)
{
    /* 0: the PICs are in use, 1: the IOAPIC. The system says which. */
    Name (PICF, Zero)
    Method (\_PIC, 1, NotSerialized)
    {
        PICF = Arg0
    }

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, Zero)
            Name (_CBA, PLACE_ECAM_CBA)
            #include "host_bridge.inc"

            Name (PRTP, Package ()
            {
                EXPANSION (LINKED, LNKE, LNKF, LNKG, LNKH),
                OWN (LINKED, LNKA, LNKB, LNKC, LNKD)
            })
            /* PIRQA# to PIRQH# are the IOAPIC's inputs 16 to 23. */
            Name (PRTA, Package ()
            {
                EXPANSION (WIRED, 20, 21, 22, 23),
                OWN (WIRED, 16, 17, 18, 19)
            })
            Method (_PRT, 0, NotSerialized)
            {
                If (PICF)
                {
                    Return (PRTA)
                }
                Return (PRTP)
            }

            /* PCI Firmware Specification 3.3, 4.5.1. The system may have PME, AER and the capabilities' registers (bits 2
             * to 4): no firmware of ours uses them. There is no hot-plug to control (bits 0 and 1). */
            Method (_OSC, 4, NotSerialized)
            {
                CreateDWordField (Arg3, 0x00, STAT)
                If (Arg0 == ToUUID ("33DB4D5B-1FF7-401C-9657-7441C03DD766"))
                {
                    CreateDWordField (Arg3, 0x08, CTRL)
                    Local0 = CTRL & 0x1C
                    If (Arg1 != One)
                    {
                        STAT |= 0x08 /* a revision that is not known */
                    }
                    If (CTRL != Local0)
                    {
                        STAT |= 0x10 /* not all was granted */
                    }
                    CTRL = Local0
                }
                Else
                {
                    STAT |= 0x04 /* a UUID that is not known */
                }
                Return (Arg3)
            }

            Device (ISA)
            {
                Name (_ADR, 0x001F0000)
                OperationRegion (ROUT, PCI_Config, 0x60, 0x0C)
                Field (ROUT, ByteAcc, NoLock, Preserve)
                {
                    PRQA, 8,
                    PRQB, 8,
                    PRQC, 8,
                    PRQD, 8,
                    Offset (0x08),
                    PRQE, 8,
                    PRQF, 8,
                    PRQG, 8,
                    PRQH, 8
                }
                #include "isa.inc"
            }
        }

        LINK (LNKA, 0, \_SB.PCI0.ISA.PRQA)
        LINK (LNKB, 1, \_SB.PCI0.ISA.PRQB)
        LINK (LNKC, 2, \_SB.PCI0.ISA.PRQC)
        LINK (LNKD, 3, \_SB.PCI0.ISA.PRQD)
        LINK (LNKE, 4, \_SB.PCI0.ISA.PRQE)
        LINK (LNKF, 5, \_SB.PCI0.ISA.PRQF)
        LINK (LNKG, 6, \_SB.PCI0.ISA.PRQG)
        LINK (LNKH, 7, \_SB.PCI0.ISA.PRQH)

        #include "board.inc"

        /* Ports and memory of the chips that no other device names. MMCONFIG has to be reserved here, by the PCI Firmware
         * Specification 3.3, 4.1.2; the last range is the chip's RCBA where SeaBIOS and OVMF put it. */
        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, Zero)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0092, 0x0092, 0x01, 0x01)
                IO (Decode16, 0x00B2, 0x00B2, 0x01, 0x02)
                IO (Decode16, PLACE_PM_BASE, PLACE_PM_BASE, 0x01, 0x80)
                Memory32Fixed (ReadWrite, PLACE_ECAM_FIRST, PLACE_ECAM_LENGTH)
                Memory32Fixed (ReadWrite, 0xFED1C000, 0x00004000)
            })
        }
    }

    /* SLP_TYP of soft off, the only sleep there is. */
    Name (\_S5, Package () {Zero, Zero, Zero, Zero})
}
