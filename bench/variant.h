/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is measured: ringvmm, the floor and QEMU's machines, each with the same firmware image. */
#ifndef RINGVMM_BENCH_VARIANT_H
#define RINGVMM_BENCH_VARIANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "payload.h"
#include "result.h"
#include "runner.h"

enum variant_kind { VARIANT_RINGVMM, VARIANT_FLOOR, VARIANT_QEMU };

struct variant {
    const char *name;
    enum variant_kind kind;
    const char *choice; /* ringvmm: the value of --coalesce; QEMU: that of -M */
    bool has_pci;
    bool posts;             /* false: each write is an exit */
    const char *moderation; /* ringvmm: the value of --moderation; NULL: on, the default */
};

enum {
    VARIANT_ID_RINGVMM,
    VARIANT_ID_RINGVMM_OFF,
    VARIANT_ID_RINGVMM_V1,
    VARIANT_ID_RINGVMM_NAIVE,
    VARIANT_ID_FLOOR,
    VARIANT_ID_QEMU_PC,
    VARIANT_ID_QEMU_Q35,
    VARIANT_ID_QEMU_MICROVM,
    VARIANT_COUNT
};

extern const struct variant variants[VARIANT_COUNT];

struct floor_clock;

struct variant_setup {
    const char *ringvmm; /* the programs */
    const char *qemu;
    bool outside; /* strace works: exits can be counted from outside */
    struct payload_params params;
    const char *console; /* the file or FIFO that takes what the guest writes to port 0x402 */
    int first_byte_fd;   /* the FIFO's reading end, or -1 */
    const char *daemon;  /* ringvmm: the socket of the ringd that has clock and host bridge; NULL: ringvmm has them */
    const struct floor_clock *clock; /* the floor's, or NULL */
};

/* What one run gave. */
struct variant_run {
    struct bench_outcome outcome;
    struct bench_result result;
    double exits;         /* returns from KVM_RUN as the VMM counts them itself; NAN when it does not */
    double exits_outside; /* as strace sees them; NAN when it was not asked */
    char backend[32];     /* of ringvmm; "" of others */
};

#define VARIANT_FAULT_BYTES 400

/* variant_select - marks the variants that @list names (comma-separated); false at an unknown or empty name. */
bool variant_select(const char *list, bool selected[VARIANT_COUNT]);

/*
 * variant_launch - runs @variant once with the payload of @setup, with the exits counted from outside if @count.
 * Returns NULL when the guest reached its debug exit, else why not, in @fault (VARIANT_FAULT_BYTES).
 */
const char *variant_launch(const struct variant *variant, const struct variant_setup *setup, bool count,
                           struct bench_outcome *outcome, char *fault);

/* variant_measure - the same, and reads what the guest and the VMM left behind. */
const char *variant_measure(const struct variant *variant, const struct variant_setup *setup, bool count,
                            struct variant_run *run, char *fault);

/* variant_qemu_version - the first line of `qemu --version`, or "" when @qemu cannot be run. */
void variant_qemu_version(const char *qemu, char *text, size_t size);

#endif
