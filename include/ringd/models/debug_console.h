/* SPDX-License-Identifier: BSD-2-Clause */
/* Debug console: a port that takes characters, as QEMU's isa-debugcon (0x402) and Bochs' port 0xE9. */
#ifndef RINGD_MODELS_DEBUG_CONSOLE_H
#define RINGD_MODELS_DEBUG_CONSOLE_H

#include <ringd/api.h>
#include <ringd/device.h>

RINGD_API_BEGIN

/* What firmware expects to read before it logs there (SeaBIOS src/hw/serialio.c, OVMF's PlatformDebugLibIoPort). */
#define DEBUG_CONSOLE_READBACK 0xe9

/* Configuration for create(); NULL: readback is DEBUG_CONSOLE_READBACK. */
struct debug_console_config {
    uint8_t readback; /* what a read of the port returns */
};

extern const struct ringd_device_ops debug_console_ops;

RINGD_API_END

#endif
