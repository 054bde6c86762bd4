/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Device timers and the thread's own looks share one timerfd: libev's timers count in milliseconds of epoll_wait, which
 * cannot drive a 1024 Hz tick. A machine has a dozen timers, so the queue is an array and the earliest is looked for.
 *
 * A model sets a timer under its device's lock, from any thread; if that is earlier than what the timerfd is set to,
 * the timerfd is set there and then. The ring thread takes a due timer out of the queue under timer_lock, and calls the
 * model under the device's lock; a model that re-set the timer in between has set it again, so nothing is lost.
 */
#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "ringd/internal.h"

int timer_init(struct ringd *rd)
{
    rd->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    rd->timerfd_at = RINGD_NEVER;
    return rd->timerfd < 0 ? -errno : 0;
}

/* timer_lock held. Setting it also takes back an expiry that nobody has read, so it need not be read. */
static void timerfd_set(struct ringd *rd, uint64_t at_ns)
{
    struct itimerspec spec = {0};
    if (at_ns != RINGD_NEVER) {
        at_ns = at_ns ? at_ns : 1; /* zero would disarm */
        spec.it_value.tv_sec = (time_t)(at_ns / 1000000000u);
        spec.it_value.tv_nsec = (long)(at_ns % 1000000000u);
    }
    rd->timerfd_at = at_ns;
    timerfd_settime(rd->timerfd, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Machine time to CLOCK_MONOTONIC; never while the clock is frozen. */
static uint64_t to_monotonic(const struct ringd *rd, uint64_t deadline_ns)
{
    if (load_relaxed(&rd->frozen_at) != RINGD_NEVER || deadline_ns == RINGD_NEVER)
        return RINGD_NEVER;
    /* Signed: a machine that comes from another host can be ahead of this one's clock. Its time is below 2^63. */
    int64_t skew = (int64_t)load_relaxed(&rd->clock_skew);
    if (skew < 0)
        return deadline_ns > -(uint64_t)skew ? deadline_ns + (uint64_t)skew : 0;
    return deadline_ns > RINGD_NEVER - 1 - (uint64_t)skew ? RINGD_NEVER - 1 : deadline_ns + (uint64_t)skew;
}

void timer_set(struct ringd_dev *dev, unsigned timer, uint64_t deadline_ns)
{
    struct ringd *rd = dev->rd;
    if (timer >= dev->ops->timer_count)
        return;
    uint64_t now = machine_time(rd);
    if (deadline_ns < now) /* due now, and not before all others each time it is set so */
        deadline_ns = now;
    lock_take(&rd->timer_lock);
    dev->deadlines[timer] = deadline_ns;
    uint64_t at = to_monotonic(rd, deadline_ns);
    if (at < rd->timerfd_at)
        timerfd_set(rd, at);
    lock_leave(&rd->timer_lock);
}

/* timer_lock held. The earliest deadline of all devices, and whose it is. */
static uint64_t earliest(struct ringd *rd, struct ringd_dev **dev, unsigned *timer)
{
    uint64_t least = RINGD_NEVER;
    for (unsigned i = 0; i < rd->device_count; i++) {
        struct ringd_dev *candidate = rd->devices[i];
        for (unsigned j = 0; j < candidate->ops->timer_count; j++) {
            if (candidate->deadlines[j] < least) {
                least = candidate->deadlines[j];
                *dev = candidate;
                *timer = j;
            }
        }
    }
    return least;
}

unsigned timer_run(struct ringd *rd)
{
    uint64_t now = machine_time(rd);
    /* Each timer at most once a run: a model that re-arms into the past does not keep the thread from its rings. */
    unsigned ran = 0;
    for (; ran < RINGD_MAX_DEVICES; ran++) {
        struct ringd_dev *dev = NULL;
        unsigned timer = 0;
        lock_take(&rd->timer_lock);
        bool due = load_relaxed(&rd->frozen_at) == RINGD_NEVER && earliest(rd, &dev, &timer) <= now && dev;
        if (due)
            dev->deadlines[timer] = RINGD_NEVER;
        lock_leave(&rd->timer_lock);
        if (!due)
            break;
        lock_take(&dev->lock);
        dev->ops->timer(dev->self, timer);
        if (dev->commit)
            dev_commit(dev);
        lock_leave(&dev->lock);
        call_after(rd);
    }
    return ran;
}

void timer_arm(struct ringd *rd)
{
    struct ringd_dev *dev;
    unsigned timer;
    uint64_t at = to_monotonic(rd, earliest(rd, &dev, &timer));
    for (unsigned i = 0; i < rd->ring_count; i++) {
        uint64_t look = load_relaxed(&rd->rings[i]->look_ns);
        at = look < at ? look : at;
    }
    /* Also when it is set to that already: a time that has passed must fire again or be taken back. */
    if (at != rd->timerfd_at || at <= monotonic_ns())
        timerfd_set(rd, at);
}
