/* SPDX-License-Identifier: BSD-2-Clause */
/* A device model for tests of the ring library: it does nothing and remembers everything. */
#ifndef RECORDER_H
#define RECORDER_H

#include <errno.h>
#include <string.h>

#include <ringd/ringd.h>

#define RECORDER_MAX    1024u
#define RECORDER_TIMERS 2u
#define RECORDER_LINES  2u

enum { INDEX, DATA, BELL, BYTES, QWORDS, RECORDER_REGIONS };

#define INDEX_SIZE  4u
#define DATA_SIZE   8u
#define BELL_SIZE   4096u
#define BYTES_SIZE  16u
#define QWORDS_SIZE 64u

struct recorded {
    bool write;
    unsigned region, width;
    uint64_t offset, value;
};

struct recorder {
    const struct ringd_env *env;
    struct recorded log[RECORDER_MAX];
    unsigned count; /* goes on past the log's end */
    unsigned destroyed, resets, pauses, resumes;
    uint64_t paused_at, resumed_at;
    unsigned fired[RECORDER_TIMERS];
    uint64_t fired_at[RECORDER_TIMERS];
    void (*on_timer)(struct recorder *rec, unsigned timer);
};

static inline int recorder_create(const struct ringd_env *env, const void *config, void **self)
{
    struct recorder *rec = (struct recorder *)(uintptr_t)config; /* the test's own, for it to look into */
    if (!rec)
        return -EINVAL;
    rec->env = env;
    *self = rec;
    return 0;
}

static inline void recorder_destroy(void *self)
{
    ((struct recorder *)self)->destroyed++;
}

static inline void record(struct recorder *rec, struct recorded access)
{
    if (rec->count < RECORDER_MAX)
        rec->log[rec->count] = access;
    rec->count++;
}

/* A byte reads as its offset with the top bit set, so a composed value tells where each byte came from. */
static inline uint64_t recorder_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++) /* also above `width`, which the library must cut */
        value |= (0x80 | ((offset + i) & 0x7f)) << (i * 8);
    record(self, (struct recorded){false, region, width, offset, value});
    return value;
}

static inline void recorder_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    record(self, (struct recorded){true, region, width, offset, value});
}

static inline void recorder_timer(void *self, unsigned timer)
{
    struct recorder *rec = self;
    rec->fired[timer]++;
    rec->fired_at[timer] = rec->env->ops->now(rec->env);
    if (rec->on_timer)
        rec->on_timer(rec, timer);
}

static inline void recorder_reset(void *self)
{
    ((struct recorder *)self)->resets++;
}

static inline void recorder_pause(void *self)
{
    struct recorder *rec = self;
    rec->pauses++;
    rec->paused_at = rec->env->ops->now(rec->env);
}

static inline void recorder_resume(void *self)
{
    struct recorder *rec = self;
    rec->resumes++;
    rec->resumed_at = rec->env->ops->now(rec->env);
}

static inline unsigned recorder_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    if (max)
        counters[0] = (struct ringd_counter){"accesses", ((struct recorder *)self)->count};
    return max ? 1 : 0;
}

static const struct ringd_region recorder_regions[RECORDER_REGIONS] = {
    [INDEX] = {"index", RINGD_PIO, 0, INDEX_SIZE, 1 | 2 | 4, RINGD_POSTED, "recorded"},
    [DATA] = {"data", RINGD_PIO, 4, DATA_SIZE, 1 | 2 | 4, 0, "recorded"},
    [BELL] = {"bell", RINGD_MMIO, 0, BELL_SIZE, 4, RINGD_POSTED | RINGD_MOVABLE, "recorded"},
    [BYTES] = {"bytes", RINGD_MMIO, 0, BYTES_SIZE, 1, RINGD_POSTED | RINGD_MOVABLE, "recorded"},
    [QWORDS] = {"qwords", RINGD_MMIO, 0, QWORDS_SIZE, 2 | 8, RINGD_POSTED | RINGD_MOVABLE, "recorded"},
};

static const struct ringd_device_ops recorder_ops = {
    .name = "recorder",
    .summary = "remembers each access",
    .regions = recorder_regions,
    .region_count = RECORDER_REGIONS,
    .irq_count = RECORDER_LINES,
    .timer_count = RECORDER_TIMERS,
    .create = recorder_create,
    .destroy = recorder_destroy,
    .read = recorder_read,
    .write = recorder_write,
    .timer = recorder_timer,
    .reset = recorder_reset,
    .pause = recorder_pause,
    .resume = recorder_resume,
    .counters = recorder_counters,
};

#endif
