/* SPDX-License-Identifier: BSD-2-Clause */
#include "result.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COUNTER_WORDS 8u

/* A bounded reader over the block's words: past the end it gives zeros and remembers that it did. */
struct words {
    const uint8_t *data;
    size_t count;
    size_t at;
    bool overrun;
};

static uint32_t word_at(const uint8_t *data, size_t index)
{
    const uint8_t *p = data + index * 4;

    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t next_word(struct words *words)
{
    if (words->at >= words->count) {
        words->overrun = true;
        return 0;
    }
    return word_at(words->data, words->at++);
}

static uint64_t next_word64(struct words *words)
{
    uint64_t low = next_word(words);

    return low | (uint64_t)next_word(words) << 32;
}

static const char *parse_counter(struct words *words, struct bench_counter *counter)
{
    uint64_t counted = 0;
    uint32_t pairs, next_bucket = 0;

    bench_counter_init(counter);
    counter->count = next_word(words);
    counter->min = next_word(words);
    counter->max = next_word(words);
    counter->sum = next_word64(words);
    counter->squares = (long double)next_word64(words);
    counter->squares += ldexpl((long double)next_word(words), 64);
    pairs = next_word(words);
    if (pairs > PAYLOAD_BUCKETS)
        return "more buckets than there are";
    for (uint32_t i = 0; i < pairs; i++) {
        uint32_t bucket = next_word(words);
        uint32_t count = next_word(words);

        if (words->overrun)
            return "shorter than its own counts say";
        if (bucket < next_bucket || bucket >= PAYLOAD_BUCKETS)
            return "a bucket out of order";
        counter->buckets[bucket] = count;
        counted += count;
        next_bucket = bucket + 1;
    }
    if (words->overrun)
        return "shorter than its own counts say";
    if (counted != counter->count)
        return "buckets that do not add up to the count";
    if (counter->count > 0 && counter->min > counter->max)
        return "a minimum above the maximum";
    return NULL;
}

const char *bench_result_parse(const uint8_t *data, size_t len, struct bench_result *result)
{
    struct words words = {.data = data, .count = len / 4};
    struct bench_counter *counters[] = {&result->empty, &result->write, &result->read};
    const char *fault = NULL;
    uint32_t sum = 0;

    if (len == 0)
        return "empty";
    if (next_word(&words) != PAYLOAD_RESULT_MAGIC)
        return "without its magic";
    uint32_t bytes = next_word(&words);
    if (bytes % 4 != 0 || bytes < 8 || bytes > len)
        return bytes > len ? "truncated" : "of an impossible size";
    words.count = bytes / 4 - 1;
    for (size_t i = 0; i < words.count; i++)
        sum = (sum << 1 | sum >> 31) + word_at(data, i);
    if (sum != word_at(data, words.count))
        return "with a wrong check sum";

    result->pattern = next_word(&words);
    result->ticks = next_word(&words);
    result->samples = next_word(&words);
    for (size_t i = 0; i <= PAYLOAD_BLOCKS; i++)
        result->blocks[i] = next_word64(&words);
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]) && !fault; i++)
        fault = parse_counter(&words, counters[i]);
    if (!fault && words.at != words.count)
        fault = "longer than its own counts say";
    return fault;
}

double bench_result_tick_mean(const struct bench_result *result)
{
    double total = 0;

    for (size_t i = 0; i <= PAYLOAD_BLOCKS; i++)
        total += (double)result->blocks[i];
    return result->ticks ? total / (double)result->ticks : 0;
}

static int compare_times(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

double bench_result_tick_median(const struct bench_result *result)
{
    uint32_t per_block = result->ticks / PAYLOAD_BLOCKS;
    uint64_t sorted[PAYLOAD_BLOCKS];

    memcpy(sorted, result->blocks, sizeof(sorted));
    qsort(sorted, PAYLOAD_BLOCKS, sizeof(sorted[0]), compare_times);
    double middle = ((double)sorted[PAYLOAD_BLOCKS / 2 - 1] + (double)sorted[PAYLOAD_BLOCKS / 2]) / 2;
    return per_block ? middle / (double)per_block : 0;
}

void bench_counter_init(struct bench_counter *counter)
{
    memset(counter, 0, sizeof(*counter));
    counter->min = UINT32_MAX;
}

void bench_counter_add(struct bench_counter *to, const struct bench_counter *from)
{
    to->count += from->count;
    to->sum += from->sum;
    to->squares += from->squares;
    if (from->count > 0 && from->min < to->min)
        to->min = from->min;
    if (from->count > 0 && from->max > to->max)
        to->max = from->max;
    for (size_t i = 0; i < PAYLOAD_BUCKETS; i++)
        to->buckets[i] += from->buckets[i];
}

double bench_counter_mean(const struct bench_counter *counter)
{
    return counter->count ? (double)counter->sum / (double)counter->count : 0;
}

static double bucket_start(size_t bucket)
{
    if (bucket < 64)
        return (double)bucket;
    return (double)((uint64_t)(32 + bucket % 32) << (bucket / 32 - 1));
}

double bench_counter_quantile(const struct bench_counter *counter, double q)
{
    double rank = q * (double)counter->count;
    uint64_t seen = 0;

    for (size_t i = 0; i < PAYLOAD_BUCKETS; i++) {
        seen += counter->buckets[i];
        if (counter->buckets[i] == 0 || (double)seen < rank)
            continue;
        double middle = (bucket_start(i) + bucket_start(i + 1) - 1) / 2;
        return fmin(fmax(middle, (double)counter->min), (double)counter->max);
    }
    return 0;
}

double bench_counter_mean_error(const struct bench_counter *counter, double mean)
{
    if (counter->count < 2 || mean <= 0)
        return 0;
    long double n = (long double)counter->count;
    long double sum = (long double)counter->sum;
    long double variance = (counter->squares - sum * sum / n) / (n - 1);

    return variance > 0 ? (double)(sqrtl(variance / n) / (long double)mean) : 0;
}
