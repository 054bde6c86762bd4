/* SPDX-License-Identifier: BSD-2-Clause */
/* Hosting devices: instances, their rings, and where their regions are mapped. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ringd/internal.h"
#include "ringd/source.h"

static void ring_init(struct ring *ring, struct ringd *rd, const char *name, struct ringd_lock *lock)
{
    ring->rd = rd;
    ring->name = name;
    ring->lock = lock ? lock : &ring->own_lock;
    ring->shared = !lock;
    ring->recent = no_place;
    ring->look_ns = RINGD_NEVER;
    ring->put_off_at = UINT64_MAX;
    ring_cursor_init(&ring->cursor, ring->back.page);
    ring->known_empty = cycles_now();
}

/* Makes a ring of the back end: `lock` is the device's, or NULL for the ring that all share. */
int ring_create(struct ringd *rd, const char *name, struct ringd_lock *lock, struct ring **out)
{
    if (rd->ring_count == RINGD_MAX_RINGS)
        return -EMFILE;
    struct ring *ring = calloc(1, sizeof(*ring));
    if (!ring)
        return -ENOMEM;
    int ret = rd->backend->ring_create(rd->config.vm_fd, rd->config.vcpu_fd, &ring->back);
    if (ret) {
        free(ring);
        return ret;
    }
    ring_init(ring, rd, name, lock);
    rd->rings[rd->ring_count++] = ring;
    *out = ring;
    return 0;
}

/* Takes a ring that somebody else has made. */
static int ring_open(struct ringd_dev *dev, const struct ringd_ring_source *source)
{
    struct ringd *rd = dev->rd;
    if (rd->ring_count == RINGD_MAX_RINGS)
        return -EMFILE;
    struct ring *ring = calloc(1, sizeof(*ring));
    if (!ring)
        return -ENOMEM;
    int ret = source_ring_open(source->ring_fd, source->event_fd, &ring->back);
    if (ret) {
        free(ring);
        return ret;
    }
    ring_init(ring, rd, dev->ops->name, &dev->lock);
    rd->rings[rd->ring_count++] = ring;
    dev->ring = ring;
    return 0;
}

void ring_destroy(struct ring *ring)
{
    ring->rd->backend->ring_destroy(&ring->back);
    free(ring->zones);
    free(ring);
}

static bool any_posted(const struct ringd_device_ops *ops)
{
    for (unsigned i = 0; i < ops->region_count; i++)
        if (ops->regions[i].flags & RINGD_POSTED)
            return true;
    return false;
}

static bool alloc_posted(struct ringd_dev *dev)
{
    for (unsigned i = 0; i < dev->ops->region_count; i++) {
        if (!(dev->ops->regions[i].flags & RINGD_POSTED))
            continue;
        dev->regions[i].posted = calloc(1, sizeof(*dev->regions[i].posted));
        if (!dev->regions[i].posted)
            return false;
        histogram_init(&dev->regions[i].posted->latency);
    }
    return true;
}

static int check_ops(const struct ringd_device_ops *ops)
{
    if (!ops->name || !ops->create || !ops->destroy || !ops->read || !ops->write || !ops->reset ||
        ops->irq_count > RINGD_MAX_IRQS || (ops->timer_count && !ops->timer))
        return -EINVAL;
    for (unsigned i = 0; i < ops->region_count; i++) {
        const struct ringd_region *region = &ops->regions[i];
        if (!region->size || !region->widths || region->widths > 15 || region->size > UINT32_MAX)
            return -EINVAL;
    }
    return 0;
}

/* Widths as the model lists them (a sum of 1, 2, 4 and 8) to a bit for each. */
static unsigned whole_widths(unsigned widths)
{
    unsigned whole = 0;
    for (unsigned width = 1; width <= 8; width *= 2)
        if (widths & width)
            whole |= 1u << width;
    return whole;
}

static void dev_free(struct ringd_dev *dev)
{
    if (dev->self)
        dev->ops->destroy(dev->self);
    if (dev->commit && dev->commit->page) {
        if (dev->commit->notify_fd >= 0)
            close(dev->commit->notify_fd);
        close(dev->state_fd);
        commit_close(dev->commit);
    }
    free(dev->commit);
    for (unsigned i = 0; dev->regions && i < dev->ops->region_count; i++)
        free(dev->regions[i].posted);
    free(dev->regions);
    free(dev->deadlines);
    free(dev);
}

/* Devices come and go only while no loop and no vCPU can be in one. */
bool ringd_loop_may_run(const struct ringd *rd)
{
    return (rd->running || rd->poll_fd >= 0) && load_relaxed(&rd->frozen_at) == RINGD_NEVER;
}

/* A device without its model; nobody knows of it yet. */
static int dev_alloc(struct ringd *rd, const struct ringd_device_ops *ops, const struct ringd_wiring *wiring,
                     struct ringd_dev **out)
{
    int ret = ringd_loop_may_run(rd) ? -EBUSY : check_ops(ops);
    if (ret)
        return ret;
    if (rd->device_count == RINGD_MAX_DEVICES)
        return -EMFILE;
    struct ringd_dev *dev = calloc(1, sizeof(*dev));
    if (!dev)
        return -ENOMEM;
    dev->rd = rd;
    dev->ops = ops;
    dev->env.env.ops = &env_ops;
    dev->env.dev = dev;
    if (wiring)
        dev->wiring = *wiring;
    for (unsigned i = 0; i < RINGD_MAX_IRQS; i++)
        dev->irq_fds[i] = wiring && wiring->irq_fds && i < ops->irq_count ? wiring->irq_fds[i] : -1;
    dev->regions = calloc(ops->region_count ? ops->region_count : 1, sizeof(*dev->regions));
    dev->deadlines = calloc(ops->timer_count ? ops->timer_count : 1, sizeof(*dev->deadlines));
    if (!dev->regions || !dev->deadlines || !alloc_posted(dev)) {
        dev_free(dev);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < ops->timer_count; i++)
        dev->deadlines[i] = RINGD_NEVER;
    for (unsigned i = 0; i < ops->region_count; i++)
        dev->regions[i].whole = whole_widths(ops->regions[i].widths);
    *out = dev;
    return 0;
}

/* The model may set timers and interrupts from create() on, so it runs as any operation does. */
static int dev_create(struct ringd_dev *dev, const void *config)
{
    lock_take(&dev->lock);
    int ret = dev->ops->create(&dev->env.env, config, &dev->self);
    lock_leave(&dev->lock);
    return ret;
}

static void dev_publish(struct ringd_dev *dev)
{
    struct ringd *rd = dev->rd;
    lock_take(&rd->timer_lock);
    rd->devices[rd->device_count++] = dev;
    lock_leave(&rd->timer_lock);
}

int ringd_add(struct ringd *rd, const struct ringd_device_ops *ops, const void *config,
              const struct ringd_wiring *wiring, struct ringd_dev **out)
{
    struct ringd_dev *dev;
    int ret = dev_alloc(rd, ops, wiring, &dev);
    if (ret)
        return ret;
    ret = dev_create(dev, config);
    if (!ret && rd->backend && any_posted(ops)) {
        if (rd->backend->shared)
            dev->ring = rd->rings[0];
        else
            ret = ring_create(rd, ops->name, &dev->lock, &dev->ring);
    }
    if (ret) {
        dev_free(dev);
        return ret;
    }
    dev_publish(dev);
    *out = dev;
    return 0;
}

void dev_commit(struct ringd_dev *dev)
{
    struct commit *commit = dev->commit;
    commit->head.clock_skew = load_relaxed(&dev->rd->clock_skew);
    commit->head.frozen_at = load_relaxed(&dev->rd->frozen_at);
    commit_write(commit, dev->ops, dev->self);
    for (; commit->raised; commit->raised &= commit->raised - 1)
        source_signal(dev->irq_fds[__builtin_ctz(commit->raised)]);
}

/* The machine's clock goes on from where the predecessor's stood, if this is the first device to have one. */
static int adopt_clock(struct ringd *rd, const struct ringd_state_slot *head)
{
    uint64_t now = monotonic_ns();
    uint64_t time = head->frozen_at != RINGD_NEVER ? head->frozen_at : now - head->clock_skew;
    if (time > RINGD_LATEST)
        return -EINVAL;
    if (!rd->device_count)
        store_relaxed(&rd->clock_skew, now - time);
    return 0;
}

/* Is this the ring that the committed index belongs to? Then that lies between the page's two, as the index is
 * committed before it is stored there. A kernel that frees a ring with its mapping makes it anew at 0 for a successor.
 */
static bool is_ring_of(const struct ringd_ring_page *page, uint32_t committed)
{
    uint32_t last = __atomic_load_n(&page->last, __ATOMIC_ACQUIRE), first = load_relaxed(&page->first);
    if (first >= RINGD_RING_SLOTS || last >= RINGD_RING_SLOTS)
        return true; /* it is broken, and the committed one is as good as any */
    return (committed + RINGD_RING_SLOTS - first) % RINGD_RING_SLOTS <=
           (last + RINGD_RING_SLOTS - first) % RINGD_RING_SLOTS;
}

/* The model is there, and its ring. The lock is held. */
static int commit_start(struct ringd_dev *dev, const struct ringd_ring_source *source)
{
    struct commit *commit = dev->commit;
    uint32_t raised = commit->raised; /* by create() */
    void *saved;
    size_t bytes = dev->ops->state_size(dev->self);
    int ret = commit_open(commit, source->state_fd, bytes, &saved);
    if (ret)
        return ret;
    commit->raised = raised;
    commit->notify_fd = source->notify_fd;
    dev->state_fd = source->state_fd;
    if (saved) {
        dev->took_over = true;
        ret = adopt_clock(dev->rd, &commit->head);
        if (!ret)
            ret = dev->ops->load(dev->self, saved, bytes);
        free(saved);
    }
    if (!ret && dev->ring && commit->current && is_ring_of(dev->ring->cursor.page, commit->head.first)) {
        store_relaxed(&dev->ring->cursor.first, commit->head.first);
        ring_give_back(dev->ring->cursor.page, commit->head.first);
    } else if (dev->ring) {
        commit->head.first = dev->ring->cursor.first;
    }
    if (ret) {
        commit_close(commit);
        return ret;
    }
    for (unsigned i = 0; i < dev->ops->region_count; i++)
        dev->regions[i].whole = 0;
    if (dev->ring)
        dev->ring->committed = dev;
    dev_commit(dev);
    return 0;
}

static int check_source(const struct ringd *rd, const struct ringd_device_ops *ops, const struct ringd_wiring *wiring,
                        const struct ringd_ring_source *source)
{
    if (rd->backend != &backend_memfd || (source->state_fd >= 0 && !ops->load))
        return -ENOTSUP;
    if (source->state_fd >= 0 && ops->irq_count > COMMIT_MAX_IRQS)
        return -EINVAL;
    if (source->notify_fd >= 0 && (source->state_fd < 0 || source_check_eventfd(source->notify_fd)))
        return -EINVAL;
    for (unsigned i = 0; wiring && wiring->irq_fds && i < ops->irq_count && i < RINGD_MAX_IRQS; i++)
        if (wiring->irq_fds[i] >= 0 && source_check_eventfd(wiring->irq_fds[i]))
            return -EINVAL;
    return 0;
}

/* The descriptors of `source` stay the caller's if anything fails: the ring's are let go before it is destroyed. */
static void ring_forget(struct ringd_dev *dev)
{
    if (!dev->ring)
        return;
    dev->rd->ring_count--;
    munmap(dev->ring->back.page, RINGD_RING_BYTES);
    free(dev->ring);
}

int ringd_add_on_ring(struct ringd *rd, const struct ringd_device_ops *ops, const void *config,
                      const struct ringd_wiring *wiring, const struct ringd_ring_source *source, struct ringd_dev **out)
{
    struct ringd_dev *dev;
    int ret = check_source(rd, ops, wiring, source);
    if (!ret)
        ret = dev_alloc(rd, ops, wiring, &dev);
    if (ret)
        return ret;
    dev->env.env.ops = &outside_env_ops;
    if (source->state_fd >= 0) {
        dev->commit = calloc(1, sizeof(*dev->commit));
        dev->env.env.ops = &committed_env_ops;
        if (!dev->commit)
            ret = -ENOMEM;
    }
    if (!ret)
        ret = dev_create(dev, config);
    if (!ret && source->ring_fd >= 0)
        ret = ring_open(dev, source);
    if (!ret && dev->commit) {
        lock_take(&dev->lock);
        ret = commit_start(dev, source);
        lock_leave(&dev->lock);
    }
    if (ret) {
        ring_forget(dev);
        dev_free(dev);
        return ret;
    }
    dev_publish(dev);
    *out = dev;
    return 0;
}

void dev_abandon(struct ringd_dev *dev)
{
    if (!dev->ring || dev->ring->shared)
        return;
    lock_take(&dev->lock);
    dev->ring->closed = true;
    lock_leave(&dev->lock);
}

/* What its ring holds from now on is for a successor. */
static void dev_close(struct ringd_dev *dev)
{
    if (!dev->commit || !dev->ring)
        return;
    lock_take(&dev->lock);
    ring_replay(dev->ring, false);
    dev->ring->closed = true;
    lock_leave(&dev->lock);
}

void dev_destroy(struct ringd_dev *dev)
{
    dev_close(dev);
    for (unsigned i = 0; i < dev->ops->region_count; i++)
        ringd_unmap(dev, i);
    dev_free(dev);
}

static void forget_device(struct ringd *rd, const struct ringd_dev *dev)
{
    for (unsigned i = 0; i < rd->device_count; i++) {
        if (rd->devices[i] == dev) {
            rd->device_count--;
            memmove(&rd->devices[i], &rd->devices[i + 1], (rd->device_count - i) * sizeof(rd->devices[0]));
        }
    }
}

static void forget_ring(struct ringd *rd, const struct ring *ring)
{
    for (unsigned i = 0; i < rd->ring_count; i++) {
        if (rd->rings[i] == ring) {
            rd->ring_count--;
            memmove(&rd->rings[i], &rd->rings[i + 1], (rd->ring_count - i) * sizeof(rd->rings[0]));
        }
    }
}

int ringd_remove(struct ringd_dev *dev)
{
    struct ringd *rd = dev->rd;
    struct ring *ring = dev->ring && !dev->ring->shared ? dev->ring : NULL;
    if (ringd_loop_may_run(rd))
        return -EBUSY;
    dev_close(dev);
    for (unsigned i = 0; i < dev->ops->region_count; i++)
        ringd_unmap(dev, i);
    pthread_mutex_lock(&rd->map_lock);
    lock_take(&rd->timer_lock);
    forget_device(rd, dev);
    forget_ring(rd, ring);
    lock_leave(&rd->timer_lock);
    pthread_mutex_unlock(&rd->map_lock);
    if (ring) {
        serve_unwatch(ring);
        ring_destroy(ring);
    }
    dev_free(dev);
    return 0;
}

/* map_lock held. Would this zone lie over one of another region, of any device? */
static bool zone_overlaps(const struct ringd *rd, const struct zone *wanted)
{
    for (unsigned i = 0; i < rd->ring_count; i++) {
        for (unsigned j = 0; j < rd->rings[i]->zone_count; j++) {
            const struct zone *zone = &rd->rings[i]->zones[j];
            if ((zone->dev != wanted->dev || zone->region != wanted->region) && zone->pio == wanted->pio &&
                wanted->addr < zone->addr + zone->size && zone->addr < wanted->addr + wanted->size)
                return true;
        }
    }
    return false;
}

static struct backend_zone kernel_zone(const struct zone *zone)
{
    return (struct backend_zone){.addr = zone->addr, .size = (uint32_t)zone->size, .pio = zone->pio != 0};
}

/* map_lock held. */
static int zone_insert(struct ring *ring, const struct zone *zone)
{
    struct zone *zones = realloc(NULL, (ring->zone_count + 1) * sizeof(*zones));
    if (!zones)
        return -ENOMEM;
    lock_take(ring->lock);
    if (ring->zone_count)
        memcpy(zones, ring->zones, ring->zone_count * sizeof(*zones));
    zones[ring->zone_count] = *zone;
    struct zone *old = ring->zones;
    ring->zones = zones;
    ring->zone_count++;
    ring->recent = no_place;
    lock_leave(ring->lock);
    free(old);
    return 0;
}

/* map_lock held. Drains first: what was written while the zone stood is still replayed to it. */
static void zone_delete(struct ring *ring, const struct ringd_dev *dev, unsigned region)
{
    lock_take(ring->lock);
    ring_replay(ring, false);
    ring->recent = no_place;
    for (unsigned i = 0; i < ring->zone_count; i++) {
        if (ring->zones[i].dev == dev && ring->zones[i].region == region) {
            ring->zones[i] = ring->zones[--ring->zone_count];
            break;
        }
    }
    lock_leave(ring->lock);
}

static void set_zone(struct ringd_dev *dev, unsigned region, bool zone)
{
    lock_take(&dev->lock);
    dev->regions[region].zone = zone;
    lock_leave(&dev->lock);
}

/* map_lock held. */
static void unmap_locked(struct ringd_dev *dev, unsigned region)
{
    struct region_state *state = &dev->regions[region];
    struct ringd *rd = dev->rd;
    if (!state->mapped)
        return;
    if (dev->ring && state->zone) {
        const struct ringd_region *desc = &dev->ops->regions[region];
        struct zone zone = {.addr = state->addr, .size = desc->size, .pio = desc->space == RINGD_PIO};
        struct backend_zone kernel = kernel_zone(&zone);
        rd->backend->zone_remove(rd->config.vm_fd, &dev->ring->back, &kernel);
        zone_delete(dev->ring, dev, region);
        set_zone(dev, region, false);
    } else if (dev->ring) {
        ring_drain(dev->ring);
    }
    state->mapped = false;
}

static struct zone zone_at(struct ringd_dev *dev, unsigned region, uint64_t addr)
{
    const struct ringd_region *desc = &dev->ops->regions[region];
    return (struct zone){
        .addr = addr,
        .size = desc->size,
        .pio = desc->space == RINGD_PIO,
        .region = region,
        .dev = dev,
        .posted = dev->regions[region].posted,
    };
}

/* map_lock held. */
static int map_zone(struct ringd_dev *dev, unsigned region, const struct zone *zone)
{
    struct ringd *rd = dev->rd;
    int ret = zone_insert(dev->ring, zone); /* before the kernel's: an entry may arrive at once */
    if (ret)
        return ret;
    set_zone(dev, region, true);
    struct backend_zone kernel = kernel_zone(zone);
    ret = rd->backend->zone_add(rd->config.vm_fd, &dev->ring->back, &kernel);
    if (ret) {
        zone_delete(dev->ring, dev, region);
        set_zone(dev, region, false);
    }
    return ret;
}

int ringd_map(struct ringd_dev *dev, unsigned region, uint64_t addr)
{
    if (region >= dev->ops->region_count)
        return -EINVAL;
    const struct ringd_region *desc = &dev->ops->regions[region];
    uint64_t limit = desc->space == RINGD_PIO ? 0x10000 : UINT64_MAX;
    if (addr >= limit || desc->size > limit - addr)
        return -EINVAL;

    struct ringd *rd = dev->rd;
    struct zone zone = zone_at(dev, region, addr);
    bool posted = dev->ring && (desc->flags & RINGD_POSTED);
    pthread_mutex_lock(&rd->map_lock);
    int ret = posted && zone_overlaps(rd, &zone) ? -EEXIST : 0;
    if (!ret) {
        unmap_locked(dev, region);
        if (posted)
            ret = map_zone(dev, region, &zone);
        dev->regions[region].addr = addr;
        dev->regions[region].mapped = !ret;
    }
    pthread_mutex_unlock(&rd->map_lock);
    return ret;
}

int ringd_unmap(struct ringd_dev *dev, unsigned region)
{
    if (region >= dev->ops->region_count)
        return -EINVAL;
    pthread_mutex_lock(&dev->rd->map_lock);
    unmap_locked(dev, region);
    pthread_mutex_unlock(&dev->rd->map_lock);
    return 0;
}

const struct ringd_device_ops *ringd_dev_ops(const struct ringd_dev *dev)
{
    return dev->ops;
}

bool ringd_took_over(const struct ringd_dev *dev)
{
    return dev->took_over;
}
