/* SPDX-License-Identifier: BSD-2-Clause */
/* The compiled AML with the machine's numbers in the place of placeholders.h's. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "vmm/acpi/placeholders.h"
#include "vmm/acpi_internal.h"

#define DWORD_PREFIX 0x0c /* ACPI 6.3, 20.2.3: a constant of 32 bits follows */

#define CPU_NAME_DIGITS 3

/* The only place in a table that holds these bytes. A table that has it not or twice is a mistake in its source. */
static uint8_t *only(uint8_t *table, size_t size, const uint8_t *wanted, size_t length)
{
    uint8_t *found = memmem(table, size, wanted, length);
    assert(found && !memmem(found + 1, size - (size_t)(found + 1 - table), wanted, length));
    return found;
}

/* A table in the blob. */
struct aml {
    uint8_t *bytes;
    size_t size;
};

/* A constant of 32 bits, as in Name (_STA, 0x...). */
static void set_constant(const struct aml *aml, uint32_t placeholder, uint32_t value)
{
    uint8_t wanted[5] = {DWORD_PREFIX};
    acpi_store(wanted + 1, placeholder, 4);
    acpi_store(only(aml->bytes, aml->size, wanted, sizeof(wanted)) + 1, value, 4);
}

/* Base, end, offset and length of an address space descriptor (6.4.3.5), each of `bytes`. An empty range stays as it
 * is. */
static void set_window(const struct aml *aml, uint64_t first, uint64_t last, unsigned bytes, uint64_t start,
                       uint64_t end)
{
    uint8_t wanted[16];
    acpi_store(wanted, first, bytes);
    acpi_store(wanted + bytes, last, bytes);
    uint8_t *found = only(aml->bytes, aml->size, wanted, 2 * bytes);
    if (start >= end)
        return;
    acpi_store(found, start, bytes);
    acpi_store(found + bytes, end - 1, bytes);
    acpi_store(found + 3 * bytes, end - start, bytes);
}

/* Base and length of a Memory32Fixed (6.4.3.4). */
static void set_memory(const struct aml *aml, uint32_t first, uint32_t length, uint32_t start, uint32_t size)
{
    uint8_t wanted[8];
    acpi_store(wanted, first, 4);
    acpi_store(wanted + 4, length, 4);
    uint8_t *found = only(aml->bytes, aml->size, wanted, sizeof(wanted));
    acpi_store(found, start, 4);
    acpi_store(found + 4, size, 4);
}

/* Both bounds of an I/O port descriptor (6.4.2.5). */
static void set_ports(const struct aml *aml, uint16_t placeholder, uint16_t base)
{
    uint8_t wanted[4];
    acpi_store(wanted, placeholder, 2);
    acpi_store(wanted + 2, placeholder, 2);
    uint8_t *found = only(aml->bytes, aml->size, wanted, sizeof(wanted));
    acpi_store(found, base, 2);
    acpi_store(found + 2, base, 2);
}

/* The 32-bit hole, without MMCONFIG where that lies in it. */
static void set_low_windows(const struct aml *aml, const struct acpi_config *config)
{
    uint64_t start = config->pci_low, end = config->pci_low_end, start2 = end, end2 = end;
    uint64_t ecam = config->ecam_base, ecam_end = ecam + config->ecam_size;
    if (config->ecam_size && ecam < end && ecam_end > start) {
        end = ecam;
        start2 = ecam_end;
    }
    if (start >= end) { /* nothing below it: the first window is the one above */
        start = start2;
        end = end2;
        start2 = end2;
    }
    set_window(aml, PLACE_LOW1_FIRST, PLACE_LOW1_LAST, 4, start, end);
    set_window(aml, PLACE_LOW2_FIRST, PLACE_LOW2_LAST, 4, start2, end2);
    set_constant(aml, PLACE_HAS_LOW2, start2 < end2);
}

#define PRESENT 0x0fu /* 6.3.7, _STA: present, enabled, shown, working */

uint32_t acpi_put_dsdt(struct acpi *acpi, const struct acpi_config *config)
{
    bool q35 = config->board == ACPI_Q35;
    acpi_align(acpi, 16);
    uint32_t table = acpi->blob_size;
    acpi_put_bytes(acpi, q35 ? acpi_aml_q35 : acpi_aml_i440fx, q35 ? acpi_aml_q35_size : acpi_aml_i440fx_size);
    const struct aml aml = {acpi->blob + table, acpi->blob_size - table};
    set_constant(&aml, PLACE_STA_KEYBOARD, config->keyboard ? PRESENT : 0);
    set_constant(&aml, PLACE_STA_MOUSE, config->mouse ? PRESENT : 0);
    set_constant(&aml, PLACE_STA_HPET, config->hpet ? PRESENT : 0);
    set_low_windows(&aml, config);
    set_window(&aml, PLACE_HIGH_FIRST, PLACE_HIGH_LAST, 8, config->pci_high, config->pci_high_end);
    set_constant(&aml, PLACE_HAS_HIGH, config->pci_high < config->pci_high_end);
    set_ports(&aml, PLACE_PM_BASE, config->pm_base);
    if (q35) {
        set_memory(&aml, PLACE_ECAM_FIRST, PLACE_ECAM_LENGTH, config->ecam_base, config->ecam_size);
        set_constant(&aml, PLACE_ECAM_CBA, config->ecam_base);
    }
    acpi_end(acpi, table);
    return table;
}

uint32_t acpi_put_ssdt(struct acpi *acpi, const struct acpi_config *config)
{
    static const uint8_t number[] = {'_', 'U', 'I', 'D', 0x0a, PLACE_CPU_UID}; /* 0x0a: a constant of a byte follows */
    acpi_align(acpi, 16);
    uint32_t table = acpi->blob_size;
    acpi_put_bytes(acpi, acpi_aml_cpu, ACPI_HEADER_SIZE);
    for (unsigned i = 0; i < config->cpus; i++) {
        char name[sizeof(PLACE_CPU_NAME)];
        const struct aml aml = {acpi->blob + acpi->blob_size, acpi_aml_cpu_size - ACPI_HEADER_SIZE};
        acpi_put_bytes(acpi, acpi_aml_cpu + ACPI_HEADER_SIZE, aml.size);
        (void)snprintf(name, sizeof(name), "%c%0*X", PLACE_CPU_NAME[0], CPU_NAME_DIGITS, i & 0xfffu);
        memcpy(only(aml.bytes, aml.size, (const uint8_t *)PLACE_CPU_NAME, sizeof(PLACE_CPU_NAME) - 1), name,
               sizeof(name) - 1);
        only(aml.bytes, aml.size, number, sizeof(number))[sizeof(number) - 1] = (uint8_t)i;
    }
    acpi_end(acpi, table);
    return table;
}
