/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device that knows when a posted write reaches it: the writer puts a stamp into the value, the device takes the same
 * stamp when the write is applied. The stamp has the low halves of two counters: the TSC, and how much the daemon has
 * done for anybody. The difference of the first is a time; that of the second is not moved by what else the host does.
 *
 * The figures stand in memory that writer and daemon share: MAP_SHARED, mapped before the daemon is forked.
 */
#ifndef RINGVMM_BENCH_CROWD_PROBE_H
#define RINGVMM_BENCH_CROWD_PROBE_H

#include <stdint.h>

#include <ringd/device.h>

#include "ringd/histogram.h"

#define PROBE_ADDR 0x8000u /* where the posted region is mapped: guest-physical */

enum probe_region {
    PROBE_POSTED, /* 16 bytes; at 0 a stamp, at 8 what is applied and not measured */
    PROBE_ANSWER, /* 8 bytes, read synchronously */
};

/* One for each daemon, or each ringd. */
struct probe_total {
    uint64_t served; /* writes applied and reads answered. Stored by the daemon's thread alone; relaxed */
};

/* One for each device. */
struct probe {
    struct probe_total *total;
    uint32_t recording;      /* 1: stamps are counted. Stored by the writer, relaxed; the figures are the writer's to
                              * read and to clear while it is 0 and nothing is in the ring */
    struct histogram wait;   /* TSC ticks from the stamp to the application */
    struct histogram before; /* what the daemon did for anybody in between */
};

/* create()'s configuration is a struct probe ** (in-process) or, in the daemon, its struct hosted. */
extern const struct ringd_device_ops probe_ops;

/* The configuration of the daemon's type "probe": the address of the struct probe, the same in both processes. */
struct probe_config {
    uint64_t probe;
};

/* probe_clear - no figures, not recording. */
void probe_clear(struct probe *probe);

/* probe_stamp - the value to write at offset 0 of PROBE_POSTED. */
uint64_t probe_stamp(const struct probe *probe);

#endif
