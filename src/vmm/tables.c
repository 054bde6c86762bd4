/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/tables.h"

#include <cpuid.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ringd/models/fw_cfg.h>

#define ADDRESS_BITS_LEAST 36u /* of an x86-64 that does not say */

/* The guest's CPUs are the host's: KVM passes these leaves on. Numbers: Intel SDM vol. 2A, CPUID. */
static unsigned address_bits(void)
{
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!__get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx))
        return ADDRESS_BITS_LEAST;
    return eax & 0xff;
}

static void put_registers(char *to, const unsigned *registers, unsigned count)
{
    memcpy(to, registers, count * sizeof(*registers));
    to[count * sizeof(*registers)] = '\0';
    for (char *c = to; *c; c++) /* a string in a table is plain ASCII */
        if (!isprint((unsigned char)*c))
            *c = '?';
}

static void name_processor(struct smbios_config *config)
{
    unsigned r[12] = {0};
    unsigned features[4] = {0};
    (void)__get_cpuid(0, &r[3], &r[0], &r[2], &r[1]);
    put_registers(config->vendor, r, 3);
    (void)__get_cpuid(1, &features[0], &features[1], &features[2], &features[3]);
    config->processor_id = (uint64_t)features[3] << 32 | features[0];
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]))
            return;
    put_registers(config->brand, r, 12);
}

void tables_build(struct tables *tables, const struct tables_machine *machine)
{
    struct acpi_config *config = &tables->config;
    struct smbios_config smbios = {
        .product = machine->name,
        .version = RINGVMM_VERSION,
        .firmware = !machine->firmware,
        .cpus = machine->cpus,
        .low_size = machine->low_size,
        .high_size = machine->high_size,
    };
    acpi_board_config(machine->board, config);
    acpi_config_memory(config, machine->low_size, machine->high_size, address_bits());
    config->cpus = machine->cpus;
    for (unsigned i = 0; i < machine->cpus; i++)
        config->apic_ids[i] = i;
    config->hpet = machine->hpet;
    config->keyboard = machine->keyboard;
    config->mouse = machine->mouse;
    config->display = machine->display;
    acpi_build(&tables->acpi, config);

    memcpy(smbios.uuid, machine->uuid, sizeof(smbios.uuid));
    name_processor(&smbios);
    smbios_build(&tables->smbios, &smbios);
}

unsigned tables_fw_cfg_items(const struct tables *tables, const uint8_t *uuid, struct fw_cfg_item *items)
{
    const struct acpi *acpi = &tables->acpi;
    const struct smbios *smbios = &tables->smbios;
    const struct fw_cfg_item all[TABLES_FW_CFG_ITEMS] = {
        {.name = "etc/acpi/tables", .data = acpi->blob, .size = acpi->blob_size},
        {.name = "etc/acpi/rsdp", .data = acpi->rsdp, .size = sizeof(acpi->rsdp)},
        {.name = "etc/table-loader", .data = acpi->script, .size = acpi->script_size},
        {.name = "etc/smbios/smbios-anchor", .data = smbios->anchor, .size = sizeof(smbios->anchor)},
        {.name = "etc/smbios/smbios-tables", .data = smbios->tables, .size = smbios->size},
        {.key = FW_CFG_KEY_UUID, .data = uuid, .size = SMBIOS_UUID_SIZE},
    };
    memcpy(items, all, sizeof(all));
    return TABLES_FW_CFG_ITEMS;
}

/* ---- files ---- */

static int write_file(const char *path, const uint8_t *data, size_t size)
{
    FILE *file = fopen(path, "we");
    if (!file)
        return -errno;
    int ret = fwrite(data, 1, size, file) == size ? 0 : -errno;
    if (fclose(file) && !ret)
        ret = -errno;
    return ret;
}

static int dump_table(const char *directory, const char *name, const uint8_t *data, size_t size, char *path,
                      size_t path_size)
{
    int length = snprintf(path, path_size, "%s/%s.dat", directory, name);
    if (length < 0 || (size_t)length >= path_size)
        return -ENAMETOOLONG;
    for (char *c = path + length - (int)strlen(name) - (int)strlen(".dat"); *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return write_file(path, data, size);
}

/* As `dmidecode --dump-bin` has it: the entry point, and at 32 the structures, whose address is 32. */
static int dump_smbios(const struct smbios *smbios, const char *directory, char *path, size_t path_size)
{
    uint8_t image[32 + SMBIOS_TABLES_SIZE];
    uint32_t size = smbios_placed_size(smbios);
    uint32_t address = 32;
    (void)smbios_place(smbios, image, 0xf0000);
    uint8_t change = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t byte = (uint8_t)(address >> 8 * i);
        change = (uint8_t)(change + image[24 + i] - byte);
        image[24 + i] = byte;
    }
    image[21] = (uint8_t)(image[21] + change); /* of the intermediate part; the sum of all stays as it was */
    return dump_table(directory, "smbios", image, size, path, path_size);
}

int tables_dump(const struct tables *tables, const char *directory, char *path, size_t path_size)
{
    const struct acpi *acpi = &tables->acpi;
    uint8_t *image = malloc(acpi_placed_size(acpi));
    if (!image)
        return -ENOMEM;
    (void)snprintf(path, path_size, "%s", directory);
    int ret = mkdir(directory, 0777) < 0 && errno != EEXIST ? -errno : 0;
    uint64_t rsdp = acpi_place(acpi, image, TABLES_DUMP_ADDRESS);
    for (unsigned i = 0; i < acpi->table_count && !ret; i++) {
        const struct acpi_table *table = &acpi->tables[i];
        ret = dump_table(directory, table->signature, image + table->offset, table->size, path, path_size);
    }
    if (!ret)
        ret = dump_table(directory, "rsdp", image + (rsdp - TABLES_DUMP_ADDRESS), ACPI_RSDP_SIZE, path, path_size);
    free(image);
    return ret ? ret : dump_smbios(&tables->smbios, directory, path, path_size);
}
