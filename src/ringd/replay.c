/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The way of a write from the ring into its model, and of a synchronous access past the ring.
 *
 * Theory of operation. Exactly once, in order: an entry is copied and checked, applied under the device's lock, and
 * only then is its slot given back, all with the consumer lock held, so whoever takes that lock next finds either the
 * entry or its effect. A vCPU that exits for a device takes the consumer lock, replays to the end, and then does its
 * access: what it wrote before the exit stands in the ring already (KVM stored it before the exit), so it cannot
 * overtake itself.
 *
 * On v1 the consumer lock is the shared ring's, taken before any device's. The device lock is then taken for each run
 * of entries of one device, released before the next, and taken again for the access. Between that replay and the
 * access another vCPU may post or access; both orders of two vCPUs are right.
 */
#include "ringd/internal.h"

/* The widest access the region's model takes, given that `width` bytes are left. */
static unsigned part_width(unsigned widths, unsigned width)
{
    for (unsigned part = 8; part > 1; part /= 2)
        if (part <= width && (widths & part))
            return part;
    return (widths & 1) || (width & (width - 1)) ? 1 : width;
}

static uint64_t low_bytes(uint64_t value, unsigned width)
{
    return width >= 8 ? value : value & ((UINT64_C(1) << (width * 8)) - 1);
}

/* Bits above `width` are as the model left them. */
uint64_t region_read(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width)
{
    unsigned widths = dev->ops->regions[region].widths;
    if (__builtin_expect((widths & width) != 0 && (width & (width - 1)) == 0, 1))
        return dev->ops->read(dev->self, region, offset, width);
    uint64_t value = 0;
    for (unsigned done = 0; done < width;) {
        unsigned part = part_width(widths, width - done);
        value |= low_bytes(dev->ops->read(dev->self, region, offset + done, part), part) << (done * 8);
        done += part;
    }
    return value;
}

/* Nothing is set in `value` above `width`. */
void region_write(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    unsigned widths = dev->ops->regions[region].widths;
    if (__builtin_expect((widths & width) != 0 && (width & (width - 1)) == 0, 1)) {
        dev->ops->write(dev->self, region, offset, width, value);
        return;
    }
    for (unsigned done = 0; done < width;) {
        unsigned part = part_width(widths, width - done);
        dev->ops->write(dev->self, region, offset + done, part, low_bytes(value >> (done * 8), part));
        done += part;
    }
}

/* The zone that holds the whole entry, or NULL. A machine has about ten. */
static const struct zone *find_zone(const struct ring *ring, const struct ringd_ring_entry *entry)
{
    for (unsigned i = 0; i < ring->zone_count; i++) {
        const struct zone *zone = &ring->zones[i];
        uint64_t offset = entry->addr - zone->addr;
        if (entry->pio == zone->pio && offset < zone->size && entry->len <= zone->size - offset)
            return zone;
    }
    return NULL;
}

/* Shared ring: changes over to `dev`'s lock. Its own ring: nothing to do, the consumer lock is the device's. */
static void hold_device(const struct ring *ring, struct ringd_dev **held, struct ringd_dev *dev)
{
    if (!ring->shared || *held == dev)
        return;
    if (*held)
        lock_leave(&(*held)->lock);
    *held = dev;
    if (dev)
        lock_take(&dev->lock);
}

/* Counts a run of writes to one zone; its device's lock is held. */
static void count_run(const struct zone *zone, unsigned run, uint64_t age)
{
    struct region_posted *posted = zone->dev->regions[zone->region].posted;
    posted->count += run;
    posted->batches++;
    if (run > posted->batch_max)
        posted->batch_max = run;
    histogram_add(&posted->latency, age, run);
}

unsigned ring_replay(struct ring *ring, bool yield)
{
    uint64_t now = cycles_now(), since = load_relaxed(&ring->known_empty);
    uint64_t age = now > since ? now - since : 0;
    uint32_t pending = ring_pending(&ring->cursor);
    uint32_t max = yield && pending > RING_BATCH ? RING_BATCH : pending;
    const struct zone *current = NULL;
    struct ringd_dev *held = NULL;
    unsigned run = 0;

    for (uint32_t i = 0; i < max; i++) {
        struct ringd_ring_entry entry = ring_peek(&ring->cursor);
        const struct zone *zone = find_zone(ring, &entry);
        uint64_t value;
        if (zone && ring_entry_value(&entry, &value)) {
            if (zone != current) {
                if (run)
                    count_run(current, run, age);
                current = zone;
                run = 0;
                hold_device(ring, &held, zone->dev);
            }
            region_write(zone->dev, zone->region, entry.addr - zone->addr, entry.len, value);
            run++;
        } else {
            ring->bad++;
        }
        ring_advance(&ring->cursor);
    }
    if (run)
        count_run(current, run, age);
    hold_device(ring, &held, NULL);

    if (max) {
        ring->entries += max;
        ring->batches++;
        if (max > ring->batch_max)
            ring->batch_max = max;
    }
    if (max == pending)
        store_relaxed(&ring->known_empty, now);
    return max;
}

/* As a vCPU; the consumer lock is held. While the fd is watched nothing tells how long an entry has been waiting, only
 * that the thread has not woken yet: its age is counted from here. */
static void replay_for_vcpu(struct ring *ring)
{
    if (load_relaxed(&ring->armed))
        store_relaxed(&ring->known_empty, cycles_now());
    unsigned found = ring_replay(ring, false);
    if (found)
        count_relaxed(&ring->vcpu_entries, found);
    count_relaxed(&ring->visits, 1);
}

/* Ends with the device's lock held and its ring drained. */
static void visit(struct ringd_dev *dev)
{
    struct ring *ring = dev->ring;
    uint64_t waited = 0;
    unsigned waits = 0;
    if (ring && ring->shared) {
        lock_take_from_vcpu(ring->lock, &waited, &waits);
        replay_for_vcpu(ring);
        lock_leave(ring->lock);
    }
    lock_take_from_vcpu(&dev->lock, &waited, &waits);
    if (ring && !ring->shared)
        replay_for_vcpu(ring);
    if (waits) {
        dev->lock_stats.waits += waits;
        dev->lock_stats.wait_ns += waited;
        if (waited > dev->lock_stats.wait_max_ns)
            dev->lock_stats.wait_max_ns = waited;
    }
}

uint64_t ringd_read(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width)
{
    visit(dev);
    uint64_t value = region_read(dev, region, offset, width);
    lock_leave(&dev->lock);
    return low_bytes(value, width);
}

static void write_visit(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width, uint64_t value,
                        bool whole)
{
    visit(dev);
    if (whole && dev->regions[region].zone) { /* KVM would have recorded it, had there been room */
        dev->regions[region].posted->full_exits++;
        __atomic_fetch_add(&dev->ring->full_exits, 1, __ATOMIC_RELAXED);
    }
    region_write(dev, region, offset, width, low_bytes(value, width));
    lock_leave(&dev->lock);
}

void ringd_write(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    write_visit(dev, region, offset, width, value, true);
}

void ringd_write_part(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    write_visit(dev, region, offset, width, value, false);
}

void ringd_call(struct ringd_dev *dev, void (*fn)(void *self, void *arg), void *arg)
{
    if (dev->ring && dev->ring->shared)
        ring_drain(dev->ring);
    lock_take(&dev->lock);
    if (dev->ring && !dev->ring->shared)
        ring_replay(dev->ring, false);
    fn(dev->self, arg);
    lock_leave(&dev->lock);
}

void ring_drain(struct ring *ring)
{
    lock_take(ring->lock);
    ring_replay(ring, false);
    lock_leave(ring->lock);
}

void ringd_drain(struct ringd *rd)
{
    for (unsigned i = 0; i < rd->ring_count; i++)
        ring_drain(rd->rings[i]);
}
