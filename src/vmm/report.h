/* SPDX-License-Identifier: BSD-2-Clause */
/* The statistics of a run: collected once the vCPUs stand still, then printed as tables or as JSON. */
#ifndef VMM_REPORT_H
#define VMM_REPORT_H

#include <stdio.h>

#include "common/cycles.h"
#include "vmm/exits.h"
#include "vmm/machine.h"

/* One line of the exit table. */
struct report_row {
    char where[48];                   /* "0x70" or "0xfed00000-0xfed003ff" */
    char device[48];                  /* "rtc index" */
    const char *kind;                 /* "POUT", "PIN", "MMIO W", "MMIO R", or an exit reason */
    bool zone;                        /* writes here are posted */
    uint64_t posted;                  /* replayed from a ring: no exits */
    struct ringd_region_stats region; /* of the posted writes, in the region's first row */
    struct exit_stat stat;
};

struct report_kvm_stat {
    char name[48];
    uint64_t value; /* summed over the vCPUs */
};

#define REPORT_MAX_ROWS 512u
#define REPORT_MAX_KVM  160u

struct report {
    const char *backend;
    char reason[160];
    unsigned vcpus;
    double seconds, ns_per_cycle;
    uint64_t exits;
    uint64_t moves;           /* of windows, and of what is memory below 1 MiB */
    uint64_t windows_refused; /* that a guest wanted where something else stands */
    struct exits merged;
    struct report_row rows[REPORT_MAX_ROWS];
    unsigned row_count;
    struct report_kvm_stat kvm[REPORT_MAX_KVM];
    unsigned kvm_count;
    struct machine *machine;
};

/* Fills *report (large: allocate it). The vCPUs have ended, the rings are drained. */
void report_collect(struct report *report, struct machine *machine, const char *reason, const struct cycles_base *base);

/* Both return 0, or -errno when the stream could not take it. */
int report_print_table(const struct report *report, FILE *stream);
/* -ENOTSUP in a build without jansson. */
int report_print_json(const struct report *report, FILE *stream);

/* Flushes what has been printed. 0 or -errno. */
int report_finish(FILE *stream);

/* kvm_stats.c: KVM's own counters of a VM or vCPU (KVM_GET_STATS_FD), added to the report's list by name. */
void report_add_kvm_stats(struct report *report, int fd);

#endif
