/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ELF kernels with a PVH entry: a note gives the address of 32-bit code, which finds struct hvm_start_info by EBX
 * (Xen, docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h).
 */
#include <elf.h>
#include <string.h>

#include "vmm/boot_elf.h"

#define NOTE_PHYS32_ENTRY 18u /* XEN_ELFNOTE_PHYS32_ENTRY, xen/include/public/elfnote.h */
#define START_MAGIC       0x336ec578u
#define START_VERSION     1u /* the first with a memory map */

struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp, memory_map;
    uint32_t memory_map_count, reserved;
};

struct start_module {
    uint64_t addr, size, cmdline, reserved;
};

struct start_range {
    uint64_t addr, size;
    uint32_t type, reserved;
};

/* BOOT_LISTS: the map, then the one module. */
struct start_lists {
    struct start_range ranges[BOOT_RANGES];
    struct start_module module;
};

static uint64_t align(uint64_t value, uint64_t to)
{
    return (value + to - 1) & ~(to - 1);
}

/* The notes of one segment. Each is three words, name and contents, both padded. */
static bool find_note(const uint8_t *notes, uint64_t size, uint64_t pad, uint32_t *addr)
{
    for (uint64_t at = 0; size - at >= sizeof(Elf32_Nhdr);) {
        Elf32_Nhdr note; /* the same in both classes */
        memcpy(&note, notes + at, sizeof(note));
        uint64_t name = at + sizeof(note), contents = align(name + note.n_namesz, pad);
        if (contents > size || note.n_descsz > size - contents)
            return false;
        if (note.n_type == NOTE_PHYS32_ENTRY && note.n_namesz == 4 && !memcmp(notes + name, "Xen", 4) &&
            note.n_descsz >= sizeof(*addr)) {
            memcpy(addr, notes + contents, sizeof(*addr)); /* 64-bit kernels have 8 bytes, of which 4 matter */
            return true;
        }
        at = align(contents + note.n_descsz, pad);
        if (at > size)
            return false;
    }
    return false;
}

bool boot_is_pvh(const struct elf_view *elf, uint32_t *addr)
{
    for (unsigned i = 0; i < elf->count; i++) {
        struct elf_segment segment = elf_segment(elf, i);
        const uint8_t *notes = segment.type == PT_NOTE ? elf_bytes(elf, &segment) : NULL;
        if (notes && find_note(notes, segment.file_size, segment.alignment == 8 ? 8 : 4, addr))
            return true;
    }
    return false;
}

int boot_load_pvh(struct boot_job *job, const struct elf_view *elf, uint32_t addr, struct boot_entry *entry)
{
    uint64_t end;
    int ret = elf_load(job, elf, addr, &end);
    ret = ret ? ret : boot_put_cmdline(job, "", BOOT_CMDLINE_MAX);
    ret = ret ? ret : boot_put_initrd(job, end, boot_low_end(job->ram));
    if (ret)
        return ret;

    struct boot_range ranges[BOOT_RANGES];
    struct start_lists lists = {.module = {.addr = job->initrd_addr, .size = job->request->initrd.size}};
    unsigned count = boot_memory_map(job->ram, ranges);
    for (unsigned i = 0; i < count; i++)
        lists.ranges[i] = (struct start_range){.addr = ranges[i].addr, .size = ranges[i].size, .type = ranges[i].type};
    ret = boot_put(job, BOOT_LISTS, &lists, sizeof(lists));
    const struct start_info start = {
        .magic = START_MAGIC,
        .version = START_VERSION,
        .module_count = job->initrd_addr ? 1 : 0,
        .modules = job->initrd_addr ? BOOT_LISTS + offsetof(struct start_lists, module) : 0,
        .cmdline = BOOT_CMDLINE,
        .rsdp = job->ram->rsdp,
        .memory_map = BOOT_LISTS,
        .memory_map_count = count,
    };
    entry->rip = addr;
    entry->rbx = BOOT_INFO;
    return ret ? ret : boot_put(job, BOOT_INFO, &start, sizeof(start));
}
