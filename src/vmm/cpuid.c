/* SPDX-License-Identifier: BSD-2-Clause */
/* Leaf numbers and bits: Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E. */
#include "vmm/cpuid.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm/hyperv.h"

#define KVM_FIRST_LEAF 0x40000000u /* of KVM's own, which Hyper-V's push ... */
#define KVM_MOVED_BY   0x100u      /* ... this far: Documentation/virt/kvm/x86/cpuid.rst has guests look there too */

#define CACHE_LEVEL_SHARED 3u /* the last level is the package's, the others are a core's */

#define ECX1_MONITOR    (1u << 3)
#define ECX1_VMX        (1u << 5)
#define ECX1_X2APIC     (1u << 21)
#define ECX1_DEADLINE   (1u << 24)
#define ECX1_HYPERVISOR (1u << 31)
#define EDX1_HTT        (1u << 28)
#define ECX81_CMP       (1u << 1) /* "legacy" multi-core: EBX of leaf 1 counts cores */
#define ECX81_SVM       (1u << 2)
#define EDX81_OF_LEAF_1 0x0183f3ffu /* AMD shows these bits of leaf 1's EDX once more */

/* How many bits of an APIC ID number the cores. */
static unsigned core_bits(unsigned cpus)
{
    return cpus > 1 ? 32u - (unsigned)__builtin_clz(cpus - 1) : 0;
}

const struct kvm_cpuid_entry2 *cpuid_find(const struct cpuid_table *table, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < table->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &table->entries[i];
        if (entry->function == function && (!(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || entry->index == index))
            return entry;
    }
    return NULL;
}

static bool is_amd(const struct cpuid_table *table)
{
    const struct kvm_cpuid_entry2 *vendor = cpuid_find(table, 0, 0);
    if (!vendor)
        return false;
    char name[12];
    memcpy(name, &vendor->ebx, 4);
    memcpy(name + 4, &vendor->edx, 4);
    memcpy(name + 8, &vendor->ecx, 4);
    return memcmp(name, "AuthenticAMD", 12) == 0 || memcmp(name, "HygonGenuine", 12) == 0;
}

static int add(struct cpuid_table *table, const struct kvm_cpuid_entry2 *entry)
{
    if (table->nent == CPUID_MAX_ENTRIES)
        return -E2BIG;
    table->entries[table->nent++] = *entry;
    return 0;
}

static void patch_leaf_1(struct kvm_cpuid_entry2 *entry, const struct cpu_model *model, unsigned apic_id)
{
    /* A hypervisor: without it no guest looks at its leaves. x2APIC and the deadline timer are KVM's on any host. */
    entry->ecx |= ECX1_HYPERVISOR | ECX1_X2APIC;
    entry->ecx &= ~(ECX1_VMX | ECX1_MONITOR); /* a vCPU inside VMX could not be reset by writing its registers back */
    if (model->deadline)
        entry->ecx |= ECX1_DEADLINE;
    if (model->mwait)
        entry->ecx |= ECX1_MONITOR;
    entry->ebx = (entry->ebx & 0xffffu) | (model->cpus & 0xff) << 16 | apic_id << 24;
    if (model->cpus > 1)
        entry->edx |= EDX1_HTT; /* EBX[23:16] is valid */
    else
        entry->edx &= ~EDX1_HTT;
}

/* Leaf 4 and AMD's 0x8000001d have the same EAX: [13:5] kind and level, [25:14] who shares it, less one. */
static void patch_cache(struct kvm_cpuid_entry2 *entry, unsigned bits)
{
    unsigned sharing = (entry->eax >> 5 & 7) == CACHE_LEVEL_SHARED ? (1u << bits) - 1 : 0;
    if (!(entry->eax & 0x1f))
        return; /* the end of the list */
    entry->eax = (entry->eax & 0x3fffu) | sharing << 14;
    if (entry->function == 4)
        entry->eax |= ((1u << bits) - 1) << 26; /* [31:26]: room for cores in the package, less one */
}

static void patch(struct kvm_cpuid_entry2 *entry, const struct cpu_model *model, unsigned apic_id, bool amd)
{
    unsigned bits = core_bits(model->cpus);
    switch (entry->function) {
    case 1:
        patch_leaf_1(entry, model, apic_id);
        break;
    case 4:
    case 0x8000001d:
        patch_cache(entry, bits);
        break;
    case 5:
        if (model->mwait) {
            entry->eax = model->mwait_leaf[CPU_EAX];
            entry->ebx = model->mwait_leaf[CPU_EBX];
            entry->ecx = model->mwait_leaf[CPU_ECX];
            entry->edx = model->mwait_leaf[CPU_EDX];
        }
        break;
    case 0x80000001:
        entry->ecx &= ~(ECX81_SVM | ECX81_CMP); /* SVM: as VMX */
        if (amd && model->cpus > 1)
            entry->ecx |= ECX81_CMP;
        break;
    case 0x80000008:
        entry->ecx = amd ? bits << 12 | (model->cpus - 1) : 0;
        break;
    case 0x8000001e:
        entry->eax = apic_id;
        entry->ebx = apic_id; /* the core's number; one thread a core */
        entry->ecx = 0;       /* one node */
        break;
    default:
        break;
    }
}

/* Sub-leaf 0: threads of a core, 1: cores of the package, 2: the end. KVM hands out the first one only. */
static int add_topology(struct cpuid_table *out, uint32_t function, unsigned cpus, unsigned apic_id)
{
    struct kvm_cpuid_entry2 entry = {.function = function, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .edx = apic_id};
    int ret = 0;
    for (uint32_t index = 0; index < 3 && !ret; index++) {
        entry.index = index;
        entry.eax = index == 1 ? core_bits(cpus) : 0;
        entry.ebx = index == 0 ? 1 : index == 1 ? cpus : 0;
        entry.ecx = index | (index < 2 ? (index + 1) << 8 : 0); /* [15:8]: 1 thread, 2 core, 0 the end */
        ret = add(out, &entry);
    }
    return ret;
}

/* KVM's own leaves: where they are, or behind Hyper-V's, or nowhere. */
static int add_kvm(struct cpuid_table *out, struct kvm_cpuid_entry2 entry, const struct cpu_model *model)
{
    if (model->features.no_kvm)
        return 0;
    if (model->hyperv) {
        if (entry.function == KVM_FIRST_LEAF)
            entry.eax = KVM_FIRST_LEAF + KVM_MOVED_BY + 1; /* the last one; KVM gives 0 or 0x40000001 */
        entry.function += KVM_MOVED_BY;
    }
    return add(out, &entry);
}

static uint32_t *word_of(struct kvm_cpuid_entry2 *entry, enum cpu_register reg)
{
    switch (reg) {
    case CPU_EAX:
        return &entry->eax;
    case CPU_EBX:
        return &entry->ebx;
    case CPU_ECX:
        return &entry->ecx;
    default:
        return &entry->edx;
    }
}

static void take_away(struct cpuid_table *table, const struct cpu_features *features)
{
    for (uint32_t i = 0; i < table->nent; i++) {
        struct kvm_cpuid_entry2 *entry = &table->entries[i];
        for (unsigned word = 0; word < CPU_WORDS; word++) {
            const struct cpu_word_place *place = &cpu_word_places[word];
            if (entry->function == place->function && entry->index == place->index)
                *word_of(entry, place->reg) &= ~features->off[word];
        }
        if (entry->function == 0x80000001)
            entry->edx &= ~(features->off[CPU_1_EDX] & EDX81_OF_LEAF_1);
    }
}

int cpuid_build(const struct cpu_model *model, unsigned apic_id, struct cpuid_table *out)
{
    const struct cpuid_table *host = &model->host;
    bool amd = is_amd(host);
    int ret = 0;
    out->nent = out->padding = 0;
    for (uint32_t i = 0; i < host->nent && !ret; i++) {
        struct kvm_cpuid_entry2 entry = host->entries[i];
        if (entry.function >> 28 == 4) {
            ret = add_kvm(out, entry, model);
        } else if (entry.function == 0xb || entry.function == 0x1f) {
            if (!cpuid_find(out, entry.function, 0)) /* once, for all its sub-leaves */
                ret = add_topology(out, entry.function, model->cpus, apic_id);
        } else {
            patch(&entry, model, apic_id, amd);
            ret = add(out, &entry);
        }
    }
    if (!ret && model->mwait && !cpuid_find(out, 5, 0)) {
        struct kvm_cpuid_entry2 entry = {.function = 5};
        patch(&entry, model, apic_id, amd);
        ret = add(out, &entry);
    }
    if (!ret && model->hyperv) {
        if (out->nent + HYPERV_LEAVES > CPUID_MAX_ENTRIES)
            return -E2BIG;
        hyperv_leaves(model->hyperv, model->hyperv_host.entries, model->hyperv_host.nent, &out->entries[out->nent]);
        out->nent += HYPERV_LEAVES;
    }
    take_away(out, &model->features);
    return ret;
}

const char *cpuid_lacking(const struct cpuid_table *table, const struct cpu_features *features)
{
    for (const struct cpu_feature *feature = cpu_feature_table; feature->name; feature++) {
        const struct cpu_word_place *place = &cpu_word_places[feature->word];
        if (!(features->on[feature->word] >> feature->bit & 1))
            continue;
        const struct kvm_cpuid_entry2 *entry = cpuid_find(table, place->function, place->index);
        struct kvm_cpuid_entry2 copy = entry ? *entry : (struct kvm_cpuid_entry2){0};
        if (!(*word_of(&copy, place->reg) >> feature->bit & 1))
            return feature->name;
    }
    return NULL;
}
