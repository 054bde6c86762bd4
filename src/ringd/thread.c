/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring thread: one libev loop that watches the armed rings' fds, one timerfd for looks and device timers, and one
 * ev_async for requests from other threads.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ringd/internal.h"
#include "ringd/slice.h"

static void warn(struct ringd *rd, const char *line)
{
    if (rd->config.warn)
        rd->config.warn(rd->config.warn_ctx, line);
    else
        fprintf(stderr, "%s\n", line);
}

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
    bool armed = ring->moderation.state == MODERATION_ARMED;
    bool wanted = rd->backend->wanted;

    plan_look(ring, ring->moderation.next_look_ns,
              ring->moderation.state == MODERATION_LATCH && ring->moderation.config.enabled);
    store_relaxed(&ring->state, ring->moderation.state);
    store_relaxed(&ring->switches, ring->moderation.switches);
    if (armed != load_relaxed(&ring->armed)) {
        store_relaxed(&ring->armed, armed);
        if (armed) {
            ev_io_start(rd->loop, &ring->io);
        } else {
            /* libev leaves the fd in its epoll set until it reports once more, so this may cost one more wake-up. */
            ev_io_stop(rd->loop, &ring->io);
            if (wanted)
                ring_want_wakeup(ring->cursor.page, false);
        }
    }
    if (armed && wanted) {
        ring_want_wakeup(ring->cursor.page, true);
        /* Pushed before the producer could see the request: wake ourselves; for ever, were any index good enough. */
        if (!ring_is_empty(&ring->cursor) && load_relaxed(&ring->cursor.page->last) < RINGD_RING_SLOTS) {
            uint64_t one = 1;
            ssize_t done = write(ring->back.fd, &one, sizeof(one));
            (void)done;
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

static void on_ring(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct ring *ring = io->data;
    if (ring->rd->backend->wanted) { /* an eventfd; KVM's own fd falls silent when the ring is empty */
        uint64_t count;
        ssize_t done = read(ring->back.fd, &count, sizeof(count));
        (void)done;
    }
    serve(ring, true);
}

static void on_timer(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct ringd *rd = io->data;
    uint64_t now = monotonic_ns();
    for (unsigned i = 0; i < rd->ring_count; i++)
        if (load_relaxed(&rd->rings[i]->look_ns) <= now)
            serve(rd->rings[i], false);
    timer_run(rd);
}

static void on_prepare(struct ev_loop *loop, ev_prepare *prepare, int events)
{
    (void)loop;
    (void)events;
    struct ringd *rd = prepare->data;
    lock_take(&rd->timer_lock);
    timer_arm(rd);
    lock_leave(&rd->timer_lock);
}

static void on_check(struct ev_loop *loop, ev_check *check, int events)
{
    (void)loop;
    (void)events;
    struct ringd *rd = check->data;
    count_relaxed(&rd->polls, 1);
}

/* A ring that the thread has not seen yet. */
static void adopt_rings(struct ringd *rd)
{
    for (unsigned i = 0; i < rd->ring_count; i++) {
        struct ring *ring = rd->rings[i];
        if (ring->io.data)
            continue;
        struct moderation_config config = {
            .bound_ns = rd->config.max_replay_latency_ns,
            .capacity = RINGD_RING_SLOTS - 1,
            .notifies = ring->back.fd >= 0,
            .enabled = !rd->config.no_moderation,
        };
        struct moderation_seen before = seen_now(ring);
        moderation_init(&ring->moderation, &config, before.now_ns);
        ring->moderation.before = before; /* what was counted before this thread is not its business */
        ev_io_init(&ring->io, on_ring, ring->back.fd, EV_READ);
        ring->io.data = ring;
        watch(ring);
    }
}

/* Stands still while asked to. Returns whether the thread is to end. */
static bool stand_still(struct ringd *rd)
{
    pthread_mutex_lock(&rd->request_lock);
    while (rd->park && !rd->stop) {
        rd->parked = true;
        pthread_cond_broadcast(&rd->request_cond);
        pthread_cond_wait(&rd->request_cond, &rd->request_lock);
    }
    rd->parked = false;
    bool stop = rd->stop;
    pthread_mutex_unlock(&rd->request_lock);
    return stop;
}

static void on_wake(struct ev_loop *loop, ev_async *wake, int events)
{
    (void)events;
    struct ringd *rd = wake->data;
    if (stand_still(rd))
        ev_break(loop, EVBREAK_ALL);
    adopt_rings(rd);
}

static void apply_realtime(struct ringd *rd)
{
    char line[160];
    if (rd->config.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((unsigned)rd->config.cpu, &set);
        int error = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
        if (error) {
            snprintf(line, sizeof(line), "the ring thread cannot be pinned to CPU %d: %s; it runs on any CPU",
                     rd->config.cpu, strerror(error));
            warn(rd, line);
        }
    }
    thread_shorten_slice();
    if (rd->config.priority > 0) {
        struct sched_param param = {.sched_priority = rd->config.priority};
        int error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
        if (error) {
            snprintf(line, sizeof(line),
                     "the ring thread cannot have real-time priority %d: %s; it runs at ordinary priority (raise "
                     "RLIMIT_RTPRIO or grant CAP_SYS_NICE)",
                     rd->config.priority, strerror(error));
            warn(rd, line);
        }
    }
}

static void say_ready(struct ringd *rd)
{
    pthread_mutex_lock(&rd->request_lock);
    rd->ready = true;
    pthread_cond_broadcast(&rd->request_cond);
    pthread_mutex_unlock(&rd->request_lock);
}

static void *ring_thread(void *arg)
{
    struct ringd *rd = arg;
    pthread_setname_np(pthread_self(), "ring");
    apply_realtime(rd);
    if (!stand_still(rd)) { /* it may have been paused before it was started */
        adopt_rings(rd);
        say_ready(rd);
        ev_run(rd->loop, 0);
    }
    for (unsigned i = 0; i < rd->ring_count; i++) {
        if (load_relaxed(&rd->rings[i]->armed))
            ev_io_stop(rd->loop, &rd->rings[i]->io);
        store_relaxed(&rd->rings[i]->armed, false);
        plan_look(rd->rings[i], RINGD_NEVER, false);
        rd->rings[i]->io.data = NULL; /* a later ringd_start() adopts it anew */
    }
    return NULL;
}

int thread_init(struct ringd *rd)
{
    rd->loop = ev_loop_new(EVFLAG_NOENV);
    if (!rd->loop)
        return -ENOMEM;
    ev_io_init(&rd->timer_io, on_timer, rd->timerfd, EV_READ);
    ev_prepare_init(&rd->prepare, on_prepare);
    ev_check_init(&rd->check, on_check);
    ev_async_init(&rd->wake, on_wake);
    rd->timer_io.data = rd->prepare.data = rd->check.data = rd->wake.data = rd;
    ev_io_start(rd->loop, &rd->timer_io);
    ev_prepare_start(rd->loop, &rd->prepare);
    ev_check_start(rd->loop, &rd->check);
    ev_async_start(rd->loop, &rd->wake);
    return 0;
}

void thread_destroy(struct ringd *rd)
{
    if (rd->loop)
        ev_loop_destroy(rd->loop);
}

int ringd_start(struct ringd *rd)
{
    if (rd->running)
        return 0;
    rd->stop = rd->ready = false;
    /* Signals are the owner's: none may be delivered here. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&rd->thread, NULL, ring_thread, rd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    rd->running = error == 0;
    /* A thread that has not had the CPU yet would not keep the bound of what is written from here on. */
    pthread_mutex_lock(&rd->request_lock);
    while (rd->running && !rd->ready && !rd->parked)
        pthread_cond_wait(&rd->request_cond, &rd->request_lock);
    pthread_mutex_unlock(&rd->request_lock);
    return -error;
}

void ringd_stop(struct ringd *rd)
{
    if (!rd->running)
        return;
    ringd_drain(rd);
    pthread_mutex_lock(&rd->request_lock);
    rd->stop = true;
    pthread_cond_broadcast(&rd->request_cond);
    pthread_mutex_unlock(&rd->request_lock);
    ev_async_send(rd->loop, &rd->wake);
    pthread_join(rd->thread, NULL);
    rd->running = false;
    ringd_drain(rd); /* what came while the thread ended */
}

void thread_park(struct ringd *rd)
{
    pthread_mutex_lock(&rd->request_lock);
    rd->park = true; /* for a thread that is started later, too */
    if (rd->running)
        ev_async_send(rd->loop, &rd->wake);
    while (rd->running && !rd->parked)
        pthread_cond_wait(&rd->request_cond, &rd->request_lock);
    pthread_mutex_unlock(&rd->request_lock);
}

void thread_unpark(struct ringd *rd)
{
    pthread_mutex_lock(&rd->request_lock);
    rd->park = false;
    pthread_cond_broadcast(&rd->request_cond);
    pthread_mutex_unlock(&rd->request_lock);
    if (rd->running) /* started while paused, it has not parked: its timers must be armed all the same */
        ev_async_send(rd->loop, &rd->wake);
}

uint64_t ringd_thread_wakeups(struct ringd *rd)
{
    return load_relaxed(&rd->polls);
}
