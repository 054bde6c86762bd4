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
#include <errno.h>

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

static uint64_t read_parts(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width)
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

static void write_parts(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    unsigned widths = dev->ops->regions[region].widths;
    for (unsigned done = 0; done < width;) {
        unsigned part = part_width(widths, width - done);
        dev->ops->write(dev->self, region, offset + done, part, low_bytes(value >> (done * 8), part));
        done += part;
    }
}

/*
 * Out of line, so that the way that every access takes stays short. A device whose state is committed has no width that
 * goes to its model as it is (`whole` is 0), so all its synchronous accesses come here.
 */
static __attribute__((noinline)) uint64_t read_split(struct ringd_dev *dev, unsigned region, uint64_t offset,
                                                     unsigned width)
{
    uint64_t value = read_parts(dev, region, offset, width);
    if (dev->commit)
        dev_commit(dev);
    return value;
}

static __attribute__((noinline)) void write_split(struct ringd_dev *dev, unsigned region, uint64_t offset,
                                                  unsigned width, uint64_t value)
{
    write_parts(dev, region, offset, width, value);
    if (dev->commit)
        dev_commit(dev);
}

/* Bits above `width` are as the model left them. */
static inline uint64_t region_read(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width)
{
    if (__builtin_expect(dev->regions[region].whole >> width & 1, 1))
        return dev->ops->read(dev->self, region, offset, width);
    return read_split(dev, region, offset, width);
}

/* Nothing is set in `value` above `width`. */
static inline void region_write(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    if (__builtin_expect(dev->regions[region].whole >> width & 1, 1))
        dev->ops->write(dev->self, region, offset, width, value);
    else
        write_split(dev, region, offset, width, value);
}

static const struct zone no_zone = {.pio = UINT32_MAX};
const struct place no_place = {.zone = &no_zone};

/* Does the zone hold the whole entry? */
static inline bool zone_holds(const struct zone *zone, const struct ringd_ring_entry *entry)
{
    uint64_t offset = entry->addr - zone->addr;
    return entry->pio == zone->pio && offset < zone->size && entry->len <= zone->size - offset;
}

/* The zone of the entry, most often that of the entry before; NULL for a malformed one. A machine has about ten. */
static inline const struct zone *find_zone(const struct ring *ring, const struct ringd_ring_entry *entry)
{
    if (__builtin_expect(zone_holds(ring->recent.zone, entry), 1))
        return ring->recent.zone;
    for (unsigned i = 0; i < ring->zone_count; i++)
        if (zone_holds(&ring->zones[i], entry))
            return &ring->zones[i];
    return NULL;
}

/* Counts a run of writes to one zone; its device's lock is held. */
static inline void count_run(const struct zone *zone, unsigned run, uint64_t age)
{
    struct region_posted *posted = zone->posted;
    posted->batches++;
    if (run > posted->batch_max)
        posted->batch_max = run;
    histogram_add(&posted->latency, age, run);
}

/* Counts entries that have been replayed together; consumer lock held. */
static inline void count_batch(struct ring *ring, uint32_t count)
{
    ring->entries += count;
    ring->batches++;
    if (count > ring->batch_max)
        ring->batch_max = count;
}

/* How long ago the ring was last known to be empty. */
static inline uint64_t ring_age(const struct ring *ring, uint64_t now)
{
    uint64_t since = load_relaxed(&ring->known_empty);
    return now > since ? now - since : 0;
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

/*
 * Replays `entry`, the checked copy of the one at the front, and up to `most` - 1 more that go to the same place;
 * returns how many that were. A storm spends its time here, so what stays the same is kept in registers. `cursor.first`
 * moves before each slot is given back: were it behind, a producer that has gone once round would make the ring look
 * empty.
 */
static __attribute__((noinline)) uint32_t replay_run(struct ring *ring, const struct zone *zone,
                                                     const struct ringd_ring_entry *entry, uint32_t most)
{
    struct ringd_dev *const dev = zone->dev;
    const struct place place = {
        .addr = entry->addr,
        .kind = ring_entry_kind(entry),
        .dev = dev,
        .zone = zone,
        .mask = ring_entry_mask(entry),
        .offset = entry->addr - zone->addr,
        .region = zone->region,
        .width = entry->len,
    };
    uint64_t data = ring_entry_data(entry);
    if (__builtin_expect(!(dev->regions[place.region].whole >> place.width & 1), 0)) {
        write_split(dev, place.region, place.offset, place.width, data);
        ring_advance(&ring->cursor);
        return 1;
    }
    void (*const write)(void *, unsigned, uint64_t, unsigned, uint64_t) = dev->ops->write;
    void *const self = dev->self;
    struct ringd_ring_page *const page = ring->cursor.page;
    uint32_t slot = ring->cursor.first, left = most;
    ring->recent = place;
    for (;;) {
        write(self, place.region, place.offset, place.width, data & place.mask);
        slot = ring_next_slot(slot);
        store_relaxed(&ring->cursor.first, slot);
        ring_give_back(page, slot);
        if (--left == 0)
            break;
        const uint64_t *words = ring_words(page, slot);
        if (load_relaxed(&words[0]) != place.addr || load_relaxed(&words[1]) != place.kind)
            break;
        data = load_relaxed(&words[2]);
    }
    return most - left;
}

/* Replays `count` entries. Two copies of this are made, for a ring of one device and for a shared one. */
static inline __attribute__((always_inline)) void replay_entries(struct ring *ring, uint32_t count, uint64_t age,
                                                                 bool shared)
{
    const struct zone *zone = NULL; /* of the run that is under way */
    unsigned run = 0;
    while (count) {
        struct ringd_ring_entry entry = ring_peek(&ring->cursor);
        const struct zone *found = find_zone(ring, &entry);
        if (__builtin_expect(!found || !ring_entry_is_sound(&entry), 0)) {
            ring->bad++;
            ring_advance(&ring->cursor);
            count--;
            continue;
        }
        if (found != zone) {
            if (zone)
                count_run(zone, run, age);
            change_device(shared, zone, found);
            zone = found;
            run = 0;
        }
        uint32_t done = replay_run(ring, zone, &entry, count);
        run += done;
        count -= done;
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

/*
 * Where the state is committed: what a batch has done is nobody's until then, and its slots are given back after that.
 * Whoever dies before the commit has done nothing of it; whoever dies after it leaves `first` behind the batch.
 */
static __attribute__((noinline)) void replay_committed(struct ring *ring, uint32_t count, uint64_t age)
{
    struct ringd_dev *const dev = ring->committed;
    struct ring_cursor at = ring->cursor;
    while (count) {
        uint32_t batch = count < RING_BATCH ? count : RING_BATCH;
        const struct zone *zone = NULL;
        unsigned run = 0;
        for (uint32_t i = 0; i < batch; i++) {
            struct ringd_ring_entry entry = ring_peek(&at);
            const struct zone *found = find_zone(ring, &entry);
            at.first = ring_next_slot(at.first);
            if (!found || !ring_entry_is_sound(&entry)) {
                ring->bad++;
                continue;
            }
            if (found != zone && zone)
                count_run(zone, run, age);
            run = found == zone ? run + 1 : 1;
            zone = found;
            write_parts(dev, zone->region, entry.addr - zone->addr, entry.len, ring_entry_data(&entry));
        }
        if (zone)
            count_run(zone, run, age);
        dev->commit->head.first = at.first;
        dev->commit->head.applied += batch;
        dev_commit(dev);
        store_relaxed(&ring->cursor.first, at.first);
        ring_give_back(ring->cursor.page, at.first);
        count -= batch;
    }
}

static unsigned replay_at(struct ring *ring, bool yield, uint64_t now)
{
    uint32_t pending = ring->closed ? 0 : ring_pending(&ring->cursor);
    uint32_t count = yield && pending > RING_BATCH ? RING_BATCH : pending;
    if (count) {
        uint64_t age = ring_age(ring, now);
        if (ring->shared)
            replay_shared(ring, count, age);
        else if (ring->committed)
            replay_committed(ring, count, age);
        else
            replay_own(ring, count, age);
        count_batch(ring, count);
    }
    if (count == pending)
        store_relaxed(&ring->known_empty, now);
    return count;
}

unsigned ring_replay(struct ring *ring, bool yield)
{
    return replay_at(ring, yield, cycles_now());
}

/*
 * A vCPU has just drained the ring, as it always does for a latch: what is written next is as young as what a look
 * would leave, so the thread's look may come that much later, and as long as this goes on the thread sleeps. But not
 * - when the look is due already: it has waited long enough;
 * - when the vCPU was held up between its look at the ring, at `now`, and here: by so much the rest may be older;
 * - when writes have found the ring full: the thread has to learn of it.
 */
static __attribute__((noinline)) void put_off_look(struct ring *ring, uint64_t now)
{
    struct ringd *rd = ring->rd;
    lock_take(&rd->timer_lock);
    uint64_t cycles = load_relaxed(&ring->put_off_cycles), now_ns = monotonic_ns();
    if (cycles && now_ns < load_relaxed(&ring->look_ns) && cycles_now() - now < cycles / 8 &&
        load_relaxed(&ring->full_exits) == load_relaxed(&ring->full_seen)) {
        store_relaxed(&ring->look_ns, now_ns + load_relaxed(&ring->put_off_ns));
        store_relaxed(&ring->put_off_at, now + cycles);
        count_relaxed(&ring->looks_put_off, 1);
        timer_arm(rd);
    }
    lock_leave(&rd->timer_lock);
}

/* For whatever a vCPU may find. Out of line, so that what it nearly always finds needs no stack. */
static __attribute__((noinline)) void replay_any(struct ring *ring, uint64_t now)
{
    unsigned found = replay_at(ring, false, now);
    if (found)
        count_relaxed(&ring->vcpu_entries, found);
    if (now > load_relaxed(&ring->put_off_at))
        put_off_look(ring, now);
}

/*
 * As a vCPU on its way to an access of `dev`; the consumer lock is held. While the fd is watched nothing tells how long
 * an entry has been waiting, only that the thread has not woken yet: its age is counted from here.
 *
 * Nearly always the ring is empty or holds the one write that belongs to the access, an index or an address, to where
 * the last one went. That one is replayed here; on a shared ring with `dev`'s lock taken by `lock_dev`, which is then
 * still held and true is returned.
 */
static inline __attribute__((always_inline)) bool replay_for_vcpu(struct ring *ring, struct ringd_dev *dev,
                                                                  void (*lock_dev)(struct ringd_dev *dev))
{
    uint64_t now = cycles_now();
    if (load_relaxed(&ring->armed))
        store_relaxed(&ring->known_empty, now);
    count_relaxed(&ring->visits, 1);
    uint32_t first = ring->cursor.first, last = __atomic_load_n(&ring->cursor.page->last, __ATOMIC_ACQUIRE);
    bool usual = now <= load_relaxed(&ring->put_off_at);
    if (usual && last == first) {
        store_relaxed(&ring->known_empty, now);
        return false;
    }
    if (usual && last == ring_next_slot(first)) {
        const uint64_t *words = ring_words(ring->cursor.page, first);
        const struct place *place = &ring->recent;
        if (__builtin_expect(load_relaxed(&words[0]) == place->addr && load_relaxed(&words[1]) == place->kind &&
                                 place->dev == dev,
                             1)) {
            if (lock_dev)
                lock_dev(dev);
            dev->ops->write(dev->self, place->region, place->offset, place->width,
                            load_relaxed(&words[2]) & place->mask);
            ring_advance(&ring->cursor);
            count_run(place->zone, 1, ring_age(ring, now));
            count_batch(ring, 1);
            count_relaxed(&ring->vcpu_entries, 1);
            store_relaxed(&ring->known_empty, now);
            return lock_dev != NULL;
        }
    }
    replay_any(ring, now);
    return false;
}

/* The device's lock is held. */
static void count_wait(struct ringd_dev *dev, uint64_t waited)
{
    dev->lock_stats.waits++;
    dev->lock_stats.wait_ns += waited;
    if (waited > dev->lock_stats.wait_max_ns)
        dev->lock_stats.wait_max_ns = waited;
}

static __attribute__((noinline)) void wait_for_device(struct ringd_dev *dev)
{
    uint64_t waited = lock_wait_from_vcpu(&dev->lock);
    count_wait(dev, waited);
}

static inline void lock_device(struct ringd_dev *dev)
{
    if (__builtin_expect(!lock_try(&dev->lock), 0))
        wait_for_device(dev);
}

/* What a vCPU waited for the lock of a shared ring is counted where it went, to its device. */
static __attribute__((noinline)) void wait_for_ring(struct ring *ring, struct ringd_dev *dev)
{
    uint64_t waited = lock_wait_from_vcpu(ring->lock);
    lock_take(&dev->lock);
    count_wait(dev, waited);
    lock_leave(&dev->lock);
}

/* Ends with the device's lock held and its ring drained. */
static inline __attribute__((always_inline)) void visit(struct ringd_dev *dev)
{
    struct ring *ring = dev->ring;
    if (ring && ring->shared) {
        if (__builtin_expect(!lock_try(ring->lock), 0))
            wait_for_ring(ring, dev);
        bool locked = replay_for_vcpu(ring, dev, lock_device);
        lock_leave(ring->lock);
        if (!locked)
            lock_device(dev);
        return;
    }
    lock_device(dev);
    if (ring)
        replay_for_vcpu(ring, dev, NULL);
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
    if (dev->commit)
        dev_commit(dev);
    lock_leave(&dev->lock);
}

static bool access_is_sound(const struct ringd_dev *dev, const struct ringd_access *access)
{
    if (access->region >= dev->ops->region_count || access->slot >= RINGD_ACCESS_SLOTS)
        return false;
    uint64_t size = dev->ops->regions[access->region].size;
    return access->width >= 1 && access->width <= 8 && access->offset < size && access->width <= size - access->offset;
}

/* Visited, with the lock held; what comes out is committed by the caller. */
static uint64_t access_once(struct ringd_dev *dev, const struct ringd_access *access)
{
    if (!access->write)
        return low_bytes(read_parts(dev, access->region, access->offset, access->width), access->width);
    if (dev->regions[access->region].zone) {
        dev->regions[access->region].posted->full_exits++;
        __atomic_fetch_add(&dev->ring->full_exits, 1, __ATOMIC_RELAXED);
    }
    write_parts(dev, access->region, access->offset, access->width, low_bytes(access->value, access->width));
    return 0;
}

int ringd_access(struct ringd_dev *dev, const struct ringd_access *access, uint64_t *value)
{
    if (!access_is_sound(dev, access))
        return -EINVAL;
    visit(dev);
    struct commit *commit = dev->commit;
    if (!commit) {
        *value = access_once(dev, access);
    } else if (!access->sequence || !commit_find(commit, access->slot, access->sequence, value)) {
        *value = access_once(dev, access);
        if (access->sequence)
            commit_result(commit, access->slot, access->sequence, *value);
        dev_commit(dev);
    }
    lock_leave(&dev->lock);
    return 0;
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
