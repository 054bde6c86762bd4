/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers that stand in the compiled AML where the machine's own go: shared by the .asl files and by acpi_aml.c, which
 * looks for their encoding and replaces it. Each encoding occurs once in a table. The ranges among them are such that
 * the compiler's checks of a resource (base, end and length agree) hold.
 */
#ifndef VMM_ACPI_PLACEHOLDERS_H
#define VMM_ACPI_PLACEHOLDERS_H

/* _STA of what a machine may lack: 0 or 15. */
#define PLACE_STA_KEYBOARD 0xFACE0001
#define PLACE_STA_MOUSE    0xFACE0002
#define PLACE_STA_HPET     0xFACE0003

/* Whether the host bridge has a second 32-bit window, and a 64-bit one: 0 or 1. */
#define PLACE_HAS_LOW2 0xFACE0011
#define PLACE_HAS_HIGH 0xFACE0012

/* The host bridge's windows to memory. */
#define PLACE_LOW1_FIRST 0xFACE1000
#define PLACE_LOW1_LAST  0xFACE1FFF
#define PLACE_LOW2_FIRST 0xFACE2000
#define PLACE_LOW2_LAST  0xFACE2FFF
#define PLACE_LOW_LENGTH 0x1000

#define PLACE_HIGH_FIRST  0xFACEFACEFACE0000
#define PLACE_HIGH_LAST   0xFACEFACEFACEFFFF
#define PLACE_HIGH_LENGTH 0x10000

/* MMCONFIG: the range that is reserved for it, and _CBA. */
#define PLACE_ECAM_FIRST  0xFACE4000
#define PLACE_ECAM_LENGTH 0x3000
#define PLACE_ECAM_CBA    0xFACE5000

/* The power management registers' ports. */
#define PLACE_PM_BASE 0xFAC0

/* In cpu.asl: the device's name and number. */
#define PLACE_CPU_NAME "C000"
#define PLACE_CPU_UID  0xFA

#endif
