/* SPDX-License-Identifier: BSD-2-Clause */
/* A device model for tests of committed state: it counts, notices what is lost, doubled or out of order, and all that
 * it knows is saved. */
#ifndef TALLY_H
#define TALLY_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <ringd/ringd.h>
#include <ringd/state.h>

/* The values written to POSTED are 1, 2, 3... Each write to SYNC adds one; a read of it adds one too and returns how
 * many it has been. Each 64th posted write raises an event with its number, and a character. */
enum { TALLY_POSTED, TALLY_SYNC };

#define TALLY_PORT  0x300u
#define TALLY_EVERY 64u

struct tally_state {
    uint32_t version;
    uint32_t wrong; /* posted writes that were not the one expected */
    uint64_t last;
    uint64_t accesses;
};

struct tally {
    const struct ringd_env *env;
    struct tally_state state;
};

static inline int tally_create(const struct ringd_env *env, const void *config, void **self)
{
    struct tally *tally = calloc(1, sizeof(*tally));
    (void)config;
    if (!tally)
        return -ENOMEM;
    tally->env = env;
    tally->state.version = 1;
    *self = tally;
    return 0;
}

static inline void tally_destroy(void *self)
{
    free(self);
}

static inline uint64_t tally_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct tally *tally = self;
    (void)offset;
    (void)width;
    return region == TALLY_SYNC ? ++tally->state.accesses : tally->state.last;
}

static inline void tally_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct tally *tally = self;
    uint8_t character = (uint8_t)(value / TALLY_EVERY);
    (void)offset;
    (void)width;
    if (region == TALLY_SYNC) {
        tally->state.accesses++;
        return;
    }
    if (value != (uint32_t)(tally->state.last + 1))
        tally->state.wrong++;
    tally->state.last = value;
    if (value % TALLY_EVERY)
        return;
    tally->env->ops->event(tally->env, RINGD_EVENT_DEBUG_EXIT, value);
    tally->env->ops->output(tally->env, &character, 1);
    tally->env->ops->irq_set(tally->env, 0, false);
    tally->env->ops->irq_set(tally->env, 0, true);
}

static inline void tally_timer(void *self, unsigned timer)
{
    struct tally *tally = self;
    (void)timer;
    tally->state.accesses++;
}

static inline void tally_reset(void *self)
{
    struct tally *tally = self;
    tally->state = (struct tally_state){.version = 1};
}

static inline size_t tally_state_size(const void *self)
{
    (void)self;
    return sizeof(struct tally_state);
}

static inline void tally_save(const void *self, void *state)
{
    memcpy(state, &((const struct tally *)self)->state, sizeof(struct tally_state));
}

static inline int tally_load(void *self, const void *state, size_t size)
{
    struct tally *tally = self;
    struct tally_state loaded;
    if (size != sizeof(loaded))
        return -EINVAL;
    memcpy(&loaded, state, sizeof(loaded));
    if (loaded.version != 1)
        return -EINVAL;
    tally->state = loaded;
    return 0;
}

static const struct ringd_region tally_regions[] = {
    [TALLY_POSTED] = {"posted", RINGD_PIO, 0, 4, 4, RINGD_POSTED, "counts"},
    [TALLY_SYNC] = {"sync", RINGD_PIO, 4, 4, 1 | 4, 0, "counts"},
};

static const struct ringd_device_ops tally_ops = {
    .name = "tally",
    .summary = "counts",
    .regions = tally_regions,
    .region_count = 2,
    .irq_count = 1,
    .timer_count = 1,
    .create = tally_create,
    .destroy = tally_destroy,
    .read = tally_read,
    .write = tally_write,
    .timer = tally_timer,
    .reset = tally_reset,
    .state_size = tally_state_size,
    .save = tally_save,
    .load = tally_load,
};

#endif
