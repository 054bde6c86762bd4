/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables that tell a guest what its machine is: ACPI and SMBIOS, made from a machine's options, for fw_cfg, for a
 * guest without firmware, and as files for people. */
#ifndef VMM_TABLES_H
#define VMM_TABLES_H

#include "vmm/acpi.h"
#include "vmm/smbios.h"

struct fw_cfg_item;

/* What has to be known of a machine. */
struct tables_machine {
    enum acpi_board board;
    const char *name; /* "i440fx" */
    unsigned cpus;    /* their APIC IDs are 0, 1, 2, ... */
    uint64_t low_size, high_size;
    bool firmware; /* some runs, and says itself what it is */
    bool hpet, keyboard, mouse, display;
    uint8_t uuid[SMBIOS_UUID_SIZE];
};

struct tables {
    struct acpi_config config;
    struct acpi acpi;
    struct smbios smbios;
};

#define TABLES_FW_CFG_ITEMS 6u

void tables_build(struct tables *tables, const struct tables_machine *machine);

/*
 * tables_fw_cfg_items - the items by which firmware finds the tables, and the UUID's.
 * @uuid: SMBIOS_UUID_SIZE bytes.
 * They refer to `tables` and `uuid`, which have to outlive the fw_cfg device. Returns TABLES_FW_CFG_ITEMS.
 */
unsigned tables_fw_cfg_items(const struct tables *tables, const uint8_t *uuid, struct fw_cfg_item *items);

/*
 * tables_dump - each ACPI table into a file of its own in `directory`, which is made if need be: dsdt.dat, facp.dat,
 * ... for `iasl -d`; and smbios.dat for `dmidecode --from-dump`. Addresses in them are as if they stood at
 * TABLES_DUMP_ADDRESS. Returns 0, or -errno with the path that it is about in `path`.
 */
#define TABLES_DUMP_ADDRESS 0x7fff0000u
int tables_dump(const struct tables *tables, const char *directory, char *path, size_t path_size);

#endif
