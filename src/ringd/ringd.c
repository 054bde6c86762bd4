/* SPDX-License-Identifier: BSD-2-Clause */
/* Life and death of a ringd, and standing still. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "ringd/internal.h"

static const struct backend_ops *const backends[] = {&backend_mmio2, &backend_v1, &backend_memfd};

const struct backend_ops *backend_find(enum ringd_backend_kind kind)
{
    for (unsigned i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
        if (backends[i]->kind == kind)
            return backends[i];
    return NULL;
}

const char *ringd_version(void)
{
    return RINGD_VERSION;
}

const char *ringd_backend_name(enum ringd_backend_kind kind)
{
    switch (kind) {
    case RINGD_BACKEND_AUTO:
        return "auto";
    case RINGD_BACKEND_MMIO2:
        return "mmio2";
    case RINGD_BACKEND_V1:
        return "v1";
    case RINGD_BACKEND_MEMFD:
        return "memfd";
    case RINGD_BACKEND_OFF:
        return "off";
    }
    return "unknown";
}

static int check_config(const struct ringd_config *config)
{
    if ((config->backend != RINGD_BACKEND_OFF && !backend_find(config->backend)) || config->priority < 0 ||
        config->priority > 99)
        return -EINVAL;
    if (config->max_replay_latency_ns && config->max_replay_latency_ns < RINGD_LEAST_MAX_REPLAY_LATENCY_NS)
        return -EINVAL;
    return 0;
}

int ringd_create(const struct ringd_config *config, struct ringd **out)
{
    int ret = check_config(config);
    if (!ret)
        ret = lock_supported();
    if (ret)
        return ret;
    struct ringd *rd = calloc(1, sizeof(*rd));
    if (!rd)
        return -ENOMEM;
    rd->config = *config;
    if (!rd->config.max_replay_latency_ns)
        rd->config.max_replay_latency_ns = RINGD_DEFAULT_MAX_REPLAY_LATENCY_NS;
    rd->backend = backend_find(config->backend);
    rd->base = cycles_base();
    rd->frozen_at = RINGD_NEVER;
    rd->clock_skew = rd->base.ns;
    rd->timerfd = rd->poll_fd = -1;
    pthread_mutex_init(&rd->map_lock, NULL);
    pthread_mutex_init(&rd->request_lock, NULL);
    pthread_cond_init(&rd->request_cond, NULL);

    clock_init(rd);
    ret = timer_init(rd);
    struct ring *ring;
    if (!ret && rd->backend && rd->backend->shared)
        ret = ring_create(rd, ringd_backend_name(config->backend), NULL, &ring);
    if (ret) {
        ringd_destroy(rd);
        return ret;
    }
    *out = rd;
    return 0;
}

void ringd_destroy(struct ringd *rd)
{
    for (unsigned i = 0; i < rd->device_count; i++)
        dev_destroy(rd->devices[i]);
    for (unsigned i = 0; i < rd->ring_count; i++)
        ring_destroy(rd->rings[i]);
    thread_destroy(rd);
    watch_destroy(rd);
    if (rd->poll_fd >= 0)
        close(rd->poll_fd);
    if (rd->timerfd >= 0)
        close(rd->timerfd);
    pthread_mutex_destroy(&rd->map_lock);
    pthread_mutex_destroy(&rd->request_lock);
    pthread_cond_destroy(&rd->request_cond);
    free(rd);
}

enum ringd_backend_kind ringd_backend(const struct ringd *rd)
{
    return rd->backend ? rd->backend->kind : RINGD_BACKEND_OFF;
}

static void for_each_device(struct ringd *rd, void (*op)(struct ringd_dev *dev))
{
    for (unsigned i = 0; i < rd->device_count; i++) {
        lock_take(&rd->devices[i]->lock);
        op(rd->devices[i]);
        if (rd->devices[i]->commit)
            dev_commit(rd->devices[i]);
        lock_leave(&rd->devices[i]->lock);
    }
}

static void op_pause(struct ringd_dev *dev)
{
    if (dev->ops->pause)
        dev->ops->pause(dev->self);
}

static void op_resume(struct ringd_dev *dev)
{
    if (dev->ops->resume)
        dev->ops->resume(dev->self);
}

/* Only the commit. */
static void op_nothing(struct ringd_dev *dev)
{
    (void)dev;
}

static void op_reset(struct ringd_dev *dev)
{
    dev->ops->reset(dev->self);
}

/* Makes the loop stand still, whoever runs it: no timer is in flight after this, and nothing new is started, by a loop
 * that is started later neither. */
static void park(struct ringd *rd)
{
    pthread_mutex_lock(&rd->request_lock);
    rd->park = true;
    if (rd->running)
        thread_park(rd);
    else if (rd->poll_fd >= 0)
        dispatch_park(rd);
    pthread_mutex_unlock(&rd->request_lock);
}

/* It re-arms the timerfd before it sleeps. */
static void unpark(struct ringd *rd)
{
    pthread_mutex_lock(&rd->request_lock);
    rd->park = false;
    if (rd->running)
        thread_unpark(rd);
    else if (rd->poll_fd >= 0)
        dispatch_unpark(rd);
    pthread_mutex_unlock(&rd->request_lock);
}

void ringd_stop(struct ringd *rd)
{
    if (!rd->running && rd->poll_fd < 0)
        return;
    ringd_drain(rd);
    if (rd->running)
        thread_stop(rd);
    else
        dispatch_stop(rd);
    ringd_drain(rd); /* what came while the loop ended */
}

void ringd_pause(struct ringd *rd)
{
    if (load_relaxed(&rd->frozen_at) != RINGD_NEVER)
        return;
    park(rd);
    ringd_drain(rd);
    for_each_device(rd, op_pause);
    store_relaxed(&rd->frozen_at, machine_time(rd));
    for_each_device(rd, op_nothing);
}

void ringd_resume(struct ringd *rd)
{
    uint64_t frozen = load_relaxed(&rd->frozen_at);
    if (frozen == RINGD_NEVER)
        return;
    store_relaxed(&rd->clock_skew, monotonic_ns() - frozen);
    store_relaxed(&rd->frozen_at, RINGD_NEVER);
    for_each_device(rd, op_resume);
    unpark(rd);
}

void ringd_reset(struct ringd *rd)
{
    ringd_drain(rd);
    for_each_device(rd, op_reset);
}

uint64_t ringd_time(const struct ringd *rd)
{
    return machine_time(rd);
}

int ringd_set_time(struct ringd *rd, uint64_t ns)
{
    if (load_relaxed(&rd->frozen_at) == RINGD_NEVER)
        return -EBUSY;
    if (ns > RINGD_LATEST)
        return -EINVAL;
    store_relaxed(&rd->frozen_at, ns);
    return 0;
}

struct state_call {
    const struct ringd_device_ops *ops;
    void *state;
    const void *saved;
    size_t size;
    int ret;
};

static void save_state(void *self, void *arg)
{
    struct state_call *call = arg;
    size_t bytes = call->ops->state_size(self);
    if (bytes > call->size) {
        call->ret = -ENOSPC;
        return;
    }
    call->ops->save(self, call->state);
    call->ret = (int)bytes;
}

static void load_state(void *self, void *arg)
{
    struct state_call *call = arg;
    call->ret = call->ops->load(self, call->saved, call->size);
}

int ringd_save(struct ringd_dev *dev, void *state, size_t size)
{
    struct state_call call = {.ops = dev->ops, .state = state, .size = size};
    if (!dev->ops->save)
        return -ENOTSUP;
    ringd_call(dev, save_state, &call);
    return call.ret;
}

int ringd_load(struct ringd_dev *dev, const void *state, size_t size)
{
    struct state_call call = {.ops = dev->ops, .saved = state, .size = size};
    if (!dev->ops->load)
        return -ENOTSUP;
    ringd_call(dev, load_state, &call);
    return call.ret;
}
