/* SPDX-License-Identifier: BSD-2-Clause */
/* The probe, and the table of the daemon that offers nothing else (in place of src/daemon/types.c). */
#include "crowd/probe.h"

#include <errno.h>
#include <string.h>

#include "common/cycles.h"
#include "daemon/types.h"

#define STATE_VERSION 1u

static int probe_create(const struct ringd_env *env, const void *config, void **self)
{
    (void)env;
    *self = *(void *const *)config; /* the caller's */
    return 0;
}

static void probe_nothing(void *self)
{
    (void)self;
}

static void count_served(struct probe_total *total)
{
    __atomic_store_n(&total->served, total->served + 1, __ATOMIC_RELAXED);
}

static uint64_t probe_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct probe *probe = self;
    (void)region;
    (void)offset;
    (void)width;
    count_served(probe->total);
    return probe->total->served;
}

static void probe_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct probe *probe = self;
    (void)width;
    if (region == PROBE_POSTED && offset == 0 && __atomic_load_n(&probe->recording, __ATOMIC_RELAXED)) {
        uint32_t wait = (uint32_t)cycles_now() - (uint32_t)value;
        histogram_add(&probe->wait, wait > INT32_MAX ? 0 : wait, 1); /* TSCs that differ by less than a wake-up takes */
        histogram_add(&probe->before, (uint32_t)probe->total->served - (uint32_t)(value >> 32), 1);
    }
    count_served(probe->total);
}

static size_t probe_state_size(const void *self)
{
    (void)self;
    return sizeof(uint32_t);
}

static void probe_save(const void *self, void *state)
{
    const uint32_t version = STATE_VERSION;
    (void)self;
    memcpy(state, &version, sizeof(version));
}

static int probe_load(void *self, const void *state, size_t size)
{
    const uint32_t version = STATE_VERSION;
    (void)self;
    return size == sizeof(version) && memcmp(state, &version, sizeof(version)) == 0 ? 0 : -EINVAL;
}

static const struct ringd_region probe_regions[] = {
    [PROBE_POSTED] = {"posted", RINGD_MMIO, 0, 16, 8, RINGD_POSTED, "takes the writer's stamp"},
    [PROBE_ANSWER] = {"answer", RINGD_MMIO, 16, 8, 8, 0, "how much has been done for anybody"},
};

const struct ringd_device_ops probe_ops = {
    .name = "probe",
    .summary = "measures when posted writes are applied",
    .regions = probe_regions,
    .region_count = sizeof(probe_regions) / sizeof(probe_regions[0]),
    .create = probe_create,
    .destroy = probe_nothing,
    .read = probe_read,
    .write = probe_write,
    .reset = probe_nothing,
    .state_size = probe_state_size,
    .save = probe_save,
    .load = probe_load,
};

void probe_clear(struct probe *probe)
{
    probe->recording = 0;
    histogram_init(&probe->wait);
    histogram_init(&probe->before);
}

uint64_t probe_stamp(const struct probe *probe)
{
    uint64_t served = __atomic_load_n(&probe->total->served, __ATOMIC_RELAXED);
    return served << 32 | (uint32_t)cycles_now();
}

/* ---- as a type of the daemon ---- */

/* A pointer of the client's is followed: both are this program. The field for NVRAM keeps it. */
static int hosted_create(const struct ringd_env *env, const void *config, void **self)
{
    const struct hosted *hosted = config;
    return probe_create(env, hosted->nvram, self);
}

static int probe_prepare(struct hosted *hosted, const void *config)
{
    struct probe_config wanted;
    if (!config)
        return -EINVAL;
    memcpy(&wanted, config, sizeof(wanted));
    void *probe = (void *)(uintptr_t)wanted.probe;
    memcpy(hosted->nvram, &probe, sizeof(probe));
    hosted->ops.create = hosted_create;
    return 0;
}

const struct hosted_type hosted_types[] = {
    {"probe", "measures when posted writes are applied", sizeof(struct probe_config), probe_prepare, &probe_ops},
};
const unsigned hosted_type_count = sizeof(hosted_types) / sizeof(hosted_types[0]);

const struct hosted_type *hosted_type_find(const char *name)
{
    return strcmp(hosted_types[0].name, name) == 0 ? &hosted_types[0] : NULL;
}

int hosted_prepare(struct hosted *hosted, const struct hosted_type *type, const void *config, size_t bytes)
{
    memset(hosted, 0, sizeof(*hosted));
    if (bytes != type->config_bytes)
        return -EINVAL;
    hosted->ops = *type->ops;
    return type->prepare(hosted, config);
}
