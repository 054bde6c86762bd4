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

/* Registers that a firmware sets: of 00:01.3 on i440fx (Intel 82371AB, data sheet 290562, 7.1), of 00:1f.0 (ICH9,
 * 316972, 13.1) and 00:00.0 (3 Series chip set, 316966, 5.1) on q35. */
#define PCI_ENABLE     0x80000000u
#define INTERRUPT_LINE 0x3cu
#define PMBA           0x40u
#define PMREGMISC      0x80u
#define PMIOSE         1u
#define PMBASE         0x40u
#define ACPI_CNTL      0x44u
#define ACPI_EN        0x80u /* and the SCI is interrupt 9 */
#define PCIEXBAR_ON    1u    /* 256 MiB */

_Static_assert((int)PIIX4_PM_IO == (int)ICH9_PM_IO, "one region on either board");

static void describe(const struct run_options *options, uint64_t low_size, uint64_t high_size,
                     struct tables_machine *machine)
{
    bool q35 = options->machine == OPTION_MACHINE_Q35;
    *machine = (struct tables_machine){
        .board = q35 ? ACPI_Q35 : ACPI_I440FX,
        .name = q35 ? "q35" : "i440fx",
        .cpus = (unsigned)options->cpus,
        .low_size = low_size,
        .high_size = high_size,
        .firmware = options->firmware != NULL,
        .hpet = options->hpet,
    };
    memcpy(machine->uuid, options->uuid, sizeof(machine->uuid));
}

void machine_make_tables(struct machine *machine)
{
    const struct memory *memory = &machine->vm->memory;
    struct tables_machine description;
    describe(machine->options, memory->low_size, memory->high_size, &description);
    description.cpus = machine->vm->vcpu_count;
    tables_build(&machine->tables, &description);
}

int machine_dump_tables(const struct run_options *options)
{
    static struct tables tables; /* large, and the process has nothing else to do */
    char path[PATH_MAX];
    uint64_t low_limit = machine_low_limit(options);
    uint64_t low_size = options->memory_bytes < low_limit ? options->memory_bytes : low_limit;
    struct tables_machine description;
    describe(options, low_size, options->memory_bytes - low_size, &description);
    tables_build(&tables, &description);
    int ret = tables_dump(&tables, options->dump_tables, path, sizeof(path));
    if (ret)
        fprintf(stderr, "ringvmm: --dump-tables: %s: %s\n", path, strerror(-ret));
    return ret;
}

/* ---- what the guest moves ---- */

struct move {
    struct tables *tables;
    bool ecam; /* MMCONFIG has moved, not the power management registers */
    uint32_t addr;
};

/* Under fw_cfg's lock. */
static void follow(void *self, void *arg)
{
    const struct move *move = arg;
    struct acpi_config *config = &move->tables->config;
    (void)self;
    if (move->ecam)
        config->ecam_base = move->addr;
    else
        config->pm_base = (uint16_t)move->addr;
    acpi_build(&move->tables->acpi, config);
}

void machine_tables_moved(struct machine *machine, const struct ringd_dev *dev, unsigned region, uint64_t addr)
{
    struct move move = {.tables = &machine->tables, .addr = (uint32_t)addr};
    if (!machine->pm)
        return;
    if (dev == machine->pci && region == PCI_HOST_ECAM && addr <= UINT32_MAX) /* the tables put it nowhere else */
        move.ecam = true;
    else if (dev != machine->pm || region != PIIX4_PM_IO)
        return;
    ringd_call(machine->fw_cfg, follow, &move);
}

/* ---- a guest without firmware ---- */

static void write_config(struct ringd_dev *pci, uint8_t devfn, unsigned offset, unsigned width, uint32_t value)
{
    /* ringd_write_part(): no guest's access, so it shall not count as one that found its ring full. */
    ringd_write_part(pci, PCI_HOST_ADDRESS, 0, 4, PCI_ENABLE | (uint32_t)devfn << 8 | (offset & 0xfcu));
    ringd_write_part(pci, PCI_HOST_DATA, offset & 3, width, value);
}

/* What the tables name goes where the board has it, and the tables follow: after a reset they may still say where the
 * guest before it had put it. */
static void place_registers(struct machine *machine)
{
    struct acpi_config board, *config = &board;
    acpi_board_config(machine->tables.config.board, config);
    if (config->board == ACPI_Q35) {
        write_config(machine->pci, ICH9_LPC_DEVFN, PMBASE, 4, config->pm_base | 1u);
        write_config(machine->pci, ICH9_LPC_DEVFN, ACPI_CNTL, 1, ACPI_EN);
        write_config(machine->pci, Q35_MCH_DEVFN, Q35_MCH_PCIEXBAR + 4, 4, 0);
        write_config(machine->pci, Q35_MCH_DEVFN, Q35_MCH_PCIEXBAR, 4, config->ecam_base | PCIEXBAR_ON);
    } else {
        write_config(machine->pci, PIIX4_PM_DEVFN, PMBA, 4, config->pm_base | 1u);
        write_config(machine->pci, PIIX4_PM_DEVFN, PMREGMISC, 1, PMIOSE);
        write_config(machine->pci, PIIX4_PM_DEVFN, INTERRUPT_LINE, 1, config->sci);
    }
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
    place_registers(machine);
    machine_apply(machine);
    *rsdp = acpi_place(&machine->tables.acpi, memory->ram + gpa, gpa);
    if (!*rsdp)
        return -EINVAL;
    memcpy(memory->window + (RSDP_COPY - MEMORY_PAM_START), memory->ram + *rsdp, ACPI_RSDP_SIZE);
    return smbios_place(&machine->tables.smbios, memory->window + (SMBIOS_ENTRY - MEMORY_PAM_START), SMBIOS_ENTRY);
}

size_t machine_boot_order(const struct run_options *options, char out[OPTIONS_MAX_DISKS * MACHINE_BOOT_PATH_SIZE])
{
    const size_t room = OPTIONS_MAX_DISKS * MACHINE_BOOT_PATH_SIZE;
    size_t used = 0;
    for (int index = 0; index < OPTIONS_MAX_DISKS; index++)
        for (unsigned i = 0; i < options->disk_count; i++)
            if (options->disks[i].boot_index == index)
                used += (size_t)snprintf(out + used, room - used, "%s/pci@i0cf8/scsi@%x/disk@0,0", used ? "\n" : "",
                                         MACHINE_FIRST_SLOT + i);
    return used ? used + 1 : 0;
}
