/* SPDX-License-Identifier: BSD-2-Clause */
/* What the guest reads and writes in fw_cfg's registers and DMA descriptors (QEMU, docs/specs/fw_cfg). */
#ifndef DEVICES_FW_CFG_REGISTERS_H
#define DEVICES_FW_CFG_REGISTERS_H

/* FW_CFG_KEY_ID: the traditional interface (bit 0) and DMA (bit 1). */
#define FW_CFG_ID_FEATURES 3u

/* DMA descriptor: control (32 bits), length (32 bits), address (64 bits), all big endian. */
enum fw_cfg_dma_control {
    FW_CFG_DMA_ERROR = 1u << 0,
    FW_CFG_DMA_READ = 1u << 1,
    FW_CFG_DMA_SKIP = 1u << 2,
    FW_CFG_DMA_SELECT = 1u << 3, /* the key is in bits 16 to 31 */
    FW_CFG_DMA_WRITE = 1u << 4,
};

#endif
