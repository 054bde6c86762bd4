/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/post_code.h>

#include <errno.h>
#include <stdlib.h>

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

unsigned post_code_history(void *self, struct post_code_entry *entries)
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
};
