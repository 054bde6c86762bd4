/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files that make ACPI tables share: writing into the blob, and the compiled AML. */
#ifndef VMM_ACPI_INTERNAL_H
#define VMM_ACPI_INTERNAL_H

#include "vmm/acpi.h"

#define ACPI_HEADER_SIZE 36u /* ACPI 6.3, table 5-29 */

/* Compiled from src/vmm/acpi/NAME.asl. */
extern const unsigned char acpi_aml_i440fx[], acpi_aml_q35[], acpi_aml_cpu[];
extern const unsigned int acpi_aml_i440fx_size, acpi_aml_q35_size, acpi_aml_cpu_size;

/* A number of 1 to 8 bytes, little endian. */
static inline void acpi_store(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

/* Appends a number of 1 to 8 bytes, little endian; bytes as they are; zeros up to a multiple of `alignment`. */
void acpi_put(struct acpi *acpi, uint64_t value, unsigned bytes);
void acpi_put_bytes(struct acpi *acpi, const void *data, size_t size);
void acpi_align(struct acpi *acpi, unsigned alignment);

/* A table: its header, and when all is in it, its length and who sums it up. begin returns its offset. */
uint32_t acpi_begin(struct acpi *acpi, const char signature[4], uint8_t revision);
void acpi_end(struct acpi *acpi, uint32_t table);

/* Appends a pointer of 4 or 8 bytes to `target` in the blob. */
void acpi_put_pointer(struct acpi *acpi, uint32_t target, unsigned bytes);

void acpi_add_link(struct acpi *acpi, const struct acpi_link *link);
void acpi_note_table(struct acpi *acpi, const char signature[4], uint32_t offset);

/* The DSDT and the SSDT with the machine's numbers in them. Each returns its offset. */
uint32_t acpi_put_dsdt(struct acpi *acpi, const struct acpi_config *config);
uint32_t acpi_put_ssdt(struct acpi *acpi, const struct acpi_config *config);

/* The script, from the links. */
void acpi_write_script(struct acpi *acpi);

#endif
