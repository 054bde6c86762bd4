/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/bus.h"

#include <errno.h>
#include <string.h>

#define RELAXED __ATOMIC_RELAXED

void bus_init(struct bus *bus)
{
    memset(bus, 0, sizeof(*bus));
    pthread_mutex_init(&bus->lock, NULL);
}

void bus_destroy(struct bus *bus)
{
    pthread_mutex_destroy(&bus->lock);
}

/* Field by field, because a reader may be at it: it will notice and read again, but must not tear in undefined ways. */
static void store_range(struct bus_range *to, const struct bus_range *from)
{
    __atomic_store_n(&to->first, from->first, RELAXED);
    __atomic_store_n(&to->last, from->last, RELAXED);
    __atomic_store_n(&to->dev, from->dev, RELAXED);
    __atomic_store_n(&to->region, from->region, RELAXED);
    __atomic_store_n(&to->row, from->row, RELAXED);
    __atomic_store_n(&to->row_step, from->row_step, RELAXED);
}

static void load_range(struct bus_range *to, const struct bus_range *from)
{
    to->first = __atomic_load_n(&from->first, RELAXED);
    to->last = __atomic_load_n(&from->last, RELAXED);
    to->dev = __atomic_load_n(&from->dev, RELAXED);
    to->region = __atomic_load_n(&from->region, RELAXED);
    to->row = __atomic_load_n(&from->row, RELAXED);
    to->row_step = __atomic_load_n(&from->row_step, RELAXED);
}

/* What the map says of a range's ports. */
static void map_ports(struct bus *bus, const struct bus_range *range, unsigned value)
{
    for (uint64_t port = range->first; port <= range->last && port < BUS_PORTS; port++)
        __atomic_store_n(&bus->port_range[port], (uint8_t)value, RELAXED);
}

/* Ranges from `from` on have moved in the table. */
static void remap_ports(struct bus *bus, enum ringd_space space, unsigned from)
{
    for (unsigned i = from; space == RINGD_PIO && i < bus->table[RINGD_PIO].count; i++)
        map_ports(bus, &bus->table[RINGD_PIO].ranges[i], i + 1);
}

static void change_begin(struct bus *bus)
{
    __atomic_store_n(&bus->sequence, bus->sequence + 1, RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE); /* odd is visible before any of the change */
}

static void change_end(struct bus *bus)
{
    __atomic_store_n(&bus->sequence, bus->sequence + 1, __ATOMIC_RELEASE);
}

int bus_add(struct bus *bus, enum ringd_space space, const struct bus_range *range)
{
    struct bus_table *table = &bus->table[space];
    int ret = 0;
    pthread_mutex_lock(&bus->lock);
    unsigned at = 0;
    while (at < table->count && table->ranges[at].last < range->first)
        at++;
    if (at < table->count && table->ranges[at].first <= range->last)
        ret = -EEXIST;
    else if (table->count == BUS_MAX_RANGES)
        ret = -ENOSPC;
    if (!ret) {
        change_begin(bus);
        for (unsigned i = table->count; i > at; i--)
            store_range(&table->ranges[i], &table->ranges[i - 1]);
        store_range(&table->ranges[at], range);
        __atomic_store_n(&table->count, table->count + 1, RELAXED);
        remap_ports(bus, space, at);
        change_end(bus);
    }
    pthread_mutex_unlock(&bus->lock);
    return ret;
}

void bus_remove(struct bus *bus, enum ringd_space space, const struct ringd_dev *dev, unsigned region)
{
    struct bus_table *table = &bus->table[space];
    pthread_mutex_lock(&bus->lock);
    for (unsigned i = 0; i < table->count; i++) {
        if (table->ranges[i].dev != dev || table->ranges[i].region != region)
            continue;
        change_begin(bus);
        if (space == RINGD_PIO)
            map_ports(bus, &table->ranges[i], 0);
        for (unsigned j = i; j + 1 < table->count; j++)
            store_range(&table->ranges[j], &table->ranges[j + 1]);
        __atomic_store_n(&table->count, table->count - 1, RELAXED);
        remap_ports(bus, space, i);
        change_end(bus);
        break;
    }
    pthread_mutex_unlock(&bus->lock);
}

/* The index of the first range that ends at or after addr; table->count when there is none. */
static unsigned search(const struct bus_table *table, uint64_t addr)
{
    unsigned low = 0, high = __atomic_load_n(&table->count, RELAXED);
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (__atomic_load_n(&table->ranges[middle].last, RELAXED) < addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool bus_find(const struct bus *bus, enum ringd_space space, uint64_t addr, struct bus_range *out)
{
    const struct bus_table *table = &bus->table[space];
    for (;;) {
        unsigned sequence = __atomic_load_n(&bus->sequence, __ATOMIC_ACQUIRE), index = 0;
        if (space == RINGD_PIO && addr < BUS_PORTS)
            index = __atomic_load_n(&bus->port_range[addr], RELAXED);
        index = index ? index - 1 : search(table, addr);
        if (index < __atomic_load_n(&table->count, RELAXED))
            load_range(out, &table->ranges[index]);
        else
            *out = (struct bus_range){.first = UINT64_MAX, .last = UINT64_MAX};
        __atomic_thread_fence(__ATOMIC_ACQUIRE); /* all of the above before the second look */
        if (!(sequence & 1) && __atomic_load_n(&bus->sequence, RELAXED) == sequence)
            return out->dev && out->first <= addr;
    }
}
