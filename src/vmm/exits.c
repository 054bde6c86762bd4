/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/exits.h"

#include <math.h>

void exit_stat_merge(struct exit_stat *to, const struct exit_stat *from)
{
    if (!from->count)
        return;
    if (!to->count || from->cycles_min < to->cycles_min)
        to->cycles_min = from->cycles_min;
    if (from->cycles_max > to->cycles_max)
        to->cycles_max = from->cycles_max;
    to->count += from->count;
    to->cycles += from->cycles;
    to->cycles_squared += from->cycles_squared;
}

double exit_stat_spread(const struct exit_stat *stat)
{
    if (stat->count < 2 || !stat->cycles)
        return 0;
    double n = (double)stat->count, mean = (double)stat->cycles / n;
    double variance = (stat->cycles_squared - n * mean * mean) / (n - 1);
    return variance > 0 ? 100 * sqrt(variance / n) / mean : 0;
}

struct exit_stat *exits_stray(struct exits *exits, bool mmio, uint64_t addr, bool write)
{
    unsigned hash = (unsigned)((addr * UINT64_C(0x9e3779b97f4a7c15)) >> 32) ^ (mmio * 2u) ^ write;
    for (unsigned i = 0; i < 8; i++) { /* eight places to look at, so that a hostile guest costs no more */
        struct exit_stray *stray = &exits->strays[(hash + i) % EXITS_STRAYS];
        if (!stray->used)
            *stray = (struct exit_stray){.used = true, .mmio = mmio, .addr = addr, .write = write};
        if (stray->addr == addr && stray->mmio == mmio && stray->write == write)
            return &stray->stat;
    }
    return &exits->other;
}

void exits_merge(struct exits *to, const struct exits *from)
{
    for (unsigned i = 0; i < EXITS_MAX_ROWS; i++)
        for (unsigned write = 0; write < 2; write++)
            exit_stat_merge(&to->rows[i][write], &from->rows[i][write]);
    for (unsigned i = 0; i < EXITS_STRAYS; i++) {
        const struct exit_stray *stray = &from->strays[i];
        if (stray->used)
            exit_stat_merge(exits_stray(to, stray->mmio, stray->addr, stray->write), &stray->stat);
    }
    exit_stat_merge(&to->other, &from->other);
    for (unsigned i = 0; i < EXITS_REASONS; i++)
        exit_stat_merge(&to->reasons[i], &from->reasons[i]);
    exit_stat_merge(&to->interrupted, &from->interrupted);
}

uint64_t exits_total(const struct exits *exits)
{
    uint64_t total = exits->other.count + exits->interrupted.count;
    for (unsigned i = 0; i < EXITS_MAX_ROWS; i++)
        total += exits->rows[i][0].count + exits->rows[i][1].count;
    for (unsigned i = 0; i < EXITS_STRAYS; i++)
        total += exits->strays[i].stat.count;
    for (unsigned i = 0; i < EXITS_REASONS; i++)
        total += exits->reasons[i].count;
    return total;
}
