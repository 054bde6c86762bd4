/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/parse.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return INT_MAX;
}

/* Reads digits of `base` from *cursor up to the first other character. -EINVAL: no digit; -ERANGE: above 64 bits. */
static int take_digits(const char **cursor, unsigned base, uint64_t *out)
{
    const char *p = *cursor;
    uint64_t value = 0;
    bool overflow = false;

    if (digit_value(*p) >= (int)base)
        return -EINVAL;
    for (; digit_value(*p) < (int)base; p++) {
        overflow = overflow || __builtin_mul_overflow(value, (uint64_t)base, &value) ||
                   __builtin_add_overflow(value, (uint64_t)digit_value(*p), &value);
    }
    *cursor = p;
    if (overflow)
        return -ERANGE;
    *out = value;
    return 0;
}

int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    unsigned base = 10;
    uint64_t value;
    int error;

    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text += 2;
    }
    error = take_digits(&text, base, &value);
    if (error == -EINVAL || *text != '\0')
        return -EINVAL;
    if (error || value < min || value > max)
        return -ERANGE;
    *out = value;
    return 0;
}

static unsigned suffix_shift(char c)
{
    switch (c) {
    case 'k':
    case 'K':
        return 10;
    case 'm':
    case 'M':
        return 20;
    case 'g':
    case 'G':
        return 30;
    default:
        return 0;
    }
}

int parse_size(const char *text, uint64_t *out)
{
    uint64_t value = 0;
    unsigned shift;
    int error = take_digits(&text, 10, &value);

    if (error == -EINVAL)
        return error;
    if (*text == '\0')
        return -EDOM;
    shift = suffix_shift(*text);
    if (shift == 0 || text[1] != '\0')
        return -EINVAL;
    if (error || value > UINT64_MAX >> shift)
        return -ERANGE;
    *out = value << shift;
    return 0;
}

/* Exactly `count` digits. */
static int take_field(const char **cursor, int count, int *out)
{
    int value = 0;

    for (int i = 0; i < count; i++) {
        char c = (*cursor)[i];

        if (c < '0' || c > '9')
            return -EINVAL;
        value = value * 10 + (c - '0');
    }
    *cursor += count;
    *out = value;
    return 0;
}

/* As sscanf() would, but strict: 'Y' is four digits, 'd' two, any other character stands for itself. */
static int take_fields(const char **cursor, const char *format, int *fields)
{
    for (; *format; format++) {
        if (*format == 'Y' || *format == 'd') {
            if (take_field(cursor, *format == 'Y' ? 4 : 2, fields++))
                return -EINVAL;
        } else if (*(*cursor)++ != *format) {
            return -EINVAL;
        }
    }
    return 0;
}

static bool leap_year(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int month_days(int year, int month)
{
    static const signed char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && leap_year(year));
}

int parse_iso_date(const char *text, int64_t *out)
{
    int date[3];
    int time[3] = {0, 0, 0};
    int64_t days = 0;

    if (take_fields(&text, "Y-d-d", date))
        return -EINVAL;
    if (*text != '\0' && take_fields(&text, "Td:d:d", time))
        return -EINVAL;
    if (*text != '\0')
        return -EINVAL;
    if (date[0] < PARSE_FIRST_YEAR || date[0] > PARSE_LAST_YEAR || date[1] < 1 || date[1] > 12 || date[2] < 1 ||
        date[2] > month_days(date[0], date[1]) || time[0] > 23 || time[1] > 59 || time[2] > 59)
        return -ERANGE;
    for (int year = 1970; year < date[0]; year++)
        days += leap_year(year) ? 366 : 365;
    for (int month = 1; month < date[1]; month++)
        days += month_days(date[0], month);
    days += date[2] - 1;
    *out = ((days * 24 + time[0]) * 60 + time[1]) * 60 + time[2];
    return 0;
}

int parse_cpu_list(const char *text, unsigned *cpus, unsigned max, unsigned *count)
{
    unsigned n = 0;

    for (;;) {
        uint64_t first;
        uint64_t last;
        int error = take_digits(&text, 10, &first);

        if (error)
            return error;
        last = first;
        if (*text == '-') {
            text++;
            error = take_digits(&text, 10, &last);
            if (error)
                return error;
        }
        if (first > PARSE_LAST_CPU || last > PARSE_LAST_CPU)
            return -ERANGE;
        if (last < first)
            return -EINVAL;
        for (; first <= last; first++) {
            if (n == max)
                return -E2BIG;
            cpus[n++] = (unsigned)first;
        }
        if (*text == '\0')
            break;
        if (*text++ != ',')
            return -EINVAL;
    }
    *count = n;
    return 0;
}

int parse_uuid(const char *text, uint8_t out[16])
{
    uint8_t uuid[16];
    unsigned count = 0;

    if (strlen(text) != 36)
        return -EINVAL;
    for (unsigned i = 0; i < 36;) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i++] != '-')
                return -EINVAL;
            continue;
        }
        if (digit_value(text[i]) > 15 || digit_value(text[i + 1]) > 15)
            return -EINVAL;
        uuid[count++] = (uint8_t)(digit_value(text[i]) << 4 | digit_value(text[i + 1]));
        i += 2;
    }
    memcpy(out, uuid, sizeof(uuid));
    return 0;
}

int parse_piece(const char **cursor, char *buf, size_t size)
{
    size_t length = strcspn(*cursor, ",");

    if (length >= size)
        return -ENAMETOOLONG;
    memcpy(buf, *cursor, length);
    buf[length] = '\0';
    *cursor = (*cursor)[length] == ',' ? *cursor + length + 1 : NULL;
    return 0;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: the edit matrix with one more rule for two swapped neighbours. Three rows are enough. */
unsigned parse_distance(const char *a, const char *b)
{
    unsigned rows[3][PARSE_LONGEST_WORD + 1];
    size_t a_length = strnlen(a, PARSE_LONGEST_WORD + 1);
    size_t b_length = strnlen(b, PARSE_LONGEST_WORD + 1);

    if (a_length > PARSE_LONGEST_WORD || b_length > PARSE_LONGEST_WORD)
        return UINT_MAX;
    for (unsigned j = 0; j <= b_length; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= a_length; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i + 2) % 3];
        const unsigned *two_above = rows[(i + 1) % 3];

        row[0] = i;
        for (unsigned j = 1; j <= b_length; j++) {
            unsigned replaced = above[j - 1] + (a[i - 1] != b[j - 1]);

            row[j] = least(replaced, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[a_length % 3][b_length];
}

const char *parse_quote(const char *text, char *buf, size_t size)
{
    static const char ending[] = "...'";
    size_t used = 0;

    buf[used++] = '\'';
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = c >= 0x20 && c != 0x7f;
        char shown[5];
        size_t length = plain ? 1u : 4u;

        if (plain)
            shown[0] = *text;
        else
            (void)snprintf(shown, sizeof(shown), "\\x%02x", c);
        if (used + length + sizeof(ending) > size) {
            memcpy(buf + used, ending, sizeof(ending));
            return buf;
        }
        memcpy(buf + used, shown, length);
        used += length;
    }
    buf[used++] = '\'';
    buf[used] = '\0';
    return buf;
}
