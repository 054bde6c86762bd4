/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#include "vmm/parse.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define UNTOUCHED    0x5a5a5a5au

static void numbers(void **state)
{
    static const struct {
        const char *text;
        uint64_t min, max;
        int error;
        uint64_t value;
    } cases[] = {
        {"0", 0, 9, 0, 0},
        {"64", 1, 64, 0, 64},
        {"65", 1, 64, -ERANGE, 0},
        {"0", 1, 64, -ERANGE, 0},
        {"010", 0, 64, 0, 10},
        {"0x402", 0, 0xffff, 0, 0x402},
        {"0XfF", 0, 0xffff, 0, 0xff},
        {"18446744073709551615", 0, UINT64_MAX, 0, UINT64_MAX},
        {"18446744073709551616", 0, UINT64_MAX, -ERANGE, 0},
        {"0x10000000000000000", 0, UINT64_MAX, -ERANGE, 0},
        {"99999999999999999999999999x", 0, 9, -EINVAL, 0},
        {"", 0, 9, -EINVAL, 0},
        {"0x", 0, 9, -EINVAL, 0},
        {"0xg", 0, 9, -EINVAL, 0},
        {"+1", 0, 9, -EINVAL, 0},
        {"-1", 0, 9, -EINVAL, 0},
        {" 1", 0, 9, -EINVAL, 0},
        {"1 ", 0, 9, -EINVAL, 0},
        {"1a", 0, 99, -EINVAL, 0},
        {"1.5", 0, 9, -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t value = UNTOUCHED;

        assert_int_equal(parse_number(cases[i].text, cases[i].min, cases[i].max, &value), cases[i].error);
        assert_int_equal(value, cases[i].error ? UNTOUCHED : cases[i].value);
    }
}

static void uuids(void **state)
{
    static const uint8_t bytes[16] = {0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1,
                                      0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};
    static const uint8_t untouched[16] = {1, 2, 3};
    static const char *const wrong[] = {
        "",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8a",
        "6ba7b8109dad-11d1-80b4-00c04fd430c8-",
        "6ba7b810-9dad-11d1-80b4-00c04fd430cg",
        "6ba7b810-9dad-11d1-80b4+00c04fd430c8",
        "6ba7b81--9dad-11d1-80b4-00c04fd430c8",
        "{6ba7b810-9dad-11d1-80b4-00c04fd430c}",
    };
    uint8_t uuid[16];

    (void)state;
    assert_int_equal(parse_uuid("6ba7b810-9dad-11d1-80b4-00C04FD430C8", uuid), 0);
    assert_memory_equal(uuid, bytes, sizeof(uuid));
    memcpy(uuid, untouched, sizeof(uuid));
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(parse_uuid(wrong[i], uuid), -EINVAL);
        assert_memory_equal(uuid, untouched, sizeof(uuid));
    }
}

static void sizes(void **state)
{
    static const struct {
        const char *text;
        int error;
        uint64_t value;
    } cases[] = {
        {"1K", 0, 1024},
        {"64M", 0, 64ull << 20},
        {"64m", 0, 64ull << 20},
        {"3g", 0, 3ull << 30},
        {"0M", 0, 0},
        {"17179869183G", 0, 17179869183ull << 30},
        {"17179869184G", -ERANGE, 0},
        {"18446744073709551616K", -ERANGE, 0},
        {"64", -EDOM, 0},
        {"", -EINVAL, 0},
        {"M", -EINVAL, 0},
        {"64MB", -EINVAL, 0},
        {"64T", -EINVAL, 0},
        {"64 M", -EINVAL, 0},
        {"1.5G", -EINVAL, 0},
        {"-1M", -EINVAL, 0},
        {"0x40M", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t value = UNTOUCHED;

        assert_int_equal(parse_size(cases[i].text, &value), cases[i].error);
        assert_int_equal(value, cases[i].error ? UNTOUCHED : cases[i].value);
    }
}

static void dates(void **state)
{
    static const struct {
        const char *text;
        int error;
        int64_t value;
    } cases[] = {
        {"1970-01-01", 0, 0},
        {"1970-01-01T00:00:01", 0, 1},
        {"2000-02-29", 0, 951782400},
        {"2026-11-21T08:30:00", 0, 1795249800},
        {"2038-01-19T03:14:08", 0, 2147483648},
        {"2199-12-31T23:59:59", 0, 7258118399},
        {"1969-12-31", -ERANGE, 0},
        {"2200-01-01", -ERANGE, 0},
        {"2100-02-29", -ERANGE, 0},
        {"2026-02-29", -ERANGE, 0},
        {"2026-00-01", -ERANGE, 0},
        {"2026-13-01", -ERANGE, 0},
        {"2026-04-31", -ERANGE, 0},
        {"2026-04-00", -ERANGE, 0},
        {"2026-04-01T24:00:00", -ERANGE, 0},
        {"2026-04-01T00:60:00", -ERANGE, 0},
        {"2026-04-01T00:00:60", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"now", -EINVAL, 0},
        {"2026", -EINVAL, 0},
        {"2026-4-1", -EINVAL, 0},
        {"26-04-01", -EINVAL, 0},
        {"2026-04-01T", -EINVAL, 0},
        {"2026-04-01T08:30", -EINVAL, 0},
        {"2026-04-01 08:30:00", -EINVAL, 0},
        {"2026-04-01T08:30:00Z", -EINVAL, 0},
        {"2026/04/01", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t value = UNTOUCHED;

        assert_int_equal(parse_iso_date(cases[i].text, &value), cases[i].error);
        assert_int_equal(value, cases[i].error ? UNTOUCHED : cases[i].value);
    }
}

/* Every day that can be given, against the C library's calendar. */
static void every_day(void **state)
{
    int64_t previous = -86400;

    (void)state;
    for (time_t t = 0; t < 7258118400; t += 86400) {
        struct tm tm;
        char text[40];
        int64_t value = -1;

        assert_non_null(gmtime_r(&t, &tm));
        assert_true(strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) > 0);
        assert_int_equal(parse_iso_date(text, &value), 0);
        assert_int_equal(value, t);
        assert_int_equal(value, previous + 86400);
        previous = value;
    }
}

static void cpu_lists(void **state)
{
    static const struct {
        const char *text;
        int error;
        unsigned count;
        unsigned cpus[4];
    } cases[] = {
        {"0", 0, 1, {0}},
        {"0,1", 0, 2, {0, 1}},
        {"0-3", 0, 4, {0, 1, 2, 3}},
        {"7,2-3,0", 0, 4, {7, 2, 3, 0}},
        {"5-5", 0, 1, {5}},
        {"1,1", 0, 2, {1, 1}},
        {"1023", 0, 1, {1023}},
        {"1024", -ERANGE, 0, {0}},
        {"0-4294967295", -ERANGE, 0, {0}},
        {"99999999999999999999", -ERANGE, 0, {0}},
        {"0-4", -E2BIG, 0, {0}},
        {"0,1,2,3,4", -E2BIG, 0, {0}},
        {"3-0", -EINVAL, 0, {0}},
        {"", -EINVAL, 0, {0}},
        {",", -EINVAL, 0, {0}},
        {"0,", -EINVAL, 0, {0}},
        {"-1", -EINVAL, 0, {0}},
        {"0-", -EINVAL, 0, {0}},
        {"0 1", -EINVAL, 0, {0}},
        {"all", -EINVAL, 0, {0}},
        {"0-1-2", -EINVAL, 0, {0}},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        unsigned cpus[4];
        unsigned count = UNTOUCHED;

        assert_int_equal(parse_cpu_list(cases[i].text, cpus, COUNT(cpus), &count), cases[i].error);
        assert_int_equal(count, cases[i].error ? UNTOUCHED : cases[i].count);
        if (!cases[i].error)
            assert_memory_equal(cpus, cases[i].cpus, count * sizeof(cpus[0]));
    }
}

static void pieces(void **state)
{
    const char *rest = "one,,three,";
    char buf[6];

    (void)state;
    assert_int_equal(parse_piece(&rest, buf, sizeof(buf)), 0);
    assert_string_equal(buf, "one");
    assert_int_equal(parse_piece(&rest, buf, sizeof(buf)), 0);
    assert_string_equal(buf, "");
    assert_int_equal(parse_piece(&rest, buf, sizeof(buf)), 0);
    assert_string_equal(buf, "three");
    assert_int_equal(parse_piece(&rest, buf, sizeof(buf)), 0);
    assert_string_equal(buf, "");
    assert_null(rest);

    rest = "longer,b";
    assert_int_equal(parse_piece(&rest, buf, sizeof(buf)), -ENAMETOOLONG);
    assert_string_equal(rest, "longer,b");
}

static void distances(void **state)
{
    static const struct {
        const char *a, *b;
        unsigned distance;
    } cases[] = {
        {"", "", 0},
        {"cpus", "cpus", 0},
        {"", "cpus", 4},
        {"cpu", "cpus", 1},
        {"cpsu", "cpus", 1},
        {"memroy", "memory", 1},
        {"serail", "serial", 1},
        {"mem0ry", "memory", 1},
        {"kitten", "sitting", 3},
        {"abc", "xyz", 3},
        {"1234567890123456789012345678901234567890", "123456789012345678901234567890123456789", 1},
        {"12345678901234567890123456789012345678901", "1", UINT_MAX},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(parse_distance(cases[i].a, cases[i].b), cases[i].distance);
        assert_int_equal(parse_distance(cases[i].b, cases[i].a), cases[i].distance);
    }
}

static void quotes(void **state)
{
    static const struct {
        const char *text;
        const char *quoted; /* in 16 bytes */
    } cases[] = {
        {"", "''"},
        {"x", "'x'"},
        {"a\nb", "'a\\x0ab'"},
        {"\x1b[31m", "'\\x1b[31m'"},
        {"\x7f", "'\\x7f'"},
        {"gr\xc3\xbc\xc3\x9f", "'gr\xc3\xbc\xc3\x9f'"},
        {"1234567890", "'1234567890'"},
        {"1234567890123", "'1234567890...'"},
        {"123456789\n", "'123456789...'"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char buf[16];

        assert_string_equal(parse_quote(cases[i].text, buf, sizeof(buf)), cases[i].quoted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers), cmocka_unit_test(uuids),     cmocka_unit_test(sizes),
        cmocka_unit_test(dates),   cmocka_unit_test(every_day), cmocka_unit_test(cpu_lists),
        cmocka_unit_test(pieces),  cmocka_unit_test(distances), cmocka_unit_test(quotes),
    };

    return cmocka_run_group_tests_name("parse", tests, NULL, NULL);
}
