/* SPDX-License-Identifier: BSD-2-Clause */
/* The MC146818's registers, and arithmetic on its time and alarm bytes; what makes them move is in mc146818.c. */
#ifndef DEVICES_MC146818_TIME_H
#define DEVICES_MC146818_TIME_H

#include <stdint.h>

enum mc146818_reg {
    SECONDS,
    SECONDS_ALARM,
    MINUTES,
    MINUTES_ALARM,
    HOURS,
    HOURS_ALARM,
    DAY_OF_WEEK,
    DATE,
    MONTH,
    YEAR,
    REG_A,
    REG_B,
    REG_C,
    REG_D,
    NVRAM, /* the first byte of user RAM */
};

#define A_UIP      0x80u
#define A_DV       0x70u /* divider: time base, or reset */
#define A_RS       0x0fu /* rate of the periodic interrupt */
#define A_32768HZ  0x20u /* the last of the three time bases; above are test modes and divider reset */
#define B_SET      0x80u
#define B_PIE      0x40u
#define B_AIE      0x20u
#define B_UIE      0x10u
#define B_SQWE     0x08u
#define B_DM       0x04u /* 1: binary, 0: BCD */
#define B_24H      0x02u
#define C_IRQF     0x80u
#define C_PF       0x40u /* PF, AF and UF have the places of PIE, AIE and UIE */
#define C_AF       0x20u
#define C_UF       0x10u
#define D_VRT      0x80u
#define HOURS_PM   0x80u
#define ALARM_ANY  0xc0u /* both top bits: this byte of the alarm matches always */
#define INDEX_NMI  0x80u
#define INDEX_MASK 0x7fu

#define TIME_BYTES 8 /* that an update may change: seven on the chip and the century */

/*
 * The chip's memory and its map. The time bytes are in the format that cmos[REG_B] says; a guest may store anything,
 * and each function below then still ends in valid bytes or leaves them alone.
 */
struct mc146818_time {
    uint8_t cmos[128];
    uint8_t bytes[TIME_BYTES]; /* indices of the time bytes, the century's last */
};

/* Maps the time bytes, the century to index `century`, and sets them to `seconds` since 1970. */
void mc146818_time_init(struct mc146818_time *time, unsigned century, int64_t seconds);

/* The place of index `reg` in bytes[], or -1 when no update changes it. */
int mc146818_time_byte(const struct mc146818_time *time, unsigned reg);

/*
 * Makes `seconds` updates at once; negative ones count back. A byte that no carry reaches stays as the guest wrote it;
 * one beyond its range counts as the largest value in it. The year wraps after 9999.
 */
void mc146818_time_advance(struct mc146818_time *time, int64_t seconds);

/* Stores `value` in REG_B and, where that changes BCD/binary or 12/24 hours, the same time in the new format. */
void mc146818_time_reformat(struct mc146818_time *time, uint8_t value);

/* Updates until the alarm matches: 1 to 86400, or 0 when its bytes hold what no update produces. */
unsigned mc146818_time_to_alarm(const struct mc146818_time *time);

#endif
