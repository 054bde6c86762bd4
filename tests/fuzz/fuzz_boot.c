/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any file as a kernel, with RAM of several sizes, an initrd and a command line of any length. RAM is one allocation,
 * so that a byte beside it is found. What is refused has a reason; what is accepted is entered in RAM, and is refused
 * or accepted alike without RAM.
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/boot_load.h"
#include "vmm/memory.h"

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

#define MEBIBYTE   0x100000u
#define APPEND_MAX 70000u
#define HEAD       4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_refused(const struct boot_error *error)
{
    static const char *const options[] = {"--kernel", "--initrd", "--append", "--memory"};
    bool known = false;
    for (unsigned i = 0; i < 4; i++)
        known = known || !strcmp(error->option, options[i]);
    size_t length = strnlen(error->why, sizeof(error->why));
    REQUIRE(known && length > 0 && length < sizeof(error->why) - 1); /* had it been cut, it would fill the buffer */
    for (size_t i = 0; i < length; i++)
        REQUIRE((unsigned char)error->why[i] >= 0x20 && (unsigned char)error->why[i] < 0x7f);
}

/* ---- good kernels ---- */

#define KERNEL_BYTES 0x1400u
#define SETUP_BYTES  0x400u

static void make_linux(uint8_t *kernel)
{
    const struct setup_header header = {
        .setup_sects = SETUP_BYTES / 512 - 1,
        .syssize = (KERNEL_BYTES - SETUP_BYTES) / 16,
        .boot_flag = 0xaa55,
        .jump = 0x6aeb, /* over the header, to 0x26c */
        .header = 0x53726448,
        .version = 0x20f,
        .loadflags = LOADED_HIGH,
        .initrd_addr_max = 0x7fffffff,
        .kernel_alignment = 0x1000,
        .relocatable_kernel = 1,
        .xloadflags = XLF_KERNEL_64,
        .cmdline_size = 2047,
        .pref_address = MEBIBYTE,
        .init_size = 0x8000,
    };
    memcpy(kernel + 0x1f1, &header, sizeof(header));
}

static void make_elf64(uint8_t *kernel)
{
    const Elf64_Ehdr header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB},
                               .e_type = ET_EXEC,
                               .e_machine = EM_X86_64,
                               .e_entry = MEBIBYTE,
                               .e_phoff = sizeof(header),
                               .e_phentsize = sizeof(Elf64_Phdr),
                               .e_phnum = 2};
    const Elf64_Phdr segments[2] = {{PT_LOAD, 7, 0x1000, 0, MEBIBYTE, 0x400, 0x1000, 0x1000},
                                    {PT_NOTE, 4, 0x200, 0, 0, 48, 48, 4}};
    const uint32_t notes[12] = {4, 4, 1, 0x554e47, 0, 4, 8, 18, 0x6e6558, MEBIBYTE};
    memcpy(kernel, &header, sizeof(header));
    memcpy(kernel + sizeof(header), segments, sizeof(segments));
    memcpy(kernel + 0x200, notes, sizeof(notes));
}

static void make_elf32(uint8_t *kernel)
{
    const Elf32_Ehdr header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB},
                               .e_type = ET_EXEC,
                               .e_machine = EM_386,
                               .e_entry = MEBIBYTE,
                               .e_phoff = sizeof(header),
                               .e_phentsize = sizeof(Elf32_Phdr),
                               .e_phnum = 2};
    const Elf32_Phdr segments[2] = {{PT_LOAD, 0x1000, 0, MEBIBYTE, 0x400, 0x1000, 7, 0x1000},
                                    {PT_LOAD, 0x1100, 0, MEBIBYTE + 0x2000, 0x300, 0x300, 7, 0x1000}};
    const uint32_t multiboot[3] = {0x1badb002, 3, -(0x1badb002u + 3)};
    memcpy(kernel, &header, sizeof(header));
    memcpy(kernel + sizeof(header), segments, sizeof(segments));
    memcpy(kernel + 0x200, multiboot, sizeof(multiboot));
}

/* The input as a kernel: as it is, or as changes to a good one, three bytes each: offset and value. With an odd rest
 * the file is cut off at the last offset. Returns an allocation of exactly the file's size, so that a byte behind it is
 * found. */
static uint8_t *make_kernel(unsigned kind, const uint8_t *data, size_t *size)
{
    static void (*const makers[])(uint8_t *) = {NULL, make_linux, make_elf64, make_elf32};
    size_t bytes = kind ? KERNEL_BYTES : *size, offset = 0;
    uint8_t *kernel = calloc(1, bytes + 1);
    REQUIRE(kernel);
    if (kind) {
        makers[kind](kernel);
        for (; *size >= 3; data += 3, *size -= 3) {
            offset = (data[0] | (size_t)data[1] << 8) % KERNEL_BYTES;
            kernel[offset] = data[2];
        }
        bytes = *size ? offset : bytes;
    } else {
        memcpy(kernel, data, bytes);
    }
    *size = bytes;
    kernel = realloc(kernel, bytes ? bytes : 1);
    REQUIRE(kernel);
    return kernel;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned sizes[] = {1, 2, 3, 4, 5, 8, 17, 33};
    if (size < HEAD)
        return 0;
    struct boot_ram ram = {.low_size = (uint64_t)sizes[data[0] & 7] * MEBIBYTE,
                           .high_size = (data[0] >> 3 & 3) * 65536};
    size_t initrd_size = (size_t)data[1] * 8192, append_size = (size_t)data[2] * APPEND_MAX / 255;
    char *append = malloc(append_size + 1);
    size_t kernel_size = size - HEAD;
    uint8_t *initrd = calloc(1, initrd_size + 1), *kernel = make_kernel(data[3] >> 1 & 3, data + HEAD, &kernel_size);
    ram.bytes = malloc(ram.low_size + ram.high_size);
    REQUIRE(append && initrd && ram.bytes);
    memset(append, 'a', append_size);
    append[append_size] = 0;
    const struct boot_request request = {
        .kernel = {.name = "kernel", .data = kernel, .size = kernel_size},
        .initrd = {.name = "initrd", .data = initrd_size ? initrd : NULL, .size = initrd_size},
        .append = data[3] & 1 ? append : NULL,
    };
    struct boot_entry entry, planned;
    struct boot_error error = {0};
    const struct boot_ram none = {.low_size = ram.low_size, .high_size = ram.high_size};
    int ret = boot_load(&request, &ram, &entry, &error);
    if (ret)
        check_refused(&error);
    else
        REQUIRE(entry.rip >= MEBIBYTE && entry.rip < ram.low_size);
    REQUIRE(boot_load(&request, &none, &planned, &error) == ret);
    REQUIRE(ret || !memcmp(&planned, &entry, sizeof(entry)));
    uint64_t setup = boot_linux_setup_size(&request.kernel);
    REQUIRE(setup == 0 || setup < request.kernel.size);
    free(append);
    free(initrd);
    free(kernel);
    free(ram.bytes);
    return 0;
}
