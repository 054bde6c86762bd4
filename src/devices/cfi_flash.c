/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/cfi_flash.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Commands of the Intel command set (28F640J3 data sheet 290667, table 4). */
enum command {
    COMMAND_BLOCK_ERASE = 0x20,
    COMMAND_PROGRAM = 0x40,
    COMMAND_PROGRAM_OTHER = 0x10,
    COMMAND_CLEAR_STATUS = 0x50,
    COMMAND_LOCK = 0x60,
    COMMAND_READ_STATUS = 0x70,
    COMMAND_READ_ID = 0x90,
    COMMAND_READ_CFI = 0x98,
    COMMAND_CONFIRM = 0xd0,
    COMMAND_WRITE_BUFFER = 0xe8,
    COMMAND_READ_ARRAY = 0xff,
};

/* The status register (table 6). */
#define STATUS_READY         0x80u
#define STATUS_ERASE_ERROR   0x20u
#define STATUS_PROGRAM_ERROR 0x10u

#define ID_MANUFACTURER 0x89u /* Intel */
#define ID_DEVICE       0x18u /* 28F128J3 */

/* What a read gives, and what the next write means. */
enum state {
    STATE_ARRAY,
    STATE_STATUS,
    STATE_ID,
    STATE_CFI,
    STATE_PROGRAM,        /* the next write is the data */
    STATE_ERASE,          /* ... the confirmation */
    STATE_LOCK,           /* ... the kind of locking, which is kept by none */
    STATE_BUFFER_COUNT,   /* ... the number of bytes less one */
    STATE_BUFFER_DATA,    /* ... one of them */
    STATE_BUFFER_CONFIRM, /* ... the confirmation */
};

struct cfi_flash {
    struct cfi_flash_config config;
    enum state state;
    uint8_t status;
    uint64_t buffer_at; /* first byte of the buffered write */
    unsigned buffer_expected, buffer_filled;
    uint8_t buffer[CFI_FLASH_BUFFER_BYTES];
    bool buffer_written[CFI_FLASH_BUFFER_BYTES];

    uint64_t programmed, erased, errors;
};

static const struct ringd_region cfi_flash_regions[] = {
    [CFI_FLASH_ARRAY] = {.name = "flash",
                         .space = RINGD_MMIO,
                         .size = CFI_FLASH_BYTES_MAX,
                         .widths = 1 | 2 | 4 | 8,
                         .effect = "reads the array or what a command asked for; writes are commands and data"},
};

/* ---- what is read ---- */

static uint8_t log2_of(size_t value)
{
    uint8_t log = 0;
    while (value > 1 && log < 63) {
        value >>= 1;
        log++;
    }
    return log;
}

/* JESD68.01, section 4.3: the query structure, a byte at each address. Times are powers of two; a program or an erase
 * is over at once here, the maxima are the data sheet's. */
static uint8_t cfi_byte(const struct cfi_flash *flash, uint64_t at)
{
    size_t blocks = flash->config.bytes / CFI_FLASH_BLOCK_BYTES - 1;
    const uint8_t query[] = {
        'Q',
        'R',
        'Y', /* 0x10 */
        0x01,
        0x00, /* command set 0001 */
        0x31,
        0x00, /* its own table */
        0x00,
        0x00,
        0x00,
        0x00, /* no other command set */
        0x45,
        0x55, /* supply: 4.5 to 5.5 V */
        0x00,
        0x00, /* no separate programming supply */
        0x07,
        0x07,
        0x0a,
        0x00, /* typical times: byte, buffer, block erase, no chip erase */
        0x04,
        0x04,
        0x04,
        0x00,                                                   /* the most, times these powers of two */
        log2_of(flash->config.bytes + flash->config.bytes - 1), /* bytes, rounded up */
        0x00,
        0x00, /* x8 */
        6,
        0x00, /* log2 of CFI_FLASH_BUFFER_BYTES */
        0x01, /* one kind of block */
        (uint8_t)blocks,
        (uint8_t)(blocks >> 8),
        CFI_FLASH_BLOCK_BYTES >> 8 & 0xff,
        CFI_FLASH_BLOCK_BYTES >> 16,
        'P',
        'R',
        'I',
        '1',
        '0', /* 0x31: the Intel table, version 1.0 */
        0x00,
        0x00,
        0x00,
        0x00, /* no optional features */
        0x00, /* nothing during a suspension */
        0x00,
        0x00, /* no lock bits */
        0x50,
        0x00, /* supplies once more */
    };
    _Static_assert(CFI_FLASH_BUFFER_BYTES == 1 << 6, "as the query says");
    return at >= 0x10 && at - 0x10 < sizeof(query) ? query[at - 0x10] : 0;
}

static uint8_t read_byte(const struct cfi_flash *flash, uint64_t offset)
{
    switch (flash->state) {
    case STATE_ARRAY:
        return flash->config.array[offset];
    case STATE_ID:
        return offset % CFI_FLASH_BLOCK_BYTES == 0   ? ID_MANUFACTURER
               : offset % CFI_FLASH_BLOCK_BYTES == 1 ? ID_DEVICE
                                                     : 0; /* 2: not locked */
    case STATE_CFI:
        return cfi_byte(flash, offset);
    default:
        return flash->status;
    }
}

static uint64_t cfi_flash_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    const struct cfi_flash *flash = self;
    uint64_t value = 0;
    (void)region;
    for (unsigned i = 0; i < width; i++)
        if (offset + i < flash->config.bytes)
            value |= (uint64_t)read_byte(flash, offset + i) << (8 * i);
    return value;
}

/* ---- what is written ---- */

static void enter(struct cfi_flash *flash, enum state state)
{
    bool before = flash->state == STATE_ARRAY, now = state == STATE_ARRAY;
    flash->state = state;
    if (before != now && flash->config.mode)
        flash->config.mode(flash->config.ctx, now);
}

/* Programming clears bits, and only that. A store of its own for each byte: a reader of the memory, and whoever finds
 * it after a kill, sees each byte either before or after. */
static void program(struct cfi_flash *flash, uint64_t offset, uint8_t byte)
{
    uint8_t *cell = &flash->config.array[offset];
    __atomic_store_n(cell, *cell & byte, __ATOMIC_RELAXED);
    flash->programmed++;
}

static void tell_changed(struct cfi_flash *flash)
{
    if (flash->config.changed)
        flash->config.changed(flash->config.ctx);
}

static void program_value(struct cfi_flash *flash, uint64_t offset, unsigned width, uint64_t value)
{
    for (unsigned i = 0; i < width; i++)
        program(flash, offset + i, (uint8_t)(value >> (8 * i)));
    flash->status |= STATUS_READY;
    tell_changed(flash);
}

static void erase(struct cfi_flash *flash, uint64_t offset)
{
    memset(flash->config.array + offset / CFI_FLASH_BLOCK_BYTES * CFI_FLASH_BLOCK_BYTES, 0xff, CFI_FLASH_BLOCK_BYTES);
    flash->status |= STATUS_READY;
    flash->erased++;
    tell_changed(flash);
}

static void fail(struct cfi_flash *flash, uint8_t status)
{
    flash->status |= (uint8_t)(STATUS_READY | status);
    flash->errors++;
    enter(flash, STATE_STATUS);
}

static void buffer_begin(struct cfi_flash *flash, uint8_t count_less_one)
{
    if (count_less_one >= CFI_FLASH_BUFFER_BYTES) {
        fail(flash, STATUS_PROGRAM_ERROR | STATUS_ERASE_ERROR); /* an improper sequence */
        return;
    }
    flash->buffer_expected = count_less_one + 1u;
    flash->buffer_filled = 0;
    memset(flash->buffer_written, 0, sizeof(flash->buffer_written));
    enter(flash, STATE_BUFFER_DATA);
}

static void buffer_put(struct cfi_flash *flash, uint64_t offset, unsigned width, uint64_t value)
{
    if (flash->buffer_filled == 0)
        flash->buffer_at = offset;
    for (unsigned i = 0; i < width; i++) {
        uint64_t at = offset + i - flash->buffer_at; /* wraps below the first */
        if (at >= CFI_FLASH_BUFFER_BYTES) {
            fail(flash, STATUS_PROGRAM_ERROR | STATUS_ERASE_ERROR);
            return;
        }
        flash->buffer[at] = (uint8_t)(value >> (8 * i));
        flash->buffer_written[at] = true;
    }
    flash->buffer_filled += width;
    if (flash->buffer_filled >= flash->buffer_expected)
        enter(flash, STATE_BUFFER_CONFIRM);
}

static void buffer_confirm(struct cfi_flash *flash)
{
    for (unsigned i = 0; i < CFI_FLASH_BUFFER_BYTES; i++)
        if (flash->buffer_written[i] && flash->buffer_at + i < flash->config.bytes)
            program(flash, flash->buffer_at + i, flash->buffer[i]);
    flash->status |= STATUS_READY;
    tell_changed(flash);
    enter(flash, STATE_STATUS);
}

static void command(struct cfi_flash *flash, uint8_t code)
{
    switch ((enum command)code) {
    case COMMAND_PROGRAM:
    case COMMAND_PROGRAM_OTHER:
        enter(flash, STATE_PROGRAM);
        break;
    case COMMAND_BLOCK_ERASE:
        enter(flash, STATE_ERASE);
        break;
    case COMMAND_CLEAR_STATUS:
        /* The ready bit too, which a real chip keeps: OVMF (QemuFlashFvbServicesRuntimeDxe, QemuFlash.c) takes a zero
         * for the sign that this is a flash, as QEMU's reads. */
        flash->status = 0;
        enter(flash, STATE_ARRAY);
        break;
    case COMMAND_LOCK:
        enter(flash, STATE_LOCK);
        break;
    case COMMAND_READ_STATUS:
        enter(flash, STATE_STATUS);
        break;
    case COMMAND_READ_ID:
        enter(flash, STATE_ID);
        break;
    case COMMAND_READ_CFI:
        enter(flash, STATE_CFI);
        break;
    case COMMAND_WRITE_BUFFER:
        flash->status |= STATUS_READY; /* the buffer is free */
        enter(flash, STATE_BUFFER_COUNT);
        break;
    case COMMAND_READ_ARRAY:
    case COMMAND_CONFIRM: /* resumes what was suspended, which nothing ever is */
        enter(flash, STATE_ARRAY);
        break;
    default:
        flash->errors++;
        enter(flash, STATE_ARRAY);
        break;
    }
}

static void cfi_flash_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct cfi_flash *flash = self;
    uint8_t byte = (uint8_t)value;
    (void)region;
    if (offset + width > flash->config.bytes)
        return;
    switch (flash->state) {
    case STATE_PROGRAM:
        program_value(flash, offset, width, value);
        enter(flash, STATE_STATUS);
        break;
    case STATE_ERASE:
        if (byte == COMMAND_CONFIRM) {
            erase(flash, offset);
            enter(flash, STATE_STATUS);
        } else {
            fail(flash, STATUS_ERASE_ERROR | STATUS_PROGRAM_ERROR);
        }
        break;
    case STATE_LOCK:
        flash->status |= STATUS_READY;
        enter(flash, STATE_STATUS);
        break;
    case STATE_BUFFER_COUNT:
        buffer_begin(flash, byte);
        break;
    case STATE_BUFFER_DATA:
        buffer_put(flash, offset, width, value);
        break;
    case STATE_BUFFER_CONFIRM:
        if (byte == COMMAND_CONFIRM)
            buffer_confirm(flash);
        else
            fail(flash, STATUS_PROGRAM_ERROR | STATUS_ERASE_ERROR);
        break;
    default:
        command(flash, byte);
        break;
    }
}

/* The contents stay: that is what it is for. */
static void cfi_flash_reset(void *self)
{
    struct cfi_flash *flash = self;
    flash->status = STATUS_READY;
    enter(flash, STATE_ARRAY);
}

static int cfi_flash_create(const struct ringd_env *env, const void *config, void **self)
{
    const struct cfi_flash_config *cfg = config;
    (void)env;
    if (!cfg || !cfg->array || !cfg->bytes || cfg->bytes > CFI_FLASH_BYTES_MAX || cfg->bytes % CFI_FLASH_BLOCK_BYTES)
        return -EINVAL;
    struct cfi_flash *flash = calloc(1, sizeof(*flash));
    if (!flash)
        return -ENOMEM;
    flash->config = *cfg;
    cfi_flash_reset(flash);
    *self = flash;
    return 0;
}

static void cfi_flash_destroy(void *self)
{
    free(self);
}

static unsigned cfi_flash_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct cfi_flash *flash = self;
    const struct ringd_counter all[] = {
        {"programmed", flash->programmed}, {"erased", flash->erased}, {"errors", flash->errors}};
    unsigned count = sizeof(all) / sizeof(all[0]);
    for (unsigned i = 0; i < count && i < max; i++)
        counters[i] = all[i];
    return count;
}

const struct ringd_device_ops cfi_flash_ops = {
    .name = "cfi-flash",
    .summary = "parallel NOR flash with the Common Flash Interface and Intel's command set",
    .regions = cfi_flash_regions,
    .region_count = sizeof(cfi_flash_regions) / sizeof(cfi_flash_regions[0]),
    .create = cfi_flash_create,
    .destroy = cfi_flash_destroy,
    .read = cfi_flash_read,
    .write = cfi_flash_write,
    .reset = cfi_flash_reset,
    .counters = cfi_flash_counters,
};
