/* SPDX-License-Identifier: BSD-2-Clause */
/* A processor device, of which the SSDT has one for each vCPU: acpi_aml.c copies it and puts the number in. The MADT's
 * entry with the same number has the APIC ID. */
#include "placeholders.h"

DefinitionBlock ("", "SSDT", 2, "RINGVM", "CPUS", 1)
{
    Device (\_SB.C000)
    {
        Name (_HID, "ACPI0007")
        Name (_UID, PLACE_CPU_UID)
    }
}
