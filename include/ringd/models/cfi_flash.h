/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A parallel NOR flash, 8 bits wide, with the Common Flash Interface (JESD68.01) and Intel's command set 0001: where
 * UEFI firmware keeps its variables.
 *
 * While it shows its array (most of the time) reads need not reach the model: whoever hosts it may map the memory that
 * it was given, read-only, and has to take that away while a command is under way (see struct cfi_flash_config).
 */
#ifndef RINGD_MODELS_CFI_FLASH_H
#define RINGD_MODELS_CFI_FLASH_H

#include <ringd/device.h>

#include <ringd/api.h>

RINGD_API_BEGIN

#define CFI_FLASH_BLOCK_BYTES  4096u                 /* what one erase clears */
#define CFI_FLASH_BUFFER_BYTES 64u                   /* of a buffered write */
#define CFI_FLASH_BYTES_MAX    (16u * 1024u * 1024u) /* also what the region table says: a host may make it smaller */

enum cfi_flash_region { CFI_FLASH_ARRAY };

/*
 * For create(). Callbacks come from under the device's lock: they must not block or reach into another device.
 * create() returns -EINVAL for a size that is no multiple of CFI_FLASH_BLOCK_BYTES, 0, or above CFI_FLASH_BYTES_MAX.
 */
struct cfi_flash_config {
    /* The contents. The model's from now on, until destroy(); each byte is stored as the guest programs it, so that
     * memory which outlives the process (a shared file mapping) has all that was done when the process is killed. */
    uint8_t *array;
    size_t bytes;
    void *ctx;
    void (*mode)(void *ctx, bool array); /* reads now give the array, or something else. NULL: nobody wants to know */
    void (*changed)(void *ctx);          /* the contents. NULL: likewise */
};

extern const struct ringd_device_ops cfi_flash_ops;

RINGD_API_END

#endif
