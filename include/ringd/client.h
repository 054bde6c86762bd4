/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client's side of the daemon ringd: devices whose models live in another process, which may die and come back
 * without the guest's noticing more than a pause.
 *
 * Life cycle: ringd_client_create() - ringd_client_add() for each device - ringd_client_map(), and only then the zones
 * with KVM - accesses and pushes from vCPU threads, ringd_client_dispatch() in the owner's loop -
 * ringd_client_destroy().
 *
 * Functions may be called from any thread, but those for one slot from one at a time. They return 0 or -errno.
 * -ETIMEDOUT, and -ENOTCONN where nothing may wait: the daemon is away. What was added is added again when it is back.
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

struct ringd_client;
struct ringd_remote; /* a device in the daemon */

#define RINGD_CLIENT_DEFAULT_WAIT_NS UINT64_C(10000000000)
#define RINGD_CLIENT_DEFAULT_SPIN_NS 20000u

struct ringd_client_config {
    const char *path; /* of the daemon's socket; copied */
    uint64_t wait_ns; /* how long an access or a request waits for a daemon that is away; 0: the default, 10 s */
    uint64_t
        spin_ns; /* how long an access looks for its answer before it sleeps; 0: the default, 20 us. 1: not at all */
    void (*state)(void *ctx, bool connected); /* (optional) the daemon has gone, or is back; must not call us */
    void *ctx;
};

/* Connects. Returns what connect(2) does, -EPROTO, -EPROTONOSUPPORT, -EUSERS when the daemon has enough clients. */
int ringd_client_create(const struct ringd_client_config *config, struct ringd_client **out);
void ringd_client_destroy(struct ringd_client *client); /* and its devices */

struct ringd_client_device {
    const char *type;   /* "rtc" */
    const void *config; /* struct ringd_config_rtc and so on; copied. NULL: the default */
    size_t config_bytes;
    const int *irq_fds; /* eventfds (irqfds), -1: not connected. They stay the caller's, open until the removal */
    unsigned irq_count;
    int kvm_ring_fd; /* an MMIO2 buffer as the ring, which stays the caller's; -1: a memfd of our own */
    /* (optional) Called by ringd_client_dispatch() and, before it returns, by whatever access, drain, pause or reset
     * caused it. They must not call the client. */
    void (*event)(void *ctx, uint32_t event, uint64_t value); /* enum ringd_event, enum ringd_daemon_event */
    void (*output)(void *ctx, const uint8_t *data, size_t len);
    void *ctx;
};

/* -ENODEV: the daemon does not offer this type; -EINVAL, -ENOMEM, -EMFILE. */
int ringd_client_add(struct ringd_client *client, const struct ringd_client_device *device, struct ringd_remote **out);
int ringd_client_remove(struct ringd_remote *remote);

/* When this returns 0 the daemon knows the address, and zones may be registered. Take them away before an unmap. */
int ringd_client_map(struct ringd_remote *remote, unsigned region, uint64_t addr);
int ringd_client_unmap(struct ringd_remote *remote, unsigned region);
/* Bit n: writes to region n may be posted. */
uint32_t ringd_client_posted(const struct ringd_remote *remote);

/*
 * ringd_client_push - posts a write to the device's own ring (not KVM's); producers of one device take turns.
 * Returns 0, -EAGAIN when the ring is full: then it must be written synchronously; -EINVAL. Never waits.
 */
int ringd_client_push(struct ringd_remote *remote, uint64_t addr, uint32_t pio, const void *data, uint32_t len);

/*
 * ringd_client_read, ringd_client_write - a synchronous access, executed exactly once whatever becomes of the daemon
 * meanwhile.
 * @slot: below RINGD_ACCESS_SLOTS; one access at a time for each, so a vCPU's number.
 * -ETIMEDOUT after config.wait_ns without the daemon: a read gives ones, and the access may yet be executed, but not
 * after a later one of the same slot. -ENODEV, -EINVAL: not a region's.
 */
int ringd_client_read(struct ringd_remote *remote, unsigned slot, unsigned region, uint64_t offset, unsigned width,
                      uint64_t *value);
int ringd_client_write(struct ringd_remote *remote, unsigned slot, unsigned region, uint64_t offset, unsigned width,
                       uint64_t value);
/* The same by a message on the socket: slower, and without a spinning daemon. */
int ringd_client_access(struct ringd_remote *remote, struct ringd_msg_access *access, uint64_t *value);

int ringd_client_drain(struct ringd_client *client);
int ringd_client_pause(struct ringd_client *client);
int ringd_client_resume(struct ringd_client *client);
int ringd_client_reset(struct ringd_client *client); /* -EBUSY: not paused */
/* A model's state, and the machine's time that it belongs to. load() only while paused. */
int ringd_client_save(struct ringd_remote *remote, struct ringd_msg_state *state);
int ringd_client_load(struct ringd_remote *remote, const struct ringd_msg_state *state);
int ringd_client_stats(struct ringd_remote *remote, struct ringd_msg_stats *stats);

/*
 * ringd_client_poll_fd - readable when ringd_client_dispatch() has something to do: events, output, a daemon that has
 * gone or may be back. Stays the client's.
 * ringd_client_dispatch - does it. Waits at most for an answer of a daemon that is there.
 */
int ringd_client_poll_fd(struct ringd_client *client);
void ringd_client_dispatch(struct ringd_client *client);
/* How often the daemon has come back. */
uint64_t ringd_client_reconnects(const struct ringd_client *client);

RINGD_API_END
#endif
