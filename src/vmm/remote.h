/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --device-model: the RTC and the PCI host bridge in the daemon ringd. In the machine stand proxies with the same
 * regions.
 *
 * Where KVM's rings outlive the daemon (MMIO2 with shared rings), posted writes go from KVM to the daemon without us:
 * the device's ring is a buffer of KVM, which the daemon reads, and here its regions are not posted. Elsewhere what
 * KVM's ring or an exit brings to a proxy goes on by a ring in shared memory. All else goes by the mailbox.
 */
#ifndef VMM_REMOTE_H
#define VMM_REMOTE_H

#include <ev.h>

#include <ringd/client.h>
#include <ringd/device.h>

#define REMOTE_DEVICES 2u
#define REMOTE_REGIONS 4u

struct machine;

/* What a proxy is made of; create()'s configuration. */
struct remote_proxy {
    struct ringd_device_ops ops;                 /* the model's own tables with a proxy's operations */
    struct ringd_region regions[REMOTE_REGIONS]; /* of a device on KVM's ring: the model's, none of them posted */
    struct ringd_client *client;
    struct ringd_remote *remote;
    int vm_fd;       /* where the zones are of a device on KVM's ring; -1: it is on one in shared memory */
    int kvm_ring_fd; /* -1 there */
    uint32_t zones;  /* bit n: region n has one */
    const char *type;
    uint64_t base;
    unsigned slot;
    int irq_fd;
    uint8_t config[RINGD_MSG_CONFIG_BYTES];
    size_t config_bytes;
    void (*event)(void *ctx, uint32_t event, uint64_t value);
    void *ctx;
    uint64_t failures;            /* accesses that the daemon was away for too long to answer */
    struct ringd_msg_stats stats; /* of the last counters(): its names are handed out */
};

struct remote {
    struct ringd_client *client; /* NULL: no daemon */
    ev_io io;
    struct remote_proxy proxies[REMOTE_DEVICES];
    unsigned count;
    int vm_fd; /* -1: KVM's rings are not for the daemon */
};

/* `where`: "unix:PATH"; `wait_ns`: how long the daemon is waited for; `vm_fd`: of a VM whose MMIO2 rings outlive the
 * daemon, or -1. Reports an error on stderr and returns -errno. */
int remote_open(struct remote *remote, const char *where, uint64_t wait_ns, int vm_fd, struct ev_loop *loop);
void remote_close(struct remote *remote, struct ev_loop *loop); /* after the machine's devices */

/* A proxy for a model with these tables, to be added with itself as its configuration; its type, configuration and
 * event are the caller's to fill in. `direct`: the tables are the model's own, so KVM's ring may go to the daemon.
 * NULL: there is no room for one more. */
struct remote_proxy *remote_add(struct remote *remote, const struct ringd_device_ops *model, uint64_t base, int irq_fd,
                                bool direct);

#endif
