/* SPDX-License-Identifier: BSD-2-Clause */
/* What a hosted model reaches of its surroundings. All called with the device's lock held. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ringd/internal.h"
#include "ringd/source.h"

static struct ringd_dev *dev_of(const struct ringd_env *env)
{
    return ((const struct dev_env *)(const void *)env)->dev;
}

uint64_t machine_time(const struct ringd *rd)
{
    uint64_t frozen = load_relaxed(&rd->frozen_at);
    return frozen != RINGD_NEVER ? frozen : monotonic_ns() - load_relaxed(&rd->clock_skew);
}

/*
 * Asking the kernel for the time takes a hundred instructions, the time-stamp counter one. now() notes where both
 * stood, and before() adds to that time what may have passed at most. A bound is all that is computed, so the worst
 * that a rate can do that is too high is a needless now(); one that is too low makes a model late by that part of the
 * time since the last now(). The counter is trusted if the kernel keeps time by it when the ringd is made.
 */
#define CLOCK_SOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"
#define CALIBRATE_FIRST                                                                                                \
    (UINT64_C(1) << 20) /* cycles, 0.3 to 1 ms: reading two clocks one after the other errs by 0.03 % */
#define CALIBRATE_LAST    (UINT64_C(1) << 34) /* some seconds */
#define LONGEST_CYCLES    (UINT64_C(1) << 31) /* a second or two; beyond it now() is asked */
#define RATE_MARGIN       1.1 /* the kernel's clock may be slewed by up to 10 % (adjtimex(2), ADJ_TICK) */
#define LEAST_SOUND_CYCLE 0.1 /* ns; a counter of 10 GHz, or more than 1 ns x 2^31, is a broken one */
#define MOST_SOUND_CYCLE  2.0

/* For the rate, because the counter runs on while the host is suspended and CLOCK_MONOTONIC does not. */
static uint64_t boottime_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void clock_init(struct ringd *rd)
{
    rd->calibration = (struct cycles_base){.ns = boottime_ns(), .cycles = cycles_now()}; /* in this order */
    rd->calibrate_at = CALIBRATE_FIRST;
    char name[16] = "";
    int fd = open(CLOCK_SOURCE, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    rd->tsc_trusted = read(fd, name, sizeof(name)) == 4 && memcmp(name, "tsc\n", 4) == 0;
    close(fd);
}

/* The upper bound of a cycle's length, from the most time and the fewest cycles that have passed; better each time that
 * is twice as long. Several threads may be at it, and any of their results will do. */
static void calibrate(struct ringd *rd, uint64_t cycles)
{
    uint64_t passed = cycles - rd->calibration.cycles;
    double cycle_ns = (double)(boottime_ns() - rd->calibration.ns) / (double)passed * RATE_MARGIN;
    if (cycle_ns > LEAST_SOUND_CYCLE && cycle_ns < MOST_SOUND_CYCLE)
        store_relaxed(&rd->cycle_most, (uint64_t)(cycle_ns * 4294967296.0)); /* 2^32 */
    store_relaxed(&rd->calibrate_at, passed < CALIBRATE_LAST ? passed * 2 : UINT64_MAX);
}

static uint64_t env_now(const struct ringd_env *env)
{
    struct ringd_dev *dev = dev_of(env);
    uint64_t cycles = cycles_now(); /* before the clock: what passes in between is counted as time since then */
    uint64_t now = machine_time(dev->rd);
    if (dev->rd->tsc_trusted) {
        if (__builtin_expect(cycles - dev->rd->calibration.cycles >= load_relaxed(&dev->rd->calibrate_at), 0))
            calibrate(dev->rd, cycles);
        dev->now_cycles = cycles;
        dev->now_ns = now;
    }
    return now;
}

/* A pause that lies between the two makes the bound higher than it need be, no more. */
static bool env_before(const struct ringd_env *env, uint64_t ns)
{
    const struct ringd_dev *dev = dev_of(env);
    uint64_t passed = cycles_now() - dev->now_cycles, cycle_most = load_relaxed(&dev->rd->cycle_most);
    return cycle_most && passed < LONGEST_CYCLES && dev->now_ns + (passed * cycle_most >> 32) < ns;
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
    } else if (dev->wiring.irq_set && dev->irq_fds[line] < 0) {
        dev->wiring.irq_set(dev->wiring.ctx, line, level);
    }
}

static void outside_irq_set(const struct ringd_env *env, unsigned line, bool level)
{
    struct ringd_dev *dev = dev_of(env);
    if (line >= dev->ops->irq_count || dev->irq_level[line] == level)
        return;
    dev->irq_level[line] = level;
    if (level)
        source_signal(dev->irq_fds[line]);
}

static void committed_irq_set(const struct ringd_env *env, unsigned line, bool level)
{
    struct ringd_dev *dev = dev_of(env);
    if (line >= dev->ops->irq_count || dev->irq_level[line] == level)
        return;
    dev->irq_level[line] = level;
    if (level)
        commit_irq(dev->commit, line);
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

static void *env_mem_map(const struct ringd_env *env, uint64_t gpa, size_t len)
{
    struct ringd_dev *dev = dev_of(env);
    return dev->wiring.mem_map ? dev->wiring.mem_map(dev->wiring.ctx, gpa, len) : NULL;
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

static void committed_output(const struct ringd_env *env, const uint8_t *data, size_t len)
{
    commit_output(dev_of(env)->commit, data, len);
}

static void committed_event(const struct ringd_env *env, enum ringd_event event, uint64_t value)
{
    commit_event(dev_of(env)->commit, event, value);
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
    .before = env_before,
    .wall = env_wall,
    .timer_set = env_timer_set,
    .irq_set = env_irq_set,
    .mem_read = env_mem_read,
    .mem_write = env_mem_write,
    .mem_map = env_mem_map,
    .output = env_output,
    .event = env_event,
    .log = env_log,
};

/* Of a device whose descriptors are in other hands too. */
const struct ringd_env_ops outside_env_ops = {
    .now = env_now,
    .before = env_before,
    .wall = env_wall,
    .timer_set = env_timer_set,
    .irq_set = outside_irq_set,
    .mem_read = env_mem_read,
    .mem_write = env_mem_write,
    .mem_map = env_mem_map,
    .output = env_output,
    .event = env_event,
    .log = env_log,
};

/* Of a device whose state is committed: what leaves it waits for that. */
const struct ringd_env_ops committed_env_ops = {
    .now = env_now,
    .before = env_before,
    .wall = env_wall,
    .timer_set = env_timer_set,
    .irq_set = committed_irq_set,
    .mem_read = env_mem_read,
    .mem_write = env_mem_write,
    .mem_map = env_mem_map,
    .output = committed_output,
    .event = committed_event,
    .log = env_log,
};
