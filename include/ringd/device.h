/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device interface: what a device model is, and what it may ask of its surroundings.
 *
 * A model is a pure state machine. It includes no KVM, no libev and makes no system call: time, timers, interrupt
 * lines, guest memory and output are reached through struct ringd_env. Whoever hosts the model calls it with the
 * device's lock held, so a model needs no lock of its own and its calls never overlap; in return it must not block.
 *
 * What reaches read() and write() comes from a hostile guest. The host of the model guarantees only what is said
 * at each operation; all else is the model's to check.
 */
#ifndef RINGD_DEVICE_H
#define RINGD_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ringd/api.h>

RINGD_API_BEGIN

enum ringd_space {
    RINGD_PIO,  /* x86 I/O ports, 0 to 0xffff */
    RINGD_MMIO, /* guest-physical memory */
};

enum ringd_region_flags {
    /* Writes may be recorded and replayed later (docs/contract.md): nobody but a later access to this device, or an
     * interrupt or DMA it causes, can tell when they took effect. */
    RINGD_POSTED = 1 << 0,
    /* The region has no fixed place; it stays unmapped until the machine maps it (a BAR). */
    RINGD_MOVABLE = 1 << 1,
};

/*
 * One range of addresses that a device answers. The table of regions drives dispatch, the list of posted zones, the
 * statistics' rows and the documentation.
 */
struct ringd_region {
    const char *name; /* the data sheet's word: "index", "data" */
    enum ringd_space space;
    uint64_t offset; /* from the instance's base address; 0 for a movable region */
    uint64_t size;   /* bytes, at least 1 */
    unsigned widths; /* sum of the access widths in bytes (1, 2, 4, 8) that the model takes; others are split or, when
                        narrower than every one of these, passed on as they are */
    unsigned flags;  /* enum ringd_region_flags */
    const char *effect; /* one line: what an access does */
};

enum ringd_event {
    RINGD_EVENT_RESET,      /* the guest asks for a system reset; value is 0 */
    RINGD_EVENT_POWEROFF,   /* the guest asks for power-off (ACPI S5); value is 0 */
    RINGD_EVENT_DEBUG_EXIT, /* the guest wrote `value` to the debug-exit port */
};

enum ringd_log_level { RINGD_LOG_DEBUG, RINGD_LOG_INFO, RINGD_LOG_WARNING };

struct ringd_env;

/*
 * Services handed to a model. Each is called from within one of the model's operations (so with the device's lock
 * held), never blocks, and may be called any number of times.
 */
struct ringd_env_ops {
    /* Time of the virtual machine in nanoseconds: monotonic, stands still while the machine is paused. */
    uint64_t (*now)(const struct ringd_env *env);
    /* Is now() certainly below `ns`? A cheap answer, for a model that would only learn that nothing has changed yet:
     * true is certain, false may also mean that it takes now() to tell. */
    bool (*before)(const struct ringd_env *env, uint64_t ns);
    /* The host's UTC in nanoseconds since 1970; may jump either way. */
    int64_t (*wall)(const struct ringd_env *env);
    /* Sets timer `timer` (below ops->timer_count) to call the model's timer() once now() has reached `deadline_ns`;
     * replaces an earlier setting. RINGD_NEVER stops it. */
    void (*timer_set)(const struct ringd_env *env, unsigned timer, uint64_t deadline_ns);
    /* Sets interrupt line `line` (below ops->irq_count) to a level. Setting it to the level it has does nothing; an
     * edge-triggered controller sees an interrupt on each change from low to high. */
    void (*irq_set)(const struct ringd_env *env, unsigned line, bool level);
    /* Guest memory. 0, or -EFAULT when any byte of [gpa, gpa + len) is not RAM (then nothing was copied). */
    int (*mem_read)(const struct ringd_env *env, uint64_t gpa, void *buf, size_t len);
    int (*mem_write)(const struct ringd_env *env, uint64_t gpa, const void *buf, size_t len);
    /* Where [gpa, gpa + len) of guest memory is in ours; NULL when it is not RAM in one piece, or cannot be reached
     * that way. Stays valid as long as the model does. vCPUs use that memory at the same time: what is read once may
     * have changed by the next look, and what both sides wait for needs atomic accesses. */
    void *(*mem_map)(const struct ringd_env *env, uint64_t gpa, size_t len);
    /* Characters that leave the machine. Never blocks; what cannot be kept is dropped and counted by the receiver. */
    void (*output)(const struct ringd_env *env, const uint8_t *data, size_t len);
    /* Something the machine has to act on. Returns at once; it happens after the model's operation has returned. */
    void (*event)(const struct ringd_env *env, enum ringd_event event, uint64_t value);
    /* One line for the person who runs the machine. Not for what a guest does wrong: that is counted. */
    void (*log)(const struct ringd_env *env, enum ringd_log_level level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
};

struct ringd_env {
    const struct ringd_env_ops *ops;
};

#define RINGD_NEVER UINT64_MAX

/* One number that a model keeps for the statistics. */
struct ringd_counter {
    const char *name; /* lower case with hyphens: "ticks-coalesced" */
    uint64_t value;
};

/*
 * A kind of device: one const table per model. Instances are opaque. No mutable state at file scope.
 * An operation marked (optional) may be NULL.
 */
struct ringd_device_ops {
    const char *name;    /* as on the command line and in statistics: "mc146818" */
    const char *summary; /* one line for --help and the documentation */
    const struct ringd_region *regions;
    unsigned region_count;
    unsigned irq_count;
    unsigned timer_count;

    /*
     * Makes an instance. `env` outlives it. `config` is the model's own configuration struct (its header names it),
     * read during the call only unless its comment says otherwise. Stores the instance in *self.
     * Returns 0, -EINVAL for an impossible configuration, -ENOMEM.
     */
    int (*create)(const struct ringd_env *env, const void *config, void **self);
    void (*destroy)(void *self);

    /*
     * One access. `region` indexes regions[], offset + width lies inside the region, and width is 1, 2, 4 or 8. Wider
     * accesses than the widest of the region's widths arrive split, least significant part at the lowest offset first.
     * Reads return the value in the low `width` bytes; what nothing drives reads as ones.
     * write()'s value has nothing set above `width` bytes.
     */
    uint64_t (*read)(void *self, unsigned region, uint64_t offset, unsigned width);
    void (*write)(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value);

    void (*timer)(void *self, unsigned timer); /* (optional) a timer set with timer_set() is due */
    void (*reset)(void *self);                 /* power-on state; create() ends in it too */
    void (*pause)(void *self);                 /* (optional) the machine's clock stops after this */
    void (*resume)(void *self);                /* (optional) the machine's clock runs again since just before this */
    /* (optional) Fills up to `max` counters and returns how many there are. */
    unsigned (*counters)(void *self, struct ringd_counter *counters, unsigned max);

    /*
     * (optional, all three or none) The instance's whole state in a layout that is the model's own: little endian, of
     * one size for one configuration, with its version in the first word. What create() was told is not in it.
     *
     * save() writes state_size() bytes and changes nothing. load() puts an instance of the same configuration into the
     * saved state, and sets timers and interrupt lines as they were; now() stands where it stood at save(), or later.
     * Any bytes may reach it: it returns -EINVAL, with the instance as it was, for what save() cannot have written.
     */
    size_t (*state_size)(const void *self);
    void (*save)(const void *self, void *state);
    int (*load)(void *self, const void *state, size_t size);
};

RINGD_API_END

#endif
