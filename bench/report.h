/* SPDX-License-Identifier: BSD-2-Clause */
/* The measured series of bench/rtc_tick, as tables and as JSON. */
#ifndef RINGVMM_BENCH_REPORT_H
#define RINGVMM_BENCH_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "result.h"
#include "variant.h"

/* What is kept of each round, in TSC ticks: the time of a guest tick (the median of its
 * blocks, the mean of all), and the guest's cost of a write (net). */
enum series_column { SERIES_TICK, SERIES_TICK_MEAN, SERIES_WRITE_AVG, SERIES_WRITE_P50, SERIES_COLUMNS };

/* All rounds of one variant. */
struct series {
    bool wanted;
    bool impossible;                 /* this host cannot run it: no failure */
    char fault[VARIANT_FAULT_BYTES]; /* why it was left out; "" when it was not */
    double *rounds[SERIES_COLUMNS];  /* one value a round */
    struct bench_counter empty;      /* the rounds' counters added up */
    struct bench_counter write_all;
    struct bench_counter read_all;
    double exits_per_tick;
    double exits_per_tick_outside; /* NAN where nobody counted from outside */
};

struct report {
    struct payload_params params;
    uint32_t rounds;
    double tsc_khz;
    bool miscounted;   /* ringvmm's own count of exits is not strace's */
    bool instructions; /* the clock counts them: a TSC tick is one */
    char backend[32];
    char qemu_version[128];
    struct series series[VARIANT_COUNT];
};

/* report_tables - for people; @bold headings for a terminal. */
void report_tables(const struct report *report, FILE *out, bool bold);

/* report_json - for programs; the caller's reference. */
json_t *report_json(const struct report *report);

#endif
