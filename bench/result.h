/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The block that the guest payload leaves behind, and statistics over it. Little-endian 32-bit words:
 *
 *   0 magic "RVBR"   1 bytes of the whole block   2 pattern   3 ticks   4 samples   5, 6 TSC ticks of the unstamped
 * loop then three counters (empty pair, write, read), each: count, min, max, sum (2 words), sum of squares (3 words),
 * n, then n pairs (bucket, count) by ascending bucket then the check sum: over all words before, sum = rotate_left(sum,
 * 1) + word
 */
#ifndef RINGVMM_BENCH_RESULT_H
#define RINGVMM_BENCH_RESULT_H

#include <stddef.h>
#include <stdint.h>

#include "payload/layout.h"

/* Times of one kind of access, in TSC ticks. */
struct bench_counter {
    uint64_t count;
    uint64_t min, max; /* min is UINT32_MAX while count is 0 */
    uint64_t sum;
    long double squares;
    uint64_t buckets[PAYLOAD_BUCKETS];
};

struct bench_result {
    uint32_t pattern;
    uint32_t ticks;
    uint32_t samples;
    uint64_t blocks[PAYLOAD_BLOCKS + 1]; /* TSC ticks; each ticks / PAYLOAD_BLOCKS guest ticks, the last the rest */
    struct bench_counter empty;
    struct bench_counter write;
    struct bench_counter read;
};

/*
 * bench_result_parse - reads a block of @len bytes, of which nothing is believed.
 * Returns NULL, or what is wrong with it as words for a message; *@result is then undefined.
 */
const char *bench_result_parse(const uint8_t *data, size_t len, struct bench_result *result);

/* bench_result_tick_mean - TSC ticks per unstamped guest tick over all of them; 0 when there are none. */
double bench_result_tick_mean(const struct bench_result *result);

/* bench_result_tick_median - the same in the median of the blocks, which a few preemptions do not move. */
double bench_result_tick_median(const struct bench_result *result);

/* bench_counter_init - an empty counter, for bench_counter_add. */
void bench_counter_init(struct bench_counter *counter);

/* bench_counter_add - adds what @from counted to @to. */
void bench_counter_add(struct bench_counter *to, const struct bench_counter *from);

/* bench_counter_mean - in TSC ticks; 0 when nothing was counted. */
double bench_counter_mean(const struct bench_counter *counter);

/* bench_counter_quantile - the @q (0 to 1) quantile in TSC ticks, exact to a bucket (an octave's 32nd part). */
double bench_counter_quantile(const struct bench_counter *counter, double q);

/* bench_counter_mean_error - the standard error of the mean as a share of @mean, as perf's "+- %" has it / 100. */
double bench_counter_mean_error(const struct bench_counter *counter, double mean);

#endif
