/* SPDX-License-Identifier: BSD-2-Clause */
#include "fake_env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct fake_env *fake_of(const struct ringd_env *env)
{
    /* The model sees a const view of what the test owns. */
    return (struct fake_env *)(uintptr_t)env;
}

static uint64_t fake_now(const struct ringd_env *env)
{
    return fake_of(env)->now;
}

static bool fake_before(const struct ringd_env *env, uint64_t ns)
{
    return !fake_of(env)->unsure && fake_of(env)->now < ns;
}

static int64_t fake_wall(const struct ringd_env *env)
{
    return fake_of(env)->wall;
}

static void fake_timer_set(const struct ringd_env *env, unsigned timer, uint64_t deadline_ns)
{
    struct fake_env *fake = fake_of(env);
    if (timer >= fake->device->timer_count || timer >= FAKE_TIMERS)
        abort();
    fake->deadline[timer] = deadline_ns;
}

static void fake_irq_set(const struct ringd_env *env, unsigned line, bool level)
{
    struct fake_env *fake = fake_of(env);
    if (line >= fake->device->irq_count || line >= FAKE_IRQS)
        abort();
    fake->edges[line] += level && !fake->irq[line];
    fake->irq[line] = level;
}

static int fake_mem_read(const struct ringd_env *env, uint64_t gpa, void *buf, size_t len)
{
    struct fake_env *fake = fake_of(env);
    if (gpa > fake->memory_size || len > fake->memory_size - gpa)
        return -EFAULT;
    if (len)
        memcpy(buf, fake->memory + gpa, len);
    return 0;
}

static int fake_mem_write(const struct ringd_env *env, uint64_t gpa, const void *buf, size_t len)
{
    struct fake_env *fake = fake_of(env);
    if (gpa > fake->memory_size || len > fake->memory_size - gpa)
        return -EFAULT;
    if (len)
        memcpy(fake->memory + gpa, buf, len);
    return 0;
}

static void *fake_mem_map(const struct ringd_env *env, uint64_t gpa, size_t len)
{
    struct fake_env *fake = fake_of(env);
    if (gpa > fake->memory_size || len > fake->memory_size - gpa)
        return NULL;
    return fake->memory + gpa;
}

static void fake_output(const struct ringd_env *env, const uint8_t *data, size_t len)
{
    struct fake_env *fake = fake_of(env);
    for (size_t i = 0; i < len && fake->output_size < sizeof(fake->output); i++)
        fake->output[fake->output_size++] = data[i];
}

static void fake_event(const struct ringd_env *env, enum ringd_event event, uint64_t value)
{
    struct fake_env *fake = fake_of(env);
    fake->events[event]++;
    fake->event_value = value;
}

static void fake_log(const struct ringd_env *env, enum ringd_log_level level, const char *format, ...)
{
    (void)level;
    (void)format;
    fake_of(env)->log_lines++;
}

static const struct ringd_env_ops fake_ops = {
    .now = fake_now,
    .before = fake_before,
    .wall = fake_wall,
    .timer_set = fake_timer_set,
    .irq_set = fake_irq_set,
    .mem_read = fake_mem_read,
    .mem_write = fake_mem_write,
    .mem_map = fake_mem_map,
    .output = fake_output,
    .event = fake_event,
    .log = fake_log,
};

int fake_env_create(struct fake_env *fake, const struct ringd_device_ops *device, const void *config,
                    size_t memory_size)
{
    memset(fake, 0, sizeof(*fake));
    fake->env.ops = &fake_ops;
    fake->device = device;
    fake->wall = INT64_C(1600000000) * 1000000000; /* 2020-09-13 12:26:40 UTC */
    for (unsigned i = 0; i < FAKE_TIMERS; i++)
        fake->deadline[i] = RINGD_NEVER;
    if (memory_size) {
        fake->memory = calloc(1, memory_size);
        if (!fake->memory)
            return -ENOMEM;
        fake->memory_size = memory_size;
    }
    int ret = device->create(&fake->env, config, &fake->self);
    if (ret) {
        free(fake->memory);
        fake->memory = NULL;
        fake->memory_size = 0;
        fake->self = NULL;
    }
    return ret;
}

void fake_env_destroy(struct fake_env *fake)
{
    if (fake->self)
        fake->device->destroy(fake->self);
    fake->self = NULL;
    free(fake->memory);
    fake->memory = NULL;
}

bool fake_env_advance(struct fake_env *fake, uint64_t ns)
{
    uint64_t end = fake->now + ns;
    for (unsigned calls = 0; calls < 100000; calls++) {
        unsigned next = FAKE_TIMERS;
        for (unsigned i = 0; i < FAKE_TIMERS; i++)
            if (fake->deadline[i] <= end && (next == FAKE_TIMERS || fake->deadline[i] < fake->deadline[next]))
                next = i;
        if (next == FAKE_TIMERS) {
            fake->wall += (int64_t)(end - fake->now);
            fake->now = end;
            return true;
        }
        if (fake->deadline[next] > fake->now) {
            fake->wall += (int64_t)(fake->deadline[next] - fake->now);
            fake->now = fake->deadline[next];
        }
        fake->deadline[next] = RINGD_NEVER;
        fake->device->timer(fake->self, next);
    }
    return false;
}

uint64_t fake_read(struct fake_env *fake, unsigned region, uint64_t offset, unsigned width)
{
    return fake->device->read(fake->self, region, offset, width);
}

void fake_write(struct fake_env *fake, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    fake->device->write(fake->self, region, offset, width, value);
}

uint64_t fake_counter(struct fake_env *fake, const char *name)
{
    struct ringd_counter counters[32];
    unsigned count = fake->device->counters ? fake->device->counters(fake->self, counters, 32) : 0;
    for (unsigned i = 0; i < count && i < 32; i++)
        if (!strcmp(counters[i].name, name))
            return counters[i].value;
    return UINT64_MAX;
}
