/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/hyperv.h"

#include <string.h>

/* Leaf 0x40000003: what the partition may use. */
#define EAX_VP_RUNTIME       (1u << 0)
#define EAX_TIME_REF_COUNT   (1u << 1)
#define EAX_SYNIC            (1u << 2)
#define EAX_SYNTHETIC_TIMERS (1u << 3)
#define EAX_APIC_ACCESS      (1u << 4)
#define EAX_HYPERCALL        (1u << 5)
#define EAX_VP_INDEX         (1u << 6)
#define EAX_REFERENCE_TSC    (1u << 9)
#define EAX_FREQUENCY        (1u << 11)
#define EAX_REENLIGHTENMENT  (1u << 13)
#define EDX_FREQUENCY_MSRS   (1u << 8)
#define EDX_DIRECT_TIMERS    (1u << 19) /* an interrupt of the timer's own instead of a message */
/* Leaf 0x40000004: what it had better use. */
#define RECOMMEND_REMOTE_FLUSH (1u << 2)
#define RECOMMEND_APIC_MSRS    (1u << 3)
#define RECOMMEND_RELAXED      (1u << 5)
#define RECOMMEND_CLUSTER_IPI  (1u << 10)

/* How often a spinlock is tried before the hypervisor is told; all ones: never. The number is what Hyper-V's own guests
 * are given by other VMMs on KVM as well. */
#define SPINLOCK_RETRIES 0x1fffu
#define SPINLOCK_NEVER   0xffffffffu

#define MAX_PROCESSORS 64u /* leaf 0x40000005; as many as a sparse set of one bank names */

struct row {
    const char *name;
    unsigned feature, needs;
    uint32_t eax, edx;       /* of leaf 0x40000003 */
    uint32_t edx_if_there;   /* likewise, where KVM has it */
    uint32_t recommendation; /* EAX of leaf 0x40000004 */
};

static const struct row rows[] = {
    {.name = "relaxed", .feature = HYPERV_RELAXED, .recommendation = RECOMMEND_RELAXED},
    {.name = "vapic", .feature = HYPERV_VAPIC, .eax = EAX_APIC_ACCESS, .recommendation = RECOMMEND_APIC_MSRS},
    {.name = "spinlocks", .feature = HYPERV_SPINLOCKS},
    {.name = "vpindex", .feature = HYPERV_VPINDEX, .eax = EAX_VP_INDEX},
    {.name = "runtime", .feature = HYPERV_RUNTIME, .eax = EAX_VP_RUNTIME},
    /* Windows turns the reference TSC page on only if it may read its VP index too. */
    {.name = "time", .feature = HYPERV_TIME, .needs = HYPERV_VPINDEX, .eax = EAX_TIME_REF_COUNT | EAX_REFERENCE_TSC},
    {.name = "synic", .feature = HYPERV_SYNIC, .needs = HYPERV_VPINDEX, .eax = EAX_SYNIC},
    {.name = "stimer",
     .feature = HYPERV_STIMER,
     .needs = HYPERV_SYNIC | HYPERV_TIME,
     .eax = EAX_SYNTHETIC_TIMERS,
     .edx_if_there = EDX_DIRECT_TIMERS},
    {.name = "frequencies", .feature = HYPERV_FREQUENCIES, .eax = EAX_FREQUENCY, .edx = EDX_FREQUENCY_MSRS},
    {.name = "tlbflush", .feature = HYPERV_TLBFLUSH, .needs = HYPERV_VPINDEX, .recommendation = RECOMMEND_REMOTE_FLUSH},
    {.name = "ipi", .feature = HYPERV_IPI, .needs = HYPERV_VPINDEX, .recommendation = RECOMMEND_CLUSTER_IPI},
    {.name = "reenlightenment", .feature = HYPERV_REENLIGHTENMENT, .eax = EAX_REENLIGHTENMENT},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

const char *hyperv_name(unsigned feature)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].feature == feature)
            return rows[i].name;
    return "?";
}

bool hyperv_complete(unsigned features, unsigned *feature, unsigned *needs)
{
    for (size_t i = 0; i < ROWS; i++) {
        unsigned missing = rows[i].needs & ~features;
        if (!(features & rows[i].feature) || !missing)
            continue;
        *feature = rows[i].feature;
        *needs = missing & -missing;
        return false;
    }
    return true;
}

static struct kvm_cpuid_entry2 find(const struct kvm_cpuid_entry2 *host, size_t count, uint32_t function)
{
    for (size_t i = 0; i < count; i++)
        if (host[i].function == function)
            return host[i];
    return (struct kvm_cpuid_entry2){.function = function};
}

unsigned hyperv_lacking(unsigned features, const struct kvm_cpuid_entry2 *host, size_t count)
{
    const struct kvm_cpuid_entry2 access = find(host, count, HYPERV_FIRST_LEAF + 3);
    const struct kvm_cpuid_entry2 recommended = find(host, count, HYPERV_FIRST_LEAF + 4);
    unsigned lacking = 0;
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        bool there = !((row->eax | EAX_HYPERCALL) & ~access.eax) && !(row->edx & ~access.edx) &&
                     !(row->recommendation & ~recommended.eax);
        if ((features & row->feature) && !there)
            lacking |= row->feature;
    }
    return lacking;
}

static uint32_t letters(const char *text)
{
    uint32_t value;
    memcpy(&value, text, sizeof(value));
    return value;
}

void hyperv_leaves(unsigned features, const struct kvm_cpuid_entry2 *host, size_t count, struct kvm_cpuid_entry2 *out)
{
    memset(out, 0, HYPERV_LEAVES * sizeof(*out));
    for (uint32_t i = 0; i < HYPERV_LEAVES; i++)
        out[i].function = HYPERV_FIRST_LEAF + i; /* from 6 on nothing is offered: zeroes */
    out[0].eax = HYPERV_FIRST_LEAF + HYPERV_LEAVES - 1;
    out[0].ebx = letters("Micr");
    out[0].ecx = letters("osof");
    out[0].edx = letters("t Hv");
    out[1].eax = letters("Hv#1");
    out[2] = find(host, count, HYPERV_FIRST_LEAF + 2); /* the version whose behaviour KVM has */
    out[3].eax = EAX_HYPERCALL;
    uint32_t edx = find(host, count, HYPERV_FIRST_LEAF + 3).edx;
    for (size_t i = 0; i < ROWS; i++) {
        if (!(features & rows[i].feature))
            continue;
        out[3].eax |= rows[i].eax;
        out[3].edx |= rows[i].edx | (rows[i].edx_if_there & edx);
        out[4].eax |= rows[i].recommendation;
    }
    out[4].ebx = features & HYPERV_SPINLOCKS ? SPINLOCK_RETRIES : SPINLOCK_NEVER;
    out[5].eax = MAX_PROCESSORS;
    out[5].ebx = MAX_PROCESSORS;
}
