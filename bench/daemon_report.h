/* SPDX-License-Identifier: BSD-2-Clause */
/* What bench/daemon has measured, as tables and as JSON. */
#ifndef RINGVMM_BENCH_DAEMON_REPORT_H
#define RINGVMM_BENCH_DAEMON_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "crowd/crowd.h"
#include "place.h"
#include "result.h"
#include "ringd/histogram.h"

#define DAEMON_FAULT_BYTES 400

/* The limits: a read by the mailbox against one in-process; a client's p99 with the others' storms against without. */
#define DAEMON_READ_LIMIT  3.0
#define DAEMON_CROWD_LIMIT 2.0

/* The rows: the places of place.h, then ringvmm as it is run, with the models in it and in the daemon. */
enum { ROW_RINGVMM = PLACE_COUNT, ROW_RINGVMM_DAEMON, ROW_COUNT };

/* One value a round; NAN where there is none. */
enum daemon_column {
    COLUMN_TICK,       /* ns, back to back */
    COLUMN_READ,       /* ns, the median of a round's */
    COLUMN_CPU,        /* ns of CPU time a tick, this process's */
    COLUMN_DAEMON_CPU, /* and the daemon's */
    COLUMN_PACED_READ, /* as above, but a tick each 1/1024 s */
    COLUMN_PACED_CPU,
    COLUMN_PACED_DAEMON_CPU,
    COLUMN_GUEST_TICK,   /* ns of a guest's tick, exits and all */
    COLUMN_GUEST_READ,   /* ns, the median of a round's as the guest sees it */
    COLUMN_DOORBELL_P50, /* ns; the daemon's, however it is read, stands in PLACE_MAILBOX's row */
    COLUMN_DOORBELL_P99,
    COLUMN_COUNT
};

struct daemon_row {
    bool wanted;
    char fault[DAEMON_FAULT_BYTES]; /* why it was left out; "" when it was not */
    double *rounds[COLUMN_COUNT];
    struct histogram read, paced_read; /* TSC ticks, of all rounds */
    struct bench_counter guest_empty, guest_read;
};

#define DAEMON_MOST_CROWDS 4

struct daemon_report {
    uint32_t rounds, ticks, samples, paced, doorbells;
    double tsc_khz;
    bool kvm;
    struct daemon_row rows[ROW_COUNT];
    unsigned crowds;
    struct crowd_config crowd_configs[DAEMON_MOST_CROWDS];
    struct crowd_result *crowd_results;
};

/* "in-process", ..., "ringvmm-daemon". */
const char *daemon_row_name(unsigned row);

/* daemon_report_tables - for people; @bold headings for a terminal. */
void daemon_report_tables(const struct daemon_report *report, FILE *out, bool bold);

/* daemon_report_json - for programs; the caller's reference. */
json_t *daemon_report_json(const struct daemon_report *report);

#endif
