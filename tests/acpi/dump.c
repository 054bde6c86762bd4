/* SPDX-License-Identifier: BSD-2-Clause */
/* dump DIRECTORY BOARD CPUS MEMORY(MiB) ECAM(hex) OPTION... - the tables of any machine, whatever ringvmm's options
 * are, as files. Options: hpet, input (keyboard and mouse), display, firmware. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/tables.h"

int main(int argc, char **argv)
{
    static struct tables tables;
    struct tables_machine machine = {0};
    char path[4200];

    if (argc < 6)
        return 2;
    machine.name = argv[2];
    machine.board = strcmp(argv[2], "q35") ? ACPI_I440FX : ACPI_Q35;
    machine.cpus = (unsigned)atoi(argv[3]);
    uint64_t bytes = strtoull(argv[4], NULL, 0) << 20;
    machine.low_size = bytes < 0x80000000 ? bytes : 0x80000000;
    machine.high_size = bytes - machine.low_size;
    for (int i = 6; i < argc; i++) {
        machine.hpet |= !strcmp(argv[i], "hpet");
        machine.keyboard |= !strcmp(argv[i], "input");
        machine.mouse |= !strcmp(argv[i], "input");
        machine.display |= !strcmp(argv[i], "display");
        machine.firmware |= !strcmp(argv[i], "firmware");
    }
    for (unsigned i = 0; i < SMBIOS_UUID_SIZE; i++)
        machine.uuid[i] = (uint8_t)(i * 0x11);
    tables_build(&tables, &machine);
    uint32_t ecam = (uint32_t)strtoul(argv[5], NULL, 16);
    if (ecam) {
        tables.config.ecam_base = ecam;
        acpi_build(&tables.acpi, &tables.config);
    }
    int error = tables_dump(&tables, argv[1], path, sizeof(path));
    if (error)
        fprintf(stderr, "%s: %s\n", path, strerror(-error));
    return error != 0;
}
