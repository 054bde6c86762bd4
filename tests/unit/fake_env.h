/* SPDX-License-Identifier: BSD-2-Clause */
/* A struct ringd_env for unit tests and fuzz targets: a clock that stands still until told, and everything recorded. */
#ifndef FAKE_ENV_H
#define FAKE_ENV_H

#include <ringd/device.h>

#define FAKE_TIMERS 8
#define FAKE_IRQS   8

struct fake_env {
    struct ringd_env env; /* first: the model gets &fake.env */
    const struct ringd_device_ops *device;
    void *self;
    uint64_t now;
    bool unsure; /* before() never knows, as on a host without a steady cycle counter */
    int64_t wall;
    uint64_t deadline[FAKE_TIMERS];
    bool irq[FAKE_IRQS];
    unsigned edges[FAKE_IRQS]; /* changes from low to high */
    uint8_t *memory;           /* guest memory from address 0 */
    size_t memory_size;
    uint8_t output[65536];
    size_t output_size;
    unsigned events[3]; /* by enum ringd_event */
    uint64_t event_value;
    unsigned log_lines;
};

/* Wires up `fake` and creates the device. Returns what create() does. `memory_size` bytes of zeroed guest memory. */
int fake_env_create(struct fake_env *fake, const struct ringd_device_ops *device, const void *config,
                    size_t memory_size);
void fake_env_destroy(struct fake_env *fake);

/* Moves now and wall forward by `ns`, running due timers in the order of their deadlines at their exact times. At most
 * 100,000 timer calls, so that a model that re-arms without progress fails instead of hanging (returns false then). */
bool fake_env_advance(struct fake_env *fake, uint64_t ns);

uint64_t fake_read(struct fake_env *fake, unsigned region, uint64_t offset, unsigned width);
void fake_write(struct fake_env *fake, unsigned region, uint64_t offset, unsigned width, uint64_t value);
/* The value of a counter by name; UINT64_MAX when there is none of that name. */
uint64_t fake_counter(struct fake_env *fake, const char *name);

#endif
