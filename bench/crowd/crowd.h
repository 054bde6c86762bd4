/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many clients on one daemon, each ticking; now and then some of them storm. How long does a posted write of the others
 * wait, and how much does the daemon do for anybody before it comes to it?
 */
#ifndef RINGVMM_BENCH_CROWD_CROWD_H
#define RINGVMM_BENCH_CROWD_CROWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CROWD_MOST_CLIENTS 64u
#define CROWD_MOST_ROUNDS  100u

enum crowd_phase { CROWD_QUIET, CROWD_STORM, CROWD_PHASES };

struct crowd_config {
    const char *socket;  /* where the daemon shall listen */
    unsigned clients;    /* 1 to CROWD_MOST_CLIENTS */
    unsigned storming;   /* how many storm at a time, below `clients`; 0: there is no storm phase */
    unsigned rounds;     /* 1 to CROWD_MOST_ROUNDS; each is a quiet phase and a storm of other clients than the last */
    unsigned phase_ms;   /* how long a phase lasts */
    unsigned hertz;      /* ticks of each client a second */
    bool doorbells_only; /* nobody reads; else every other client's tick is a posted write and a read */
    const char *spin;    /* the daemon's --spin; NULL: the default */
};

/* Of one client, the median over the rounds; NAN where it has no figure. */
struct crowd_wait {
    double p50_ns, p99_ns; /* from a posted write to its application */
    double before_p99;     /* writes applied and reads answered for anybody in between */
};

struct crowd_figures {
    struct crowd_wait client[CROWD_MOST_CLIENTS];
    uint64_t samples;       /* ticks whose write was applied */
    uint64_t left_out;      /* ticks that were not made: the read before was still unanswered, or the ring full */
    uint64_t late;          /* ticks that were not made because this process did not run */
    uint64_t served;        /* by the daemon: writes and reads, those of the storm too */
    uint64_t seconds_ns;    /* that all phases of this kind took */
    uint64_t daemon_cpu_ns; /* CPU time of the daemon */
    uint64_t client_cpu_ns; /* of the thread that ticks for all */
};

struct crowd_result {
    struct crowd_figures phase[CROWD_PHASES];
};

/*
 * crowd_run - starts a daemon of its own, runs all rounds, and ends it. Single-threaded callers only.
 * Returns 0 or -errno, with a line on stderr.
 */
int crowd_run(const struct crowd_config *config, struct crowd_result *result);

/* crowd_reads - whether client @index reads in its tick. */
bool crowd_reads(const struct crowd_config *config, unsigned index);

/* The median client's and the worst client's of one of struct crowd_wait's fields, given by its offset. */
double crowd_median(const struct crowd_config *config, const struct crowd_figures *figures, size_t field);
double crowd_worst(const struct crowd_config *config, const struct crowd_figures *figures, size_t field);

#endif
