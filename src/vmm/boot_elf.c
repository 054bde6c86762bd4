/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/boot_elf.h"

#include <elf.h>
#include <string.h>

#define SEGMENTS_MOST 64u /* Linux has five */

bool elf_is(const struct boot_file *file)
{
    return file->size >= EI_NIDENT && !memcmp(file->data, ELFMAG, SELFMAG);
}

static int check_header(const struct boot_job *job, const struct elf_view *elf, unsigned type, unsigned machine,
                        unsigned header_size)
{
    uint64_t size = elf->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    if (machine != EM_386 && machine != EM_X86_64)
        return boot_fail(job, "--kernel", "an ELF file for another machine (%u)", machine);
    if (type != ET_EXEC && type != ET_DYN)
        return boot_fail(job, "--kernel", "an ELF file that is no executable (type %u)", type);
    if (!elf->count || elf->count > SEGMENTS_MOST || header_size != size)
        return boot_fail(job, "--kernel", "an ELF file with %u program headers of %u bytes", elf->count, header_size);
    if (elf->headers > elf->file->size || elf->count * size > elf->file->size - elf->headers)
        return boot_fail(job, "--kernel", "cut short: its program headers are at 0x%llx, behind its end",
                         (unsigned long long)elf->headers);
    return 0;
}

int elf_open(const struct boot_job *job, struct elf_view *elf)
{
    const struct boot_file *file = &job->request->kernel;
    *elf = (struct elf_view){.file = file, .wide = file->data[EI_CLASS] == ELFCLASS64};
    if ((!elf->wide && file->data[EI_CLASS] != ELFCLASS32) || file->data[EI_DATA] != ELFDATA2LSB)
        return boot_fail(job, "--kernel", "an ELF file of class %u and byte order %u, which no PC has",
                         file->data[EI_CLASS], file->data[EI_DATA]);
    if (file->size < (elf->wide ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr)))
        return boot_fail(job, "--kernel", "cut short: %llu bytes do not hold an ELF header",
                         (unsigned long long)file->size);
    if (elf->wide) {
        Elf64_Ehdr header;
        memcpy(&header, file->data, sizeof(header));
        elf->entry = header.e_entry;
        elf->headers = header.e_phoff;
        elf->count = header.e_phnum;
        return check_header(job, elf, header.e_type, header.e_machine, header.e_phentsize);
    }
    Elf32_Ehdr header;
    memcpy(&header, file->data, sizeof(header));
    elf->entry = header.e_entry;
    elf->headers = header.e_phoff;
    elf->count = header.e_phnum;
    return check_header(job, elf, header.e_type, header.e_machine, header.e_phentsize);
}

struct elf_segment elf_segment(const struct elf_view *elf, unsigned index)
{
    if (elf->wide) {
        Elf64_Phdr header;
        memcpy(&header, elf->file->data + elf->headers + index * sizeof(header), sizeof(header));
        return (struct elf_segment){header.p_type,   header.p_offset, header.p_paddr,
                                    header.p_filesz, header.p_memsz,  header.p_align};
    }
    Elf32_Phdr header;
    memcpy(&header, elf->file->data + elf->headers + index * sizeof(header), sizeof(header));
    return (struct elf_segment){header.p_type,   header.p_offset, header.p_paddr,
                                header.p_filesz, header.p_memsz,  header.p_align};
}

const uint8_t *elf_bytes(const struct elf_view *elf, const struct elf_segment *segment)
{
    if (segment->offset > elf->file->size || segment->file_size > elf->file->size - segment->offset)
        return NULL;
    return elf->file->data + segment->offset;
}

static int load_segment(const struct boot_job *job, const struct elf_view *elf, const struct elf_segment *segment)
{
    const uint8_t *bytes = elf_bytes(elf, segment);
    if (!bytes)
        return boot_fail(job, "--kernel", "cut short: %llu bytes, and a segment's end is at %llu + %llu",
                         (unsigned long long)elf->file->size, (unsigned long long)segment->offset,
                         (unsigned long long)segment->file_size);
    if (segment->file_size > segment->memory_size)
        return boot_fail(job, "--kernel", "an ELF segment of 0x%llx bytes has 0x%llx in the file",
                         (unsigned long long)segment->memory_size, (unsigned long long)segment->file_size);
    if (segment->addr < BOOT_KERNEL_LEAST)
        return boot_fail(job, "--kernel", "an ELF segment for address 0x%llx; below 0x%x there is no room for any",
                         (unsigned long long)segment->addr, BOOT_KERNEL_LEAST);
    if (!boot_fits(job, segment->addr, segment->memory_size)) {
        uint64_t end = segment->addr + segment->memory_size;
        return boot_fail_memory(job, end < segment->addr ? UINT64_MAX : end);
    }
    int ret = boot_put(job, segment->addr, bytes, segment->file_size);
    return ret ? ret
               : boot_put_zeros(job, segment->addr + segment->file_size, segment->memory_size - segment->file_size);
}

int elf_load(const struct boot_job *job, const struct elf_view *elf, uint64_t entry, uint64_t *end)
{
    bool entered = false;
    *end = 0;
    for (unsigned i = 0; i < elf->count; i++) {
        struct elf_segment segment = elf_segment(elf, i);
        if (segment.type != PT_LOAD || !segment.memory_size)
            continue;
        int ret = load_segment(job, elf, &segment);
        if (ret)
            return ret;
        entered = entered || (entry >= segment.addr && entry - segment.addr < segment.file_size);
        if (segment.addr + segment.memory_size > *end)
            *end = segment.addr + segment.memory_size;
    }
    if (!entered)
        return boot_fail(job, "--kernel", "its entry, 0x%llx, is in none of its segments", (unsigned long long)entry);
    return 0;
}
