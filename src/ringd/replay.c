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

static inline uint64_t low_bytes(uint64_t value, unsigned width)
{
    return width >= 8 ? value : value & ((UINT64_C(1) << (width * 8)) - 1);
}

/* Out of line, so that the way that every access takes stays short. */
static __attribute__((noinline)) uint64_t read_split(struct ringd_dev *dev, unsigned region, uint64_t offset,
                                                     unsigned width)
{
    unsigned widths = dev->ops->regions[region].widths;
    uint64_t value = 0;
    for (unsigned done = 0; done < width;) {
        unsigned part = part_width(widths, width - done);
        value |= low_bytes(dev->ops->read(dev->self, region, offset + done, part), part) << (done * 8);
        done += part;
    }
    return value;
}

static __attribute__((noinline)) void write_split(struct ringd_dev *dev, unsigned region, uint64_t offset,
                                                  unsigned width, uint64_t value)
{
    unsigned widths = dev->ops->regions[region].widths;
    for (unsigned done = 0; done < width;) {
        unsigned part = part_width(widths, width - done);
        dev->ops->write(dev->self, region, offset + done, part, low_bytes(value >> (done * 8), part));
        done += part;
    }
}

/* Does the model take this width as it is? */
static inline bool takes(const struct ringd_dev *dev, unsigned region, unsigned width)
{
    return (dev->ops->regions[region].widths & width) != 0 && (width & (width - 1)) == 0;
}

/* Bits above `width` are as the model left them. */
static inline uint64_t region_read(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width)
{
    if (__builtin_expect(takes(dev, region, width), 1))
        return dev->ops->read(dev->self, region, offset, width);
    return read_split(dev, region, offset, width);
}

/* Nothing is set in `value` above `width`. */
static inline void region_write(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    if (__builtin_expect(takes(dev, region, width), 1))
        dev->ops->write(dev->self, region, offset, width, value);
    else
        write_split(dev, region, offset, width, value);
}

/* Does the zone hold the whole entry? */
static inline bool zone_holds(const struct zone *zone, const struct ringd_ring_entry *entry)
{
    uint64_t offset = entry->addr - zone->addr;
    return entry->pio == zone->pio && offset < zone->size && entry->len <= zone->size - offset;
}

/* The entry's zone, or NULL. A machine has about ten, and most often it is that of the entry before. */
static inline const struct zone *find_zone(const struct ring *ring, const struct ringd_ring_entry *entry,
                                           const struct zone *last)
{
    if (last && zone_holds(last, entry))
        return last;
    for (const struct zone *zone = ring->zones, *end = zone + ring->zone_count; zone < end; zone++)
        if (zone_holds(zone, entry))
            return zone;
    return NULL;
}

/* Counts a run of writes to one zone; its device's lock is held. */
static inline void count_run(const struct zone *zone, unsigned run, uint64_t age)
{
    struct region_posted *posted = zone->dev->regions[zone->region].posted;
    posted->batches++;
    if (run > posted->batch_max)
        posted->batch_max = run;
    histogram_add(&posted->latency, age, run);
}

/* Shared ring: changes over from the lock of one zone's device to another's. Its own ring: nothing to do, the consumer
 * lock is the device's. */
static inline void change_device(bool shared, const struct zone *from, const struct zone *to)
{
    if (!shared || (from && to && from->dev == to->dev))
        return;
    if (from)
        lock_leave(&from->dev->lock);
    if (to)
        lock_take(&to->dev->lock);
}

/* Replays `count` entries. Two copies of this are made, for a ring of one device and for a shared one. */
static inline __attribute__((always_inline)) void replay_entries(struct ring *ring, uint32_t count, uint64_t age,
                                                                 bool shared)
{
    const struct zone *zone = NULL; /* of the run that is under way */
    unsigned run = 0;
    while (count--) {
        struct ringd_ring_entry entry = ring_peek(&ring->cursor);
        const struct zone *found = find_zone(ring, &entry, zone);
        uint64_t value;
        if (found && ring_entry_value(&entry, &value)) {
            if (found != zone) {
                if (zone)
                    count_run(zone, run, age);
                change_device(shared, zone, found);
                zone = found;
                run = 0;
            }
            region_write(found->dev, found->region, entry.addr - found->addr, entry.len, value);
            run++;
        } else {
            ring->bad++;
        }
        ring_advance(&ring->cursor);
    }
    if (zone) {
        count_run(zone, run, age);
        change_device(shared, zone, NULL);
    }
}

static void replay_own(struct ring *ring, uint32_t count, uint64_t age)
{
    replay_entries(ring, count, age, false);
}

static void replay_shared(struct ring *ring, uint32_t count, uint64_t age)
{
    replay_entries(ring, count, age, true);
}

unsigned ring_replay(struct ring *ring, bool yield)
{
    uint64_t now = cycles_now();
    uint32_t pending = ring_pending(&ring->cursor);
    uint32_t count = yield && pending > RING_BATCH ? RING_BATCH : pending;
    if (count) {
        uint64_t since = load_relaxed(&ring->known_empty);
        uint64_t age = now > since ? now - since : 0;
        if (ring->shared)
            replay_shared(ring, count, age);
        else
            replay_own(ring, count, age);
        ring->entries += count;
        ring->batches++;
        if (count > ring->batch_max)
            ring->batch_max = count;
    }
    if (count == pending)
        store_relaxed(&ring->known_empty, now);
    return count;
}

/* As a vCPU; the consumer lock is held. While the fd is watched nothing tells how long an entry has been waiting, only
 * that the thread has not woken yet: its age is counted from here. */
static inline void replay_for_vcpu(struct ring *ring)
{
    if (load_relaxed(&ring->armed))
        store_relaxed(&ring->known_empty, cycles_now());
    unsigned found = ring_replay(ring, false);
    if (found)
        count_relaxed(&ring->vcpu_entries, found);
    count_relaxed(&ring->visits, 1);
}

/* Ends with the device's lock held and its ring drained. */
static inline void visit(struct ringd_dev *dev)
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
