/* SPDX-License-Identifier: BSD-2-Clause */
#include "devices/mc146818_time.h"

#include <stdbool.h>
#include <string.h>

/* The year is four digits. 10000 years are a multiple of the calendar's 400-year cycle: 146097 days each. */
#define DAYS_PER_10000_YEARS (INT64_C(146097) * 25)

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t floor_mod(int64_t a, int64_t b)
{
    int64_t mod = a % b;
    return mod < 0 ? mod + b : mod;
}

/* ---- bytes in the guest's format ---- */

static unsigned decode(const struct mc146818_time *time, uint8_t byte)
{
    return time->cmos[REG_B] & B_DM ? byte : (unsigned)(byte >> 4) * 10 + (byte & 0xfu);
}

static uint8_t encode(const struct mc146818_time *time, unsigned value)
{
    return (uint8_t)(time->cmos[REG_B] & B_DM ? value : value / 10 << 4 | value % 10);
}

/* The value of a time or alarm byte; hours as 0 to 23 in either mode. Whatever the guest stored gives some number. */
static unsigned get(const struct mc146818_time *time, unsigned reg)
{
    uint8_t byte = time->cmos[reg];
    if ((reg != HOURS && reg != HOURS_ALARM) || time->cmos[REG_B] & B_24H)
        return decode(time, byte);
    return decode(time, byte & (uint8_t)~HOURS_PM) % 12 + (byte & HOURS_PM ? 12 : 0);
}

static uint8_t format(const struct mc146818_time *time, unsigned reg, unsigned value)
{
    if ((reg != HOURS && reg != HOURS_ALARM) || time->cmos[REG_B] & B_24H)
        return encode(time, value);
    return (uint8_t)(encode(time, value % 12 ? value % 12 : 12) | (value >= 12 ? HOURS_PM : 0));
}

static unsigned clamped(const struct mc146818_time *time, unsigned reg, unsigned max)
{
    unsigned value = get(time, reg);
    return value < max ? value : max;
}

/* ---- calendar ---- */

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned days_before_month(int64_t year, unsigned month)
{
    static const uint16_t before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    return before[month - 1] + (unsigned)(month > 2 && is_leap(year));
}

/* Days of the years 0 to year - 1; the year 0 is a leap year. */
static int64_t days_before_year(int64_t year)
{
    return year ? 365 * year + (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 + 1 : 0;
}

/*
 * Moves the date by `days`, which is not 0. A day that its month does not have counts as the month's last, as for the
 * chip, which compares and then starts the next month.
 */
static void advance_date(struct mc146818_time *time, int64_t days)
{
    unsigned century_reg = time->bytes[TIME_BYTES - 1];
    unsigned century = clamped(time, century_reg, 99), year_in_century = clamped(time, YEAR, 99);
    int64_t year = (int64_t)century * 100 + year_in_century;
    unsigned month = clamped(time, MONTH, 12);
    month += !month;
    unsigned date = clamped(time, DATE, days_before_month(year, month + 1) - days_before_month(year, month));
    int64_t number = days_before_year(year) + days_before_month(year, month) + date - 1 + days;

    number = floor_mod(number, DAYS_PER_10000_YEARS);
    year = number * 400 / 146097; /* right, or one too many or too few */
    while (days_before_year(year) > number)
        year--;
    while (days_before_year(year + 1) <= number)
        year++;
    unsigned day = (unsigned)(number - days_before_year(year));
    for (month = 12; days_before_month(year, month) > day;)
        month--;

    time->cmos[DATE] = format(time, DATE, day - days_before_month(year, month) + 1);
    time->cmos[MONTH] = format(time, MONTH, month);
    if (year % 100 != year_in_century)
        time->cmos[YEAR] = format(time, YEAR, (unsigned)(year % 100));
    if (year / 100 != century)
        time->cmos[century_reg] = format(time, century_reg, (unsigned)(year / 100));
    int64_t weekday = floor_mod((int64_t)get(time, DAY_OF_WEEK) - 1 + days, 7);
    time->cmos[DAY_OF_WEEK] = format(time, DAY_OF_WEEK, (unsigned)weekday + 1);
}

/* Counts `steps` on in a byte that wraps after `max`, and returns the carry. No step leaves the byte as it is. */
static int64_t count(struct mc146818_time *time, unsigned reg, unsigned max, int64_t steps)
{
    if (!steps)
        return 0;
    int64_t total = clamped(time, reg, max) + steps;
    time->cmos[reg] = format(time, reg, (unsigned)floor_mod(total, max + 1));
    return floor_div(total, max + 1);
}

void mc146818_time_advance(struct mc146818_time *time, int64_t seconds)
{
    int64_t carry = count(time, SECONDS, 59, seconds);
    carry = count(time, MINUTES, 59, carry);
    carry = count(time, HOURS, 23, carry);
    if (carry)
        advance_date(time, carry);
}

/* ---- alarm ---- */

enum { ALARM_EACH = -1, ALARM_NEVER = -2 };

/* The alarm byte after time byte `reg`: a value up to `max`, ALARM_EACH, or ALARM_NEVER: no update produces it. */
static int alarm_value(const struct mc146818_time *time, unsigned reg, unsigned max)
{
    unsigned alarm = reg + 1;
    if ((time->cmos[alarm] & ALARM_ANY) == ALARM_ANY)
        return ALARM_EACH;
    unsigned value = get(time, alarm);
    return value <= max && format(time, alarm, value) == time->cmos[alarm] ? (int)value : ALARM_NEVER;
}

unsigned mc146818_time_to_alarm(const struct mc146818_time *time)
{
    int second = alarm_value(time, SECONDS, 59);
    int minute = alarm_value(time, MINUTES, 59);
    int hour = alarm_value(time, HOURS, 23);
    if (second == ALARM_NEVER || minute == ALARM_NEVER || hour == ALARM_NEVER)
        return 0;
    unsigned first_second = second == ALARM_EACH ? 0 : (unsigned)second;
    unsigned first_in_hour = (minute == ALARM_EACH ? 0 : (unsigned)minute * 60) + first_second;

    /* From the next update on to the first that matches in seconds, then in minutes too, then in hours too. */
    unsigned now = clamped(time, HOURS, 23) * 3600 + clamped(time, MINUTES, 59) * 60 + clamped(time, SECONDS, 59);
    unsigned at = now + 1;
    if (second != ALARM_EACH)
        at += ((unsigned)second + 60 - at % 60) % 60;
    if (minute != ALARM_EACH && at / 60 % 60 != (unsigned)minute)
        at = (at / 60 + ((unsigned)minute + 60 - at / 60 % 60) % 60) * 60 + first_second;
    if (hour != ALARM_EACH && at / 3600 % 24 != (unsigned)hour)
        at = (at / 3600 + ((unsigned)hour + 24 - at / 3600 % 24) % 24) * 3600 + first_in_hour;
    return at - now;
}

/* ---- whole times ---- */

void mc146818_time_init(struct mc146818_time *time, unsigned century, int64_t seconds)
{
    static const uint8_t bytes[] = {SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DATE, MONTH, YEAR};
    /* 1970-01-01 was a Thursday; the week starts with Sunday as 1. */
    static const uint8_t epoch[TIME_BYTES] = {0, 0, 0, 5, 1, 1, 70, 19};
    memcpy(time->bytes, bytes, sizeof(bytes));
    time->bytes[TIME_BYTES - 1] = (uint8_t)century;
    for (unsigned i = 0; i < TIME_BYTES; i++)
        time->cmos[time->bytes[i]] = format(time, time->bytes[i], epoch[i]);
    mc146818_time_advance(time, seconds);
}

int mc146818_time_byte(const struct mc146818_time *time, unsigned reg)
{
    for (int i = 0; i < TIME_BYTES; i++)
        if (time->bytes[i] == reg)
            return i;
    return -1;
}

void mc146818_time_reformat(struct mc146818_time *time, uint8_t value)
{
    unsigned values[TIME_BYTES];
    bool changed = (time->cmos[REG_B] ^ value) & (B_DM | B_24H);
    for (unsigned i = 0; i < TIME_BYTES; i++)
        values[i] = get(time, time->bytes[i]);
    time->cmos[REG_B] = value;
    for (unsigned i = 0; changed && i < TIME_BYTES; i++)
        time->cmos[time->bytes[i]] = format(time, time->bytes[i], values[i]);
}
