/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/remote.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t proxy_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct remote_proxy *proxy = self;
    uint64_t value;
    if (ringd_client_read(proxy->remote, proxy->slot, region, offset, width, &value))
        proxy->failures++;
    return value;
}

/* In order: the daemon empties its ring before an access, and a write that finds the ring full is one. */
static void proxy_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct remote_proxy *proxy = self;
    int ret = -EAGAIN;
    if (ringd_client_posted(proxy->remote) >> region & 1)
        ret = ringd_client_push(proxy->remote, proxy->base + proxy->ops.regions[region].offset + offset, 1, &value,
                                width);
    if (ret == -EAGAIN)
        ret = ringd_client_write(proxy->remote, proxy->slot, region, offset, width, value);
    if (ret)
        proxy->failures++;
}

static void proxy_reset(void *self)
{
    struct remote_proxy *proxy = self;
    if (ringd_client_reset(proxy->client))
        proxy->failures++;
}

static void proxy_pause(void *self)
{
    struct remote_proxy *proxy = self;
    if (ringd_client_pause(proxy->client))
        proxy->failures++;
}

static void proxy_resume(void *self)
{
    struct remote_proxy *proxy = self;
    if (ringd_client_resume(proxy->client))
        proxy->failures++;
}

static unsigned proxy_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    struct remote_proxy *proxy = self;
    unsigned count = 0;
    if (ringd_client_stats(proxy->remote, &proxy->stats))
        proxy->stats.counters = 0;
    for (; count < proxy->stats.counters && count < RINGD_MSG_COUNTERS; count++) {
        struct ringd_msg_counter *from = &proxy->stats.counter[count];
        from->name[sizeof(from->name) - 1] = 0;
        if (count < max)
            counters[count] = (struct ringd_counter){from->name, from->value};
    }
    const struct ringd_counter own[] = {{"daemon-failures", proxy->failures},
                                        {"daemon-returns", ringd_client_reconnects(proxy->client)}};
    for (unsigned i = 0; i < 2; i++, count++)
        if (count < max)
            counters[count] = own[i];
    return count;
}

static int proxy_create(const struct ringd_env *env, const void *config, void **self)
{
    struct remote_proxy *proxy = (struct remote_proxy *)(uintptr_t)config;
    struct ringd_client_device device = {
        .type = proxy->type,
        .config = proxy->config,
        .config_bytes = proxy->config_bytes,
        .irq_fds = &proxy->irq_fd,
        .irq_count = proxy->irq_fd >= 0,
        .kvm_ring_fd = -1,
        .event = proxy->event,
        .ctx = proxy->ctx,
    };
    (void)env;
    int ret = ringd_client_add(proxy->client, &device, &proxy->remote);
    for (unsigned i = 0; i < proxy->ops.region_count && !ret; i++)
        if (proxy->ops.regions[i].flags & RINGD_POSTED)
            ret = ringd_client_map(proxy->remote, i, proxy->base + proxy->ops.regions[i].offset);
    *self = proxy;
    return ret;
}

/* The device goes with the connection. */
static void proxy_destroy(void *self)
{
    (void)self;
}

struct remote_proxy *remote_add(struct remote *remote, const struct ringd_device_ops *model, uint64_t base, int irq_fd)
{
    if (remote->count == REMOTE_DEVICES)
        return NULL;
    struct remote_proxy *proxy = &remote->proxies[remote->count];
    *proxy = (struct remote_proxy){
        .ops = *model, .client = remote->client, .base = base, .slot = remote->count, .irq_fd = irq_fd};
    proxy->ops.create = proxy_create;
    proxy->ops.destroy = proxy_destroy;
    proxy->ops.read = proxy_read;
    proxy->ops.write = proxy_write;
    proxy->ops.reset = proxy_reset;
    proxy->ops.pause = proxy_pause;
    proxy->ops.resume = proxy_resume;
    proxy->ops.counters = proxy_counters;
    proxy->ops.timer_count = 0;
    proxy->ops.timer = NULL;
    proxy->ops.state_size = NULL;
    proxy->ops.save = NULL;
    proxy->ops.load = NULL;
    remote->count++;
    return proxy;
}

static void on_client(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    ringd_client_dispatch(io->data);
}

static bool is_away(int error)
{
    return error == -ENOENT || error == -ECONNREFUSED || error == -ENOTCONN;
}

/* A daemon that is being started anew just now is waited for a moment. */
#define START_TRIES   20u
#define START_WAIT_NS 50000000

int remote_open(struct remote *remote, const char *where, struct ev_loop *loop)
{
    struct ringd_client_config config = {.path = where + strlen("unix:")};
    const struct timespec wait = {.tv_nsec = START_WAIT_NS};
    int ret = ringd_client_create(&config, &remote->client);
    for (unsigned i = 0; i < START_TRIES && is_away(ret); i++) {
        nanosleep(&wait, NULL);
        ret = ringd_client_create(&config, &remote->client);
    }
    if (ret) {
        fprintf(stderr, "ringvmm: --device-model '%s': %s%s\n", where, strerror(-ret),
                is_away(ret) ? "; start 'ringd --socket PATH' first" : "");
        remote->client = NULL;
        return ret;
    }
    ev_io_init(&remote->io, on_client, ringd_client_poll_fd(remote->client), EV_READ);
    remote->io.data = remote->client;
    ev_io_start(loop, &remote->io);
    return 0;
}

void remote_close(struct remote *remote, struct ev_loop *loop)
{
    if (!remote->client)
        return;
    ev_io_stop(loop, &remote->io);
    ringd_client_destroy(remote->client);
    remote->client = NULL;
}
