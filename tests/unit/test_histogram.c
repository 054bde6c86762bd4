/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "ringd/histogram.h"

static struct histogram h;

static int by_value(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* Each value lies in a bucket whose edge is at most 1/16 above it, and a bucket's edge is the last of its values. */
static void buckets(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < 1u << 16; value++) {
        unsigned bucket = histogram_bucket(value);
        assert_true(histogram_edge(bucket) >= value);
        assert_true((histogram_edge(bucket) - value) * 16 <= value);
        assert_true(bucket == 0 || histogram_edge(bucket - 1) < value);
    }
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS - 1; bucket++) {
        assert_int_equal(histogram_bucket(histogram_edge(bucket)), bucket);
        assert_int_equal(histogram_bucket(histogram_edge(bucket) + 1), bucket + 1);
    }
    for (unsigned bit = 48; bit < 64; bit++)
        assert_int_equal(histogram_bucket(UINT64_C(1) << bit), HISTOGRAM_BUCKETS - 1);
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
    assert_int_equal(histogram_bucket((UINT64_C(1) << 48) - 1), HISTOGRAM_BUCKETS - 1);
}

static void empty(void **state)
{
    (void)state;
    histogram_init(&h);
    assert_int_equal(h.count, 0);
    assert_int_equal(h.max, 0);
    assert_int_equal(histogram_quantile(&h, 0), 0);
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
    assert_int_equal(histogram_quantile(&h, 1), 0);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    histogram_init(&h);
    for (uint64_t value = 1; value <= 10; value++)
        histogram_add(&h, value, 1);
    assert_int_equal(h.count, 10);
    assert_int_equal(h.sum, 55);
    assert_int_equal(h.min, 1);
    assert_int_equal(h.max, 10);
    assert_int_equal(histogram_quantile(&h, 0), 1);
    assert_int_equal(histogram_quantile(&h, 0.1), 1);
    assert_int_equal(histogram_quantile(&h, 0.11), 2);
    assert_int_equal(histogram_quantile(&h, 0.5), 5);
    assert_int_equal(histogram_quantile(&h, 0.95), 10);
    assert_int_equal(histogram_quantile(&h, 1), 10);
}

static void weights(void **state)
{
    (void)state;
    histogram_init(&h);
    histogram_add(&h, 7, 990);
    histogram_add(&h, 1000, 10);
    assert_int_equal(h.count, 1000);
    assert_int_equal(h.sum, 7 * 990 + 10000);
    assert_int_equal(histogram_quantile(&h, 0.5), 7);
    assert_int_equal(histogram_quantile(&h, 0.99), 7);
    assert_int_equal(histogram_quantile(&h, 0.991), 1000); /* the bucket's edge is 1023: never above the maximum */
    assert_int_equal(histogram_quantile(&h, 1), 1000);
}

static void huge_values(void **state)
{
    (void)state;
    histogram_init(&h);
    histogram_add(&h, UINT64_MAX / 2, 1);
    histogram_add(&h, 5, 1);
    assert_int_equal(h.min, 5);
    assert_int_equal(h.max, UINT64_MAX / 2);
    assert_int_equal(histogram_quantile(&h, 0.5), 5);
    assert_int_equal(histogram_quantile(&h, 0.9), UINT64_MAX / 2);
}

static void merging(void **state)
{
    static struct histogram parts[3], whole;
    uint64_t seed = 3;
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        histogram_init(&parts[i]); /* the last stays empty */
    histogram_init(&whole);
    histogram_init(&h);
    for (unsigned i = 0; i < 5000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t value = (seed >> 20) >> (seed >> 58 & 31);
        histogram_add(&parts[i & 1], value, 1 + i % 3);
        histogram_add(&whole, value, 1 + i % 3);
    }
    for (unsigned i = 0; i < 3; i++)
        histogram_merge(&h, &parts[i]);
    assert_memory_equal(&h, &whole, sizeof(h));
}

/* Against the sorted samples themselves, over eleven orders of magnitude. */
static void quantiles(void **state)
{
    enum { SAMPLES = 20000 };
    static const double fractions[] = {0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1};
    static uint64_t values[SAMPLES];
    uint64_t seed = 0x9e3779b97f4a7c15, sum = 0;
    (void)state;
    histogram_init(&h);
    for (unsigned i = 0; i < SAMPLES; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        values[i] = (seed >> 20) >> (seed >> 58 & 31);
        sum += values[i];
        histogram_add(&h, values[i], 1);
    }
    qsort(values, SAMPLES, sizeof(values[0]), by_value);
    assert_int_equal(h.sum, sum);
    assert_int_equal(h.min, values[0]);
    assert_int_equal(h.max, values[SAMPLES - 1]);
    for (unsigned i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++) {
        double rank = fractions[i] * SAMPLES;
        unsigned index = (unsigned)rank;
        if ((double)index == rank && index)
            index--; /* the sample of rank n is the n-th, and the n-th stands at n - 1 */
        uint64_t exact = values[index], quantile = histogram_quantile(&h, fractions[i]);
        assert_true(quantile >= exact);
        assert_true((quantile - exact) * 16 <= exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets), cmocka_unit_test(empty),       cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(weights), cmocka_unit_test(huge_values), cmocka_unit_test(quantiles),
        cmocka_unit_test(merging),
    };

    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
