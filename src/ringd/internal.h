/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of a ringd. Locks, in the order in which they are taken (never two device locks at once):
 *
 *   1. rd->map_lock        which regions are mapped where; held across back end calls, never on the path of a write
 *   2. v1's ring lock      consumer of the VM-wide ring (struct ring.own_lock)
 *   3. a device's lock     the model, and on mmio2 and memfd the consumer of its ring
 *   4. rd->timer_lock      the timer queue and what the timerfd is set to
 *      rd->request_lock    stop and park requests to the loop; held with no other lock, but over timer_lock
 *
 * Each field below names its lock, or its memory order where several threads meet without one.
 */
#ifndef RINGD_INTERNAL_H
#define RINGD_INTERNAL_H

#include <ev.h>
#include <pthread.h>

#include <ringd/ringd.h>

#include "common/cycles.h"
#include "ringd/backend.h"
#include "ringd/commit.h"
#include "ringd/cursor.h"
#include "ringd/histogram.h"
#include "ringd/lock.h"
#include "ringd/moderation.h"

#define RINGD_MAX_DEVICES 64u
#define RINGD_MAX_RINGS   RINGD_MAX_DEVICES
#define RINGD_MAX_IRQS    65u /* a PCI function's line and 64 messages */

/* The machine's time stays below this: its difference from the host's clock is then a signed number. 292 years. */
#define RINGD_LATEST ((uint64_t)INT64_MAX)

/* Entries that the ring thread replays before it lets a waiting vCPU have the lock: about 5 us of replaying. */
#define RING_BATCH 32u

/* Where a posted write belongs. Zones of one ring never overlap. */
struct zone {
    uint64_t addr;
    uint64_t size;
    uint32_t pio;
    unsigned region;
    struct ringd_dev *dev;
    struct region_posted *posted; /* the region's */
};

/* Where a write went: most often the next one goes there too, and need not be checked again. */
struct place {
    uint64_t addr, kind;     /* the entry's first two words */
    struct ringd_dev *dev;   /* NULL: nowhere yet */
    const struct zone *zone; /* no_zone then, which holds nothing */
    uint64_t mask, offset;
    unsigned region, width; /* the model takes this width as it is */
};

extern const struct place no_place;

struct ring {
    struct ringd *rd;
    const char *name;
    struct backend_ring back;
    struct ringd_lock *lock; /* consumer lock: the device's, or own_lock when the ring is shared */
    struct ringd_lock own_lock;
    bool shared;
    struct ringd_dev *committed; /* constant: the device whose state is committed with each batch; NULL: none */

    /* Under the consumer lock. */
    bool closed; /* its device is about to go, and what comes now is for a successor */
    struct ring_cursor cursor;
    struct zone *zones;
    unsigned zone_count;
    struct place recent; /* of the last write; forgotten when the zones change */
    uint64_t entries, batches, batch_max, bad;

    /* Written under the consumer lock, read by the ring thread without it: atomic, relaxed. Late by one look is fine.
     */
    uint64_t vcpu_entries;
    uint64_t visits;
    uint64_t full_exits;
    /* Cycles when the ring was last seen empty, or its wake-up came. Written by whoever saw it, with or without the
     * lock. */
    uint64_t known_empty;
    /* Written by the ring thread, read by others for statistics: atomic, relaxed. */
    enum moderation_state state;
    bool armed; /* the fd is watched */
    uint64_t switches, wakeups, wakeups_wasted, looks, looks_empty;
    /* When the ring thread looks by itself, in CLOCK_MONOTONIC ns; RINGD_NEVER: not at all. Written under
     * rd->timer_lock, by the thread and by vCPUs that put it off; read without: atomic, relaxed. */
    uint64_t look_ns;
    /* Putting it off. Atomic, relaxed; all but put_off_at written by the ring thread, under rd->timer_lock. */
    uint64_t put_off_at;     /* cycles: a vCPU that has drained the ring later than this puts the look off */
    uint64_t put_off_cycles; /* for so long that is not worth while again; 0: the look may not be put off */
    uint64_t put_off_ns;     /* how far from now the look is put */
    uint64_t full_seen;      /* full_exits at the last look */
    uint64_t looks_put_off;  /* written by vCPUs, for statistics */

    /* The loop's own: the ring thread's, or whoever calls ringd_dispatch(). */
    struct moderation moderation;
    bool adopted; /* the loop knows of it */
    ev_io io;     /* the ring thread's */
};

/* What is known of a posted region's writes. Under the device's lock. */
struct region_posted {
    uint64_t batches, batch_max, full_exits;
    struct histogram latency; /* cycles; its count is that of the writes */
};

struct region_state {
    unsigned whole; /* constant; bit n: an access of n bytes goes to the model as it is, not split */
    /* Under rd->map_lock. */
    uint64_t addr;
    bool mapped;
    /* Written under rd->map_lock and the device's lock, read under either. */
    bool zone;
    struct region_posted *posted; /* NULL for a region that is not posted */
};

struct dev_env {
    struct ringd_env env; /* first: the model holds a pointer to it */
    struct ringd_dev *dev;
};

struct ringd_dev {
    struct ringd *rd;
    const struct ringd_device_ops *ops;
    void *self; /* under `lock` */
    struct dev_env env;
    struct ringd_wiring wiring;
    struct ring *ring;     /* its own, the shared one, or NULL */
    struct commit *commit; /* under `lock`; NULL: its state is not committed */
    bool took_over;        /* constant */
    int state_fd;          /* constant; of the file that it is committed to */
    struct region_state *regions;
    struct ringd_lock lock;
    uint64_t now_ns, now_cycles;        /* under `lock`: what the model was told last of the time, and when */
    struct ringd_lock_stats lock_stats; /* under `lock`; times in cycles */
    uint64_t *deadlines;                /* under rd->timer_lock; RINGD_NEVER: not set */
    int irq_fds[RINGD_MAX_IRQS];
    bool irq_level[RINGD_MAX_IRQS]; /* under `lock` */
};

/* A descriptor of the embedder's. On a list that changes while no loop runs or while paused. */
struct watch {
    struct ringd *rd;
    int fd;
    void (*fn)(void *ctx);
    void *ctx;
    struct watch *next;
    /* The loop's own, or of who has parked it. */
    bool on;
    ev_io io; /* the ring thread's */
};

/* How a loop watches a ring's fd, or the embedder's. */
struct loop_ops {
    bool (*watch)(struct ring *ring); /* false: the kernel has no memory for it */
    void (*unwatch)(struct ring *ring);
    void (*listen)(struct watch *watch, bool on);
};

struct ringd {
    struct ringd_config config;
    const struct backend_ops *backend; /* NULL: off */
    struct cycles_base base;
    bool tsc_trusted;               /* constant: the kernel keeps time by the cycle counter */
    struct cycles_base calibration; /* constant */
    uint64_t calibrate_at;          /* atomic, relaxed: cycles since then at which the next bound is worked out */
    uint64_t cycle_most; /* atomic, relaxed: an upper bound of a cycle's length in 2^-32 ns; 0: not known yet */

    pthread_mutex_t map_lock;
    struct ringd_dev *devices[RINGD_MAX_DEVICES]; /* change before a loop runs or while paused */
    unsigned device_count;
    struct ring *rings[RINGD_MAX_RINGS];
    struct watch *watches; /* as devices[] */
    void (*after)(void *ctx);
    void *after_ctx; /* both as devices[] */
    unsigned ring_count;

    struct ringd_lock timer_lock;
    int timerfd;
    uint64_t timerfd_at; /* under timer_lock: CLOCK_MONOTONIC ns it is set to, RINGD_NEVER: not set */
    uint64_t clock_skew; /* atomic, relaxed: CLOCK_MONOTONIC minus machine time; changes only while paused */
    uint64_t frozen_at;  /* atomic, relaxed: machine time of the pause, or RINGD_NEVER while running */

    const struct loop_ops *loop_ops; /* of the loop that runs, or ran last */
    struct ev_loop *loop;            /* the ring thread's once it runs; NULL: never started */
    ev_io timer_io;
    ev_prepare prepare;
    ev_check check;
    ev_async wake;  /* the one thing that other threads do to the loop: re-read the requests below */
    uint64_t polls; /* atomic, relaxed */
    pthread_t thread;
    bool running; /* the owner's: the thread has been started */

    pthread_mutex_t request_lock; /* guards: */
    pthread_cond_t request_cond;
    bool ready;       /* the thread has its rings */
    bool stop;        /* the thread is to end */
    bool park;        /* the loop is to stand still */
    bool parked;      /* the thread does */
    bool dispatching; /* a call of ringd_dispatch() is under way */
    unsigned waiting; /* threads that wait for its end: another one does nothing meanwhile */
    int poll_fd;      /* the caller's own loop; -1: none. Changes with no call under way */
};

#define load_relaxed(p)     __atomic_load_n((p), __ATOMIC_RELAXED)
#define store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
/* For a counter that one thread at a time writes. */
#define count_relaxed(p, n) store_relaxed((p), *(p) + (n))

/* replay.c */
/* Replays what stands in the ring as of now, with `yield` at most RING_BATCH of it. Consumer lock held. Returns how
 * many entries that was. */
unsigned ring_replay(struct ring *ring, bool yield);
/* Takes the consumer lock and drains to the end, as a vCPU or a control thread. */
void ring_drain(struct ring *ring);

/* device.c */
int ring_create(struct ringd *rd, const char *name, struct ringd_lock *lock, struct ring **out);
void ring_destroy(struct ring *ring);
void dev_destroy(struct ringd_dev *dev);
/* Nothing is replayed from the device's own ring any more, by its end neither: what stands there is for a successor. */
void dev_abandon(struct ringd_dev *dev);
/* A loop runs and does not stand still: nothing may come or go. */
bool ringd_loop_may_run(const struct ringd *rd);

/* watch.c */
void watch_destroy(struct ringd *rd);
/* The loop has let go of a device's lock, with something done. */
static inline void call_after(const struct ringd *rd)
{
    if (rd->after)
        rd->after(rd->after_ctx);
}

/* The lock is held, the device has a committed state: commits what its model has done, and lets the effects out. */
void dev_commit(struct ringd_dev *dev);

/* env.c */
extern const struct ringd_env_ops env_ops, outside_env_ops, committed_env_ops;
uint64_t machine_time(const struct ringd *rd);
void clock_init(struct ringd *rd);

/* timer.c */
int timer_init(struct ringd *rd);
void timer_set(struct ringd_dev *dev, unsigned timer, uint64_t deadline_ns);
/* Calls the models whose timers are due; returns how many. The loop, no lock held. */
unsigned timer_run(struct ringd *rd);
/* Sets the timerfd to the earliest of the device timers and the rings' looks. Any thread; timer_lock is held. */
void timer_arm(struct ringd *rd);

/* serve.c: the loop, or with the loop standing still; no lock held but request_lock. */
/* The ring's fd has become ready. */
void serve_woken(struct ring *ring);
/* The timerfd has: looks and device timers that are due. Returns how many. */
unsigned serve_timer(struct ringd *rd);
/* Before the loop sleeps: sets the timerfd for what comes next. */
void serve_arm_timer(struct ringd *rd);
/* Takes on rings that the loop does not know of, and gives up all of them. */
void serve_adopt(struct ringd *rd);
void serve_release(struct ringd *rd);
/* The ring's fd is not watched any more; none is until serve_watch_again(). */
void serve_unwatch(struct ring *ring);
void serve_unwatch_all(struct ringd *rd);
void serve_watch_again(struct ringd *rd);

/* thread.c; for a ring thread that runs */
void thread_destroy(struct ringd *rd);
void thread_stop(struct ringd *rd);
/* Waits until it stands still outside any model, or lets it run again; request_lock held, `park` set or taken back. */
void thread_park(struct ringd *rd);
void thread_unpark(struct ringd *rd);

/* dispatch.c; the same for the caller's own loop */
void dispatch_stop(struct ringd *rd);
/* Puts the descriptor into the set, not listened to yet, or takes it out. 0 or -errno. */
int dispatch_add(struct watch *watch);
void dispatch_remove(struct watch *watch);
void dispatch_park(struct ringd *rd);
void dispatch_unpark(struct ringd *rd);

#endif
