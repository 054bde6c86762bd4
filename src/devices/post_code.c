/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/post_code.h>

#include <errno.h>
#include <stdlib.h>

#include "devices/state.h"

#define STATE_WORD  STATE_VERSION('P', '8', 1)
#define STATE_BYTES (4 + 1 + 8 + 1 + POST_CODE_HISTORY * 9)

struct post_code {
    uint8_t last;
    uint64_t writes;
    struct post_code_entry history[POST_CODE_HISTORY]; /* a ring */
    unsigned history_next;
    unsigned history_count;
};

static uint64_t post_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    const struct post_code *post = self;

    (void)region;
    (void)offset;
    (void)width;
    return post->last;
}

static void post_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct post_code *post = self;
    struct post_code_entry *newest = &post->history[(post->history_next + POST_CODE_HISTORY - 1) % POST_CODE_HISTORY];

    (void)region;
    (void)offset;
    (void)width;
    post->last = (uint8_t)value;
    post->writes++;
    if (post->history_count && newest->code == post->last) {
        newest->writes++;
        return;
    }
    post->history[post->history_next] = (struct post_code_entry){.code = post->last, .writes = 1};
    post->history_next = (post->history_next + 1) % POST_CODE_HISTORY;
    if (post->history_count < POST_CODE_HISTORY)
        post->history_count++;
}

unsigned post_code_history(const void *self, struct post_code_entry *entries)
{
    const struct post_code *post = self;
    unsigned oldest = (post->history_next + POST_CODE_HISTORY - post->history_count) % POST_CODE_HISTORY;

    for (unsigned i = 0; i < post->history_count; i++)
        entries[i] = post->history[(oldest + i) % POST_CODE_HISTORY];
    return post->history_count;
}

/* Only the latch: history and counters belong to the run. */
static void post_reset(void *self)
{
    struct post_code *post = self;

    post->last = 0;
}

static int post_create(const struct ringd_env *env, const void *config, void **self)
{
    struct post_code *post = calloc(1, sizeof(*post));

    (void)env;
    (void)config;
    if (!post)
        return -ENOMEM;
    *self = post;
    return 0;
}

static void post_destroy(void *self)
{
    free(self);
}

static unsigned post_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct post_code *post = self;
    const struct ringd_counter all[] = {{"codes", post->writes}, {"last-code", post->last}};
    const unsigned count = sizeof(all) / sizeof(all[0]);

    for (unsigned i = 0; i < count && i < max; i++)
        counters[i] = all[i];
    return count;
}

static size_t post_state_size(const void *self)
{
    (void)self;
    return STATE_BYTES;
}

/* The history from its oldest entry on, so that where the ring begins need not be saved. */
static void post_save(const void *self, void *state)
{
    const struct post_code *post = self;
    struct state_writer out = {state};
    struct post_code_entry entries[POST_CODE_HISTORY] = {0};
    unsigned count = post_code_history(self, entries);

    state_put(&out, STATE_WORD, 4);
    state_put(&out, post->last, 1);
    state_put(&out, post->writes, 8);
    state_put(&out, count, 1);
    for (unsigned i = 0; i < POST_CODE_HISTORY; i++) {
        state_put(&out, entries[i].code, 1);
        state_put(&out, entries[i].writes, 8);
    }
}

static int post_load(void *self, const void *state, size_t size)
{
    struct post_code *post = self;
    struct post_code loaded = {0};
    struct state_reader in = {state};

    if (size != STATE_BYTES || state_get(&in, 4) != STATE_WORD)
        return -EINVAL;
    loaded.last = (uint8_t)state_get(&in, 1);
    loaded.writes = state_get(&in, 8);
    loaded.history_count = (unsigned)state_get(&in, 1);
    if (loaded.history_count > POST_CODE_HISTORY)
        return -EINVAL;
    for (unsigned i = 0; i < POST_CODE_HISTORY; i++) {
        loaded.history[i].code = (uint8_t)state_get(&in, 1);
        loaded.history[i].writes = state_get(&in, 8);
    }
    loaded.history_next = loaded.history_count % POST_CODE_HISTORY;
    *post = loaded;
    return 0;
}

static const struct ringd_region post_regions[] = {
    {
        .name = "code",
        .space = RINGD_PIO,
        .offset = 0,
        .size = 1,
        .widths = 1,
        .flags = RINGD_POSTED,
        .effect = "shows a progress code; reads the last one",
    },
};

const struct ringd_device_ops post_code_ops = {
    .name = "post-code",
    .summary = "POST code port with a history",
    .regions = post_regions,
    .region_count = sizeof(post_regions) / sizeof(post_regions[0]),
    .create = post_create,
    .destroy = post_destroy,
    .read = post_read,
    .write = post_write,
    .reset = post_reset,
    .counters = post_counters,
    .state_size = post_state_size,
    .save = post_save,
    .load = post_load,
};
