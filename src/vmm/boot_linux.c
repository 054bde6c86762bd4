/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux's bzImage by the 64-bit boot protocol, or by the 32-bit one when the kernel is 32-bit code
 * (Documentation/arch/x86/boot.rst; the field names are its). The file is a real-mode part, of which only the setup
 * header is used, and the protected-mode part that is put into memory and entered.
 */
#include <asm/bootparam.h>
#include <string.h>

#include "vmm/boot_load.h"

#define BOOT_FLAG        0x1feu
#define BOOT_FLAG_VALUE  0xaa55u
#define HEADER           0x202u /* "HdrS" */
#define HEADER_OFFSET    0x1f1u
#define JUMP_OFFSET      0x201u /* the jump over the header: 0x202 + this byte is where it ends */
#define HEADER_LEAST_END 0x264u /* behind init_size, which protocol 2.10 brought */

#define VERSION_LEAST     0x20au
#define ENTRY_64          0x200u
#define LOADER_UNDEFINED  0xffu
#define VIDEO_MODE_NORMAL 0xffffu
#define ALIGNMENT_MOST    0x40000000u

static struct setup_header read_header(const struct boot_file *kernel)
{
    struct setup_header header = {0};
    uint64_t size = HEADER + kernel->data[JUMP_OFFSET] - HEADER_OFFSET;
    if (size > sizeof(header))
        size = sizeof(header);
    memcpy(&header, kernel->data + HEADER_OFFSET, size);
    return header;
}

bool boot_is_linux(const struct boot_file *kernel)
{
    const uint8_t *data = kernel->data;
    return kernel->size >= HEADER_OFFSET + sizeof(struct setup_header) && data[BOOT_FLAG] == (BOOT_FLAG_VALUE & 0xff) &&
           data[BOOT_FLAG + 1] == BOOT_FLAG_VALUE >> 8 && !memcmp(data + HEADER, "HdrS", 4);
}

/* Of the header alone; the file may be shorter. */
static uint64_t setup_size(const struct boot_file *kernel)
{
    unsigned sectors = kernel->data[HEADER_OFFSET]; /* setup_sects */
    return ((sectors ? sectors : 4u) + 1) * UINT64_C(512);
}

uint64_t boot_linux_setup_size(const struct boot_file *kernel)
{
    return boot_is_linux(kernel) && setup_size(kernel) < kernel->size ? setup_size(kernel) : 0;
}

static int check_header(const struct boot_job *job, const struct setup_header *header)
{
    const struct boot_file *kernel = &job->request->kernel;
    uint64_t wanted = setup_size(kernel) + header->syssize * UINT64_C(16);
    if (header->version < VERSION_LEAST || !(header->loadflags & LOADED_HIGH))
        return boot_fail(job, "--kernel", "boot protocol %u.%02u is too old, there must be 2.10 (Linux 2.6.31)",
                         header->version >> 8, header->version & 0xffu);
    if (HEADER + kernel->data[JUMP_OFFSET] < HEADER_LEAST_END)
        return boot_fail(job, "--kernel", "its setup header is too short for its boot protocol");
    if (kernel->size < wanted || kernel->size <= setup_size(kernel) + ENTRY_64)
        return boot_fail(job, "--kernel", "cut short: %llu bytes, and its header says %llu",
                         (unsigned long long)kernel->size, (unsigned long long)wanted);
    if (header->relocatable_kernel &&
        (!header->kernel_alignment || (header->kernel_alignment & (header->kernel_alignment - 1)) ||
         header->kernel_alignment > ALIGNMENT_MOST))
        return boot_fail(job, "--kernel", "its header asks for an alignment of 0x%x", header->kernel_alignment);
    return 0;
}

/* Puts the protected-mode part where the kernel would move itself anyway (boot.rst, init_size): where it prefers to be.
 * Any other place costs it a copy. *space is what it takes from there until it knows the memory map. */
static int place_kernel(const struct boot_job *job, const struct setup_header *header, uint64_t *addr, uint64_t *space)
{
    const struct boot_file *kernel = &job->request->kernel;
    uint64_t size = kernel->size - setup_size(kernel);
    *addr = header->pref_address;
    if (header->relocatable_kernel && *addr < BOOT_KERNEL_LEAST)
        *addr = BOOT_KERNEL_LEAST;
    if (*addr < BOOT_KERNEL_LEAST || *addr >= UINT32_MAX)
        return boot_fail(job, "--kernel", "its header asks for the address 0x%llx", (unsigned long long)*addr);
    if (header->relocatable_kernel)
        *addr = (*addr + header->kernel_alignment - 1) & ~((uint64_t)header->kernel_alignment - 1);
    *space = header->init_size > size ? header->init_size : size;
    if (!boot_fits(job, *addr, *space))
        return boot_fail_memory(job, *addr + *space);
    return boot_put(job, *addr, kernel->data + setup_size(kernel), size);
}

static void put_memory_map(const struct boot_job *job, struct boot_params *params)
{
    struct boot_range ranges[BOOT_RANGES];
    params->e820_entries = (__u8)boot_memory_map(job->ram, ranges);
    for (unsigned i = 0; i < params->e820_entries; i++)
        params->e820_table[i] = (struct boot_e820_entry){ranges[i].addr, ranges[i].size, ranges[i].type};
}

int boot_load_linux(struct boot_job *job, struct boot_entry *entry)
{
    const struct setup_header header = read_header(&job->request->kernel);
    uint64_t addr = 0, space = 0;
    int ret = check_header(job, &header);
    ret = ret ? ret : place_kernel(job, &header, &addr, &space);
    ret = ret ? ret : boot_put_cmdline(job, "", header.cmdline_size ? header.cmdline_size : 255); /* 2.05 and before */
    bool anywhere = header.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G;
    ret = ret ? ret : boot_put_initrd(job, addr + space, anywhere ? UINT64_MAX : header.initrd_addr_max + UINT64_C(1));
    if (ret)
        return ret;

    /* "The zero page": all zeros but the header and what follows. */
    struct boot_params params = {.acpi_rsdp_addr = job->ram->rsdp, .hdr = header};
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.vid_mode = VIDEO_MODE_NORMAL;
    params.hdr.code32_start = (__u32)addr;
    params.hdr.cmd_line_ptr = BOOT_CMDLINE;
    params.hdr.ramdisk_image = (__u32)job->initrd_addr;
    params.ext_ramdisk_image = (__u32)(job->initrd_addr >> 32);
    params.hdr.ramdisk_size = (__u32)job->request->initrd.size;
    params.ext_ramdisk_size = (__u32)(job->request->initrd.size >> 32);
    params.hdr.setup_data = 0;
    put_memory_map(job, &params);
    ret = boot_put(job, BOOT_INFO, &params, sizeof(params));

    entry->long_mode = header.xloadflags & XLF_KERNEL_64;
    entry->rip = addr + (entry->long_mode ? ENTRY_64 : 0);
    entry->rsi = BOOT_INFO;
    return ret || !entry->long_mode ? ret : boot_put_page_tables(job);
}
