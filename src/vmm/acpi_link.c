/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linking: the script by which firmware puts the tables into memory (the commands of QEMU's table loader,
 * hw/acpi/bios-linker-loader.c; SeaBIOS src/fw/romfile_loader.c and OVMF's AcpiPlatformDxe carry them out), and the
 * same done here where no firmware runs.
 */
#include <string.h>

#include "vmm/acpi_internal.h"

/* A command: number (32 bits), then its arguments; names have 56 bytes, and 0 at the end. */
#define COMMAND_ALLOCATE     1u
#define COMMAND_ADD_POINTER  2u
#define COMMAND_ADD_CHECKSUM 3u
#define NAME_SIZE            56u

#define ZONE_HIGH 1u /* anywhere below 4 GiB */
#define ZONE_FSEG 2u /* 0xF0000 to 0xFFFFF, where an RSDP is looked for */

#define TABLES_ALIGNMENT 64u /* the FACS's (ACPI 6.3, 5.2.10) */
#define RSDP_ALIGNMENT   16u /* 5.2.5.1 */

static const char *const names[] = {[ACPI_FILE_TABLES] = "etc/acpi/tables", [ACPI_FILE_RSDP] = "etc/acpi/rsdp"};

static uint64_t load(const uint8_t *from, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

/* A new command of the script; its arguments are 0. */
static uint8_t *add_command(struct acpi *acpi, uint32_t command, enum acpi_file file)
{
    uint8_t *entry = acpi->script + acpi->script_size;
    memset(entry, 0, ACPI_LINK_SIZE);
    acpi_store(entry, command, 4);
    memcpy(entry + 4, names[file], strlen(names[file]));
    acpi->script_size += ACPI_LINK_SIZE;
    return entry;
}

static void allocate(struct acpi *acpi, enum acpi_file file, uint32_t alignment, uint8_t zone)
{
    uint8_t *arguments = add_command(acpi, COMMAND_ALLOCATE, file) + 4 + NAME_SIZE;
    acpi_store(arguments, alignment, 4);
    arguments[4] = zone;
}

static void add_pointer(struct acpi *acpi, const struct acpi_link *link)
{
    uint8_t *arguments = add_command(acpi, COMMAND_ADD_POINTER, link->file) + 4 + NAME_SIZE;
    memcpy(arguments, names[ACPI_FILE_TABLES], strlen(names[ACPI_FILE_TABLES]));
    acpi_store(arguments + NAME_SIZE, link->offset, 4);
    arguments[NAME_SIZE + 4] = (uint8_t)link->size;
}

static void add_checksum(struct acpi *acpi, const struct acpi_link *link)
{
    uint8_t *arguments = add_command(acpi, COMMAND_ADD_CHECKSUM, link->file) + 4 + NAME_SIZE;
    acpi_store(arguments, link->offset, 4);
    acpi_store(arguments + 4, link->start, 4);
    acpi_store(arguments + 8, link->length, 4);
}

void acpi_write_script(struct acpi *acpi)
{
    acpi->script_size = 0;
    allocate(acpi, ACPI_FILE_TABLES, TABLES_ALIGNMENT, ZONE_HIGH);
    allocate(acpi, ACPI_FILE_RSDP, RSDP_ALIGNMENT, ZONE_FSEG);
    for (unsigned i = 0; i < acpi->link_count; i++)
        if (acpi->links[i].kind == ACPI_ADD_POINTER)
            add_pointer(acpi, &acpi->links[i]);
    /* In the order in which they were made: of the RSDP's two the second covers the first. */
    for (unsigned i = 0; i < acpi->link_count; i++)
        if (acpi->links[i].kind == ACPI_ADD_CHECKSUM)
            add_checksum(acpi, &acpi->links[i]);
}

static uint32_t rsdp_offset(const struct acpi *acpi)
{
    return (acpi->blob_size + RSDP_ALIGNMENT - 1) / RSDP_ALIGNMENT * RSDP_ALIGNMENT;
}

uint32_t acpi_placed_size(const struct acpi *acpi)
{
    return rsdp_offset(acpi) + ACPI_RSDP_SIZE;
}

uint64_t acpi_place(const struct acpi *acpi, uint8_t *to, uint64_t gpa)
{
    uint32_t size = acpi_placed_size(acpi);
    if (gpa % TABLES_ALIGNMENT || gpa > UINT32_MAX - size)
        return 0;
    uint8_t *files[] = {[ACPI_FILE_TABLES] = to, [ACPI_FILE_RSDP] = to + rsdp_offset(acpi)};
    memset(to, 0, size);
    memcpy(files[ACPI_FILE_TABLES], acpi->blob, acpi->blob_size);
    memcpy(files[ACPI_FILE_RSDP], acpi->rsdp, ACPI_RSDP_SIZE);
    for (unsigned i = 0; i < acpi->link_count; i++) {
        const struct acpi_link *link = &acpi->links[i];
        uint8_t *pointer = files[link->file] + link->offset;
        if (link->kind == ACPI_ADD_POINTER)
            acpi_store(pointer, load(pointer, link->size) + gpa, link->size);
    }
    for (unsigned i = 0; i < acpi->link_count; i++) {
        const struct acpi_link *link = &acpi->links[i];
        uint8_t sum = 0;
        if (link->kind != ACPI_ADD_CHECKSUM)
            continue;
        for (uint32_t j = 0; j < link->length; j++)
            sum = (uint8_t)(sum + files[link->file][link->start + j]);
        files[link->file][link->offset] = (uint8_t)(files[link->file][link->offset] - sum);
    }
    return gpa + rsdp_offset(acpi);
}
