/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The floor: the least that a user of KVM can do for the payload. A bare KVM_RUN loop with the in-kernel devices that a
 * PC has (irqchip, PIT), version 1 coalescing of 0x70, 0xCF8 and 0x402, and constants for what the guest reads. With a
 * clock given it has that one behind 0x70 and 0x71: all but the model's place is then the same for whoever compares.
 */
#ifndef RINGVMM_BENCH_FLOOR_H
#define RINGVMM_BENCH_FLOOR_H

#include "payload.h"

/* A clock at 0x70 and 0x71. Functions return 0 or -errno, which ends the run. */
struct floor_clock {
    void *ctx;
    int (*open)(void *ctx);                 /* in the process that runs the VM, before its first instruction */
    int (*index)(void *ctx, uint8_t value); /* a write to 0x70, out of the ring */
    int (*data)(void *ctx, uint8_t *value); /* a read of 0x71 */
};

struct floor_job {
    struct payload_params params;
    const char *console_path;        /* what the guest wrote to port 0x402, written at the end; FIFOs are fine */
    const char *exits_path;          /* the number of returns from KVM_RUN, as text; or NULL */
    const struct floor_clock *clock; /* NULL: reads are constants */
};

/*
 * floor_run - runs @job (a struct floor_job) to the guest's debug exit. Returns the exit status for the process:
 * (value << 1) | 1 of the debug exit, or 1 with a line on stderr. For a process of its own: it frees nothing.
 */
int floor_run(const void *job);

#endif
