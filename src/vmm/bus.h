/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where an address leads: a sorted table per space, read by vCPUs without a lock.
 *
 * Readers are guarded by a sequence count: even while the table stands still. A change (a BAR that moves) makes it odd,
 * writes, and makes it even again; a reader that saw it odd or changed looks once more. Devices are never freed while
 * vCPUs run, so what a reader has found stays valid however the table goes on. Ports have a map beside the table, so
 * that finding one takes no search.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <pthread.h>

#include <ringd/ringd.h>

#define BUS_MAX_RANGES 128u
#define BUS_PORTS      0x10000u

struct bus_range {
    uint64_t first, last; /* inclusive */
    struct ringd_dev *dev;
    unsigned region;
    unsigned row;      /* of the exit table: the first row of this range */
    unsigned row_step; /* 1: a row for each address, 0: one for all */
};

struct bus_table {
    unsigned count;
    struct bus_range ranges[BUS_MAX_RANGES];
};

struct bus {
    unsigned sequence;             /* atomic */
    struct bus_table table[2];     /* by enum ringd_space; atomic words, relaxed, guarded by `sequence` */
    uint8_t port_range[BUS_PORTS]; /* 1 + the index of the range that holds the port, 0: none; likewise */
    pthread_mutex_t lock;          /* writers */
};

void bus_init(struct bus *bus);
void bus_destroy(struct bus *bus);

/* Adds a range, or removes that of (dev, region). -EEXIST: overlaps another range; -ENOSPC. */
int bus_add(struct bus *bus, enum ringd_space space, const struct bus_range *range);
void bus_remove(struct bus *bus, enum ringd_space space, const struct ringd_dev *dev, unsigned region);

/* Finds the range that holds addr, or the next one above it (so that an access can be cut there): returns true when
 * *out holds addr. When false and out->first > addr, that is where the next range starts; UINT64_MAX: none. */
bool bus_find(const struct bus *bus, enum ringd_space space, uint64_t addr, struct bus_range *out);

/* What a reader found last, its own: most exits of a vCPU go where the one before went. All zeroes is a valid start. */
struct bus_hint {
    unsigned sequence;
    uint64_t last_offset; /* range.last - range.first */
    struct bus_range range;
};

/* The hint's own range when that still stands and holds addr, else NULL. */
static inline const struct bus_range *bus_hint_find(const struct bus *bus, const struct bus_hint *hint, uint64_t addr)
{
    /* Found under this very sequence, which was even. Unsigned: an address below the range is far above it. */
    bool stands = __atomic_load_n(&bus->sequence, __ATOMIC_ACQUIRE) == hint->sequence;
    return stands && addr - hint->range.first <= hint->last_offset && hint->range.dev ? &hint->range : NULL;
}

/* As bus_find(), and remembers what it found. */
static inline bool bus_find_near(const struct bus *bus, struct bus_hint *hint, enum ringd_space space, uint64_t addr,
                                 struct bus_range *out)
{
    unsigned sequence = __atomic_load_n(&bus->sequence, __ATOMIC_ACQUIRE);
    bool found = bus_find(bus, space, addr, out);
    /* Only what was found while the table stood still since the look above may be found again by that sequence. */
    if (found && !(sequence & 1) && __atomic_load_n(&bus->sequence, __ATOMIC_ACQUIRE) == sequence)
        *hint = (struct bus_hint){.sequence = sequence, .range = *out, .last_offset = out->last - out->first};
    return found;
}

#endif
