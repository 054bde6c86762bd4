/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fw_cfg under a hostile guest. Beside the sanitizers a second, naive model of "which item, which byte" predicts every
 * byte read, what a DMA leaves in memory, and that it touches nothing else.
 */
#include <stdlib.h>
#include <string.h>

#include <ringd/models/fw_cfg.h>

#include "devices/fw_cfg_registers.h"
#include "fake_env.h"

#define MEMORY_SIZE 16384u

static uint8_t blob[5000];

static const struct fw_cfg_item items[] = {
    {.key = FW_CFG_KEY_NB_CPUS, .size = 2, .value = 4},
    {.name = "etc/blob", .data = blob, .size = sizeof(blob)},
    {.name = "empty"},
    {.key = FW_CFG_KEY_HPET, .data = blob, .size = 121},
};

struct oracle {
    uint8_t directory[4 + 2 * 64];
    const uint8_t *data;
    size_t size, offset;
};

struct input {
    const uint8_t *data;
    size_t left;
};

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static uint64_t take(struct input *input, unsigned bytes)
{
    uint64_t value = 0;
    for (; bytes && input->left; bytes--, input->left--)
        value = value << 8 | *input->data++;
    return value;
}

static void oracle_select(struct oracle *oracle, unsigned key)
{
    static const uint8_t cpus[2] = {4, 0}, id[4] = {3, 0, 0, 0};
    const struct {
        unsigned key;
        const void *data;
        size_t size;
    } all[] = {
        {FW_CFG_KEY_SIGNATURE, "QEMU", 4}, {FW_CFG_KEY_ID, id, 4},
        {FW_CFG_KEY_NB_CPUS, cpus, 2},     {FW_CFG_KEY_FILE_DIR, oracle->directory, sizeof(oracle->directory)},
        {FW_CFG_KEY_FILE_FIRST, NULL, 0},  {FW_CFG_KEY_FILE_FIRST + 1, blob, sizeof(blob)},
        {FW_CFG_KEY_HPET, blob, 121},
    };
    oracle->data = NULL;
    oracle->size = oracle->offset = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].key == (key & 0xbfff)) {
            oracle->data = all[i].data;
            oracle->size = all[i].size;
        }
}

static uint8_t oracle_byte(struct oracle *oracle)
{
    return oracle->offset < oracle->size ? oracle->data[oracle->offset++] : 0;
}

static void store_be(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

/* One DMA whose descriptor lies in RAM; the oracle works on a copy of the memory. */
static void run_dma(struct fake_env *fake, struct oracle *oracle, struct input *input)
{
    static const uint16_t keys[] = {0, 1, 5, 0x19, 0x20, 0x21, 0x22, 0x8004, 0x4021, 0xffff};
    static uint8_t expected[MEMORY_SIZE];
    uint64_t gpa = take(input, 2) % (MEMORY_SIZE - 16);
    uint32_t control = (uint32_t)keys[take(input, 1) % 10] << 16;
    control |= (uint32_t)take(input, 1);
    uint32_t length = (uint32_t)take(input, 2);
    uint64_t address = take(input, 2);
    if (control & 0x80) /* now and then far out */
        length = length << 16 | length, address = address << 48 | address;
    store_be(fake->memory + gpa, control, 4);
    store_be(fake->memory + gpa + 4, length, 4);
    store_be(fake->memory + gpa + 8, address, 8);
    memcpy(expected, fake->memory, MEMORY_SIZE);
    fake_write(fake, FW_CFG_REGION_DMA, 4, 4, __builtin_bswap32((uint32_t)gpa));

    bool error = false;
    if (control & FW_CFG_DMA_SELECT)
        oracle_select(oracle, control >> 16);
    if (control & FW_CFG_DMA_READ) {
        error = length && (address > MEMORY_SIZE || length > MEMORY_SIZE - address);
        if (error) {
            /* How much was copied before the end of RAM is not promised; take it from the model. */
            demand(fake->memory[gpa + 3] == FW_CFG_DMA_ERROR);
            oracle_select(oracle, FW_CFG_KEY_SIGNATURE);
            fake_write(fake, FW_CFG_REGION_SELECTOR_DATA, 0, 2, FW_CFG_KEY_SIGNATURE);
            return;
        }
        for (uint32_t i = 0; i < length; i++)
            expected[address + i] = oracle_byte(oracle);
    } else if (control & FW_CFG_DMA_WRITE) {
        error = length > 0;
    } else if (control & FW_CFG_DMA_SKIP) {
        size_t left = oracle->size - oracle->offset;
        oracle->offset += length < left ? length : left;
    }
    store_be(expected + gpa, error ? FW_CFG_DMA_ERROR : 0, 4);
    demand(!memcmp(expected, fake->memory, MEMORY_SIZE));
}

static void prepare(struct oracle *oracle)
{
    memset(oracle, 0, sizeof(*oracle));
    for (size_t i = 0; i < sizeof(blob); i++)
        blob[i] = (uint8_t)(i ^ i >> 8);
    store_be(oracle->directory, 2, 4);
    store_be(oracle->directory + 4 + 4, FW_CFG_KEY_FILE_FIRST, 2);
    memcpy(oracle->directory + 4 + 8, "empty", 5);
    store_be(oracle->directory + 4 + 64, sizeof(blob), 4);
    store_be(oracle->directory + 4 + 64 + 4, FW_CFG_KEY_FILE_FIRST + 1, 2);
    memcpy(oracle->directory + 4 + 64 + 8, "etc/blob", 8);
    oracle_select(oracle, FW_CFG_KEY_SIGNATURE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fake_env fake;
    static const struct fw_cfg_config config = {items, sizeof(items) / sizeof(items[0])};
    struct oracle oracle;
    struct input input = {data, size};
    prepare(&oracle);
    demand(!fake_env_create(&fake, &fw_cfg_ops, &config, MEMORY_SIZE));
    while (input.left) {
        switch (take(&input, 1) % 6) {
        case 0: {
            unsigned key = (unsigned)take(&input, 2);
            fake_write(&fake, FW_CFG_REGION_SELECTOR_DATA, 0, 2, key);
            oracle_select(&oracle, key);
            break;
        }
        case 1:
            for (unsigned count = (unsigned)take(&input, 1); count; count--)
                demand(fake_read(&fake, FW_CFG_REGION_SELECTOR_DATA, 1, 1) == oracle_byte(&oracle));
            break;
        case 2:
            run_dma(&fake, &oracle, &input);
            break;
        case 3: { /* any access to the DMA register; its descriptor may be anywhere, so start afresh behind it */
            static const uint8_t widths[] = {1, 2, 4};
            unsigned width = widths[take(&input, 1) % 3], offset = (unsigned)(take(&input, 1) % (9 - width));
            fake_read(&fake, FW_CFG_REGION_DMA, offset, width);
            fake_write(&fake, FW_CFG_REGION_DMA, offset, width, take(&input, width));
            fw_cfg_ops.reset(fake.self);
            oracle_select(&oracle, FW_CFG_KEY_SIGNATURE);
            break;
        }
        case 4: { /* what must change nothing */
            unsigned offset = (unsigned)(take(&input, 1) & 1);
            fake_write(&fake, FW_CFG_REGION_SELECTOR_DATA, offset, 1, take(&input, 1));
            demand(fake_read(&fake, FW_CFG_REGION_SELECTOR_DATA, 0, 1) == 0xff);
            break;
        }
        case 5:
            fw_cfg_ops.reset(fake.self);
            oracle_select(&oracle, FW_CFG_KEY_SIGNATURE);
            break;
        }
    }
    fake_env_destroy(&fake);
    return 0;
}
