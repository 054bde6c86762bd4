/* SPDX-License-Identifier: BSD-2-Clause */
/* A machine's ACPI and SMBIOS tables: from its options, kept true when the guest moves registers that they name, and
 * put into memory where no firmware does it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/machine_internal.h"

/* The RSDP's copy and the SMBIOS entry point of a guest without firmware: in the range below 1 MiB in which they are
 * looked for (ACPI 6.3, 5.2.5.1; SMBIOS 3.4, 5.2.1), on the side of PCI, where a ROM would be. */
#define RSDP_COPY    0xe0000u
#define SMBIOS_ENTRY 0xf0000u

/* Registers of the power management function's configuration space (Intel 82371AB, data sheet 290562, 7.1). */
#define PCI_ENABLE     0x80000000u
#define INTERRUPT_LINE 0x3cu
#define PMBA           0x40u
#define PMREGMISC      0x80u
#define PMIOSE         1u
#define SCI            9u

static void describe(const struct run_options *options, uint64_t low_size, uint64_t high_size,
                     struct tables_machine *machine)
{
    *machine = (struct tables_machine){
        .board = ACPI_I440FX,
        .name = "i440fx",
        .cpus = (unsigned)options->cpus,
        .low_size = low_size,
        .high_size = high_size,
        .firmware = options->firmware != NULL,
    };
    memcpy(machine->uuid, options->uuid, sizeof(machine->uuid));
}

void machine_make_tables(struct machine *machine)
{
    const struct memory *memory = &machine->vm->memory;
    struct tables_machine description;
    describe(machine->options, memory->low_size, memory->high_size, &description);
    tables_build(&machine->tables, &description);
}

int machine_dump_tables(const struct run_options *options)
{
    static struct tables tables; /* large, and the process has nothing else to do */
    char path[PATH_MAX];
    uint64_t low_size = memory_low_size(options->memory_bytes);
    struct tables_machine description;
    describe(options, low_size, options->memory_bytes - low_size, &description);
    tables_build(&tables, &description);
    int ret = tables_dump(&tables, options->dump_tables, path, sizeof(path));
    if (ret)
        fprintf(stderr, "ringvmm: --dump-tables: %s: %s\n", path, strerror(-ret));
    return ret;
}

/* ---- what the guest moves ---- */

static void rebuild(void *self, void *arg)
{
    struct tables *tables = arg;
    (void)self;
    acpi_build(&tables->acpi, &tables->config);
}

struct pm_move {
    struct tables *tables;
    uint16_t base;
};

static void follow_pm(void *self, void *arg)
{
    struct pm_move *move = arg;
    if (move->tables->config.pm_base == move->base)
        return;
    move->tables->config.pm_base = move->base;
    rebuild(self, move->tables);
}

void machine_tables_moved(struct machine *machine, const struct ringd_dev *dev, unsigned region, uint64_t addr)
{
    struct pm_move move = {.tables = &machine->tables, .base = (uint16_t)addr};
    if (machine->pm && dev == machine->pm && region == machine->pm_region)
        ringd_call(machine->fw_cfg, follow_pm, &move);
}

/* ---- a guest without firmware ---- */

static void write_config(struct ringd_dev *pci, uint8_t devfn, unsigned offset, unsigned width, uint32_t value)
{
    /* ringd_write_part(): no guest's access, so it shall not count as one that found its ring full. */
    ringd_write_part(pci, PCI_HOST_ADDRESS, 0, 4, PCI_ENABLE | (uint32_t)devfn << 8 | (offset & 0xfcu));
    ringd_write_part(pci, PCI_HOST_DATA, offset & 3, width, value);
}

uint32_t machine_tables_size(const struct machine *machine)
{
    return acpi_placed_size(&machine->tables.acpi);
}

int machine_place_tables(struct machine *machine, uint64_t gpa, uint64_t *rsdp)
{
    struct memory *memory = &machine->vm->memory;
    uint32_t size = machine_tables_size(machine);
    if (gpa > memory->low_size || size > memory->low_size - gpa)
        return -EFAULT;
    write_config(machine->pci, PIIX4_PM_DEVFN, PMBA, 4, machine->tables.config.pm_base | 1u);
    write_config(machine->pci, PIIX4_PM_DEVFN, PMREGMISC, 1, PMIOSE);
    write_config(machine->pci, PIIX4_PM_DEVFN, INTERRUPT_LINE, 1, SCI);
    machine_apply(machine);
    *rsdp = acpi_place(&machine->tables.acpi, memory->ram + gpa, gpa);
    if (!*rsdp)
        return -EINVAL;
    memcpy(memory->window + (RSDP_COPY - MEMORY_PAM_START), memory->ram + *rsdp, ACPI_RSDP_SIZE);
    return smbios_place(&machine->tables.smbios, memory->window + (SMBIOS_ENTRY - MEMORY_PAM_START), SMBIOS_ENTRY);
}
