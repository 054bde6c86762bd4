/* SPDX-License-Identifier: BSD-2-Clause */
/* The kinds of device that the daemon offers, and what their configurations mean. */
#ifndef DAEMON_TYPES_H
#define DAEMON_TYPES_H

#include <ringd/device.h>
#include <ringd/protocol.h>

#include <ringd/models/debug_console.h>
#include <ringd/models/i440fx.h>
#include <ringd/models/mc146818.h>
#include <ringd/models/pci_host.h>
#include <ringd/models/piix3.h>

/* What a device keeps beside its model: a copy of the operations with create() replaced, and whatever the model takes
 * by reference. It outlives the model. */
struct hosted {
    struct ringd_device_ops ops;
    const struct ringd_env *env;
    struct mc146818_config rtc;
    uint8_t nvram[MC146818_NVRAM_SIZE];
    struct debug_console_config console;
    uint32_t functions;
    struct i440fx bridge;
    struct piix3 isa;
    struct pci_function pm;
    struct pci_sink sink;
};

struct hosted_type {
    const char *name;
    const char *summary;
    size_t config_bytes;
    int (*prepare)(struct hosted *hosted, const void *config); /* NULL: as it is; config is NULL for the default */
    const struct ringd_device_ops *ops;
};

extern const struct hosted_type hosted_types[];
extern const unsigned hosted_type_count;

/* NULL: no such type. */
const struct hosted_type *hosted_type_find(const char *name);

/* Fills `hosted`: its ops are to be added, with `hosted` as their configuration. 0, or -EINVAL for a configuration that
 * is not one. */
int hosted_prepare(struct hosted *hosted, const struct hosted_type *type, const void *config, size_t bytes);

#endif
