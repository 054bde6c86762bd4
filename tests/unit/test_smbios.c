/* SPDX-License-Identifier: BSD-2-Clause */
/* SMBIOS structures, walked as a guest walks them: by lengths and the double zero behind each one's strings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "vmm/smbios.h"

#define GIB       (UINT64_C(1) << 30)
#define TYPES_MAX 128u

static uint8_t image[SMBIOS_TABLES_SIZE + 64];
static struct smbios smbios;

static uint64_t number(const uint8_t *from, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

static uint8_t sum(const uint8_t *bytes, unsigned count)
{
    uint8_t total = 0;
    for (unsigned i = 0; i < count; i++)
        total = (uint8_t)(total + bytes[i]);
    return total;
}

struct found {
    const uint8_t *of_type[TYPES_MAX]; /* the first one */
    unsigned count[TYPES_MAX];
    unsigned all;
};

/* String `which` (1 is the first) of a structure. */
static const char *string(const uint8_t *structure, unsigned which)
{
    const char *at = (const char *)structure + structure[1];
    assert_true(which > 0);
    for (unsigned i = 1; i < which; i++)
        at += strlen(at) + 1;
    return at;
}

static void walk(const struct smbios_config *config, struct found *found)
{
    unsigned largest = 0;
    uint16_t handles[16];
    memset(found, 0, sizeof(*found));
    memset(image, 0xa5, sizeof(image));
    smbios_build(&smbios, config);
    assert_int_equal(smbios_place(&smbios, image, 0xf1230), 0);
    assert_int_equal(image[smbios_placed_size(&smbios)], 0xa5);
    assert_memory_equal(image, "_SM_", 4);
    assert_int_equal(image[5], 31);
    assert_int_equal(sum(image, 31), 0);
    assert_memory_equal(image + 16, "_DMI_", 5);
    assert_int_equal(sum(image + 16, 15), 0);
    assert_int_equal(number(image + 24, 4), 0xf1230 + 32);
    assert_int_equal(number(image + 6, 2), 0x0802);
    const uint8_t *at = image + 32, *end = at + number(image + 22, 2);
    while (at < end) {
        const uint8_t *next = at + at[1];
        assert_true(at[1] >= 4 && at[0] < TYPES_MAX && found->all < 16);
        handles[found->all] = (uint16_t)number(at + 2, 2);
        for (unsigned i = 0; i < found->all; i++)
            assert_int_not_equal(handles[i], handles[found->all]);
        while (next[0] || next[1])
            next++;
        next += 2;
        if (!found->count[at[0]]++)
            found->of_type[at[0]] = at;
        found->all++;
        largest = next - at > (long)largest ? (unsigned)(next - at) : largest;
        at = next;
    }
    assert_ptr_equal(at, end);
    assert_int_equal(found->all, number(image + 28, 2));
    assert_int_equal(largest, number(image + 8, 2));
    assert_int_equal(found->count[127], 1);
}

static struct smbios_config machine(void)
{
    return (struct smbios_config){
        .product = "q35",
        .version = "1.2.3",
        .uuid = {0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0, 0xc0, 0x4f, 0xd4, 0x30, 0xc8},
        .cpus = 4,
        .processor_id = 0x1122334455667788,
        .vendor = "SomeVendor",
        .brand = "Some CPU",
        .low_size = 3 * GIB};
}

static void test_types(void **state)
{
    static const uint8_t lengths[TYPES_MAX] = {
        [0] = 0x18, [1] = 0x1b, [3] = 0x16, [4] = 0x2a, [16] = 0x17, [17] = 0x28, [19] = 0x1f, [32] = 0x0b, [127] = 4};
    struct smbios_config config = machine();
    struct found found;
    (void)state;
    for (unsigned firmware = 0; firmware < 2; firmware++) {
        config.firmware = firmware;
        walk(&config, &found);
        for (unsigned type = 0; type < TYPES_MAX; type++) {
            assert_int_equal(found.count[type], lengths[type] && (type || firmware) ? 1 : 0);
            if (found.count[type])
                assert_int_equal(found.of_type[type][1], lengths[type]);
        }
    }
    assert_string_equal(string(found.of_type[0], found.of_type[0][4]), "ringvmm");
    assert_int_equal(found.of_type[0][19], 1 << 4);
}

static void test_system(void **state)
{
    static const uint8_t uuid[] = {0x10, 0xb8, 0xa7, 0x6b, 0xad, 0x9d, 0xd1, 0x11,
                                   0x80, 0xb4, 0,    0xc0, 0x4f, 0xd4, 0x30, 0xc8};
    const struct smbios_config config = machine();
    struct found found;
    (void)state;
    walk(&config, &found);
    const uint8_t *system = found.of_type[1], *cpu = found.of_type[4];
    assert_string_equal(string(system, system[4]), "ringvmm");
    assert_string_equal(string(system, system[5]), "q35");
    assert_string_equal(string(system, system[6]), "1.2.3");
    assert_int_equal(system[7], 0);
    assert_memory_equal(system + 8, uuid, 16);
    assert_string_equal(string(cpu, cpu[7]), "SomeVendor");
    assert_string_equal(string(cpu, cpu[16]), "Some CPU");
    assert_int_equal(number(cpu + 8, 8), 0x1122334455667788);
    assert_int_equal(cpu[35], 4);
    assert_int_equal(cpu[36], 4);
    assert_int_equal(cpu[37], 4);
    assert_int_equal(number(cpu + 38, 2), 4);
}

static void check_memory(uint64_t low, uint64_t high, uint64_t kib, unsigned mib, unsigned ranges)
{
    struct smbios_config config = machine();
    struct found found;
    config.low_size = low;
    config.high_size = high;
    walk(&config, &found);
    const uint8_t *array = found.of_type[16], *module = found.of_type[17], *range = found.of_type[19];
    assert_int_equal(number(array + 7, 4), kib);
    assert_int_equal(number(array + 15, 8), kib == 0x80000000 ? low + high : 0);
    assert_int_equal(number(module + 12, 2), mib);
    assert_int_equal(number(module + 28, 4), mib == 0x7fff ? (low + high) >> 20 : 0);
    assert_int_equal(found.count[19], ranges);
    assert_int_equal(number(range + 4, 4), 0);
    assert_int_equal(number(range + 8, 4), low / 1024 - 1);
    if (ranges < 2)
        return;
    range += range[1] + 2; /* no strings */
    assert_int_equal(range[0], 19);
    if ((4 * GIB + high) / 1024 - 1 < UINT32_MAX) {
        assert_int_equal(number(range + 4, 4), 4 * GIB / 1024);
        assert_int_equal(number(range + 8, 4), (4 * GIB + high) / 1024 - 1);
        assert_int_equal(number(range + 15, 8), 0);
    } else {
        assert_int_equal(number(range + 4, 8), UINT64_MAX);
        assert_int_equal(number(range + 15, 8), 4 * GIB);
        assert_int_equal(number(range + 23, 8), 4 * GIB + high - 1);
    }
}

static void test_memory(void **state)
{
    (void)state;
    check_memory(64 << 20, 0, 64 << 10, 64, 1);
    check_memory(3 * GIB, 28 * GIB, 31 << 20, 31 << 10, 2);
    check_memory(3 * GIB, 29 * GIB, 32 << 20, 0x7fff, 2);         /* does not fit 15 bits any more */
    check_memory(3 * GIB, 2045 * GIB, 0x80000000, 0x7fff, 2);     /* nor 31 */
    check_memory(3 * GIB, 8 * 1024 * GIB, 0x80000000, 0x7fff, 2); /* the end in KiB not 32 */
}

/* The longest names there can be still fit, and a string that is empty is none. */
static void test_strings(void **state)
{
    struct smbios_config config = machine();
    struct found found;
    (void)state;
    memset(config.vendor, 'v', sizeof(config.vendor) - 1);
    memset(config.brand, 'b', sizeof(config.brand) - 1);
    config.firmware = true;
    config.cpus = 64;
    walk(&config, &found);
    assert_int_equal(strlen(string(found.of_type[4], found.of_type[4][16])), 48);
    config.brand[0] = '\0';
    walk(&config, &found);
    assert_int_equal(found.of_type[4][16], 0);
}

static void test_place_refuses(void **state)
{
    const struct smbios_config config = machine();
    (void)state;
    smbios_build(&smbios, &config);
    assert_int_equal(smbios_place(&smbios, image, 0xf0008), -EINVAL);
    assert_int_equal(smbios_place(&smbios, image, 0xe0000), -EINVAL);
    assert_int_equal(smbios_place(&smbios, image, 0xffff0), -EINVAL);
    assert_int_equal(smbios_place(&smbios, image, 0xf0000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),   cmocka_unit_test(test_system),        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_strings), cmocka_unit_test(test_place_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
