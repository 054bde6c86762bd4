/* SPDX-License-Identifier: BSD-2-Clause */
/* The flash's command set, as a driver uses it and as one that goes astray does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include <ringd/models/cfi_flash.h>

#include "fake_env.h"

#define BYTES (8u * CFI_FLASH_BLOCK_BYTES)
#define BLOCK CFI_FLASH_BLOCK_BYTES

static uint8_t array[BYTES];
static unsigned mode_changes, changes;
static bool shows_array;

static void on_mode(void *ctx, bool now)
{
    (void)ctx;
    assert_true(now != shows_array);
    shows_array = now;
    mode_changes++;
}

static void on_change(void *ctx)
{
    (void)ctx;
    changes++;
}

static struct fake_env fake;

static int setup(void **state)
{
    (void)state;
    const struct cfi_flash_config config = {.array = array, .bytes = BYTES, .mode = on_mode, .changed = on_change};
    memset(array, 0xff, sizeof(array));
    shows_array = true;
    mode_changes = changes = 0;
    return fake_env_create(&fake, &cfi_flash_ops, &config, 0);
}

static int teardown(void **state)
{
    (void)state;
    fake_env_destroy(&fake);
    return 0;
}

static void put(uint64_t offset, uint8_t value)
{
    fake_write(&fake, CFI_FLASH_ARRAY, offset, 1, value);
}

static uint8_t get(uint64_t offset)
{
    return (uint8_t)fake_read(&fake, CFI_FLASH_ARRAY, offset, 1);
}

static void program(uint64_t offset, uint8_t value)
{
    put(offset, 0x10);
    put(offset, value);
}

static void programming_clears_bits_and_an_erase_sets_them(void **state)
{
    (void)state;
    program(BLOCK + 5, 0xf0);
    assert_false(shows_array);
    assert_int_equal(get(BLOCK + 5), 0x80); /* ready */
    program(BLOCK + 5, 0x3c);
    put(0, 0xff);
    assert_true(shows_array);
    assert_int_equal(get(BLOCK + 5), 0x30);
    assert_int_equal(array[BLOCK + 5], 0x30);
    array[BLOCK - 1] = array[2 * BLOCK] = 0x55;
    put(BLOCK + 77, 0x20);
    put(BLOCK + 77, 0xd0);
    put(0, 0xff);
    assert_int_equal(get(BLOCK + 5), 0xff);
    assert_int_equal(array[BLOCK - 1], 0x55);
    assert_int_equal(array[2 * BLOCK], 0x55);
    assert_int_equal(changes, 3);
    assert_int_equal(mode_changes, 4);
    assert_int_equal(fake_counter(&fake, "erased"), 1);
    assert_int_equal(fake_counter(&fake, "programmed"), 2);
}

/* What OVMF does to tell a flash from RAM and ROM (QemuFlash.c, QemuFlashDetected()). */
static void ovmf_knows_it(void **state)
{
    (void)state;
    put(0, 0x50);
    assert_int_equal(get(0), 0xff); /* not the command: no RAM */
    put(0, 0x70);
    assert_int_equal(get(0), 0x00); /* the status, cleared: neither ROM nor RAM */
    put(0, 0xff);
    assert_int_equal(get(0), 0xff);
}

static void identification(void **state)
{
    (void)state;
    put(0x55, 0x98);
    assert_int_equal(fake_read(&fake, CFI_FLASH_ARRAY, 0x10, 4) & 0xffffff, 'Q' | 'R' << 8 | 'Y' << 16);
    assert_int_equal(get(0x13), 1);
    assert_int_equal(get(0x27), 15); /* 2^15 bytes */
    assert_int_equal(get(0x2a), 6);
    assert_int_equal(get(0x2c), 1);
    assert_int_equal(get(0x2d) | get(0x2e) << 8, BYTES / BLOCK - 1);
    assert_int_equal((get(0x2f) | get(0x30) << 8) * 256, BLOCK);
    assert_int_equal(fake_read(&fake, CFI_FLASH_ARRAY, 0x31, 4) & 0xffffff, 'P' | 'R' << 8 | 'I' << 16);
    assert_int_equal(get(0x100), 0);
    put(0, 0x90);
    assert_int_equal(get(0), 0x89);
    assert_int_equal(get(BLOCK + 1), 0x18);
    assert_int_equal(get(2), 0);
}

static void a_buffer_is_written_at_once(void **state)
{
    (void)state;
    put(64, 0xe8);
    assert_int_equal(get(64), 0x80);
    put(64, 4 - 1);
    put(66, 0x12);
    put(67, 0x34);
    fake_write(&fake, CFI_FLASH_ARRAY, 70, 2, 0x7856);
    assert_int_equal(array[66], 0xff);
    put(64, 0xd0);
    put(0, 0xff);
    assert_int_equal(array[66], 0x12);
    assert_int_equal(array[67], 0x34);
    assert_int_equal(array[68], 0xff);
    assert_int_equal(array[70], 0x56);
    assert_int_equal(array[71], 0x78);
    assert_int_equal(changes, 1);
}

static void wrong_sequences_change_nothing(void **state)
{
    (void)state;
    static uint8_t before[BYTES];
    memset(array, 0xa5, sizeof(array));
    memcpy(before, array, sizeof(before));
    put(0, 0x20); /* an erase that is not confirmed */
    put(0, 0x10);
    assert_int_equal(get(0), 0xb0);
    put(0, 0x50);
    put(0, 0xe8);
    put(0, 64); /* more than the buffer has */
    assert_int_equal(get(0), 0xb0);
    put(0, 0x50);
    put(0, 0xe8); /* bytes too far apart */
    put(0, 1);
    put(0, 0);
    put(64, 0);
    assert_int_equal(get(0), 0xb0);
    put(0, 0x50);
    put(0, 0xe8); /* and not confirmed */
    put(0, 0);
    put(9, 0);
    put(9, 0xff);
    assert_int_equal(get(0), 0xb0);
    put(0, 0x50);
    put(0, 0x33); /* no command */
    assert_true(shows_array);
    fake_write(&fake, CFI_FLASH_ARRAY, 0, 1, 0x10); /* the last byte, by a write that would reach beyond */
    fake_write(&fake, CFI_FLASH_ARRAY, BYTES - 1, 2, 0);
    put(0, 0xff); /* is the data */
    assert_memory_equal(array, before, sizeof(before));
    assert_int_equal(fake_counter(&fake, "errors"), 5);
}

static void a_reset_shows_the_array_and_keeps_it(void **state)
{
    (void)state;
    program(3, 0x42);
    put(3, 0x20);
    cfi_flash_ops.reset(fake.self);
    assert_true(shows_array);
    assert_int_equal(get(3), 0x42);
    put(3, 0xd0); /* no confirmation any more */
    assert_int_equal(array[3], 0x42);
}

static void impossible_sizes(void **state)
{
    (void)state;
    struct fake_env other;
    static const size_t sizes[] = {0, 1, BLOCK - 1, BLOCK + 1, CFI_FLASH_BYTES_MAX + BLOCK};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const struct cfi_flash_config config = {.array = array, .bytes = sizes[i]};
        assert_int_equal(fake_env_create(&other, &cfi_flash_ops, &config, 0), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(programming_clears_bits_and_an_erase_sets_them, setup, teardown),
        cmocka_unit_test_setup_teardown(ovmf_knows_it, setup, teardown),
        cmocka_unit_test_setup_teardown(identification, setup, teardown),
        cmocka_unit_test_setup_teardown(a_buffer_is_written_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_sequences_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reset_shows_the_array_and_keeps_it, setup, teardown),
        cmocka_unit_test(impossible_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
