/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/remote.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <ringd/kvm_mmio2.h>

static uint64_t proxy_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct remote_proxy *proxy = self;
    uint64_t value;
    if (ringd_client_read(proxy->remote, proxy->slot, region, offset, width, &value))
        proxy->failures++;
    return value;
}

/* In order: the daemon empties its ring before an access, and a write that finds the ring full is one. So is each that
 * comes here of a device on KVM's ring. */
static void proxy_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct remote_proxy *proxy = self;
    int ret = -EAGAIN;
    if (proxy->vm_fd < 0 && ringd_client_posted(proxy->remote) >> region & 1)
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
        proxy->stats = (struct ringd_msg_stats){0};
    for (; count < proxy->stats.counters && count < RINGD_MSG_COUNTERS; count++) {
        struct ringd_msg_counter *from = &proxy->stats.counter[count];
        from->name[sizeof(from->name) - 1] = 0;
        if (count < max)
            counters[count] = (struct ringd_counter){from->name, from->value};
    }
    const struct ringd_counter own[] = {{"daemon-failures", proxy->failures},
                                        {"daemon-returns", ringd_client_reconnects(proxy->client)},
                                        {"daemon-posted", proxy->stats.entries}};
    for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++, count++)
        if (count < max)
            counters[count] = own[i];
    return count;
}

static int set_zone(const struct remote_proxy *proxy, unsigned region, unsigned long request)
{
    const struct ringd_region *desc = &proxy->ops.regions[region];
    struct ringd_kvm_coalesced_mmio_zone2 zone = {.addr = proxy->base + desc->offset,
                                                  .size = (__u32)desc->size,
                                                  .pio = desc->space == RINGD_PIO,
                                                  .buffer_fd = (__u32)proxy->kvm_ring_fd};
    return ioctl(proxy->vm_fd, request, &zone) < 0 ? -errno : 0;
}

/* The daemon has mapped the ring by now, and knows the regions: KVM wants the one first, and entries the other. */
static int set_zones(struct remote_proxy *proxy)
{
    int ret = 0;
    for (unsigned i = 0; i < proxy->ops.region_count && !ret; i++) {
        if (!(ringd_client_posted(proxy->remote) >> i & 1))
            continue;
        ret = set_zone(proxy, i, RINGD_KVM_REGISTER_COALESCED_MMIO2);
        if (!ret)
            proxy->zones |= 1u << i;
    }
    return ret;
}

static int proxy_create(const struct ringd_env *env, const void *config, void **self)
{
    struct remote_proxy *proxy = (struct remote_proxy *)(uintptr_t)config;
    (void)env;
    if (proxy->vm_fd >= 0) {
        proxy->kvm_ring_fd = ioctl(proxy->vm_fd, RINGD_KVM_CREATE_COALESCED_MMIO_BUFFER, 0);
        if (proxy->kvm_ring_fd < 0)
            return -errno;
    }
    struct ringd_client_device device = {
        .type = proxy->type,
        .config = proxy->config,
        .config_bytes = proxy->config_bytes,
        .irq_fds = &proxy->irq_fd,
        .irq_count = proxy->irq_fd >= 0,
        .kvm_ring_fd = proxy->kvm_ring_fd,
        .event = proxy->event,
        .ctx = proxy->ctx,
    };
    int ret = ringd_client_add(proxy->client, &device, &proxy->remote);
    for (unsigned i = 0; i < proxy->ops.region_count && !ret; i++)
        if (ringd_client_posted(proxy->remote) >> i & 1)
            ret = ringd_client_map(proxy->remote, i, proxy->base + proxy->ops.regions[i].offset);
    if (!ret && proxy->vm_fd >= 0)
        ret = set_zones(proxy);
    *self = proxy;
    return ret;
}

/* The device goes with the connection, and the ring after that. */
static void proxy_destroy(void *self)
{
    struct remote_proxy *proxy = self;
    for (unsigned i = 0; i < proxy->ops.region_count; i++)
        if (proxy->zones >> i & 1)
            (void)set_zone(proxy, i, RINGD_KVM_UNREGISTER_COALESCED_MMIO2);
}

struct remote_proxy *remote_add(struct remote *remote, const struct ringd_device_ops *model, uint64_t base, int irq_fd,
                                bool direct)
{
    if (remote->count == REMOTE_DEVICES || model->region_count > REMOTE_REGIONS)
        return NULL;
    struct remote_proxy *proxy = &remote->proxies[remote->count];
    *proxy = (struct remote_proxy){.ops = *model,
                                   .client = remote->client,
                                   .base = base,
                                   .slot = remote->count,
                                   .irq_fd = irq_fd,
                                   .vm_fd = direct ? remote->vm_fd : -1,
                                   .kvm_ring_fd = -1};
    for (unsigned i = 0; i < model->region_count; i++) {
        proxy->regions[i] = model->regions[i];
        proxy->regions[i].flags &= ~(unsigned)RINGD_POSTED;
    }
    if (proxy->vm_fd >= 0)
        proxy->ops.regions = proxy->regions;
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

int remote_open(struct remote *remote, const char *where, uint64_t wait_ns, int vm_fd, struct ev_loop *loop)
{
    struct ringd_client_config config = {.path = where + strlen("unix:"), .wait_ns = wait_ns};
    const struct timespec wait = {.tv_nsec = START_WAIT_NS};
    int ret = ringd_client_create(&config, &remote->client);
    remote->vm_fd = vm_fd;
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
    for (unsigned i = 0; i < remote->count; i++)
        if (remote->proxies[i].kvm_ring_fd >= 0)
            close(remote->proxies[i].kvm_ring_fd);
}
