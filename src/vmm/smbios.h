/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SMBIOS 2.8 (DMTF DSP0134): what the machine is, for the eyes of users and of management tools. Entry point and
 * structures for fw_cfg, whose firmware puts the addresses in, or placed in guest memory where no firmware runs.
 *
 * Nothing here locks: a struct smbios belongs to its owner.
 */
#ifndef VMM_SMBIOS_H
#define VMM_SMBIOS_H

#include <stdbool.h>
#include <stdint.h>

#define SMBIOS_UUID_SIZE   16u
#define SMBIOS_ANCHOR_SIZE 31u
#define SMBIOS_TABLES_SIZE 2048u

struct smbios_config {
    const char *product;            /* the machine's name */
    const char *version;            /* ringvmm's */
    uint8_t uuid[SMBIOS_UUID_SIZE]; /* in the order of its text form; all 0: none */
    bool firmware;                  /* type 0 too: where no firmware runs, which would say what it is itself */
    unsigned cpus;                  /* cores of the one package */
    uint64_t processor_id;          /* CPUID leaf 1: EAX, and EDX in the upper half */
    char vendor[13], brand[49];     /* CPUID leaf 0, and 0x80000002 to 0x80000004 */
    uint64_t low_size, high_size;   /* bytes of RAM from 0 on, and from 4 GiB on */
};

struct smbios {
    uint8_t anchor[SMBIOS_ANCHOR_SIZE]; /* fw_cfg's "etc/smbios/smbios-anchor": address and checksums 0 */
    uint8_t tables[SMBIOS_TABLES_SIZE]; /* "etc/smbios/smbios-tables" */
    uint16_t size;                      /* bytes of tables */
    uint16_t count, largest;            /* structures, and bytes of the largest */
};

void smbios_build(struct smbios *smbios, const struct smbios_config *config);

/* smbios_placed_size - bytes that smbios_place() writes. */
uint32_t smbios_placed_size(const struct smbios *smbios);

/*
 * smbios_place - the entry point and behind it the structures.
 * @to: where to write; the guest finds it at @gpa, a multiple of 16 from 0xF0000 on, and all of it below 1 MiB: there a
 * guest looks for it.
 * Returns 0, or -EINVAL when @gpa cannot be.
 */
int smbios_place(const struct smbios *smbios, uint8_t *to, uint64_t gpa);

#endif
