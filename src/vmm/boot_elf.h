/* SPDX-License-Identifier: BSD-2-Clause */
/* ELF executables for x86, of either class, as kernels: loaded by physical address. */
#ifndef VMM_BOOT_ELF_H
#define VMM_BOOT_ELF_H

#include "vmm/boot_load.h"

struct elf_view {
    const struct boot_file *file;
    bool wide; /* 64-bit structures */
    uint64_t entry;
    uint64_t headers; /* offset of the program headers, all of which are in the file */
    unsigned count;
};

struct elf_segment {
    uint32_t type;
    uint64_t offset, addr, file_size, memory_size, alignment;
};

/* Whether the file begins as an ELF file. */
bool elf_is(const struct boot_file *file);

/* Opens the job's kernel. 0 or -EINVAL with the job's error. */
int elf_open(const struct boot_job *job, struct elf_view *elf);

/* Program header `index`, below count. Its contents need not be in the file: elf_bytes() tells. */
struct elf_segment elf_segment(const struct elf_view *elf, unsigned index);
/* The segment's bytes in the file; NULL when they are not all there. */
const uint8_t *elf_bytes(const struct elf_view *elf, const struct elf_segment *segment);

/* Puts all segments into RAM, zeros behind what the file has of them. *end is the first address behind them. `entry`
 * must lie in one of them. 0 or -EINVAL with the job's error. */
int elf_load(const struct boot_job *job, const struct elf_view *elf, uint64_t entry, uint64_t *end);

#endif
