/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client's side of the daemon ringd: devices whose models live in another process, which may die and come back
 * without the guest's noticing more than a pause. docs/libringd.md has the guide, docs/protocol.md the protocol.
 *
 * Life cycle: ringd_client_create() - ringd_client_add() for each device - ringd_client_map(), and only then the zones
 * with KVM - accesses and pushes from vCPU threads, ringd_client_dispatch() in the owner's loop -
 * ringd_client_destroy().
 *
 * Threads: every function may be called from any thread, also at the same time as others, but for what it says of
 * itself. None may be called from inside a callback.
 *
 * A daemon that is away: whoever needs an answer waits, for config.wait_ns at most. An outage has one deadline, which
 * the first one to find the daemon away sets; all others wait until then, and once it has passed, everything fails at
 * once with -ETIMEDOUT, until the daemon is back. Whatever the client has in the daemon is then put there again.
 *
 * Errors: functions that can fail return 0 or -errno. What the daemon answers is passed on; what a function's list does
 * not have does not come from a daemon of this version. Results are written on success only, unless said otherwise.
 */
#ifndef RINGD_CLIENT_H
#define RINGD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ringd/api.h>
#include <ringd/protocol.h>
#include <ringd/ring.h>

RINGD_API_BEGIN

struct ringd_client; /* a connection to a daemon, whichever process that is at the time */
struct ringd_remote; /* a device in it */

#define RINGD_CLIENT_DEFAULT_WAIT_NS UINT64_C(10000000000)
#define RINGD_CLIENT_DEFAULT_SPIN_NS 20000u

struct ringd_client_config {
    const char *path; /* of the daemon's socket, below 108 bytes; copied */
    uint64_t wait_ns; /* how long a daemon that is away, or says nothing, is waited for; 0: the default, 10 s */
    /* How long an access looks for its answer before it sleeps; 0: the default, 20 us. 1: not at all. */
    uint64_t spin_ns;
    /* (optional) The daemon has gone, or is back with all that was there. From whichever thread finds out. */
    void (*state)(void *ctx, bool connected);
    void *ctx;
};

/*
 * ringd_client_create - connects.
 * @config: copied.
 * @out: where to leave the client; the caller ends it with ringd_client_destroy().
 * Returns 0; what connect(2) does (-ENOENT, -ECONNREFUSED, -EACCES); -ENOTCONN for a daemon that hangs up or says
 * nothing for wait_ns, -EPROTO for one that is no ringd, -EPROTONOSUPPORT without a common version, -EUSERS when it has
 * enough clients; -ENAMETOOLONG, -EMFILE, -ENOMEM.
 */
int ringd_client_create(const struct ringd_client_config *config, struct ringd_client **out);

/*
 * ringd_client_destroy - ends the connection, and with it the daemon's devices. What stands in their rings is not
 * waited for: ringd_client_drain() first. Zones with KVM go before this. No other thread is in any call for the client.
 */
void ringd_client_destroy(struct ringd_client *client);

struct ringd_client_device {
    const char *type;   /* "rtc" */
    const void *config; /* struct ringd_config_rtc and so on; copied. NULL: the default */
    size_t config_bytes;
    const int *irq_fds; /* eventfds (irqfds), -1: not connected. They stay the caller's, open until the removal */
    unsigned irq_count;
    int kvm_ring_fd; /* an MMIO2 buffer as the ring, which stays the caller's; -1: a memfd of our own */
    /* (optional) Called by ringd_client_dispatch() and, before it returns, by whatever access, drain, pause or reset
     * caused it; one call for a device at a time. */
    void (*event)(void *ctx, uint32_t event, uint64_t value); /* enum ringd_event, enum ringd_daemon_event */
    void (*output)(void *ctx, const uint8_t *data, size_t len);
    void *ctx;
};

/*
 * ringd_client_add - makes a device in the daemon, in its power-on state, with no region mapped. While the client is
 * paused it starts paused.
 * @device: copied, but for what ctx points to.
 * @out: where to leave it; it belongs to the client.
 * Returns 0; -ENODEV: the daemon does not offer this type; -EINVAL: a configuration that the type refuses, or a
 * descriptor that is not what it should be; -EMFILE: 16 devices, or no more descriptors; -ENOMEM, -ETIMEDOUT.
 *
 * ringd_client_remove - drains its ring and takes it away, which frees @remote whatever this returns. Its zones go
 * first, and nobody uses it any more. Returns 0, or -ETIMEDOUT: the daemon is away, and its successor will not have it.
 */
int ringd_client_add(struct ringd_client *client, const struct ringd_client_device *device, struct ringd_remote **out);
int ringd_client_remove(struct ringd_remote *remote);

/*
 * ringd_client_map - tells the daemon where a region is. When this returns 0 it knows, and has mapped the ring, so the
 * zones may be registered with KVM, not earlier. A region that is mapped is moved.
 * @region: index into the type's regions (docs/protocol.md).
 * @addr: where the region's first byte is: guest-physical, or a port.
 * ringd_client_unmap - takes the address away, after the zone has gone: what is in the ring is replayed first.
 * Both return 0; -EINVAL: no such region, or it does not fit there; -EEXIST: it overlaps another posted region of the
 * device; with both it stays where it was. -ETIMEDOUT: it may or may not have happened.
 */
int ringd_client_map(struct ringd_remote *remote, unsigned region, uint64_t addr);
int ringd_client_unmap(struct ringd_remote *remote, unsigned region);

/* ringd_client_posted - returns a mask. Bit n: writes to region n may be posted. Never waits. */
uint32_t ringd_client_posted(const struct ringd_remote *remote);

/*
 * ringd_client_ring_survives - does what stands in the device's ring outlive the daemon? Returns true for memfd rings
 * and for KVM's where CHECK_EXTENSION has RINGD_KVM_MMIO2_SHARED_RING; false where KVM frees a ring with its one
 * mapping. Each takeover then counts in rings_lost. Never waits.
 */
bool ringd_client_ring_survives(const struct ringd_remote *remote);

/*
 * ringd_client_push - posts a write to the device's own ring (not KVM's). Producers of one device take turns.
 * @addr, @pio: where the guest wrote: a port if @pio is 1, else guest-physical.
 * @data, @len: what, 1 to 8 bytes.
 * Returns 0; -EAGAIN: the ring is full, so write synchronously; -EINVAL: a wrong length, or a ring that KVM fills.
 * Never waits.
 */
int ringd_client_push(struct ringd_remote *remote, uint64_t addr, uint32_t pio, const void *data, uint32_t len);

/*
 * ringd_client_read, ringd_client_write - a synchronous access by the mailbox, behind all that the device's ring holds.
 * Executed exactly once whatever becomes of the daemon meanwhile, if this returns 0.
 * @slot: below RINGD_ACCESS_SLOTS; one access at a time for each, so a vCPU's number.
 * @offset, @width: inside the region; 1 to 8 bytes.
 * @value: of a read: ones, as many as are asked for, when it fails.
 * Return 0; -ETIMEDOUT: the daemon is away, and the access is given up. It has not been executed and will not be,
 * unless the daemon had begun with it (then it counts in in_doubt), and in no case after a later one of the slot.
 * -EINVAL, -ENODEV: not a region's.
 */
int ringd_client_read(struct ringd_remote *remote, unsigned slot, unsigned region, uint64_t offset, unsigned width,
                      uint64_t *value);
int ringd_client_write(struct ringd_remote *remote, unsigned slot, unsigned region, uint64_t offset, unsigned width,
                       uint64_t value);

/*
 * ringd_client_access - the same by a message on the socket: slower, and takes turns with all other requests.
 * @access: region, width, write, slot, offset and value are the caller's; the rest is overwritten.
 * @value: what a read gave; ones when it fails.
 * Returns what ringd_client_read() does; after -ETIMEDOUT it may yet be executed.
 */
int ringd_client_access(struct ringd_remote *remote, struct ringd_msg_access *access, uint64_t *value);

/*
 * ringd_client_drain - replays what stands in all rings, and hands out what that caused.
 * ringd_client_pause - drains, and stops the devices' clock and timers; stays so when the daemon is replaced.
 * ringd_client_resume - goes on.
 * ringd_client_reset - power-on state for all devices; -EBUSY: not paused.
 * All return 0 or -ETIMEDOUT; pause and resume then hold for the successor.
 */
int ringd_client_drain(struct ringd_client *client);
int ringd_client_pause(struct ringd_client *client);
int ringd_client_resume(struct ringd_client *client);
int ringd_client_reset(struct ringd_client *client);

/*
 * ringd_client_save, ringd_client_load - a model's state, and the machine's time that it belongs to.
 * @state: save() fills in bytes, time and state; load() reads them.
 * Return 0 or -ETIMEDOUT; load() -EBUSY: not paused, -EINVAL: not a state of this device with this configuration.
 */
int ringd_client_save(struct ringd_remote *remote, struct ringd_msg_state *state);
int ringd_client_load(struct ringd_remote *remote, const struct ringd_msg_state *state);

/* ringd_client_stats - the daemon's figures of a device, since its process began. Returns 0 or -ETIMEDOUT. */
int ringd_client_stats(struct ringd_remote *remote, struct ringd_msg_stats *stats);

/*
 * ringd_client_poll_fd - an fd that is readable when ringd_client_dispatch() has something to do: events, output, a
 * daemon that has gone or may be back. It stays the client's; level-triggered. Never waits.
 * ringd_client_dispatch - does it, and may be called at any time. Waits for requests of other threads, and for a daemon
 * that is coming back.
 */
int ringd_client_poll_fd(struct ringd_client *client);
void ringd_client_dispatch(struct ringd_client *client);

/* Since ringd_client_create(). */
struct ringd_client_counts {
    uint64_t returns;          /* times the daemon has come back */
    uint64_t outages;          /* times somebody found it away or mute; below `returns` where nobody noticed */
    uint64_t reads_unanswered; /* reads that gave ones because it was away for too long */
    uint64_t writes_dropped;   /* synchronous writes that were given up for that reason */
    uint64_t in_doubt;         /* of both, those that the daemon had begun with: it may have executed them */
    uint64_t rings_lost;       /* KVM's rings that a dead daemon took with it, up to 169 writes each */
};

/*
 * ringd_client_counts - the client's own figures. ringd_client_reconnects - `returns` alone. Never wait.
 */
void ringd_client_counts(const struct ringd_client *client, struct ringd_client_counts *out);
uint64_t ringd_client_reconnects(const struct ringd_client *client);

RINGD_API_END
#endif
