/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * High precision event timer (IA-PC HPET Specification 1.0a): a 64-bit counter at 100 MHz, three comparators, periodic
 * or not, with legacy replacement routing. See docs/devices/hpet.md.
 */
#ifndef RINGD_MODELS_HPET_H
#define RINGD_MODELS_HPET_H

#include <ringd/api.h>
#include <ringd/device.h>

RINGD_API_BEGIN

#define HPET_COMPARATORS 3u
#define HPET_PERIOD_NS   10u /* of the counter */

/* The regions, which follow each other from the base on; the comparators' are posted. */
enum hpet_region {
    HPET_GENERAL, /* capabilities, configuration, status, the counter; comparator 0's configuration */
    HPET_COMPARATOR_0,
    HPET_CONFIGURATION_1,
    HPET_COMPARATOR_1,
    HPET_CONFIGURATION_2,
    HPET_COMPARATOR_2,
    HPET_REST, /* nothing */
    HPET_REGIONS
};

/* Interrupt lines. A comparator that is not replaced is routed to the IOAPIC's inputs 20 to 23. Each line is high while
 * a comparator whose interrupt has a level holds it; edges are pulses. */
enum hpet_line {
    HPET_LINE_LEGACY_0, /* comparator 0 instead of the PIT: interrupt 0 */
    HPET_LINE_LEGACY_1, /* comparator 1 instead of the RTC: interrupt 8 */
    HPET_LINE_20,
    HPET_LINES = HPET_LINE_20 + 4
};

/* Configuration for create(); NULL is the same as all zero. */
struct hpet_config {
    /* (optional) Legacy replacement is on, or no more: on a board PIT and RTC lose their interrupts, or get them back.
     * Called under the device's lock, on changes only; it must neither block nor call the model. */
    void (*legacy)(void *ctx, bool on);
    void *ctx;
};

extern const struct ringd_device_ops hpet_ops;

RINGD_API_END

#endif
