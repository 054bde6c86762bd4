/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counting exits. An exit is a return from KVM_RUN; its time is from that return to the next call. Each vCPU has a
 * table of its own, so counting needs no lock; the tables are added up when the vCPUs stand still.
 */
#ifndef VMM_EXITS_H
#define VMM_EXITS_H

#include <stdbool.h>
#include <stdint.h>

#define EXITS_MAX_ROWS 256u /* addresses and ranges of devices */
#define EXITS_STRAYS   64u  /* addresses where no device is; what finds no place counts in `other` */
#define EXITS_REASONS  64u  /* by KVM_EXIT_*; higher ones count in the last */

struct exit_stat {
    uint64_t count;
    uint64_t cycles, cycles_min, cycles_max;
    double cycles_squared;
};

struct exit_stray {
    uint64_t addr;
    bool used, mmio, write;
    struct exit_stat stat;
};

struct exits {
    struct exit_stat rows[EXITS_MAX_ROWS][2]; /* [row][is write] */
    struct exit_stray strays[EXITS_STRAYS];
    struct exit_stat other;
    struct exit_stat reasons[EXITS_REASONS]; /* exits that are no port or memory access */
    struct exit_stat interrupted;            /* KVM_RUN ended by a signal to its thread */
};

static inline void exit_stat_add(struct exit_stat *stat, uint64_t cycles)
{
    if (__builtin_expect(cycles < stat->cycles_min || !stat->count, 0))
        stat->cycles_min = cycles;
    if (__builtin_expect(cycles > stat->cycles_max, 0))
        stat->cycles_max = cycles;
    stat->count++;
    stat->cycles += cycles;
    stat->cycles_squared += (double)cycles * (double)cycles;
}

void exit_stat_merge(struct exit_stat *to, const struct exit_stat *from);
/* The standard error of the mean in percent of the mean, as perf prints it; 0 for fewer than two samples. */
double exit_stat_spread(const struct exit_stat *stat);
/* The entry that counts accesses to an address without a device. */
struct exit_stat *exits_stray(struct exits *exits, bool mmio, uint64_t addr, bool write);
void exits_merge(struct exits *to, const struct exits *from);
/* All returns from KVM_RUN. */
uint64_t exits_total(const struct exits *exits);

#endif
