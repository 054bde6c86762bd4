/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/debug_console.h>

#include <errno.h>
#include <stdlib.h>

#include "devices/state.h"

#define STATE_WORD  STATE_VERSION('D', 'C', 1)
#define STATE_BYTES (4 + 2 * 8)

struct debug_console {
    const struct ringd_env *env;
    uint8_t readback;
    uint64_t characters;
    uint64_t probes;
};

static uint64_t console_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct debug_console *console = self;

    (void)region;
    (void)offset;
    (void)width;
    console->probes++;
    return console->readback;
}

/* Each character leaves at once: what a crashing guest wrote last is what its owner needs most. */
static void console_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct debug_console *console = self;
    uint8_t character = (uint8_t)value;

    (void)region;
    (void)offset;
    (void)width;
    console->characters++;
    console->env->ops->output(console->env, &character, 1);
}

/* The port holds no state; the counters are the run's. */
static void console_reset(void *self)
{
    (void)self;
}

static int console_create(const struct ringd_env *env, const void *config, void **self)
{
    const struct debug_console_config *wanted = config;
    struct debug_console *console = calloc(1, sizeof(*console));

    if (!console)
        return -ENOMEM;
    console->env = env;
    console->readback = wanted ? wanted->readback : DEBUG_CONSOLE_READBACK;
    *self = console;
    return 0;
}

static void console_destroy(void *self)
{
    free(self);
}

static unsigned console_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct debug_console *console = self;
    const struct ringd_counter all[] = {{"characters", console->characters}, {"probes", console->probes}};
    const unsigned count = sizeof(all) / sizeof(all[0]);

    for (unsigned i = 0; i < count && i < max; i++)
        counters[i] = all[i];
    return count;
}

static size_t console_state_size(const void *self)
{
    (void)self;
    return STATE_BYTES;
}

static void console_save(const void *self, void *state)
{
    const struct debug_console *console = self;
    struct state_writer out = {state};

    state_put(&out, STATE_WORD, 4);
    state_put(&out, console->characters, 8);
    state_put(&out, console->probes, 8);
}

static int console_load(void *self, const void *state, size_t size)
{
    struct debug_console *console = self;
    struct state_reader in = {state};

    if (size != STATE_BYTES || state_get(&in, 4) != STATE_WORD)
        return -EINVAL;
    console->characters = state_get(&in, 8);
    console->probes = state_get(&in, 8);
    return 0;
}

static const struct ringd_region console_regions[] = {
    {
        .name = "data",
        .space = RINGD_PIO,
        .offset = 0,
        .size = 1,
        .widths = 1,
        .flags = RINGD_POSTED,
        .effect = "writes a character to the log; reads the presence byte",
    },
};

const struct ringd_device_ops debug_console_ops = {
    .name = "debug-console",
    .summary = "debug console port of SeaBIOS, OVMF and Bochs",
    .regions = console_regions,
    .region_count = sizeof(console_regions) / sizeof(console_regions[0]),
    .create = console_create,
    .destroy = console_destroy,
    .read = console_read,
    .write = console_write,
    .reset = console_reset,
    .counters = console_counters,
    .state_size = console_state_size,
    .save = console_save,
    .load = console_load,
};
