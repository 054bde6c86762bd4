/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The runner of the MMIO2 suite. Each case runs in a process of its own, so that one that fails, hangs or is killed
 * takes no other with it, and what it left open is gone. A case also fails when the kernel has complained meanwhile.
 */
#ifndef TESTS_MMIO2_SUITE_H
#define TESTS_MMIO2_SUITE_H

#include <stdbool.h>
#include <stdint.h>

struct suite_case {
    const char *name; /* topic/case */
    void (*run)(void);
    unsigned seconds; /* until it counts as hung; 0: SUITE_SECONDS. --slow multiplies it */
};

#define SUITE_SECONDS 30u

/* The topics, each ended by an entry without a name. */
extern const struct suite_case cases_ring[], cases_index[], cases_error[], cases_poll[], cases_zone[], cases_life[],
    cases_mapping[], cases_race[], cases_wake[], cases_memory[];

/*
 * For the cases, in any thread and in any process that a case has forked. A check that fails ends the calling process
 * with status 1 after its place and reason have been noted for the case's line; the first such note stands.
 */
#define CHECK(condition) suite_check((condition), __FILE__, __LINE__, #condition)
#define CHECK_EQ(got, wanted)                                                                                          \
    suite_check_equal((long long)(got), (long long)(wanted), __FILE__, __LINE__, #got " == " #wanted)

void suite_check(bool holds, const char *file, int line, const char *what);
void suite_check_equal(long long got, long long wanted, const char *file, int line, const char *what);

/* What the checks that follow are about, for the line of one that fails. NULL: nothing in particular. */
void suite_context(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Goes into the case's line when it has passed: a figure that it measured. */
void suite_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the case: it cannot run here, for this reason. */
_Noreturn void suite_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How many times slower than Debian's kernel this one is taken to be: limits in time are multiplied by it. */
unsigned suite_slow(void);

/* Runs `body` in a forked child, which ends with status 0 when it returns; checks that it did. */
void suite_in_child(void (*body)(void *arg), void *arg);

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t suite_now(void);

#endif
