/* SPDX-License-Identifier: BSD-2-Clause */
/* What a hosted model reaches of its surroundings. All called with the device's lock held. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "ringd/internal.h"

static struct ringd_dev *dev_of(const struct ringd_env *env)
{
    return ((const struct dev_env *)(const void *)env)->dev;
}

uint64_t machine_time(const struct ringd *rd)
{
    uint64_t frozen = load_relaxed(&rd->frozen_at);
    return frozen != RINGD_NEVER ? frozen : monotonic_ns() - load_relaxed(&rd->clock_skew);
}

static uint64_t env_now(const struct ringd_env *env)
{
    return machine_time(dev_of(env)->rd);
}

static int64_t env_wall(const struct ringd_env *env)
{
    (void)env;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void env_timer_set(const struct ringd_env *env, unsigned timer, uint64_t deadline_ns)
{
    timer_set(dev_of(env), timer, deadline_ns);
}

static void env_irq_set(const struct ringd_env *env, unsigned line, bool level)
{
    struct ringd_dev *dev = dev_of(env);
    if (line >= dev->ops->irq_count || dev->irq_level[line] == level)
        return;
    dev->irq_level[line] = level;
    if (level && dev->irq_fds[line] >= 0) {
        uint64_t one = 1;
        /* An irqfd takes it at once; it fails only at 2^64 - 1 unread edges, which KVM never leaves standing. */
        ssize_t done = write(dev->irq_fds[line], &one, sizeof(one));
        (void)done;
    }
}

static int env_mem_read(const struct ringd_env *env, uint64_t gpa, void *buf, size_t len)
{
    struct ringd_dev *dev = dev_of(env);
    return dev->wiring.mem_read ? dev->wiring.mem_read(dev->wiring.ctx, gpa, buf, len) : -EFAULT;
}

static int env_mem_write(const struct ringd_env *env, uint64_t gpa, const void *buf, size_t len)
{
    struct ringd_dev *dev = dev_of(env);
    return dev->wiring.mem_write ? dev->wiring.mem_write(dev->wiring.ctx, gpa, buf, len) : -EFAULT;
}

static void env_output(const struct ringd_env *env, const uint8_t *data, size_t len)
{
    struct ringd_dev *dev = dev_of(env);
    if (dev->wiring.output)
        dev->wiring.output(dev->wiring.ctx, data, len);
}

static void env_event(const struct ringd_env *env, enum ringd_event event, uint64_t value)
{
    struct ringd_dev *dev = dev_of(env);
    if (dev->wiring.event)
        dev->wiring.event(dev->wiring.ctx, event, value);
}

static void env_log(const struct ringd_env *env, enum ringd_log_level level, const char *format, ...)
{
    struct ringd_dev *dev = dev_of(env);
    if (!dev->wiring.log)
        return;
    char line[256];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    dev->wiring.log(dev->wiring.ctx, level, line);
}

const struct ringd_env_ops env_ops = {
    .now = env_now,
    .wall = env_wall,
    .timer_set = env_timer_set,
    .irq_set = env_irq_set,
    .mem_read = env_mem_read,
    .mem_write = env_mem_write,
    .output = env_output,
    .event = env_event,
    .log = env_log,
};
