/* SPDX-License-Identifier: BSD-2-Clause */
/* What CPUID says to a guest, made from a host's table: topology, features taken away, leaves of the hypervisor. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/cpuid.h"
#include "vmm/hyperv.h"

#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX

static struct cpu_model model;
static struct cpuid_table table;

static struct kvm_cpuid_entry2 *put(struct cpuid_table *to, uint32_t function, uint32_t index, uint32_t flags)
{
    struct kvm_cpuid_entry2 *entry = &to->entries[to->nent++];
    *entry = (struct kvm_cpuid_entry2){.function = function, .index = index, .flags = flags};
    return entry;
}

static void put_registers(struct cpuid_table *to, uint32_t function, const uint32_t registers[4])
{
    struct kvm_cpuid_entry2 *entry = put(to, function, 0, 0);
    entry->eax = registers[CPU_EAX];
    entry->ebx = registers[CPU_EBX];
    entry->ecx = registers[CPU_ECX];
    entry->edx = registers[CPU_EDX];
}

/* All features that there are, caches of two levels and the end of their list, one sub-leaf of topology, KVM's two. */
static int setup(void **state)
{
    static const uint32_t kvm[4] = {0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d};
    (void)state;
    memset(&model, 0, sizeof(model));
    memset(&table, 0xa5, sizeof(table));
    model.cpus = 1;
    memcpy(&put(&model.host, 0, 0, 0)->ebx, "Genu", 4);
    memcpy(&model.host.entries[0].edx, "ineI", 4);
    memcpy(&model.host.entries[0].ecx, "ntel", 4);
    put_registers(&model.host, 1, (uint32_t[]){0x806f8, 0x01400800, UINT32_MAX, UINT32_MAX});
    put(&model.host, 4, 0, INDEXED)->eax = 0xfc004121 | 0x1f << 14; /* data, level 1 */
    put(&model.host, 4, 1, INDEXED)->eax = 0xfc000163 | 0x1f << 14; /* unified, level 3 */
    put(&model.host, 4, 2, INDEXED);
    put(&model.host, 5, 0, 0);
    put_registers(&model.host, 6, (uint32_t[]){4, 0, 0, 0});
    for (uint32_t i = 0; i < 2; i++) {
        struct kvm_cpuid_entry2 *entry = put(&model.host, 7, i, INDEXED);
        entry->eax = entry->ebx = entry->ecx = entry->edx = UINT32_MAX;
    }
    put(&model.host, 0xb, 0, INDEXED)->edx = 77;
    put(&model.host, 0xd, 1, INDEXED)->eax = 0xf;
    put(&model.host, 0x1f, 0, INDEXED)->edx = 77;
    put_registers(&model.host, 0x40000000, kvm);
    put_registers(&model.host, 0x40000001, (uint32_t[]){0x01007afb, 0, 0, 0});
    put_registers(&model.host, 0x80000001, (uint32_t[]){0, 0, UINT32_MAX, UINT32_MAX});
    put_registers(&model.host, 0x80000007, (uint32_t[]){0, 0, 0, 0x100});
    put_registers(&model.host, 0x80000008, (uint32_t[]){0x3934, UINT32_MAX, 0x7077, 0});
    put(&model.host, 0x8000001e, 0, 0)->eax = 77;
    return 0;
}

static void be_amd(void)
{
    memcpy(&model.host.entries[0].ebx, "Auth", 4);
    memcpy(&model.host.entries[0].edx, "enti", 4);
    memcpy(&model.host.entries[0].ecx, "cAMD", 4);
}

/* What KVM of Linux 6.12 says of Hyper-V. */
static void have_hyperv(void)
{
    put(&model.hyperv_host, 0x40000002, 0, 0)->eax = 0x3839;
    put_registers(&model.hyperv_host, 0x40000003, (uint32_t[]){0x2aff, 0x30, 0, 0x80510});
    put_registers(&model.hyperv_host, 0x40000004, (uint32_t[]){0xc2c, UINT32_MAX, 0, 0});
}

static const struct kvm_cpuid_entry2 *leaf(uint32_t function, uint32_t index)
{
    const struct kvm_cpuid_entry2 *entry = cpuid_find(&table, function, index);
    assert_non_null(entry);
    return entry;
}

static void build(unsigned apic_id)
{
    assert_int_equal(cpuid_build(&model, apic_id, &table), 0);
}

static void expect_topology(uint32_t function, unsigned apic_id, unsigned bits)
{
    for (uint32_t index = 0; index < 3; index++)
        assert_int_equal(leaf(function, index)->edx, apic_id);
    assert_int_equal(leaf(function, 0)->eax, 0);
    assert_int_equal(leaf(function, 0)->ebx, 1);
    assert_int_equal(leaf(function, 0)->ecx, 0x100);
    assert_int_equal(leaf(function, 1)->eax, bits);
    assert_int_equal(leaf(function, 1)->ebx, model.cpus);
    assert_int_equal(leaf(function, 1)->ecx, 0x201);
    assert_int_equal(leaf(function, 2)->eax | leaf(function, 2)->ebx, 0);
    assert_int_equal(leaf(function, 2)->ecx, 2);
    assert_null(cpuid_find(&table, function, 3));
}

static void test_topology(void **state)
{
    static const struct {
        unsigned cpus, bits;
    } sizes[] = {{1, 0}, {2, 1}, {3, 2}, {4, 2}, {5, 3}, {64, 6}};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        unsigned last = sizes[i].cpus - 1, room = (1u << sizes[i].bits) - 1;
        model.cpus = sizes[i].cpus;
        build(last);
        assert_int_equal(leaf(1, 0)->ebx, last << 24 | sizes[i].cpus << 16 | 0x0800);
        assert_int_equal(leaf(1, 0)->edx >> 28 & 1, sizes[i].cpus > 1);
        assert_int_equal(leaf(4, 0)->eax, room << 26 | 0x121);              /* each core its own */
        assert_int_equal(leaf(4, 1)->eax, room << 26 | room << 14 | 0x163); /* the package's */
        assert_int_equal(leaf(4, 2)->eax, 0);
        expect_topology(0xb, last, sizes[i].bits);
        expect_topology(0x1f, last, sizes[i].bits);
        assert_int_equal(leaf(0x80000008, 0)->ecx, 0); /* reserved on Intel's */
        assert_int_equal(leaf(0x80000001, 0)->ecx & 2, 0);
    }
}

static void test_topology_of_amd(void **state)
{
    (void)state;
    be_amd();
    put(&model.host, 0x8000001d, 0, INDEXED)->eax = 0x121 | 1 << 14;
    put(&model.host, 0x8000001d, 1, INDEXED)->eax = 0x163 | 7 << 14;
    model.cpus = 6;
    build(5);
    assert_int_equal(leaf(0x80000008, 0)->ecx, 3 << 12 | 5);
    assert_int_equal(leaf(0x80000001, 0)->ecx & 2, 2);
    assert_int_equal(leaf(0x8000001e, 0)->eax, 5);
    assert_int_equal(leaf(0x8000001e, 0)->ebx, 5); /* [15:8]: one thread */
    assert_int_equal(leaf(0x8000001e, 0)->ecx, 0);
    assert_int_equal(leaf(0x8000001d, 0)->eax, 0x121);
    assert_int_equal(leaf(0x8000001d, 1)->eax, 0x163 | 7 << 14);
    model.cpus = 1;
    build(0);
    assert_int_equal(leaf(0x80000008, 0)->ecx, 0);
    assert_int_equal(leaf(0x80000001, 0)->ecx & 2, 0);
}

static void test_own_bits(void **state)
{
    (void)state;
    model.host.entries[1].ecx = 1 << 5; /* VMX and nothing else */
    build(0);
    assert_int_equal(leaf(1, 0)->ecx, 1u << 31 | 1 << 21);
    assert_int_equal(leaf(0x80000001, 0)->ecx & 4, 0); /* SVM */
    assert_int_equal(leaf(5, 0)->ecx, 0);
    model.deadline = model.mwait = true;
    memcpy(model.mwait_leaf, (uint32_t[]){64, 65, 3, 0x20}, sizeof(model.mwait_leaf));
    build(0);
    assert_int_equal(leaf(1, 0)->ecx, 1u << 31 | 1 << 24 | 1 << 21 | 1 << 3);
    assert_int_equal(leaf(5, 0)->eax, 64);
    assert_int_equal(leaf(5, 0)->ebx, 65);
    assert_int_equal(leaf(5, 0)->ecx, 3);
    assert_int_equal(leaf(5, 0)->edx, 0x20);
}

/* Each by itself: its bit goes, and no other does. */
static void test_features(void **state)
{
    (void)state;
    model.deadline = model.mwait = true;
    for (const struct cpu_feature *feature = cpu_feature_table; feature->name; feature++) {
        static struct cpuid_table whole;
        struct cpu_features must = {0};
        unsigned differences = 0;

        model.features = (struct cpu_features){0};
        assert_int_equal(cpuid_build(&model, 0, &whole), 0);
        model.features.off[feature->word] = UINT32_C(1) << feature->bit;
        build(0);
        assert_int_equal(table.nent, whole.nent);
        for (uint32_t i = 0; i < table.nent; i++) {
            const struct kvm_cpuid_entry2 *a = &whole.entries[i], *b = &table.entries[i];
            differences +=
                (unsigned)__builtin_popcount(a->eax ^ b->eax) + (unsigned)__builtin_popcount(a->ebx ^ b->ebx) +
                (unsigned)__builtin_popcount(a->ecx ^ b->ecx) + (unsigned)__builtin_popcount(a->edx ^ b->edx);
        }
        must.on[feature->word] = UINT32_C(1) << feature->bit;
        assert_string_equal(cpuid_lacking(&table, &must), feature->name);
        bool never = strcmp(feature->name, "vmx") == 0 || strcmp(feature->name, "svm") == 0;
        bool absent =
            never || strcmp(feature->name, "ht") == 0 || strcmp(feature->name, "cmp_legacy") == 0; /* one CPU */
        bool twice = feature->word == CPU_1_EDX && (0x0183f3ff >> feature->bit & 1); /* AMD's copy in 0x80000001 */
        if (differences != (absent ? 0u : twice ? 2u : 1u))
            fail_msg("%s: %u bits", feature->name, differences);
        if (absent)
            assert_string_equal(cpuid_lacking(&whole, &must), feature->name);
        else
            assert_null(cpuid_lacking(&whole, &must));
    }
    model.features = (struct cpu_features){.on[CPU_7_1_EAX] = 1 << 4};
    model.host.nent = 2; /* no such leaf at all */
    build(0);
    assert_string_equal(cpuid_lacking(&table, &model.features), "avx_vnni");
}

static void test_kvm_leaves(void **state)
{
    (void)state;
    build(0);
    assert_int_equal(leaf(0x40000000, 0)->ebx, 0x4b4d564b);
    assert_int_equal(leaf(0x40000001, 0)->eax, 0x01007afb);
    assert_null(cpuid_find(&table, 0x40000100, 0));
    model.features.no_kvm = true;
    build(0);
    assert_null(cpuid_find(&table, 0x40000000, 0));
    assert_null(cpuid_find(&table, 0x40000001, 0));
}

static void test_hyperv_leaves(void **state)
{
    (void)state;
    have_hyperv();
    model.hyperv = HYPERV_ALL;
    build(0);
    assert_int_equal(leaf(0x40000000, 0)->eax, 0x4000000a);
    assert_memory_equal(&leaf(0x40000000, 0)->ebx, "Microsoft Hv", 12);
    assert_memory_equal(&leaf(0x40000001, 0)->eax, "Hv#1", 4);
    assert_int_equal(leaf(0x40000002, 0)->eax, 0x3839);
    assert_int_equal(leaf(0x40000003, 0)->eax, 0x2a7f);
    assert_int_equal(leaf(0x40000003, 0)->ebx, 0);
    assert_int_equal(leaf(0x40000003, 0)->edx, 0x80100);
    assert_int_equal(leaf(0x40000004, 0)->eax, 0x42c);
    assert_int_equal(leaf(0x40000004, 0)->ebx, 0x1fff);
    assert_int_equal(leaf(0x40000005, 0)->eax, 64);
    for (uint32_t function = 0x40000006; function <= 0x4000000a; function++)
        assert_int_equal(
            leaf(function, 0)->eax | leaf(function, 0)->ebx | leaf(function, 0)->ecx | leaf(function, 0)->edx, 0);
    assert_null(cpuid_find(&table, 0x4000000b, 0));
    assert_int_equal(leaf(0x40000100, 0)->eax, 0x40000101);
    assert_int_equal(leaf(0x40000100, 0)->ebx, 0x4b4d564b);
    assert_int_equal(leaf(0x40000101, 0)->eax, 0x01007afb);

    /* The hypercall bit is there with any; a timer of an old KVM sends messages. */
    model.hyperv = HYPERV_RELAXED;
    build(0);
    assert_int_equal(leaf(0x40000003, 0)->eax, 0x20);
    assert_int_equal(leaf(0x40000004, 0)->eax, 0x20);
    assert_int_equal(leaf(0x40000004, 0)->ebx, UINT32_MAX);
    model.hyperv = HYPERV_ALL;
    model.hyperv_host.entries[1].edx &= ~(1u << 19);
    build(0);
    assert_int_equal(leaf(0x40000003, 0)->edx, 0x100);
}

static void test_hyperv_lacking(void **state)
{
    const struct kvm_cpuid_entry2 *host = model.hyperv_host.entries;
    (void)state;
    have_hyperv();
    assert_int_equal(hyperv_lacking(HYPERV_ALL, host, model.hyperv_host.nent), 0);
    assert_int_equal(hyperv_lacking(HYPERV_ALL, host, 0), HYPERV_ALL);
    assert_int_equal(hyperv_lacking(HYPERV_IPI | HYPERV_TIME, host, 0), HYPERV_IPI | HYPERV_TIME);
    model.hyperv_host.entries[1].eax &= ~(1u << 13);
    assert_int_equal(hyperv_lacking(HYPERV_ALL, host, model.hyperv_host.nent), HYPERV_REENLIGHTENMENT);
    model.hyperv_host.entries[1].edx = 0;
    model.hyperv_host.entries[2].eax &= ~(1u << 2);
    assert_int_equal(hyperv_lacking(HYPERV_ALL, host, model.hyperv_host.nent),
                     HYPERV_REENLIGHTENMENT | HYPERV_FREQUENCIES | HYPERV_TLBFLUSH);
}

static void test_hyperv_needs(void **state)
{
    static const struct {
        unsigned features, feature, needs;
    } broken[] = {
        {HYPERV_TIME, HYPERV_TIME, HYPERV_VPINDEX},
        {HYPERV_SYNIC, HYPERV_SYNIC, HYPERV_VPINDEX},
        {HYPERV_STIMER | HYPERV_SYNIC | HYPERV_VPINDEX, HYPERV_STIMER, HYPERV_TIME},
        {HYPERV_STIMER | HYPERV_TIME | HYPERV_VPINDEX, HYPERV_STIMER, HYPERV_SYNIC},
        {HYPERV_STIMER | HYPERV_VPINDEX, HYPERV_STIMER, HYPERV_TIME}, /* of two, one */
        {HYPERV_TLBFLUSH, HYPERV_TLBFLUSH, HYPERV_VPINDEX},
        {HYPERV_IPI, HYPERV_IPI, HYPERV_VPINDEX},
    };
    unsigned feature = 0, needs = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        assert_false(hyperv_complete(broken[i].features, &feature, &needs));
        assert_int_equal(feature, broken[i].feature);
        assert_int_equal(needs, broken[i].needs);
    }
    assert_true(hyperv_complete(0, &feature, &needs));
    assert_true(hyperv_complete(HYPERV_ALL, &feature, &needs));
    for (unsigned bit = 1; bit <= HYPERV_ALL; bit <<= 1)
        assert_string_not_equal(hyperv_name(bit), "?");
}

static void test_full(void **state)
{
    (void)state;
    have_hyperv();
    while (model.host.nent < CPUID_MAX_ENTRIES - 4) /* topology needs two more for each of its leaves */
        put(&model.host, 0x14, model.host.nent, INDEXED);
    assert_int_equal(cpuid_build(&model, 0, &table), 0);
    assert_int_equal(table.nent, CPUID_MAX_ENTRIES);
    model.hyperv = HYPERV_RELAXED;
    assert_int_equal(cpuid_build(&model, 0, &table), -E2BIG);
    model.hyperv = 0;
    put(&model.host, 0x14, 0, INDEXED);
    assert_int_equal(cpuid_build(&model, 0, &table), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_topology, setup),       cmocka_unit_test_setup(test_topology_of_amd, setup),
        cmocka_unit_test_setup(test_own_bits, setup),       cmocka_unit_test_setup(test_features, setup),
        cmocka_unit_test_setup(test_kvm_leaves, setup),     cmocka_unit_test_setup(test_hyperv_leaves, setup),
        cmocka_unit_test_setup(test_hyperv_lacking, setup), cmocka_unit_test_setup(test_hyperv_needs, setup),
        cmocka_unit_test_setup(test_full, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
