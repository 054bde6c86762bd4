/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a ring loop does when a ring's fd or the timerfd tells it to, whatever tells it: the ring thread's libev loop
 * (thread.c) or the caller's own (dispatch.c). Those two differ in how an fd is watched, which is struct loop_ops.
 * All of this runs in one thread at a time: that of the loop, or one that has made the loop stand still.
 */
#include <unistd.h>

#include "ringd/internal.h"
#include "ringd/source.h"

/*
 * Sets the time of the next look as the moderation has it, and whether vCPUs may put that off (replay.c,
 * put_off_look()); timer_arm() follows before the thread sleeps. An error in the counter's rate costs a few
 * instructions, not the bound.
 */
static void plan_look(struct ring *ring, uint64_t at_ns, bool may_put_off)
{
    struct ringd *rd = ring->rd;
    uint64_t now_ns = ring->moderation.before.now_ns, now = cycles_now();
    uint64_t wait = may_put_off && at_ns > now_ns ? at_ns - now_ns : 0;
    uint64_t cycles = 0;
    if (wait && now_ns > rd->base.ns)
        cycles = (uint64_t)((unsigned __int128)(wait - wait / 4) * (now - rd->base.cycles) / (now_ns - rd->base.ns));
    lock_take(&rd->timer_lock);
    store_relaxed(&ring->look_ns, at_ns);
    store_relaxed(&ring->put_off_ns, wait);
    store_relaxed(&ring->put_off_cycles, cycles);
    store_relaxed(&ring->put_off_at, cycles ? now + cycles : UINT64_MAX);
    store_relaxed(&ring->full_seen, ring->moderation.before.full_exits);
    lock_leave(&rd->timer_lock);
}

/* Watches the ring's fd or leaves it out, as the moderation has it. */
static void watch(struct ring *ring)
{
    struct ringd *rd = ring->rd;
    const struct moderation *moderation = &ring->moderation;
    bool armed = moderation->state == MODERATION_ARMED, was_armed = load_relaxed(&ring->armed);
    bool wanted = ring->back.wanted;
    uint64_t look_ns = moderation->next_look_ns;

    if (armed && !was_armed && !rd->loop_ops->watch(ring)) {
        armed = false; /* the kernel has no memory for it just now: looked at instead, and tried again then */
        look_ns = moderation->before.now_ns + moderation->config.bound_ns / 4 * 3;
    }
    plan_look(ring, look_ns, moderation->state == MODERATION_LATCH && moderation->config.enabled);
    store_relaxed(&ring->state, moderation->state);
    store_relaxed(&ring->switches, moderation->switches);
    store_relaxed(&ring->armed, armed);
    if (was_armed && !armed) {
        rd->loop_ops->unwatch(ring);
        if (wanted)
            ring_want_wakeup(ring->cursor.page, false);
    }
    if (armed && wanted) {
        ring_want_wakeup(ring->cursor.page, true);
        /* Pushed before the producer could see the request: wake ourselves; for ever, were any index good enough. */
        if (!ring_is_empty(&ring->cursor) && load_relaxed(&ring->cursor.page->last) < RINGD_RING_SLOTS) {
            source_signal(ring->back.fd);
        }
    }
}

/* Replays what is there, giving way to vCPUs between batches: a vCPU that waits drains the ring itself. */
static unsigned replay_batches(struct ring *ring, bool woken)
{
    unsigned found = 0, batch = 0;
    do {
        uint64_t now = cycles_now();
        if (ring_is_empty(&ring->cursor)) {
            store_relaxed(&ring->known_empty, now);
            break;
        }
        lock_take(ring->lock);
        if (woken && !found) /* nobody could have known of these before the wake-up */
            store_relaxed(&ring->known_empty, now);
        batch = ring_replay(ring, true);
        lock_leave(ring->lock);
        if (batch)
            call_after(ring->rd);
        found += batch;
    } while (batch == RING_BATCH && found < RINGD_RING_SLOTS && !load_relaxed(&ring->lock->waiters));
    return found;
}

/* What has become of the ring so far. */
static struct moderation_seen seen_now(const struct ring *ring)
{
    return (struct moderation_seen){.now_ns = monotonic_ns(),
                                    .vcpu_entries = load_relaxed(&ring->vcpu_entries),
                                    .visits = load_relaxed(&ring->visits),
                                    .full_exits = load_relaxed(&ring->full_exits)};
}

static void serve(struct ring *ring, bool woken)
{
    unsigned found = replay_batches(ring, woken);
    struct moderation_seen seen = seen_now(ring);
    seen.found = found;
    if (woken) {
        count_relaxed(&ring->wakeups, 1);
        count_relaxed(&ring->wakeups_wasted, seen.found == 0);
    } else {
        count_relaxed(&ring->looks, 1);
        count_relaxed(&ring->looks_empty, seen.found == 0);
    }
    moderation_step(&ring->moderation, &seen);
    watch(ring);
}

void serve_woken(struct ring *ring)
{
    if (ring->back.wanted) /* an eventfd; KVM's own fd falls silent when the ring is empty */
        source_silence(ring->back.fd);
    serve(ring, true);
}

unsigned serve_timer(struct ringd *rd)
{
    uint64_t now = monotonic_ns();
    unsigned served = 0;
    for (unsigned i = 0; i < rd->ring_count; i++) {
        if (load_relaxed(&rd->rings[i]->look_ns) <= now) {
            serve(rd->rings[i], false);
            served++;
        }
    }
    return served + timer_run(rd);
}

void serve_arm_timer(struct ringd *rd)
{
    lock_take(&rd->timer_lock);
    timer_arm(rd);
    lock_leave(&rd->timer_lock);
}

static void listen_all(struct ringd *rd, bool on)
{
    for (struct watch *watch = rd->watches; watch; watch = watch->next) {
        if (watch->on != on)
            rd->loop_ops->listen(watch, on);
        watch->on = on;
    }
}

void serve_adopt(struct ringd *rd)
{
    listen_all(rd, true);
    for (unsigned i = 0; i < rd->ring_count; i++) {
        struct ring *ring = rd->rings[i];
        if (ring->adopted)
            continue;
        struct moderation_config config = {
            .bound_ns = rd->config.max_replay_latency_ns,
            .capacity = RINGD_RING_SLOTS - 1,
            .notifies = ring->back.fd >= 0,
            .enabled = !rd->config.no_moderation,
        };
        struct moderation_seen before = seen_now(ring);
        moderation_init(&ring->moderation, &config, before.now_ns);
        ring->moderation.before = before; /* what was counted before is not this loop's business */
        ring->adopted = true;
        watch(ring);
    }
}

void serve_unwatch(struct ring *ring)
{
    if (load_relaxed(&ring->armed))
        ring->rd->loop_ops->unwatch(ring);
    store_relaxed(&ring->armed, false);
}

void serve_unwatch_all(struct ringd *rd)
{
    listen_all(rd, false);
    for (unsigned i = 0; i < rd->ring_count; i++)
        serve_unwatch(rd->rings[i]);
}

void serve_watch_again(struct ringd *rd)
{
    listen_all(rd, true);
    for (unsigned i = 0; i < rd->ring_count; i++) {
        struct ring *ring = rd->rings[i];
        if (ring->adopted && ring->moderation.state == MODERATION_ARMED)
            watch(ring);
    }
}

void serve_release(struct ringd *rd)
{
    serve_unwatch_all(rd);
    for (unsigned i = 0; i < rd->ring_count; i++) {
        plan_look(rd->rings[i], RINGD_NEVER, false);
        rd->rings[i]->adopted = false;
    }
}
