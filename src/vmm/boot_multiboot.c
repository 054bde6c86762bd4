/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ELF kernels with a header of the Multiboot Specification, version 0.6.96 (multiboot 1): EAX has a magic number, EBX
 * the address of the information.
 */
#include <elf.h>
#include <string.h>

#include "vmm/boot_elf.h"

#define SEARCHED     8192u /* section 3.1: the header is in these first bytes, on a multiple of 4 */
#define HEADER_MAGIC 0x1badb002u
#define ENTRY_MAGIC  0x2badb002u
#define LOADER       "ringvmm"

/* The header's flags (3.1.2). What is not among the known ones of the lower half must be refused. */
#define WANT_PAGES   (1u << 0) /* modules on pages: they always are */
#define WANT_MEMORY  (1u << 1) /* the memory's sizes: always given */
#define WANT_VIDEO   (1u << 2)
#define WANT_ADDRESS (1u << 16) /* where to load, instead of ELF's own headers */

/* The information's flags (3.3), of what is given. */
#define HAS_MEMORY  (1u << 0)
#define HAS_CMDLINE (1u << 2)
#define HAS_MODULES (1u << 3)
#define HAS_MAP     (1u << 6)
#define HAS_LOADER  (1u << 9)

struct information {
    uint32_t flags, memory_lower, memory_upper, boot_device, cmdline, module_count, modules, symbols[4], map_size, map,
        drives_size, drives, config_table, loader;
};

struct module {
    uint32_t start, end, name, reserved;
};

struct __attribute__((packed)) map_entry {
    uint32_t size; /* of what follows */
    uint64_t addr, length;
    uint32_t type;
};

/* BOOT_LISTS: the map, then the one module. */
struct lists {
    struct map_entry map[BOOT_RANGES];
    struct module module;
};

static uint32_t word(const struct boot_file *kernel, uint64_t offset)
{
    uint32_t value;
    memcpy(&value, kernel->data + offset, sizeof(value));
    return value;
}

bool boot_is_multiboot(const struct boot_file *kernel, uint64_t *offset)
{
    uint64_t end = kernel->size < SEARCHED ? kernel->size : SEARCHED;
    for (uint64_t at = 0; at + 12 <= end; at += 4) {
        if (word(kernel, at) != HEADER_MAGIC || word(kernel, at) + word(kernel, at + 4) + word(kernel, at + 8) != 0)
            continue;
        *offset = at;
        return true;
    }
    return false;
}

static int check_flags(const struct boot_job *job, uint32_t flags)
{
    if (flags & WANT_VIDEO)
        return boot_fail(job, "--kernel", "its multiboot header asks for a video mode; there is no display");
    if (flags & 0xffff & ~(WANT_PAGES | WANT_MEMORY))
        return boot_fail(job, "--kernel", "its multiboot header asks for something unknown (flags 0x%x)", flags);
    if (flags & WANT_ADDRESS)
        return boot_fail(job, "--kernel",
                         "its multiboot header has addresses of its own; only ELF's headers are supported");
    return 0;
}

/* Two strings, one behind the other; cut to what has room, as no file name is that long. */
static uint32_t put_name(const struct boot_job *job, uint32_t addr, const char *name)
{
    size_t size = strnlen(name, BOOT_NAMES_MAX / 2 - 1);
    (void)boot_put(job, addr, name, size);
    (void)boot_put_zeros(job, addr + size, 1);
    return addr;
}

int boot_load_multiboot(struct boot_job *job, const struct elf_view *elf, uint64_t header, struct boot_entry *entry)
{
    uint64_t end;
    int ret = check_flags(job, word(&job->request->kernel, header + 4));
    ret = ret ? ret : elf_load(job, elf, elf->entry, &end);
    /* By custom the first word is the kernel's name, which such kernels skip. */
    ret = ret ? ret : boot_put_cmdline(job, job->request->kernel.name, BOOT_CMDLINE_MAX);
    ret = ret ? ret : boot_put_initrd(job, end, boot_low_end(job->ram));
    if (ret)
        return ret;

    struct boot_range ranges[BOOT_RANGES];
    unsigned count = boot_memory_map(job->ram, ranges);
    struct information info = {
        .flags = HAS_MEMORY | HAS_CMDLINE | HAS_MODULES | HAS_MAP | HAS_LOADER,
        .memory_lower = BOOT_LOW_RAM_END >> 10,
        .memory_upper = (uint32_t)((boot_low_end(job->ram) - BOOT_KERNEL_LEAST) >> 10),
        .cmdline = BOOT_CMDLINE,
        .map = BOOT_LISTS,
        .map_size = count * (uint32_t)sizeof(struct map_entry),
        .loader = put_name(job, BOOT_NAMES, LOADER),
    };
    struct lists lists = {0};
    for (unsigned i = 0; i < count; i++)
        lists.map[i] = (struct map_entry){sizeof(struct map_entry) - sizeof(uint32_t), ranges[i].addr, ranges[i].size,
                                          ranges[i].type};
    if (job->initrd_addr) {
        info.module_count = 1;
        info.modules = BOOT_LISTS + (uint32_t)offsetof(struct lists, module);
        lists.module = (struct module){
            .start = (uint32_t)job->initrd_addr,
            .end = (uint32_t)(job->initrd_addr + job->request->initrd.size),
            .name = put_name(job, BOOT_NAMES + BOOT_NAMES_MAX / 2, job->request->initrd.name),
        };
    }
    entry->rip = elf->entry;
    entry->rax = ENTRY_MAGIC;
    entry->rbx = BOOT_INFO;
    ret = boot_put(job, BOOT_LISTS, &lists, sizeof(lists));
    return ret ? ret : boot_put(job, BOOT_INFO, &info, sizeof(info));
}
