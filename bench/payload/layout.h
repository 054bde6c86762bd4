/* SPDX-License-Identifier: BSD-2-Clause */
/* What the guest payload and the host programs agree on. Read by the assembler too: only #defines of plain numbers. */
#ifndef RINGVMM_BENCH_PAYLOAD_LAYOUT_H
#define RINGVMM_BENCH_PAYLOAD_LAYOUT_H

#define PAYLOAD_BYTES 0x10000 /* mapped so that it ends at 4 GiB, and below 1 MiB */

/* Parameters: four little-endian words (magic, pattern, ticks, samples) at this offset of the image. */
#define PAYLOAD_PARAMS_OFFSET 0xff00
#define PAYLOAD_PARAMS_MAGIC  0x50425652 /* "RVBP" */

#define PAYLOAD_PATTERN_RTC   0 /* out 0x70, in 0x71 */
#define PAYLOAD_PATTERN_PCI   1 /* out 0xcf8, in 0xcfc */
#define PAYLOAD_PATTERN_STORM 2 /* out 0x70 only */
#define PAYLOAD_PATTERN_EXIT  3 /* one byte to the console, then the debug exit */

#define PAYLOAD_BODY_OFFSET 0x1000 /* where the linker script puts the code that is copied to RAM */

#define PAYLOAD_CONSOLE_PORT 0x402
#define PAYLOAD_EXIT_PORT    0x501
#define PAYLOAD_EXIT_VALUE   0x2a
#define PAYLOAD_EXIT_STATUS  0x55 /* (value << 1) | 1: what the VMM's process then exits with */
#define PAYLOAD_EXIT_BYTE    0x21 /* '!' */

#define PAYLOAD_RESULT_MAGIC 0x52425652 /* "RVBR" */
/* The unstamped ticks are timed in so many equal blocks, and a block of the rest. */
#define PAYLOAD_BLOCKS      64
#define PAYLOAD_BLOCKS_LOG2 6

#define PAYLOAD_BUCKETS 896 /* 64 single values, then 26 octaves of 32 */

#endif
