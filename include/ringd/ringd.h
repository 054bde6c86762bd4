/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libringd: it hosts device models, gives each a ring of posted writes, and replays those writes, in a thread of its
 * own or in the caller's loop. docs/libringd.md is the guide, libringd(3) the manual.
 *
 * Life cycle: ringd_probe() or ringd_choose(), ringd_create() - ringd_add() and ringd_map() for each device -
 * ringd_start(), or ringd_poll_fd() and ringd_dispatch() - ringd_read()/ringd_write() for each exit - ringd_stop() -
 * ringd_destroy().
 *
 * Who may call what, unless the function says otherwise:
 *   "Any thread": at any time, also at the same time as any other such call.
 *   "Owner": one thread at a time, which need not always be the same one, and not while another thread is in any call
 * for the same ringd or its devices, but in ringd_dispatch(). No function but ringd_backend_name() and ringd_version()
 * may be called from inside a device model's operation or a wiring callback: both run with the device's lock held.
 *
 * Locks: a function that drains takes the ring's lock, one that accesses a device takes the device's. The loop holds
 * these for 32 entries at most before it lets a waiting vCPU have them; nothing blocks with one held. "Waits for locks"
 * means these and no more. Locks are futexes with priority inheritance.
 *
 * Errors: functions that can fail return 0 (or what they say) or -errno; what is not in a function's list does not come
 * from it. Pointers to results are written on success only, unless said otherwise. A pointer argument must not be NULL
 * where that is not mentioned. Nothing is ever written to stdout, and to stderr only what config.warn would get.
 *
 * fork() without exec after ringd_map() is forbidden: the kernel's posted MMIO2 frees a ring with any of its mappings.
 * All fds of the library are close-on-exec.
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

struct ringd;     /* rings, their loop, and the devices: one for each VM */
struct ringd_dev; /* a device hosted by it */

#define RINGD_VERSION "0.1.0" /* of these headers */

/*
 * ringd_version - the version of the library that runs: semantic versioning, docs/libringd.md.
 * Returns a string in static storage, "0.1.0". Any thread; never waits.
 */
const char *ringd_version(void);

enum ringd_backend_kind {
    RINGD_BACKEND_AUTO,  /* mmio2 if it works, else v1 if it works, else off */
    RINGD_BACKEND_MMIO2, /* a ring per device from KVM, poll() */
    RINGD_BACKEND_V1,    /* one ring per VM from KVM, no notification */
    RINGD_BACKEND_MEMFD, /* a ring per device in shared memory, eventfd; the caller is the producer */
    RINGD_BACKEND_OFF,   /* no rings: every access is synchronous */
};

/*
 * ringd_backend_name - "auto", "mmio2", "v1", "memfd" or "off".
 * Returns a string in static storage; "unknown" for any other number. Any thread; never waits.
 */
const char *ringd_backend_name(enum ringd_backend_kind kind);

/* What a back end's probe found. */
struct ringd_probe_result {
    int error;        /* 0: it works; else -errno of the step that failed */
    char reason[128]; /* one line: what works, or which step failed and how */
};

/*
 * ringd_probe - tries a back end for real: a scratch VM whose only instructions are two posted writes, whose ring is
 * then mapped, read and (where it can notify) polled. Nothing of it remains.
 * @kvm_fd: /dev/kvm; unused (may be -1) for memfd and off. Stays the caller's.
 * @kind: any but RINGD_BACKEND_AUTO.
 * @result: filled in whether it works or not.
 * Returns result->error: 0, -ENOTSUP where the kernel does not have it, -EINVAL for AUTO and what is no kind, -EIO
 * where the ring does not do what it should, or what a system call gave.
 * Any thread. Takes up to 25 ms, nearly all of it in the kernel's ending of the VM.
 */
int ringd_probe(int kvm_fd, enum ringd_backend_kind kind, struct ringd_probe_result *result);

/*
 * ringd_choose - resolves RINGD_BACKEND_AUTO by probing mmio2 and v1 in that order; any other kind is probed and
 * returned as it is.
 * @kvm_fd: as for ringd_probe().
 * @result: NULL, or where to say why; filled in whether it works or not.
 * @scratch_vm: NULL, or where to leave the scratch VM's fd (-1: none) for the caller to close whenever the 10 to 20 ms
 * which that takes do not matter.
 * Returns the kind (for AUTO always one: OFF when nothing else works), or, when a named kind does not work here, what
 * ringd_probe() does.
 * Any thread. Takes up to 50 ms.
 */
int ringd_choose(int kvm_fd, enum ringd_backend_kind kind, struct ringd_probe_result *result, int *scratch_vm);

/* For ringd_create(). Set what is not mentioned to zero. */
struct ringd_config {
    enum ringd_backend_kind backend; /* not AUTO: see ringd_choose() */
    int vm_fd;                       /* mmio2, v1; -1 otherwise. Stays the caller's, must outlive the ringd */
    int vcpu_fd;                     /* v1: any vCPU of that VM, whose mapping holds the ring; -1 otherwise */
    uint64_t max_replay_latency_ns;  /* 0: the default, 1 ms. 20 us is the least */
    bool no_moderation;              /* true: every notification wakes the loop (for measurements) */
    int cpu;                         /* host CPU to pin the ring thread to, -1: none */
    int priority;                    /* SCHED_FIFO priority 1 to 99 of the ring thread, 0: ordinary */
    /* One line for the user, without a newline, from the ring thread as it starts; NULL: stderr. No lock is held. */
    void (*warn)(void *ctx, const char *line);
    void *warn_ctx;
};

#define RINGD_DEFAULT_MAX_REPLAY_LATENCY_NS 1000000u
#define RINGD_LEAST_MAX_REPLAY_LATENCY_NS   20000u

/*
 * ringd_create - makes a ringd without devices, whose clock starts at 0 and runs.
 * @config: copied.
 * @out: where to leave it; the caller ends it with ringd_destroy().
 * Returns 0; -EINVAL for a back end of AUTO or no kind, a priority out of range, a bound below the least; -ENOSYS for a
 * kernel without priority-inheriting futexes; -ENOMEM, -EMFILE, -ENFILE; on v1 -ENOTSUP for a kernel without coalesced
 * ports, or what the mapping of the ring gave.
 * Any thread.
 */
int ringd_create(const struct ringd_config *config, struct ringd **out);

/*
 * ringd_destroy - destroys the devices, unregisters their zones, and frees all there is. What stands in the rings is
 * still replayed into the models. Not while the ring thread runs: ringd_stop() first. The VM's fd is closed after this,
 * not before: MMIO2's own fds do not hold the VM.
 * Owner.
 */
void ringd_destroy(struct ringd *rd);

/*
 * What an embedder connects a device to. Callbacks run in whichever thread accesses, replays or serves a timer, with
 * the device's lock held: they must not block, nor call the library. Those of different devices run at the same time.
 */
struct ringd_wiring {
    void *ctx;
    const int *irq_fds; /* one eventfd (irqfd) for each of the model's irq lines, -1: not connected. Copied; the fds
                           stay the caller's and must outlive the device. NULL: none connected */
    /* A line without an fd in irq_fds has changed: for lines whose level matters. NULL: such lines lead nowhere. Not
     * for ringd_add_on_ring(). */
    void (*irq_set)(void *ctx, unsigned line, bool level);
    int (*mem_read)(void *ctx, uint64_t gpa, void *buf, size_t len); /* NULL: no guest memory, -EFAULT */
    int (*mem_write)(void *ctx, uint64_t gpa, const void *buf, size_t len);
    void *(*mem_map)(void *ctx, uint64_t gpa, size_t len); /* as in device.h; NULL: no memory can be reached that way */
    void (*output)(void *ctx, const uint8_t *data, size_t len);              /* NULL: dropped */
    void (*event)(void *ctx, enum ringd_event event, uint64_t value);        /* NULL: ignored */
    void (*log)(void *ctx, enum ringd_log_level level, const char *message); /* NULL: dropped */
};

/*
 * ringd_add - makes an instance of a model and hosts it, with a ring if the back end has one for each device and the
 * model has posted regions. Its regions are not mapped yet.
 * @ops: the model, one of <ringd/models/...> or the embedder's own (<ringd/device.h>); must outlive the device.
 * @config: the model's own configuration, or NULL where its header allows it; read during the call only, unless the
 * header says otherwise.
 * @wiring: copied, but for what ctx points to; NULL: connected to nothing.
 * @out: where to leave the device; it belongs to the ringd.
 * Returns 0; what the model's create() does (-EINVAL, -ENOMEM); -EINVAL for a table that cannot be (device.h), -EMFILE
 * above 64 devices or without room for the ring's fds, -EBUSY while a loop runs and is not paused, -ENOMEM, -ENFILE.
 * Owner, before the loop runs or while paused.
 */
int ringd_add(struct ringd *rd, const struct ringd_device_ops *ops, const void *config,
              const struct ringd_wiring *wiring, struct ringd_dev **out);

/*
 * A ring that somebody else fills and that may have been in use before. Its owner need not be trusted: types, sizes and
 * seals of all descriptors are checked, and nothing of what stands in the memory behind them is believed.
 */
struct ringd_ring_source {
    int ring_fd;   /* a memfd of RINGD_RING_BYTES, allocated and sealed against shrinking and growing, or KVM's MMIO2
                      buffer; -1: none, all accesses are synchronous */
    int event_fd;  /* the memfd's eventfd; -1 for KVM's buffer, which notifies by itself */
    int state_fd;  /* where to commit the device's state (ringd/state.h); -1: nowhere */
    int notify_fd; /* with state_fd: an eventfd that tells of published events and output; -1: none */
};

/*
 * ringd_add_on_ring - as ringd_add(), on a ring from outside; the ringd's back end must be RINGD_BACKEND_MEMFD. Zones
 * are the owner's business: ringd_map() tells the ringd what an entry's address means, and the owner registers zones
 * with KVM after that.
 *
 * With state_fd the device is exactly as its last commit has it if this process is killed at any instruction, and a
 * successor that is given the same descriptors goes on behind the last entry that was applied. Interrupts, events and
 * output leave the device after the commit they belong to; events and output leave by the file, not by the wiring. A
 * line that is high is signalled once more when a successor takes over. A device that is removed is left to a
 * successor in the same way.
 *
 * The descriptors of @source become the ringd's if this succeeds. Returns what ringd_add() does; -ENOTSUP for another
 * back end or a model that cannot save its state; -EINVAL for a descriptor that is not what it should be or a state
 * that the model refuses; -ENOSPC for a state file that is too small.
 */
int ringd_add_on_ring(struct ringd *rd, const struct ringd_device_ops *ops, const void *config,
                      const struct ringd_wiring *wiring, const struct ringd_ring_source *source,
                      struct ringd_dev **out);

/* Did the device go on from what a predecessor had committed? */
bool ringd_took_over(const struct ringd_dev *dev);

/*
 * ringd_remove - the opposite: unmaps the regions, drains and destroys its ring, destroys the model. Its interrupt
 * lines stay as they are. Nobody may use @dev any more. Returns 0, or -EBUSY (and nothing has happened) while a loop
 * runs and is not paused. Owner, before the loop runs or while paused.
 */
int ringd_remove(struct ringd_dev *dev);

/*
 * ringd_map - gives a region its address, registering a zone with KVM when it is posted and the back end has rings; a
 * region that is mapped already is moved. Drains the ring first, so writes accepted at the old address have been
 * replayed when it returns. Which addresses lead to which device is otherwise the caller's business: the library is
 * told device and region of each access.
 * @region: index into the model's table.
 * @addr: where the region's first byte is: guest-physical, or a port.
 * Returns 0; -EINVAL for no such region, or one that would not fit below 65536 (ports) or 2^64; -EEXIST when it
 * overlaps another posted region; -ENOSPC at the kernel's limit of zones; -ENOMEM; or what else KVM said. After
 * -EINVAL and -EEXIST the region is where it was, after another error it is unmapped. Any thread, not for one region
 * from two threads at a time. Waits for locks, and for other calls of this and ringd_unmap().
 *
 * ringd_unmap - takes the address away. Drains as ringd_map() does. Returns 0, also when it was not mapped, or -EINVAL
 * for no such region. Threads and locks as ringd_map().
 */
int ringd_map(struct ringd_dev *dev, unsigned region, uint64_t addr);
int ringd_unmap(struct ringd_dev *dev, unsigned region);

/*
 * ringd_start - starts the ring thread, with all signals blocked, and waits until it watches the rings. A priority or a
 * CPU that is not permitted costs a warning, not an error.
 * Returns 0, also when it runs already; -EBUSY while there is a poll fd; -EAGAIN (no more threads), -ENOMEM.
 * Owner.
 */
int ringd_start(struct ringd *rd);

/*
 * ringd_stop - drains everything, then ends the thread, or closes the poll fd. Idempotent. What comes afterwards stays
 * in the rings until somebody drains them; ringd_start() or ringd_poll_fd() may follow. Owner; not from inside
 * ringd_dispatch(). Waits for locks, and for the thread or the call of ringd_dispatch() to end.
 */
void ringd_stop(struct ringd *rd);

/*
 * ringd_poll_fd - for a caller with a loop of its own, instead of ringd_start(): an fd to watch for POLLIN. It is
 * readable while ringd_dispatch() has something to do, level-triggered, and never while paused. It stays the ringd's;
 * ringd_stop() closes it, so stop watching it first. A second call returns the same fd. config.cpu and config.priority
 * mean nothing then.
 * Returns the fd, -EBUSY while the ring thread runs, or -EMFILE, -ENFILE, -ENOMEM, -ENOSPC (epoll's limit of watches).
 * Owner.
 *
 * ringd_dispatch - serves what is ready: replays rings whose fd or time for a look has come, and calls the models whose
 * timers are due. It does not wait for anything to become ready, and its work is bounded (16 rings that were notified,
 * one look at each of the others, 64 timers): what is left keeps the fd readable. The bound on replay latency holds if
 * it is called as soon as the fd is readable. May be called at any time. Returns how many rings, timers and watched
 * descriptors were served, 0 while paused, -EINVAL without a poll fd, -EBUSY while another thread is in it. One thread
 * at a time, at the same time as "any thread" functions. Waits for locks.
 */
int ringd_poll_fd(struct ringd *rd);
int ringd_dispatch(struct ringd *rd);

/*
 * ringd_watch - has the loop watch a descriptor of the embedder's beside the rings: a back end's completions, an
 * ioeventfd.
 * @fd: anything that epoll takes; stays the caller's, and open until ringd_unwatch() or ringd_destroy().
 * @fn: called by the loop, the ring thread or ringd_dispatch(), while the descriptor is readable, with no lock held: it
 * may call any function that is for any thread. It must not block, and has to make the descriptor unreadable. Not
 * called while paused.
 * Returns 0; -EBUSY while a loop runs and is not paused, -EEXIST for a descriptor that is watched already, -EPERM for
 * one that epoll does not take, -EBADF, -ENOSPC (epoll's limit of watches), -ENOMEM.
 *
 * ringd_unwatch - the opposite. Returns 0, -ENOENT for one that is not watched, or -EBUSY as above.
 * Both: owner, before the loop runs or while paused.
 */
int ringd_watch(struct ringd *rd, int fd, void (*fn)(void *ctx), void *ctx);
int ringd_unwatch(struct ringd *rd, int fd);

/*
 * ringd_after - has the loop call fn(ctx) each time that it has replayed writes or called a model's timer and has let
 * go of the lock: for what a model has begun and what takes too long for its lock, a back end's system calls for one.
 * There is one such function; NULL: none. As that of ringd_watch() it is called with no lock held, and must not block.
 * What other threads replay or call (a vCPU's access, ringd_call(), a pause) is not followed by it.
 * Returns 0, or -EBUSY while a loop runs and is not paused. Owner.
 */
int ringd_after(struct ringd *rd, void (*fn)(void *ctx), void *ctx);

/*
 * ringd_read, ringd_write - a synchronous access by a vCPU: drains the device's ring to its end, then does the access.
 * @offset, @width: any offset, and 1 to 8 bytes, that lie inside the region; not checked. Split as the region's widths
 * demand. The region need not be mapped.
 * @value: bits above the width are ignored.
 * ringd_read() returns the value, with zeroes above the width; what nothing drives reads as ones.
 * A ringd_write() of a region with a zone counts as "ring full": KVM would have recorded it, had there been room.
 * Any thread. Waits for locks.
 *
 * ringd_write_part - as ringd_write(), for one part of a guest's access that reached over the region's edge: such an
 * access is never recorded in a ring, so its arrival as an exit does not count as "ring full".
 */
uint64_t ringd_read(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width);
void ringd_write(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width, uint64_t value);
void ringd_write_part(struct ringd_dev *dev, unsigned region, uint64_t offset, unsigned width, uint64_t value);

/*
 * ringd_save, ringd_load - a device's state in its model's own layout (ops->save()), after a drain. It belongs to a
 * time of the machine: load it where ringd_time() stands no earlier. ringd_time() is what the models see: it stands
 * still while paused. ringd_set_time() sets it, only while paused.
 * @size: of ringd_save(), the room at @state.
 * ringd_save() returns the bytes written, -ENOSPC or -ENOTSUP; ringd_load() 0, -EINVAL, -ENOTSUP; ringd_set_time() 0,
 * -EBUSY, -EINVAL above 2^63 - 1.
 */
int ringd_save(struct ringd_dev *dev, void *state, size_t size);
int ringd_load(struct ringd_dev *dev, const void *state, size_t size);
uint64_t ringd_time(const struct ringd *rd);
int ringd_set_time(struct ringd *rd, uint64_t ns);

/* A synchronous access in one struct, whose numbers may come from somebody who is not trusted. */
struct ringd_access {
    unsigned slot;     /* below RINGD_ACCESS_SLOTS (ringd/state.h): whose sequence numbers these are, say a vCPU's */
    uint64_t sequence; /* another than that slot's last one, or the same for the same access again; 0: not numbered */
    bool write;
    unsigned region, width;
    uint64_t offset, value;
};

/*
 * ringd_access - as ringd_read() or ringd_write(). On a device with a committed state an access whose number is the
 * last one committed for its slot is not executed again: *value is the result that it had.
 * Returns 0, or -EINVAL for an access that is not inside a region.
 */
int ringd_access(struct ringd_dev *dev, const struct ringd_access *access, uint64_t *value);

/*
 * ringd_call - drains, then runs fn(self, arg) with the device's lock held: for what a model offers beside its regions
 * (<ringd/models/...>), input for one. @fn is as a wiring callback: it must not block, nor call the library.
 * Any thread. Waits for locks.
 */
void ringd_call(struct ringd_dev *dev, void (*fn)(void *self, void *arg), void *arg);

/* ringd_drain - every ring, to its end as of this call. Any thread. Waits for locks. */
void ringd_drain(struct ringd *rd);

/*
 * ringd_pause - stands still: waits until the loop does, drains all, calls the models' pause(), and stops device timers
 * and the machine's clock. The caller has stopped the vCPUs first. Nothing when paused already. Accesses are still
 * served. ringd_resume - undoes it; the clock goes on from where it stood. Nothing when not paused. ringd_reset -
 * drains, and puts every device in its power-on state. Only while paused, or before the loop runs. Owner; not from
 * inside ringd_dispatch(). Wait for locks, and for a call of ringd_dispatch() to end.
 */
void ringd_pause(struct ringd *rd);
void ringd_resume(struct ringd *rd);
void ringd_reset(struct ringd *rd);

/* ringd_dev_ops - the @ops of ringd_add(). ringd_backend - the back end. Any thread; never wait. */
const struct ringd_device_ops *ringd_dev_ops(const struct ringd_dev *dev);
enum ringd_backend_kind ringd_backend(const struct ringd *rd);

/*
 * ringd_memfd_ring - for the memfd back end: the ends that the producer needs. All belong to the ringd, and live as
 * long as the device. Any of the results may be NULL.
 * @page: the ring, for ringd_ring_push() in this process.
 * @memfd: the memory behind it, sealed against growing and shrinking, for another process to map.
 * @eventfd: to be signalled when ringd_ring_push() returns 1.
 * Returns 0, or -ENOTSUP on other back ends and for a device without posted regions.
 * Any thread; never waits.
 */
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

/*
 * ringd_ring_count - how many rings there are: v1 has one, mmio2 and memfd one for each device with posted regions.
 * ringd_ring_stats - the figures of ring @index, from 0. Returns 0, or -ENOENT past the end.
 * ringd_region_stats - those of a region. Returns 0, or -ENOENT for no such region.
 * ringd_dev_lock_stats - how long vCPUs waited for the device.
 * ringd_dev_counters - the model's own counters: up to @max of them. Returns how many the model has, which may be more.
 * ringd_thread_wakeups - how often the ring thread returned from epoll_wait(), whatever the cause, or how often
 * ringd_dispatch() was called.
 * Any thread, but not while a device is added or removed. Figures of one call belong together as well as a running
 * machine allows. All wait for locks, but ringd_ring_count() and ringd_thread_wakeups().
 */
unsigned ringd_ring_count(struct ringd *rd);
int ringd_ring_stats(struct ringd *rd, unsigned index, struct ringd_ring_stats *out);
int ringd_region_stats(struct ringd_dev *dev, unsigned region, struct ringd_region_stats *out);
void ringd_dev_lock_stats(struct ringd_dev *dev, struct ringd_lock_stats *out);
unsigned ringd_dev_counters(struct ringd_dev *dev, struct ringd_counter *counters, unsigned max);
uint64_t ringd_thread_wakeups(struct ringd *rd);

RINGD_API_END

#endif
