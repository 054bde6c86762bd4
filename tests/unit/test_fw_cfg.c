/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <ringd/models/fw_cfg.h>

#include "devices/fw_cfg_registers.h"
#include "fake_env.h"

#define SELECTOR    FW_CFG_REGION_SELECTOR_DATA
#define DMA         FW_CFG_REGION_DMA
#define MEMORY_SIZE (4u * 1024 * 1024)
#define DESCRIPTOR  0x1000u
#define TARGET      0x2000u

static const uint8_t table[5] = {1, 2, 3, 4, 5};
static uint8_t big[10000];

static const struct fw_cfg_item items[] = {
    {.key = FW_CFG_KEY_NB_CPUS, .size = 2, .value = 0x0104},
    {.name = "etc/table", .data = table, .size = sizeof(table)},
    {.key = FW_CFG_KEY_RAM_SIZE, .size = 8, .value = 0x1122334455667788},
    {.name = "bootorder"},
    {.name = "etc/big", .data = big, .size = sizeof(big)},
    {.key = FW_CFG_KEY_IRQ0_OVERRIDE, .size = 4, .value = 1},
};

/* Keys that the files above get: sorted by name. */
enum { KEY_BOOTORDER = FW_CFG_KEY_FILE_FIRST, KEY_BIG, KEY_TABLE };

static int setup(void **state)
{
    static const struct fw_cfg_config config = {items, sizeof(items) / sizeof(items[0])};
    struct fake_env *fake = malloc(sizeof(*fake));
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (uint8_t)(i * 7 + i / 256);
    *state = fake;
    return fake_env_create(fake, &fw_cfg_ops, &config, MEMORY_SIZE);
}

static int teardown(void **state)
{
    fake_env_destroy(*state);
    free(*state);
    return 0;
}

static void select_key(struct fake_env *fake, unsigned key)
{
    fake_write(fake, SELECTOR, 0, 2, key);
}

static uint8_t data(struct fake_env *fake)
{
    return (uint8_t)fake_read(fake, SELECTOR, 1, 1);
}

static void expect_bytes(struct fake_env *fake, const void *expected, size_t size)
{
    for (size_t i = 0; i < size; i++)
        assert_int_equal(data(fake), ((const uint8_t *)expected)[i]);
}

static void store_be(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

static uint32_t load_be32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

/* As a little-endian guest does it: each half swapped, the low one last. */
static void start_at(struct fake_env *fake, uint64_t gpa)
{
    if (gpa >> 32)
        fake_write(fake, DMA, 0, 4, __builtin_bswap32((uint32_t)(gpa >> 32)));
    fake_write(fake, DMA, 4, 4, __builtin_bswap32((uint32_t)gpa));
}

/* Runs one descriptor and returns the control word that it was left with. */
static uint32_t dma(struct fake_env *fake, uint32_t control, uint32_t length, uint64_t address)
{
    uint8_t *descriptor = fake->memory + DESCRIPTOR;
    store_be(descriptor, control, 4);
    store_be(descriptor + 4, length, 4);
    store_be(descriptor + 8, address, 8);
    start_at(fake, DESCRIPTOR);
    assert_int_equal(load_be32(descriptor + 4), length);
    return load_be32(descriptor);
}

static uint32_t with_key(unsigned key, uint32_t control)
{
    return key << 16 | FW_CFG_DMA_SELECT | control;
}

static void test_power_on_selects_signature(void **state)
{
    expect_bytes(*state, "QEMU\0\0", 6);
}

static void test_items_by_port(void **state)
{
    static const struct {
        unsigned key;
        size_t size;
        const char *bytes;
    } cases[] = {
        {FW_CFG_KEY_SIGNATURE, 5, "QEMU\0"},
        {FW_CFG_KEY_ID, 6, "\x03\0\0\0\0\0"},
        {FW_CFG_KEY_NB_CPUS, 4, "\x04\x01\0\0"},
        {FW_CFG_KEY_RAM_SIZE, 9, "\x88\x77\x66\x55\x44\x33\x22\x11\0"},
        {FW_CFG_KEY_IRQ0_OVERRIDE, 5, "\x01\0\0\0\0"},
        {KEY_TABLE, 6, "\1\2\3\4\5\0"},
        {KEY_TABLE | 0x4000, 6, "\1\2\3\4\5\0"}, /* bit 14 says nothing */
        {KEY_BOOTORDER, 2, "\0\0"},
        {FW_CFG_KEY_FILE_FIRST + 3, 2, "\0\0"}, /* no such file */
        {FW_CFG_KEY_RAM_SIZE | 0x8000, 2, "\0\0"},
        {0xffff, 2, "\0\0"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        select_key(*state, cases[i].key);
        expect_bytes(*state, cases[i].bytes, cases[i].size);
    }
    select_key(*state, KEY_BIG);
    expect_bytes(*state, big, sizeof(big));
    assert_int_equal(data(*state), 0);
}

static void test_select_starts_over(void **state)
{
    select_key(*state, KEY_TABLE);
    expect_bytes(*state, table, 3);
    select_key(*state, KEY_TABLE);
    expect_bytes(*state, table, 5);
}

static void test_directory(void **state)
{
    static const struct {
        const char *name;
        uint32_t size;
    } files[] = {{"bootorder", 0}, {"etc/big", sizeof(big)}, {"etc/table", sizeof(table)}};
    uint8_t expected[4 + 3 * 64] = {0};
    store_be(expected, 3, 4);
    for (unsigned i = 0; i < 3; i++) {
        store_be(expected + 4 + 64 * i, files[i].size, 4);
        store_be(expected + 8 + 64 * i, FW_CFG_KEY_FILE_FIRST + i, 2);
        strcpy((char *)expected + 12 + 64 * i, files[i].name);
    }
    select_key(*state, FW_CFG_KEY_FILE_DIR);
    expect_bytes(*state, expected, sizeof(expected));
}

static void test_other_accesses_change_nothing(void **state)
{
    struct fake_env *fake = *state;
    select_key(fake, KEY_TABLE);
    assert_int_equal(data(fake), 1);
    fake_write(fake, SELECTOR, 1, 1, 0xff); /* data writes are ignored */
    fake_write(fake, SELECTOR, 0, 1, 0x01);
    assert_int_equal(fake_read(fake, SELECTOR, 0, 1), 0xff);
    assert_int_equal(fake_read(fake, SELECTOR, 0, 2), 0xffff);
    fake_write(fake, DMA, 4, 1, 0x10); /* only whole halves count */
    fake_write(fake, DMA, 6, 2, 0x10);
    fake_write(fake, DMA, 2, 4, 0x10);
    assert_int_equal(data(fake), 2);
    assert_int_equal(fake_counter(fake, "dma-errors"), 0);
}

static void test_dma_signature(void **state)
{
    static const uint8_t bytes[] = "QEMU CFG";
    for (unsigned width = 1; width <= 4; width *= 2) {
        for (unsigned offset = 0; offset + width <= 8; offset++) {
            uint64_t expected = 0;
            memcpy(&expected, bytes + offset, width);
            assert_int_equal(fake_read(*state, DMA, offset, width), expected);
        }
    }
}

static void test_dma_read(void **state)
{
    struct fake_env *fake = *state;
    memset(fake->memory + TARGET, 0xaa, sizeof(big) + 100);
    assert_int_equal(dma(fake, with_key(KEY_BIG, FW_CFG_DMA_READ), 10, TARGET), 0);
    assert_int_equal(dma(fake, FW_CFG_DMA_SKIP, 90, 0), 0);
    assert_int_equal(dma(fake, FW_CFG_DMA_READ, sizeof(big) - 100 + 20, TARGET + 100), 0);
    assert_memory_equal(fake->memory + TARGET, big, 10);
    for (unsigned i = 10; i < 100; i++)
        assert_int_equal(fake->memory[TARGET + i], 0xaa);
    assert_memory_equal(fake->memory + TARGET + 100, big + 100, sizeof(big) - 100);
    for (unsigned i = 0; i < 100; i++) /* 20 zeros past the end, and nothing more */
        assert_int_equal(fake->memory[TARGET + sizeof(big) + i], i < 20 ? 0 : 0xaa);
    assert_int_equal(fake_counter(fake, "bytes-dma"), 10 + sizeof(big) - 100 + 20);
    assert_int_equal(fake_counter(fake, "dma-errors"), 0);
}

static void test_dma_and_port_share_the_offset(void **state)
{
    struct fake_env *fake = *state;
    select_key(fake, KEY_TABLE);
    assert_int_equal(data(fake), 1);
    assert_int_equal(dma(fake, FW_CFG_DMA_READ, 2, TARGET), 0);
    assert_memory_equal(fake->memory + TARGET, table + 1, 2);
    assert_int_equal(data(fake), 4);
    assert_int_equal(dma(fake, FW_CFG_DMA_SKIP, 0xffffffff, 0), 0);
    assert_int_equal(data(fake), 0);
}

static void test_dma_controls(void **state)
{
    struct fake_env *fake = *state;
    const uint32_t error = FW_CFG_DMA_ERROR;
    const struct {
        uint32_t control, length;
        uint64_t address;
        uint32_t expected;
    } cases[] = {
        {0, 5, TARGET, 0},
        {error, 5, TARGET, 0}, /* the bit is the device's to set */
        {with_key(KEY_TABLE, 0), 5, TARGET, 0},
        {with_key(KEY_TABLE, FW_CFG_DMA_WRITE), 1, TARGET, error},
        {with_key(KEY_TABLE, FW_CFG_DMA_WRITE), 0, TARGET, 0},
        {with_key(0x7777, FW_CFG_DMA_WRITE), 1, TARGET, error},
        {with_key(0x7777, FW_CFG_DMA_READ), 4, TARGET, 0},
        {with_key(KEY_TABLE, FW_CFG_DMA_READ), 0, UINT64_MAX, 0},
        {with_key(KEY_TABLE, FW_CFG_DMA_READ), 1, MEMORY_SIZE, error},
        {with_key(KEY_TABLE, FW_CFG_DMA_READ), 2, MEMORY_SIZE - 1, error},
        {with_key(KEY_TABLE, FW_CFG_DMA_READ), 1, MEMORY_SIZE - 1, 0},
        {with_key(KEY_TABLE, FW_CFG_DMA_READ), 1, UINT64_MAX, error},
        {with_key(KEY_TABLE, FW_CFG_DMA_READ), 100, MEMORY_SIZE - 50, error},
    };
    uint64_t errors = 0;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(dma(fake, cases[i].control, cases[i].length, cases[i].address), cases[i].expected);
        errors += cases[i].expected != 0;
    }
    assert_int_equal(fake_counter(fake, "dma-errors"), errors);
}

static void test_dma_zero_fill_is_bounded(void **state)
{
    struct fake_env *fake = *state;
    const uint32_t read = with_key(KEY_TABLE, FW_CFG_DMA_READ);
    const uint32_t most = sizeof(table) + FW_CFG_ZERO_FILL_MAX;
    memset(fake->memory + TARGET, 0xaa, most + 1);
    assert_int_equal(dma(fake, read, most + 1, TARGET), FW_CFG_DMA_ERROR);
    assert_int_equal(fake->memory[TARGET], 0xaa);
    assert_int_equal(dma(fake, read, UINT32_MAX, TARGET), FW_CFG_DMA_ERROR);
    assert_int_equal(dma(fake, read, most, TARGET), 0);
    assert_memory_equal(fake->memory + TARGET, table, sizeof(table));
    for (uint32_t i = sizeof(table); i < most; i++)
        assert_int_equal(fake->memory[TARGET + i], 0);
    assert_int_equal(fake->memory[TARGET + most], 0xaa);
}

static void test_dma_address_halves(void **state)
{
    struct fake_env *fake = *state;
    start_at(fake, UINT64_C(0x100000000) + DESCRIPTOR); /* no RAM there: nothing done, nobody to tell */
    assert_int_equal(fake_counter(fake, "dma-errors"), 1);
    /* The high half is gone after each start, so that 32-bit firmware need not write it. */
    assert_int_equal(dma(fake, with_key(KEY_TABLE, FW_CFG_DMA_READ), 5, TARGET), 0);
    assert_memory_equal(fake->memory + TARGET, table, 5);
    /* A descriptor cut off by the end of RAM whose control word still fits. */
    start_at(fake, MEMORY_SIZE - 8);
    assert_int_equal(load_be32(fake->memory + MEMORY_SIZE - 8), FW_CFG_DMA_ERROR);
    assert_int_equal(fake_counter(fake, "dma-errors"), 2);
}

static void test_reset(void **state)
{
    struct fake_env *fake = *state;
    select_key(fake, KEY_TABLE);
    assert_int_equal(data(fake), 1);
    fake_write(fake, DMA, 0, 4, 1);
    fw_cfg_ops.reset(fake->self);
    expect_bytes(fake, "QEMU", 4);
    assert_int_equal(dma(fake, with_key(KEY_TABLE, FW_CFG_DMA_READ), 5, TARGET), 0);
    assert_int_equal(fake_counter(fake, "selects"), 2);
    assert_int_equal(fake_counter(fake, "bytes-pio"), 5);
    assert_int_equal(fake_counter(fake, "bytes-dma"), 5);
}

/* Items stay where they are: a change of the caller's bytes shows, as it would not in a copy. */
static void test_data_is_not_copied(void **state)
{
    (void)state;
    uint8_t bytes[] = {1};
    struct fw_cfg_item item = {.name = "a", .data = bytes, .size = 1};
    const struct fw_cfg_config config = {&item, 1};
    struct fake_env fake;
    assert_int_equal(fake_env_create(&fake, &fw_cfg_ops, &config, 0), 0);
    bytes[0] = 9;
    select_key(&fake, FW_CFG_KEY_FILE_FIRST);
    assert_int_equal(data(&fake), 9);
    fake_env_destroy(&fake);
}

#define NAME_55 "0123456789012345678901234567890123456789012345678901234"

static void test_configurations(void **state)
{
    (void)state;
    static const struct {
        struct fw_cfg_item items[2];
        size_t count;
        int expected;
    } cases[] = {
        {{{.key = 0}}, 0, 0},
        {{{.name = NAME_55}}, 1, 0},
        {{{.name = NAME_55 "5"}}, 1, -EINVAL},
        {{{.name = ""}}, 1, -EINVAL},
        {{{.name = "a"}, {.name = "a"}}, 2, -EINVAL},
        {{{.name = "a"}, {.name = "b"}}, 2, 0},
        {{{.key = FW_CFG_KEY_UUID}, {.key = FW_CFG_KEY_UUID}}, 2, -EINVAL},
        {{{.key = FW_CFG_KEY_SIGNATURE}}, 1, -EINVAL},
        {{{.key = FW_CFG_KEY_ID}}, 1, -EINVAL},
        {{{.key = FW_CFG_KEY_FILE_DIR}}, 1, -EINVAL},
        {{{.key = FW_CFG_KEY_FILE_FIRST}}, 1, -EINVAL},
        {{{.key = FW_CFG_KEY_FILE_FIRST - 1}}, 1, 0},
        {{{.key = 0x4002}}, 1, -EINVAL},
        {{{.key = 0xc000}}, 1, -EINVAL},
        {{{.key = 0xbfff}, {.key = 0x8000}}, 2, 0},
        {{{.key = FW_CFG_KEY_UUID, .size = 9}}, 1, -EINVAL},
        {{{.key = FW_CFG_KEY_UUID, .data = table, .size = (size_t)UINT32_MAX + 1}}, 1, -EINVAL},
        {{{.key = FW_CFG_KEY_UUID}}, UINT16_MAX + 1, -EINVAL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct fw_cfg_config config = {cases[i].items, cases[i].count};
        struct fake_env fake;
        assert_int_equal(fake_env_create(&fake, &fw_cfg_ops, &config, 0), cases[i].expected);
        fake_env_destroy(&fake);
    }
    struct fake_env fake;
    assert_int_equal(fake_env_create(&fake, &fw_cfg_ops, NULL, 0), -EINVAL);
    assert_int_equal(fake_env_create(&fake, &fw_cfg_ops, &(struct fw_cfg_config){NULL, 1}, 0), -EINVAL);
}

/* The zone {0x510, 2} may be posted only while it holds nothing but the latch and ignored data writes. */
static void test_regions(void **state)
{
    (void)state;
    assert_int_equal(fw_cfg_ops.region_count, 2);
    const struct ringd_region *selector = &fw_cfg_ops.regions[SELECTOR], *address = &fw_cfg_ops.regions[DMA];
    assert_int_equal(FW_CFG_BASE + selector->offset, 0x510);
    assert_int_equal(selector->size, 2);
    assert_int_equal(selector->flags, RINGD_POSTED);
    assert_int_equal(FW_CFG_BASE + address->offset, 0x514);
    assert_int_equal(address->size, 8);
    assert_int_equal(address->flags, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_power_on_selects_signature, setup, teardown),
        cmocka_unit_test_setup_teardown(test_items_by_port, setup, teardown),
        cmocka_unit_test_setup_teardown(test_select_starts_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_accesses_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dma_signature, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dma_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dma_and_port_share_the_offset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dma_controls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dma_zero_fill_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dma_address_halves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
        cmocka_unit_test(test_data_is_not_copied),
        cmocka_unit_test(test_configurations),
        cmocka_unit_test(test_regions),
    };
    return cmocka_run_group_tests_name("fw_cfg", tests, NULL, NULL);
}
