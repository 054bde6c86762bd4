/* SPDX-License-Identifier: BSD-2-Clause */
/* The single runs of bench/daemon: one row of its tables, one round. */
#ifndef RINGVMM_BENCH_DAEMON_MEASURE_H
#define RINGVMM_BENCH_DAEMON_MEASURE_H

#include "crowd/process.h"
#include "daemon_report.h"

#define MEASURE_PACED_HERTZ 1024 /* as Windows sets the clock's tick when something wants it fast */
#define MEASURE_BLOCKS      64   /* of the ticks back to back: the median block stands for all, as in the payload */

struct measure {
    struct daemon_report *report;
    struct daemon_process spinning, still; /* ringd as it comes, and with --spin 0 */
    char ringvmm[512];                     /* the program */
    char console[512];                     /* a file for the guest's result */
    char probe_socket[128];                /* where a daemon with the probe may listen */
};

/*
 * measure_calls - ticks as calls of libringd, back to back and paced, of the row @index, below PLACE_COUNT. 0 or
 * -errno; -EILSEQ: a read did not give what had been written. Not in a thread that forks later: libringd keeps the ID
 * of a thread that has taken a lock.
 */
int measure_calls(struct measure *measure, unsigned index, uint32_t round);

/* measure_guest - the payload in a VM. Returns NULL, or why not, in @fault (DAEMON_FAULT_BYTES). */
const char *measure_guest(struct measure *measure, unsigned index, uint32_t round, char *fault);

/* measure_bells_here, measure_bells_there - writes into an idle ring of this process (see measure_calls()), and of the
 * daemon (single-threaded callers only). 0 or -errno. */
int measure_bells_here(struct measure *measure, uint32_t round);
int measure_bells_there(struct measure *measure, uint32_t round);

#endif
