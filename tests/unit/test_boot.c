/* SPDX-License-Identifier: BSD-2-Clause */
/* Where boot_load() puts things: kernels are made here, RAM is ordinary memory. What is refused is in tests/cli. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <asm/bootparam.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/boot_load.h"
#include "vmm/memory.h"

#define MEBIBYTE     UINT64_C(0x100000)
#define SETUP_SIZE   0x400u
#define CODE_SIZE    0x3000u
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct world {
    uint8_t kernel[SETUP_SIZE + CODE_SIZE];
    uint8_t initrd[10000];
    struct setup_header *header; /* in kernel: byte-aligned, as it is packed */
    struct boot_request request;
    struct boot_ram ram;
    struct boot_entry entry;
    struct boot_error error;
};

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    if (!world)
        return -1;
    world->header = (struct setup_header *)(world->kernel + 0x1f1);
    *world->header = (struct setup_header){
        .setup_sects = SETUP_SIZE / 512 - 1,
        .syssize = CODE_SIZE / 16,
        .boot_flag = 0xaa55,
        .jump = 0x6aeb, /* to 0x26c */
        .header = 0x53726448,
        .version = 0x20f,
        .loadflags = LOADED_HIGH,
        .initrd_addr_max = 0x7fffffff,
        .kernel_alignment = 0x200000,
        .relocatable_kernel = 1,
        .xloadflags = XLF_KERNEL_64,
        .cmdline_size = 2047,
        .pref_address = 16 * MEBIBYTE,
        .init_size = 0x500000,
    };
    for (unsigned i = 0; i < CODE_SIZE; i++)
        world->kernel[SETUP_SIZE + i] = (uint8_t)(i * 7 + 1);
    for (unsigned i = 0; i < sizeof(world->initrd); i++)
        world->initrd[i] = (uint8_t)(i * 3 + 1);
    world->request.kernel = (struct boot_file){"linux", world->kernel, sizeof(world->kernel)};
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    if (world->ram.bytes)
        munmap(world->ram.bytes, world->ram.low_size + world->ram.high_size);
    free(world);
    return 0;
}

static void with_initrd(struct world *world)
{
    world->request.initrd = (struct boot_file){"initrd", world->initrd, sizeof(world->initrd)};
}

/* RAM in which everything is 0xee where nothing was put, up to 64 MiB; the rest is not touched. */
static void load(struct world *world, uint64_t low, uint64_t high)
{
    if (world->ram.bytes)
        munmap(world->ram.bytes, world->ram.low_size + world->ram.high_size);
    world->ram.bytes =
        mmap(NULL, low + high, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    world->ram.low_size = low;
    world->ram.high_size = high;
    assert_ptr_not_equal(world->ram.bytes, MAP_FAILED);
    memset(world->ram.bytes, 0xee, low < 64 * MEBIBYTE ? low : 64 * MEBIBYTE);
    if (boot_load(&world->request, &world->ram, &world->entry, &world->error))
        fail_msg("%s: %s", world->error.option, world->error.why);
}

static const struct boot_params *params(const struct world *world)
{
    assert_int_equal(world->entry.rsi, BOOT_INFO);
    return (const struct boot_params *)(world->ram.bytes + BOOT_INFO);
}

static void test_linux(void **state)
{
    struct world *world = *state;
    world->request.append = "console=ttyS0 quiet";
    with_initrd(world);
    load(world, 64 * MEBIBYTE, 0);
    const struct boot_params *info = params(world);
    const uint8_t *ram = world->ram.bytes;

    assert_true(world->entry.long_mode);
    assert_int_equal(world->entry.rip, 16 * MEBIBYTE + 0x200);
    assert_memory_equal(ram + 16 * MEBIBYTE, world->kernel + SETUP_SIZE, CODE_SIZE);
    assert_int_equal(ram[16 * MEBIBYTE + CODE_SIZE], 0xee);
    assert_int_equal(info->hdr.header, 0x53726448);
    assert_int_equal(info->hdr.type_of_loader, 0xff);
    assert_int_equal(info->hdr.code32_start, 16 * MEBIBYTE);
    assert_int_equal(info->sentinel, 0);
    assert_int_equal(info->acpi_rsdp_addr, 0);
    assert_int_equal(info->hdr.setup_data, 0);
    assert_string_equal((const char *)ram + info->hdr.cmd_line_ptr, "console=ttyS0 quiet");
    assert_int_equal(info->ext_cmd_line_ptr, 0);
    assert_int_equal(info->hdr.ramdisk_size, sizeof(world->initrd));
    assert_int_equal(info->hdr.ramdisk_image, 64 * MEBIBYTE - 3 * 4096);
    assert_memory_equal(ram + info->hdr.ramdisk_image, world->initrd, sizeof(world->initrd));
}

/* 4 GiB mapped to themselves by 2 MiB pages. */
static void test_page_tables(void **state)
{
    struct world *world = *state;
    load(world, 64 * MEBIBYTE, 0);
    for (uint64_t addr = 0; addr < MEMORY_HIGH; addr += 2 * MEBIBYTE) {
        const uint64_t mask = ~UINT64_C(0xfff), *table = (const uint64_t *)(world->ram.bytes + BOOT_PAGE_TABLES);
        assert_int_equal(table[0] & 0x83, 3);
        table = (const uint64_t *)(world->ram.bytes + (table[0] & mask));
        assert_int_equal(table[addr >> 30] & 0x83, 3);
        table = (const uint64_t *)(world->ram.bytes + (table[addr >> 30] & mask));
        assert_int_equal(table[addr >> 21 & 511], addr | 0x83);
    }
    const uint64_t *top = (const uint64_t *)(world->ram.bytes + BOOT_PAGE_TABLES);
    for (unsigned i = 1; i < 512; i++)
        assert_int_equal(top[i], 0);
    for (unsigned i = 4; i < 512; i++)
        assert_int_equal(top[512 + i], 0);
    const uint64_t *gdt = (const uint64_t *)(world->ram.bytes + BOOT_GDT);
    assert_int_equal(gdt[BOOT_CODE / 8], 0x00af9b000000ffff);
    assert_int_equal(gdt[BOOT_DATA / 8], 0x00cf93000000ffff);
}

static void test_linux_32(void **state)
{
    struct world *world = *state;
    world->header->xloadflags = 0;
    load(world, 64 * MEBIBYTE, 0);
    assert_false(world->entry.long_mode);
    assert_int_equal(world->entry.rip, 16 * MEBIBYTE);
    assert_int_equal(((const uint64_t *)(world->ram.bytes + BOOT_GDT))[BOOT_CODE / 8], 0x00cf9b000000ffff);
    assert_int_equal(params(world)->hdr.ramdisk_size, 0);
}

/* Where the kernel goes: to its alignment if it may be moved, to where it says if not, never below 1 MiB. */
static void test_linux_place(void **state)
{
    static const struct {
        uint64_t pref;
        uint8_t relocatable;
        uint32_t alignment;
        uint64_t place;
    } cases[] = {
        {16 * MEBIBYTE, 1, 0x200000, 16 * MEBIBYTE},
        {17 * MEBIBYTE, 1, 0x1000000, 32 * MEBIBYTE},
        {0, 1, 0x1000, MEBIBYTE},
        {0, 1, 0x400000, 4 * MEBIBYTE},
        {17 * MEBIBYTE + 0x1000, 0, 0, 17 * MEBIBYTE + 0x1000},
        {MEBIBYTE, 0, 0, MEBIBYTE},
    };
    struct world *world = *state;
    for (unsigned i = 0; i < COUNT(cases); i++) {
        world->header->pref_address = cases[i].pref;
        world->header->relocatable_kernel = cases[i].relocatable;
        world->header->kernel_alignment = cases[i].alignment;
        load(world, 64 * MEBIBYTE, 0);
        assert_int_equal(world->entry.rip, cases[i].place + 0x200);
        assert_memory_equal(world->ram.bytes + cases[i].place, world->kernel + SETUP_SIZE, CODE_SIZE);
    }
}

/* The kernel says how high the initrd may lie; above 4 GiB only if it says that it can, and only if there is no room.
 */
static void test_initrd_place(void **state)
{
    struct world *world = *state;
    with_initrd(world);
    world->header->initrd_addr_max = 0x2ffffff;
    load(world, 64 * MEBIBYTE, 0);
    assert_int_equal(params(world)->hdr.ramdisk_image, 0x3000000 - 3 * 4096);
    world->header->xloadflags |= XLF_CAN_BE_LOADED_ABOVE_4G;
    load(world, 64 * MEBIBYTE, 16 * MEBIBYTE);
    assert_int_equal(params(world)->hdr.ramdisk_image, 64 * MEBIBYTE - 3 * 4096);
    assert_int_equal(params(world)->ext_ramdisk_image, 0);
    load(world, 21 * MEBIBYTE + 8192, 16 * MEBIBYTE); /* two pages are left behind the kernel */
    assert_int_equal(params(world)->ext_ramdisk_image, 1);
    assert_int_equal(params(world)->hdr.ramdisk_image, 16 * MEBIBYTE - 3 * 4096);
    assert_memory_equal(world->ram.bytes + world->ram.low_size + 16 * MEBIBYTE - 3 * 4096, world->initrd,
                        sizeof(world->initrd));
    load(world, 21 * MEBIBYTE + 12288, 0); /* three pages: it fits exactly */
    assert_int_equal(params(world)->hdr.ramdisk_image, 21 * MEBIBYTE);
}

static void check_map(struct world *world, const struct boot_e820_entry *wanted, unsigned count)
{
    assert_int_equal(params(world)->e820_entries, count);
    assert_memory_equal(params(world)->e820_table, wanted, count * sizeof(*wanted));
}

static void test_memory_map(void **state)
{
    struct world *world = *state;
    const struct boot_e820_entry small[] = {{0, 0x9fc00, 1},
                                            {0x9fc00, 0x400, 2},
                                            {0xf0000, 0x10000, 2},
                                            {MEBIBYTE, 63 * MEBIBYTE, 1},
                                            {0xfeffc000, 0x4000, 2}};
    const struct boot_e820_entry large[] = {{0, 0x9fc00, 1},         {0x9fc00, 0x400, 2},
                                            {0xf0000, 0x10000, 2},   {MEBIBYTE, MEMORY_LOW_LIMIT - MEBIBYTE, 1},
                                            {0xfeffc000, 0x4000, 2}, {MEMORY_HIGH, 2048 * MEBIBYTE, 1}};
    load(world, 64 * MEBIBYTE, 0);
    check_map(world, small, COUNT(small));
    load(world, MEMORY_LOW_LIMIT, 2048 * MEBIBYTE);
    check_map(world, large, COUNT(large));
}

/* The last of low RAM holds ACPI tables: the map says so, nothing is put there, and the kernel finds their root. */
static void test_tables(void **state)
{
    struct world *world = *state;
    const struct boot_e820_entry wanted[] = {{0, 0x9fc00, 1},
                                             {0x9fc00, 0x400, 2},
                                             {0xf0000, 0x10000, 2},
                                             {MEBIBYTE, 63 * MEBIBYTE - 0x8000, 1},
                                             {64 * MEBIBYTE - 0x8000, 0x8000, 4},
                                             {0xfeffc000, 0x4000, 2}};
    world->ram.tables_size = 0x8000;
    world->ram.rsdp = 0x3ff9000;
    with_initrd(world);
    load(world, 64 * MEBIBYTE, 0);
    check_map(world, wanted, COUNT(wanted));
    assert_int_equal(params(world)->acpi_rsdp_addr, 0x3ff9000);
    assert_true(params(world)->hdr.ramdisk_image + sizeof(world->initrd) <= 64 * MEBIBYTE - 0x8000);
    for (unsigned i = 0; i < 0x8000; i++)
        assert_int_equal(world->ram.bytes[64 * MEBIBYTE - 0x8000 + i], 0xee);
}

/* A header whose jump ends before fields of later protocols: these are not read out of the code behind it. */
static void test_short_header(void **state)
{
    struct world *world = *state;
    world->header->jump = 0x62eb; /* to 0x264 */
    world->header->handover_offset = 0x12345678;
    load(world, 64 * MEBIBYTE, 0);
    assert_int_equal(params(world)->hdr.handover_offset, 0);
    assert_int_equal(params(world)->hdr.init_size, 0x500000);
}

/* ---- ELF ---- */

struct elf_file {
    Elf32_Ehdr header;
    Elf32_Phdr segments[3];
    uint32_t note[5];
    uint32_t multiboot[3];
    uint8_t code[64];
};

static struct elf_file make_elf(void)
{
    struct elf_file elf = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_386,
                   .e_entry = 0x200010,
                   .e_phoff = offsetof(struct elf_file, segments),
                   .e_phentsize = sizeof(Elf32_Phdr),
                   .e_phnum = 3},
        .segments = {{PT_NOTE, offsetof(struct elf_file, note), 0, 0, sizeof(elf.note), sizeof(elf.note), 0, 4},
                     {PT_LOAD, offsetof(struct elf_file, code), 0xc0200000, 0x200000, 64, 8192, 7, 4096},
                     {PT_LOAD, offsetof(struct elf_file, code) + 32, 0, 0x300000, 8, 8, 7, 4096}},
        .note = {4, 4, 18, 'X' | 'e' << 8 | 'n' << 16, 0x200020},
    };
    for (unsigned i = 0; i < sizeof(elf.code); i++)
        elf.code[i] = (uint8_t)(i + 1);
    return elf;
}

static void check_segments(const struct world *world, const struct elf_file *elf)
{
    const uint8_t *ram = world->ram.bytes;
    assert_memory_equal(ram + 0x200000, elf->code, 64);
    for (unsigned i = 64; i < 8192; i++)
        assert_int_equal(ram[0x200000 + i], 0);
    assert_int_equal(ram[0x200000 + 8192], 0xee);
    assert_memory_equal(ram + 0x300000, elf->code + 32, 8);
    assert_int_equal(ram[0x300008], 0xee);
}

static void test_pvh(void **state)
{
    struct world *world = *state;
    const struct elf_file elf = make_elf();
    world->request.kernel = (struct boot_file){"vmlinux", (const uint8_t *)&elf, sizeof(elf)};
    world->request.append = "root=/dev/vda";
    with_initrd(world);
    load(world, 16 * MEBIBYTE, MEBIBYTE);
    check_segments(world, &elf);
    assert_false(world->entry.long_mode);
    assert_int_equal(world->entry.rip, 0x200020);
    assert_int_equal(world->entry.rbx, BOOT_INFO);

    const uint32_t *start = (const uint32_t *)(world->ram.bytes + BOOT_INFO);
    const uint64_t *module = (const uint64_t *)(world->ram.bytes + start[4]), *map;
    assert_int_equal(start[0], 0x336ec578);
    assert_int_equal(start[1], 1);
    assert_int_equal(start[3], 1);
    assert_int_equal(module[0], 16 * MEBIBYTE - 3 * 4096);
    assert_int_equal(module[1], sizeof(world->initrd));
    assert_memory_equal(world->ram.bytes + module[0], world->initrd, sizeof(world->initrd));
    assert_string_equal((const char *)world->ram.bytes + start[6], "root=/dev/vda");
    assert_int_equal(start[8], 0); /* rsdp_paddr */
    assert_int_equal(start[12], 6);
    map = (const uint64_t *)(world->ram.bytes + start[10]);
    assert_int_equal(map[3 * 5], MEMORY_HIGH);
    assert_int_equal(map[3 * 5 + 1], MEBIBYTE);
    assert_int_equal(map[3 * 5 + 2], 1);
}

/* A note of another name, another type, or padded to 8 bytes. */
static void test_pvh_notes(void **state)
{
    struct world *world = *state;
    struct elf_file elf = make_elf();
    world->request.kernel = (struct boot_file){"vmlinux", (const uint8_t *)&elf, sizeof(elf)};
    load(world, 16 * MEBIBYTE, 0);
    elf.note[3] = 'G' | 'N' << 8 | 'U' << 16;
    assert_int_not_equal(boot_load(&world->request, &world->ram, &world->entry, &world->error), 0);
    elf = make_elf();
    elf.note[2] = 17;
    assert_int_not_equal(boot_load(&world->request, &world->ram, &world->entry, &world->error), 0);
    elf = make_elf();
    elf.note[1] = 100; /* longer than the segment */
    assert_int_not_equal(boot_load(&world->request, &world->ram, &world->entry, &world->error), 0);
    elf = make_elf();
    elf.segments[0].p_align = 8; /* 12 bytes of head and 4 of name end at 16: the same place */
    load(world, 16 * MEBIBYTE, 0);
}

static void test_multiboot(void **state)
{
    struct world *world = *state;
    struct elf_file elf = make_elf();
    const uint32_t header[3] = {0x1badb002, 3, -(0x1badb002u + 3)};
    memcpy(elf.multiboot, header, sizeof(header));
    world->request.kernel = (struct boot_file){"test.flat", (const uint8_t *)&elf, sizeof(elf)};
    world->request.append = "smp 2";
    with_initrd(world);
    load(world, 16 * MEBIBYTE, 0);
    check_segments(world, &elf);
    assert_int_equal(world->entry.rip, 0x200010); /* the ELF header's, whatever the note says */
    assert_int_equal(world->entry.rax, 0x2badb002);
    const uint32_t *info = (const uint32_t *)(world->ram.bytes + world->entry.rbx);
    assert_int_equal(info[0], 1 | 4 | 8 | 64 | 512);
    assert_int_equal(info[1], 639);
    assert_int_equal(info[2], 15 * 1024);
    assert_string_equal((const char *)world->ram.bytes + info[4], "test.flat smp 2");
    assert_int_equal(info[5], 1);
    const uint32_t *module = (const uint32_t *)(world->ram.bytes + info[6]);
    assert_int_equal(module[1] - module[0], sizeof(world->initrd));
    assert_string_equal((const char *)world->ram.bytes + module[2], "initrd");
    assert_string_equal((const char *)world->ram.bytes + info[16], "ringvmm");
    assert_int_equal(info[11], 5 * 24);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_linux),        TEST(test_page_tables), TEST(test_linux_32),  TEST(test_linux_place),
        TEST(test_initrd_place), TEST(test_memory_map),  TEST(test_tables),    TEST(test_short_header),
        TEST(test_pvh),          TEST(test_pvh_notes),   TEST(test_multiboot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
