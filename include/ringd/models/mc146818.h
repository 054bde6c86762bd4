/* SPDX-License-Identifier: BSD-2-Clause */
/* MC146818 real-time clock and CMOS, as wired in a PC: ports 0x70 and 0x71, IRQ 8. See docs/devices/mc146818.md. */
#ifndef RINGD_MODELS_MC146818_H
#define RINGD_MODELS_MC146818_H

#include <ringd/api.h>
#include <ringd/device.h>

RINGD_API_BEGIN

#define MC146818_NVRAM_SIZE      128  /* indices that seven bits of port 0x70 reach; the first 14 are the clock */
#define MC146818_DEFAULT_CENTURY 0x32 /* where SeaBIOS and the FADT of PC firmware have the century byte */

enum mc146818_region { MC146818_INDEX, MC146818_DATA };

/* What the guest's clock shows at create(). */
enum mc146818_base {
    MC146818_BASE_UTC,       /* the host's UTC */
    MC146818_BASE_LOCALTIME, /* the host's UTC plus utc_offset_s */
    MC146818_BASE_DATE,      /* base_ns */
};

/* What moves it from there. */
enum mc146818_clock {
    MC146818_CLOCK_HOST, /* env->wall(): steps of the host's clock are seen, backwards as well */
    MC146818_CLOCK_VM,   /* env->now(): even, and it stands still while the machine is paused */
};

/* What becomes of periodic ticks that were due before the guest had acknowledged the one before. */
enum mc146818_lost_ticks {
    MC146818_LOST_DISCARD, /* they are gone, as on the chip */
    MC146818_LOST_SLEW,    /* they are owed, and raised again at half the period until the guest has had them all */
};

/* All zeroes is a valid configuration: the host's UTC, following the host, lost ticks discarded. */
struct mc146818_config {
    enum mc146818_base base;
    int64_t base_ns;      /* MC146818_BASE_DATE: nanoseconds since 1970 on the guest's own clock; negative is before */
    int32_t utc_offset_s; /* MC146818_BASE_LOCALTIME: seconds east of UTC, at most 86400 either way */
    enum mc146818_clock clock;
    enum mc146818_lost_ticks lost_ticks;
    const uint8_t *nvram_image; /* MC146818_NVRAM_SIZE bytes, copied but for the clock's own. NULL: zeroes */
    /* The guest wrote NVRAM byte `index` (14 to 127, never the century). Called with the device's lock held, so it must
     * not block. Kept until destroy(). NULL: nobody is told. */
    void (*nvram_written)(void *ctx, unsigned index, uint8_t value);
    void *nvram_ctx;
    uint8_t century; /* index of the century byte, 14 to 127; 0: MC146818_DEFAULT_CENTURY */
};

/* The config argument of create() is a struct mc146818_config; NULL stands for all zeroes. */
extern const struct ringd_device_ops mc146818_ops;

/*
 * mc146818_set_nvram - stores a byte as firmware's set-up would, for memory sizes and boot order. Not reported to
 * nvram_written(). Indices of the clock (below 14, and the century byte) and above 127 are ignored.
 * @self: the instance; the caller holds the device's lock (ringd_call()) or nobody else knows the device yet.
 */
void mc146818_set_nvram(void *self, unsigned index, uint8_t value);

/* mc146818_nmi_masked - bit 7 of the last index write: the PC's NMI gate. Lock as for mc146818_set_nvram(). */
bool mc146818_nmi_masked(const void *self);

RINGD_API_END

#endif
