/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI tables as a guest finds them. A loader of this file's own carries the script out, as firmware does; then
 * everything is read from the RSDP on, by addresses alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/acpi.h"

#define HIGH_AT 0x7ffd0040u /* where the loader puts what may be anywhere, a multiple of 64 */
#define FSEG_AT 0x000f5a40u
#define GUARD   0xa5

/* ---- a guest's memory: two pieces, found by address ---- */

struct world {
    struct {
        const char *name;
        uint64_t addr;
        uint32_t size;
        uint8_t bytes[ACPI_BLOB_SIZE];
    } files[2];
    unsigned count;
};

static uint64_t number(const uint8_t *from, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

static uint8_t *at(struct world *world, uint64_t addr, uint32_t size)
{
    for (unsigned i = 0; i < world->count; i++)
        if (addr >= world->files[i].addr && addr - world->files[i].addr <= world->files[i].size &&
            size <= world->files[i].size - (addr - world->files[i].addr))
            return world->files[i].bytes + (addr - world->files[i].addr);
    fail_msg("%#llx is not in memory", (unsigned long long)addr);
    return NULL;
}

static unsigned find_file(const struct world *world, const uint8_t *name)
{
    assert_int_equal(name[55], 0);
    for (unsigned i = 0; i < world->count; i++)
        if (!strcmp(world->files[i].name, (const char *)name))
            return i;
    fail_msg("the script names %s before it is allocated", name);
    return 0;
}

static void run_allocate(struct world *world, const struct acpi *acpi, const uint8_t *args)
{
    bool tables = !strcmp((const char *)args, "etc/acpi/tables");
    uint32_t alignment = (uint32_t)number(args + 56, 4);
    unsigned i = world->count++;
    assert_true(tables || !strcmp((const char *)args, "etc/acpi/rsdp"));
    assert_true(i < 2);
    world->files[i].name = tables ? "etc/acpi/tables" : "etc/acpi/rsdp";
    world->files[i].size = tables ? acpi->blob_size : ACPI_RSDP_SIZE;
    memcpy(world->files[i].bytes, tables ? acpi->blob : acpi->rsdp, world->files[i].size);
    assert_int_equal(args[60], tables ? 1 : 2); /* high, or where an RSDP is looked for */
    world->files[i].addr = tables ? HIGH_AT : FSEG_AT;
    assert_true(alignment && world->files[i].addr % alignment == 0);
    assert_true(alignment >= (tables ? 64u : 16u));
}

/* What SeaBIOS and OVMF do with a command, and insist on. */
static void run_script(struct world *world, const struct acpi *acpi)
{
    memset(world, 0, sizeof(*world));
    assert_int_equal(acpi->script_size % 128, 0);
    for (const uint8_t *entry = acpi->script; entry < acpi->script + acpi->script_size; entry += 128) {
        const uint8_t *args = entry + 4;
        unsigned file = number(entry, 4) == 1 ? 0 : find_file(world, args);
        uint32_t size = world->files[file].size;
        uint8_t *bytes = world->files[file].bytes;
        if (number(entry, 4) == 1) {
            run_allocate(world, acpi, args);
        } else if (number(entry, 4) == 2) {
            unsigned source = find_file(world, args + 56);
            uint32_t offset = (uint32_t)number(args + 112, 4), width = args[116];
            assert_true(width == 4 || width == 8);
            assert_true(offset <= size && width <= size - offset);
            uint64_t value = number(bytes + offset, width);
            assert_true(value < world->files[source].size);
            value += world->files[source].addr;
            for (unsigned i = 0; i < width; i++)
                bytes[offset + i] = (uint8_t)(value >> 8 * i);
        } else {
            uint32_t offset = (uint32_t)number(args + 56, 4), start = (uint32_t)number(args + 60, 4),
                     length = (uint32_t)number(args + 64, 4);
            uint8_t sum = 0;
            assert_int_equal(number(entry, 4), 3);
            assert_true(start <= size && length <= size - start && offset >= start && offset < start + length);
            assert_int_equal(bytes[offset], 0);
            for (uint32_t i = 0; i < length; i++)
                sum = (uint8_t)(sum + bytes[start + i]);
            bytes[offset] = (uint8_t)-sum;
        }
    }
    assert_int_equal(world->count, 2);
}

static void check_sum(struct world *world, uint64_t addr, uint32_t size)
{
    const uint8_t *bytes = at(world, addr, size);
    uint8_t sum = 0;
    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + bytes[i]);
    assert_int_equal(sum, 0);
}

/* ---- what was found ---- */

struct found {
    const uint8_t *fadt, *madt, *mcfg, *hpet, *waet, *ssdt, *dsdt, *facs;
    uint32_t madt_size, ssdt_size, dsdt_size;
    unsigned count;
};

static uint32_t table_size(struct world *world, uint64_t addr)
{
    uint32_t size = (uint32_t)number(at(world, addr, 36) + 4, 4);
    assert_true(size >= 36);
    check_sum(world, addr, size);
    return size;
}

static void note(struct world *world, struct found *found, uint64_t addr)
{
    uint32_t size = table_size(world, addr);
    const uint8_t *table = at(world, addr, size);
    const struct {
        const char *signature;
        const uint8_t **where;
        uint32_t *size;
    } all[] = {{"FACP", &found->fadt, NULL}, {"APIC", &found->madt, &found->madt_size},
               {"MCFG", &found->mcfg, NULL}, {"HPET", &found->hpet, NULL},
               {"WAET", &found->waet, NULL}, {"SSDT", &found->ssdt, &found->ssdt_size}};
    found->count++;
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (memcmp(table, all[i].signature, 4))
            continue;
        assert_null(*all[i].where);
        *all[i].where = table;
        if (all[i].size)
            *all[i].size = size;
        return;
    }
    fail_msg("a table %.4s", (const char *)table);
}

/* From the RSDP on, as an operating system goes. */
static void walk(struct world *world, uint64_t rsdp, struct found *found)
{
    const uint8_t *root = at(world, rsdp, ACPI_RSDP_SIZE);
    memset(found, 0, sizeof(*found));
    assert_memory_equal(root, "RSD PTR ", 8);
    assert_int_equal(rsdp % 16, 0);
    assert_int_equal(root[15], 2);
    assert_int_equal(number(root + 20, 4), 36);
    check_sum(world, rsdp, 20);
    check_sum(world, rsdp, 36);
    uint64_t xsdt = number(root + 24, 8);
    uint32_t size = table_size(world, xsdt);
    assert_memory_equal(at(world, xsdt, 4), "XSDT", 4);
    for (uint32_t i = 36; i < size; i += 8)
        note(world, found, number(at(world, xsdt + i, 8), 8));
    assert_non_null(found->fadt);
    assert_int_equal(number(found->fadt + 4, 4), 276);
    uint64_t dsdt = number(found->fadt + 40, 4);
    assert_int_equal(number(found->fadt + 140, 8), dsdt);
    assert_int_equal(number(found->fadt + 132, 8), 0); /* X_FIRMWARE_CTRL: only one of the two may be given */
    uint64_t facs = number(found->fadt + 36, 4);
    assert_int_equal(facs % 64, 0);
    found->facs = at(world, facs, 64);
    assert_memory_equal(found->facs, "FACS", 4);
    assert_int_equal(number(found->facs + 4, 4), 64);
    assert_int_equal(found->facs[32], 2);
    found->dsdt_size = table_size(world, dsdt);
    found->dsdt = at(world, dsdt, found->dsdt_size);
    assert_memory_equal(found->dsdt, "DSDT", 4);
}

/* ---- machines ---- */

static struct acpi acpi, other;
static struct world world;

static struct acpi_config machine(enum acpi_board board, unsigned cpus)
{
    struct acpi_config config;
    acpi_board_config(board, &config);
    acpi_config_memory(&config, 0x40000000, 0, 40);
    config.cpus = cpus;
    for (unsigned i = 0; i < cpus; i++)
        config.apic_ids[i] = i;
    return config;
}

static bool holds(const uint8_t *table, uint32_t size, const char *bytes, uint32_t length)
{
    return memmem(table, size, bytes, length) != NULL;
}

/* Every machine there can be is sound in both ways of getting it into memory, and both give the same. */
static void test_sound(void **state)
{
    static const unsigned cpus[] = {1, 2, 8, 9, 64};
    (void)state;
    for (unsigned i = 0; i < 2 * 2 * sizeof(cpus) / sizeof(cpus[0]); i++) {
        struct acpi_config config = machine(i & 1 ? ACPI_Q35 : ACPI_I440FX, cpus[i / 4]);
        struct found found;
        config.hpet = config.keyboard = config.mouse = config.display = i & 2;
        acpi_build(&acpi, &config);
        run_script(&world, &acpi);
        walk(&world, FSEG_AT, &found);
        assert_non_null(found.madt);
        assert_non_null(found.waet);
        assert_non_null(found.ssdt);
        assert_int_equal(found.mcfg != NULL, config.board == ACPI_Q35);
        assert_int_equal(found.hpet != NULL, config.hpet);
        assert_int_equal(found.count, 4u + (found.mcfg != NULL) + (found.hpet != NULL));
        assert_true(holds(found.dsdt, found.dsdt_size, "LNKE", 4) == (config.board == ACPI_Q35));

        static struct world placed;
        uint32_t size = acpi_placed_size(&acpi);
        placed.count = 1;
        placed.files[0].addr = HIGH_AT;
        placed.files[0].size = size;
        assert_true(size < ACPI_BLOB_SIZE);
        memset(placed.files[0].bytes, GUARD, ACPI_BLOB_SIZE);
        uint64_t rsdp = acpi_place(&acpi, placed.files[0].bytes, HIGH_AT);
        assert_true(rsdp > HIGH_AT && rsdp + ACPI_RSDP_SIZE == HIGH_AT + size);
        assert_int_equal(placed.files[0].bytes[size], GUARD);
        walk(&placed, rsdp, &found);
        assert_memory_equal(placed.files[0].bytes, world.files[0].bytes, acpi.blob_size);
        assert_memory_equal(at(&placed, rsdp, ACPI_RSDP_SIZE), world.files[1].bytes, ACPI_RSDP_SIZE);
    }
}

static void test_place_refuses(void **state)
{
    static uint8_t bytes[ACPI_BLOB_SIZE];
    struct acpi_config config = machine(ACPI_I440FX, 1);
    (void)state;
    acpi_build(&acpi, &config);
    assert_int_equal(acpi_place(&acpi, bytes, 0x10020), 0);     /* the FACS would not be at a multiple of 64 */
    assert_int_equal(acpi_place(&acpi, bytes, 0xffffff00), 0);  /* 32-bit pointers */
    assert_int_equal(acpi_place(&acpi, bytes, 0x100000000), 0); /* likewise */
    assert_int_not_equal(acpi_place(&acpi, bytes, 0x10040), 0);
}

static void check_gas(const uint8_t *fadt, unsigned offset, unsigned port, unsigned bits, unsigned access)
{
    assert_int_equal(fadt[offset], port ? 1 : 0);
    assert_int_equal(fadt[offset + 1], bits);
    assert_int_equal(fadt[offset + 2], 0);
    assert_int_equal(fadt[offset + 3], access);
    assert_int_equal(number(fadt + offset + 4, 8), port);
}

static const uint8_t *fadt_of(const struct acpi_config *config)
{
    static struct found found;
    acpi_build(&acpi, config);
    run_script(&world, &acpi);
    walk(&world, FSEG_AT, &found);
    return found.fadt;
}

static void test_fadt(void **state)
{
    struct acpi_config config = machine(ACPI_I440FX, 1);
    (void)state;
    config.pm_base = 0xb000;
    const uint8_t *fadt = fadt_of(&config);
    assert_int_equal(fadt[8], 6);
    assert_int_equal(fadt[131], 3);
    assert_int_equal(number(fadt + 46, 2), 9);    /* SCI */
    assert_int_equal(number(fadt + 48, 4), 0xb2); /* SMI command port */
    assert_int_equal(fadt[52], 0xf1);
    assert_int_equal(fadt[53], 0xf0);
    assert_int_equal(number(fadt + 56, 4), 0xb000);
    assert_int_equal(number(fadt + 60, 4), 0);
    assert_int_equal(number(fadt + 64, 4), 0xb004);
    assert_int_equal(number(fadt + 76, 4), 0xb008);
    assert_int_equal(number(fadt + 80, 4), 0); /* no GPE block */
    assert_int_equal(fadt[88], 4);
    assert_int_equal(fadt[89], 2);
    assert_int_equal(fadt[91], 4);
    assert_int_equal(fadt[92], 0);
    assert_int_equal(fadt[108], 0x32);
    assert_int_equal(number(fadt + 109, 2), 1 | 4); /* legacy devices, no 8042, no VGA */
    assert_int_equal(number(fadt + 112, 4), 1 << 0 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 15);
    check_gas(fadt, 116, 0xcf9, 8, 1);
    assert_int_equal(fadt[128], 6);
    check_gas(fadt, 148, 0xb000, 32, 2);
    check_gas(fadt, 160, 0, 0, 0);
    check_gas(fadt, 172, 0xb004, 16, 2);
    check_gas(fadt, 208, 0xb008, 32, 3);
    check_gas(fadt, 220, 0, 0, 0);

    config = machine(ACPI_Q35, 9);
    config.keyboard = config.display = true;
    fadt = fadt_of(&config);
    assert_int_equal(fadt[52], 0xf1);
    assert_int_equal(fadt[53], 0xf0);
    assert_int_equal(number(fadt + 80, 4), 0x620);
    assert_int_equal(fadt[92], 16);
    assert_int_equal(number(fadt + 109, 2), 1 | 2);
    assert_true(number(fadt + 112, 4) & 1 << 18); /* more than eight processors */
    check_gas(fadt, 220, 0x620, 128, 1);

    config.smi_port = 0;
    fadt = fadt_of(&config);
    assert_int_equal(number(fadt + 48, 4), 0);
    assert_int_equal(number(fadt + 52, 2), 0);
}

static void test_madt(void **state)
{
    struct acpi_config config = machine(ACPI_I440FX, 3);
    struct found found;
    unsigned seen[12] = {0};
    uint32_t overrides[16] = {0};
    (void)state;
    config.apic_ids[1] = 254;
    config.apic_ids[2] = 255; /* the broadcast of xAPIC */
    acpi_build(&acpi, &config);
    run_script(&world, &acpi);
    walk(&world, FSEG_AT, &found);
    assert_int_equal(number(found.madt + 36, 4), 0xfee00000);
    assert_int_equal(number(found.madt + 40, 4), 1);
    const uint8_t *entry = found.madt + 44, *end = found.madt + found.madt_size;
    for (; entry < end; entry += entry[1]) {
        static const uint8_t sizes[12] = {8, 12, 10, 0, 6, 0, 0, 0, 0, 16, 12};
        assert_true(entry[0] < 12 && entry[1] == sizes[entry[0]]);
        seen[entry[0]]++;
        if (entry[0] == 0) {
            assert_true(entry[2] < 2);
            assert_int_equal(entry[3], config.apic_ids[entry[2]]);
            assert_int_equal(number(entry + 4, 4), 1);
        } else if (entry[0] == 9) {
            assert_int_equal(number(entry + 4, 4), 255);
            assert_int_equal(number(entry + 8, 4), 1);
            assert_int_equal(number(entry + 12, 4), 2);
        } else if (entry[0] == 1) {
            assert_int_equal(number(entry + 4, 4), 0xfec00000);
            assert_int_equal(number(entry + 8, 4), 0);
        } else if (entry[0] == 2) {
            assert_int_equal(entry[2], 0);
            overrides[entry[3]] = 0x10000u << entry[4] | (uint32_t)number(entry + 8, 2);
            assert_int_equal(number(entry + 5, 3), 0);
        } else if (entry[0] == 4) {
            assert_int_equal(entry[2], 0xff);
            assert_int_equal(entry[5], 1);
        }
    }
    assert_ptr_equal(entry, end);
    assert_int_equal(seen[0], 2);
    assert_int_equal(seen[1], 1);
    assert_int_equal(seen[4], 1);
    assert_int_equal(seen[9], 1);
    assert_int_equal(seen[10], 1);
    for (unsigned irq = 0; irq < 16; irq++) {
        bool level = irq == 5 || irq == 9 || irq == 10 || irq == 11;
        assert_int_equal(overrides[irq], irq == 0 ? 0x10000u << 2 : level ? 0x10000u << irq | 0xd : 0);
    }
}

/* One device a processor, whose number is the MADT's. */
static void test_ssdt(void **state)
{
    struct acpi_config config = machine(ACPI_Q35, 64);
    struct found found;
    (void)state;
    acpi_build(&acpi, &config);
    run_script(&world, &acpi);
    walk(&world, FSEG_AT, &found);
    uint32_t each = (found.ssdt_size - 36) / 64;
    assert_int_equal(found.ssdt_size, 36 + 64 * each);
    for (unsigned i = 0; i < 64; i++) {
        const char digits[] = "0123456789ABCDEF";
        const char name[4] = {'C', '0', digits[i / 16], digits[i % 16]}, uid[] = {'_', 'U', 'I', 'D', 0x0a, (char)i};
        const uint8_t *device = found.ssdt + 36 + i * each;
        assert_true(holds(device, each, name, 4));
        assert_true(holds(device, each, uid, sizeof(uid)));
        assert_true(holds(device, each, "ACPI0007", 9));
    }
}

static void test_other_tables(void **state)
{
    struct acpi_config config = machine(ACPI_Q35, 1);
    struct found found;
    (void)state;
    config.hpet = true;
    config.ecam_base = 0xe0000000;
    acpi_build(&acpi, &config);
    run_script(&world, &acpi);
    walk(&world, FSEG_AT, &found);
    assert_int_equal(number(found.mcfg + 44, 8), 0xe0000000);
    assert_int_equal(number(found.mcfg + 52, 4), 0xff000000); /* segment 0, buses 0 to 255 */
    assert_int_equal(number(found.hpet + 44, 8), 0xfed00000);
    assert_int_equal(number(found.waet + 36, 4), 3);
}

/* ---- the machine's numbers in the DSDT ---- */

/* Whether it has an address space descriptor's base, end, offset and length. */
static bool has_window(const struct found *found, unsigned bytes, uint64_t first, uint64_t last)
{
    uint8_t wanted[32];
    const uint64_t fields[4] = {first, last, 0, last - first + 1};
    for (unsigned i = 0; i < 4 * bytes; i++)
        wanted[i] = (uint8_t)(fields[i / bytes] >> 8 * (i % bytes));
    return holds(found->dsdt, found->dsdt_size, (const char *)wanted, 4 * bytes);
}

static bool has_constant(const struct found *found, const char name[4], uint32_t value)
{
    const char wanted[9] = {name[0],
                            name[1],
                            name[2],
                            name[3],
                            0x0c,
                            (char)value,
                            (char)(value >> 8),
                            (char)(value >> 16),
                            (char)(value >> 24)};
    return holds(found->dsdt, found->dsdt_size, wanted, sizeof(wanted));
}

static void test_windows(void **state)
{
    struct found found;
    struct acpi_config config = machine(ACPI_I440FX, 1);
    (void)state;

    acpi_config_memory(&config, 0xc0000000, 0x40000000, 40); /* 4 GiB of RAM */
    fadt_of(&config);
    walk(&world, FSEG_AT, &found);
    assert_true(has_window(&found, 4, 0xc0000000, 0xfebfffff));
    assert_true(has_window(&found, 8, 0x140000000, 0xffffffffff));
    assert_true(has_constant(&found, "HLO2", 0) && has_constant(&found, "HHI1", 1));

    acpi_config_memory(&config, 0x4000000, 0, 32); /* no address above 4 GiB */
    fadt_of(&config);
    walk(&world, FSEG_AT, &found);
    assert_true(has_window(&found, 4, 0x80000000, 0xfebfffff));
    assert_true(has_constant(&found, "HLO2", 0) && has_constant(&found, "HHI1", 0));

    acpi_config_memory(&config, 0x4000000, 0, 57); /* more than a page table reaches */
    assert_int_equal(config.pci_high_end, UINT64_C(1) << 52);

    /* MMCONFIG in the hole: at its begin, in it, at its end. */
    config = machine(ACPI_Q35, 1);
    acpi_config_memory(&config, 0xb0000000, 0, 40);
    config.ecam_base = 0xb0000000;
    fadt_of(&config);
    walk(&world, FSEG_AT, &found);
    assert_true(has_window(&found, 4, 0xc0000000, 0xfebfffff));
    assert_true(has_constant(&found, "HLO2", 0) && has_constant(&found, "_CBA", 0xb0000000));

    config.ecam_base = 0xe0000000;
    fadt_of(&config);
    walk(&world, FSEG_AT, &found);
    assert_true(has_window(&found, 4, 0xb0000000, 0xdfffffff));
    assert_true(has_window(&found, 4, 0xf0000000, 0xfebfffff));
    assert_true(has_constant(&found, "HLO2", 1) && has_constant(&found, "_CBA", 0xe0000000));

    config.ecam_base = 0xf0000000;
    fadt_of(&config);
    walk(&world, FSEG_AT, &found);
    assert_true(has_window(&found, 4, 0xb0000000, 0xefffffff));
    assert_true(has_constant(&found, "HLO2", 0));
}

static void test_devices(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct acpi_config config = machine(i ? ACPI_Q35 : ACPI_I440FX, 1);
        struct found found;
        const char pm[] = {0x47, 0x01, 0x00, (char)0xb0, 0x00, (char)0xb0, 0x01}; /* an I/O descriptor at 0xB000 */
        config.pm_base = 0xb000;
        fadt_of(&config);
        walk(&world, FSEG_AT, &found);
        assert_true(holds(found.dsdt, found.dsdt_size, pm, sizeof(pm)));
        assert_true(has_constant(&found, "_STA", 0) && !has_constant(&found, "_STA", 0xf));
        config.mouse = true;
        fadt_of(&config);
        walk(&world, FSEG_AT, &found);
        assert_true(has_constant(&found, "_STA", 0) && has_constant(&found, "_STA", 0xf));
        config.keyboard = config.hpet = true;
        fadt_of(&config);
        walk(&world, FSEG_AT, &found);
        assert_true(!has_constant(&found, "_STA", 0));
    }
}

/* fw_cfg tells sizes before the guest programs addresses, and hands the script out unchanged. */
static void test_rebuild(void **state)
{
    struct acpi_config config = machine(ACPI_Q35, 4);
    unsigned different = 0;
    (void)state;
    acpi_build(&acpi, &config);
    acpi_build(&other, &config);
    assert_memory_equal(acpi.blob, other.blob, acpi.blob_size);
    for (unsigned base = 0; base < 0x10000; base += 64) { /* whatever the guest says */
        config.pm_base = (uint16_t)base;
        config.ecam_base = base << 16;
        acpi_build(&other, &config);
        assert_int_equal(acpi.blob_size, other.blob_size);
    }
    config.pm_base = 0x1230;
    config.ecam_base = 0xb0000000;
    acpi_build(&other, &config);
    assert_int_equal(acpi.blob_size, other.blob_size);
    assert_int_equal(acpi.script_size, other.script_size);
    assert_memory_equal(acpi.script, other.script, acpi.script_size);
    assert_memory_equal(acpi.rsdp, other.rsdp, ACPI_RSDP_SIZE);
    for (unsigned i = 0; i < acpi.table_count; i++) {
        const struct acpi_table *table = &acpi.tables[i];
        bool moves =
            !strcmp(table->signature, "DSDT") || !strcmp(table->signature, "FACP") || !strcmp(table->signature, "MCFG");
        bool same = !memcmp(acpi.blob + table->offset, other.blob + table->offset, table->size);
        assert_int_equal(same, !moves);
        different += !same;
    }
    assert_int_equal(different, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),   cmocka_unit_test(test_place_refuses), cmocka_unit_test(test_fadt),
        cmocka_unit_test(test_madt),    cmocka_unit_test(test_ssdt),          cmocka_unit_test(test_other_tables),
        cmocka_unit_test(test_windows), cmocka_unit_test(test_devices),       cmocka_unit_test(test_rebuild),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
