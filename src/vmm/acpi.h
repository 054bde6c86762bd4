/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI tables of a PC (ACPI 6.3). What differs between machines is in one struct; the tables are bytes in one blob,
 * with the linker's script that firmware relocates them by, or placed in guest memory ready for use where no firmware
 * runs.
 *
 * Nothing here locks: a struct acpi belongs to its owner. docs/devices/acpi.md says what the tables hold and why.
 */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACPI_MAX_CPUS 64u

#define ACPI_IOAPIC_BASE 0xfec00000u
#define ACPI_LAPIC_BASE  0xfee00000u
#define ACPI_HPET_BASE   0xfed00000u

enum acpi_board { ACPI_I440FX, ACPI_Q35 };

/* What the tables say of a machine. acpi_board_config() fills in what is the board's; the rest is the machine's. */
struct acpi_config {
    enum acpi_board board;

    /* The board's. Ports and sizes in bytes; offsets from pm_base. */
    uint8_t sci;          /* ISA interrupt, level, active high */
    uint16_t level_irqs;  /* a bit for each ISA interrupt that is level and active high at the IOAPIC, the SCI's too */
    uint16_t smi_port;    /* where "ACPI on" and "ACPI off" are written; 0: SCI_EN is set from the start */
    uint8_t acpi_enable;  /* what is written there */
    uint8_t acpi_disable; /* likewise */
    uint8_t gpe0_offset;  /* of the GPE0 block */
    uint8_t gpe0_bytes;   /* its size, status and enable registers; 0: there is none */
    uint32_t ecam_size;   /* of MMCONFIG; 0: there is none */
    uint16_t pm_base; /* PM1 event +0, control +4, PM timer +8: where the guest has put them, until then the default */
    uint32_t ecam_base;    /* likewise; a multiple of 256 MiB */
    uint32_t pci_low;      /* the 32-bit hole for BARs; MMCONFIG may lie in it */
    uint32_t pci_low_end;  /* its first byte no longer */
    uint64_t pci_high;     /* the 64-bit hole */
    uint64_t pci_high_end; /* equal to pci_high: there is none */

    /* The machine's. */
    unsigned cpus;                    /* 1 to ACPI_MAX_CPUS */
    uint32_t apic_ids[ACPI_MAX_CPUS]; /* of each; above 254 it gets an x2APIC entry */
    bool hpet;                        /* at ACPI_HPET_BASE */
    bool keyboard;                    /* a PS/2 keyboard is plugged in */
    bool mouse;                       /* a PS/2 mouse is plugged in */
    bool display;                     /* there is something that answers as VGA */
};

/* Where one table stands in the blob. */
struct acpi_table {
    char signature[5];
    uint32_t offset, size; /* bytes */
};

#define ACPI_BLOB_SIZE  0x6000u /* the largest machine's tables and a quarter more */
#define ACPI_RSDP_SIZE  36u
#define ACPI_MAX_TABLES 10u
#define ACPI_MAX_LINKS  24u
#define ACPI_LINK_SIZE  128u /* an entry of the linker's script */

enum acpi_file { ACPI_FILE_TABLES, ACPI_FILE_RSDP };

/* What has to be done to the bytes once their address is known. */
struct acpi_link {
    enum { ACPI_ADD_POINTER, ACPI_ADD_CHECKSUM } kind;
    enum acpi_file file; /* whose byte or pointer it is; pointers are to ACPI_FILE_TABLES */
    uint32_t offset;     /* of the pointer, or of the checksum */
    uint32_t size;       /* of the pointer: 4 or 8 */
    uint32_t start;      /* ADD_CHECKSUM: the first byte that is summed up */
    uint32_t length;     /* and how many are */
};

struct acpi {
    uint8_t blob[ACPI_BLOB_SIZE]; /* fw_cfg's "etc/acpi/tables": pointers are offsets, checksums 0 */
    uint32_t blob_size;
    uint8_t rsdp[ACPI_RSDP_SIZE];                           /* "etc/acpi/rsdp" */
    uint8_t script[(2u + ACPI_MAX_LINKS) * ACPI_LINK_SIZE]; /* "etc/table-loader" */
    uint32_t script_size;
    struct acpi_table tables[ACPI_MAX_TABLES];
    unsigned table_count;
    struct acpi_link links[ACPI_MAX_LINKS];
    unsigned link_count;
};

/* acpi_board_config - the numbers of a board as its firmware finds it: everything but the holes' limits that follow
 * from memory, and the machine's own, which are 0. */
void acpi_board_config(enum acpi_board board, struct acpi_config *config);

/* acpi_config_memory - the holes for BARs beside RAM: below 4 GiB RAM ends at `low_size`, and `high_size` bytes are
 * from 4 GiB on. `address_bits` is how many the guest's physical addresses have. */
void acpi_config_memory(struct acpi_config *config, uint64_t low_size, uint64_t high_size, unsigned address_bits);

/* acpi_build - all of it, anew. For one board, number of CPUs, ecam_size and hpet the sizes, and with them the script,
 * are the same whatever else differs. */
void acpi_build(struct acpi *acpi, const struct acpi_config *config);

/* acpi_placed_size - bytes that acpi_place() writes. */
uint32_t acpi_placed_size(const struct acpi *acpi);

/*
 * acpi_place - the tables and behind them the RSDP, linked.
 * @to: where to write: acpi_placed_size() bytes, which the guest finds at @gpa, a multiple of 64 below 4 GiB.
 * Returns the RSDP's guest address, a multiple of 16; 0 when @gpa cannot be.
 */
uint64_t acpi_place(const struct acpi *acpi, uint8_t *to, uint64_t gpa);

#endif
