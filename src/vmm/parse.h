/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Values as people type them. Pure functions: a text goes in, a number comes out, nothing else is touched.
 *
 * Every parser takes the whole text or nothing: no leading or trailing blanks, no sign, no locale. On failure it
 * returns -errno and leaves *out alone.
 */
#ifndef RINGVMM_VMM_PARSE_H
#define RINGVMM_VMM_PARSE_H

#include <stddef.h>
#include <stdint.h>

/* The largest host CPU number that a cpu_set_t holds (CPU_SETSIZE - 1). */
#define PARSE_LAST_CPU 1023u

/* Decimal, or hexadecimal after 0x. A leading zero is no octal. -EINVAL: not a number; -ERANGE: outside min to max. */
int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out);

/* A number and one of the suffixes K, M, G (powers of 1024, either case), in bytes. -EINVAL: not that; -ERANGE: above
 * what 64 bits hold; -EDOM: a number with no suffix, whose unit would be a guess. */
int parse_size(const char *text, uint64_t *out);

/* YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, as seconds since 1970-01-01T00:00:00 (no time zone is involved). -EINVAL: another
 * form; -ERANGE: no such day or time, or a year outside PARSE_FIRST_YEAR to PARSE_LAST_YEAR. */
int parse_iso_date(const char *text, int64_t *out);
#define PARSE_FIRST_YEAR 1970
/* Nanoseconds since 1970 in 64 bits end in 2262: the clock may then still run for 62 years. */
#define PARSE_LAST_YEAR 2199

/* Host CPUs in order: numbers and ranges between commas, "0,2,4-7". Stores at most `max` of them and how many there
 * are. -EINVAL: not such a list; -ERANGE: a number above PARSE_LAST_CPU; -E2BIG: more than `max`. */
int parse_cpu_list(const char *text, unsigned *cpus, unsigned max, unsigned *count);

/* A UUID as RFC 4122 writes it, 36 characters in either case, as the 16 bytes in that order. -EINVAL: not one. */
int parse_uuid(const char *text, uint8_t out[16]);

/* Takes the piece before the next comma off *cursor into buf (size bytes, NUL included) and moves *cursor behind the
 * comma, or to NULL after the last piece. Returns 0, or -ENAMETOOLONG (then *cursor stays). An empty text has one empty
 * piece. */
int parse_piece(const char **cursor, char *buf, size_t size);

/* Keystrokes between two words: insert, delete, replace, or swap two neighbours. Words longer than PARSE_LONGEST_WORD
 * are as far from any other as UINT_MAX. */
unsigned parse_distance(const char *a, const char *b);
#define PARSE_LONGEST_WORD 40

/* Writes `text` between single quotes into buf (size at least 8), so that it is one line whatever it holds: control
 * characters appear as \xNN, and a text that does not fit ends in "...". Returns buf. */
const char *parse_quote(const char *text, char *buf, size_t size);

#endif
