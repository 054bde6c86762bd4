/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/debug_exit.h>

#include <errno.h>
#include <stdlib.h>

struct debug_exit {
    const struct ringd_env *env;
    uint64_t requests;
};

/* Zero, not ones: that is what guests read on the device this one stands in for (QEMU hw/misc/debugexit.c). */
static uint64_t exit_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    (void)self;
    (void)region;
    (void)offset;
    (void)width;
    return 0;
}

static void exit_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct debug_exit *debug_exit = self;

    (void)region;
    (void)offset;
    (void)width;
    debug_exit->requests++;
    debug_exit->env->ops->event(debug_exit->env, RINGD_EVENT_DEBUG_EXIT, value);
}

/* The ports hold no state. */
static void exit_reset(void *self)
{
    (void)self;
}

static int exit_create(const struct ringd_env *env, const void *config, void **self)
{
    struct debug_exit *debug_exit = calloc(1, sizeof(*debug_exit));

    (void)config;
    if (!debug_exit)
        return -ENOMEM;
    debug_exit->env = env;
    *self = debug_exit;
    return 0;
}

static void exit_destroy(void *self)
{
    free(self);
}

static unsigned exit_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct debug_exit *debug_exit = self;

    if (max)
        counters[0] = (struct ringd_counter){"requests", debug_exit->requests};
    return 1;
}

static const struct ringd_region exit_regions[] = {
    {
        .name = "value",
        .space = RINGD_PIO,
        .offset = 0,
        .size = 4,
        .widths = 1 | 2 | 4,
        .flags = 0,
        .effect = "ends the machine with the value written",
    },
};

const struct ringd_device_ops debug_exit_ops = {
    .name = "debug-exit",
    .summary = "ends the machine with a value that the guest writes",
    .regions = exit_regions,
    .region_count = sizeof(exit_regions) / sizeof(exit_regions[0]),
    .create = exit_create,
    .destroy = exit_destroy,
    .read = exit_read,
    .write = exit_write,
    .reset = exit_reset,
    .counters = exit_counters,
};
