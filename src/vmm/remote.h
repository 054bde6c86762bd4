/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --device-model: the RTC and the PCI host bridge in the daemon ringd. In the machine stand proxies with the same
 * regions: what KVM's ring or an exit brings to a proxy goes on to the daemon, posted writes by a ring in shared
 * memory, all else by the mailbox.
 */
#ifndef VMM_REMOTE_H
#define VMM_REMOTE_H

#include <ev.h>

#include <ringd/client.h>
#include <ringd/device.h>

#define REMOTE_DEVICES 2u

struct machine;

/* What a proxy is made of; create()'s configuration. */
struct remote_proxy {
    struct ringd_device_ops ops; /* the model's own tables with a proxy's operations */
    struct ringd_client *client;
    struct ringd_remote *remote;
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
};

/* `where`: "unix:PATH". Reports an error on stderr and returns -errno. */
int remote_open(struct remote *remote, const char *where, struct ev_loop *loop);
void remote_close(struct remote *remote, struct ev_loop *loop); /* after the machine's devices */

/* A proxy for a model with these tables, to be added with itself as its configuration; its type, configuration and
 * event are the caller's to fill in. */
struct remote_proxy *remote_add(struct remote *remote, const struct ringd_device_ops *model, uint64_t base, int irq_fd);

#endif
