/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Direct boot without a system call: which kind of kernel a file holds, where it and its helpers go in guest memory,
 * and with which registers the first vCPU enters it. Kernels come from anywhere: nothing in them is believed unchecked.
 * docs/boot.md has the protocols and the map of low memory.
 *
 * No state, no locks: any thread, as long as nobody else uses the RAM that is written.
 */
#ifndef VMM_BOOT_LOAD_H
#define VMM_BOOT_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file's contents; not there: data NULL and size 0. */
struct boot_file {
    const char *name; /* as the user wrote it; multiboot kernels are told */
    const uint8_t *data;
    uint64_t size;
};

struct boot_request {
    struct boot_file kernel, initrd;
    const char *append; /* NULL: an empty command line */
};

/* Guest RAM as struct memory has it: from address 0, and behind that what lies above 4 GiB. Sizes in bytes; low_size is
 * from 1 MiB to MEMORY_LOW_LIMIT. */
struct boot_ram {
    uint8_t *bytes; /* NULL: only to find out whether all is well */
    uint64_t low_size, high_size;
    /* The last bytes of low RAM hold ACPI tables, which the memory map keeps; 0: there are none. */
    uint64_t tables_size;
    uint64_t rsdp; /* where the root of these is; 0: there is none */
};

/* The first vCPU at the kernel's first instruction: flat segments from the table at BOOT_GDT, interrupts off. */
struct boot_entry {
    bool long_mode; /* 64-bit code under the page tables at BOOT_PAGE_TABLES; else 32-bit code without paging */
    uint64_t rip, rax, rbx, rsi;
};

/* What is wrong, for one line: "OPTION VALUE: why". */
struct boot_error {
    const char *option; /* "--kernel", "--initrd", "--append" or "--memory" */
    char why[200];
};

/*
 * boot_load - puts kernel, initrd, command line and all that they need into RAM, and says how to enter.
 * Returns 0, or -EINVAL with *error filled in; RAM is then half written.
 */
int boot_load(const struct boot_request *request, const struct boot_ram *ram, struct boot_entry *entry,
              struct boot_error *error);

/* Whether the file is a Linux bzImage, and if so, how many of its first bytes are its real-mode part; else 0. The part
 * is wholly in the file, and something follows it. */
uint64_t boot_linux_setup_size(const struct boot_file *kernel);

/* ---- what the kinds of kernels share ---- */

/* Low memory (docs/boot.md). All of it is free for the kernel once it has copied what it wants. */
#define BOOT_GDT          0x500u   /* segments of BOOT_CODE, BOOT_DATA and BOOT_TSS, of either width */
#define BOOT_INFO         0x7000u  /* boot_params, hvm_start_info or multiboot's information; one page */
#define BOOT_LISTS        0x8000u  /* memory map and list of modules, where these are not in BOOT_INFO; one page */
#define BOOT_PAGE_TABLES  0x9000u  /* the first 4 GiB, mapped to themselves; six pages */
#define BOOT_CMDLINE      0x20000u /* at most 64 KiB */
#define BOOT_NAMES        0x30000u /* other strings; one page */
#define BOOT_LOW_RAM_END  0x9fc00u /* the last KiB below 640 is the BIOS's on a PC, and so is not offered */
#define BOOT_KERNEL_LEAST 0x100000u

#define BOOT_CMDLINE_MAX 0xffffu /* bytes, without the terminating zero */
#define BOOT_NAMES_MAX   0x1000u

#define BOOT_CODE 0x10u /* Linux, Documentation/arch/x86/boot.rst: __BOOT_CS and __BOOT_DS */
#define BOOT_DATA 0x18u
#define BOOT_TSS  0x20u

#define BOOT_GDT_SIZE 0x28u

struct boot_range {
    uint64_t addr, size;
    uint32_t type; /* ACPI 6.4, table 15.2: 1 RAM, 2 reserved, 4 ACPI NVS */
};
#define BOOT_RANGES 7u

/* Where low RAM ends that a kernel may have. */
static inline uint64_t boot_low_end(const struct boot_ram *ram)
{
    return ram->low_size - ram->tables_size;
}

struct boot_job {
    const struct boot_request *request;
    const struct boot_ram *ram;
    struct boot_error *error;
    uint64_t initrd_addr; /* once boot_put_initrd() has placed it */
};

/* Fills in the error; returns -EINVAL. */
int boot_fail(const struct boot_job *job, const char *option, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Copies to guest RAM, or fills it with zeros. 0, or -EFAULT when any of it is not RAM. */
int boot_put(const struct boot_job *job, uint64_t gpa, const void *data, uint64_t size);
int boot_put_zeros(const struct boot_job *job, uint64_t gpa, uint64_t size);

/* The command line to BOOT_CMDLINE: `first`, a blank if both are there, --append. Limit in bytes. 0 or -EINVAL. */
int boot_put_cmdline(const struct boot_job *job, const char *first, uint64_t limit);

/* The initrd, if there is one, as high as RAM from `least` to `end` (exclusive) has room, on a page of its own. RAM
 * above 4 GiB is used only when `end` reaches it and there is no room below. 0 or -EINVAL. */
int boot_put_initrd(struct boot_job *job, uint64_t least, uint64_t end);

int boot_put_page_tables(const struct boot_job *job);

/* What a kernel may use, in the order of addresses. Returns how many. */
unsigned boot_memory_map(const struct boot_ram *ram, struct boot_range ranges[BOOT_RANGES]);

/* Whether [addr, addr + size) is low RAM that a kernel may be put into; the sum may overflow. */
bool boot_fits(const struct boot_job *job, uint64_t addr, uint64_t size);
/* The error for a kernel that does not fit: how much memory it takes. */
int boot_fail_memory(const struct boot_job *job, uint64_t end);

/* ---- the kinds; each is called for its own files only, and returns 0 or -EINVAL ---- */

/* boot_linux.c: bzImage, boot protocol 2.10 or later. */
bool boot_is_linux(const struct boot_file *kernel);
int boot_load_linux(struct boot_job *job, struct boot_entry *entry);

struct elf_view;
/* boot_multiboot.c. Returns false when there is no header; *offset is where it is. */
bool boot_is_multiboot(const struct boot_file *kernel, uint64_t *offset);
int boot_load_multiboot(struct boot_job *job, const struct elf_view *elf, uint64_t header, struct boot_entry *entry);

/* boot_pvh.c. Whether the file has the note, and the address in it. */
bool boot_is_pvh(const struct elf_view *elf, uint32_t *addr);
int boot_load_pvh(struct boot_job *job, const struct elf_view *elf, uint32_t addr, struct boot_entry *entry);

#endif
