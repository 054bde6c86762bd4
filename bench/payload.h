/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest payload (payload/tick.S) as data, with parameters patched in. */
#ifndef RINGVMM_BENCH_PAYLOAD_H
#define RINGVMM_BENCH_PAYLOAD_H

#include <stdint.h>

#include "payload/layout.h"

struct payload_params {
    uint32_t pattern; /* PAYLOAD_PATTERN_... */
    uint32_t ticks;   /* unstamped, for the time per tick */
    uint32_t samples; /* stamped, for the cost of single accesses */
};

/* payload_fill - the image with @params in it, into @image. */
void payload_fill(uint8_t image[PAYLOAD_BYTES], const struct payload_params *params);

/* payload_write - the same into a new or truncated file at @path. Returns 0 or -errno. */
int payload_write(const char *path, const struct payload_params *params);

/* payload_pattern_name - "rtc", "pci", "storm" or "exit". */
const char *payload_pattern_name(uint32_t pattern);

#endif
