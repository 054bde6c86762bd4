/* SPDX-License-Identifier: BSD-2-Clause */
/* What a reader of the figures must know about the machine, and the writing of the JSON file. */
#ifndef RINGVMM_BENCH_HOST_H
#define RINGVMM_BENCH_HOST_H

#include <jansson.h>

/* bench_host_json - kernel, CPU, number of CPUs, load average, @qemu's version line; the caller's reference. */
json_t *bench_host_json(const char *qemu_version);

/* bench_number_json - @value, or null when it is not finite. */
json_t *bench_number_json(double value);

/* bench_write_json - @root to the file @path or, for "-", to stdout. Returns 0, or 1 after a line on stderr. */
int bench_write_json(const json_t *root, const char *path);

#endif
