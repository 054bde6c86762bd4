/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef RINGVMM_VMM_RUN_H
#define RINGVMM_VMM_RUN_H

struct run_options;

/* Makes the machine, runs it to its end and takes it down. What goes wrong is told on standard error. Returns the exit
 * status (vmm/options.h lists them). */
int vmm_run(const struct run_options *options);

/* --dry-run, when the options themselves are good: whether the kernel could be booted. Likewise. */
int vmm_check(const struct run_options *options);

#endif
