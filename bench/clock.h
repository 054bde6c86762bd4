/* SPDX-License-Identifier: BSD-2-Clause */
/* What this machine's clock counts: time, or instructions (the rig with --icount). */
#ifndef RINGVMM_BENCH_CLOCK_H
#define RINGVMM_BENCH_CLOCK_H

#include <stdbool.h>

/* In such a machine a tick of the TSC and a nanosecond of CLOCK_MONOTONIC are one instruction each. */
#define BENCH_INSTRUCTION_KHZ 1e6

/*
 * bench_clock_counts_instructions - true where no instruction is dearer than another: three loops of known length, of
 * instructions that differ fortyfold in any processor, must each take one nanosecond and one TSC tick an instruction,
 * within 1 %. Takes some milliseconds, or a fraction of one where the answer is no.
 */
bool bench_clock_counts_instructions(void);

#endif
