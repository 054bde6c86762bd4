/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The flash under a hostile guest. Beside the sanitizers: bits of the array fall one at a time and rise by whole
 * blocks, nothing beyond it is touched, and its embedder is told of each change of what reads give.
 */
#include <stdlib.h>
#include <string.h>

#include <ringd/models/cfi_flash.h>

#include "fake_env.h"

#define BYTES (3u * CFI_FLASH_BLOCK_BYTES)
#define GUARD 64u

static uint8_t memory[GUARD + BYTES + GUARD], before[BYTES];
static bool shows_array;
static unsigned changes;

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static void on_mode(void *ctx, bool now)
{
    (void)ctx;
    demand(now != shows_array);
    shows_array = now;
}

static void on_change(void *ctx)
{
    (void)ctx;
    changes++;
}

/* After one write: blocks that are all ones may have been erased; in the others bits have only been cleared. */
static void check(unsigned changes_before)
{
    const uint8_t *array = memory + GUARD;
    for (unsigned i = 0; i < GUARD; i++)
        demand(memory[i] == 0x5a && memory[GUARD + BYTES + i] == 0x5a);
    if (changes == changes_before) {
        demand(!memcmp(array, before, BYTES));
        return;
    }
    for (unsigned block = 0; block < BYTES; block += CFI_FLASH_BLOCK_BYTES) {
        bool erased = true;
        for (unsigned i = 0; i < CFI_FLASH_BLOCK_BYTES; i++)
            erased = erased && array[block + i] == 0xff;
        for (unsigned i = 0; i < CFI_FLASH_BLOCK_BYTES && !erased; i++)
            demand(!(array[block + i] & ~before[block + i]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fake_env fake;
    const struct cfi_flash_config config = {
        .array = memory + GUARD, .bytes = BYTES, .mode = on_mode, .changed = on_change};
    memset(memory, 0x5a, sizeof(memory));
    for (unsigned i = 0; i < BYTES; i++)
        memory[GUARD + i] = (uint8_t)(i * 37);
    shows_array = true;
    demand(!fake_env_create(&fake, &cfi_flash_ops, &config, 0));
    for (; size >= 4; data += 4, size -= 4) {
        uint64_t offset = (data[0] | (uint64_t)data[1] << 8) % BYTES;
        unsigned width = 1u << (data[2] & 3);
        if (data[2] & 0x40)
            offset = BYTES - 1 - (offset & 15); /* the end */
        memcpy(before, memory + GUARD, BYTES);
        unsigned changes_before = changes;
        if (data[2] & 0x80) {
            uint64_t value = fake_read(&fake, CFI_FLASH_ARRAY, offset, width);
            demand(!shows_array || (uint8_t)value == memory[GUARD + offset]);
        } else if (data[2] == 0x3f) {
            fake.device->reset(fake.self);
            demand(shows_array);
        } else {
            fake_write(&fake, CFI_FLASH_ARRAY, offset, width, data[3] * UINT64_C(0x0101010101010101));
        }
        check(changes_before);
    }
    fake_env_destroy(&fake);
    return 0;
}
