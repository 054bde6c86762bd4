/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The floor: the least that a user of KVM can do for the payload. A bare KVM_RUN loop with the in-kernel devices that a
 * PC has (irqchip, PIT), version 1 coalescing of 0x70, 0xCF8 and 0x402, and constants for what the guest reads.
 */
#ifndef RINGVMM_BENCH_FLOOR_H
#define RINGVMM_BENCH_FLOOR_H

#include "payload.h"

struct floor_job {
    struct payload_params params;
    const char *console_path; /* what the guest wrote to port 0x402, written at the end; FIFOs are fine */
    const char *exits_path;   /* the number of returns from KVM_RUN, as text; or NULL */
};

/*
 * floor_run - runs @job (a struct floor_job) to the guest's debug exit. Returns the exit status for the process:
 * (value << 1) | 1 of the debug exit, or 1 with a line on stderr. For a process of its own: it frees nothing.
 */
int floor_run(const void *job);

#endif
