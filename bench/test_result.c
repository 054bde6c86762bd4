/* SPDX-License-Identifier: BSD-2-Clause */
/* The reader of the guest's result block: a good block, every truncation, every flipped byte, and the statistics. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "result.h"

#define MOST_WORDS 256u
#define TIMES      5u                               /* the first word of the blocks' times */
#define COUNTERS   (TIMES + 2 * PAYLOAD_BLOCKS + 2) /* and of the counters */

struct block {
    uint32_t words[MOST_WORDS];
    uint32_t used;
};

static void put(struct block *block, uint32_t word)
{
    assert_true(block->used < MOST_WORDS);
    block->words[block->used++] = word;
}

/* Sets the size and appends the check sum; x86 is little-endian, as the block is. */
static void seal(struct block *block)
{
    uint32_t sum = 0;

    block->words[1] = (block->used + 1) * 4;
    for (uint32_t i = 0; i < block->used; i++)
        sum = (sum << 1 | sum >> 31) + block->words[i];
    put(block, sum);
}

/* Three samples of 10, 100 and 1000: buckets 10, 64 + 18, and for 1000 = 62 << 4 | 8: 4 * 32 + 62. */
static const uint32_t three[] = {3, 10, 1000, 1110, 0, 1010100, 0, 0, 3, 10, 1, 82, 1, 190, 1};
static const uint32_t none[] = {0, UINT32_MAX, 0, 0, 0, 0, 0, 0, 0};

static void put_all(struct block *block, const uint32_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        put(block, words[i]);
}

static struct block good_block(void)
{
    struct block block = {0};
    static const uint32_t head[] = {PAYLOAD_RESULT_MAGIC, 0, PAYLOAD_PATTERN_RTC, 10 * PAYLOAD_BLOCKS + 5, 3};

    put_all(&block, head, TIMES);
    for (uint32_t i = 0; i < PAYLOAD_BLOCKS; i++) {
        put(&block, i == 7 ? 0 : 1000 + i); /* one block was preempted for long */
        put(&block, i == 7);
    }
    put(&block, 600);
    put(&block, 0);
    put_all(&block, none, 9);
    put_all(&block, three, 15);
    put_all(&block, three, 15);
    return block;
}

static void test_good_block(void **state)
{
    static struct bench_result result;
    struct block block = good_block();

    (void)state;
    seal(&block);
    assert_null(bench_result_parse((const uint8_t *)block.words, (size_t)block.used * 4, &result));
    assert_int_equal(result.pattern, PAYLOAD_PATTERN_RTC);
    assert_int_equal(result.ticks, 10 * PAYLOAD_BLOCKS + 5);
    assert_int_equal(result.samples, 3);
    assert_true(result.blocks[7] == 1ull << 32);
    assert_int_equal(result.blocks[PAYLOAD_BLOCKS], 600);
    /* Block 7 is now the longest, so those that were 32nd and 33rd are 31st and 32nd. */
    assert_true(fabs(bench_result_tick_median(&result) - 103.25) < 1e-9);
    assert_true(fabs(bench_result_tick_mean(&result) - (4294967296.0 + 63 * 1000 + 2016 - 7 + 600) / 645) < 1e-3);
    assert_int_equal(result.empty.count, 0);
    assert_int_equal(result.write.count, 3);
    assert_int_equal(result.read.max, 1000);
    assert_true(fabs(bench_counter_mean(&result.write) - 370) < 1e-9);
    assert_true(bench_counter_quantile(&result.write, 0.1) == 10);
    assert_true(bench_counter_quantile(&result.write, 0.5) >= 100 && bench_counter_quantile(&result.write, 0.5) < 102);
    assert_true(bench_counter_quantile(&result.write, 1) >= 992 && bench_counter_quantile(&result.write, 1) <= 1000);
}

static void test_truncated(void **state)
{
    static struct bench_result result;
    struct block block = good_block();

    (void)state;
    seal(&block);
    for (size_t len = 0; len < (size_t)block.used * 4; len++) {
        /* A copy of exactly that length, so that a read past its end is seen by a sanitizer. */
        uint8_t *copy = malloc(len + 1);
        assert_non_null(copy);
        memcpy(copy, block.words, len);
        assert_non_null(bench_result_parse(copy, len, &result));
        free(copy);
    }
}

static void test_flipped(void **state)
{
    static struct bench_result result;
    struct block block = good_block();
    uint8_t *bytes = (uint8_t *)block.words;

    (void)state;
    seal(&block);
    for (size_t bit = 0; bit < (size_t)block.used * 32; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_non_null(bench_result_parse(bytes, (size_t)block.used * 4, &result));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* Blocks whose check sum is right and whose contents are not. */
static void test_lies(void **state)
{
    static const struct {
        uint32_t word, value;
        const char *fault;
    } lies[] = {
        {COUNTERS + 8, PAYLOAD_BUCKETS + 1, "more buckets than there are"},
        {COUNTERS + 8, 896, "a bucket out of order"},
        {COUNTERS + 17, 2, "buckets that do not add up to the count"},
        {COUNTERS + 32, 0, "buckets that do not add up to the count"},
        {COUNTERS + 9, 4, "buckets that do not add up to the count"},
        {COUNTERS + 18, PAYLOAD_BUCKETS, "a bucket out of order"},
        {COUNTERS + 20, 10, "a bucket out of order"},
        {COUNTERS + 10, 1001, "a minimum above the maximum"},
        {COUNTERS + 32, 4, "shorter than its own counts say"},
    };
    static struct bench_result result;

    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct block block = good_block();
        block.words[lies[i].word] = lies[i].value;
        seal(&block);
        const char *fault = bench_result_parse((const uint8_t *)block.words, (size_t)block.used * 4, &result);
        assert_non_null(fault);
        assert_string_equal(fault, lies[i].fault);
    }
}

static void test_word_too_many(void **state)
{
    static struct bench_result result;
    struct block block = good_block();

    (void)state;
    put(&block, 0);
    seal(&block);
    assert_string_equal(bench_result_parse((const uint8_t *)block.words, (size_t)block.used * 4, &result),
                        "longer than its own counts say");
}

static void test_add(void **state)
{
    static struct bench_result result;
    static struct bench_counter sum;
    struct block block = good_block();

    (void)state;
    seal(&block);
    assert_null(bench_result_parse((const uint8_t *)block.words, (size_t)block.used * 4, &result));
    bench_counter_init(&sum);
    assert_true(bench_counter_mean(&sum) == 0);
    assert_true(bench_counter_quantile(&sum, 0.5) == 0);
    bench_counter_add(&sum, &result.write);
    bench_counter_add(&sum, &result.read);
    bench_counter_add(&sum, &result.empty); /* nothing in it: its minimum must not count */
    assert_int_equal(sum.count, 6);
    assert_int_equal(sum.min, 10);
    assert_int_equal(sum.max, 1000);
    assert_int_equal(sum.buckets[82], 2);
    /* Standard deviation of 10, 100, 1000 twice over: sqrt(1198800 / 5); by sqrt(6) and the mean of 370. */
    assert_true(fabs(bench_counter_mean_error(&sum, 370) - sqrt(1198800.0 / 5 / 6) / 370) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_block), cmocka_unit_test(test_truncated),     cmocka_unit_test(test_flipped),
        cmocka_unit_test(test_lies),       cmocka_unit_test(test_word_too_many), cmocka_unit_test(test_add),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
