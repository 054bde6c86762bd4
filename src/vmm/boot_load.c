/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/boot_load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm/boot_elf.h"
#include "vmm/memory.h"

#define PAGE      0x1000u
#define MEBIBYTE  0x100000u
#define RAM       1u
#define RESERVED  2u
#define ACPI_NVS  4u
#define ROM_BELOW 0xf0000u /* the last 64 KiB below 1 MiB: the BIOS's, which is not RAM here either */

/* KVM's own pages on Intel hosts (run.c), the APICs' holes, and where firmware would be. */
#define TOP_RESERVED 0xfeffc000u
#define TOP_END      0xff000000u

int boot_fail(const struct boot_job *job, const char *option, const char *format, ...)
{
    va_list arguments;
    job->error->option = option;
    va_start(arguments, format);
    (void)vsnprintf(job->error->why, sizeof(job->error->why), format, arguments);
    va_end(arguments);
    return -EINVAL;
}

/* ---- RAM ---- */

/* Whether [gpa, gpa + size) is RAM, and where it begins in the memory that backs it. */
static bool ram_find(const struct boot_ram *ram, uint64_t gpa, uint64_t size, uint64_t *offset)
{
    uint64_t base = gpa < MEMORY_HIGH ? 0 : MEMORY_HIGH;
    uint64_t room = gpa < MEMORY_HIGH ? ram->low_size : ram->high_size;
    if (gpa - base > room || size > room - (gpa - base))
        return false;
    *offset = gpa < MEMORY_HIGH ? gpa : ram->low_size + (gpa - MEMORY_HIGH);
    return true;
}

int boot_put(const struct boot_job *job, uint64_t gpa, const void *data, uint64_t size)
{
    uint64_t offset;
    if (!ram_find(job->ram, gpa, size, &offset))
        return -EFAULT;
    if (job->ram->bytes && size)
        memcpy(job->ram->bytes + offset, data, size);
    return 0;
}

int boot_put_zeros(const struct boot_job *job, uint64_t gpa, uint64_t size)
{
    uint64_t offset;
    if (!ram_find(job->ram, gpa, size, &offset))
        return -EFAULT;
    if (job->ram->bytes && size)
        memset(job->ram->bytes + offset, 0, size);
    return 0;
}

bool boot_fits(const struct boot_job *job, uint64_t addr, uint64_t size)
{
    return addr >= BOOT_KERNEL_LEAST && addr <= boot_low_end(job->ram) && size <= boot_low_end(job->ram) - addr;
}

int boot_fail_memory(const struct boot_job *job, uint64_t end)
{
    if (end > MEMORY_LOW_LIMIT)
        return boot_fail(job, "--kernel", "it wants memory up to 0x%llx; a machine has it up to 0x%x",
                         (unsigned long long)end, MEMORY_LOW_LIMIT);
    return boot_fail(job, "--memory", "too little for the kernel, which takes up to %lluM",
                     (unsigned long long)((end + MEBIBYTE - 1) / MEBIBYTE));
}

unsigned boot_memory_map(const struct boot_ram *ram, struct boot_range ranges[BOOT_RANGES])
{
    const struct boot_range all[BOOT_RANGES] = {
        {0, BOOT_LOW_RAM_END, RAM},
        {BOOT_LOW_RAM_END, MEMORY_VGA - BOOT_LOW_RAM_END, RESERVED},
        {ROM_BELOW, MEBIBYTE - ROM_BELOW, RESERVED},
        {MEBIBYTE, boot_low_end(ram) - MEBIBYTE, RAM},
        {boot_low_end(ram), ram->tables_size, ACPI_NVS},
        {TOP_RESERVED, TOP_END - TOP_RESERVED, RESERVED},
        {MEMORY_HIGH, ram->high_size, RAM},
    };
    unsigned count = 0;
    for (unsigned i = 0; i < BOOT_RANGES; i++)
        if (all[i].size)
            ranges[count++] = all[i];
    return count;
}

/* ---- what every kernel gets ---- */

int boot_put_cmdline(const struct boot_job *job, const char *first, uint64_t limit)
{
    const char *append = job->request->append ? job->request->append : "";
    size_t first_size = strlen(first), append_size = strlen(append);
    size_t blank = first_size && append_size;
    if (limit > BOOT_CMDLINE_MAX)
        limit = BOOT_CMDLINE_MAX;
    if (first_size + blank + append_size > limit)
        return boot_fail(job, "--append", "%zu bytes; this kernel takes %llu", append_size,
                         (unsigned long long)(limit > first_size + blank ? limit - first_size - blank : 0));
    (void)boot_put(job, BOOT_CMDLINE, first, first_size);
    (void)boot_put(job, BOOT_CMDLINE + first_size, " ", blank);
    return boot_put(job, BOOT_CMDLINE + first_size + blank, append, append_size + 1);
}

/* The highest page in [least, end) with `size` bytes of room; 0: none. */
static uint64_t highest_place(uint64_t least, uint64_t end, uint64_t size)
{
    if (end < least || size > end - least)
        return 0;
    uint64_t place = (end - size) & ~(uint64_t)(PAGE - 1);
    return place >= least ? place : 0;
}

int boot_put_initrd(struct boot_job *job, uint64_t least, uint64_t end)
{
    const struct boot_file *initrd = &job->request->initrd;
    uint64_t low_end = end < boot_low_end(job->ram) ? end : boot_low_end(job->ram);
    if (!initrd->size)
        return 0;
    job->initrd_addr = highest_place(least, low_end, initrd->size);
    if (!job->initrd_addr && end > MEMORY_HIGH) {
        uint64_t high_end = MEMORY_HIGH + job->ram->high_size;
        job->initrd_addr = highest_place(MEMORY_HIGH, end < high_end ? end : high_end, initrd->size);
    }
    if (!job->initrd_addr)
        return boot_fail(job, "--initrd", "%llu bytes; beside the kernel there is room for %llu (--memory)",
                         (unsigned long long)initrd->size,
                         (unsigned long long)(low_end > least ? (low_end - least) & ~(uint64_t)(PAGE - 1) : 0));
    return boot_put(job, job->initrd_addr, initrd->data, initrd->size);
}

/* Descriptors of 4 GiB from 0, as Intel SDM vol. 3A, 3.4.5 has them: accessed, present, ring 0. The vCPU's own copies
 * are made from the same numbers (vcpu_enter()), so that reloading a segment changes nothing. */
static void put_gdt(const struct boot_job *job, bool long_mode)
{
    const uint64_t gdt[BOOT_GDT_SIZE / 8] = {
        [BOOT_CODE / 8] = long_mode ? 0x00af9b000000ffff : 0x00cf9b000000ffff,
        [BOOT_DATA / 8] = 0x00cf93000000ffff,
        [BOOT_TSS / 8] = 0x00008b0000000067, /* busy, 104 bytes from 0 */
    };
    (void)boot_put(job, BOOT_GDT, gdt, sizeof(gdt));
}

int boot_put_page_tables(const struct boot_job *job)
{
    const uint64_t present_writable = 3, large = 0x80; /* Intel SDM vol. 3A, 4.5: PS in a directory's entry: 2 MiB */
    uint64_t table[512] = {BOOT_PAGE_TABLES + PAGE + present_writable};
    (void)boot_put(job, BOOT_PAGE_TABLES, table, sizeof(table));
    for (uint64_t i = 0; i < 4; i++)
        table[i] = BOOT_PAGE_TABLES + (2 + i) * PAGE + present_writable;
    (void)boot_put(job, BOOT_PAGE_TABLES + PAGE, table, sizeof(table));
    for (uint64_t page = 0; page < 4; page++) {
        for (uint64_t i = 0; i < 512; i++)
            table[i] = (page * 512 + i) * 2 * MEBIBYTE + present_writable + large;
        int ret = boot_put(job, BOOT_PAGE_TABLES + (2 + page) * PAGE, table, sizeof(table));
        if (ret)
            return ret;
    }
    return 0;
}

static int load_elf(struct boot_job *job, struct boot_entry *entry)
{
    struct elf_view elf;
    uint64_t header;
    uint32_t addr;
    int ret = elf_open(job, &elf);
    if (ret)
        return ret;
    /* Multiboot first: it is the one that says what it wants. Linux has none. */
    if (boot_is_multiboot(&job->request->kernel, &header))
        return boot_load_multiboot(job, &elf, header, entry);
    if (boot_is_pvh(&elf, &addr))
        return boot_load_pvh(job, &elf, addr, entry);
    return boot_fail(job, "--kernel", "an ELF file without a PVH note and without a multiboot header");
}

int boot_load(const struct boot_request *request, const struct boot_ram *ram, struct boot_entry *entry,
              struct boot_error *error)
{
    struct boot_job job = {.request = request, .ram = ram, .error = error};
    uint64_t header;
    int ret;
    memset(entry, 0, sizeof(*entry));
    if (boot_is_linux(&request->kernel))
        ret = boot_load_linux(&job, entry);
    else if (elf_is(&request->kernel))
        ret = load_elf(&job, entry);
    else if (boot_is_multiboot(&request->kernel, &header))
        ret = boot_fail(&job, "--kernel", "a multiboot kernel that is no ELF file; there is no support for these");
    else
        ret = boot_fail(&job, "--kernel", "not a kernel: no Linux bzImage, no ELF file");
    if (ret == 0)
        put_gdt(&job, entry->long_mode);
    return ret;
}
