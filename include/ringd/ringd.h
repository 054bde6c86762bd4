/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring thread: it hosts device models, gives each a ring of posted writes, and replays those writes.
 *
 * Life cycle: ringd_probe() and ringd_create() - ringd_add() and ringd_map() for each device - ringd_start() -
 * ringd_read()/ringd_write() from any thread - ringd_stop() - ringd_destroy().
 *
 * Unless its comment says otherwise, a function may be called from any thread, may wait for a device's lock (held by
 * the ring thread for a bounded batch only), and must not be called from inside a device model or a wiring callback.
 * Functions that can fail return 0 (or a count) or -errno.
 *
 * fork() without exec after ringd_map() is forbidden: the kernel's posted MMIO2 frees a ring with any of its mappings.
 */
#ifndef RINGD_RINGD_H
#define RINGD_RINGD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ringd/api.h>
#include <ringd/device.h>
#include <ringd/ring.h>

RINGD_API_BEGIN

struct ringd;     /* a ring thread and its devices */
struct ringd_dev; /* a device hosted by it */

enum ringd_backend_kind {
    RINGD_BACKEND_AUTO,  /* mmio2 if it works, else v1 if it works, else off */
    RINGD_BACKEND_MMIO2, /* a ring per device from KVM, poll() */
    RINGD_BACKEND_V1,    /* one ring per VM from KVM, no notification */
    RINGD_BACKEND_MEMFD, /* a ring per device in shared memory, eventfd; the caller is the producer */
    RINGD_BACKEND_OFF,   /* no rings: every access is synchronous */
};

#define RINGD_VERSION "0.1.0" /* of these headers */

/* The library's own version, "0.1.0": semantic versioning, docs/libringd.md. Static storage. */
const char *ringd_version(void);

/* "auto", "mmio2", "v1", "memfd", "off". */
const char *ringd_backend_name(enum ringd_backend_kind kind);

/* What a back end's probe found. */
struct ringd_probe_result {
    int error;        /* 0: it works; else -errno of the step that failed */
    char reason[128]; /* one line: what works, or which step failed and how */
};

/*
 * ringd_probe - tries a back end for real: a scratch VM whose only instructions are two posted writes, whose ring is
 * then mapped, read and (where it can notify) polled. Nothing of it remains.
 * @kvm_fd: /dev/kvm; unused (may be -1) for memfd and off.
 * @kind: any but RINGD_BACKEND_AUTO.
 * Takes up to 25 ms, nearly all of it in the kernel's ending of the VM. Returns result->error.
 */
int ringd_probe(int kvm_fd, enum ringd_backend_kind kind, struct ringd_probe_result *result);

/*
 * ringd_choose - resolves RINGD_BACKEND_AUTO by probing mmio2 and v1 in that order; any other kind is probed and
 * returned as it is. @result (may be NULL) tells why.
 * @scratch_vm: NULL, or where to leave the scratch VM's fd (-1: none) for the caller to close whenever the 10 to 20 ms
 * which that takes do not matter.
 * Returns the kind, or -errno when a named kind does not work here.
 */
int ringd_choose(int kvm_fd, enum ringd_backend_kind kind, struct ringd_probe_result *result, int *scratch_vm);

struct ringd_config {
    enum ringd_backend_kind backend; /* not AUTO: see ringd_choose() */
    int vm_fd;                       /* mmio2, v1; -1 otherwise. Stays the caller's, must outlive the ringd */
    int vcpu_fd;                     /* v1: any vCPU of that VM, whose mapping holds the ring; -1 otherwise */
    uint64_t max_replay_latency_ns;  /* 0: the default, 1 ms. 20 us is the least */
    bool no_moderation;              /* true: every notification wakes the thread (for measurements) */
    int cpu;                         /* host CPU to pin the ring thread to, -1: none */
    int priority;                    /* SCHED_FIFO priority 1 to 99 of the ring thread, 0: ordinary */
    /* One line for the user, from ringd_start() or the ring thread; NULL: stderr. */
    void (*warn)(void *ctx, const char *line);
    void *warn_ctx;
};

#define RINGD_DEFAULT_MAX_REPLAY_LATENCY_NS 1000000u
#define RINGD_LEAST_MAX_REPLAY_LATENCY_NS   20000u

/* Returns 0, -EINVAL for a configuration that contradicts itself, -ENOMEM, or the back end's own -errno. */
int ringd_create(const struct ringd_config *config, struct ringd **out);
void ringd_destroy(struct ringd *rd); /* after ringd_stop(); destroys the devices, unregisters their zones */

/* What an embedder connects a device to. Callbacks run with the device's lock held; they must not block or call ringd.
 */
struct ringd_wiring {
    void *ctx;
    const int *irq_fds; /* one eventfd (irqfd) for each of the model's irq lines, -1: not connected. Copied; the fds
                           stay the caller's. NULL: none connected */
    int (*mem_read)(void *ctx, uint64_t gpa, void *buf, size_t len); /* NULL: no guest memory, -EFAULT */
    int (*mem_write)(void *ctx, uint64_t gpa, const void *buf, size_t len);
    void (*output)(void *ctx, const uint8_t *data, size_t len);              /* NULL: dropped */
    void (*event)(void *ctx, enum ringd_event event, uint64_t value);        /* NULL: ignored */
    void (*log)(void *ctx, enum ringd_log_level level, const char *message); /* NULL: dropped */
};

/*
 * ringd_add - makes an instance of a model and hosts it; its regions are not mapped yet.
 * Before ringd_start() or while paused. Returns what ops->create() does, -EBUSY, -EINVAL, -ENOMEM, -EMFILE.
 */
int ringd_add(struct ringd *rd, const struct ringd_device_ops *ops, const void *config,
              const struct ringd_wiring *wiring, struct ringd_dev **out);

/*
 * ringd_remove - the opposite: unmaps its regions, drains and destroys its ring, destroys the model. Its interrupt
 * lines stay as they are. Nobody may use @dev any more. Before ringd_start() or while paused: else -EBUSY, as of
 * ringd_add().
 */
int ringd_remove(struct ringd_dev *dev);

/*
 * ringd_map - gives a region its address, registering a zone when it is posted and the back end has rings; a region
 * that is mapped already is moved. ringd_unmap() takes it away. Both drain the device first, so writes accepted at the
 * old address have been replayed when they return.
 * @addr: where the region's first byte is. Returns 0, -EINVAL, -EEXIST (overlaps another posted region), -ENOSPC (the
 * kernel's limit of zones), -ENOMEM.
 */
int ringd_map(struct ringd_dev *dev, unsigned region, uint64_t addr);
int ringd_unmap(struct ringd_dev *dev, unsigned region);

/* Starts the ring thread. Priority or CPU that is not permitted costs a warning, not an error. -EAGAIN, -ENOMEM. */
int ringd_start(struct ringd *rd);
void ringd_stop(struct ringd *rd); /* drains everything, then ends the thread, or closes the poll fd; idempotent */

/*
 * ringd_poll_fd - for a caller with a loop of its own, instead of ringd_start(): an fd to watch for POLLIN. It is
 * readable while ringd_dispatch() has something to do, level-triggered, and never while paused. It stays the ringd's;
 * ringd_stop() closes it. A second call returns the same fd. config.cpu and config.priority mean nothing then.
 * Returns the fd, -EBUSY while the ring thread runs (ringd_start() returns that while there is a poll fd), or -EMFILE,
 * -ENFILE, -ENOMEM, -ENOSPC.
 *
 * ringd_dispatch - serves what is ready: replays rings whose fd or time for a look has come, and calls the models whose
 * timers are due. It does not wait for anything to become ready, and its work is bounded (16 rings, 64 timers): what is
 * left keeps the fd readable. The bound on replay latency holds if it is called as soon as the fd is readable. May be
 * called at any time, by one thread at a time.
 * Returns how many rings and timers were served, 0 while paused, -EINVAL without a poll fd, -EBUSY while another thread
 * is in it.
 */
int ringd_poll_fd(struct ringd *rd);
int ringd_dispatch(struct ringd *rd);

/*
 * ringd_read, ringd_write - a synchronous access by a vCPU: drains the device's ring to its end, then does the access.
 * Any offset and width of 1 to 8 bytes inside the region; split as the region's widths demand. Bits of a
 * written value above its width are ignored; those of a read one are 0.
 */
uint64_t ringd_read(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width);
void ringd_write(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width, uint64_t value);

/* As ringd_write(), for one part of a guest's access that reached over the region's edge: such an access is never
 * recorded in a ring, so its arrival as an exit does not count as "ring full". */
void ringd_write_part(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width, uint64_t value);

/* Drains, then runs fn(self, arg) with the device's lock held: for what a model offers beside its regions. */
void ringd_call(struct ringd_dev *dev, void (*fn)(void *self, void *arg), void *arg);

void ringd_drain(struct ringd *rd); /* every ring, to its end as of this call */

/*
 * ringd_pause - drains all, stops device timers and the machine's clock. The caller has stopped the vCPUs first.
 * ringd_resume() undoes it. ringd_reset() drains and puts every device in its power-on state; only while paused.
 */
void ringd_pause(struct ringd *rd);
void ringd_resume(struct ringd *rd);
void ringd_reset(struct ringd *rd);

const struct ringd_device_ops *ringd_dev_ops(const struct ringd_dev *dev);
enum ringd_backend_kind ringd_backend(const struct ringd *rd);

/* For the memfd back end: where the producer writes, the memfd behind it, and the eventfd to signal when
 * ringd_ring_push() returns 1. All belong to the ringd. -ENOTSUP on other back ends. Any of the results may be NULL. */
int ringd_memfd_ring(struct ringd_dev *dev, struct ringd_ring_page **page, int *memfd, int *eventfd);

/* Statistics. Times in nanoseconds. */
struct ringd_histogram_summary {
    uint64_t count, min, avg, p50, p99, p999, max; /* percentiles: the bucket's upper edge, at most 6.25 % above */
};

struct ringd_ring_stats {
    const char *name;        /* the device's, or "v1" for the shared ring */
    const char *state;       /* "armed", "latch", "poll" */
    uint64_t entries;        /* replayed */
    uint64_t entries_vcpu;   /* of these, by a vCPU thread on its way to a synchronous access */
    uint64_t batches;        /* drains that found something */
    uint64_t batch_max;      /* entries in the largest */
    uint64_t bad;            /* malformed entries and indices, dropped */
    uint64_t full_exits;     /* posted writes that arrived as exits because there was no room */
    uint64_t wakeups;        /* times the ring's fd woke the thread */
    uint64_t wakeups_wasted; /* of these, with nothing left to do */
    uint64_t looks;          /* timed looks by the thread at a moderated ring */
    uint64_t looks_empty;
    uint64_t looks_put_off; /* times a vCPU that had drained the ring made the next look later */
    uint64_t switches;      /* changes of the moderation's state */
    /* Age of entries at replay, an upper bound: counted from when the ring was last known empty, or from the wake-up.
     */
    struct ringd_histogram_summary latency;
};

struct ringd_region_stats {
    uint64_t addr; /* valid when mapped */
    bool mapped;
    bool zone;                              /* writes here are really posted */
    uint64_t posted;                        /* writes replayed from the ring */
    uint64_t batches;                       /* runs of them that were replayed one after the other */
    uint64_t batch_max;                     /* writes in the longest */
    uint64_t full_exits;                    /* posted writes that arrived as exits because there was no room */
    struct ringd_histogram_summary latency; /* as for rings */
};

struct ringd_lock_stats {
    uint64_t waits;   /* times a vCPU thread found the device's lock taken */
    uint64_t wait_ns; /* altogether */
    uint64_t wait_max_ns;
};

unsigned ringd_ring_count(struct ringd *rd);
int ringd_ring_stats(struct ringd *rd, unsigned index, struct ringd_ring_stats *out); /* -ENOENT past the end */
int ringd_region_stats(struct ringd_dev *dev, unsigned region, struct ringd_region_stats *out);
void ringd_dev_lock_stats(struct ringd_dev *dev, struct ringd_lock_stats *out);
unsigned ringd_dev_counters(struct ringd_dev *dev, struct ringd_counter *counters, unsigned max);
uint64_t ringd_thread_wakeups(struct ringd *rd); /* returns from epoll_wait, whatever the cause;
                                                    or calls of ringd_dispatch() */

RINGD_API_END

#endif
